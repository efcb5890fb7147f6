import HTTP
import Proxy
import Testing

let someDate = "Thu, 01 Jan 1970 00:00:00 GMT"

/// The head that goes to the caller for an upstream's head with these field lines.
func returned(
    _ fields: [String] = [], status: String = "200 OK", to method: HTTP.Method = .get, callerMinorVersion: UInt8 = 1,
    rule: RouteRule = rule(), upstream: UpstreamIdentity = upstream(), keepAlive: Bool = true,
    retrySkipped: Bool = false
) -> [String] {
    var head = MessageHead()
    parseResponse(
        (["HTTP/1.1 \(status)"] + fields + ["", ""]).joined(separator: "\r\n"), to: method, into: &head)
    let framing = ResponseTransform.framing(head, requestMethod: method, callerMinorVersion: callerMinorVersion)
    ResponseTransform.filter(&head)
    ResponseTransform.rewriteLocation(&head, rule: rule, upstream: upstream)
    var out = ByteBuffer()
    ResponseTransform.writeHTTP1(
        head, framing: framing, callerMinorVersion: callerMinorVersion, keepAlive: keepAlive,
        date: octets(someDate), retrySkipped: retrySkipped, to: &out)
    let written = lines(out)
    #expect(written.suffix(2) == ["", ""], "the head ends once")
    #expect(written.dropLast(2).allSatisfy { !$0.isEmpty })
    return written
}

@Suite struct ResponseTransformTests {
    @Test(arguments: [
        (HTTP.Method.get, "200 OK", ["Content-Length: 5"], UInt8(1), ["Content-Length: 5"]),
        (.get, "200 OK", ["Content-Length: 5", "content-length: 5"], 1, ["Content-Length: 5"]),
        (.get, "200 OK", ["Content-Length: 5"], 0, ["Content-Length: 5"]),
        (.get, "200 OK", ["Transfer-Encoding: chunked"], 1, ["Transfer-Encoding: chunked"]),
        (.get, "200 OK", ["Transfer-Encoding: chunked"], 0, []),
        (.get, "200 OK", [], 1, ["Transfer-Encoding: chunked"]), (.get, "200 OK", [], 0, []),
        (.head, "200 OK", ["Content-Length: 5"], 1, ["Content-Length: 5"]),
        (.head, "200 OK", ["Transfer-Encoding: chunked"], 1, []), (.head, "200 OK", [], 1, []),
        (.get, "304 Not Modified", ["Content-Length: 5"], 1, ["Content-Length: 5"]),
        (.get, "304 Not Modified", [], 1, []), (.get, "204 No Content", ["Content-Length: 0"], 1, []),
        (.head, "204 No Content", ["Content-Length: 5"], 1, []), (.get, "204 No Content", [], 0, []),
        (.get, "200 OK", ["Connection: content-length", "Content-Length: 5"], 1, ["Content-Length: 5"]),
        (.post, "401 Unauthorized", ["Content-Length: 0"], 1, ["Content-Length: 0"]),
    ])
    func `the content is framed as the caller understands it, once`(
        method: HTTP.Method, status: String, fields: [String], callerMinorVersion: UInt8, framing: [String]
    ) {
        let written = returned(
            ["Date: x"] + fields, status: status, to: method, callerMinorVersion: callerMinorVersion)
        let ends = callerMinorVersion == 0 ? ["Connection: keep-alive"] : []
        #expect(written == ["HTTP/1.1 \(status)", "Date: x"] + framing + ends + ["", ""])
    }

    @Test(arguments: [
        "Connection: close", "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
        "Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x", "Upgrade: h2c", "Trailer: X", "TE: trailers",
        "Token-Gateway-Error: no_route", "Token-Gateway-Retry: skipped; reason=body",
        "token-gateway-retry: skipped; reason=body", "WWW-Authenticate: Bearer kept", "Set-Cookie: kept",
        "Via: kept", "Server: kept", "Retry-After: kept", "Authorization: kept", "X-Forwarded-For: kept",
        "X_Forwarded_For: kept",
    ])
    func `what concerns the upstream's connection, or would be taken for ours, does not go on`(line: String) {
        let written = returned([line, "X-A: b"])
        #expect(written.contains(line) == line.hasSuffix("kept"), "\(written)")
        #expect(written.contains("X-A: b"))
    }

    @Test func `fields that Connection names are dropped`() {
        let written = returned(["Connection: x-hop, Set-Cookie", "X-Hop: 1", "Set-Cookie: a", "X-A: b"])
        #expect(values("x-hop", in: written) == [] && values("set-cookie", in: written) == [])
        #expect(values("x-a", in: written) == ["b"])
    }

