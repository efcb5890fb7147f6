import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Upstreams whose host comes with the credential, over all pairs of protocol versions.
@Suite struct MatrixCapturedTests {
    private static func setup(_ pair: PeerPair, upstream: String = "") -> PlaneSetup {
        Tenants.setup(
            from: "header:X-Tenant", upstream: "allowed_hosts = [\"eu.api.test\", \"us.api.test\"]\n" + upstream,
            url: "\(pair.isTLS ? "https" : "http")://{zone}.api.test:{port}/base")
    }

    /// The tenant's name begins with its zone.
    private static func answer(_ question: StubControl.Question) -> StubControl.Answer {
        let generation = (question.rejected ?? 0) + 1
        let zone = question.grant.dropFirst(2).prefix { $0 != "-" }
        let captured = zone == "none" ? [:] : ["zone": zone == "dot" ? "eu.api.test/" : String(zone)]
        return .credential(Tenants.credential(question.grant, generation, captured: captured))
    }

    private func scene(
        _ pair: PeerPair, upstream: String = "",
        control: @escaping @Sendable (StubControl.Question) -> StubControl.Answer = answer
    ) throws -> Scene {
        let scene = try Scene(pair, Self.setup(pair, upstream: upstream), control: control)
        scene.upstreamCertificate = PlaneCertificates.zones
        return scene
    }

