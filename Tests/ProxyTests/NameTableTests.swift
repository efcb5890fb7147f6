import CAllocationCounter
import Proxy
import Testing

@Suite struct NameTableTests {
    /// A table and what it must agree with, done the slow way.
    private struct Model {
        var table: NameTable
        /// Names and places; those that nobody uses in order, the first to go first.
        var places: [String: Int] = [:]
        var users: [String: Int] = [:]
        var idle: [String] = []

        init(capacity: Int) {
            table = NameTable(capacity: capacity)
        }

        func find(_ name: String) -> Int? { octets(name).withUnsafeBytes { table.find($0) } }

        mutating func add(_ name: String) {
            if places.count >= table.capacity, let first = idle.first { forget(first) }
            let place = octets(name).withUnsafeBytes { table.add($0) }
            #expect(!places.values.contains(place), "a place is one name's")
            places[name] = place
            users[name] = 0
            idle.append(name)
        }

        mutating func use(_ name: String) {
            table.use(places[name]!)
            users[name]! += 1
            idle.removeAll { $0 == name }
        }

        mutating func letGo(_ name: String, isWorthless: Bool) {
            table.letGo(places[name]!, isWorthless: isWorthless)
            users[name]! -= 1
            guard users[name] == 0 else { return }
            if places.count > table.capacity {
                forget(name)
            } else {
                idle.insert(name, at: isWorthless ? 0 : idle.count)
            }
        }

        mutating func remove(_ name: String) {
            table.remove(places[name]!)
            forget(name)
        }

        private mutating func forget(_ name: String) {
            places[name] = nil
            users[name] = nil
            idle.removeAll { $0 == name }
        }

        func check(_ names: [String]) {
            #expect(table.count == places.count)
            for name in names { #expect(find(name) == places[name], "\(name)") }
        }
    }

    @Test(arguments: [1, 2, 7, 64], [UInt64(1), 2, 3])
    func `it agrees with a dictionary and a list, whatever happens`(capacity: Int, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var model = Model(capacity: capacity)
        let names = (0..<(capacity * 2 + 3)).map { "zoho:\($0)" }
        for _ in 0..<3000 {
            let name = names.randomElement(using: &random)!
            if model.places[name] == nil {
                model.add(name)
                if Bool.random(using: &random) { model.use(name) }
            } else if model.users[name]! > 0, Int.random(in: 0..<3, using: &random) > 0 {
                model.letGo(name, isWorthless: Int.random(in: 0..<4, using: &random) == 0)
            } else if Int.random(in: 0..<20, using: &random) == 0 {
                model.remove(name)
            } else if model.users[name]! < 3 {
                model.use(name)
            }
            #expect(model.places.count <= capacity || model.idle.count <= 1, "only those in use are above the bound")
        }
        model.check(names)
    }

    @Test func `the one that was let go first goes first, and one that is worth nothing before it`() {
        var model = Model(capacity: 3)
        for name in ["a", "b", "c"] { model.add(name) }
        model.use("a")
        model.letGo("a", isWorthless: false)
        model.add("d")
        #expect(model.find("b") == nil && model.find("a") != nil)
        model.use("d")
        model.letGo("d", isWorthless: true)
        model.add("e")
        model.check(["a", "b", "c", "d", "e"])
        #expect(model.find("d") == nil && model.find("c") != nil)
    }

    @Test func `what is in use stays, however many there are`() {
        var model = Model(capacity: 4)
        for index in 0..<100 {
            model.add("\(index)")
            model.use("\(index)")
        }
        #expect(model.table.count == 100)
        model.check((0..<100).map { "\($0)" })
        for index in 0..<100 { model.letGo("\(index)", isWorthless: false) }
        #expect(model.table.count == 4)
        model.check((0..<100).map { "\($0)" })
    }

    /// Where the optimizer is off, the test's own closure is on the heap, once for each name.
    #if DEBUG
    private static let closuresOnHeap = 1000
    #else
    private static let closuresOnHeap = 0
    #endif

    @Test(.enabled(if: CostTests.countsAllocations))
    func `finding, using and letting go allocate nothing`() {
        var table = NameTable(capacity: 1000)
        let names = (0..<1000).map { octets("zoho:tenant-\($0)") }
        for name in names { _ = name.withUnsafeBytes { table.add($0) } }
        var missed = 0
        func run() {
            for name in names {
                guard let place = name.withUnsafeBytes({ table.find($0) }) else {
                    missed += 1
                    continue
                }
                table.use(place)
                table.letGo(place)
            }
        }
        run()
        let before = allocations_of_this_thread()
        run()
        let spent = allocations_of_this_thread() - before
        #expect(spent <= Self.closuresOnHeap && missed == 0)
    }
}
