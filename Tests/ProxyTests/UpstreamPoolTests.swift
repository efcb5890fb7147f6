import CAllocationCounter
import Proxy
import Testing

@Suite struct UpstreamPoolTests {
    static func pool(_ connections: Int, idle: Int? = nil, waiting: Int = 4) -> UpstreamPool {
        UpstreamPool(limits: .init(connections: connections, idle: idle ?? connections, waiting: waiting))
    }

    @Test func `connections are opened up to the limit, then exchanges wait, then they are refused`() {
        var pool = Self.pool(2, waiting: 1)
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
        #expect(pool.lease(exchange: 2, newConnection: false) == .open)
        #expect(pool.lease(exchange: 3, newConnection: false) == .wait)
        #expect(pool.lease(exchange: 4, newConnection: false) == .refuse)
        #expect(pool.openCount == 2 && pool.waitingCount == 1 && pool.idleCount == 0)
    }

    @Test func `the idle connection that was used last is taken first`() {
        var pool = Self.pool(3)
        for exchange in 0..<3 { _ = pool.lease(exchange: exchange, newConnection: false) }
        for connection in [10, 11, 12] {
            let isKept = pool.connectionFreed(connection)
            #expect(isKept)
        }
        #expect(pool.lease(exchange: 1, newConnection: false) == .reuse(connection: 12))
        #expect(pool.lease(exchange: 2, newConnection: false) == .reuse(connection: 11))
    }

    @Test func `an exchange that wants a new connection does not get an idle one`() {
        var pool = Self.pool(2)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.connectionFreed(10)
        #expect(pool.lease(exchange: 2, newConnection: true) == .open)
        #expect(pool.idleCount == 1)
    }

    @Test func `where no new connection may be opened an idle one is better than to wait beside it`() {
        var pool = Self.pool(1)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.connectionFreed(10)
        #expect(pool.lease(exchange: 2, newConnection: true) == .reuse(connection: 10))
    }

    @Test func `a freed connection above the limit of idle ones is closed`() {
        var pool = Self.pool(2, idle: 1)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.lease(exchange: 2, newConnection: false)
        let isFirstKept = pool.connectionFreed(10)
        let isSecondKept = pool.connectionFreed(11)
        #expect(isFirstKept && !isSecondKept)
        pool.connectionClosed(11)
        #expect(pool.openCount == 1 && pool.idleCount == 1)
    }

    @Test func `a lower limit closes connections as they come back`() {
        var pool = Self.pool(2)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.lease(exchange: 2, newConnection: false)
        pool.limits.connections = 1
        let isKept = pool.connectionFreed(10)
        #expect(!isKept)
        pool.connectionClosed(10)
        let isOtherKept = pool.connectionFreed(11)
        #expect(isOtherKept)
    }

    @Test func `an idle connection that closes is not given out again`() {
        var pool = Self.pool(2)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.connectionFreed(10)
        pool.connectionClosed(10)
        #expect(pool.openCount == 0 && pool.idleCount == 0)
        #expect(pool.lease(exchange: 1, newConnection: false) == .open)
    }

    @Test func `all idle connections can be taken out and are counted until they are closed`() {
        var pool = Self.pool(2)
        _ = pool.lease(exchange: 1, newConnection: false)
        _ = pool.lease(exchange: 2, newConnection: false)
        _ = pool.connectionFreed(10)
        _ = pool.connectionFreed(11)
        let taken = pool.takeIdle()
        #expect(taken == [10, 11])
        #expect(pool.idleCount == 0 && pool.openCount == 2)
        for connection in taken { pool.connectionClosed(connection) }
        #expect(pool.openCount == 0)
    }

    @Test(arguments: UInt64(0)..<100)
    func `leases are conserved, waiting is fair and no count leaves its bounds`(seed: UInt64) {
        var model = PoolModel(seed: seed)
        for _ in 0..<500 { model.step() }
        model.end()
    }

    @Test(.enabled(if: allocations_of_this_thread() >= 0))
    func `a queue that is never empty does not grow`() {
        var pool = Self.pool(1, waiting: 64)
        _ = pool.lease(exchange: 0, newConnection: false)
        _ = pool.lease(exchange: 0, newConnection: false)
        /// One more waits before the connection is handed on: the queue is never empty.
        func turn(_ pool: inout UpstreamPool, _ exchange: Int) -> Bool {
            guard pool.lease(exchange: exchange, newConnection: false) == .wait, pool.connectionFreed(10) else {
                return false
            }
            guard pool.nextWaiting() == exchange - 1 else { return false }
            return pool.lease(exchange: exchange - 1, newConnection: false) == .reuse(connection: 10)
        }
        var failures = 0
        for exchange in 1..<1000 { failures += turn(&pool, exchange) ? 0 : 1 }
        let before = allocations_of_this_thread()
        for exchange in 1000..<50_000 { failures += turn(&pool, exchange) ? 0 : 1 }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
        #expect(failures == 0)
        #expect(pool.waitingCount == 1)
    }
}

