import HTTP

/// Finds the most specific rule without a look at the others: what it costs depends on the request's path and on how many
/// lengths prefixes have, not on how many rules there are.
///
/// The rules of each host, and those for every host, make a group. In a group a path, exact or a prefix, has one entry in
/// a hash table. An entry leads to a chain of rules: those of its own path first, then those of the next shorter prefix
/// that covers it, and so on; all of them cover what the entry covers, so that only methods are compared along it.
///
/// One pass over the path hashes all its beginnings that may be prefixes, because the hash of a longer one is that of a
/// shorter one carried on. Callers may know the hash: they can look for entries, but not make any.
struct RouteIndex: Sendable {
    private struct Entry {
        /// 0 where the bucket is empty.
        var hash: UInt32 = 0
        /// The group, and whether the path is exact: `group * 2 + 1`, `group * 2`.
        var kind: UInt32 = 0
        /// Where the path is in `octets`.
        var start: UInt32 = 0
        var count: UInt32 = 0
        /// The first rule's link.
        var link: Int32 = -1
    }

    private struct Link {
        var rule: Int32
        /// -1: none.
        var next: Int32
        var takesAnyMethod: Bool
    }

    private struct Group {
        /// In `lengths`.
        var firstLength = 0
        var endLength = 0
        /// Of exact paths; -1: there are none.
        var longestExact = -1
    }

    /// The first is that of every host.
    private var groups = [Group()]
    /// The host of each group, in lower case.
    private var names: [[UInt8]] = [[]]
    /// Lengths that prefixes have, each once, ascending, group by group.
    private var lengths: [Int] = []
    /// A power of two, at most half full.
    private var entries: [Entry] = []
    private var octets: [UInt8] = []
    private var links: [Link] = []
    /// Groups by their host's hash, at most half full; -1: none. Empty where no rule has a host.
    private var hosts: [Int32] = []
    /// All prefixes end in "/": others are not looked for elsewhere.
    private var endsInSlash = true

    // MARK: Finding

    /// - Parameters:
    ///   - rules: those that the index was made of.
    ///   - host: without port, in any case.
    func find(
        _ path: UnsafeRawBufferPointer, host: UnsafeRawBufferPointer, method: UnsafeRawBufferPointer,
        in rules: [RouteRule]
    ) -> Int? {
        if !hosts.isEmpty, let group = group(of: host), let found = find(path, group, method, rules) { return found }
        return find(path, 0, method, rules)
    }

    private func find(
        _ path: UnsafeRawBufferPointer, _ group: Int, _ method: UnsafeRawBufferPointer, _ rules: [RouteRule]
    ) -> Int? {
        let walk = walk(path, group, upTo: path.count)
        if path.count <= groups[group].longestExact {
            let hash = Self.carryOn(walk.hash, path, walk.hashed, path.count)
            if let found = follow(link(hash, UInt32(group * 2 + 1), path), method, rules) { return found }
        }
        return follow(walk.prefix, method, rules)
    }

    /// Hashes the beginnings of the path that may be prefixes.
    @inline(__always)
    private func walk(
        _ path: UnsafeRawBufferPointer, _ group: Int, upTo limit: Int
    ) -> (prefix: Int32, hash: UInt64, hashed: Int) {
        var (prefix, hash, hashed) = (Int32(-1), Self.seed(group), 0)
        var index = groups[group].firstLength
        while index < groups[group].endLength, lengths[index] <= limit {
            let length = lengths[index]
            index += 1
            if endsInSlash, path[length - 1] != 0x2F { continue }
            hash = Self.carryOn(hash, path, hashed, length)
            hashed = length
            let link = link(hash, UInt32(group * 2), UnsafeRawBufferPointer(rebasing: path[..<length]))
            if link >= 0 { prefix = link }
        }
        return (prefix, hash, hashed)
    }

    /// The first rule of a chain that takes the method.
    private func follow(_ first: Int32, _ method: UnsafeRawBufferPointer, _ rules: [RouteRule]) -> Int? {
        var index = first
        while index >= 0 {
            let link = links[Int(index)]
            let rule = Int(link.rule)
            if link.takesAnyMethod || Self.contains(rules[rule].methods, method) { return rule }
            index = link.next
        }
        return nil
    }

    private static func contains(_ methods: [[UInt8]], _ method: UnsafeRawBufferPointer) -> Bool {
        for index in methods.indices where methods[index].withUnsafeBytes({ Octet.equal($0, method) }) { return true }
        return false
    }

    /// The first link of a path's entry; -1: there is none.
    @inline(__always)
    private func link(_ hash: UInt64, _ kind: UInt32, _ path: UnsafeRawBufferPointer) -> Int32 {
        let tag = Self.tag(hash)
        var bucket = Self.bucket(hash, entries.count)
        while entries[bucket].hash != 0 {
            if entries[bucket].hash == tag, entries[bucket].kind == kind, isPath(entries[bucket], path) {
                return entries[bucket].link
            }
            bucket = (bucket + 1) & (entries.count - 1)
        }
        return -1
    }

    private func isPath(_ entry: Entry, _ path: UnsafeRawBufferPointer) -> Bool {
        let start = Int(entry.start)
        let end = start + Int(entry.count)
        return octets.withUnsafeBytes { Octet.equal(UnsafeRawBufferPointer(rebasing: $0[start..<end]), path) }
    }

    private func group(of host: UnsafeRawBufferPointer) -> Int? {
        var bucket = Self.bucket(Self.hash(ofHost: host), hosts.count)
        while hosts[bucket] >= 0 {
            let group = Int(hosts[bucket])
            if names[group].withUnsafeBytes({ Octet.equal(host, ignoringCase: $0) }) { return group }
            bucket = (bucket + 1) & (hosts.count - 1)
        }
        return nil
    }

