import HTTP
import Testing

/// What RFC 9113 says must be an error, and of which kind.
@Suite struct HTTP2MalformedTests {
    enum Outcome: Equatable, Sendable {
        /// The stream is reset with this code, the others go on.
        case stream(UInt32)
        /// The connection ends with this code.
        case connection(UInt32)
        /// The head is told with what is wrong with it.
        case refused
        /// It is right, or to be passed over.
        case fine
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var outcome: Outcome
        var octets: [UInt8]
        var testDescription: String { name }

        init(_ name: String, _ outcome: Outcome, _ frames: RawFrame...) {
            self.name = name
            self.outcome = outcome
            octets = frames.flatMap(\.octets)
        }
    }

    private typealias Fields = [(String, String)]

    /// A request with other pseudo-fields, or more fields.
    private static func with(_ name: String, _ outcome: Outcome, _ fields: Fields, ends: Bool = true) -> Case {
        Case(name, outcome, RawFrame.headers(1, fields, ends: ends))
    }

    private static func plus(_ name: String, _ outcome: Outcome, _ field: String, _ value: String) -> Case {
        Case(name, outcome, RawFrame.headers(1, plainRequest + [(field, value)]))
    }

    /// A request without the pseudo-field, or with another value.
    private static func changed(_ field: String, to value: String?) -> Fields {
        plainRequest.compactMap { $0.0 == field ? value.map { (field, $0) } : $0 }
    }

    /// RFC 9113 8.2 and 8.3.
    static let requests: [Case] = [
        with("no :method", .stream(1), changed(":method", to: nil)),
        with("no :scheme", .stream(1), changed(":scheme", to: nil)),
        with("no :path", .stream(1), changed(":path", to: nil)),
        with("an empty :path", .stream(1), changed(":path", to: "")),
        with("an empty :method", .stream(1), changed(":method", to: "")),
        with("an empty :authority", .stream(1), changed(":authority", to: "")),
        with("neither :authority nor host", .stream(1), changed(":authority", to: nil)),
        with("host for :authority", .fine, changed(":authority", to: nil) + [("host", "example.org")]),
        with("two :path", .stream(1), [(":path", "/")] + plainRequest),
        with("two :method", .stream(1), [(":method", "GET")] + plainRequest),
        with("a pseudo-field of responses", .stream(1), [(":status", "200")] + plainRequest),
        with("an unknown pseudo-field", .stream(1), [(":other", "x")] + plainRequest),
        plus("a late pseudo-field", .stream(1), "x", "y").joined(with: (":path", "/")),
        with(":protocol that was not offered", .stream(1), [(":protocol", "websocket")] + plainRequest),
        with("a method with a space", .stream(1), changed(":method", to: "GE T")),
        with("a :path that is no path", .stream(1), changed(":path", to: "a")),
        with("a :path with a space", .stream(1), changed(":path", to: "/a b")),
        with("a :path with a fragment", .refused, changed(":path", to: "/a#b")),
        with("a :path with an octet above ASCII", .refused, changed(":path", to: "/\u{E9}")),
        with("* with GET", .stream(1), changed(":path", to: "*")),
        with("a :path with CR LF", .stream(1), changed(":path", to: "/\r\nx: y")),
        with("another scheme", .refused, changed(":scheme", to: "ftp")),
        with(
            "another scheme and no path", .refused,
            changed(":scheme", to: "ftp").map { $0.0 == ":path" ? ($0.0, "a") : $0 }),
        with("a :scheme with a control octet", .stream(1), changed(":scheme", to: "ht\ttp")),
        with("a user in :authority", .refused, changed(":authority", to: "a@b")),
        with("a space in :authority", .stream(1), changed(":authority", to: "a b")),
        with("a path in :authority", .stream(1), changed(":authority", to: "a/b")),
        with("a port above 65535", .refused, changed(":authority", to: "a:70000")),
        plus("host that differs", .refused, "host", "other.example"),
        plus("host that is the same", .fine, "host", "EXAMPLE.org"),
        with("two host", .stream(1), plainRequest + [("host", "example.org"), ("host", "example.org")]),
        plus("an upper-case name", .stream(1), "X-One", "1"),
        plus("a name with a space", .stream(1), "x one", "1"),
        plus("a name with a colon", .stream(1), "x:one", "1"),
        plus("an empty name", .stream(1), "", "1"),
        plus("a name with an octet above ASCII", .stream(1), "x\u{E9}", "1"),
        plus("CR in a value", .stream(1), "x", "a\rb"),
        plus("LF in a value", .stream(1), "x", "a\nb"),
        plus("NUL in a value", .stream(1), "x", "a\0b"),
        plus("DEL in a value", .stream(1), "x", "a\u{7F}b"),
        plus("a space before a value", .stream(1), "x", " a"),
        plus("a tab after a value", .stream(1), "x", "a\t"),
        plus("an empty value", .fine, "x", ""),
        plus("an octet above ASCII in a value", .fine, "x", "\u{E9}"),
        plus("connection", .stream(1), "connection", "close"),
        plus("keep-alive", .stream(1), "keep-alive", "x"),
        plus("proxy-connection", .stream(1), "proxy-connection", "x"),
        plus("transfer-encoding", .stream(1), "transfer-encoding", "chunked"),
        plus("upgrade", .stream(1), "upgrade", "websocket"),
        plus("te with a coding", .stream(1), "te", "trailers, gzip"),
        plus("te: trailers", .fine, "te", "trailers"),
        plus("a length that is no number", .stream(1), "content-length", "1x"),
        plus("a negative length", .stream(1), "content-length", "-1"),
        plus("a length above 63 bits", .stream(1), "content-length", "9223372036854775808"),
        plus("a length and no content", .stream(1), "content-length", "5"),
        plus("no length and no content", .fine, "content-length", "0"),
        with("two lengths", .stream(1), plainRequest + [("content-length", "0"), ("content-length", "0")]),
        with("CONNECT with a scheme", .stream(1), changed(":method", to: "CONNECT")),
        with("CONNECT without :authority", .stream(1), [(":method", "CONNECT")], ends: false),
        with("CONNECT", .fine, [(":method", "CONNECT"), (":authority", "a:443")], ends: false),
        with("OPTIONS *", .fine, changed(":method", to: "OPTIONS").map { $0.0 == ":path" ? ($0.0, "*") : $0 }),
    ]