/// A driver of a pool, and what it knows of the connections itself.
private struct PoolModel {
    private var random: SeededRandom
    private var pool: UpstreamPool
    private let limits: UpstreamPool.Limits
    private var nextExchange = 0
    private var nextConnection = 100
    /// Exchanges with a lease whose connection is not open yet.
    private var opening: [Int] = []
    private var active: [Int] = []
    private var idle: [Int] = []
    private var waiting: [Int] = []

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        limits = .init(
            connections: Int.random(in: 1...5, using: &random), idle: Int.random(in: 0...5, using: &random),
            waiting: Int.random(in: 0...5, using: &random))
        pool = UpstreamPool(limits: limits)
    }

    mutating func step() {
        switch Int.random(in: 0..<9, using: &random) {
        case 0, 1, 2:
            nextExchange += 1
            lease(nextExchange, newConnection: Int.random(in: 0..<5, using: &random) == 0)
        case 3: opened()
        case 4: openingFailed()
        case 5: freed()
        case 6: activeClosed()
        case 7: idleClosed()
        default: stopWaiting()
        }
        check()
    }

    private mutating func lease(_ exchange: Int, newConnection: Bool) {
        let isFull = opening.count + active.count + idle.count >= limits.connections
        switch pool.lease(exchange: exchange, newConnection: newConnection) {
        case .reuse(let connection):
            #expect(connection == idle.last)
            #expect(!newConnection || isFull)
            active.append(idle.removeLast())
        case .open:
            #expect(!isFull)
            #expect(idle.isEmpty || newConnection)
            opening.append(exchange)
        case .wait:
            #expect(isFull && idle.isEmpty)
            waiting.append(exchange)
        case .refuse:
            #expect(isFull && waiting.count == limits.waiting)
        }
    }

    private mutating func opened() {
        guard opening.popLast() != nil else { return }
        nextConnection += 1
        active.append(nextConnection)
    }

    private mutating func openingFailed() {
        guard opening.popLast() != nil else { return }
        pool.connectionClosed(-1)
        serveWaiting()
    }

    private mutating func freed() {
        guard let index = active.indices.randomElement(using: &random) else { return }
        let connection = active.remove(at: index)
        let isKept = pool.connectionFreed(connection)
        #expect(isKept == (idle.count < limits.idle))
        if isKept { idle.append(connection) } else { pool.connectionClosed(connection) }
        serveWaiting()
    }

    private mutating func activeClosed() {
        guard let index = active.indices.randomElement(using: &random) else { return }
        pool.connectionClosed(active.remove(at: index))
        serveWaiting()
    }

    private mutating func idleClosed() {
        guard let index = idle.indices.randomElement(using: &random) else { return }
        pool.connectionClosed(idle.remove(at: index))
        serveWaiting()
    }

    private mutating func stopWaiting() {
        if let exchange = waiting.randomElement(using: &random) {
            pool.stopWaiting(exchange)
            waiting.removeAll { $0 == exchange }
        } else {
            pool.stopWaiting(-7)
        }
    }

    private mutating func serveWaiting() {
        while let exchange = pool.nextWaiting() {
            #expect(exchange == waiting.first)
            waiting.removeFirst()
            lease(exchange, newConnection: false)
            check()
        }
    }

    private func check() {
        #expect(pool.openCount == opening.count + active.count + idle.count)
        #expect(pool.openCount <= limits.connections)
        #expect(pool.idleCount == idle.count && pool.idleCount <= limits.idle)
        #expect(pool.waitingCount == waiting.count && pool.waitingCount <= limits.waiting)
        // Nobody waits while there is something to be had.
        #expect(waiting.isEmpty || (idle.isEmpty && pool.openCount == limits.connections))
    }

    mutating func end() {
        while !opening.isEmpty || !active.isEmpty || !idle.isEmpty {
            openingFailed()
            activeClosed()
            idleClosed()
            check()
        }
        #expect(pool.openCount == 0 && pool.waitingCount == 0)
    }
}
