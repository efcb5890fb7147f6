import Configuration
import Console
import Logging
import OAuth
import Reactor
import Telemetry
import TokenStore

/// Consents: from the link to the tokens. All that must outlive a process, or be found by another replica, is in the
/// store.
extension Control {
    /// Consents, links and, in a shared store, what is remembered for ten minutes of those that ended share one table. The
    /// table is bounded; what has ended must not keep a team that connects its tenants from beginning the next.
    /// At so many rows a new consent or link is refused: it does not evict another (checklist E8). What is remembered has
    /// room beyond.
    private var consentRows: Int { store?.isShared == true ? 2_000 : 400 }
    private static let memoryRows = 2_400

    // MARK: One-time links

    func keepLink(_ link: String, for grant: String, then done: @escaping (ConsoleOutcome) -> Void) {
        withGrant(grant) { [unowned self] result in
            if case .failure(let failure) = result {
                done(.failed(failure))
                return
            }
            let (now, rows) = (moment.wall / 1000, consentRows)
            withStore(.consent) { store throws(StoreError) in
                try store.putConsent(
                    id: "link \(link)", payload: Array(grant.utf8), expiresAt: now + ConsoleLimits.ticketSeconds,
                    limit: rows, now: now)
            } then: { [unowned self] result in
                switch result {
                case .success(.stored): done(.linkAllowed)
                case .success(.full):
                    let seconds = Int(ConsoleLimits.ticketSeconds)
                    done(.failed(ConsoleFailure(.tooManyPendingConsents, retryAfterSeconds: seconds)))
                case .failure: done(.failed(ConsoleFailure(.storeUnavailable, detail: storeHealth.reason)))
                }
            }
        }
    }

    /// A link works once, and a link that is shown for another grant is used up as well.
    func startConsent(
        _ grant: String, binding: String, link: String?,
        then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        guard let link else {
            startConsent(grant, binding: binding, then: done)
            return
        }
        let now = moment.wall / 1000
        withStore(.consent) { store throws(StoreError) in
            try store.takeConsent(id: "link \(link)", now: now)
        } then: { [unowned self] result in
            switch result {
            case .success(let payload?) where payload == Array(grant.utf8):
                startConsent(grant, binding: binding, then: done)
            case .success: done(.failure(ConsoleFailure(.linkUsed)))
            case .failure: done(.failure(ConsoleFailure(.storeUnavailable, detail: storeHealth.reason)))
            }
        }
    }

    // MARK: Starting a consent

    /// Finds the endpoints, puts the pending consent into the store, and gives the URL for the browser.
    private func startConsent(
        _ grant: String, binding: String, then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        withGrant(grant) { [unowned self] result in
            switch result {
            case .failure(let failure): done(.failure(failure))
            case .success(let entry):
                guard let provider = providers[entry.providerName] else {
                    done(.failure(ConsoleFailure(.unknownGrant)))
                    return
                }
                let id = CallID(owner: .consent(0), number: nextStart)
                nextStart += 1
                endpointWaits[id] = { [unowned self] result in
                    switch result {
                    case .failure(let problem):
                        done(.failure(ConsoleFailure(.providerUnavailable, detail: problem.detail)))
                    case .success(let endpoints):
                        storeConsent(grant, binding: binding, endpoints, then: done)
                    }
                }
                perform(
                    provider, provider.machine.endpointsNeeded(id, variables: entry.machine.ownVariables, now: moment))
            }
        }
    }

    private func storeConsent(
        _ grant: String, binding: String, _ endpoints: ProviderEndpoints,
        then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        guard let entry = entry(loading: grant), let provider = providers[entry.providerName],
            let redirectURI = snapshot.console?.redirectURI
        else {
            done(.failure(ConsoleFailure(.unknownGrant)))
            return
        }
        var settings = entry.machine.grantSettings
        settings.variables = entry.machine.ownVariables
        let request = ConsentRequest(
            grant: settings, provider: provider.machine.settings, endpoints: endpoints,
            redirectURI: redirectURI, binding: Secret(binding))
        let now = moment
        let made = ConsentStart.make(
            request, randomness: SystemRandom.bytes(ConsentStart.randomnessBytes), now: now,
            lifetime: Int64(snapshot.console?.consentLifetime.milliseconds ?? 600_000))
        switch made {
        case .success(let start): storeConsent(grant, start, at: provider, now: now, then: done)
        case .failure(let problem): done(.failure(Self.failure(of: problem)))
        }
    }

