// Who waits for a credential, and what each is told.
extension GrantMachine {
    mutating func answerWaiters(_ answering: Answering, _ now: Moment) {
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
        if call != nil, unstored != nil { return nil }
        if changes.contains(where: \.leadsToCredential) {
            // A commit that fails is tried again, but nobody waits for that.
            guard let commitRetryAt else { return nil }
            return .unavailable(.storeUnavailable, retryAfter: wait(until: commitRetryAt, now))
        }
        let view = projected
        switch view.state {
        case .notConnected where unattended != nil: break
        case .notConnected: return .unavailable(.notConnected, retryAfter: nil)
        case .active where belongsElsewhere && unattended == nil:
            return .unavailable(.reauthorizationRequired, retryAfter: nil)
        case .revoked: return .unavailable(.revoked, retryAfter: nil)
        case .reauthorizationRequired: return .unavailable(.reauthorizationRequired, retryAfter: nil)
        case .configurationError: return .unavailable(.configurationError, retryAfter: nil)
        case .active: break
        }
        guard view.tokens?.refreshToken != nil || unattended != nil else {
            return .unavailable(rejected == nil ? .reauthorizationRequired : .noRefreshToken, retryAfter: nil)
        }
        if let load {
            return load.retryAt.map { .unavailable(.storeUnavailable, retryAfter: wait(until: $0, now)) }
        }
        if isRefreshing || isWaitingForSibling(now) { return nil }
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
        // Another replica, with other credentials, may well refresh it: who is alone says what it is.
        if environment.storeIsExclusive, ownCredentialsRefusedUntil > now.monotonic {
            return .unavailable(.configurationError, retryAfter: wait(until: ownCredentialsRefusedUntil, now))
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
