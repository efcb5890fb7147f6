/// What an unattended request is made of beside its settings.
struct UnattendedMaterial: Sendable {
    /// Signed; for a JWT bearer grant.
    var assertion: Secret?
    var subjectToken: Secret?
    var actorToken: Secret?
}

/// The requests of grants where no browser is there (RFC 6749 section 4.4.2, RFC 7523 section 2.1, RFC 8693 section 2.1,
/// RFC 8628 sections 3.1 and 3.4).
extension TokenRequests {
    static let jwtBearerType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    static let tokenExchangeType = "urn:ietf:params:oauth:grant-type:token-exchange"
    static let deviceCodeType = "urn:ietf:params:oauth:grant-type:device_code"

    func unattended(
        _ grant: UnattendedGrant, scopes: [String], _ material: UnattendedMaterial
    ) throws(ProviderProblem) -> ProviderRequest {
        var parameters: [Parameter]
        var isNamed = true
        var scopes = scopes
        switch grant {
        case .clientCredentials: parameters = [Parameter("grant_type", "client_credentials")]
        case .jwtBearer(let claims):
            parameters = [
                Parameter("grant_type", Self.jwtBearerType), Parameter("assertion", material.assertion?.reveal() ?? ""),
            ]
            // The assertion itself says who asks (RFC 7521 section 4.1).
            isNamed = false
            if claims.scopePlace == .claim { scopes = [] }
        case .tokenExchange(let exchange): parameters = Self.exchange(exchange, material)
        }
        if let scope = scope(scopes) { parameters.append(Parameter("scope", scope)) }
        parameters += resources.filter { !parameters.contains($0) }
        return try post(
            .unattended, url: endpoints.token, parameters, extra: settings.tokenParameters,
            authentication: endpoints.tokenAuthentication, namesItself: isNamed)
    }

    private static func exchange(_ exchange: TokenExchange, _ material: UnattendedMaterial) -> [Parameter] {
        var parameters = [
            Parameter("grant_type", tokenExchangeType),
            Parameter("subject_token", material.subjectToken?.reveal() ?? ""),
            Parameter("subject_token_type", exchange.subjectTokenType),
        ]
        if let actor = material.actorToken {
            parameters.append(Parameter("actor_token", actor.reveal()))
            parameters.append(Parameter("actor_token_type", exchange.actorTokenType))
        }
        if let type = exchange.requestedTokenType { parameters.append(Parameter("requested_token_type", type)) }
        parameters += exchange.audiences.map { Parameter("audience", $0) }
        parameters += exchange.resources.map { Parameter("resource", $0) }
        return parameters
    }

    func deviceAuthorization(scopes: [String], url: ProviderURL) throws(ProviderProblem) -> ProviderRequest {
        let parameters = (scope(scopes).map { [Parameter("scope", $0)] } ?? []) + resources
        // What the provider wants with an authorization request (an audience, a tenant) it wants here too; what it does
        // not know it must ignore (RFC 8628 section 3.1).
        let extra = settings.authorizeParameters.filter { !ConsentStart.reserved.contains($0.name) }
        return try post(
            .deviceAuthorization, url: url, parameters, extra: extra, authentication: endpoints.tokenAuthentication)
    }

    func devicePoll(_ code: Secret) throws(ProviderProblem) -> ProviderRequest {
        try post(
            .devicePoll, url: endpoints.token,
            [Parameter("grant_type", Self.deviceCodeType), Parameter("device_code", code.reveal())],
            extra: settings.tokenParameters, authentication: endpoints.tokenAuthentication)
    }

    private func scope(_ scopes: [String]) -> String? {
        scopes.isEmpty ? nil : scopes.joined(separator: settings.scopeSeparator)
    }
}
