import Testing

@testable import OAuth

@Suite struct PushedRequestTests {
    private static func start(
        _ configure: (inout ProviderSettings) -> Void, metadata: (inout ProviderMetadata) -> Void = { _ in }
    ) -> Result<ConsentStart, ConsentStartProblem> {
        let provider = ScriptedServer.settings(configure)
        var found = ProviderMetadata(issuer: ScriptedServer.issuer)
        metadata(&found)
        guard let endpoints = ProviderEndpoints(settings: provider, metadata: found) else {
            return .failure(.badRedirectURI)
        }
        let request = ConsentRequest(
            grant: GrantSettings(name: "g", provider: "p", scopes: ["a"]), provider: provider, endpoints: endpoints,
            redirectURI: "https://gw.example/cb", binding: Secret("binding-0123456789abcdef"))
        return ConsentStart.make(
            request, randomness: (0..<128).map { UInt8($0) }, now: Moment(monotonic: 0, wall: ScriptedServer.wall))
    }

    private static let endpoint = ProviderURL("https://as.example/par")

    @Test(arguments: [
        // setting, offered, required by the server: pushed?
        (PushedRequests.automatic, true, false, true), (.automatic, false, false, false),
        (.automatic, true, true, true),
        (.off, true, false, false), (.off, true, true, true), (.off, false, false, false),
        (.required, true, false, true),
    ])
    func `requests are pushed where that is offered or required`(
        setting: PushedRequests, offered: Bool, required: Bool, pushed: Bool
    ) throws {
        let start = try Self.start {
            $0.pushedRequests = setting
        } metadata: {
            $0.pushedRequestEndpoint = offered ? Self.endpoint : nil
            $0.requiresPushedRequests = required
        }.get()
        #expect((start.pushed != nil) == pushed)
    }

    @Test func `where pushing is required and nobody says where, no consent starts`() {
        #expect(Self.start { $0.pushedRequests = .required } == .failure(.noPushedRequestEndpoint))
        let required = Self.start({ _ in }, metadata: { $0.requiresPushedRequests = true })
        #expect(required == .failure(.noPushedRequestEndpoint))
    }

    @Test func `only the client and the reference go through the browser`() throws {
        let start = try Self.start {
            $0.pushedRequestEndpoint = Self.endpoint
            $0.authorizationEndpoint = ProviderURL("https://as.example/authorize?tenant=1")
            $0.authorizeParameters = [.init("prompt", "consent"), .init("request_uri", "evil")]
            $0.resources = ["https://api.example/a", "https://api.example/b"]
        }.get()
        let url = start.authorizationURL(pushed: PushedRequest(requestURI: "urn:x:1&2", expiresIn: 60_000))
        #expect(url == "https://as.example/authorize?tenant=1&client_id=client&request_uri=urn%3Ax%3A1%262")
        let pushed = try #require(start.pushed)
        let names = pushed.map(\.name)
        for name in ["response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "prompt"] {
            #expect(names.filter { $0 == name }.count == 1)
        }
        #expect(names.filter { $0 == "resource" }.count == 2 && !names.contains("request_uri"))
    }

    private func pushing(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> ScriptedServer {
        var server = ScriptedServer {
            $0.pushedRequestEndpoint = Self.endpoint
            configure(&$0)
        }
        server.run(
            server.machine.pushNeeded(
                CallID(owner: .consent(0), number: 7), [.init("response_type", "code"), .init("state", "x y")],
                now: server.now))
        return server
    }

    /// RFC 9449 section 10.1: a server must take either, and glewlwyd refuses a proof.
    @Test func `a pushed request names the key of its consent, and carries no proof`() throws {
        let start = try Self.start {
            $0.dpop = .on
            $0.pushedRequestEndpoint = Self.endpoint
        }.get()
        let parameters = try #require(start.pushed)
        let key = try #require(start.pending.proofKey.flatMap { ProofKey(encoded: $0.reveal()) })
        var server = ScriptedServer {
            $0.dpop = .on
            $0.pushedRequestEndpoint = Self.endpoint
        }
        server.run(
            server.machine.pushNeeded(CallID(owner: .consent(0), number: 7), parameters, now: server.now))
        let request = try #require(server.requests.first)
        #expect(request.parameter("dpop_jkt") == key.thumbprint && request.header("dpop") == nil)
    }

    @Test func `a request is pushed as a form, whatever the token endpoint takes`() throws {
        var server = pushing { $0.tokenBody = .json }
        let request = try #require(server.requests.first)
        #expect(request.url == Self.endpoint && request.purpose == .pushedRequest && request.method == .post)
        #expect(request.header("content-type") == "application/x-www-form-urlencoded")
        #expect(request.parameter("state") == "x y" && request.header("authorization")?.hasPrefix("Basic ") == true)
        server.reply(201, #"{"request_uri":"urn:ietf:params:oauth:request_uri:abc","expires_in":90}"#)
        #expect(
            server.pushes
                == [.success(.init(requestURI: "urn:ietf:params:oauth:request_uri:abc", expiresIn: 90_000))])
    }

    @Test(arguments: [
        (201, #"{"expires_in":90}"#, "invalid_reply"), (201, #"{"request_uri":""}"#, "invalid_reply"),
        (201, #"{"request_uri":"a b"}"#, "invalid_reply"), (201, #"{"request_uri":"a\nb"}"#, "invalid_reply"),
        (201, #"{"request_uri":4711,"expires_in":90}"#, "invalid_reply"), (201, "", "http_201"),
        (400, #"{"error":"invalid_request"}"#, "invalid_request"),
        (413, "", "http_413"), (429, "", "http_429"), (503, "<html>", "blocked_by_intermediary"),
        (302, "", "redirect"), (201, #"{"error":"invalid_target"}"#, "invalid_target"),
    ])
    func `a push that did not happen says why, and is not repeated`(status: Int, body: String, code: String) {
        var server = pushing()
        server.reply(status, body)
        guard case .failure(let problem)? = server.pushes.first else {
            Issue.record("not a failure")
            return
        }
        #expect(problem.code == code)
        #expect(server.requests.count == 1 && server.open.isEmpty)
    }

    @Test func `a lost reply, and a lifetime that is not said`() {
        var server = pushing()
        server.reply(.failure(.replyLost(.timeout)))
        #expect(server.pushes.count == 1)
        server = pushing()
        server.reply(201, #"{"request_uri":"urn:a"}"#)
        #expect(server.pushes == [.success(.init(requestURI: "urn:a", expiresIn: 60_000))])
    }

    @Test func `a refused secret is followed by the next, as at the token endpoint`() {
        var server = pushing {
            $0.clientAuthentication = .post
            $0.clientSecrets = [Secret("one"), Secret("two")]
        }
        server.refuseClient()
        server.reply(201, #"{"request_uri":"urn:a","expires_in":5}"#)
        #expect(server.requests.map { $0.parameter("client_secret") } == ["one", "two"])
        server.tokens()
        #expect(server.requests.last?.parameter("client_secret") == "two")
    }

    @Test func `without an endpoint a push fails`() {
        var server = ScriptedServer()
        server.run(server.machine.pushNeeded(CallID(owner: .consent(0), number: 1), [], now: server.now))
        #expect(server.requests.isEmpty && server.pushes.count == 1)
    }
}
