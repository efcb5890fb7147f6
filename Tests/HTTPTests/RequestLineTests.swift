import HTTP
import Testing

/// RFC 9112 2.2, 3: the request line.
@Suite struct RequestLineTests {
    @Test func `a request line is taken apart`() {
        let head = request("PATCH /a/b;c?d=e&f HTTP/1.1\r\nHost: h:8080\r\n\r\n").head
        #expect(head?.method == .patch)
        #expect(head?.methodText == "PATCH")
        #expect(head?.target == "/a/b;c?d=e&f")
        #expect(head?.path == "/a/b;c")
        #expect(head?.authority == "h:8080")
        #expect(head?.minorVersion == 1)
        #expect(head?.flags == [.keepAlive])
    }

    @Test(
        arguments: [
            ("GET", Method.get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("DELETE", .delete),
            ("OPTIONS", .options), ("PATCH", .patch), ("TRACE", .trace), ("get", .other), ("Get", .other),
            ("FROB", .other),
            ("G", .other), ("!#$%&'*+-.^_`|~0", .other),
        ])
    func `methods are found by their exact case`(text: String, method: HTTP.Method) {
        let head = request("\(text) / HTTP/1.1\r\nHost: a\r\n\r\n").head
        #expect(head?.method == method)
        #expect(head?.methodText == text)
    }

    @Test(
        arguments: [
            "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1",
            "GET /\tHTTP/1.1",
            "GET / a HTTP/1.1", "GET /a b HTTP/1.1", "GET/ HTTP/1.1", "GET / HTTP/1.1\t", "GET", "GET ", "/ HTTP/1.1",
            "GET  HTTP/1.1", "GET HTTP/1.1", " ", "GET / ", "GE(T / HTTP/1.1", "GET: / HTTP/1.1", "G\u{E9}T / HTTP/1.1",
            "\u{16}\u{03}\u{01}", "GET\u{0B}/ HTTP/1.1", "GET\u{0C}/ HTTP/1.1",
        ])
    func `a request line that is not method SP target SP version is refused`(line: String) {
        #expect(request("\(line)\r\nHost: a\r\n\r\n").rejection != nil)
    }

    @Test(arguments: (0...0x20).map { UInt8($0) } + [0x23] + (0x7F...0xFF).map { UInt8($0) })
    func `control octets, spaces and octets above 0x7E in the target are refused`(octet: UInt8) {
        let bytes = octets("GET /a") + [octet] + octets("b HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(readHead(bytes).rejection != nil)
        let absolute = octets("GET http://a/a") + [octet] + octets("b HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(readHead(absolute).rejection != nil)
    }

    @Test(
        arguments: [
            "GET / HTTP/1.0\rX\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\rXHost: a\r\n\r\n", "GET / HTTP/1.1\rX\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\r\n\r\n", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", "GET / HTTP/1.1\r\n\rHost: a\r\n\r\n",
        ])
    func `a CR without LF is refused`(text: String) {
        #expect(request(text).rejection != nil)
    }

    @Test(
        arguments: [
            "GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\n", "GET / HTTP/1.1\nHost: a\n\n", "GET /\n HTTP/1.1\r\nHost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\nContent-Length: 5\r\n\r\n",
        ])
    func `an LF without CR is refused`(text: String) {
        #expect(request(text).rejection != nil)
    }

    @Test(arguments: ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/0.0", "HTTP/9.9"])
    func `another major version is told as such`(version: String) {
        #expect(request("GET / \(version)\r\nHost: a\r\n\r\n").rejection == .versionNotSupported)
    }

    @Test(
        arguments: [
            "HTTP/1", "HTTP/1.", "HTTP/1.10", "HTTP/01.1", "HTTP/1.1x", "http/1.1", "HTTP 1.1", "HTTP/1,1", "HTTPS/1.1",
            "HTP/1.1", "HTTP/1.x", "HTTP/x.1", "HTTP/+1.1", "ICY/1.1", "RTSP/1.0", "", "HTTP/ 1.1", "HTTP/1. 1",
            "HTTP/11",
        ])
    func `a version that is not HTTP slash digit dot digit is refused`(version: String) {
        #expect(request("GET / \(version)\r\nHost: a\r\n\r\n").rejection != nil)
    }

    @Test func `HTTP/0.9 is refused`() {
        #expect(request("GET /\r\n\r\n").rejection != nil)
    }

    @Test func `a higher minor version counts as 1`() {
        #expect(request("GET / HTTP/1.2\r\nHost: a\r\n\r\n").head?.minorVersion == 1)
        #expect(request("GET / HTTP/1.9\r\n\r\n").rejection != nil)
        #expect(request("GET / HTTP/1.0\r\n\r\n").head?.minorVersion == 0)
    }

    @Test func `a target up to the limit is accepted and one above it is too long`() {
        let limits = HeadLimits()
        #expect(limits.targetBytes >= 8000)
        let fits = "/" + String(repeating: "a", count: limits.targetBytes - 1)
        #expect(request("GET \(fits) HTTP/1.1\r\nHost: a\r\n\r\n").head?.target == fits)
        #expect(request("GET \(fits)a HTTP/1.1\r\nHost: a\r\n\r\n").rejection == .targetTooLong)
        #expect(request("GET /" + String(repeating: "a", count: limits.targetBytes + 100)).rejection == .targetTooLong)
        let huge = String(repeating: "a", count: 64 * 1024)
        #expect(request("GET /\(huge) HTTP/1.1\r\nHost: a\r\n\r\n").rejection == .targetTooLong)
        #expect(request("GET /\(huge)").rejection == .targetTooLong)
    }

    @Test func `a header section above the limit is too large`() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
        let limit = HeadLimits().headBytes
        let value = String(repeating: "a", count: limit - start.utf8.count - 4)
        #expect(request(start + value + "\r\n\r\n").head != nil)
        #expect(request(start + value + "a\r\n\r\n").rejection == .headTooLarge)
        #expect(request(start + value + "aaaaaaaaaaa").rejection == .headTooLarge)
        let many = String(repeating: "X: y\r\n", count: 20_000)
        #expect(request("GET / HTTP/1.1\r\nHost: a\r\n" + many).rejection == .headTooLarge)
    }

    @Test func `more fields than the limit are refused`() {
        let lines = String(repeating: "X: y\r\n", count: 99)
        #expect(request("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n").head?.fields.count == 100)
        #expect(request("GET / HTTP/1.1\r\nHost: a\r\n\(lines)X: y\r\n\r\n").rejection == .tooManyFields)
    }

    @Test(
        arguments: [
            ("http://b/c?d", "/c?d", "/c", "b"), ("http://b", "/", "/", "b"), ("http://b:80", "/", "/", "b:80"),
            ("HTTP://B/x", "/x", "/x", "B"), ("https://b?q", "/?q", "/", "b"),
            ("http://[::1]:8/x", "/x", "/x", "[::1]:8"),
            ("http://b/?", "/?", "/", "b"), ("http://b?", "/?", "/", "b"), ("http://b//c", "//c", "//c", "b"),
        ])
    func `an absolute-form target replaces the Host field`(
        target: String, path: String, pathPart: String, authority: String
    ) {
        let head = request("GET \(target) HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n").head
        #expect(head?.target == path)
        #expect(head?.path == pathPart)
        #expect(head?.authority == authority)
        #expect(head?.flags.contains(.absoluteForm) == true)
        #expect(head?.values("x") == ["y"])
    }

    @Test(
        arguments: [
            "http://", "http:///x", "http://?x", "http://u@b/", "http://u:p@b/", "http://b:x/", "http://b:80:80/",
            "http://b\\c/", "http://b#x", "ftp://b/", "http:/b", "http:b", "//b", "b", "b/c", "javascript:1", "http//b",
            "*x",
            "http://[::1/", "http://[]/", "http://[::1]x/", "http://a\"b/", "http://:80/", "?x", "http://b:99999/",
        ].filter { $0 != "//b" })
    func `a target that is neither a path nor an http URL is refused`(target: String) {
        #expect(request("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n").rejection != nil)
    }

    @Test(arguments: ["a:443", "/", "http://a/", "*", "a", "//a:443"])
    func `CONNECT is refused in every form`(target: String) {
        #expect(request("CONNECT \(target) HTTP/1.1\r\nHost: a:443\r\n\r\n").rejection != nil)
    }

    @Test func `authority-form is refused`() {
        #expect(request("GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").rejection != nil)
    }

    @Test func `an asterisk goes with OPTIONS only`() {
        let head = request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").head
        #expect(head?.flags.contains(.asteriskForm) == true)
        #expect(head?.target == "*")
        for method in ["GET", "HEAD", "POST", "TRACE", "FROB", "options"] {
            #expect(request("\(method) * HTTP/1.1\r\nHost: a\r\n\r\n").rejection != nil)
        }
    }

    @Test func `empty lines before the request line are skipped, an endless run is cut`() {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for count in 0...8 {
            #expect(request(String(repeating: "\r\n", count: count) + rest).head?.target == "/")
        }
        #expect(request(String(repeating: "\r\n", count: 9) + rest).rejection != nil)
        #expect(request(String(repeating: "\r\n", count: 50_000)).rejection != nil)
    }

    @Test func `a TLS record is told at its first octet`() {
        #expect(!HTTP1RequestParser.canBegin(with: 0x16))
        #expect(!HTTP1RequestParser.canBegin(with: 0x80))
        #expect(HTTP1RequestParser.canBegin(with: 0x47))
        #expect(readHead([0x16]).rejection != nil)
    }

    @Test(
        arguments: [
            "", "\r", "\n", "\r\n", "G", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\rX",
            "GET / HTTP/1.1\r\nA",
            "GET / HTTP/1.1\r\nA: b\r\n", "\r\n\r\n", "\n\n", "GET / HTTP/1.1\r\n\n", "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\nX: y\r\n\r\n", "HTTP/1.1 200\r", "HTTP/1.1 200 \r\nA", "HTTP/1.1 200\r\n\n",
        ])
    func `the parsers refuse a head that no scanner has seen and do not trap`(text: String) {
        // In use a HeadScanner runs first; the parser must not lean on that for memory safety or for strictness.
        var head = MessageHead()
        octets(text).withUnsafeBytes { bytes in
            #expect(HTTP1RequestParser.parse(bytes, into: &head, limits: HeadLimits()) != nil)
            #expect(HTTP1ResponseParser.parse(bytes, answering: .get, into: &head, limits: HeadLimits()) != nil)
        }
    }
}
