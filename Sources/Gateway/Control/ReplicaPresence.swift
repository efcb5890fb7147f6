/// Which replicas are alive, as the shared store says, and what follows from it. A value.
///
/// Nobody is taken for dead whom we have not seen alive, or whose name we learnt from a record, before two reports that
/// were made after that have not named it: a report may be older than the newcomer's first commit.
struct ReplicaPresence: Sendable {
    private(set) var present: Set<String> = []
    private(set) var isKnown = false
    /// Names from intents that no report has held yet, with the number of reports since.
    private var suspects: [String: Int] = [:]
    private var gone: Set<String> = []
    private static let limit = 1024
    let own: String

    init(own: String) {
        self.own = own
    }

    /// - Parameter isKnown: false while the database was away or has just restarted: then nobody is taken for dead.
    /// - Returns: instances that are gone now.
    mutating func reported(_ instances: Set<String>, isKnown: Bool) -> Set<String> {
        self.isKnown = isKnown
        guard isKnown else {
            suspects = suspects.mapValues { _ in 0 }
            return []
        }
        var found = present.subtracting(instances)
        present = instances
        for (name, reports) in suspects {
            if instances.contains(name) {
                suspects[name] = nil
            } else if reports >= 1 {
                suspects[name] = nil
                found.insert(name)
            } else {
                suspects[name] = reports + 1
            }
        }
        found.remove(own)
        gone.subtract(instances)
        if gone.count + found.count > Self.limit { gone = [] }
        gone.formUnion(found)
        return found
    }

    /// A record that was read holds an intent of this instance.
    ///
    /// - Returns: true when it is known to be gone; otherwise its going will be among what ``reported(_:isKnown:)``
    ///   returns.
    mutating func intentSeen(of instance: String) -> Bool {
        guard instance != own, !present.contains(instance) else { return false }
        if gone.contains(instance) { return true }
        if suspects[instance] == nil, suspects.count < Self.limit { suspects[instance] = 0 }
        return false
    }

    /// Whether this replica is the one that begins with a grant that is due (rendezvous hashing): all agree while they
    /// see the same replicas, and a replica that comes or goes moves only its share.
    func prefers(_ grant: String) -> Bool {
        guard isKnown, !present.isEmpty else { return false }
        let best = present.union([own]).max { left, right in
            let (one, other) = (Self.weight(left, grant), Self.weight(right, grant))
            return one == other ? left < right : one < other
        }
        return best == own
    }

    private static func weight(_ instance: String, _ grant: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        for byte in instance.utf8 { mix(byte) }
        mix(0)
        for byte in grant.utf8 { mix(byte) }
        // FNV alone leaves names that differ in their last letter close together.
        hash ^= hash >> 33
        hash = hash &* 0xff51_afd7_ed55_8ccd
        return hash ^ (hash >> 33)
    }
}
