import OpenSSLKit
import Testing

@testable import OAuth

/// An authorization server's keys and what it signs with them.
private struct Issuer {
    static let rsa = try! SigningKey.generate(.rsa)
    static let p256 = try! SigningKey.generate(.p256)
    static let ed25519 = try! SigningKey.generate(.ed25519)
    static let other = try! SigningKey.generate(.p256)

    static func jwk(_ key: SigningKey, kid: String?, more: String = "") -> String {
        let kid = kid.map { #","kid":"\#($0)""# } ?? ""
        return "\(key.publicKey.jwk.dropLast())\(kid)\(more)}"
    }

    static let keySet =
        #"{"keys":[\#(jwk(rsa, kid: "r", more: #","use":"sig","alg":"RS256""#)),\#(jwk(p256, kid: "e")),"#
        + #"\#(jwk(ed25519, kid: "d")),{"kty":"oct","kid":"o","k":"AAAA"},{"kty":"weird"},7]}"#

    static func claims(_ change: (inout [String: JSONValue]) -> Void = { _ in }) -> [String: JSONValue] {
        var claims: [String: JSONValue] = [
            "iss": .string(ScriptedServer.issuer), "aud": .string("client"), "sub": .string("user-1"),
            "iat": .number("1700000000"), "exp": .number("1700000600"), "nonce": .string("n"),
        ]
        change(&claims)
        return claims
    }

    static func token(
        _ claims: [String: JSONValue] = claims(), key: SigningKey = p256, algorithm: SignatureAlgorithm = .es256,
        header: JSONWebToken.Members = [("kid", .string("e"))]
    ) -> String {
        let members = claims.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        return try! JSONWebToken.signed(header: header, claims: members, key: key, algorithm: algorithm)
    }
}

@Suite struct IDTokenTests {
    private func server(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ScriptedServer {
        ScriptedServer {
            $0.issuer = ScriptedServer.issuer
            $0.revocationEndpoint = ProviderURL("https://as.example/revoke")
            $0.jwksEndpoint = ProviderURL("https://as.example/keys")
            configure(&$0)
        }
    }

    private func reply(_ server: inout ScriptedServer, _ token: String?, scope: String = "") {
        let member = token.map { #","id_token":"\#($0)""# } ?? ""
        server.reply(200, #"{"access_token":"a","refresh_token":"r"\#(member)\#(scope)}"#)
    }

    /// A code is exchanged, a token comes, the keys are fetched.
    private func consent(
        _ token: String?, scope: String = "", configure: (inout ProviderSettings) -> Void = { _ in }
    ) -> ScriptedServer {
        var server = server(configure)
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, token, scope: scope)
        if server.open.first?.request.purpose == .keySet { server.reply(200, Issuer.keySet) }
        return server
    }

    // MARK: Good ones

    @Test(
        arguments: [
            ("r", SignatureAlgorithm.rs256), ("e", .es256), ("d", .edDSA), (nil, .es256), (nil, .rs256),
        ] as [(String?, SignatureAlgorithm)])
    func `a good id_token gives the account, and is handed on to nobody`(kid: String?, algorithm: SignatureAlgorithm) {
        let key = algorithm == .rs256 ? Issuer.rsa : algorithm == .edDSA ? Issuer.ed25519 : Issuer.p256
        let header: JSONWebToken.Members = kid.map { [("kid", .string($0))] } ?? []
        let server = consent(Issuer.token(key: key, algorithm: algorithm, header: header))
        #expect(server.tokenSet?.account == "user-1" && server.tokenSet?.idToken == nil)
        #expect(server.requests.map(\.purpose) == [.codeExchange, .keySet])
        #expect(server.requests.last?.method == .get && server.requests.last?.body.isEmpty == true)
    }

    @Test(
        arguments: [
            ("id_token.email", "e@x.example"), ("id_token.sub", "user-1"), ("id_token.deep.name", "n1"),
            ("id_token.number", "42"), ("id_token.missing", nil), ("user.id", "u7"),
        ] as [(String, String?)])
    func `the account is the configured claim`(path: String, account: String?) {
        let claims = Issuer.claims {
            $0["email"] = .string("e@x.example")
            $0["deep"] = .object(["name": .string("n1")])
            $0["number"] = .number("42")
        }
        let server = consent(Issuer.token(claims), scope: #","user":{"id":"u7"}"#) { $0.paths.account = path }
        #expect(server.tokenSet != nil && server.tokenSet?.account == account)
    }

    @Test func `several audiences are good where the authorized party is this client`() {
        let claims = Issuer.claims {
            $0["aud"] = .array([.string("other"), .string("client")])
            $0["azp"] = .string("client")
        }
        #expect(consent(Issuer.token(claims)).tokenSet != nil)
    }

    @Test(arguments: [("exp", "1699999881"), ("iat", "1700000119"), ("nbf", "1700000119"), ("exp", "1.7000006e9")])
    func `clocks may differ a little`(claim: String, seconds: String) {
        let server = consent(Issuer.token(Issuer.claims { $0[claim] = .number(seconds) }))
        #expect(server.tokenSet != nil)
    }

    // MARK: Bad ones

    struct Bad: Sendable, CustomTestStringConvertible {
        var code: String
        var why: String
        var claims: @Sendable (inout [String: JSONValue]) -> Void
        var testDescription: String { "\(code): \(why)" }
    }

    private static let bad: [Bad] = [
        Bad(code: "issuer", why: "another") { $0["iss"] = .string("https://evil.example") },
        Bad(code: "issuer", why: "almost the same") { $0["iss"] = .string("https://as.example/") },
        Bad(code: "issuer", why: "missing") { $0["iss"] = nil },
        Bad(code: "audience", why: "another") { $0["aud"] = .string("other") },
        Bad(code: "audience", why: "missing") { $0["aud"] = nil },
        Bad(code: "audience", why: "empty") { $0["aud"] = .array([]) },
        Bad(code: "audience", why: "several without azp") { $0["aud"] = .array([.string("client"), .string("x")]) },
        Bad(code: "audience", why: "authorized party is another") { $0["azp"] = .string("x") },
        Bad(code: "expired", why: "past the leeway") { $0["exp"] = .number("1699999880") },
        Bad(code: "malformed", why: "no exp") { $0["exp"] = nil },
        Bad(code: "malformed", why: "exp as text") { $0["exp"] = .string("1700000600") },
        Bad(code: "malformed", why: "exp too large") { $0["exp"] = .number("1e300") },
        Bad(code: "malformed", why: "exp negative") { $0["exp"] = .number("-1") },
        Bad(code: "malformed", why: "no iat") { $0["iat"] = nil },
        Bad(code: "not_yet_valid", why: "made in the future") { $0["iat"] = .number("1700000121") },
        Bad(code: "not_yet_valid", why: "begins in the future") { $0["nbf"] = .number("1700000121") },
        Bad(code: "nonce", why: "another") { $0["nonce"] = .string("m") },
        Bad(code: "nonce", why: "missing") { $0["nonce"] = nil },
        Bad(code: "subject", why: "missing") { $0["sub"] = nil },
        Bad(code: "subject", why: "empty") { $0["sub"] = .string("") },
        Bad(code: "subject", why: "too long") { $0["sub"] = .string(String(repeating: "x", count: 256)) },
    ]

    @Test(arguments: bad)
    func `a wrong claim refuses the tokens and revokes them`(_ bad: Bad) {
        let server = consent(Issuer.token(Issuer.claims(bad.claims)))
        #expect(server.problem?.code == "id_token_" + bad.code)
        #expect(server.problem?.label == server.problem?.code)
        #expect(server.requests.last?.purpose == .revocation && server.requests.last?.parameter("token") == "r")
        #expect(server.facts.last == server.problem.map { .identityRefused($0) })
    }

    @Test func `an address that the provider did not verify is no account`() {
        for value in [JSONValue.bool(false), .string("false")] {
            let claims = Issuer.claims {
                $0["email"] = .string("boss@x.example")
                $0["email_verified"] = value
            }
            for path in ["id_token.email", "id_token@email"] {
                let server = consent(Issuer.token(claims)) { $0.paths.account = path }
                #expect(server.problem?.code == "id_token_unverified_email")
            }
            #expect(consent(Issuer.token(claims)).tokenSet?.account == "user-1")
        }
    }

    @Test func `every changed octet of the signature or of what is signed is seen`() {
        let token = Issuer.token()
        let dot = token.lastIndex(of: ".")!
        for place in [token.index(after: dot), token.index(dot, offsetBy: 40), token.index(dot, offsetBy: -3)] {
            var changed = token
            changed.replaceSubrange(place...place, with: token[place] == "A" ? "B" : "A")
            let code = consent(changed).problem?.code
            #expect(code == "id_token_signature" || code == "id_token_malformed")
        }
        #expect(consent(Issuer.token(key: Issuer.other)).problem?.code == "id_token_signature")
    }

    @Test func `no key, symmetric algorithms and algorithms of other keys are refused`() throws {
        func unsigned(_ algorithm: String) -> String {
            let header = Crypto.base64URL(Array(#"{"alg":"\#(algorithm)","kid":"r"}"#.utf8))
            let token = Issuer.token()
            return header + token.dropFirst(token.firstIndex(of: ".")!.utf16Offset(in: token))
        }
        for algorithm in ["none", "None", "HS256", "HS512", "ES256K", "", "RS256 "] {
            #expect(consent(unsigned(algorithm)).problem?.code == "id_token_algorithm")
        }
        // The public key as an HMAC secret: the classic confusion.
        let members = Issuer.claims().sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        let confused = JSONWebToken.signed(
            header: [("kid", .string("r"))], claims: members, secret: Secret(Issuer.rsa.publicKey.jwk))
        #expect(consent(confused).problem?.code == "id_token_algorithm")
        // The key is bound to RS256, or is of another kind.
        let bound = Issuer.token(key: Issuer.rsa, algorithm: .ps256, header: [("kid", .string("r"))])
        #expect(consent(bound).problem?.code == "id_token_unknown_key")
        let crossed = Issuer.token(header: [("kid", .string("r"))])
        #expect(consent(crossed).problem?.code == "id_token_unknown_key")
    }

    @Test func `only configured algorithms are taken, or those of the metadata`() throws {
        #expect(consent(Issuer.token()) { $0.idTokenAlgorithms = [.rs256] }.problem?.code == "id_token_algorithm")
        #expect(consent(Issuer.token()) { $0.idTokenAlgorithms = [.es256] }.tokenSet != nil)
        var metadata = ProviderMetadata(issuer: "i")
        metadata.idTokenAlgorithms = ["RS256", "HS256", "none"]
        let endpoints = try #require(ProviderEndpoints(settings: ScriptedServer.settings(), metadata: metadata))
        #expect(endpoints.idTokenAlgorithms == [.rs256])
    }

    @Test(arguments: [
        "x", "a.b", "a.b.c.d", "..", "e30.e30.", "e30..", "eyJhbGciOiJFUzI1NiJ9.e30=.AA", "eyJhbGciOiJFUzI1NiJ9.W10.AA",
        "eyJhbGciOjF9.e30.AA", "eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYjY0Il19.e30.AA",
    ])
    func `what is no token is malformed`(token: String) {
        let server = consent(token)
        #expect(server.problem?.code == "id_token_malformed" && server.requests.last?.purpose == .revocation)
    }

    @Test func `an id_token that is missing is missed only where it is owed`() {
        #expect(consent(nil).problem?.code == "id_token_missing")
        #expect(consent(nil, scope: #","scope":"openid a""#).problem?.code == "id_token_missing")
        #expect(consent(nil, scope: #","scope":"a""#).tokenSet != nil)
        #expect(consent(nil) { $0.checkIDToken = false }.tokenSet != nil)
    }

    @Test func `where nothing is asked for or checked, nothing is looked at`() {
        let off = consent("garbage") { $0.checkIDToken = false }
        #expect(off.tokenSet != nil && off.tokenSet?.account == nil && off.tokenSet?.idToken == nil)
        var server = server()
        server.tokens(ScriptedServer.code())
        reply(&server, "garbage")
        #expect(server.tokenSet != nil && server.tokenSet?.idToken == nil)
    }

    // MARK: Keys

    private func keyFetches(_ server: ScriptedServer) -> Int { server.requests.count { $0.purpose == .keySet } }

    /// A further consent, whose token names a key; the keys are fetched if they are asked for.
    private func consent(_ server: inout ScriptedServer, kid: String?, keys: String, key: SigningKey = Issuer.p256) {
        server.open.removeAll()
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token(key: key, header: kid.map { [("kid", .string($0))] } ?? []))
        if server.open.first?.request.purpose == .keySet { server.reply(200, keys) }
    }

    @Test func `keys are fetched once, and again for an unknown one, but only twice in a row`() {
        var server = consent(Issuer.token())
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        #expect(server.reports.count == 2 && keyFetches(server) == 1)
        // Right after a fetch an unknown key is asked for once more, and one fetch for one token is all.
        consent(&server, kid: "new", keys: Issuer.keySet)
        #expect(server.problem?.code == "id_token_unknown_key" && keyFetches(server) == 2)
        // Then it is just unknown, whatever the tokens say.
        consent(&server, kid: "newer", keys: Issuer.keySet)
        #expect(server.problem?.code == "id_token_unknown_key" && keyFetches(server) == 2)
        server.now.monotonic += KeySetMachine.minimumInterval
        consent(&server, kid: "new", keys: #"{"keys":[\#(Issuer.jwk(Issuer.p256, kid: "new"))]}"#)
        #expect(server.tokenSet?.account == "user-1" && keyFetches(server) == 3)
    }

    @Test func `a key that is changed right after a fetch does not fail the next login`() {
        var server = consent(Issuer.token())
        server.now.monotonic += 1
        consent(
            &server, kid: "rotated", keys: #"{"keys":[\#(Issuer.jwk(Issuer.other, kid: "rotated"))]}"#,
            key: Issuer.other)
        #expect(server.problem == nil && server.tokenSet?.account == "user-1" && keyFetches(server) == 2)
    }

    @Test func `keys without names may be changed, too`() {
        var server = server()
        consent(&server, kid: nil, keys: #"{"keys":[\#(Issuer.jwk(Issuer.p256, kid: nil))]}"#)
        #expect(server.tokenSet != nil)
        consent(&server, kid: nil, keys: #"{"keys":[\#(Issuer.jwk(Issuer.other, kid: nil))]}"#, key: Issuer.other)
        #expect(server.problem == nil && keyFetches(server) == 2)
        // Bounded, and the signature is what is wrong.
        consent(&server, kid: nil, keys: "", key: Issuer.p256)
        #expect(server.problem?.code == "id_token_signature" && keyFetches(server) == 2)
    }

    @Test func `two consents at once fetch the keys once`() {
        var server = server()
        for _ in 0..<2 {
            server.tokens(ScriptedServer.code(nonce: "n"))
            reply(&server, Issuer.token())
            // The exchange is answered before the keys.
            if server.open.count > 1 { server.open.append(server.open.removeFirst()) }
            if server.reports.isEmpty, server.open.first?.request.purpose == .keySet, server.requests.count == 2 {
                let keys = server.open.removeFirst()
                server.tokens(ScriptedServer.code(nonce: "n"))
                reply(&server, Issuer.token())
                server.open.append(keys)
                break
            }
        }
        #expect(server.reports.isEmpty && server.open.count == 1)
        server.reply(200, Issuer.keySet)
        #expect(server.reports.count == 2 && server.requests.filter { $0.purpose == .keySet }.count == 1)
    }

    @Test func `keys are not believed for ever`() {
        var server = consent(Issuer.token())
        server.now.monotonic += KeySetMachine.lifetime
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        #expect(server.open.first?.request.purpose == .keySet)
        server.reply(503, "")
        #expect(server.problem?.code == "key_set_unavailable" && server.problem?.errorClass == .transient)
    }

    @Test(arguments: [(200, "[]"), (200, "<html>"), (404, "{}"), (302, "")])
    func `a key set that cannot be had refuses the consent, and is asked for again later`(status: Int, body: String) {
        var server = server()
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        server.reply(status, body)
        #expect(server.problem?.code == "key_set_unavailable")
        server.open.removeAll()
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        #expect(server.problem?.code == "key_set_unavailable")
        #expect(server.requests.filter { $0.purpose == .keySet }.count == 1)
    }

    @Test func `with an issuer and nothing else the metadata says where the keys are`() {
        var server = server { $0.jwksEndpoint = nil }
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        #expect(server.open.first?.request.purpose == .metadata)
        server.reply(
            200,
            #"{"issuer":"https://as.example","jwks_uri":"https://as.example/k2","id_token_signing_alg_values_supported":["ES256"]}"#
        )
        #expect(server.open.first?.request.url.path == "/k2")
        server.reply(200, Issuer.keySet)
        #expect(server.tokenSet?.account == "user-1")
    }

    @Test func `metadata that cannot be had refuses the consent`() {
        var server = server { $0.jwksEndpoint = nil }
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        while server.open.first?.request.purpose == .metadata { server.reply(404, "") }
        #expect(server.problem?.code == "discovery_failed")
    }

    @Test func `without an issuer and without keys TLS vouches, and the claims are checked all the same`() {
        let configure: (inout ProviderSettings) -> Void = {
            $0.issuer = nil
            $0.jwksEndpoint = nil
        }
        #expect(consent(Issuer.token(), configure: configure).tokenSet?.account == "user-1")
        let other = Issuer.token(Issuer.claims { $0["aud"] = .string("x") })
        #expect(consent(other, configure: configure).problem?.code == "id_token_audience")
    }

    @Test func `a reload while keys are on their way begins again with the new settings`() {
        var server = server()
        server.tokens(ScriptedServer.code(nonce: "n"))
        reply(&server, Issuer.token())
        let old = server.open.removeFirst()
        server.reload { $0.jwksEndpoint = ProviderURL("https://as.example/moved") }
        #expect(server.open.first?.request.url.path == "/moved")
        server.run(server.machine.replyReceived(old.id, .success(.init(status: 200)), now: server.now))
        #expect(server.reports.isEmpty)
        server.reply(200, Issuer.keySet)
        #expect(server.tokenSet?.account == "user-1")
    }

    // MARK: Refreshes

    private func refresh(_ token: String?, account: String?, configure: (inout ProviderSettings) -> Void = { _ in })
        -> ScriptedServer
    {
        var server = server(configure)
        var call = ScriptedServer.refresh
        call.identity = IdentityExpectation(account: account)
        server.tokens(call)
        reply(&server, token)
        return server
    }

    @Test func `a refresh may bring an id_token of the same account only`() {
        for (token, account) in [
            (nil, "user-1"), (Issuer.token(), "user-1"), (Issuer.token(), nil), ("garbage", "user-1"),
            (Issuer.token(key: Issuer.other), "user-1"),
        ] as [(String?, String?)] {
            let server = refresh(token, account: account)
            #expect(server.tokenSet != nil && server.tokenSet?.account == nil && server.requests.count == 1)
        }
        let server = refresh(Issuer.token(), account: "user-2")
        #expect(server.problem?.code == "id_token_other_subject" && server.problem?.errorClass == .permanent)
        #expect(server.requests.count == 1)
        // The account is an address, and may change for the same person.
        #expect(refresh(Issuer.token(), account: "e@x") { $0.paths.account = "id_token.email" }.tokenSet != nil)
    }

    // MARK: Consent

    @Test func `the nonce of the request is the one that is expected`() throws {
        let start = try ConsentTests.start { grant, _ in grant.scopes = ["openid"] }.get()
        let nonce = try #require(start.pending.nonce)
        #expect(start.authorizationURL.contains("&nonce=\(nonce.reveal())"))
        #expect(PendingConsent(payload: start.pending.encoded()) == start.pending)
        #expect(try ConsentTests.start().get().pending.nonce == nil)
        var machine = AuthorizationMachine()
        let query = start.authorizationURL.split(separator: "?")[1]
        let state = try #require(FormEncoding.decode(query)?.first { $0.name == "state" }?.value)
        _ = machine.callbackReceived(
            CallbackID(1), query: "code=c&iss=https://as.example&state=\(state)", binding: ConsentTests.binding,
            now: ConsentTests.now)
        let actions = machine.pendingTaken(key: start.key, start.pending, now: ConsentTests.now)
        guard case .exchangeCode(_, let call)? = actions.last else {
            Issue.record("no exchange")
            return
        }
        #expect(call.identity == IdentityExpectation(nonce: nonce))
    }
}
