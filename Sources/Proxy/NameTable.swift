internal import HTTP

/// A bounded number of names, each with a place: what is known of a name stands at its place in an array of the owner's.
///
/// Names in use stay. Of the others the one that was let go first goes when there is no room; while all are in use the
/// table grows past its capacity and shrinks by what is let go. No call costs more the more names there are, and none
/// allocates but ``add(_:)``.
package struct NameTable: Sendable {
    private struct Node: Sendable {
        var name: [UInt8]
        var hash: Int
        var users = 0
        /// Neighbours among the names that nobody uses, or the next free node; -1: none.
        var newer: Int32 = -1
        var older: Int32 = -1
    }

    package let capacity: Int
    package private(set) var count = 0
    private var nodes: [Node] = []
    private var firstFree: Int32 = -1
    /// Of the names that nobody uses.
    private var newest: Int32 = -1
    private var oldest: Int32 = -1
    /// Nodes by hash with linear probing; -1: none. A power of two, and never more than half full.
    private var buckets: [Int32] = []

    /// - Parameter capacity: at least 1.
    package init(capacity: Int) {
        self.capacity = max(1, capacity)
    }

    /// The place of a name; nil when it is not there. The hash is keyed: nobody can choose names that share one.
    package func find(_ name: UnsafeRawBufferPointer) -> Int? {
        guard !buckets.isEmpty else { return nil }
        let hash = Self.hash(name)
        var bucket = hash & (buckets.count - 1)
        while buckets[bucket] >= 0 {
            let index = Int(buckets[bucket])
            if nodes[index].hash == hash, Self.isSame(nodes[index].name, name) { return index }
            bucket = (bucket + 1) & (buckets.count - 1)
        }
        return nil
    }

    /// Makes a place for a name that is not there; nobody uses it yet. The place may have been another name's until now.
    package mutating func add(_ name: UnsafeRawBufferPointer) -> Int {
        if count >= capacity, oldest >= 0 { remove(Int(oldest)) }
        let node = Node(name: Array(name), hash: Self.hash(name))
        let index: Int
        if firstFree >= 0 {
            index = Int(firstFree)
            firstFree = nodes[index].newer
            nodes[index] = node
        } else {
            index = nodes.count
            nodes.append(node)
        }
        count += 1
        if buckets.count < nodes.count * 2 { makeBuckets() } else { fillBucket(index) }
        linkNewest(index)
        return index
    }

    /// The name stays as long as anybody uses it.
    package mutating func use(_ place: Int) {
        if nodes[place].users == 0 { unlink(place) }
        nodes[place].users += 1
    }

    /// - Parameter isWorthless: if nobody else uses it, it is the first to go.
    package mutating func letGo(_ place: Int, isWorthless: Bool = false) {
        nodes[place].users -= 1
        guard nodes[place].users == 0 else { return }
        if count > capacity {
            free(place)
        } else if isWorthless {
            linkOldest(place)
        } else {
            linkNewest(place)
        }
    }

    /// Takes a name out, in use or not; its place is not its own any more.
    package mutating func remove(_ place: Int) {
        if nodes[place].users == 0 { unlink(place) }
        free(place)
    }

    /// Whether the place is a name's.
    package func isTaken(_ place: Int) -> Bool { nodes[place].users >= 0 }

    // MARK: The names that nobody uses

    private mutating func linkNewest(_ index: Int) {
        nodes[index].newer = -1
        nodes[index].older = newest
        if newest >= 0 { nodes[Int(newest)].newer = Int32(index) } else { oldest = Int32(index) }
        newest = Int32(index)
    }

    private mutating func linkOldest(_ index: Int) {
        nodes[index].older = -1
        nodes[index].newer = oldest
        if oldest >= 0 { nodes[Int(oldest)].older = Int32(index) } else { newest = Int32(index) }
        oldest = Int32(index)
    }

    private mutating func unlink(_ index: Int) {
        let (newer, older) = (nodes[index].newer, nodes[index].older)
        if newer >= 0 { nodes[Int(newer)].older = older } else { newest = older }
        if older >= 0 { nodes[Int(older)].newer = newer } else { oldest = newer }
        nodes[index].newer = -1
        nodes[index].older = -1
    }

    /// The node is in no list.
    private mutating func free(_ index: Int) {
        emptyBucket(of: index)
        nodes[index].name = []
        nodes[index].users = -1
        nodes[index].newer = firstFree
        firstFree = Int32(index)
        count -= 1
    }

    // MARK: Buckets

    private static func hash(_ name: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: name)
        return hasher.finalize()
    }

    private static func isSame(_ one: [UInt8], _ other: UnsafeRawBufferPointer) -> Bool {
        one.withUnsafeBytes { Octet.equal($0, other) }
    }

    private mutating func fillBucket(_ index: Int) {
        var bucket = nodes[index].hash & (buckets.count - 1)
        while buckets[bucket] >= 0 { bucket = (bucket + 1) & (buckets.count - 1) }
        buckets[bucket] = Int32(index)
    }

    /// Moves those behind up that would not be found past a hole.
    private mutating func emptyBucket(of index: Int) {
        let mask = buckets.count - 1
        var hole = nodes[index].hash & mask
        while buckets[hole] != Int32(index) { hole = (hole + 1) & mask }
        var next = (hole + 1) & mask
        while buckets[next] >= 0 {
            let distance = (next - nodes[Int(buckets[next])].hash) & mask
            if distance >= (next - hole) & mask {
                buckets[hole] = buckets[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        buckets[hole] = -1
    }

    private mutating func makeBuckets() {
        var size = 16
        while size < nodes.count * 4 { size *= 2 }
        buckets = Array(repeating: -1, count: size)
        for index in nodes.indices where nodes[index].users >= 0 { fillBucket(index) }
    }
}
