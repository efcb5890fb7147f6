/// Builds the requests to a provider's token and revocation endpoints (RFC 6749 sections 2.3, 4.1.3, 6; RFC 7009).
struct TokenRequests {
    typealias Parameter = ProviderSettings.Parameter

    let settings: ProviderSettings
    let endpoints: ProviderEndpoints
    /// Index into `settings.clientSecrets`.
    let secretIndex: Int

    func request(for kind: TokenCall.Kind) -> ProviderRequest {
        switch kind {
        case .refresh(let token, let scopes): refresh(token, scopes: scopes)
        case .code(let code, let verifier, let redirectURI, let tokenEndpoint):
            exchange(code, verifier: verifier, redirectURI: redirectURI, url: tokenEndpoint)
        case .unattended(.clientCredentials, let scopes): clientCredentials(scopes)
        }
    }

    /// RFC 6749 section 4.4.2.
    private func clientCredentials(_ scopes: [String]) -> ProviderRequest {
        var parameters = [Parameter("grant_type", "client_credentials")]
        if !scopes.isEmpty {
            parameters.append(Parameter("scope", scopes.joined(separator: settings.scopeSeparator)))
        }
        return post(
            .refresh, url: endpoints.token, parameters, extra: settings.tokenParameters,
            authentication: endpoints.tokenAuthentication)
    }

    private func refresh(_ token: Secret, scopes: [String]) -> ProviderRequest {
        var parameters = [Parameter("grant_type", "refresh_token"), Parameter("refresh_token", token.reveal())]
        let asked: [String] =
            switch settings.refreshScope {
            case .omit: []
            case .same: scopes
            case .list(let list): list
            }
        if !asked.isEmpty {
            parameters.append(Parameter("scope", asked.joined(separator: settings.scopeSeparator)))
        }
        let url = settings.refreshEndpoint ?? endpoints.token
        return post(
            .refresh, url: url, parameters, extra: settings.tokenParameters + settings.refreshParameters,
            authentication: endpoints.tokenAuthentication)
    }

    private func exchange(_ code: Secret, verifier: Secret?, redirectURI: String, url: ProviderURL) -> ProviderRequest {
        var parameters = [
            Parameter("grant_type", "authorization_code"), Parameter("code", code.reveal()),
            Parameter("redirect_uri", redirectURI),
        ]
        if let verifier {
            parameters.append(Parameter("code_verifier", verifier.reveal()))
        }
        return post(
            .codeExchange, url: url, parameters, extra: settings.tokenParameters,
            authentication: endpoints.tokenAuthentication)
    }

    func revocation(_ token: Secret, hint: RevocationCall.Hint, url: ProviderURL) -> ProviderRequest {
        post(
            .revocation, url: url, [Parameter("token", token.reveal()), Parameter("token_type_hint", hint.rawValue)],
            extra: settings.revocationParameters, authentication: endpoints.revocationAuthentication)
    }

    private func post(
        _ purpose: ProviderRequest.Purpose, url: ProviderURL, _ parameters: [Parameter], extra: [Parameter],
        authentication: ClientAuthentication
    ) -> ProviderRequest {
        var parameters = parameters
        var headers = [HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent)]
        switch authentication {
        case .basic: headers.append(HeaderField("Authorization", basicCredentials))
        case .post:
            parameters.append(Parameter("client_id", settings.clientID))
            parameters.append(Parameter("client_secret", secret.reveal()))
        case .none, .automatic: parameters.append(Parameter("client_id", settings.clientID))
        }
        // An extra parameter replaces one of ours by the same name only if it carries no secret and no code: those
        // names are reserved. A parameter never goes out twice.
        for parameter in extra where !Self.reserved.contains(parameter.name) {
            parameters.removeAll { $0.name == parameter.name }
            parameters.append(parameter)
        }
        // RFC 7009 section 2.1 knows forms only, whatever the token endpoint takes.
        let asJSON = settings.tokenBody == .json && purpose != .revocation
        headers.append(HeaderField("Content-Type", asJSON ? "application/json" : "application/x-www-form-urlencoded"))
        for field in settings.tokenHeaders {
            headers.removeAll { $0.name.lowercased() == field.name.lowercased() }
            headers.append(field)
        }
        let body: [UInt8] =
            asJSON
            ? JSONValue.object(.init(parameters.map { ($0.name, .string($0.value)) }) { _, last in last }).encoded()
            : Array(FormEncoding.encode(parameters).utf8)
        return ProviderRequest(purpose: purpose, method: .post, url: url, headers: headers, body: body)
    }

    private static let reserved: Set<String> = [
        "grant_type", "code", "refresh_token", "redirect_uri", "code_verifier", "token", "client_id", "client_secret",
    ]

    private var secret: Secret {
        settings.clientSecrets.indices.contains(secretIndex) ? settings.clientSecrets[secretIndex] : Secret("")
    }

    /// Both parts are form-encoded before base64 (RFC 6749 section 2.3.1, checklist D15).
    private var basicCredentials: String {
        let pair = FormEncoding.encode(settings.clientID) + ":" + FormEncoding.encode(secret.reveal())
        return "Basic " + Crypto.base64(Array(pair.utf8))
    }
}
