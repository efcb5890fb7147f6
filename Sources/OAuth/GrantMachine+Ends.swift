// How a grant begins and ends: consent, revocation, forgetting.
extension GrantMachine {
    static let revocationBackoffBase: Int64 = 5000
    static let revocationBackoffLimit: Int64 = 3_600_000

    // MARK: Consent

    /// A consent's tokens, or those that an imported refresh token brought.
    mutating func consentArrived(_ tokens: TokenSet, sentAt: Moment, asked: GrantChange.Asked, ticket: Ticket?) {
        if let refusal = refusal(of: tokens) {
            actions.append(.note(.consentRefused(refusal)))
            if case .wrongAccount = refusal { revokeRefused(tokens) }
            if asked.isImport {
                changes.append(.importEnded(instance: environment.instance))
                finish(ticket, .importFailed(code: refusal.code, detail: refusal.explanation))
            } else {
                finish(ticket, .consentRefused(refusal))
            }
            return
        }
        // The newest consent wins: a refresh of the old tokens is of no interest any more.
        abandonRefresh()
        changes.append(
            .consented(tokens, sentAt: sentAt, from: asked, generationAbove: generationFloor, ticket: ticket))
    }

    private mutating func finish(_ ticket: Ticket?, _ result: TicketResult) {
        if let ticket { actions.append(.finish(ticket, result)) }
    }

    private func refusal(of tokens: TokenSet) -> ConsentRefusal? {
        let view = projected
        let expected = settings.expectedAccount ?? (view.state == .notConnected ? nil : view.account)
        if let expected {
            guard let received = tokens.account else { return .accountUnknown }
            if received != expected { return .wrongAccount(received: received, expected: expected) }
        }
        if tokens.refreshToken == nil {
            let replacesOne = view.tokens?.refreshToken != nil
            if settings.refreshTokenRequired ?? replacesOne { return .noRefreshToken }
        }
        let granted = tokens.scopes ?? settings.scopes
        let missing = GrantedScopes.missing(
            of: settings.requiredScopes, granted: granted, hasRefreshToken: tokens.refreshToken != nil)
        return missing.isEmpty ? nil : .missingScopes(missing)
    }

    /// Somebody else's tokens are not kept, and not left alive either. Nothing waits for the answer.
    mutating func revokeRefused(_ tokens: TokenSet) {
        guard let token = tokens.unwanted(at: provider) else { return }
        actions.append(
            .revokeToken(
                RevocationCall(
                    id: newCallID(), token: token.token, hint: token.hint,
                    variables: templateVariables.merging(tokens.captured) { own, _ in own })))
    }

    private mutating func abandonRefresh() {
        if let call, case .refresh = call.kind { self.call = nil }
        replay = nil
        recovery = nil
        dropLoad()
    }

    /// What was to be read is of no interest any more.
    private mutating func dropLoad() {
        // The consent or the deletion that came meanwhile is newer than the revocation.
        if let load, case .revocation(let ticket) = load.purpose {
            actions.append(.finish(ticket, .revocation(.nothingToRevoke)))
        }
        if load?.isAsked == true { awaitsAbandonedRead = true }
        load = nil
    }

    mutating func consentStored(
        _ tokens: TokenSet, sentAt: Moment, asked: GrantChange.Asked, ticket: Ticket?, now: Moment
    ) {
        generationFloor = record.generation
        unstored = nil
        isDormant = false
        rejectedGeneration = nil
        generationFromRejection = nil
        lastRejectionRefreshAt = nil
        strikes = 0
        notBefore = .min
        startClocks(sentAt: sentAt)
        let scopes = record.tokens?.scopes ?? []
        let missing = record.tokens?.lacking(of: settings.scopes) ?? settings.scopes
        var warnings: [String] = []
        if record.tokens?.refreshToken == nil {
            warnings.append("There is no refresh token: " + ConsentRefusal.noRefreshToken.explanation)
        }
        if tokens.lifetime == nil {
            warnings.append("The provider did not say how long the access token lives: it is refreshed after a 401.")
        }
        if !missing.isEmpty {
            warnings.append("Asked for and not granted: \(missing.joined(separator: " ")).")
        }
        actions.append(.note(.connected(generation: record.generation)))
        finishRefreshTickets(.refreshed(generation: record.generation))
        // A revocation that came after the consent is stored next.
        if !isStopped { finishRevocationTickets(.nothingToRevoke) }
        if let ticket, asked.isImport {
            actions.append(.finish(ticket, .imported(generation: record.generation)))
        } else if let ticket {
            let report = ConsentReport(scopes: scopes, missingScopes: missing, warnings: warnings)
            actions.append(.finish(ticket, .connected(report)))
        }
    }

