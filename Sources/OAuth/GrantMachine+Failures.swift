// What a GrantMachine makes of a refresh that failed: the same again, later, or never.
extension GrantMachine {
    mutating func refreshFailed(_ problem: ProviderProblem, sent: GrantChange.SentRefresh, now: Moment) {
        // Who has lost the lease has no say: whoever is at it now writes what comes of it.
        let hasLease = sent.fence == 0 || record.intent?.instance == environment.instance
        if isStopped || projected.state == .revoked || record.generation != sent.generation || !hasLease {
            replay = nil
            return
        }
        let problem = problem.after(replay)
        if problem.outcomeUnknown, !belongsElsewhere {
            let next = nextReplay(of: replay, after: problem, now: now)
            actions.append(.note(.refreshOutcomeUnknown(code: problem.code, willReplay: next != nil)))
            replay = next
            if next != nil { return }
        }
        giveUp(problem, sent: sent, now: now)
    }

    private mutating func giveUp(_ problem: ProviderProblem, sent: GrantChange.SentRefresh, now: Moment) {
        replay = nil
        actions.append(.note(.refreshFailed(problem)))
        switch problem.errorClass {
        case .permanent where unattended == nil:
            beginLoad(.suspicion(problem, sent), now)
        case .permanent, .configuration: latch(problem, now: now)
        case .transient: backOff(problem, now: now)
        }
    }

    /// A lost reply is asked for again at once; a 5xx a moment later, since the same instant would only fail again.
    func nextReplay(of replay: Replay?, after problem: ProviderProblem, now: Moment) -> Replay? {
        guard provider.replayWindow > 0, problem.retryAfter == nil else { return nil }
        let count = (replay?.count ?? 0) + 1
        let firstLossAt = replay?.firstLossAt ?? now.monotonic
        guard count <= Self.replayLimit else { return nil }
        let delay: Int64 = count == 1 ? (problem.status == nil ? 0 : 1100) : 2200
        let next = Replay(
            count: count, firstLossAt: firstLossAt, dueAt: now.monotonic.saturatingAdd(delay), problem: problem)
        return isInWindow(next, at: next.dueAt) ? next : nil
    }

    func isInWindow(_ replay: Replay, at time: Int64) -> Bool {
        time.saturatingSubtract(replay.firstLossAt) <= provider.replayWindow
    }

    /// A replay's time has come. If it comes too late, since the process stood still, it is none any more.
    mutating func replayDue(_ replay: Replay, now: Moment) {
        guard isInWindow(replay, at: now.monotonic), leaseAllowsCall(now) else {
            self.replay = nil
            actions.append(.note(.refreshFailed(replay.problem)))
            backOff(replay.problem, now: now)
            return
        }
        sendRefresh(now)
    }

    /// Nobody consents to an unattended grant again: what is permanent there is for who configures it.
    mutating func latch(_ problem: ProviderProblem, now: Moment) {
        var failure = GrantRecord.Failure(problem, at: now.wall)
        if problem.errorClass == .configuration {
            isRefusalRemembered = false
            isOwnClientRefused = problem.code == "invalid_client" || problem.code == "unauthorized_client"
            let pause = environment.storeIsExclusive ? Self.refusedClientPause : Self.refusedCredentialsPause
            if isOwnClientRefused || !environment.storeIsExclusive {
                ownCredentialsRefusedUntil = now.monotonic.saturatingAdd(pause)
            }
        }
        if unattended != nil { failure.errorClass = .configuration }
        append(failure: failure, nextAttemptAt: nil, outcomeUnknown: false)
        finishRefreshTickets(.refreshFailed(code: problem.code, detail: problem.detail))
    }

    private mutating func backOff(_ problem: ProviderProblem, now: Moment) {
        if problem.isOwnEnd { return suspendRefresh(problem, now: now) }
        let failures = record.consecutiveFailures
        let grown = min(Self.backoffBase << Int64(min(failures, 16)), Self.backoffLimit)
        // Between a half and the whole of it; what the provider asks for is never shortened.
        let own = grown - jitter.upTo(grown / 2)
        let asked = problem.retryAfter.map { $0.saturatingAdd(jitter.upTo(min($0 / 10, 10_000))) } ?? 0
        let wait = max(own, asked)
        notBefore = now.monotonic.saturatingAdd(wait)
        // In force at once, whether or not the store takes it.
        record.consecutiveFailures = failures + 1
        let failure = GrantRecord.Failure(problem, at: now.wall)
        record.lastFailure = failure
        record.nextAttemptAt = now.wall.saturatingAdd(wait)
        append(failure: failure, nextAttemptAt: record.nextAttemptAt, outcomeUnknown: problem.outcomeUnknown)
        finishRefreshTickets(.refreshFailed(code: problem.code, detail: problem.detail))
    }

    /// The process ends: what was under way is made again at the next start, without a wait, and counts as no failure.
    private mutating func suspendRefresh(_ problem: ProviderProblem, now: Moment) {
        notBefore = now.monotonic.saturatingAdd(Self.backoffBase)
        append(
            failure: record.lastFailure ?? GrantRecord.Failure(problem, at: now.wall), nextAttemptAt: nil,
            outcomeUnknown: problem.outcomeUnknown)
        finishRefreshTickets(.refreshFailed(code: problem.code, detail: problem.detail))
    }

    mutating func append(failure: GrantRecord.Failure, nextAttemptAt: Int64?, outcomeUnknown: Bool) {
        changes.append(
            .failed(
                .init(
                    failure: failure, generation: record.generation, consecutive: record.consecutiveFailures,
                    nextAttemptAt: nextAttemptAt, fingerprint: fingerprint, outcomeUnknown: outcomeUnknown,
                    instance: environment.instance, isRejected: rejectedGeneration == currentGeneration,
                    isUnattended: unattended != nil)))
        rebuildCredential()
    }
}

extension ProviderProblem {
    /// What was lost before a repetition that failed is lost all the same, whatever that came to.
    func after(_ replay: GrantMachine.Replay?) -> ProviderProblem {
        var problem = self
        if replay != nil, errorClass == .transient { problem.outcomeUnknown = true }
        return problem
    }
}

extension GrantRecord.Failure {
    init(_ problem: ProviderProblem, at wall: Int64) {
        self.init(errorClass: problem.errorClass, code: problem.code, detail: problem.detail, at: wall)
    }
}
