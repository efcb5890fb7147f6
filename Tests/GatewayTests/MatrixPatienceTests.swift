import HTTP
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Patience with one thing must not end another: what a wait was for is over, or is not to blame, and the exchange goes on.
@Suite struct MatrixPatienceTests {
    static let fromHTTP1 = PeerPair.all.filter { $0.caller == .http1 }

    // MARK: The caller is slow

    enum Tail: String, CaseIterable, Sendable {
        case `nothing follows`, `our input ends`, `half a head, and the end`, `a request follows`
    }

    /// The exchange is over for the gateway; what it still has for the caller is not.
    @Test(arguments: Tail.allCases)
    func `an answer that its caller takes slowly outlives keep_alive and head`(tail: Tail) throws {
        // Over HTTP/1 the last chunk would stay where it is.
        let pairs = Self.fromHTTP1.filter { tail != .`a request follows` || $0.upstream == .http2 }
        try together(pairs, after: 900) { pair in
            let scene = try Scene(pair, PlaneSetup(timeouts: "keep_alive = \"600ms\"\nhead = \"600ms\""))
            let caller = try scene.connect()
            let call = caller.request("GET", "/large")
            let next = tail == .`a request follows` ? caller.request("GET", "/next") : nil
            caller.reads = false
            let served = try scene.served("/large")
            served.respond(200, framing: .open)
            var size = try stuff(scene, served)
            if next != nil {
                // More than what lets another request begin, by one frame at the end.
                while try scene.plane.inspect({ $0.callerBacklog }) < 17_000 {
                    size += try send(4_000, scene, served, after: size)
                }
                size += 16_000
                served.send(pattern: 16_000)
            }
            served.end()
            // The kernel may take some more: then the next request begins at once.
            try scene.waitForCounters("the end of the exchange") { $0.requestsCurrent == 0 || scene.hasRequest }
            if tail == .`half a head, and the end` { caller.write("GET /half HT") }
            if tail == .`our input ends` || tail == .`half a head, and the end` { caller.finish() }
            try scene.settle()
            return {
                try scene.settle()
                caller.reads = true
                try scene.finish(call)
                #expect(call.isEnded && call.content.isPattern(of: size), "\(pair): \(call.content.count) of \(size)")
                if let next {
                    try scene.served("/next").answer()
                    try scene.finish(next)
                    #expect(next.head?.status == 200)
                }
                try scene.end()
            }
        }
    }

    /// Content until the caller's connection takes no more; how much that was.
    func stuff(_ scene: Scene, _ served: PeerStream) throws -> Int {
        var size = 0
        while try scene.plane.inspect({ $0.callerBacklog }) == 0 {
            size += try send(24_000, scene, served, after: size)
        }
        return size
    }

    func send(_ count: Int, _ scene: Scene, _ served: PeerStream, after size: Int) throws -> Int {
        served.send(pattern: count)
        try settle(scene) { try scene.plane.inspect { $0.forwarded } == UInt64(size + count) }
        return count
    }

    @Test(arguments: [true, false])
    func `an answer that nobody takes costs its own stream only`(resets: Bool) throws {
        try together(PeerPair.fromHTTP2, after: 400) { pair in
            let scene = try Scene(pair, PlaneSetup(timeouts: "write_idle = \"200ms\""))
            let caller = try scene.connect()
            let quiet = caller.request("GET", "/quiet")
            let quietServed = try scene.served()
            let call = caller.request("GET", "/large")
            call.takes = false
            let served = try scene.served()
            // More than the window, and not so much that the exchange would wait.
            served.respond(200, framing: .length(80_000))
            served.send(pattern: 80_000)
            served.end()
            try scene.waitForCounters("the end of the exchange") { $0.requestsCurrent == 1 }
            try scene.settle()
            if resets { call.reset() }
            try scene.settle()
            return {
                try scene.settle()
                if !resets {
                    try scene.wait("the end of the stream") { call.resetCode != nil }
                    #expect(call.isCut)
                }
                #expect(!caller.inputEnded, "\(pair)")
                quietServed.answer()
                try scene.finish(quiet)
                #expect(quiet.head?.status == 200 && quiet.content.text == "ok")
                try scene.check(on: caller)
                try scene.end()
            }
        }
    }

