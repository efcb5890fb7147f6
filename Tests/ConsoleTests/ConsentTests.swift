import Telemetry
import Testing

@testable import Console

@Suite struct ConsentTests {
    static let providerURL = "https://accounts.example/authorize?client_id=1&state=abc"

    @Test func `authorizing binds the browser and goes to the provider`() throws {
        let harness = Harness(publicURL: "https://gateway.example.com", withSecret: true)
        harness.host = "gateway.example.com"
        harness.signIn()
        let answer = try #require(
            harness.perform("GET", "/authorize/crm", outcome: .authorizationStarted(url: Self.providerURL)))
        guard case .startAuthorization("crm", let binding, nil) = answer.command else {
            Issue.record("\(answer.command.name)")
            return
        }
        #expect(Encodings.isToken(binding))
        #expect(answer.response.status == 303)
        #expect(answer.response.field("Location") == Self.providerURL)
        let cookie = try #require(answer.response.cookies.first { $0.contains("consent") })
        #expect(cookie == "__Host-tg-consent=\(binding); Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure")
        // A second consent in another tab must not spoil the first.
        let again = harness.perform("GET", "/authorize/mail", outcome: .authorizationStarted(url: Self.providerURL))
        #expect(again?.command == .startAuthorization(grant: "mail", browserBinding: binding, link: nil))
        let callback = harness.perform(
            "GET", "/oauth/callback?code=c0de&state=st4te", outcome: .connected(ConsentSuccess(grant: "crm")))
        #expect(
            callback?.command == .callback(query: "code=c0de&state=st4te", browserBinding: binding, expectedGrant: nil))
    }

    @Test func `on plain loopback the cookie has its plain name`() throws {
        let harness = Harness()
        let answer = try #require(
            harness.perform("GET", "/authorize/crm", outcome: .authorizationStarted(url: Self.providerURL)))
        let cookie = try #require(answer.response.cookies.first { $0.contains("consent") })
        #expect(cookie.hasPrefix("tg-consent="))
        #expect(cookie.hasSuffix("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"))
    }

    @Test func `a browser that is not at the public URL is taken there by a one-time link`() throws {
        let harness = Harness(publicURL: "https://gateway.example.com")
        harness.host = "localhost:9090"
        let bounced = try #require(harness.perform("GET", "/authorize/crm", outcome: .linkAllowed))
        #expect(bounced.command.name.description == "authorization_link")
        let location = try #require(bounced.response.field("Location"))
        #expect(location.hasPrefix("https://gateway.example.com/authorize/crm?ticket="))
        harness.host = "gateway.example.com"
        let target = String(location.dropFirst("https://gateway.example.com".count))
        let started = harness.perform("GET", target, outcome: .authorizationStarted(url: Self.providerURL))
        #expect(started?.response.field("Location") == Self.providerURL)
    }

    @Test func `a link is the driver's to keep and to take, by a name that does not tell the link`() throws {
        let harness = Harness(withSecret: true)
        let answer = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/authorize", fields: [Harness.json, Harness.bearer], body: "{}",
                outcome: .linkAllowed))
        let reply = try ConsoleJSON.decode(AuthorizeReply.self, from: answer.response.body)
        #expect(reply.expiresAt.unixSeconds == harness.now.unixSeconds + 600)
        #expect(reply.authorizeURL.hasPrefix("http://127.0.0.1:9090/authorize/crm?ticket="))
        guard case .authorizationLink("crm", let kept) = answer.command else {
            Issue.record("not a link: \(answer.command)")
            return
        }
        let ticket = try #require(reply.authorizeURL.split(separator: "=").last.map(String.init))
        #expect(!kept.contains(ticket) && kept.count == 64)
        let target = String(reply.authorizeURL.dropFirst("http://127.0.0.1:9090".count))
        // At another replica: nothing of the link is in this console.
        let sibling = Harness(withSecret: true)
        let opened = try #require(
            sibling.perform("GET", target, outcome: .authorizationStarted(url: Self.providerURL)))
        guard case .startAuthorization("crm", _, kept) = opened.command else {
            Issue.record("not the link's name: \(opened.command)")
            return
        }
        #expect(opened.response.field("Location") == Self.providerURL)
        let again = sibling.perform("GET", target, outcome: .failed(ConsoleFailure(.linkUsed)))
        #expect(again?.response.status == 403)
        #expect(again?.response.code == "link_used")
        #expect(harness.respond("GET", "/authorize/crm?ticket=")?.code == "link_used")
        #expect(harness.respond("GET", "/authorize/crm?ticket=short")?.code == "link_used")
    }

    @Test func `too many links are said with a time to come back`() {
        let harness = Harness()
        let failure = ConsoleFailure(.tooManyPendingConsents, retryAfterSeconds: 600)
        let answer = harness.perform(
            "POST", "/api/v1/grants/crm/authorize", fields: [Harness.json], outcome: .failed(failure))
        #expect(answer?.response.status == 429)
        #expect(answer?.response.code == "too_many_pending_consents")
        #expect(answer?.response.field("Retry-After") == "600")
    }

    @Test func `another site's link asks before a consent is begun`() {
        let harness = Harness()
        let response = harness.respond("GET", "/authorize/crm", fields: [("Sec-Fetch-Site", "cross-site")])
        #expect(response?.status == 200)
        #expect(response?.text.contains("Connect crm?") == true)
        #expect(response?.text.contains("href=\"/authorize/crm\"") == true)
        #expect(response?.cookies.contains { $0.contains("consent") } == false)
    }

    @Test(arguments: ["https://x/\r\nSet-Cookie: a=b", "https://x/ y", "https://x/ü"])
    func `a provider's URL that cannot stand in a field is not sent`(url: String) {
        let harness = Harness()
        let answer = harness.perform("GET", "/authorize/crm", outcome: .authorizationStarted(url: url))
        #expect(answer?.response.status == 500)
        #expect(answer?.response.field("Location") == nil)
    }

    // MARK: Callback

    @Test func `a consent that ended well leads to an address without code and state`() throws {
        let harness = Harness()
        harness.cookies = ["tg-consent": Encodings.base64URL([UInt8](repeating: 1, count: 32))]
        let answer = try #require(
            harness.perform(
                "GET", "/oauth/callback?code=c0de&state=st4te",
                outcome: .connected(ConsentSuccess(grant: "crm", notes: [.noRefreshToken]))))
        #expect(answer.response.status == 303)
        #expect(answer.response.text.contains("crm is connected"))
        let location = try #require(answer.response.field("Location"))
        #expect(location.hasPrefix("/oauth/done?grant=crm&notes=no_refresh_token&mac="))
        let done = try #require(harness.respond("GET", location))
        #expect(done.status == 200)
        #expect(done.text.contains("crm is connected"))
        #expect(done.text.contains("gave no refresh token"))
        for text in [answer.response.text, location, done.text] {
            #expect(!text.contains("c0de"))
            #expect(!text.contains("st4te"))
        }
    }

    @Test(arguments: [
        "grant=evil&notes=&mac=00", "grant=evil", "", "grant=crm&notes=&mac=", "grant=a&grant=b&notes=&mac=1",
    ])
    func `an address that we did not sign claims nothing`(query: String) {
        let harness = Harness()
        let response = harness.respond("GET", "/oauth/done?\(query)")
        #expect(response?.status == 200)
        #expect(response?.text.contains("connected") == false)
        #expect(response?.text.contains("evil") == false)
    }

    @Test func `a signature holds for its grant and notes only`() throws {
        let harness = Harness()
        let answer = try #require(
            harness.perform(
                "GET", "/oauth/callback?code=1&state=2", outcome: .connected(ConsentSuccess(grant: "crm")))?.response)
        let location = try #require(answer.field("Location"))
        let forged = location.replacing("grant=crm", with: "grant=mail")
        #expect(harness.respond("GET", forged)?.text.contains("mail") == false)
    }

    @Test(arguments: ConsentFailure.Kind.allCases)
    func `a consent that failed is said in plain words, for people and for programs`(kind: ConsentFailure.Kind) throws {
        let harness = Harness()
        let failure = ConsentFailure(kind, grant: "crm", detail: "<b>no</b> " + String(repeating: "x", count: 500))
        let page = try #require(
            harness.perform("GET", "/oauth/callback?code=c0de&state=st4te", outcome: .consentFailed(failure))?.response)
        #expect(page.status >= 400)
        #expect(page.code == kind.rawValue)
        #expect(page.text.contains(kind.title.replacing("'", with: "&#39;")))
        #expect(page.text.contains("&lt;b&gt;no&lt;/b&gt;"))
        #expect(!page.text.contains("<b>no"))
        #expect(!page.text.contains(String(repeating: "x", count: 201)))
        #expect(!page.text.contains("c0de"))
        #expect(!page.text.contains("st4te"))
        #expect(page.text.contains("req-1"))
        let pasted = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/callback", fields: [Harness.json],
                body: "{\"redirect_url\":\"https://x/oauth/callback?code=c0de&state=st4te\",\"binding\":\"b\"}",
                outcome: .consentFailed(failure)))
        let problem = try ConsoleJSON.decode(Problem.self, from: pasted.response.body)
        #expect(problem.code == kind.rawValue)
        #expect(problem.status == pasted.response.status)
    }

    @Test func `an unknown state is 400`() {
        #expect(ConsentFailure.Kind.unknownState.status == 400)
        #expect(ConsentFailure.Kind.otherBrowser.status == 400)
    }

    @Test(arguments: ["/oauth/callback", "/oauth/callback?", "/oauth/callback?" + String(repeating: "x", count: 8_193)])
    func `a callback without a query, or with too long a one, asks nobody`(target: String) {
        let harness = Harness()
        let response = harness.respond("GET", target)
        #expect(response?.status == 400)
        #expect(response?.code == "malformed_callback")
    }

    @Test func `the callback works for strangers, through proxies, under any name`() {
        let harness = Harness(publicURL: "https://gateway.example.com", withSecret: true)
        harness.host = "console"
        harness.isLoopbackPeer = false
        let answer = harness.perform(
            "GET", "/oauth/callback?code=1&state=2", fields: [("X-Forwarded-For", "192.0.2.1")],
            outcome: .consentFailed(ConsentFailure(.otherBrowser)))
        #expect(answer?.command == .callback(query: "code=1&state=2", browserBinding: nil, expectedGrant: nil))
    }

    // MARK: Pasting

    @Test func `a pasted answer carries the binding that the client was given`() throws {
        let harness = Harness()
        let started = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/authorize", fields: [Harness.json], body: "{\"mode\":\"paste\"}",
                outcome: .authorizationStarted(url: Self.providerURL)))
        let reply = try ConsoleJSON.decode(AuthorizeReply.self, from: started.response.body)
        #expect(reply.authorizeURL == Self.providerURL)
        let binding = try #require(reply.binding)
        #expect(started.command == .startAuthorization(grant: "crm", browserBinding: binding, link: nil))
        #expect(started.response.cookies.isEmpty)
        #expect(!"\(reply)".contains(binding))
        let order = CallbackOrder(redirectURL: " https://g/oauth/callback?code=1&state=2#x ", binding: binding)
        #expect(!"\(order)".contains("code"))
        let done = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/callback", fields: [Harness.json],
                body: String(decoding: ConsoleJSON.encode(order), as: UTF8.self),
                outcome: .connected(ConsentSuccess(grant: "crm", notes: [.scopesDiffer]))))
        #expect(done.command == .callback(query: "code=1&state=2", browserBinding: binding, expectedGrant: "crm"))
        let consent = try ConsoleJSON.decode(ConsentReply.self, from: done.response.body)
        #expect(consent == ConsentReply(grant: "crm", notes: ["scopes_differ"]))
    }

    @Test(arguments: ["", "{", "[]", "{\"mode\":\"explode\"}", "{\"mode\":7}"])
    func `an order that cannot be read is refused`(body: String) {
        let harness = Harness()
        let response = harness.respond("POST", "/api/v1/grants/crm/authorize", fields: [Harness.json], body: body)
        #expect(body.isEmpty ? response == nil : response?.code == "malformed_request")
    }

    @Test(arguments: [
        ("{}", "malformed_request"), ("{\"redirect_url\":\"https://x/\",\"binding\":\"b\"}", "malformed_callback"),
        ("{\"redirect_url\":\"\",\"binding\":\"b\"}", "malformed_callback"),
    ])
    func `a pasted text without an answer is refused`(body: String, code: String) {
        let harness = Harness()
        let response = harness.respond("POST", "/api/v1/grants/crm/callback", fields: [Harness.json], body: body)
        #expect(response?.code == code)
    }
}
