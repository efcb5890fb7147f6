import HTTP
import Testing

/// Floods end the connection before they cost much (checklist B7 to B9), and ordinary use does not.
@Suite struct HTTP2FloodTests {
    struct Flood: Sendable, CustomTestStringConvertible {
        var name: String
        var abuse: HTTP2Abuse
        /// Frames that come once.
        var opening: [RawFrame] = []
        /// Frames of one round; streams are numbered by it.
        var round: @Sendable (Int32) -> [RawFrame]
        var testDescription: String { name }
    }

    static func open(_ id: Int32) -> RawFrame { RawFrame.headers(id, plainRequest, ends: false) }

    static let floods: [Flood] = [
        Flood(name: "rapid reset", abuse: .rapidReset) { [open($0), RawFrame.reset($0)] },
        Flood(name: "malformed requests", abuse: .provokedReset) { [RawFrame.headers($0, [("x", "y")])] },
        Flood(name: "empty field names", abuse: .provokedReset) {
            [RawFrame.headers($0, plainRequest + [("", "")])]
        },
        Flood(name: "resets provoked by windows", abuse: .provokedReset) {
            [open($0), RawFrame.windowUpdate($0, 0x7FFF_FFFF)]
        },
        Flood(name: "resets provoked by lengths", abuse: .provokedReset) {
            [
                RawFrame.headers($0, plainRequest + [("content-length", "1")], ends: false),
                RawFrame.data($0, "", ends: true),
            ]
        },
        Flood(name: "resets provoked by trailers", abuse: .provokedReset) {
            [open($0), RawFrame.headers($0, [(":x", "y")])]
        },
        Flood(
            name: "CONTINUATION", abuse: .continuationFlood,
            opening: [RawFrame.headers(1, plainRequest, complete: false)]
        ) { _ in
            [RawFrame.continuation(1, [], complete: false)]
        },
        Flood(name: "SETTINGS", abuse: .settingsFlood) { _ in [RawFrame.settings([(4, 1000)])] },
        Flood(name: "PING", abuse: .pingFlood) { _ in [RawFrame.ping] },
        Flood(name: "PING ACK", abuse: .pingFlood) { _ in [RawFrame(type: 6, flags: 1, payload: RawFrame.ping.payload)]
        },
        Flood(name: "empty DATA", abuse: .emptyFrames, opening: [open(1)]) { _ in [RawFrame.data(1, "")] },
        Flood(name: "padding alone", abuse: .emptyFrames, opening: [open(1)]) { _ in
            [RawFrame(type: 0, flags: 8, stream: 1, payload: [3, 0, 0, 0])]
        },
        Flood(
            name: "DATA on a refused stream", abuse: .emptyFrames,
            opening: [RawFrame.headers(1, [("x", "y")], ends: false)]
        ) { _ in
            [RawFrame.data(1, "x")]
        },
        Flood(name: "WINDOW_UPDATE", abuse: .windowFlood) { _ in [RawFrame.windowUpdate(0, 1)] },
        Flood(name: "WINDOW_UPDATE on a stream", abuse: .windowFlood, opening: [open(1)]) { _ in
            [RawFrame.windowUpdate(1, 1)]
        },
        Flood(name: "PRIORITY", abuse: .frameFlood) { [RawFrame(type: 2, stream: $0, payload: [0, 0, 0, 0, 1])] },
        Flood(name: "unknown frames", abuse: .frameFlood) { _ in [RawFrame(type: 99, payload: [1])] },
        Flood(name: "PRIORITY_UPDATE", abuse: .frameFlood) { _ in
            [RawFrame(type: 0x10, payload: [0, 0, 0, 1] + octets("u=1"))]
        },
        Flood(name: "RST_STREAM twice", abuse: .frameFlood, opening: [open(1), RawFrame.reset(1)]) { _ in
            [RawFrame.reset(1)]
        },
        Flood(name: "GOAWAY", abuse: .frameFlood) { _ in [RawFrame.goAway(0)] },
    ]

    /// A driver that releases what is reset and reads what is due.
    static func flood(_ server: Peer, _ flood: Flood, collecting: Bool, rounds: Int = 1100) -> Int {
        server.receive(flood.opening.flatMap(\.octets))
        for round in 0..<rounds {
            let id = Int32(round * 2 + 3)
            server.receive(flood.round(id).flatMap(\.octets))
            if case .reset = server.told.last { server.release(id) }
            if server.session.failure != nil { return round }
            server.told = []
            if collecting { _ = server.collect() }
        }
        return rounds
    }

    @Test(arguments: floods, [true, false])
    func `a flood ends the connection`(flood: Flood, collecting: Bool) {
        let server = serverWithRawClient()
        let rounds = Self.flood(server, flood, collecting: collecting)
        #expect(rounds < 1100)
        #expect(server.session.failure?.abuse == flood.abuse, "\(server.session.failure?.reason.description ?? "none")")
        #expect(server.session.failure?.code == HTTP2Code.enhanceYourCalm)
        let octets = server.collect()
        #expect(Peer.goAwayCode(RawFrame.all(in: octets)) == HTTP2Code.enhanceYourCalm)
        #expect(octets.count < 64 * 1024, "what it provoked is bounded")
        #expect(server.session.isFinished)
    }

