import Testing

@testable import Configuration

struct ValueTests {
    @Test(arguments: [
        ("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("0s", 0), ("1d2h3m4s5ms", 93_784_005), ("90m", 5_400_000),
    ])
    func `a duration is numbers with units`(_ text: String, _ milliseconds: Int) {
        #expect(DurationText.duration(text) == .milliseconds(milliseconds))
    }

    @Test(arguments: [
        "", "30", "s", "30 s", "-1s", "+1s", "1.5s", "1s1m", "1s1s", "1S", "1w", "١s", "9999999999999s",
        "999999999999d",
        "1s ", "0x1s",
    ])
    func `other texts are no durations`(_ text: String) {
        #expect(DurationText.duration(text) == nil)
    }

    @Test(arguments: ["0s", "1ms", "59s", "1m", "1m30s", "75s", "1h1ms", "366d"])
    func `a duration's text reads back as the same duration`(_ text: String) {
        let duration = DurationText.duration(text) ?? .seconds(-1)
        #expect(DurationText.duration(DurationText.text(duration)) == duration)
    }

    @Test(arguments: [("0B", 0), ("8000B", 8000), ("64KiB", 65_536), ("1MiB", 1 << 20), ("3GiB", 3 << 30)])
    func `a size is a number with a binary unit`(_ text: String, _ bytes: Int) {
        #expect(SizeText.bytes(text) == bytes)
        #expect(SizeText.bytes(SizeText.text(bytes)) ?? Int(SizeText.text(bytes)) == bytes)
    }

    @Test(arguments: ["", "64", "64KB", "64kib", "KiB", "-1KiB", "1.5MiB", "999999999999GiB", "1 KiB"])
    func `other texts are no sizes`(_ text: String) {
        #expect(SizeText.bytes(text) == nil)
    }

    @Test(arguments: [
        ("127.0.0.1:8080", "127.0.0.1:8080"), ("[::1]:1", "[::1]:1"), ("*:8080", "*:8080"), ("[::]:8080", "*:8080"),
        ("localhost:0", "127.0.0.1:0"), ("unix:/run/a.sock", "unix:/run/a.sock"), ("0.0.0.0:80", "0.0.0.0:80"),
        ("[0:0:0:0:0:0:0:1]:65535", "[::1]:65535"),
    ])
    func `a listener's address reads and prints`(_ text: String, _ printed: String) {
        #expect(AddressText.address(text)?.description == printed)
    }

    @Test(arguments: [
        "", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "127.1:80", "::1:80", "[::1]80",
        "[]:80",
        "[127.0.0.1]:80", "unix:", "unix:run", "unix:/a/", "host:80", "127.0.0.1:80:90", "[::1", "127.0.0.01:80",
    ])
    func `other texts are no addresses`(_ text: String) {
        #expect(AddressText.address(text) == nil)
    }

    @Test func `a Unix socket's path fits into the kernel's structure`() {
        #expect(AddressText.address("unix:/" + String(repeating: "a", count: 106)) != nil)
        #expect(AddressText.address("unix:/" + String(repeating: "a", count: 107)) == nil)
    }

    @Test(arguments: [
        ("https://API.example.com", "https://api.example.com/"), ("https://a:443/x", "https://a/x"),
        ("http://a:8080/x/y?z=1", "http://a:8080/x/y?z=1"), ("https://[::1]:9", "https://[::1]:9/"),
        ("HTTPS://a/%2F", "https://a/%2F"), ("https://a?b", "https://a/?b"), ("https://a/b/", "https://a/b/"),
    ])
    func `a URL reads and prints`(_ text: String, _ printed: String) {
        #expect(URLText.url(text)?.description == printed)
    }

    @Test(arguments: [
        "", "a", "//a", "https:", "https://", "https:///x", "ftp://a", "https://a b", "https://a/b#c", "https://u@a",
        "https://a:0", "https://a:x", "https://a:", "https://a:65536", "https://1.2.3", "https://-a", "https://a..b",
        "https://ä.example", "https://a/%4", "https://a/%xx", "https://a/../b", "https://a//b", "https://[::1",
        "https://a/\n",
        "https://[1.2.3.4]/", "https://a/\\b",
    ])
    func `other texts are no URLs`(_ text: String) {
        #expect(URLText.url(text) == nil)
    }

    @Test(arguments: [
        ("/", Snapshot.PathPattern.exact("/")), ("/*", .prefix("/")), ("/crm/*", .prefix("/crm/")),
        ("/a/b", .exact("/a/b")),
        ("/a/", .exact("/a/")), ("/v1.0/a~b", .exact("/v1.0/a~b")),
    ])
    func `a route's path is exact or a prefix`(_ text: String, _ pattern: Snapshot.PathPattern) {
        #expect(PathText.pattern(text) == pattern)
        #expect(pattern.description == text)
    }

    @Test(arguments: [
        "", "a", "*", "/a*", "/*/a", "/a//b", "//", "/./a", "/..", "/a/..", "/a%20b", "/a b", "/a?b", "/a;b", "/ä",
    ])
    func `other texts are no paths of routes`(_ text: String) {
        #expect(PathText.pattern(text) == nil)
    }

    @Test(arguments: [
        ("1.2.3.4", "1.2.3.4"), ("::", "::"), ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("::ffff:1.2.3.4", "::ffff:102:304"),
        ("1::", "1::"), ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("fe80::1", "fe80::1"),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
    ])
    func `an IP address reads and prints as in RFC 5952`(_ text: String, _ printed: String) {
        #expect(Snapshot.IPAddress(text)?.description == printed)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.+4", ":", ":::", "1::2::3", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "12345::", "g::", "::1%eth0", "1:2:3:4:5:6:7::8:9", "1.2.3.4::", "::1.2.3", "+1::", "1:2:3:4:5:6:7:8::",
    ])
    func `other texts are no IP addresses`(_ text: String) {
        #expect(Snapshot.IPAddress(text) == nil)
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ("::ffff:10.0.0.0/104", "10.1.1.1", true), ("0.0.0.0/0", "1.2.3.4", true), ("0.0.0.0/0", "::1", false),
        ("::/0", "fe80::1", true), ("::/0", "1.2.3.4", false), ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("2001:db8::/65", "2001:db8::7fff:0:0:1", true), ("2001:db8::/65", "2001:db8::8000:0:0:1", false),
        ("127.0.0.1", "127.0.0.1", true), ("127.0.0.1", "127.0.0.2", false), ("::1", "::1", true),
        ("::1/128", "::2", false),
    ])
    func `a network covers its addresses only`(_ network: String, _ address: String, _ isInside: Bool) throws {
        let network = try #require(Snapshot.Network(network))
        let address = try #require(Snapshot.IPAddress(address))
        #expect(network.contains(address) == isInside)
    }

    @Test(arguments: [
        "", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "a/8", "10.0.0.0/+8",
    ])
    func `other texts are no networks`(_ text: String) {
        #expect(Snapshot.Network(text) == nil)
    }

    @Test(arguments: [
        ("127.1.2.3", true), ("128.0.0.1", false), ("::1", true), ("::2", false), ("::ffff:127.0.0.1", true),
        ("::ffff:10.0.0.1", false), ("1::1", false),
    ])
    func `loopback addresses are known`(_ text: String, _ isLoopback: Bool) {
        #expect(Snapshot.IPAddress(text)?.isLoopback == isLoopback)
    }

    @Test func `an address's bytes are in network order`() {
        #expect(Snapshot.IPAddress("1.2.3.4")?.bytes == [1, 2, 3, 4])
        #expect(Snapshot.IPAddress("102:304::ff")?.bytes == [1, 2, 3, 4] + Array(repeating: 0, count: 11) + [255])
    }

    @Test(arguments: [
        ("adress", "address"), ("scope", "scopes"), ("retry_status", "retry_statuses"),
        ("basic", "client_secret_basic"),
        ("pkce", nil), ("x", nil), ("completely_different", nil), ("adderss", "address"),
    ])
    func `the nearest name is suggested, and none that is far`(_ word: String, _ name: String?) {
        let names = ["address", "scopes", "retry_statuses", "client_secret_basic"]
        #expect(Suggestion.nearest(to: word, among: names) == name)
    }

    @Test func `every default of the table is a legal value`() {
        func check<Subject>(_ directives: Directives<Subject>, _ subject: Subject) {
            for directive in directives.list {
                guard case .value(let kind) = directive.row.defaultValue else { continue }
                var copy = subject
                #expect(directive.set(Node(position: .nowhere, kind: kind), &copy) == [], "\(directive.name)")
            }
            #expect(Set(directives.list.map(\.name)).count == directives.list.count)
            #expect(directives.list.allSatisfy { !$0.row.documentation.isEmpty && $0.row.documentation.count < 116 })
        }
        check(topDirectives, Snapshot())
        check(listenerDirectives, ListenerDraft(name: ""))
        check(consoleDirectives, Snapshot.Console())
        check(storeDirectives, StoreDraft())
        check(providerDirectives, Snapshot.Provider())
        check(grantDirectives, GrantDraft())
        check(grantTemplateDirectives, GrantDraft())
        check(upstreamDirectives, Snapshot.Upstream())
        check(routeDirectives, Snapshot.Route())
        check(timeoutDirectives, Snapshot.Timeouts())
        check(limitDirectives, Snapshot.Limits())
        check(logDirectives, Snapshot.Log())
    }

    @Test func `the reference has a line for every directive`() {
        let lines = DirectiveTable.reference.split(separator: "\n")
        for (place, rows) in DirectiveTable.rows {
            #expect(place == .top || lines.contains("### `\(place.heading)`"))
            for row in rows {
                #expect(lines.contains { $0.hasPrefix("| `\(row.name)` |") && $0.hasSuffix("\(row.documentation) |") })
            }
        }
        #expect(
            lines.contains(
                "| `address` | address | required | Where callers connect: an IP address and port, `*:PORT` for every address, or `unix:/PATH`. |"
            ))
        #expect(
            lines.contains(
                "| `head` | duration: 1ms to 1d | `\"10s\"` | For a request's head, from its first byte or the connection's start. |"
            ))
    }
}
