import HTTP
import Proxy
import Testing

@Suite struct RouteTableTests {
    private static func named(
        _ name: String, _ path: String, host: String? = nil, methods: [String] = []
    ) -> RouteRule {
        rule(path) {
            $0.name = name
            $0.host = host.map { octets($0) }
            $0.methods = methods.map { octets($0) }
        }
    }

    /// In an order that says nothing about what is more specific.
    static let rules = [
        named("root", "/"),
        named("crm posts", "/crm/", methods: ["POST"]),
        named("crm", "/crm/"),
        named("host crm posts", "/crm/", host: "api.test", methods: ["POST", "PUT"]),
        named("crm v2", "/crm/v2/"),
        named("exact", "/crm/v2/exact"),
        named("host root", "/", host: "api.test"),
        named("exact post", "/crm/v2/exact", methods: ["POST"]),
        named("long exact", "/files/a/b/c/d/e/f"),
        named("six", "/", host: "[::1]"),
    ]

    /// The name of the route, or what else came out.
    static func match(_ rules: [RouteRule], _ target: String, host: String = "other.test", method: String = "GET")
        -> String
    {
        var head = MessageHead()
        parseRequest("\(method) \(target) HTTP/1.1\r\nHost: \(host)\r\n\r\n", into: &head)
        var scratch = ByteBuffer()
        return switch RouteTable(rules).match(head, scratch: &scratch) {
        case .route(let index): rules[index].name
        case .noRoute: "no route"
        case .refused: "refused"
        }
    }

    @Test(arguments: [
        ("/", "other.test", "GET", "root"), ("/crm", "other.test", "GET", "root"),
        ("/crm?x=/crm/", "other.test", "GET", "root"), ("/crmx/", "other.test", "GET", "root"),
        ("/crm/", "other.test", "GET", "crm"), ("/crm/?q", "other.test", "GET", "crm"),
        ("/crm/a", "other.test", "POST", "crm posts"), ("/crm/a", "other.test", "post", "crm"),
        ("/crm/v2", "other.test", "POST", "crm posts"), ("/crm/v2/", "other.test", "POST", "crm v2"),
        ("/crm/v2/exact", "other.test", "GET", "exact"), ("/crm/v2/exact?x=1", "other.test", "GET", "exact"),
        ("/crm/v2/exact", "other.test", "POST", "exact post"), ("/crm/v2/exact/", "other.test", "GET", "crm v2"),
        ("/CRM/", "other.test", "GET", "root"), ("/files/a/b/c/d/e/f", "other.test", "GET", "long exact"),
        ("/crm/v2/exact", "api.test", "GET", "host root"), ("/crm/v2/exact", "api.test", "PUT", "host crm posts"),
        ("/", "API.Test", "GET", "host root"), ("/", "api.test:8080", "GET", "host root"),
        ("/", "api.test:", "GET", "host root"), ("/", "api.test.evil", "GET", "root"),
        ("/", "xapi.test", "GET", "root"), ("/", "", "GET", "root"),
        ("/", "[::1]", "GET", "six"), ("/", "[::1]:80", "GET", "six"), ("/", "[::2]:80", "GET", "root"),
        ("http://api.test/x", "other.test", "GET", "host root"),
        ("http://api.test:99?x", "other.test", "GET", "host root"),
        ("http://other.test/crm/x", "api.test", "GET", "crm"),
        // A query is not a path; a rule for a path is not one for the server as a whole.
        ("/?/crm/", "other.test", "GET", "root"), ("*", "other.test", "OPTIONS", "no route"),
    ])
    func `the most specific route is taken`(target: String, host: String, method: String, route: String) {
        #expect(Self.match(Self.rules, target, host: host, method: method) == route)
    }

