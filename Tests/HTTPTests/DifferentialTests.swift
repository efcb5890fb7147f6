import HTTP
import Testing

/// J2: what our parser lets through a second, strict parser accepts, with the same meaning.
@Suite struct DifferentialTests {
    static let seeds = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a/b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
        "GET /x HTTP/1.0\r\nConnection: keep-alive\r\nUser-Agent: x (y; z)\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\nX-Empty:\r\nX-Tabs:\t a \t\r\n\r\n",
        "DELETE http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ]

    /// Pieces that make trouble; mutations put them anywhere.
    static let troubles = [
        "\r\n", "\n", "\r", " ", "\t", "\u{00}", ":", ",", ";", "\u{0B}", "\u{0C}", "\u{7F}", "\u{80}", "\u{A0}",
        "\u{FF}", "0",
        "5", "HTTP/1.1", "HTTP/1.0", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "chunked",
        "Host: b\r\n",
        " \r\n", "\r\n ", "\r\n\r\n", "#", "/", "?", "+", "-", "_", "\"", "\\",
    ].map { octets($0) }

    @Test(arguments: 0..<48)
    func `what is accepted after random mutations a strict parser accepts alike`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed) &* 7919 &+ 1)
        var accepted = 0
        for _ in 0..<250 {
            var bytes = octets(Self.seeds[seed % Self.seeds.count])
            for _ in 0..<Int.random(in: 1...3, using: &random) { Self.mutate(&bytes, &random) }
            guard case .parsed(let head, let length) = readHead(bytes) else { continue }
            accepted += 1
            compare(head, bytes, length)
        }
        #expect(accepted > 0, "the mutations leave nothing that can be compared")
    }

    private func compare(_ head: HeadCopy, _ bytes: [UInt8], _ length: Int) {
        var start = 0
        while bytes[start] == 13 { start += 2 }
        let text = bytes[start..<length].withUnsafeBytes { latin1($0) }
        guard let strict = StrictParser.request(text) else {
            Issue.record("accepted, but not strict: \(text.debugDescription)")
            return
        }
        #expect(head.methodText == strict.method, "\(text.debugDescription)")
        #expect(head.fields == strict.fields, "\(text.debugDescription)")
        #expect(head.framing == strict.framing, "\(text.debugDescription)")
        #expect(Int(head.minorVersion) == strict.minorVersion, "\(text.debugDescription)")
        #expect(
            strict.target.hasSuffix(head.target) || head.flags.contains(.absoluteForm), "\(text.debugDescription)")
    }

    static func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes.insert(contentsOf: troubles.randomElement(using: &random)!, at: place)
        case 1 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 2 where place < bytes.count: bytes.remove(at: place)
        case 3 where place < bytes.count:
            let piece = troubles.randomElement(using: &random)!
            bytes.replaceSubrange(place..<min(place + piece.count, bytes.count), with: piece)
        case 4:
            let other = Int.random(in: 0...bytes.count, using: &random)
            let copy = bytes[min(place, other)..<max(place, other)]
            bytes.insert(contentsOf: copy, at: Int.random(in: 0...bytes.count, using: &random))
        default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        }
    }
}
