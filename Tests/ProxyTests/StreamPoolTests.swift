import CAllocationCounter
import Proxy
import Testing

@Suite struct StreamPoolTests {
    static func pool(_ connections: Int = 2, streams: Int = 3, waiting: Int = 4) -> StreamPool {
        StreamPool(limits: .init(connections: connections, streams: streams, waiting: waiting))
    }

    /// A pool with these connections open, each with that many streams.
    private func pool(with streams: [Int], limit: Int = 3, perConnection: Int = 3) -> StreamPool {
        var pool = Self.pool(limit, streams: perConnection)
        for _ in streams { _ = pool.lease(exchange: 0, newConnection: false) }
        pool = Self.pool(limit, streams: perConnection)
        for (index, count) in streams.enumerated() {
            // Full ones make the next lease open another.
            #expect(pool.lease(exchange: 0, newConnection: false) == .open)
            pool.opened(connection: 10 + index, capacity: 100)
            for _ in 1..<perConnection { _ = pool.lease(exchange: 0, newConnection: false) }
            _ = count
        }
        for (index, count) in streams.enumerated() {
            for _ in count..<perConnection { _ = pool.streamEnded(connection: 10 + index) }
        }
        return pool
    }

    @Test
    func `until the upstream says what it takes a connection carries its opener only, and none is opened beside it`() {
        var pool = StreamPool(limits: StreamPool.Limits(connections: 4, streams: 100, waiting: 50))
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        pool.opened(connection: 7, capacity: nil)
        for exchange in 2...40 { #expect(pool.lease(exchange: exchange, newConnection: false) == .wait) }
        #expect(pool.nextWaiting() == nil && pool.openCount == 1)
        pool.capacityChanged(connection: 7, to: 3)
        #expect(pool.nextWaiting() == 2)
        #expect(pool.lease(exchange: 2, newConnection: false) == .share(connection: 7))
        #expect(pool.nextWaiting() == 3)
        #expect(pool.lease(exchange: 3, newConnection: false) == .share(connection: 7))
        #expect(pool.nextWaiting() == 4)
        #expect(pool.lease(exchange: 4, newConnection: false) == .open)
    }

    @Test func `a burst at the start makes one connection and shares it`() {
        var pool = Self.pool()
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        #expect(pool.lease(exchange: 2, newConnection: false) == .wait)
        #expect(pool.lease(exchange: 3, newConnection: false) == .wait)
        #expect(pool.openCount == 1 && pool.waitingCount == 2 && !pool.hasReady)
        #expect(pool.nextWaiting() == nil)
        pool.opened(connection: 10, capacity: 100)
        #expect(pool.hasReady && pool.activeStreams == 1)
        for exchange in [2, 3] {
            #expect(pool.nextWaiting() == exchange)
            #expect(pool.lease(exchange: exchange, newConnection: false) == .share(connection: 10))
        }
        #expect(pool.nextWaiting() == nil)
        #expect(pool.activeStreams == 3 && pool.openCount == 1)
    }

    @Test func `another connection is opened when those being opened have no room for who waits already`() {
        var pool = Self.pool(2, streams: 3, waiting: 2)
        let expected: [StreamPool.Lease] = [.open, .wait, .wait, .open, .refuse]
        for (exchange, lease) in expected.enumerated() {
            #expect(pool.lease(exchange: exchange, newConnection: false) == lease, "\(exchange)")
        }
    }

    @Test func `what the last connection took is expected of the next`() {
        var pool = Self.pool(3, streams: 100)
        _ = pool.lease(exchange: 0, newConnection: false)
        pool.opened(connection: 10, capacity: 1)
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        #expect(pool.lease(exchange: 2, newConnection: false) == .open, "one stream each: nobody can share")
        #expect(pool.lease(exchange: 3, newConnection: false) == .wait)
    }

    @Test(arguments: [([1, 2, 0], 11), ([2, 3, 1], 10), ([0, 0, 1], 12), ([3, 3, 0], 12)])
    func `the fullest connection with room is taken`(streams: [Int], chosen: Int) {
        var pool = pool(with: streams)
        #expect(pool.lease(exchange: 1, newConnection: false) == .share(connection: chosen))
        #expect(pool.lease(exchange: 1, newConnection: true) != .open, "one that died is not among them")
    }

    @Test func `above all limits exchanges wait, then are refused`() {
        var pool = Self.pool(1, streams: 1, waiting: 1)
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        pool.opened(connection: 10, capacity: 5)
        #expect(pool.lease(exchange: 2, newConnection: false) == .wait)
        #expect(pool.lease(exchange: 3, newConnection: false) == .refuse)
        #expect(pool.nextWaiting() == nil)
        let isIdle = pool.streamEnded(connection: 10)
        #expect(isIdle)
        #expect(pool.nextWaiting() == 2)
        #expect(pool.lease(exchange: 2, newConnection: false) == .share(connection: 10))
    }

    @Test func `streams above a lowered capacity stay and no new one comes before they are fewer`() {
        var pool = pool(with: [3], limit: 1)
        pool.capacityChanged(connection: 10, to: 1)
        #expect(pool.lease(exchange: 7, newConnection: false) == .wait)
        for isLast in [false, false] {
            let isIdle = pool.streamEnded(connection: 10)
            #expect(isIdle == isLast)
            #expect(pool.nextWaiting() == nil)
        }
        let isIdle = pool.streamEnded(connection: 10)
        #expect(isIdle)
        #expect(pool.nextWaiting() == 7)
    }

    @Test func `a raised capacity serves who waits, up to our own limit`() {
        var pool = Self.pool(1, streams: 2)
        _ = pool.lease(exchange: 1, newConnection: false)
        pool.opened(connection: 10, capacity: 0)
        #expect(pool.activeStreams == 1, "the opener's stream counts even so")
        #expect(pool.lease(exchange: 2, newConnection: false) == .wait)
        #expect(pool.lease(exchange: 3, newConnection: false) == .wait)
        pool.capacityChanged(connection: 10, to: 1000)
        #expect(pool.nextWaiting() == 2)
        #expect(pool.lease(exchange: 2, newConnection: false) == .share(connection: 10))
        #expect(pool.nextWaiting() == nil)
    }

    @Test func `a draining connection finishes its streams and does not count against the limit`() {
        var pool = pool(with: [2], limit: 1)
        pool.draining(connection: 10)
        #expect(pool.isDraining(connection: 10) && !pool.hasReady)
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        pool.opened(connection: 11, capacity: 100)
        #expect(pool.openCount == 2 && pool.activeStreams == 3)
        #expect(!pool.isDraining(connection: 11))
        _ = pool.streamEnded(connection: 10)
        let isLast = pool.streamEnded(connection: 10)
        #expect(isLast)
        pool.closed(connection: 10)
        #expect(pool.openCount == 1 && pool.isDraining(connection: 10), "one that is gone takes nothing")
    }

    @Test func `an upstream that says goodbye all the time does not get connections without end`() {
        var pool = Self.pool(2, streams: 1, waiting: 8)
        for number in 0..<4 {
            #expect(pool.lease(exchange: number, newConnection: false) == .open)
            pool.opened(connection: number, capacity: 1)
            pool.draining(connection: number)
        }
        #expect(pool.lease(exchange: 9, newConnection: false) == .wait)
        pool.closed(connection: 2)
        #expect(pool.nextWaiting() == 9)
        #expect(pool.lease(exchange: 9, newConnection: false) == .open)
    }

    @Test func `when a connection could not be made, the next that waits tries, or all are taken`() {
        var pool = Self.pool(1)
        for exchange in 1...4 { _ = pool.lease(exchange: exchange, newConnection: false) }
        pool.openFailed()
        #expect(pool.openCount == 0)
        #expect(pool.nextWaiting() == 2)
        #expect(pool.lease(exchange: 2, newConnection: false) == .open)
        #expect(pool.nextWaiting() == nil)
        pool.openFailed()
        #expect(pool.takeWaiting() == [3, 4])
        #expect(pool.isEmpty && pool.nextWaiting() == nil)
    }

    @Test func `who waits no more is not given out`() {
        var pool = Self.pool(1, streams: 4)
        for exchange in 1...4 { _ = pool.lease(exchange: exchange, newConnection: false) }
        pool.stopWaiting(3)
        pool.stopWaiting(99)
        pool.opened(connection: 10, capacity: 4)
        #expect(pool.nextWaiting() == 2)
        #expect(pool.nextWaiting() == 4)
        #expect(pool.waitingCount == 0)
    }

    @Test func `a retired pool gives its idle connections back and drains the others`() {
        var pool = pool(with: [0, 2, 0])
        let idle = pool.drainAll()
        #expect(idle == [10, 12] && pool.isRetired && !pool.hasReady)
        for connection in idle { pool.closed(connection: connection) }
        #expect(pool.openCount == 1 && !pool.isEmpty)
        #expect(pool.lease(exchange: 5, newConnection: false) == .open, "an old exchange may still need one")
        pool.openFailed()
        _ = pool.streamEnded(connection: 11)
        let isLast = pool.streamEnded(connection: 11)
        #expect(isLast)
        pool.closed(connection: 11)
        #expect(pool.isEmpty)
    }

    @Test func `events about what is not there have no effect`() {
        var pool = pool(with: [1])
        pool.opened(connection: 50, capacity: 4)
        pool.openFailed()
        pool.closed(connection: 51)
        pool.draining(connection: 51)
        pool.capacityChanged(connection: 51, to: 9)
        let isUnknownIdle = pool.streamEnded(connection: 51)
        #expect(!isUnknownIdle)
        #expect(pool.openCount == 1 && pool.activeStreams == 1)
        _ = pool.streamEnded(connection: 10)
        let isTwice = pool.streamEnded(connection: 10)
        #expect(!isTwice && pool.activeStreams == 0)
    }

    @Test(arguments: UInt64(0)..<100)
    func `streams and waiters are conserved whatever happens`(seed: UInt64) {
        var model = StreamModel(seed: seed)
        for _ in 0..<600 { model.step() }
        model.end()
    }

    @Test(.enabled(if: allocations_of_this_thread() >= 0))
    func `leasing and waiting in the steady state allocate nothing`() {
        var pool = Self.pool(1, streams: 2, waiting: 64)
        _ = pool.lease(exchange: 0, newConnection: false)
        pool.opened(connection: 10, capacity: 2)
        for exchange in 1..<8 { _ = pool.lease(exchange: exchange, newConnection: false) }
        var failures = 0
        func turn(_ pool: inout StreamPool, _ exchange: Int) {
            if pool.lease(exchange: exchange, newConnection: false) != .wait { failures += 1 }
            _ = pool.streamEnded(connection: 10)
            guard let next = pool.nextWaiting() else { return failures += 1 }
            if pool.lease(exchange: next, newConnection: false) != .share(connection: 10) { failures += 1 }
        }
        for exchange in 8..<200 { turn(&pool, exchange) }
        let before = allocations_of_this_thread()
        for exchange in 200..<1200 { turn(&pool, exchange) }
        let allocations = allocations_of_this_thread() - before
        #expect(failures == 0)
        #expect(allocations == 0)
    }
}

/// A plain model beside the pool: sets and lists in place of counts.
struct StreamModel {
    private struct Connection {
        var capacity: Int
        var exchanges: Set<Int> = []
        var isDraining = false
    }

