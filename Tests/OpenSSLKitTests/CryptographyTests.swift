import OpenSSLKit
import Testing

/// Octets from hexadecimal text.
private func hex(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

@Suite struct DigestTests {
    @Test(
        arguments: [
            // FIPS 180-4 examples.
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func `SHA-256 gives the published values`(message: String, digest: String) {
        #expect(Digest.sha256(Array(message.utf8)) == hex(digest))
        #expect(Digest.sha256(message.utf8) == hex(digest))
        #expect(Array(message.utf8).withUnsafeBytes { Digest.sha256($0) } == hex(digest))
    }

    @Test(
        arguments: [
            // RFC 4231, test cases 1, 2, 3 and 6.
            (
                [UInt8](repeating: 0x0b, count: 20), Array("Hi There".utf8),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
            ),
            (
                Array("Jefe".utf8), Array("what do ya want for nothing?".utf8),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
            ),
            (
                [UInt8](repeating: 0xaa, count: 20), [UInt8](repeating: 0xdd, count: 50),
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
            ),
            (
                [UInt8](repeating: 0xaa, count: 131),
                Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
            ),
            ([], [], "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"),
        ])
    func `HMAC-SHA-256 gives the published values`(key: [UInt8], message: [UInt8], code: String) {
        #expect(Digest.hmacSHA256(key: key, message: message) == hex(code))
        #expect(Digest.hmacSHA256(key: SecretBytes(key), message: message) == hex(code))
    }

    @Test func `comparison sees every octet and the length`() {
        let bytes = Fixture.pattern(32)
        #expect(constantTimeEquals(bytes, bytes))
        #expect(constantTimeEquals([], []))
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 0x80
            #expect(!constantTimeEquals(bytes, other))
        }
        #expect(!constantTimeEquals(bytes, Array(bytes.dropLast())))
        #expect(!constantTimeEquals([], [0]))
    }

    @Test func `random octets have the length that was asked for and differ`() {
        #expect(RandomBytes.bytes(0).isEmpty)
        #expect(RandomBytes.bytes(33).count == 33)
        #expect(Set((0..<100).map { _ in RandomBytes.bytes(16) }).count == 100)
    }

    @Test func `the version names the library`() {
        #expect(OpenSSLVersion.text.hasPrefix("OpenSSL 3."))
    }
}

@Suite struct AEADTests {
    static let key = SecretBytes(Fixture.pattern(32))
    static let grant = Array("grant-1/refresh_token".utf8)

    @Test(arguments: [0, 1, 15, 16, 17, 1200, 100_000])
    func `what is sealed opens again`(count: Int) throws {
        let text = Fixture.pattern(count)
        let sealed = try AEAD.seal(text, key: Self.key, associatedData: Self.grant)
        #expect(sealed.count == count + 28)
        #expect(try AEAD.open(sealed, key: Self.key, associatedData: Self.grant) == text)
        #expect(try AEAD.seal(text, key: Self.key, associatedData: Self.grant) != sealed)
    }

    @Test(
        arguments: [
            // The GCM specification's test cases 13, 14 and 16.
            (
                String(repeating: "0", count: 64), String(repeating: "0", count: 24), "", "", "",
                "530f8afbc74536b9a963b4f1c4cb738b"
            ),
            (
                String(repeating: "0", count: 64), String(repeating: "0", count: 24), "",
                "cea7403d4d606b6e074ec5d3baf39d18", "00000000000000000000000000000000",
                "d0d1c8a799996bf0265b98b5d48ab919"
            ),
            (
                "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                "76fc6ece0f4e1768cddf8853bb2d551b"
            ),
        ])
    func `the published texts open`(
        key: String, nonce: String, associatedData: String, ciphertext: String, plaintext: String, tag: String
    ) throws {
        let sealed = hex(nonce) + hex(ciphertext) + hex(tag)
        let opened = try AEAD.open(sealed, key: SecretBytes(hex(key)), associatedData: hex(associatedData))
        #expect(opened == hex(plaintext))
    }

    @Test func `any flipped bit is noticed`() throws {
        let sealed = try AEAD.seal(Fixture.pattern(40), key: Self.key, associatedData: Self.grant)
        for bit in 0..<sealed.count * 8 {
            var changed = sealed
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: AEADError.notAuthentic) {
                try AEAD.open(changed, key: Self.key, associatedData: Self.grant)
            }
        }
    }

    @Test func `the text of one grant does not open as another's`() throws {
        let sealed = try AEAD.seal([1, 2, 3], key: Self.key, associatedData: Self.grant)
        for other in [[], Array("grant-2/refresh_token".utf8), Array("grant-1/access_token".utf8)] as [[UInt8]] {
            #expect(throws: AEADError.notAuthentic) { try AEAD.open(sealed, key: Self.key, associatedData: other) }
        }
        #expect(throws: AEADError.notAuthentic) {
            try AEAD.open(sealed, key: SecretBytes(Fixture.pattern(33).dropFirst()), associatedData: Self.grant)
        }
    }

    @Test func `short texts and wrong keys have their own errors`() throws {
        for count in 0..<28 {
            #expect(throws: AEADError.tooShort) {
                try AEAD.open(Fixture.pattern(count), key: Self.key, associatedData: [])
            }
        }
        for count in [0, 16, 31, 33] {
            let key = SecretBytes(Fixture.pattern(count))
            #expect(throws: AEADError.badKeyLength) { try AEAD.seal([], key: key, associatedData: []) }
            #expect(throws: AEADError.badKeyLength) {
                try AEAD.open(Fixture.pattern(28), key: key, associatedData: [])
            }
        }
    }
}

