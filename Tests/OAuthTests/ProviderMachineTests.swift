import Testing

@testable import OAuth

struct ProviderMachineTests {
    static let now = Moment(monotonic: 0, wall: 1_700_000_000_000)
    static let call = TokenCall(
        id: CallID(owner: .grant("g"), number: 1), kind: .refresh(refreshToken: Secret("r 1"), scopes: ["a", "b"]))

    static func settings(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ProviderSettings {
        var settings = GrantDriver.provider
        settings.clientID = "id:ü"
        settings.clientSecrets = [Secret("p:w d")]
        configure(&settings)
        return settings
    }

    private func sent(_ actions: [ProviderAction]) -> (RequestID, ProviderRequest)? {
        for action in actions {
            if case .send(let id, let request, _) = action { return (id, request) }
        }
        return nil
    }

    private func refresh(_ configure: (inout ProviderSettings) -> Void = { _ in }) throws -> ProviderRequest {
        var machine = ProviderMachine(settings: Self.settings(configure))
        return try #require(sent(machine.tokensNeeded(Self.call, now: Self.now))).1
    }

    private func header(_ request: ProviderRequest, _ name: String) -> [String] {
        request.headers.filter { $0.name.lowercased() == name }.map(\.value)
    }

    private func body(_ request: ProviderRequest) -> String {
        String(decoding: request.body, as: UTF8.self)
    }

    // MARK: Requests

    @Test func `Basic encodes both parts before base64 and sends nothing in the body`() throws {
        let request = try refresh()
        #expect(request.method == .post && request.url.description == "https://as.example/token")
        #expect(header(request, "authorization") == ["Basic " + Crypto.base64(Array("id%3A%C3%BC:p%3Aw+d".utf8))])
        #expect(body(request) == "grant_type=refresh_token&refresh_token=r+1")
        #expect(header(request, "content-type") == ["application/x-www-form-urlencoded"])
        #expect(header(request, "accept") == ["application/json"])
        #expect(header(request, "user-agent") == ["token-gateway"])
    }

    @Test func `post and none authenticate by one method only`() throws {
        let post = try refresh { $0.clientAuthentication = .post }
        #expect(header(post, "authorization").isEmpty)
        #expect(body(post).hasSuffix("&client_id=id%3A%C3%BC&client_secret=p%3Aw+d"))
        let none = try refresh { $0.clientAuthentication = .none }
        #expect(header(none, "authorization").isEmpty)
        #expect(body(none).hasSuffix("&client_id=id%3A%C3%BC") && !body(none).contains("secret"))
    }

    @Test func `the scope of a refresh is as configured`() throws {
        #expect(!body(try refresh()).contains("scope"))
        #expect(body(try refresh { $0.refreshScope = .same }).contains("scope=a+b"))
        #expect(
            body(
                try refresh {
                    $0.refreshScope = .list(["x", "y"]); $0.scopeSeparator = ","
                }
            ).contains("scope=x%2Cy"))
    }

    @Test func `extra parameters and headers are sent, but never twice and never over a secret`() throws {
        let request = try refresh {
            $0.tokenParameters = [
                .init("audience", "x"), .init("refresh_token", "evil"), .init("grant_type", "password"),
            ]
            $0.refreshParameters = [.init("audience", "y")]
            $0.tokenHeaders = [HeaderField("user-agent", "mine"), HeaderField("X-More", "1")]
        }
        #expect(body(request) == "grant_type=refresh_token&refresh_token=r+1&audience=y")
        #expect(header(request, "user-agent") == ["mine"])
        #expect(header(request, "x-more") == ["1"])
    }

    @Test func `a JSON body and a refresh endpoint of its own can be set`() throws {
        let request = try refresh {
            $0.tokenBody = .json
            $0.refreshEndpoint = ProviderURL("https://as.example/refresh")
        }
        #expect(request.url.path == "/refresh")
        #expect(JSONValue(request.body)?["refresh_token"]?.text == "r 1")
        #expect(header(request, "content-type") == ["application/json"])
    }

