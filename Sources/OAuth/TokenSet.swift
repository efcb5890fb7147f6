/// What a successful token reply says, validated (RFC 6749 section 5.1).
package struct TokenSet: Sendable, Equatable {
    package var accessToken: Secret
    /// nil: the reply had none, so the old one stays.
    package var refreshToken: Secret?
    /// Milliseconds from the moment the call was sent; nil: unknown.
    package var lifetime: Int64?
    /// Milliseconds; nil: not said.
    package var refreshTokenLifetime: Int64?
    /// nil: the reply did not say, so it is what was asked for.
    package var scopes: [String]?
    package var account: String?
    /// What the reply, the callback and the look-ups gave by the provider's captures; all values are checked.
    package var captured: [String: String] = [:]
    /// What a refresh's reply had for a capture and was not allowed, so that the value from before stays; taken out by
    /// the ProviderMachine.
    var refusedCapture: ProviderProblem?
    /// The refresh token's end was fixed at the consent: a new refresh token does not move it (NetSuite).
    package var keepsRefreshTokenEnd = false
    package var tokenType = TokenType.bearer
    /// `ProofKey.encoded()` of the key that the tokens are bound to; nil for bearer tokens.
    package var proofKey: Secret?
    /// As it came; taken out and checked by the ProviderMachine, which hands it on to nobody.
    var idToken: Secret?

    package init(accessToken: Secret, refreshToken: Secret? = nil, lifetime: Int64? = nil) {
        self.accessToken = accessToken
        self.refreshToken = refreshToken
        self.lifetime = lifetime
    }
}

/// The header scheme that goes with an access token (RFC 6749 section 7.1, RFC 9449 section 5).
package enum TokenType: String, Sendable, Hashable, CaseIterable {
    case bearer = "Bearer"
    case dpop = "DPoP"
}

/// What a failed provider call means for the grant (design.md, "Grants").
package enum ErrorClass: String, Sendable, Hashable, CaseIterable {
    /// invalid_grant, or the provider's alias for it: consent is needed.
    case permanent
    /// invalid_client, unauthorized_client: our registration or our configuration is wrong.
    case configuration
    /// All else: tokens are kept and the call is made again later.
    case transient
}

/// A failed provider call in words that may be logged and shown: no token, no body.
package struct ProviderProblem: Error, Sendable, Hashable {
    package var errorClass: ErrorClass
    /// Stable and machine-readable: the OAuth error code, or one of ours such as timeout, http_503, invalid_reply.
    package var code: String
    /// One sentence for the operator; text from the provider is cleaned and cut.
    package var detail: String
    package var status: Int?
    /// What the provider asked for by Retry-After, in milliseconds.
    package var retryAfter: Int64?
    /// The provider may have acted on the request although we have no answer.
    package var outcomeUnknown: Bool

    package init(
        _ errorClass: ErrorClass, code: String, detail: String, status: Int? = nil, retryAfter: Int64? = nil,
        outcomeUnknown: Bool = false
    ) {
        self.errorClass = errorClass
        self.code = code
        self.detail = detail
        self.status = status
        self.retryAfter = retryAfter
        self.outcomeUnknown = outcomeUnknown
    }
}

extension ProviderProblem {
    private static let labels: Set<String> = [
        "invalid_grant", "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope",
        "unsupported_grant_type", "server_error", "temporarily_unavailable", "timeout", "tls", "redirect",
        "invalid_reply",
        "malformed_reply", "reply_too_large", "blocked_by_intermediary", "discovery_failed", "no_endpoints",
        "use_dpop_nonce", "invalid_dpop_proof", "not_dpop", "client_key", "proof_key", "key_set_unavailable",
        "unresolved_variable", "bad_variable", "host_not_allowed", "capture_missing", "capture_refused",
        "lookup_failed", "invalid_target", "access_denied", "expired_token", "no_subject_token", "no_assertion",
        "wrong_token_type",
    ]

