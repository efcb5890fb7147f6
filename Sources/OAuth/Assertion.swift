import OpenSSLKit

/// Builds a signed assertion (RFC 7515 section 3.1, RFC 7523 section 3).
enum Assertion {
    /// - Parameter id: fresh randomness for jti, so that a provider that keeps the ids takes each assertion once.
    static func make(
        _ claims: AssertionClaims, issuer: String, audience: String, scope: String?, id: [UInt8],
        key: ClientKey, now: Moment
    ) throws(KeyError) -> Secret {
        let header = JSONValue.object(header(key))
        let payload = JSONValue.object(
            payload(claims, issuer: issuer, audience: audience, scope: scope, id: id, now: now))
        let input = Crypto.base64URL(header.encoded()) + "." + Crypto.base64URL(payload.encoded())
        let signature = try key.key.signature(of: Array(input.utf8), algorithm: key.algorithm)
        return Secret(input + "." + Crypto.base64URL(signature))
    }

    private static func header(_ key: ClientKey) -> [String: JSONValue] {
        var members: [String: JSONValue] = ["alg": .string(key.algorithm.rawValue), "typ": .string("JWT")]
        members["kid"] = key.keyID.map { .string($0) }
        return members
    }

    private static func payload(
        _ claims: AssertionClaims, issuer: String, audience: String, scope: String?, id: [UInt8], now: Moment
    ) -> [String: JSONValue] {
        let range = AssertionClaims.lifetimeRange
        let issuedAt = now.wall.saturatingSubtract(AssertionClaims.backdating) / 1000
        var members = claims.extra.filter { !AssertionClaims.reserved.contains($0.key) }
        members["iss"] = .string(issuer)
        members["sub"] = claims.subject.map { .string($0) }
        members["aud"] = .string(audience)
        members["iat"] = .number(String(issuedAt))
        members["exp"] = .number(String(issuedAt.saturatingAdd(claims.lifetime.clamped(to: range) / 1000)))
        members["jti"] = .string(Crypto.base64URL(id))
        if let scope { members["scope"] = .string(scope) }
        return members
    }
}
