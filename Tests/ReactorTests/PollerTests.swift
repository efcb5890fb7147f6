import Reactor
import Testing

@Suite struct PollerTests {
    @Test func `a token comes back whole`() throws {
        let connection = try Connection()
        let poller = try Poller(eventCapacity: 8)
        try poller.add(connection.near, token: .max)
        try poller.add(connection.far, token: 0x0123_4567_89ab_cdef)
        #expect(poller.wait(timeoutMilliseconds: 1000) == 2)
        #expect(Set((0..<2).map { poller.event(at: $0).token }) == [.max, 0x0123_4567_89ab_cdef])
        #expect((0..<2).allSatisfy { poller.event(at: $0).readiness == [.writable] })
    }

    @Test func `the capacity bounds a tick and the rest comes with the next`() throws {
        let connection = try Connection()
        let poller = try Poller(eventCapacity: 1)
        try poller.add(connection.near, token: 1)
        try poller.add(connection.far, token: 2)
        #expect(poller.wait(timeoutMilliseconds: 1000) == 1)
        let first = poller.event(at: 0).token
        #expect(poller.wait(timeoutMilliseconds: 1000) == 1)
        #expect(Set([first, poller.event(at: 0).token]) == [1, 2])
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    }

    @Test func `a connection is told of each arrival once, a listener for as long as one waits`() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        defer { listener.close() }
        let poller = try Poller()
        try poller.addListener(listener, token: 1)
        let client = try connected(to: #require(Socket.localAddress(of: listener)))
        defer { client.close() }
        #expect(poller.wait(timeoutMilliseconds: 10_000) == 1)
        #expect(poller.event(at: 0).readiness == [.readable])
        #expect(poller.wait(timeoutMilliseconds: 0) == 1)
        let (server, _) = try accepted(listener)
        defer { server.close() }
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)

        try poller.add(server, token: 2)
        try waitFor([.writable], in: poller)
        #expect(send("a", to: client) == .bytes(1))
        try waitFor([.readable], in: poller)
        #expect(poller.wait(timeoutMilliseconds: 0) == 0, "not told again while unread")
        #expect(send("b", to: client) == .bytes(1))
        try waitFor([.readable], in: poller)
        #expect(receive(4, from: server).1 == "ab")
    }

    @Test func `a paused listener is silent and tells of waiting callers when it is back`() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        defer { listener.close() }
        let poller = try Poller()
        try poller.addListener(listener, token: 1)
        poller.remove(listener)
        poller.remove(listener)
        let client = try connected(to: #require(Socket.localAddress(of: listener)))
        defer { client.close() }
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)
        try poller.addListener(listener, token: 3)
        #expect(poller.wait(timeoutMilliseconds: 10_000) == 1)
        #expect(poller.event(at: 0).token == 3)
    }

    @Test func `a closed descriptor has left the poller`() throws {
        let connection = try Connection()
        let poller = try Poller()
        try poller.add(connection.near, token: 1)
        connection.close(connection.near)
        #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    }

    @Test func `registering twice is an error`() throws {
        let connection = try Connection()
        let poller = try Poller()
        try poller.add(connection.near, token: 1)
        let error = #expect(throws: Errno.self) { try poller.add(connection.near, token: 2) }
        #expect(error?.description == "File exists (EEXIST)")
    }

    @Test func `several loops share one unix listener`() throws {
        let directory = try TemporaryDirectory()
        let address = SocketAddress.unix(path: directory.path + "/socket")
        let listener = try Socket.listen(on: address)
        defer { listener.close() }
        let pollers = try (0..<3).map { _ in try Poller() }
        for poller in pollers { try poller.addListener(listener, token: 1, shared: true) }
        try connected(to: address).close()
        #expect(pollers.contains { $0.wait(timeoutMilliseconds: 0) == 1 })
    }

    @Test func `the timeout ends a wait without events`() throws {
        let poller = try Poller()
        let before = MonotonicClock.milliseconds()
        #expect(poller.wait(timeoutMilliseconds: 20) == 0)
        #expect(MonotonicClock.milliseconds() >= before + 19)
    }

    @Test(arguments: [
        (Errno.connectionRefused, "Connection refused (ECONNREFUSED)"),
        (Errno.processDescriptorsExhausted, "Too many open files (EMFILE)"),
        (Errno(code: 99_999), "Unknown error (errno 99999)"),
    ])
    func `an error number has words and a name`(error: Errno, text: String) {
        #expect(error.description == text)
    }
}
