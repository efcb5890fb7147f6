import Testing

@testable import OAuth

/// One style for each way in which the vendors' documentation says that tokens end.
struct RevocationStyleTests {
    static func settings(_ configure: (inout ProviderSettings) -> Void) -> ProviderSettings {
        var settings = GrantDriver.provider
        settings.revocationEndpoint = nil
        configure(&settings)
        return settings
    }

    static func style(
        _ url: String, _ configure: (inout RevocationStyle) -> Void
    ) -> (inout ProviderSettings) -> Void {
        var style = RevocationStyle()
        style.url = URLTemplate(url)
        style.sendsHint = false
        configure(&style)
        return { $0.revocation = style }
    }

    static let github = settings(
        style("https://api.github.com/applications/{client_id}/grant") {
            $0.method = .delete
            $0.body = .json
            $0.tokenParameter = "access_token"
            $0.order = .accessToken
            $0.invalidStatuses = [404]
            $0.headers = [NamedTemplate("accept", "application/vnd.github+json")!]
        })
    static let slack = settings(
        style("https://slack.com/api/auth.revoke") {
            $0.authentication = .token
            $0.body = .none
            $0.order = .accessToken
            $0.invalidCodes = ["invalid_auth"]
        })
    static let google = settings(
        style("https://oauth2.googleapis.com/revoke") {
            $0.authentication = .none
            $0.order = .refreshToken
        })
    static let hubspot = settings(
        style("https://api.hubapi.com/oauth/v1/refresh-tokens/{token}") {
            $0.method = .delete
            $0.authentication = .none
            $0.body = .none
            $0.order = .refreshToken
            $0.invalidStatuses = [404]
        })
    static let stripe = settings {
        style("https://connect.stripe.com/oauth/deauthorize") {
            $0.tokenParameter = ""
            $0.order = .accessToken
            $0.parameters = [
                NamedTemplate("client_id", "{client_id}")!, NamedTemplate("stripe_user_id", "{stripe_user_id}")!,
            ]
        }(&$0)
        $0.clientAuthentication = .secretAsUser
    }
    static let salesforce = settings {
        style("https://{instance_url}/services/oauth2/revoke") { $0.authentication = .none }(&$0)
        $0.allowedHosts = [HostPattern("*.my.salesforce.com")!]
    }
    static let dropbox = settings(
        style("https://api.dropboxapi.com/2/auth/token/revoke") {
            $0.authentication = .token
            $0.body = .none
            $0.order = .accessToken
            $0.invalidStatuses = [401]
        })
    static let entra = settings { $0.revocation.isSupported = false }

    private func sent(_ settings: ProviderSettings, _ call: RevocationCall) throws -> ProviderRequest {
        var provider = ScriptedProvider(settings)
        _ = provider.revoke(call)
        return try #require(provider.requests.first)
    }

    // MARK: Requests

    @Test func `GitHub deletes the grant with Basic and the token in JSON`() throws {
        let request = try sent(Self.github, ScriptedProvider.revocation(.accessToken))
        #expect(request.method == .delete)
        #expect(request.url.description == "https://api.github.com/applications/client/grant")
        #expect(request.field("authorization") == "Basic " + Crypto.base64(Array("client:s3cret".utf8)))
        #expect(request.field("content-type") == "application/json")
        #expect(request.field("accept") == "application/vnd.github+json")
        #expect(request.text == #"{"access_token":"the-access"}"#)
    }

    @Test(arguments: [("slack.com", slack), ("api.dropboxapi.com", dropbox)])
    func `a token that revokes itself is the bearer, and nothing is in the body`(
        host: String, settings: ProviderSettings
    ) throws {
        let request = try sent(settings, ScriptedProvider.revocation(.accessToken))
        #expect(request.method == .post && request.url.host == host && request.body.isEmpty)
        #expect(request.field("authorization") == "Bearer the-access" && request.field("content-type") == nil)
    }

