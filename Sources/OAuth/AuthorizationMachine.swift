/// Names one callback request; the driver makes them unique.
package struct CallbackID: Sendable, Hashable {
    package var number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }
}

/// How a consent ended. No secret inside; text from the provider is cleaned and still to be escaped.
package enum ConsentOutcome: Sendable, Equatable {
    case connected(grant: String, ConsentReport)
    /// Tokens came, but the store has not taken them yet.
    case notStored(grant: String)
    case refused(grant: String, ConsentRefusal)
    /// The provider said no: access_denied and the like. What the grant had stays.
    case deniedByProvider(grant: String, code: String, description: String?)
    /// The code could not be exchanged.
    case exchangeFailed(grant: String, ProviderProblem)
    case rejected(CallbackRejection)
}

package enum ConsentAction: Sendable, Equatable {
    /// Take the pending consent out of the store, so that nobody else gets it; answer with `pendingTaken`.
    case takePending(key: String)
    /// Put it back as it was: the callback came from another browser than the one that started.
    case restorePending(key: String, PendingConsent)
    /// Hand to the ProviderMachine of `provider`; answered by `codeExchanged`.
    case exchangeCode(provider: String, TokenCall)
    /// Hand to the GrantMachine of `grant` as `authorizationGranted`; its `finish` is answered by `consentFinished`.
    /// The code was exchanged at `provider`: a grant that is another provider's by now gets nothing, and
    /// `consentOverruled` says so.
    case grantTokens(grant: String, provider: String, TokenSet, sentAt: Moment, Ticket)
    /// Put this into a shared store under `ConsentMemory.key(forConsent:)`, in place of what is there, until the wall
    /// time in milliseconds. Not answered.
    case remember(key: String, ConsentMemory, until: Int64)
    /// Call `lookDue` after so many milliseconds.
    case lookAgain(key: String, after: Int64)
    /// Answer this callback. The page must not carry the code or the state on (checklist D11).
    case show(CallbackID, ConsentOutcome)
}

/// All consents of the gateway, from the callback on. A state is used once; a second callback with the same state waits
/// for the first one's outcome, or is shown it again (pains 17).
package struct AuthorizationMachine: Sendable {
    struct Arrival: Sendable {
        var id: CallbackID
        var callback: ConsentCallback
        var binding: Secret?
    }

    struct Run: Sendable {
        var key: String
        var arrivals: [Arrival]
        /// Monotonic.
        var startedAt: Int64
        /// nil while the store is asked.
        var pending: PendingConsent?
        /// What the callback gave besides the code.
        var captured: [String: String] = [:]
    }

    private struct Past: Sendable {
        var key: String
        var bindingHash: String
        var outcome: ConsentOutcome
        var expiresAt: Int64
    }

    package static let runLimit = 200
    package static let arrivalLimit = 20
    package static let memoryLimit = 256

    var runs: [UInt64: Run] = [:]
    private var past: [Past] = []
    private var nextRun: UInt64 = 1
    /// Tickets count from here, so that they differ from those of the driver.
    let ticketBase: UInt64

    package init(ticketBase: UInt64 = 1 << 32) {
        self.ticketBase = ticketBase
    }

    /// A callback came from a browser: `query` without the "?", `binding` from its cookie.
    package mutating func callbackReceived(
        _ id: CallbackID, query: String, binding: Secret?, now: Moment
    ) -> [ConsentAction] {
        past.removeAll { $0.expiresAt <= now.monotonic }
        let callback: ConsentCallback
        switch ConsentCallback.read(query) {
        case .failure(let rejection): return [.show(id, .rejected(rejection))]
        case .success(let read): callback = read
        }
        let key = PendingConsent.key(forState: callback.state)
        if let outcome = remembered(key, binding: binding) { return [.show(id, outcome)] }
        let arrival = Arrival(id: id, callback: callback, binding: binding)
        if let number = runs.first(where: { $0.value.key == key })?.key {
            return join(arrival, run: number)
        }
        // Nothing takes that long: an answer must have been lost on its way.
        runs = runs.filter { $0.value.startedAt.saturatingAdd(PendingConsent.lifetime) > now.monotonic }
        guard runs.count < Self.runLimit else { return [.show(id, .rejected(.tooManyCallbacks))] }
        runs[nextRun] = Run(key: key, arrivals: [arrival], startedAt: now.monotonic)
        nextRun += 1
        return [.takePending(key: key)]
    }

    private mutating func join(_ arrival: Arrival, run number: UInt64) -> [ConsentAction] {
        guard let run = runs[number], run.arrivals.count < Self.arrivalLimit else {
            return [.show(arrival.id, .rejected(.tooManyCallbacks))]
        }
        if let pending = run.pending, let rejection = Self.misplaced(arrival, pending) {
            return [.show(arrival.id, .rejected(rejection))]
        }
        runs[number]?.arrivals.append(arrival)
        return []
    }

    /// The same outcome again, for the browser that started only.
    private func remembered(_ key: String, binding: Secret?) -> ConsentOutcome? {
        guard let entry = past.first(where: { $0.key == key }) else { return nil }
        return PendingConsent.matches(binding, of: entry.bindingHash) ? entry.outcome : .rejected(.unknownState)
    }

    private static func misplaced(_ arrival: Arrival, _ pending: PendingConsent) -> CallbackRejection? {
        pending.isBound(to: arrival.binding) ? nil : .wrongBrowser
    }
}

