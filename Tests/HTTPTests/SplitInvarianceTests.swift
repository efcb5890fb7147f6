import HTTP
import Testing

/// J3: however a message is cut on its way, the same comes out.
@Suite struct SplitInvarianceTests {
    static let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nPOST http://b:80/c?d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX:  y \r\nX_Y: z\r\n\r\nhello",
        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: X, close\r\nX: 1\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \rb\r\n\r\n", "GET / HTTP/1.1\rX\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n", "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n", "\u{16}\u{03}\u{01}", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]

    static let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nhello",
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\rX\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 401 \r\nWWW-Authenticate: Bearer\r\nDate: x\r\nConnection: y\r\nY: z\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
    ]

    static let contents = [
        "5\r\nhello\r\n0\r\n\r\nNEXT", "00a;x=\"y\"\r\n0123456789\r\n1\r\n\r\r\n0;z\r\nA: b\r\nCookie: c\r\n\r\nNEXT",
        "5\r\nhello!!",
        "5\r\nhello\r\n0\r\n\rX", "0\r\n\nX", "5;\u{00}\r\nhello", "0\r\nA: b\nC: d\r\n\r\n", "0\r\nA : b\r\n\r\n", "G",
        "",
        "0\r\n\rA: b\r\n\r\n", "7fffffffffffffff\r\nabc", "8000000000000000\r\nabc",
    ]

    @Test(arguments: requests)
    func `a request head is the same at every cut`(text: String) {
        expectInvariant(octets(text), .request)
    }

    @Test(arguments: responses)
    func `a response head is the same at every cut`(text: String) {
        expectInvariant(octets(text), .response(to: .get))
    }

    @Test(arguments: contents)
    func `content is the same at every cut`(text: String) {
        let bytes = octets(text)
        let framings = [BodyFraming.chunked, .length(7), .untilClose, .none]
        for framing in framings {
            let whole = readBody(bytes, framing)
            for cut in bytes.indices { #expect(readBody(bytes, framing, cuts: [cut]) == whole) }
            #expect(readBody(bytes, framing, cuts: Array(bytes.indices)) == whole)
        }
    }

    @Test(arguments: 0..<40)
    func `limits are found at the same place at every cut`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let limits = HeadLimits(
            targetBytes: Int.random(in: 0...60, using: &random), headBytes: Int.random(in: 60...200, using: &random),
            fieldCount: 5)
        let target = String(repeating: "a", count: Int.random(in: 0...160, using: &random))
        let value = String(repeating: "b", count: Int.random(in: 0...160, using: &random))
        let ends = ["\r\n", "\r\n", "\r\n", "\n"]
        let text =
            "GET /\(target) HTTP/1.1\(ends.randomElement(using: &random)!)Host: a\r\nX: "
            + "\(value)\(ends.randomElement(using: &random)!)\r\n"
        expectInvariant(octets(text), .request, limits)
    }

    @Test(arguments: 0..<30)
    func `long chunked content is the same at random cuts`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var encoded: [UInt8] = []
        var content: [UInt8] = []
        for _ in 0..<Int.random(in: 1...30, using: &random) {
            let size = Int.random(in: 1...400, using: &random)
            let chunk = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
            content += chunk
            let zeros = String(repeating: "0", count: Int.random(in: 0...3, using: &random))
            let name = Bool.random(using: &random) ? ";a=\"b\"" : ""
            encoded += octets(zeros + String(size, radix: 16, uppercase: Bool.random(using: &random)) + name + "\r\n")
            encoded += chunk + [13, 10]
        }
        encoded += octets("0\r\nX: y\r\n\r\nNEXT")
        for _ in 0..<20 {
            let cuts = (0..<Int.random(in: 0...50, using: &random))
                .map { _ in Int.random(in: 0...encoded.count, using: &random) }
                .sorted()
            let outcome = readBody(encoded, cuts: cuts)
            #expect(outcome.content == content)
            #expect(outcome.trailers == [TextField("X", "y")])
            #expect(outcome.end == .ended(leftover: octets("NEXT")))
        }
    }

    private func expectInvariant(_ bytes: [UInt8], _ kind: MessageKind, _ limits: HeadLimits = HeadLimits()) {
        let whole = readHead(bytes, kind, limits: limits)
        for cut in bytes.indices {
            let outcome = readHead(bytes, cuts: [cut], kind, limits: limits)
            #expect(outcome == whole, "cut at \(cut)")
        }
        #expect(readHead(bytes, cuts: Array(bytes.indices), kind, limits: limits) == whole, "octet by octet")
    }
}
