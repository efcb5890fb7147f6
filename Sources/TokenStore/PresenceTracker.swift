/// Who of the replicas is there, from what the database shows of them. Times are monotonic milliseconds.
///
/// A replica is not gone because the database was: after each new connection the others get the time to come back
/// (`settleTime`), and one that is missing counts as gone only when it has been missing without a break for
/// `graceTime`.
struct PresenceTracker {
    static let settleTime: Int64 = 3000
    static let graceTime: Int64 = 1500
    /// After this time without a sign of life a replica's row is taken away.
    static let forgetTime: Int64 = 10_000

    /// Replicas that are there, or were until now.
    private(set) var instances: Set<String> = []
    /// Since when the missing ones have been missing, as far as this connection has seen.
    private var missingSince: [String: Int64] = [:]
    private var settledAt: Int64?
    /// Whether what we say rests on a look at the database after everybody had the time to come back.
    private(set) var isKnown = false

    mutating func connected(now: Int64) {
        settledAt = now + Self.settleTime
        missingSince = [:]
        isKnown = false
    }

    mutating func lost() {
        settledAt = nil
        missingSince = [:]
        isKnown = false
    }

    /// What the database shows. Returns those whose rows may go.
    mutating func observed(present: Set<String>, absent: Set<String>, now: Int64) -> [String] {
        guard let settledAt else { return [] }
        instances.formUnion(present)
        for instance in present { missingSince[instance] = nil }
        for instance in absent.union(instances).subtracting(present) where missingSince[instance] == nil {
            missingSince[instance] = now
        }
        // Before all had the time to come back, nobody is gone.
        guard now >= settledAt else { return [] }
        for (instance, since) in missingSince where now - since >= Self.graceTime { instances.remove(instance) }
        let forgotten = missingSince.filter { now - $0.value >= Self.forgetTime }.map(\.key)
        for instance in forgotten { missingSince[instance] = nil }
        isKnown = true
        return forgotten.filter(absent.contains)
    }
}