    @Test func `cookies stay apart and in order`() {
        let fields = ["Set-Cookie: a=1", "X-A: b", "set-cookie: c=2, d", "Keep-Alive: x", "Set-Cookie: a=3"]
        #expect(values("set-cookie", in: returned(fields)) == ["a=1", "c=2, d", "a=3"])
    }

    @Test func `a response without a date gets one, and no second`() {
        #expect(values("date", in: returned()) == [someDate])
        #expect(values("date", in: returned(["Date: theirs"])) == ["theirs"])
    }

    @Test func `the caller is told what becomes of its connection`() {
        #expect(values("connection", in: returned()) == [])
        #expect(values("connection", in: returned(keepAlive: false)) == ["close"])
        #expect(values("connection", in: returned(callerMinorVersion: 0)) == ["keep-alive"])
        #expect(values("connection", in: returned(callerMinorVersion: 0, keepAlive: false)) == ["close"])
    }

    @Test func `a rejection that could not be retried says so`() {
        #expect(values("token-gateway-retry", in: returned(retrySkipped: true)) == ["skipped; reason=body"])
        #expect(values("token-gateway-retry", in: returned()) == [])
    }

    @Test func `the reason phrase is kept or made up`() {
        #expect(returned(status: "200 Fine").first == "HTTP/1.1 200 Fine")
        #expect(returned(status: "404 ").first == "HTTP/1.1 404 Not Found")
        #expect(returned(status: "599").first == "HTTP/1.1 599 ")
    }

    @Test func `informational responses have no framing, and an upgrade names its protocol`() {
        func informational(_ status: String, _ fields: [String]) -> [String] {
            var head = MessageHead()
            parseResponse((["HTTP/1.1 \(status)"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
            ResponseTransform.filter(&head)
            var out = ByteBuffer()
            ResponseTransform.writeInformational(head, to: &out)
            return lines(out)
        }
        #expect(
            informational("103 Early Hints", ["Link: </a>", "Connection: close", "Content-Length: 5"])
                == ["HTTP/1.1 103 Early Hints", "Link: </a>", "", ""])
        #expect(
            informational(
                "101 Switching Protocols", ["Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Accept: x"])
                == [
                    "HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: x", "Connection: Upgrade",
                    "Upgrade: websocket", "", "",
                ])
    }
}

@Suite struct LocationTests {
    private func location(
        _ value: String, strip: String = "", authority: String = "api.example.com", base: String = "",
        plaintext: Bool = false
    ) -> [String] {
        let rule = rule(strip + "/") { $0.stripPrefix = octets(strip) }
        let written = returned(
            ["Location: \(value)", "X-A: b"], status: "302 Found", rule: rule,
            upstream: upstream(authority, base: base, plaintext: plaintext))
        #expect(written.contains("X-A: b"))
        return values("location", in: written)
    }

    @Test(arguments: [
        ("https://api.example.com/a?b#c", "/a?b#c"), ("https://api.example.com", "/"),
        ("https://api.example.com/", "/"), ("https://api.example.com?x", "/?x"), ("https://api.example.com#x", "/#x"),
        ("HTTPS://API.Example.COM/A", "/A"), ("https://api.example.com:443/a", "/a"),
        ("https://api.example.com:/a", "/a"), ("/a", "/a"), ("/", "/"), ("/?x", "/?x"),
    ])
    func `a location on the upstream becomes a path on the gateway`(value: String, expected: String) {
        #expect(location(value) == [expected])
        let prefixed = expected == "/" ? "/crm/" : "/crm" + expected
        #expect(location(value, strip: "/crm") == [prefixed])
    }

    @Test(arguments: [
        // strip_prefix, base path, segment, the upstream's location, the caller's
        ("/zoho", "", 2, "https://api.example.com/a?b#c", "/zoho/acme/a?b#c"), ("/zoho", "", 2, "/", "/zoho/acme/"),
        ("/zoho", "", 2, "https://api.example.com", "/zoho/acme"), ("/zoho", "/v1", 2, "/v1/a", "/zoho/acme/a"),
        ("/zoho", "/v1", 2, "/v1?x", "/zoho/acme?x"), ("/zoho", "", 3, "/shops/a", "/zoho/shops/acme/a"),
        ("/zoho", "", 3, "/shops", "/zoho/shops/acme"), ("", "", 2, "/zoho/a", "/zoho/acme/a"),
        // Where the segment would stand cannot be told.
        ("/zoho", "", 3, "/", "/"), ("", "", 2, "/?x", "/?x"), ("/zoho", "", 2, "//evil.test/", "//evil.test/"),
    ])
    func `a location gets the segment back that was taken out`(
        strip: String, base: String, segment: Int, value: String, expected: String
    ) {
        let rule = rule("/zoho/") {
            $0.stripPrefix = octets(strip)
            $0.grantSelection = .template(0, .pathSegment(segment))
            $0.removesGrantSegment = true
        }
        let path = segment == 3 ? "/zoho/shops/acme/x" : "/zoho/acme/x"
        var request = MessageHead()
        parseRequest("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n", into: &request)
        let removed = GrantKey.removedSegment(rule, of: request)
        #expect(removed == octets("acme"))
        var head = MessageHead()
        parseResponse("HTTP/1.1 302 Found\r\nLocation: \(value)\r\n\r\n", to: .get, into: &head)
        ResponseTransform.rewriteLocation(
            &head, rule: rule, upstream: upstream("api.example.com", base: base), grantSegment: removed)
        #expect(head.textFields.filter { $0.name == "Location" }.map(\.value) == [expected])
    }

