import Telemetry

/// Sessions that were ended before their time. Only hashes of the cookies are kept.
///
/// Another replica does not learn of it: there the cookie, which the browser has dropped, would be good until its end.
/// Who fears that it was copied changes the console's secret, which ends every session everywhere.
struct SignedOutTable: Sendable {
    private var expiries: [[UInt8]: Timestamp] = [:]

    /// The one that ends first makes room where the table is full.
    mutating func add(hash: [UInt8], now: Timestamp) {
        expiries = expiries.filter { $0.value > now }
        if expiries.count >= ConsoleLimits.signedOut, let oldest = expiries.min(by: { $0.value < $1.value }) {
            expiries[oldest.key] = nil
        }
        expiries[hash] = Timestamp(unixSeconds: now.unixSeconds + ConsoleLimits.sessionSeconds)
    }

    func contains(hash: [UInt8]) -> Bool { expiries[hash] != nil }

    var count: Int { expiries.count }
}

/// Limits how often a peer may send a wrong secret: some at once, then one each few seconds.
///
/// A peer over its limit is not even compared, so that guessing on gains nothing.
struct AttemptLimiter: Sendable {
    /// When the peer's allowance is whole again. Each wrong attempt moves it on.
    private var restoredAt: [String: Int64] = [:]

    /// Seconds until the peer may try again; `nil` where it may now.
    func secondsToWait(peer: String, now: Timestamp) -> Int64? {
        guard let restored = restoredAt[peer] else { return nil }
        let allowance = Int64(ConsoleLimits.attemptsPerPeer - 1) * ConsoleLimits.secondsPerAttempt
        let wait = restored - now.unixSeconds - allowance
        // A clock that was set back must not lock a peer out until it has caught up.
        return wait > 0 && wait <= ConsoleLimits.secondsPerAttempt ? wait : nil
    }

    mutating func attemptFailed(peer: String, now: Timestamp) {
        if restoredAt[peer] == nil, restoredAt.count >= ConsoleLimits.attemptPeers { makeRoom(now: now) }
        let whole = Int64(ConsoleLimits.attemptsPerPeer) * ConsoleLimits.secondsPerAttempt
        let next = max(now.unixSeconds, restoredAt[peer] ?? 0) + ConsoleLimits.secondsPerAttempt
        restoredAt[peer] = min(next, now.unixSeconds + whole)
    }

    private mutating func makeRoom(now: Timestamp) {
        restoredAt = restoredAt.filter { $0.value > now.unixSeconds }
        guard restoredAt.count >= ConsoleLimits.attemptPeers,
            let nearest = restoredAt.min(by: { $0.value < $1.value })
        else { return }
        restoredAt[nearest.key] = nil
    }
}