    private let limits = StreamPool.Limits(connections: 3, streams: 4, waiting: 6)
    private var pool: StreamPool
    private var random: SeededRandom
    private var connections: [Int: Connection] = [:]
    /// Exchanges whose connections are being opened.
    private var openers: [Int] = []
    private var waiting: [Int] = []
    private var lastExchange = 0
    private var lastConnection = 100
    private var trace: [String] = []

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        pool = StreamPool(limits: limits)
    }

    private mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

    mutating func step() {
        switch number(0..<16) {
        case 0..<5: leaseNew()
        case 5..<7: openerDone(failed: false)
        case 7: if number(0..<3) == 0 { openerDone(failed: true) }
        case 8..<12: endStream()
        case 12: changeCapacity()
        case 13: if number(0..<3) == 0 { drain() }
        case 14: close()
        default: leaveQueue()
        }
        serveWaiting()
        check()
    }

    private mutating func leaseNew() {
        lastExchange += 1
        lease(lastExchange, isServed: false)
    }

    private mutating func lease(_ exchange: Int, isServed: Bool) {
        let lease = pool.lease(exchange: exchange, newConnection: number(0..<4) == 0)
        trace.append("\(exchange): \(lease)")
        let ready = connections.filter { !$0.value.isDraining }
        let withRoom = ready.filter { $0.value.exchanges.count < $0.value.capacity }
        switch lease {
        case .share(let connection):
            #expect(withRoom[connection] != nil, "\(trace)")
            let fullest = withRoom.values.map(\.exchanges.count).max()
            #expect(withRoom[connection]?.exchanges.count == fullest, "\(trace)")
            connections[connection]?.exchanges.insert(exchange)
        case .open:
            #expect(withRoom.isEmpty && ready.count + openers.count < limits.connections, "\(trace)")
            #expect(connections.count + openers.count < limits.connections * 2, "\(trace)")
            openers.append(exchange)
        case .wait:
            #expect(!isServed, "one that was given out is served: \(trace)")
            #expect(withRoom.isEmpty && waiting.count < limits.waiting, "\(trace)")
            waiting.append(exchange)
        case .refuse:
            #expect(!isServed && withRoom.isEmpty && waiting.count == limits.waiting, "\(trace)")
        }
    }

