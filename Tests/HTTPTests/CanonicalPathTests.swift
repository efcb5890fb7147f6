import HTTP
import Testing

/// A25: the path that a route is matched on is the path that the upstream comes to see.
@Suite struct CanonicalPathTests {
    enum Outcome: Equatable {
        case plain
        case decoded(String)
        case refused
    }

    private func decode(_ path: String) -> Outcome {
        var out = ByteBuffer()
        out.append("left from before")
        let result = octets(path).withUnsafeBytes { CanonicalPath.decode($0, into: &out) }
        switch result {
        case .plain: return .plain
        case .decoded: return .decoded(latin1(out.readable))
        case .refused: return .refused
        }
    }

    @Test(
        arguments: [
            "/", "/a", "/a/b/c", "/a/", "/a.b", "/a..b", "/a/b.", "/a/b..", "/a-b_c~d", "/a/b:c@d!$&'()*+,=", "*",
            "/a...",
            "/~user", "/a/b.json", "/\"<>^`{|}",
        ])
    func `a path that can be read in one way only is plain`(path: String) {
        #expect(decode(path) == .plain)
    }

    @Test(
        arguments: [
            "/..", "/../", "/a/..", "/a/../b", "/./a", "/.", "/a/.", "/a/./b", "/%2e", "/%2E/", "/%2e%2e", "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a", "/a/..;x/b", "/a/..;/b", "/a/.;x=y", "/..%3bx/a", "/..%3B", "/%252e%252e/a", "/%252e",
            "/a%2f..%2fb",
            "/a%2F..", "/a\\..\\b", "/..\\a", "/\\..", "/a%5c..%5Cb", "/%5c%2e%2e", "/a/%2e%2e%3b/b", "/a//../b",
            "/a;x/../b",
            "/a%252f%252e%252e", "/..%2f", "/..%5c", "/%2e%2e%2f", "/a/..%3Fx/../b", "/;/..", "/a;/..;/b",
            "/%2e%2E;a=b;c/x",
        ])
    func `a dot segment in any form is refused`(path: String) {
        #expect(decode(path) == .refused)
    }

    @Test(
        arguments: [
            "/%00", "/a%00b", "/%0a", "/%0D%0A", "/%1f", "/%7f", "/%2500", "/a/%09", "/a%250db",
        ])
    func `an encoded control octet is refused`(path: String) {
        #expect(decode(path) == .refused)
    }

    @Test(arguments: ["/%25252e", "/%2525252525", "/a%252525b", "/%25252561"])
    func `a path that is encoded more than twice is refused`(path: String) {
        #expect(decode(path) == .refused)
    }

    @Test(arguments: ["/%", "/a%", "/a%2", "/%zz", "/%u002e", "/a%2gb", "/%g2", "/%-1", "/% 2", "/%%", "/%%2e"])
    func `a percent sign that begins no octet is refused`(path: String) {
        #expect(decode(path) == .refused)
    }

    @Test(arguments: [
        "/%c0%ae%c0%ae/a", "/%c0%af", "/%C1%9C", "/%e0%80%ae", "/%f0%80%80%ae", "/%25c0%25ae", "/a%e0%81%9c",
    ])
    func `an ASCII character in an overlong UTF-8 form is refused`(path: String) {
        #expect(decode(path) == .refused)
    }

    @Test(
        arguments: [
            ("/a%2Fb", "/a/b"), ("/%61dmin", "/admin"), ("/%2561dmin", "/admin"), ("/a%20b", "/a b"), ("/a//b", "/a/b"),
            ("//a", "/a"), ("/a;x=y/b", "/a/b"), ("/a;x", "/a"), ("/a%3Bx/b", "/a/b"), ("/a\\b", "/a/b"),
            ("/a%5Cb", "/a/b"),
            ("/;x/a", "/a"), ("/a/;x", "/a/"), ("/a\\", "/a/"), ("/a%2f", "/a/"), ("/;", "/"), ("//", "/"),
            ("/a//", "/a/"),
            ("/.well-known/x", "/.well-known/x"), ("/...", "/..."), ("/a%25", "/a%"), ("/100%25/x", "/100%/x"),
            ("/a;b;c/d;e", "/a/d"), ("/%c3%a9", "/\u{C3}\u{A9}"), ("/%e9", "/\u{E9}"), ("/a%3fb", "/a?b"),
            ("/a%23b", "/a#b"),
            ("/%2e%2e%2e", "/..."), ("/..a", "/..a"), ("/.%2ea", "/..a"), ("/%2fa", "/a"), ("/a%252Fb", "/a/b"),
            ("/%25zz", "/%zz"), ("/%C4%B1", "/\u{C4}\u{B1}"), ("/%e0%a4%85", "/\u{E0}\u{A4}\u{85}"),
        ])
    func `a path with another reading is given in the decoded form`(path: String, decoded: String) {
        #expect(decode(path) == .decoded(decoded))
    }

    @Test(arguments: 0..<40)
    func `no path that is let through can be decoded to a dot segment`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let pieces = [
            ".", "..", "/", "%2e", "%2E", "%252e", "%2f", "\\", "%5c", ";", ";x", "%3b", "a", "%61", "%25", "//", "2e",
            "2f",
        ]
        for _ in 0..<300 {
            let path =
                "/"
                + (0..<Int.random(in: 1...6, using: &random)).map { _ in pieces.randomElement(using: &random)! }
                .joined()
            if decode(path) == .refused { continue }
            #expect(!Self.hasDotSegment(path), "\(path)")
        }
    }

    /// Decodes round after round; after each one looks at the segments of every reading.
    private static func hasDotSegment(_ path: String) -> Bool {
        var bytes = octets(path)
        for _ in 0..<8 {
            let segments = bytes.split(omittingEmptySubsequences: false) { $0 == 0x2F || $0 == 0x5C }
            for segment in segments {
                let name = segment.prefix { $0 != 0x3B }
                if name == [0x2E] || name == [0x2E, 0x2E] { return true }
            }
            var next: [UInt8] = []
            var index = 0
            while index < bytes.count {
                if bytes[index] == 0x25, index + 2 < bytes.count,
                    let value = UInt8(
                        Array(bytes[(index + 1)...(index + 2)]).withUnsafeBytes { latin1($0) }, radix: 16),
                    bytes[index + 1] != 0x2B
                {
                    next.append(value)
                    index += 3
                } else {
                    next.append(bytes[index])
                    index += 1
                }
            }
            bytes = next
        }
        return false
    }

}