    // MARK: Hashing

    private static func bucket(_ hash: UInt64, _ count: Int) -> Int {
        Int(truncatingIfNeeded: hash) & (count - 1)
    }

    private static func tag(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) | 1 }

    private static func seed(_ group: Int) -> UInt64 { scrambled(UInt64(truncatingIfNeeded: group) &+ 1) }

    @inline(__always)
    private static func scrambled(_ word: UInt64) -> UInt64 {
        let product = word.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }

    /// The hash of the first `end` octets, from that of the first `start`. Where `end` is 8 or more the last word may
    /// reach back before `start`: it is the same octets for all that begin so.
    @inline(__always)
    private static func carryOn(
        _ hash: UInt64, _ bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int, lettersAlike: UInt64 = 0
    ) -> UInt64 {
        var hash = hash
        var offset = start
        while end - offset >= 8 {
            let word = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            hash = scrambled(hash ^ (word | lettersAlike))
            offset += 8
        }
        guard offset < end else { return hash }
        var word: UInt64 = 0
        if end >= 8 {
            word = bytes.loadUnaligned(fromByteOffset: end - 8, as: UInt64.self)
        } else {
            while offset < end {
                word = word << 8 | UInt64(bytes[offset])
                offset += 1
            }
        }
        return scrambled(hash ^ (word | lettersAlike)) &+ UInt64(truncatingIfNeeded: end)
    }

    /// The same for a host in upper and in lower case.
    private static func hash(ofHost host: UnsafeRawBufferPointer) -> UInt64 {
        carryOn(seed(0), host, 0, host.count, lettersAlike: 0x2020_2020_2020_2020)
    }
}

// MARK: - Making

extension RouteIndex {
    /// - Parameter order: the indexes of `rules`, the most specific first; as long as two of one path are in the right
    ///   order, it does not matter where the others are.
    init(_ rules: [RouteRule], order: [Int]) {
        let groupOfRule = makeGroups(rules)
        makeLengths(rules, groupOfRule)
        var size = 2
        while size < rules.count * 2 { size *= 2 }
        entries = Array(repeating: Entry(), count: size)
        links.reserveCapacity(rules.count)
        // From the least specific to the most: each rule goes before those that its path has already, and a path that is
        // new goes before the prefix that covers it.
        for rule in order.reversed() { insert(rule, rules[rule], groupOfRule[rule]) }
    }

    private mutating func makeGroups(_ rules: [RouteRule]) -> [Int] {
        var numbers: [[UInt8]: Int] = [:]
        let groupOfRule = rules.map { rule in
            guard let host = rule.host?.map({ Octet.lowercased($0) }) else { return 0 }
            if let known = numbers[host] { return known }
            numbers[host] = groups.count
            groups.append(Group())
            names.append(host)
            return groups.count - 1
        }
        guard groups.count > 1 else { return groupOfRule }
        var size = 4
        while size < groups.count * 2 { size *= 2 }
        hosts = Array(repeating: -1, count: size)
        for group in 1..<groups.count {
            var bucket = names[group].withUnsafeBytes { Self.bucket(Self.hash(ofHost: $0), size) }
            while hosts[bucket] >= 0 { bucket = (bucket + 1) & (size - 1) }
            hosts[bucket] = Int32(group)
        }
        return groupOfRule
    }

    private mutating func makeLengths(_ rules: [RouteRule], _ groupOfRule: [Int]) {
        var found = Array(repeating: Set<Int>(), count: groups.count)
        for (rule, group) in zip(rules, groupOfRule) {
            switch rule.path {
            case .exact(let path): groups[group].longestExact = max(groups[group].longestExact, path.count)
            case .prefix(let path):
                found[group].insert(path.count)
                if path.last != 0x2F { endsInSlash = false }
            }
        }
        for group in groups.indices {
            groups[group].firstLength = lengths.count
            lengths += found[group].sorted()
            groups[group].endLength = lengths.count
        }
    }

    private mutating func insert(_ index: Int, _ rule: RouteRule, _ group: Int) {
        let (path, kind) =
            switch rule.path {
            case .exact(let path): (path, UInt32(group * 2 + 1))
            case .prefix(let path): (path, UInt32(group * 2))
            }
        // Shorter prefixes are there already, and of no longer one could this be a part.
        let (hash, covering) = path.withUnsafeBytes { bytes in
            let walk = walk(bytes, group, upTo: bytes.count - 1)
            return (Self.carryOn(walk.hash, bytes, walk.hashed, bytes.count), walk.prefix)
        }
        var bucket = Self.bucket(hash, entries.count)
        while entries[bucket].hash != 0 {
            let entry = entries[bucket]
            if entry.hash == Self.tag(hash), entry.kind == kind, path.withUnsafeBytes({ isPath(entry, $0) }) { break }
            bucket = (bucket + 1) & (entries.count - 1)
        }
        if entries[bucket].hash == 0 {
            // What goes on from an exact path to the prefixes that cover it is known when the path is looked for.
            entries[bucket] = Entry(
                hash: Self.tag(hash), kind: kind, start: UInt32(octets.count), count: UInt32(path.count),
                link: kind & 1 == 1 ? -1 : covering)
            octets += path
        }
        links.append(
            Link(rule: Int32(index), next: entries[bucket].link, takesAnyMethod: rule.methods.isEmpty))
        entries[bucket].link = Int32(links.count - 1)
    }
}
