import Testing

@testable import OAuth

/// What must not get from one client or server to another when a reload puts another under the same name.
@Suite struct ConsentOriginTests {
    typealias Change = @Sendable (inout ProviderSettings) -> Void

    /// Of the grant "crm" at the provider "zoho".
    private func pending(_ configure: @escaping (inout ProviderSettings) -> Void = { _ in }) throws -> PendingConsent {
        let start = try ConsentTests.start(configure: { configure(&$1) }).get()
        // As the store gives it back.
        return try #require(PendingConsent(payload: start.pending.encoded()))
    }

    private func settings(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ProviderSettings {
        var settings = GrantDriver.provider
        settings.issuer = "https://as.example"
        configure(&settings)
        return settings
    }

    @Test func `the client is remembered with the state, and an older payload has none`() throws {
        #expect(try pending().clientID == "client")
        var older = try pending()
        older.clientID = nil
        let read = try #require(PendingConsent(payload: older.encoded()))
        #expect(read.clientID == nil)
        #expect(ProviderMachine(settings: settings()).isOrigin(of: read))
    }

    @Test(
        arguments: [
            { $0.clientID = "another" }, { $0.issuer = "https://other.example" }, { $0.issuer = nil },
            { $0.tokenEndpoint = ProviderURL("https://as.example/token2") },
            { $0.tokenEndpoint = ProviderURL("https://other.example/token") },
            { $0.tokenEndpointTemplate = URLTemplate("https://as.example/{tenant}/token") }, { $0.name = "other" },
        ] as [Change])
    func `a consent is not of a provider whose client or server is another now`(change: Change) throws {
        #expect(!ProviderMachine(settings: settings(change)).isOrigin(of: try pending()))
    }

    @Test(
        arguments: [
            { _ in }, { $0.clientSecrets = [Secret("new")] }, { $0.refreshSkew = 1 },
            { $0.authorizationEndpoint = ProviderURL("https://as.example/authorize2") },
            { $0.clientAuthentication = .post }, { $0.revocationEndpoint = nil },
        ] as [Change])
    func `a consent outlives a reload that changes neither`(change: Change) throws {
        #expect(ProviderMachine(settings: settings(change)).isOrigin(of: try pending()))
    }

    @Test func `what an issuer's metadata says may change, and what a template makes of the grant's values may not`()
        throws
    {
        let found = try pending()
        #expect(ProviderMachine(settings: settings { $0.tokenEndpoint = nil }).isOrigin(of: found))
        let template: (inout ProviderSettings) -> Void = {
            $0.tokenEndpointTemplate = URLTemplate("https://{dc}.as.example/token")
            $0.tokenEndpoint = ProviderURL("https://eu.as.example/token")
            $0.variables = ["dc": "eu"]
        }
        let european = try pending(template)
        #expect(ProviderMachine(settings: settings(template)).isOrigin(of: european))
        let moved = settings {
            template(&$0)
            $0.variables = ["dc": "us"]
        }
        #expect(!ProviderMachine(settings: moved).isOrigin(of: european))
    }

    @Test func `who began an overruled consent is told so, and no code goes anywhere`() throws {
        let start = try ConsentTests.start().get()
        let state = try #require(
            FormEncoding.decode(String(start.authorizationURL.split(separator: "?")[1]))?.first { $0.name == "state" })
        let query = "code=c&iss=https%3A%2F%2Fas.example&state=\(state.value)"
        var machine = AuthorizationMachine()
        _ = machine.callbackReceived(CallbackID(1), query: query, binding: ConsentTests.binding, now: ConsentTests.now)
        let actions = machine.pendingTaken(
            key: start.key, start.pending, isOverruled: true, now: ConsentTests.now)
        let told = ConsentAction.show(
            CallbackID(1), .exchangeFailed(grant: "crm", ProviderProblem.configurationChanged))
        #expect(actions.last == told)
        #expect(!actions.contains { if case .exchangeCode = $0 { true } else { false } })
        // The second time, too; and nobody else learns of it.
        #expect(
            machine.callbackReceived(
                CallbackID(2), query: query, binding: ConsentTests.binding, now: ConsentTests.now)
                == [.show(CallbackID(2), .exchangeFailed(grant: "crm", ProviderProblem.configurationChanged))])
        var other = AuthorizationMachine()
        _ = other.callbackReceived(
            CallbackID(3), query: query, binding: Secret("another-browser-0123456789"), now: ConsentTests.now)
        #expect(
            other.pendingTaken(key: start.key, start.pending, isOverruled: true, now: ConsentTests.now)
                == [.show(CallbackID(3), .rejected(.wrongBrowser)), .restorePending(key: start.key, start.pending)])
    }

    // MARK: Calls under way

    @Test(
        arguments: [
            { $0.clientID = "another" }, { $0.tokenEndpoint = ProviderURL("https://other.example/token") },
            { $0.issuer = "https://other.example" },
        ] as [Change])
    func `a refused client secret is not tried again at another server, or for another client`(change: Change) {
        var server = ScriptedServer { $0.clientSecrets = [Secret("one"), Secret("two")] }
        server.tokens()
        server.reload(change)
        server.refuseClient()
        #expect(server.requests.count { $0.purpose == .refresh } == 1)
        #expect(server.problem?.code == "invalid_client")
    }

    @Test func `a refused client secret is tried again where only the secrets have changed`() {
        var server = ScriptedServer { $0.clientSecrets = [Secret("one"), Secret("two")] }
        server.tokens()
        server.reload { $0.clientSecrets = [Secret("three")] }
        server.refuseClient()
        #expect(server.requests.count == 2)
        server.reply(200, #"{"access_token":"a","refresh_token":"r2"}"#)
        #expect(server.tokenSet?.refreshToken?.reveal() == "r2")
    }

    @Test(
        arguments: [
            { $0.clientID = "another" }, { $0.issuer = "https://other.example" },
        ] as [Change])
    func `a code that waits for metadata does not meet another client's secret`(change: Change) {
        var server = ScriptedServer {
            $0.issuer = ScriptedServer.issuer
            $0.authorizationEndpoint = nil
            $0.tokenEndpoint = nil
        }
        server.tokens(ScriptedServer.code())
        server.tokens()
        server.reload(change)
        #expect(server.reports.count == 1 && server.problem?.code == "configuration_changed")
        #expect(!server.requests.contains { $0.purpose == .codeExchange })
    }

    // MARK: PKCE

    /// RFC 8414 lets a server leave the member out, which says nothing about PKCE.
    @Test(arguments: [
        "", #","code_challenge_methods_supported":[]"#, #","code_challenge_methods_supported":["plain"]"#,
    ])
    func `S256 is used whatever the metadata says of code challenges`(member: String) throws {
        var server = ScriptedServer {
            $0.issuer = ScriptedServer.issuer
            $0.authorizationEndpoint = nil
            $0.tokenEndpoint = nil
        }
        server.run(server.machine.endpointsNeeded(CallID(owner: .consent(1), number: 1), now: server.now))
        server.reply(
            200,
            #"{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a","token_endpoint":"https://as.example/t"\#(member)}"#
        )
        let endpoints = try #require(server.endpoints.first)
        let request = ConsentRequest(
            grant: GrantSettings(name: "crm", provider: "p", scopes: []), provider: server.machine.settings,
            endpoints: endpoints, redirectURI: "https://gw.example/oauth/callback", binding: ConsentTests.binding)
        let start = try ConsentStart.make(request, randomness: (0..<128).map { UInt8($0) }, now: server.now).get()
        let verifier = try #require(start.pending.verifier)
        #expect(start.authorizationURL.contains("code_challenge_method=S256"))
        #expect(
            start.authorizationURL.contains("code_challenge=" + Crypto.base64URL(Crypto.sha256(verifier.bytes))))
    }

    // MARK: What must not be thrown away

    @Test func `a grant awaits tokens from the sending of its single-use token to the last repetition`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        #expect(!driver.machine.awaitsTokens)
        _ = driver.refresh()
        #expect(driver.machine.awaitsTokens && !driver.machine.isRepeatingCall)
        driver.fail(.transient, "timeout", unknown: true)
        #expect(driver.machine.awaitsTokens && driver.machine.isRepeatingCall)
        driver.succeed("a2", refresh: "r2")
        #expect(!driver.machine.awaitsTokens && !driver.machine.isRepeatingCall)
    }

    @Test func `a refresh token that can be used again, or none, is nothing to wait for`() {
        let driver = GrantDriver(stored: GrantDriver.record()) { $1.rotation = .reusable }
        driver.start()
        _ = driver.refresh()
        #expect(driver.calls.count == 1 && !driver.machine.awaitsTokens)
    }
}
