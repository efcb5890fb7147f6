import OpenSSLKit
import Testing

@testable import OAuth

private let keys: [KeyKind: SigningKey] = {
    var keys: [KeyKind: SigningKey] = [:]
    for kind in KeyKind.allCases { keys[kind] = try? SigningKey.generate(kind) }
    return keys
}()

@Suite struct ClientAuthenticationTests {
    /// One method with what it must and must not put into a request.
    struct Case: CustomTestStringConvertible {
        var method: ClientAuthentication
        var header: Bool
        var parameters: Set<String>
        var testDescription: String { method.rawValue }
    }

    private static let credentials: Set<String> = [
        "client_id", "client_secret", "client_assertion", "client_assertion_type",
    ]

    @Test(arguments: [
        Case(method: .basic, header: true, parameters: []),
        Case(method: .post, header: false, parameters: ["client_id", "client_secret"]),
        Case(method: .none, header: false, parameters: ["client_id"]),
        Case(
            method: .secretJWT, header: false, parameters: ["client_id", "client_assertion", "client_assertion_type"]),
        Case(
            method: .privateKeyJWT, header: false,
            parameters: ["client_id", "client_assertion", "client_assertion_type"]),
        Case(method: .tlsClientAuth, header: false, parameters: ["client_id"]),
        Case(method: .selfSignedTLS, header: false, parameters: ["client_id"]),
    ])
    func `each method authenticates once and by nothing else, at all three endpoints`(_ expected: Case) throws {
        var server = ScriptedServer {
            $0.clientAuthentication = expected.method
            $0.clientKeys = [ClientKey(algorithm: .es256, key: keys[.p256]!)]
            $0.revocationEndpoint = ProviderURL("https://as.example/revoke")
            $0.pushedRequestEndpoint = ProviderURL("https://as.example/par")
            // Whatever the configuration adds, a second method is not among it.
            $0.tokenParameters = [
                .init("client_secret", "x"), .init("client_assertion", "x"), .init("client_assertion_type", "x"),
                .init("client_id", "x"),
            ]
            if expected.method != .basic && expected.method != .none {
                $0.tokenHeaders = [HeaderField("authorization", "Basic eDp4"), HeaderField("DPoP", "x")]
            }
        }
        server.tokens()
        server.tokens(ScriptedServer.code())
        server.run(
            server.machine.revocationNeeded(
                RevocationCall(id: ScriptedServer.refresh.id, token: Secret("t"), hint: .refreshToken), now: server.now)
        )
        server.run(
            server.machine.pushNeeded(
                ScriptedServer.refresh.id, [.init("response_type", "code"), .init("client_id", "client")],
                now: server.now))
        #expect(server.requests.count == 4)
        for request in server.requests {
            #expect((request.header("authorization") != nil) == expected.header)
            let names = request.form.map(\.name).filter(Self.credentials.contains)
            let own: Set<String> = request.purpose == .pushedRequest ? ["client_id"] : []
            #expect(Set(names) == expected.parameters.union(own))
            #expect(names.count == Set(names).count)
            #expect(request.method == .post && request.url.query == nil && request.header("dpop") == nil)
        }
    }

    // MARK: Assertions

    private func assertion(_ configure: (inout ProviderSettings) -> Void) throws -> OpenToken {
        var server = ScriptedServer(configure)
        server.tokens()
        let request = try #require(server.requests.first)
        #expect(request.parameter("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        let text = try #require(request.parameter("client_assertion"))
        return try #require(OpenToken(text))
    }

