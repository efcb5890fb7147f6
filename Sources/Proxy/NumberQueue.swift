/// Different numbers in the order in which they came; any of them can be taken out, wherever it is.
///
/// Each call costs the same however many there are, and none allocates once as many are in it as there ever will be.
package struct NumberQueue: Sendable {
    private struct Node {
        var number: Int
        /// The neighbours; of a node that is free, `next` is the next free one. -1: none.
        var previous: Int32
        var next: Int32
    }

    /// As long as there are no more nodes than these, a look at each costs less than to keep `buckets`.
    private static let few = 16

    private var nodes: [Node] = []
    private var firstNode: Int32 = -1
    private var lastNode: Int32 = -1
    private var firstFree: Int32 = -1
    package private(set) var count = 0
    /// The node of a number, by hash with linear probing; -1: none. A power of two, and never more than half full.
    private var buckets: [Int32] = []

    package init() {}

    package var isEmpty: Bool { count == 0 }
    /// The one that came last.
    package var last: Int? { lastNode < 0 ? nil : nodes[Int(lastNode)].number }

    /// - Parameter number: is not in the queue yet.
    package mutating func append(_ number: Int) {
        let node = Node(number: number, previous: lastNode, next: -1)
        let index: Int32
        if firstFree < 0 {
            index = Int32(nodes.count)
            nodes.append(node)
        } else {
            index = firstFree
            firstFree = nodes[Int(index)].next
            nodes[Int(index)] = node
        }
        if lastNode < 0 { firstNode = index } else { nodes[Int(lastNode)].next = index }
        lastNode = index
        count += 1
        guard nodes.count > Self.few else { return }
        if buckets.count < nodes.count * 2 { makeBuckets() } else { fillBucket(index) }
    }

    package mutating func popFirst() -> Int? {
        guard firstNode >= 0 else { return nil }
        let number = nodes[Int(firstNode)].number
        take(firstNode)
        return number
    }

    package mutating func popLast() -> Int? {
        guard lastNode >= 0 else { return nil }
        let number = nodes[Int(lastNode)].number
        take(lastNode)
        return number
    }

    /// Takes a number out; false when it is not there.
    @discardableResult
    package mutating func remove(_ number: Int) -> Bool {
        guard let index = node(of: number) else { return false }
        take(index)
        return true
    }

    /// Takes all out, the first first.
    package mutating func removeAll() -> [Int] {
        var all: [Int] = []
        all.reserveCapacity(count)
        while let number = popFirst() { all.append(number) }
        return all
    }

    /// All, the first first.
    package var numbers: [Int] {
        var all: [Int] = []
        all.reserveCapacity(count)
        var index = firstNode
        while index >= 0 {
            all.append(nodes[Int(index)].number)
            index = nodes[Int(index)].next
        }
        return all
    }

    // MARK: Nodes

    private func node(of number: Int) -> Int32? {
        if !buckets.isEmpty {
            let bucket = bucket(of: number)
            return buckets[bucket] < 0 ? nil : buckets[bucket]
        }
        var index = firstNode
        while index >= 0 {
            if nodes[Int(index)].number == number { return index }
            index = nodes[Int(index)].next
        }
        return nil
    }

    private mutating func take(_ index: Int32) {
        let node = nodes[Int(index)]
        if !buckets.isEmpty { emptyBucket(bucket(of: node.number)) }
        if node.previous < 0 { firstNode = node.next } else { nodes[Int(node.previous)].next = node.next }
        if node.next < 0 { lastNode = node.previous } else { nodes[Int(node.next)].previous = node.previous }
        nodes[Int(index)].next = firstFree
        firstFree = index
        count -= 1
    }

    // MARK: Buckets

    private func home(of number: Int) -> Int {
        let product = UInt64(truncatingIfNeeded: number) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: product >> 32) & (buckets.count - 1)
    }

    /// The bucket that holds a number's node, or the empty one where it would be.
    private func bucket(of number: Int) -> Int {
        var bucket = home(of: number)
        while buckets[bucket] >= 0, nodes[Int(buckets[bucket])].number != number {
            bucket = (bucket + 1) & (buckets.count - 1)
        }
        return bucket
    }

    private mutating func fillBucket(_ index: Int32) {
        let bucket = bucket(of: nodes[Int(index)].number)
        buckets[bucket] = index
    }

    /// Moves those behind up that would not be found past a hole.
    private mutating func emptyBucket(_ bucket: Int) {
        let mask = buckets.count - 1
        var hole = bucket
        var next = (bucket + 1) & mask
        while buckets[next] >= 0 {
            let distance = (next - home(of: nodes[Int(buckets[next])].number)) & mask
            if distance >= (next - hole) & mask {
                buckets[hole] = buckets[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        buckets[hole] = -1
    }

    private mutating func makeBuckets() {
        var size = Self.few * 4
        while size < nodes.count * 4 { size *= 2 }
        buckets = Array(repeating: -1, count: size)
        var index = firstNode
        while index >= 0 {
            fillBucket(index)
            index = nodes[Int(index)].next
        }
    }
}
