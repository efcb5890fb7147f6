import HTTP
import Testing

/// RFC 9112 4 and 6.3, RFC 9110 15: response heads.
@Suite struct ResponseTests {
    @Test func `a status line is taken apart`() {
        let head = response("HTTP/1.1 404 Not \u{E9} Found\r\nContent-Length: 3\r\n\r\n").head
        #expect(head?.status == 404)
        #expect(head?.reason == "Not \u{E9} Found")
        #expect(head?.framing == .length(3))
        #expect(head?.minorVersion == 1)
    }

    @Test(arguments: ["HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.9 200 OK"])
    func `a reason may be missing and the minor version any`(line: String) {
        #expect(response(line + "\r\n\r\n").head?.status == 200)
    }

    @Test(
        arguments: [
            "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 099 OK", "HTTP/1.1 600 OK",
            "HTTP/1.1 999 OK",
            "HTTP/1.1 +20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "HTTP/2.0 200 OK",
            "HTTP/0.9 200 OK",
            "HTTP/1.10 200 OK", "http/1.1 200 OK", "ICY 200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1200 OK", "200 OK",
            "x",
            "HTTP/1.1 200 O\u{00}K", "HTTP/1.1 200 O\u{7F}K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 OK\r",
            "HTTP/1.1 200\r",
            " HTTP/1.1 200 OK", "HTTP/1.x 200 OK", "HTTP/1.1 000 OK",
        ])
    func `a malformed status line is refused`(line: String) {
        #expect(response("\(line)\r\nContent-Length: 0\r\n\r\n").rejection != nil)
    }

    @Test(
        arguments: [
            "HTTP/1.1 200 OK\rX\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\r\n\r\n",
        ])
    func `a response with a lone CR or LF is refused`(text: String) {
        #expect(response(text).rejection != nil)
    }

    @Test(
        arguments: [
            ("200 OK", Method.head), ("100 Continue", .get), ("101 X", .get), ("103 X", .post),
            ("204 No Content", .get),
            ("304 Not Modified", .get), ("404 X", .head), ("204 X", .delete),
        ])
    func `HEAD, 1xx, 204 and 304 have no content whatever the fields say`(status: String, method: HTTP.Method) {
        for line in ["Content-Length: 5", "Transfer-Encoding: chunked", "X: y"] {
            #expect(responseWith(line, status: status, to: method).head?.framing == BodyFraming.none)
        }
    }

    @Test func `a length that must not be there is not forwarded, one that informs is`() {
        #expect(responseWith("Content-Length: 5", status: "204 X").head?.values("content-length") == [])
        #expect(responseWith("Content-Length: 5", status: "100 X").head?.values("content-length") == [])
        #expect(responseWith("Content-Length: 5", status: "101 X").head?.values("content-length") == [])
        #expect(responseWith("Content-Length: 5", status: "304 X").head?.values("content-length") == ["5"])
        #expect(responseWith("Content-Length: 5", to: .head).head?.values("content-length") == ["5"])
    }

    @Test func `a response without a length goes up to the close and ends the connection`() {
        let head = responseWith("Connection: keep-alive").head
        #expect(head?.framing == .untilClose)
        #expect(head?.flags.contains(.keepAlive) == false)
        #expect(responseWith("Content-Length: 0").head?.flags.contains(.keepAlive) == true)
        #expect(responseWith("Transfer-Encoding: chunked").head?.flags.contains(.keepAlive) == true)
        #expect(responseWith(status: "204 X").head?.flags.contains(.keepAlive) == true)
    }

    @Test func `Date is seen`() {
        #expect(responseWith("Date: x").head?.flags.contains(.hasDate) == true)
        #expect(responseWith("X-Date: x").head?.flags.contains(.hasDate) == false)
    }

    @Test func `a disguised name in a response passes`() {
        #expect(responseWith("content_length: 5").head?.kept == [TextField("content_length", "5")])
    }
}