    @Test(arguments: UInt64(0)..<30)
    func `the order of the rules says nothing`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let shuffled = Self.rules.shuffled(using: &random)
        let cases = [
            ("/crm/a", "other.test", "POST"), ("/crm/v2/exact", "x", "POST"), ("/crm/v2/exact", "x", "GET"),
            ("/crm/a", "api.test", "PUT"), ("/crm/a", "api.test", "GET"), ("/x", "x", "GET"),
        ]
        for (target, host, method) in cases {
            let expected = Self.match(Self.rules, target, host: host, method: method)
            #expect(Self.match(shuffled, target, host: host, method: method) == expected)
        }
    }

    @Test func `a path that no rule covers has no route`() {
        let rules = [Self.named("crm", "/crm/"), Self.named("host", "/x", host: "api.test")]
        #expect(Self.match(rules, "/crm") == "no route")
        #expect(Self.match(rules, "/other") == "no route")
        #expect(Self.match(rules, "/x") == "no route")
        #expect(Self.match([], "/") == "no route")
    }

    /// With one rule for everybody, one that is meant for few, and none for the rest.
    @Test(arguments: [
        ("/public/a", "public"), ("/public/a%20b", "public"), ("/public//a", "public"),
        ("/public/a;v=1", "public"), ("/public/.hidden", "public"), ("/public/...", "public"),
        ("/public/a%2fb", "public"), ("/public/%2fadmin/", "public"), ("/public/%C3%A4", "public"),
        ("/public/?x=../../admin/", "public"), ("/public/%", "refused"), ("/public/%zz", "refused"),
        ("/public/%u002e%u002e/admin/", "refused"), ("/public/../admin/x", "refused"),
        ("/public/./x", "refused"), ("/public/..", "refused"), ("/public/%2e%2e/admin/", "refused"),
        ("/public/%2E./admin/", "refused"), ("/public/.%2e/admin/", "refused"),
        ("/public%2f..%2fadmin%2f", "refused"), ("/public/..%2fadmin/", "refused"),
        ("/public/..%5cadmin/", "refused"), ("/public/..\\admin/", "refused"), ("/public\\..\\admin", "refused"),
        ("/public/..;/admin/", "refused"), ("/public/..;x=y/admin/", "refused"),
        ("/public/%2e%2e;/admin/", "refused"), ("/public/%252e%252e/admin/", "refused"),
        ("/public/%25252e%25252e/admin/", "refused"), ("/public/%c0%ae%c0%ae/admin/", "refused"),
        ("/public/%e0%80%af", "refused"), ("/public/%00", "refused"), ("/public/a%0d%0ab", "refused"),
        ("/public/%7f", "refused"), ("/%61dmin/x", "refused"), ("//admin/x", "refused"),
        ("/\\admin/x", "refused"), ("/;/admin/x", "refused"), ("/admin;x/y", "refused"), ("/admin%2fx", "refused"),
        ("/admin%252fx", "refused"), ("/publi%63/x", "refused"), ("/public%2fx", "refused"),
        ("/public/../public/x", "refused"), ("/admin//x", "admin"), ("/admin/%61", "admin"),
        ("/elsewhere/../public/x", "refused"), ("/elsewhere//x", "no route"),
        ("/exact;x", "refused"), ("/exact/", "no route"), ("/%65xact", "refused"), ("/exact", "exact"),
        ("/public/exact%2f..", "refused"),
    ])
    func `a path that can be read in two ways never passes through a rule that does not cover both`(
        target: String, route: String
    ) {
        let rules = [Self.named("public", "/public/"), Self.named("admin", "/admin/"), Self.named("exact", "/exact")]
        #expect(Self.match(rules, target) == route)
    }

    @Test func `the decoded path must fall under the same rule, not only under some rule`() {
        #expect(Self.match(Self.rules, "/crm%2fv2/exact") == "refused")
        #expect(Self.match(Self.rules, "/crm/v2/exac%74") == "refused")
        #expect(Self.match(Self.rules, "/crm/v2%2fx") == "refused")
        #expect(Self.match(Self.rules, "/crm/%76%31/x") == "crm")
    }
}

