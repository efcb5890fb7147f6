import Glibc
import HTTP
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Peers that do what they like, with short patience: every caller is answered, and nothing is left in the worker.
@Suite struct MatrixSoakTests {
    /// `TOKEN_GATEWAY_SOAK=100-400`: other rounds than the usual ones.
    private static let seeds: ClosedRange<UInt64> = {
        guard let text = getenv("TOKEN_GATEWAY_SOAK").map({ String(cString: $0) }) else { return 1...24 }
        let ends = text.split(separator: "-").compactMap { UInt64($0) }
        return ends.count == 2 && ends[0] <= ends[1] ? ends[0]...ends[1] : 1...24
    }()

    @Test(arguments: seeds)
    func `whatever peers do, each caller has an answer and nothing is left`(seed: UInt64) throws {
        var round = try SoakRound(seed)
        for _ in 0..<5 { try round.turn() }
        try round.end()
    }
}

extension SplitMix {
    fileprivate mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &self) }
    fileprivate mutating func one(in count: Int) -> Bool { below(count) == 0 }
}

private struct SoakRound {
    private struct Call {
        var stream: PeerStream
        /// It was reset by us.
        var hasLeft = false
    }

    let seed: UInt64
    let scene: Scene
    private var random: SplitMix
    private var idle: [PeerLink] = []
    private var calls: [Call] = []
    /// Requests upstream that have no answer, or half of one.
    private var open: [PeerStream] = []
    private var halves: [PeerStream] = []

    init(_ seed: UInt64) throws {
        self.seed = seed
        random = SplitMix(state: seed)
        let pair = PeerPair.all[random.below(PeerPair.all.count)]
        let connections = random.below(4) + 1
        scene = try Scene(
            pair,
            PlaneSetup(
                upstream: "idle_timeout = \"\(20 + random.below(60))ms\"\nmax_connections = \(connections)"
                    + "\nmax_streams = \(random.below(6) + 1)",
                route: "retry_body_limit = \"\(random.one(in: 3) ? 0 : 64)KiB\""))
        if random.one(in: 3) { scene.upstreamSettings.maxConcurrentStreams = UInt32(random.below(4) + 1) }
    }

    /// Some requests, all the answers in any order, and a while without any.
    mutating func turn() throws {
        if scene.pair.isTLS, scene.pair.upstream == .http2 {
            scene.upstreamALPN = random.one(in: 2) ? ["h2", "http/1.1"] : ["http/1.1"]
        }
        for _ in 0..<(random.below(8) + 1) { try begin() }
        while calls.contains(where: { !$0.stream.isOver && !$0.hasLeft }) { try step() }
        for call in calls { expectAnswer(call) }
        calls = []
        open = []
        halves = []
        if !random.one(in: 3) { try passes(UInt64(random.below(100))) }
    }

    private mutating func begin() throws {
        var caller: PeerLink?
        if !random.one(in: 3) {
            caller = scene.pair.caller == .http2 ? idle.last : idle.popLast()
            if caller?.inputEnded == true || caller?.isClosed == true { caller = nil }
        }
        let link = try caller ?? scene.connect()
        if scene.pair.caller == .http2, caller == nil { idle.append(link) }
        let size = [0, 3, 5_000, 100_000][random.below(4)]
        let isGet = random.one(in: 2)
        let call = link.request(
            isGet ? "GET" : "POST", "/\(calls.count)",
            framing: isGet ? .none : random.one(in: 2) ? .open : .length(size))
        if !isGet {
            call.send(pattern: size)
            call.end()
        }
        calls.append(Call(stream: call))
    }

    private mutating func step() throws {
        try scene.wait("anything, seed \(seed)") {
            scene.hasRequest || !open.isEmpty || !halves.isEmpty || calls.allSatisfy { $0.stream.isOver || $0.hasLeft }
        }
        while scene.hasRequest { open.append(try scene.served()) }
        if !halves.isEmpty, open.isEmpty || random.one(in: 3) {
            let half = halves.remove(at: random.below(halves.count))
            half.send(pattern: 10)
            half.end()
        } else if !open.isEmpty {
            try act(on: open.remove(at: random.below(open.count)))
        }
        if random.one(in: 12) { leave() }
        if random.one(in: 8) { try passes(UInt64(random.below(60))) } else { try scene.settle() }
    }

    private mutating func act(on served: PeerStream) throws {
        guard !served.isCut, !served.link.isClosed, !served.link.inputEnded else { return }
        // An early answer costs an HTTP/1 caller its connection; half of them are.
        if random.one(in: 2) { try scene.wait("the content, seed \(seed)") { served.isOver } }
        guard !served.isCut else { return }
        switch random.below(12) {
        case 0:
            served.respond(200, framing: .length(20))
            served.send(pattern: 10)
            halves.append(served)
        case 1: served.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
        case 2: served.reset(code: random.one(in: 2) ? HTTP2Code.refusedStream : HTTP2Code.cancel)
        case 3: served.link.breakOff()
        case 4:
            served.link.session?.end(code: HTTP2Code.noError)
            served.answer()
        case 5: served.answer(200, "ok", [("connection", "close")].filter { _ in served.stream == nil })
        default: served.answer()
        }
    }

    /// A caller goes without a word.
    private mutating func leave() {
        let place = random.below(calls.count)
        guard !calls[place].stream.isOver, !calls[place].hasLeft else { return }
        calls[place].hasLeft = true
        calls[place].stream.reset()
    }

    private mutating func expectAnswer(_ call: Call) {
        guard !call.hasLeft else { return }
        let head = call.stream.head
        // What began and was broken off is cut; what did not begin is answered by the gateway.
        #expect(head != nil, "seed \(seed): cut without an answer")
        guard let head, call.stream.isEnded else { return }
        #expect([200, 401, 502, 503, 504].contains(head.status), "seed \(seed): \(head.status)")
        #expect(call.stream.content.count > 0, "seed \(seed): \(head.status)")
        let link = call.stream.link
        if scene.pair.caller == .http1, head["connection"] != "close", call.stream.framing == .none {
            idle.append(link)
        }
    }

    private func passes(_ milliseconds: UInt64) throws {
        let deadline = MonotonicClock.milliseconds() + milliseconds
        try scene.wait("time has passed") { MonotonicClock.milliseconds() > deadline }
    }

    func end() throws {
        try scene.wait("the end of all connections upstream, seed \(seed)") {
            scene.upstreams.allSatisfy { $0.inputEnded || $0.isClosed }
        }
        try scene.waitForCounters("the end of all exchanges, seed \(seed)") { $0.requestsCurrent == 0 }
        let left = try scene.plane.inspect { worker in
            worker.places.flatMap(\.runtimes).reduce(0) { $0 + $1.pool.openCount + $1.streams.openCount }
        }
        #expect(left == 0, "seed \(seed): \(left) connections are still counted")
        try scene.end()
    }
}
