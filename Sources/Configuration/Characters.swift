extension UInt8 {
    var isDigit: Bool { self >= 0x30 && self <= 0x39 }

    var isHexDigit: Bool { isDigit || (self | 0x20 >= 0x61 && self | 0x20 <= 0x66) }

    var isLetter: Bool { self | 0x20 >= 0x61 && self | 0x20 <= 0x7a }

    /// `tchar` of RFC 9110 section 5.6.2.
    var isTokenCharacter: Bool {
        isDigit || isLetter || "!#$%&'*+-.^_`|~".utf8.contains(self)
    }

    /// What no header value may hold (RFC 9110 section 5.5); tab is allowed.
    var isControl: Bool { (self < 0x20 && self != 0x09) || self == 0x7f }
}
