import OpenSSLKit
import Testing

@testable import Gateway
@testable import OAuth

/// What single providers do that no other does, and what somebody could try with it.
@Suite struct ProfileOddityTests {
    private func script(_ name: String) throws -> ProfileScript { try #require(ProfileScript.all[name]) }

    /// A consent whose code exchange, if there is one, is answered by this.
    private func consent(
        _ name: String, changing: [(String, String)] = [], callback: String? = nil, answer: DocumentedReply? = nil,
        then: [DocumentedStep]? = nil, at url: String? = nil
    ) throws -> ProfileScene {
        let script = try script(name)
        var exchange = script.exchange
        exchange.reply = answer ?? exchange.reply
        exchange.request.url = url ?? exchange.request.url
        let scene = try ProfileScene(name, changing: changing)
        scene.steps = script.metadata + [exchange] + (then ?? script.afterExchange)
        try scene.consent(callback: callback ?? script.callback)
        return scene
    }

    private func isConnected(_ scene: ProfileScene) -> Bool {
        if case .connected? = scene.outcome { scene.steps.isEmpty } else { false }
    }

    private func failure(_ scene: ProfileScene) -> String? {
        if case .exchangeFailed(_, let problem)? = scene.outcome { problem.code } else { nil }
    }

    // MARK: Zoho

    @Test(arguments: [
        "https://accounts.evil.example", "https://accounts.zoho.com.evil.example", "https://zoho.com",
        "https://x@accounts.zoho.eu", "https://accounts.zoho.eu:8443", "http://accounts.zoho.eu",
        "https://accounts.zoho.eu/x", "https://accounts.zoho.eu%2F.evil.example", "127.0.0.1",
    ])
    func `a callback that somebody has edited sends Zoho's code nowhere`(server: String) throws {
        let encoded = FormEncoding.encode(server)
        let scene = try consent("zoho", callback: "&location=eu&accounts-server=\(encoded)")
        #expect(scene.requests.isEmpty && scene.outcome == .rejected(.captureRefused))
        #expect(scene.stored?.tokens == nil)
    }

    @Test func `a callback that names two data centres sends Zoho's code nowhere`() throws {
        let server = "&accounts-server=https%3A%2F%2Faccounts.zoho.eu"
        let scene = try consent("zoho", callback: server + server)
        #expect(scene.requests.isEmpty && scene.outcome == .rejected(.repeatedParameter))
    }

    @Test(
        arguments: ["com", "eu", "in", "com.au", "com.cn", "jp", "sa", "uk"].map {
            ("accounts.zoho.\($0)", "www.zohoapis.\($0)")
        }
            + [("accounts.zohocloud.ca", "www.zohoapis.ca")])
    func `each data centre of Zoho is asked for its own accounts`(server: String, api: String) throws {
        let scene = try consent(
            "zoho", callback: "&location=x&accounts-server=https%3A%2F%2F\(server)",
            answer: .init(
                #"{"access_token":"a1","refresh_token":"r1","api_domain":"https://\#(api)","expires_in":3600}"#),
            at: "https://\(server)/oauth/v2/token")
        #expect(isConnected(scene) && scene.stored?.captured["api_domain"] == api)
    }

    @Test func `without a data centre in the callback Zoho's code goes where the consent was asked for`() throws {
        let scene = try consent("zoho", callback: "", at: "https://accounts.zoho.com/oauth/v2/token")
        #expect(isConnected(scene) && scene.stored?.captured["accounts_server"] == nil)
    }

    @Test func `the operator's data centre stands against the callback's`() throws {
        let scene = try consent(
            "zoho", changing: [("[grant.zoho]", "[grant.zoho]\nvariables.accounts_server = \"accounts.zoho.in\"")],
            at: "https://accounts.zoho.in/oauth/v2/token")
        #expect(isConnected(scene) && scene.stored?.captured["accounts_server"] == nil)
        #expect(scene.start?.authorizationURL.hasPrefix("https://accounts.zoho.in/oauth/v2/auth?") == true)
    }

    @Test func `an API of Zoho's that is none is refused at the consent, and ignored at a refresh`() throws {
        let hostile = DocumentedReply(
            #"{"access_token":"a2","refresh_token":"r1","api_domain":"https://evil.example","expires_in":3600}"#)
        let refused = try consent("zoho", answer: hostile)
        #expect(failure(refused) == "capture_refused" && refused.stored?.tokens == nil)
        let scene = try consent("zoho")
        scene.pass(seconds: 600)
        scene.steps = [try script("zoho").refresh(answering: hostile)]
        #expect(scene.refresh() == .refreshed(generation: 2))
        #expect(scene.published?.captured["api_domain"] == "www.zohoapis.eu")
    }

    @Test func `Zoho's ten tokens in ten minutes are not used up`() throws {
        let scene = try consent("zoho")
        #expect(scene.settings.minimumRefreshInterval == 60_000)
    }

    // MARK: Errors with status 200

    @Test(arguments: [
        ("slack", #"{"ok":false,"error":"invalid_code"}"#, "invalid_code"),
        ("slack-user", #"{"ok":false,"error":"code_already_used"}"#, "code_already_used"),
        (
            "slack-user", #"{"ok":true,"access_token":"bot","token_type":"bot","authed_user":{"id":"U1"}}"#,
            "invalid_reply"
        ),
        ("github", "error=bad_verification_code&error_description=The+code+is+incorrect.", "bad_verification_code"),
        ("github", #"{"error":"redirect_uri_mismatch"}"#, "redirect_uri_mismatch"),
        ("zoho", #"{"error":"invalid_code"}"#, "invalid_code"),
        ("hubspot", #"{"status":"EXPIRED_AUTH_CODE","message":"expired"}"#, "EXPIRED_AUTH_CODE"),
    ])
    func `an error that comes with status 200 connects nothing`(name: String, body: String, code: String) throws {
        let scene = try consent(name, answer: .init(body))
        #expect(failure(scene) == code && scene.stored?.tokens == nil)
    }

    // MARK: Tokens without an end, and with two

    @Test func `an OAuth app of GitHub's has a token without an end, which is revoked all the same`() throws {
        let scene = try consent("github", answer: .init("access_token=a1&scope=repo%2Cgist&token_type=bearer"))
        #expect(isConnected(scene))
        let tokens = try #require(scene.stored?.tokens)
        #expect(tokens.expiresAt == nil && tokens.refreshToken == nil && tokens.scopes == ["repo", "gist"])
        scene.steps = try script("github").revocation
        #expect(scene.revoke() == .revocation(.revoked) && scene.steps.isEmpty)
    }

    @Test func `LinkedIn gives a refresh token to partners only, and the others are told`() throws {
        let scene = try consent("linkedin", answer: .init(#"{"access_token":"a1","expires_in":5184000}"#))
        guard case .connected(_, let report)? = scene.outcome else {
            Issue.record("not connected")
            return
        }
        #expect(report.warnings.count == 1 && report.warnings[0].contains("refresh token"))
    }

    @Test func `a bot of Slack's that does not rotate lives on`() throws {
        let scene = try consent(
            "slack",
            answer: .init(
                #"{"ok":true,"access_token":"a1","token_type":"bot","scope":"chat:write","team":{"id":"T1"}}"#))
        #expect(isConnected(scene) && scene.stored?.tokens?.expiresAt == nil)
    }

    // MARK: What must come

    @Test(arguments: [
        ("salesforce", #"{"access_token":"a1","refresh_token":"r1"}"#, "capture_missing"),
        (
            "salesforce", #"{"access_token":"a1","instance_url":"https://acme.salesforce.com.evil.example"}"#,
            "capture_refused"
        ),
        ("salesforce", #"{"access_token":"a1","instance_url":"http://acme.my.salesforce.com"}"#, "capture_refused"),
        ("pipedrive", #"{"access_token":"a1","api_domain":"https://pipedrive.com.evil.example"}"#, "capture_refused"),
        ("pipedrive", #"{"access_token":"a1"}"#, "capture_missing"),
        ("stripe", #"{"access_token":"a1","token_type":"bearer"}"#, "capture_missing"),
    ])
    func `a reply without what every request needs connects nothing`(name: String, body: String, code: String) throws {
        let scene = try consent(name, answer: .init(body))
        #expect(failure(scene) == code && scene.stored?.tokens == nil)
    }

    @Test(arguments: ["", "&realmId=", "&realmId=1%2F..%2F2", "&realmId=1&realmId=2"])
    func `QuickBooks must say which company it is`(callback: String) throws {
        let scene = try consent("quickbooks", callback: callback)
        guard case .rejected? = scene.outcome else {
            Issue.record("\(String(describing: scene.outcome))")
            return
        }
        #expect(scene.requests.isEmpty)
    }

    @Test(arguments: ["atlassian", "xero"])
    func `a consent for no site at all is refused`(name: String) throws {
        var lookup = try #require(try script(name).afterExchange.first)
        lookup.reply = .init("[]")
        let scene = try consent(name, then: [lookup])
        #expect(failure(scene) == "capture_missing" && scene.stored?.tokens == nil)
    }

    @Test func `the operator's organisation at Xero stands without a look-up`() throws {
        let scene = try consent(
            "xero", changing: [("[grant.xero]", "[grant.xero]\nvariables.tenant_id = \"t-2\"")], then: [])
        #expect(isConnected(scene))
        #expect(scene.published?.extraHeaders == [HeaderField("xero-tenant-id", "t-2")])
    }

    @Test func `the operator's site at Atlassian stands against the look-up`() throws {
        let scene = try consent(
            "atlassian", changing: [("[grant.atlassian]", "[grant.atlassian]\nvariables.cloud_id = \"mine\"")])
        #expect(isConnected(scene) && scene.published?.captured["cloud_id"] == "mine")
    }

    // MARK: Places

    @Test func `a sandbox of Salesforce's is asked at its own host`() throws {
        let own = [("[provider.salesforce]", "[provider.salesforce]\nvariables.login_host = \"test.salesforce.com\"")]
        let scene = try consent("salesforce", changing: own, at: "https://test.salesforce.com/services/oauth2/token")
        #expect(isConnected(scene))
        #expect(
            scene.start?.authorizationURL.hasPrefix("https://test.salesforce.com/services/oauth2/authorize?") == true)
    }

    @Test(arguments: ["evil.example/", "a.evil.example", "shop@evil.example", "-shop", ""])
    func `a shop's name cannot lead away from Shopify`(shop: String) {
        #expect(throws: (any Error).self) {
            try ProfileScene("shopify", changing: [("\"my-shop\"", "\"\(shop)\"")])
        }
    }

    @Test func `a workspace of Notion's that nobody owns is known by its bot`() throws {
        let scene = try consent(
            "notion",
            answer: .init(#"{"access_token":"a1","bot_id":"b-1","owner":{"type":"workspace","workspace":true}}"#))
        #expect(isConnected(scene) && scene.stored?.account == "b-1")
    }

    @Test(arguments: [
        ("github", "https://github.com/login/device/code"),
        ("microsoft", "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/devicecode"),
    ])
    func `a device asks where the provider says`(name: String, url: String) throws {
        #expect(try ProfileScene(name).settings.deviceEndpoint?.description == url)
    }

    // MARK: Accounts

    @Test(arguments: ["dropbox", "google", "hubspot", "keycloak", "notion", "salesforce", "slack-user", "stripe"])
    func `another account does not take the grant over`(name: String) throws {
        let scene = try consent(name)
        let script = try script(name)
        #expect(isConnected(scene) && scene.stored?.account == script.account)
        let account = try #require(script.account)
        var other = script.exchange
        other.reply.body = other.reply.body.replacing(account, with: "9" + account)
        guard !other.reply.body.contains("ID_TOKEN") else { return }
        // The stranger's tokens are revoked where that is possible; nobody waits for it.
        scene.steps = [other] + script.revocation.prefix(1)
        try scene.consent(callback: script.callback)
        guard case .refused(_, .wrongAccount(_, account))? = scene.outcome else {
            Issue.record("\(String(describing: scene.outcome))")
            return
        }
        #expect(scene.stored?.account == account)
    }

    // MARK: A service account

    @Test func `a service account of Google's says in its assertion who wants what`() throws {
        let scene = try ProfileScene("google-service-account")
        scene.steps = [try script("google-service-account").exchange]
        scene.need()
        let body = String(decoding: try #require(scene.requests.first).body, as: UTF8.self)
        let assertion = try #require(FormEncoding.decode(body)?.first { $0.name == "assertion" }?.value)
        let parts = assertion.split(separator: ".").map(String.init)
        #expect(parts.count == 3)
        let header = try #require(JSONValue(Base64.urlDecode(parts[0]) ?? []))
        let claims = try #require(JSONValue(Base64.urlDecode(parts[1]) ?? []))
        #expect(header["alg"]?.text == "RS256" && header["kid"]?.text == "0123456789abcdef")
        #expect(claims["iss"]?.text == "robot@project.iam.gserviceaccount.com")
        #expect(claims["aud"]?.text == "https://oauth2.googleapis.com/token")
        #expect(claims["scope"]?.text == "https://www.googleapis.com/auth/cloud-platform")
        let (from, until) = (try #require(claims["iat"]?.integer), try #require(claims["exp"]?.integer))
        let seconds = scene.now.wall / 1000
        // Google takes an hour at most, and clocks differ.
        #expect((seconds - 60...seconds).contains(from) && until > seconds && until - from <= 3600)
    }
}
