import HTTP
import Proxy
import Testing

/// What proofs of possession (RFC 9449) ask of the transforms, and fields that come with a credential.
@Suite struct ProofTests {
    private func credential(_ fields: [(String, String)]) throws -> Credential {
        Credential(
            headerName: "Authorization", headerValue: octets("DPoP token"), generation: 1, expiry: .max,
            extraHeaders: try fields.map { try #require(CredentialField(name: $0.0, value: $0.1)) })
    }

    /// As the worker does it.
    private func sent(
        _ fields: [String], _ credential: Credential, proof: [UInt8]? = nil, isHTTP2: Bool, times: Int = 1
    ) throws -> [String] {
        var head = MessageHead()
        parseRequest((["GET /a HTTP/1.1", "Host: a"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
        let rule = rule("/") {
            $0.via = false
            $0.forwarded = .off
        }
        RequestTransform.filter(&head, rule: rule)
        RequestTransform.replaceFields(&head, with: credential)
        var out = ByteBuffer()
        let somebody = CallerIdentity(address: octets("10.0.0.9"), isIPv6: false)
        guard isHTTP2 else {
            RequestTransform.writeHTTP1(
                head, rule: rule, upstream: upstream(), caller: somebody, credential: credential, upgrade: false,
                expectContinue: false, proof: proof, to: &out)
            return lines(out).dropLast(2).dropFirst(2).map { $0 }
        }
        var encoder = HPACKEncoder()
        var decoder = HPACKDecoder()
        var found: [String] = []
        for _ in 0..<times {
            out.removeAll()
            RequestTransform.writeHTTP2(
                head, rule: rule, upstream: upstream(), caller: somebody, credential: credential, upgrade: false,
                expectContinue: false, proof: proof, encoder: &encoder, to: &out)
            found = try decoder.decode(out.array()).map { "\($0.name): \($0.value)" }
        }
        return found.filter { !$0.hasPrefix(":") }
    }

    // MARK: Fields of the credential

    @Test(arguments: [false, true])
    func `fields of the credential replace the caller's`(isHTTP2: Bool) throws {
        let credential = try credential([("Notion-Version", "2022-06-28"), ("Xero-Tenant-Id", "t 1")])
        let lines = try sent(
            ["notion-version: evil", "NOTION_VERSION: evil", "X-Other: 1", "Xero-Tenant-Id: evil"], credential,
            isHTTP2: isHTTP2, times: 4)
        let expected =
            isHTTP2
            ? ["x-other: 1", "authorization: DPoP token", "notion-version: 2022-06-28", "xero-tenant-id: t 1"]
            : ["X-Other: 1", "Authorization: DPoP token", "Notion-Version: 2022-06-28", "Xero-Tenant-Id: t 1"]
        #expect(lines == expected)
    }

    @Test(arguments: [
        ("", "x"), ("a b", "x"), ("a:", "x"), ("Host", "x"), ("Content-Length", "1"), ("Transfer-Encoding", "x"),
        ("Connection", "x"), ("authorization", "x"), ("X-A", "a\r\nb"), ("X-A", "a\0"), ("TE", "x"), ("Via", "x"),
        ("Upgrade", "x"), ("Expect", "x"), ("X-Forwarded-For", "x"), ("Proxy-Authorization", "x"), (":path", "/"),
    ])
    func `no field of a credential touches framing, routing or another credential`(name: String, value: String) {
        #expect(CredentialField(name: name, value: value) == nil)
    }

    @Test func `a field of the credential's own name is left out`() throws {
        let field = try #require(CredentialField(name: "X-Key", value: "x"))
        let credential = Credential(
            headerName: "x-key", headerValue: octets("v"), generation: 1, expiry: .max, extraHeaders: [field])
        #expect(credential.extraHeaders.isEmpty && credential.extraLines.isEmpty)
    }

    @Test func `a credential says nothing of its secrets`() throws {
        let credential = Credential(
            headerName: "Authorization", headerValue: octets("Bearer seeded-secret"), generation: 1, expiry: .max,
            captured: ["a": "seeded-secret"], proofKey: octets("seeded-secret"))
        var text = ""
        dump(credential, to: &text)
        #expect(!(text + "\(credential)" + String(reflecting: credential)).contains("seeded"))
    }

    // MARK: Proofs

    @Test(arguments: [false, true])
    func `our proof goes upstream and the caller's does not`(isHTTP2: Bool) throws {
        let lines = try sent(
            ["DPoP: evil", "dpop: evil"], credential([]), proof: octets("a.b.c"), isHTTP2: isHTTP2, times: 3)
        #expect(lines.filter { $0.lowercased().hasPrefix("dpop") } == [isHTTP2 ? "dpop: a.b.c" : "DPoP: a.b.c"])
        let none = try sent(["DPoP: evil"], credential([]), isHTTP2: isHTTP2)
        #expect(none.allSatisfy { !$0.lowercased().hasPrefix("dpop") })
    }

    @Test func `a caller's proof goes on only beside the caller's own token`() {
        func passes(_ rule: RouteRule) -> Bool { forwarded(["DPoP: own"], rule: rule).contains("DPoP: own") }
        #expect(!passes(rule("/", grant: nil)))
        #expect(!passes(rule("/") { $0.forwardAuthorization = true }))
        #expect(passes(rule("/", grant: nil) { $0.forwardAuthorization = true }))
    }

    @Test(arguments: [
        ("GET /a/b?c=d#", "", "", "https://api.example.com/a/b"),
        ("GET /crm/x?y", "/crm", "", "https://api.example.com/x"),
        ("GET /crm?y", "/crm", "", "https://api.example.com/"),
        ("GET /a%20b?c", "", "/v1", "https://api.example.com/v1/a%20b"),
        ("GET http://gateway.test/a?b", "", "", "https://api.example.com/a"),
        ("OPTIONS *", "", "/v1", "https://api.example.com"),
        ("GET /crm//x?y", "/crm", "", "https://api.example.com/x"),
    ])
    func `a proof is about the upstream's URI without its query`(
        start: String, strip: String, base: String, expected: String
    ) {
        var head = MessageHead()
        let line = start.hasSuffix("#") ? String(start.dropLast()) : start
        parseRequest("\(line) HTTP/1.1\r\nHost: gateway.test\r\n\r\n", into: &head)
        let rule = rule("/") { $0.stripPrefix = octets(strip) }
        var out = ByteBuffer()
        RequestTransform.writeProofTarget(head, rule: rule, upstream: upstream(base: base), to: &out)
        #expect(String(decoding: out.array(), as: UTF8.self) == expected)
        out.removeAll()
        RequestTransform.writeProofMethod(head, upgrade: false, toHTTP2: true, to: &out)
        #expect(String(decoding: out.array(), as: UTF8.self) == String(start.prefix { $0 != " " }))
    }

    // MARK: Nonces

    private func response(_ fields: [String], status: String = "401 Unauthorized", into head: inout MessageHead) {
        parseResponse((["HTTP/1.1 \(status)"] + fields + ["", ""]).joined(separator: "\r\n"), into: &head)
    }

    @Test(arguments: [
        (["DPoP-Nonce: abc"], "abc"), (["dpop-nonce: a-B_c.~!#9"], "a-B_c.~!#9"), ([], nil), (["DPoP-Nonce: "], nil),
        (["DPoP-Nonce: a", "DPoP-Nonce: b"], nil), (["DPoP-Nonce: a b"], nil), (["DPoP-Nonce: a\"b"], nil),
        (["DPoP-Nonce: a\\b"], nil),
        (["DPoP-Nonce: " + String(repeating: "a", count: 1024)], String(repeating: "a", count: 1024)),
        (["DPoP-Nonce: " + String(repeating: "a", count: 1025)], nil), (["DPoP-Nonce: ä"], nil),
    ])
    func `a nonce is one field of characters that may stand in a proof`(fields: [String], nonce: String?) {
        for status in ["200 OK", "401 Unauthorized", "500 x"] {
            var head = MessageHead()
            response(fields, status: status, into: &head)
            let found = ProofNonce.find(in: head).map { head.text($0) }
            #expect(found == nonce)
        }
    }

    @Test(arguments: [
        ("DPoP error=\"use_dpop_nonce\"", true), ("DPoP error=use_dpop_nonce", true),
        ("DPoP algs=\"ES256\", error=\"use_dpop_nonce\", error_description=\"x\"", true),
        ("Bearer, DPoP error=\"use_dpop_nonce\"", true), ("DPoP error=\"invalid_token\"", false),
        ("DPoP error=\"invalid_token\", error_description=\"not use_dpop_nonce\"", false),
        ("DPoP error=\"use_dpop_nonces\"", false), ("DPoP error=\"use_dpop_nonc", false), ("use_dpop_nonce", false),
    ])
    func `a nonce is wanted where the challenge says so`(challenge: String, isWanted: Bool) {
        var head = MessageHead()
        response(["WWW-Authenticate: \(challenge)"], into: &head)
        var found = ProofNonce.isWanted(head)
        #expect(found == isWanted)
        response(["WWW-Authenticate: Bearer", "WWW-Authenticate: \(challenge)"], into: &head)
        found = ProofNonce.isWanted(head)
        #expect(found == isWanted)
        response(["WWW-Authenticate: \(challenge)"], status: "400 Bad Request", into: &head)
        let isWantedElsewhere = ProofNonce.isWanted(head)
        #expect(!isWantedElsewhere)
    }

    // MARK: The machine

    private func wanted(_ machine: inout ExchangeMachine, replayable: Bool = true) -> Action {
        machine.responseHeadReceived(isRejection: true, challenge: true, replayable: replayable, wantsNonce: true)
    }

    @Test func `a proof that wants a nonce is sent again once, with the same token`() {
        var machine = machine(after: .routed, .sameCredential, .connection)
        #expect(wanted(&machine) == .retryWithNonce)
        #expect(machine.phase == .waitingForConnection && machine.attempt == 1 && machine.generation == 7)
        #expect(machine.connectionReady(reused: true) == .sendRequest)
        #expect(wanted(&machine) == .forwardResponse(report: nil))
        #expect(machine.phase == .responding && machine.retryOutcome == .rejectedAgain)
    }

    @Test func `the retry for a nonce and the one for a token count apart`() {
        var first = machine(after: .routed, .sameCredential, .connection)
        #expect(wanted(&first) == .retryWithNonce)
        _ = first.connectionReady(reused: false)
        #expect(Event.rejection.happen(to: &first) == .hold(rejected: 7))
        #expect(first.credentialReady(generation: 8) == .retry)
        _ = first.connectionReady(reused: false)
        #expect(Event.answer.happen(to: &first) == .forwardResponse(report: nil))
        #expect(first.attempt == 2 && first.retryOutcome == .succeeded)

        var second = machine(after: .routed, .sameCredential, .connection, .rejection, .newCredential, .connection)
        #expect(second.attempt == 2)
        #expect(wanted(&second) == .retryWithNonce)
        #expect(second.attempt == 2 && second.generation == 8)
        _ = second.connectionReady(reused: false)
        #expect(Event.rejection.happen(to: &second) == .forwardResponse(report: nil))
        #expect(second.retryOutcome == .rejectedAgain)
    }

    @Test func `content that was not kept is not sent again for a nonce, and the token is not blamed`() {
        var machine = machine(after: .routed, .sameCredential, .connection)
        #expect(wanted(&machine, replayable: false) == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == .skippedBody)
    }

    @Test func `after a nonce a connection that was dead from the start is tried anew`() {
        var machine = machine(after: .routed, .sameCredential)
        _ = machine.connectionReady(reused: true)
        #expect(Event.lost.happen(to: &machine) == .openAttempt(newConnection: true))
        _ = machine.connectionReady(reused: false)
        #expect(wanted(&machine) == .retryWithNonce)
        _ = machine.connectionReady(reused: true)
        #expect(Event.lost.happen(to: &machine) == .openAttempt(newConnection: true))
    }
}
