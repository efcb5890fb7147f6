import Testing

@testable import OAuth

struct QuirkReplyTests {
    private func read(
        _ body: String, status: Int = 200, headers: [HeaderField] = [], call: TokenCall = ScriptedProvider.refresh(),
        _ configure: (inout ProviderSettings) -> Void = { _ in }
    ) throws -> Result<TokenSet, ProviderProblem> {
        var settings = GrantDriver.provider
        configure(&settings)
        var provider = ScriptedProvider(settings, ScriptedProvider.reply(body, status: status, headers: headers))
        let result = provider.tokens(call)
        return try #require(result)
    }

    private func problem(_ result: Result<TokenSet, ProviderProblem>) -> ProviderProblem? {
        guard case .failure(let problem) = result else { return nil }
        return problem
    }

    @Test func `a nested user token is read at the consent, the flat one at the refresh`() throws {
        let slack: (inout ProviderSettings) -> Void = {
            $0.paths.accessToken = "authed_user.access_token|access_token"
            $0.paths.refreshToken = "authed_user.refresh_token|refresh_token"
            $0.paths.expiresIn = "authed_user.expires_in|expires_in"
            $0.paths.scope = "authed_user.scope|scope"
            $0.paths.tokenType = "authed_user.token_type|token_type"
            $0.paths.account = "authed_user.id"
            $0.scopeSeparator = ","
            $0.tokenTypes = ["bot", "user"]
            $0.replyCaptures = [Capture(name: "team_id", source: "team.id", kind: .word)]
        }
        let first = try read(
            #"{"ok":true,"team":{"id":"T1"},"authed_user":{"id":"U1","access_token":"xoxe.u","refresh_token":"r1","expires_in":43200,"scope":"a,b","token_type":"user"}}"#,
            call: ScriptedProvider.code(), slack
        ).get()
        #expect(first.accessToken == Secret("xoxe.u") && first.refreshToken == Secret("r1"))
        #expect(first.lifetime == 43_200_000 && first.scopes == ["a", "b"] && first.account == "U1")
        #expect(first.captured == ["team_id": "T1"])
        let next = try read(#"{"ok":true,"access_token":"x2","refresh_token":"r2","token_type":"bot"}"#, slack).get()
        #expect(next.accessToken == Secret("x2") && next.refreshToken == Secret("r2"))
    }

    @Test(
        arguments: [
            ("Bearer", [], true), ("bot", [], false), ("bot", ["bot", "user"], true), ("USER", ["bot", "user"], true),
            ("mac", ["bot"], false), ("N_A", [], false),
        ] as [(String, Set<String>, Bool)])
    func `a token type must be bearer or listed`(type: String, listed: Set<String>, isAccepted: Bool) throws {
        let result = try read(#"{"access_token":"a","token_type":"\#(type)"}"#) { $0.tokenTypes = listed }
        #expect((problem(result) == nil) == isAccepted)
    }

    @Test func `a JWT's exp is the expiry of a reply that says nothing`() throws {
        // exp 1700000100, a hundred seconds after now.
        let body = #"{"access_token":"h.eyJleHAiOjE3MDAwMDAxMDB9.s"}"#
        #expect(try read(body) { $0.paths.expiresAt = "access_token@exp" }.get().lifetime == 100_000)
        #expect(try read(body).get().lifetime == nil)
        let opaque = try read(#"{"access_token":"opaque"}"#) {
            $0.paths.expiresAt = "access_token@exp"
            $0.defaultLifetime = 7000
        }
        #expect(try opaque.get().lifetime == 7000)
    }

    @Test(
        arguments: [
            (#""x_refresh_token_expires_in":8640000,"x_refresh_token_hard_expires_in":157680000"#, 8_640_000_000),
            (#""x_refresh_token_expires_in":8640000,"x_refresh_token_hard_expires_in":3600"#, 3_600_000),
            (#""x_refresh_token_hard_expires_in":"60""#, 60_000), (#""x_refresh_token_hard_expires_in":{}"#, nil),
            (#""refresh_token_expires_in":0"#, nil), (#""other":9"#, nil),
        ] as [(String, Int64?)])
    func `the sooner end of a refresh token counts`(members: String, lifetime: Int64?) throws {
        let body = #"{"access_token":"a",\#(members)}"#
        #expect(try read(body).get().refreshTokenLifetime == .some(lifetime))
    }

    @Test func `a configured end slides or stays`() throws {
        let body = #"{"access_token":"a","refresh_token":"r2"}"#
        let sliding = try read(body) { $0.refreshTokenLifetime = 7000 }.get()
        #expect(sliding.refreshTokenLifetime == 7000 && !sliding.keepsRefreshTokenEnd)
        let fixed: (inout ProviderSettings) -> Void = {
            $0.refreshTokenLifetime = 7000
            $0.refreshTokenEndIsFixed = true
        }
        let refreshed = try read(body, fixed).get()
        #expect(refreshed.refreshTokenLifetime == nil && refreshed.keepsRefreshTokenEnd)
        #expect(try read(body, call: ScriptedProvider.code(), fixed).get().refreshTokenLifetime == 7000)
    }

    @Test func `where the access token is refreshed with itself it takes the refresh token's place`() throws {
        let tokens = try read(#"{"access_token":"long","expires_in":5184000}"#) { $0.refreshWith = .accessToken }.get()
        #expect(tokens.refreshToken == Secret("long") && tokens.refreshTokenLifetime == 5_184_000_000)
    }

    // MARK: Captures

    private func salesforce(_ settings: inout ProviderSettings) {
        settings.replyCaptures = [Capture(name: "instance_url", source: "instance_url", kind: .host, isRequired: true)]
        settings.allowedHosts = [HostPattern("*.my.salesforce.com")!]
    }

    @Test(
        arguments: [
            (#""https://acme.my.salesforce.com""#, "acme.my.salesforce.com", nil),
            (#""https://evil.example""#, nil, "capture_refused"), ("null", nil, "capture_missing"),
            ("7", nil, "capture_refused"), ("{}", nil, "capture_missing"), (#""""#, nil, "capture_missing"),
            (#"["https://acme.my.salesforce.com"]"#, nil, "capture_missing"),
            (#""https://acme.my.salesforce.com\r\n""#, nil, "capture_refused"),
        ] as [(String, String?, String?)])
    func `a consent needs its captures, a refresh never fails for them`(
        value: String, captured: String?, code: String?
    ) throws {
        let body = #"{"access_token":"a","refresh_token":"r2","instance_url":\#(value)}"#
        let consent = try read(body, call: ScriptedProvider.code()) { salesforce(&$0) }
        #expect(problem(consent)?.code == code)
        #expect(problem(consent)?.errorClass == code.map { _ in .configuration })
        let refreshed = try read(body) { salesforce(&$0) }.get()
        #expect(refreshed.refreshToken == Secret("r2") && refreshed.captured["instance_url"] == captured)
    }

    /// Else nobody would learn why calls still go to the old place.
    @Test func `a refresh whose capture is refused is noted, one that lacks it is not`() throws {
        var settings = GrantDriver.provider
        salesforce(&settings)
        for (value, isNoted) in [("https://evil.example", true), ("https://b.my.salesforce.com", false), ("", false)] {
            var provider = ScriptedProvider(
                settings, ScriptedProvider.reply(#"{"access_token":"a","instance_url":"\#(value)"}"#))
            let tokens = try ended(provider.tokens(ScriptedProvider.refresh())).get()
            #expect(tokens.refusedCapture == nil)
            guard isNoted else {
                #expect(provider.facts.isEmpty)
                continue
            }
            guard case .captureRefused(.grant("g"), let problem)? = provider.facts.first else {
                Issue.record("\(provider.facts)")
                continue
            }
            #expect(problem.detail.contains("instance_url") && !problem.detail.contains("evil"))
        }
    }

    @Test func `what the grant has set is not captured at its consent`() throws {
        let body = #"{"access_token":"a","instance_url":"https://other.my.salesforce.com"}"#
        let call = ScriptedProvider.code(variables: ["instance_url": "acme.my.salesforce.com"])
        #expect(try read(body, call: call) { salesforce(&$0) }.get().captured.isEmpty)
        // A refresh brings what is new: an organization that has moved.
        let refresh = ScriptedProvider.refresh(variables: ["instance_url": "acme.my.salesforce.com"])
        #expect(
            try read(body, call: refresh) { salesforce(&$0) }.get().captured
                == ["instance_url": "other.my.salesforce.com"])
    }

    @Test(arguments: ["access_token", "refresh_token", "id_token", "copy", "none|access_token"])
    func `a token is never captured`(source: String) throws {
        let body =
            #"{"access_token":"the-access","refresh_token":"the-refresh","id_token":"h.e.s","copy":"the-access"}"#
        let tokens = try read(body) { $0.replyCaptures = [Capture(name: "x", source: source)] }.get()
        #expect(tokens.captured.isEmpty)
    }

    // MARK: Errors

    @Test(arguments: [
        ("unauthorized_client", 403, ErrorClass.permanent), ("unauthorized_client", 401, .configuration),
        ("unauthorized_client", 400, .configuration), ("other", 403, .transient),
        ("unauthorized_client", 503, .transient),
    ])
    func `an alias may be bound to a status`(code: String, status: Int, errorClass: ErrorClass) throws {
        let result = try read(#"{"error":"\#(code)"}"#, status: status) {
            $0.errorAliases = ["403:unauthorized_client": "invalid_grant"]
        }
        #expect(problem(result)?.errorClass == errorClass && problem(result)?.code == code)
    }

    @Test func `a code may mean success, and an error may stand at one of several places`() throws {
        let configure: (inout ProviderSettings) -> Void = {
            $0.paths.error = "error|code"
            $0.paths.accessToken = "data.access_token"
            $0.errorAliases = ["0": "success"]
        }
        #expect(try read(#"{"code":0,"data":{"access_token":"a"}}"#, configure).get().accessToken == Secret("a"))
        #expect(problem(try read(#"{"code":40105,"data":{}}"#, configure))?.code == "40105")
        #expect(problem(try read(#"{"code":"invalid_grant"}"#, status: 400, configure))?.errorClass == .permanent)
        #expect(problem(try read(#"{"error":{".tag":"invalid_grant"}}"#, status: 401))?.errorClass == .permanent)
    }

    @Test(arguments: [400, 401, 403])
    func `a refresh that is refused without a word has ended the grant`(status: Int) throws {
        let refused = try #require(problem(try read("", status: status)))
        #expect(refused.errorClass == .permanent && refused.status == status && !refused.outcomeUnknown)
        #expect(problem(try read("", status: status) { $0.emptyRefusalEndsGrant = false })?.errorClass == .transient)
        #expect(
            problem(try read("", status: status) { $0.errorAliases = ["\(status)": "temporarily_unavailable"] })?
                .errorClass == .transient)
        // Neither a page nor a body that says nothing, nor a code that is refused.
        let page = [HeaderField("Content-Type", "text/html")]
        #expect(problem(try read("", status: status, headers: page))?.errorClass == .transient)
        for body in ["<html>", " ", "{}", "no"] {
            #expect(problem(try read(body, status: status))?.errorClass == .transient)
        }
        #expect(problem(try read("", status: status, call: ScriptedProvider.code()))?.errorClass == .transient)
    }

    @Test func `where we present a certificate, refusals that may be about it say so`() throws {
        let page = [HeaderField("Content-Type", "text/html")]
        let refusals = [
            (#"{"error":"invalid_client"}"#, 401, [], true), ("<html>", 400, page, true), ("<html>", 403, page, true),
            ("no", 401, [], true),
            ("<html>", 502, page, false), (#"{"error":"invalid_grant"}"#, 400, [], false),
        ]
        for (body, status, headers, isHinted) in refusals {
            let told = try #require(
                problem(try read(body, status: status, headers: headers) { $0.presentsCertificate = true }))
            #expect(told.detail.contains("client_certificate_file") == isHinted)
            let plain = try #require(problem(try read(body, status: status, headers: headers)))
            #expect(!plain.detail.contains("certificate"))
        }
        let failures: [(ProviderFailure, Bool)] = [
            (.tls("alert"), true), (.replyLost(.reset), true), (.replyLost(.closed), true),
            (.replyLost(.timeout), false),
            (.notSent(.refused), false), (.notSent(.reset), true),
        ]
        for (failure, isHinted) in failures {
            var settings = GrantDriver.provider
            settings.presentsCertificate = true
            #expect(
                ProviderProblem(failure, settings: settings).detail.contains("client_certificate_file") == isHinted)
            #expect(!ProviderProblem(failure, settings: GrantDriver.provider).detail.contains("certificate"))
        }
    }

    @Test func `a challenge to the client is not about the grant, and other statuses are transient`() throws {
        let challenge = [HeaderField("WWW-Authenticate", "Basic realm=x")]
        #expect(problem(try read("", status: 401, headers: challenge))?.errorClass == .configuration)
        for status in [404, 405, 408, 409, 429, 500, 502, 503] {
            #expect(problem(try read("", status: status))?.errorClass == .transient)
        }
    }
}
