import HTTP
import Testing

/// RFC 9112 5, RFC 9110 5 and 7.6.1: field lines, Host, and what Connection names.
@Suite struct FieldTests {
    @Test func `an HTTP/1.1 request without Host is refused, an HTTP/1.0 one is not`() {
        #expect(request("GET / HTTP/1.1\r\n\r\n").rejection != nil)
        #expect(request("GET http://a/ HTTP/1.1\r\n\r\n").rejection != nil)
        #expect(request("GET / HTTP/1.0\r\n\r\n").head?.authority == "")
    }

    @Test func `a request with two Host fields is refused`() {
        #expect(requestWith("Host: a").rejection != nil)
        #expect(requestWith("hOST: b").rejection != nil)
        #expect(request("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").rejection != nil)
        #expect(request("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").rejection != nil)
    }

    @Test(
        arguments: [
            "a b", "a,b c", "a/b", "a@b", "u:p@b", "a?b", "a#b", "a\\b", "a:b", "a:80:80", "a:", "[::1", "::1", "[]",
            "[g]",
            "[::1]80", "[::1]:x", "a:8080x", "a\"b", "a<b", "http://a", "a\tb", "\u{E9}", "a:123456", "a:-1", "a: 80",
            ":80",
            "[::1]a:80", "a:65536", "%", "a%2", "a%zz", "a{b", "[::1%25eth0]", "a^b", "a`b", "a|b",
        ].filter { $0 != "a:" })
    func `an invalid Host is refused`(host: String) {
        #expect(request("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").rejection != nil)
        #expect(request("GET http://b/ HTTP/1.1\r\nHost: \(host)\r\n\r\n").rejection != nil)
    }

    @Test(
        arguments: [
            "a", "a.b-c_d~e", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "[::ffff:1.2.3.4]", "a:", "a:0",
            "a:65535",
            "a%20b", "xn--bcher-kva.example", "",
        ])
    func `a valid Host is the authority`(host: String) {
        #expect(request("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").head?.authority == host)
    }

