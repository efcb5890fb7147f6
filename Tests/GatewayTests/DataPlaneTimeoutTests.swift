import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Each timeout acts in its time, does what it should, and leaves nothing behind.
@Suite struct DataPlaneTimeoutTests {
    /// How long something took, in milliseconds.
    private func time(_ body: () throws -> Void) rethrows -> UInt64 {
        let start = MonotonicClock.milliseconds()
        try body()
        return MonotonicClock.milliseconds() - start
    }

    /// In time: never before, and not much after (the machine may be busy).
    private func expect(_ taken: UInt64, _ wanted: UInt64, location: SourceLocation = #_sourceLocation) {
        #expect(taken + 2 >= wanted && taken < wanted + 8000, "took \(taken) ms", sourceLocation: location)
    }

    @Test(arguments: ["GET / HTTP/1.1\r\nHo", "\r\n"])
    func `a head that stops coming`(partial: String) throws {
        let plane = try Plane(PlaneSetup(timeouts: "head = \"200ms\""))
        let caller = try plane.connect()
        caller.write(partial)
        let taken = try time {
            let response = try #require(caller.readAll())
            #expect(partial == "\r\n" ? response.isEmpty : response.status == 408)
        }
        expect(taken, 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a head that drips is cut as a whole`() throws {
        let plane = try Plane(PlaneSetup(timeouts: "head = \"300ms\""))
        let caller = try plane.connect()
        let start = MonotonicClock.milliseconds()
        for byte in "GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".utf8 {
            guard caller.write([byte]), !caller.hasInput else { break }
            caller.pause(milliseconds: 20)
        }
        #expect(caller.readMessage().status == 408)
        expect(MonotonicClock.milliseconds() - start, 300)
    }

    @Test func `an idle connection is closed without a word`() throws {
        let plane = try Plane(PlaneSetup(timeouts: "keep_alive = \"200ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        _ = try plane.answer("GET")
        #expect(caller.readMessage().status == 200)
        let taken = time { #expect(caller.readAll() == "") }
        expect(taken, 200)
    }

    @Test(arguments: [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nab",
    ])
    func `content that stops coming`(partial: String) throws {
        let plane = try Plane(PlaneSetup(timeouts: "body_idle = \"200ms\""))
        let caller = try plane.connect()
        caller.write(partial)
        let taken = try time {
            let response = try #require(caller.readAll())
            #expect(response.status == 408)
        }
        expect(taken, 200)
        let api = try plane.upstream.accept()
        #expect(api.readAll()?.hasSuffix("\r\n0\r\n\r\n") != true)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that does not read, while its response drips`() throws {
        let plane = try Plane(PlaneSetup(timeouts: "write_idle = \"300ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        let chunk = Array(("8000\r\n" + String(repeating: "x", count: 0x8000) + "\r\n").utf8)
        _ = api.writeUntilStuck(chunk: chunk, limit: 100 << 20, patience: 100)
        // The upstream goes on by an octet now and then; that is no progress of the caller's.
        let taken = try time {
            var rounds = 0
            while try plane.counters().callerConnections == 1, rounds < 400 {
                rounds += 1
                _ = api.writeUntilStuck(chunk: [0x78], limit: 1, patience: 1)
                api.pause(milliseconds: 10)
            }
        }
        #expect(taken < 3000)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that does not read, and an upstream that has said all`() throws {
        let plane = try Plane(PlaneSetup(timeouts: "write_idle = \"200ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        let size = 64 << 20
        api.write("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
        _ = api.writeUntilStuck(chunk: [UInt8](repeating: 0x78, count: 65_536), limit: size)
        try plane.wait("the caller is gone") { $0.callerConnections == 0 && $0.requestsCurrent == 0 }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a connection that is not made`() throws {
        // The queue of the listener is full: the kernel drops what comes.
        let upstream = try ScriptedUpstream(backlog: 0)
        var blockers: [Descriptor] = []
        defer { for blocker in blockers { blocker.close() } }
        for _ in 0..<8 {
            if case .inProgress(let descriptor) = Socket.connect(to: .loopback(port: upstream.port)) {
                blockers.append(descriptor)
            }
        }
        let plane = try Plane(PlaneSetup(upstream: "connect_timeout = \"200ms\""), upstream: upstream)
        let caller = try plane.connect()
        caller.write(get("/"))
        let taken = time { #expect(caller.readMessage().field("token-gateway-error") == "upstream_unreachable") }
        expect(taken, 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a name that is not found in time`() throws {
        let plane = try Plane(
            PlaneSetup(upstream: "connect_timeout = \"200ms\"\nmax_connections = 1", host: "slow.test"),
            lookup: { _ in
                _ = pause(1500)
                return .failure(ResolveError(kind: .notFound, host: "slow.test", detail: "no"))
            })
        let caller = try plane.connect()
        caller.write(get("/"))
        let taken = time { #expect(caller.readMessage().field("token-gateway-error") == "upstream_unreachable") }
        expect(taken, 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a TLS handshake that stalls`() throws {
        let plane = try Plane(PlaneSetup(upstream: "tls_timeout = \"200ms\"", isTLS: true))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        let taken = time { #expect(caller.readMessage().field("token-gateway-error") == "upstream_tls") }
        expect(taken, 200)
        #expect(api.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: ["", "HTTP/1.1 20"])
    func `a response that does not begin, or not fully`(beginning: String) throws {
        let plane = try Plane(PlaneSetup(upstream: "first_byte_timeout = \"200ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write(beginning)
        let taken = time { #expect(caller.readMessage().status == 504) }
        expect(taken, 200)
        #expect(api.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a response that stops`() throws {
        let plane = try Plane(PlaneSetup(upstream: "response_idle_timeout = \"200ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        #expect(caller.read(until: "abc").status == 200)
        let taken = time { #expect(caller.readToEnd()) }
        expect(taken, 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a response that began while the request was stuck, and stops`() throws {
        let plane = try Plane(PlaneSetup(upstream: "response_idle_timeout = \"300ms\"\nwrite_idle_timeout = \"5s\""))
        let caller = try plane.connect()
        let size = 32 << 20
        caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
        let sent = caller.writeUntilStuck(chunk: [UInt8](repeating: 0x78, count: 65_536), limit: size - 65_536)
        #expect(sent < size - 65_536, "the kernel's buffers are too large for this test")
        let api = try plane.upstream.accept()
        api.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        #expect(caller.read(until: "abc").status == 200)
        // Now the upstream takes it all.
        let drain = try WorkerThread.start(name: "drain") { [api = api.giveAway()] in
            _ = try? WireEnd(api).readToEnd()
        }
        let taken = time {
            var left = size - sent
            while left > 0, caller.write([UInt8](repeating: 0x78, count: min(left, 65_536))) { left -= 65_536 }
            _ = caller.readToEnd()
        }
        #expect(taken < 4500)
        drain.join()
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `an upstream that takes no content, while the caller drips`() throws {
        let plane = try Plane(
            PlaneSetup(upstream: "write_idle_timeout = \"300ms\"", route: "retry_body_limit = \"100MiB\""))
        let caller = try plane.connect()
        caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n")
        let api = try plane.upstream.accept()
        let chunk = [UInt8](repeating: 0x78, count: 65_536)
        _ = caller.writeUntilStuck(chunk: chunk, limit: 20 << 20, patience: 100)
        var rounds = 0
        let taken = time {
            while !caller.hasInput, rounds < 400 {
                rounds += 1
                _ = caller.writeUntilStuck(chunk: [0x78], limit: 1, patience: 1)
                caller.pause(milliseconds: 10)
            }
        }
        #expect(taken < 3000)
        #expect(caller.readMessage().status == 504)
        api.close()
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a credential that does not come`() throws {
        let plane = try Plane(PlaneSetup(timeouts: "credential = \"200ms\"")) { _ in .silence }
        let caller = try plane.connect()
        for _ in 1...2 {
            caller.write(get("/"))
            let taken = time {
                let response = caller.readMessage()
                #expect(response.field("token-gateway-error") == "token_unavailable")
                #expect(response.field("retry-after") == "1")
            }
            expect(taken, 200)
        }
        try plane.control.waitForLeavers(2)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a credential that does not come while an earlier response is stuck`() throws {
        let setup = PlaneSetup(timeouts: "credential = \"300ms\"\nwrite_idle = \"20s\"")
        let plane = try Plane(setup) { _ in .silence }
        plane.post(.credential(grant: "fixed", .ready(StubControl.credential(1))))
        let caller = try plane.connect()
        let size = 16 << 20
        caller.write(get("/big"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        plane.post(.credential(grant: "fixed", .unknown))
        caller.write(get("/next"))
        let writer = try WorkerThread.start(name: "writer") { [api = api.giveAway()] in
            guard let api = try? WireEnd(api) else { return }
            api.write("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
            api.write([UInt8](repeating: 0x78, count: size))
        }
        #expect(caller.read(until: "\r\n\r\n").status == 200)
        // All but what is stuck between, so that the next exchange begins before all is written.
        var taken = 0
        // On a busy machine the refusal may come together with the last of the content.
        var refusal = ""
        while taken < size, let more = caller.readSome(), !more.isEmpty {
            taken += more.count
            if taken > size { refusal = String(decoding: more.suffix(taken - size), as: UTF8.self) }
            if plane.control.questions.count == 1 { caller.pause(milliseconds: 1) }
        }
        if refusal.range(of: "\r\n\r\n") == nil { refusal += caller.read(until: "\r\n\r\n") }
        #expect(refusal.field("token-gateway-error") == "token_unavailable")
        writer.join()
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a credential that does not come after a 401`() throws {
        let setup = PlaneSetup(timeouts: "credential = \"200ms\"", route: "timeout = \"700ms\"")
        let plane = try Plane(setup) { $0.rejected == nil ? .generation(1) : .silence }
        let caller = try plane.connect()
        let start = MonotonicClock.milliseconds()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        #expect(caller.read(until: "x\r\n").status == 401)
        expect(MonotonicClock.milliseconds() - start, 200)
        // The whole exchange is still bounded, although its content goes on.
        while MonotonicClock.milliseconds() - start < 3000, api.write("1\r\nx\r\n") { api.pause(milliseconds: 20) }
        expect(MonotonicClock.milliseconds() - start, 700)
        #expect(caller.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `the route's timeout covers refresh and retry`() throws {
        let plane = try Plane(PlaneSetup(route: "timeout = \"300ms\""))
        let caller = try plane.connect()
        caller.write(get("/"))
        let taken = try time {
            let first = try plane.upstream.accept()
            _ = first.readMessage()
            first.write(unauthorized)
            let second = try plane.upstream.accept()
            _ = second.readMessage()
            #expect(caller.readMessage().status == 504)
        }
        expect(taken, 300)
        caller.write(get("/"))
        _ = try plane.answer("GET")
        #expect(caller.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a place in the pool that does not come`() throws {
        let plane = try Plane(PlaneSetup(upstream: "max_connections = 1\nconnect_timeout = \"200ms\""))
        let first = try plane.connect()
        first.write(get("/first"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        let second = try plane.connect()
        second.write(get("/second"))
        let taken = time { #expect(second.readMessage().field("token-gateway-error") == "overloaded") }
        expect(taken, 200)
        // And one that does come.
        second.write(get("/third"))
        try plane.seen()
        api.write(ok("one"))
        #expect(first.readMessage().content == "one")
        #expect(api.readMessage().hasPrefix("GET /third"))
        api.write(ok("three"))
        #expect(second.readMessage().content == "three")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a pooled connection that is idle for too long`() throws {
        let plane = try Plane(PlaneSetup(upstream: "idle_timeout = \"200ms\""))
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        let taken = time { #expect(api.readToEnd()) }
        #expect(taken < 1700)
        #expect(try plane.stop() == PlaneEnd())
    }
}
