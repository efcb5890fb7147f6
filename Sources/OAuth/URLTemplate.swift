/// Values for the names in templates, with who gave them: what is in the provider's own section of the file may name
/// any host; what a grant, a callback, a reply or a look-up gave may name only hosts of `allowed_hosts`.
package struct TemplateVariables: Sendable, Equatable {
    /// From `[provider.X.variables]`.
    package var provider: [String: String]
    /// From the grant and from captures; these win.
    package var grant: [String: String]

    package init(provider: [String: String] = [:], grant: [String: String] = [:]) {
        self.provider = provider
        self.grant = grant
    }

    package subscript(name: String) -> String? { grant[name] ?? provider[name] }

    func isFromProvider(_ name: String) -> Bool { grant[name] == nil }

    /// A lower-case letter, then lower-case letters, digits and "_"; at most 64 octets.
    package static func isName(_ text: some StringProtocol) -> Bool {
        guard let first = text.utf8.first, (0x61...0x7A).contains(first), text.utf8.count <= 64 else { return false }
        return text.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F }
    }
}

/// Why a template did not become a URL or a field value. Each is a fault of the configuration or a value that it does not
/// allow, so nothing is sent.
package enum TemplateProblem: Error, Sendable, Hashable {
    case unresolved(String)
    /// The value of that variable must not stand where the template has it.
    case badValue(String)
    /// No entry of `allowed_hosts` matches.
    case hostNotAllowed(String)
    case notURL

    package var explanation: String {
        switch self {
        case .unresolved(let name):
            "Nothing gives {\(name)} a value: not [provider.X.variables], not the grant, and no capture."
        case .badValue(let name): "The value of {\(name)} must not stand in that place of a URL."
        case .hostNotAllowed(let host):
            "The host \(SafeText.clean(host, limit: 100)) is not in allowed_hosts, so nothing is sent to it."
        case .notURL: "The template does not make an https URL."
        }
    }

    var problem: ProviderProblem {
        let code =
            switch self {
            case .unresolved: "unresolved_variable"
            case .badValue, .notURL: "bad_variable"
            case .hostNotAllowed: "host_not_allowed"
            }
        return ProviderProblem(.configuration, code: code, detail: explanation)
    }
}

/// Text with `{name}` in it: the value of a header field or of a parameter.
package struct TextTemplate: Sendable, Hashable, CustomStringConvertible {
    enum Part: Sendable, Hashable {
        case literal(String)
        case variable(String)
    }

    let parts: [Part]
    package let description: String

    /// nil where a brace has no partner or the name between two is none.
    package init?(_ text: String) {
        var parts: [Part] = []
        var rest = text[...]
        while let open = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
            guard rest[open] == "{", let close = rest[open...].firstIndex(of: "}") else { return nil }
            let name = rest[rest.index(after: open)..<close]
            guard TemplateVariables.isName(name) else { return nil }
            if open > rest.startIndex { parts.append(.literal(String(rest[..<open]))) }
            parts.append(.variable(String(name)))
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { parts.append(.literal(String(rest))) }
        self.parts = parts
        description = text
    }

    package var names: [String] {
        parts.compactMap { if case .variable(let name) = $0 { name } else { nil } }
    }

    package func expanded(_ variables: TemplateVariables) throws(TemplateProblem) -> String {
        try expanded(variables) { _, value in value }
    }

    func expanded(
        _ variables: TemplateVariables, _ change: (String, String) throws(TemplateProblem) -> String
    ) throws(TemplateProblem) -> String {
        var text = ""
        for part in parts {
            switch part {
            case .literal(let literal): text += literal
            case .variable(let name):
                guard let value = variables[name] else { throw .unresolved(name) }
                text += try change(name, value)
            }
        }
        return text
    }
}