    private mutating func openerDone(failed: Bool) {
        guard !openers.isEmpty else { return }
        let opener = openers.removeFirst()
        if failed {
            trace.append("open failed")
            pool.openFailed()
            return
        }
        lastConnection += 1
        let capacity = number(0..<7)
        trace.append("opened \(lastConnection) with \(capacity)")
        connections[lastConnection] = Connection(capacity: min(capacity, limits.streams), exchanges: [opener])
        pool.opened(connection: lastConnection, capacity: capacity)
    }

    private mutating func someConnection() -> Int? { connections.keys.sorted().randomElement(using: &random) }

    private mutating func endStream() {
        guard let connection = someConnection(),
            let exchange = connections[connection]?.exchanges.sorted().randomElement(using: &random)
        else { return }
        connections[connection]?.exchanges.remove(exchange)
        trace.append("ended \(exchange) on \(connection)")
        let isIdle = pool.streamEnded(connection: connection)
        #expect(isIdle == connections[connection]?.exchanges.isEmpty, "\(trace)")
    }

    private mutating func changeCapacity() {
        guard let connection = someConnection() else { return }
        let capacity = number(0..<7)
        trace.append("\(connection) takes \(capacity)")
        connections[connection]?.capacity = min(capacity, limits.streams)
        pool.capacityChanged(connection: connection, to: capacity)
    }

