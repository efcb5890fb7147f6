// When a GrantMachine refreshes, and what it makes of the answer.
extension GrantMachine {
    /// Replays of one lost reply.
    static let replayLimit = 2
    static let backoffBase: Int64 = 1000
    static let backoffLimit: Int64 = 300_000
    /// A background refresh does not follow the one before within less.
    static let backgroundSpacing: Int64 = 2000
    /// A token that lived this long was accepted somewhere: its rejection is no strike.
    static let strikeMemory: Int64 = 600_000
    static let rejectionGateLimit: Int64 = 3_600_000

    // MARK: Gates

    /// No refresh before this time, but for an operator's command.
    var refreshGate: Int64 {
        max(notBefore, storeBlockedUntil, intervalGate, foreignIntentUntil ?? .min)
    }

    var intervalGate: Int64 {
        guard let lastCallAt, provider.minimumRefreshInterval > 0 else { return .min }
        return lastCallAt.saturatingAdd(provider.minimumRefreshInterval)
    }

    /// No refresh because of a 401 before this time: the cool-down, doubled with each fresh token that was rejected too.
    var rejectionGate: Int64 {
        guard let lastRejectionRefreshAt else { return .min }
        // Zero switches the brake off, also the one that grows.
        let base = provider.rejectionCooldown
        let grown = base.multipliedReportingOverflow(by: 1 << Int64(min(strikes, 20)))
        let wait =
            grown.overflow ? Self.rejectionGateLimit : min(grown.partialValue, max(base, Self.rejectionGateLimit))
        return lastRejectionRefreshAt.saturatingAdd(wait)
    }

    /// A refresh that a 401 asked for has failed for now: it is still owed.
    var owesRetryAfterRejection: Bool {
        record.consecutiveFailures > 0 && rejectedGeneration == record.generation
    }

    /// Why a refresh is to start now; nil: it is not.
    func dueRefresh(_ now: Moment) -> GrantFact.RefreshReason? {
        guard isRefreshable, call == nil else { return nil }
        guard (foreignIntentUntil ?? .min) <= now.monotonic, storeBlockedUntil <= now.monotonic else { return nil }
        if !refreshTickets.isEmpty { return .command }
        guard refreshGate <= now.monotonic else { return nil }
        if let recovery { return recovery }
        let isWaitedFor = !waiters.isEmpty
        if isWaitedFor, usableCredential(now) == nil { return isRetry ?? .expiry }
        if isWaitedFor, rejectionGate <= now.monotonic,
            waiters.values.contains(where: { $0 == .some(record.generation) })
        {
            return .rejected
        }
        if owesRetryAfterRejection { return .retry }
        if let refreshAt, refreshAt <= now.monotonic { return isRetry ?? .expiry }
        if let keepaliveAt, keepaliveAt <= now.monotonic { return isRetry ?? .keepalive }
        return nil
    }

    private var isRetry: GrantFact.RefreshReason? {
        record.consecutiveFailures > 0 ? .retry : nil
    }

    // MARK: Planning

    /// Sets the times of a token set that came with a call sent at `sentAt`.
    mutating func startClocks(sentAt: Moment) {
        guard let tokens = record.tokens else { return stopClocks() }
        obtainedAt = sentAt.monotonic
        expiresAt = tokens.expiresAt.map {
            sentAt.monotonic.saturatingAdd(max($0.saturatingSubtract(tokens.obtainedAt), 0))
        }
        lastCallAt = sentAt.monotonic
        planRefresh(earliest: sentAt.monotonic.saturatingAdd(Self.backgroundSpacing))
    }

    /// Sets the times of tokens that come from the store, by the wall clock. `atStart`: how old they are is not known,
    /// and tokens from the future mean that the clock went back: they count as expired.
    mutating func readClocks(_ now: Moment, atStart: Bool) {
        guard let tokens = record.tokens else { return stopClocks() }
        let age = now.wall.saturatingSubtract(tokens.obtainedAt)
        obtainedAt = now.monotonic.saturatingSubtract(max(age, 0))
        expiresAt = tokens.expiresAt.map { expiry in
            guard !atStart || age >= -60_000 else { return now.monotonic }
            let lifetime = max(expiry.saturatingSubtract(tokens.obtainedAt), 0)
            return now.monotonic.saturatingAdd(min(expiry.saturatingSubtract(now.wall), lifetime))
        }
        lastCallAt = max(lastCallAt ?? .min, obtainedAt)
        // Many grants may be read at once: those that can wait part. One that has expired is needed now.
        let isExpired = expiresAt.map { $0 <= now.monotonic } ?? false
        planRefresh(
            earliest: isExpired ? nil : now.monotonic.saturatingAdd(jitter.upTo(Self.backgroundSpacing)))
    }

    /// Back-off that the record says: from before a restart, or of a sibling.
    mutating func readBackoff(_ now: Moment) {
        notBefore =
            record.nextAttemptAt.map {
                now.monotonic.saturatingAdd($0.saturatingSubtract(now.wall).clamped(to: 0...RetryAfter.limit))
            } ?? .min
    }