    @Test(
        arguments: [
            ("a", "a"), ("a:80", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", ""), ("a:", "a"),
        ])
    func `the host is the authority without its port`(authority: String, host: String) {
        octets(authority).withUnsafeBytes { #expect(latin1(Authority.host($0)) == host) }
    }

    @Test(arguments: ["X : y", "X\t: y", "Host : b", "Content-Length : 5", " X: y", "\tX: y", "X \t : y"])
    func `white space around a field name is refused`(line: String) {
        #expect(requestWith(line).rejection != nil)
        #expect(responseWith(line).rejection != nil)
        #expect(request("GET / HTTP/1.1\r\n\(line)\r\nHost: a\r\n\r\n").rejection != nil)
    }

    @Test(arguments: ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", "X: a\r\n \r\nY: b", "X: a\r\n  Content-Length: 5"])
    func `a folded field line is refused`(lines: String) {
        #expect(requestWith(lines).rejection != nil)
        #expect(responseWith(lines).rejection != nil)
    }

    @Test(arguments: 0...255)
    func `only HTAB, SP, visible characters and obs-text stand in a field value`(number: Int) {
        let octet = UInt8(number)
        let line = octets("X: a") + [octet] + octets("b\r\n\r\n")
        let isAllowed = octet == 9 || (octet >= 0x20 && octet != 0x7F)
        #expect((readHead(octets("GET / HTTP/1.1\r\nHost: a\r\n") + line).head != nil) == isAllowed)
        #expect((readHead(octets("HTTP/1.1 200 OK\r\n") + line, .response(to: .get)).head != nil) == isAllowed)
    }

    @Test(arguments: 0...255)
    func `only token characters stand in a field name`(number: Int) {
        let octet = UInt8(number)
        let line = octets("X") + [octet] + octets("Y: b\r\n\r\n")
        let scalar = Character(Unicode.Scalar(octet))
        let isToken = scalar.isASCII && (scalar.isLetter || scalar.isNumber || "!#$%&'*+-.^_`|~".contains(scalar))
        // A colon ends the name earlier: "X" with the value "Y: b".
        let isAllowed = isToken || octet == 0x3A
        #expect((readHead(octets("GET / HTTP/1.1\r\nHost: a\r\n") + line).head != nil) == isAllowed)
        #expect((readHead(octets("HTTP/1.1 200 OK\r\n") + line, .response(to: .get)).head != nil) == isAllowed)
    }

    @Test(arguments: [":", ": x", "X", "", "X Y"])
    func `a field line without a name or a colon is refused`(line: String) {
        guard !line.isEmpty else { return }
        #expect(requestWith(line).rejection != nil)
        #expect(responseWith(line).rejection != nil)
    }

    @Test func `white space at both ends of a value is no part of it`() {
        let head = requestWith("A:b", "B: \t c d \t ", "C:", "D:   ", "E: :").head
        #expect(
            head?.fields.dropFirst() == [
                TextField("A", "b"), TextField("B", "c d"), TextField("C", ""), TextField("D", ""), TextField("E", ":"),
            ])
    }

    @Test func `repeated fields keep order and count`() {
        let lines = ["Set-Cookie: a=1", "X: 1", "set-cookie: b=2, c", "X: 2", "Set-Cookie: a=1", "X:", "x: 3"]
        let head = response("HTTP/1.1 200 OK\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n").head
        #expect(head?.kept.map(\.description) == lines.map { $0 == "X:" ? "X: " : $0 })
    }

    @Test(
        arguments: [
            "X_Forwarded_For", "x_forwarded-for", "X-Forwarded_Proto", "X_FORWARDED_HOST", "X_Forwarded_Port",
            "Content_Length",
            "content_length", "Transfer_Encoding", "Max_Forwards", "Proxy_Authorization", "Keep_Alive",
            "Proxy_Connection",
            "X_Request_ID",
        ])
    func `a name that is sensitive when its underscores are dashes is not forwarded`(name: String) {
        let head = requestWith("A: 1", "\(name): 5", "B_C: 2").head
        #expect(head?.kept == [TextField("Host", "a"), TextField("A", "1"), TextField("B_C", "2")])
        #expect(head?.framing == BodyFraming.none)
    }

    @Test func `a name with underscores that is not sensitive passes, however long`() {
        let long = String(repeating: "a_", count: 500)
        let head = requestWith("a_b: 1", "\(long): 2", "_: 3", "content_type: 4").head
        #expect(head?.kept.count == 5)
    }

    @Test(
        arguments: [
            ["Connection: X-A", "X-A: 1"], ["X-A: 1", "Connection: x-a"],
            ["Connection: close, X-A , keep-alive", "X-A: 1"],
            ["Connection: X-A", "Connection: Y", "x-a: 1", "Y: 2"], ["Connection: ,, ,X-A,", "X-A: 1", "X-A: 2"],
            ["Connection: X-Forwarded-For", "X-Forwarded-For: 1"], ["Connection: Via", "Via: 1.1 a"],
            ["Connection: Cookie", "Cookie: a"], ["Connection: TE", "TE: trailers"],
            ["Connection: Expect", "Expect: x"],
            ["Connection: keep-alive", "Keep-Alive: timeout=5"], ["connection: upgrade", "upgrade: websocket"],
            ["Connection: Date", "Date: x"],
        ])
    func `every field that Connection names is dropped in both directions`(lines: [String]) {
        let text = lines.map { $0 + "\r\n" }.joined()
        let inRequest = request("GET / HTTP/1.1\r\nHost: a\r\nB: 2\r\n\(text)C: 3\r\n\r\n").head
        let rest = inRequest?.kept.filter { $0.name.lowercased() != "connection" }
        #expect(rest == [TextField("Host", "a"), TextField("B", "2"), TextField("C", "3")])
        let inResponse = response("HTTP/1.1 200 OK\r\nB: 2\r\n\(text)C: 3\r\n\r\n").head
        #expect(
            inResponse?.kept.filter { $0.name.lowercased() != "connection" } == [
                TextField("B", "2"), TextField("C", "3"),
            ])
    }

    @Test func `framing, Host and Authorization cannot be taken away by Connection`() {
        let head = requestWith(
            "Connection: host, content-length, transfer-encoding, authorization", "Content-Length: 5",
            "Authorization: x"
        ).head
        #expect(head?.framing == .length(5))
        #expect(head?.values("content-length") == ["5"])
        #expect(head?.values("host") == ["a"])
        #expect(head?.values("authorization") == ["x"])
        let chunked = requestWith("Connection: Transfer-Encoding", "Transfer-Encoding: chunked").head
        #expect(chunked?.framing == .chunked)
        let sized = responseWith("Connection: Content-Length", "Content-Length: 5").head
        #expect(sized?.values("content-length") == ["5"])
    }

    @Test func `a Connection field that names very many fields is refused`() {
        let few = (0..<32).map { "x\($0)" }.joined(separator: ",")
        #expect(requestWith("Connection: \(few)").head != nil)
        let many = (0..<200).map { "x\($0)" }.joined(separator: ",")
        #expect(requestWith("Connection: \(many)").rejection != nil)
        #expect(responseWith("Connection: \(many)").rejection != nil)
        let lines = String(repeating: "Connection: a,b,c,d,e,f,g,h,i,j\r\n", count: 20)
        #expect(request("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n").rejection != nil)
    }

    @Test(
        arguments: [
            ("1", "", true), ("1", "Connection: close", false), ("1", "Connection: keep-alive", true),
            ("1", "Connection: keep-alive, close", false), ("1", "Connection: CLOSE", false),
            ("1", "Connection: x, Close ,y", false), ("1", "Connection: closed", true), ("0", "", false),
            ("0", "Connection: keep-alive", true), ("0", "Connection: keep-alive, close", false),
            ("0", "Connection: Keep-Alive", true), ("1", "Connection: x\r\nConnection: close", false),
        ])
    func `the connection stays as version and Connection say`(version: String, line: String, stays: Bool) {
        let lines = line.isEmpty ? "" : line + "\r\n"
        let asked = request("GET / HTTP/1.\(version)\r\nHost: a\r\n\(lines)\r\n").head
        #expect(asked?.flags.contains(.keepAlive) == stays)
        let answered = response("HTTP/1.\(version) 200 OK\r\nContent-Length: 0\r\n\(lines)\r\n").head
        #expect(answered?.flags.contains(.keepAlive) == stays)
    }

    @Test func `an upgrade needs both fields and HTTP/1.1`() {
        #expect(
            requestWith("Connection: Upgrade", "Upgrade: WebSocket").head?.flags == [.keepAlive, .upgrade, .webSocket])
        #expect(requestWith("Connection: Upgrade", "Upgrade: h2c").head?.flags == [.keepAlive, .upgrade])
        #expect(requestWith("Upgrade: websocket").head?.flags == [.keepAlive])
        #expect(requestWith("Connection: upgrade").head?.flags == [.keepAlive])
        let old = request("GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n").head
        #expect(old?.flags == [.keepAlive])
    }

