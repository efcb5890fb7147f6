/// A host that a captured value may name: one name, or everything below one.
package struct AllowedHost: Sendable, Equatable {
    private let name: String
    private let isBelow: Bool

    /// - Parameter text: `api.example.com`, or `*.example.com` for every name below `example.com` but not itself. Nil for
    ///   anything else.
    package init?(_ text: String) {
        let isBelow = text.hasPrefix("*.")
        guard let name = UpstreamTemplate.canonicalHost(isBelow ? String(text.dropFirst(2)) : text) else { return nil }
        self.name = name
        self.isBelow = isBelow
    }

    /// The operator has written this very host, and so knows where it is; a pattern says nothing of that.
    fileprivate func names(_ host: String) -> Bool { !isBelow && host == name }

    /// - Parameter host: in lower case.
    package func covers(_ host: String) -> Bool {
        isBelow ? host.utf8.count > name.utf8.count + 1 && host.hasSuffix("." + name) : host == name
    }
}

/// Why no host came of captured values. Each is a fact about the grant, not about the request.
package enum CapturedHostFault: Error, Sendable, Equatable {
    case missing, malformed, notAllowed

    package var reason: StaticString {
        switch self {
        case .missing: "the grant has captured no value that the upstream's URL needs"
        case .malformed: "what the grant has captured does not fit the upstream's URL"
        case .notAllowed: "the host that the grant has captured is not among the upstream's allowed hosts"
        }
    }
}

/// Where an upstream is whose URL has captured values in it: `{api_domain}`, `{shop}.example.com`, `/ex/{cloud_id}`.
///
/// A token goes to the host that was captured with it and nowhere else, and only where the operator has allowed that
/// host: what a provider's answer says is not trusted to name just any (RFC 6750 5.3).
package struct UpstreamTemplate: Sendable, Equatable {
    package struct Place: Sendable, Equatable {
        /// In lower case.
        package var host: String
        /// As in ``UpstreamIdentity/basePath``.
        package var basePath: [UInt8]
    }

    private enum Part: Sendable, Equatable {
        case text(String)
        case captured(String)
    }

    private let host: [Part]
    private let path: [Part]
    private let isPlaintext: Bool
    /// The port of the upstream's URL: a captured value may say it, and no other.
    private let port: UInt16
    private let allowed: [AllowedHost]

    /// - Parameters:
    ///   - host: of the URL, with names in braces.
    ///   - path: of the URL, with names in braces; empty, or begins with "/".
    ///   - allowed: where `host` has names: the hosts that may come of it; empty: none.
    /// Nil when braces are not in pairs around names.
    package init?(host: String, path: String, port: UInt16, isPlaintext: Bool, allowed: [AllowedHost]) {
        guard let hostParts = Self.parts(host.lowercased(), original: host), !hostParts.isEmpty,
            let pathParts = Self.parts(path, original: path)
        else { return nil }
        self.host = hostParts
        self.path = pathParts
        self.port = port
        self.isPlaintext = isPlaintext
        self.allowed = allowed
    }

    /// - Parameter original: names are taken from it, as their case matters.
    private static func parts(_ text: String, original: String) -> [Part]? {
        var parts: [Part] = []
        let (octets, names) = (Array(text.utf8), Array(original.utf8))
        var start = 0
        while let open = octets[start...].firstIndex(of: 0x7B) {
            guard let close = octets[open...].firstIndex(of: 0x7D), close > open + 1,
                !octets[(open + 1)..<close].contains(0x7B), !octets[start..<open].contains(0x7D)
            else { return nil }
            if open > start { parts.append(.text(String(decoding: octets[start..<open], as: UTF8.self))) }
            parts.append(.captured(String(decoding: names[(open + 1)..<close], as: UTF8.self)))
            start = close + 1
        }
        guard !octets[start...].contains(0x7D) else { return nil }
        if start < octets.count { parts.append(.text(String(decoding: octets[start...], as: UTF8.self))) }
        return parts
    }

    /// Where these captured values lead. Allocates; to be asked once for a credential.
    package func place(_ captured: [String: String]) throws(CapturedHostFault) -> Place {
        Place(host: try host(captured), basePath: try basePath(captured))
    }

    // MARK: Host

    /// Whether the operator has allowed this host by its whole name, and not only by a pattern.
    ///
    /// - Parameter host: of ``place(_:)``.
    package func isWrittenOut(_ host: String) -> Bool {
        let isFixed = self.host.allSatisfy { if case .text = $0 { true } else { false } }
        return isFixed || allowed.contains { $0.names(host) }
    }

    private func host(_ captured: [String: String]) throws(CapturedHostFault) -> String {
        var text = ""
        var isFixed = true
        for part in host {
            switch part {
            case .text(let literal): text += literal
            case .captured(let name):
                isFixed = false
                guard let value = captured[name] else { throw .missing }
                // A label must not bring dots of its own: "evil.test/" or "evil.test." before a suffix.
                guard host.count == 1 || !value.contains(".") else { throw .malformed }
                text += host.count == 1 ? try authority(of: value) : Substring(value)
            }
        }
        guard let host = Self.canonicalHost(text) else { throw .malformed }
        guard isFixed || allowed.contains(where: { $0.covers(host) }) else { throw .notAllowed }
        return host
    }

    /// Providers give a name, or the URL of their API: the host of it, where scheme and port are the upstream's.
    private func authority(of value: String) throws(CapturedHostFault) -> Substring {
        var rest = Substring(value)
        let scheme = isPlaintext ? "http://" : "https://"
        if rest.lowercased().hasPrefix(scheme) { rest = rest.dropFirst(scheme.count) }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        if let colon = rest.lastIndex(of: ":") {
            guard rest[rest.index(after: colon)...] == String(port) else { throw .malformed }
            rest = rest[..<colon]
        }
        return rest
    }

    /// Lower case; nil for what is no name of a host: labels of letters, digits, `-` and `_`.
    static func canonicalHost(_ text: String) -> String? {
        let host = text.lowercased()
        guard (1...253).contains(host.utf8.count) else { return nil }
        for label in host.utf8.split(separator: 0x2E, omittingEmptySubsequences: false) {
            guard (1...63).contains(label.count), label.first != 0x2D, label.last != 0x2D else { return nil }
            for byte in label {
                switch byte {
                case 0x30...0x39, 0x61...0x7A, 0x2D, 0x5F: continue
                default: return nil
                }
            }
        }
        return host
    }

    // MARK: Path

    /// A value stays one segment, or part of one, whatever is in it.
    private func basePath(_ captured: [String: String]) throws(CapturedHostFault) -> [UInt8] {
        var out: [UInt8] = []
        for part in path {
            switch part {
            case .text(let literal): out += Array(literal.utf8)
            case .captured(let name):
                guard let value = captured[name] else { throw .missing }
                guard (1...1024).contains(value.utf8.count), value != ".", value != ".." else { throw .malformed }
                for byte in value.utf8 { Self.appendEscaped(byte, to: &out) }
            }
        }
        while out.last == 0x2F { out.removeLast() }
        return out
    }

    private static func appendEscaped(_ byte: UInt8, to out: inout [UInt8]) {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: out.append(byte)
        default:
            let digits: StaticString = "0123456789ABCDEF"
            digits.withUTF8Buffer { out += [0x25, $0[Int(byte >> 4)], $0[Int(byte & 15)]] }
        }
    }
}
