import CAllocationCounter
import HTTP
import Proxy
import Testing

/// The table as a list that is gone through from the most specific rule on: what the index must agree with.
private struct RouteList {
    let rules: [RouteRule]
    private let order: [Int]

    init(_ rules: [RouteRule]) {
        self.rules = rules
        order = rules.indices.sorted { Self.isMoreSpecific(rules[$0], rules[$1]) }
    }

    private static func isMoreSpecific(_ one: RouteRule, _ other: RouteRule) -> Bool {
        if (one.host != nil) != (other.host != nil) { return one.host != nil }
        let (first, second) = (rank(one.path), rank(other.path))
        if first != second { return first > second }
        return !one.methods.isEmpty && other.methods.isEmpty
    }

    private static func rank(_ path: RouteRule.Path) -> Int {
        switch path {
        case .exact(let path): path.count * 2 + 1_000_000
        case .prefix(let path): path.count * 2
        }
    }

    func match(_ head: borrowing MessageHead) -> RouteTable.Match {
        let host = Array(Authority.host(head.bytes(head.authority))).map { Octet.lowercased($0) }
        let method = Array(head.bytes(head.methodText))
        let path = Array(head.bytes(head.path))
        let found = find(path, host, method)
        var scratch = ByteBuffer()
        switch CanonicalPath.decode(head.bytes(head.path), into: &scratch) {
        case .plain: break
        case .refused: return .refused
        case .decoded: if find(scratch.array(), host, method) != found { return .refused }
        }
        return found.map { .route($0) } ?? .noRoute
    }

    private func find(_ path: [UInt8], _ host: [UInt8], _ method: [UInt8]) -> Int? {
        order.first { index in
            let rule = rules[index]
            if let wanted = rule.host, wanted != host { return false }
            if !rule.methods.isEmpty, !rule.methods.contains(method) { return false }
            switch rule.path {
            case .exact(let wanted): return path == wanted
            case .prefix(let wanted): return path.starts(with: wanted)
            }
        }
    }
}

/// Makes tables and targets of the same few words, so that they meet often.
private struct Maker {
    var random: SeededRandom
    private let words = [
        "a", "b", "ab", "service-100", "service-101", "%61", "x%2Fb", "a;v", "", ".", "longer-than-eight",
    ]
    private let hosts = ["api.test", "b.api.test", "[::1]", "x", "a-host-of-more-than-sixteen.octets.test"]
    private let methods = ["GET", "POST", "PURGE"]

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
    }

    mutating func path(words allowed: Int) -> String {
        var path = ""
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            path += "/" + words[Int.random(in: 0..<allowed, using: &random)]
        }
        return path + (path.isEmpty || Bool.random(using: &random) ? "/" : "")
    }

    mutating func rule(_ index: Int, anyPrefix: Bool) -> RouteRule {
        let text = path(words: 5)
        let isPrefix =
            anyPrefix ? Bool.random(using: &random) : text.hasSuffix("/") && Int.random(in: 0..<4, using: &random) > 0
        let path = anyPrefix && isPrefix ? String(text.dropLast(Int.random(in: 0...2, using: &random))) : text
        var rule = RouteRule(
            name: "\(index)", path: isPrefix ? .prefix(octets(path)) : .exact(octets(path)), upstream: 0, grant: nil)
        if Int.random(in: 0..<3, using: &random) == 0 { rule.host = octets(hosts.randomElement(using: &random)!) }
        if Int.random(in: 0..<3, using: &random) == 0 {
            rule.methods = methods.filter { _ in Bool.random(using: &random) }.map { octets($0) }
        }
        return rule
    }

    mutating func request() -> String {
        let host = Int.random(in: 0..<3, using: &random) == 0 ? "none.test" : hosts.randomElement(using: &random)!
        let asked = Bool.random(using: &random) ? host : host.uppercased() + ":80"
        let target = path(words: words.count) + (Bool.random(using: &random) ? "" : "?q=/a/")
        return "\(methods.randomElement(using: &random)!) \(target) HTTP/1.1\r\nHost: \(asked)\r\n\r\n"
    }
}

