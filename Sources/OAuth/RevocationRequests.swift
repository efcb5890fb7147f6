/// Requests by which tokens end at the provider: RFC 7009 section 2.1, and what `RevocationStyle` makes of it.
extension TokenRequests {
    /// `variables`: what the grant's record has captured. Throws where a name in a template has no value, where the host
    /// is not allowed, or where the client cannot authenticate; then nothing is sent. nil: there is no endpoint.
    func revocation(
        _ call: RevocationCall, variables: TemplateVariables
    ) throws(ProviderProblem) -> ProviderRequest? {
        do {
            return try request(to: call, variables: variables)
        } catch let problem as TemplateProblem {
            throw problem.problem
        } catch let problem as ProviderProblem {
            throw problem
        } catch {
            return nil
        }
    }

    private func request(to call: RevocationCall, variables: TemplateVariables) throws -> ProviderRequest? {
        let style = settings.revocation
        var known = variables
        // No capture can stand for these two.
        known.grant["client_id"] = settings.clientID
        known.grant["token"] = call.token.reveal()
        guard let url = try place(of: style, variables: known) else { return nil }
        known.grant["token"] = nil
        var parameters: [Parameter] = []
        if !style.tokenParameter.isEmpty { parameters.append(Parameter(style.tokenParameter, call.token.reveal())) }
        if style.sendsHint, style.body == .form { parameters.append(Parameter("token_type_hint", call.hint.rawValue)) }
        for template in style.parameters {
            let value = try template.value.expanded(known)
            parameters.removeAll { $0.name == template.name }
            parameters.append(Parameter(template.name, value))
        }
        var headers = [HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent)]
        switch style.authentication {
        case .client:
            try authenticate(endpoints.revocationAuthentication, &headers, &parameters, for: style.body)
        case .none: break
        case .token: headers.append(HeaderField("Authorization", "Bearer " + call.token.reveal()))
        }
        for parameter in settings.revocationParameters where parameter.name != style.tokenParameter {
            parameters.removeAll { $0.name == parameter.name }
            parameters.append(parameter)
        }
        try add(settings.tokenHeaders.filter { mayBeSet($0, style) }, style.headers, known, to: &headers)
        return try request(style, url: url, parameters: parameters, headers: headers)
    }

    /// A configured field is not sent beside an authentication of ours.
    private func mayBeSet(_ field: HeaderField, _ style: RevocationStyle) -> Bool {
        switch style.authentication {
        case .client: mayBeSet(field, endpoints.revocationAuthentication)
        case .none: mayBeSet(field, .none)
        case .token: field.name.lowercased() != "authorization"
        }
    }

    private func place(
        of style: RevocationStyle, variables: TemplateVariables
    ) throws(TemplateProblem) -> (url: ProviderURL, shown: String)? {
        guard let template = style.url else { return endpoints.revocation.map { ($0, $0.path) } }
        let url = try template.expanded(variables, allowing: settings.allowedHosts)
        guard url.isAllowed(plaintextOnLoopback: settings.allowPlaintextOnLoopback) else { throw .notURL }
        guard template.names.contains("token") else { return (url, url.path) }
        // The same with a word in the token's place, for descriptions.
        var shown = variables
        shown.grant["token"] = "redacted"
        return (url, try template.expanded(shown, allowing: settings.allowedHosts).path)
    }

    private func authenticate(
        _ method: ClientAuthentication, _ headers: inout [HeaderField], _ parameters: inout [Parameter],
        for body: RevocationStyle.Body
    ) throws(ProviderProblem) {
        var added: [Parameter] = []
        try authenticate(method, &added, &headers)
        switch body {
        case .form, .json: parameters += added
        // A secret has no place in a URL.
        case .query: parameters += added.filter { $0.name == "client_id" }
        case .none: break
        }
    }

    private func add(
        _ fixed: [HeaderField], _ templates: [NamedTemplate], _ variables: TemplateVariables,
        to headers: inout [HeaderField]
    ) throws(TemplateProblem) {
        var fields = fixed
        for template in templates {
            fields.append(HeaderField(template.name, try template.value.expanded(variables)))
        }
        for field in fields {
            headers.removeAll { $0.name.lowercased() == field.name.lowercased() }
            headers.append(field)
        }
    }

    private func request(
        _ style: RevocationStyle, url: (url: ProviderURL, shown: String), parameters: [Parameter],
        headers: [HeaderField]
    ) throws(TemplateProblem) -> ProviderRequest {
        var request = ProviderRequest(
            purpose: .revocation, method: style.method, url: url.url, headers: headers, shownPath: url.shown)
        switch style.body {
        case .form:
            request.setForm(parameters)
        case .json:
            request.setJSON(parameters)
        case .query:
            guard let extended = url.url.adding(query: parameters) else { throw .notURL }
            request.url = extended
        case .none: break
        }
        return request
    }
}

extension ProviderURL {
    /// The URL with these parameters at the end of its query; nil where it gets too long.
    func adding(query parameters: [ProviderSettings.Parameter]) -> ProviderURL? {
        guard !parameters.isEmpty else { return self }
        return ProviderURL(description + (query == nil ? "?" : "&") + FormEncoding.encode(parameters))
    }
}

extension ProviderRequest {
    mutating func setForm(_ parameters: [ProviderSettings.Parameter]) {
        setType("application/x-www-form-urlencoded")
        body = Array(FormEncoding.encode(parameters).utf8)
    }

    mutating func setJSON(_ parameters: [ProviderSettings.Parameter]) {
        setType("application/json")
        // A name that comes more than once (`resource`) becomes a list.
        let grouped = Dictionary(grouping: parameters, by: \.name)
        let members = grouped.mapValues { list in
            list.count == 1 ? JSONValue.string(list[0].value) : .array(list.map { .string($0.value) })
        }
        body = JSONValue.object(members).encoded()
    }

    /// Before what the operator has set, which stays.
    private mutating func setType(_ type: String) {
        guard !headers.contains(where: { $0.name.lowercased() == "content-type" }) else { return }
        headers.append(HeaderField("Content-Type", type))
    }
}
