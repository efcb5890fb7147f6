import HTTP
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Each timeout in turn is short, and everything that it is not about lasts longer than it, on connections that have been
/// used before: nothing comes to harm.
@Suite struct MatrixTimeoutTableTests {
    enum Situation: CaseIterable {
        case upstreamThinks, answerPauses, contentPauses, tunnelIsQuiet, credentialIsRefreshed
        case callerTakesNothing, upstreamTakesNothing, callerIsIdle
    }

    struct Timeout {
        var name: String
        /// What it is about.
        var actsOn: Situation?
        var isOfUpstream = true
    }

    private static let timeouts = [
        Timeout(name: "head", actsOn: nil, isOfUpstream: false),
        Timeout(name: "body_idle", actsOn: .contentPauses, isOfUpstream: false),
        Timeout(name: "keep_alive", actsOn: .callerIsIdle, isOfUpstream: false),
        Timeout(name: "write_idle", actsOn: .callerTakesNothing, isOfUpstream: false),
        Timeout(name: "credential", actsOn: .credentialIsRefreshed, isOfUpstream: false),
        Timeout(name: "connect_timeout", actsOn: nil), Timeout(name: "tls_timeout", actsOn: nil),
        Timeout(name: "first_byte_timeout", actsOn: .upstreamThinks),
        Timeout(name: "response_idle_timeout", actsOn: .answerPauses),
        Timeout(name: "write_idle_timeout", actsOn: .upstreamTakesNothing),
        Timeout(name: "idle_timeout", actsOn: nil),
    ]

    @Test(arguments: PeerPair.all)
    func `a timeout that is over ends nothing that it is not about`(pair: PeerPair) throws {
        var ends: [() throws -> Void] = []
        for timeout in Self.timeouts {
            let scene = try Scene(pair, Self.setup(pair, timeout)) { $0.rejected == nil ? .generation(1) : .silence }
            let shared = pair.caller == .http2 ? try scene.connect() : nil
            for situation in Situation.allCases where situation != timeout.actsOn {
                let caller = try shared ?? scene.connect()
                if situation != .callerTakesNothing { try scene.check(on: caller) }
                let end = try Self.begin(situation, scene, caller)
                ends.append { try end("\(pair), \(timeout.name), \(situation)") }
            }
            ends.append { try scene.end() }
        }
        let deadline = MonotonicClock.milliseconds() + 650
        while MonotonicClock.milliseconds() <= deadline { _ = pause(50) }
        for end in ends { try end() }
    }

    private static func setup(_ pair: PeerPair, _ timeout: Timeout) -> PlaneSetup {
        var setup = PlaneSetup(route: "allow_upgrade = [\"websocket\"]")
        if pair.isTLS, pair.upstream == .http2 { setup.upstream = "protocol = \"http2\"\n" }
        let line = "\(timeout.name) = \"500ms\""
        if timeout.isOfUpstream { setup.upstream += line } else { setup.timeouts = line }
        return setup
    }

    private typealias End = (Comment) throws -> Void

    /// Brings a situation about that lasts until `End` is called, which brings it to its good end.
    private static func begin(_ situation: Situation, _ scene: Scene, _ caller: PeerLink) throws -> End {
        switch situation {
        case .upstreamThinks: try thinking(scene, caller)
        case .answerPauses: try pausingAnswer(scene, caller)
        case .contentPauses: try pausingContent(scene, caller)
        case .tunnelIsQuiet: try quietTunnel(scene, caller)
        case .credentialIsRefreshed: try refresh(scene, caller)
        case .callerTakesNothing: try slowCaller(scene, caller)
        case .upstreamTakesNothing: try slowUpstream(scene, caller)
        case .callerIsIdle: { _ in try scene.check(on: caller) }
        }
    }

    private static func thinking(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.request("POST", "/thinks")
        let served = try scene.served()
        return { what in
            served.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200 && call.content.text == "ok", what)
        }
    }

    private static func pausingAnswer(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.request("GET", "/pauses")
        let served = try scene.served()
        served.respond(200, framing: .length(20))
        served.send(pattern: 10)
        try scene.wait("half of the answer") { call.content.count == 10 }
        return { what in
            served.send(pattern: 10)
            served.end()
            try scene.finish(call)
            #expect(call.isEnded && call.content.isPattern(of: 20), what)
        }
    }

    private static func pausingContent(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.request("POST", "/pauses", framing: .length(20))
        call.send(pattern: 10)
        let served = try scene.served()
        try scene.wait("half of the content") { served.content.count == 10 }
        return { what in
            call.send(pattern: 10)
            call.end()
            try scene.finish(served)
            #expect(served.content.isPattern(of: 20), what)
            served.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200, what)
        }
    }

    private static func quietTunnel(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.webSocket()
        let served = try scene.served()
        served.agree()
        try scene.wait("the agreement") { call.head != nil }
        return { what in
            call.send("ping")
            try scene.wait("ping") { served.content.count == 4 }
            served.send("pong")
            try scene.wait("pong") { call.content.count == 4 || call.isOver }
            #expect(call.content.text == "pong", what)
            call.end()
            served.end()
            try scene.finish(call)
        }
    }

    private static func refresh(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.request("POST", "/refreshes", framing: .length(3))
        call.send("abc")
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        served.answer(401, "no", [("www-authenticate", "Bearer error=\"invalid_token\"")])
        try scene.wait("the question") { scene.plane.control.questions.contains { $0.rejected != nil } }
        return { what in
            let question = try #require(scene.plane.control.questions.last { $0.rejected != nil })
            scene.plane.control.answer(question.waiter, .generation(2))
            let again = try scene.served()
            try scene.finish(again)
            #expect(again.content.text == "abc", what)
            again.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200, what)
        }
    }

    /// More than what is on its way between two peers.
    private static func size(_ pair: PeerPair) -> Int {
        pair.caller == .http2 && pair.upstream == .http2 ? 1 << 20 : 24 << 20
    }

    private static func slowCaller(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let call = caller.request("GET", "/large")
        if call.stream != nil { call.takes = false } else { caller.reads = false }
        let served = try scene.served()
        let size = size(scene.pair)
        served.respond(200, framing: .length(size))
        served.send(pattern: size)
        served.end()
        for _ in 0..<10 { try scene.settle() }
        return { what in
            #expect(served.queued > 0, what)
            call.takes = true
            caller.reads = true
            try scene.finish(call)
            #expect(call.isEnded && call.content.isPattern(of: size), what)
        }
    }

    private static func slowUpstream(_ scene: Scene, _ caller: PeerLink) throws -> End {
        let size = size(scene.pair)
        let call = caller.request("POST", "/large", framing: .length(size))
        call.send("")
        let served = try scene.served()
        if served.stream != nil { served.takes = false } else { served.link.reads = false }
        call.send(pattern: size)
        call.end()
        for _ in 0..<10 { try scene.settle() }
        return { what in
            #expect(call.queued > 0, what)
            served.takes = true
            served.link.reads = true
            try scene.finish(served)
            #expect(served.isEnded && served.content.isPattern(of: size), what)
            served.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200, what)
        }
    }
}