    private mutating func stopClocks() {
        expiresAt = nil
        refreshAt = nil
        keepaliveAt = nil
        obtainedAt = .min
        notBefore = .min
    }

    /// Ahead of expiry by min(skew, half of the lifetime), later by up to a quarter of that, so that grants that were
    /// made together part (checklist D33). Later, not earlier: some providers refuse a refresh that comes too soon.
    mutating func planRefresh(earliest: Int64?) {
        refreshAt = nil
        keepaliveAt = nil
        guard let tokens = record.tokens, tokens.refreshToken != nil else { return }
        if let expiresAt, let expiry = tokens.expiresAt {
            let lifetime = max(expiry.saturatingSubtract(tokens.obtainedAt), 0)
            let lead = min(max(provider.refreshSkew, 0), lifetime / 2)
            let planned = expiresAt.saturatingSubtract(lead).saturatingAdd(jitter.upTo(lead / 4))
            refreshAt = max(planned, earliest ?? .min)
        }
        if let interval = provider.keepaliveInterval, interval > 0, obtainedAt != .min {
            let planned = obtainedAt.saturatingAdd(interval).saturatingSubtract(jitter.upTo(interval / 10))
            keepaliveAt = max(planned, earliest ?? .min)
        }
    }

    // MARK: 401

    mutating func generationRejected(_ generation: UInt64, now: Moment) {
        guard rejectedGeneration != generation else { return }
        rejectedGeneration = generation
        let isFresh = now.monotonic.saturatingSubtract(obtainedAt) < Self.strikeMemory
        if generationFromRejection == generation, isFresh {
            strikes += 1
            actions.append(.note(.freshTokenRejected(strikes: strikes)))
        } else {
            strikes = 0
        }
        rebuildCredential()
    }

    // MARK: The call

    mutating func startRefresh(_ reason: GrantFact.RefreshReason, now: Moment) {
        refreshReason = reason
        recovery = nil
        foreignIntentUntil = nil
        if reason == .rejected { lastRejectionRefreshAt = now.monotonic }
        actions.append(.note(.refreshStarted(reason)))
        let calls = provider.callDeadline.multipliedReportingOverflow(by: Int64(Self.replayLimit) + 1)
        let term = (calls.overflow ? Int64.max : calls.partialValue).saturatingAdd(max(provider.replayWindow, 0) + 5000)
        let intent = GrantRecord.Intent(
            instance: environment.instance, startedAt: now.wall, expiresAt: now.wall.saturatingAdd(term))
        changes.append(.intent(intent, generation: record.generation))
    }

    /// Sends the current refresh token: after its intent is durable, or again after a lost reply.
    mutating func sendRefresh(_ now: Moment) {
        // A reload may have named another provider since this refresh began: it must not see the token.
        guard !belongsElsewhere, let token = record.tokens?.refreshToken else {
            replay = nil
            return
        }
        replay?.dueAt = .max
        lastCallAt = now.monotonic
        let id = CallID(owner: .grant(settings.name), number: nextCall)
        nextCall += 1
        call = Call(id: id, kind: .refresh(.init(generation: record.generation, refreshToken: token)))
        actions.append(.requestTokens(TokenCall(id: id, kind: .refresh(refreshToken: token, scopes: settings.scopes))))
    }

    /// A refresh ended. Answers to abandoned calls are dropped.
    package mutating func tokenCallFinished(_ id: CallID, _ report: TokenCallReport, now: Moment) -> [GrantAction] {
        guard let call, call.id == id, case .refresh(let sent) = call.kind else {
            actions.append(.note(.lateResultDropped))
            return finish(now)
        }
        self.call = nil
        switch report.result {
        case .success(let tokens): refreshSucceeded(tokens, sent: sent, sentAt: report.sentAt)
        case .failure(let problem): refreshFailed(problem, sent: sent, now: now)
        }
        return finish(now)
    }

    private mutating func refreshSucceeded(_ tokens: TokenSet, sent: GrantChange.SentRefresh, sentAt: Moment) {
        replay = nil
        if isStopped || projected.state == .revoked {
            changes.append(.lateTokens(tokens.revocable))
            return
        }
        if tokens.lifetime == nil { actions.append(.note(.lifetimeUnknown)) }
        changes.append(
            .refreshed(tokens, sent: sent, sentAt: sentAt, requiredScopes: settings.requiredScopes))
    }

    private mutating func refreshFailed(_ problem: ProviderProblem, sent: GrantChange.SentRefresh, now: Moment) {
        if isStopped || projected.state == .revoked || record.generation != sent.generation {
            replay = nil
            return
        }
        if problem.outcomeUnknown, !belongsElsewhere {
            let next = nextReplay(after: problem, now: now)
            actions.append(.note(.refreshOutcomeUnknown(code: problem.code, willReplay: next != nil)))
            replay = next
            if next != nil { return }
        }
        replay = nil
        actions.append(.note(.refreshFailed(problem)))
        switch problem.errorClass {
        case .permanent:
            load = Load(purpose: .suspicion(problem, sent))
            actions.append(.load)
        case .configuration: latch(problem, now: now)
        case .transient: backOff(problem, now: now)
        }
    }