/// An endpoint with `{name}` in its host, path or query: "https://{accounts_server}/oauth/v2/token".
///
/// In the host, a variable that is the whole of it may be a host or an https origin; one that is a piece in front of a
/// fixed suffix of two labels or more ("{shop}.myshopify.com") must be one label; any other must make a host of
/// `allowed_hosts`. In path and query the value is percent-encoded. So a value can select, but never add structure.
package struct URLTemplate: Sendable, Hashable, CustomStringConvertible {
    private let scheme: ProviderURL.Scheme
    private let host: TextTemplate
    /// ":8443" or nothing.
    private let port: String
    private let path: TextTemplate
    /// With its "?", or nothing.
    private let query: TextTemplate
    package let description: String

    /// nil for what cannot become a URL, whatever the values: a scheme that is not literal, user information, a fragment.
    package init?(_ text: String) {
        guard text.utf8.count <= 8192, let whole = TextTemplate(text) else { return nil }
        // With a harmless value for each name, it must be a URL as any other endpoint.
        let probe = whole.parts.reduce(into: "") { text, part in
            switch part {
            case .literal(let literal): text += literal
            case .variable: text += "a"
            }
        }
        guard ProviderURL(probe) != nil, let separator = text.firstRange(ofText: "://") else { return nil }
        guard let scheme = ProviderURL.Scheme(rawValue: text[..<separator.lowerBound].lowercased()) else { return nil }
        let rest = text[separator.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = rest[..<end]
        var port = ""
        if let colon = authority.lastIndex(of: ":"), authority.last != "]" {
            port = String(authority[colon...])
            authority = authority[..<colon]
        }
        let question = rest[end...].firstIndex(of: "?") ?? rest.endIndex
        guard let host = TextTemplate(String(authority)), !port.contains("{") else { return nil }
        guard let path = TextTemplate(String(rest[end..<question])) else { return nil }
        guard let query = TextTemplate(String(rest[question...])) else { return nil }
        guard host.names.isEmpty || !authority.contains("[") else { return nil }
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.query = query
        description = text
    }

    /// Each name once, in the order of the text.
    package var names: [String] {
        (host.names + path.names + query.names).reduce(into: []) { names, name in
            if !names.contains(name) { names.append(name) }
        }
    }

    /// The names that select the host.
    package var hostNames: [String] { host.names }

    /// nil where a name chooses it.
    var fixedHost: String? { host.names.isEmpty ? ProviderURL("https://\(host.description)/")?.host : nil }

    package func expanded(
        _ variables: TemplateVariables, allowing allowed: [HostPattern]
    ) throws(TemplateProblem) -> ProviderURL {
        let host = try expandedHost(variables, allowing: allowed)
        let path = try path.expanded(variables) { name, value throws(TemplateProblem) in
            // A dot segment would leave the path that the operator wrote.
            guard !value.isEmpty, value != ".", value != ".." else { throw .badValue(name) }
            return Self.encoded(value)
        }
        let query = try query.expanded(variables) { _, value in Self.encoded(value) }
        guard let url = ProviderURL("\(scheme.rawValue)://\(host.text)\(path)\(query)") else { throw .notURL }
        // Once more by the parser that the driver goes by.
        if let expected = host.expected, url.host != expected { throw .notURL }
        return url
    }

    private func expandedHost(
        _ variables: TemplateVariables, allowing allowed: [HostPattern]
    ) throws(TemplateProblem) -> (text: String, expected: String?) {
        guard let first = host.names.first else { return (host.description + port, nil) }
        let hasFixedSuffix = suffixIsFixed
        let isWhole = host.parts.count == 1
        let text = try host.expanded(variables) { name, value throws(TemplateProblem) in
            if isWhole { return value }
            guard value.utf8.count <= 253 else { throw .badValue(name) }
            let lower = value.lowercased()
            let isFit = hasFixedSuffix ? CapturedHost.isLabel(lower) : CapturedHost.isName(lower)
            guard isFit else { throw .badValue(name) }
            return lower
        }
        let isTrusted = host.names.allSatisfy { variables.isFromProvider($0) }
        guard let selected = CapturedHost(text) else { throw .badValue(first) }
        guard port.isEmpty || selected.port == nil else { throw .badValue(first) }
        guard isWhole || !selected.isAddress else { throw .badValue(first) }
        guard let complete = CapturedHost(selected.description + port) else { throw .notURL }
        guard isTrusted || hasFixedSuffix || allowed.allow(complete) else {
            throw .hostNotAllowed(complete.description)
        }
        return (selected.description + port, selected.name)
    }

    /// Two labels or more after the last variable, so that no value of one label can select another's domain.
    private var suffixIsFixed: Bool {
        guard case .literal(let tail)? = host.parts.last, let dot = tail.firstIndex(of: ".") else { return false }
        let suffix = String(tail[tail.index(after: dot)...]).lowercased()
        return suffix.contains(".") && CapturedHost.isName(suffix) && !CapturedHost.endsInNumber(suffix)
    }

    /// Everything but the unreserved characters of RFC 3986 section 2.3.
    static func encoded(_ value: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in value.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: result.append(byte)
            default: result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
