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
        }
    }

    private func refresh(_ token: Secret, scopes: [String]) -> ProviderRequest {
        var parameters = [
            Parameter("grant_type", settings.refreshGrantType), Parameter("refresh_token", token.reveal()),
        ]
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

    private func post(
        _ purpose: ProviderRequest.Purpose, url: ProviderURL, _ parameters: [Parameter], extra: [Parameter],
        authentication: ClientAuthentication
    ) -> ProviderRequest {
        var parameters = parameters
        var headers = [HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent)]
        let (fields, added) = credentials(authentication)
        headers += fields
        parameters += added
        // An extra parameter replaces one of ours by the same name only if it carries no secret and no code: those
        // names are reserved. A parameter never goes out twice.
        for parameter in extra where !Self.reserved.contains(parameter.name) {
            parameters.removeAll { $0.name == parameter.name }
            parameters.append(parameter)
        }
        parameters = settings.renamed(parameters, for: purpose == .refresh ? .refresh : .code)
        for field in settings.tokenHeaders {
            headers.removeAll { $0.name.lowercased() == field.name.lowercased() }
            headers.append(field)
        }
        var request = ProviderRequest(purpose: purpose, method: .post, url: url, headers: headers)
        switch settings.tokenBody {
        case .form: request.setForm(parameters)
        case .json: request.setJSON(parameters)
        case .query:
            guard let extended = url.adding(query: parameters) else {
                // Too long for a URL: a form is what the endpoint must take then.
                request.setForm(parameters)
                break
            }
            request.method = .get
            request.url = extended
        }
        return request
    }

    /// How the client proves itself: header fields, parameters.
    func credentials(_ method: ClientAuthentication) -> (fields: [HeaderField], parameters: [Parameter]) {
        switch method {
        case .basic: ([HeaderField("Authorization", basicCredentials)], [])
        case .post:
            ([], [Parameter("client_id", settings.clientID), Parameter("client_secret", secret.reveal())])
        case .none, .automatic: ([], [Parameter("client_id", settings.clientID)])
        case .bearerSecret: ([HeaderField("Authorization", "Bearer " + secret.reveal())], [])
        case .secretAsUser:
            ([HeaderField("Authorization", "Basic " + Crypto.base64(Array((secret.reveal() + ":").utf8)))], [])
        }
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
