import CAllocationCounter
import Foundation
import HTTP
import Proxy
import Testing

/// An upstream's or a caller's connection: what is written to it is read again.
private struct Wire: ~Copyable {
    var encoder = HPACKEncoder()
    var decoder = HPACKDecoder()
    var out = ByteBuffer()

    /// The block's fields as lines.
    mutating func read() throws -> [String] {
        let block = out.array()
        out.removeAll()
        return try decoder.decode(block).map { "\($0.name): \($0.value)" }
    }

    mutating func write(
        _ head: borrowing MessageHead, rule: RouteRule, upstream: UpstreamIdentity, caller: CallerIdentity,
        credential: Credential?, upgrade: Bool = false, expectContinue: Bool = false
    ) throws -> [String] {
        RequestTransform.writeHTTP2(
            head, rule: rule, upstream: upstream, caller: caller, credential: credential, upgrade: upgrade,
            expectContinue: expectContinue, encoder: &encoder, to: &out)
        return try read()
    }
}

/// As a head that came by HTTP/2 stands after the session.
private func request(_ fields: [String], start: String, isHTTP2: Bool, into head: inout MessageHead) {
    parseRequest(([start, "Host: gateway.test:8080"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
    if isHTTP2 { head.flags.insert(.http2) }
}

private func extendedConnect(_ fields: [String], into head: inout MessageHead) {
    request(fields, start: "GET /chat HTTP/1.1", isHTTP2: true, into: &head)
    head.method = .connect
    head.methodText = octets("CONNECT").withUnsafeBytes { head.store($0) }
    head.flags.insert(.webSocket)
    head.framing = .chunked
}

private let somebody = CallerIdentity(address: octets("10.0.0.9"), isIPv6: false)

/// The block that goes upstream.
private func forwarded2(
    _ fields: [String] = [], start: String = "GET /a HTTP/1.1", rule: RouteRule = RequestTransformTests.plain,
    upstream: UpstreamIdentity = upstream(), caller: CallerIdentity = somebody, isHTTP2: Bool = false,
    credential: Credential? = nil, upgrade: Bool = false, expectContinue: Bool = false
) throws -> [String] {
    var head = MessageHead()
    request(fields, start: start, isHTTP2: isHTTP2, into: &head)
    RequestTransform.filter(&head, rule: rule)
    var wire = Wire()
    let first = try wire.write(
        head, rule: rule, upstream: upstream, caller: caller, credential: credential, upgrade: upgrade,
        expectContinue: expectContinue)
    for _ in 0..<3 {
        let again = try wire.write(
            head, rule: rule, upstream: upstream, caller: caller, credential: credential, upgrade: upgrade,
            expectContinue: expectContinue)
        #expect(again == first, "what the table holds makes no difference")
    }
    return first
}

@Suite struct HTTP2RequestTests {
    @Test func `a request begins with its pseudo-fields and goes on with its fields in order`() throws {
        let sent = try forwarded2(["X-One: 1", "Accept:  a/b ", "x-one: 2", "X-Empty:"])
        #expect(
            sent == [
                ":method: GET", ":scheme: https", ":authority: api.example.com", ":path: /a", "x-one: 1",
                "accept: a/b", "x-one: 2", "x-empty: ",
            ])
        #expect(try forwarded2(upstream: upstream(plaintext: true))[1] == ":scheme: http")
    }

    static let samples: [[String]] = [
        [], ["Connection: keep-alive, X-Hop", "X-Hop: 1", "X-A: b"], ["TE: trailers", "Connection: TE"],
        ["TE: gzip", "Keep-Alive: timeout=5", "Proxy-Connection: x", "Upgrade: h2c"],
        ["Authorization: Basic own", "Cookie: a=b", "Proxy-Authorization: x"], ["X-Forwarded-For: evil", "Via: 1.0 a"],
        ["Forwarded: for=evil", "X-Forwarded-Proto: evil", "X_Forwarded_For: evil"], ["Content-Length: 5"],
        ["Transfer-Encoding: chunked", "Trailer: X-Sum"], ["Expect: 100-continue", "Content-Length: 1"],
        ["grpc-timeout: 1S", "TE: trailers", "Content-Type: application/grpc", "grpc-encoding: gzip"],
    ]
    static let rules: [RouteRule] = [
        rule(), rule("/", grant: nil), rule { $0.forwarded = .rfc7239 }, rule { $0.via = false },
        rule("/a/") { $0.stripPrefix = octets("/a") }, RequestTransformTests.plain,
    ]

    @Test(arguments: samples, 0..<rules.count)
    func `both versions send the same fields on`(fields: [String], index: Int) throws {
        for (start, base) in [("GET /a/b?c HTTP/1.1", ""), ("POST /a/ HTTP/1.1", "/v1"), ("PUT /a//x HTTP/1.1", "")] {
            let rule = Self.rules[index]
            let identity = upstream(base: base)
            let old = forwarded(fields, start: start, rule: rule, upstream: identity, credential: bearer)
            let new = try forwarded2(fields, start: start, rule: rule, upstream: identity, credential: bearer)
            let foreign = ["host:", "connection:", "transfer-encoding:", "te:"]
            let expected = old.dropFirst().filter { !$0.isEmpty }
                .map { line -> String in
                    let colon = line.firstIndex(of: ":")!
                    let value = line[line.index(after: colon)...].drop { $0 == " " }
                    return line[..<colon].lowercased() + ": " + value
                }
                .filter { line in !foreign.contains { line.hasPrefix($0) } }
            #expect(new.filter { !$0.hasPrefix(":") && !$0.hasPrefix("te:") } == expected)
            let target = old[0].split(separator: " ")[1]
            #expect(new.contains(":path: \(target)"))
            #expect(new.contains("te: trailers") == old.contains("TE: trailers"))
        }
    }

    @Test(arguments: [
        "Connection: x", "Keep-Alive: x", "Proxy-Connection: x", "Transfer-Encoding: chunked", "Upgrade: h2c",
        "TE: gzip", "Host: second",
    ])
    func `what concerns a connection never goes on, even if no filter has seen it`(line: String) throws {
        var head = MessageHead()
        request(["X-A: b"], start: "GET / HTTP/1.1", isHTTP2: false, into: &head)
        let colon = try #require(line.firstIndex(of: ":"))
        let name = octets(String(line[..<colon])).withUnsafeBytes { head.store($0) }
        let id = FieldID.find(head.bytes(name))
        #expect(id != .other)
        head.fields.append(Field(id: id, name: name, value: octets("x").withUnsafeBytes { head.store($0) }))
        var wire = Wire()
        let sent = try wire.write(
            head, rule: RequestTransformTests.plain, upstream: upstream(), caller: somebody, credential: nil)
        #expect(sent.dropFirst(4) == ["x-a: b"])
    }

    @Test func `te says trailers and nothing else`() throws {
        #expect(try forwarded2(["TE: trailers, gzip", "Connection: TE"]).last == "te: trailers")
        #expect(try !forwarded2(["TE: gzip"]).contains { $0.hasPrefix("te:") })
    }

    @Test(arguments: [
        ("POST", [], ["content-length: 0"]), ("GET", [], []), ("POST", ["Content-Length: 5"], ["content-length: 5"]),
        ("POST", ["Transfer-Encoding: chunked"], []), ("DELETE", ["Content-Length: 0"], ["content-length: 0"]),
    ])
    func `a known length is said`(method: String, fields: [String], expected: [String]) throws {
        #expect(Array(try forwarded2(fields, start: "\(method) / HTTP/1.1").dropFirst(4)) == expected)
    }

    @Test func `an expectation is asked for anew`() throws {
        let fields = ["Expect: 100-continue", "Content-Length: 1"]
        #expect(try forwarded2(fields, start: "PUT / HTTP/1.1", expectContinue: true).last == "expect: 100-continue")
        #expect(try !forwarded2(fields, start: "PUT / HTTP/1.1").contains { $0.hasPrefix("expect") })
    }

    @Test func `an asterisk and a long path stay whole`() throws {
        #expect(try forwarded2(start: "OPTIONS * HTTP/1.1", upstream: upstream(base: "/v1"))[3] == ":path: *")
        let path = "/" + String(repeating: "p", count: 5000)
        #expect(try forwarded2(start: "GET \(path) HTTP/1.1")[3] == ":path: \(path)")
    }

    // MARK: What both writers say of the caller

    @Test(arguments: [(false, "1.1"), (true, "2.0")])
    func `Via names the version that the request came by`(isHTTP2: Bool, version: String) throws {
        let sent = try forwarded2(rule: rule { $0.forwarded = .off }, isHTTP2: isHTTP2)
        #expect(sent.last == "via: \(version) token-gateway")
        var head = MessageHead()
        request([], start: "GET / HTTP/1.1", isHTTP2: isHTTP2, into: &head)
        var out = ByteBuffer()
        RequestTransform.writeHTTP1(
            head, rule: rule(), upstream: upstream(), caller: somebody, credential: nil, upgrade: false,
            expectContinue: false, to: &out)
        #expect(values("via", in: lines(out)) == ["\(version) token-gateway"])
    }

    @Test(arguments: [(false, "http"), (true, "https")])
    func `the scheme that the caller used is said`(isTLS: Bool, scheme: String) throws {
        let caller = CallerIdentity(address: octets("2001:db8::1"), isIPv6: true, isTLS: isTLS)
        let sent = try forwarded2(rule: rule { $0.via = false }, caller: caller)
        #expect(
            sent.dropFirst(4) == [
                "x-forwarded-for: 2001:db8::1", "x-forwarded-proto: \(scheme)", "x-forwarded-host: gateway.test:8080",
            ])
        var styled = rule { $0.forwarded = .rfc7239 }
        styled.via = false
        let expected = "for=\"[2001:db8::1]\";proto=\(scheme);host=\"gateway.test:8080\""
        #expect(try forwarded2(rule: styled, caller: caller).last == "forwarded: \(expected)")
        var head = MessageHead()
        request([], start: "GET / HTTP/1.1", isHTTP2: false, into: &head)
        for rule in [rule(), styled] {
            var out = ByteBuffer()
            RequestTransform.writeHTTP1(
                head, rule: rule, upstream: upstream(), caller: caller, credential: nil, upgrade: false,
                expectContinue: false, to: &out)
            let said = values("x-forwarded-proto", in: lines(out)) + values("forwarded", in: lines(out))
            #expect(said == [rule.forwarded == .xForwarded ? scheme : expected])
        }
    }

    // MARK: Credentials

    @Test func `a credential is sent whole once and then as one octet`() throws {
        let long = Credential(
            headerName: "Authorization", headerValue: octets("Bearer " + String(repeating: "s", count: 1200)),
            generation: 1, expiry: .max)
        var head = MessageHead()
        request([], start: "GET / HTTP/1.1", isHTTP2: false, into: &head)
        var wire = Wire()
        var sizes: [Int] = []
        for _ in 0..<3 {
            RequestTransform.writeHTTP2(
                head, rule: RequestTransformTests.plain, upstream: upstream(), caller: somebody, credential: long,
                upgrade: false, expectContinue: false, encoder: &wire.encoder, to: &wire.out)
            sizes.append(wire.out.count)
            let sent = try wire.read()
            #expect(sent.last == "authorization: Bearer " + String(repeating: "s", count: 1200))
        }
        #expect(sizes[0] > 1200 && sizes[1] < 30 && sizes[2] == 5, "\(sizes)")
        let next = try wire.write(
            head, rule: RequestTransformTests.plain, upstream: upstream(), caller: somebody, credential: bearer)
        #expect(next.last == "authorization: Bearer seeded-secret")
    }

    @Test func `credentials have keys of their own, and the value stands in the line`() {
        let twins = (0..<2).map { _ in
            Credential(headerName: "X-Key", headerValue: octets("v"), generation: 1, expiry: .max)
        }
        #expect(twins[0].key != twins[1].key)
        #expect(twins[0].withHeaderValue { Array($0) } == octets("v"))
        #expect(bearer.withHeaderValue { Array($0) } == octets("Bearer seeded-secret"))
        let empty = Credential(headerName: "X-Key", headerValue: [], generation: 1, expiry: .max)
        #expect(empty.withHeaderValue { $0.count } == 0)
    }

    // MARK: WebSocket

    @Test func `an upgrade goes on as an extended CONNECT without a key`() throws {
        let fields = [
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13",
            "TE: trailers",
        ]
        let sent = try forwarded2(fields, start: "GET /chat?a HTTP/1.1", upgrade: true)
        #expect(
            sent == [
                ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: api.example.com",
                ":path: /chat?a", "sec-websocket-version: 13",
            ])
    }

    @Test func `an extended CONNECT goes on as one, or as an upgrade with a key of ours`() throws {
        let plain = RequestTransformTests.plain
        var head = MessageHead()
        extendedConnect(["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: theirs"], into: &head)
        RequestTransform.filter(&head, rule: plain)
        var wire = Wire()
        let sent = try wire.write(
            head, rule: plain, upstream: upstream(), caller: somebody, credential: nil, upgrade: true)
        #expect(
            sent == [
                ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: api.example.com",
                ":path: /chat", "sec-websocket-version: 13",
            ])
        var out = ByteBuffer()
        RequestTransform.writeHTTP1(
            head, rule: plain, upstream: upstream(), caller: somebody, credential: nil, upgrade: true,
            expectContinue: false, webSocketKey: octets("ours=="), to: &out)
        #expect(
            lines(out) == [
                "GET /chat HTTP/1.1", "Host: api.example.com", "Sec-WebSocket-Version: 13", "Connection: Upgrade",
                "Upgrade: websocket", "Sec-WebSocket-Key: ours==", "", "",
            ])
    }
}

