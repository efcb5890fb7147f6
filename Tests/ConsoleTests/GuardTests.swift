import Telemetry
import Testing

@testable import Console

/// Who gets in, from where, and on whose behalf.
@Suite struct GuardTests {
    // MARK: Host

    @Test(arguments: [
        "127.0.0.1:9090", "127.8.9.10", "localhost:9090", "LOCALHOST", "tg.localhost:9090", "[::1]:9090", "[::1]",
    ])
    func `without a secret every loopback name is served`(host: String) {
        let harness = Harness()
        harness.host = host
        #expect(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: [])))?.response.status == 200)
    }

    @Test(arguments: [
        "evil.example", "evil.example:9090", "10.0.0.7:9090", "localhost.evil.example", "127.0.0.1.evil.example",
        "127.0.0.1@evil.example", "[::2]", "0.0.0.0", "127.0.0.256", "1270.0.0.1", "",
    ])
    func `without a secret no other name is served`(host: String) {
        for path in ["/", "/grants", "/metrics", "/api/v1/grants", "/api/v1/status", "/sign-in", "/nothing"] {
            let harness = Harness()
            harness.host = host
            let response = harness.respond("GET", path)
            #expect(response?.status == 421, "\(path)")
            #expect(response?.code == "host_not_allowed")
        }
    }

    @Test func `without a secret the public name serves the callback and one-time links only`() {
        let harness = Harness(publicURL: "https://gateway.example.com")
        harness.host = "gateway.example.com"
        #expect(harness.respond("GET", "/grants")?.status == 421)
        #expect(harness.respond("GET", "/authorize/crm")?.status == 421)
        #expect(harness.respond("POST", "/api/v1/grants/crm/authorize", fields: [Harness.json])?.status == 421)
        #expect(harness.respond("GET", "/authorize/crm?ticket=guess")?.code == "link_used")
        let failed = harness.perform(
            "GET", "/oauth/callback?code=1&state=2", outcome: .consentFailed(ConsentFailure(.unknownState)))
        #expect(failed?.response.status == 400)
    }

    @Test func `a missing or doubled Host is no loopback name`() {
        let harness = Harness()
        let without = harness.request("GET", "/grants", withHost: false)
        guard case .respond(let response) = harness.send(without) else {
            Issue.record("served")
            return
        }
        #expect(response.status == 421)
        var doubled = harness.request("GET", "/grants")
        doubled.fields.append(ConsoleField("host", "localhost"))
        guard case .respond(let second) = harness.send(doubled) else {
            Issue.record("served")
            return
        }
        #expect(second.status == 421)
    }

    @Test(arguments: ["10.0.0.7:9090", "[2001:db8::1]:9090", "127.0.0.1:9090", "gateway.example.com"])
    func `with a secret addresses and the public name are served`(host: String) {
        let harness = Harness(publicURL: "https://gateway.example.com", withSecret: true)
        harness.host = host
        harness.isLoopbackPeer = false
        let answer = harness.perform(
            "GET", "/grants", fields: [Harness.bearer], outcome: .grants(GrantsReply(grants: [])))
        #expect(answer?.response.status == 200)
    }

