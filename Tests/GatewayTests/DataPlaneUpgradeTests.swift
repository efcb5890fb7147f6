import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// `Expect: 100-continue`, informational responses, early answers and upgrades.
@Suite struct DataPlaneUpgradeTests {
    private let expecting = "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    @Test func `the upstream's 100 brings the content`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(expecting)
        let api = try plane.upstream.accept()
        #expect(api.read(until: "\r\n\r\n").field("expect") == "100-continue")
        #expect(!caller.hasInput)
        api.write("HTTP/1.1 100 Continue\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        caller.write("hello")
        #expect(api.read(until: "hello") == "hello")
        api.write(ok())
        #expect(caller.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `content that takes long after the 100 is not a timeout of the upstream`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(expecting)
        let api = try plane.upstream.accept()
        _ = api.read(until: "\r\n\r\n")
        api.write("HTTP/1.1 100 Continue\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n").status == 100)
        caller.write("he")
        #expect(api.read(until: "he") == "he")
        // Longer than the second that an upstream has for its 100.
        caller.pause(milliseconds: 1300)
        #expect(!caller.hasInput)
        caller.write("llo")
        #expect(api.read(until: "llo") == "llo")
        api.write(ok())
        #expect(caller.readMessage().status == 200)
    }

    @Test func `an upstream that says nothing gets the content after a second`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(expecting)
        let api = try plane.upstream.accept()
        _ = api.read(until: "\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n").status == 100)
        caller.write("hello")
        #expect(api.read(until: "hello") == "hello")
        api.write(ok())
        #expect(caller.readMessage().status == 200)
    }

    @Test func `a final answer instead of the 100 goes to the caller, who is not read any more`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(expecting)
        let api = try plane.upstream.accept()
        _ = api.read(until: "\r\n\r\n")
        api.write("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
        let response = caller.readMessage()
        #expect(response.status == 417 && response.content == "no" && response.field("connection") == "close")
        caller.write(get("/smuggled"))
        #expect(caller.readToEnd())
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [5, 400_000])
    func `a 401 instead of the 100 is retried, and the content is sent once`(size: Int) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(expecting.replacing("Length: 5", with: "Length: \(size)"))
        let first = try plane.upstream.accept()
        _ = first.read(until: "\r\n\r\n")
        first.write(unauthorized)
        let second = try plane.upstream.accept()
        let head = second.read(until: "\r\n\r\n")
        #expect(head.field("authorization") == "Bearer token-2" && head.field("expect") == "100-continue")
        second.write("HTTP/1.1 100 Continue\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n").status == 100)
        caller.write([UInt8](repeating: 0x78, count: size))
        #expect(second.readBytes(size).count == size)
        second.write(ok())
        let response = caller.readMessage()
        #expect(response.status == 200 && response.field("connection") == nil)
        caller.write(get("/next"))
        #expect(second.readMessage().hasPrefix("GET /next"))
        second.write(ok("next"))
        #expect(caller.readMessage().content == "next")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that is not credited is answered before it sends`() throws {
        let plane = try Plane { _ in .refusal(.notConnected) }
        let caller = try plane.connect()
        caller.write(expecting)
        let response = caller.readMessage()
        #expect(response.status == 503 && response.field("connection") == "close")
        #expect(response.field("token-gateway-error") == "not_connected")
    }

    @Test func `an unknown expectation is refused`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/", fields: "Expect: miracles\r\n"))
        #expect(caller.readMessage().status == 417)
    }

    @Test func `informational responses pass where no retry can follow`() throws {
        let plane = try Plane(PlaneSetup(hasGrant: false))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        #expect(api.readMessage().field("authorization") == nil)
        api.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok())
        let hint = caller.read(until: "\r\n\r\n")
        #expect(hint.status == 103 && hint.field("link") == "</a>")
        #expect(caller.readMessage().status == 200)
    }

    @Test func `an early answer ends the upload`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
        let api = try plane.upstream.accept()
        #expect(api.read(until: "abc").contains("POST"))
        api.write("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        #expect(caller.readMessage().status == 413)
        caller.write([UInt8](repeating: 0x78, count: 100_000))
        #expect(caller.readToEnd())
        #expect(api.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `content over the route's limit is refused on the way`() throws {
        let plane = try Plane(PlaneSetup(route: "request_body_limit = \"4KiB\""))
        let caller = try plane.connect()
        caller.write(post("/", String(repeating: "x", count: 4097)))
        #expect(caller.readMessage().status == 413)
        let other = try plane.connect()
        other.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n")
        other.write(String(repeating: "x", count: 4097))
        #expect(other.readMessage().status == 413)
        #expect(try plane.stop() == PlaneEnd())
        // The refusal may come before the connection.
        guard try plane.upstream.hasConnection() else { return }
        #expect(try plane.upstream.accept().readAll()?.hasSuffix("\r\n0\r\n\r\n") != true)
    }

    // MARK: Upgrades

    private let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    private let switching =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"

    private func tunnel(_ plane: Plane, isTLS: Bool, rejectFirst: Bool = false) throws -> (WireEnd, WireEnd) {
        let caller = try plane.connect()
        caller.write(upgrade)
        if rejectFirst {
            let first = try plane.upstream.accept()
            _ = first.readMessage()
            first.write(unauthorized)
        }
        let api = try isTLS ? plane.upstream.acceptTLS() : plane.upstream.accept()
        let request = api.readMessage()
        #expect(request.field("upgrade") == "websocket" && request.field("connection") == "Upgrade")
        #expect(request.field("sec-websocket-key") != nil && request.field("authorization") != nil)
        api.write(switching + "early")
        let response = caller.read(until: "early")
        #expect(response.status == 101 && response.field("sec-websocket-accept") == "x")
        #expect(response.field("upgrade") == "websocket")
        return (caller, api)
    }

    @Test(arguments: [false, true])
    func `a tunnel carries both directions, and much`(isTLS: Bool) throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]", isTLS: isTLS))
        let (caller, api) = try tunnel(plane, isTLS: isTLS)
        caller.write("ping")
        #expect(api.read(until: "ping") == "ping")
        api.write("pong")
        #expect(caller.read(until: "pong") == "pong")
        let size = 400_000
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let writer = try WorkerThread.start(name: "writer") { [caller = caller.giveAway()] in
            guard let caller = try? WireEnd(caller) else { return }
            caller.write(bytes)
            _ = caller.readToEnd()
        }
        #expect(api.readBytes(size) == bytes)
        api.close()
        writer.join()
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [false, true])
    func `the last words of a caller that closes its tunnel arrive`(isTLS: Bool) throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]", isTLS: isTLS))
        let (caller, api) = try tunnel(plane, isTLS: isTLS)
        caller.write("farewell")
        caller.shutdownWriting()
        #expect(api.read(until: "farewell") == "farewell")
        #expect(api.readAll() == "")
        api.write("bye")
        api.sendCloseNotify()
        api.close()
        #expect(caller.readAll() == "bye")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `the last words of an upstream that closes its tunnel arrive`() throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]"))
        let (caller, api) = try tunnel(plane, isTLS: false)
        api.write("goodbye")
        api.close()
        #expect(caller.readAll() == "goodbye")
        caller.close()
        try plane.wait("all ended") { $0.callerConnections == 0 }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that resets its tunnel ends it`() throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]"))
        let (caller, api) = try tunnel(plane, isTLS: false)
        caller.reset()
        #expect(api.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a 401 to an upgrade is retried`() throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]"))
        let (caller, api) = try tunnel(plane, isTLS: false, rejectFirst: true)
        caller.write("x")
        #expect(api.read(until: "x") == "x")
    }

    @Test func `a route that does not allow it forwards a plain request`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(upgrade)
        #expect(try plane.answer("GET /ws").field("upgrade") == nil)
        #expect(caller.readMessage().status == 200)
    }

    @Test func `content is not taken for the tunnel's`() throws {
        let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]"))
        let caller = try plane.connect()
        caller.write(upgrade.replacing("\r\n\r\n", with: "\r\nContent-Length: 9\r\n\r\nabc"))
        let api = try plane.upstream.accept()
        #expect(api.read(until: "abc").field("upgrade") == nil)
    }
}