@Suite struct HTTP2ResponseTests {
    private func returned2(
        _ fields: [String], status: String = "200 OK", contentLength: UInt64? = nil, retrySkipped: Bool = false
    ) throws -> [String] {
        var head = MessageHead()
        parseResponse((["HTTP/1.1 \(status)"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
        ResponseTransform.filter(&head)
        var wire = Wire()
        ResponseTransform.writeHTTP2(
            head, date: octets(someDate), retrySkipped: retrySkipped, contentLength: contentLength,
            encoder: &wire.encoder, to: &wire.out)
        return try wire.read()
    }

    @Test func `a response has a status, its fields and a date, and no word of a connection`() throws {
        let fields = [
            "Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: x", "Transfer-Encoding: chunked", "Set-Cookie: a",
            "Upgrade: h2c", "Set-Cookie: b", "Grpc-Status: 0", "Token-Gateway-Retry: theirs",
        ]
        #expect(
            try returned2(fields, status: "401 Go Away")
                == [":status: 401", "set-cookie: a", "set-cookie: b", "grpc-status: 0", "date: \(someDate)"])
    }

    @Test func `a date is not said twice, the length and a skipped retry are said`() throws {
        #expect(
            try returned2(["Date: theirs", "Content-Length: 5"], contentLength: 5, retrySkipped: true)
                == [
                    ":status: 200", "date: theirs", "content-length: 5", "token-gateway-retry: skipped; reason=body",
                ])
    }

    @Test func `what a 304 says of the length goes on`() throws {
        let sent = try returned2(["Date: x", "Content-Length: 5"], status: "304 Not Modified")
        #expect(sent == [":status: 304", "date: x", "content-length: 5"])
    }

    @Test func `an upgrade becomes the 200 of an extended CONNECT`() throws {
        let fields = [
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: x", "Sec-WebSocket-Protocol: chat",
            "Date: x",
        ]
        #expect(
            try returned2(fields, status: "101 Switching Protocols", contentLength: 1)
                == [":status: 200", "sec-websocket-protocol: chat", "date: x"])
    }