    private static func failure(of problem: ConsentStartProblem) -> ConsoleFailure {
        switch problem {
        case .noPushedRequestEndpoint:
            ConsoleFailure(
                .configurationError,
                detail:
                    "The provider takes pushed authorization requests only, and where to push them is neither in its "
                    + "metadata nor in pushed_request_url.")
        case .noAuthorizationEndpoint:
            ConsoleFailure(
                .configurationError,
                detail:
                    "The provider has no authorization endpoint: set authorize_url, or connect the grant by a device.")
        case .badProofAlgorithm:
            ConsoleFailure(.configurationError, detail: "dpop_algorithm is not one that proofs are made with.")
        case .badRedirectURI, .notEnoughRandomness, .bindingTooShort:
            ConsoleFailure(.internal, detail: "The consent could not be prepared.")
        }
    }

    /// The pending consent first: the callback may come as soon as the browser has left.
    private func storeConsent(
        _ grant: String, _ start: ConsentStart, at provider: Provider, now: Moment,
        then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        let (payload, rows) = (start.pending.encoded(), consentRows)
        withStore(.consent) { store throws(StoreError) in
            try store.putConsent(
                id: start.key, payload: payload, expiresAt: start.pending.expiresAt / 1000 + 1,
                limit: rows, now: now.wall / 1000)
        } then: { [unowned self] result in
            switch result {
            case .success(.stored):
                logger.info("a consent was started", metadata: ["grant": "\(grant)"])
                push(start, at: provider, then: done)
            case .success(.full): done(.failure(ConsoleFailure(.tooManyPendingConsents)))
            case .failure: done(.failure(ConsoleFailure(.storeUnavailable, detail: storeHealth.reason)))
            }
        }
    }

    /// Where the request is pushed, only a reference to it goes through the browser (RFC 9126).
    private func push(
        _ start: ConsentStart, at provider: Provider, then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        guard let parameters = start.pushed else {
            done(.success(start.authorizationURL))
            return
        }
        let id = CallID(owner: .consent(0), number: nextStart)
        nextStart += 1
        pushWaits[id] = { [logger] result in
            if case .failure(let problem) = result {
                logger.warning(
                    "an authorization request could not be pushed",
                    metadata: [
                        "grant": "\(start.pending.grant)", "code": "\(problem.code)", "detail": "\(problem.detail)",
                    ])
            }
            done(
                result.map { start.authorizationURL(pushed: $0) }.mapError { problem in
                    problem.errorClass == .configuration
                        ? ConsoleFailure(.configurationError, detail: problem.detail)
                        : Self.providerFailure(code: problem.code, detail: problem.detail)
                })
        }
        perform(provider, provider.machine.pushNeeded(id, parameters, now: moment))
    }

    // MARK: The callback

    func callbackArrived(
        query: String, binding: String?, expectedGrant: String?,
        then respond: @escaping (OAuth.ConsentOutcome, _ isForOtherGrant: Bool) -> Void
    ) {
        let id = CallbackID(nextCallback)
        nextCallback += 1
        callbacks[id] = PendingCallback(expectedGrant: expectedGrant, respond: respond)
        let actions = authorizations.callbackReceived(
            id, query: query, binding: binding.map { Secret($0) }, now: moment)
        perform(consent: actions, arrived: id)
    }