    @Test(arguments: PeerPair.all)
    func `a token goes to the host that was captured with it`(pair: PeerPair) throws {
        let scene = try scene(pair)
        let caller = try scene.connect()
        let port = scene.plane.upstream.port
        for name in ["eu-a", "us-b", "eu-c", "us-b", "eu-a"] {
            let call = caller.request("GET", "/x?y", [("x-tenant", name)])
            let served = try scene.served()
            let zone = name.prefix(2)
            #expect(served.head?.authority == "\(zone).api.test:\(port)")
            #expect(served.head?.target == "/base/x?y")
            #expect(served.head?.values("authorization") == ["Bearer t:\(name)/1"])
            if pair.isTLS { #expect(served.link.engine?.serverName == "\(zone).api.test") }
            served.answer(302, "", [("location", "\(pair.isTLS ? "https" : "http")://\(zone).api.test:\(port)/base/z")])
            try scene.finish(call)
            #expect(call.head?["location"]?.hasSuffix("gateway.test/z") == true || call.head?["location"] == "/z")
        }
        // Connections are a host's own, and all its tenants'.
        #expect(scene.upstreams.count == 2)
        #expect(try scene.plane.inspect { $0.capturedHosts } == 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, ["evil-a", "none-a", "dot-a"])
    func `a host that is wrong or missing gets nothing`(pair: PeerPair, name: String) throws {
        let scene = try scene(pair)
        let caller = try scene.connect()
        for _ in 0..<2 {
            let call = caller.request("GET", "/", [("x-tenant", name)])
            try scene.finish(call)
            #expect(call.head?.status == 502 && call.head?["token-gateway-error"] == "upstream_not_named")
            #expect(call.content.text.contains("\"grant\":\"t:\(name)\"") && call.content.text.contains("captured"))
        }
        try scene.settle()
        #expect(scene.upstreams.isEmpty && !caller.inputEnded)
        #expect(try scene.plane.inspect { $0.capturedHosts } == 0)
        let call = caller.request("GET", "/", [("x-tenant", "eu-a")])
        try scene.served().answer()
        try scene.finish(call)
        #expect(call.head?.status == 200)
        try scene.end()
    }

    @Test(arguments: [true, false])
    func `a host that only a pattern allows is not looked for on this machine`(isAllowed: Bool) throws {
        let pair = try #require(PeerPair.all.first { !$0.isTLS })
        let more = isAllowed ? "allow_private = true" : ""
        let setup = Tenants.setup(
            from: "header:X-Tenant", upstream: "allowed_hosts = [\"*.api.test\"]\n" + more,
            url: "http://{zone}.api.test:{port}/base")
        let scene = try Scene(pair, setup, control: Self.answer)
        let caller = try scene.connect()
        let call = caller.request("GET", "/", [("x-tenant", "eu-a")])
        if isAllowed { try scene.served().answer() }
        try scene.finish(call)
        #expect(call.head?.status == (isAllowed ? 200 : 502))
        if !isAllowed {
            #expect(call.head?["token-gateway-error"] == "upstream_unreachable")
            #expect(scene.upstreams.isEmpty)
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a new token that leads elsewhere goes elsewhere`(pair: PeerPair) throws {
        let scene = try scene(pair) { question in
            let zone = question.rejected == nil ? "eu" : "us"
            let generation = (question.rejected ?? 0) + 1
            return .credential(Tenants.credential(question.grant, generation, captured: ["zone": zone]))
        }
        let call = try scene.connect().request("GET", "/", [("x-tenant", "a")])
        let first = try scene.served()
        #expect(first.head?.authority.hasPrefix("eu.") == true)
        first.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
        let second = try scene.served()
        #expect(second.head?.authority.hasPrefix("us.") == true)
        #expect(second.head?.values("authorization") == ["Bearer t:a/2"])
        second.answer()
        try scene.finish(call)
        #expect(call.head?.status == 200)
        try scene.end()
    }

    @Test(arguments: PeerPair.secure)
    func `a server that is not the captured host gets nothing`(pair: PeerPair) throws {
        let scene = try scene(pair)
        scene.upstreamCertificate = PlaneCertificates.otherName
        let call = try scene.connect().request("GET", "/", [("x-tenant", "eu-a")])
        try scene.finish(call)
        #expect(call.head?.status == 502 && call.head?["token-gateway-error"] == "upstream_tls")
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `the host that was not used for longest makes room for another one`(pair: PeerPair) throws {
        let scene = try scene(pair)
        _ = try scene.plane.inspect { $0.capturedHostLimit = 1 }
        let caller = try scene.connect()
        for (index, name) in ["eu-a", "us-b", "eu-a"].enumerated() {
            let call = caller.request("GET", "/", [("x-tenant", name)])
            try scene.served().answer()
            try scene.finish(call)
            #expect(scene.upstreams.count == index + 1)
            #expect(try scene.plane.inspect { $0.capturedHosts } == 1)
        }
        // What belonged to the hosts that went is closed.
        try scene.wait("the end of the first two") { scene.upstreams[0].inputEnded && scene.upstreams[1].inputEnded }
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a host that is dropped while requests run ends with them`(pair: PeerPair) throws {
        let scene = try scene(pair)
        _ = try scene.plane.inspect { $0.capturedHostLimit = 1 }
        let callers = try (0..<2).map { _ in try scene.connect() }
        let first = callers[0].request("GET", "/first", [("x-tenant", "eu-a")])
        let firstServed = try scene.served()
        let second = callers[1].request("GET", "/second", [("x-tenant", "us-a")])
        let secondServed = try scene.served()
        firstServed.answer(200, "first")
        try scene.finish(first)
        #expect(first.content.text == "first")
        secondServed.answer(200, "second")
        try scene.finish(second)
        #expect(second.content.text == "second")
        try scene.wait("the end of the first host's connection") { scene.upstreams[0].inputEnded }
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a reload keeps the hosts of an upstream that it leaves as it was, and ends those of another`(
        pair: PeerPair
    ) throws {
        let scene = try scene(pair)
        let caller = try scene.connect()
        func go() throws {
            let call = caller.request("GET", "/", [("x-tenant", "eu-a")])
            try scene.served().answer()
            try scene.finish(call)
            #expect(call.head?.status == 200)
        }
        try go()
        try scene.plane.reconfigure(scene.setup)
        try go()
        #expect(scene.upstreams.count == 1)
        var changed = scene.setup
        changed.upstream += "\nfirst_byte_timeout = \"7s\""
        try scene.plane.reconfigure(changed)
        try go()
        #expect(scene.upstreams.count == 2)
        try scene.wait("the end of the old one") { scene.upstreams[0].inputEnded }
        #expect(try scene.plane.inspect { $0.capturedHosts } == 1)
        try scene.end()
    }
}
