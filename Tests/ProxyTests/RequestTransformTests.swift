import HTTP
import Proxy
import Testing

/// The head that goes upstream for a caller's head with these field lines beside Host.
func forwarded(
    _ fields: [String] = [], start: String = "GET /a HTTP/1.1", rule: RouteRule = rule(),
    upstream: UpstreamIdentity = upstream(), caller: String = "10.0.0.9", isIPv6: Bool = false,
    credential: Credential? = nil, upgrade: Bool = false, expectContinue: Bool = false
) -> [String] {
    var head = MessageHead()
    parseRequest(([start, "Host: gateway.test:8080"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
    RequestTransform.filter(&head, rule: rule)
    var out = ByteBuffer()
    RequestTransform.writeHTTP1(
        head, rule: rule, upstream: upstream, caller: CallerIdentity(address: octets(caller), isIPv6: isIPv6),
        credential: credential, upgrade: upgrade, expectContinue: expectContinue, to: &out)
    // A retry writes the same again: nothing may depend on how often.
    let first = lines(out)
    out.removeAll()
    RequestTransform.writeHTTP1(
        head, rule: rule, upstream: upstream, caller: CallerIdentity(address: octets(caller), isIPv6: isIPv6),
        credential: credential, upgrade: upgrade, expectContinue: expectContinue, to: &out)
    #expect(lines(out) == first)
    #expect(first.suffix(2) == ["", ""], "the head ends once")
    #expect(first.dropLast(2).allSatisfy { !$0.isEmpty })
    return first
}

@Suite struct RequestTransformTests {
    /// A rule that adds nothing of its own.
    static let plain = rule("/", grant: nil) {
        $0.via = false
        $0.forwarded = .off
    }

    @Test func `a request goes on with its fields in order and the upstream's host`() {
        let fields = ["X-One: 1", "Accept:  a/b ", "x-one: 2", "X-Empty:"]
        #expect(
            forwarded(fields, rule: Self.plain)
                == ["GET /a HTTP/1.1", "Host: api.example.com"] + fields + ["", ""])
    }

    @Test(arguments: [
        "Host2: kept", "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip",
        "Trailer: X-Sum", "Upgrade: h2c", "Proxy-Authorization: Basic seeded", "Proxy-Authenticate: Basic",
        "Proxy-Authentication-Info: x", "Expect: 100-continue", "Forwarded: for=evil", "X-Forwarded-For: evil",
        "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "Authorization: Basic seeded",
        "authorization: Basic seeded", "AUTHORIZATION: Basic seeded", "Cookie: seeded", "X_Forwarded_For: evil",
        "X-Forwarded_For: evil", "Content_Length: 3", "Transfer_Encoding: chunked", "Proxy_Authorization: seeded",
        "_Authorization: kept", "Authorization2: kept",
    ])
    func `what concerns the caller's connection, or says who it is, does not go on`(line: String) {
        let isKept = line.hasSuffix("kept")
        let sent = forwarded([line, "X-Other: 1"], rule: Self.plain)
        #expect(sent.contains(line) == isKept, "\(sent)")
        #expect(sent.contains("X-Other: 1"))
        #expect(isKept || sent == forwarded(["X-Other: 1"], rule: Self.plain))
    }

    @Test func `fields that Connection names are dropped, save framing, Host and the credential`() {
        let sent = forwarded(
            [
                "Connection: close, X-Hop , x-second", "X-Hop: 1", "x-HOP: 2", "X-Second: 3", "X-Third: 4",
                "Connection: content-length, host, authorization", "Content-Length: 3",
            ], start: "POST /a HTTP/1.1", rule: rule(), credential: bearer)
        #expect(sent.filter { $0.lowercased().hasPrefix("x-hop") || $0.hasPrefix("X-Second") }.isEmpty)
        #expect(sent.contains("X-Third: 4"))
        #expect(values("content-length", in: sent) == ["3"])
        #expect(values("host", in: sent) == ["api.example.com"])
        #expect(values("authorization", in: sent) == ["Bearer seeded-secret"])
        #expect(values("connection", in: sent) == [])
    }

    @Test(arguments: [
        ["Authorization: Basic a"], ["Authorization: Basic a", "authorization: Bearer b"], ["AuThOrIzAtIoN: x"], [],
        ["Connection: authorization", "Authorization: Basic a"],
    ])
    func `exactly one credential reaches the upstream`(fields: [String]) {
        for forwardsOwn in [false, true] {
            let rule = rule { $0.forwardAuthorization = forwardsOwn }
            let sent = forwarded(fields, rule: rule, credential: bearer)
            #expect(values("authorization", in: sent) == ["Bearer seeded-secret"])
        }
    }

    @Test(arguments: [
        "X-Api-Key: own", "x-api-key: own", "X_Api_Key: own", "X-Api_Key: own", "x_API-key: own",
    ])
    func `the caller's own field of the credential's name is dropped in every spelling`(line: String) {
        let credential = Credential(
            headerName: "X-Api-Key", headerValue: octets("ours"), generation: 1, expiry: .max)
        let rule = rule { $0.credentialHeader = octets("x-api-key") }
        let sent = forwarded(
            [line, "Authorization: Basic a", "X-Api-Keys: kept"], rule: rule, credential: credential)
        #expect(sent.filter { $0.hasSuffix(": own") }.isEmpty)
        #expect(values("x-api-key", in: sent) == ["ours"])
        #expect(values("authorization", in: sent) == [])
        #expect(values("x-api-keys", in: sent) == ["kept"])
    }

    @Test(arguments: ["x_api_key", "x-api-key"], ["X_Api_Key: own", "X-Api-Key: own"])
    func `a credential whose name has an underscore is protected as well`(name: String, line: String) {
        let rule = rule { $0.credentialHeader = octets(name) }
        #expect(!forwarded([line], rule: rule).contains(line))
    }

    @Test(arguments: ["X-Api-Key: own", "x_api_key: own", "Authorization: own", "Cookie: own", "X-Sum: kept"])
    func `a trailer section brings no second credential`(line: String) {
        let rule = rule { $0.credentialHeader = octets("x-api-key") }
        var trailers = MessageHead()
        var decoder = BodyDecoder()
        decoder.begin(.chunked)
        _ = octets("0\r\n\(line)\r\n\r\n").withUnsafeBytes { decoder.decode($0, trailers: &trailers) }
        #expect(decoder.isDone && trailers.fields.count == 1)
        RequestTransform.filterTrailers(&trailers, rule: rule)
        var out = ByteBuffer()
        HTTP1Writer.lastChunk(trailers: trailers, to: &out)
        #expect(lines(out).contains(line) == line.hasSuffix("kept"))
    }

    @Test func `without a grant the caller's authorization and cookie go on where the route says so`() {
        let rule = rule("/", grant: nil) {
            $0.forwardAuthorization = true
            $0.forwardCookies = true
        }
        let sent = forwarded(["Authorization: Basic a", "Cookie: b", "Cookie: c"], rule: rule)
        #expect(values("authorization", in: sent) == ["Basic a"])
        #expect(values("cookie", in: sent) == ["b", "c"])
    }

    @Test func `Via is kept in order and ours comes last`() {
        let sent = forwarded(["Via: 1.0 first", "X-A: b", "Via: 1.1 second, 1.1 third"])
        #expect(values("via", in: sent) == ["1.0 first", "1.1 second, 1.1 third", "1.1 token-gateway"])
        let old = forwarded(start: "GET /a HTTP/1.0")
        #expect(values("via", in: old) == ["1.0 token-gateway"])
        #expect(values("via", in: forwarded(["Via: 1.0 first"], rule: Self.plain)) == ["1.0 first"])
    }

    static let spoofed = [
        "X-Forwarded-For: evil", "X-Forwarded-For: evil2", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
        "Forwarded: for=evil", "X-Forwarded-Port: 1",
    ]

    @Test(arguments: [
        ("10.0.0.9", false, ["10.0.0.9"]), ("2001:db8::1", true, ["2001:db8::1"]), ("", false, []),
    ])
    func `X-Forwarded fields are replaced`(caller: String, isIPv6: Bool, addresses: [String]) {
        let rule = rule { $0.forwarded = .xForwarded }
        let sent = forwarded(Self.spoofed, rule: rule, caller: caller, isIPv6: isIPv6)
        #expect(values("x-forwarded-for", in: sent) == addresses)
        #expect(values("x-forwarded-proto", in: sent) == ["http"])
        #expect(values("x-forwarded-host", in: sent) == ["gateway.test:8080"])
        #expect(!sent.contains { $0.contains("evil") } && values("forwarded", in: sent) == [])
    }

    @Test(arguments: [
        ("10.0.0.9", false, "for=10.0.0.9"), ("2001:db8::1", true, "for=\"[2001:db8::1]\""), ("", false, "for=unknown"),
    ])
    func `Forwarded is replaced`(caller: String, isIPv6: Bool, node: String) {
        let rule = rule { $0.forwarded = .rfc7239 }
        let sent = forwarded(Self.spoofed, rule: rule, caller: caller, isIPv6: isIPv6)
        #expect(values("forwarded", in: sent) == [node + ";proto=http;host=\"gateway.test:8080\""])
        #expect(!sent.contains { $0.contains("evil") || $0.hasPrefix("X-Forwarded") })
    }

    @Test func `without a host nothing is said about it`() {
        for style in [ForwardedStyle.xForwarded, .rfc7239] {
            var head = MessageHead()
            parseRequest("GET / HTTP/1.0\r\n\r\n", into: &head)
            var out = ByteBuffer()
            RequestTransform.writeHTTP1(
                head, rule: rule { $0.forwarded = style }, upstream: upstream(),
                caller: CallerIdentity(address: octets("10.0.0.9"), isIPv6: false), credential: nil, upgrade: false,
                expectContinue: false, to: &out)
            #expect(!lines(out).contains { $0.contains("host=") || $0.hasPrefix("X-Forwarded-Host") })
        }
    }

    @Test(arguments: [
        ("GET", [], []), ("HEAD", [], []), ("DELETE", [], []), ("OPTIONS", [], []), ("POST", [], ["Content-Length: 0"]),
        ("PUT", [], ["Content-Length: 0"]), ("PATCH", [], ["Content-Length: 0"]), ("FOO", [], []),
        ("GET", ["Content-Length: 5"], ["Content-Length: 5"]), ("DELETE", ["Content-Length: 0"], ["Content-Length: 0"]),
        ("POST", ["Content-Length: 5", "content-length: 5"], ["Content-Length: 5"]),
        ("POST", ["Content-Length: 005"], ["Content-Length: 5"]),
        ("GET", ["Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked"]),
        ("POST", ["transfer-encoding: Chunked", "Trailer: x"], ["Transfer-Encoding: chunked"]),
        ("POST", ["Connection: transfer-encoding", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked"]),
    ])
    func `the framing is written anew, once`(method: String, fields: [String], framing: [String]) {
        let sent = forwarded(fields, start: "\(method) /a HTTP/1.1", rule: Self.plain)
        #expect(sent == ["\(method) /a HTTP/1.1", "Host: api.example.com"] + framing + ["", ""])
    }

    @Test func `trailers, an expectation and an upgrade are asked for anew`() {
        let sent = forwarded(["TE: trailers, gzip", "Connection: TE"], rule: Self.plain)
        #expect(values("te", in: sent) == ["trailers"] && values("connection", in: sent) == ["TE"])
        let fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "TE: trailers"]
        let upgraded = forwarded(fields, rule: Self.plain, upgrade: true)
        #expect(values("connection", in: upgraded) == ["Upgrade"] && values("upgrade", in: upgraded) == ["websocket"])
        #expect(values("sec-websocket-key", in: upgraded) == ["x"] && values("te", in: upgraded) == [])
        #expect(values("upgrade", in: forwarded(fields, rule: Self.plain)) == [])
        let body = ["Expect: 100-continue", "Content-Length: 3"]
        let asking = forwarded(body, start: "POST /a HTTP/1.1", rule: Self.plain, expectContinue: true)
        #expect(values("expect", in: asking) == ["100-continue"])
        #expect(values("expect", in: forwarded(body, start: "POST /a HTTP/1.1", rule: Self.plain)) == [])
    }

    @Test(arguments: [
        ("/crm/", "/crm", "", "/crm/a", "/a"), ("/crm/", "/crm", "", "/crm/", "/"),
        ("/crm/", "/crm", "", "/crm/?q=/crm/", "/?q=/crm/"), ("/crm", "/crm", "", "/crm", "/"),
        ("/crm", "/crm", "", "/crm?a=b", "/?a=b"), ("/crm", "/crm", "", "/crm?", "/?"),
        ("/crm/", "", "", "/crm/a?b", "/crm/a?b"), ("/crm/", "", "/v1", "/crm/a", "/v1/crm/a"),
        ("/crm/", "/crm", "/v1", "/crm/a?b=c", "/v1/a?b=c"), ("/crm", "/crm", "/v1", "/crm", "/v1/"),
        ("/crm", "/crm", "/v1", "/crm?x", "/v1/?x"), ("/a/b/", "/a", "", "/a/b/c", "/b/c"),
        ("/crm/", "/crm", "", "/crm/%41;b=c", "/%41;b=c"), ("/", "", "", "/", "/"), ("/", "", "/v1", "/", "/v1/"),
        ("/", "", "", "http://gateway.test", "/"), ("/", "", "/v1", "http://gateway.test?x", "/v1/?x"),
        ("/crm/", "/crm", "", "http://gateway.test/crm/a?b", "/a?b"),
    ])
    func `the target is the caller's without the prefix and with the base path`(
        path: String, strip: String, base: String, target: String, expected: String
    ) {
        let rule = rule(path) { $0.stripPrefix = octets(strip) }
        let sent = forwarded(start: "GET \(target) HTTP/1.1", rule: rule, upstream: upstream(base: base))
        #expect(sent.first == "GET \(expected) HTTP/1.1")
    }

    @Test func `a path that would begin like an authority is not made by taking the prefix off`() {
        let rule = rule("/crm/") { $0.stripPrefix = octets("/crm") }
        let sent = forwarded(start: "GET /crm//evil.test/x?y HTTP/1.1", rule: rule)
        #expect(sent.first == "GET /evil.test/x?y HTTP/1.1")
        let based = forwarded(start: "GET /crm//x HTTP/1.1", rule: rule, upstream: upstream(base: "/v1"))
        #expect(based.first == "GET /v1//x HTTP/1.1", "behind a base path it cannot be taken for one")
    }

    @Test(arguments: [
        // strip_prefix, base path, segment, target, what goes upstream
        ("/zoho", "", 2, "/zoho/acme/crm/v8?q=/acme", "/crm/v8?q=/acme"), ("/zoho", "", 2, "/zoho/acme", "/"),
        ("/zoho", "", 2, "/zoho/acme/", "/"), ("/zoho", "", 2, "/zoho/acme?x", "/?x"),
        ("/zoho", "/v1", 2, "/zoho/acme/a", "/v1/a"), ("/zoho", "/v1", 2, "/zoho/acme", "/v1/"),
        ("", "", 2, "/zoho/acme/a", "/zoho/a"), ("", "", 2, "/zoho/acme?x=1", "/zoho?x=1"),
        ("", "/v1", 2, "/zoho/acme", "/v1/zoho"), ("/zoho", "", 3, "/zoho/shops/acme/a", "/shops/a"),
        ("/zoho", "", 2, "/zoho/%61cme/%62", "/%62"), ("/zoho", "", 2, "http://gateway.test/zoho/acme/a", "/a"),
        // Never the beginning of an authority.
        ("/zoho", "", 2, "/zoho/acme//evil.test/x", "/evil.test/x"), ("", "", 2, "/zoho/acme//x", "/zoho//x"),
    ])
    func `the segment that names the grant is taken out of the path where the route says so`(
        strip: String, base: String, segment: Int, target: String, expected: String
    ) {
        var rule = rule("/zoho/") {
            $0.stripPrefix = octets(strip)
            $0.grantSelection = .template(0, .pathSegment(segment))
        }
        let kept = forwarded(start: "GET \(target) HTTP/1.1", rule: rule, upstream: upstream(base: base)).first
        #expect(kept?.contains("cme") == true)
        rule.removesGrantSegment = true
        let sent = forwarded(start: "GET \(target) HTTP/1.1", rule: rule, upstream: upstream(base: base))
        #expect(sent.first == "GET \(expected) HTTP/1.1")
    }

    @Test func `no segment is taken out where another thing names the grant`() {
        let rule = rule("/zoho/") {
            $0.grantSelection = .template(0, .caller)
            $0.removesGrantSegment = true
        }
        #expect(rule.removedGrantSegment == 0)
        #expect(forwarded(start: "GET /zoho/a HTTP/1.1", rule: rule).first == "GET /zoho/a HTTP/1.1")
    }

    @Test func `an asterisk stays alone`() {
        let sent = forwarded(start: "OPTIONS * HTTP/1.1", upstream: upstream(base: "/v1"))
        #expect(sent.first == "OPTIONS * HTTP/1.1")
    }

    @Test func `an absolute target does not choose the host`() {
        let sent = forwarded(start: "GET http://evil.test:99/a HTTP/1.1", rule: Self.plain)
        #expect(sent == ["GET /a HTTP/1.1", "Host: api.example.com", "", ""])
    }

    @Test func `a credential does not show its secret`() {
        #expect(!"\(bearer) \(String(reflecting: bearer))".contains("secret"))
        var text = ""
        dump(bearer, to: &text)
        #expect(!text.contains("secret") && !text.contains("115"))
        #expect(bearer.headerLine == octets("Authorization: Bearer seeded-secret\r\n"))
        #expect(bearer.headerName == octets("authorization"))
    }
}
