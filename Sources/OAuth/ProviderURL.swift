/// An absolute http or https URL of a provider's endpoint, taken apart once and then immutable.
///
/// Refuses what an endpoint must not have: user information, a fragment (RFC 6749 section 3.2), control octets, spaces
/// and octets outside ASCII. Never traps, whatever the text.
package struct ProviderURL: Sendable, Hashable, CustomStringConvertible {
    package enum Scheme: String, Sendable {
        case http, https
    }

    package let scheme: Scheme
    /// Lower case; an IPv6 address is without its brackets.
    package let host: String
    package let port: UInt16
    /// Begins with "/".
    package let path: String
    /// Without the "?"; nil where there is none.
    package let query: String?
    /// The text as it was given: the string that RFC 8414 and RFC 9207 compare.
    package let description: String

    package init?(_ text: String) {
        guard text.utf8.count <= 8192, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C }) else {
            return nil
        }
        guard !text.contains("#"), let separator = text.firstRange(ofText: "://") else { return nil }
        guard let scheme = Scheme(rawValue: text[..<separator.lowerBound].lowercased()) else { return nil }
        let rest = text[separator.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        guard let authority = Self.authority(rest[..<end], scheme: scheme) else { return nil }
        let target = rest[end...]
        let question = target.firstIndex(of: "?")
        let path = String(target[..<(question ?? target.endIndex)])
        self.scheme = scheme
        (host, port) = authority
        self.path = path.isEmpty ? "/" : path
        query = question.map { String(target[target.index(after: $0)...]) }
        description = text
    }

    /// The request target in origin form.
    package var target: String {
        query.map { path + "?" + $0 } ?? path
    }

    /// The value for a Host field: the port only where it is not the scheme's own.
    package var hostField: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == Self.defaultPort(scheme) ? name : "\(name):\(port)"
    }

    /// True for localhost, 127.0.0.0/8 and ::1, by the text alone: no name is looked up.
    package var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// https always; http only on a loopback address and only where the provider allows plaintext (checklist D39).
    package func isAllowed(plaintextOnLoopback: Bool) -> Bool {
        switch scheme {
        case .https: true
        case .http: plaintextOnLoopback && isLoopback
        }
    }

    private static func defaultPort(_ scheme: Scheme) -> UInt16 {
        switch scheme {
        case .http: 80
        case .https: 443
        }
    }

    private static func authority(_ text: Substring, scheme: Scheme) -> (String, UInt16)? {
        guard !text.contains("@") else { return nil }
        var host = text
        var portText: Substring?
        if text.first == "[" {
            guard let close = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<close]
            guard host.contains(":"), host.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return nil }
            let after = text[text.index(after: close)...]
            if !after.isEmpty {
                guard after.first == ":" else { return nil }
                portText = after.dropFirst()
            }
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            portText = text[text.index(after: colon)...]
        }
        guard !host.isEmpty, host.utf8.count <= 253, host.utf8.allSatisfy(isHostByte) else { return nil }
        guard let portText else { return (host.lowercased(), defaultPort(scheme)) }
        guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(portText), port > 0 else {
            return nil
        }
        return (host.lowercased(), port)
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x3A: true
        default: false
        }
    }
}

extension StringProtocol {
    /// The first place where `text` occurs, without Foundation.
    func firstRange(ofText text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) {
                return start..<index(start, offsetBy: text.count)
            }
            formIndex(after: &start)
        }
        return nil
    }
}
