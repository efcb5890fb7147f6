// Where a GrantMachine decides: after each event, the facts are looked at once and what is due is started.
extension GrantMachine {
    mutating func settle(_ now: Moment, answering: Answering) {
        // A stop of injection goes out before anything else.
        publishIfChanged(now)
        if let load {
            if let retryAt = load.retryAt, retryAt <= now.monotonic {
                self.load?.retryAt = nil
                actions.append(.load)
            }
        } else if isLoaded {
            commitNext(now)
            startDueWork(now)
        }
        publishIfChanged(now)
        answerWaiters(answering, now)
        failRefreshTicketsThatCannotBeMet(now)
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
        guard changes.isEmpty, !isStopped else { return }
        if let replay {
            if replay.dueAt <= now.monotonic { sendRefresh(now) }
        } else if let reason = dueRefresh(now) {
            startRefresh(reason, now: now)
            commitNext(now)
        } else if isExhausted(now) {
            let failure = GrantRecord.Failure(
                errorClass: .permanent, code: "no_refresh_token",
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

    /// The store did not take the revocation, but the provider can be told all the same.
    private var mayCallForRevocation: Bool {
        changes.isEmpty || commitFailures > 0
    }

    /// The tokens came from another provider, before the configuration changed: they are not for this one to see.
    var belongsElsewhere: Bool {
        record.provider.map { $0 != settings.provider } ?? false
    }

    var isRefreshable: Bool {
        record.state == .active && record.tokens?.refreshToken != nil && !belongsElsewhere
    }

    /// The token has expired and nothing can replace it.
    private func isExhausted(_ now: Moment) -> Bool {
        guard record.state == .active, let tokens = record.tokens, tokens.refreshToken == nil else { return false }
        return expiresAt.map { $0 <= now.monotonic } ?? false
    }

    /// An operator has stopped injection; the store may not know yet.
    var isStopped: Bool {
        changes.contains {
            switch $0 {
            case .revoke, .forget: true
            case .intent, .refreshed, .consented, .failed, .lateTokens, .revocationStep, .unlatch: false
            }
        }
    }

    // MARK: Publishing

    mutating func rebuildCredential() {
        let view = projected
        let isLatched = view.state == .reauthorizationRequired || view.state == .configurationError
        guard !isStopped, !belongsElsewhere, view.state != .notConnected, view.state != .revoked,
            let tokens = record.tokens
        else {
            credential = nil
            return
        }
        // A latched grant's token serves until it expires, unless an upstream has rejected it.
        guard !(isLatched && rejectedGeneration == record.generation) else {
            credential = nil
            return
        }
        let scheme = provider.headerScheme.isEmpty ? "" : provider.headerScheme + " "
        credential = Credential(
            headerName: Array(provider.headerName.utf8), headerValue: Array(scheme.utf8) + tokens.accessToken.bytes,
            generation: record.generation, expiresAt: expiresAt)
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
        actions.append(.note(.stateChanged(state, reason: projected.lastFailure?.code)))
    }

    var state: GrantState {
        guard !isStopped else { return .revoked }
        switch projected.state {
        case .notConnected: return .notConnected
        case .active where belongsElsewhere: return .reauthorizationRequired
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
            case .intent, .refreshed: true
            case .consented, .failed, .lateTokens, .revoke, .revocationStep, .unlatch, .forget: false
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
        if !isCommitting, !changes.isEmpty, let commitRetryAt { times.append(commitRetryAt) }
        if call == nil, mayCallForRevocation, !belongsElsewhere, projected.revocation != nil {
            times.append(revocationNotBefore)
        }
        if changes.isEmpty, call == nil, !isStopped {
            if let replay {
                times.append(replay.dueAt)
            } else if let due = nextRefreshTime(now) {
                times.append(due)
            } else if record.state == .active, record.tokens?.refreshToken == nil, let expiresAt {
                times.append(expiresAt)
            }
        }
        return times.min()
    }

    private func nextRefreshTime(_ now: Moment) -> Int64? {
        guard isRefreshable else { return nil }
        let wanted = [
            refreshAt, keepaliveAt, recovery.map { _ in now.monotonic }, waiters.isEmpty ? nil : now.monotonic,
            owesRetryAfterRejection ? now.monotonic : nil,
        ].compactMap { $0 }.min()
        guard let wanted else { return nil }
        return max(wanted, refreshGate)
    }
}

// MARK: - Waiters

extension GrantMachine {
    private mutating func answerWaiters(_ answering: Answering, _ now: Moment) {
        switch answering {
        case .nobody: return
        case .everybody: break
        case .newcomer(let waiter):
            guard let rejected = waiters[waiter] else { return }
            // Who must wait, waits for the same as those before; who gets the credential changes nothing for them.
            guard let answer = answer(rejected: rejected, now: now) else { return }
            waiters.removeValue(forKey: waiter)
            actions.append(.answer(waiter, answer))
            if case .credential = answer { return }
        }
        guard !waiters.isEmpty else { return }
        var answers: [(WaiterID, CredentialAnswer)] = []
        for (waiter, rejected) in waiters {
            guard let answer = answer(rejected: rejected, now: now) else { continue }
            answers.append((waiter, answer))
        }
        // In the order in which they came.
        for (waiter, answer) in answers.sorted(by: { $0.0.number < $1.0.number }) {
            waiters.removeValue(forKey: waiter)
            actions.append(.answer(waiter, answer))
        }
    }

    /// nil: there is something to wait for.
    private func answer(rejected: UInt64?, now: Moment) -> CredentialAnswer? {
        guard isLoaded else {
            return load?.retryAt.map { .unavailable(.storeUnavailable, retryAfter: wait(until: $0, now)) }
        }
        if let credential = usableCredential(now), credential.generation != rejected {
            return .credential(credential)
        }
        if isStopped { return .unavailable(.revoked, retryAfter: nil) }
        if changes.contains(where: \.leadsToCredential) {
            // A commit that fails is tried again, but nobody waits for that.
            guard let commitRetryAt else { return nil }
            return .unavailable(.storeUnavailable, retryAfter: wait(until: commitRetryAt, now))
        }
        let view = projected
        switch view.state {
        case .notConnected: return .unavailable(.notConnected, retryAfter: nil)
        case .active where belongsElsewhere: return .unavailable(.reauthorizationRequired, retryAfter: nil)
        case .revoked: return .unavailable(.revoked, retryAfter: nil)
        case .reauthorizationRequired: return .unavailable(.reauthorizationRequired, retryAfter: nil)
        case .configurationError: return .unavailable(.configurationError, retryAfter: nil)
        case .active: break
        }
        guard view.tokens?.refreshToken != nil else {
            return .unavailable(rejected == nil ? .reauthorizationRequired : .noRefreshToken, retryAfter: nil)
        }
        if let load {
            return load.retryAt.map { .unavailable(.storeUnavailable, retryAfter: wait(until: $0, now)) }
        }
        if isRefreshing || (foreignIntentUntil ?? .min) > now.monotonic { return nil }
        return refusal(rejected: rejected, now: now)
    }

    /// No refresh is under way and none was started, although this waiter needs one: say why.
    private func refusal(rejected: UInt64?, now: Moment) -> CredentialAnswer {
        if storeBlockedUntil > now.monotonic {
            return .unavailable(.storeUnavailable, retryAfter: wait(until: storeBlockedUntil, now))
        }
        if notBefore > now.monotonic {
            return .unavailable(.refreshFailed, retryAfter: wait(until: notBefore, now))
        }
        if intervalGate > now.monotonic {
            return .unavailable(.refreshTooSoon, retryAfter: wait(until: intervalGate, now))
        }
        if rejected != nil, rejectionGate > now.monotonic {
            return .unavailable(.coolingDown, retryAfter: wait(until: rejectionGate, now))
        }
        return .unavailable(.refreshFailed, retryAfter: 1000)
    }

    private func wait(until time: Int64?, _ now: Moment) -> Int64? {
        time.map { max($0.saturatingSubtract(now.monotonic), 1) }
    }
}
