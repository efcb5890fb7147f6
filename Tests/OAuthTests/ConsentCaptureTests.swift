import Testing

@testable import OAuth

/// Zoho's data centres: the callback names the host that the code must go to (providers.md, safety rule).
struct ConsentCaptureTests {
    static let now = ConsentTests.now

    static func zoho(_ provider: inout ProviderSettings) {
        provider.issuer = nil
        provider.pkce = .off
        provider.variables = ["accounts_server": "accounts.zoho.com"]
        provider.authorizationEndpoint = nil
        provider.tokenEndpoint = nil
        provider.authorizationEndpointTemplate = URLTemplate("https://{accounts_server}/oauth/v2/auth")
        provider.tokenEndpointTemplate = URLTemplate("https://{accounts_server}/oauth/v2/token")
        provider.callbackCaptures = [
            Capture(name: "accounts_server", source: "accounts-server", kind: .host),
            Capture(name: "location", source: "location", kind: .word),
        ]
        provider.allowedHosts = ["accounts.zoho.com", "accounts.zoho.eu", "accounts.zohocloud.ca"].compactMap {
            HostPattern($0)
        }
    }

    static func start(
        _ configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) throws -> (pending: PendingConsent, state: String, url: String) {
        var grant = GrantSettings(name: "crm", provider: "zoho", scopes: ["a"])
        var provider = GrantDriver.provider
        zoho(&provider)
        configure(&grant, &provider)
        var machine = ProviderMachine(settings: provider)
        let id = CallID(owner: .consent(9), number: 1)
        guard
            case .endpointsReady(_, let endpoints)? = machine.endpointsNeeded(id, variables: grant.variables, now: now)
                .first
        else { throw ConsentStartProblem.badRedirectURI }
        let request = ConsentRequest(
            grant: grant, provider: provider, endpoints: endpoints, redirectURI: "https://gw.example/cb",
            binding: ConsentTests.binding)
        let start = try ConsentStart.make(request, randomness: (0..<96).map { UInt8($0) }, now: now).get()
        let query = start.authorizationURL.split(separator: "?", maxSplits: 1)[1]
        let state = FormEncoding.decode(query)?.first { $0.name == "state" }?.value ?? ""
        return (start.pending, state, start.authorizationURL)
    }

    /// The token call that a callback leads to, or why there is none.
    static func callback(
        _ query: String, pending: PendingConsent, state: String, machine: inout AuthorizationMachine
    ) throws -> Result<TokenCall, CallbackRejection> {
        // As the store gives it back.
        let stored = try #require(PendingConsent(payload: pending.encoded()))
        #expect(stored == pending)
        let full = "code=c&state=\(state)" + (query.isEmpty ? "" : "&" + query)
        _ = machine.callbackReceived(CallbackID(1), query: full, binding: ConsentTests.binding, now: now)
        for action in machine.pendingTaken(key: PendingConsent.key(forState: state), stored, now: now) {
            if case .exchangeCode(_, let call) = action { return .success(call) }
            if case .show(_, .rejected(let rejection)) = action { return .failure(rejection) }
        }
        throw ConsentStartProblem.badRedirectURI
    }

    private func endpoint(
        _ query: String, configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) throws -> Result<String, CallbackRejection> {
        let start = try Self.start(configure)
        var machine = AuthorizationMachine()
        let result = try Self.callback(query, pending: start.pending, state: start.state, machine: &machine)
        return result.map {
            guard case .code(_, _, _, let endpoint) = $0.kind else { return "no code" }
            return endpoint.description
        }
    }

    @Test(arguments: [
        ("", "https://accounts.zoho.com/oauth/v2/token"),
        ("accounts-server=https%3A%2F%2Faccounts.zoho.eu&location=eu", "https://accounts.zoho.eu/oauth/v2/token"),
        ("accounts-server=https%3A%2F%2Faccounts.zohocloud.ca%2F", "https://accounts.zohocloud.ca/oauth/v2/token"),
    ])
    func `the code goes to the data centre that the callback names`(query: String, url: String) throws {
        #expect(try endpoint(query) == .success(url))
    }

    @Test(
        arguments: HostPatternTests.hostile.filter { !$0.isEmpty } + [
            "https://evil.example", "evil.example", "https://accounts.zoho.evil.example", "https://10.0.0.1",
            "https://169.254.169.254", "https://localhost", "https://accounts.zoho.eu:8443",
        ])
    func `an edited callback sends code and secret nowhere`(server: String) throws {
        let query = FormEncoding.encode([.init("accounts-server", server)])
        #expect(try endpoint(query) == .failure(.captureRefused))
    }

    @Test func `neither code nor state is captured`() throws {
        let start = try Self.start { _, provider in
            provider.callbackCaptures = ["code", "state", "realmId"].map { Capture(name: $0.lowercased(), source: $0) }
        }
        var machine = AuthorizationMachine()
        let call = try Self.callback("realmId=9", pending: start.pending, state: start.state, machine: &machine).get()
        #expect(call.variables == ["realmid": "9"])
    }

