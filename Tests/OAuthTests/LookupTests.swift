import Testing

@testable import OAuth

struct LookupTests {
    static let tokenReply = ScriptedProvider.reply(#"{"access_token":"fresh","refresh_token":"r"}"#)

    static func atlassian(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ProviderSettings {
        var settings = GrantDriver.provider
        settings.variables = ["api": "api.atlassian.com"]
        settings.lookups = [
            ProviderSettings.Lookup(
                url: URLTemplate("https://{api}/oauth/token/accessible-resources")!,
                captures: [Capture(name: "cloud_id", source: "0.id", kind: .word, isRequired: true)])
        ]
        configure(&settings)
        return settings
    }

    static func userinfo(_ settings: inout ProviderSettings) {
        settings.lookups.append(
            .init(
                url: URLTemplate("https://as.example/me/{cloud_id}")!,
                headers: [NamedTemplate("X-Cloud", "{cloud_id}")!],
                account: "email|sub"))
    }

    private func problem(_ result: Result<TokenSet, ProviderProblem>?) -> ProviderProblem? {
        guard case .failure(let problem)? = result else { return nil }
        return problem
    }

    @Test func `after a consent the tenant and the account are looked up with the fresh token`() throws {
        var provider = ScriptedProvider(
            Self.atlassian { Self.userinfo(&$0) }, Self.tokenReply,
            ScriptedProvider.reply(#"[{"id":"c-1","url":"https://x.atlassian.net"},{"id":"c-2"}]"#),
            ScriptedProvider.reply(#"{"email":"a@b.example","sub":"9"}"#))
        let tokens = try ended(provider.tokens(ScriptedProvider.code())).get()
        #expect(tokens.captured == ["cloud_id": "c-1"] && tokens.account == "a@b.example")
        let lookups = provider.requests.dropFirst()
        #expect(
            lookups.map(\.url.description) == [
                "https://api.atlassian.com/oauth/token/accessible-resources", "https://as.example/me/c-1",
            ])
        for request in lookups {
            #expect(request.method == .get && request.body.isEmpty && request.purpose == .lookup)
            #expect(request.field("authorization") == "Bearer fresh" && request.field("accept") == "application/json")
            #expect(!String(reflecting: request).contains("fresh"))
        }
        #expect(provider.requests.last?.field("x-cloud") == "c-1")
    }

    @Test func `a host that only a pattern allows must be a public one`() throws {
        func requests(_ hosts: [String], _ configure: (inout ProviderSettings) -> Void = { _ in }) -> [ProviderRequest]
        {
            var settings = GrantDriver.provider
            settings.tokenEndpoint = nil
            settings.tokenEndpointTemplate = URLTemplate("https://{accounts}/token")
            settings.allowedHosts = hosts.compactMap { HostPattern($0) }
            settings.lookups = [.init(url: URLTemplate("https://{shop}.myshop.example/me")!, account: "sub")]
            configure(&settings)
            var provider = ScriptedProvider(settings, Self.tokenReply)
            var call = ScriptedProvider.code(variables: ["accounts": "a.accounts.example", "shop": "acme"])
            call.kind = .code(
                Secret("c"), verifier: nil, redirectURI: "https://gw.example/cb",
                tokenEndpoint: ProviderURL("https://a.accounts.example/token")!)
            _ = provider.tokens(call)
            return provider.requests
        }
        #expect(requests(["*.accounts.example"]).map(\.mustBePublic) == [true, true])
        // Written out by the operator, who knows where they are.
        let named = ["a.accounts.example", "acme.myshop.example"]
        #expect(requests(named).map(\.mustBePublic) == [false, false])
        #expect(requests(["*.accounts.example"] + named).map(\.mustBePublic) == [false, false])
        #expect(requests(["*.accounts.example"]) { $0.allowPrivateHosts = true }.map(\.mustBePublic) == [false, false])
        // Nothing of the grant is in these hosts.
        let fixed = requests([]) {
            $0.tokenEndpointTemplate = nil
            $0.tokenEndpoint = ProviderURL("https://as.example/token")
            $0.lookups[0].url = URLTemplate("https://api.example/{shop}")!
        }
        #expect(fixed.map(\.mustBePublic) == [false, false])
    }

    @Test func `a refresh looks nothing up`() throws {
        var provider = ScriptedProvider(Self.atlassian(), Self.tokenReply)
        _ = try ended(provider.tokens(ScriptedProvider.refresh())).get()
        #expect(provider.requests.count == 1)
    }

    @Test func `what the operator has set is not looked up`() throws {
        var provider = ScriptedProvider(Self.atlassian(), Self.tokenReply)
        let tokens = try ended(provider.tokens(ScriptedProvider.code(variables: ["cloud_id": "mine"]))).get()
        #expect(provider.requests.count == 1 && tokens.captured.isEmpty)
    }

    @Test func `the provider's own header carries the token`() throws {
        let settings = Self.atlassian {
            $0.headerName = "X-Token"
            $0.headerScheme = ""
            $0.lookups[0].headers = [NamedTemplate("x-token", "evil")!, NamedTemplate("Host", "evil")!]
        }
        var provider = ScriptedProvider(settings, Self.tokenReply)
        _ = provider.tokens(ScriptedProvider.code())
        #expect(provider.requests.last?.field("x-token") == "fresh")
        #expect(provider.requests.last?.field("host") == nil && provider.requests.last?.field("authorization") == nil)
    }

    @Test(arguments: [
        ProviderOutcome.failure(.replyLost(.timeout)), .failure(.notSent(.refused)), .failure(.tooLarge),
        ScriptedProvider.reply("", status: 503), ScriptedProvider.reply("<html>", status: 500),
    ])
    func `a look-up without an answer is repeated twice, then the consent fails`(outcome: ProviderOutcome) throws {
        let good = ScriptedProvider.reply(#"[{"id":"c-1"}]"#)
        var lucky = ScriptedProvider(Self.atlassian(), Self.tokenReply, outcome, outcome, good)
        #expect(try ended(lucky.tokens(ScriptedProvider.code())).get().captured == ["cloud_id": "c-1"])
        var provider = ScriptedProvider(Self.atlassian(), Self.tokenReply, outcome, outcome, outcome, good)
        let failed = problem(provider.tokens(ScriptedProvider.code()))
        #expect(failed?.code == "lookup_failed" && failed?.errorClass == .transient && provider.requests.count == 4)
    }

    @Test(arguments: [
        ("[]", 200, "capture_missing"), ("{}", 200, "capture_missing"), (#"[{"id":{}}]"#, 200, "capture_missing"),
        (#"[{"id":"a\r\nb"}]"#, 200, "capture_refused"), (#"[{"id":"a/../b"}]"#, 200, "capture_refused"),
        (#"[{"id":null}]"#, 200, "capture_missing"), ("", 200, "lookup_failed"), ("null", 200, "capture_missing"),
        ("<html>", 200, "lookup_failed"), (#"[{"id":"c"}]"#, 201, "lookup_failed"),
        (#"[{"id":"c"}]"#, 401, "lookup_failed"),
        (#"[{"id":"c"}]"#, 302, "lookup_failed"), (String(repeating: "[", count: 100_000), 200, "lookup_failed"),
    ])
    func `an answer that is not as it must be fails the consent at once`(body: String, status: Int, code: String) throws
    {
        var provider = ScriptedProvider(Self.atlassian(), Self.tokenReply, ScriptedProvider.reply(body, status: status))
        let failed = problem(provider.tokens(ScriptedProvider.code()))
        #expect(failed?.code == code && provider.requests.count == 2)
        #expect(failed?.detail.contains("fresh") == false)
    }

    @Test func `a look-up that nobody requires may fail`() throws {
        let settings = Self.atlassian { $0.lookups[0].captures[0].isRequired = false }
        var provider = ScriptedProvider(settings, Self.tokenReply, ScriptedProvider.reply("no", status: 403))
        #expect(try ended(provider.tokens(ScriptedProvider.code())).get().captured.isEmpty)
    }

    @Test func `the fresh token goes to listed hosts only`() throws {
        let settings = Self.atlassian {
            $0.replyCaptures = [Capture(name: "api", source: "api", kind: .text)]
            $0.allowedHosts = [HostPattern("*.atlassian.com")!]
        }
        for (host, count) in [("evil.example", 1), ("x@evil.example", 1), ("eu.atlassian.com", 2)] {
            let reply = ScriptedProvider.reply(#"{"access_token":"fresh","api":"\#(host)"}"#)
            var provider = ScriptedProvider(settings, reply)
            let failed = problem(provider.tokens(ScriptedProvider.code()))
            #expect(provider.requests.count == count)
            #expect((failed != nil) == (count == 1))
        }
    }

    @Test func `the account of the token reply goes before the looked-up one`() throws {
        let settings = Self.atlassian {
            $0.paths.account = "user"
            Self.userinfo(&$0)
        }
        var provider = ScriptedProvider(
            settings, ScriptedProvider.reply(#"{"access_token":"fresh","user":"u1"}"#),
            ScriptedProvider.reply(#"[{"id":"c-1"}]"#))
        #expect(try ended(provider.tokens(ScriptedProvider.code())).get().account == "u1")
    }
}
