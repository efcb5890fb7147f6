import Testing

@testable import OAuth

struct QuirkRequestTests {
    private func settings(_ configure: (inout ProviderSettings) -> Void) -> ProviderSettings {
        var settings = GrantDriver.provider
        settings.clientAuthentication = .post
        configure(&settings)
        return settings
    }

    private func sent(
        _ call: TokenCall, _ configure: (inout ProviderSettings) -> Void = { _ in }
    ) throws -> ProviderRequest {
        var provider = ScriptedProvider(settings(configure))
        _ = provider.tokens(call)
        return try #require(provider.requests.first)
    }

    @Test(arguments: [
        (ClientAuthentication.bearerSecret, "Bearer s3cret"), (.secretAsUser, "Basic czNjcmV0Og=="),
    ])
    func `the secret alone authenticates the client`(method: ClientAuthentication, field: String) throws {
        let request = try sent(ScriptedProvider.refresh()) { $0.clientAuthentication = method }
        #expect(request.field("authorization") == field)
        #expect(request.formTexts == ["grant_type=refresh_token", "refresh_token=r"])
    }

    @Test func `parameters have the provider's names, narrower rules first`() throws {
        let rename: (inout ProviderSettings) -> Void = {
            $0.renamedParameters = [
                "client_id": "client_key", "token.client_secret": "secret",
                "refresh.refresh_token": "fb_exchange_token",
                "code.code": "auth_code", "authorize.client_secret": "no", "grant_type": "state",
            ]
        }
        // Nothing may take the name of what protects the flow.
        #expect(
            try sent(ScriptedProvider.refresh(), rename).formTexts
                == ["client_key=client", "fb_exchange_token=r", "secret=s3cret"])
        #expect(
            try sent(ScriptedProvider.code(), rename).formTexts
                == [
                    "auth_code=the-code", "client_key=client", "redirect_uri=https://gw.example/cb", "secret=s3cret",
                ])
    }

    @Test func `a renamed parameter goes out once`() throws {
        let request = try sent(ScriptedProvider.refresh()) {
            $0.renamedParameters = ["client_id": "app"]
            $0.tokenParameters = [.init("app", "other")]
        }
        #expect(request.formTexts.filter { $0.hasPrefix("app=") }.count == 1)
    }

    @Test func `a provider that knows only queries gets a GET whose description has none`() throws {
        let request = try sent(ScriptedProvider.refresh("long lived")) {
            $0.tokenBody = .query
            $0.refreshGrantType = "fb_exchange_token"
            $0.renamedParameters = ["refresh.refresh_token": "fb_exchange_token"]
            $0.tokenEndpoint = ProviderURL("https://graph.example/oauth?v=1")
        }
        #expect(request.method == .get && request.body.isEmpty)
        #expect(
            request.url.query
                == "v=1&grant_type=fb_exchange_token&fb_exchange_token=long+lived&client_id=client&client_secret=s3cret"
        )
        for text in [request.description, request.debugDescription, String(reflecting: request)] {
            #expect(!text.contains("s3cret") && !text.contains("lived"))
        }
    }

    @Test func `what is too long for a query goes as a form`() throws {
        let request = try sent(ScriptedProvider.refresh(String(repeating: "r", count: 9000))) { $0.tokenBody = .query }
        #expect(request.method == .post && request.url.query == nil && request.body.count > 9000)
    }

    // MARK: Templates

    private func templated(_ settings: inout ProviderSettings) {
        settings.tokenEndpoint = nil
        settings.authorizationEndpoint = nil
        settings.authorizationEndpointTemplate = URLTemplate("https://{shop}.myshopify.com/authorize")
        settings.tokenEndpointTemplate = URLTemplate("https://{shop}.myshopify.com/token")
    }

    @Test func `a refresh goes to the grant's own endpoint`() throws {
        let call = ScriptedProvider.refresh(variables: ["shop": "acme"])
        #expect(try sent(call) { templated(&$0) }.url.description == "https://acme.myshopify.com/token")
        let refreshed = try sent(call) {
            templated(&$0)
            $0.refreshEndpointTemplate = URLTemplate("https://{shop}.myshopify.com/refresh")
        }
        #expect(refreshed.url.path == "/refresh")
    }

    @Test(arguments: [
        ([:], "unresolved_variable"), (["shop": "evil.example/"], "bad_variable"), (["shop": "a@b"], "bad_variable"),
    ])
    func `without an endpoint nothing is sent and the configuration is blamed`(
        variables: [String: String], code: String
    ) throws {
        var provider = ScriptedProvider(settings { templated(&$0) })
        let result = try ended(provider.tokens(ScriptedProvider.refresh(variables: variables)))
        guard case .failure(let problem) = result else {
            Issue.record("tokens without an endpoint")
            return
        }
        #expect(problem.code == code && problem.errorClass == .configuration && provider.requests.isEmpty)
        #expect(problem.label == code)
    }

    @Test func `plain http is for loopback alone, whatever a template says`() throws {
        for (host, isSent) in [("as.example", false), ("127.0.0.1", true)] {
            var provider = ScriptedProvider(
                settings {
                    $0.allowPlaintextOnLoopback = true
                    $0.allowedHosts = [HostPattern(host)!]
                    $0.tokenEndpointTemplate = URLTemplate("http://{h}/t")
                })
            _ = provider.tokens(ScriptedProvider.refresh(variables: ["h": host]))
            #expect(provider.requests.isEmpty != isSent)
        }
    }

    @Test func `templates live beside metadata`() throws {
        var settings = ProviderSettings(name: "p", clientID: "c")
        settings.issuer = "https://as.example"
        settings.refreshEndpointTemplate = URLTemplate("https://{shop}.myshopify.com/refresh")
        let metadata =
            #"{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a","token_endpoint":"https://as.example/t"}"#
        var provider = ScriptedProvider(settings, ScriptedProvider.reply(metadata))
        _ = provider.tokens(ScriptedProvider.refresh(variables: ["shop": "acme"]))
        #expect(provider.requests.map(\.url.host) == ["as.example", "acme.myshopify.com"])
    }

    // MARK: Upstream

    @Test func `further header fields come from captured values`() throws {
        let settings = settings {
            $0.variables = ["version": "2025-09-03"]
            $0.extraHeaders = [
                ("xero-tenant-id", "{tenant_id}"), ("Notion-Version", "{version}"), ("X-Two", "{tenant_id}/{version}"),
                ("Authorization", "x"), ("HOST", "x"), ("Content-Length", "1"), ("Transfer-Encoding", "x"),
            ].compactMap { NamedTemplate($0, $1) }
        }
        #expect(
            settings.expandedExtraHeaders(["tenant_id": "t1"]) == [
                HeaderField("xero-tenant-id", "t1"), HeaderField("Notion-Version", "2025-09-03"),
                HeaderField("X-Two", "t1/2025-09-03"),
            ])
        #expect(settings.expandedExtraHeaders([:]) == [HeaderField("Notion-Version", "2025-09-03")])
        #expect(settings.extraHeadersLeftOut([:]) == ["xero-tenant-id", "X-Two"])
        #expect(settings.extraHeadersLeftOut(["tenant_id": "t"]).isEmpty)
    }

    @Test(arguments: ["a\r\nX-Evil: 1", "a\n", "\u{0}", "ü", " a", "a ", String(repeating: "a", count: 9000)])
    func `no value breaks out of a header field`(value: String) {
        let settings = settings { $0.extraHeaders = [NamedTemplate("X", "{v}")!] }
        #expect(settings.expandedExtraHeaders(["v": value]).isEmpty)
        #expect(settings.extraHeadersLeftOut(["v": value]) == ["X"])
    }

    @Test func `what can heal a latched grant changes the fingerprint`() {
        let plain = settings { _ in }.fingerprint
        let changes: [(inout ProviderSettings) -> Void] = [
            { $0.tokenEndpointTemplate = URLTemplate("https://{h}/t") },
            { $0.allowedHosts = [HostPattern("a.example")!] },
            { $0.variables = ["a": "b"] }, { $0.renamedParameters = ["a": "b"] }, { $0.refreshGrantType = "x" },
            { $0.refreshWith = .accessToken }, { $0.certificateMark = "another" },
            { $0.replyCaptures = [Capture(name: "a", source: "b")] },
        ]
        for change in changes { #expect(settings(change).fingerprint != plain) }
    }
}
