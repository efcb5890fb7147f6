import Telemetry

/// Signed-in operators. Only hashes of the cookies are kept, so the memory of the process signs nobody in.
struct SessionTable: Sendable {
    private var expiries: [[UInt8]: Timestamp] = [:]

    /// Adds a session; the one that ends first makes room where the table is full. Only who knows the secret comes here.
    mutating func add(hash: [UInt8], now: Timestamp) {
        expiries = expiries.filter { $0.value > now }
        if expiries.count >= ConsoleLimits.sessions, let oldest = expiries.min(by: { $0.value < $1.value }) {
            expiries[oldest.key] = nil
        }
        expiries[hash] = Timestamp(unixSeconds: now.unixSeconds + ConsoleLimits.sessionSeconds)
    }

    func contains(hash: [UInt8], now: Timestamp) -> Bool {
        guard let expiry = expiries[hash] else { return false }
        return expiry > now
    }

    mutating func remove(hash: [UInt8]) {
        expiries[hash] = nil
    }

    mutating func removeAll() {
        expiries = [:]
    }

    var count: Int { expiries.count }
}

/// One-time links to a grant's consent. A full table refuses new ones: a flood must not push out a real one.
struct TicketTable: Sendable {
    private struct Entry: Sendable {
        var grant: String
        var expiry: Timestamp
    }

    private var entries: [[UInt8]: Entry] = [:]

    /// False where there are too many.
    mutating func add(hash: [UInt8], grant: String, now: Timestamp) -> Bool {
        entries = entries.filter { $0.value.expiry > now }
        guard entries.count < ConsoleLimits.tickets else { return false }
        entries[hash] = Entry(
            grant: grant, expiry: Timestamp(unixSeconds: now.unixSeconds + ConsoleLimits.ticketSeconds))
        return true
    }

    /// True once for a ticket of this grant. A ticket shown for another grant is used up as well.
    mutating func take(hash: [UInt8], grant: String, now: Timestamp) -> Bool {
        guard let entry = entries.removeValue(forKey: hash) else { return false }
        return entry.grant == grant && entry.expiry > now
    }
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
