import HTTP
import Testing

/// RFC 9112 7.1, RFC 9110 6.5: chunked content and its trailer section; content by length and by close.
@Suite struct ChunkedTests {
    @Test(
        arguments: [
            ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("A\r\n0123456789\r\n000\r\n\r\n", "0123456789"), ("00005\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"), ("3;a=b\r\nabc\r\n0;c=\"d e\"\r\n\r\n", "abc"),
        ])
    func `chunked content is decoded`(encoded: String, content: String) {
        let outcome = body(encoded + "NEXT")
        #expect(outcome.text == content)
        #expect(outcome.end == .ended(leftover: octets("NEXT")))
    }

    @Test(
        arguments: [
            "0x5", "+5", "-5", " 5", "5 ", "5\t", "\t5", "5_0", "_5", "", "g", "5g", "5,", "5 ;a=b", "\u{A0}5", "5.",
            "'5'",
            "\"5\"", "\u{00}5", "5\u{00}", "５",
        ].filter { $0.unicodeScalars.allSatisfy { $0.value < 256 } })
    func `a chunk size that is not hexadecimal digits alone is refused`(size: String) {
        #expect(body("\(size)\r\nhello\r\n0\r\n\r\n").rejection != nil)
        #expect(body("1\r\nx\r\n\(size)\r\nhello\r\n0\r\n\r\n").rejection != nil)
    }

    @Test(
        arguments: [
            "8000000000000000", "ffffffffffffffff", "10000000000000000", "10000000000000005", "100000000000000005",
            "fffffffffffffffffffffffffffffff5",
        ])
    func `a chunk size above 63 bits is refused and not wrapped`(size: String) {
        #expect(body("\(size)\r\nhello\r\n0\r\n\r\n").rejection != nil)
    }

    @Test func `a chunk size of 63 bits is taken`() {
        let outcome = body("7fffffffffffffff\r\nhello")
        #expect(outcome.text == "hello")
        #expect(outcome.end == .needsInput(completeWhenClosed: false))
    }

    @Test func `leading zeros of chunk sizes do not go on for ever`() {
        let zeros = String(repeating: "0", count: BodyDecoder.extensionLimit + 2)
        #expect(body(zeros).rejection != nil)
        let many = String(repeating: "\(String(repeating: "0", count: 1024))1\r\nx\r\n", count: 20)
        #expect(body(many).rejection != nil)
    }

    @Test(arguments: ["", "\n", "\r", "xx", "\r\r\n", "\n\r", "\rx", "x\r\n", " \r\n"])
    func `chunk data is followed by CRLF exactly`(end: String) {
        #expect(body("5\r\nhello\(end)0\r\n\r\n").rejection != nil)
    }

    @Test(arguments: ["5\nhello\r\n0\r\n\r\n", "5\rhello", "5\r\rhello", "0\n\r\n", "0\n\n", "5;\nhello\r\n0\r\n\r\n"])
    func `a chunk line ends in CRLF exactly`(encoded: String) {
        #expect(body(encoded).rejection != nil)
    }

    @Test(arguments: ["\u{00}", "\n", "\u{01}", "\u{1F}", "\u{7F}", "\u{0B}", "\rx"])
    func `a control octet in a chunk extension is refused`(octet: String) {
        #expect(body("5;a=\(octet)b\r\nhello\r\n0\r\n\r\n").rejection != nil)
        #expect(body("0;a=\"\(octet)\"\r\n\r\n").rejection != nil)
    }

    @Test func `chunk extensions are limited in total`() {
        let limit = BodyDecoder.extensionLimit
        let large = String(repeating: "x", count: limit - 16)
        #expect(body("1;\(large)\r\na\r\n0\r\n\r\n").text == "a")
        #expect(body("1;\(large)\r\na\r\n0\r\n\r\n").rejection == nil)
        #expect(body("1;\(large)xxxxxxxxxxxxxxxxxxxx\r\na\r\n0\r\n\r\n").rejection != nil)
        let many = String(repeating: "1;\(String(repeating: "x", count: 1024))\r\na\r\n", count: 17)
        #expect(body(many + "0\r\n\r\n").rejection != nil)
    }

