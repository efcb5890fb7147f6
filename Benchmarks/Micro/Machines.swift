import HTTP
import Proxy

/// Routing, the exchange machine and the pools.
func machineBenchmarks() -> [Benchmark] {
    var all = [exchange("exchange machine: answered"), rejectedExchange("exchange machine: rejected once, retried")]
    for routes in [1, 100, 10_000] {
        all.append(route("route table: the first of \(routes) routes", routes, wanted: routes - 1))
        all.append(route("route table: the last of \(routes) routes", routes, wanted: 0))
    }
    for size in [1, 10, 100, 1000] {
        all.append(pool("upstream pool: lease and free, \(size) connections", size))
        all.append(close("upstream pool: open, idle and close, \(size) connections", size))
    }
    for size in [1, 1000] {
        all.append(waiting("upstream pool: wait and be served, \(size) waiting", size))
        all.append(leaving("upstream pool: wait and leave, \(size) waiting", size))
    }
    return all
}

private func exchange(_ name: String) -> Benchmark {
    Benchmark(name) { count in
        for index in 0..<count {
            var machine = ExchangeMachine(needsCredential: true, isIdempotent: true)
            keep(machine.requestRouted())
            keep(machine.credentialReady(generation: UInt64(index)))
            keep(machine.connectionReady(reused: true))
            let action = machine.responseHeadReceived(isRejection: false, challenge: true, replayable: true)
            expect(action == .forwardResponse(report: nil), "the response is forwarded")
            machine.responseCompleted()
        }
    }
}

private func rejectedExchange(_ name: String) -> Benchmark {
    Benchmark(name) { count in
        for _ in 0..<count {
            var machine = ExchangeMachine(needsCredential: true, isIdempotent: true)
            keep(machine.requestRouted())
            keep(machine.credentialReady(generation: 1))
            keep(machine.connectionReady(reused: true))
            keep(machine.responseHeadReceived(isRejection: true, challenge: true, replayable: true))
            expect(machine.credentialReady(generation: 2) == .retry, "the request is sent again")
            keep(machine.connectionReady(reused: true))
            keep(machine.responseHeadReceived(isRejection: false, challenge: true, replayable: true))
            machine.responseCompleted()
        }
    }
}

/// All paths are of one length, so that each is as specific as the others and the order stays.
private func route(_ name: String, _ routes: Int, wanted: Int) -> Benchmark {
    func path(_ index: Int) -> String { "/service-" + String(100_000 + index) + "/" }
    let rules = (0..<routes).reversed().map { Sample.rule($0, path: .prefix(Sample.octets(path($0)))) }
    let table = RouteTable(Array(rules))
    let expected = routes - 1 - wanted
    let request = Sample.octets("GET \(path(wanted))items/7 HTTP/1.1\r\nHost: api.internal\r\n\r\n")
    return Benchmark(name) { count in
        let head = Sample.parsed(request)
        var scratch = ByteBuffer(capacity: 256)
        for _ in 0..<count {
            expect(table.match(head, scratch: &scratch) == .route(expected), "the route is found")
        }
    }
}

private func pool(_ name: String, _ size: Int) -> Benchmark {
    Benchmark(name) { count in
        var pool = filled(size)
        for index in 0..<count {
            guard case .reuse(let connection) = pool.lease(exchange: index, newConnection: false) else {
                fatalError("no idle connection")
            }
            expect(pool.connectionFreed(connection), "it is kept")
        }
    }
}

/// The connection that is closed is the oldest: idle ones age from that end.
private func close(_ name: String, _ size: Int) -> Benchmark {
    Benchmark(name) { count in
        var pool = filled(size)
        for index in 0..<count {
            pool.connectionClosed(index)
            expect(pool.lease(exchange: index, newConnection: true) == .open, "one is opened")
            expect(pool.connectionFreed(index + size), "it is kept")
        }
    }
}

private func waiting(_ name: String, _ size: Int) -> Benchmark {
    Benchmark(name) { count in
        var pool = UpstreamPool(limits: UpstreamPool.Limits(connections: 1, idle: 1, waiting: size + 1))
        keep(pool.lease(exchange: -1, newConnection: false))
        for exchange in 0..<size { keep(pool.lease(exchange: exchange, newConnection: false)) }
        for index in 0..<count {
            expect(pool.lease(exchange: size + index, newConnection: false) == .wait, "it waits")
            expect(pool.connectionFreed(0), "the connection is kept")
            expect(pool.nextWaiting() == index, "the longest waiting is served")
            expect(pool.lease(exchange: index, newConnection: false) == .reuse(connection: 0), "on that connection")
        }
    }
}

/// Who leaves came in the middle of the queue.
private func leaving(_ name: String, _ size: Int) -> Benchmark {
    Benchmark(name) { count in
        var pool = UpstreamPool(limits: UpstreamPool.Limits(connections: 1, idle: 1, waiting: size + 1))
        keep(pool.lease(exchange: -1, newConnection: false))
        for exchange in 0..<size { keep(pool.lease(exchange: exchange, newConnection: false)) }
        for index in 0..<count {
            expect(pool.lease(exchange: size + index, newConnection: false) == .wait, "it waits")
            pool.stopWaiting(size / 2 + index)
            expect(pool.waitingCount == size, "one has left")
        }
    }
}

private func filled(_ size: Int) -> UpstreamPool {
    var pool = UpstreamPool(limits: UpstreamPool.Limits(connections: size, idle: size, waiting: 16))
    for connection in 0..<size {
        keep(pool.lease(exchange: connection, newConnection: true))
    }
    for connection in 0..<size { expect(pool.connectionFreed(connection), "it is kept") }
    return pool
}
