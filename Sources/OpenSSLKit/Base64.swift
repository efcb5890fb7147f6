/// Base64 (RFC 4648), strict: no white space, no foreign characters, no stray bits, padding exactly where it belongs.
package enum Base64 {
    /// The standard alphabet, padded.
    package static func encode(_ bytes: [UInt8]) -> String { encode(bytes, alphabet: standard, padded: true) }

    /// The URL-safe alphabet, not padded (as PKCE and JWT want it).
    package static func urlEncode(_ bytes: [UInt8]) -> String { encode(bytes, alphabet: urlSafe, padded: false) }

    /// Appends what `urlEncode` gives, without an object of its own.
    package static func appendURLEncoded(_ bytes: Span<UInt8>, to text: inout [UInt8]) {
        append(bytes, alphabet: urlSafe, to: &text)
    }

    /// Nil for anything but the one right form.
    package static func decode(_ text: String) -> [UInt8]? {
        var octets = Array(text.utf8)
        guard octets.count.isMultiple(of: 4) else { return nil }
        for _ in 0..<2 where octets.last == padding { octets.removeLast() }
        // "=" is only right where it fills up the last group.
        guard octets.count + (4 - octets.count % 4) % 4 == text.utf8.count else { return nil }
        return decode(octets, alphabet: standard)
    }

    /// Nil for anything but the one right form; padding is not part of it.
    package static func urlDecode(_ text: String) -> [UInt8]? {
        decode(Array(text.utf8), alphabet: urlSafe)
    }

    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let urlSafe = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    private static let padding = UInt8(ascii: "=")

    private static func encode(_ bytes: [UInt8], alphabet: [UInt8], padded: Bool) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        append(bytes.span, alphabet: alphabet, to: &text)
        while padded && !text.count.isMultiple(of: 4) { text.append(padding) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func append(_ bytes: Span<UInt8>, alphabet: [UInt8], to text: inout [UInt8]) {
        var index = 0
        // Three octets are four characters.
        while index + 3 <= bytes.count {
            let bits = UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2])
            text.append(alphabet[Int(bits >> 18)])
            text.append(alphabet[Int(bits >> 12 & 63)])
            text.append(alphabet[Int(bits >> 6 & 63)])
            text.append(alphabet[Int(bits & 63)])
            index += 3
        }
        guard index < bytes.count else { return }
        let isLast = index + 1 == bytes.count
        let bits = UInt32(bytes[index]) << 16 | (isLast ? 0 : UInt32(bytes[index + 1]) << 8)
        text.append(alphabet[Int(bits >> 18)])
        text.append(alphabet[Int(bits >> 12 & 63)])
        if !isLast { text.append(alphabet[Int(bits >> 6 & 63)]) }
    }

    private static func decode(_ text: [UInt8], alphabet: [UInt8]) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3 + 2)
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        for character in text {
            guard let value = value(of: character, alphabet: alphabet) else { return nil }
            bits = bits << 6 | UInt32(value)
            bitCount += 6
            guard bitCount >= 8 else { continue }
            bitCount -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> bitCount))
        }
        let strayBits = bits & (1 << bitCount - 1)
        return strayBits == 0 ? bytes : nil
    }

    private static func value(of character: UInt8, alphabet: [UInt8]) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character + 4
        case alphabet[62]: 62
        case alphabet[63]: 63
        default: nil
        }
    }
}
