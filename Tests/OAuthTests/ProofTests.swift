import OpenSSLKit
import Testing

@testable import OAuth

@Suite struct ProofTests {
    private static let key = ProofKey(algorithm: .es256, seed: (1...32).map { UInt8($0) })!
    private static let encoded = Secret(key.encoded())

    private func octets(_ text: String) -> [UInt8] { Array(text.utf8) }

    // MARK: Keys

    @Test(arguments: ProofKey.algorithms)
    func `a key survives being written down`(algorithm: SignatureAlgorithm) throws {
        let key = try #require(ProofKey.make(algorithm, randomness: (7..<39).map { UInt8($0) }))
        let text = key.encoded()
        #expect(text.utf8.count <= 60 && text.hasPrefix(algorithm.rawValue + "."))
        let again = try #require(ProofKey(encoded: text))
        #expect(again == key && again.thumbprint == key.thumbprint)
        let described = "\(key) \(String(reflecting: key))"
        #expect(!described.contains(String(text.dropFirst(8))))
    }

    @Test(arguments: [
        "", ".", "ES256", "ES256.", "ES256.AAAA", "RS256.AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA",
        "ES256.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "HS256.AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA",
        "ES256.AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA.x", "ES256.AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
    ])
    func `what is no key is refused`(text: String) {
        #expect(ProofKey(encoded: text) == nil)
        #expect(ProofSigner(encoded: Secret(text)) == nil)
    }

    @Test func `octets out of range make a key all the same, and other algorithms none`() {
        #expect(ProofKey.make(.es256, randomness: [UInt8](repeating: 255, count: 32)) != nil)
        for algorithm in SignatureAlgorithm.allCases where !ProofKey.algorithms.contains(algorithm) {
            #expect(ProofKey.make(algorithm, randomness: [UInt8](repeating: 1, count: 32)) == nil)
        }
    }

    @Test func `a token that is imported begins a grant, and so gets a key`() {
        var server = ScriptedServer { $0.dpop = .on }
        var call = ScriptedServer.refresh
        call.isImport = true
        server.tokens(call)
        #expect(server.requests.last?.header("dpop") != nil)
        server.tokens()
        #expect(server.requests.last?.header("dpop") == nil)
    }

    // MARK: Proofs

