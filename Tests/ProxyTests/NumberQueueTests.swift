import CAllocationCounter
import Proxy
import Testing

@Suite struct NumberQueueTests {
    @Test func `numbers come out at either end and from the middle`() {
        var queue = NumberQueue()
        for number in [7, 3, 9, 1] { queue.append(number) }
        #expect(queue.count == 4 && queue.last == 1)
        let isThere = queue.remove(3)
        let isStillThere = queue.remove(3)
        #expect(isThere && !isStillThere)
        #expect(queue.numbers == [7, 9, 1])
        #expect(queue.popFirst() == 7)
        #expect(queue.popLast() == 1)
        #expect(queue.popLast() == 9)
        #expect(queue.popLast() == nil && queue.popFirst() == nil)
        #expect(queue.isEmpty && queue.last == nil)
    }

    @Test func `all can be taken out, and the queue goes on`() {
        var queue = NumberQueue()
        for number in 0..<100 { queue.append(number) }
        #expect(queue.removeAll() == Array(0..<100))
        #expect(queue.isEmpty && queue.removeAll() == [])
        queue.append(5)
        #expect(queue.numbers == [5])
    }

    /// Few members, where each is looked at, and many, where there are buckets; numbers near each other and far apart.
    @Test(arguments: [4, 16, 17, 300], UInt64(0)..<10)
    func `it is an array to whoever looks`(size: Int, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let spread = [size + size / 4, 1 << 20, Int.max].randomElement(using: &random)!
        var queue = NumberQueue()
        var model: [Int] = []
        for step in 0..<4000 {
            // Grows, shrinks, and grows again.
            let isGrowing = step % 2000 < 1200
            switch Int.random(in: 0..<(isGrowing ? 12 : 6), using: &random) {
            case 0:
                #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            case 1:
                #expect(queue.popLast() == model.popLast())
            case 2, 3:
                guard let number = model.randomElement(using: &random) else { continue }
                let isThere = queue.remove(number)
                #expect(isThere)
                model.removeAll { $0 == number }
            case 4:
                let number = -1 - Int.random(in: 0..<size, using: &random)
                let isThere = queue.remove(number)
                #expect(!isThere)
            default:
                let number = Int.random(in: 0..<spread, using: &random)
                guard model.count < size, !model.contains(number) else { continue }
                queue.append(number)
                model.append(number)
            }
            #expect(queue.count == model.count && queue.last == model.last)
        }
        #expect(queue.numbers == model)
    }

    @Test(.enabled(if: allocations_of_this_thread() >= 0), arguments: [8, 1000])
    func `once it has grown hardly anything is allocated, however long it is used`(size: Int) {
        var queue = NumberQueue()
        for number in 0..<size { queue.append(number) }
        var failures = 0
        let before = allocations_of_this_thread()
        for number in 0..<20_000 {
            // From the front, the middle and the end; the numbers go on for ever.
            if number % 3 == 0 { queue.remove(number) }
            if number % 3 == 1 { _ = queue.popFirst() }
            if number % 3 == 2 { _ = queue.popLast() }
            while queue.count >= size { _ = queue.popFirst() }
            queue.append(size + number)
            if queue.last != size + number { failures += 1 }
        }
        let allocations = allocations_of_this_thread() - before
        // Room for one more after the first 20,000 changes, never one for each.
        #expect(allocations < 8)
        #expect(failures == 0)
    }
}
