/// The look-ups of one consent: after the code exchange and before anybody hears of the tokens.
struct LookupRun: Sendable {
    /// A look-up is tried this often, at once, where no complete answer came: the person is waiting.
    static let attempts = 3

    var call: TokenCall
    var tokens: TokenSet
    var sentAt: Moment
    /// Index into `ProviderSettings.lookups`.
    var index = 0
    var tried = 0
    /// Where the request in flight went.
    var url: ProviderURL?
    /// This look-up was repeated with the server's nonce (RFC 9449 section 9): there is no second time.
    var hasRepeatedForNonce = false

    enum Step: Sendable, Equatable {
        case send(ProviderRequest)
        case finished(Result<TokenSet, ProviderProblem>)
    }

    private var captured: [String: String] {
        call.variables.merging(tokens.captured) { _, captured in captured }
    }

    /// What is next: a request, or the end.
    mutating func step(_ settings: ProviderSettings) -> Step {
        while index < settings.lookups.count {
            let lookup = settings.lookups[index]
            guard isNeeded(lookup) else {
                index += 1
                continue
            }
            do throws(TemplateProblem) {
                return .send(try request(lookup, settings))
            } catch {
                return .finished(.failure(error.problem))
            }
        }
        return .finished(.success(tokens))
    }

    /// The operator has set all that it would give, and nobody needs the account.
    private func isNeeded(_ lookup: ProviderSettings.Lookup) -> Bool {
        lookup.captures.contains { call.variables[$0.name] == nil } || lookup.account != nil && tokens.account == nil
    }

    private func request(
        _ lookup: ProviderSettings.Lookup, _ settings: ProviderSettings
    ) throws(TemplateProblem) -> ProviderRequest {
        let url = try settings.expand(lookup.url, captured)
        let token = tokens.accessToken.reveal()
        let scheme = settings.headerScheme(proofKey: tokens.proofKey)
        var headers = [
            HeaderField("Accept", "application/json"), HeaderField("User-Agent", settings.userAgent),
            HeaderField(settings.headerName, scheme.isEmpty ? token : "\(scheme) \(token)"),
        ]
        let own = Set(["host", "content-length", "dpop", settings.headerName.lowercased()])
        for template in lookup.headers where !own.contains(template.name.lowercased()) {
            let value = try template.value.expanded(settings.templateVariables(captured))
            headers.removeAll { $0.name.lowercased() == template.name.lowercased() }
            headers.append(HeaderField(template.name, value))
        }
        return ProviderRequest(purpose: .lookup, method: .get, url: url, headers: headers)
    }

    mutating func replyReceived(_ outcome: ProviderOutcome, _ settings: ProviderSettings) -> Step {
        guard index < settings.lookups.count else { return .finished(.success(tokens)) }
        let lookup = settings.lookups[index]
        switch read(outcome) {
        case .failure(let problem):
            tried += 1
            if problem.errorClass == .transient, tried < Self.attempts { return step(settings) }
            guard !lookup.isRequired else { return .finished(.failure(problem)) }
        case .success(let json):
            if let problem = take(json, lookup, settings) { return .finished(.failure(problem.problem)) }
        }
        index += 1
        tried = 0
        hasRepeatedForNonce = false
        return step(settings)
    }

    private func read(_ outcome: ProviderOutcome) -> Result<JSONValue, ProviderProblem> {
        let reply: ProviderReply
        switch outcome {
        case .failure(let failure):
            let problem = ProviderProblem(failure)
            return .failure(
                ProviderProblem(.transient, code: "lookup_failed", detail: "The look-up failed: \(problem.detail)"))
        case .success(let received): reply = received
        }
        let isTransient = reply.status >= 500 || reply.status == 408
        guard reply.status == 200, let json = JSONValue(reply.body) else {
            return .failure(
                ProviderProblem(
                    isTransient ? .transient : .configuration, code: "lookup_failed",
                    detail: "The look-up did not answer with JSON and status 200 (\(reply.summary)).",
                    status: reply.status))
        }
        return .success(json)
    }

    private mutating func take(
        _ json: JSONValue, _ lookup: ProviderSettings.Lookup, _ settings: ProviderSettings
    ) -> CaptureProblem? {
        let found = lookup.captures.values(given: call.variables, allowing: settings.allowedHosts) {
            json.text(at: $0)
        }
        tokens.captured.merge(found.values) { _, new in new }
        if tokens.account == nil, let account = lookup.account.flatMap({ json.text(at: $0) }), !account.isEmpty {
            tokens.account = SafeText.clean(account, limit: 200)
        }
        return found.problem
    }
}