// MARK: - From the store to the provider to the grant

extension AuthorizationMachine {
    /// What the store had under the key, now taken out of it; nil: nothing.
    ///
    /// - Parameter isOverruled: the grant's provider is not what it was when the consent began. Who began it is told so,
    ///   and no code goes anywhere.
    package mutating func pendingTaken(
        key: String, _ pending: PendingConsent?, isOverruled: Bool = false, now: Moment
    ) -> [ConsentAction] {
        guard let number = waitingRun(key), let run = runs[number] else { return [] }
        guard let pending, now.wall < pending.expiresAt else {
            return end(number, .rejected(.unknownState))
        }
        // Callbacks from elsewhere are turned away and do not use the consent up.
        var actions: [ConsentAction] = []
        var rightful: [Arrival] = []
        for arrival in run.arrivals {
            if let rejection = Self.misplaced(arrival, pending) {
                actions.append(.show(arrival.id, .rejected(rejection)))
            } else {
                rightful.append(arrival)
            }
        }
        guard let first = rightful.first else {
            runs.removeValue(forKey: number)
            return actions + [.restorePending(key: key, pending)]
        }
        runs[number]?.arrivals = rightful
        runs[number]?.pending = pending
        guard !isOverruled else {
            return actions + end(number, .exchangeFailed(grant: pending.grant, .configurationChanged), now: now)
        }
        return actions + proceed(number, first, pending, now: now)
    }

    /// The store could not be asked. The consent is still there, if it was.
    package mutating func takeFailed(key: String) -> [ConsentAction] {
        guard let number = waitingRun(key) else { return [] }
        return end(number, .rejected(.storeUnavailable))
    }

    func waitingRun(_ key: String) -> UInt64? {
        runs.first { $0.value.key == key && $0.value.pending == nil }?.key
    }

