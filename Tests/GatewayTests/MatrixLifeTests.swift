import HTTP
import OpenSSLKit
import Telemetry
import Testing

@testable import Gateway

/// Draining, reloading and new certificates, over all pairs of protocol versions.
@Suite struct MatrixLifeTests {
    @Test(arguments: PeerPair.all)
    func `what runs when draining begins is finished`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let idle = try scene.connect()
        try scene.check(on: idle)
        let call = caller.request("POST", "/", framing: .length(50_000))
        call.send(pattern: 10_000)
        let served = try scene.served()
        scene.plane.post(.drain(milliseconds: 10_000))
        if pair.caller == .http2 {
            try scene.wait("GOAWAY") { caller.frames.contains { $0.type == 7 } }
        }
        try scene.wait("the end of the idle caller's connection") { idle.inputEnded }
        call.send(pattern: 40_000)
        call.end()
        try scene.finish(served)
        #expect(served.content.isPattern(of: 50_000))
        served.respond(200, framing: .length(60_000))
        served.send(pattern: 60_000)
        served.end()
        try scene.finish(call)
        #expect(call.content.isPattern(of: 60_000) && call.isEnded)
        try scene.wait("the end of the caller's connection") { caller.inputEnded }
        try scene.wait("the end of the upstream's connections") { scene.upstreams.allSatisfy { $0.inputEnded } }
        #expect(try scene.plane.stop(within: 10_000) == PlaneEnd())
    }

    @Test(arguments: PeerPair.all)
    func `a drain that takes too long is cut`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("GET", "/")
        _ = try scene.served()
        scene.plane.post(.drain(milliseconds: 100))
        try scene.wait("the cut") { call.isOver }
        #expect(call.isCut || call.head?.status == 503)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a reload that retires an upstream lets its exchanges finish`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("GET", "/old")
        let served = try scene.served()
        served.respond(200, framing: .length(100_000))
        served.send(pattern: 1000)
        try scene.wait("the beginning") { call.content.count == 1000 }
        var setup = scene.setup
        setup.upstream += "\nhost = \"other.example\""
        try scene.plane.reconfigure(setup)
        try scene.settle()
        let other = try scene.connect()
        let next = other.request("GET", "/new")
        let nextServed = try scene.served()
        #expect(nextServed.head?.authority == "other.example" && scene.upstreams.count == 2)
        nextServed.answer()
        try scene.finish(next)
        served.send(pattern: 99_000)
        served.end()
        try scene.finish(call)
        #expect(call.content.isPattern(of: 100_000))
        try scene.wait("the end of the retired connection") { scene.upstreams[0].inputEnded }
        #expect(!scene.upstreams[1].inputEnded)
        try scene.end()
    }

    @Test(arguments: PeerPair.secure)
    func `new certificates are shown to new callers only`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let old = try scene.connect()
        try scene.check(on: old)
        let other = try Scene.secureListener(PlaneCertificates.otherName)
        scene.plane.post(.certificates(listener: "internal", settings: try #require(other.tls)))
        try scene.settle()
        // Verified by the name that only the new one has.
        let new = try scene.connect(host: "other.test")
        #expect(new.isSecure)
        try scene.check(on: new)
        try scene.check(on: old)
        let wrong = try scene.connect()
        #expect(!wrong.isSecure && wrong.tlsFailure != nil)
        wrong.close()
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a caller's idle connection is closed after its time`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(timeouts: "keep_alive = \"100ms\""))
        let caller = try scene.connect()
        try scene.check(on: caller)
        try scene.wait("the end") { caller.inputEnded }
        if pair.caller == .http2 { #expect(caller.frames.last { $0.type == 7 }?.number(at: 4) == HTTP2Code.noError) }
        try scene.end()
    }
}
