package import OpenSSLKit

/// The name of a key, safe to show: the first 8 bytes, in hex, of a labelled SHA-256 of the key.
package struct KeyID: Sendable, Hashable, CustomStringConvertible {
    let text: String

    init(_ text: String) { self.text = text }

    /// Reads the id as an operator gives it: 16 hex digits.
    package init?(operatorText: String) {
        text = operatorText.lowercased()
        guard isWellFormed else { return nil }
    }

    /// Whether it can be the id of a key; the column of a damaged row may hold anything.
    var isWellFormed: Bool { text.utf8.count == 16 && text.utf8.allSatisfy { hexDigits.contains($0) } }

    package var description: String { text }
}

/// A key of 256 bits that seals what the store holds. Its description shows the id only.
package struct StoreKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package static let byteCount = 32
    package let id: KeyID
    let bytes: SecretBytes

    /// Reads a key from the content of a file, a variable or a credential: 32 raw bytes, or 32 bytes as base64,
    /// base64url or hex; one line break at the end is allowed. `source` is what error messages call it.
    package init(content: [UInt8], source: String) throws(StoreError) {
        guard let key = KeyText.key(content) else { throw KeyText.error(content, source: source) }
        guard Set(key).count > 4 else {
            throw StoreError(.key, "\(source): the store key is not random. \(KeyText.remedy)")
        }
        self.init(key)
    }

    /// The same for content that is already kept as a secret.
    package init(content: SecretBytes, source: String) throws(StoreError) {
        try self.init(content: content.exposed(), source: source)
    }

    private init(_ key: [UInt8]) {
        bytes = SecretBytes(key)
        let digest = Digest.sha256(Array("token-gateway store key id".utf8) + key)
        id = KeyID(hexText(digest.prefix(8)))
    }

    package var description: String { "StoreKey(\(id))" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["id": id.text]) }
}

/// The keys that a store may use: the active one seals and opens, the older ones only open.
package struct KeyRing: Sendable {
    package private(set) var active: StoreKey
    package private(set) var older: [StoreKey]

    package init(active: StoreKey, older: [StoreKey] = []) {
        self.active = active
        self.older = older.filter { $0.id != active.id }
    }

    /// The key with this id, if it is on the ring.
    func key(_ id: KeyID) -> StoreKey? {
        active.id == id ? active : older.first { $0.id == id }
    }

    /// Puts `key` in front; the one that was active becomes an older one.
    mutating func activate(_ key: StoreKey) {
        guard key.id != active.id else { return }
        older = [active] + older.filter { $0.id != key.id }
        active = key
    }

    var ids: [KeyID] { [active.id] + older.map(\.id) }
}

/// The spellings of a key.
private enum KeyText {
    static let remedy = "Make a good one with: openssl rand -base64 32"

    static func key(_ content: [UInt8]) -> [UInt8]? {
        let text = withoutLineBreak(content)
        switch text.count {
        case 64: return hex(text)
        case 43, 44: return base64(text).flatMap { $0.count == StoreKey.byteCount ? $0 : nil }
        default: break
        }
        // 32 printable characters are half a key in hex or a pass phrase; as raw bytes they would be far too weak.
        // Raw bytes may end in what looks like a line break, so the whole content is tried first.
        for raw in [content, text] where raw.count == StoreKey.byteCount && !raw.allSatisfy(isPrintable) {
            return raw
        }
        return nil
    }

    static func error(_ content: [UInt8], source: String) -> StoreError {
        let found =
            switch content.count {
            case 0: "it is empty"
            case _ where withoutLineBreak(content).allSatisfy(isPrintable):
                "it has \(withoutLineBreak(content).count) characters that are not such a spelling"
            default: "it has \(content.count) bytes"
            }
        return StoreError(
            .key,
            "\(source): a store key is 32 random bytes, raw or as base64 (44 characters), base64url (43 or 44) or hex "
                + "(64); \(found). \(remedy)")
    }

    private static func isPrintable(_ byte: UInt8) -> Bool { (0x20...0x7E).contains(byte) }

    private static func withoutLineBreak(_ content: [UInt8]) -> [UInt8] {
        var text = content[...]
        if text.last == UInt8(ascii: "\n") { text.removeLast() }
        if text.last == UInt8(ascii: "\r") { text.removeLast() }
        return Array(text)
    }

    private static func hex(_ text: [UInt8]) -> [UInt8]? {
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: text.count, by: 2) {
            guard let high = hexValue(text[index]), let low = hexValue(text[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Base64 (44 characters) or base64url (43, or 44 with its padding).
    private static func base64(_ text: [UInt8]) -> [UInt8]? {
        let text = String(decoding: text, as: UTF8.self)
        return Base64.decode(text) ?? Base64.urlDecode(text.hasSuffix("=") ? String(text.dropLast()) : text)
            ?? Base64.decode(text + "=")
    }
}

/// Lower-case hex.
func hexText(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: bytes.flatMap { [hexDigits[Int($0 >> 4)], hexDigits[Int($0 & 15)]] }, as: UTF8.self)
}

private let hexDigits = Array("0123456789abcdef".utf8)
