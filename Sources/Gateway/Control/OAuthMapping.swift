import Configuration
import OAuth
import Proxy

/// From the words of `gateway.conf` to the settings of the OAuth machines.
extension ProviderSettings {
    /// - Parameter secrets: the client secrets, read.
    init(_ provider: Snapshot.Provider, secrets: [LoadedSecret]) {
        self.init(name: provider.name, clientID: provider.clientID)
        issuer = provider.issuer
        authorizationEndpoint = provider.authorizeURL.flatMap { ProviderURL($0.description) }
        tokenEndpoint = provider.tokenURL.flatMap { ProviderURL($0.description) }
        refreshEndpoint = provider.refreshURL.flatMap { ProviderURL($0.description) }
        revocationEndpoint = provider.revocationURL.flatMap { ProviderURL($0.description) }
        allowPlaintextOnLoopback = provider.allowPlaintext
        clientSecrets = secrets.map { Secret(String(decoding: $0.bytes, as: UTF8.self)) }
        clientAuthentication = ClientAuthentication(provider.clientAuthentication)
        pkce = provider.pkce == .s256 ? .s256 : .off
        requireIssuerParameter = provider.requireISS
        discovery =
            switch provider.discovery {
            case .automatic: .automatic
            case .oauth: .oauth
            case .openID: .openID
            }
        revocationAuthentication = provider.revocationAuthentication.map { ClientAuthentication($0) }
        scopeSeparator = provider.scopeSeparator
        scopeParameter = provider.scopeParameter
        codeParameter = provider.codeParameter
        revocationParameters = provider.revocationParameters.map { Parameter($0.name, $0.value) }
        tokenBody = provider.tokenBody == .json ? .json : .form
        expiresUnit = Int64(provider.expiresUnit.milliseconds)
        rejectionCooldown = Int64(provider.rejectionCooldown.milliseconds)
        authorizeParameters = provider.authorizeParameters.map { Parameter($0.name, $0.value) }
        tokenParameters = provider.tokenParameters.map { Parameter($0.name, $0.value) }
        refreshParameters = provider.refreshParameters.map { Parameter($0.name, $0.value) }
        refreshScope =
            switch provider.refreshScope {
            case .omit: .omit
            case .same: .same
            case .list(let scopes): .list(scopes)
            }
        tokenHeaders = provider.tokenHeaders.map { HeaderField($0.name, $0.value) }
        userAgent = provider.userAgent
        paths = Paths(provider.replyPaths)
        errorAliases = provider.errorAliases.mapValues(\.rawValue)
        defaultLifetime = provider.defaultLifetime.map { Int64($0.milliseconds) }
        refreshTokenLifetime = provider.refreshTokenLifetime.map { Int64($0.milliseconds) }
        refreshSkew = Int64(provider.refreshSkew.milliseconds)
        minimumRefreshInterval = Int64(provider.minRefreshInterval.milliseconds)
        keepaliveInterval = provider.keepaliveInterval.map { Int64($0.milliseconds) }
        replayWindow = Int64(provider.replayWindow.milliseconds)
        callDeadline = Int64(provider.timeout.milliseconds)
        headerName = provider.credentialHeader.name
        headerScheme = provider.credentialHeader.scheme
    }

    /// The settings as one grant uses them: a grant may have its own header.
    func with(_ header: Snapshot.CredentialHeader) -> ProviderSettings {
        var copy = self
        copy.headerName = header.name
        copy.headerScheme = header.scheme
        return copy
    }
}

extension GrantSettings {
    init(_ grant: Snapshot.Grant, provider: String, scopes: [String], required: [String]) {
        self.init(name: grant.name, provider: provider, scopes: scopes)
        requiredScopes = required
        refreshTokenRequired = grant.requireRefreshToken
        expectedAccount = grant.expectedAccount
        variables = grant.variables
    }
}

extension GrantTemplate {
    /// - Parameter base: the settings of its provider.
    init(_ template: Snapshot.GrantTemplate, provider base: ProviderSettings) {
        var scopes: [String] = []
        var required: [String] = []
        if case .provider(_, let asked, let needed) = template.grant.source { (scopes, required) = (asked, needed) }
        self.init(
            name: template.name, providerName: template.providerName,
            settings: GrantSettings(
                template.grant, provider: template.providerName, scopes: scopes, required: required),
            provider: base.with(template.grant.credentialHeader), header: template.grant.credentialHeader,
            maxGrants: template.maxGrants, neededVariables: template.neededVariables)
    }
}

extension ClientAuthentication {
    init(_ configured: Snapshot.ClientAuthentication) {
        switch configured {
        case .automatic: self = .automatic
        case .clientSecretBasic: self = .basic
        case .clientSecretPost: self = .post
        case .none: self = .none
        // What OAuth does not know yet; see the merge of its client authentication.
        case .clientSecretJWT, .privateKeyJWT, .tlsClientAuth, .selfSignedTLS, .bearerSecret, .secretAsUser:
            self = .automatic
        }
    }
}

extension ProviderSettings.Paths {
    init(_ paths: Snapshot.ReplyPaths) {
        self.init()
        accessToken = paths.accessToken.joined(separator: ".")
        refreshToken = paths.refreshToken.joined(separator: ".")
        expiresIn = paths.expiresIn.joined(separator: ".")
        expiresAt = paths.expiresAt?.joined(separator: ".")
        scope = paths.scope.joined(separator: ".")
        error = paths.error.joined(separator: ".")
        errorDescription = paths.errorDescription.joined(separator: ".")
        account = paths.account?.joined(separator: ".")
    }
}

extension Proxy.Credential {
    convenience init(_ credential: OAuth.Credential) {
        self.init(
            headerName: String(decoding: credential.headerName, as: UTF8.self), headerValue: credential.headerValue,
            generation: credential.generation, expiry: credential.expiresAt.map { UInt64(max(0, $0)) } ?? .max)
    }
}

extension CredentialRefusal {
    init(_ reason: UnavailableReason, retryAfter: Int64?) {
        switch reason {
        case .notConnected, .revoked: self = .notConnected
        case .reauthorizationRequired: self = .reauthorizationRequired
        case .configurationError: self = .configurationError
        case .coolingDown, .noRefreshToken, .refreshTooSoon: self = .unchanged
        case .refreshFailed, .storeUnavailable, .tooManyWaiters:
            let seconds = ((retryAfter ?? 1000) + 999) / 1000
            self = .unavailable(retryAfter: UInt32(clamping: max(1, seconds)))
        }
    }
}
