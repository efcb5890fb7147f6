import HTTP
import Proxy
import Telemetry
import Testing

@testable import Gateway

/// Early answers, resets, rejected credentials and callers that leave, over all pairs of protocol versions.
@Suite struct MatrixRetryTests {
    // MARK: Early answers

    @Test(arguments: PeerPair.all, [true, false])
    func `an answer before the content has come, and the rest of it arrives all the same`(
        pair: PeerPair, hasLength: Bool
    ) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: hasLength ? .length(200_000) : .open)
        call.send(pattern: 50_000)
        let served = try scene.served()
        try scene.wait("the first part") { served.content.count == 50_000 }
        served.respond(200, framing: .open)
        served.send(pattern: 1000)
        try scene.wait("the answer's beginning") { call.content.count == 1000 }
        call.send(pattern: 150_000)
        call.end()
        try scene.finish(served)
        #expect(served.content.isPattern(of: 200_000) && served.isEnded)
        served.end()
        try scene.finish(call)
        #expect(call.content.isPattern(of: 1000) && call.isEnded)
        try scene.check(on: caller)
        #expect(scene.upstreams.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [200, 413, 401])
    func `a whole answer before the content has come ends the exchange`(pair: PeerPair, status: Int) throws {
        let scene = try Scene(pair, PlaneSetup(route: "retry_body_limit = 0"))
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(400_000))
        call.send(pattern: 20_000)
        let served = try scene.served()
        try scene.wait("the first part") { served.content.count == 20_000 }
        served.answer(status, "early")
        try scene.wait("the answer") { call.content.count == 5 }
        #expect(call.head?.status == status && call.content.text == "early")
        switch pair.caller {
        case .http1:
            // The rest is thrown away; the connection ends in order when the caller has sent it.
            call.send(pattern: 380_000)
            call.end()
            try scene.wait("the end of the caller's connection") { caller.inputEnded }
        case .http2:
            // RFC 9113 8.1: the answer is whole, and the rest is not wanted.
            try scene.wait("NO_ERROR") { caller.frames.contains { $0.type == 3 } }
            let reset = try #require(caller.frames.first { $0.type == 3 })
            #expect(reset.number(at: 0) == HTTP2Code.noError && reset.stream == call.id)
            try scene.check(on: caller)
        }
        if pair.upstream == .http1 {
            try scene.wait("the end of the upstream's connection") { scene.upstreams[0].inputEnded }
            #expect(!served.isEnded)
        } else {
            try scene.wait("the upstream's stream ends") { served.isOver }
            #expect(served.isCut && !scene.upstreams[0].inputEnded)
        }
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.toHTTP2)
    func `an upstream that has answered and resets the rest with NO_ERROR is not a failure`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(100_000))
        call.send(pattern: 1000)
        let served = try scene.served()
        served.answer(200, "enough")
        scene.pump()
        served.reset(code: HTTP2Code.noError)
        try scene.wait("the answer") { call.content.count == 6 }
        #expect(call.head?.status == 200 && call.content.text == "enough")
        try scene.check(on: scene.connect())
        try scene.end()
    }

    // MARK: Resets

    private static let codes: [UInt32] = [
        HTTP2Code.cancel, HTTP2Code.noError, HTTP2Code.internalError, HTTP2Code.protocolError,
    ]

    @Test(arguments: PeerPair.all, codes)
    func `an upstream that breaks off before the head is a 502`(pair: PeerPair, code: UInt32) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(3))
        call.send("abc")
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        served.reset(code: code)
        try scene.finish(call)
        #expect(call.head?.status == 502 && call.head?["token-gateway-error"] == "upstream_protocol")
        #expect(call.isEnded)
        try scene.check(on: caller)
        #expect(scene.upstreams.count == (pair.upstream == .http1 ? 2 : 1))
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [PeerFraming.length(5000), .open])
    func `an upstream that breaks off in the content is visible to the caller`(
        pair: PeerPair, framing: PeerFraming
    ) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request()
        let other = pair.caller == .http2 ? caller.request("GET", "/other") : nil
        let served = try scene.served("/")
        let otherServed = try other.map { _ in try scene.served("/other") }
        served.respond(200, framing: framing)
        served.send(pattern: 1000)
        try scene.wait("the beginning") { call.content.count == 1000 }
        served.reset()
        try scene.finish(call)
        #expect(call.isCut && !call.isEnded && call.content.count == 1000)
        if let other, let otherServed {
            #expect(call.resetCode == HTTP2Code.internalError)
            otherServed.answer(200, "other")
            try scene.finish(other)
            #expect(other.content.text == "other")
        } else {
            #expect(caller.inputEnded)
        }
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.all, ["head", "request", "answer"])
    func `a caller that breaks off ends the attempt`(pair: PeerPair, point: String) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        // Another exchange on the upstream's connection, where several can be on one.
        let bystander = try scene.connect()
        let other = bystander.request("GET", "/other")
        let otherServed = try scene.served()
        let call = caller.request("POST", "/", framing: .length(100_000))
        call.send(pattern: 50_000)
        if point != "request" {
            call.send(pattern: 50_000)
            call.end()
        }
        let served = try scene.served()
        try scene.wait("the content") { served.content.count == (point == "request" ? 50_000 : 100_000) }
        if point == "answer" {
            served.respond(200, framing: .length(1000))
            served.send(pattern: 10)
            try scene.wait("the beginning") { call.content.count == 10 }
        }
        call.reset()
        switch pair.upstream {
        case .http1:
            try scene.wait("the end of the connection") { served.link.inputEnded }
        case .http2:
            try scene.wait("a reset") { served.resetCode != nil }
            #expect(served.resetCode == HTTP2Code.cancel && !served.link.inputEnded)
        }
        otherServed.answer(200, "other")
        try scene.finish(other)
        #expect(other.content.text == "other")
        if pair.caller == .http2 { try scene.check(on: caller) }
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        try scene.end()
    }

    // MARK: Rejected credentials

    private static let challenge: PeerHead.Fields = [
        ("www-authenticate", "Bearer error=\"invalid_token\""), ("x-first", "yes"),
    ]

    /// In memory up to 1 KiB, in the file up to 8 KiB.
    private static let kept = PlaneSetup(limits: "retry_memory = \"1KiB\"", route: "retry_body_limit = \"8KiB\"")

    @Test(arguments: PeerPair.all, [0, 1, 1024, 1025, 8191, 8192])
    func `after a 401 the same request goes out again with the new credential`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair, Self.kept)
        let caller = try scene.connect()
        for framing in [PeerFraming.length(size), .open] {
            let call = caller.request("POST", "/x?y", [("x-a", "1")], framing: framing)
            call.send(pattern: size)
            call.end(trailers: framing == .open ? [("x-sum", "1")] : [])
            let first = try scene.served()
            try scene.finish(first)
            let rejected = try #require(first.head)
            first.answer(401, "first", Self.challenge)
            let second = try scene.served()
            try scene.finish(second)
            let repeated = try #require(second.head)
            #expect(second.content.isPattern(of: size))
            #expect(second.trailers.map(\.name) == (framing == .open ? ["x-sum"] : []))
            #expect(repeated.method == rejected.method && repeated.target == rejected.target)
            #expect(repeated.values("authorization") != rejected.values("authorization"))
            let others = { (head: PeerHead) in
                head.fields.filter { $0.name != "authorization" }.map { "\($0.name): \($0.value)" }
            }
            #expect(others(repeated) == others(rejected))
            second.answer(200, "done", [("x-second", "1")])
            try scene.finish(call)
            #expect(call.head?.status == 200 && call.content.text == "done")
            #expect(call.head?["x-first"] == nil && call.head?["x-second"] == "1")
        }
        #expect(scene.plane.control.questions.map { $0.rejected != nil } == [false, true, false, true])
        try scene.check(on: caller)
        // The held answer was whole: its stream has ended and the connection goes on.
        if pair.upstream == .http2 { #expect(scene.upstreams.count == 1) }
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [8193, 300_000])
    func `content that is too large to be kept lets the 401 through`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair, Self.kept)
        let caller = try scene.connect()
        for (round, framing) in [PeerFraming.length(size), .open].enumerated() {
            let call = caller.request("POST", "/", framing: framing)
            call.send(pattern: size)
            call.end()
            let served = try scene.served()
            try scene.finish(served)
            #expect(served.content.isPattern(of: size))
            served.answer(401, "first", Self.challenge)
            try scene.finish(call)
            #expect(call.head?.status == 401 && call.content.text == "first" && call.head?["x-first"] == "yes")
            #expect(call.head?.values("token-gateway-retry") == ["skipped; reason=body"])
            try scene.plane.control.waitForReports(round + 1)
        }
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a held answer that has not ended is given up, and the connection stays usable`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(3))
        call.send("abc")
        call.end()
        let first = try scene.served()
        try scene.finish(first)
        first.respond(401, Self.challenge, framing: .length(100_000))
        first.send(pattern: 1000)
        let second = try scene.served()
        try scene.finish(second)
        #expect(second.content.text == "abc" && second.head?.values("authorization") == ["Bearer token-2"])
        second.answer(200, "done")
        try scene.finish(call)
        #expect(call.content.text == "done")
        if pair.upstream == .http2 {
            try scene.wait("a reset of the first stream") { first.resetCode != nil || first.isReset }
            #expect(first.resetCode == HTTP2Code.cancel && scene.upstreams.count == 1)
        } else {
            try scene.wait("the end of the first connection") { first.link.inputEnded }
        }
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `the held answer goes on whole where no newer credential comes`(pair: PeerPair) throws {
        let scene = try Scene(pair) { $0.rejected == nil ? .generation(1) : .silence }
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        served.respond(401, Self.challenge, framing: .length(50_000))
        served.send(pattern: 50_000)
        served.end()
        try scene.wait("the question") { scene.plane.control.questions.count == 2 }
        let question = try #require(scene.plane.control.questions.last)
        try scene.settle()
        scene.plane.control.answer(question.waiter, .refusal(.unchanged))
        try scene.finish(call)
        #expect(call.head?.status == 401 && call.content.isPattern(of: 50_000) && call.isEnded)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `the second rejection goes to the caller`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request()
        try scene.served().answer(401, "first", Self.challenge)
        try scene.served().answer(401, "second", Self.challenge)
        try scene.finish(call)
        #expect(call.head?.status == 401 && call.content.text == "second")
        #expect(scene.plane.control.questions.count == 2 && !scene.hasRequest)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a 401 before the content has come, and the content goes to the second attempt`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(60_000))
        call.send(pattern: 100)
        let first = try scene.served()
        try scene.wait("the first part") { first.content.count == 100 }
        first.answer(401, "first", Self.challenge)
        let second = try scene.served()
        #expect(second.head?.values("authorization") == ["Bearer token-2"])
        call.send(pattern: 59_900)
        call.end()
        try scene.finish(second)
        #expect(second.content.isPattern(of: 60_000))
        second.answer(200, "all")
        try scene.finish(call)
        #expect(call.content.text == "all")
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a hundred rejections at once are each retried once`(pair: PeerPair) throws {
        let scene = try Scene(pair) { $0.rejected == nil ? .generation(1) : .silence }
        let callers = try (0..<(pair.caller == .http1 ? 100 : 4)).map { _ in try scene.connect() }
        let calls = (0..<100).map { index in
            let call = callers[index % callers.count].request("POST", "/\(index)", framing: .length(3))
            call.send("abc")
            call.end()
            return call
        }
        for _ in 0..<100 {
            let served = try scene.served()
            try scene.finish(served)
            #expect(served.head?.values("authorization") == ["Bearer token-1"])
            served.answer(401, "first", Self.challenge)
        }
        let control = scene.plane.control
        try scene.wait("the questions") { control.questions.filter { $0.rejected == 1 }.count == 100 }
        for question in control.questions where question.rejected == 1 {
            control.answer(question.waiter, .generation(2))
        }
        for _ in 0..<100 {
            let served = try scene.served()
            try scene.finish(served)
            #expect(served.head?.values("authorization") == ["Bearer token-2"] && served.content.text == "abc")
            served.answer()
        }
        for call in calls {
            try scene.finish(call)
            #expect(call.head?.status == 200)
        }
        if pair.upstream == .http2 { #expect(scene.upstreams.count == 1) }
        try scene.end()
    }

    // MARK: Callers that leave

    @Test(arguments: PeerPair.all)
    func `a caller that leaves while it waits for the credential is forgotten`(pair: PeerPair) throws {
        let scene = try Scene(pair) { _ in .silence }
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(3))
        call.send("abc")
        call.end()
        try scene.wait("the question") { scene.plane.control.questions.count == 1 }
        call.reset()
        try scene.wait("the waiter leaves") { scene.plane.control.left.count == 1 }
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 && $0.credentialWaiters == 0 }
        #expect(!scene.hasRequest)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a caller that leaves while its answer is held is forgotten`(pair: PeerPair) throws {
        let scene = try Scene(pair) { $0.rejected == nil ? .generation(1) : .silence }
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        served.respond(401, Self.challenge, framing: .length(9000))
        try scene.wait("the question") { scene.plane.control.questions.count == 2 }
        call.reset()
        try scene.wait("the waiter leaves") { scene.plane.control.left.count == 1 }
        if pair.upstream == .http2 {
            try scene.wait("the reset") { served.resetCode == HTTP2Code.cancel }
        } else {
            try scene.wait("the end") { served.link.inputEnded }
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.secure)
    func `a caller that leaves while its connection is made is forgotten`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        // The upstream takes the connection and says nothing.
        scene.holdsHandshakes = true
        let call = caller.request()
        try scene.wait("the connection") { scene.upstreams.count == 1 }
        call.reset()
        try scene.waitForCounters("no exchange") { $0.requestsCurrent == 0 }
        scene.upstreams[0].reads = true
        try scene.wait("the end of the connection") { scene.upstreams[0].inputEnded }
        scene.holdsHandshakes = false
        try scene.check(on: scene.connect())
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `a caller that leaves while it waits in the pool is forgotten`(pair: PeerPair) throws {
        let limits = "max_connections = 1\nmax_streams = 1"
        let scene = try Scene(pair, PlaneSetup(upstream: limits))
        let first = try scene.connect()
        let one = first.request("GET", "/one")
        let served = try scene.served()
        let second = try scene.connect()
        let two = second.request("GET", "/two")
        let third = try scene.connect()
        let three = third.request("GET", "/three")
        try scene.settle()
        #expect(!scene.hasRequest)
        two.reset()
        try scene.waitForCounters("one less") { $0.requestsCurrent == 2 }
        served.answer()
        try scene.finish(one)
        let next = try scene.served()
        #expect(next.head?.target == "/three")
        next.answer()
        try scene.finish(three)
        #expect(three.head?.status == 200 && scene.upstreams.count == 1)
        try scene.end()
    }
}
