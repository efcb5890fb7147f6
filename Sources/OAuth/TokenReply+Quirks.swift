/// What a token reply gives beyond RFC 6749.
extension TokenSet {
    /// A consent fails for a required capture that is missing and for any that is refused; a refresh never does, because
    /// its reply may hold the only refresh token that is left.
    mutating func addQuirks(
        _ fields: ReplyFields, settings: ProviderSettings, call: TokenCall?
    ) throws(ProviderProblem) {
        let isRefresh = call?.isRefresh ?? false
        let given = isRefresh ? [:] : call?.variables ?? [:]
        // Captured values are shown to operators: a token is never one, whatever the configuration says.
        let tokens = [accessToken, refreshToken, fields.text("id_token").map { Secret($0) }].compactMap { $0 }
        let found = settings.replyCaptures.values(given: given, allowing: settings.allowedHosts) { source in
            fields.text(source).flatMap { text in tokens.contains(Secret(text)) ? nil : text }
        }
        if let problem = found.problem, let call {
            guard call.isRefresh else { throw problem.problem }
            // That a refresh does not repeat a value is usual.
            if problem.isRefused { refusedCapture = problem.problem }
        }
        captured.merge(found.values) { _, new in new }
        switch settings.refreshWith {
        case .refreshToken: break
        case .accessToken:
            refreshToken = accessToken
            refreshTokenLifetime = refreshTokenLifetime ?? lifetime
        }
        guard refreshTokenLifetime == nil else { return }
        if isRefresh, settings.refreshTokenEndIsFixed {
            keepsRefreshTokenEnd = true
        } else {
            refreshTokenLifetime = settings.refreshTokenLifetime
        }
    }
}

extension TokenCall {
    var isRefresh: Bool {
        switch kind {
        case .refresh: true
        case .code, .deviceCode, .unattended: false
        }
    }

    /// A person has just consented: captures are made and look-ups are sent.
    var followsConsent: Bool {
        switch kind {
        case .refresh, .unattended: false
        case .code, .deviceCode: true
        }
    }
}
