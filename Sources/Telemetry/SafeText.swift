/// Peer-supplied bytes made safe for a line of text.
///
/// What may stand in a line as it is: printable ASCII other than the quote and the backslash, and well-formed UTF-8 that
/// is neither a C1 control nor a line or paragraph separator. All else is escaped as JSON escapes it, so no byte can end
/// the line, close the string or reach a terminal as a control. A byte that is not UTF-8 becomes U+FFFD.
extension [UInt8] {
    package mutating func append(escaping text: Span<UInt8>) {
        var index = 0
        while index < text.count {
            // What may stand as it is goes in one piece: nearly always all of it.
            let plain = Self.plainLength(of: text, from: index)
            if plain > 0 {
                text.extracting(index..<(index + plain)).withUnsafeBufferPointer { append(contentsOf: $0) }
                index += plain
                continue
            }
            let byte = text[index]
            if byte < 0x80 {
                appendEscapedASCII(byte)
                index += 1
                continue
            }
            let length = Self.sequenceLength(in: text, at: index)
            if length == 0 {
                append(ascii: "\\ufffd")
                index += 1
            } else if Self.isControlOrSeparator(in: text, at: index, length: length) {
                appendEscapedScalar(in: text, at: index, length: length)
                index += length
            } else {
                for offset in 0..<length { append(text[index + offset]) }
                index += length
            }
        }
    }

    /// How many octets from `start` on are printable ASCII other than the quote and the backslash.
    @inline(__always)
    private static func plainLength(of text: Span<UInt8>, from start: Int) -> Int {
        var index = start
        while index < text.count {
            let byte = text[index]
            guard byte &- 0x20 < 0x5f, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") else { break }
            index &+= 1
        }
        return index - start
    }

    package mutating func append(escaping text: String) {
        append(escaping: text.utf8.span)
    }

    private mutating func appendEscapedASCII(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): append(ascii: "\\\"")
        case UInt8(ascii: "\\"): append(ascii: "\\\\")
        case UInt8(ascii: "\n"): append(ascii: "\\n")
        case UInt8(ascii: "\r"): append(ascii: "\\r")
        case UInt8(ascii: "\t"): append(ascii: "\\t")
        case 0x20..<0x7f: append(byte)
        default: appendEscape(UInt32(byte))
        }
    }

    private mutating func appendEscapedScalar(in text: Span<UInt8>, at index: Int, length: Int) {
        var scalar = UInt32(text[index]) & (length == 2 ? 0x1f : 0x0f)
        for offset in 1..<length { scalar = scalar << 6 | UInt32(text[index + offset] & 0x3f) }
        appendEscape(scalar)
    }

    private mutating func appendEscape(_ scalar: UInt32) {
        append(ascii: "\\u")
        for shift in [12 as UInt32, 8, 4, 0] {
            let digit = UInt8(scalar >> shift & 0xf)
            append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    /// C1 controls (U+0080 to U+009F), and U+2028 and U+2029, which some readers take for line ends.
    private static func isControlOrSeparator(in text: Span<UInt8>, at index: Int, length: Int) -> Bool {
        if length == 2 { return text[index] == 0xc2 && text[index + 1] < 0xa0 }
        return length == 3 && text[index] == 0xe2 && text[index + 1] == 0x80
            && (text[index + 2] == 0xa8 || text[index + 2] == 0xa9)
    }

    /// The length of the well-formed UTF-8 sequence at `index` (Unicode table 3-7), or 0.
    private static func sequenceLength(in text: Span<UInt8>, at index: Int) -> Int {
        let lead = text[index]
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xbf
        switch lead {
        case 0xc2...0xdf: length = 2
        case 0xe0: (length, second) = (3, 0xa0...0xbf)
        case 0xed: (length, second) = (3, 0x80...0x9f)
        case 0xe1...0xef: length = 3
        case 0xf0: (length, second) = (4, 0x90...0xbf)
        case 0xf4: (length, second) = (4, 0x80...0x8f)
        case 0xf1...0xf3: length = 4
        default: return 0
        }
        guard index + length <= text.count, second.contains(text[index + 1]) else { return 0 }
        for offset in stride(from: 2, to: length, by: 1) where text[index + offset] & 0xc0 != 0x80 { return 0 }
        return length
    }
}