    @Test(arguments: [
        (SignatureAlgorithm.rs256, KeyKind.rsa), (.ps256, .rsa), (.es256, .p256), (.edDSA, .ed25519),
    ])
    func `private_key_jwt is signed by the key, for the issuer, for a few minutes`(
        algorithm: SignatureAlgorithm, kind: KeyKind
    ) throws {
        let key = try #require(keys[kind])
        let token = try assertion {
            $0.clientAuthentication = .privateKeyJWT
            $0.issuer = ScriptedServer.issuer
            $0.revocationEndpoint = ProviderURL("https://as.example/revoke")
            $0.clientKeys = [ClientKey(algorithm: algorithm, keyID: "k1", key: key)]
        }
        #expect(token.headerText == #"{"alg":"\#(algorithm.rawValue)","typ":"JWT","kid":"k1"}"#)
        #expect(token.claims["iss"]?.text == "client" && token.claims["sub"]?.text == "client")
        #expect(token.claims["aud"] == .string("https://as.example"))
        #expect(token.claims["iat"]?.integer == 1_700_000_000 && token.claims["nbf"]?.integer == 1_700_000_000)
        #expect(token.claims["exp"]?.integer == 1_700_000_180)
        #expect(key.publicKey.isValid(token.signature, of: token.input, algorithm: algorithm))
        #expect(token.claims.members?.count == 7)
    }

    @Test func `client_secret_jwt is an HMAC under the secret`() throws {
        let token = try assertion { $0.clientAuthentication = .secretJWT }
        #expect(token.headerText == #"{"alg":"HS256","typ":"JWT"}"#)
        #expect(token.signature == Digest.hmacSHA256(key: Array("s3cret-s3cret".utf8), message: token.input))
        // Without an issuer there is only the endpoint to name.
        #expect(token.claims["aud"]?.text == "https://as.example/token")
    }

    @Test(
        arguments: [
            (nil, "https://as.example/i"), ("token_endpoint", "https://as.example/token"), ("urn:other", "urn:other"),
        ] as [(String?, String)])
    func `the audience is as configured`(configured: String?, audience: String) throws {
        let token = try assertion {
            $0.clientAuthentication = .secretJWT
            $0.issuer = "https://as.example/i"
            $0.revocationEndpoint = ProviderURL("https://as.example/revoke")
            $0.assertionAudience = configured
        }
        #expect(token.claims["aud"]?.text == audience)
    }

    @Test func `the thumbprint of a certificate goes into the header`() throws {
        let token = try assertion {
            $0.clientAuthentication = .privateKeyJWT
            $0.clientKeys = [ClientKey(algorithm: .es256, certificateThumbprint: "AbC", key: keys[.p256]!)]
        }
        #expect(token.headerText == #"{"alg":"ES256","typ":"JWT","x5t#S256":"AbC"}"#)
    }

    @Test func `no two assertions have the same jti`() throws {
        var server = ScriptedServer { $0.clientAuthentication = .secretJWT }
        for _ in 0..<50 { server.tokens() }
        let tokens = server.requests.compactMap { $0.parameter("client_assertion") }.compactMap { OpenToken($0) }
        let identifiers = Set(tokens.compactMap { $0.claims["jti"]?.text })
        #expect(identifiers.count == 50 && identifiers.allSatisfy { $0.count == 22 })
    }

    @Test(arguments: [ClientAuthentication.secretJWT, .privateKeyJWT])
    func `without a secret or a key the call ends at once`(method: ClientAuthentication) {
        var server = ScriptedServer {
            $0.clientSecrets = []
            $0.clientAuthentication = method
        }
        server.tokens()
        #expect(server.requests.isEmpty)
        #expect(server.problem?.code == "client_key" && server.problem?.errorClass == .configuration)
    }

    @Test func `a key that does not suit its algorithm is a configuration error`() {
        var server = ScriptedServer {
            $0.clientAuthentication = .privateKeyJWT
            $0.clientKeys = [ClientKey(algorithm: .rs256, key: keys[.p256]!)]
        }
        server.tokens()
        #expect(server.requests.isEmpty && server.problem?.code == "client_key")
    }

    // MARK: Several secrets or keys