    @Test func `a host that comes twice is refused`() throws {
        let one = "accounts-server=https%3A%2F%2Faccounts.zoho.eu"
        #expect(try endpoint(one + "&" + one) == .failure(.repeatedParameter))
    }

    @Test func `a value that is required and missing is refused`() throws {
        let refused = try endpoint("") { $1.callbackCaptures[0].isRequired = true }
        #expect(refused == .failure(.captureRefused))
    }

    @Test func `the grant's own data centre cannot be changed by a callback, and must be listed too`() throws {
        let pinned = try endpoint("accounts-server=https%3A%2F%2Faccounts.zoho.com") { grant, _ in
            grant.variables = ["accounts_server": "accounts.zoho.eu"]
        }
        #expect(pinned == .success("https://accounts.zoho.eu/oauth/v2/token"))
        #expect(throws: ConsentStartProblem.self) {
            try Self.start { grant, _ in grant.variables = ["accounts_server": "evil.example"] }
        }
    }

    @Test func `a reload between start and callback does not widen what is allowed`() throws {
        let start = try Self.start()
        let stored = try #require(PendingConsent(payload: start.pending.encoded()))
        #expect(stored.capture?.allowedHosts.count == 3)
        #expect(stored.capture?.tokenEndpoint?.description == "https://{accounts_server}/oauth/v2/token")
    }

    @Test func `what was captured goes with the token call and into the token set`() throws {
        let start = try Self.start { grant, _ in grant.variables = ["tenant": "t1"] }
        var machine = AuthorizationMachine()
        let call = try Self.callback(
            "accounts-server=https%3A%2F%2Faccounts.zoho.eu&location=eu", pending: start.pending, state: start.state,
            machine: &machine
        ).get()
        #expect(call.variables == ["accounts_server": "accounts.zoho.eu", "location": "eu", "tenant": "t1"])
        var tokens = TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"))
        tokens.captured = ["api_domain": "www.zohoapis.eu"]
        let report = TokenCallReport(result: .success(tokens), sentAt: Self.now)
        guard case .grantTokens(_, _, let granted, _, _)? = machine.codeExchanged(call.id, report, now: Self.now).first
        else {
            Issue.record("no tokens")
            return
        }
        // Not what the grant has set itself.
        #expect(
            granted.captured
                == ["api_domain": "www.zohoapis.eu", "accounts_server": "accounts.zoho.eu", "location": "eu"])
    }

    @Test func `a provider without captures has none pending`() throws {
        #expect(try ConsentTests.start().get().pending.capture == nil)
    }

    @Test(arguments: [
        ("\"captures\"", "\"x\""), ("\"accounts.zoho.eu\"", "\"a b\""), ("\"accounts.zoho.eu\"", "1"),
        ("\"provider\":{", "\"x\":{"), ("accounts-server host", "accounts-server nonsense"),
        ("https://{accounts_server}/oauth/v2/token", "https://{"), ("\"grant\":{", "\"x\":{"),
    ])
    func `a damaged payload is no consent`(piece: String, damage: String) throws {
        let text = String(decoding: try Self.start().pending.encoded(), as: UTF8.self)
        #expect(text.contains(piece))
        #expect(PendingConsent(payload: Array(text.replacing(piece, with: damage).utf8)) == nil)
    }

    @Test func `parameters are renamed and left out, but never those that protect the flow`() throws {
        let start = try Self.start { grant, provider in
            grant.scopes = ["openid", "x"]
            provider.pkce = .s256
            provider.omittedAuthorizeParameters = ["response_type", "scope", "state", "code_challenge", "nonce"]
            provider.renamedParameters = [
                "client_id": "client_key", "token.redirect_uri": "no", "authorize.redirect_uri": "callback",
                "state": "s", "code_challenge": "x", "prompt": "state",
            ]
            provider.authorizeParameters = [.init("prompt", "consent")]
        }
        let query = start.url.split(separator: "?", maxSplits: 1)[1]
        let names = (FormEncoding.decode(query) ?? []).map(\.name)
        #expect(
            Set(names) == ["client_key", "callback", "state", "code_challenge", "code_challenge_method", "nonce"]
                && names.count == 6)
        #expect(start.state.count == 43)
    }

    @Test func `a template that nothing gives a value stops the consent with the name`() throws {
        var provider = GrantDriver.provider
        Self.zoho(&provider)
        provider.variables = [:]
        var machine = ProviderMachine(settings: provider)
        let actions = machine.endpointsNeeded(CallID(owner: .consent(1), number: 1), now: Self.now)
        guard case .endpointsUnavailable(_, let problem)? = actions.first else {
            Issue.record("endpoints without a value")
            return
        }
        #expect(problem.code == "unresolved_variable" && problem.detail.contains("{accounts_server}"))
        #expect(machine.endpoints == nil)
    }
}