@Suite struct AddressBlockTests {
    private static func v4(_ address: UInt64, _ length: Int) -> AddressBlock {
        AddressBlock(high: 0, low: address, isIPv4: true, prefixLength: length)
    }

    @Test(
        arguments: [
            (0x0A00_0001, 32, 0x0A00_0001, true), (0x0A00_0001, 32, 0x0A00_0000, false),
            (0x0A00_0000, 31, 0x0A00_0001, true), (0x0A00_0000, 31, 0x0A00_0002, false),
            (0x0A00_0000, 8, 0x0AFF_FFFF, true), (0x0A00_0000, 8, 0x0B00_0000, false),
            (0x8000_0000, 1, 0xFFFF_FFFF, true), (0x8000_0000, 1, 0x7FFF_FFFF, false), (0, 0, 0xFFFF_FFFF, true),
        ] as [(UInt64, Int, UInt64, Bool)])
    func `a block of IPv4 covers its prefix`(block: UInt64, length: Int, address: UInt64, isCovered: Bool) {
        #expect(Self.v4(block, length).contains(high: 0, low: address, isIPv4: true) == isCovered)
    }

    @Test(
        arguments: [
            (0, 1, 128, 0, 1, true), (0, 1, 128, 0, 2, false), (0, 1, 128, 1, 1, false), (0, 2, 127, 0, 3, true),
            (0, 2, 127, 0, 4, false), (7, 0, 64, 7, .max, true), (7, 0, 64, 6, 0, false),
            (7, 1 << 63, 65, 7, .max, true), (7, 1 << 63, 65, 7, .max >> 1, false), (6, 0, 63, 7, 9, true),
            (6, 0, 63, 8, 9, false), (1 << 63, 0, 1, .max, .max, true), (1 << 63, 0, 1, 1, 0, false),
            (9, 9, 0, 1, 2, true),
        ] as [(UInt64, UInt64, Int, UInt64, UInt64, Bool)])
    func `a block of IPv6 covers its prefix`(
        high: UInt64, low: UInt64, length: Int, otherHigh: UInt64, otherLow: UInt64, isCovered: Bool
    ) {
        let block = AddressBlock(high: high, low: low, isIPv4: false, prefixLength: length)
        #expect(block.contains(high: otherHigh, low: otherLow, isIPv4: false) == isCovered)
    }

    @Test func `the families do not mix`() {
        #expect(!Self.v4(0, 0).contains(high: 1, low: 0, isIPv4: false))
        #expect(!AddressBlock(high: 0, low: 0, isIPv4: false, prefixLength: 0).contains(high: 0, low: 9, isIPv4: true))
    }

    @Test func `IPv4 mapped into IPv6 counts as IPv4`() {
        let mapped: UInt64 = 0xFFFF_0A00_0001
        #expect(Self.v4(0x0A00_0000, 8).contains(high: 0, low: mapped, isIPv4: false))
        #expect(!Self.v4(0x0B00_0000, 8).contains(high: 0, low: mapped, isIPv4: false))
        let block = AddressBlock(high: 0, low: 0xFFFF_0A00_0000, isIPv4: false, prefixLength: 104)
        #expect(block == Self.v4(0x0A00_0000, 8))
        #expect(block.contains(high: 0, low: 0x0A01_0203, isIPv4: true))
        #expect(!block.contains(high: 0, low: 0x0B01_0203, isIPv4: true))
    }

    @Test(arguments: [-1, 33, 129, Int.max, Int.min], [true, false])
    func `a length that cannot be does not trap`(length: Int, isIPv4: Bool) {
        let block = AddressBlock(high: 0, low: 5, isIPv4: isIPv4, prefixLength: length)
        #expect(block.contains(high: 0, low: 5, isIPv4: isIPv4))
    }
}