    @Test func `a code goes to the endpoint that was remembered, with its verifier and redirect URI`() throws {
        var machine = ProviderMachine(settings: Self.settings())
        let endpoint = try #require(ProviderURL("https://other.example/t"))
        let kind = TokenCall.Kind.code(
            Secret("c"), verifier: Secret("v"), redirectURI: "https://g/cb", tokenEndpoint: endpoint)
        let call = TokenCall(id: CallID(owner: .consent(1), number: 1), kind: kind)
        let request = try #require(sent(machine.tokensNeeded(call, now: Self.now))).1
        #expect(request.url == endpoint && request.purpose == .codeExchange)
        #expect(
            body(request) == "grant_type=authorization_code&code=c&redirect_uri=https%3A%2F%2Fg%2Fcb&code_verifier=v")
    }

    // MARK: Secrets

    @Test func `secrets are tried in order on invalid_client, one in a call, and the one that worked is remembered`()
        throws
    {
        var machine = ProviderMachine(
            settings: Self.settings {
                $0.clientSecrets = [Secret("old"), Secret("new")]
                $0.clientAuthentication = .post
            })
        let first = try #require(sent(machine.tokensNeeded(Self.call, now: Self.now)))
        #expect(body(first.1).contains("client_secret=old"))
        let refused = ProviderReply(status: 401, body: Array(#"{"error":"invalid_client"}"#.utf8))
        let second = try #require(sent(machine.replyReceived(first.0, .success(refused), now: Self.now)))
        #expect(body(second.1).contains("client_secret=new") && !body(second.1).contains("old"))
        let good = ProviderReply(status: 200, body: Array(#"{"access_token":"a"}"#.utf8))
        guard
            case .tokenCallFinished(_, let report)? = machine.replyReceived(second.0, .success(good), now: Self.now)
                .first
        else {
            Issue.record("not finished")
            return
        }
        #expect(try report.result.get().accessToken == Secret("a"))
        let third = try #require(sent(machine.tokensNeeded(Self.call, now: Self.now)))
        #expect(body(third.1).contains("client_secret=new"))
    }

    @Test func `when every secret was refused once the call ends as a configuration error`() throws {
        var machine = ProviderMachine(
            settings: Self.settings { $0.clientSecrets = [Secret("a"), Secret("b"), Secret("c")] })
        let refused = ProviderReply(status: 400, body: Array(#"{"error":"invalid_client"}"#.utf8))
        var actions = machine.tokensNeeded(Self.call, now: Self.now)
        var calls = 0
        while let (id, _) = sent(actions) {
            calls += 1
            actions = machine.replyReceived(id, .success(refused), now: Self.now)
        }
        #expect(calls == 3)
        guard case .tokenCallFinished(_, let report)? = actions.first, case .failure(let problem) = report.result else {
            Issue.record("not finished")
            return
        }
        #expect(problem.errorClass == .configuration)
    }

    // MARK: Discovery

    private func discovering(_ issuer: String = "https://as.example/t1") -> ProviderMachine {
        var settings = ProviderSettings(name: "p", clientID: "c")
        settings.issuer = issuer
        settings.clientSecrets = [Secret("s")]
        return ProviderMachine(settings: settings)
    }

    private func metadata(_ more: String = "", issuer: String = "https://as.example/t1") -> ProviderOutcome {
        let text =
            #"{"issuer":"\#(issuer)","authorization_endpoint":"https://as.example/a","token_endpoint":"https://as.example/t"\#(more)}"#
        return .success(ProviderReply(status: 200, body: Array(text.utf8)))
    }

    @Test func `metadata is looked for by RFC 8414 and then by OpenID Connect, once for all who wait`() throws {
        var machine = discovering()
        let first = try #require(sent(machine.endpointsNeeded(CallID(owner: .consent(1), number: 1), now: Self.now)))
        #expect(first.1.url.description == "https://as.example/.well-known/oauth-authorization-server/t1")
        #expect(first.1.method == .get)
        #expect(machine.tokensNeeded(Self.call, now: Self.now).isEmpty)
        let missing = ProviderReply(status: 404)
        let second = try #require(sent(machine.replyReceived(first.0, .success(missing), now: Self.now)))
        #expect(second.1.url.description == "https://as.example/t1/.well-known/openid-configuration")
        let actions = machine.replyReceived(
            second.0, metadata(#","authorization_response_iss_parameter_supported":true"#), now: Self.now)
        guard case .endpointsReady(_, let endpoints)? = actions.dropFirst().first else {
            Issue.record("no endpoints")
            return
        }
        #expect(endpoints.requiresIssuerParameter)
        #expect(endpoints.tokenAuthentication == .basic)
        #expect(sent(actions)?.1.url.description == "https://as.example/t")
    }

    @Test(arguments: [
        #"{"issuer":"https://as.example/t1/","authorization_endpoint":"https://x/","token_endpoint":"https://x/"}"#,
        #"{"issuer":"https://evil.example","authorization_endpoint":"https://x/","token_endpoint":"https://x/"}"#,
        #"{"authorization_endpoint":"https://x/","token_endpoint":"https://x/"}"#,
        #"{"issuer":"https://as.example/t1","authorization_endpoint":"https://x/","token_endpoint":"http://x/"}"#,
        #"{"issuer":"https://as.example/t1","authorization_endpoint":"javascript:x","token_endpoint":"https://x/"}"#,
        #"{"issuer":"https://as.example/t1","authorization_endpoint":"https://x/"}"#, "[]", "", "<html>",
    ])
    func `metadata of another issuer or with bad endpoints is refused`(text: String) throws {
        var machine = discovering()
        var actions = machine.tokensNeeded(Self.call, now: Self.now)
        while let (id, _) = sent(actions) {
            actions = machine.replyReceived(id, .success(.init(status: 200, body: Array(text.utf8))), now: Self.now)
        }
        guard case .tokenCallFinished(_, let report)? = actions.last, case .failure(let problem) = report.result else {
            Issue.record("not finished")
            return
        }
        #expect(problem.code == "discovery_failed" && problem.errorClass == .transient && problem.retryAfter != nil)
        #expect(problem.detail.hasSuffix(".") && !problem.detail.hasSuffix(".."))
        // Asking again at once asks nobody.
        #expect(sent(machine.tokensNeeded(Self.call, now: Self.now)) == nil)
        #expect(sent(machine.tokensNeeded(Self.call, now: Moment(monotonic: 2000, wall: 0))) != nil)
    }

    @Test func `a redirect is not followed`() throws {
        var machine = discovering()
        var actions = machine.tokensNeeded(Self.call, now: Self.now)
        while let (id, request) = sent(actions) {
            #expect(request.url.host == "as.example")
            let reply = ProviderReply(status: 302, headers: [HeaderField("Location", "https://evil.example/")])
            actions = machine.replyReceived(id, .success(reply), now: Self.now)
        }
        #expect(machine.endpoints == nil)
    }

    @Test func `old metadata serves while it is fetched again, and a failed fetch keeps it`() throws {
        var machine = discovering()
        let first = try #require(sent(machine.tokensNeeded(Self.call, now: Self.now)))
        _ = machine.replyReceived(first.0, metadata(), now: Self.now)
        let later = Moment(monotonic: 25 * 3_600_000, wall: 0)
        let actions = machine.tokensNeeded(Self.call, now: later)
        let requests = actions.compactMap { if case .send(let id, let request, _) = $0 { (id, request) } else { nil } }
        #expect(requests.map(\.1.purpose) == [.metadata, .refresh])
        let next = try #require(sent(machine.replyReceived(requests[0].0, .failure(.replyLost(.timeout)), now: later)))
        _ = machine.replyReceived(next.0, .failure(.notSent(.refused)), now: later)
        #expect(machine.endpoints != nil)
    }

    @Test(arguments: [
        (#""client_secret_post""#, ClientAuthentication.post), (#""client_secret_basic","client_secret_post""#, .basic),
        (#""private_key_jwt""#, .basic), ("", .basic),
    ])
    func `announced authentication methods are honoured`(list: String, method: ClientAuthentication) throws {
        var machine = discovering()
        let first = try #require(sent(machine.tokensNeeded(Self.call, now: Self.now)))
        _ = machine.replyReceived(
            first.0, metadata(#","token_endpoint_auth_methods_supported":[\#(list)]"#), now: Self.now)
        #expect(machine.endpoints?.tokenAuthentication == method)
    }

    @Test func `another issuer after a reload is discovered anew`() throws {
        var machine = discovering()
        let first = try #require(sent(machine.tokensNeeded(Self.call, now: Self.now)))
        var settings = machine.settings
        settings.issuer = "https://new.example"
        let again = try #require(sent(machine.settingsChanged(settings, now: Self.now)))
        #expect(again.1.url.host == "new.example")
        #expect(machine.replyReceived(first.0, metadata(), now: Self.now).isEmpty)
        #expect(machine.endpoints == nil)
    }

    // MARK: Revocation

    @Test(arguments: [
        (200, "", RevocationCallResult.revoked), (204, "", .revoked), (200, "<html>", .revoked),
        (400, #"{"error":"invalid_token"}"#, .alreadyInvalid),
        (400, #"{"error":"unsupported_token_type"}"#, .notSupported),
        (404, "", .notSupported), (405, "", .notSupported),
    ])
    func `a revocation reply has its meaning`(status: Int, text: String, result: RevocationCallResult) throws {
        var machine = ProviderMachine(
            settings: Self.settings { $0.revocationEndpoint = ProviderURL("https://as.example/r") })
        let call = RevocationCall(id: Self.call.id, token: Secret("t"), hint: .refreshToken)
        let (id, request) = try #require(sent(machine.revocationNeeded(call, now: Self.now)))
        #expect(body(request) == "token=t&token_type_hint=refresh_token")
        let actions = machine.replyReceived(id, .success(.init(status: status, body: Array(text.utf8))), now: Self.now)
        #expect(actions == [.revocationCallFinished(call.id, result)])
    }

    @Test(arguments: [(503, ""), (500, ""), (429, ""), (401, #"{"error":"invalid_client"}"#), (400, "")])
    func `a revocation that did not happen is a failure`(status: Int, text: String) throws {
        let reply = ProviderReply(status: status, headers: [HeaderField("Retry-After", "9")], body: Array(text.utf8))
        guard
            case .failed(let problem) = RevocationReply.read(.success(reply), settings: Self.settings(), now: Self.now)
        else {
            Issue.record("not a failure")
            return
        }
        #expect(problem.retryAfter == 9000)
    }

    @Test func `without an endpoint revocation is not supported`() {
        var machine = ProviderMachine(settings: Self.settings())
        let call = RevocationCall(id: Self.call.id, token: Secret("t"), hint: .refreshToken)
        #expect(machine.revocationNeeded(call, now: Self.now) == [.revocationCallFinished(call.id, .notSupported)])
    }
}
