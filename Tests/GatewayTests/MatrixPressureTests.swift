import HTTP
import Telemetry
import Testing

@testable import Gateway

/// Peers that send much and take little: what the worker holds stays small, others go on, and all arrives in the end.
@Suite struct MatrixPressureTests {
    private static let size = 64 << 20
    /// Windows of both sides, the high water of both, and a read or two.
    private static let bound = 3 << 20

    /// Until nothing moves any more.
    private func rest(_ scene: Scene, _ measure: () -> Int) throws {
        var quiet = 0
        var last = -1
        while quiet < 5 {
            try scene.settle()
            quiet = measure() == last ? quiet + 1 : 0
            last = measure()
        }
    }

    @Test(arguments: PeerPair.all)
    func `a caller that does not read stops its upstream and nobody else`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("GET", "/large")
        if pair.caller == .http2 { call.takes = false } else { caller.reads = false }
        let served = try scene.served()
        served.respond(200, framing: .open)
        served.send(pattern: Self.size)
        served.end()
        try rest(scene) { served.queued }
        let holdings = try scene.plane.holdings()
        #expect(holdings.octets < Self.bound, "\(holdings)")
        #expect(served.queued > 0)
        // On the same connections where they can be shared.
        try scene.check(on: pair.caller == .http2 ? caller : scene.connect())
        if pair.upstream == .http2 { #expect(scene.upstreams.count == 1) }
        call.takes = true
        caller.reads = true
        try scene.finish(call)
        #expect(call.content.isPattern(of: Self.size) && call.isEnded)
        let rest = try scene.plane.holdings()
        #expect(rest.octets == 0, "\(rest)")
        try scene.end()
    }

    @Test(arguments: PeerPair.all, ["retry_body_limit = 0", "retry_body_limit = \"256KiB\""])
    func `an upstream that does not read stops its caller and nobody else`(pair: PeerPair, route: String) throws {
        let scene = try Scene(pair, PlaneSetup(route: route))
        let caller = try scene.connect()
        let call = caller.request("POST", "/large", framing: .open)
        call.send("")
        let served = try scene.served()
        if pair.upstream == .http2 { served.takes = false } else { served.link.reads = false }
        call.send(pattern: Self.size)
        call.end()
        try rest(scene) { call.queued }
        let holdings = try scene.plane.holdings()
        #expect(holdings.octets < Self.bound, "\(holdings)")
        #expect(call.queued > 0)
        try scene.check(on: pair.caller == .http2 ? caller : scene.connect())
        served.takes = true
        served.link.reads = true
        try scene.finish(served)
        #expect(served.content.isPattern(of: Self.size) && served.isEnded)
        served.answer()
        try scene.finish(call)
        #expect(call.head?.status == 200)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a large answer and a large request at the same time on shared connections`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let size = 4 << 20
        let up = caller.request("POST", "/up", framing: .length(size))
        up.send(pattern: size)
        up.end()
        let upServed = try scene.served()
        let down = try (pair.caller == .http2 ? caller : scene.connect()).request("GET", "/down")
        let downServed = try scene.served()
        downServed.respond(200, framing: .length(size))
        downServed.send(pattern: size)
        downServed.end()
        try scene.finish(upServed)
        upServed.answer()
        try scene.finish(up)
        try scene.finish(down)
        #expect(upServed.content.isPattern(of: size) && down.content.isPattern(of: size))
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a caller that leaves in the middle of what it does not read lets go of all`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("GET", "/large")
        if pair.caller == .http2 { call.takes = false } else { caller.reads = false }
        let served = try scene.served()
        served.respond(200, framing: .length(Self.size))
        served.send(pattern: Self.size)
        try rest(scene) { served.queued }
        call.reset()
        try scene.wait("the end upstream") { served.resetCode != nil || served.link.inputEnded }
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        let rest = try scene.plane.holdings()
        #expect(rest.octets == 0, "\(rest)")
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.fromHTTP2)
    func `a caller that grants no room for its answer is left after its time`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(timeouts: "write_idle = \"200ms\""))
        let caller = try scene.connect()
        let call = caller.request("GET", "/large")
        call.takes = false
        let served = try scene.served()
        served.respond(200, framing: .length(Self.size))
        served.send(pattern: Self.size)
        try scene.wait("the end upstream") { served.resetCode != nil || served.link.inputEnded }
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        try scene.check(on: scene.connect())
        try scene.end()
    }
}
