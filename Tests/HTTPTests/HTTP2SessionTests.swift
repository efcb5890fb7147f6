import HTTP
import Testing

/// Two sessions back to back, as the driver of a gateway uses them.
@Suite struct HTTP2SessionTests {
    @Test func `the preface and the settings open the connection`() {
        let pair = Pair()
        let opening = pair.client.collect()
        #expect(opening.starts(with: RawFrame.preface))
        let frames = RawFrame.all(in: opening)
        #expect(frames.map(\.type) == [4, 8])
        #expect(frames[1].number(at: 0) == UInt32(16 << 20) - 65_535)
        #expect(!pair.client.session.hasOutput)
        pair.server.receive(opening)
        #expect(pair.server.news() == [.settings])
        pair.exchange()
        #expect(pair.client.news() == [.settings])
        #expect(pair.client.session.maxPeerStreams == 100)
        #expect(!pair.client.session.peerAllowsConnectProtocol)
        #expect(pair.server.session.failure == nil && pair.client.session.failure == nil)
        #expect(!pair.client.session.isFinished && !pair.server.session.isFinished)
    }

    @Test func `the library says its version`() {
        #expect(HTTP2Session.libraryVersion.hasPrefix("1."))
    }

    @Test func `a request and its response go through`() throws {
        let pair = Pair.ready()
        let stream = try #require(pair.client.request(.get, "/a?b", fields: [("X-One", "1"), ("te", "trailers")]))
        #expect(stream.id == 1 && stream.isLocalDone && !stream.isPeerDone)
        pair.exchange()
        let news = pair.server.news()
        #expect(news.count == 1)
        let head = try #require(news.first?.head)
        #expect(head.method == .get && head.target == "/a?b" && head.path == "/a" && head.authority == "example.org")
        #expect(head.kept == [TextField("x-one", "1"), TextField("te", "trailers")])
        #expect(head.flags == [.http2, .keepAlive, .acceptsTrailers])
        #expect(head.framing == BodyFraming.none)
        pair.server.respond(1, 200, fields: [("content-type", "text/plain"), ("content-length", "5")])
        pair.server.send("hello", on: 1)
        pair.server.finish(1)
        let frames = RawFrame.all(in: pair.server.collect())
        #expect(frames.map(\.type) == [1, 0])
        #expect(frames[1].flags == 1, "content and END_STREAM are one frame")
        pair.client.receive(frames.flatMap(\.octets))
        let answer = pair.client.news()
        #expect(answer.count == 2)
        #expect(answer.first?.head?.status == 200)
        #expect(answer.first?.head?.framing == .length(5))
        #expect(answer.last == .content(1, "hello", ends: true))
        #expect(stream.isClosed && stream.isPeerDone && pair.client.session.openStreams == 0)
        pair.client.release(1)
        pair.server.release(1)
        pair.exchange()
        #expect(pair.client.news() == [] && pair.server.news() == [])
    }

    @Test func `content of a request comes whole and in order`() throws {
        let pair = Pair.ready()
        let text = String(repeating: "abcdefghijklmnopqrstuvwxyz", count: 10_000)
        #expect(pair.client.request(.post, ends: false) != nil)
        pair.client.send(text, on: 1)
        pair.exchange()
        pair.client.finish(1)
        pair.exchange()
        let news = pair.server.news()
        #expect(news.first?.head?.framing == .chunked)
        #expect(news.count == 2 && news.last == .content(1, text, ends: true))
        #expect(pair.server.streams[1]?.isPeerDone == true)
        #expect(pair.server.streams[1]?.unconsumed == 0)
    }

    @Test func `a response without content ends with its head`() {
        let pair = Pair.ready()
        _ = pair.client.request()
        pair.exchange()
        pair.server.respond(1, 204, ends: true)
        let frames = RawFrame.all(in: pair.server.collect())
        #expect(frames.map(\.type) == [1])
        #expect(frames[0].flags == 5)
        pair.client.receive(frames[0].octets)
        guard case .head(1, let head, true, nil)? = pair.client.news().first else {
            Issue.record("no head that ends")
            return
        }
        #expect(head.status == 204 && head.framing == BodyFraming.none)
    }