    @Test func `trailer fields are kept apart`() {
        let outcome = body("1\r\nx\r\n0\r\nExpires: never\r\nX-Sum: \t7 \r\nGrpc-Status: 0\r\n\r\nNEXT")
        #expect(
            outcome.trailers == [
                TextField("Expires", "never"), TextField("X-Sum", "7"), TextField("Grpc-Status", "0"),
            ])
        #expect(outcome.end == .ended(leftover: octets("NEXT")))
    }

    @Test(
        arguments: [
            "Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil", "Authorization: Bearer x", "Cookie: a=b",
            "Connection: close", "Set-Cookie: a=b", "Proxy-Authorization: x", "X-Forwarded-For: 1.1.1.1",
            "TE: trailers",
            "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "Forwarded: for=x", "Via: 1.1 x",
            "Expect: 100-continue",
            "Max-Forwards: 0", "Upgrade: h2c", "Keep-Alive: x", "Proxy-Connection: x", "Trailer: x", "Content-Type: x",
            "Location: x", "WWW-Authenticate: Bearer", "X-Request-ID: 1", "Token-Gateway-Error: x", "Retry-After: 1",
            "content_length: 5", "X_Forwarded_For: 1.1.1.1", "transfer_encoding: chunked",
        ])
    func `framing, routing and credentials in a trailer section have no effect`(line: String) {
        let outcome = body("1\r\nx\r\n0\r\nA: 1\r\n\(line)\r\nB: 2\r\n\r\nNEXT")
        #expect(outcome.text == "x")
        #expect(outcome.trailers == [TextField("A", "1"), TextField("B", "2")])
        #expect(outcome.end == .ended(leftover: octets("NEXT")))
    }

    @Test(
        arguments: [
            "A : b", " A: b", "A: b\r\n c", "A: \u{00}", "A: b\n", "A\n", "A", ": b", "A: b\rc", "\rA: b", "A(: b",
            "\nA: b",
        ])
    func `a malformed trailer section is refused`(lines: String) {
        #expect(body("0\r\n\(lines)\r\n\r\n").rejection != nil)
    }

    @Test func `a trailer section has limits of size and number`() {
        let fits = String(repeating: "A: b\r\n", count: 64)
        #expect(body("0\r\n\(fits)\r\n").trailers.count == 64)
        #expect(body("0\r\n\(fits)A: b\r\n\r\n").rejection == .tooManyFields)
        let long = String(repeating: "x", count: 17 * 1024)
        #expect(body("0\r\nA: \(long)\r\n\r\n").rejection == .headTooLarge)
        #expect(body("0\r\nA: \(long)").rejection == .headTooLarge)
    }

    @Test(
        arguments: [
            "", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r", "5\r\nhello\r\n", "5\r\nhello\r\n0",
            "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\n\r", "0\r\nA: b", "0\r\nA: b\r\n", "5;x",
        ])
    func `chunked content that the connection's end cuts is not complete`(encoded: String) {
        #expect(body(encoded).end == .needsInput(completeWhenClosed: false))
    }

    @Test func `content by length takes its length and no more`() {
        #expect(body("hello world", .length(5)).text == "hello")
        #expect(body("hello world", .length(5)).end == .ended(leftover: octets(" world")))
        #expect(body("hell", .length(5)).end == .needsInput(completeWhenClosed: false))
        #expect(body("x", .length(0)).end == .ended(leftover: octets("x")))
        #expect(body("x", .none).end == .ended(leftover: octets("x")))
        #expect(body("x", .length(UInt64(Int64.max))).end == .needsInput(completeWhenClosed: false))
    }

    @Test func `content up to the close is complete when the connection ends`() {
        #expect(body("5\r\nhello", .untilClose).text == "5\r\nhello")
        #expect(body("hello", .untilClose).end == .needsInput(completeWhenClosed: true))
        #expect(body("", .untilClose).end == .needsInput(completeWhenClosed: true))
    }

    @Test func `after a framing error nothing more is decoded`() {
        var decoder = BodyDecoder()
        var trailers = MessageHead()
        decoder.begin(.chunked)
        let first = octets("x").withUnsafeBytes { decoder.decode($0, trailers: &trailers) }
        guard case .rejected = first else {
            Issue.record("not refused")
            return
        }
        let second = octets("5\r\nhello\r\n0\r\n\r\n").withUnsafeBytes { decoder.decode($0, trailers: &trailers) }
        guard case .rejected = second else {
            Issue.record("the decoder went on after an error")
            return
        }
        let isComplete = decoder.connectionEnded()
        #expect(!isComplete)
        #expect(!decoder.isDone)
    }

    @Test func `a decoder begins anew after each message`() {
        var decoder = BodyDecoder()
        var trailers = MessageHead()
        let large = octets("1;" + String(repeating: "x", count: 16_000) + "\r\na\r\n0\r\n\r\n")
        for _ in 0..<3 {
            decoder.begin(.chunked)
            var start = 0
            steps: while true {
                switch large[start...].withUnsafeBytes({ decoder.decode($0, trailers: &trailers) }) {
                case .content: start += decoder.consumed
                case .ended: break steps
                case .needsInput, .rejected:
                    Issue.record("not decoded")
                    return
                }
            }
            #expect(decoder.isDone)
        }
    }
}
