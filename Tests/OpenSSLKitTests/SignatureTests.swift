import OpenSSLKit
import Testing

private func octets(_ base64: String) -> [UInt8] { Base64.urlDecode(base64)! }

private func key(_ pem: String) throws -> SigningKey { try SigningKey(pem: SecretBytes(pem.utf8), name: "k.pem") }

/// One published signature: RFC 7515 appendix A.2, A.3, A.4, and RFC 8037 appendix A.4.
struct PublishedSignature: CustomTestStringConvertible {
    var algorithm: SignatureAlgorithm
    var key: PublicKey
    var message: String
    var signature: String
    var testDescription: String { algorithm.rawValue }

    private static let claims =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

    static let all = [
        PublishedSignature(
            algorithm: .rs256,
            key: PublicKey(
                modulus: octets(
                    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-"
                        + "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"
                        + "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmo"
                        + "udF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"), exponent: [1, 0, 1])!,
            message: "eyJhbGciOiJSUzI1NiJ9." + claims,
            signature:
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ"
                + "dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN"
                + "9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXL"
                + "IhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"),
        PublishedSignature(
            algorithm: .es256,
            key: PublicKey(
                curve: .p256, x: octets("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
                y: octets("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"))!,
            message: "eyJhbGciOiJFUzI1NiJ9." + claims,
            signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
        PublishedSignature(
            algorithm: .es512,
            key: PublicKey(
                curve: .p521,
                x: octets("AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk"),
                y: octets("ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"))!,
            message: "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
            signature: "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8Ga"
                + "SwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"),
        PublishedSignature(
            algorithm: .edDSA,
            key: PublicKey(ed25519: octets("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))!,
            message: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"),
    ]
}

@Suite struct SignatureTests {
    private static let otherRSA = Result { () throws(KeyError) in try SigningKey.generate(.rsa) }

    @Test(arguments: PublishedSignature.all)
    func `a published signature is valid, and nothing near it`(_ published: PublishedSignature) {
        let message = Array(published.message.utf8)
        let signature = octets(published.signature)
        #expect(published.key.isValid(signature, of: message, algorithm: published.algorithm))
        for place in [0, 1, signature.count / 2, signature.count - 1] {
            var other = signature
            other[place] ^= 1
            #expect(!published.key.isValid(other, of: message, algorithm: published.algorithm))
        }
        #expect(!published.key.isValid(signature, of: message + [0], algorithm: published.algorithm))
        #expect(!published.key.isValid(signature.dropLast(), of: message, algorithm: published.algorithm))
        #expect(!published.key.isValid(signature + [0], of: message, algorithm: published.algorithm))
        #expect(!published.key.isValid([], of: message, algorithm: published.algorithm))
        for algorithm in SignatureAlgorithm.allCases where algorithm != published.algorithm {
            #expect(!published.key.isValid(signature, of: message, algorithm: algorithm))
        }
    }

    @Test(arguments: [(KeyText.rsaPKCS8, 0), (KeyText.rsaPKCS1, 0), (KeyText.ed25519PKCS8, 3)])
    func `a deterministic algorithm gives the published signature`(pem: String, index: Int) throws {
        let published = PublishedSignature.all[index]
        let key = try key(pem)
        #expect(key.publicKey == published.key)
        #expect(
            try key.signature(of: Array(published.message.utf8), algorithm: published.algorithm)
                == octets(published.signature))
    }

    @Test(arguments: [KeyText.ecPKCS8, KeyText.ecSEC1])
    func `an EC key in either form is the published one, and signs anew each time`(pem: String) throws {
        let published = PublishedSignature.all[1]
        let key = try key(pem)
        #expect(key.publicKey == published.key)
        let message = Array(published.message.utf8)
        let first = try key.signature(of: message, algorithm: .es256)
        #expect(first.count == 64 && published.key.isValid(first, of: message, algorithm: .es256))
        #expect(try key.signature(of: message, algorithm: .es256) != first)
    }

    @Test(arguments: SignatureAlgorithm.allCases)
    func `what is signed is valid, by the same algorithm and key only`(algorithm: SignatureAlgorithm) throws {
        let kind = try #require(KeyKind.allCases.first { algorithm.suits($0) })
        // An RSA key takes its time to be made.
        let key = kind == .rsa ? try OpenSSLKitTests.key(KeyText.rsaPKCS8) : try SigningKey.generate(kind)
        let other = kind == .rsa ? try Self.otherRSA.get() : try SigningKey.generate(kind)
        let signer = try key.signer(algorithm)
        for count in [0, 1, 300, 70_000] {
            let message = Fixture.pattern(count)
            var output: [UInt8] = [7]
            try signer.appendSignature(of: message.span, to: &output)
            #expect(output[0] == 7)
            let signature = Array(output.dropFirst())
            #expect(key.publicKey.isValid(signature, of: message, algorithm: algorithm))
            #expect(!other.publicKey.isValid(signature, of: message, algorithm: algorithm))
            for wrong in SignatureAlgorithm.allCases where wrong != algorithm {
                #expect(!key.publicKey.isValid(signature, of: message, algorithm: wrong))
            }
        }
    }

    @Test func `an algorithm that does not suit the key is refused`() throws {
        for kind in KeyKind.allCases {
            let key = kind == .rsa ? try OpenSSLKitTests.key(KeyText.rsaPKCS8) : try SigningKey.generate(kind)
            #expect(kind.usualAlgorithm.suits(kind))
            for algorithm in SignatureAlgorithm.allCases where !algorithm.suits(kind) {
                #expect(throws: KeyError.unsuitable(algorithm)) { try key.signer(algorithm) }
            }
        }
    }

    @Test func `elliptic signatures have their full width whatever their numbers are`() throws {
        // One in 128 has a leading zero octet in r or in s.
        for (kind, algorithm, width) in [(KeyKind.p256, SignatureAlgorithm.es256, 64), (.p521, .es512, 132)] {
            let key = try SigningKey.generate(kind)
            let signer = try key.signer(algorithm)
            for number in 0..<500 {
                let message = Array("\(number)".utf8)
                var signature: [UInt8] = []
                try signer.appendSignature(of: message.span, to: &signature)
                #expect(signature.count == width)
                #expect(key.publicKey.isValid(signature, of: message, algorithm: algorithm))
            }
        }
    }

    @Test func `signatures of zeros and of the group's order are not valid`() {
        let published = PublishedSignature.all[1]
        let order = octets("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE")
        for half in [[UInt8](repeating: 0, count: 32), order, [UInt8](repeating: 255, count: 32)] {
            #expect(!published.key.isValid(half + half, of: Array(published.message.utf8), algorithm: .es256))
        }
    }
}

@Suite struct SigningKeyTests {
    @Test(arguments: [
        (KeyText.rsaPKCS8, KeyKind.rsa), (KeyText.ecSEC1, .p256), (KeyText.p384, .p384), (KeyText.p521, .p521),
        (KeyText.ed25519PKCS8, .ed25519),
    ])
    func `the kind of a key is seen`(pem: String, kind: KeyKind) throws {
        let key = try key("some text before\n" + pem + "\n")
        #expect(key.kind == kind)
        #expect(!"\(key) \(String(reflecting: key))".contains("PRIVATE"))
    }

    @Test(arguments: [
        (KeyText.encryptedPKCS8, "k.pem is encrypted"), (KeyText.encryptedSEC1, "k.pem is encrypted"),
        (KeyText.smallRSA, "k.pem cannot be used: the RSA key must have between 2048 and 8192 bits"),
        (KeyText.secp256k1, "k.pem cannot be used: the private key cannot be read"),
        ("", "k.pem has no usable private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "k.pem has no usable private key"),
    ])
    func `a key that cannot be used is refused in plain words`(pem: String, words: String) {
        let error = #expect(throws: TLSConfigurationError.self) { try key(pem) }
        #expect(error?.reason.hasPrefix(words) == true)
        #expect(error?.kind == .badKey)
    }

    @Test func `the same octets make the same key`() throws {
        for kind in [KeyKind.p256, .ed25519] {
            let seed = SecretBytes(Fixture.pattern(32))
            let key = try SigningKey(kind, seed: seed)
            #expect(try SigningKey(kind, seed: seed) == key)
            #expect(try SigningKey(kind, seed: SecretBytes(Fixture.pattern(33).dropFirst())) != key)
            let signature = try key.signature(of: [1], algorithm: kind.usualAlgorithm)
            #expect(key.publicKey.isValid(signature, of: [1], algorithm: kind.usualAlgorithm))
        }
        let scalar = SecretBytes(octets("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"))
        #expect(try SigningKey(.p256, seed: scalar).publicKey == PublishedSignature.all[1].key)
        let seed = SecretBytes(octets("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
        #expect(try SigningKey(.ed25519, seed: seed).publicKey == PublishedSignature.all[3].key)
    }

    @Test func `octets that are no scalar, or not for this kind, make no key`() {
        let zero = SecretBytes([UInt8](repeating: 0, count: 32))
        let large = SecretBytes([UInt8](repeating: 255, count: 32))
        for (kind, seed) in [
            (KeyKind.p256, zero), (.p256, large), (.p256, SecretBytes([1])), (.ed25519, SecretBytes([])), (.rsa, large),
            (.p384, large), (.p521, large),
        ] {
            #expect(throws: KeyError.unreadable) { try SigningKey(kind, seed: seed) }
        }
    }

    // MARK: Public keys

    @Test func `thumbprints are the published ones`() throws {
        // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
        let modulus =
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
            + "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
            + "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1"
            + "jF44-csFCur-kEgU8awapJzKnqDKgw"
        let rsa = try #require(PublicKey(modulus: octets(modulus), exponent: [0, 1, 0, 1]))
        #expect(rsa.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
        #expect(PublishedSignature.all[3].key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
        #expect(
            PublishedSignature.all[1].key.jwk
                == #"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
        )
    }

    @Test func `numbers that are no key are refused`() {
        let modulus = [0x80] + [UInt8](repeating: 0, count: 254) + [1]
        #expect(PublicKey(modulus: modulus, exponent: [1, 0, 1]) != nil)
        #expect(PublicKey(modulus: Array(modulus.dropFirst()), exponent: [1, 0, 1]) == nil)
        #expect(PublicKey(modulus: [0x7F] + modulus.dropFirst(), exponent: [1, 0, 1]) == nil)
        #expect(PublicKey(modulus: modulus.dropLast() + [2], exponent: [1, 0, 1]) == nil)
        #expect(PublicKey(modulus: [UInt8](repeating: 255, count: 1025), exponent: [1, 0, 1]) == nil)
        #expect(PublicKey(modulus: modulus, exponent: [1]) == nil)
        #expect(PublicKey(modulus: modulus, exponent: [2]) == nil)
        #expect(PublicKey(modulus: modulus, exponent: []) == nil)
        #expect(PublicKey(modulus: modulus, exponent: [UInt8](repeating: 1, count: 9)) == nil)
        #expect(PublicKey(modulus: [], exponent: []) == nil)
        let x = octets("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
        let y = octets("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
        #expect(PublicKey(curve: .p256, x: x, y: x) == nil)
        #expect(PublicKey(curve: .p256, x: x + [0], y: y) == nil)
        #expect(PublicKey(curve: .p256, x: [], y: []) == nil)
        #expect(PublicKey(curve: .p384, x: x, y: y) == nil)
        #expect(PublicKey(curve: .rsa, x: x, y: y) == nil)
        let zero = [UInt8](repeating: 0, count: 32)
        #expect(PublicKey(curve: .p256, x: zero, y: zero) == nil)
        #expect(PublicKey(ed25519: []) == nil)
        #expect(PublicKey(ed25519: x.dropLast()) == nil)
    }
}
