/// What templates, captures and renames make of the settings for one grant.
extension ProviderSettings {
    /// A call after the consent that asks for what the token reply does not say: a tenant's id, the account.
    package struct Lookup: Sendable, Equatable {
        /// Fetched by GET with the fresh access token in the provider's own header and scheme.
        package var url: URLTemplate
        package var headers: [NamedTemplate]
        /// Paths in the JSON reply.
        package var captures: [Capture]
        /// Where the account is; used where the token reply named none.
        package var account: String?

        package init(
            url: URLTemplate, headers: [NamedTemplate] = [], captures: [Capture] = [], account: String? = nil
        ) {
            self.url = url
            self.headers = headers
            self.captures = captures
            self.account = account
        }

        var isRequired: Bool { captures.contains { $0.isRequired } }
    }

    /// What is sent to get new tokens.
    package enum RefreshWith: String, Sendable, CaseIterable {
        case refreshToken = "refresh_token"
        /// There are no refresh tokens: a long-lived access token is exchanged for the next (Facebook, Instagram,
        /// Threads). It is kept in the refresh token's place.
        case accessToken = "access_token"
    }

    /// What a request is for, as far as its parameters' names go.
    enum ParameterPlace: String {
        case authorize, code, refresh
        /// Other calls of the token endpoint.
        case token
    }

    /// What a call needs of the templated endpoints.
    enum EndpointUse {
        case consent, token, revocation
    }

    var hasTemplates: Bool {
        authorizationEndpointTemplate != nil || tokenEndpointTemplate != nil || refreshEndpointTemplate != nil
    }

    var knowsAuthorizationEndpoint: Bool { authorizationEndpoint != nil || authorizationEndpointTemplate != nil }
    var knowsTokenEndpoint: Bool { tokenEndpoint != nil || tokenEndpointTemplate != nil }
    var knowsRevocationEndpoint: Bool {
        revocationEndpoint != nil || revocation.url != nil || !revocation.isSupported
    }

    package func templateVariables(_ grant: [String: String]) -> TemplateVariables {
        TemplateVariables(provider: variables, grant: grant)
    }

    package func expand(
        _ template: URLTemplate, _ grant: [String: String]
    ) throws(TemplateProblem) -> ProviderURL {
        let url = try template.expanded(templateVariables(grant), allowing: allowedHosts)
        guard url.isAllowed(plaintextOnLoopback: allowPlaintextOnLoopback) else { throw .notURL }
        return url
    }

    /// The settings with the templated endpoints made for one grant. What the use does not need may stay unresolved.
    func resolved(_ grant: [String: String], for use: EndpointUse) throws(TemplateProblem) -> ProviderSettings {
        guard hasTemplates else { return self }
        var copy = self
        switch use {
        case .consent:
            if let template = authorizationEndpointTemplate {
                copy.authorizationEndpoint = try expand(template, grant)
            }
            if let template = tokenEndpointTemplate { copy.tokenEndpoint = try expand(template, grant) }
        case .token:
            if let template = tokenEndpointTemplate { copy.tokenEndpoint = try expand(template, grant) }
            if let template = refreshEndpointTemplate { copy.refreshEndpoint = try expand(template, grant) }
            copy.fill(\.authorizationEndpoint, from: authorizationEndpointTemplate, grant)
        case .revocation:
            copy.fill(\.authorizationEndpoint, from: authorizationEndpointTemplate, grant)
            copy.fill(\.tokenEndpoint, from: tokenEndpointTemplate, grant)
        }
        return copy
    }

    /// Nothing is sent to this endpoint in such a call; it only must not be missing. The name is one that never exists
    /// (RFC 2606 section 2).
    private mutating func fill(
        _ endpoint: WritableKeyPath<ProviderSettings, ProviderURL?>, from template: URLTemplate?,
        _ grant: [String: String]
    ) {
        guard let template else { return }
        self[keyPath: endpoint] = (try? expand(template, grant)) ?? ProviderURL("https://unresolved.invalid/")
    }

    /// Whether the host of such a request is one that nobody has written down: a template made it, and of
    /// `allowed_hosts` only a pattern matches.
    func isHostOpen(_ request: ProviderRequest) -> Bool {
        guard !allowPrivateHosts else { return false }
        let templates: [URLTemplate?] =
            switch request.purpose {
            case .refresh: [refreshEndpoint == nil ? refreshEndpointTemplate ?? tokenEndpointTemplate : nil]
            case .codeExchange, .unattended, .devicePoll: [tokenEndpointTemplate]
            case .revocation: [revocation.url]
            case .lookup: lookups.map(\.url)
            case .metadata, .keySet, .pushedRequest, .deviceAuthorization: []
            }
        guard templates.contains(where: { $0?.hostNames.isEmpty == false }) else { return false }
        let fixed = templates.compactMap { $0 }.filter(\.hostNames.isEmpty)
        guard !fixed.contains(where: { $0.fixedHost == request.url.host }) else { return false }
        guard let host = CapturedHost(request.url.hostField) else { return true }
        return !allowedHosts.contains { $0.names(host) }
    }

