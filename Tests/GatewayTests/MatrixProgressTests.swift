import HTTP
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// What moves is not idle, whichever way it moves; what the other side has let lie for long enough ends by itself, and
/// ends nothing else.
extension MatrixPatienceTests {
    // MARK: An early answer

    /// The upstream answers and takes nothing of the request's rest any more.
    @Test func `an answer that flows is not cut for the request's rest that nobody takes`() throws {
        try together(PeerPair.all, after: 800) { pair in
            let scene = try Scene(pair, PlaneSetup(upstream: "write_idle_timeout = \"500ms\""))
            let (call, served) = try earlyAnswer(scene)
            try scene.settle()
            return {
                try scene.settle()
                served.send(pattern: 10)
                served.end()
                try scene.finish(call)
                #expect(call.isEnded && call.content.isPattern(of: 20), "\(pair)")
                // What is left of the request could not be told from another one.
                letGo(served)
                if pair.caller == .http1 { try scene.wait("the caller's end") { call.link.inputEnded } }
                if pair.upstream == .http1 { try scene.wait("the upstream's end") { served.link.inputEnded } }
                try scene.end()
            }
        }
    }

    @Test func `an answer that stops is cut although the request's rest waits`() throws {
        let upstream = "write_idle_timeout = \"200ms\"\nresponse_idle_timeout = \"500ms\""
        try together(PeerPair.all, after: 0) { pair in
            let scene = try Scene(pair, PlaneSetup(upstream: upstream))
            let (call, _) = try earlyAnswer(scene)
            return {
                try scene.finish(call)
                #expect(call.isCut && call.content.count == 10, "\(pair)")
                try scene.end()
            }
        }
    }

    /// Half of an answer to a request of which the upstream takes no more.
    private func earlyAnswer(_ scene: Scene) throws -> (call: PeerStream, served: PeerStream) {
        let (call, served) = try heldRequest(scene)
        _ = try fill(scene, call)
        served.respond(200, framing: .length(20))
        served.send(pattern: 10)
        try scene.wait("half of the answer") { call.content.count == 10 }
        return (call, served)
    }