    @Test func `keys are tried in order on invalid_client, one in a call, and the one that worked is remembered`()
        throws
    {
        var server = ScriptedServer {
            $0.clientAuthentication = .privateKeyJWT
            $0.clientKeys = ["old", "new", "next"].map {
                ClientKey(algorithm: .es256, keyID: $0, key: keys[.p256]!)
            }
        }
        func keyID(_ request: ProviderRequest?) -> String? {
            request?.parameter("client_assertion").flatMap { OpenToken($0)?.header["kid"]?.text }
        }
        server.tokens()
        server.refuseClient()
        #expect(server.requests.map(keyID) == ["old", "new"])
        #expect(server.facts == [.secretRefused(index: 0)])
        server.reply(200, #"{"access_token":"a"}"#)
        server.tokens()
        #expect(keyID(server.requests.last) == "new")
        // All of them once, from the remembered one on.
        for _ in 0..<3 { server.refuseClient() }
        #expect(server.requests.map(keyID) == ["old", "new", "new", "next", "old"])
        #expect(server.problem?.code == "invalid_client")
    }

    private func secret(_ request: ProviderRequest?) -> String? { request?.parameter("client_secret") }

    @Test func `a list that changes under way is tried from its beginning, and never by the old list's places`() {
        var server = ScriptedServer {
            $0.clientAuthentication = .post
            $0.clientSecrets = [Secret("a1"), Secret("a2"), Secret("a3")]
        }
        server.tokens()
        server.refuseClient()
        server.reload { $0.clientSecrets = [Secret("b1"), Secret("b2")] }
        server.refuseClient()
        server.refuseClient()
        #expect(server.requests.map(secret) == ["a1", "a2", "b1", "b2"])
        server.reply(200, #"{"access_token":"a"}"#)
        server.tokens()
        #expect(secret(server.requests.last) == "b2")
    }

    @Test func `a success by a secret that is gone from the list is not remembered`() {
        var server = ScriptedServer {
            $0.clientAuthentication = .post
            $0.clientSecrets = [Secret("a1"), Secret("a2")]
        }
        server.tokens()
        server.refuseClient()
        server.reload { $0.clientSecrets = [Secret("b1"), Secret("b2")] }
        server.reply(200, #"{"access_token":"a"}"#)
        server.tokens()
        #expect(secret(server.requests.last) == "b1")
        // A list that became shorter.
        server.refuseClient()
        server.reload { $0.clientSecrets = [Secret("c1")] }
        server.refuseClient()
        #expect(secret(server.requests.last) == "c1")
    }

    @Test func `other failures try no other secret`() {
        for (status, body) in [(400, #"{"error":"invalid_grant"}"#), (401, ""), (500, #"{"error":"invalid_request"}"#)]
        {
            var server = ScriptedServer { $0.clientSecrets = [Secret("a1"), Secret("a2")] }
            server.tokens()
            server.reply(status, body)
            #expect(server.requests.count == 1 && server.reports.count == 1)
        }
    }

    // MARK: Automatic

    struct Choice: CustomTestStringConvertible {
        var announced: [String]?
        var means: String
        var method: ClientAuthentication
        var testDescription: String { "\(announced ?? ["nothing"]) with \(means)" }
    }

    @Test(arguments: [
        Choice(announced: nil, means: "", method: .none), Choice(announced: nil, means: "secret", method: .basic),
        Choice(announced: nil, means: "key", method: .privateKeyJWT),
        Choice(announced: nil, means: "certificate", method: .tlsClientAuth),
        Choice(announced: nil, means: "secret key certificate", method: .basic),
        Choice(announced: ["client_secret_post"], means: "secret", method: .post),
        Choice(announced: ["client_secret_jwt"], means: "secret", method: .secretJWT),
        Choice(announced: ["client_secret_jwt", "client_secret_post"], means: "secret", method: .post),
        Choice(announced: ["private_key_jwt", "client_secret_basic"], means: "secret key", method: .privateKeyJWT),
        Choice(announced: ["client_secret_basic"], means: "secret key", method: .basic),
        Choice(announced: ["tls_client_auth"], means: "secret certificate", method: .tlsClientAuth),
        Choice(announced: ["self_signed_tls_client_auth"], means: "certificate", method: .selfSignedTLS),
        Choice(announced: ["private_key_jwt"], means: "secret", method: .basic),
        Choice(announced: ["none"], means: "", method: .none), Choice(announced: [], means: "secret", method: .basic),
    ])
    func `automatic picks one method of those that both sides can`(_ choice: Choice) throws {
        let settings = ScriptedServer.settings {
            if !choice.means.contains("secret") { $0.clientSecrets = [] }
            if choice.means.contains("key") { $0.clientKeys = [ClientKey(algorithm: .es256, key: keys[.p256]!)] }
            $0.presentsCertificate = choice.means.contains("certificate")
        }
        var metadata = ProviderMetadata(issuer: "i")
        metadata.tokenAuthenticationMethods = choice.announced
        let endpoints = try #require(ProviderEndpoints(settings: settings, metadata: metadata))
        #expect(endpoints.tokenAuthentication == choice.method)
    }

    // MARK: Certificates

    private static let aliases = #"""
        {"issuer":"https://as.example","authorization_endpoint":"https://as.example/a","token_endpoint":"https://as.example/t",
         "revocation_endpoint":"https://as.example/r","pushed_authorization_request_endpoint":"https://as.example/p",
         "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.example/t","revocation_endpoint":"https://mtls.example/r",
         "pushed_authorization_request_endpoint":"https://mtls.example/p"}}
        """#

    private func discovered(_ configure: (inout ProviderSettings) -> Void) throws -> ProviderEndpoints {
        var server = ScriptedServer {
            $0.issuer = ScriptedServer.issuer
            $0.authorizationEndpoint = nil
            $0.tokenEndpoint = nil
            configure(&$0)
        }
        server.run(server.machine.endpointsNeeded(ScriptedServer.refresh.id, now: server.now))
        server.reply(200, Self.aliases)
        return try #require(server.endpoints.first)
    }

    @Test func `aliases for certificates are used by who presents one, and by nobody else`() throws {
        let plain = try discovered { _ in }
        #expect(plain.token.host == "as.example" && plain.pushedRequest?.host == "as.example")
        for method in [ClientAuthentication.tlsClientAuth, .selfSignedTLS] {
            let certified = try discovered { $0.clientAuthentication = method }
            #expect(certified.token.host == "mtls.example" && certified.revocation?.host == "mtls.example")
            #expect(certified.pushedRequest?.host == "mtls.example" && certified.authorization?.host == "as.example")
        }
        let bound = try discovered { $0.presentsCertificate = true }
        #expect(bound.token.host == "mtls.example")
        let configured = try discovered {
            $0.presentsCertificate = true
            $0.tokenEndpoint = ProviderURL("https://mine.example/t")
        }
        #expect(configured.token.host == "mine.example")
    }

    @Test func `the first token call of a client with a certificate waits for the aliases`() {
        var server = ScriptedServer {
            $0.issuer = ScriptedServer.issuer
            $0.tokenEndpoint = nil
            $0.presentsCertificate = true
        }
        server.tokens()
        #expect(server.requests.map(\.purpose) == [.metadata])
        server.reply(200, Self.aliases)
        #expect(server.requests.last?.url.host == "mtls.example")
    }

    // MARK: Resources

    @Test func `resources are sent one by one with codes and refreshes`() throws {
        var server = ScriptedServer { $0.resources = ["https://api.example/a", "https://api.example/b"] }
        server.tokens()
        server.tokens(ScriptedServer.code())
        for request in server.requests {
            let sent = request.form.filter { $0.name == "resource" }.map(\.value)
            #expect(sent == ["https://api.example/a", "https://api.example/b"])
        }
        server.reload { $0.tokenBody = .json }
        server.tokens()
        let body = try #require(JSONValue(server.requests.last?.body ?? []))
        #expect(body["resource"]?.list?.count == 2 && body["grant_type"]?.text == "refresh_token")
    }
}