    @Test func `the 200 of an extended CONNECT becomes an upgrade`() {
        var head = MessageHead()
        parseResponse("HTTP/1.1 200 OK\r\nSec-WebSocket-Protocol: chat\r\n\r\n", into: &head)
        ResponseTransform.filter(&head)
        var out = ByteBuffer()
        ResponseTransform.writeSwitch(head, accept: octets("proof="), to: &out)
        #expect(
            lines(out) == [
                "HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Protocol: chat", "Connection: Upgrade",
                "Upgrade: websocket", "Sec-WebSocket-Accept: proof=", "", "",
            ])
    }

    @Test func `an informational response is its status and its fields`() throws {
        var head = MessageHead()
        parseResponse("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n", into: &head)
        ResponseTransform.filter(&head)
        var wire = Wire()
        ResponseTransform.writeInformationalHTTP2(head, encoder: &wire.encoder, to: &wire.out)
        #expect(try wire.read() == [":status: 103", "link: </a>"])
    }

    @Test(arguments: GatewayError.allCases)
    func `both versions give the same problem`(error: GatewayError) throws {
        for withBody in [true, false] {
            var old = ByteBuffer()
            ProblemResponse.writeHTTP1(
                error, reason: "because", requestID: 0xABC1, grant: "crm", retryAfter: 17, date: octets(someDate),
                keepAlive: true, withBody: withBody, to: &old)
            let text = String(decoding: old.array(), as: UTF8.self)
            let end = try #require(text.range(of: "\r\n\r\n"))
            var wire = Wire()
            var body = ByteBuffer()
            body.append("of an earlier use")
            ProblemResponse.writeHTTP2(
                error, reason: "because", requestID: 0xABC1, grant: "crm", retryAfter: 17, date: octets(someDate),
                withBody: withBody, encoder: &wire.encoder, to: &wire.out, body: &body)
            #expect(String(decoding: body.array(), as: UTF8.self) == text[end.upperBound...])
            let oldFields = text[..<end.lowerBound].components(separatedBy: "\r\n").dropFirst()
            let expected = oldFields.map { line in
                let colon = line.firstIndex(of: ":")!
                return line[..<colon].lowercased() + line[colon...]
            }
            #expect(try wire.read() == [":status: \(error.status)"] + expected)
        }
    }
}

