import OpenSSLKit

/// Claims of a JWT (RFC 7519 section 3) that came from the provider over TLS in a token reply: read, not verified, and
/// never used to decide who somebody is (the id_token check does that).
enum JWTPayload {
    /// nil for what is not three parts of base64url with a JSON object in the middle.
    static func claims(_ token: String) -> JSONValue? {
        guard token.utf8.count <= TokenReply.tokenLimitBytes else { return nil }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let bytes = Base64.urlDecode(String(parts[1])) else { return nil }
        guard let json = JSONValue(bytes), case .object = json else { return nil }
        return json
    }
}

extension JSONValue {
    /// The scalar at a dotted path; "PATH@CLAIM" is a claim of the JWT that is at PATH. Of several paths with "|" between
    /// them the first one counts that leads somewhere.
    func text(at path: String) -> String? {
        guard path.contains("|") else { return text(atOne: path) }
        return path.split(separator: "|").lazy.compactMap { text(atOne: String($0)) }.first
    }

    private func text(atOne path: String) -> String? {
        if let text = value(at: path)?.scalarText { return text }
        guard let at = path.firstIndex(of: "@"), at > path.startIndex else { return nil }
        guard let token = value(at: String(path[..<at]))?.text else { return nil }
        return JWTPayload.claims(token)?.value(at: String(path[path.index(after: at)...]))?.scalarText
    }
}
