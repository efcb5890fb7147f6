import Telemetry
import Testing

@testable import Console

@Suite struct SignInTests {
    @Test(arguments: [
        ("/", "/sign-in"), ("/grants", "/sign-in?next=%2Fgrants"), ("/grants/crm", "/sign-in?next=%2Fgrants%2Fcrm"),
        ("/authorize/crm", "/sign-in?next=%2Fauthorize%2Fcrm"), ("/grants/crm/revoke", "/sign-in"),
    ])
    func `a browser without a session is sent to sign in`(path: String, location: String) {
        let harness = Harness(withSecret: true)
        let response = harness.respond("GET", path)
        #expect(response?.status == 303)
        #expect(response?.field("Location") == location)
    }

    @Test(arguments: ["/metrics", "/api/v1/grants", "/api/v1/grants/crm", "/api/v1/status"])
    func `a program without the secret is told so`(path: String) throws {
        let harness = Harness(withSecret: true)
        let response = try #require(harness.respond("GET", path))
        #expect(response.status == 401)
        #expect(response.field("WWW-Authenticate")?.hasPrefix("Bearer ") == true)
        #expect(response.field("Content-Type") == "application/problem+json")
        let problem = try ConsoleJSON.decode(Problem.self, from: response.body)
        #expect(problem.code == "sign_in_required")
        #expect(problem.requestID == "req-1")
        #expect(response.code == "sign_in_required")
    }

    @Test(arguments: [
        ("Bearer \(Harness.secret)", true), ("bearer   \(Harness.secret) ", true), ("Bearer wrong", false),
        ("Bearer ", false),
        ("Basic \(Harness.secret)", false), (Harness.secret, false), ("", false),
    ])
    func `the bearer secret opens the admin API`(value: String, isRight: Bool) {
        let harness = Harness(withSecret: true)
        let answer = harness.perform(
            "GET", "/api/v1/grants", fields: [("Authorization", value)], outcome: .grants(GrantsReply(grants: [])))
        #expect((answer?.response.status == 200) == isRight)
    }

