import Foundation
import OpenSSLKit
import Testing

@testable import TokenStore

@Suite struct KeyTests {
    static let raw: [UInt8] = (0..<32).map { 200 &+ $0 &* 11 }
    static let base64 = Data(raw).base64EncodedString()
    static let base64url = base64.replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
    static let hex = hexText(raw)

    static let spellings: [[UInt8]] =
        [raw, raw + [10]]
        + [
            base64, base64 + "\n", base64 + "\r\n", base64url, String(base64url.dropLast()), hex,
            hex.uppercased() + "\n",
        ].map { Array($0.utf8) }

    @Test(arguments: spellings)
    func `every spelling of a key is the same key`(_ content: [UInt8]) throws {
        let key = try StoreKey(content: content, source: "key file")
        #expect(key.bytes.exposed() == Self.raw)
        #expect(key.id == (try StoreKey(content: Self.raw, source: "x")).id)
        #expect(key.id.text.count == 16)
    }

    @Test func `the test of spellings has the characters that differ`() {
        #expect(Self.base64 != Self.base64url)
    }

    @Test func `raw bytes that end in a line break are kept whole`() throws {
        for last in [UInt8(ascii: "\n"), UInt8(ascii: "\r")] {
            let content = Self.raw.dropLast() + [last]
            #expect(try StoreKey(content: Array(content), source: "k").bytes.exposed() == Array(content))
        }
    }

    static let wrong: [String] = [
        "", "\n", "secret", "0123456789abcdef0123456789abcdef\n", String(repeating: "g", count: 64),
        String(hex.dropLast()), String(base64.dropLast(4)), base64 + "=", "\(base64.dropLast())!", base64 + "\n\n",
        " " + base64, "\(base64.dropLast(2))/=", hex + hex, String(repeating: "0", count: 64),
        "-/\(base64.dropFirst(2))",
    ]

    @Test(arguments: wrong)
    func `anything else is an error that says what would be right`(_ content: String) {
        let error = storeError { _ = try StoreKey(content: Array(content.utf8), source: "/etc/tg/store.key") }
        #expect(error?.kind == .key)
        #expect(error?.message.contains("openssl rand -base64 32") == true)
        #expect(error?.message.hasPrefix("/etc/tg/store.key: ") == true)
        if content.count > 8 { #expect(error?.message.contains(content.prefix(8)) == false) }
    }

    @Test(arguments: [0, 31, 33, 34, 65, 1000])
    func `a wrong number of raw bytes is refused`(_ count: Int) {
        let content = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 129) }
        #expect(storeError { _ = try StoreKey(content: content, source: "k") }?.kind == .key)
    }

    @Test func `no description shows the key or a payload`() throws {
        let key = try StoreKey(content: Self.raw, source: "k")
        var dumped = ""
        dump(KeyRing(active: key, older: [try testKey()]), to: &dumped)
        dump(StoredRecord(generation: 1, payload: Array("hunter2".utf8)), to: &dumped)
        dumped += "\(key) \(String(reflecting: key)) \(StoredRecord(generation: 3, payload: [200, 211]))"
        #expect(dumped.contains(key.id.text))
        for byte in ["200", "211", "104", "hunter2", Self.hex] { #expect(!dumped.contains(byte)) }
    }

    // MARK: Sealing

    static let place = SealedPlace(table: "grant", row: "crm", number: 3)

    @Test func `a sealed value opens at its place only`() throws {
        let sealer = Sealer(ring: KeyRing(active: try testKey()))
        let sealed = try sealer.seal([1, 2, 3], at: Self.place)
        #expect(sealer.open(sealed, at: Self.place) == [1, 2, 3])
        for place in [
            SealedPlace(table: "other", row: "crm", number: 3), SealedPlace(table: "grant", row: "crm2", number: 3),
            SealedPlace(table: "grant", row: "crm", number: 4), SealedPlace(table: "grantc", row: "rm", number: 3),
        ] {
            #expect(sealer.open(sealed, at: place) == nil)
        }
    }

    @Test func `a change of any bit, and any shorter form, does not open`() throws {
        let sealer = Sealer(ring: KeyRing(active: try testKey()))
        let sealed = try sealer.seal(Array("token".utf8), at: Self.place)
        for index in sealed.bytes.indices {
            for bit in 0..<8 {
                var bytes = sealed.bytes
                bytes[index] ^= 1 << bit
                #expect(sealer.open(Sealed(keyID: sealed.keyID, bytes: bytes), at: Self.place) == nil)
            }
            let shorter = Sealed(keyID: sealed.keyID, bytes: Array(sealed.bytes.prefix(index)))
            #expect(sealer.open(shorter, at: Self.place) == nil)
        }
    }

    @Test func `older keys open and the active one seals`() throws {
        let (old, new) = (try testKey(1), try testKey(2))
        let sealed = try Sealer(ring: KeyRing(active: old)).seal([9], at: Self.place)
        let both = Sealer(ring: KeyRing(active: new, older: [old]))
        #expect(both.open(sealed, at: Self.place) == [9])
        #expect(try both.seal([9], at: Self.place).keyID == new.id)
        #expect(Sealer(ring: KeyRing(active: new)).open(sealed, at: Self.place) == nil)
        let mislabelled = Sealed(keyID: new.id, bytes: sealed.bytes)
        #expect(both.open(mislabelled, at: Self.place) == nil)
    }
}