    @Test
    func `a field block that is nobody's any more does not end its connection`() throws {
        try together(PeerPair.fromHTTP2, after: 1000) { pair in
            let scene = try Scene(pair, PlaneSetup(timeouts: "head = \"700ms\""))
            let caller = try scene.connect()
            let call = caller.request("POST", "/", framing: .open)
            let served = try scene.served()
            served.answer(413)
            try scene.finish(call)
            try scene.wait("the reset") { call.resetCode != nil }
            // Trailers in two pieces, as they were on their way.
            caller.write(frame: 1, flags: 1, stream: call.id, [0, 1, 0x78, 1, 0x79])
            try scene.settle()
            caller.write(frame: 9, flags: 4, stream: call.id, [0, 1, 0x78, 1, 0x79])
            try scene.settle()
            return {
                try scene.settle()
                #expect(!caller.inputEnded, "\(pair)")
                try scene.check(on: caller)
                try scene.end()
            }
        }
    }

    @Test
    func `an empty line behind a request does not shorten keep_alive`() throws {
        try together(Self.fromHTTP1, after: 1000) { pair in
            let scene = try Scene(pair, PlaneSetup(timeouts: "head = \"700ms\""))
            let caller = try scene.connect()
            let call = caller.request("GET", "/")
            caller.write("\r\n")
            try scene.served().answer()
            try scene.finish(call)
            try scene.settle()
            return {
                try scene.settle()
                #expect(!caller.inputEnded, "\(pair)")
                try scene.check(on: caller)
                try scene.end()
            }
        }
    }

    /// The worker is behind: there is always more to read than it reads in a turn.
    @Test(arguments: ["response_idle_timeout", "first_byte_timeout"])
    func `an answer that flows without a pause is not idle`(name: String) throws {
        let scene = try Scene(
            PeerPair(caller: .http1, upstream: .http1), PlaneSetup(upstream: "\(name) = \"500ms\""))
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        let size = 24 << 20
        served.respond(200, framing: .length(size))
        if name == "response_idle_timeout" {
            served.send(pattern: 10)
            try scene.wait("the beginning") { call.content.count == 10 }
        }
        served.send(pattern: size - (name == "response_idle_timeout" ? 10 : 0))
        let deadline = MonotonicClock.milliseconds() + 900
        try scene.wait("time has passed") {
            scene.plane.post(.inspect { _ in _ = pause(30) })
            scene.pump()
            return MonotonicClock.milliseconds() > deadline
        }
        try scene.finish(call)
        #expect(call.isEnded && call.content.isPattern(of: size), "\(scene.pair): \(call.content.count)")
        try scene.end()
    }

    @Test
    func `a caller that takes its tunnel slowly and has said all is waited for`() throws {
        try together(PeerPair.all, after: 1300) { pair in
            var setup = PlaneSetup(
                upstream: "response_idle_timeout = \"1s\"", route: "allow_upgrade = [\"websocket\"]")
            if pair.isTLS, pair.upstream == .http2 { setup.upstream += "\nprotocol = \"http2\"" }
            let scene = try Scene(pair, setup)
            let caller = try scene.connect()
            let call = caller.webSocket()
            let served = try scene.served()
            served.agree()
            try scene.wait("the agreement") { call.head != nil }
            hold(call)
            let size = 16 << 20
            served.send(pattern: size)
            served.end()
            try rests(scene) { served.queued }
            #expect(served.queued > 0)
            call.end()
            try scene.settle()
            return {
                try scene.settle()
                letGo(call)
                try scene.finish(call)
                #expect(call.isEnded && call.content.isPattern(of: size), "\(scene.pair): \(call.content.count)")
                try scene.end()
            }
        }
    }

    // MARK: The upstream is slow