    @Test(arguments: ProofKey.algorithms)
    func `a proof has exactly what RFC 9449 wants`(algorithm: SignatureAlgorithm) throws {
        let key = try #require(ProofKey.make(algorithm, randomness: (7..<39).map { UInt8($0) }))
        let signer = try #require(ProofSigner(key))
        // The token and its hash of RFC 9449 section 7.1.
        let hash = ProofSigner.tokenHash(
            Secret("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"))
        #expect(String(decoding: hash, as: UTF8.self) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo")
        let proof = try #require(
            signer.proof(
                method: octets("GET"), url: octets("https://api.example/a/b?c=d#e"), tokenHash: hash,
                nonce: octets("n-1"), tokenID: [UInt8](repeating: 255, count: 16), issuedAt: 1_700_000_000))
        let token = try #require(OpenToken(String(decoding: proof, as: UTF8.self)))
        let jwk = key.key.publicKey.jwk
        #expect(token.headerText == #"{"typ":"dpop+jwt","alg":"\#(algorithm.rawValue)","jwk":\#(jwk)}"#)
        #expect(token.header["jwk"]?["d"] == nil)
        #expect(
            token.claimsText
                == #"{"jti":"_____________________w","htm":"GET","htu":"https://api.example/a/b","iat":1700000000,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo","nonce":"n-1"}"#
        )
        #expect(key.key.publicKey.isValid(token.signature, of: token.input, algorithm: algorithm))
    }

    @Test func `proofs are appended, and what is not there is left out`() throws {
        let signer = try #require(ProofSigner(encoded: Self.encoded))
        var output = octets("DPoP: ")
        let none: [UInt8] = []
        for number in 0..<3 {
            output.removeSubrange(6...)
            let (method, origin, target) = (octets("POST"), octets("https://h:8443"), octets("/x\"\\\u{1}é"))
            let tokenID = [UInt8(number)]
            #expect(
                signer.appendProof(
                    method: method.span, origin: origin.span, target: target.span, tokenHash: none.span,
                    nonce: none.span, tokenID: tokenID.span, issuedAt: 0, to: &output))
        }
        let token = try #require(OpenToken(String(decoding: output.dropFirst(6), as: UTF8.self)))
        #expect(token.claimsText == #"{"jti":"Ag","htm":"POST","htu":"https://h:8443/x\"\\","iat":0}"#)
    }

    // MARK: At the token endpoint

    private func proof(_ request: ProviderRequest?) throws -> OpenToken {
        let value = try #require(request?.header("dpop"))
        return try #require(OpenToken(value))
    }

    private static let good = #"{"access_token":"a","token_type":"DPoP","refresh_token":"r"}"#

    @Test func `a code is exchanged with the key of its consent, and the tokens remember it`() throws {
        var server = ScriptedServer { $0.dpop = .on }
        server.tokens(ScriptedServer.code(proofKey: Self.encoded))
        let token = try proof(server.requests.first)
        #expect(token.claims["htm"]?.text == "POST" && token.claims["htu"]?.text == "https://as.example/token")
        #expect(token.claims["iat"]?.integer == 1_700_000_000 && token.claims["ath"] == nil)
        #expect(token.claims["nonce"] == nil && token.claims["jti"]?.text?.count == 22)
        #expect(Self.key.key.publicKey.isValid(token.signature, of: token.input, algorithm: .es256))
        server.reply(200, Self.good)
        #expect(server.tokenSet?.proofKey == Self.encoded && server.tokenSet?.tokenType == .dpop)
    }

    @Test func `a call that begins a grant without a key makes one, and keeps it over repetitions`() throws {
        var server = ScriptedServer {
            $0.dpop = .on
            $0.clientSecrets = [Secret("one"), Secret("two")]
        }
        server.tokens(ScriptedServer.code())
        server.refuseClient()
        let nonce = [HeaderField("DPoP-Nonce", "n1")]
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: nonce)
        let keys = try server.requests.map { try proof($0).header["jwk"] }
        #expect(keys.count == 3 && keys[0] != nil && keys[0] == keys[1] && keys[1] == keys[2])
        server.reply(200, Self.good)
        let made = try #require(server.tokenSet?.proofKey.flatMap { ProofKey(encoded: $0.reveal()) })
        #expect(JSONValue(Array(made.key.publicKey.jwk.utf8)) == keys[0])
        // Another grant has another key.
        server.tokens(ScriptedServer.code())
        #expect(try proof(server.requests.last).header["jwk"] != keys[0])
    }

    @Test func `a refresh proves the grant's key, also when proofs are off for new grants`() throws {
        var server = ScriptedServer()
        var call = ScriptedServer.refresh
        call.proofKey = Self.encoded
        server.tokens(call)
        #expect(try proof(server.requests.first).header["jwk"]?["kty"]?.text == "EC")
        server.reply(200, Self.good)
        #expect(server.tokenSet?.proofKey == Self.encoded)
    }

    @Test func `a refresh of a grant without a key stays as it is`() {
        var server = ScriptedServer { $0.dpop = .on }
        server.tokens()
        #expect(server.requests.first?.header("dpop") == nil)
        server.reply(200, #"{"access_token":"a","token_type":"Bearer"}"#)
        #expect(server.tokenSet?.proofKey == nil && server.tokenSet?.tokenType == .bearer)
    }

    @Test(arguments: ["Bearer", "bearer", "mac", nil] as [String?])
    func `a reply of another type is refused where a proof was sent`(type: String?) {
        var server = ScriptedServer { $0.headerName = "X-Token" }
        var call = ScriptedServer.refresh
        call.proofKey = Self.encoded
        server.tokens(call)
        let member = type.map { #","token_type":"\#($0)""# } ?? ""
        server.reply(200, #"{"access_token":"a"\#(member)}"#)
        #expect(server.problem?.code == "not_dpop" && server.problem?.errorClass == .configuration)
        #expect(server.problem?.outcomeUnknown == false && server.requests.count == 1)
    }

    @Test func `DPoP tokens that nobody asked for are refused`() {
        var server = ScriptedServer()
        server.tokens()
        server.reply(200, Self.good)
        #expect(server.problem?.code == "invalid_reply")
    }

    @Test func `a key that cannot be read sends nothing`() {
        var server = ScriptedServer()
        var call = ScriptedServer.refresh
        call.proofKey = Secret("nonsense")
        server.tokens(call)
        #expect(server.requests.isEmpty && server.problem?.code == "proof_key")
    }

    @Test func `the scheme of the header follows the key`() {
        let settings = ScriptedServer.settings()
        #expect(settings.headerScheme(proofKey: nil) == "Bearer")
        #expect(settings.headerScheme(proofKey: Self.encoded) == "DPoP")
    }

    // MARK: Nonces

    private func bound(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> (ScriptedServer, TokenCall) {
        var call = ScriptedServer.refresh
        call.proofKey = Self.encoded
        return (ScriptedServer(configure), call)
    }

    @Test func `use_dpop_nonce is answered once with the nonce`() throws {
        var (server, call) = bound()
        server.tokens(call)
        server.now.monotonic += 500
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("dpop-nonce", "n1")])
        #expect(server.requests.count == 2)
        let token = try proof(server.requests.last)
        #expect(token.claims["nonce"]?.text == "n1")
        #expect(token.claims["jti"] != (try proof(server.requests.first)).claims["jti"])
        // Again: that is the end.
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("DPoP-Nonce", "n2")])
        #expect(server.requests.count == 2 && server.problem?.code == "use_dpop_nonce")
        #expect(server.problem?.errorClass == .transient)
        #expect(server.reports.last?.sentAt == server.now)
        // The last nonce is kept for the next call.
        server.tokens(call)
        #expect(try proof(server.requests.last).claims["nonce"]?.text == "n2")
    }

    // MARK: At other endpoints

    @Test func `a look-up with a bound token carries a proof of it, and takes the API's nonce`() throws {
        var server = ScriptedServer {
            $0.dpop = .on
            $0.lookups = [.init(url: URLTemplate("https://api.example/me?x=1")!, account: "sub")]
        }
        server.tokens(ScriptedServer.code(proofKey: Self.encoded))
        server.reply(200, Self.good)
        let request = try #require(server.requests.last)
        #expect(request.purpose == .lookup && request.header("authorization") == "DPoP a")
        let token = try proof(request)
        #expect(token.claims["htm"]?.text == "GET" && token.claims["htu"]?.text == "https://api.example/me")
        #expect(token.claims["ath"]?.text == Crypto.base64URL(Crypto.sha256(Array("a".utf8))))
        #expect(Self.key.key.publicKey.isValid(token.signature, of: token.input, algorithm: .es256))
        for nonce in ["n1", "n2"] {
            server.reply(401, "", headers: [HeaderField("DPoP-Nonce", nonce)])
        }
        // Repeated once; the account is not needed, so the consent is good all the same.
        #expect(server.requests.count { $0.purpose == .lookup } == 2)
        #expect(try proof(server.requests.last).claims["nonce"]?.text == "n1")
        #expect(server.tokenSet?.account == nil && server.tokenSet?.proofKey == Self.encoded)
    }

    @Test func `a look-up with a bearer token carries no proof`() throws {
        var server = ScriptedServer {
            $0.lookups = [.init(url: URLTemplate("https://api.example/me")!, account: "sub")]
        }
        server.tokens(ScriptedServer.code())
        server.reply(200, #"{"access_token":"a"}"#)
        #expect(server.requests.last?.header("dpop") == nil)
        #expect(server.requests.last?.header("authorization") == "Bearer a")
        server.reply(401, "", headers: [HeaderField("DPoP-Nonce", "n1")])
        #expect(server.requests.count == 2 && server.tokenSet != nil)
    }

    @Test func `the repetition for a nonce is apart from the other secrets`() throws {
        var (server, call) = bound {
            $0.clientAuthentication = .post
            $0.clientSecrets = [Secret("one"), Secret("two")]
        }
        server.tokens(call)
        server.refuseClient()
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("DPoP-Nonce", "n1")])
        server.reply(200, Self.good)
        #expect(server.requests.map { $0.parameter("client_secret") } == ["one", "two", "two"])
        #expect(server.tokenSet != nil)
        (server, call) = bound { $0.clientSecrets = [Secret("one"), Secret("two")] }
        server.tokens(call)
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("DPoP-Nonce", "n1")])
        server.refuseClient()
        server.reply(200, Self.good)
        #expect(server.requests.count == 3 && server.tokenSet != nil)
    }

    @Test func `every reply brings the next nonce, kept for each server`() throws {
        var (server, call) = bound { $0.refreshEndpoint = ProviderURL("https://other.example/refresh") }
        server.tokens(ScriptedServer.code(proofKey: Self.encoded))
        server.reply(200, Self.good, headers: [HeaderField("DPoP-Nonce", "first")])
        server.tokens(call)
        #expect(try proof(server.requests.last).claims["nonce"] == nil)
        server.reply(503, "", headers: [HeaderField("DPoP-Nonce", "second")])
        server.tokens(call)
        #expect(try proof(server.requests.last).claims["nonce"]?.text == "second")
        server.tokens(ScriptedServer.code(proofKey: Self.encoded))
        #expect(try proof(server.requests.last).claims["nonce"]?.text == "first")
    }

    @Test(arguments: ["", "a b", "a\"b", "a\\b", "ä", String(repeating: "x", count: 1025)])
    func `what is no nonce is not repeated`(nonce: String) {
        var (server, call) = bound()
        server.tokens(call)
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("DPoP-Nonce", nonce)])
        #expect(server.requests.count == 1 && server.reports.count == 1)
    }

    @Test func `a nonce without a proof means nothing`() {
        var server = ScriptedServer()
        server.tokens()
        server.reply(400, #"{"error":"use_dpop_nonce"}"#, headers: [HeaderField("DPoP-Nonce", "n")])
        #expect(server.requests.count == 1 && server.reports.count == 1)
    }

    @Test func `nonces are bounded`() {
        var nonces = ProofNonces()
        for number in 0..<100 {
            let reply = ProviderReply(status: 200, headers: [HeaderField("DPoP-Nonce", "n\(number)")])
            _ = nonces.learn(.success(reply), from: ProviderURL("https://h\(number).example/")!)
        }
        let kept = (0..<100).filter { nonces[ProviderURL("https://h\($0).example/")!] != nil }
        #expect(kept.count <= ProofNonces.limit && kept.contains(99))
    }

    // MARK: Consent

    @Test func `a consent makes the key, tells its thumbprint, and keeps it`() throws {
        let start = try ConsentTests.start { $1.dpop = .on }.get()
        let encoded = try #require(start.pending.proofKey)
        let key = try #require(ProofKey(encoded: encoded.reveal()))
        #expect(start.authorizationURL.contains("&dpop_jkt=\(key.thumbprint)"))
        #expect(!start.authorizationURL.contains(encoded.reveal().dropFirst(6)))
        #expect(PendingConsent(payload: start.pending.encoded()) == start.pending)
        #expect(try ConsentTests.start().get().pending.proofKey == nil)
        #expect(
            ConsentTests.start {
                $1.dpop = .on; $1.dpopAlgorithm = .rs256
            } == .failure(.badProofAlgorithm))
    }

    @Test func `the algorithm follows what the server announces`() throws {
        for (announced, algorithm) in [
            (nil, SignatureAlgorithm.es256), (["ES256", "EdDSA"], .es256), (["EdDSA", "RS256"], .edDSA),
            (["RS256"], .es256), ([], .es256),
        ] as [([String]?, SignatureAlgorithm)] {
            var metadata = ProviderMetadata(issuer: "i")
            metadata.proofAlgorithms = announced
            let endpoints = try #require(ProviderEndpoints(settings: ScriptedServer.settings(), metadata: metadata))
            #expect(endpoints.proofAlgorithm == algorithm)
        }
    }
}