    /// The upstream's connection breaks with the request half written; of its answer some is there, and is waited for.
    @Test(arguments: PeerPair.all.filter { $0.upstream == .http1 })
    func `what cannot be written any more is not waited for`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let (call, served) = try heldRequest(scene)
        _ = try fill(scene, call)
        hold(call)
        let size = 16 << 20
        served.respond(200, framing: .length(size))
        served.send(pattern: size)
        try rests(scene) { served.queued }
        #expect(try scene.plane.inspect { $0.upstreamWriteDeadline } != .max)
        served.link.breakOff()
        try settle(scene) { try scene.plane.inspect { $0.upstreamBacklog } == 0 }
        #expect(try scene.plane.inspect { $0.upstreamWriteDeadline } == .max, "\(pair)")
        letGo(call)
        try scene.finish(call)
        #expect(call.isCut && call.content.isPattern)
        try scene.end()
    }

    // MARK: Behind another answer

    enum Beginning: CaseIterable, Sendable {
        case halfAHead, all
    }

    @Test(arguments: Beginning.allCases)
    func `an answer behind one that is taken slowly has its time, and no more`(beginning: Beginning) throws {
        let pair = PeerPair(caller: .http1, upstream: .http1, isTLS: true)
        var scene = try Scene(pair, PlaneSetup(upstream: "first_byte_timeout = \"500ms\""))
        var begun = try behindAnother(scene)
        while begun == nil {
            scene = try Scene(pair, scene.setup)
            begun = try behindAnother(scene)
        }
        let (calls, next) = try #require(begun)
        switch beginning {
        case .halfAHead: next.link.write("HTTP/1.1 200 OK\r\nX-Ha")
        case .all: next.answer()
        }
        try passes(1200, scene)
        calls[0].link.reads = true
        for call in calls { try scene.finish(call) }
        #expect(calls[2].head?.status == (beginning == .all ? 200 : 504))
        try scene.end()
    }

    /// The last of three pipelined requests is with its upstream, and more is left of the others' answers than what stops
    /// the upstream's reading: by TLS another request may begin then. Nil: what the kernel has left was too little.
    private func behindAnother(_ scene: Scene) throws -> (calls: [PeerStream], next: PeerStream)? {
        let caller = try scene.connect()
        let calls = ["/large", "/filling", "/next"].map { caller.request("GET", $0) }
        caller.reads = false
        let large = try scene.served("/large")
        large.respond(200, framing: .open)
        var size = 0
        var left = 0
        while left == 0 {
            size += try send(8_000, scene, large, after: size)
            left = try scene.plane.inspect { $0.callerBacklog }
        }
        guard left > 200 else { return nil }
        large.end()
        let filling = try scene.served("/filling")
        // With its head, half of what is left short of that.
        let rest = Worker.highWater - left / 2 - 150
        filling.respond(200, framing: .length(rest))
        filling.send(pattern: rest)
        filling.end()
        let next = try scene.served("/next")
        try #require(try scene.plane.inspect { $0.callerBacklog } >= Worker.highWater)
        return (calls, next)
    }

    // MARK: Streams that the caller does not take

    @Test(arguments: PeerPair.fromHTTP2)
    func `an answer that nobody takes does not live on other streams' traffic`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(timeouts: "write_idle = \"400ms\""))
        let caller = try scene.connect()
        let call = caller.request("GET", "/large")
        call.takes = false
        let served = try scene.served()
        // More than the window, and not so much that the exchange would wait.
        served.respond(200, framing: .length(80_000))
        served.send(pattern: 80_000)
        served.end()
        try scene.waitForCounters("the end of the exchange") { $0.requestsCurrent == 0 }
        let begun = MonotonicClock.milliseconds()
        while call.resetCode == nil, MonotonicClock.milliseconds() < begun + 4000 {
            try scene.check(on: caller)
            _ = pause(20)
        }
        #expect(call.isCut && call.resetCode == HTTP2Code.cancel, "\(pair)")
        #expect(MonotonicClock.milliseconds() >= begun + 380)
        #expect(!caller.inputEnded)
        #expect(try scene.plane.holdings().octets < 1000)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.fromHTTP2)
    func `an answer of which something is taken now and then is left alone`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(timeouts: "write_idle = \"600ms\""))
        var settings = HTTP2Settings()
        settings.streamWindow = 1000
        settings.maximumStreamWindow = 1000
        let caller = try scene.connect(settings)
        let call = caller.request("GET", "/large")
        call.takes = false
        let served = try scene.served()
        served.respond(200, framing: .length(30_000))
        served.send(pattern: 30_000)
        served.end()
        try scene.waitForCounters("the end of the exchange") { $0.requestsCurrent == 0 }
        for _ in 0..<8 {
            try passes(200, scene)
            call.takes = true
            call.takes = false
            try scene.settle()
        }
        #expect(call.resetCode == nil && call.content.count < 30_000, "\(pair): \(call.content.count)")
        call.takes = true
        try scene.finish(call)
        #expect(call.isEnded && call.content.isPattern(of: 30_000), "\(pair)")
        try scene.end()
    }

    @Test(arguments: [true, false])
    func `a request that is given up while the upstream takes nothing of it is reset`(callerLeaves: Bool) throws {
        try together(PeerPair.toHTTP2, after: 0) { pair in
            let upstream = "write_idle_timeout = \"400ms\"\nfirst_byte_timeout = \"400ms\""
            let scene = try Scene(pair, PlaneSetup(upstream: callerLeaves ? "" : upstream))
            let (call, served) = try heldRequest(scene)
            _ = try fill(scene, call)
            call.end()
            try settle(scene) { try scene.plane.inspect { $0.hasSentRequest } }
            if callerLeaves { call.reset() }
            return {
                try scene.wait("the reset") { served.resetCode != nil }
                #expect(served.isCut && served.resetCode == HTTP2Code.cancel, "\(pair)")
                try scene.end()
            }
        }
    }

    /// The upstream has answered, and takes nothing of what is left of the request.
    @Test func `the rest of an answered request does not keep its place for ever`() throws {
        try together(PeerPair.toHTTP2, after: 0) { pair in
            let scene = try Scene(
                pair, PlaneSetup(upstream: "write_idle_timeout = \"400ms\"\nmax_streams = 1\nmax_connections = 1"))
            let (call, served) = try heldRequest(scene)
            _ = try fill(scene, call)
            call.end()
            try settle(scene) { try scene.plane.inspect { $0.hasSentRequest } }
            served.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200 && served.resetCode == nil, "\(pair)")
            return {
                try scene.check(on: scene.connect())
                #expect(served.resetCode == HTTP2Code.cancel, "\(pair)")
                try scene.end()
            }
        }
    }

    // MARK: Both ways at once

    /// As in bidirectional streaming: one side says nothing for long, the other one much.
    @Test(arguments: ["body_idle", "response_idle_timeout"])
    func `an exchange on which one side is quiet while the other speaks is not idle`(name: String) throws {
        let callerIsQuiet = name == "body_idle"
        var conversations: [Conversation] = []
        for pair in PeerPair.all { conversations.append(try converse(pair, name)) }
        let pieces = 12
        for _ in 0..<pieces {
            _ = pause(100)
            for (scene, call, served) in conversations {
                if callerIsQuiet { served.send(pattern: 10) } else { call.send(pattern: 10) }
                try scene.settle()
            }
        }
        for (scene, call, served) in conversations {
            call.send(pattern: 10)
            call.end()
            try scene.finish(served)
            served.send(pattern: 10)
            served.end()
            try scene.finish(call)
            let (spoken, unspoken) = (10 * (pieces + 2), 20)
            #expect(served.isEnded && served.content.isPattern(of: callerIsQuiet ? unspoken : spoken), "\(scene.pair)")
            #expect(call.isEnded && call.content.isPattern(of: callerIsQuiet ? spoken : unspoken), "\(scene.pair)")
            try scene.end()
        }
    }

    @Test(arguments: ["body_idle", "response_idle_timeout"])
    func `an exchange on which both sides are quiet ends`(name: String) throws {
        for (scene, call, _) in try PeerPair.all.map({ try converse($0, name) }) {
            try scene.finish(call)
            #expect(call.isCut && call.content.count == 10, "\(scene.pair)")
            try scene.end()
        }
    }

    private typealias Conversation = (scene: Scene, call: PeerStream, served: PeerStream)

    /// Both sides have said something, and neither all. Of the one that is named half a second's pause is too much.
    private func converse(_ pair: PeerPair, _ name: String) throws -> Conversation {
        var setup = PlaneSetup()
        let line = "\(name) = \"500ms\""
        if name == "body_idle" { setup.timeouts = line } else { setup.upstream = line }
        let scene = try Scene(pair, setup)
        let call = try scene.connect().request("POST", "/", framing: .open)
        call.send(pattern: 10)
        let served = try scene.served()
        served.respond(200, framing: .open)
        served.send(pattern: 10)
        try scene.wait("the beginnings") { call.content.count == 10 && served.content.count == 10 }
        return (scene, call, served)
    }

    @Test func `a caller that says nothing while it takes its answer slowly is not idle`() throws {
        try together(PeerPair.all, after: 800) { pair in
            let scene = try Scene(pair, PlaneSetup(timeouts: "body_idle = \"500ms\""))
            let call = try scene.connect().request("POST", "/", framing: .open)
            call.send("")
            let served = try scene.served()
            let size = 16 << 20
            served.respond(200, framing: .length(size))
            hold(call)
            served.send(pattern: size)
            served.end()
            try rests(scene) { served.queued }
            #expect(served.queued > 0)
            return {
                try scene.settle()
                letGo(call)
                try scene.finish(call)
                #expect(call.isEnded && call.content.isPattern(of: size), "\(pair): \(call.content.count)")
                try scene.end()
            }
        }
    }
}

extension Worker {
    /// Of the test's upstream connection.
    fileprivate var upstreamWriteDeadline: UInt64 {
        for case .upstream(let connection) in slots { return connection.wire.writeDeadline }
        return 0
    }
}
