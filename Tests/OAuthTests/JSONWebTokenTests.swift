import OpenSSLKit
import Testing

@testable import OAuth

@Suite struct JSONWebTokenTests {
    @Test func `members keep their order and are escaped`() throws {
        let key = try SigningKey.generate(.ed25519)
        let text = try JSONWebToken.signed(
            header: [("kid", .string("a\"b"))], claims: [("z", .number("1")), ("a", .array([.bool(true)]))], key: key,
            algorithm: .edDSA)
        let token = try #require(OpenToken(text))
        #expect(token.headerText == #"{"alg":"EdDSA","kid":"a\"b"}"# && token.claimsText == #"{"z":1,"a":[true]}"#)
        let read = try #require(ReceivedToken(Secret(text)))
        #expect(read.keyID == "a\"b" && read.algorithm == "EdDSA")
        #expect(read.isSigned(by: key.publicKey, algorithm: .edDSA))
    }

    @Test func `HS256 gives the published signature`() {
        // RFC 7515 appendix A.1, whose payload has line ends: the signing input is taken as it is.
        let input =
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
            + "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        let key = Base64.urlDecode(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")!
        #expect(
            Crypto.base64URL(Digest.hmacSHA256(key: key, message: Array(input.utf8)))
                == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    }

    @Test func `a token over the limit is not looked at`() throws {
        let key = try SigningKey.generate(.ed25519)
        let long = JSONValue.string(String(repeating: "x", count: ReceivedToken.limitBytes))
        let text = try JSONWebToken.signed(claims: [("a", long)], key: key, algorithm: .edDSA)
        #expect(ReceivedToken(Secret(text)) == nil)
    }

    @Test func `arbitrary and damaged tokens and key sets never trap`() throws {
        var noise = Noise(state: 11)
        let key = try SigningKey.generate(.p256)
        let token = Array(
            try JSONWebToken.signed(claims: [("sub", .string("x"))], key: key, algorithm: .es256).utf8)
        let set = Array(#"{"keys":[\#(key.publicKey.jwk),{"kty":"RSA","n":"AQAB","e":"AQAB","use":"sig"}]}"#.utf8)
        for round in 0..<4000 {
            var text = round.isMultiple(of: 2) ? token : set
            for _ in 0..<Int.random(in: 1...6, using: &noise) {
                let place = Int.random(in: 0..<text.count, using: &noise)
                switch UInt8.random(in: 0...3, using: &noise) {
                case 0: text[place] = UInt8.random(in: 0...255, using: &noise)
                case 1: text.removeSubrange(place...)
                case 2: text.insert(UInt8.random(in: 0...255, using: &noise), at: place)
                default: text.append(contentsOf: text[place...])
                }
                if text.isEmpty { text = [0x2E] }
            }
            let read = ReceivedToken(Secret(String(decoding: text, as: UTF8.self)))
            if let read, read.isSigned(by: key.publicKey, algorithm: .es256) {
                // Only the very same token is signed.
                #expect(text == token)
            }
            _ = KeySet.read(text)
            _ = PushedRequestReply.read(
                .success(ProviderReply(status: 201, body: text)), settings: ScriptedServer.settings(),
                now: Moment(monotonic: 0, wall: 0), hiding: [])
        }
        for count in 0..<300 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &noise) }
            #expect(ReceivedToken(Secret(String(decoding: bytes, as: UTF8.self))) == nil)
            #expect(KeySet.read(bytes) == nil)
        }
    }

    // MARK: Key sets

    @Test(arguments: [
        #"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, #"{"kty":"RSA","e":"AQAB"}"#,
        #"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
        #"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#, #"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
        #"{"kty":"oct","k":"AAAA"}"#, #"{"kty":7}"#, "7", "null", #"{}"#,
    ])
    func `a key that we cannot use is passed over`(text: String) throws {
        let good = try SigningKey.generate(.p256).publicKey
        let set = try #require(KeySet.read(Array(#"{"keys":[\#(text),\#(good.jwk)]}"#.utf8)))
        #expect(set == [VerificationKey(keyID: nil, algorithm: nil, key: good)])
    }

    @Test(arguments: [
        (#""use":"enc""#, false), (#""use":"sig""#, true), (#""key_ops":["verify"]"#, true),
        (#""key_ops":["encrypt"]"#, false), (#""alg":"ES256""#, true), (#""alg":"HS256""#, false),
        (#""alg":"ES256","d":"secret""#, true),
    ])
    func `a key says what it is for`(member: String, isUsable: Bool) throws {
        let key = try SigningKey.generate(.p256).publicKey
        let set = try #require(KeySet.read(Array(#"{"keys":[\#(key.jwk.dropLast()),\#(member)}]}"#.utf8)))
        #expect(set.isEmpty != isUsable)
    }

    @Test func `the keys of a set are bounded`() throws {
        let key = try SigningKey.generate(.ed25519).publicKey.jwk
        let list = Array(repeating: key, count: 500).joined(separator: ",")
        #expect(KeySet.read(Array(#"{"keys":[\#(list)]}"#.utf8))?.count == KeySet.limit)
    }

    // MARK: Metadata

    @Test func `the new members of the metadata are read`() throws {
        let text = #"""
            {"issuer":"i","pushed_authorization_request_endpoint":"https://a/p","require_pushed_authorization_requests":true,
             "mtls_endpoint_aliases":{"token_endpoint":"https://m/t","n":7},"jwks_uri":"https://a/k",
             "dpop_signing_alg_values_supported":["ES256"],"token_endpoint_auth_signing_alg_values_supported":["PS256"],
             "device_authorization_endpoint":"https://a/d","id_token_signing_alg_values_supported":["RS256"]}
            """#
        let metadata = try ProviderMetadata.read(Array(text.utf8), issuer: "i", plaintextOnLoopback: false).get()
        #expect(metadata.pushedRequestEndpoint?.path == "/p" && metadata.requiresPushedRequests)
        #expect(metadata.certificateAliases.mapValues(\.host) == ["token_endpoint": "m"])
        #expect(metadata.keySetEndpoint?.path == "/k" && metadata.deviceAuthorizationEndpoint?.path == "/d")
        #expect(metadata.proofAlgorithms == ["ES256"] && metadata.idTokenAlgorithms == ["RS256"])
        #expect(metadata.assertionAlgorithms == ["PS256"])
    }

    @Test(arguments: [
        ("jwks_uri", #""http://a/k""#), ("pushed_authorization_request_endpoint", #""/p""#),
        ("device_authorization_endpoint", #""ftp://a""#), ("mtls_endpoint_aliases", #"{"token_endpoint":"http://a/"}"#),
    ])
    func `endpoints that are not https are refused`(name: String, value: String) {
        let read = ProviderMetadata.read(
            Array(#"{"issuer":"i","\#(name)":\#(value)}"#.utf8), issuer: "i", plaintextOnLoopback: false)
        #expect(read == .failure(.badEndpoint(name)))
    }
}