    @Test func `the right secret makes a session, and signing out ends it`() {
        let harness = Harness(withSecret: true)
        let token = harness.formToken(at: "/sign-in?next=/grants/crm")
        let response = harness.respond(
            "POST", "/sign-in", fields: [Harness.form],
            body: "form_token=\(token)&next=%2Fgrants%2Fcrm&secret=correct+horse+battery+staple")
        #expect(response?.status == 303)
        #expect(response?.field("Location") == "/grants/crm")
        let cookie = response?.cookies.first { $0.hasPrefix("tg-session=") }
        #expect(cookie?.contains("; HttpOnly") == true)
        #expect(cookie?.contains("; SameSite=Strict") == true)
        #expect(cookie?.contains("; Max-Age=43200") == true)
        let page = harness.perform("GET", "/grants/crm", outcome: .grant(sampleGrant()))?.response
        #expect(page?.status == 200)
        let old = harness.cookies
        let out = harness.respond(
            "POST", "/sign-out", fields: [Harness.form], body: "form_token=\(page.map(Harness.formToken) ?? "")")
        #expect(out?.status == 303)
        #expect(harness.cookies["tg-session"] == nil)
        harness.cookies = old
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `a session ends by itself`() {
        let harness = Harness(withSecret: true)
        harness.signIn()
        #expect(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: []))) != nil)
        harness.now.unixSeconds += ConsoleLimits.sessionSeconds
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `a changed secret ends every session`() {
        let harness = Harness(withSecret: true)
        harness.signIn()
        var settings = harness.console.settings
        harness.console.settingsChanged(settings)
        #expect(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: []))) != nil)
        settings.authentication = .secret(digest: toyCryptography.sha256([1]))
        harness.console.settingsChanged(settings)
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `a session is good at each replica that has the key, and at no other console`() throws {
        let one = Harness(withSecret: true, signingKeys: [[1], [2]])
        one.signIn()
        let sibling = Harness(withSecret: true, signingKeys: [[2], [1]])
        sibling.cookies = one.cookies
        #expect(sibling.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: []))) != nil)
        let stranger = Harness(withSecret: true, signingKeys: [[3]])
        stranger.cookies = one.cookies
        #expect(stranger.respond("GET", "/grants")?.status == 303)
    }

    @Test(arguments: ["", ".", "..", "a.9999999999999.b", "a.b.c.d", "a.-1.x", String(repeating: "x", count: 300)])
    func `a made-up session is none`(cookie: String) {
        let harness = Harness(withSecret: true)
        harness.cookies["tg-session"] = cookie
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `a session cannot be made longer, and ends`() throws {
        let harness = Harness(withSecret: true)
        harness.signIn()
        let cookie = try #require(harness.cookies["tg-session"])
        let parts = cookie.split(separator: ".").map(String.init)
        let longer = [parts[0], String((Int64(parts[1]) ?? 0) + 60), parts[2]].joined(separator: ".")
        harness.cookies["tg-session"] = longer
        #expect(harness.respond("GET", "/grants")?.status == 303)
        harness.cookies["tg-session"] = cookie
        #expect(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: []))) != nil)
        harness.now.unixSeconds += ConsoleLimits.sessionSeconds
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `a session that was signed out is over, though its cookie be kept`() throws {
        let harness = Harness(withSecret: true)
        harness.signIn()
        let cookie = try #require(harness.cookies["tg-session"])
        let page = try #require(harness.perform("GET", "/grants", outcome: .grants(GrantsReply(grants: []))))
        let token = Harness.formToken(in: page.response)
        _ = harness.respond("POST", "/sign-out", fields: [Harness.form], body: "form_token=\(token)")
        harness.cookies["tg-session"] = cookie
        #expect(harness.respond("GET", "/grants")?.status == 303)
    }

    @Test func `sessions that were signed out are bounded and the one that ends first makes room`() {
        var table = SignedOutTable()
        for index in 0..<(ConsoleLimits.signedOut + 10) {
            table.add(hash: [UInt8(index & 255), UInt8(index >> 8)], now: Timestamp(unixSeconds: Int64(index)))
        }
        #expect(table.count == ConsoleLimits.signedOut)
        #expect(!table.contains(hash: [0, 0]))
    }

    @Test func `a session reads programs' endpoints and changes nothing by them`() {
        let harness = Harness(withSecret: true)
        harness.signIn()
        #expect(harness.perform("GET", "/metrics", outcome: .metrics([]))?.response.status == 200)
        let post = harness.respond("POST", "/api/v1/grants/crm/revoke", fields: [Harness.json], body: "{}")
        #expect(post?.status == 401)
    }

    @Test(arguments: [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/oauth/callback", "/sign-out", "/metrics",
        "/grants/crm/revoke", "", "grants", "/api/v1/grants", "/nothing",
    ])
    func `a sign-in leads to our own pages only`(next: String) {
        let harness = Harness(withSecret: true)
        let target = "/sign-in?next=\(Encodings.percentEncoded(next))"
        let page = harness.respond("GET", target)
        #expect(page?.text.contains("name=\"next\" value=\"/\"") == true)
        let token = page.map(Harness.formToken) ?? ""
        let response = harness.respond(
            "POST", "/sign-in", fields: [Harness.form],
            body: "form_token=\(token)&next=\(Encodings.percentEncoded(next))&secret=correct+horse+battery+staple")
        #expect(response?.field("Location") == "/")
    }

    @Test func `signing in needs the form's token`() {
        let harness = Harness(withSecret: true)
        let response = harness.respond(
            "POST", "/sign-in", fields: [Harness.form], body: "secret=correct+horse+battery+staple")
        #expect(response?.code == "form_expired")
    }

    // MARK: Guessing

    @Test func `wrong secrets are counted, and then even the right one waits`() {
        let harness = Harness(withSecret: true)
        for _ in 0..<ConsoleLimits.attemptsPerPeer {
            let response = harness.respond("GET", "/api/v1/grants", fields: [("Authorization", "Bearer guess")])
            #expect(response?.status == 401)
        }
        let limited = harness.respond("GET", "/api/v1/grants", fields: [Harness.bearer])
        #expect(limited?.status == 429)
        #expect(limited?.field("Retry-After") == "6")
        let token = harness.formToken(at: "/sign-in")
        let form = harness.respond(
            "POST", "/sign-in", fields: [Harness.form], body: "form_token=\(token)&secret=correct+horse+battery+staple")
        #expect(form?.status == 429)
        harness.now.unixSeconds += 6
        #expect(
            harness.perform(
                "GET", "/api/v1/grants", fields: [Harness.bearer], outcome: .grants(GrantsReply(grants: []))) != nil)
    }

    @Test func `another peer is not held up`() {
        let harness = Harness(withSecret: true)
        for _ in 0..<20 { _ = harness.respond("GET", "/metrics", fields: [("Authorization", "Bearer guess")]) }
        harness.peer = "192.0.2.9"
        #expect(harness.perform("GET", "/metrics", fields: [Harness.bearer], outcome: .metrics([])) != nil)
    }

    @Test func `guesses that come through a proxy, or on public paths, do not lock this machine out`() {
        let harness = Harness(withSecret: true)
        let guess = ("Authorization", "Bearer guess")
        for _ in 0..<20 {
            _ = harness.respond("GET", "/metrics", fields: [guess, ("X-Forwarded-For", "203.0.113.5")])
            _ = harness.respond("HEAD", "/oauth/callback", fields: [guess])
            _ = harness.respond("GET", "/authorize/crm?ticket=none", fields: [guess])
        }
        #expect(harness.perform("GET", "/metrics", fields: [Harness.bearer], outcome: .metrics([])) != nil)
    }

    @Test func `a wrong secret in the form is said and counted`() {
        let harness = Harness(withSecret: true)
        let token = harness.formToken(at: "/sign-in")
        for attempt in 1...11 {
            let response = harness.respond(
                "POST", "/sign-in", fields: [Harness.form], body: "form_token=\(token)&secret=guess")
            #expect(response?.status == (attempt <= 10 ? 403 : 429))
            #expect(response?.cookies.contains { $0.contains("session") } == false)
        }
    }

    @Test func `a flood of peers and a clock set back leave the limiter bounded and open`() {
        var limiter = AttemptLimiter()
        let now = Timestamp(unixSeconds: 1_000_000)
        for peer in 0..<5_000 { limiter.attemptFailed(peer: "\(peer)", now: now) }
        for _ in 0..<50 { limiter.attemptFailed(peer: "guesser", now: now) }
        #expect(limiter.secondsToWait(peer: "guesser", now: now) == 6)
        #expect(limiter.secondsToWait(peer: "guesser", now: Timestamp(unixSeconds: 1)) == nil)
        #expect(limiter.secondsToWait(peer: "guesser", now: Timestamp(unixSeconds: 1_000_060)) == nil)
    }

    // MARK: Cookies

    @Test(
        arguments: [
            ("https://gateway.example.com", "gateway.example.com", [], true),
            ("https://gateway.example.com", "127.0.0.1:9090", [], false),
            ("https://gateway.example.com", "127.0.0.1:9090", [("X-Forwarded-Proto", "https")], true),
            ("http://127.0.0.1:9090", "127.0.0.1:9090", [], false),
        ] as [(String, String, [(String, String)], Bool)])
    func `cookies are Secure wherever the browser's connection is`(
        publicURL: String, host: String, fields: [(String, String)], isSecure: Bool
    ) throws {
        let harness = Harness(publicURL: publicURL, withSecret: true)
        harness.host = host
        let cookie = try #require(harness.respond("GET", "/sign-in", fields: fields)?.cookies.first)
        #expect(cookie.hasPrefix(isSecure ? "__Host-tg-form=" : "tg-form="))
        #expect(cookie.hasSuffix("; Secure") == isSecure)
        #expect(cookie.contains("; Path=/; HttpOnly; SameSite=Lax"))
        #expect(!cookie.contains("Domain"))
    }

    @Test func `a console with TLS of its own has Secure cookies only`() throws {
        let harness = Harness(withSecret: true, servesTLS: true)
        let cookie = try #require(harness.respond("GET", "/sign-in")?.cookies.first)
        #expect(cookie.hasPrefix("__Host-tg-form="))
    }

    @Test(arguments: ["tg-session=a; tg-session=b", "xtg-session=a", "tg-sessionx=a", "tg-session"])
    func `a doubled or misnamed cookie is none`(text: String) {
        let request = ConsoleRequest(
            method: "GET", path: "/", fields: [ConsoleField("Cookie", text)], peer: "", isLoopbackPeer: true,
            requestID: "")
        #expect(request.cookie("tg-session") == nil)
    }
}
