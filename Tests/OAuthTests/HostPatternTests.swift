import Testing

@testable import OAuth

struct HostPatternTests {
    @Test(arguments: [
        ("accounts.zoho.eu", "accounts.zoho.eu"), ("https://accounts.zoho.eu", "accounts.zoho.eu"),
        ("https://accounts.zoho.eu/", "accounts.zoho.eu"), ("HTTPS://Accounts.ZOHO.eu", "accounts.zoho.eu"),
        ("https://acme.example:443", "acme.example"), ("acme.example:8443", "acme.example:8443"),
        ("10.1.2.3", "10.1.2.3"), ("https://[::1]:8443/", "[::1]:8443"), ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"), ("a-b.c--d.example", "a-b.c--d.example"),
    ])
    func `a host or an https origin is read`(text: String, host: String) {
        #expect(CapturedHost(text)?.description == host)
    }

    static let hostile = [
        "", " ", "https://", "http://accounts.zoho.eu", "ftp://a.example", "//a.example", "https:a.example",
        "user@accounts.zoho.eu", "https://accounts.zoho.eu@evil.example", "https://evil.example/@accounts.zoho.eu",
        "https://accounts.zoho.eu:secret@evil.example", "evil.example/accounts.zoho.eu", "evil.example//",
        "a.example/x",
        "https://a.example/x", "https://a.example?x", "https://a.example#x", "a.example?", "a.example#",
        "evil.example\\@accounts.zoho.eu", "evil.example\\.accounts.zoho.eu", "https:\\\\a.example",
        "accounts.zoho.eu.", ".accounts.zoho.eu", "accounts..zoho.eu", "-a.example", "a-.example", "a_b.example",
        "accounts.zoho.eu%2eevil.example", "%65vil.example", "accounts.zoho.eu%00.evil.example",
        "accounts。zoho。eu", "accounts．zoho．eu", "еvil.example", "evil.example\u{200B}", "bücher.example", "ﬁ.example",
        "a.example\r\nX-Evil: 1", "a.example\n", "\ta.example", "a.example\u{0}", "a b.example", "a.example,b.example",
        "a.example:", "a.example:0", "a.example:65536", "a.example:+443", "a.example:443:443", "a.example:44x",
        "a.example:99999999999999999999", "::1", "[::1", "::1]", "[::1]x", "[]", "[::1%25eth0]", "[a.example]",
        "127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5", "1.2.3.256",
        "1.2.3.4.", "a.0x1", "a.123", "*.example", "{a}.example", "a.example;b", "a.example'", "(a).example",
        String(repeating: "a", count: 64) + ".example", String(repeating: "a.", count: 150) + "example",
    ]

    @Test(arguments: hostile)
    func `what two parsers could read in two ways is no host`(text: String) {
        #expect(CapturedHost(text) == nil)
        #expect(HostPattern(text) == nil || text == "*.example")
    }

    @Test(arguments: [
        ("accounts.zoho.eu", "accounts.zoho.eu", true), ("accounts.zoho.eu", "ACCOUNTS.zoho.EU", true),
        ("accounts.zoho.eu", "accounts.zoho.com", false), ("accounts.zoho.eu", "x.accounts.zoho.eu", false),
        ("accounts.zoho.eu", "accounts.zoho.eu.evil.example", false),
        ("accounts.zoho.eu", "accounts.zoho.eu:8443", false),
        ("accounts.zoho.eu:8443", "accounts.zoho.eu:8443", true), ("accounts.zoho.eu:8443", "accounts.zoho.eu", false),
        ("accounts.zoho.eu:443", "accounts.zoho.eu", true),
        ("*.salesforce.com", "acme.my.salesforce.com", true), ("*.salesforce.com", "acme.salesforce.com", true),
        ("*.salesforce.com", "salesforce.com", false), ("*.salesforce.com", "evilsalesforce.com", false),
        ("*.salesforce.com", "acme.salesforce.com.evil.example", false),
        ("*.salesforce.com", "acme.salesforce.com:8443", false),
        ("10.1.2.3", "10.1.2.3", true), ("10.1.2.3", "10.1.2.4", false), ("[::1]", "[::1]", true),
        ("localhost", "localhost", true), ("*.example.com", "10.1.2.3", false),
    ])
    func `a pattern matches what it says and nothing else`(pattern: String, host: String, matches: Bool) throws {
        let pattern = try #require(HostPattern(pattern))
        #expect(pattern.matches(try #require(CapturedHost(host))) == matches)
        #expect([pattern].allow(try #require(CapturedHost(host))) == matches)
        #expect(HostPattern(pattern.description) == pattern)
    }

    @Test(arguments: [
        "*.com", "*", "*.", "a.*.example", "*a.example.com", "**.example.com", "*.10.1.2.3", "*.1.2", "*.[::1]", "",
        "https://a.example", "https://a.example/", "a.example/", "a.example/x",
    ])
    func `a pattern that would let too much through is refused`(text: String) {
        #expect(HostPattern(text) == nil)
    }

    @Test func `ten megabytes are no host`() {
        #expect(CapturedHost(String(repeating: "a", count: 10_000_000)) == nil)
        #expect(HostPattern("*." + String(repeating: "a.", count: 5_000_000)) == nil)
    }

    @Test func `an empty list allows nothing`() throws {
        #expect(![HostPattern]().allow(try #require(CapturedHost("a.example"))))
    }
}
