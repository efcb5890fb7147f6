// Where a GrantMachine decides: after each event, the facts are looked at once and what is due is started.
extension GrantMachine {
    mutating func settle(_ now: Moment, answering: Answering) {
        releaseBrakes(now)
        isOver = hasExpiredForGood(now)
        // A stop of injection goes out before anything else.
        publishIfChanged(now)
        if let load {
            if let retryAt = load.retryAt, retryAt <= now.monotonic {
                askStore(now)
            }
        } else if isLoaded {
            commitNext(now)
            startDueWork(now)
            confirmForeignIntent(now)
        }
        publishIfChanged(now)
        answerWaiters(answering, now)
        failRefreshTicketsThatCannotBeMet(now)
        answerRevocationTickets(now)
        noteState()
        armTimer(now)
    }

    private mutating func startDueWork(_ now: Moment) {
        let view = projected
        if call == nil, mayCallForRevocation, !belongsElsewhere, let owed = view.revocation?.tokens.first,
            revocationNotBefore <= now.monotonic
        {
            startRevocation(owed)
            return
        }
        guard mayBeginCall, !isStopped else { return }
        if let replay {
            if replay.dueAt <= now.monotonic { replayDue(replay, now: now) }
            commitNext(now)
        } else if startImport(now) {
            commitNext(now)
        } else if let reason = dueRefresh(now) {
            startRefresh(reason, now: now)
            commitNext(now)
        } else if isOver, let end = certainEnd(now), end <= now.monotonic {
            let failure = GrantRecord.Failure(
                errorClass: .permanent, code: Self.noRefreshToken,
                detail: "The access token has expired and there is no refresh token.", at: now.wall)
            append(failure: failure, nextAttemptAt: nil, outcomeUnknown: false)
            commitNext(now)
        }
    }

    /// The record as it will be: the stored one with the queued changes that are in force before they are durable.
    var projected: GrantRecord {
        guard !changes.isEmpty else { return record }
        return changes.reduce(record) { base, change in
            change.bringsTokens ? base : change.applied(to: base) ?? base
        }
    }

    /// Nothing is to be stored first; or only what a store that is away has not taken yet, and that can be replaced.
    private var mayBeginCall: Bool {
        if changes.isEmpty { return true }
        guard unstored != nil, !isCommitting, imports.isEmpty, changes.count == 1 else { return false }
        return changes[0].bringsTokens
    }

    /// The store did not take the revocation, but the provider can be told all the same.
    private var mayCallForRevocation: Bool {
        changes.isEmpty || commitFailures > 0
    }

    private func hasExpiredForGood(_ now: Moment) -> Bool {
        guard unattended == nil, record.state == .active, let tokens = record.tokens, tokens.refreshToken == nil else {
            return false
        }
        return expiresAt.map { $0 <= now.monotonic } ?? false
    }

    /// An operator has stopped injection; the store may not know yet.
    var isStopped: Bool {
        changes.contains(where: \.stopsInjection)
    }

    // MARK: Publishing

    mutating func rebuildCredential() {
        let view = projected
        let isLatched = view.state == .reauthorizationRequired || view.state == .configurationError
        let isConnected = view.state != .notConnected || unstored != nil
        guard !isStopped, !belongsElsewhere, isConnected, view.state != .revoked,
            let tokens = currentTokens
        else {
            credential = nil
            return
        }
        // A latched grant's token serves until it expires, unless an upstream has rejected it.
        guard !(isLatched && rejectedGeneration == currentGeneration) else {
            credential = nil
            return
        }
        let name = tokens.type == .dpop && provider.presentsBearerTokens ? "DPoP" : provider.headerScheme
        let scheme = name.isEmpty ? "" : name + " "
        credential = Credential(
            headerName: Array(provider.headerName.utf8), headerValue: Array(scheme.utf8) + tokens.accessToken.bytes,
            generation: currentGeneration, expiresAt: expiresAt, proofKey: tokens.type == .dpop ? tokens.proofKey : nil,
            extraHeaders: provider.expandedExtraHeaders(templateVariables),
            captured: provider.variables.merging(templateVariables) { _, own in own })
    }