@Suite struct RouteIndexTests {
    /// Each seed makes several tables: small and large, of prefixes that end in "/", as the configuration's do, and of any.
    @Test(arguments: UInt64(0)..<60)
    func `the index finds what the list finds`(seed: UInt64) {
        var maker = Maker(seed: seed)
        var head = MessageHead()
        var scratch = ByteBuffer()
        var routed = 0
        for size in [0, 1, 2, 5, 20, 200] {
            for anyPrefix in [false, true] {
                let rules = (0..<size).map { maker.rule($0, anyPrefix: anyPrefix) }
                let (table, list) = (RouteTable(rules), RouteList(rules))
                for _ in 0..<60 {
                    let request = maker.request()
                    parseRequest(request, into: &head)
                    let (found, expected) = (table.match(head, scratch: &scratch), list.match(head))
                    #expect(found == expected, "\(request) of \(size) rules, any prefix: \(anyPrefix)")
                    if case .route = expected { routed += 1 }
                }
            }
        }
        #expect(routed > 50)
    }

    @Test func `each of 10,000 routes is found, and what is beside it is not`() {
        let count = 10_000
        let rules = (0..<count).map { index in
            rule(index % 3 == 0 ? "/service-\(index)" : "/service-\(index)/\(index % 7)/") {
                if index % 5 == 0 { $0.host = octets("host-\(index).test") }
            }
        }
        let table = RouteTable(rules)
        var head = MessageHead()
        var scratch = ByteBuffer()
        var failures = 0
        for index in 0..<count {
            let path = index % 3 == 0 ? "/service-\(index)" : "/service-\(index)/\(index % 7)/x"
            parseRequest("GET \(path) HTTP/1.1\r\nHost: Host-\(index).Test:8080\r\n\r\n", into: &head)
            if table.match(head, scratch: &scratch) != .route(index) { failures += 1 }
            parseRequest("GET \(path) HTTP/1.1\r\nHost: other.test\r\n\r\n", into: &head)
            let expected: RouteTable.Match = index % 5 == 0 ? .noRoute : .route(index)
            if table.match(head, scratch: &scratch) != expected { failures += 1 }
            parseRequest("GET /service-\(index)x HTTP/1.1\r\nHost: host-\(index).test\r\n\r\n", into: &head)
            if table.match(head, scratch: &scratch) != .noRoute { failures += 1 }
        }
        #expect(failures == 0)
    }

    @Test func `a method that the longest prefix does not take goes to a shorter one, then to every host's`() {
        let rules = [
            rule("/a/b/c/") { $0.methods = [octets("PUT")] }, rule("/a/b/") { $0.methods = [octets("POST")] },
            rule("/a/"),
            rule("/a/b/c/d") {
                $0.methods = [octets("DELETE")]
                $0.host = octets("h")
            },
            rule("/a/b/c/") {
                $0.methods = [octets("PATCH")]
                $0.host = octets("h")
            },
        ]
        func found(_ method: String) -> RouteTable.Match {
            var head = MessageHead()
            parseRequest("\(method) /a/b/c/d HTTP/1.1\r\nHost: h\r\n\r\n", into: &head)
            var scratch = ByteBuffer()
            return RouteTable(rules).match(head, scratch: &scratch)
        }
        #expect(found("DELETE") == .route(3))
        #expect(found("PATCH") == .route(4))
        #expect(found("PUT") == .route(0))
        #expect(found("POST") == .route(1))
        #expect(found("GET") == .route(2))
    }

    @Test func `of two rules that are the same the first is taken`() {
        let rules = [rule("/b/"), rule("/a/"), rule("/a/"), rule("/x"), rule("/x")]
        #expect(RouteTableTests.match(rules, "/a/1") == "/a/")
        var head = MessageHead()
        var scratch = ByteBuffer()
        parseRequest("GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n", into: &head)
        #expect(RouteTable(rules).match(head, scratch: &scratch) == .route(1))
        parseRequest("GET /x HTTP/1.1\r\nHost: h\r\n\r\n", into: &head)
        #expect(RouteTable(rules).match(head, scratch: &scratch) == .route(3))
    }

    @Test(.enabled(if: CostTests.countsAllocations && CostTests.closuresOnHeap == 0))
    func `a match in a large table allocates nothing`() {
        let table = RouteTable((0..<5000).map { rule("/service-\($0)/") })
        var head = MessageHead()
        var scratch = ByteBuffer(capacity: 256)
        parseRequest("GET /service-4711/items/7 HTTP/1.1\r\nHost: h\r\n\r\n", into: &head)
        var failures = 0
        let before = allocations_of_this_thread()
        for _ in 0..<1000 where table.match(head, scratch: &scratch) != .route(4711) { failures += 1 }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
        #expect(failures == 0)
    }
}
