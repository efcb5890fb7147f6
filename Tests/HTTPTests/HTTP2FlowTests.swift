import HTTP
import Testing

/// Windows, back-pressure and turns.
@Suite struct HTTP2FlowTests {
    /// A server that has answered stream 1 and may send `window` octets on a stream.
    static func answering(window: UInt32, streams: [Int32] = [1]) -> Peer {
        let server = Peer(.server)
        server.receive(
            RawFrame.preface + RawFrame.settings([(4, window)]).octets + RawFrame.settingsAcknowledged.octets)
        for id in streams { server.receive(RawFrame.headers(id, plainRequest)) }
        for id in streams { server.respond(id) }
        _ = server.collect()
        return server
    }

    static func contentBytes(_ frames: [RawFrame]) -> Int {
        frames.filter { $0.type == 0 }.reduce(0) { $0 + $1.payload.count }
    }

    @Test func `a peer that grants no window leaves the content in the backlog`() {
        let server = Self.answering(window: 0)
        server.send(String(repeating: "x", count: 100_000), on: 1)
        for _ in 0..<3 {
            #expect(server.collect().isEmpty)
            #expect(!server.session.hasOutput, "nothing to spin on")
        }
        #expect(server.streams[1]?.backlog == 100_000)
        server.receive(RawFrame.windowUpdate(1, 10))
        let frames = server.frames()
        #expect(frames == [RawFrame.data(1, "xxxxxxxxxx")])
        #expect(server.streams[1]?.backlog == 99_990)
        #expect(!server.session.hasOutput)
    }

    @Test func `the end needs no window`() {
        let server = Self.answering(window: 0)
        server.finish(1)
        #expect(server.frames() == [RawFrame.data(1, "", ends: true)])
        #expect(server.streams[1]?.isLocalDone == true && server.streams[1]?.isClosed == true)
    }

    @Test func `the end after content that used the window up needs no window`() {
        let server = Self.answering(window: 5)
        server.send("hello", on: 1)
        #expect(server.frames() == [RawFrame.data(1, "hello")])
        server.finish(1)
        #expect(server.frames() == [RawFrame.data(1, "", ends: true)])
        server.receive(RawFrame.windowUpdate(1, 5))
        #expect(server.frames() == [] && server.session.failure == nil)
    }

    @Test func `the connection's window holds all streams back`() {
        let server = Self.answering(window: 1 << 20, streams: [1, 3])
        server.send(String(repeating: "x", count: 50_000), on: 1)
        server.send(String(repeating: "y", count: 50_000), on: 3)
        server.finish(1)
        #expect(Self.contentBytes(server.frames()) == 65_535)
        #expect(!server.session.hasOutput)
        server.receive(RawFrame.windowUpdate(0, 100_000))
        let frames = server.frames()
        #expect(Self.contentBytes(frames) == 100_000 - 65_535)
        #expect(frames.last { $0.stream == 1 }?.flags == 1)
        #expect(server.streams[1]?.isLocalDone == true && server.streams[3]?.isLocalDone == false)
    }