    func usableCredential(_ now: Moment) -> Credential? {
        guard let credential, credential.isUsable(atMonotonic: now.monotonic) else { return nil }
        return credential
    }

    mutating func publishIfChanged(_ now: Moment) {
        let current = usableCredential(now)
        guard current != published else { return }
        published = current
        actions.append(.publish(current))
    }

    private mutating func noteState() {
        let state = self.state
        guard isLoaded, state != notedState else { return }
        notedState = state
        actions.append(.note(.stateChanged(state, reason: isOver ? Self.noRefreshToken : projected.lastFailure?.code)))
    }

    var state: GrantState {
        guard !isStopped else { return .revoked }
        switch projected.state {
        case .notConnected where unstored != nil: return isRefreshing ? .refreshing : .active
        case .notConnected where unattended != nil && isRefreshing: return .refreshing
        case .notConnected: return .notConnected
        case .active where belongsElsewhere && unattended == nil: return .reauthorizationRequired
        case .active where isOver && !changes.contains(where: \.bringsTokens): return .reauthorizationRequired
        case .active: return isRefreshing ? .refreshing : .active
        case .reauthorizationRequired: return .reauthorizationRequired
        case .configurationError: return .configurationError
        case .revoked: return .revoked
        }
    }

    var isRefreshing: Bool {
        if replay != nil { return true }
        if let call, case .refresh = call.kind { return true }
        if let load, case .suspicion = load.purpose { return true }
        return changes.contains {
            switch $0 {
            case .intent: true
            case .refreshed: unstored == nil
            case .consented, .failed, .importIntent, .importEnded, .created, .lateTokens, .revoke, .revocationStep,
                .unlatch, .forget:
                false
            }
        }
    }

    // MARK: Timer

    private mutating func armTimer(_ now: Moment) {
        // Never a time that has passed: what is due was started above, and a timer must not spin on what was not.
        let next = nextTime(now).map { max($0, now.monotonic.saturatingAdd(10)) }
        guard next != armed else { return }
        armed = next
        // First: a driver that gets an answer while it performs the rest must not set an older time over a newer one.
        actions.insert(.armTimer(at: next), at: 0)
    }

    private func nextTime(_ now: Moment) -> Int64? {
        if let load { return load.retryAt }
        guard isLoaded else { return nil }
        var times: [Int64] = []
        if !isCommitting, !changes.isEmpty, !holdsCommit, let commitRetryAt { times.append(commitRetryAt) }
        if call == nil, mayCallForRevocation, !belongsElsewhere, projected.revocation != nil {
            times.append(revocationNotBefore)
        }
        if mayBeginCall, call == nil, !isStopped {
            if let replay {
                times.append(replay.dueAt)
            } else if let first = imports.first {
                // Where it waits for nothing the one before it has ended in this moment.
                times.append(first.replay?.dueAt ?? foreign?.until ?? now.monotonic)
            } else if let due = nextRefreshTime(now) {
                times.append(due)
            } else if record.state == .active, currentTokens?.refreshToken == nil, unattended == nil {
                if let end = isOver ? certainEnd(now) : expiresAt { times.append(end) }
            }
        }
        return times.min()
    }

    private func nextRefreshTime(_ now: Moment) -> Int64? {
        guard isRefreshable else { return nil }
        let isLacking = lacksTokens && !(isDormant && waiters.isEmpty)
        let wanted = [
            refreshAt, keepaliveAt, recovery.map { _ in now.monotonic }, waiters.isEmpty ? nil : now.monotonic,
            owesRetryAfterRejection || isLacking ? now.monotonic : nil,
        ].compactMap { $0 }.min()
        guard let wanted else { return nil }
        return max(wanted, refreshGate)
    }
}
