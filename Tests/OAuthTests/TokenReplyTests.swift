import Testing

@testable import OAuth

struct TokenReplyTests {
    static let now = Moment(monotonic: 0, wall: 1_700_000_000_000)

    private func read(
        _ body: String, status: Int = 200, type: String = "application/json", headers: [HeaderField] = [],
        configure: (inout ProviderSettings) -> Void = { _ in }
    ) -> Result<TokenSet, ProviderProblem> {
        var settings = ProviderSettings(name: "p", clientID: "c")
        configure(&settings)
        let reply = ProviderReply(
            status: status, headers: [HeaderField("Content-Type", type)] + headers, body: Array(body.utf8))
        return TokenReply.read(.success(reply), settings: settings, now: Self.now)
    }

    private func tokens(_ body: String, configure: (inout ProviderSettings) -> Void = { _ in }) -> TokenSet? {
        try? read(body, configure: configure).get()
    }

    private func problem(
        _ body: String, status: Int = 200, type: String = "application/json", headers: [HeaderField] = [],
        configure: (inout ProviderSettings) -> Void = { _ in }
    ) -> ProviderProblem? {
        guard
            case .failure(let problem) = read(body, status: status, type: type, headers: headers, configure: configure)
        else { return nil }
        return problem
    }

    @Test func `a plain reply is read`() throws {
        let tokens = try #require(
            self.tokens(
                #"{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r","scope":"x y","id_token":"q"}"#
            ))
        #expect(tokens.accessToken == Secret("a"))
        #expect(tokens.refreshToken == Secret("r"))
        #expect(tokens.lifetime == 3_600_000)
        #expect(tokens.scopes == ["x", "y"])
    }

    @Test func `a form-encoded reply is read, whatever its type says`() throws {
        let tokens = try #require(
            self.tokens("access_token=gho%5F1&scope=repo%2Cgist&token_type=bearer&expires_in=28800&x") {
                $0.scopeSeparator = ","
            })
        #expect(tokens.accessToken == Secret("gho_1"))
        #expect(tokens.lifetime == 28_800_000)
        #expect(tokens.scopes == ["repo", "gist"])
    }

    @Test(
        arguments: [
            ("3600", 3_600_000), ("3600.5", 3_600_500), (#""3600""#, 3_600_000), (#"" 3600 ""#, 3_600_000),
            ("1e3", 1_000_000), ("0", nil), ("-5", nil), ("null", nil), (#""""#, nil), (#""soon""#, nil), ("true", nil),
            ("0.001", nil), ("1e400", nil), (#""nan""#, nil), (#""inf""#, nil), ("[1]", nil), ("{}", nil),
            ("99999999999999999999999999", TokenReply.lifetimeLimit), ("1e300", TokenReply.lifetimeLimit),
        ] as [(String, Int64?)])
    func `expires_in of every kind is a lifetime or unknown`(text: String, lifetime: Int64?) {
        #expect(tokens(#"{"access_token":"a","expires_in":\#(text)}"#)?.lifetime == .some(lifetime))
    }

    @Test func `an absent expires_in is the default lifetime, or expires_at where that is configured`() {
        #expect(tokens(#"{"access_token":"a"}"#) { $0.defaultLifetime = 60_000 }?.lifetime == 60_000)
        #expect(
            tokens(#"{"access_token":"a","expires_at":1700000100}"#) { $0.paths.expiresAt = "expires_at" }?.lifetime
                == 100_000)
        #expect(
            tokens(#"{"access_token":"a","expires_at":1}"#) { $0.paths.expiresAt = "expires_at" }?.lifetime
                == .some(nil))
        #expect(tokens(#"{"access_token":"a","expires_in":1800000}"#) { $0.expiresUnit = 1 }?.lifetime == 1_800_000)
    }

    @Test(arguments: ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"])
    func `the refresh token's lifetime is read under its usual names`(name: String) {
        #expect(tokens(#"{"access_token":"a","\#(name)":"8640000"}"#)?.refreshTokenLifetime == 8_640_000_000)
        #expect(tokens(#"{"access_token":"a","\#(name)":0}"#)?.refreshTokenLifetime == .some(nil))
    }

    @Test func `an empty, absent or null refresh token is none`() {
        for body in [
            #"{"access_token":"a","refresh_token":""}"#, #"{"access_token":"a"}"#,
            #"{"access_token":"a","refresh_token":null}"#,
        ] {
            #expect(tokens(body)?.refreshToken == .some(nil))
        }
    }

    @Test(arguments: [
        #"a\r\nX-Evil: 1"#, #"a b"#, #"a\u0000"#, #"a\u007f"#, "ä", #"\n"#, #"\t"#, "",
        String(repeating: "a", count: 40_000),
    ])
    func `an access token that must not be in a header is refused`(token: String) throws {
        let problem = try #require(self.problem(#"{"access_token":"\#(token)","expires_in":10}"#))
        #expect(problem.code == "invalid_reply")
        #expect(problem.errorClass == .transient)
    }

    @Test func `a refresh token with control octets is refused`() {
        #expect(problem(#"{"access_token":"a","refresh_token":"r\n"}"#)?.code == "invalid_reply")
    }

    @Test(arguments: ["Bearer", "bearer", "BEARER"])
    func `bearer in any case is the token type`(type: String) {
        #expect(tokens(#"{"access_token":"a","token_type":"\#(type)"}"#) != nil)
    }

    @Test func `another token type is refused unless the provider has a header of its own`() {
        let body = #"{"access_token":"a","token_type":"DPoP"}"#
        #expect(problem(body)?.code == "invalid_reply")
        #expect(tokens(body) { $0.headerScheme = "Zoho-oauthtoken" } != nil)
        #expect(tokens(body) { $0.headerName = "X-Shopify-Access-Token" } != nil)
        #expect(tokens(#"{"access_token":"a"}"#) != nil)
    }

    @Test func `values are found at configured paths`() throws {
        let tokens = try #require(
            self.tokens(
                #"{"ok":true,"authed_user":{"access_token":"u","refresh_token":"ur","scope":"a,b"},"team":{"id":"T1"}}"#
            ) {
                $0.paths.accessToken = "authed_user.access_token"
                $0.paths.refreshToken = "authed_user.refresh_token"
                $0.paths.scope = "authed_user.scope"
                $0.paths.account = "team.id"
                $0.scopeSeparator = ","
            })
        #expect(tokens.accessToken == Secret("u"))
        #expect(tokens.refreshToken == Secret("ur"))
        #expect(tokens.scopes == ["a", "b"])
        #expect(tokens.account == "T1")
    }

    @Test func `a scope list in an array is read, an empty scope says nothing`() {
        #expect(tokens(#"{"access_token":"a","scope":["x","y"]}"#)?.scopes == ["x", "y"])
        #expect(tokens(#"{"access_token":"a","scope":""}"#)?.scopes == .some(nil))
    }

    // MARK: Problems

    @Test(arguments: [
        ("invalid_grant", 400, ErrorClass.permanent), ("invalid_grant", 401, .permanent),
        ("invalid_grant", 403, .permanent),
        ("invalid_grant", 200, .permanent), ("invalid_client", 401, .configuration),
        ("invalid_client", 400, .configuration),
        ("unauthorized_client", 400, .configuration), ("invalid_request", 400, .transient),
        ("invalid_scope", 400, .transient),
        ("unsupported_grant_type", 400, .transient), ("server_error", 400, .transient), ("slow_down", 429, .transient),
        ("invalid_grant", 503, .transient), ("invalid_client", 500, .transient), ("invalid_grant", 429, .transient),
        ("temporarily_unavailable", 503, .transient), ("INVALID_GRANT", 400, .transient),
    ])
    func `an error code has its class`(code: String, status: Int, errorClass: ErrorClass) throws {
        let problem = try #require(self.problem(#"{"error":"\#(code)","error_description":"no"}"#, status: status))
        #expect(problem.errorClass == errorClass)
        #expect(problem.code == code)
        #expect(problem.status == status)
        #expect(problem.outcomeUnknown == (status >= 500))
    }

    @Test func `an alias gives a provider's own code its meaning`() {
        let aliases = ["bad_refresh_token": "invalid_grant", "token_expired": "invalid_grant"]
        #expect(problem(#"{"error":"bad_refresh_token"}"#) { $0.errorAliases = aliases }?.errorClass == .permanent)
        #expect(
            problem("error=bad_refresh_token&error_description=x", type: "text/plain") { $0.errorAliases = aliases }?
                .errorClass == .permanent)
        #expect(
            problem(#"{"ok":false,"error":"token_expired"}"#) { $0.errorAliases = aliases }?.errorClass == .permanent)
        #expect(problem(#"{"error":"bad_refresh_token"}"#)?.errorClass == .transient)
        #expect(
            problem(#"{"error":"invalid_grant"}"#, status: 400) { $0.errorAliases = ["invalid_grant": "server_error"] }?
                .errorClass == .transient)
    }

    @Test(arguments: [400, 401, 403, 404, 408, 429, 500, 502, 503, 504])
    func `a status without an OAuth error is transient, unless an alias names the status`(status: Int) {
        for body in ["", "{}", "[]", "null", "nonsense", #"{"message":"no"}"#] {
            let found = problem(body, status: status)
            #expect(found?.errorClass == .transient)
            #expect(found?.code == "http_\(status)")
        }
        let aliased = problem("", status: status) { $0.errorAliases = ["\(status)": "invalid_grant"] }
        #expect(aliased?.errorClass == .permanent)
    }

    @Test(arguments: [200, 400, 401, 403, 503])
    func `a web page is an intermediary's`(status: Int) {
        for (body, type) in [
            ("<html>blocked</html>", "text/html"), ("  <!doctype html>", "text/plain"),
            ("x", "text/html; charset=utf-8"),
        ] {
            let found = problem(body, status: status, type: type)
            #expect(found?.code == "blocked_by_intermediary")
            #expect(found?.errorClass == .transient)
        }
    }

    @Test(arguments: [301, 302, 303, 307, 308])
    func `a redirect is an error and is not followed`(status: Int) {
        #expect(
            problem("", status: status, headers: [HeaderField("Location", "https://evil.example")])?.code == "redirect")
    }

    @Test(arguments: [
        "", "{", "{}", "[]", #"["access_token"]"#, "null", "\"a\"", "{\"access_token\":\"a\"}x",
        #"{"access_token":{}}"#,
        #"{"access_token":["a"]}"#, #"{"access_token":true}"#, #"{"access_token":null}"#,
        "{\"access_token\":\"\\ud800\"}", "access_token=%zz",
        "access_token=", "\u{0}",
    ])
    func `a 200 without an access token stores nothing`(body: String) {
        #expect(problem(body)?.code == "invalid_reply")
    }

    @Test(arguments: [
        #"{"access_token":12345678}"#, #"{"access_token":1.5e9,"token_type":"Bearer"}"#,
        #"{"access_token":"a","refresh_token":987654321}"#, #"{"access_token":"a","id_token":1}"#,
    ])
    func `a number is no token`(body: String) throws {
        let problem = try #require(self.problem(body))
        #expect(problem.code == "invalid_reply" && problem.errorClass == .transient)
        #expect(problem.detail.hasPrefix("The reply has a number at ") && !problem.detail.contains("9876"))
    }

    @Test func `a number at the first of two paths is refused as well`() {
        let problem = self.problem(#"{"b":7,"c":"x"}"#) { $0.paths.accessToken = "a|b|c" }
        #expect(problem?.detail == "The reply has a number at b, not text.")
    }

    @Test(arguments: [201, 204, 206, 299])
    func `a success that is not 200 is not a token reply`(status: Int) {
        #expect(problem(#"{"access_token":"a"}"#, status: status)?.errorClass == .transient)
    }

    @Test func `an error in a 200 wins over an access token`() {
        #expect(problem(#"{"access_token":"a","error":"invalid_grant"}"#)?.errorClass == .permanent)
        #expect(tokens(#"{"access_token":"a","error":null}"#) != nil)
        #expect(tokens(#"{"access_token":"a","error":""}"#) != nil)
    }

    @Test func `an error that is an object is named by its code`() {
        #expect(problem(#"{"error":{"code":"invalid_grant","message":"m"}}"#, status: 400)?.code == "invalid_grant")
        #expect(problem(#"{"error":{"message":"m"}}"#, status: 400)?.code == "unnamed_error")
        #expect(problem(#"{"errors":[1],"error":["x"]}"#, status: 400)?.code == "unnamed_error")
        #expect(problem(#"{"data":{"err":"e1"}}"#, status: 400) { $0.paths.error = "data.err" }?.code == "e1")
    }

    @Test(
        arguments: [
            ("120", 120_000), (" 7 ", 7000), ("0", 0), ("99999999999999999999", RetryAfter.limit),
            ("Tue, 14 Nov 2023 22:15:00 GMT", 100_000), ("Tuesday, 14-Nov-23 22:15:00 GMT", 100_000),
            ("Tue Nov 14 22:15:00 2023", 100_000), ("Tue, 14 Nov 2022 22:15:00 GMT", 0), ("-5", nil), ("soon", nil),
            ("", nil),
            ("1.5", nil), ("Tue, 14 Nov 2023 25:15:00 GMT", nil), ("Tue, 99 Nov 2023 22:15:00 GMT", nil),
        ] as [(String, Int64?)])
    func `Retry-After is seconds or a date`(text: String, wait: Int64?) {
        #expect(problem("", status: 503, headers: [HeaderField("retry-AFTER", text)])?.retryAfter == wait)
    }

    @Test(arguments: [
        (ProviderFailure.notSent(.refused), "not_sent_refused", false),
        (.notSent(.resolution), "not_sent_resolution", false),
        (.replyLost(.timeout), "timeout", true), (.replyLost(.reset), "reply_lost_reset", true),
        (.tls("bad\u{1b}"), "tls", false),
        (.tooLarge, "reply_too_large", true), (.malformed, "malformed_reply", true),
    ])
    func `a call without a reply is transient and says whether it may have been acted on`(
        failure: ProviderFailure, code: String, unknown: Bool
    ) {
        let settings = ProviderSettings(name: "p", clientID: "c")
        guard case .failure(let problem) = TokenReply.read(.failure(failure), settings: settings, now: Self.now) else {
            Issue.record("a failure became tokens")
            return
        }
        #expect(problem.errorClass == .transient)
        #expect(problem.code == code)
        #expect(problem.outcomeUnknown == unknown)
        #expect(!problem.detail.unicodeScalars.contains { $0.value < 0x20 })
    }

    @Test func `no token and no raw text of the provider is in a problem`() throws {
        let long = String(repeating: "x", count: 5000)
        let body =
            #"{"error":"invalid_grant","error_description":"<b>\u001b[31m\r\nrefresh\#(long)","access_token":"s3cret"}"#
        let found = try #require(problem(body, status: 400))
        let text = String(reflecting: found)
        #expect(!text.contains("s3cret"))
        #expect(!found.detail.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
        #expect(found.detail.count < 400)
        let page = try #require(problem("<html>s3cret</html>", status: 403, type: "text/html"))
        #expect(!String(reflecting: page).contains("s3cret"))
        let bad = try #require(problem(#"{"access_token":"s3cret\n"}"#))
        #expect(!String(reflecting: bad).contains("s3cret"))
    }

    @Test func `a secret that the provider repeats is not in the problem, not even a piece of it`() {
        let padding = String(repeating: "x", count: 150)
        let token = String(repeating: "secret-token", count: 8)
        let body = #"{"error":"invalid_grant","error_description":"\#(padding) \#(token) is unknown"}"#
        let reply = ProviderReply(status: 400, body: Array(body.utf8))
        let settings = ProviderSettings(name: "p", clientID: "c")
        let result = TokenReply.read(.success(reply), settings: settings, now: Self.now, hiding: [Secret(token)])
        guard case .failure(let problem) = result else {
            Issue.record("the reply is an error")
            return
        }
        #expect(!problem.detail.contains("secret-t") && problem.detail.contains("is unknown"))
    }

    @Test func `every cut and every changed octet of a reply is survived`() {
        let body = Array(
            #"{"access_token":"a\u00e9","expires_in":3600,"scope":["x",{"y":[1.5e3,-0,true,null]}],"error":""}"#.utf8)
        let settings = ProviderSettings(name: "p", clientID: "c")
        for index in body.indices {
            _ = TokenReply.read(
                .success(.init(status: 200, body: Array(body[..<index]))), settings: settings, now: Self.now)
            for byte: UInt8 in [0, 0x22, 0x5C, 0x7B, 0x5B, 0x80, 0xFF] {
                var changed = body
                changed[index] = byte
                _ = TokenReply.read(.success(.init(status: 400, body: changed)), settings: settings, now: Self.now)
            }
        }
    }
}
