import HTTP
import Testing

/// The form of a head that came by HTTP/2, and its limits.
@Suite struct HTTP2HeadTests {
    static func told(_ fields: [(String, String)], ends: Bool = true, limits: HeadLimits = HeadLimits()) -> Told? {
        var settings = HTTP2Settings()
        settings.head = limits
        let server = serverWithRawClient(settings)
        server.receive(RawFrame.headers(1, fields, ends: ends))
        return server.told.first
    }

    static func head(_ fields: [(String, String)], ends: Bool = true) -> HeadCopy? {
        told(plainRequest + fields, ends: ends)?.head
    }

    @Test func `it can be written as HTTP/1 lines`() throws {
        let server = serverWithRawClient()
        server.receive(
            RawFrame.headers(
                1, plainRequest + [("a", "1"), ("x_host", ""), ("cookie", "c=d"), ("b", ""), ("cookie", "e=f")]))
        let stream = try #require(server.streams[1])
        var out = ByteBuffer()
        HTTP1Writer.fields(of: stream.head, to: &out)
        let text = out.array()
        #expect(text == octets("a: 1\r\nx_host: \r\nb: \r\ncookie: c=d; e=f\r\n"))
    }

    @Test func `cookie crumbs become one field`() {
        #expect(
            Self.head([("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")])?.values("cookie") == ["a=b; c=d; e=f"])
        #expect(Self.head([("cookie", "a=b")])?.values("cookie") == ["a=b"])
    }

    @Test(arguments: ["content_length", "transfer_encoding", "x_forwarded_for", "authorization_", "host_"])
    func `a name that is another one in disguise is dropped as with HTTP 1`(name: String) {
        let asHTTP1 = requestWith("\(name): x").head?.kept.contains(TextField(name, "x"))
        #expect(Self.head([(name, "x")])?.kept.contains(TextField(name, "x")) == asHTTP1)
    }

    @Test func `the framing says how the content ends`() {
        #expect(Self.head([], ends: true)?.framing == BodyFraming.none)
        #expect(Self.head([], ends: false)?.framing == .chunked)
        #expect(Self.head([("content-length", "7")], ends: false)?.framing == .length(7))
    }

    @Test func `the flags are those of the fields`() {
        let always: MessageFlags = [.http2, .keepAlive]
        #expect(Self.head([])?.flags == always)
        #expect(Self.head([("expect", "100-continue")])?.flags == always.union(.expectsContinue))
        #expect(Self.head([("expect", "x")])?.flags == always.union(.unknownExpectation))
        #expect(Self.head([("te", "Trailers")])?.flags == always.union(.acceptsTrailers))
        #expect(Self.head([("date", "x")])?.flags == always.union(.hasDate))
    }

    @Test func `a response's flags are those of the fields`() {
        let client = clientWithRawServer()
        _ = client.request()
        client.receive(
            RawFrame.headers(1, [(":status", "401"), ("www-authenticate", "Bearer"), ("content_length", "1")]))
        let head = client.told.first?.head
        #expect(head?.flags == [.http2, .keepAlive, .challenge, .tokenChallenge])
        #expect(head?.kept.count == 2, "nothing is in disguise in a response")
    }

    @Test func `a length says nothing about a tunnel`() {
        let told = Self.told([(":method", "CONNECT"), (":authority", "a:1"), ("content-length", "5")], ends: false)
        #expect(told?.head?.framing == .chunked && told?.head?.kept == [] && told?.head?.target == "")
    }

    @Test func `only a WebSocket may be tunnelled by extended CONNECT`() {
        var settings = HTTP2Settings()
        settings.allowsConnectProtocol = true
        for (name, isRefused) in [("websocket", false), ("connect-udp", true)] {
            let server = serverWithRawClient(settings)
            server.receive(
                RawFrame.headers(
                    1,
                    [
                        (":method", "CONNECT"), (":protocol", name), (":scheme", "https"), (":path", "/"),
                        (":authority", "a"),
                    ], ends: false))
            #expect((server.told.first?.rejection != nil) == isRefused)
        }
    }

    @Test func `trailers that must not take effect late are dropped`() {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest, ends: false))
        server.receive(RawFrame.headers(1, [("x-sum", "1"), ("authorization", "x"), ("cookie", "y"), ("host", "z")]))
        #expect(server.told.last == .trailers(1, [TextField("x-sum", "1")]))
    }

    // MARK: - Limits

    static let limits = HeadLimits(targetBytes: 50, headBytes: 1000, fieldCount: 5)

    static func filled(_ count: Int, _ value: String = "v") -> [(String, String)] {
        (0..<count).map { ("x-\($0)", value) }
    }

    @Test func `what is at the limit is taken`() {
        let path = "/" + String(repeating: "p", count: 49)
        let told = Self.told(
            plainRequest.map { $0.0 == ":path" ? ($0.0, path) : $0 } + Self.filled(5), limits: Self.limits)
        #expect(told?.rejection == nil && told?.head?.target == path)
    }

    @Test func `a target above the limit`() {
        let path = "/" + String(repeating: "p", count: 50)
        let told = Self.told(plainRequest.map { $0.0 == ":path" ? ($0.0, path) : $0 }, limits: Self.limits)
        #expect(told?.rejection == .targetTooLong)
    }

    @Test func `more fields than the limit`() {
        let told = Self.told(plainRequest + Self.filled(6), limits: Self.limits)
        #expect(told?.rejection == .tooManyFields && told?.head?.fields.count == 5)
    }

    @Test func `more octets than the limit are not stored`() throws {
        var settings = HTTP2Settings()
        settings.head = Self.limits
        let server = serverWithRawClient(settings)
        server.receive(RawFrame.headers(1, plainRequest + Self.filled(3, String(repeating: "v", count: 400))))
        #expect(server.told.first?.rejection == .headTooLarge)
        let stream = try #require(server.streams[1])
        let stored = stream.head.arena.count
        #expect(stored < 1000 && stream.head.method == .get)
        server.respond(1, 431, ends: true)
        #expect(server.frames().map(\.type) == [1])
        #expect(server.session.failure == nil)
    }

    @Test func `a response above the limit is told`() {
        var settings = HTTP2Settings()
        settings.head = Self.limits
        let client = clientWithRawServer([], settings)
        _ = client.request()
        client.receive(RawFrame.headers(1, [(":status", "200")] + Self.filled(6)))
        #expect(client.told.first?.rejection == .tooManyFields)
    }

    @Test func `trailers above the limit are a malformed message`() {
        var settings = HTTP2Settings()
        settings.head = Self.limits
        let server = serverWithRawClient(settings)
        server.receive(RawFrame.headers(1, plainRequest, ends: false), RawFrame.headers(1, Self.filled(6)))
        #expect(server.told.last == .reset(1, code: 1, isRefused: false, isLocal: true))
        #expect(Peer.resetCode(server.frames(), 1) == 1)
        server.receive(RawFrame.headers(3, plainRequest))
        #expect(server.told.last?.head != nil)
    }
}