    /// - Parameter id: the callback whose arrival gave these actions.
    func perform(consent actions: [ConsentAction], arrived id: CallbackID? = nil) {
        for action in actions {
            switch action {
            case .takePending(let key): takePending(key, arrived: id)
            case .restorePending(let key, let pending): restore(key, pending)
            case .exchangeCode(let provider, let call):
                guard let entry = providers[provider] else {
                    let report = TokenCallReport(result: .failure(.configurationChanged), sentAt: moment)
                    perform(consent: authorizations.codeExchanged(call.id, report, now: moment))
                    continue
                }
                perform(entry, entry.machine.tokensNeeded(call, now: moment))
            case .grantTokens(let grant, let provider, let tokens, let sentAt, let ticket):
                grantTokens(grant, provider, tokens, sentAt, ticket)
            case .remember(let key, let memory, let until): remember(key, memory, until: until)
            case .lookAgain(let key, let milliseconds):
                loop.schedule(after: UInt64(max(0, milliseconds))) { [unowned self] in
                    perform(consent: authorizations.lookDue(key: key))
                }
            case .show(let id, let outcome):
                guard let callback = callbacks.removeValue(forKey: id) else { continue }
                consentEnded(outcome)
                callback.respond(outcome, callback.isForOtherGrant)
            }
        }
    }

    /// Whether a consent that began earlier is of the grant's provider as it is now.
    private func isOrigin(_ entry: GrantEntry, of pending: PendingConsent?) -> Bool {
        guard let pending, entry.providerName == pending.provider else { return false }
        return providers[pending.provider]?.machine.isOrigin(of: pending) ?? false
    }

    /// The tokens of a code that was exchanged at `provider`. A reload may have taken the grant away meanwhile, or given
    /// it to another provider, or the provider's name to another server; an operator may have deleted it: then they are
    /// nobody's.
    private func grantTokens(
        _ grant: String, _ provider: String, _ tokens: TokenSet, _ sentAt: Moment, _ ticket: Ticket
    ) {
        let consent = authorizations.consent(ticket)
        withGrant(grant) { [unowned self] result in
            // A record that cannot be read now is no reason to lose them: the machine keeps them until it can be.
            let isThere = result.failure.map { $0.code == .storeUnavailable } ?? true
            guard isThere, let entry = entry(loading: grant), isOrigin(entry, of: consent) else {
                logger.warning(
                    "tokens of a consent came for a grant that is not of their provider any more",
                    metadata: ["grant": "\(grant)", "provider": "\(provider)"])
                if let consent, let giver = providers[provider], giver.machine.isOrigin(of: consent) {
                    revokeUnwanted(tokens, of: grant, at: giver)
                }
                perform(consent: authorizations.consentOverruled(ticket, now: moment))
                return
            }
            entry.lastUsed = moment.monotonic
            if let giver = providers[provider] {
                arriving[ticket] = ArrivingTokens(grant: grant, provider: giver, tokens: tokens)
            }
            perform(grant, entry.machine.authorizationGranted(tokens, sentAt: sentAt, ticket: ticket, now: moment))
            hurry(entry)
        }
    }

    /// What the store has under a consent's key.
    private enum Found: Sendable {
        case pending([UInt8])
        /// Another replica has taken it, and has or has not come to an end.
        case memory([UInt8])
        case nothing
    }

    private func takePending(_ key: String, arrived id: CallbackID?) {
        let now = moment.wall / 1000
        let isShared = store?.isShared ?? false
        let memoryKey = ConsentMemory.key(forConsent: key)
        withStore(.consent) { store throws(StoreError) in
            // At no moment does another replica find neither the consent nor the memory of it.
            let taken = try store.takeConsent(id: key, now: now) { payload in
                guard isShared, let pending = PendingConsent(payload: payload) else { return nil }
                let memory = ConsentMemory(bindingHash: pending.bindingHash, outcome: nil)
                return KeptConsent(
                    id: memoryKey, payload: memory.encoded(), expiresAt: pending.expiresAt / 1000 + 1,
                    limit: Self.memoryRows)
            }
            if let taken { return Found.pending(taken) }
            guard isShared, let memory = try store.findConsent(id: memoryKey, now: now) else { return Found.nothing }
            return Found.memory(memory)
        } then: { [unowned self] result in
            switch result {
            case .failure: perform(consent: authorizations.takeFailed(key: key))
            case .success(.nothing): perform(consent: authorizations.pendingTaken(key: key, nil, now: moment))
            case .success(.memory(let payload)):
                guard let memory = ConsentMemory(payload: payload) else {
                    perform(consent: authorizations.pendingTaken(key: key, nil, now: moment))
                    return
                }
                perform(consent: authorizations.memoryFound(key: key, memory, now: moment))
            case .success(.pending(let payload)):
                pendingTaken(key, PendingConsent(payload: payload), arrived: id)
            }
        }
    }

