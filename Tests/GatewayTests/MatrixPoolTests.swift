import HTTP
import Reactor
import Testing

@testable import Gateway

/// The connections to an upstream that speaks HTTP/2: sharing, limits, ends, and what is repeated.
@Suite struct MatrixPoolTests {
    private func calls(_ scene: Scene, _ count: Int, _ method: String = "GET") throws -> [PeerStream] {
        let shared = scene.pair.caller == .http2 ? try scene.connect() : nil
        return try (0..<count).map { try (shared ?? scene.connect()).request(method, "/\($0)", framing: .none) }
    }

    private func finish(_ calls: [PeerStream], _ scene: Scene) throws {
        for call in calls {
            try scene.finish(call)
            #expect(call.head?.status == 200 && call.content.text == "ok")
        }
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `many exchanges share one connection, answered in any order`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let calls = try calls(scene, 60)
        let served = try (0..<60).map { _ in try scene.served() }
        #expect(scene.upstreams.count == 1)
        for index in served.indices.reversed() { served[index].answer(200, served[index].head?.target ?? "") }
        for (index, call) in calls.enumerated() {
            try scene.finish(call)
            #expect(call.content.text == "/\(index)")
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2, [1, 2])
    func `another connection is opened at the upstream's limit of streams`(pair: PeerPair, limit: UInt32) throws {
        let scene = try Scene(pair)
        scene.upstreamSettings.maxConcurrentStreams = limit
        let first = try scene.connect()
        // So that the limit is known.
        try scene.check(on: first)
        let calls = try calls(scene, 6)
        let served = try (0..<6).map { _ in try scene.served() }
        #expect(scene.upstreams.count == 6 / Int(limit))
        for stream in served { stream.answer() }
        try finish(calls, scene)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2, [1, 2])
    func `a limit that is not known yet costs no request`(pair: PeerPair, limit: UInt32) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_connections = 2"))
        scene.upstreamSettings.maxConcurrentStreams = limit
        let calls = try calls(scene, 10, "POST")
        for _ in 0..<10 { try scene.served().answer() }
        try finish(calls, scene)
        #expect(scene.upstreams.count <= 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `our own limit of streams holds too`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_streams = 3"))
        let calls = try calls(scene, 6)
        let served = try (0..<6).map { _ in try scene.served() }
        #expect(scene.upstreams.count == 2 && scene.upstreams.allSatisfy { $0.streams.count == 3 })
        for stream in served { stream.answer() }
        try finish(calls, scene)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a limit that is lowered holds for new streams, one that is raised lets those go that wait`(
        pair: PeerPair
    ) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_connections = 1"))
        let caller = try scene.connect()
        let one = caller.request("GET", "/one")
        let first = try scene.served()
        let link = scene.upstreams[0]
        link.write(frame: 4, [0, 3] + PeerLink.big(1))
        try scene.settle()
        let other = try scene.connect()
        let two = other.request("GET", "/two")
        try scene.settle()
        #expect(!scene.hasRequest)
        link.write(frame: 4, [0, 3] + PeerLink.big(2))
        let second = try scene.served()
        #expect(second.head?.target == "/two" && scene.upstreams.count == 1)
        link.write(frame: 4, [0, 3] + PeerLink.big(0))
        try scene.settle()
        first.answer()
        second.answer()
        try finish([one, two], scene)
        let third = try scene.connect()
        let three = third.request("GET", "/three")
        try scene.settle()
        #expect(!scene.hasRequest)
        link.write(frame: 4, [0, 3] + PeerLink.big(100))
        try scene.served().answer()
        try finish([three], scene)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a caller that leaves at the limit of streams makes room, and harms nobody who waits`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_connections = 1"))
        scene.upstreamSettings.maxConcurrentStreams = 2
        try scene.check(on: scene.connect())
        var calls = try (0..<6).map { try scene.connect().request("GET", "/\($0)", framing: .none) }
        let first = try scene.served()
        let second = try scene.served()
        let leaving = try #require(first.head.flatMap { Int($0.target.dropFirst()) })
        calls.remove(at: leaving).reset()
        try scene.wait("the reset") { first.resetCode != nil }
        for _ in 0..<4 { try scene.served().answer() }
        second.answer()
        try finish(calls, scene)
        #expect(scene.upstreams.count == 1)
        try scene.end()
    }

    // MARK: Ends

