import Telemetry
import Testing

@testable import Console

@Suite struct PageTests {
    static let hostile = "<img src=x onerror=alert(1)>\"'&"

    @Test(arguments: [
        (GrantStateLabel.notConnected, "Not connected", ["Authorize"]),
        (.active, "Connected", ["Authorize again", "Refresh", "Revoke …"]),
        (.refreshing, "Refreshing", ["Authorize again", "Refresh", "Revoke …"]),
        (.reauthorizationRequired, "Consent needed", ["Authorize again", "Refresh", "Revoke …"]),
        (.configurationError, "Configuration error", ["Authorize again", "Refresh", "Revoke …"]),
        (.revoked, "Revoked", ["Authorize"]),
    ])
    func `a state has its word, its meaning and its buttons`(
        state: GrantStateLabel, word: String, buttons: [String]
    ) throws {
        let harness = Harness()
        let page = try #require(
            harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: [sampleGrant(state: state)])))?
                .response)
        #expect(page.status == 200)
        #expect(page.text.contains(">\(word)</span>"))
        let shown = page.text.split(separator: "class=\"button").dropFirst().filter { !$0.hasPrefix("s\"") }.map {
            part in
            String(part.drop { $0 != ">" }.dropFirst().prefix { $0 != "<" })
        }
        #expect(shown == buttons)
    }

    @Test func `times are absolute in UTC and relative`() throws {
        let harness = Harness()
        let page = try #require(harness.perform("GET", "/grants/crm", outcome: .grant(sampleGrant()))?.response)
        #expect(
            page.text.contains(
                "<time datetime=\"2026-11-22T15:44:23Z\">2026-11-22 15:44:23 UTC</time> <small>in 55 min</small>"))
        #expect(page.text.contains("<small>in 57 d</small>"))
        #expect(page.text.contains("<small>5 min ago</small>"))
        #expect(page.text.contains("crm, crm-bulk"))
    }

    @Test func `a grant from a file has no buttons and no link`() throws {
        let harness = Harness()
        let grant = sampleGrant("billing", provider: nil)
        let page = try #require(harness.perform("GET", "/grants/billing", outcome: .grant(grant))?.response)
        #expect(!page.text.contains("class=\"button"))
        let view = harness.perform("GET", "/api/v1/grants/billing", outcome: .grant(grant))?.response
        #expect(view?.text.contains("authorize_url") == false)
    }

    @Test(arguments: [GrantStateLabel.notConnected, .active, .reauthorizationRequired, .revoked])
    func `a grant that no person consents to is refreshed, not authorized`(_ state: GrantStateLabel) throws {
        let harness = Harness()
        var grant = sampleGrant("machine")
        grant.state = state
        let attended = try #require(harness.perform("GET", "/grants/machine", outcome: .grant(grant))?.response)
        grant.unattended = true
        let page = try #require(harness.perform("GET", "/grants/machine", outcome: .grant(grant))?.response)
        #expect(attended.text.contains("/authorize/machine") && !page.text.contains("/authorize/machine"))
        #expect(!page.text.contains("onsented") && !page.text.contains("Authorize"))
        #expect(page.text.contains("/grants/machine/refresh"))
        let view = try #require(harness.perform("GET", "/api/v1/grants/machine", outcome: .grant(grant))?.response)
        #expect(view.text.contains("\"unattended\":true") && !view.text.contains("authorize_url"))
        #expect(try ConsoleJSON.decode(GrantView.self, from: view.body) == grant)
    }

    @Test func `no text from outside becomes markup, on any page`() throws {
        let harness = Harness()
        let error = GrantView.LastError(errorClass: Self.hostile, reason: Self.hostile)
        var grant = sampleGrant(Self.hostile, provider: Self.hostile, lastError: error)
        grant.scopes = [Self.hostile]
        grant.missingScopes = [Self.hostile]
        grant.routes = [Self.hostile]
        grant.lastConsent = .init(outcome: Self.hostile, reason: Self.hostile, at: harness.now)
        let name = Encodings.percentEncoded(Self.hostile)
        let token = harness.formToken(at: "/grants/crm/revoke")
        let outcomes: [(String, String, ConsoleOutcome)] = [
            ("GET", "/", .status(sampleStatus([grant]))), ("GET", "/grants", .grants(GrantsReply(grants: [grant]))),
            ("GET", "/grants/\(name)", .grant(grant)),
            ("GET", "/grants/\(name)", .failed(ConsoleFailure(.unknownGrant, detail: Self.hostile))),
            (
                "GET", "/oauth/callback?error=x",
                .consentFailed(ConsentFailure(.denied, grant: Self.hostile, detail: Self.hostile))
            ),
            ("GET", "/oauth/callback?code=x", .connected(ConsentSuccess(grant: Self.hostile))),
            ("POST", "/grants/\(name)/refresh", .refreshed(grant)),
            ("POST", "/grants/\(name)/revoke", .revoked(grant, .revoked)),
            ("POST", "/grants/\(name)/forget", .forgotten),
        ]
        for (method, target, outcome) in outcomes {
            let response = try #require(
                harness.perform(method, target, fields: [Harness.form], body: "form_token=\(token)", outcome: outcome)?
                    .response)
            #expect(!response.text.contains("<img"), "\(target)")
            #expect(response.text.contains("&lt;img") || response.text.contains("%3Cimg"), "\(target)")
        }
        for target in ["/grants/\(name)/revoke", "/grants/\(name)/forget"] {
            #expect(harness.respond("GET", target)?.text.contains("<img") == false)
        }
        let asked = harness.respond("GET", "/authorize/\(name)", fields: [("Sec-Fetch-Site", "cross-site")])
        #expect(asked?.text.contains("<img") == false)
    }

    @Test func `tags are balanced on every page`() throws {
        let harness = Harness(withSecret: true)
        var pages = [try #require(harness.respond("GET", "/sign-in"))]
        harness.signIn()
        let grants = GrantStateLabel.allCases.map { sampleGrant("g-\($0.rawValue)", state: $0) }
        pages.append(
            try #require(
                harness.perform("GET", "/", outcome: .status(sampleStatus(grants, reloaded: false, draining: true)))?
                    .response))
        pages.append(
            try #require(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: [])))?.response))
        pages.append(try #require(harness.perform("GET", "/grants/x", outcome: .grant(grants[1]))?.response))
        pages.append(try #require(harness.respond("GET", "/grants/x/revoke")))
        pages.append(
            try #require(
                harness.perform(
                    "GET", "/oauth/callback?x=1",
                    outcome: .connected(ConsentSuccess(grant: "x", notes: [.scopesDiffer])))?
                    .response))
        pages.append(
            try #require(
                harness.perform("GET", "/oauth/callback?x=1", outcome: .consentFailed(ConsentFailure(.malformed)))?
                    .response))
        for page in pages { #expect(Self.unbalanced(page.text) == []) }
    }

    /// A small reader of tags: every one that is opened is closed in order.
    private static func unbalanced(_ text: String) -> [String] {
        let void: Set<String> = ["meta", "link", "input", "!doctype"]
        var open: [String] = []
        for part in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
            let name = part.prefix { $0 != " " && $0 != ">" && $0 != "\n" }.lowercased()
            if name.hasPrefix("/") {
                guard open.popLast() == String(name.dropFirst()) else { return [name] }
            } else if !void.contains(name) {
                open.append(name)
            }
        }
        return open
    }

    @Test(arguments: RevocationResult.allCases)
    func `the result of revoking is said`(result: RevocationResult) throws {
        let harness = Harness()
        let token = harness.formToken(at: "/grants/crm/revoke")
        let grant = sampleGrant(state: .revoked)
        let page = try #require(
            harness.perform(
                "POST", "/grants/crm/revoke", fields: [Harness.form], body: "form_token=\(token)",
                outcome: .revoked(grant, result))?.response)
        #expect(page.text.contains("crm is revoked"))
        let api = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/revoke", fields: [Harness.json], body: "{}",
                outcome: .revoked(grant, result))?
                .response)
        #expect(api.status == (result == .failedKeptForRetry ? 202 : 200))
        #expect(try ConsoleJSON.decode(RevokeReply.self, from: api.body).result == result)
    }

    @Test(arguments: ConsoleFailure.Code.allCases)
    func `a command that failed has one status, code and title for people and programs`(code: ConsoleFailure.Code)
        throws
    {
        let harness = Harness()
        let outcome = ConsoleOutcome.failed(ConsoleFailure(code, retryAfterSeconds: 7))
        let page = try #require(harness.perform("GET", "/grants/crm", outcome: outcome)?.response)
        let api = try #require(harness.perform("GET", "/api/v1/grants/crm", outcome: outcome)?.response)
        #expect(page.status == code.status)
        #expect(api.status == code.status)
        #expect(page.code == code.rawValue)
        #expect(api.field("Retry-After") == "7")
        let problem = try ConsoleJSON.decode(Problem.self, from: api.body)
        #expect(problem.code == code.rawValue)
        #expect(problem.title == code.title)
        #expect(problem.detail == code.defaultDetail)
    }

    // MARK: JSON

    @Test func `a grant in JSON has the documented names, sorted, and is read back`() throws {
        let harness = Harness()
        var grant = sampleGrant(
            lastError: .init(errorClass: "transient", reason: "timeout", at: Timestamp(unixSeconds: 0)))
        grant.lastConsent = nil
        let response = try #require(harness.perform("GET", "/api/v1/grants/crm", outcome: .grant(grant))?.response)
        #expect(response.field("Content-Type") == "application/json")
        #expect(
            response.text == """
                {"access_token_expires_at":"2026-11-22T15:44:23Z","authorize_url":"http://127.0.0.1:9090/authorize/crm",\
                "generation":41,"last_error":{"at":"1970-01-01T00:00:00Z","class":"transient","reason":"timeout"},\
                "last_refresh_at":"2026-11-22T14:44:23Z","name":"crm","next_attempt_at":"2026-11-22T15:39:23Z",\
                "provider":"zoho","refresh_token_expires_at":"2027-01-18T14:49:23Z","routes":["crm","crm-bulk"],\
                "scopes":["ZohoCRM.modules.ALL","ZohoCRM.settings.READ"],"state":"active"}

                """)
        let read = try ConsoleJSON.decode(GrantView.self, from: response.body)
        grant.authorizeURL = "http://127.0.0.1:9090/authorize/crm"
        #expect(read == grant)
    }

    @Test func `lists are sorted by name, status is read back`() throws {
        let harness = Harness()
        let grants = [sampleGrant("b"), sampleGrant("a")]
        let list = try #require(
            harness.perform("GET", "/api/v1/grants", outcome: .grants(GrantsReply(grants: grants)))?.response)
        #expect(try ConsoleJSON.decode(GrantsReply.self, from: list.body).grants.map(\.name) == ["a", "b"])
        let status = try #require(harness.perform("GET", "/api/v1/status", outcome: .status(sampleStatus()))?.response)
        #expect(try ConsoleJSON.decode(StatusView.self, from: status.body).requestsTotal == 1_234_567)
        let forgotten = harness.perform(
            "POST", "/api/v1/grants/crm/forget", fields: [Harness.json], body: "{}", outcome: .forgotten)?.response
        #expect(forgotten?.text == "{\"forgotten\":\"crm\"}\n")
    }

    @Test func `metrics are passed on as they are`() {
        let harness = Harness()
        let response = harness.perform("GET", "/metrics", outcome: .metrics(Array("x 1\n".utf8)))?.response
        #expect(response?.text == "x 1\n")
        #expect(response?.field("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
    }

    @Test func `descriptions hold no secret`() {
        let harness = Harness()
        harness.cookies = ["tg-session": "s3cret"]
        let request = harness.request(
            "GET", "/oauth/callback?code=s3cret", fields: [("Authorization", "Bearer s3cret")])
        #expect(!"\(request)".contains("s3cret"))
        guard case .perform(let command, let context) = harness.send(request) else {
            Issue.record("no command")
            return
        }
        #expect(!"\(context)".contains("s3cret"))
        #expect("\(command)" == "callback")
        let settings = harness.console.settings
        #expect("\(ConsoleAuthentication.secret(digest: [1, 2, 3]))" == "secret [redacted]")
        #expect("\(settings.authentication)" == "none")
        #expect(!"\(ConsoleOutcome.authorizationStarted(url: "https://p/?state=s3cret"))".contains("s3cret"))
        #expect(!"\(ConsoleResponse(status: 200, fields: [], body: Array("s3cret".utf8)))".contains("s3cret"))
    }
}
