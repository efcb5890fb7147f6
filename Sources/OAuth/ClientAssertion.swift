package import OpenSSLKit

/// A private key that the client is registered with, for private_key_jwt.
package struct ClientKey: Sendable, Equatable {
    package var algorithm: SignatureAlgorithm
    /// "kid" of the header; nil: none is sent.
    package var keyID: String?
    /// "x5t#S256" of the header: SHA-256 of the certificate (DER) in base64url, for providers that look keys up by it.
    package var certificateThumbprint: String?
    package var key: SigningKey

    package init(
        algorithm: SignatureAlgorithm, keyID: String? = nil, certificateThumbprint: String? = nil, key: SigningKey
    ) {
        self.algorithm = algorithm
        self.keyID = keyID
        self.certificateThumbprint = certificateThumbprint
        self.key = key
    }
}

/// Builds client assertions (RFC 7521 section 4.2, RFC 7523 section 2.2, OpenID Connect Core section 9).
struct ClientAssertion {
    static let type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    /// Seconds. Long enough for a slow call and clocks that differ a little.
    static let lifetime: Int64 = 180
    /// The word that a provider's `assertionAudience` may be instead of a URL.
    static let tokenEndpoint = "token_endpoint"

    let settings: ProviderSettings
    let endpoints: ProviderEndpoints
    let now: Moment
    /// base64url of at least 128 random bits: new for each assertion.
    let tokenID: String

    /// The issuer, for it cannot be mistaken for another server's; an endpoint only where that is configured or where
    /// no issuer is known.
    var audience: String {
        switch settings.assertionAudience {
        case Self.tokenEndpoint: endpoints.token.description
        case let audience?: audience
        case nil: settings.issuer ?? endpoints.token.description
        }
    }

    private var claims: JSONWebToken.Members {
        let seconds = now.wall / 1000
        return [
            ("iss", .string(settings.clientID)), ("sub", .string(settings.clientID)), ("aud", .string(audience)),
            ("jti", .string(tokenID)), ("iat", .number(String(seconds))), ("nbf", .number(String(seconds))),
            ("exp", .number(String(seconds.saturatingAdd(Self.lifetime)))),
        ]
    }

    func signed(with secret: Secret) -> String {
        JSONWebToken.signed(header: [("typ", .string("JWT"))], claims: claims, secret: secret)
    }

    func signed(with key: ClientKey) throws(ProviderProblem) -> String {
        var header: JSONWebToken.Members = [("typ", .string("JWT"))]
        if let keyID = key.keyID { header.append(("kid", .string(keyID))) }
        if let thumbprint = key.certificateThumbprint { header.append(("x5t#S256", .string(thumbprint))) }
        do {
            return try JSONWebToken.signed(header: header, claims: claims, key: key.key, algorithm: key.algorithm)
        } catch {
            throw ProviderProblem(
                .configuration, code: "client_key", detail: "The client key cannot sign: \(error).")
        }
    }
}
