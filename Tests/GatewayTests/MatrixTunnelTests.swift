import HTTP
import Telemetry
import Testing

@testable import Gateway

/// WebSocket over all pairs: by an upgrade, by an extended CONNECT, and from one to the other.
@Suite struct MatrixTunnelTests {
    private static let allowed = PlaneSetup(route: "allow_upgrade = [\"websocket\"]")
    /// An upstream of which the ALPN chooses gets an HTTP/1 connection for it.
    private static func allowed(_ pair: PeerPair) -> PlaneSetup {
        var setup = allowed
        if pair.isTLS, pair.upstream == .http2 { setup.upstream = "protocol = \"http2\"" }
        return setup
    }

    private func open(_ scene: Scene, _ caller: PeerLink) throws -> (PeerStream, PeerStream) {
        let call = caller.webSocket()
        let served = try scene.served()
        let head = try #require(served.head)
        #expect(head.values("authorization").count == 1 && head.target == "/ws")
        #expect(head["sec-websocket-version"] == "13")
        if served.link.version == .http1 {
            #expect(head.method == "GET" && head["upgrade"] == "websocket" && head["connection"] == "Upgrade")
            #expect(head.values("sec-websocket-key").count == 1)
        } else {
            #expect(head.method == "CONNECT" && head.values("sec-websocket-key") == [])
        }
        served.agree()
        try scene.wait("the agreement") { call.head != nil }
        if caller.version == .http1 {
            #expect(call.head?.status == 101 && call.head?["upgrade"] == "websocket")
            #expect(call.head?.values("sec-websocket-accept") == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
        } else {
            #expect(call.head?.status == 200 && call.head?.values("sec-websocket-accept") == [])
        }
        return (call, served)
    }

    @Test(arguments: PeerPair.all)
    func `a tunnel carries a mebibyte both ways at once, and both ends`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let (call, served) = try open(scene, caller)
        #expect(served.link.version == pair.upstream)
        let size = 1 << 20
        call.send(pattern: size)
        served.send(pattern: size)
        try scene.wait("both") { call.content.count == size && served.content.count == size }
        #expect(call.content.isPattern(of: size) && served.content.isPattern(of: size))
        // The caller's last words, and then the upstream's.
        call.end()
        try scene.finish(served)
        #expect(served.isEnded)
        served.send("bye")
        served.end()
        try scene.finish(call)
        #expect(call.isEnded && call.content.count == size + 3)
        try scene.check(on: pair.caller == .http2 ? caller : scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.fromHTTP2)
    func `octets right behind an extended CONNECT wait for the agreement`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let call = try scene.connect().webSocket()
        call.send("GET /smuggled HTTP/1.1\r\n\r\n")
        let served = try scene.served()
        try scene.settle()
        #expect(served.content.count == 0 && !scene.hasRequest)
        served.agree()
        try scene.wait("what was said early") { served.content.text.hasSuffix("\r\n\r\n") }
        call.end()
        served.end()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `what an upstream says last arrives, and the tunnel ends`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let (call, served) = try open(scene, caller)
        served.send(pattern: 100_000)
        served.end()
        try scene.finish(call)
        #expect(call.content.isPattern(of: 100_000) && call.isEnded)
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [true, false])
    func `a tunnel that one side breaks is broken for the other`(pair: PeerPair, byCaller: Bool) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let (call, served) = try open(scene, caller)
        call.send("ping")
        try scene.wait("ping") { served.content.count == 4 }
        (byCaller ? call : served).reset()
        let other = byCaller ? served : call
        try scene.wait("the other's end") { other.isOver || other.link.inputEnded }
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a caller that does not read its tunnel stops the upstream`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let (call, served) = try open(scene, caller)
        if pair.caller == .http2 { call.takes = false } else { caller.reads = false }
        let size = 32 << 20
        served.send(pattern: size)
        for _ in 0..<20 { try scene.settle() }
        #expect(served.queued > 0)
        let holdings = try scene.plane.holdings()
        #expect(holdings.octets < 3 << 20, "\(holdings)")
        call.takes = true
        caller.reads = true
        try scene.wait("all of it") { call.content.count == size }
        #expect(call.content.isPattern(of: size))
        served.end()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a refusal of the upstream goes to the caller`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let call = caller.webSocket()
        let served = try scene.served()
        served.answer(403, "no")
        try scene.finish(call)
        #expect(call.head?.status == 403 && call.content.text == "no")
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a 401 to a tunnel's request is retried`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed(pair))
        let caller = try scene.connect()
        let call = caller.webSocket()
        try scene.served().answer(401, "first", [("www-authenticate", "Bearer")])
        let served = try scene.served()
        #expect(served.head?.values("authorization") == ["Bearer token-2"])
        served.agree()
        try scene.wait("the agreement") { call.head != nil }
        call.send("hello")
        try scene.wait("the words") { served.content.text == "hello" }
        served.end()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a route that does not allow it makes no tunnel`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.webSocket()
        if pair.caller == .http2 {
            try scene.finish(call)
            #expect(call.head?.status == 501)
        } else {
            let served = try scene.served()
            #expect(served.head?["upgrade"] == nil && served.head?.method == "GET")
            served.answer()
            try scene.wait("the answer") { call.head?.status == 200 }
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.secure.filter { $0.upstream == .http2 })
    func `an upstream whose version ALPN chooses gets a connection of HTTP 1 for it`(pair: PeerPair) throws {
        let scene = try Scene(pair, Self.allowed)
        let caller = try scene.connect()
        try scene.check(on: caller)
        #expect(scene.upstreams[0].version == .http2)
        let (call, served) = try open(scene, try scene.connect())
        #expect(served.link.version == .http1 && scene.upstreams.count == 2)
        call.send("ping")
        try scene.wait("ping") { served.content.text == "ping" }
        served.send("pong")
        try scene.wait("pong") { call.content.text == "pong" }
        try scene.check(on: caller)
        #expect(scene.upstreams.count == 2)
        served.end()
        try scene.finish(call)
        try scene.end()
    }
}