@Suite struct HTTP2CostTests {
    @Test(.enabled(if: CostTests.countsAllocations))
    func `writing the same request and response a thousand times allocates nothing`() {
        var steady = SteadyWriting()
        for _ in 0..<10 { steady.run() }
        let before = allocations_of_this_thread()
        for _ in 0..<1000 { steady.run() }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations <= 1000 * CostTests.closuresOnHeap)
    }
}

private struct SteadyWriting: ~Copyable {
    var upstreamEncoder = HPACKEncoder()
    var callerEncoder = HPACKEncoder()
    var out = ByteBuffer(capacity: 4096)
    var asked = MessageHead()
    var answered = MessageHead()
    let rule = Proxy.RouteRule(name: "a", path: .prefix([0x2F]), upstream: 0, grant: 0)
    let identity = upstream(base: "/v1")
    let date = octets(someDate)

    init() {
        let fields = ["User-Agent: x/1", "Accept: */*", "TE: trailers", "Content-Length: 5", "X-Tenant: a"]
        request(fields, start: "POST /a/b?c HTTP/1.1", isHTTP2: true, into: &asked)
        RequestTransform.filter(&asked, rule: rule)
        parseResponse("HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n", into: &answered)
        ResponseTransform.filter(&answered)
    }

    mutating func run() {
        out.removeAll()
        RequestTransform.writeHTTP2(
            asked, rule: rule, upstream: identity, caller: somebody, credential: bearer, upgrade: false,
            expectContinue: false, encoder: &upstreamEncoder, to: &out)
        ResponseTransform.writeHTTP2(
            answered, date: date, retrySkipped: false, contentLength: 5, encoder: &callerEncoder, to: &out)
    }
}
