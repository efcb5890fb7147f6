import OpenSSLKit
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Draining, reconfiguration, TLS to the upstream, Unix sockets.
@Suite struct DataPlaneLifeTests {
    @Test func `draining lets running exchanges end and closes the rest`() throws {
        let plane = try Plane()
        let running = try plane.connect()
        let idle = try plane.connect()
        let pooled = try plane.idleConnection(idle)
        running.write(post("/", "abc"))
        #expect(pooled.readMessage().content == "abc")
        plane.post(.drain(milliseconds: 10_000))
        #expect(idle.readAll() == "")
        #expect(throws: Errno.self) { _ = try plane.connect() }
        pooled.write(ok("done"))
        let response = try #require(running.readAll())
        #expect(response.content == "done" && response.field("connection") == "close")
        #expect(try plane.stop(within: 10_000) == PlaneEnd())
        #expect(pooled.readToEnd())
    }

    @Test func `draining does not cut a response that is still being written`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        // More than the kernel takes, so that the end of it stays with the worker.
        let size = 24 << 20
        api.write("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
        let writer = try WorkerThread.start(name: "writer") { [api = api.giveAway()] in
            guard let api = try? WireEnd(api) else { return }
            api.write([UInt8](repeating: 0x78, count: size))
            _ = api.readToEnd()
        }
        #expect(caller.read(until: "\r\n\r\n").status == 200)
        var count = 0
        var isDraining = false
        while let bytes = caller.readSome(), !bytes.isEmpty {
            count += bytes.count
            guard !isDraining, try plane.counters().requestsCurrent == 0 else { continue }
            plane.post(.drain(milliseconds: 10_000))
            isDraining = true
        }
        #expect(count == size && isDraining)
        #expect(try plane.stop(within: 10_000) == PlaneEnd())
        writer.join()
    }

    @Test func `the end of patience cuts what still runs`() throws {
        let plane = try Plane { _ in .silence }
        let caller = try plane.connect()
        caller.write(get("/"))
        _ = try plane.control.waitForQuestions(1)
        #expect(try plane.stop(within: 100) == PlaneEnd())
        #expect(caller.readToEnd())
        #expect(plane.control.left.count == 1)
    }

    @Test func `an exchange goes on under the configuration that it began with`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        caller.write(post("/", "abc"))
        #expect(api.readMessage().content == "abc")
        let other = try ScriptedUpstream()
        try plane.reconfigure(PlaneSetup(), upstream: other)
        try plane.seen()
        api.write(unauthorized)
        // The retry still goes to the old upstream, and its connection is not kept.
        let second = try plane.upstream.accept()
        #expect(second.readMessage().field("authorization") == "Bearer token-2")
        second.write(ok("old"))
        #expect(caller.readMessage().content == "old")
        #expect(second.readToEnd())
        caller.write(get("/"))
        let new = try other.accept()
        #expect(new.readMessage().field("host") == "127.0.0.1:\(other.port)")
        new.write(ok("new"))
        #expect(caller.readMessage().content == "new")
        // The same again changes nothing: the pooled connection stays.
        try plane.reconfigure(PlaneSetup(), upstream: other)
        caller.write(get("/"))
        #expect(new.readMessage().hasPrefix("GET"))
        new.write(ok("kept"))
        #expect(caller.readMessage().content == "kept")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `addresses that were asked for an old upstream are not used for a new one of its name`() throws {
        let door = Door()
        let old = try ScriptedUpstream()
        let plane = try Plane(
            PlaneSetup(host: "old.test"), upstream: old,
            lookup: { host in
                if host == "old.test" { door.wait() }
                return .success([host == "old.test" ? .ipv4(0x7F00_0002, port: 0) : .loopback(port: 0)])
            })
        let caller = try plane.connect()
        caller.write(get("/old"))
        try plane.seen()
        let new = try ScriptedUpstream()
        try plane.reconfigure(PlaneSetup(host: "new.test"), upstream: new)
        let second = try plane.connect()
        second.write(get("/new"))
        let api = try new.accept()
        #expect(api.readMessage().hasPrefix("GET /new"))
        api.write(ok("new", fields: "Connection: close\r\n"))
        #expect(second.readMessage().content == "new")
        door.open()
        // The old exchange gets its own answer (nobody listens there).
        #expect(caller.readMessage().field("token-gateway-error") == "upstream_unreachable")
        second.write(get("/again"))
        let again = try new.accept()
        _ = again.readMessage()
        again.write(ok("again"))
        #expect(second.readMessage().content == "again")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `waiters of a grant that a new configuration has dropped are not lost`() throws {
        let plane = try Plane { _ in .silence }
        let caller = try plane.connect()
        caller.write(get("/"))
        let question = try plane.control.waitForQuestions(1)[0]
        try plane.reconfigure(PlaneSetup(hasGrant: false))
        try plane.seen()
        plane.control.answer(question.waiter, .generation(3))
        #expect(try plane.answer("GET").field("authorization") == "Bearer token-3")
        #expect(caller.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    // MARK: TLS