    /// The code for a metric: one of a fixed set, whatever the provider says.
    package var label: String {
        if Self.labels.contains(code) { return code }
        if code.hasPrefix("not_sent_") { return "not_sent" }
        if code.hasPrefix("reply_lost_") { return "reply_lost" }
        if IDTokenFault(rawValue: code) != nil { return code }
        return code.hasPrefix("http_") && status != nil ? "http_status" : "other"
    }
}

/// Names one call to a provider, so that a late answer cannot be taken for another's.
package struct CallID: Sendable, Hashable {
    package enum Owner: Sendable, Hashable {
        case grant(String)
        case consent(UInt64)
        /// A DeviceMachine of this number.
        case device(UInt64)
    }

    package var owner: Owner
    package var number: UInt64

    package init(owner: Owner, number: UInt64) {
        self.owner = owner
        self.number = number
    }
}

/// A token call that a ProviderMachine is asked to make.
package struct TokenCall: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case refresh(refreshToken: Secret, scopes: [String])
        /// The code goes only to the token endpoint that was remembered with the state (checklist D6).
        case code(Secret, verifier: Secret?, redirectURI: String, tokenEndpoint: ProviderURL)
        /// No person is asked. A refresh token in the reply is dropped (RFC 6749 section 4.4.3).
        case unattended(UnattendedGrant, scopes: [String])
        /// One poll of a DeviceMachine.
        case deviceCode(Secret)
    }

    package var id: CallID
    package var kind: Kind
    /// A refresh with a token that an operator brought: it begins a grant.
    package var isImport = false
    /// The grant's variables and captured values, for templates.
    package var variables: [String: String]
    /// `ProofKey.encoded()` of the key that the grant's tokens are, or are to be, bound to (RFC 9449). nil: none yet;
    /// then a call that begins a grant makes one where the provider's settings say so, and a refresh does without.
    package var proofKey: Secret?
    /// Not nil: openid was asked for, and an id_token is checked.
    package var identity: IdentityExpectation?
    /// What a token exchange gives in (RFC 8693); the driver reads it and puts it here.
    package var subjectToken: Secret?
    package var actorToken: Secret?

    package init(
        id: CallID, kind: Kind, isImport: Bool = false, variables: [String: String] = [:], proofKey: Secret? = nil,
        identity: IdentityExpectation? = nil, subjectToken: Secret? = nil, actorToken: Secret? = nil
    ) {
        self.id = id
        self.kind = kind
        self.isImport = isImport
        self.variables = variables
        self.proofKey = proofKey
        self.identity = identity
        self.subjectToken = subjectToken
        self.actorToken = actorToken
    }
}

/// The end of a token call.
package struct TokenCallReport: Sendable, Equatable {
    package var result: Result<TokenSet, ProviderProblem>
    /// When the request was sent: lifetimes count from here (pains 14).
    package var sentAt: Moment

    package init(result: Result<TokenSet, ProviderProblem>, sentAt: Moment) {
        self.result = result
        self.sentAt = sentAt
    }
}

/// A revocation call (RFC 7009 section 2.1) that a ProviderMachine is asked to make.
package struct RevocationCall: Sendable, Equatable {
    package enum Hint: String, Sendable {
        case refreshToken = "refresh_token"
        case accessToken = "access_token"
    }

    package var id: CallID
    package var token: Secret
    package var hint: Hint
    /// The grant's variables and captured values, for templates.
    package var variables: [String: String] = [:]

    package init(id: CallID, token: Secret, hint: Hint, variables: [String: String] = [:]) {
        self.id = id
        self.token = token
        self.hint = hint
        self.variables = variables
    }
}

/// The end of a revocation call.
package enum RevocationCallResult: Sendable, Hashable {
    case revoked
    case alreadyInvalid
    /// The provider has no revocation endpoint, or does not revoke this type of token.
    case notSupported
    /// Nothing was sent: at this provider the grant ends with the other token, whose outcome counts.
    case notNeeded
    case failed(ProviderProblem)
}
