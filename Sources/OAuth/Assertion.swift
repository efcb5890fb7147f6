/// Who signs assertions: the name of the algorithm (RFC 7518 section 3.1), the key's name, and the one call.
struct AssertionSigner: Sendable {
    var algorithm: String
    var keyID: String?
    var sign: @Sendable ([UInt8]) throws -> [UInt8]
}

/// Builds a signed assertion (RFC 7515 section 3.1, RFC 7523 section 3).
enum Assertion {
    /// Throws what the signer throws.
    /// - Parameter id: fresh randomness for jti, so that a provider that keeps the ids takes each assertion once.
    static func make(
        _ claims: AssertionClaims, issuer: String, audience: String, scope: String?, id: [UInt8],
        signer: AssertionSigner, now: Moment
    ) throws -> Secret {
        let header = JSONValue.object(header(signer))
        let payload = JSONValue.object(
            payload(claims, issuer: issuer, audience: audience, scope: scope, id: id, now: now))
        let input = Crypto.base64URL(header.encoded()) + "." + Crypto.base64URL(payload.encoded())
        let signature = try signer.sign(Array(input.utf8))
        return Secret(input + "." + Crypto.base64URL(signature))
    }

    private static func header(_ signer: AssertionSigner) -> [String: JSONValue] {
        var members: [String: JSONValue] = ["alg": .string(signer.algorithm), "typ": .string("JWT")]
        members["kid"] = signer.keyID.map { .string($0) }
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
