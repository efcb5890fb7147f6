import HTTP
import Proxy
import Testing

@Suite struct GrantSelectionTests {
    /// The name that a request gives, or why it gives none.
    private func key(
        _ source: GrantKeySource, _ fields: [String] = [], path: String = "/", caller: String? = nil
    ) -> (name: String?, reason: String?) {
        var head = MessageHead()
        parseRequest((["GET \(path) HTTP/1.1", "Host: a"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
        var out = ByteBuffer()
        out.append("zoho:")
        let reason = GrantKey.append(source, of: head, callerName: caller.map(octets), to: &out)
        let text = String(decoding: out.array(), as: UTF8.self)
        #expect(text.hasPrefix("zoho:"))
        #expect((text == "zoho:") == (reason != nil), "nothing stays behind of a name that is none: \(text)")
        return (reason == nil ? String(text.dropFirst(5)) : nil, reason?.description)
    }

    private static let header = GrantKeySource.header(octets("x-tenant"))

    @Test(arguments: [
        (["X-Tenant: acme"], "acme"), (["x-tenant:acme  "], "acme"), (["X-TENANT: a.b_c@d-E9"], "a.b_c@d-E9"),
        (["X-Other: b", "X-Tenant: acme", "X_Tenant: evil"], "acme"),
        (["Connection: x-tenant", "X-Tenant: acme"], "acme"), (["X-Tenant: .."], ".."),
    ])
    func `a header field names the grant`(fields: [String], name: String) {
        #expect(key(Self.header, fields).name == name)
    }

    @Test(arguments: [
        [], ["X-Tenant: "], ["X-Tenant: a", "X-Tenant: a"], ["X-Tenant: a", "x-tenant: b"], ["X-Tenant: a,b"],
        ["X-Tenant: a b"], ["X-Tenant: a:b"], ["X-Tenant: a/b"], ["X-Tenant: ä"], ["X-Tenant: a%2e"], ["X_Tenant: a"],
        ["X-Tenant2: a"],
    ])
    func `a header field that is missing, repeated or malformed names none`(fields: [String]) {
        #expect(key(Self.header, fields).name == nil)
    }

    @Test(arguments: [(1, true), (127, true), (128, true), (129, false), (4000, false)])
    func `a name has at most 128 octets`(length: Int, isName: Bool) {
        let name = String(repeating: "a", count: length)
        for found in [
            key(Self.header, ["X-Tenant: \(name)"]), key(.pathSegment(1), path: "/\(name)"),
            key(.caller, caller: name), key(.name(octets(name))),
        ] {
            #expect(found.name == (isName ? name : nil))
        }
        #expect(octets(name).withUnsafeBytes { GrantKey.isName($0) } == isName)
    }

    @Test(arguments: [
        (1, "/acme", "acme"), (1, "/acme/", "acme"), (1, "/acme/crm?x=/y", "acme"), (2, "/t/acme/crm", "acme"),
        (2, "/t/ac%6De", "acme"), (2, "/t/%61%40b", "a@b"), (3, "/a%20b/c/acme", "acme"), (2, "/t/a-b?c", "a-b"),
        (1, "/%41", "A"),
    ])
    func `a segment of the path names the grant`(number: Int, path: String, name: String) {
        #expect(key(.pathSegment(number), path: path).name == name)
    }

    @Test(arguments: [
        (1, "/"), (1, "//acme"), (2, "/t"), (2, "/t/"), (2, "/t//acme"), (2, "//acme"), (3, "/a/b"), (1, "/a%2Fb"),
        (1, "/a%2fb"), (1, "/a%25b"), (1, "/a%"), (1, "/a%4"), (1, "/a%zz"), (1, "/a;b"), (1, "/a%00"), (1, "/a+b"),
        (2, "/t%2Fu/acme"), (2, "/t%5cu/acme"), (2, "/t\\u/acme"), (2, "/t%252Fu/acme"), (2, "/t%/acme"),
        (1, "/a:b"), (1, "/%C3%A4"),
    ])
    func `a segment that can be read in two ways, or is none, names no grant`(number: Int, path: String) {
        let found = key(.pathSegment(number), path: path)
        #expect(found.name == nil && found.reason?.isEmpty == false, "\(found)")
    }

    @Test func `a caller names the grant by what it has proved to be`() {
        #expect(key(.caller, ["X-Tenant: evil"], caller: "billing").name == "billing")
        #expect(key(.caller, ["X-Tenant: evil"]).name == nil)
        #expect(key(.caller, caller: "").name == nil)
        #expect(key(.caller, caller: "Acme, Inc.").name == nil)
        #expect(key(.caller, caller: "a\0b").name == nil)
    }

    @Test func `a fixed name is the same for all requests`() {
        #expect(key(.name(octets("acme")), ["X-Tenant: evil"], path: "/evil", caller: "evil").name == "acme")
    }

    // MARK: Upstream

    private func tenantRule(_ change: (inout RouteRule) -> Void = { _ in }) -> RouteRule {
        var rule = RouteRule(
            name: "t", path: .prefix(octets("/")), upstream: 0, grantSelection: .template(0, Self.header))
        change(&rule)
        return rule
    }

    @Test func `the field that names the grant does not go upstream`() {
        let fields = ["X-Tenant: acme", "x_tenant: acme", "X-Other: 1"]
        let sent = forwarded(fields, rule: tenantRule(), credential: bearer)
        #expect(!sent.contains { $0.lowercased().hasPrefix("x-tenant") || $0.lowercased().hasPrefix("x_tenant") })
        #expect(sent.contains("X-Other: 1") && sent.contains("Authorization: Bearer seeded-secret"))
    }

    @Test func `the field that names the grant goes on where the route says so`() {
        let rule = tenantRule { $0.removesGrantHeader = false }
        #expect(forwarded(["X-Tenant: acme"], rule: rule).contains("X-Tenant: acme"))
    }

    @Test func `no trailer names the grant upstream`() {
        var trailers = MessageHead()
        parseRequest("GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: evil\r\nDPoP: x\r\nX-Sum: 1\r\n\r\n", into: &trailers)
        RequestTransform.filterTrailers(&trailers, rule: tenantRule())
        let names = trailers.textFields.map { $0.name.lowercased() }
        #expect(!names.contains("x-tenant") && !names.contains("dpop") && names.contains("x-sum"))
    }

    @Test func `a rule knows what its selection means`() {
        var rule = rule(grant: nil)
        #expect(!rule.injectsCredential && rule.removedGrantHeader.isEmpty)
        rule.grantSelection = .fixed(3)
        #expect(rule.injectsCredential && rule.removedGrantHeader.isEmpty)
        rule.grantSelection = .template(0, .pathSegment(1))
        #expect(rule.injectsCredential && rule.removedGrantHeader.isEmpty)
        rule.grantSelection = .template(0, Self.header)
        #expect(rule.removedGrantHeader == octets("x-tenant"))
        rule.removesGrantHeader = false
        #expect(rule.removedGrantHeader.isEmpty)
    }
}
