/// How a provider revokes: RFC 7009 where nothing else is said, and what providers have in its stead.
package struct RevocationStyle: Sendable, Equatable {
    package enum Authentication: String, Sendable, CaseIterable {
        /// As at the token endpoint, or as `revocationAuthentication` says.
        case client
        /// Nothing at all, not even the client's id.
        case none
        /// The token that is revoked, as a bearer token.
        case token
    }

    package enum Body: String, Sendable, CaseIterable {
        case form, json
        /// In the query of the URL.
        case query
        /// No parameters are sent.
        case none
    }

    package enum Order: String, Sendable, CaseIterable {
        /// Both tokens, the refresh token first (RFC 7009 section 2.1).
        case both
        /// The refresh token alone; what access tokens live on until they expire.
        case refreshToken = "refresh_token"
        /// The access token alone: with it the whole grant ends.
        case accessToken = "access_token"
    }

    /// false: the provider has no call for it. Injection stops all the same, and the operator reads `advice`.
    package var isSupported = true
    /// What the operator can do where revocation is not supported, or not complete; plain words.
    package var advice: String?
    package var method = ProviderRequest.Method.post
    /// nil: the provider's revocation endpoint. May hold {token} and {client_id}.
    package var url: URLTemplate?
    package var authentication = Authentication.client
    package var body = Body.form
    /// Empty: the token is not sent as a parameter.
    package var tokenParameter = "token"
    package var sendsHint = true
    /// Values may hold {client_id} and captured names.
    package var parameters: [NamedTemplate] = []
    package var headers: [NamedTemplate] = []
    package var order = Order.both
    /// Besides 200–299 without an error in the body.
    package var doneStatuses: Set<Int> = []
    /// Statuses that mean that the token was dead already, whatever the body says.
    package var invalidStatuses: Set<Int> = []
    /// Error codes that mean that it is done now.
    package var doneCodes: Set<String> = []
    /// Error codes that mean that the token was dead already, besides those that every provider uses so.
    package var invalidCodes: Set<String> = []

    package static let standard = RevocationStyle()

    package init() {}

    /// True where a call with this token is part of the style.
    package func wants(_ hint: RevocationCall.Hint) -> Bool {
        switch (order, hint) {
        case (.both, _), (.refreshToken, .refreshToken), (.accessToken, .accessToken): true
        case (.refreshToken, .accessToken), (.accessToken, .refreshToken): false
        }
    }
}

/// A name with a value that may hold `{name}`: a header field, a parameter.
package struct NamedTemplate: Sendable, Hashable {
    package var name: String
    package var value: TextTemplate

    package init(_ name: String, _ value: TextTemplate) {
        self.name = name
        self.value = value
    }

    /// nil where the value is no template.
    package init?(_ name: String, _ value: String) {
        guard let value = TextTemplate(value) else { return nil }
        self.init(name, value)
    }
}

/// Reads replies of the revocation endpoint (RFC 7009 section 2.2), by the provider's style.
enum RevocationReply {
    /// Google answers 400 invalid_token for a token that is revoked already, Slack token_revoked.
    private static let invalidCodes: Set<String> = ["invalid_token", "invalid_grant", "token_revoked"]

    static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, hiding secrets: [Secret] = []
    ) -> RevocationCallResult {
        let reply: ProviderReply
        switch outcome {
        case .failure(let failure): return .failed(ProviderProblem(failure, settings: settings))
        case .success(let received): reply = received
        }
        let style = settings.revocation
        let fields = ReplyFields(reply)
        let code = fields?.errorCode(settings)
        let meaning = code.map { settings.meaning(ofCode: $0, status: reply.status) }
        let isAnswer = reply.status < 500 && reply.status != 429
        if isAnswer {
            if style.doneStatuses.contains(reply.status) { return .revoked }
            if style.invalidStatuses.contains(reply.status) { return .alreadyInvalid }
            if let code, let meaning {
                if style.doneCodes.contains(code) { return .revoked }
                if style.invalidCodes.contains(code) || invalidCodes.contains(meaning) { return .alreadyInvalid }
                if meaning == "unsupported_token_type" { return .notSupported }
            }
        }
        switch (reply.status, code) {
        case (200..<300, nil): return .revoked
        case (404, nil), (405, nil), (501, nil): return .notSupported
        default:
            return .failed(ProviderProblem(reply, fields: fields, settings: settings, now: now, hiding: secrets))
        }
    }
}
