/// A host that a captured value selects: "accounts.zoho.eu", "https://acme.my.salesforce.com/", "10.1.2.3:8443".
///
/// Stricter than a URL parser, because two parsers that disagree about one host are how secrets leave: letters, digits
/// and hyphens only (names in other scripts as punycode), no user information, no path, no trailing dot, no percent
/// signs, and of the numeric forms only four decimal numbers. Never traps, whatever the text.
package struct CapturedHost: Sendable, Hashable, CustomStringConvertible {
    /// Lower case; an IPv6 address is without its brackets.
    package let name: String
    /// nil: the scheme's own.
    package let port: UInt16?
    let isAddress: Bool

    static let limitBytes = 300

    /// An https origin (with at most a "/" behind it) or a host alone, each with or without a port.
    package init?(_ text: String) {
        guard text.utf8.count <= Self.limitBytes, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        var rest = Substring(text.lowercased())
        if rest.hasPrefix("https://") {
            rest = rest.dropFirst(8)
            if rest.hasSuffix("/") { rest = rest.dropLast() }
        }
        guard let (host, port) = Self.parted(rest) else { return nil }
        if host.contains(":") {
            guard host.utf8.allSatisfy({ FormEncoding.hexValue($0) != nil || $0 == 0x3A || $0 == 0x2E }) else {
                return nil
            }
            isAddress = true
        } else if Self.endsInNumber(host) {
            guard Self.isIPv4(host) else { return nil }
            isAddress = true
        } else {
            guard Self.isName(host) else { return nil }
            isAddress = false
        }
        name = host
        self.port = port == 443 ? nil : port
    }

    package var description: String {
        let host = name.contains(":") ? "[\(name)]" : name
        return port.map { "\(host):\($0)" } ?? host
    }

    /// Host and port; an IPv6 address must be in brackets.
    private static func parted(_ text: Substring) -> (String, UInt16?)? {
        if text.first == "[" {
            guard let close = text.firstIndex(of: "]") else { return nil }
            let host = text[text.index(after: text.startIndex)..<close]
            guard host.contains(":") else { return nil }
            let after = text[text.index(after: close)...]
            if after.isEmpty { return (String(host), nil) }
            guard after.first == ":", let port = port(after.dropFirst()) else { return nil }
            return (String(host), port)
        }
        guard let colon = text.firstIndex(of: ":") else { return (String(text), nil) }
        guard let port = port(text[text.index(after: colon)...]) else { return nil }
        return (String(text[..<colon]), port)
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(text), port > 0 else {
            return nil
        }
        return port
    }

    /// True for what a URL parser takes for an IPv4 address: 127.0.0.1, and also 127.1, 0x7f.1 and 2130706433.
    static func endsInNumber(_ host: String) -> Bool {
        guard let last = host.split(separator: ".", omittingEmptySubsequences: true).last else { return false }
        return last.hasPrefix("0x") || last.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    private static func isIPv4(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                // No leading zero: some read such a number as octal.
                UInt8(part) != nil && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
                    && (part.utf8.count == 1 || part.first != "0")
            }
    }

    static func isName(_ host: String) -> Bool {
        guard !host.isEmpty, host.utf8.count <= 253 else { return false }
        return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isLabel($0) }
    }

    /// One part of a host name, lower case.
    static func isLabel(_ text: some StringProtocol) -> Bool {
        (1...63).contains(text.utf8.count) && text.first != "-" && text.last != "-"
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D }
    }
}

/// One entry of `allowed_hosts`: a host that captured values may select for a token call, a look-up or an upstream.
///
/// An exact name ("accounts.zoho.eu"), all names below a suffix ("*.my.salesforce.com", at any depth, never the suffix
/// itself), or an address. Ports other than 443, single-word names and addresses are allowed only where they are written
/// out, so nothing private is reached unless the operator has listed it.
package struct HostPattern: Sendable, Hashable, CustomStringConvertible {
    private let host: CapturedHost
    private let isSuffix: Bool

    /// nil for what is no host, and for a suffix of fewer than two labels ("*.com").
    package init?(_ text: String) {
        isSuffix = text.hasPrefix("*.")
        guard let host = CapturedHost(isSuffix ? String(text.dropFirst(2)) : text) else { return nil }
        guard !text.contains("/") else { return nil }
        if isSuffix { guard !host.isAddress, host.name.contains(".") else { return nil } }
        self.host = host
    }

    package var description: String { isSuffix ? "*.\(host)" : host.description }

    /// It is this very host, written out by the operator.
    func names(_ other: CapturedHost) -> Bool { !isSuffix && matches(other) }

    package func matches(_ other: CapturedHost) -> Bool {
        guard host.port == other.port else { return false }
        guard isSuffix else { return host.name == other.name }
        return !other.isAddress && other.name.hasSuffix("." + host.name)
    }
}

extension [HostPattern] {
    package func allow(_ host: CapturedHost) -> Bool {
        contains { $0.matches(host) }
    }
}
