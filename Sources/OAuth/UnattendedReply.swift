/// What a token reply means where no person can be asked.
enum UnattendedReply {
    /// An offset of the clocks that is worth telling, in milliseconds.
    static let worthTelling: Int64 = 60_000

    static func judge(
        _ result: Result<TokenSet, ProviderProblem>, of kind: TokenCall.Kind, _ outcome: ProviderOutcome,
        settings: ProviderSettings, now: Moment
    ) -> Result<TokenSet, ProviderProblem> {
        guard case .unattended(let grant, _) = kind else { return result }
        let reply: ProviderReply? = if case .success(let reply) = outcome { reply } else { nil }
        let wrongType = reply.flatMap { reply in wrongTokenType(reply, of: grant, settings: settings) }
        switch result {
        case .success(var tokens):
            if let wrongType { return .failure(wrongType) }
            // It should not be there (RFC 6749 section 4.4.3), and nothing would ever use it: it is not kept.
            tokens.refreshToken = nil
            tokens.refreshTokenLifetime = nil
            return .success(tokens)
        case .failure(let problem):
            if problem.code == "invalid_reply", let wrongType { return .failure(wrongType) }
            return .failure(explained(problem, of: grant, reply, settings: settings, now: now))
        }
    }

    /// token_type of an issued token that is no access token (RFC 8693 section 2.2.1).
    static func isNotApplicable(_ type: String) -> Bool {
        type.lowercased() == "n_a"
    }

    // MARK: Token exchange

    /// The provider gave something else than an access token (RFC 8693 section 2.2.1): asking again gives the same.
    /// Some providers leave issued_token_type out; then only token_type is left to tell.
    private static func wrongTokenType(
        _ reply: ProviderReply, of grant: UnattendedGrant, settings: ProviderSettings
    ) -> ProviderProblem? {
        guard case .tokenExchange(let exchange) = grant, reply.status == 200, let fields = ReplyFields(reply),
            fields.errorCode(settings) == nil
        else { return nil }
        let found: String
        if let issued = fields.text("issued_token_type"), !isAccessToken(issued, exchange) {
            found = "issued_token_type is \(SafeText.clean(issued, limit: 80))"
        } else if let type = fields.text("token_type"), isNotApplicable(type), !exchange.acceptsUntypedToken,
            !settings.acceptsAnyTokenType
        {
            found = "token_type is N_A"
        } else {
            return nil
        }
        return ProviderProblem(
            .configuration, code: "wrong_token_type",
            detail: "The provider gave no access token (\(found)): see requested_token_type.", status: reply.status)
    }

    private static func isAccessToken(_ issued: String, _ exchange: TokenExchange) -> Bool {
        switch issued {
        case TokenExchange.accessTokenType, TokenExchange.jwtType: true
        case TokenExchange.refreshTokenType: false
        default: issued == exchange.requestedTokenType
        }
    }

    // MARK: Refusals

    /// Says what to look at. Nobody can consent anew, so that what a person could mend by consent is a mistake of the
    /// configuration here; what mends itself (a clock, a token that another program renews) is transient.
    private static func explained(
        _ problem: ProviderProblem, of grant: UnattendedGrant, _ reply: ProviderReply?, settings: ProviderSettings,
        now: Moment
    ) -> ProviderProblem {
        guard let status = problem.status, status < 500, status != 429 else { return problem }
        var explained = problem
        switch (meaning(of: problem, settings), grant) {
        case ("invalid_grant", .jwtBearer):
            let offset = reply.flatMap { clockOffset($0, now: now) }
            explained.errorClass = offset == nil ? .configuration : .transient
            explained.detail += " It refused the assertion: see issuer, subject, audience and key."
            explained.detail += offset.map { " " + words(offset: $0) } ?? ""
        case ("invalid_grant", .tokenExchange), ("invalid_request", .tokenExchange):
            explained.errorClass = .transient
            explained.detail += " Look at the subject token first: it must be valid still, and of subject_token_type."
        case ("invalid_grant", .clientCredentials):
            explained.errorClass = .configuration
            explained.detail += " See what the provider allows this client."
        case ("unauthorized_client", .jwtBearer(let claims)):
            explained.errorClass = .configuration
            explained.detail +=
                claims.subject == nil
                ? " The issuer may not use JWT bearer assertions, or not for these scopes."
                : " The issuer may not act for the subject, or not for these scopes."
        case ("unauthorized_client", .clientCredentials), ("unauthorized_client", .tokenExchange),
            ("unsupported_grant_type", _):
            explained.errorClass = .configuration
            explained.detail += " The provider does not allow this client this type of grant."
        case ("invalid_scope", _):
            explained.errorClass = .configuration
            explained.detail += " See the grant's scopes."
        case ("invalid_target", _):
            explained.errorClass = .configuration
            explained.detail += " See audience and resources."
        default: break
        }
        return explained
    }

    private static func meaning(of problem: ProviderProblem, _ settings: ProviderSettings) -> String {
        if let meaning = settings.errorAliases[problem.code] { return meaning }
        guard let status = problem.status, problem.code == "http_\(status)" else { return problem.code }
        return settings.errorAliases[String(status)] ?? problem.code
    }

    /// How far our wall clock is ahead of the provider's, by the reply's Date; nil where that tells nothing.
    private static func clockOffset(_ reply: ProviderReply, now: Moment) -> Int64? {
        guard let date = reply.header("date").flatMap({ HTTPDate.parse($0) }) else { return nil }
        let offset = now.wall.saturatingSubtract(date)
        return offset.magnitude > UInt64(worthTelling) ? offset : nil
    }

    private static func words(offset: Int64) -> String {
        let seconds = offset.magnitude / 1000
        return
            "This machine's clock is \(seconds) s \(offset > 0 ? "ahead of" : "behind") the provider's: set it right."
    }
}

extension TokenCall.Kind {
    var acceptsUntypedToken: Bool {
        switch self {
        case .unattended(.tokenExchange(let exchange), _): exchange.acceptsUntypedToken
        case .unattended(.clientCredentials, _), .unattended(.jwtBearer, _), .refresh, .code, .deviceCode: false
        }
    }
}