    @Test func `Google gets the token and no client`() throws {
        let request = try sent(Self.google, ScriptedProvider.revocation(.refreshToken))
        #expect(request.formTexts == ["token=the-refresh"] && request.field("authorization") == nil)
    }

    @Test func `a token in a path is never shown`() throws {
        let request = try sent(Self.hubspot, ScriptedProvider.revocation(.refreshToken))
        #expect(request.method == .delete && request.body.isEmpty && request.field("authorization") == nil)
        #expect(request.url.path == "/oauth/v1/refresh-tokens/the-refresh")
        for text in [request.description, request.debugDescription, String(reflecting: request), "\(request)"] {
            #expect(text == "revocation: DELETE https://api.hubapi.com/oauth/v1/refresh-tokens/redacted")
        }
    }

    @Test func `a token with structure stays one segment of the path`() throws {
        var call = ScriptedProvider.revocation(.refreshToken)
        call.token = Secret("a/../b?c#d e")
        #expect(
            try sent(Self.hubspot, call).url.path == "/oauth/v1/refresh-tokens/a%2F..%2Fb%3Fc%23d%20e")
    }

    @Test func `Stripe gets the captured account and not the token`() throws {
        let call = ScriptedProvider.revocation(.accessToken, variables: ["stripe_user_id": "acct_1"])
        let request = try sent(Self.stripe, call)
        #expect(request.formTexts == ["client_id=client", "stripe_user_id=acct_1"])
        #expect(request.field("authorization") == "Basic czNjcmV0Og==")
    }

    @Test func `Salesforce is asked at the instance that was captured, and only at a listed one`() throws {
        let good = ScriptedProvider.revocation(.refreshToken, variables: ["instance_url": "acme.my.salesforce.com"])
        #expect(try sent(Self.salesforce, good).url.host == "acme.my.salesforce.com")
        for (host, code) in [
            ("evil.example", "host_not_allowed"), ("a@b", "bad_variable"), (nil, "unresolved_variable"),
        ] {
            var provider = ScriptedProvider(Self.salesforce)
            let variables = host.map { ["instance_url": $0] } ?? [:]
            guard
                case .failed(let problem)? = provider.revoke(
                    ScriptedProvider.revocation(.refreshToken, variables: variables))
            else {
                Issue.record("not refused")
                continue
            }
            #expect(problem.code == code && provider.requests.isEmpty)
        }
    }

    @Test func `no capture stands for the token or the client`() throws {
        let variables = ["token": "evil", "client_id": "evil", "stripe_user_id": "acct_1"]
        #expect(
            try sent(Self.hubspot, ScriptedProvider.revocation(.refreshToken, variables: variables)).url.path
                .hasSuffix("/the-refresh"))
        #expect(
            try sent(Self.stripe, ScriptedProvider.revocation(.accessToken, variables: variables)).formTexts
                .contains("client_id=client"))
    }

    @Test func `the secret is never put into a query`() throws {
        let settings = Self.settings {
            Self.style("https://as.example/revoke?x=1") {
                $0.method = .get
                $0.body = .query
            }(&$0)
            $0.clientAuthentication = .post
        }
        let request = try sent(settings, ScriptedProvider.revocation(.refreshToken))
        #expect(request.url.query == "x=1&token=the-refresh&client_id=client")
        #expect(!request.description.contains("the-refresh"))
    }

    @Test func `an extra parameter never takes the token's place`() throws {
        let settings = Self.settings {
            $0.revocationEndpoint = ProviderURL("https://as.example/r")
            $0.revocationParameters = [.init("token", "evil"), .init("reason", "x")]
        }
        #expect(
            try sent(settings, ScriptedProvider.revocation(.refreshToken)).formTexts
                == ["reason=x", "token=the-refresh", "token_type_hint=refresh_token"])
    }

    // MARK: Order

    @Test(arguments: [
        (github, RevocationCall.Hint.refreshToken, RevocationCallResult.notNeeded),
        (slack, .refreshToken, .notNeeded), (google, .accessToken, .notSupported),
        (hubspot, .accessToken, .notSupported),
        (entra, .refreshToken, .notSupported), (entra, .accessToken, .notSupported),
    ])
    func `the token that a provider does not take is not sent`(
        settings: ProviderSettings, hint: RevocationCall.Hint, result: RevocationCallResult
    ) {
        var provider = ScriptedProvider(settings)
        #expect(provider.revoke(ScriptedProvider.revocation(hint)) == result)
        #expect(provider.requests.isEmpty)
    }

    // MARK: Replies

    @Test(arguments: [
        (github, 204, "", RevocationCallResult.revoked), (github, 404, #"{"message":"Not Found"}"#, .alreadyInvalid),
        (slack, 200, #"{"ok":true,"revoked":true}"#, .revoked),
        (slack, 200, #"{"ok":false,"error":"token_revoked"}"#, .alreadyInvalid),
        (slack, 200, #"{"ok":false,"error":"invalid_auth"}"#, .alreadyInvalid),
        (dropbox, 200, "null", .revoked),
        (dropbox, 401, #"{"error_summary":"x","error":{".tag":"invalid_access_token"}}"#, .alreadyInvalid),
        (stripe, 200, #"{"stripe_user_id":"acct_1"}"#, .revoked),
    ])
    func `a reply to an access token's revocation has its meaning`(
        settings: ProviderSettings, status: Int, body: String, result: RevocationCallResult
    ) {
        var provider = ScriptedProvider(settings, ScriptedProvider.reply(body, status: status))
        let call = ScriptedProvider.revocation(.accessToken, variables: ["stripe_user_id": "acct_1"])
        #expect(provider.revoke(call) == result)
    }

    @Test(arguments: [
        (google, 200, "{}", RevocationCallResult.revoked),
        (google, 400, #"{"error":"invalid_token"}"#, .alreadyInvalid),
        (hubspot, 204, "", .revoked), (hubspot, 404, "", .alreadyInvalid),
        (salesforce, 200, "", .revoked), (salesforce, 400, #"{"error":"invalid_token"}"#, .alreadyInvalid),
    ])
    func `a reply to a refresh token's revocation has its meaning`(
        settings: ProviderSettings, status: Int, body: String, result: RevocationCallResult
    ) {
        var provider = ScriptedProvider(settings, ScriptedProvider.reply(body, status: status))
        let call = ScriptedProvider.revocation(.refreshToken, variables: ["instance_url": "acme.my.salesforce.com"])
        #expect(provider.revoke(call) == result)
    }

    @Test(arguments: [
        (422, #"{"message":"Validation Failed"}"#), (403, ""), (429, ""), (500, ""),
        (503, #"{"error":"invalid_token"}"#),
        (200, #"{"error":"ratelimited"}"#),
    ])
    func `what did not happen is a failure, to be tried again`(status: Int, body: String) {
        var provider = ScriptedProvider(Self.github, ScriptedProvider.reply(body, status: status))
        guard case .failed? = provider.revoke(ScriptedProvider.revocation(.accessToken)) else {
            Issue.record("not a failure")
            return
        }
    }

    @Test func `what a style calls done is done, but nothing that a server fails with`() {
        let settings = Self.settings(
            Self.style("https://as.example/r") {
                $0.doneStatuses = [410, 500]
                $0.doneCodes = ["gone"]
                $0.invalidCodes = ["dead"]
            })
        for (status, body, result) in [
            (410, "", RevocationCallResult.revoked), (400, #"{"error":"gone"}"#, .revoked),
            (400, #"{"error":"dead"}"#, .alreadyInvalid),
        ] {
            var provider = ScriptedProvider(settings, ScriptedProvider.reply(body, status: status))
            #expect(provider.revoke(ScriptedProvider.revocation(.refreshToken)) == result)
        }
        var failing = ScriptedProvider(settings, ScriptedProvider.reply("", status: 500))
        guard case .failed? = failing.revoke(ScriptedProvider.revocation(.refreshToken)) else {
            Issue.record("a 500 is done")
            return
        }
    }
}