    private mutating func proceed(
        _ number: UInt64, _ arrival: Arrival, _ pending: PendingConsent, now: Moment
    ) -> [ConsentAction] {
        switch arrival.callback.answer(for: pending) {
        case .failure(let rejection): return end(number, .rejected(rejection), now: now)
        case .success(.error(let code, let description)):
            let outcome = ConsentOutcome.deniedByProvider(grant: pending.grant, code: code, description: description)
            return end(number, outcome, now: now)
        case .success(.code(let code)):
            let target: PendingCapture.Target
            switch arrival.callback.target(for: pending) {
            case .failure(let rejection): return end(number, .rejected(rejection), now: now)
            case .success(let allowed): target = allowed
            }
            runs[number]?.captured = target.captured
            let kind = TokenCall.Kind.code(
                code, verifier: pending.verifier, redirectURI: pending.redirectURI, tokenEndpoint: target.endpoint)
            let variables = (pending.capture?.variables.grant ?? [:]).merging(target.captured) { _, new in new }
            let call = TokenCall(
                id: CallID(owner: .consent(number), number: 1), kind: kind, variables: variables,
                proofKey: pending.proofKey, identity: pending.nonce.map { IdentityExpectation(nonce: $0) })
            let running = ConsentMemory(bindingHash: pending.bindingHash, outcome: nil)
            return [
                .remember(key: runs[number]?.key ?? "", running, until: pending.expiresAt),
                .exchangeCode(provider: pending.provider, call),
            ]
        }
    }

    /// The code exchange ended. It is never repeated: a code is good for one use (RFC 6749 section 4.1.2).
    package mutating func codeExchanged(_ id: CallID, _ report: TokenCallReport, now: Moment) -> [ConsentAction] {
        guard case .consent(let number) = id.owner, let pending = runs[number]?.pending else { return [] }
        switch report.result {
        case .failure(let problem): return end(number, .exchangeFailed(grant: pending.grant, problem), now: now)
        case .success(var tokens):
            tokens.captured.merge(runs[number]?.captured ?? [:]) { reply, _ in reply }
            return [
                .grantTokens(
                    grant: pending.grant, provider: pending.provider, tokens, sentAt: report.sentAt,
                    Ticket(ticketBase + number))
            ]
        }
    }

    /// The consent that brought the tokens of `grantTokens`.
    package func consent(_ ticket: Ticket) -> PendingConsent? {
        owns(ticket) ? runs[ticket.number - ticketBase]?.pending : nil
    }

    /// True for the tickets that `grantTokens` carries.
    package func owns(_ ticket: Ticket) -> Bool {
        ticket.number >= ticketBase && runs[ticket.number - ticketBase] != nil
    }

    /// The grant has taken the tokens, or not.
    package mutating func consentFinished(_ ticket: Ticket, _ result: TicketResult, now: Moment) -> [ConsentAction] {
        guard owns(ticket), let pending = runs[ticket.number - ticketBase]?.pending else { return [] }
        let outcome: ConsentOutcome =
            switch result {
            case .connected(let report): .connected(grant: pending.grant, report)
            case .consentRefused(let refusal): .refused(grant: pending.grant, refusal)
            case .consentNotStored: .notStored(grant: pending.grant)
            case .refreshed, .refreshFailed, .revocation, .revocationNotStored, .revocationNotDone, .forgotten,
                .forgetFailed, .imported,
                .importFailed, .created, .alreadyExists, .createFailed:
                .notStored(grant: pending.grant)
            }
        return end(ticket.number - ticketBase, outcome, now: now)
    }

    /// Ends a run whose state proved real: the outcome is remembered for a second callback.
    mutating func end(_ number: UInt64, _ outcome: ConsentOutcome, now: Moment) -> [ConsentAction] {
        var actions: [ConsentAction] = []
        if let run = runs[number], let pending = run.pending {
            let memory = ConsentMemory(bindingHash: pending.bindingHash, outcome: outcome)
            let until = now.wall.saturatingAdd(PendingConsent.lifetime)
            actions.append(.remember(key: run.key, memory, until: until))
            if past.count >= Self.memoryLimit { past.removeFirst() }
            past.append(
                Past(
                    key: run.key, bindingHash: pending.bindingHash, outcome: outcome,
                    expiresAt: now.monotonic.saturatingAdd(PendingConsent.lifetime)))
        }
        return actions + end(number, outcome)
    }

    mutating func end(_ number: UInt64, _ outcome: ConsentOutcome) -> [ConsentAction] {
        (runs.removeValue(forKey: number)?.arrivals ?? []).map { .show($0.id, outcome) }
    }
}