    @Test(arguments: [
        "http://api.example.com/a", "https://api.example.com:8443/a", "https://api.example.com:80/a",
        "https://api.example.com.evil.test/a", "https://xapi.example.com/a", "https://example.com/a",
        "https://api.example.com@evil.test/a", "https://user@api.example.com/a", "https://api.example.com:443@evil/",
        "https://api.example.com:x/a", "https://api.example.com:4430/a",
        "https://api.example.com:99999999999999999999/",
        "https://api.example.com\\@evil.test/a", "https:///a", "https://", "https:/api.example.com/a",
        "//api.example.com/a", "//evil.test/a", "/\\evil.test", "a/b", "../a", "?x", "#x", "mailto:a@b",
        "ftp://api.example.com/a", "ht", "https://[::1]/a", "https://api.example.com:443:443/a",
    ])
    func `other locations pass as they are`(value: String) {
        #expect(location(value) == [value])
        #expect(location(value, strip: "/crm") == [value])
    }

    @Test(arguments: [
        ("https://api.example.com//evil.test/a", ""), ("https://api.example.com/\\evil.test/a", ""),
        ("https://api.example.com/v1//evil.test", "/v1"), ("/v1//evil.test", "/v1"), ("/v1/\\evil.test", "/v1"),
    ])
    func `no location of ours leads to a host that the upstream put in the path`(value: String, base: String) {
        #expect(location(value, base: base) == [value])
    }

    @Test(arguments: [
        ("https://api.example.com/v1/a", "/crm/a"), ("https://api.example.com/v1", "/crm/"),
        ("https://api.example.com/v1?x=y", "/crm/?x=y"), ("https://api.example.com/v1#x", "/crm/#x"),
        ("https://api.example.com/v1/", "/crm/"), ("/v1/a", "/crm/a"), ("/v1", "/crm/"),
        ("https://api.example.com/v10/a", "https://api.example.com/v10/a"), ("/v10/a", "/v10/a"), ("/v1.0", "/v1.0"),
        ("https://api.example.com/", "https://api.example.com/"), ("/", "/"), ("/login", "/login"),
        ("https://api.example.com/V1/a", "https://api.example.com/V1/a"),
        ("https://api.example.com", "https://api.example.com"), ("/v", "/v"),
    ])
    func `the base path is taken off whole or not at all`(value: String, expected: String) {
        #expect(location(value, strip: "/crm", base: "/v1") == [expected])
    }

    @Test(arguments: [
        ("api.example.com:8443", false, "https://api.example.com:8443/a", true),
        ("api.example.com:8443", false, "https://api.example.com/a", false),
        ("api.example.com:443", false, "https://api.example.com/a", true),
        ("api.example.com", true, "http://api.example.com:80/a", true),
        ("api.example.com", true, "http://api.example.com:443/a", false),
        ("api.example.com", true, "https://api.example.com/a", false),
        ("api.example.com:8080", true, "http://API.example.com:8080/a", true),
        ("[::1]:8443", false, "https://[::1]:8443/a", true), ("[::1]", false, "https://[::1]:443/a", true),
        ("[::1]", false, "https://[::2]/a", false), ("[::1]", false, "https://[::1/a", false),
    ])
    func `an origin is scheme, host and port, the scheme's own port said or not`(
        authority: String, plaintext: Bool, value: String, isOurs: Bool
    ) {
        #expect(location(value, authority: authority, plaintext: plaintext) == [isOurs ? "/a" : value])
    }

    @Test func `an empty location and several ones do no harm`() {
        #expect(location("") == [""])
        let written = returned(["Location: /a", "location: https://api.example.com/b"], status: "302 Found")
        #expect(values("location", in: written) == ["/a", "/b"])
        #expect(values("location", in: returned(["Connection: location", "Location: /v1/a"])) == [])
    }
}