    @Test(arguments: PeerPair.toHTTP2)
    func `a GOAWAY lets those who wait open another connection`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_connections = 1"))
        scene.upstreamSettings.maxConcurrentStreams = 1
        try scene.check(on: scene.connect())
        let calls = try (0..<2).map { try scene.connect().request("GET", "/\($0)", framing: .none) }
        let first = try scene.served()
        try scene.settle()
        #expect(!scene.hasRequest)
        scene.upstreams[0].write(frame: 7, PeerLink.big(UInt32(first.id)) + PeerLink.big(0))
        try scene.served().answer()
        #expect(scene.upstreams.count == 2)
        first.answer()
        try finish(calls, scene)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `after a GOAWAY streams finish and new ones go elsewhere`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let calls = try calls(scene, 3)
        let served = try (0..<3).map { _ in try scene.served() }
        let link = scene.upstreams[0]
        link.session?.announceEnd()
        try scene.settle()
        link.session?.end(code: HTTP2Code.noError)
        try scene.settle()
        let other = try scene.connect()
        let next = other.request("POST", "/next")
        let nextServed = try scene.served()
        #expect(scene.upstreams.count == 2 && nextServed.link === scene.upstreams[1])
        for stream in served + [nextServed] { stream.answer() }
        try finish(calls + [next], scene)
        try scene.wait("the old connection ends") { link.inputEnded }
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `what a GOAWAY says was not processed is sent again, POST too`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let calls = try (0..<3).map { index in
            let link = pair.caller == .http2 ? caller : try scene.connect()
            let call = link.request("POST", "/\(index)", framing: .length(3))
            call.send("abc")
            call.end()
            return call
        }
        let served = try (0..<3).map { _ in try scene.served() }
        for stream in served { try scene.finish(stream) }
        let link = scene.upstreams[0]
        // Only the first stream was looked at.
        link.write(frame: 7, PeerLink.big(1) + PeerLink.big(0))
        for _ in 0..<2 {
            let again = try scene.served()
            try scene.finish(again)
            #expect(again.link === scene.upstreams[1] && again.content.text == "abc")
            again.answer()
        }
        try #require(served.first { $0.id == 1 }).answer()
        try finish(calls, scene)
        #expect(scene.upstreams.count == 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a refused stream is sent again twice, and then the caller is told`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        for refusals in [1, 2, 3] {
            let call = caller.request("POST", "/", framing: .length(3))
            call.send("abc")
            call.end()
            for _ in 0..<refusals {
                let served = try scene.served()
                try scene.finish(served)
                served.reset(code: HTTP2Code.refusedStream)
            }
            if refusals < 3 {
                let served = try scene.served()
                try scene.finish(served)
                #expect(served.content.text == "abc")
                served.answer()
            }
            try scene.finish(call)
            #expect(call.head?.status == (refusals < 3 ? 200 : 502))
        }
        #expect(!scene.hasRequest && scene.upstreams.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a refused stream whose content is not kept is not sent again`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(route: "retry_body_limit = 0"))
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(30_000))
        call.send(pattern: 30_000)
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        served.reset(code: HTTP2Code.refusedStream)
        try scene.finish(call)
        #expect(call.head?.status == 502 && !scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, ["GET", "POST", "GET on a new connection"])
    func `a connection that dies costs an idempotent request nothing`(pair: PeerPair, kind: String) throws {
        let method = String(kind.prefix { $0 != " " })
        let isUsed = method == kind
        let scene = try Scene(pair)
        let caller = try scene.connect()
        if isUsed { try scene.check(on: caller) }
        let call = caller.request(method, "/")
        let served = try scene.served()
        served.link.breakOff()
        // A connection that was made to find the version out counts as one of the pool.
        let isPooled = isUsed || pair.isTLS && pair.upstream == .http1
        let repeats = isPooled && method == "GET"
        if repeats { try scene.served().answer() }
        try scene.finish(call)
        #expect(call.head?.status == (repeats ? 200 : 502) && !scene.hasRequest)
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `all exchanges on a connection that dies are repeated or told`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        try scene.check(on: scene.connect())
        let gets = try calls(scene, 10)
        let posts = try calls(scene, 10, "POST")
        for _ in 0..<20 { _ = try scene.served() }
        #expect(scene.upstreams.count == 1)
        scene.upstreams[0].breakOff()
        for _ in 0..<10 {
            let served = try scene.served()
            #expect(served.head?.method == "GET")
            served.answer()
        }
        try finish(gets, scene)
        for post in posts {
            try scene.finish(post)
            #expect(post.head?.status == 502)
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `an idle connection that the upstream ends is noticed`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        for round in 1...3 {
            try scene.check(on: caller)
            #expect(scene.upstreams.count == round)
            scene.upstreams[round - 1].finish()
            try scene.wait("the gateway's end") { scene.upstreams[round - 1].inputEnded }
        }
        try scene.end()
    }

    // MARK: Time

    @Test(arguments: PeerPair.all)
    func `an idle connection is closed after its time`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "idle_timeout = \"100ms\""))
        let caller = try scene.connect()
        try scene.check(on: caller)
        try scene.wait("the end") { scene.upstreams[0].inputEnded }
        try scene.check(on: caller)
        #expect(scene.upstreams.count == 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a connection that is too old takes no more requests`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "max_connection_age = \"1s\""))
        let caller = try scene.connect()
        let long = caller.request("GET", "/long")
        let served = try scene.served()
        try scene.wait("old age", until: { scene.age(of: 0) > 1000 })
        try scene.check(on: scene.connect())
        #expect(scene.upstreams.count == 2)
        served.answer()
        try finish([long], scene)
        try scene.wait("the end of the old one") { scene.upstreams[0].inputEnded }
        #expect(!scene.upstreams[1].inputEnded)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a silent connection is asked, and goes on when it answers`(pair: PeerPair) throws {
        let scene = try Scene(
            pair, PlaneSetup(upstream: "http2_ping_interval = \"1s\"\nhttp2_ping_timeout = \"500ms\""))
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        try scene.wait("a ping") { scene.upstreams[0].frames.contains { $0.type == 6 && $0.flags == 0 } }
        try scene.wait("another ping") {
            scene.upstreams[0].frames.filter { $0.type == 6 && $0.flags == 0 }.count >= 2
        }
        served.answer()
        try finish([call], scene)
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `a silent connection that does not answer is given up`(pair: PeerPair) throws {
        let scene = try Scene(
            pair, PlaneSetup(upstream: "http2_ping_interval = \"1s\"\nhttp2_ping_timeout = \"200ms\""))
        let caller = try scene.connect()
        let call = caller.request("POST", "/")
        let served = try scene.served()
        served.link.reads = false
        try scene.finish(call)
        #expect(call.head?.status == 504 && call.head?["token-gateway-error"] == "upstream_timeout")
        try scene.check(on: caller)
        #expect(scene.upstreams.count == 2)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `an upstream that does not answer in time is a 504`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "first_byte_timeout = \"100ms\""))
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(3))
        call.send("abc")
        call.end()
        let served = try scene.served()
        try scene.finish(call)
        #expect(call.head?.status == 504)
        if pair.upstream == .http2 { try scene.wait("a reset") { served.resetCode == HTTP2Code.cancel } }
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `an answer that stops coming is cut`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "response_idle_timeout = \"100ms\""))
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        served.respond(200, framing: .length(1000))
        served.send(pattern: 10)
        try scene.finish(call)
        #expect(call.head?.status == 200 && call.isCut && call.content.count == 10)
        try scene.end()
    }

    // MARK: Versions

    @Test(arguments: PeerPair.secure.filter { $0.upstream == .http2 })
    func `an upstream that changes its version is followed`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "idle_timeout = \"50ms\""))
        let caller = try scene.connect()
        for (round, version) in [PeerVersion.http2, .http1, .http2, .http1].enumerated() {
            scene.upstreamALPN = version == .http2 ? ["h2", "http/1.1"] : ["http/1.1"]
            let calls = try calls(scene, 3, "POST")
            for _ in 0..<3 {
                let served = try scene.served()
                #expect(served.link.version == version, "round \(round)")
                served.answer()
            }
            try finish(calls, scene)
            try scene.check(on: caller)
            try scene.wait("all connections end") { scene.upstreams.allSatisfy { $0.inputEnded } }
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `an exchange on a connection that was idle may last longer than idle_timeout`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "idle_timeout = \"300ms\""))
        let caller = try scene.connect()
        try scene.check(on: caller)
        let call = caller.request("POST", "/long", framing: .none)
        let served = try scene.served()
        let deadline = MonotonicClock.milliseconds() + 400
        try scene.wait("idle_timeout has passed") { MonotonicClock.milliseconds() > deadline }
        try scene.settle()
        served.answer()
        try finish([call], scene)
        try scene.wait("all connections end") { scene.upstreams.allSatisfy { $0.inputEnded } }
        try scene.end()
    }

    @Test(arguments: PeerPair.secure.filter { $0.upstream == .http2 }, [["http/1.1"], []])
    func `an upstream that must speak HTTP 2 and does not is a 502`(pair: PeerPair, alpn: [String]) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "protocol = \"http2\""))
        scene.upstreamALPN = alpn
        let calls = try calls(scene, 5)
        for call in calls {
            try scene.finish(call)
            #expect(call.head?.status == 502 && call.head?["token-gateway-error"] == "upstream_tls")
        }
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.secure.filter { $0.upstream == .http2 })
    func `an upstream that must speak HTTP 1 is not offered more`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "protocol = \"http1\""))
        try scene.check(on: scene.connect())
        #expect(scene.upstreams[0].version == .http1)
        try scene.end()
    }
}
