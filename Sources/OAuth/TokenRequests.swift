/// Builds the requests to a provider's token, revocation and pushed request endpoints (RFC 6749 sections 2.3, 4.1.3, 6;
/// RFC 7009; RFC 9126). One method of client authentication in each (checklist D14).
struct TokenRequests {
    typealias Parameter = ProviderSettings.Parameter

    let settings: ProviderSettings
    let endpoints: ProviderEndpoints
    /// Index into `settings.clientSecrets` or `settings.clientKeys`, whichever the method uses.
    let credential: Int
    let now: Moment
    /// New for each request: "jti" of a client assertion.
    let tokenID: String

    func request(
        for kind: TokenCall.Kind, _ material: UnattendedMaterial = .init()
    ) throws(ProviderProblem) -> ProviderRequest {
        switch kind {
        case .refresh(let token, let scopes): try refresh(token, scopes: scopes)
        case .code(let code, let verifier, let redirectURI, let tokenEndpoint):
            try exchange(code, verifier: verifier, redirectURI: redirectURI, url: tokenEndpoint)
        case .unattended(let grant, let scopes): try unattended(grant, scopes: scopes, material)
        case .deviceCode(let code): try devicePoll(code)
        }
    }

    private func refresh(_ token: Secret, scopes: [String]) throws(ProviderProblem) -> ProviderRequest {
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
        return try post(
            .refresh, url: url, parameters + resources, extra: settings.tokenParameters + settings.refreshParameters,
            authentication: endpoints.tokenAuthentication)
    }

    private func exchange(
        _ code: Secret, verifier: Secret?, redirectURI: String, url: ProviderURL
    ) throws(ProviderProblem) -> ProviderRequest {
        var parameters = [
            Parameter("grant_type", "authorization_code"), Parameter("code", code.reveal()),
            Parameter("redirect_uri", redirectURI),
        ]
        if let verifier {
            parameters.append(Parameter("code_verifier", verifier.reveal()))
        }
        return try post(
            .codeExchange, url: url, parameters + resources, extra: settings.tokenParameters,
            authentication: endpoints.tokenAuthentication)
    }

    /// The client authenticates as at the token endpoint (RFC 9126 section 2).
    func pushedRequest(_ parameters: [Parameter], url: ProviderURL) throws(ProviderProblem) -> ProviderRequest {
        try post(
            .pushedRequest, url: url, parameters, extra: [], authentication: endpoints.tokenAuthentication)
    }

    /// RFC 8707 section 2.2.
    var resources: [Parameter] {
        settings.resources.map { Parameter("resource", $0) }
    }

    /// - Parameter namesItself: false where what is sent says who the client is (RFC 7521 section 4.1).
    func post(
        _ purpose: ProviderRequest.Purpose, url: ProviderURL, _ parameters: [Parameter], extra: [Parameter],
        authentication: ClientAuthentication, namesItself: Bool = true
    ) throws(ProviderProblem) -> ProviderRequest {
        var parameters = parameters
        var headers = [HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent)]
        try authenticate(authentication, &parameters, &headers, namesItself: namesItself)
        // An extra parameter replaces one of ours by the same name only if it carries no secret and no code: those
        // names are reserved. A parameter never goes out twice, but for `resource` and `audience`.
        for parameter in extra where !Self.reserved.contains(parameter.name) {
            parameters.removeAll { $0.name == parameter.name }
            parameters.append(parameter)
        }
        for field in settings.tokenHeaders where mayBeSet(field, authentication) {
            headers.removeAll { $0.name.lowercased() == field.name.lowercased() }
            headers.append(field)
        }
        let request = ProviderRequest(purpose: purpose, method: .post, url: url, headers: headers)
        return encode(settings.renamed(parameters, for: purpose.parameterPlace), into: request)
    }

    private func encode(_ parameters: [Parameter], into request: ProviderRequest) -> ProviderRequest {
        var request = request
        // RFC 9126 section 2.1 and RFC 8628 section 3.1 know forms only, whatever the token endpoint takes.
        switch request.purpose.isTokenCall ? settings.tokenBody : .form {
        case .form: request.setForm(parameters)
        case .json: request.setJSON(parameters)
        case .query:
            guard let extended = request.url.adding(query: parameters) else {
                // Too long for a URL: a form is what the endpoint must take then.
                request.setForm(parameters)
                break
            }
            request.method = .get
            request.url = extended
        }
        return request
    }

    static let reserved: Set<String> = [
        "grant_type", "code", "refresh_token", "redirect_uri", "code_verifier", "token", "client_id", "client_secret",
        "client_assertion", "client_assertion_type", "assertion", "device_code", "subject_token", "subject_token_type",
        "actor_token", "actor_token_type",
    ]
}