    // MARK: Parameters

    /// What the protection of the flow hangs on keeps its name and is never left out.
    static let fixedNames: Set<String> = ["state", "code_challenge", "code_challenge_method", "nonce"]

    /// The parameters under the names that this provider has for them. A key of `renamedParameters` is a name, or
    /// "authorize.", "code.", "refresh." or "token." (any call of the token endpoint) and a name; the narrower wins.
    func renamed(_ parameters: [Parameter], for place: ParameterPlace) -> [Parameter] {
        guard !renamedParameters.isEmpty else { return parameters }
        var result: [Parameter] = []
        for parameter in parameters {
            let isFixed = Self.fixedNames.contains(parameter.name)
            let name = isFixed ? parameter.name : renamedParameters[rule(parameter.name, place)] ?? parameter.name
            // Nothing goes out twice, and nothing takes the place of what is fixed.
            guard !Self.fixedNames.contains(name) || isFixed else { continue }
            result.removeAll { $0.name == name }
            result.append(Parameter(name, parameter.value))
        }
        return result
    }

    private func rule(_ name: String, _ place: ParameterPlace) -> String {
        let narrow: [String] =
            switch place {
            case .authorize: ["authorize.\(name)"]
            case .code, .refresh: ["\(place.rawValue).\(name)", "token.\(name)"]
            case .token: ["token.\(name)"]
            }
        return narrow.first { renamedParameters[$0] != nil } ?? name
    }

    /// The authorization request's parameters without those that this provider refuses, under its names.
    func shapedForAuthorization(_ parameters: [Parameter]) -> [Parameter] {
        let kept = parameters.filter {
            Self.fixedNames.contains($0.name) || !omittedAuthorizeParameters.contains($0.name)
        }
        return renamed(kept, for: .authorize)
    }

    // MARK: Upstream

    /// Fields that no template may set: they are the message's own, the connection's, or the credential.
    static let protectedHeaders: Set<String> = [
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
        "proxy-authorization", "proxy-connection", "authorization", "expect",
    ]

    /// The further header fields of each upstream request of a grant, from its captured values and variables. A field
    /// whose value cannot be made is left out: see `extraHeadersLeftOut`.
    package func expandedExtraHeaders(_ captured: [String: String]) -> [HeaderField] {
        let variables = templateVariables(captured)
        return extraHeaders.compactMap { template in
            guard !isProtected(template), let value = value(of: template, variables) else { return nil }
            return HeaderField(template.name, value)
        }
    }

    /// The names of the fields that requests of a grant lack, because nothing gives a value that they need, or one that no
    /// field can have: for the operator. Empty where there are none, which costs nothing.
    package func extraHeadersLeftOut(_ captured: [String: String]) -> [String] {
        guard !extraHeaders.isEmpty else { return [] }
        let variables = templateVariables(captured)
        return extraHeaders.filter { !isProtected($0) && value(of: $0, variables) == nil }.map(\.name)
    }

    private func isProtected(_ template: NamedTemplate) -> Bool {
        let name = template.name.lowercased()
        return Self.protectedHeaders.contains(name) || name == headerName.lowercased()
    }

    private func value(of template: NamedTemplate, _ variables: TemplateVariables) -> String? {
        guard let value = try? template.value.expanded(variables), Self.isFieldValue(value) else { return nil }
        return value
    }

    private static func isFieldValue(_ value: String) -> Bool {
        value.utf8.count <= 8192 && value.utf8.allSatisfy { (0x20...0x7E).contains($0) } && value.first != " "
            && value.last != " "
    }

    // MARK: Error codes

    /// What a provider's code means in the words of RFC 6749. An alias "403:unauthorized_client" goes before one that
    /// has no status.
    func meaning(ofCode code: String, status: Int?) -> String {
        if let status, let meaning = errorAliases["\(status):\(code)"] { return meaning }
        return errorAliases[code] ?? code
    }

    /// Everything of these settings that can turn a permanent failure into success.
    var quirksFingerprint: [String] {
        let templates = [authorizationEndpointTemplate, tokenEndpointTemplate, refreshEndpointTemplate]
        return templates.map { $0?.description ?? "" } + allowedHosts.map(\.description)
            + pairs(variables) + pairs(renamedParameters) + [refreshGrantType, refreshWith.rawValue]
            + replyCaptures.map { "\($0.name) \($0.text)" }
    }

    private func pairs(_ members: [String: String]) -> [String] {
        members.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
    }
}
