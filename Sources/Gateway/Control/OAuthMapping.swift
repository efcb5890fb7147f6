import Configuration
import OAuth
import OpenSSLKit
import Proxy

/// From the words of `gateway.conf` to the settings of the OAuth machines.
extension ProviderSettings {
    init(_ provider: Snapshot.Provider, _ material: ProviderMaterial) {
        self.init(name: provider.name, clientID: provider.clientID)
        setEndpoints(provider)
        setClient(provider, material)
        setRequests(provider)
        setReplies(provider)
        setTimes(provider)
        setQuirks(provider)
        if let account = material.serviceAccount {
            tokenEndpoint = tokenEndpoint ?? account.tokenEndpoint
            if clientID.isEmpty { clientID = account.clientEmail }
            serviceAccount = account
        }
    }

    private mutating func setEndpoints(_ provider: Snapshot.Provider) {
        issuer = provider.issuer
        discovery =
            switch provider.discovery {
            case .automatic: .automatic
            case .oauth: .oauth
            case .openID: .openID
            }
        authorizationEndpoint = ProviderURL(provider.authorizeURL)
        tokenEndpoint = ProviderURL(provider.tokenURL)
        refreshEndpoint = ProviderURL(provider.refreshURL)
        revocationEndpoint = ProviderURL(provider.revocationURL)
        deviceEndpoint = ProviderURL(provider.deviceURL)
        pushedRequestEndpoint = ProviderURL(provider.pushedRequestURL)
        jwksEndpoint = ProviderURL(provider.jwksURL)
        authorizationEndpointTemplate = OAuth.URLTemplate(provider.authorizeURLTemplate)
        tokenEndpointTemplate = OAuth.URLTemplate(provider.tokenURLTemplate)
        refreshEndpointTemplate = OAuth.URLTemplate(provider.refreshURLTemplate)
        allowPlaintextOnLoopback = provider.allowPlaintext
        allowPrivateHosts = provider.allowPrivate
        allowedHosts = provider.allowedHosts.compactMap { HostPattern($0) }
        variables = provider.variables
    }

    private mutating func setClient(_ provider: Snapshot.Provider, _ material: ProviderMaterial) {
        clientSecrets = material.secrets.map { Secret(String(decoding: $0.bytes, as: UTF8.self)) }
        clientKeys = material.keys
        clientAuthentication = ClientAuthentication(provider.clientAuthentication)
        revocationAuthentication = provider.revocationAuthentication.map { ClientAuthentication($0) }
        presentsCertificate = material.identity != nil
        assertionAudience = provider.assertionAudience
        pushedRequests =
            switch provider.pushedRequests {
            case .automatic: .automatic
            case .required: .required
            case .off: .off
            }
        dpop = provider.dpop ? .on : .off
        dpopAlgorithm = SignatureAlgorithm(provider.dpopAlgorithm)
        resources = provider.resources
        checkIDToken = provider.checkIDToken
        idTokenAlgorithms = provider.idTokenAlgorithms.map { SignatureAlgorithm($0) }
        pkce = provider.pkce == .s256 ? .s256 : .off
        requireIssuerParameter = provider.requireISS
    }

    private mutating func setRequests(_ provider: Snapshot.Provider) {
        scopeSeparator = provider.scopeSeparator
        scopeParameter = provider.scopeParameter
        codeParameter = provider.codeParameter
        authorizeParameters = provider.authorizeParameters.map { Parameter($0.name, $0.value) }
        tokenParameters = provider.tokenParameters.map { Parameter($0.name, $0.value) }
        refreshParameters = provider.refreshParameters.map { Parameter($0.name, $0.value) }
        revocationParameters = provider.revocationParameters.map { Parameter($0.name, $0.value) }
        tokenBody =
            switch provider.tokenBody {
            case .form: .form
            case .json: .json
            case .query: .query
            }
        refreshScope =
            switch provider.refreshScope {
            case .omit: .omit
            case .same: .same
            case .list(let scopes): .list(scopes)
            }
        tokenHeaders = provider.tokenHeaders.map { HeaderField($0.name, $0.value) }
        userAgent = provider.userAgent
    }