    @Test func `content is framed in turns`() {
        let server = Self.answering(window: 1 << 20, streams: [1, 3, 5])
        server.receive(RawFrame.windowUpdate(0, 1 << 20))
        for id in [1, 3, 5] as [Int32] { server.send(String(repeating: "x", count: 40_000), on: id) }
        let order = server.frames().filter { $0.type == 0 }.map(\.stream)
        #expect(order.count == 9)
        for round in 0..<3 { #expect(Set(order[(round * 3)..<(round * 3 + 3)]) == [1, 3, 5]) }
    }

    @Test func `a stream that is filled again and again does not starve another`() {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        _ = pair.client.request(.post, ends: false)
        pair.client.send(String(repeating: "x", count: 40_000), on: 1)
        pair.client.send(String(repeating: "y", count: 20_000), on: 3)
        var order: [Int32] = []
        for _ in 0..<5 {
            order += pair.client.frames(limit: 1).filter { $0.type == 0 }.map(\.stream)
            pair.client.send(String(repeating: "x", count: 16_384), on: 1)
        }
        #expect(order == [1, 3, 1, 3])
    }

    @Test func `collect stops at its limit and goes on where it stopped`() {
        let server = Self.answering(window: 1 << 20)
        server.receive(RawFrame.windowUpdate(0, 1 << 20))
        server.send(String(repeating: "x", count: 100_000), on: 1)
        server.finish(1)
        var sent = 0
        var calls = 0
        while server.session.hasOutput {
            let frames = server.frames(limit: 20_000)
            let size = frames.reduce(0) { $0 + $1.octets.count }
            #expect(size < 20_000 + 16_384 + 9)
            sent += Self.contentBytes(frames)
            calls += 1
        }
        #expect(sent == 100_000 && calls == 4)
        #expect(server.streams[1]?.isLocalDone == true)
    }

    @Test func `a stopped stream is told when it has room`() {
        let server = Self.answering(window: 0)
        server.send(String(repeating: "x", count: 50_000), on: 1)
        server.streams[1]?.wantsRoom = true
        server.receive(RawFrame.windowUpdate(1, 30_000))
        _ = server.collect()
        #expect(server.session.takeRoomy() == nil)
        server.receive(RawFrame.windowUpdate(1, 10_000))
        _ = server.collect()
        #expect(server.session.takeRoomy() === server.streams[1])
        #expect(server.session.takeRoomy() == nil)
        #expect(server.streams[1]?.wantsRoom == false)
    }

    // MARK: - Directly

    @Test func `content is framed from where it stands as far as the window goes`() throws {
        let server = Self.answering(window: 30_000)
        let stream = try #require(server.streams[1])
        octets(String(repeating: "x", count: 50_000)).withUnsafeBytes {
            server.session.sendDirectly($0, on: stream, into: &server.output)
        }
        let direct = RawFrame.all(in: server.output.array())
        #expect(Self.contentBytes(direct) == 30_000)
        #expect(stream.backlog == 20_000)
        server.output.removeAll()
        server.receive(RawFrame.windowUpdate(1, 50_000))
        server.finish(1)
        let frames = server.frames()
        #expect(Self.contentBytes(frames) == 20_000 && frames.last?.flags == 1)
    }

    @Test func `content that comes directly stays behind what waits`() throws {
        let server = Self.answering(window: 1 << 20, streams: [1, 3])
        server.receive(RawFrame.windowUpdate(0, 1 << 20))
        server.send("first ", on: 1)
        let stream = try #require(server.streams[1])
        octets("second").withUnsafeBytes { server.session.sendDirectly($0, on: stream, into: &server.output) }
        var written = server.output.count
        #expect(written == 0)
        let other = try #require(server.streams[3])
        octets("other").withUnsafeBytes { server.session.sendDirectly($0, on: other, into: &server.output) }
        written = server.output.count
        #expect(written == 0, "another stream has its turn first")
        #expect(server.frames() == [RawFrame.data(1, "first second"), RawFrame.data(3, "other")])
        octets("third").withUnsafeBytes { server.session.sendDirectly($0, on: other, into: &server.output) }
        let frames = RawFrame.all(in: server.output.array())
        #expect(frames == [RawFrame.data(3, "third")])
    }

    // MARK: - Receiving

    static func receiving(_ settings: HTTP2Settings) -> Peer {
        let server = serverWithRawClient(settings)
        server.consumes = false
        server.receive(RawFrame.headers(1, plainRequest, ends: false))
        return server
    }

    static let kibi16 = String(repeating: "x", count: 16_384)

    @Test func `a stream's window opens by what is consumed`() throws {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        settings.maximumStreamWindow = 65_536
        let server = Self.receiving(settings)
        let stream = try #require(server.streams[1])
        for _ in 0..<3 { server.receive(RawFrame.data(1, Self.kibi16)) }
        #expect(stream.unconsumed == 3 * 16_384)
        #expect(server.collect().isEmpty)
        server.session.consume(16_384, on: stream)
        #expect(server.collect().isEmpty, "less than half of the window")
        server.session.consume(16_384, on: stream)
        #expect(server.frames() == [RawFrame.windowUpdate(1, 32_768)])
        server.session.consume(1 << 30, on: stream)
        #expect(stream.unconsumed == 0, "no more is given back than was received")
    }

    @Test func `more than the window is a stream error`() {
        var settings = HTTP2Settings()
        settings.streamWindow = 20_000
        let server = Self.receiving(settings)
        server.receive(RawFrame.data(1, Self.kibi16))
        server.receive(RawFrame.data(1, Self.kibi16))
        #expect(server.told.last == .reset(1, code: HTTP2Code.flowControl, isRefused: false, isLocal: true))
        #expect(Peer.resetCode(server.frames(), 1) == HTTP2Code.flowControl)
        #expect(server.session.failure == nil)
    }

    @Test func `the connection's window opens on receipt`() {
        var settings = HTTP2Settings()
        settings.connectionWindow = 65_535
        let server = Self.receiving(settings)
        server.receive(RawFrame.data(1, Self.kibi16))
        #expect(server.collect().isEmpty)
        server.receive(RawFrame.data(1, Self.kibi16))
        #expect(server.frames() == [RawFrame.windowUpdate(0, 32_768)])
    }

    @Test func `content of streams that are gone does not use the connection's window up`() {
        var settings = HTTP2Settings()
        settings.connectionWindow = 65_535
        let server = Self.receiving(settings)
        server.receive(RawFrame.data(1, Self.kibi16))
        server.release(1)
        for _ in 0..<20 {
            server.receive(RawFrame.data(1, Self.kibi16))
            _ = server.collect()
        }
        #expect(server.session.failure == nil)
    }

    @Test func `the window of a stream that is consumed at once doubles up to its limit`() {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        settings.maximumStreamWindow = 200_000
        let server = Self.receiving(settings)
        server.consumes = true
        var granted = 65_536
        var used = 0
        for _ in 0..<60 {
            server.receive(RawFrame.data(1, Self.kibi16))
            used += 16_384
            for frame in server.frames() where frame.type == 8 && frame.stream == 1 {
                granted += Int(frame.number(at: 0))
            }
            #expect(granted - used <= 200_000)
        }
        #expect(granted - used > 100_000)
    }

    @Test func `the window of a stream that is consumed late stays`() throws {
        var settings = HTTP2Settings()
        settings.streamWindow = 65_536
        let server = Self.receiving(settings)
        let stream = try #require(server.streams[1])
        for _ in 0..<4 { server.receive(RawFrame.data(1, Self.kibi16)) }
        var granted = 0
        for _ in 0..<40 {
            server.session.consume(16_384, on: stream)
            for frame in server.frames() where frame.type == 8 && frame.stream == 1 {
                granted += Int(frame.number(at: 0))
            }
            server.receive(RawFrame.data(1, "x"))
        }
        #expect(granted <= 4 * 16_384 + 40)
    }
}