    @Test func `with a secret another name is for programs that bring the secret`() {
        let harness = Harness(publicURL: "https://gateway.example.com", withSecret: true)
        harness.host = "gateway.internal:9090"
        #expect(
            harness.perform("GET", "/metrics", fields: [Harness.bearer], outcome: .metrics([]))?.response.status == 200)
        #expect(harness.respond("GET", "/metrics")?.status == 421)
        #expect(harness.respond("GET", "/sign-in")?.status == 421)
        #expect(harness.respond("GET", "/grants", fields: [Harness.bearer])?.status == 421)
    }

    @Test(arguments: ["Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-Real-IP", "Via"])
    func `without a secret what came through a proxy is refused`(name: String) {
        let harness = Harness()
        #expect(harness.respond("GET", "/grants", fields: [(name, "x")])?.code == "not_local")
    }

    @Test func `without a secret peers from elsewhere are refused`() {
        let harness = Harness()
        harness.isLoopbackPeer = false
        for path in ["/", "/metrics", "/api/v1/grants"] {
            #expect(harness.respond("GET", path)?.code == "not_local")
        }
        #expect(harness.respond("GET", "/livez")?.status == 200)
    }

    // MARK: Other sites' pages

    @Test(arguments: [
        [("Origin", "https://evil.example")], [("Origin", "null")], [("Origin", "http://127.0.0.1:8080")],
        [("Origin", "http://127.0.0.1:9090.evil.example")], [("Origin", "x"), ("Origin", "http://127.0.0.1:9090")],
        [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")],
        [("Origin", "http://127.0.0.1:9090"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none")],
    ])
    func `a request for another site's page changes nothing`(fields: [(String, String)]) {
        let harness = Harness()
        let api = harness.respond("POST", "/api/v1/grants/crm/revoke", fields: fields + [Harness.json], body: "{}")
        #expect(api?.code == "cross_site_request")
        let token = harness.formToken(at: "/grants/crm/revoke")
        let form = harness.respond(
            "POST", "/grants/crm/revoke", fields: fields + [Harness.form], body: "form_token=\(token)")
        #expect(form?.status == 403)
    }

    @Test(
        arguments: [
            [], [("Origin", "http://127.0.0.1:9090")], [("Sec-Fetch-Site", "same-origin")],
            [("Sec-Fetch-Site", "none")],
        ] as [[(String, String)]])
    func `our own page and programs may`(fields: [(String, String)]) {
        let harness = Harness()
        let answer = harness.perform(
            "POST", "/api/v1/grants/crm/refresh", fields: fields + [Harness.json], outcome: .refreshed(sampleGrant()))
        #expect(answer?.response.status == 200)
    }

    @Test func `behind a proxy that rewrites Host the public origin is ours`() {
        let harness = Harness(publicURL: "https://gateway.example.com", withSecret: true)
        let answer = harness.perform(
            "POST", "/api/v1/grants/crm/refresh",
            fields: [("Origin", "https://gateway.example.com"), Harness.json, Harness.bearer],
            outcome: .refreshed(sampleGrant()))
        #expect(answer?.response.status == 200)
    }

    @Test(arguments: ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
    func `the admin API takes JSON only, which a foreign form cannot send`(type: String) {
        let harness = Harness()
        let fields = type.isEmpty ? [] : [("Content-Type", type)]
        let response = harness.respond("POST", "/api/v1/grants/crm/revoke", fields: fields, body: "{}")
        #expect(response?.status == 415)
        #expect(response?.code == "unsupported_media_type")
    }

    // MARK: Forms

    @Test(arguments: ["", "form_token=", "form_token=0000", "form_token=%zz", "x=1"])
    func `a form without its token does nothing`(body: String) {
        let harness = Harness()
        _ = harness.formToken(at: "/grants/crm/revoke")
        let response = harness.respond("POST", "/grants/crm/revoke", fields: [Harness.form], body: body)
        #expect(response?.code == "form_expired")
    }

    @Test func `a token is of no use without its cookie, or with another browser's`() {
        let harness = Harness()
        let token = harness.formToken(at: "/grants/crm/revoke")
        let body = "form_token=\(token)"
        harness.cookies = [:]
        #expect(
            harness.respond("POST", "/grants/crm/revoke", fields: [Harness.form], body: body)?.code == "form_expired")
        harness.cookies = ["tg-form": Encodings.base64URL([UInt8](repeating: 9, count: 32))]
        #expect(
            harness.respond("POST", "/grants/crm/revoke", fields: [Harness.form], body: body)?.code == "form_expired")
        harness.cookies = ["tg-form": "short"]
        #expect(
            harness.respond("POST", "/grants/crm/revoke", fields: [Harness.form], body: body)?.code == "form_expired")
    }

    @Test func `a token from before signing in is of no use afterwards`() {
        let harness = Harness(withSecret: true)
        let before = harness.formToken(at: "/sign-in")
        harness.signIn()
        let response = harness.respond(
            "POST", "/grants/crm/revoke", fields: [Harness.form], body: "form_token=\(before)")
        #expect(response?.code == "form_expired")
    }

    @Test func `coming back from the provider does not spoil the forms of other tabs`() {
        let harness = Harness()
        let token = harness.formToken(at: "/grants/crm/revoke")
        let cookies = harness.cookies
        // As a browser does it: cookies that are Strict stay away when another site leads here.
        harness.cookies = [:]
        let callback = harness.perform(
            "GET", "/oauth/callback?code=1&state=2", outcome: .connected(ConsentSuccess(grant: "crm")))
        #expect(callback?.response.cookies == [])
        #expect(harness.respond("GET", "/oauth/done")?.cookies == [])
        harness.cookies = cookies
        let answer = harness.perform(
            "POST", "/grants/crm/revoke", fields: [Harness.form], body: "form_token=\(token)",
            outcome: .revoked(sampleGrant(), .revoked))
        #expect(answer?.response.status == 200)
    }

    @Test func `a form with its token and cookie is done`() {
        let harness = Harness()
        let token = harness.formToken(at: "/grants/crm/revoke")
        for (path, command) in [
            ("revoke", ConsoleCommand.revoke(grant: "crm")), ("forget", .forget(grant: "crm")),
            ("refresh", .refresh(grant: "crm")),
        ] {
            let answer = harness.perform(
                "POST", "/grants/crm/\(path)", fields: [Harness.form], body: "form_token=\(token)",
                outcome: .failed(ConsoleFailure(.notConnected)))
            #expect(answer?.command == command)
        }
    }

    // MARK: The fields of every response

    @Test func `every response is protected`() throws {
        var responses: [ConsoleResponse] = []
        let harness = Harness(withSecret: true)
        for path in [
            "/", "/sign-in", "/livez", "/metrics", "/nothing", "/oauth/done", "/oauth/callback", "/api/v1/grants",
        ] {
            responses.append(try #require(harness.respond("GET", path)))
        }
        harness.signIn()
        responses.append(try #require(harness.perform("GET", "/", outcome: .status(sampleStatus()))?.response))
        responses.append(
            try #require(
                harness.perform("GET", "/authorize/crm", outcome: .authorizationStarted(url: "https://p/"))?.response))
        responses.append(
            try #require(
                harness.perform(
                    "GET", "/oauth/callback?code=1&state=2", outcome: .connected(ConsentSuccess(grant: "crm")))?
                    .response))
        for response in responses {
            #expect(response.field("Cache-Control") == "no-store")
            #expect(response.field("X-Content-Type-Options") == "nosniff")
            #expect(response.field("X-Frame-Options") == "DENY")
            let policy = try #require(response.field("Content-Security-Policy"))
            #expect(policy.hasPrefix("default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action "))
            #expect(!policy.contains("unsafe"))
            #expect(response.field("Content-Type") != nil)
            for field in response.fields {
                #expect(field.value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
            }
        }
    }

    @Test func `the pages need no script and nothing from elsewhere`() throws {
        let harness = Harness()
        let page = try #require(harness.perform("GET", "/", outcome: .status(sampleStatus()))?.response)
        #expect(!page.text.contains("<script"))
        #expect(!page.text.contains(" style=\""))
        #expect(!page.text.contains(" src="))
        #expect(!page.text.contains(" onclick"))
        let hash = Encodings.base64(toyCryptography.sha256(Array(Stylesheet.text.utf8)))
        #expect(page.field("Content-Security-Policy")?.contains("style-src 'sha256-\(hash)'") == true)
        #expect(page.text.contains("<style>\(Stylesheet.text)</style>"))
    }

    @Test func `addresses that may hold a code or a ticket are told to nobody`() throws {
        let harness = Harness()
        let callback = try #require(
            harness.perform(
                "GET", "/oauth/callback?code=1&state=2", outcome: .consentFailed(ConsentFailure(.denied)))?.response)
        #expect(callback.field("Referrer-Policy") == "no-referrer")
        #expect(harness.respond("GET", "/authorize/crm?ticket=x")?.field("Referrer-Policy") == "no-referrer")
        // no-referrer would make browsers send `Origin: null` with our own forms.
        let grants = harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: [])))?.response
        #expect(grants?.field("Referrer-Policy") == "same-origin")
    }
}