    private static let open = RawFrame.headers(1, plainRequest, ends: false)

    /// RFC 9113 5, 6 and 8.1.
    static let frames: [Case] = [
        Case(
            "more content than the length", .stream(1),
            RawFrame.headers(1, plainRequest + [("content-length", "3")], ends: false), RawFrame.data(1, "four")),
        Case(
            "less content than the length", .stream(1),
            RawFrame.headers(1, plainRequest + [("content-length", "5")], ends: false),
            RawFrame.data(1, "four", ends: true)),
        Case(
            "less content than the length before trailers", .stream(1),
            RawFrame.headers(1, plainRequest + [("content-length", "5")], ends: false), RawFrame.data(1, "four"),
            RawFrame.headers(1, [("x", "y")])),
        Case(
            "content of the length", .fine,
            RawFrame.headers(1, plainRequest + [("content-length", "4")], ends: false),
            RawFrame.data(1, "fo"), RawFrame.data(1, "ur", ends: true)),
        Case("trailers without END_STREAM", .stream(1), open, RawFrame.headers(1, [("x", "y")], ends: false)),
        Case("a pseudo-field in trailers", .stream(1), open, RawFrame.headers(1, [(":path", "/")])),
        Case("an upper-case name in trailers", .stream(1), open, RawFrame.headers(1, [("X", "y")])),
        Case("a connection field in trailers", .stream(1), open, RawFrame.headers(1, [("connection", "y")])),
        Case("a window above 2^31-1 on a stream", .stream(3), open, RawFrame.windowUpdate(1, 0x7FFF_FFFF)),

        Case("DATA on stream 0", .connection(1), RawFrame.data(0, "x")),
        Case("HEADERS on stream 0", .connection(1), RawFrame.headers(0, plainRequest)),
        Case("HEADERS on an even stream", .connection(1), RawFrame.headers(2, plainRequest)),
        Case("PRIORITY on stream 0", .connection(1), RawFrame(type: 2, payload: [0, 0, 0, 1, 0])),
        Case("RST_STREAM on stream 0", .connection(1), RawFrame.reset(0)),
        Case("CONTINUATION on stream 0", .connection(1), RawFrame.continuation(0, [], complete: true)),
        Case("SETTINGS on a stream", .connection(1), open, RawFrame(type: 4, stream: 1)),
        Case(
            "PING on a stream", .connection(1), open, RawFrame(type: 6, stream: 1, payload: [0, 0, 0, 0, 0, 0, 0, 0])),
        Case(
            "GOAWAY on a stream", .connection(1), open, RawFrame(type: 7, stream: 1, payload: [0, 0, 0, 0, 0, 0, 0, 0])),
        Case("DATA on an idle stream", .connection(1), RawFrame.data(1, "x")),
        Case("RST_STREAM on an idle stream", .connection(1), RawFrame.reset(1)),
        Case("WINDOW_UPDATE on an idle stream", .connection(1), RawFrame.windowUpdate(1, 1)),
        Case("PRIORITY on an idle stream", .fine, RawFrame(type: 2, stream: 9, payload: [0, 0, 0, 1, 0])),
        Case(
            "a stream that depends on itself", .connection(1), RawFrame(type: 2, stream: 3, payload: [0, 0, 0, 3, 0])),
        Case(
            "HEADERS that depend on themselves", .connection(1),
            RawFrame(type: 1, flags: 0x25, stream: 1, payload: [0, 0, 0, 1, 9] + fieldBlock(plainRequest))),
        Case(
            "a stream with a lower number", .connection(1), RawFrame.headers(5, plainRequest),
            RawFrame.headers(3, plainRequest)),
        Case(
            "DATA after END_STREAM", .connection(5), RawFrame.headers(1, plainRequest), RawFrame.data(1, "x")),
        Case(
            "HEADERS after END_STREAM", .connection(5), RawFrame.headers(1, plainRequest),
            RawFrame.headers(1, plainRequest)),
        Case("DATA after RST_STREAM", .connection(5), open, RawFrame.reset(1), RawFrame.data(1, "x")),
        Case("HEADERS after RST_STREAM", .connection(5), open, RawFrame.reset(1), RawFrame.headers(1, plainRequest)),
        Case("WINDOW_UPDATE after RST_STREAM", .fine, RawFrame.headers(3, plainRequest), RawFrame.windowUpdate(1, 1)),
        Case("a window of 0", .connection(1), RawFrame.windowUpdate(0, 0)),
        Case("a window above 2^31-1", .connection(3), RawFrame.windowUpdate(0, 0x7FFF_FFFF)),
        Case("an initial window above 2^31-1", .connection(3), RawFrame.settings([(4, 0x8000_0000)])),
        Case("ENABLE_PUSH that is 2", .connection(1), RawFrame.settings([(2, 2)])),
        Case("a frame size below 16,384", .connection(1), RawFrame.settings([(5, 16_383)])),
        Case("a frame size above 2^24-1", .connection(1), RawFrame.settings([(5, 1 << 24)])),
        Case("ENABLE_CONNECT_PROTOCOL that is 2", .connection(1), RawFrame.settings([(8, 2)])),
        Case("an unknown setting", .fine, RawFrame.settings([(200, 2)])),
        Case("more settings than anyone needs", .connection(11), RawFrame.settings((0..<40).map { ($0 + 100, 1) })),
        Case("SETTINGS of 5 octets", .connection(6), RawFrame(type: 4, payload: [0, 1, 0, 0, 0])),
        Case("SETTINGS ACK with octets", .connection(6), RawFrame(type: 4, flags: 1, payload: [0, 1, 0, 0, 0, 0])),
        Case("SETTINGS ACK for nothing", .connection(1), RawFrame.settingsAcknowledged),
        Case("PING of 7 octets", .connection(6), RawFrame(type: 6, payload: [0, 0, 0, 0, 0, 0, 0])),
        Case("RST_STREAM of 3 octets", .connection(6), open, RawFrame(type: 3, stream: 1, payload: [0, 0, 0])),
        Case("WINDOW_UPDATE of 3 octets", .connection(6), RawFrame(type: 8, payload: [0, 0, 1])),
        Case("PRIORITY of 4 octets", .connection(6), RawFrame(type: 2, stream: 3, payload: [0, 0, 0, 1])),
        Case("GOAWAY of 7 octets", .connection(6), RawFrame(type: 7, payload: [0, 0, 0, 0, 0, 0, 0])),
        Case("GOAWAY with a stream of ours", .connection(1), RawFrame.goAway(1)),
        Case(
            "a frame of 16,385 octets", .connection(6), open,
            RawFrame(type: 0, stream: 1, payload: [UInt8](repeating: 0, count: 16_385))),
        Case(
            "an unknown frame of 16,385 octets", .connection(6),
            RawFrame(type: 77, payload: [UInt8](repeating: 0, count: 16_385))),
        Case("an unknown frame", .fine, RawFrame(type: 77, flags: 255, stream: 5, payload: [1, 2])),
        Case(
            "padding longer than DATA", .connection(1), open, RawFrame(type: 0, flags: 8, stream: 1, payload: [2, 0])),
        Case(
            "padding longer than HEADERS", .connection(1), RawFrame(type: 1, flags: 0xD, stream: 1, payload: [9, 0x82])),
        Case("PADDED DATA without octets", .connection(1), open, RawFrame(type: 0, flags: 8, stream: 1)),
        Case("PUSH_PROMISE", .connection(1), open, RawFrame(type: 5, flags: 4, stream: 1, payload: [0, 0, 0, 2])),
        Case("CONTINUATION alone", .connection(1), RawFrame.continuation(1, [0x82], complete: true)),
        Case(
            "another frame in a field block", .connection(1), RawFrame.headers(1, plainRequest, complete: false),
            RawFrame.ping),
        Case(
            "PRIORITY in a field block", .connection(1), RawFrame.headers(1, plainRequest, complete: false),
            RawFrame(type: 2, stream: 3, payload: [0, 0, 0, 1, 0])),
        Case(
            "an unknown frame in a field block", .connection(1), RawFrame.headers(1, plainRequest, complete: false),
            RawFrame(type: 77)),
        Case(
            "CONTINUATION of another stream", .connection(1), RawFrame.headers(1, plainRequest, complete: false),
            RawFrame.continuation(3, [], complete: true)),
        Case(
            "an index that is not in the table", .connection(9),
            RawFrame(type: 1, flags: 5, stream: 1, payload: [0xFF, 0x7F])),
        Case("index 0", .connection(9), RawFrame(type: 1, flags: 5, stream: 1, payload: [0x80])),
        Case(
            "a table above what was offered", .connection(9),
            RawFrame(type: 1, flags: 5, stream: 1, payload: [0x3F, 0xE2, 0x1F])),
        Case(
            "a field block that is cut off", .connection(9),
            RawFrame(type: 1, flags: 5, stream: 1, payload: [0x00, 0x05, 0x61])),
        Case(
            "a Huffman code with EOS", .connection(9),
            RawFrame(type: 1, flags: 5, stream: 1, payload: [0x00, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0x00])),
        Case("an empty field block", .stream(1), RawFrame(type: 1, flags: 5, stream: 1)),
    ]

