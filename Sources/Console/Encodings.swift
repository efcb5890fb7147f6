/// The few text codings that a browser's side needs.
enum Encodings {
    /// base64url without padding (RFC 4648 section 5): cookies, tickets.
    static func base64URL(_ bytes: [UInt8]) -> String {
        base64(bytes, alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", padded: false)
    }

    /// base64 with padding: the style's hash in the content security policy.
    static func base64(_ bytes: [UInt8]) -> String {
        base64(bytes, alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", padded: true)
    }

    private static func base64(_ bytes: [UInt8], alphabet: String, padded: Bool) -> String {
        let letters = Array(alphabet.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            let group = bytes[index..<min(index + 3, bytes.count)]
            var bits: UInt32 = 0
            for byte in group { bits = bits << 8 | UInt32(byte) }
            bits <<= UInt32(8 * (3 - group.count))
            for position in 0...group.count {
                result.append(letters[Int(bits >> UInt32(18 - 6 * position) & 0x3f)])
            }
            if padded { result.append(contentsOf: repeatElement(UInt8(ascii: "="), count: 3 - group.count)) }
            index += 3
        }
        return String(decoding: result, as: UTF8.self)
    }

    static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var result: [UInt8] = []
        for byte in bytes {
            result.append(digits[Int(byte >> 4)])
            result.append(digits[Int(byte & 15)])
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Whether a cookie or ticket is what ``base64URL(_:)`` makes of 32 bytes.
    static func isToken(_ text: String) -> Bool {
        text.utf8.count == 43 && text.utf8.allSatisfy(isURLSafe)
    }

    /// Percent-encodes all but letters, digits, `-`, `.` and `_`, for a path segment or a query value.
    static func percentEncoded(_ text: String) -> String {
        var result: [UInt8] = []
        for byte in text.utf8 {
            if isURLSafe(byte) || byte == UInt8(ascii: ".") {
                result.append(byte)
            } else {
                result.append(UInt8(ascii: "%"))
                result.append(contentsOf: hex([byte]).uppercased().utf8)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// `nil` for a cut or wrong escape, a NUL, or bytes that are not UTF-8. `plusIsSpace` for forms.
    static func percentDecoded(_ text: some StringProtocol, plusIsSpace: Bool) -> String? {
        var result: [UInt8] = []
        var bytes = text.utf8.makeIterator()
        while let byte = bytes.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = bytes.next().flatMap(hexValue), let low = bytes.next().flatMap(hexValue) else {
                    return nil
                }
                result.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: result.append(UInt8(ascii: " "))
            default: result.append(byte)
            }
        }
        return result.contains(0) ? nil : String(validating: result, as: UTF8.self)
    }

    /// All of a query in their order; nil where something is not percent-encoded as it must be.
    static func parameters(in text: String) -> [(name: String, value: String)]? {
        var found: [(name: String, value: String)] = []
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = percentDecoded(parts[0], plusIsSpace: true),
                let value = percentDecoded(parts.count > 1 ? parts[1] : "", plusIsSpace: true)
            else { return nil }
            found.append((name, value))
        }
        return found
    }

    /// A peer's text inside a sentence: in quotes, cut, visible ASCII only.
    static func shown(_ text: String) -> String {
        let plain = text.unicodeScalars.prefix(40).map { $0.value > 0x20 && $0.value < 0x7F ? Character($0) : "?" }
        return "\"\(String(plain))\(text.unicodeScalars.count > 40 ? "…" : "")\""
    }

    /// The value of a parameter in a query or an urlencoded body; `nil` where it is absent, malformed or stands twice.
    static func parameter(_ name: String, in text: String) -> String? {
        var found: String?
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard percentDecoded(parts[0], plusIsSpace: true) == name else { continue }
            guard found == nil, let value = percentDecoded(parts.count > 1 ? parts[1] : "", plusIsSpace: true) else {
                return nil
            }
            found = value
        }
        return found
    }

    /// Takes the same time wherever the first difference is.
    static func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices { difference |= left[index] ^ right[index] }
        return difference == 0
    }

    private static func isURLSafe(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