    @Test func `a small block that unfolds to a large one ends the connection`() {
        let server = serverWithRawClient()
        // An entry of 4,000 octets in the table, then many times its index.
        let name = octets("x")
        let value = [UInt8](repeating: 97, count: 3900)
        let entry = [0x40, 1] + name + [127, UInt8((3900 - 127) & 127 | 128), UInt8((3900 - 127) >> 7)] + value
        server.receive(
            RawFrame(
                type: 1, flags: 5, stream: 1,
                payload: fieldBlock(plainRequest) + entry + [UInt8](repeating: 0xBE, count: 10_000)))
        #expect(server.session.failure?.abuse == .headerBomb)
        #expect(Peer.goAwayCode(server.frames()) == HTTP2Code.enhanceYourCalm)
        #expect(server.told.isEmpty)
    }

    @Test func `a block of many small frames within the limit is taken`() {
        let server = serverWithRawClient()
        let block = fieldBlock(plainRequest + [("x-long", String(repeating: "v", count: 4000))])
        var frames = [RawFrame(type: 1, flags: 1, stream: 1, payload: Array(block[..<200]))]
        for start in stride(from: 200, to: block.count, by: 200) {
            let end = min(start + 200, block.count)
            frames.append(RawFrame.continuation(1, Array(block[start..<end]), complete: end == block.count))
        }
        server.receive(frames.flatMap(\.octets))
        #expect(server.told.first?.head?.values("x-long").first?.utf8.count == 4000)
    }

    @Test func `requests that cannot be served because there are too many do not go on for ever`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 1
        let server = Peer(.server, settings: settings)
        server.receive(RawFrame.preface + RawFrame.settings().octets)
        _ = server.collect()
        let flood = Flood(name: "", abuse: .frameFlood, opening: [Self.open(1)]) { [Self.open($0)] }
        #expect(Self.flood(server, flood, collecting: true) < 1100)
        #expect(server.session.failure?.abuse == .frameFlood)
    }

    @Test func `ordinary use goes on for ever`() {
        let server = serverWithRawClient()
        for round in 0..<3000 {
            let id = Int32(round * 2 + 1)
            server.receive(Self.open(id), RawFrame.ping, RawFrame.windowUpdate(0, 10_000), RawFrame.data(id, "x"))
            server.receive(RawFrame.data(id, "", ends: true), RawFrame.windowUpdate(id, 10_000))
            server.respond(id)
            server.send(String(repeating: "y", count: 1000), on: id)
            server.finish(id)
            #expect(server.frames().contains { $0.type == 0 && $0.flags == 1 })
            server.release(id)
            server.told = []
        }
        #expect(server.session.failure == nil)
    }

    @Test func `callers that give up now and then do no harm`() {
        let server = serverWithRawClient()
        for round in 0..<3000 {
            let id = Int32(round * 4 + 1)
            server.receive(RawFrame.headers(id, plainRequest))
            server.respond(id, ends: true)
            _ = server.collect()
            server.receive(Self.open(id + 2), RawFrame.reset(id + 2))
            server.release(id)
            server.release(id + 2)
            server.told = []
        }
        #expect(server.session.failure == nil)
    }

    @Test func `a long stream of small messages with pings does no harm`() {
        let server = serverWithRawClient()
        server.receive(Self.open(1))
        for _ in 0..<5000 {
            server.receive(RawFrame.data(1, "message"), RawFrame.ping)
            _ = server.collect()
        }
        #expect(server.session.failure == nil)
    }

    @Test func `time forgives what is slow`() {
        let server = serverWithRawClient()
        for _ in 0..<3000 {
            server.receive(RawFrame.ping)
            _ = server.collect()
            server.session.timePassed(seconds: 1)
        }
        #expect(server.session.failure == nil)
    }

    @Test func `informational responses do not go on for ever`() {
        let client = clientWithRawServer()
        _ = client.request()
        for _ in 0..<1100 where client.session.failure == nil {
            client.receive(RawFrame.headers(1, [(":status", "103")], ends: false))
        }
        #expect(client.session.failure?.code == HTTP2Code.enhanceYourCalm)
    }

    @Test func `a server that floods its client is left`() {
        for frame in [RawFrame.ping, RawFrame.settings(), RawFrame.windowUpdate(0, 1), RawFrame(type: 99)] {
            let client = clientWithRawServer()
            for _ in 0..<1100 where client.session.failure == nil {
                client.receive(frame)
                _ = client.collect()
            }
            #expect(client.session.failure?.code == HTTP2Code.enhanceYourCalm)
        }
    }
}