    private mutating func setReplies(_ provider: Snapshot.Provider) {
        paths = Paths(provider.replyPaths)
        errorAliases = provider.errorAliases.mapValues(\.rawValue)
        tokenTypes = Set(provider.tokenTypes.map { $0.lowercased() })
        headerName = provider.credentialHeader.name
        headerScheme = provider.credentialHeader.scheme
    }

    private mutating func setTimes(_ provider: Snapshot.Provider) {
        expiresUnit = Int64(provider.expiresUnit.milliseconds)
        defaultLifetime = provider.defaultLifetime.map { Int64($0.milliseconds) }
        refreshTokenLifetime = provider.refreshTokenLifetime.map { Int64($0.milliseconds) }
        refreshTokenEndIsFixed = provider.refreshTokenEndIsFixed
        refreshSkew = Int64(provider.refreshSkew.milliseconds)
        minimumRefreshInterval = Int64(provider.minRefreshInterval.milliseconds)
        rejectionCooldown = Int64(provider.rejectionCooldown.milliseconds)
        keepaliveInterval = provider.keepaliveInterval.map { Int64($0.milliseconds) }
        replayWindow = Int64(provider.replayWindow.milliseconds)
        callDeadline = Int64(provider.timeout.milliseconds)
        rotation =
            switch provider.rotation {
            case .singleUse: .singleUse
            case .reusable: .reusable
            case .unknown: .unknown
            }
    }

    private mutating func setQuirks(_ provider: Snapshot.Provider) {
        callbackCaptures = provider.callbackCaptures.compactMap { Capture(name: $0.name, text: $0.value) }
        replyCaptures = provider.responseCaptures.compactMap { Capture(name: $0.name, text: $0.value) }
        lookups = provider.lookups.compactMap { Lookup($0) }
        extraHeaders = provider.extraHeaders.compactMap { NamedTemplate($0.name, $0.value) }
        omittedAuthorizeParameters = Set(provider.omittedAuthorizeParameters)
        renamedParameters = provider.renamedParameters
        refreshWith = provider.refreshWith == .accessToken ? .accessToken : .refreshToken
        refreshGrantType = provider.refreshGrantType.isEmpty ? "refresh_token" : provider.refreshGrantType
        emptyRefusalEndsGrant = provider.emptyRefusalEndsGrant
        if let style = provider.revocation { revocation = RevocationStyle(style) }
        if let template = provider.revocationURLTemplate, revocation.url == nil {
            revocation.url = OAuth.URLTemplate(template)
        }
        assertionScope =
            switch provider.assertionScope {
            case .parameter: .parameter
            case .claim: .claim
            case .both: .both
            }
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
    /// - Parameter provider: its provider's settings, which hold the keys that its assertions are signed with.
    init(_ grant: Snapshot.Grant, provider: ProviderSettings, scopes: [String], required: [String]) {
        self.init(name: grant.name, provider: provider.name, scopes: scopes)
        requiredScopes = required
        refreshTokenRequired = grant.requireRefreshToken
        expectedAccount = grant.expectedAccount
        variables = grant.variables
        switch grant.acquisition {
        case .authorizationCode, .device: acquisition = .consent
        case .clientCredentials: acquisition = .unattended(.clientCredentials)
        case .jwtBearer(let assertion):
            acquisition = .unattended(.jwtBearer(AssertionClaims(assertion, provider: provider)))
        case .tokenExchange(let exchange):
            acquisition = .unattended(.tokenExchange(TokenExchange(exchange, resources: provider.resources)))
        }
    }
}

extension AssertionClaims {
    fileprivate init(_ assertion: Snapshot.Assertion, provider: ProviderSettings) {
        if let account = provider.serviceAccount {
            self = account.claims(subject: assertion.subject)
        } else {
            self.init(key: provider.clientKeys.first, subject: assertion.subject, scopePlace: provider.assertionScope)
            lifetime = Int64(assertion.lifetime.milliseconds)
        }
        issuer = assertion.issuer ?? issuer
        audience = assertion.audience ?? audience
        extra = Dictionary(assertion.claims.map { ($0.name, JSONValue.string($0.value)) }) { _, last in last }
    }
}

extension TokenExchange {
    fileprivate init(_ exchange: Snapshot.Exchange, resources: [String]) {
        self.init(
            subject: Source(exchange.subject), subjectTokenType: exchange.subjectTokenType,
            actor: exchange.actor.map { Source($0) }, actorTokenType: exchange.actorTokenType,
            requestedTokenType: exchange.requestedTokenType, audiences: exchange.audiences, resources: resources,
            acceptsUntypedToken: exchange.acceptsUntypedToken)
    }
}

extension TokenExchange.Source {
    fileprivate init(_ source: Snapshot.Exchange.Source) {
        switch source {
        case .file(let path): self = .file(path)
        case .grant(let name): self = .grant(name)
        }
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
                template.grant, provider: base, scopes: scopes, required: required),
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
        case .clientSecretJWT: self = .secretJWT
        case .privateKeyJWT: self = .privateKeyJWT
        case .tlsClientAuth: self = .tlsClientAuth
        case .selfSignedTLS: self = .selfSignedTLS
        case .bearerSecret: self = .bearerSecret
        case .secretAsUser: self = .secretAsUser
        case .none: self = .none
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
        tokenType = paths.tokenType.joined(separator: ".")
        refreshExpiresIn = paths.refreshExpiresIn?.joined(separator: ".")
        if let path = paths.refreshHardExpiresIn { refreshHardExpiresIn = path.joined(separator: ".") }
    }
}