    @Test(arguments: ["first_byte_timeout", "write_idle_timeout"])
    func `a rejection of half a request waits for its credential`(name: String) throws {
        try together(PeerPair.all, after: 1300) { pair in
            let scene = try Scene(
                pair, PlaneSetup(upstream: "\(name) = \"1s\"", route: "retry_body_limit = \"64MiB\"")
            ) { $0.rejected == nil ? .generation(1) : .silence }
            let (call, served) = try heldRequest(scene)
            let size = try fill(scene, call)
            call.end()
            try settle(scene) { try scene.plane.inspect { $0.hasSentRequest } }
            try reject(served, scene)
            // The upstream takes what it has refused.
            letGo(served)
            try scene.settle()
            return {
                try scene.settle()
                scene.plane.control.answer(scene.plane.control.questions[1].waiter, .generation(2))
                try endsWell(scene, call, try scene.served(), size)
            }
        }
    }

    @Test
    func `a rejection of half a request that is left where it is waits for its credential`() throws {
        try together(PeerPair.all, after: 1300) { pair in
            let scene = try Scene(
                pair, PlaneSetup(upstream: "write_idle_timeout = \"1s\"", route: "retry_body_limit = \"64MiB\"")
            ) { $0.rejected == nil ? .generation(1) : .silence }
            let (call, served) = try heldRequest(scene)
            let size = try fill(scene, call)
            call.end()
            try reject(served, scene)
            try scene.settle()
            return {
                try scene.settle()
                scene.plane.control.answer(scene.plane.control.questions[1].waiter, .generation(2))
                try endsWell(scene, call, try scene.served(), size)
            }
        }
    }

    @Test
    func `the first octet is not waited for while the request is on its way`() throws {
        try together(PeerPair.all, after: 1300) { pair in
            let scene = try Scene(pair, PlaneSetup(upstream: "first_byte_timeout = \"1s\""))
            let (call, served) = try heldRequest(scene)
            let size = try fill(scene, call)
            call.end()
            try settle(scene) { try scene.plane.inspect { $0.hasSentRequest } }
            try scene.settle()
            return {
                try scene.settle()
                letGo(served)
                try endsWell(scene, call, served, size)
            }
        }
    }

    @Test
    func `an upstream is not blamed for what a slow caller holds up`() throws {
        try together(PeerPair.all, after: 600) { pair in
            let scene = try Scene(
                pair, PlaneSetup(upstream: "write_idle_timeout = \"300ms\"", route: "retry_body_limit = 0"))
            let caller = try scene.connect()
            let size = 16 << 20
            let call = caller.request("POST", "/echo", framing: .length(size))
            call.send("")
            let served = try scene.served()
            served.respond(200, framing: .length(size))
            hold(call)
            served.send(pattern: size)
            served.end()
            try rests(scene) { served.queued }
            #expect(served.queued > 0)
            // It reads again when its answer goes on.
            hold(served)
            call.send(pattern: size)
            call.end()
            try rests(scene) { call.queued }
            try scene.settle()
            return {
                try scene.settle()
                letGo(call)
                letGo(served)
                try scene.finish(call)
                #expect(call.isEnded && call.content.isPattern(of: size), "\(scene.pair): \(call.content.count)")
                try scene.end()
            }
        }
    }

    /// The other way round: a wait that nobody had begun.
    @Test(arguments: ["0", "\"40KiB\""])
    func `content that stops behind a slow upstream is noticed`(limit: String) throws {
        try together(PeerPair.all, after: 0) { pair in
            let scene = try Scene(
                pair, PlaneSetup(timeouts: "body_idle = \"1s\"", route: "retry_body_limit = \(limit)"))
            let (call, served) = try heldRequest(scene)
            _ = try fill(scene, call, backlog: Worker.highWater)
            letGo(served)
            try scene.settle()
            return {
                try scene.finish(call)
                #expect(call.head?.status == 408, "\(pair)")
                try scene.end()
            }
        }
    }

    // MARK: Timers

    @Test func `a near deadline takes the place of a distant one`() throws {
        let scene = try Scene(PeerPair(caller: .http1, upstream: .http1))
        try scene.check(on: scene.connect())
        for _ in 0..<15 {
            // As the route's timeout and the first octet's do.
            _ = try scene.plane.inspect { worker in
                worker.arm(slot: worker.exchanges[0].slot, at: worker.now + 3_600_000)
                worker.arm(slot: worker.exchanges[0].slot, at: worker.now + 1)
            }
            try passes(40, scene)
        }
        let (entries, slots) = try scene.plane.inspect { ($0.wheel.count, $0.slots.count) }
        #expect(entries <= slots)
        try scene.end()
    }

