// The times of a grant: on the monotonic clock while the process runs, by the wall clock over restarts and from other
// replicas, whose clocks need not agree with ours.
extension GrantMachine {
    /// A background refresh does not follow the one before within less.
    static let backgroundSpacing: Int64 = 2000
    /// By which a machine's own plan is later than what the store was told.
    static let longestJitter: Int64 = 15_000
    /// Tokens from further in the future than this mean that a clock went back.
    static let clockTolerance: Int64 = 60_000
    static let smallClockError: Int64 = 2000
    /// So wrong another replica's clock may be before what it says ends a grant that has no refresh token.
    static let endTolerance: Int64 = 300_000

    /// Sets the times of a token set that came with a call sent at `sentAt`.
    mutating func startClocks(sentAt: Moment) {
        guard let tokens = currentTokens else { return stopClocks() }
        obtainedAt = sentAt.monotonic
        tokensSeenAt = sentAt.monotonic
        wereThereBefore = false
        expiresAt = tokens.expiresAt.map {
            sentAt.monotonic.saturatingAdd(max($0.saturatingSubtract(tokens.obtainedAt), 0))
        }
        lastCallAt = sentAt.monotonic
        planRefresh(earliest: sentAt.monotonic.saturatingAdd(Self.backgroundSpacing))
    }

    /// Sets the times of tokens that come from the store. `knownSince`: since when the store cannot have held them yet
    /// (nil at the start: nothing is known but what the wall clock says).
    mutating func readClocks(_ now: Moment, knownSince: Int64?) {
        guard let tokens = currentTokens else { return stopClocks() }
        let lifetime = tokens.expiresAt.map { max($0.saturatingSubtract(tokens.obtainedAt), 0) }
        let age = age(of: tokens, lifetime: lifetime, now, knownSince: knownSince)
        obtainedAt = now.monotonic.saturatingSubtract(age)
        tokensSeenAt = now.monotonic
        wereThereBefore = !isLoaded
        expiresAt = lifetime.map { obtainedAt.saturatingAdd($0) }
        lastCallAt = max(lastCallAt ?? .min, obtainedAt)
        // Many grants may be read at once: those that can wait part. One that has expired is needed now.
        let isExpired = expiresAt.map { $0 <= now.monotonic } ?? false
        planRefresh(
            earliest: isExpired ? nil : now.monotonic.saturatingAdd(jitter.upTo(Self.backgroundSpacing)))
    }

    /// The record is what the store holds now. An intent's tokens were asked for after it was first seen, and perhaps
    /// long before they could be stored; those that were used before they were stored had none. Where one intent has
    /// replaced another, the replica that was taken for dead may yet store what it got under the first.
    mutating func synced(_ readAt: Int64, _ now: Moment) {
        toldAt = now.monotonic
        if record.intent == nil || syncedIntent == nil { syncedAt = readAt }
        syncedIntent = record.intent
    }

    /// How long ago the tokens were asked for. Between replicas the wall clocks are believed only where they cannot be
    /// shown to be wrong: tokens are never older than the record before them is known not to be current.
    private func age(of tokens: GrantRecord.Tokens, lifetime: Int64?, _ now: Moment, knownSince: Int64?) -> Int64 {
        max(likelyAge(of: tokens, lifetime: lifetime, now, knownSince: knownSince), tokens.heldFor)
    }

    private func likelyAge(
        of tokens: GrantRecord.Tokens, lifetime: Int64?, _ now: Moment, knownSince: Int64?
    ) -> Int64 {
        let byWall = now.wall.saturatingSubtract(tokens.obtainedAt)
        guard let knownSince else {
            // Tokens from the future: how old they are is not known, so they count as expired.
            if byWall < -Self.clockTolerance { return lifetime ?? 0 }
            return max(byWall, 0)
        }
        // A refresh's tokens were asked for after its intent; a consent's wait for nobody's, but perhaps for the store.
        let waited = tokens.origin == nil ? tokens.heldFor : 0
        let bound = max(now.monotonic.saturatingSubtract(knownSince), 0).saturatingAdd(waited)
        // So little that it does not matter which: the safe side.
        if bound <= min(10_000, (lifetime ?? 0) / 8) { return bound }
        // Clocks that are kept in step differ by less than this; others say nothing, so the safe side again.
        return byWall < -Self.smallClockError ? bound : min(max(byWall, 0), bound)
    }