    // MARK: Revocation

    mutating func revokeCommanded(_ ticket: Ticket, now: Moment) {
        endImportsForRevocation()
        let view = projected
        let hasTokens = view.tokens != nil || changes.contains(where: \.bringsTokens)
        if !environment.storeIsExclusive, !isStopped, !hasTokens, load == nil, changes.isEmpty, !isCommitting {
            beginLoad(.revocation(ticket), now)
        } else {
            revokeAsKnown(ticket)
        }
    }

    mutating func revokeAsKnown(_ ticket: Ticket) {
        let view = projected
        if !endsInTokens, isStopped || view.state == .revoked {
            guard view.revocation != nil || isStopped else {
                actions.append(.finish(ticket, .revocation(.nothingToRevoke)))
                return
            }
            revocationTickets.append(ticket)
            revocationNotBefore = .min
            if view.state != .revoked { changes.append(.revoke) }
            return
        }
        guard view.tokens != nil || endsInTokens else {
            actions.append(.finish(ticket, .revocation(.nothingToRevoke)))
            return
        }
        replay = nil
        recovery = nil
        dropLoad()
        revocationTickets.append(ticket)
        changes.append(.revoke)
        rebuildCredential()
    }

    /// Tokens wait for the store, and nobody has ended the grant since they came.
    private var endsInTokens: Bool {
        changes.last { $0.bringsTokens || $0.stopsInjection }?.bringsTokens ?? false
    }

    mutating func startRevocation(_ owed: GrantRecord.Revocation.Token) {
        let id = newCallID()
        call = Call(id: id, kind: .revocation(owed.token))
        actions.append(
            .revokeToken(
                RevocationCall(id: id, token: owed.token, hint: owed.hint, variables: templateVariables)))
    }

    /// A revocation call ended.
    package mutating func revocationCallFinished(
        _ id: CallID, _ result: RevocationCallResult, now: Moment
    ) -> [GrantAction] {
        guard let call, call.id == id, case .revocation(let token) = call.kind else { return finish(now) }
        self.call = nil
        // A consent or another replica has ended what this call was for: it is no answer to who asks now.
        guard projected.revocation?.tokens.contains(where: { $0.token == token }) == true else { return finish(now) }
        var step = GrantChange.RevocationStep(token: token, failure: nil, outcome: .revoked, nextAttemptAt: 0)
        switch result {
        case .revoked: break
        case .alreadyInvalid: step.outcome = .alreadyInvalid
        case .notSupported: step.outcome = .notSupported
        case .notNeeded: step.outcome = nil
        case .failed(let problem):
            let attempts = projected.revocation?.attempts ?? 0
            let grown = min(Self.revocationBackoffBase << Int64(min(attempts, 16)), Self.revocationBackoffLimit)
            let wait = max(grown - jitter.upTo(grown / 2), problem.retryAfter ?? 0)
            revocationNotBefore = now.monotonic.saturatingAdd(wait)
            step.failure = GrantRecord.Failure(problem, at: now.wall)
            step.outcome = .failedKeptForRetry
            step.nextAttemptAt = now.wall.saturatingAdd(wait)
            actions.append(.note(.revocationFailed(problem)))
            // It is kept once it is stored.
            if commitFailures == 0, !changes.contains(.revoke) { finishRevocationTickets(.failedKeptForRetry) }
        }
        changes.append(.revocationStep(step))
        // Who asked is not kept waiting for a store that fails, and is not told that all is well either.
        if commitFailures > 0 {
            for ticket in revocationTickets { actions.append(.finish(ticket, .revocationNotStored)) }
            revocationTickets = []
        }
        return finish(now)
    }

    mutating func revocationAdvanced(_ now: Moment) {
        // A sibling's attempt was read while ours waited for the store, and ours was the last.
        if let time = storedRevocationTime(now) { revocationNotBefore = min(revocationNotBefore, time) }
        guard record.revocation == nil, record.state == .revoked else { return }
        actions.append(.note(.revocationFinished(storedOutcome)))
        finishRevocationTickets(storedOutcome)
    }

    /// Of a revocation that has ended.
    private var storedOutcome: RevocationResult {
        record.revocationOutcome.flatMap(RevocationResult.init(rawValue:)) ?? .revoked
    }

    mutating func finishRevocationTickets(_ result: RevocationResult) {
        for ticket in revocationTickets {
            actions.append(.finish(ticket, .revocation(result)))
        }
        revocationTickets = []
    }