// MARK: - Client authentication

extension TokenRequests {
    func authenticate(
        _ method: ClientAuthentication, _ parameters: inout [Parameter], _ headers: inout [HeaderField],
        namesItself: Bool = true
    ) throws(ProviderProblem) {
        switch method {
        case .basic: headers.append(HeaderField("Authorization", basicCredentials))
        case .post:
            identify(&parameters)
            parameters.append(Parameter("client_secret", secret.reveal()))
        case .none, .automatic: if namesItself { identify(&parameters) }
        case .tlsClientAuth, .selfSignedTLS: identify(&parameters)
        case .bearerSecret: headers.append(HeaderField("Authorization", "Bearer " + secret.reveal()))
        case .secretAsUser:
            let pair = Crypto.base64(Array((secret.reveal() + ":").utf8))
            headers.append(HeaderField("Authorization", "Basic " + pair))
        case .secretJWT:
            guard !secret.isEmpty else { throw .noClientCredential("client_secret_jwt needs a client secret.") }
            prove(assertion.signed(with: secret), &parameters)
        case .privateKeyJWT:
            guard settings.clientKeys.indices.contains(credential) else {
                throw .noClientCredential("private_key_jwt needs a client key.")
            }
            prove(try assertion.signed(with: settings.clientKeys[credential]), &parameters)
        }
    }

    /// A pushed request has a client_id of its own.
    private func identify(_ parameters: inout [Parameter]) {
        guard !parameters.contains(where: { $0.name == "client_id" }) else { return }
        parameters.append(Parameter("client_id", settings.clientID))
    }

    /// client_id is optional beside an assertion (RFC 7521 section 4.2), and some servers look the client up by it.
    private func prove(_ signed: String, _ parameters: inout [Parameter]) {
        identify(&parameters)
        parameters.append(Parameter("client_assertion_type", ClientAssertion.type))
        parameters.append(Parameter("client_assertion", signed))
    }

    /// A configured Authorization field is an authentication of its own: it may stand in for Basic or for none, and is
    /// not sent beside another. The proof is ours alone.
    func mayBeSet(_ field: HeaderField, _ method: ClientAuthentication) -> Bool {
        switch field.name.lowercased() {
        case "dpop": false
        case "authorization": method == .basic || method == .none
        default: true
        }
    }

    private var assertion: ClientAssertion {
        ClientAssertion(settings: settings, endpoints: endpoints, now: now, tokenID: tokenID)
    }

    private var secret: Secret {
        settings.clientSecrets.indices.contains(credential) ? settings.clientSecrets[credential] : Secret("")
    }

    /// Both parts are form-encoded before base64 (RFC 6749 section 2.3.1, checklist D15).
    private var basicCredentials: String {
        let pair = FormEncoding.encode(settings.clientID) + ":" + FormEncoding.encode(secret.reveal())
        return "Basic " + Crypto.base64(Array(pair.utf8))
    }
}

extension ProviderProblem {
    fileprivate static func noClientCredential(_ detail: String) -> ProviderProblem {
        ProviderProblem(.configuration, code: "client_key", detail: detail)
    }
}

extension ProviderSettings {
    /// How many secrets or keys there are to try, one in a call.
    func credentialCount(_ method: ClientAuthentication) -> Int {
        switch method {
        case .basic, .post, .bearerSecret, .secretAsUser, .secretJWT: clientSecrets.count
        case .privateKeyJWT: clientKeys.count
        case .none, .automatic, .tlsClientAuth, .selfSignedTLS: 1
        }
    }

    /// What goes before an access token in its header: the scheme follows the token's type (RFC 9449 section 7.1).
    package func headerScheme(proofKey: Secret?) -> String {
        proofKey == nil ? headerScheme : TokenType.dpop.rawValue
    }
}

extension ProviderRequest.Purpose {
    /// Requests to the token endpoint.
    var isTokenCall: Bool {
        switch self {
        case .codeExchange, .refresh, .unattended, .devicePoll: true
        case .metadata, .revocation, .lookup, .pushedRequest, .keySet, .deviceAuthorization: false
        }
    }

    /// What `ProviderSettings.renamedParameters` knows the request as.
    var parameterPlace: ProviderSettings.ParameterPlace {
        switch self {
        case .refresh: .refresh
        case .codeExchange: .code
        case .pushedRequest, .deviceAuthorization: .authorize
        case .unattended, .devicePoll, .metadata, .revocation, .lookup, .keySet: .token
        }
    }
}