    /// When a token that nothing can refresh is over for everybody, and not just by a clock of ours that may be wrong: who
    /// says so too soon ends the grant at the other replicas, too. nil: it does not expire.
    func certainEnd(_ now: Moment) -> Int64? {
        guard let expiresAt, let tokens = record.tokens, let end = tokens.expiresAt else { return nil }
        if environment.storeIsExclusive { return expiresAt }
        let bySight = tokensSeenAt.saturatingAdd(max(end.saturatingSubtract(tokens.obtainedAt), 0))
        guard wereThereBefore else { return max(expiresAt, bySight) }
        let byWall = now.monotonic.saturatingAdd(
            end.saturatingAdd(Self.endTolerance).saturatingSubtract(now.wall))
        return max(expiresAt, min(bySight, byWall))
    }

    /// Back-off that the record says: from before a restart, or of a sibling. Never longer than it was when it was
    /// written, whatever the clocks say.
    mutating func readBackoff(_ now: Moment) {
        guard let nextAttemptAt = record.nextAttemptAt else {
            notBefore = .min
            return
        }
        let whole = record.lastFailure.map { max(nextAttemptAt.saturatingSubtract($0.at), 0) } ?? RetryAfter.limit
        let left = nextAttemptAt.saturatingSubtract(now.wall).clamped(to: 0...min(whole, RetryAfter.limit))
        notBefore = now.monotonic.saturatingAdd(left)
    }

    mutating func readRevocationClock(_ now: Moment) {
        if let time = storedRevocationTime(now) { revocationNotBefore = time }
    }

    /// When the record says that a revocation is to be tried again; nil: none is owed.
    func storedRevocationTime(_ now: Moment) -> Int64? {
        guard let revocation = record.revocation else { return nil }
        let wait = revocation.nextAttemptAt.saturatingSubtract(now.wall).clamped(to: 0...RetryAfter.limit)
        return now.monotonic.saturatingAdd(wait)
    }

    mutating func stopClocks() {
        expiresAt = nil
        refreshAt = nil
        keepaliveAt = nil
        obtainedAt = .min
        notBefore = .min
    }

    /// Ahead of expiry, later by up to a quarter of that, so that grants that were made together part, and replicas do
    /// not all try at once (checklist D33). Later, not earlier: some providers refuse a refresh that comes too soon.
    mutating func planRefresh(earliest: Int64?) {
        refreshAt = nil
        keepaliveAt = nil
        guard let tokens = currentTokens, tokens.refreshToken != nil || unattended != nil else { return }
        if let expiresAt, tokens.expiresAt != nil {
            let lead = lead(of: tokens)
            let planned = expiresAt.saturatingSubtract(lead)
                .saturatingAdd(spread(lead / 8, generation: currentGeneration))
                .saturatingAdd(jitter.upTo(min(lead / 8, Self.longestJitter)))
            refreshAt = max(planned, earliest ?? .min)
        }
        if let interval = provider.keepaliveInterval, interval > 0, obtainedAt != .min, unattended == nil {
            let planned = obtainedAt.saturatingAdd(interval)
                .saturatingSubtract(spread(interval / 20, generation: currentGeneration))
                .saturatingSubtract(jitter.upTo(interval / 20))
            keepaliveAt = max(planned, earliest ?? .min)
        }
    }

    /// Brakes that are over are forgotten, so that a grant at rest is at rest.
    mutating func releaseBrakes(_ now: Moment) {
        let isAccepted = rejectedGeneration != currentGeneration
        if isAccepted, now.monotonic.saturatingSubtract(obtainedAt) >= Self.strikeMemory { strikes = 0 }
        if lastRejectionRefreshAt != nil, strikes == 0, rejectionGate <= now.monotonic { lastRejectionRefreshAt = nil }
        if storeBlockedUntil <= now.monotonic { storeBlockedUntil = .min }
    }
}