    /// Nothing comes of a consent that was taken: nobody is to wait for it.
    private func forgetMemory(of key: String) {
        guard store?.isShared == true else { return }
        let (id, now) = (ConsentMemory.key(forConsent: key), moment.wall / 1000)
        withStore(.consent) { store throws(StoreError) in
            try store.takeConsent(id: id, now: now)
        } then: { _ in
        }
    }

    private func pendingTaken(_ key: String, _ found: PendingConsent?, arrived id: CallbackID?) {
        guard let found else {
            forgetMemory(of: key)
            perform(consent: authorizations.pendingTaken(key: key, nil, now: moment))
            return
        }
        if let id, let expected = callbacks[id]?.expectedGrant, found.grant != expected {
            // Pasted under another grant's name: it stays good for its own.
            callbacks[id]?.isForOtherGrant = true
            restore(key, found)
            perform(consent: authorizations.pendingTaken(key: key, nil, now: moment))
            return
        }
        withGrant(found.grant) { [unowned self] result in
            // A reload took the grant away, or its provider is another now: the consent is of no use to either.
            switch result {
            case .success(let entry):
                let isOverruled = !isOrigin(entry, of: found)
                perform(
                    consent: authorizations.pendingTaken(key: key, found, isOverruled: isOverruled, now: moment))
            case .failure(let failure) where failure.code == .storeUnavailable:
                restore(key, found)
                perform(consent: authorizations.takeFailed(key: key))
            case .failure:
                forgetMemory(of: key)
                perform(consent: authorizations.pendingTaken(key: key, nil, now: moment))
            }
        }
    }

    private func restore(_ key: String, _ pending: PendingConsent) {
        let payload = pending.encoded()
        let now = moment.wall / 1000
        let isShared = store?.isShared ?? false
        withStore(.consent) { store throws(StoreError) in
            _ = try store.putConsent(
                id: key, payload: payload, expiresAt: pending.expiresAt / 1000 + 1, limit: Self.memoryRows, now: now)
            if isShared { _ = try store.takeConsent(id: ConsentMemory.key(forConsent: key), now: now) }
        } then: { _ in
        }
    }

    /// For a second callback that reaches another replica. One process remembers by itself.
    private func remember(_ key: String, _ memory: ConsentMemory, until: Int64) {
        guard store?.isShared == true else { return }
        let kept = KeptConsent(
            id: ConsentMemory.key(forConsent: key), payload: memory.encoded(), expiresAt: until / 1000 + 1,
            limit: Self.memoryRows)
        let now = moment.wall / 1000
        withStore(.consent) { store throws(StoreError) in
            _ = try store.keepConsent(kept, now: now)
        } then: { _ in
        }
    }

    // MARK: Tickets

    /// A number for an operator's command; `done` gets its result, or nil when the grant goes before there is one.
    func ticket(for grant: String, _ done: @escaping (TicketResult?) -> Void) -> Ticket {
        let ticket = Ticket(nextTicket)
        nextTicket += 1
        tickets[ticket] = (grant, done)
        return ticket
    }

    func finished(_ ticket: Ticket, _ result: TicketResult) {
        if authorizations.owns(ticket) {
            arriving[ticket] = nil
            perform(consent: authorizations.consentFinished(ticket, result, now: moment))
        } else {
            tickets.removeValue(forKey: ticket)?.done(result)
        }
    }
}
