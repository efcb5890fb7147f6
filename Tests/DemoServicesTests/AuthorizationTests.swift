import Foundation
import OpenSSLKit
import Testing

@testable import DemoServices

@Suite struct AuthorizationTests {
    @Test func `the metadata name the issuer and its endpoints`() throws {
        let client = try Client()
        let reply = try client.http.request("GET", client.services.issuer + "/.well-known/oauth-authorization-server")
        let json = try client.json(reply)
        #expect(json["issuer"] as? String == client.services.issuer)
        #expect(json["token_endpoint"] as? String == client.services.issuer + "/token")
        #expect(json["code_challenge_methods_supported"] as? [String] == ["S256"])
        #expect(json["authorization_response_iss_parameter_supported"] as? Bool == true)
    }

    @Test(arguments: ["127.0.0.1", "localhost"])
    func `a consent gives a code with state and iss, and the code gives tokens`(_ host: String) throws {
        var options = DemoOptions()
        options.host = host
        let client = try Client(options)
        let location = try client.services.consentAutomatically(authorizationURL: client.authorizationURL())
        #expect(location.hasPrefix(Client.redirectURI + "?code="))
        let answer = Client.query(location)
        #expect(answer["state"] == "state & 1")
        #expect(answer["iss"] == client.services.issuer)
        let reply = try client.exchange(#require(answer["code"]))
        #expect(reply.field("cache-control") == "no-store")
        let json = try client.json(reply)
        #expect(json["token_type"] as? String == "Bearer")
        #expect(json["expires_in"] as? Int == 60)
        #expect(json["scope"] as? String == "read write")
        #expect(client.services.counters.codeExchanges == 1)
        #expect(client.services.counters.consents == 1)
    }

    @Test func `a person who does not allow it sends an error back`() throws {
        let client = try Client()
        let location = try client.services.consentAutomatically(
            authorizationURL: client.authorizationURL(), allow: false)
        let answer = Client.query(location)
        #expect(answer["error"] == "access_denied")
        #expect(answer["code"] == nil)
        #expect(answer["state"] == "state & 1")
        #expect(answer["iss"] == client.services.issuer)
    }

    static let refusals: [(String, String?, String)] = [
        ("response_type", "token", "unsupported_response_type"), ("code_challenge", nil, "invalid_request"),
        ("code_challenge", "short", "invalid_request"), ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", nil, "invalid_request"), ("scope", "a\u{1}b", "invalid_scope"),
    ]

    @Test(arguments: refusals)
    func `a wrong authorization request goes back with its error`(_ name: String, _ value: String?, _ code: String)
        throws
    {
        let client = try Client()
        let reply = try client.http.request("GET", client.authorizationURL([name: value]))
        #expect(reply.status == 303)
        #expect(Client.query(reply.field("location") ?? "")["error"] == code)
    }

    static let unsafe: [(String, String?)] = [
        ("client_id", "other"), ("redirect_uri", "https://evil.example/"), ("redirect_uri", nil),
        ("redirect_uri", "http://127.0.0.1.evil.example/"), ("redirect_uri", "http://127.0.0.1@evil.example/"),
        ("redirect_uri", "javascript:alert(1)"),
    ]

    @Test(arguments: unsafe)
    func `an unknown client or redirect URI is never redirected to`(_ name: String, _ value: String?) throws {
        let client = try Client()
        let reply = try client.http.request("GET", client.authorizationURL([name: value]))
        #expect(reply.status == 400)
        #expect(reply.field("location") == nil)
    }

    @Test func `registered redirect URIs are compared to the letter`() throws {
        var options = DemoOptions()
        options.redirectURIs = ["https://gateway.example/oauth/callback"]
        let client = try Client(options)
        for (uri, status) in [("https://gateway.example/oauth/callback", 200), (Client.redirectURI, 400)] {
            let reply = try client.http.request("GET", client.authorizationURL(["redirect_uri": uri]))
            #expect(reply.status == status)
        }
    }

    @Test func `a form works in the browser that it was made for only`() throws {
        let client = try Client()
        let page = try client.http.request("GET", client.authorizationURL())
        #expect(page.field("set-cookie")?.contains("HttpOnly") == true)
        #expect(page.field("content-security-policy")?.contains("default-src 'none'") == true)
        let marker = "name=\"transaction\" value=\""
        let start = try #require(page.text.range(of: marker)?.upperBound)
        let transaction = String(page.text[start...].prefix { $0 != "\"" })
        let form = FormFields.encode([("transaction", transaction), ("account", "alice"), ("password", "wonderland")])
        for cookie in [[], [("Cookie", "__Host-demo=session-other")]] {
            let reply = try client.http.request(
                "POST", client.services.issuer + "/sign-in", fields: cookie, body: Array(form.utf8))
            #expect(reply.status == 400)
        }
        let cookie = String(try #require(page.field("set-cookie")).prefix { $0 != ";" })
        let wrong = form.replacingOccurrences(of: "wonderland", with: "guess")
        for (body, status) in [(wrong, 403), (form, 200)] {
            let reply = try client.http.request(
                "POST", client.services.issuer + "/sign-in", fields: [("Cookie", cookie)], body: Array(body.utf8))
            #expect(reply.status == status)
        }
        // Signed in now, the next request goes straight to the consent.
        let next = try client.http.request("GET", client.authorizationURL(), fields: [("Cookie", cookie)])
        #expect(next.text.contains("Allow access?"))
    }

    @Test func `what comes from outside is escaped in pages`() throws {
        let client = try Client()
        let page = Pages.consent(transaction: "t", client: "<script>", account: "\"'&", scope: "<b> read")
        guard case .bytes(let bytes) = page.body else { return }
        let html = String(decoding: bytes, as: UTF8.self)
        #expect(html.contains("&lt;script&gt;") && html.contains("&quot;&#39;&amp;") && html.contains("&lt;b&gt;"))
        #expect(!html.contains("<script") && !html.contains("http"))
        client.services.stop()
    }

    // MARK: Codes

    @Test(arguments: [
        ["code_verifier": String(repeating: "a", count: 43)], ["redirect_uri": "http://127.0.0.1:1/other"],
        ["code": "code-unknown"],
    ])
    func `a code with a wrong companion is refused and spent`(_ change: [String: String]) throws {
        let client = try Client()
        let code = try client.code()
        #expect(try client.error(client.exchange(code, change)) == "invalid_grant")
        #expect(client.services.counters.codeExchanges == 0)
        guard change["code"] == nil else { return }
        #expect(try client.error(client.exchange(code)) == "invalid_grant")
    }

    @Test func `a code that comes twice takes back what it gave`() throws {
        let client = try Client()
        let code = try client.code()
        let tokens = try client.tokens(client.exchange(code))
        #expect(try client.api("/hello", tokens.access).status == 200)
        #expect(try client.error(client.exchange(code)) == "invalid_grant")
        #expect(try client.api("/hello", tokens.access).status == 401)
        #expect(try client.error(client.refresh(tokens.refresh)) == "invalid_grant")
    }

    @Test func `a code is good for a minute`() throws {
        let client = try Client()
        let code = try client.code()
        client.services.advanceClock(seconds: 60)
        #expect(try client.error(client.exchange(code)) == "invalid_grant")
    }

    // MARK: Clients

    @Test func `the client proves itself by basic or form, not by both`() throws {
        var options = DemoOptions()
        options.clientID = "id with:colon"
        options.clientSecret = SecretString("s&cret+ü")
        let client = try Client(options)
        let encoded = FormFields.encode("id with:colon") + ":" + FormFields.encode("s&cret+ü")
        let basic = ("Authorization", "Basic " + Base64.encode(Array(encoded.utf8)))
        let form = FormFields.encode([
            ("grant_type", "authorization_code"), ("code", try client.code()), ("redirect_uri", Client.redirectURI),
            ("code_verifier", client.verifier),
        ])
        let type = ("Content-Type", "application/x-www-form-urlencoded")
        func post(_ fields: [(String, String)], _ body: String) throws -> DemoReply {
            try client.http.request("POST", client.services.issuer + "/token", fields: fields, body: Array(body.utf8))
        }
        #expect(try client.error(post([type, basic], form + "&client_secret=x")) == "invalid_request")
        #expect(try client.error(post([basic], form)) == "invalid_request")
        #expect(try client.error(post([type, basic], form + "&code=2")) == "invalid_request")
        let refused = try post([type, ("Authorization", "Basic eDp5")], form)
        #expect(refused.status == 401)
        #expect(try client.error(refused) == "invalid_client")
        #expect(refused.field("www-authenticate") == "Basic realm=\"demo\"")
        #expect(try client.error(post([type], form)) == "invalid_client")
        #expect(try post([type, basic], form).status == 200)
        #expect(client.services.counters.tokenCalls == 6)
    }

    @Test(arguments: [
        ("password", "unsupported_grant_type"), ("refresh_token", "invalid_request"),
        ("authorization_code", "invalid_request"),
    ])
    func `a token request without its parts is refused`(_ type: String, _ code: String) throws {
        let client = try Client()
        #expect(try client.error(client.post("/token", [("grant_type", type)])) == code)
    }

    // MARK: Refresh

    @Test func `a refresh rotates, and the used token works in its window only`() throws {
        let client = try Client()
        let first = try client.connect()
        let second = try client.tokens(client.refresh(first.refresh))
        #expect(second.refresh != first.refresh)
        #expect(second.access != first.access)
        client.services.advanceClock(seconds: 30)
        let third = try client.tokens(client.refresh(first.refresh))
        #expect(client.services.counters.replays == 1)
        client.services.advanceClock(seconds: 1)
        #expect(try client.error(client.refresh(first.refresh)) == "invalid_grant")
        // The theft that this looks like ends the grant.
        #expect(try client.error(client.refresh(second.refresh)) == "invalid_grant")
        #expect(try client.api("/hello", third.access).status == 401)
        let counters = client.services.counters
        #expect(counters.refreshes == 2)
        #expect(counters.replays == 2)
        #expect(counters.refusals == 2)
    }

    @Test func `without rotation the refresh token stays and none comes back`() throws {
        var options = DemoOptions()
        options.rotation = .off
        let client = try Client(options)
        let first = try client.connect()
        for _ in 0..<3 {
            #expect(try client.json(client.refresh(first.refresh))["refresh_token"] == nil)
        }
        #expect(client.services.counters.replays == 0)
    }

    // MARK: Revocation and introspection

    @Test func `revoking a refresh token ends the grant, an access token only itself`() throws {
        let client = try Client()
        let first = try client.connect()
        #expect(try client.post("/revoke", [("token", first.access)]).status == 200)
        #expect(try client.api("/hello", first.access).status == 401)
        let second = try client.tokens(client.refresh(first.refresh))
        #expect(try client.post("/revoke", [("token", second.refresh)]).status == 200)
        #expect(try client.api("/hello", second.access).status == 401)
        #expect(try client.error(client.refresh(second.refresh)) == "invalid_grant")
        #expect(try client.post("/revoke", [("token", "unknown")]).status == 200)
        #expect(try client.post("/revoke", [("token", first.access)], secret: "wrong").status == 401)
        #expect(client.services.counters.revocations == 3)
    }

    @Test func `introspection tells the active from the rest`() throws {
        let client = try Client()
        let tokens = try client.connect()
        func introspect(_ token: String) throws -> [String: Any] {
            try client.json(client.post("/introspect", [("token", token)]))
        }
        let access = try introspect(tokens.access)
        #expect(access["active"] as? Bool == true)
        #expect(access["sub"] as? String == "alice")
        #expect(access["scope"] as? String == "read write")
        #expect(try introspect(tokens.refresh)["active"] as? Bool == true)
        #expect(try introspect("unknown")["active"] as? Bool == false)
        client.services.expireAllAccessTokens()
        #expect(try introspect(tokens.access)["active"] as? Bool == false)
        #expect(try client.post("/introspect", [("token", tokens.access)], secret: "wrong").status == 401)
    }
}