    @Test(arguments: [PlaneCertificates.otherName, PlaneCertificates.expired, PlaneCertificates.strange])
    func `no octet of a request goes to an upstream that cannot be trusted`(certificate: IssuedCertificate) throws {
        let plane = try Plane(PlaneSetup(isTLS: true))
        let caller = try plane.connect()
        caller.write(post("/", "abc"))
        let api = try plane.upstream.accept()
        _ = api.acceptTLS(certificate)
        #expect((api.readAll() ?? "").isEmpty)
        let response = caller.readMessage()
        #expect(response.status == 502 && response.field("token-gateway-error") == "upstream_tls")
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `an upstream that does not speak TLS is a 502`() throws {
        let plane = try Plane(PlaneSetup(isTLS: true))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        api.write("HTTP/1.1 400 Bad Request\r\n\r\n")
        #expect(caller.readMessage().field("token-gateway-error") == "upstream_tls")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a pooled connection is not used with other trust`() throws {
        let plane = try Plane(PlaneSetup(isTLS: true))
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller, isTLS: true)
        try plane.reconfigure(PlaneSetup(upstream: "host = \"other.example\"", isTLS: true))
        caller.write(get("/"))
        #expect(api.readAll() == "")
        let second = try plane.upstream.acceptTLS()
        #expect(second.readMessage().field("host") == "other.example")
        second.write(ok())
        #expect(caller.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `an upstream that answers and closes in the handshake's last flight`() throws {
        let plane = try Plane(PlaneSetup(isTLS: true))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.acceptTLS()
        api.sendCloseNotify()
        api.shutdownWriting()
        #expect(caller.readMessage().status == 502)
        #expect(try plane.stop() == PlaneEnd())
    }

    // MARK: Unix sockets

    @Test func `callers on a Unix socket`() throws {
        let path = "/tmp/tg-plane-\(SystemRandom.uint64())"
        let plane = try Plane(
            PlaneSetup(route: "forwarded = \"rfc7239\"\nallow_from = [\"10.0.0.0/8\"]"), unixPath: path)
        let caller = try plane.connect()
        for _ in 0..<3 {
            caller.write(get("/"))
            #expect(try plane.answer("GET").field("forwarded") == "for=unknown;proto=http;host=\"localhost\"")
            #expect(caller.readMessage().status == 200)
        }
        caller.write(get("/"))
        caller.shutdownWriting()
        _ = try plane.answer("GET")
        #expect(caller.readAll()?.status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that may not use the route is denied`() throws {
        let plane = try Plane(PlaneSetup(route: "allow_from = [\"10.0.0.0/8\"]"))
        let caller = try plane.connect()
        for _ in 0..<2 {
            caller.write(get("/"))
            #expect(caller.readMessage().status == 403)
        }
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }
}

/// Holds a thread until it is opened.
final class Door: Sendable {
    private let mailbox = try! Mailbox<Void>()

    func open() { mailbox.post(()) }

    func wait() {
        guard let poller = try? Poller(eventCapacity: 1),
            (try? poller.addListener(mailbox.descriptor, token: 0)) != nil
        else { return }
        _ = poller.wait(timeoutMilliseconds: WireEnd.patience)
    }
}