    @Test func `trailers follow the content`() throws {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.client.send("x", on: 1)
        pair.exchange()
        var trailers = MessageHead()
        for (name, value, isDropped) in [("Grpc-Status", "0", false), ("x-gone", "1", true), ("x-sum", "7", false)] {
            let name = octets(name).withUnsafeBytes { trailers.store($0) }
            let value = octets(value).withUnsafeBytes { trailers.store($0) }
            trailers.fields.append(Field(id: .other, isDropped: isDropped, name: name, value: value))
        }
        let client = try #require(pair.client.streams[1])
        pair.client.session.finish(client, trailers: trailers)
        #expect(!client.isLocalDone)
        pair.exchange()
        #expect(client.isLocalDone)
        let fields = [TextField("grpc-status", "0"), TextField("x-sum", "7")]
        #expect(pair.server.news().suffix(2) == [.content(1, "x", ends: false), .trailers(1, fields)])
        pair.server.respond(1)
        pair.server.send("y", on: 1)
        pair.server.session.finish(try #require(pair.server.streams[1]), trailers: trailers)
        let frames = RawFrame.all(in: pair.server.collect())
        #expect(frames.map(\.type) == [1, 0, 1], "no empty DATA frame between content and trailers")
        pair.client.receive(frames.flatMap(\.octets))
        #expect(pair.client.news().suffix(2) == [.content(1, "y", ends: false), .trailers(1, fields)])
    }

    @Test func `trailers that are all dropped are a plain end`() throws {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.client.session.finish(try #require(pair.client.streams[1]), trailers: MessageHead())
        pair.exchange()
        #expect(pair.server.news().last == .content(1, "", ends: true))
    }

    @Test func `informational responses come before the final one`() {
        let pair = Pair.ready()
        _ = pair.client.request()
        pair.exchange()
        pair.server.inform(1, 103, fields: [("link", "</a>")])
        pair.server.inform(1, 100)
        pair.server.respond(1, ends: true)
        pair.exchange()
        let statuses = pair.client.news().map { $0.head?.status ?? 0 }
        #expect(statuses == [103, 100, 200])
    }

    @Test func `a response to HEAD may have a length and no content`() {
        let pair = Pair.ready()
        _ = pair.client.request(.head)
        pair.exchange()
        #expect(pair.server.news().first?.head?.method == .head)
        pair.server.respond(1, fields: [("content-length", "1000")], ends: true)
        pair.exchange()
        let news = pair.client.news()
        #expect(news.count == 1 && news.first?.head?.framing == BodyFraming.none)
        #expect(news.first?.head?.values("content-length") == ["1000"])
    }

    @Test(arguments: [(20_000, 2), (60_000, 4)])
    func `a field block above the frame size is cut`(length: Int, count: Int) throws {
        var settings = HTTP2Settings()
        settings.head = HeadLimits(headBytes: 100_000)
        let pair = Pair.ready(server: settings)
        let value = String(repeating: "v", count: length)
        _ = pair.client.request(fields: [("x-long", value), ("x-last", "1")])
        let octets = pair.client.collect()
        let frames = RawFrame.all(in: octets)
        #expect(frames.count == count && frames[0].type == 1)
        for index in 1..<count { #expect(frames[index].type == 9) }
        for index in 0..<count { #expect((frames[index].flags & 4 == 4) == (index == count - 1)) }
        #expect(frames[0].flags & 1 == 1)
        #expect(frames.allSatisfy { $0.payload.count <= 16_384 })
        pair.server.receive(octets)
        #expect(pair.server.news().first?.head?.kept == [TextField("x-long", value), TextField("x-last", "1")])
    }

    @Test func `extended CONNECT is a tunnel both ways`() throws {
        var settings = HTTP2Settings()
        settings.allowsConnectProtocol = true
        let pair = Pair.ready(server: settings)
        #expect(pair.client.session.peerAllowsConnectProtocol)
        let method = octets("CONNECT")
        let stream = try #require(
            pair.client.session.request(method: .connect, ends: false, into: &pair.client.output) { encoder, out in
                method.withUnsafeBytes { encoder.method(.connect, text: $0, to: &out) }
                encoder.protocolName("websocket", to: &out)
                encoder.scheme(isTLS: true, to: &out)
                octets("/chat").withUnsafeBytes { encoder.path($0, to: &out) }
                octets("example.org").withUnsafeBytes { encoder.authority($0, to: &out) }
            })
        pair.client.streams[1] = stream
        pair.exchange()
        let head = try #require(pair.server.news().first?.head)
        #expect(head.method == .connect && head.flags.contains(.webSocket) && head.target == "/chat")
        #expect(head.framing == .chunked)
        pair.server.respond(1)
        pair.exchange()
        pair.server.send("down", on: 1)
        pair.client.send("up", on: 1)
        pair.exchange()
        #expect(pair.client.news().last == .content(1, "down", ends: false))
        #expect(pair.server.news().last == .content(1, "up", ends: false))
    }

    @Test func `a ping is answered`() {
        let pair = Pair.ready()
        pair.client.session.ping()
        pair.exchange()
        #expect(pair.client.news() == [.pong])
    }

    @Test func `streams are used again for later requests`() {
        let pair = Pair.ready()
        for round in 0..<300 {
            let id = Int32(round * 2 + 1)
            #expect(pair.client.request(fields: [("x-round", "\(round)")])?.id == id)
            pair.exchange()
            #expect(pair.server.news().first?.head?.values("x-round") == ["\(round)"])
            pair.server.respond(id, fields: [("x-round", "\(round)")])
            pair.server.send("\(round)", on: id)
            pair.server.finish(id)
            pair.exchange()
            let news = pair.client.news()
            #expect(news.first?.head?.values("x-round") == ["\(round)"])
            #expect(news.last == .content(id, "\(round)", ends: true))
            pair.client.release(id)
            pair.server.release(id)
            if round == 150 {
                pair.client.session.trim()
                pair.server.session.trim()
            }
        }
        #expect(pair.client.session.openStreams == 0 && pair.server.session.openStreams == 0)
    }

    @Test func `requests that run side by side keep apart`() {
        let pair = Pair.ready()
        let ids = (0..<50).map { Int32($0 * 2 + 1) }
        for id in ids { #expect(pair.client.request(.post, "/\(id)", ends: false)?.id == id) }
        for part in 0..<3 {
            for id in ids.reversed() { pair.client.send("\(id)-\(part) ", on: id) }
            pair.exchange()
        }
        for id in ids { pair.client.finish(id) }
        pair.exchange()
        let news = pair.server.news()
        for id in ids {
            var text = ""
            for case .content(id, let piece, _) in news { text += piece }
            #expect(text == "\(id)-0 \(id)-1 \(id)-2 ")
        }
    }

    /// A conversation with everything in it, as a client made by hand sends it.
    static let conversation: [UInt8] = {
        let fields = plainRequest + [("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers")]
        let block = fieldBlock(fields)
        var frames = [
            RawFrame.settings([(4, 100_000), (1, 100), (1, 4096)]), RawFrame.settingsAcknowledged,
            RawFrame.windowUpdate(0, 1000), RawFrame.headers(1, fields), RawFrame.ping,
            RawFrame(type: 1, stream: 3, payload: Array(block[..<10])),
            RawFrame.continuation(3, Array(block[10..<30]), complete: false),
            RawFrame.continuation(3, Array(block[30...]), complete: true),
            RawFrame.data(3, "hello "), RawFrame(type: 2, stream: 9, payload: [0, 0, 0, 3, 7]),
            RawFrame(type: 0, flags: 8, stream: 3, payload: [3] + octets("padded") + [0, 0, 0]),
            RawFrame(type: 0xFA, stream: 0, payload: octets("unknown")), RawFrame.data(3, ""),
            RawFrame.headers(3, [("x-sum", "1")]),
            RawFrame.headers(5, [(":method", "GET"), ("bad", "1"), (":path", "/")]),
            RawFrame(type: 1, flags: 0x2C, stream: 7, payload: [4, 0, 0, 0, 0, 9] + block + [0, 0, 0, 0]),
            RawFrame.data(7, "12345"), RawFrame.reset(7),
            RawFrame.headers(9, fields + [("content-length", "5")], ends: false),
            RawFrame.data(9, "four", ends: true), RawFrame.goAway(0),
        ]
        frames.append(RawFrame.headers(11, fields, ends: false))
        frames.append(RawFrame(type: 0, flags: 9, stream: 11, payload: [1, 0]))
        return RawFrame.preface + frames.flatMap(\.octets)
    }()

    @Test(arguments: [1, 2, 3, 5, 8, 13, 100])
    func `however the octets are cut, the same is told and sent`(chunk: Int) {
        func run(_ chunk: Int) -> ([Told], [UInt8]) {
            let server = Peer(.server)
            server.receive(Self.conversation, chunk: chunk)
            let sent = server.collect()
            #expect(server.session.failure == nil)
            return (server.told, sent)
        }
        let (told, sent) = run(.max)
        #expect(told.count == 15, "\(told)")
        let (toldCut, sentCut) = run(chunk)
        #expect(toldCut == told)
        // What is due is the same; only the order of frames of different streams may differ.
        func sorted(_ octets: [UInt8]) -> [String] { RawFrame.all(in: octets).map { "\($0)" }.sorted() }
        let (whole, cut) = (sorted(sent), sorted(sentCut))
        #expect(cut == whole)
    }

    @Test(arguments: [1, 4, 9, 100])
    func `a whole exchange may come in pieces both ways`(chunk: Int) {
        let pair = Pair()
        pair.exchange(chunk: chunk)
        _ = pair.client.request(.post, ends: false)
        pair.client.send(String(repeating: "x", count: 1000), on: 1)
        pair.client.finish(1)
        pair.exchange(chunk: chunk)
        pair.server.respond(1)
        pair.server.send(String(repeating: "y", count: 1000), on: 1)
        pair.server.finish(1)
        pair.exchange(chunk: chunk)
        #expect(pair.server.told.last == .content(1, String(repeating: "x", count: 1000), ends: true))
        #expect(pair.client.told.last == .content(1, String(repeating: "y", count: 1000), ends: true))
    }
}