    /// A lost reply is asked for again at once; a 5xx a moment later, since the same instant would only fail again.
    private func nextReplay(after problem: ProviderProblem, now: Moment) -> Replay? {
        guard provider.replayWindow > 0, problem.retryAfter == nil else { return nil }
        let count = (replay?.count ?? 0) + 1
        let firstLossAt = replay?.firstLossAt ?? now.monotonic
        guard count <= Self.replayLimit else { return nil }
        let delay: Int64 = count == 1 ? (problem.status == nil ? 0 : 1100) : 2200
        let dueAt = now.monotonic.saturatingAdd(delay)
        guard dueAt.saturatingSubtract(firstLossAt) <= provider.replayWindow else { return nil }
        return Replay(count: count, firstLossAt: firstLossAt, dueAt: dueAt)
    }

    mutating func latch(_ problem: ProviderProblem, now: Moment) {
        append(failure: GrantRecord.Failure(problem, at: now.wall), nextAttemptAt: nil, outcomeUnknown: false)
        finishRefreshTickets(.refreshFailed(code: problem.code, detail: problem.detail))
    }

    private mutating func backOff(_ problem: ProviderProblem, now: Moment) {
        let failures = record.consecutiveFailures
        let grown = min(Self.backoffBase << Int64(min(failures, 16)), Self.backoffLimit)
        // Between a half and the whole of it; what the provider asks for is never shortened.
        let own = grown - jitter.upTo(grown / 2)
        let asked = problem.retryAfter.map { $0.saturatingAdd(jitter.upTo(min($0 / 10, 10_000))) } ?? 0
        let wait = max(own, asked)
        notBefore = now.monotonic.saturatingAdd(wait)
        // In force at once, whether or not the store takes it.
        record.consecutiveFailures = failures + 1
        record.lastFailure = GrantRecord.Failure(problem, at: now.wall)
        append(
            failure: GrantRecord.Failure(problem, at: now.wall), nextAttemptAt: now.wall.saturatingAdd(wait),
            outcomeUnknown: problem.outcomeUnknown)
        finishRefreshTickets(.refreshFailed(code: problem.code, detail: problem.detail))
    }

    mutating func append(failure: GrantRecord.Failure, nextAttemptAt: Int64?, outcomeUnknown: Bool) {
        changes.append(
            .failed(
                .init(
                    failure: failure, generation: record.generation, consecutive: record.consecutiveFailures,
                    nextAttemptAt: nextAttemptAt, fingerprint: provider.fingerprint, outcomeUnknown: outcomeUnknown,
                    isRejected: rejectedGeneration == record.generation)))
        rebuildCredential()
    }

    // MARK: Commands

    mutating func refreshCommanded(_ ticket: Ticket) {
        let view = projected
        let isLatched = view.state == .reauthorizationRequired || view.state == .configurationError
        if isLatched, view.tokens?.refreshToken != nil {
            changes.append(.unlatch)
        }
        refreshTickets.append(ticket)
    }

    /// Tickets that wait although no refresh can come of it are told so.
    mutating func failRefreshTicketsThatCannotBeMet(_ now: Moment) {
        guard isLoaded, !refreshTickets.isEmpty, !isRefreshing, load == nil else { return }
        guard !changes.contains(where: \.leadsToCredential) || commitRetryAt != nil else { return }
        if (foreignIntentUntil ?? .min) > now.monotonic { return }
        let view = projected
        let (code, detail): (String, String) =
            if isStopped || view.state == .revoked {
                ("revoked", "The grant is revoked.")
            } else if view.tokens == nil {
                ("not_connected", "The grant is not connected.")
            } else if belongsElsewhere {
                ("other_provider", "The grant's tokens are another provider's: authorize it again.")
            } else if view.tokens?.refreshToken == nil {
                ("no_refresh_token", "The grant has no refresh token.")
            } else if storeBlockedUntil > now.monotonic || commitRetryAt != nil {
                ("store_unavailable", "The store does not take the result of a refresh, so none is made.")
            } else {
                (view.lastFailure?.code ?? "refresh_failed", view.lastFailure?.detail ?? "The refresh did not start.")
            }
        finishRefreshTickets(.refreshFailed(code: code, detail: detail))
    }

    mutating func finishRefreshTickets(_ result: TicketResult) {
        for ticket in refreshTickets {
            actions.append(.finish(ticket, result))
        }
        refreshTickets = []
    }

    mutating func unlatchIfConfigurationChanged() {
        let view = projected
        guard let latched = view.latchedFingerprint, latched != provider.fingerprint else { return }
        guard view.state == .reauthorizationRequired || view.state == .configurationError else { return }
        guard view.tokens?.refreshToken != nil else { return }
        changes.append(.unlatch)
        recovery = .recovery
    }
}

extension GrantRecord.Failure {
    init(_ problem: ProviderProblem, at wall: Int64) {
        self.init(errorClass: problem.errorClass, code: problem.code, detail: problem.detail, at: wall)
    }
}
