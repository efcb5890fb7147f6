/// RFC 9110 section 5.1: a token.
func isFieldName(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 256 && text.utf8.allSatisfy(\.isTokenCharacter)
}

/// A DNS name in its ASCII form; underscores occur in private networks and are let through.
func isHostName(_ text: some StringProtocol) -> Bool {
    guard (1...253).contains(text.utf8.count) else { return false }
    let labels = text.split(separator: ".", omittingEmptySubsequences: false)
    return labels.allSatisfy { label in
        (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
            && label.utf8.allSatisfy { $0.isLetter || $0.isDigit || $0 == 0x2d || $0 == 0x5f }
    } && labels.last?.utf8.allSatisfy(\.isDigit) == false
}

enum AddressText {
    /// Reads a listener's address; `localhost` is 127.0.0.1, other names are not resolved.
    static func address(_ text: String) -> Snapshot.Address? {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            // sun_path holds 108 bytes with the closing zero.
            return path.hasPrefix("/") && !path.hasSuffix("/") && path.utf8.count <= 107 ? .unix(path: path) : nil
        }
        guard let (host, portText) = split(text), let port = portText.flatMap(port) else { return nil }
        if host == "*" { return .any(port: port) }
        if host == "localhost" { return .tcp(.v4(0x7f00_0001), port: port) }
        guard let address = Snapshot.IPAddress(host) else { return nil }
        switch address {
        case .v6(0, 0): return .any(port: port)
        case .v4, .v6: return .tcp(address, port: port)
        }
    }

    /// Host and port text; an IPv6 address must be in brackets, which are taken off.
    static func split(_ text: some StringProtocol) -> (host: String, port: String?)? {
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            let host = String(text[text.index(after: text.startIndex)..<close])
            guard host.contains(":") else { return nil }
            let rest = text[text.index(after: close)...]
            if rest.isEmpty { return (host, nil) }
            return rest.hasPrefix(":") ? (host, String(rest.dropFirst())) : nil
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count <= 2 ? (String(parts[0]), parts.count == 2 ? String(parts[1]) : nil) : nil
    }

    static func port(_ text: String) -> UInt16? {
        (1...5).contains(text.utf8.count) && text.utf8.allSatisfy(\.isDigit) ? UInt16(text) : nil
    }
}

enum URLText {
    /// Reads an absolute http or https URL without user information and fragment.
    static func url(_ text: String) -> Snapshot.URL? {
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && !#""<>\^`{|}#"#.utf8.contains($0) }) else { return nil }
        let scheme = text.prefix { $0 != ":" }.lowercased()
        guard scheme == "https" || scheme == "http", text.dropFirst(scheme.count).hasPrefix("://") else { return nil }
        let rest = text.dropFirst(scheme.count + 3)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let target = rest[authority.endIndex...]
        var url = Snapshot.URL()
        url.isPlaintext = scheme == "http"
        url.port = url.isPlaintext ? 80 : 443
        guard apply(authority: authority, to: &url) else { return nil }
        let path = target.prefix { $0 != "?" }
        url.path = path.isEmpty ? "/" : String(path)
        url.query = path.endIndex < target.endIndex ? String(target[path.endIndex...].dropFirst()) : nil
        return hasValidEscapes(target) && PathText.isPlain(url.path) ? url : nil
    }

    private static func apply(authority: Substring, to url: inout Snapshot.URL) -> Bool {
        guard let (host, portText) = AddressText.split(authority) else { return false }
        if let portText {
            guard let port = AddressText.port(portText), port > 0 else { return false }
            url.port = port
        }
        url.host = host.lowercased()
        url.address = Snapshot.IPAddress(host)
        return url.address != nil || isHostName(host)
    }

    private static func hasValidEscapes(_ text: Substring) -> Bool {
        var rest = text.utf8[...]
        while let at = rest.firstIndex(of: UInt8(ascii: "%")) {
            let digits = rest[at...].dropFirst().prefix(2)
            guard digits.count == 2, digits.allSatisfy(\.isHexDigit) else { return false }
            rest = rest[at...].dropFirst(3)
        }
        return true
    }
}

enum PathText {
    /// Reads a route's path: plain characters, "*" only as the last segment.
    static func pattern(_ text: String) -> Snapshot.PathPattern? {
        let isPrefix = text.hasSuffix("/*")
        let path = isPrefix ? String(text.dropLast()) : text
        guard path.hasPrefix("/"), isPlain(path), path.utf8.allSatisfy(isUnescaped), path.utf8.count <= 4096 else {
            return nil
        }
        return isPrefix ? .prefix(path) : .exact(path)
    }

    /// No empty and no dot segments: those would match other paths than they seem to.
    static func isPlain(_ path: String) -> Bool {
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        return path.hasPrefix("/") && segments.dropFirst().dropLast().allSatisfy { !$0.isEmpty }
            && !segments.contains { $0 == "." || $0 == ".." }
    }

    /// `unreserved`, `sub-delims`, ":" and "@" of RFC 3986, without "*" and ";", and "/".
    static func isUnescaped(_ byte: UInt8) -> Bool {
        byte.isLetter || byte.isDigit || "-._~!$&'()+,=:@/".utf8.contains(byte)
    }
}