    // MARK: Means

    /// Begins it with each pair, lets the time pass for all of them at once, and has each end.
    func together(
        _ pairs: [PeerPair], after milliseconds: UInt64, _ begin: (PeerPair) throws -> () throws -> Void
    ) throws {
        let ends = try pairs.map(begin)
        let deadline = MonotonicClock.milliseconds() + milliseconds
        while MonotonicClock.milliseconds() <= deadline { _ = pause(Int32(milliseconds / 8 + 1)) }
        for end in ends { try end() }
    }

    /// What the worker does by itself comes with no event.
    func settle(_ scene: Scene, until isTrue: () throws -> Bool) throws {
        let deadline = MonotonicClock.milliseconds() + UInt64(WireEnd.patience)
        while try !isTrue() {
            try #require(MonotonicClock.milliseconds() < deadline, "the content never came")
            try scene.settle()
        }
    }

    func passes(_ milliseconds: UInt64, _ scene: Scene) throws {
        let deadline = MonotonicClock.milliseconds() + milliseconds
        try scene.wait("time has passed") { MonotonicClock.milliseconds() > deadline }
        try scene.settle()
    }

    /// A request whose content the upstream does not take.
    func heldRequest(_ scene: Scene) throws -> (call: PeerStream, served: PeerStream) {
        let call = try scene.connect().request("POST", "/", framing: .open)
        call.send("")
        let served = try scene.served()
        hold(served)
        return (call, served)
    }

    /// The upstream wants another token, and control is asked for it.
    func reject(_ served: PeerStream, _ scene: Scene) throws {
        served.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
        try scene.wait("the question") { scene.plane.control.questions.count == 2 }
    }

    /// All of the request comes to the upstream, and its answer to the caller.
    func endsWell(_ scene: Scene, _ call: PeerStream, _ served: PeerStream, _ size: Int) throws {
        try scene.finish(served)
        #expect(served.content.isPattern(of: size))
        served.answer()
        try scene.finish(call)
        #expect(call.head?.status == 200, "\(scene.pair)")
        try scene.end()
    }

    /// What is sent to the peer is not taken.
    func hold(_ stream: PeerStream) {
        if stream.stream != nil { stream.takes = false } else { stream.link.reads = false }
    }

    func letGo(_ stream: PeerStream) {
        stream.link.reads = true
        stream.takes = true
    }

    /// Until nothing moves any more.
    func rests(_ scene: Scene, _ measure: () -> Int) throws {
        var quiet = 0
        var last = -1
        while quiet < 5 {
            try scene.settle()
            quiet = measure() == last ? quiet + 1 : 0
            last = measure()
        }
    }

    /// Content until so much of it waits for the upstream's connection or stream; how much that was. Each piece is less
    /// than what stops the caller.
    func fill(_ scene: Scene, _ call: PeerStream, backlog: Int = 1) throws -> Int {
        var size = 0
        var waiting = 0
        while waiting < backlog {
            let piece = waiting == 0 ? 24_000 : 8_000
            call.send(pattern: piece)
            size += piece
            let expected = UInt64(size)
            try settle(scene) { try scene.plane.inspect { $0.receivedContent } == expected }
            waiting = try scene.plane.inspect { $0.upstreamBacklog }
        }
        return size
    }
}

extension Worker {
    /// The exchange of a test that has one.
    private var only: Exchange? { exchanges.first { $0.caller != nil } }
    var forwarded: UInt64 { only?.responseBytes ?? 0 }
    var receivedContent: UInt64 { only?.replay.received ?? 0 }
    var hasSentRequest: Bool { only?.requestSent ?? false }

    var callerBacklog: Int {
        slots.reduce(0) { if case .caller(let connection) = $1 { $0 + connection.wire.backlog } else { $0 } }
    }

    var upstreamBacklog: Int {
        guard let exchange = only else { return 0 }
        return exchange.upstreamStream?.backlog ?? exchange.upstream?.wire.backlog ?? 0
    }
}
