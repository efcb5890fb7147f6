/// A host that a captured value may name: one name, or everything below one.
package struct AllowedHost: Sendable, Equatable {
    private let name: String
    private let isBelow: Bool

    /// - Parameter text: `api.example.com`, or `*.example.com` for every name below `example.com` but not itself. Nil for
    ///   anything else.
    package init?(_ text: String) {
        let isBelow = text.hasPrefix("*.")
        guard let name = HostTemplate.canonicalHost(isBelow ? String(text.dropFirst(2)) : text) else { return nil }
        self.name = name
        self.isBelow = isBelow
    }

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
        case .missing: "the grant has captured no value for the upstream's host"
        case .malformed: "what the grant has captured is not the host of an upstream"
        case .notAllowed: "the host that the grant has captured is not among the upstream's allowed hosts"
        }
    }
}

/// The host of an upstream whose URL has captured values in it, such as `{api_domain}` or `{shop}.example.com`.
///
/// A token goes to the host that was captured with it and nowhere else, and only where the operator has allowed that
/// host: what a provider's answer says is not trusted to name just any (RFC 6750 5.3).
package struct HostTemplate: Sendable, Equatable {
    private enum Part: Sendable, Equatable {
        case text(String)
        case captured(String)
    }

    private let parts: [Part]
    private let isPlaintext: Bool
    /// The port of the upstream's URL: a captured value may say it, and no other.
    private let port: UInt16
    private let allowed: [AllowedHost]

    /// - Parameters:
    ///   - text: the host part of the URL. Nil when it has no name in braces, or is malformed.
    ///   - allowed: empty: no host is.
    package init?(_ text: String, port: UInt16, isPlaintext: Bool, allowed: [AllowedHost]) {
        var parts: [Part] = []
        var rest = Substring(text)
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { return nil }
            if open > rest.startIndex { parts.append(.text(rest[..<open].lowercased())) }
            let name = rest[rest.index(after: open)..<close]
            guard !name.isEmpty, !name.contains("{") else { return nil }
            parts.append(.captured(String(name)))
            rest = rest[rest.index(after: close)...]
        }
        guard !parts.isEmpty, !rest.contains("}") else { return nil }
        if !rest.isEmpty { parts.append(.text(rest.lowercased())) }
        self.parts = parts
        self.port = port
        self.isPlaintext = isPlaintext
        self.allowed = allowed
    }

    /// The host for these captured values, in lower case. Allocates; to be asked once for a credential.
    package func host(_ captured: [String: String]) throws(CapturedHostFault) -> String {
        var text = ""
        for part in parts {
            switch part {
            case .text(let literal): text += literal
            case .captured(let name):
                guard let value = captured[name] else { throw .missing }
                // A label must not bring dots of its own: "evil.test/" or "evil.test." before a suffix.
                guard parts.count == 1 || !value.contains(".") else { throw .malformed }
                text += parts.count == 1 ? try authority(of: value) : Substring(value)
            }
        }
        guard let host = Self.canonicalHost(text) else { throw .malformed }
        guard allowed.contains(where: { $0.covers(host) }) else { throw .notAllowed }
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
}
