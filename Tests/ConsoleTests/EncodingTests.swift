import Telemetry
import Testing

@testable import Console

@Suite struct EncodingTests {
    @Test(arguments: [
        ("", "", ""), ("f", "Zg==", "Zg"), ("fo", "Zm8=", "Zm8"), ("foo", "Zm9v", "Zm9v"),
        ("foob", "Zm9vYg==", "Zm9vYg"),
        ("??>", "Pz8+", "Pz8-"), ("???", "Pz8/", "Pz8_"),
    ])
    func `base64 in both alphabets (RFC 4648 section 10)`(text: String, padded: String, url: String) {
        #expect(Encodings.base64(Array(text.utf8)) == padded)
        #expect(Encodings.base64URL(Array(text.utf8)) == url)
    }

    @Test(
        arguments: [
            ("a%20b", false, "a b"), ("a+b", false, "a+b"), ("a+b", true, "a b"), ("%C3%BC", false, "ü"),
            ("%c3%bc", false, "ü"),
            ("%2e%2E", false, ".."), ("%", false, nil), ("%4", false, nil), ("%zz", false, nil), ("%00", false, nil),
            ("%ff", false, nil), ("%C3", false, nil),
        ] as [(String, Bool, String?)])
    func `percent-encoding is read, and what is broken is refused`(text: String, plus: Bool, expected: String?) {
        #expect(Encodings.percentDecoded(text, plusIsSpace: plus) == expected)
    }

    @Test(
        arguments: [
            ("a=1&b=2", "1"), ("b=2&a=1", "1"), ("a=1&a=2", nil), ("a=1&a=1", nil), ("b=2", nil), ("a", ""), ("a=", ""),
            ("a=%zz", nil), ("%61=x", "x"), ("aa=1", nil), ("a=b=c", "b=c"), ("", nil), ("&&a=1&", "1"),
        ] as [(String, String?)])
    func `a parameter is found if it stands once`(text: String, expected: String?) {
        #expect(Encodings.parameter("a", in: text) == expected)
    }

    @Test(arguments: ["crm", "a/b", "ü x", "%2F", "a?b#c", "\"<&>'"])
    func `an encoded name is one segment and is read back`(name: String) {
        let encoded = Encodings.percentEncoded(name)
        #expect(encoded.utf8.allSatisfy { $0 < 0x80 && !"/?#<>\"'& ".utf8.contains($0) })
        #expect(Encodings.percentDecoded(encoded, plusIsSpace: false) == name)
    }

    @Test func `equality does not need equal lengths to be false`() {
        #expect(Encodings.constantTimeEqual([1, 2], [1, 2]))
        #expect(!Encodings.constantTimeEqual([1, 2], [1, 3]))
        #expect(!Encodings.constantTimeEqual([1, 2], [1, 2, 3]))
        #expect(Encodings.constantTimeEqual([], []))
    }

    @Test(arguments: [
        (
            "https://gateway.example.com", "https", "gateway.example.com", "",
            "https://gateway.example.com/oauth/callback"
        ),
        (
            "HTTPS://Gateway.Example.com:443/", "https", "gateway.example.com", "",
            "https://gateway.example.com/oauth/callback"
        ),
        (
            "https://g.example:8443/tokens/", "https", "g.example:8443", "/tokens",
            "https://g.example:8443/tokens/oauth/callback"
        ),
        ("http://127.0.0.1:9090", "http", "127.0.0.1:9090", "", "http://127.0.0.1:9090/oauth/callback"),
        ("http://[::1]:9090", "http", "[::1]:9090", "", "http://[::1]:9090/oauth/callback"),
    ])
    func `a public URL is split, and the redirect URI follows from it`(
        text: String, scheme: String, authority: String, prefix: String, redirect: String
    ) {
        let url = PublicURL(text)
        #expect(url?.scheme == scheme)
        #expect(url?.authority == authority)
        #expect(url?.prefix == prefix)
        #expect(url?.redirectURI == redirect)
    }

    @Test(arguments: [
        "", "gateway.example.com", "ftp://x", "https://", "https://u:p@x", "https://x?y", "https://x#y",
        "https://x/a b",
        "https://x\r\ny", "https://x/\"", "https:///a",
    ])
    func `an odd public URL is refused`(text: String) {
        #expect(PublicURL(text) == nil)
    }

    @Test(
        arguments: [
            (0, "0 s"), (1, "1 s"), (59, "59 s"), (60, "1 min"), (90, "1 min 30 s"), (900, "15 min"), (3_600, "1 h"),
            (12_300, "3 h 25 min"), (86_400, "1 d"), (90_000, "1 d 1 h"), (86_400 * 57, "57 d"),
        ] as [(UInt64, String)])
    func `a span is said in one or two units`(seconds: UInt64, text: String) {
        #expect(RelativeTime.span(seconds: seconds) == text)
    }

    @Test(
        arguments: [
            (0, "just now"), (4, "just now"), (-4, "just now"), (60, "in 1 min"), (-60, "1 min ago"),
            (Int64.max, "in the far future"), (Int64.min, "long ago"),
        ] as [(Int64, String)])
    func `an instant is said from now on`(difference: Int64, text: String) {
        let now = Timestamp(unixSeconds: difference.magnitude > 1_000 ? -difference.signum() : 1_000)
        let (value, overflow) = now.unixSeconds.addingReportingOverflow(difference)
        let instant = Timestamp(unixSeconds: overflow || difference.magnitude > 1_000 ? difference : value)
        #expect(RelativeTime.text(of: instant, now: now) == text)
    }

    @Test func `what is interpolated into markup is text`() {
        let hostile = "<script>\"'&\u{202e}\u{0}\u{1b}"
        let markup: HTML = "<p title=\"\(hostile)\">\(hostile)</p>"
        #expect(
            markup.text
                == "<p title=\"&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\u{fffd}\">&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\u{fffd}</p>"
        )
        let nested: HTML = "<b>\(markup)\([markup, "<i>"])</b>"
        #expect(nested.text == "<b>\(markup.text)\(markup.text)<i></b>")
    }
}