@Suite struct SecretTests {
    struct Holder {
        var name = "grant-1"
        var token = SecretString("hunter2")
        var key = SecretBytes(Array("hunter2".utf8))
        var list: [SecretString]? = [SecretString("hunter2")]
    }

    @Test func `no description shows a secret`() {
        let holder = Holder()
        var dumped = ""
        dump(holder, to: &dumped)
        let texts = [
            "\(holder)", String(reflecting: holder), dumped, "\(holder.token)", "\(holder.key)",
            String(reflecting: holder.token), String(reflecting: holder.key), "\(["a": holder.token])",
        ]
        for text in texts {
            #expect(!text.contains("hunter2"))
            #expect(!text.contains("104"))
        }
        #expect("\(holder.token)" == "[redacted]")
    }

    @Test func `secrets compare by value and come out when asked`() {
        #expect(SecretString("a") == SecretString("a"))
        #expect(SecretString("a") != SecretString("b"))
        #expect(SecretString("a") != SecretString("aa"))
        #expect(SecretString("hunter2").exposed() == "hunter2")
        #expect(SecretBytes([1, 2, 3]).exposed() == [1, 2, 3])
        #expect(SecretString("").isEmpty)
        #expect(SecretString("é").count == 2)
        #expect(Set([SecretString("a"), SecretString("a")]).count == 1)
    }

    @Test func `overwriting a secret does not touch the array that it was made from`() {
        let bytes = Fixture.pattern(64)
        var secret: SecretBytes? = SecretBytes(bytes)
        let exposed = secret?.exposed()
        secret = nil
        #expect(bytes == Fixture.pattern(64))
        #expect(exposed == bytes)
    }
}

@Suite struct Base64Tests {
    @Test(
        arguments: [
            // RFC 4648 10.
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ])
    func `the published values go both ways`(text: String, encoded: String) {
        #expect(Base64.encode(Array(text.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(text.utf8))
        let unpadded = encoded.filter { $0 != "=" }
        #expect(Base64.urlEncode(Array(text.utf8)) == unpadded)
        #expect(Base64.urlDecode(unpadded) == Array(text.utf8))
    }

    @Test func `the two alphabets differ in two characters`() {
        #expect(Base64.encode([0xfb, 0xff, 0xbf]) == "+/+/")
        #expect(Base64.urlEncode([0xfb, 0xff, 0xbf]) == "-_-_")
        #expect(Base64.decode("-_-_") == nil)
        #expect(Base64.urlDecode("+/+/") == nil)
    }

    @Test(arguments: 0..<70)
    func `every length comes back`(count: Int) {
        let bytes = Fixture.pattern(count * 3).suffix(count)
        #expect(Base64.decode(Base64.encode(Array(bytes))) == Array(bytes))
        #expect(Base64.urlDecode(Base64.urlEncode(Array(bytes))) == Array(bytes))
    }

    @Test(
        arguments: [
            "Z", "Zg", "Zg=", "Zg===", "=", "==", "===", "====", "Zm9v====", "Zm9v=", "Zh==", "Zm9=", "Zm 9", "Zm9v\n",
            "Zg==Zg==", "Zé==", "Zm9v!", "Z=g=", "\0\0\0\0",
        ])
    func `anything but the one right form is refused`(text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test(arguments: ["Z", "Zg==", "Zg=", "Zh", "Zm9", "Zm9v ", "Zm9v\n", "Zm+v", "Zm/v", "é"])
    func `the URL form has no padding and no stray bits`(text: String) {
        #expect(Base64.urlDecode(text) == nil)
    }
}
