import HTTP
import Testing

/// RFC 9112 6, RFC 9110 8.6: where the content of a request ends.
@Suite struct RequestFramingTests {
    @Test(
        arguments: [
            "+5", "-5", "0x5", "5e1", "5 5", "5.0", "5;", "5, 6", "5,5", "", " ", "five", "\u{A0}5", "5\u{A0}", "1_000",
            "'5'", "５", "5,",
        ].filter { $0.unicodeScalars.allSatisfy { $0.value < 256 } })
    func `a content-length that is not digits alone is refused`(value: String) {
        #expect(
            requestWith("Content-Length: \(value)").rejection == .malformed("Content-Length is not a decimal number"))
        #expect(
            responseWith("Content-Length: \(value)").rejection == .malformed("Content-Length is not a decimal number"))
    }

    @Test(
        arguments: [
            "9223372036854775808", "18446744073709551615", "18446744073709551616", "18446744073709551621",
            "36893488147419103237", "99999999999999999999999999999999999999999999",
            "340282366920938463463374607431768211461",
        ])
    func `a content-length that overflows is refused and not wrapped`(value: String) {
        #expect(requestWith("Content-Length: \(value)").rejection != nil)
        #expect(responseWith("Content-Length: \(value)").rejection != nil)
    }

    @Test func `the largest content-length of 63 bits is accepted`() {
        #expect(requestWith("Content-Length: 9223372036854775807").head?.framing == .length(UInt64(Int64.max)))
    }

    @Test(arguments: [("5", "6"), ("5", "05x"), ("6", "5"), ("0", "5"), ("5", ""), ("x", "5")])
    func `two content-length fields that differ are refused`(one: String, two: String) {
        #expect(requestWith("Content-Length: \(one)", "Content-Length: \(two)").rejection != nil)
        #expect(requestWith("Content-Length: \(one)", "X: y", "content-LENGTH: \(two)").rejection != nil)
        #expect(responseWith("Content-Length: \(one)", "Content-Length: \(two)").rejection != nil)
    }

    @Test(arguments: [("5", "5"), ("5", "05")])
    func `two content-length fields that are equal are forwarded as one`(one: String, two: String) {
        let head = requestWith("Content-Length: \(one)", "X: y", "Content-Length: \(two)").head
        #expect(head?.framing == .length(5))
        #expect(head?.values("content-length") == [one])
    }

    @Test func `leading zeros of a content-length are decimal`() {
        #expect(requestWith("Content-Length: 010").head?.framing == .length(10))
        #expect(requestWith("Content-Length: 00000000000000000000000000000000008").head?.framing == .length(8))
        #expect(requestWith("Content-Length: 000").head?.framing == .length(0))
    }

    @Test(
        arguments: [
            "chunked, gzip", "identity", "gzip", "gzip, chunked", "x", "", "chunked;q=1", "\"chunked\"", "chunked,",
            ",chunked", "chunked chunked", "xchunked", "chunkedx", "cow", "chunked, identity",
        ])
    func `a transfer-encoding that is not chunked alone is refused`(value: String) {
        #expect(requestWith("Transfer-Encoding: \(value)").rejection == .codingNotImplemented)
        #expect(responseWith("Transfer-Encoding: \(value)").rejection == .codingNotImplemented)
    }

    @Test(arguments: ["\u{0B}chunked", "chunked\u{0C}", "\u{A0}chunked", "chunked\u{00}", "chu\u{00}nked", "\u{01}"])
    func `a transfer-encoding with odd octets is refused`(value: String) {
        #expect(requestWith("Transfer-Encoding: \(value)").rejection != nil)
    }

    @Test(arguments: ["gzip", "chunked", "x"])
    func `a transfer-encoding is never ignored in favour of a content-length`(coding: String) {
        let te = "Transfer-Encoding: \(coding)"
        #expect(requestWith(te, "Content-Length: 5").rejection != nil)
        #expect(requestWith("Content-Length: 5", te).rejection != nil)
        #expect(responseWith(te, "Content-Length: 5").rejection != nil)
        #expect(responseWith("Content-Length: 5", te).rejection != nil)
    }

    @Test(
        arguments: [
            ["Transfer-Encoding: chunked, chunked"], ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "X: y", "transfer-encoding: CHUNKED"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding:", "Transfer-Encoding: chunked"],
        ])
    func `more than one coding, in one field or two, is refused`(lines: [String]) {
        let text = lines.map { $0 + "\r\n" }.joined()
        #expect(request("POST / HTTP/1.1\r\nHost: a\r\n\(text)\r\n").rejection == .codingNotImplemented)
        #expect(response("HTTP/1.1 200 OK\r\n\(text)\r\n").rejection == .codingNotImplemented)
    }

    @Test func `chunked is found in any case and between spaces`() {
        #expect(requestWith("transfer-encoding: \t ChUnKeD \t").head?.framing == .chunked)
        #expect(responseWith("TRANSFER-ENCODING:CHUNKED").head?.framing == .chunked)
    }

    @Test func `transfer-encoding in an HTTP/1.0 message is refused`() {
        #expect(request("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").rejection != nil)
        #expect(response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").rejection != nil)
    }

    @Test(arguments: ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "FROB"])
    func `content keeps its framing whatever the method`(method: String) {
        let start = "\(method) / HTTP/1.1\r\nHost: a\r\n"
        #expect(request(start + "Content-Length: 7\r\n\r\n").head?.framing == .length(7))
        #expect(request(start + "Transfer-Encoding: chunked\r\n\r\n").head?.framing == .chunked)
        #expect(request(start + "Content-Length: 0\r\n\r\n").head?.framing == .length(0))
        #expect(request(start + "\r\n").head?.framing == BodyFraming.none)
    }

    @Test(
        arguments: [
            "\u{01}", " ", "\t", "\u{0B}", "\"", "(", ",", "/", ";", "<", "=", ">", "?", "@", "[", "\\", "]", "{",
            "}",
            "\u{7F}", "\u{80}", "\u{FF}", "\u{00}",
        ])
    func `a framing field whose name has an odd octet is refused and not passed on`(octet: String) {
        #expect(requestWith("Content-Length\(octet): 5").rejection != nil)
        #expect(requestWith("\(octet)Content-Length: 5").rejection != nil)
        #expect(requestWith("Transfer\(octet)Encoding: chunked").rejection != nil)
    }

    @Test func `what follows a head is not part of it`() {
        let text = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
        let outcome = request(text + "GET /2 HTTP/1.1\r\nHost: b\r\n\r\n")
        guard case .parsed(let head, let length) = outcome else {
            Issue.record("refused: \(outcome)")
            return
        }
        #expect(length == text.utf8.count)
        #expect(head.target == "/1")
    }
}