    private mutating func drain() {
        guard let connection = someConnection() else { return }
        trace.append("\(connection) drains")
        connections[connection]?.isDraining = true
        pool.draining(connection: connection)
    }

    /// Draining connections close when they are idle; others now and then with their streams.
    private mutating func close() {
        guard let connection = someConnection(), let state = connections[connection] else { return }
        guard state.isDraining && state.exchanges.isEmpty || number(0..<4) == 0 else { return }
        trace.append("\(connection) closed")
        connections[connection] = nil
        pool.closed(connection: connection)
    }

    private mutating func leaveQueue() {
        guard let exchange = waiting.randomElement(using: &random) else { return }
        trace.append("\(exchange) waits no more")
        waiting.removeAll { $0 == exchange }
        pool.stopWaiting(exchange)
    }

    private mutating func serveWaiting() {
        while let exchange = pool.nextWaiting() {
            #expect(exchange == waiting.first, "\(trace)")
            waiting.removeFirst()
            lease(exchange, isServed: true)
        }
    }

    private func check() {
        #expect(pool.openCount == connections.count + openers.count, "\(trace)")
        #expect(pool.activeStreams == connections.values.reduce(0) { $0 + $1.exchanges.count }, "\(trace)")
        #expect(pool.waitingCount == waiting.count, "\(trace)")
        #expect(pool.hasReady == connections.values.contains { !$0.isDraining }, "\(trace)")
        // Nobody waits beside room, and who waits has something to wait for.
        let hasRoom = connections.values.contains { !$0.isDraining && $0.exchanges.count < $0.capacity }
        #expect(waiting.isEmpty || !hasRoom, "\(trace)")
        #expect(waiting.isEmpty || pool.openCount > 0, "\(trace)")
    }

    /// Everything comes to its end: all that waited are served.
    mutating func end() {
        for connection in connections.keys.sorted() {
            connections[connection]?.capacity = limits.streams
            pool.capacityChanged(connection: connection, to: limits.streams)
        }
        for _ in 0..<100 where !waiting.isEmpty || !openers.isEmpty || !connections.isEmpty {
            openerDone(failed: false)
            for connection in connections.keys.sorted() {
                for exchange in connections[connection]?.exchanges.sorted() ?? [] {
                    connections[connection]?.exchanges.remove(exchange)
                    _ = pool.streamEnded(connection: connection)
                }
            }
            for connection in connections.keys.sorted() where number(0..<2) == 0 {
                connections[connection] = nil
                pool.closed(connection: connection)
            }
            serveWaiting()
            check()
        }
        #expect(pool.waitingCount == 0 && pool.activeStreams == 0, "\(trace)")
    }
}