    @Test func `Expect is told apart, and has no meaning in HTTP/1.0`() {
        #expect(requestWith("Expect: 100-Continue").head?.flags.contains(.expectsContinue) == true)
        #expect(requestWith("Expect: 100-continue-not").head?.flags.contains(.unknownExpectation) == true)
        let old = request("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").head
        #expect(old?.flags.contains(.expectsContinue) == false)
    }

    @Test(
        arguments: [
            ("Bearer", true), ("bearer realm=\"x\"", true), ("DPoP algs=\"ES256\"", true), ("Basic realm=\"x\"", false),
            ("Basic realm=\"x\", Bearer", true), ("Bearer\trealm=x", true), ("BearerX", false), ("Negotiate", false),
            ("", false),
            ("Basic realm=\"x, bearer y\"", false), ("Basic realm=\"x\\\", bearer y\"", false),
            ("Basic realm=\"a\\\\\", Bearer x", true), ("Basic realm=\"never closed, Bearer x", false),
        ])
    func `a challenge is for a token only when a scheme says so`(value: String, isForToken: Bool) {
        let flags = responseWith("WWW-Authenticate: \(value)", "Content-Length: 0", status: "401 X").head?.flags
        #expect(flags?.contains(.challenge) == true)
        #expect(flags?.contains(.tokenChallenge) == isForToken)
    }

    @Test func `every known name is found in any case and no other`() {
        for id in FieldID.allCases where id != .other {
            let name = id.name.description
            for spelling in [name, name.uppercased(), name.prefix(1).uppercased() + name.dropFirst()] {
                octets(spelling).withUnsafeBytes { #expect(FieldID.find($0) == id) }
            }
            for wrong in [name + "x", String(name.dropLast()), "x" + name.dropFirst()] where wrong != name {
                octets(wrong).withUnsafeBytes { #expect(FieldID.find($0) != id) }
            }
        }
    }
}