    /// Another replica may have ended the revocation, have been told that it must wait, or have connected the grant anew:
    /// who asked here is told.
    mutating func answerRevocationTickets(_ now: Moment) {
        guard isLoaded, !revocationTickets.isEmpty, changes.isEmpty else { return }
        if record.revocation == nil {
            finishRevocationTickets(record.state == .revoked ? storedOutcome : .nothingToRevoke)
        } else if call == nil, belongsElsewhere || revocationNotBefore > now.monotonic {
            finishRevocationTickets(.failedKeptForRetry)
        }
    }

    // MARK: Forgetting

    /// Injection stops at once. A call in flight goes on until the store has deleted the record: if it cannot, what the
    /// call brings is all that the grant has.
    mutating func forgetCommanded(_ ticket: Ticket) {
        changes.append(.forget(ticket: ticket))
        rebuildCredential()
    }

    mutating func forgotten(_ ticket: Ticket, now: Moment) {
        generationFloor = max(generationFloor, record.generation)
        record = GrantRecord()
        forgottenElsewhere()
        isDormant = true
        call = nil
        foreign = nil
        stopClocks()
        rebuildCredential()
        failForgottenRefreshTickets()
        finishRevocationTickets(.nothingToRevoke)
        for ended in imports {
            actions.append(
                .finish(
                    ended.ticket, .importFailed(code: "forgotten", detail: "The grant was forgotten meanwhile.")))
        }
        imports = []
        actions.append(.finish(ticket, .forgotten))
    }

    /// The record is gone: what is in use from memory, or under way, goes with it. When it went is not known: what was
    /// asked for here and has not gone out yet may be newer, and begins with nothing.
    mutating func forgottenElsewhere() {
        unstored = nil
        isDormant = unattended == nil || refreshTickets.isEmpty || isRefreshUnderWay
        if isDormant { failForgottenRefreshTickets() }
        abandonRefresh()
        changes.removeAll { change in
            switch change {
            case .refreshed, .failed: true
            // One that the store has refused before may have been made all the same, and be what was forgotten.
            case .consented(_, _, _, _, let ticket): ticket == nil
            case .intent, .importIntent, .importEnded, .created, .lateTokens, .revoke, .revocationStep, .unlatch,
                .forget:
                false
            }
        }
        if imports.first?.isBegun == true, !isImportIntentUnderWay {
            if let call, case .importing = call.kind { self.call = nil }
            endImport("forgotten", "The grant was forgotten while the refresh token was tried.")
        }
    }

    private mutating func failForgottenRefreshTickets() {
        finishRefreshTickets(.refreshFailed(code: "not_connected", detail: "The grant was forgotten meanwhile."))
    }

    /// The token call of a refresh has been sent, and its result may yet come.
    private var isRefreshUnderWay: Bool {
        if let call, case .refresh = call.kind { return true }
        return replay != nil || changes.contains { if case .refreshed = $0 { true } else { false } }
    }

    /// The import that is first in the queue has not been sent.
    private var isImportIntentUnderWay: Bool {
        changes.contains { if case .importIntent = $0 { true } else { false } }
    }

    // MARK: View

    package func status(now: Moment) -> GrantStatus {
        let view = projected
        let scopes = view.tokens?.scopes ?? []
        let nextRefresh = [notBefore > now.monotonic ? max(notBefore, refreshAt ?? notBefore) : refreshAt, keepaliveAt]
            .compactMap { $0 }.min()
        let next = nextRefresh.map { now.wall.saturatingAdd($0.saturatingSubtract(now.monotonic)) }
        return GrantStatus(
            name: settings.name, provider: settings.provider, state: state,
            reason: belongsElsewhere ? "other_provider" : isOver ? Self.noRefreshToken : view.lastFailure?.code,
            generation: unstored?.generation ?? view.generation, usable: usableCredential(now) != nil,
            hasRefreshToken: view.tokens?.refreshToken != nil, scopes: scopes,
            missingScopes: view.tokens?.lacking(of: settings.scopes) ?? [],
            account: view.account, expiresAt: (unstored?.tokens ?? view.tokens)?.expiresAt,
            refreshTokenExpiresAt: view.tokens?.refreshTokenExpiresAt, lastRefreshAt: view.lastRefreshAt,
            nextAttemptAt: view.state == .active || lacksTokens ? next : nil, lastFailure: view.lastFailure,
            consecutiveFailures: view.consecutiveFailures, revocationPending: view.revocation != nil,
            revocationOutcome: view.revocationOutcome, waiters: waiters.count, template: view.template,
            label: view.label, captured: view.captured)
    }
}
