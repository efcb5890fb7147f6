import OpenSSLKit

/// How tokens are had where no person consents: the gateway asks for them with what it holds itself.
///
/// Such a grant needs no refresh token: when its access token ends the same request is made again.
package enum UnattendedGrant: Sendable, Equatable {
    /// RFC 6749 section 4.4.
    case clientCredentials
    /// RFC 7523 section 2.1, signed with `AssertionClaims.key`.
    case jwtBearer(AssertionClaims)
    /// RFC 8693. The driver reads the tokens and puts them into `TokenCall.subjectToken` and `.actorToken`.
    case tokenExchange(TokenExchange)
}

/// What an assertion says (RFC 7523 section 3). iat, exp and jti are made anew for each call.
package struct AssertionClaims: Sendable, Equatable {
    /// Where the scopes of the grant go.
    package enum ScopePlace: String, Sendable, CaseIterable {
        /// As the parameter of RFC 6749.
        case parameter
        /// As the claim `scope`, separated as the provider has it: Google takes them nowhere else.
        case claim
        case both
    }

    /// Providers take an hour at most (Google), some much less (Salesforce: three minutes). An assertion is used at once,
    /// so that little is enough.
    package static let lifetimeRange: ClosedRange<Int64> = 30_000...3_600_000
    /// iat lies this far back, for a provider whose clock is a little behind ours.
    package static let backdating: Int64 = 10_000
    /// What the extra claims cannot set.
    package static let reserved: Set<String> = ["iss", "sub", "aud", "iat", "exp", "jti"]

    /// nil: the first of `ProviderSettings.clientKeys`.
    package var key: ClientKey?
    /// nil: the client id.
    package var issuer: String?
    /// Whom the token is for: a user to be impersonated. nil: no such claim, as Google has it for the account itself.
    package var subject: String?
    /// nil: the token endpoint.
    package var audience: String?
    /// Milliseconds from iat to exp; brought into `lifetimeRange`.
    package var lifetime: Int64
    package var scopePlace: ScopePlace
    /// Further claims; those in `reserved` are left out.
    package var extra: [String: JSONValue]

    package init(
        key: ClientKey? = nil, issuer: String? = nil, subject: String? = nil, audience: String? = nil,
        lifetime: Int64 = 180_000,
        scopePlace: ScopePlace = .parameter, extra: [String: JSONValue] = [:]
    ) {
        self.key = key
        self.issuer = issuer
        self.subject = subject
        self.audience = audience
        self.lifetime = lifetime
        self.scopePlace = scopePlace
        self.extra = extra
    }
}

/// One token for another (RFC 8693 section 2.1).
package struct TokenExchange: Sendable, Equatable {
    /// Where the driver has a token from.
    package enum Source: Sendable, Equatable {
        /// A file that another program keeps fresh; read for each call by `TokenText.token`.
        case file(String)
        /// The access token of another grant of ours.
        case grant(String)
    }

    package static let accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
    package static let jwtType = "urn:ietf:params:oauth:token-type:jwt"
    package static let refreshTokenType = "urn:ietf:params:oauth:token-type:refresh_token"

    /// Who the new token is for.
    package var subject: Source
    package var subjectTokenType: String
    /// Who acts for the subject.
    package var actor: Source?
    package var actorTokenType: String
    /// nil: the provider chooses.
    package var requestedTokenType: String?
    package var audiences: [String]
    package var resources: [String]
    /// A reply whose token_type is N_A is taken all the same: the token is none in the sense of RFC 6749, but the
    /// upstream takes it as one.
    package var acceptsUntypedToken: Bool

    package init(
        subject: Source, subjectTokenType: String = accessTokenType, actor: Source? = nil,
        actorTokenType: String = accessTokenType, requestedTokenType: String? = nil, audiences: [String] = [],
        resources: [String] = [], acceptsUntypedToken: Bool = false
    ) {
        self.subject = subject
        self.subjectTokenType = subjectTokenType
        self.actor = actor
        self.actorTokenType = actorTokenType
        self.requestedTokenType = requestedTokenType
        self.audiences = audiences
        self.resources = resources
        self.acceptsUntypedToken = acceptsUntypedToken
    }
}

extension UnattendedGrant: CustomStringConvertible {
    /// All of it in one order, so that two descriptions are equal only where the grants are; no secret (a key by its
    /// thumbprint). Parts are separated by commas.
    package var description: String {
        switch self {
        case .clientCredentials: "client_credentials"
        case .jwtBearer(let claims): "jwt_bearer, \(claims)"
        case .tokenExchange(let exchange): "token_exchange, \(exchange)"
        }
    }
}

extension AssertionClaims: CustomStringConvertible {
    package var description: String {
        let facts: [(String, String?)] = [
            ("key", key.map { "\($0.algorithm.rawValue) \($0.keyID ?? "") \($0.key.publicKey.thumbprint)" }),
            ("iss", issuer), ("sub", subject), ("aud", audience), ("lifetime", String(lifetime)),
            ("scope", scopePlace.rawValue),
            ("extra", String(decoding: JSONValue.object(extra).encoded(), as: UTF8.self)),
        ]
        return UnattendedGrant.text(facts)
    }
}

extension TokenExchange: CustomStringConvertible {
    package var description: String {
        let facts: [(String, String?)] = [
            ("subject", subject.description), ("subject_token_type", subjectTokenType),
            ("actor", actor?.description), ("actor_token_type", actor == nil ? nil : actorTokenType),
            ("requested_token_type", requestedTokenType),
            ("untyped", acceptsUntypedToken ? "accepted" : nil),
        ]
        let lists = audiences.map { ("audience", $0 as String?) } + resources.map { ("resource", $0 as String?) }
        return UnattendedGrant.text(facts + lists)
    }
}

extension TokenExchange.Source: CustomStringConvertible {
    package var description: String {
        switch self {
        case .file(let path): "file \(path)"
        case .grant(let name): "grant \(name)"
        }
    }
}

extension UnattendedGrant {
    fileprivate static func text(_ facts: [(String, String?)]) -> String {
        facts.compactMap { name, value in value.map { "\(name): \($0)" } }.joined(separator: ", ")
    }
}