extension ProviderURL {
    fileprivate init?(_ url: Snapshot.URL?) {
        guard let url else { return nil }
        self.init(url.description)
    }
}

extension OAuth.URLTemplate {
    fileprivate init?(_ template: Snapshot.URLTemplate?) {
        guard let template else { return nil }
        self.init(template.text)
    }
}

extension SignatureAlgorithm {
    fileprivate init(_ configured: Snapshot.SignatureAlgorithm) {
        switch configured {
        case .rs256: self = .rs256
        case .ps256: self = .ps256
        case .es256: self = .es256
        case .edDSA: self = .edDSA
        }
    }
}

extension ProviderSettings.Lookup {
    fileprivate init?(_ lookup: Snapshot.Lookup) {
        guard let url = OAuth.URLTemplate(lookup.url) else { return nil }
        self.init(
            url: url, headers: lookup.headers.compactMap { NamedTemplate($0.name, $0.value) },
            captures: lookup.captures.compactMap { Capture(name: $0.name, text: $0.value) }, account: lookup.account)
    }
}

extension RevocationStyle {
    fileprivate init(_ style: Snapshot.Revocation) {
        self.init()
        isSupported = style.isSupported
        advice = style.advice
        url = OAuth.URLTemplate(style.url)
        method =
            switch style.method {
            case .post: .post
            case .delete: .delete
            case .get: .get
            }
        authentication =
            switch style.authentication {
            case .client: .client
            case .none: .none
            case .token: .token
            }
        body =
            switch style.body {
            case .form: .form
            case .json: .json
            case .query: .query
            case .none: .none
            }
        tokenParameter = style.tokenParameter
        sendsHint = style.sendsHint
        parameters = style.parameters.compactMap { NamedTemplate($0.name, $0.value) }
        headers = style.headers.compactMap { NamedTemplate($0.name, $0.value) }
        order =
            switch style.order {
            case .both: .both
            case .refresh: .refreshToken
            case .access: .accessToken
            }
        doneStatuses = Set(style.doneStatuses)
        invalidStatuses = Set(style.invalidStatuses)
        doneCodes = Set(style.doneCodes)
        invalidCodes = Set(style.invalidCodes)
    }
}

extension Proxy.Credential {
    convenience init(_ credential: OAuth.Credential) {
        self.init(
            headerName: String(decoding: credential.headerName, as: UTF8.self), headerValue: credential.headerValue,
            generation: credential.generation, expiry: credential.expiresAt.map { UInt64(max(0, $0)) } ?? .max,
            extraHeaders: credential.extraHeaders.compactMap { CredentialField(name: $0.name, value: $0.value) },
            captured: credential.captured, proofKey: credential.proofKey?.bytes)
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
