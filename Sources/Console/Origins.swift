/// Which name a request came to.
enum HostKind: Sendable, Equatable {
    /// `localhost`, `127.x.x.x` or `[::1]`.
    case loopback
    /// The public URL's host.
    case publicURL
    /// Another numeric address; a web page's name cannot be rebound into that.
    case address
    /// Any other name, or none.
    case other

    init(authority: String?, publicURL: PublicURL) {
        guard let authority else {
            self = .other
            return
        }
        let host = Self.host(of: authority)
        if Self.isLoopback(host) {
            self = .loopback
        } else if authority == publicURL.authority || host == Self.host(of: publicURL.authority) {
            self = .publicURL
        } else if Self.isAddress(host) {
            self = .address
        } else {
            self = .other
        }
    }

    /// The authority without its port.
    private static func host(of authority: String) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") { return String(authority[...end]) }
        return String(authority.prefix { $0 != ":" })
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host.hasSuffix(".localhost") || host == "[::1]"
            || (isIPv4(host) && host.hasPrefix("127."))
    }

    private static func isAddress(_ host: String) -> Bool {
        isIPv4(host)
            || (host.hasPrefix("[") && host.hasSuffix("]")
                && host.dropFirst().dropLast().allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." })
    }

    private static func isIPv4(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { $0.utf8.count <= 3 && $0.allSatisfy(\.isASCII) && UInt8($0) != nil }
    }
}

extension ConsoleRequest {
    /// `Host`, lower case, without the ports that the schemes imply.
    var authority: String? {
        guard var host = field("host")?.lowercased(), !host.isEmpty else { return nil }
        for port in [":80", ":443"] where host.hasSuffix(port) { host.removeLast(port.count) }
        return host
    }

    /// Whom a wrong secret is counted against. Who comes through a proxy is counted apart from who does not, so that the
    /// public cannot lock this machine's operators and programs out.
    var attemptKey: String { wasForwarded ? peer + " forwarded" : peer }

    /// Whether the request came through a proxy that says so.
    var wasForwarded: Bool {
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"].contains { has(field: $0) }
    }

    /// Whether a browser sent this on behalf of another site's page.
    ///
    /// `Sec-Fetch-Site` where the browser says it, `Origin` where there is one. Programs send neither.
    func isCrossSite(publicURL: PublicURL) -> Bool {
        if has(field: "sec-fetch-site") {
            let site = field("sec-fetch-site")
            if site != "same-origin", site != "none" { return true }
        }
        guard has(field: "origin") else { return false }
        guard let origin = field("origin")?.lowercased() else { return true }
        if origin == publicURL.origin { return false }
        guard let authority, let separator = origin.firstRange(of: "://") else { return true }
        var originAuthority = String(origin[separator.upperBound...])
        for port in [":80", ":443"] where originAuthority.hasSuffix(port) { originAuthority.removeLast(port.count) }
        return originAuthority != authority
    }

    /// The value of a cookie; `nil` where it is absent or stands twice.
    func cookie(_ name: String) -> String? {
        var found: [Substring] = []
        for field in fields where field.name.lowercased() == "cookie" {
            for pair in field.value.split(separator: ";") {
                let trimmed = pair.drop { $0 == " " }
                guard trimmed.hasPrefix(name), trimmed.dropFirst(name.count).first == "=" else { continue }
                found.append(trimmed.dropFirst(name.count + 1))
            }
        }
        return found.count == 1 ? String(found[0]) : nil
    }

    /// Whether the content type is this, parameters apart.
    func hasContentType(_ type: String) -> Bool {
        guard let value = field("content-type") else { return false }
        return value.prefix { $0 != ";" }.lowercased().trimmed == type
    }

    /// The secret of an `Authorization: Bearer` field.
    var bearerSecret: String? {
        guard let value = field("authorization"), value.prefix(7).lowercased() == "bearer " else { return nil }
        return String(value.dropFirst(7)).trimmed
    }
}

extension String {
    /// Without spaces and tabs at both ends.
    var trimmed: String {
        var rest = Substring(self)
        while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return String(rest)
    }
}