    @Test(arguments: requests + frames)
    func `a client's mistake has the consequence that the RFC says`(mistake: Case) {
        for chunk in [Int.max, 1] {
            let server = serverWithRawClient()
            server.receive(mistake.octets, chunk: chunk)
            judge(server, mistake, after: RawFrame.headers(101, plainRequest))
        }
    }

    private func judge(_ peer: Peer, _ mistake: Case, after: RawFrame) {
        let news = peer.news()
        switch mistake.outcome {
        case .stream(let code):
            #expect(peer.session.failure == nil, "\(mistake.name)")
            #expect(news.last == .reset(1, code: code, isRefused: false, isLocal: true), "\(mistake.name): \(news)")
            #expect(Peer.resetCode(peer.frames(), 1) == code, "\(mistake.name)")
            #expect(peer.streams[1]?.isClosed != false)
        case .connection(let code):
            #expect(peer.session.failure?.code == code, "\(mistake.name)")
            #expect(Peer.goAwayCode(peer.frames()) == code, "\(mistake.name)")
            #expect(peer.session.isFinished)
            return
        case .refused:
            #expect(news.count == 1 && news.last?.rejection != nil, "\(mistake.name): \(news)")
            #expect(peer.streams[1]?.isClosed == false)
        case .fine:
            let isFine = news.allSatisfy {
                if case .reset = $0 { return false }
                return $0.rejection == nil
            }
            #expect(isFine, "\(mistake.name): \(news)")
        }
        #expect(peer.session.failure == nil)
        // The others go on (RFC 9113 5.4.2).
        peer.receive(after)
        #expect(peer.news().last?.head != nil, "\(mistake.name)")
    }

