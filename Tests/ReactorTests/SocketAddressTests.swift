import Testing

@testable import Reactor

@Suite struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1:80"), ("0.0.0.0", "0.0.0.0:80"), ("255.255.255.255", "255.255.255.255:80"),
        ("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("::", "[::]:80"),
        ("2001:DB8:0:0:1:0:0:1", "[2001:db8::1:0:0:1]:80"), ("2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]:80"),
        ("fe80::1%7", "[fe80::1%7]:80"), ("::ffff:10.0.0.1", "10.0.0.1:80"),
    ])
    func `a numeric host is read and written in its shortest form`(host: String, text: String) throws {
        let address = try #require(SocketAddress(numericHost: host, port: 80))
        #expect(address.description == text)
        #expect(address.port == 80)
    }

    @Test(arguments: [
        "", "[]", "[", "]", "localhost", "127.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5", "256.0.0.1", "2130706433",
        "[127.0.0.1]", "::1]", "[::1", ":::", "1::2::3", "12345::", "fe80::1%", "fe80::1%nonexistent0", "::1\0",
        "127.0.0.1\0", " 127.0.0.1", "0x7f.0.0.1", String(repeating: "1:", count: 40),
    ])
    func `what is no numeric address is refused`(host: String) {
        #expect(SocketAddress(numericHost: host, port: 80) == nil)
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("127.255.0.9", true), ("128.0.0.1", false), ("0.0.0.0", false), ("10.0.0.1", false),
        ("::1", true), ("::2", false), ("::", false), ("::ffff:127.0.0.1", true), ("::ffff:8.8.8.8", false),
        ("1::1", false),
    ])
    func `loopback is known in every form`(host: String, expected: Bool) throws {
        #expect(try #require(SocketAddress(numericHost: host, port: 1)).isLoopback == expected)
    }

    @Test func `a mapped address that the code makes itself is loopback too`() {
        let mapped = SocketAddress.ipv6(high: 0, low: 0xffff_7f00_0001, port: 1, scope: 0)
        #expect(mapped.isLoopback)
        #expect(!SocketAddress.ipv6(high: 0, low: 0xffff_0a00_0001, port: 1, scope: 0).isLoopback)
    }

    @Test func `a unix socket has no port, no IP text and is local`() {
        let address = SocketAddress.unix(path: "/run/x")
        #expect(address.description == "unix:/run/x")
        #expect(address.port == nil)
        #expect(address.ipText == "")
        #expect(address.isLoopback)
        #expect(address.with(port: 5) == address)
    }

    @Test func `the IP text has neither port nor brackets nor scope`() throws {
        let scoped = try #require(SocketAddress(numericHost: "fe80::1%7", port: 443))
        #expect(scoped.ipText == "fe80::1")
        #expect(scoped.with(port: 1).port == 1)
        let longest = try #require(SocketAddress(numericHost: "1111:2222:3333:4444:5555:6666:7777:8888", port: 1))
        let length = longest.withIPText { $0.count }
        #expect(length == 39)
    }
}