    @Test func `an initial window that lifts a stream's window above 2^31-1 resets the stream`() {
        let server = serverWithRawClient()
        server.receive(Self.open, RawFrame.windowUpdate(1, 0x7000_0000), RawFrame.settings([(4, 0x7FFF_FFFF)]))
        #expect(Peer.resetCode(server.frames(), 1) == HTTP2Code.flowControl)
        #expect(server.told.last == .reset(1, code: HTTP2Code.flowControl, isRefused: false, isLocal: true))
    }

    @Test func `a stream above the limit that the peer knows ends the connection`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 1
        let server = serverWithRawClient(settings)
        server.receive(RawFrame.headers(1, plainRequest), RawFrame.headers(3, plainRequest))
        #expect(server.session.failure?.code == 1)
    }

    @Test(arguments: ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "\u{16}\u{3}\u{1}"])
    func `another preface ends the connection`(text: String) {
        for chunk in [Int.max, 1] {
            let server = Peer(.server)
            server.receive(octets(text), chunk: chunk)
            #expect(server.session.failure?.code == 1)
            #expect(Peer.goAwayCode(server.frames()) == 1)
        }
    }

    @Test func `the first frame must be SETTINGS`() {
        for frame in [RawFrame.ping, RawFrame.headers(1, plainRequest), RawFrame.settingsAcknowledged] {
            let server = Peer(.server)
            server.receive(RawFrame.preface + frame.octets)
            #expect(server.session.failure?.code == 1)
            let client = Peer(.client)
            client.receive(frame)
            #expect(client.session.failure?.code == 1)
        }
    }

    @Test func `a frame that is too large is refused by its header`() {
        let server = serverWithRawClient()
        server.receive([0xFF, 0xFF, 0xFF, 77, 0, 0, 0, 0, 0])
        #expect(server.session.failure?.code == HTTP2Code.frameSize)
    }

    // MARK: - Responses

    private static func answer(_ name: String, _ outcome: Outcome, _ fields: Fields, ends: Bool = true) -> Case {
        Case(name, outcome, RawFrame.headers(1, fields, ends: ends))
    }

    private static let ok = RawFrame.headers(1, [(":status", "200")], ends: false)

    static let responses: [Case] = [
        answer("no :status", .stream(1), [("x", "y")]),
        answer("two :status", .stream(1), [(":status", "200"), (":status", "200")]),
        answer("status 101", .stream(1), [(":status", "101")], ends: false),
        answer("a status of two digits", .stream(1), [(":status", "20")]),
        answer("a status that is no number", .stream(1), [(":status", "2x0")]),
        answer("a status above 599", .refused, [(":status", "600")]),
        answer("a status below 100", .refused, [(":status", "099")]),
        answer("a pseudo-field of requests", .stream(1), [(":status", "200"), (":path", "/")]),
        answer("a late :status", .stream(1), [("x", "y"), (":status", "200")]),
        answer("connection", .stream(1), [(":status", "200"), ("connection", "close")]),
        answer("transfer-encoding", .stream(1), [(":status", "200"), ("transfer-encoding", "chunked")]),
        answer("an upper-case name", .stream(1), [(":status", "200"), ("X", "y")]),
        answer("LF in a value", .stream(1), [(":status", "200"), ("x", "a\nb")]),
        answer("an informational response that ends", .stream(1), [(":status", "103")]),
        answer("a length and no content", .stream(1), [(":status", "200"), ("content-length", "5")]),
        answer("a length with 204", .stream(1), [(":status", "204"), ("content-length", "5")]),
        answer("length 0 with 204", .fine, [(":status", "204"), ("content-length", "0")]),
        answer("a length with 304", .fine, [(":status", "304"), ("content-length", "5")]),
        Case(
            "content with 204", .stream(1), RawFrame.headers(1, [(":status", "204")], ends: false),
            RawFrame.data(1, "x")),
        Case(
            "more content than the length", .stream(1),
            RawFrame.headers(1, [(":status", "200"), ("content-length", "1")], ends: false), RawFrame.data(1, "xx")),
        Case(
            "less content than the length", .stream(1),
            RawFrame.headers(1, [(":status", "200"), ("content-length", "3")], ends: false),
            RawFrame.data(1, "xx", ends: true)),
        Case(
            "content after an informational response", .stream(1),
            RawFrame.headers(1, [(":status", "100")], ends: false), RawFrame.data(1, "xx")),
        Case("two final heads", .stream(1), ok, RawFrame.headers(1, [(":status", "200")], ends: false)),
        Case("trailers without END_STREAM", .stream(1), ok, RawFrame.headers(1, [("x", "y")], ends: false)),
        Case("trailers", .fine, ok, RawFrame.headers(1, [("x", "y")])),
        Case("DATA before HEADERS", .connection(1), RawFrame.data(1, "x")),
        Case("DATA after END_STREAM", .connection(5), RawFrame.headers(1, [(":status", "200")]), RawFrame.data(1, "x")),
        Case("HEADERS on a stream that was not asked for", .connection(1), RawFrame.headers(201, [(":status", "200")])),
        Case("HEADERS on a stream of its own", .connection(1), RawFrame.headers(2, [(":status", "200")])),
        Case(
            "PUSH_PROMISE", .connection(1),
            RawFrame(type: 5, flags: 4, stream: 1, payload: [0, 0, 0, 2] + fieldBlock(plainRequest))),
        Case("ENABLE_PUSH by a server", .connection(1), RawFrame.settings([(2, 1)])),
        Case("GOAWAY that rises", .connection(1), RawFrame.goAway(1), RawFrame.goAway(3)),
    ]

    @Test(arguments: responses)
    func `a server's mistake has the consequence that the RFC says`(mistake: Case) {
        for chunk in [Int.max, 1] {
            let client = clientWithRawServer()
            for _ in 0..<51 { _ = client.request(.get, ends: false) }
            client.receive(mistake.octets, chunk: chunk)
            judge(client, mistake, after: RawFrame.headers(101, [(":status", "200")]))
        }
    }
}

extension HTTP2MalformedTests.Case {
    /// The same HEADERS with one field more.
    fileprivate func joined(with field: (String, String)) -> Self {
        var copy = self
        var frame = RawFrame.all(in: octets)[0]
        frame.payload += fieldBlock([field])
        copy.octets = frame.octets
        return copy
    }
}
