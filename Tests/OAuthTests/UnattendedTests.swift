import OpenSSLKit
import Testing

@testable import OAuth

/// A provider that answers what the test says, and what it was asked.
private struct Provider {
    var machine: ProviderMachine
    var now = Moment(monotonic: 0, wall: 1_700_000_000_000)
    var sent: [(RequestID, ProviderRequest)] = []
    var reports: [TokenCallReport] = []
    var devices: [Result<DeviceAuthorization, ProviderProblem>] = []
    var endpoints: [Result<ProviderEndpoints, ProviderProblem>] = []
    static let id = CallID(owner: .grant("g"), number: 1)
    static let key = try? ClientKey(algorithm: .es256, keyID: "key 1", key: SigningKey.generate(.p256))

    init(_ configure: (inout ProviderSettings) -> Void = { _ in }) {
        var settings = ProviderSettings(name: "p", clientID: "client")
        settings.tokenEndpoint = ProviderURL("https://as.example/token")
        settings.clientSecrets = [Secret("s3cret")]
        configure(&settings)
        machine = ProviderMachine(settings: settings, random: { [UInt8](repeating: 1, count: $0) })
    }

    mutating func run(_ actions: [ProviderAction]) {
        for action in actions {
            switch action {
            case .send(let id, let request, _): sent.append((id, request))
            case .tokenCallFinished(_, let report): reports.append(report)
            case .deviceAuthorizationFinished(_, let result): devices.append(result)
            case .endpointsReady(_, let found): endpoints.append(.success(found))
            case .endpointsUnavailable(_, let problem): endpoints.append(.failure(problem))
            case .revocationCallFinished, .pushFinished, .note: break
            }
        }
    }

    mutating func ask(
        _ grant: UnattendedGrant, scopes: [String] = [], subject: String? = nil, actor: String? = nil
    ) {
        let call = TokenCall(
            id: Self.id, kind: .unattended(grant, scopes: scopes), subjectToken: subject.map { Secret($0) },
            actorToken: actor.map { Secret($0) })
        run(machine.tokensNeeded(call, now: now))
    }

    mutating func reply(_ body: String, status: Int = 200, headers: [HeaderField] = []) {
        guard let last = sent.last else { return }
        let reply = ProviderReply(status: status, headers: headers, body: Array(body.utf8))
        run(machine.replyReceived(last.0, .success(reply), now: now))
    }

    var body: String { sent.last.map { String(decoding: $0.1.body, as: UTF8.self) } ?? "" }
    /// Of the form that was sent last, all values of that name.
    func values(_ name: String) -> [String] {
        (FormEncoding.decode(body) ?? []).filter { $0.name == name }.map(\.value)
    }
    var authorization: String? { sent.last?.1.headers.first { $0.name == "Authorization" }?.value }
    var problem: ProviderProblem? {
        guard case .failure(let problem)? = reports.last?.result else { return nil }
        return problem
    }
    var tokens: TokenSet? { try? reports.last?.result.get() }
}

struct UnattendedRequestTests {
    @Test func `client credentials ask with scopes and what else the provider wants`() {
        var provider = Provider { $0.tokenParameters = [.init("audience", "https://api.example")] }
        provider.ask(.clientCredentials, scopes: ["a", "b"])
        #expect(provider.body == "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fapi.example")
        #expect(provider.authorization?.hasPrefix("Basic ") == true)
        #expect(provider.sent.first?.1.purpose == .unattended)
        #expect(provider.sent.first?.1.url.description == "https://as.example/token")
        var plain = Provider { $0.scopeSeparator = "," }
        plain.ask(.clientCredentials)
        #expect(plain.body == "grant_type=client_credentials")
        plain.ask(.clientCredentials, scopes: ["x", "y"])
        #expect(plain.values("scope") == ["x,y"])
    }

    @Test func `the next secret is tried for them as for a refresh`() {
        var provider = Provider {
            $0.clientSecrets = [Secret("old"), Secret("new")]; $0.clientAuthentication = .post
        }
        provider.ask(.clientCredentials)
        provider.reply(#"{"error":"invalid_client"}"#, status: 401)
        #expect(provider.values("client_secret") == ["new"])
        provider.reply(#"{"access_token":"a"}"#)
        provider.ask(.clientCredentials)
        #expect(provider.values("client_secret") == ["new"])
    }

    @Test func `a token exchange sends what it is configured to, each audience and resource by itself`() {
        var provider = Provider()
        let exchange = TokenExchange(
            subject: .file("/t"), subjectTokenType: TokenExchange.jwtType, actor: .grant("me"),
            requestedTokenType: TokenExchange.accessTokenType, audiences: ["one", "two"],
            resources: ["https://api.example/", "https://b.example/"])
        provider.ask(.tokenExchange(exchange), scopes: ["s"], subject: "subject.jwt", actor: "actor")
        #expect(provider.values("grant_type") == ["urn:ietf:params:oauth:grant-type:token-exchange"])
        #expect(provider.values("subject_token") == ["subject.jwt"])
        #expect(provider.values("subject_token_type") == ["urn:ietf:params:oauth:token-type:jwt"])
        #expect(provider.values("actor_token") == ["actor"])
        #expect(provider.values("actor_token_type") == ["urn:ietf:params:oauth:token-type:access_token"])
        #expect(provider.values("requested_token_type") == ["urn:ietf:params:oauth:token-type:access_token"])
        #expect(provider.values("audience") == ["one", "two"])
        #expect(provider.values("resource") == ["https://api.example/", "https://b.example/"])
        #expect(provider.values("scope") == ["s"])
    }

    @Test func `a plain token exchange sends no more than it must`() {
        var provider = Provider()
        provider.ask(.tokenExchange(TokenExchange(subject: .grant("x"))), subject: "t")
        #expect(
            FormEncoding.decode(provider.body)?.map(\.name) == ["grant_type", "subject_token", "subject_token_type"])
    }

    @Test func `without the tokens that it exchanges nothing is sent`() {
        var provider = Provider()
        provider.ask(.tokenExchange(TokenExchange(subject: .file("/t"))))
        #expect(provider.problem?.code == "no_subject_token" && provider.problem?.errorClass == .transient)
        #expect(
            provider.problem?.detail.contains("subject token") == true
                && provider.problem?.detail.contains("/t") == true)
        provider.ask(.tokenExchange(TokenExchange(subject: .file("/t"), actor: .grant("machine"))), subject: "t")
        #expect(
            provider.problem?.detail.contains("actor") == true
                && provider.problem?.detail.contains("the grant machine") == true)
        #expect(provider.sent.isEmpty)
    }

    @Test func `a provider that repeats the subject token does not get it into the log`() {
        var provider = Provider()
        provider.ask(.tokenExchange(TokenExchange(subject: .file("/t"))), subject: "subject-token-secret")
        provider.reply(#"{"error":"x","error_description":"bad subject-token-secret"}"#, status: 400)
        #expect(provider.problem?.detail.contains("bad <redacted>") == true)
    }

    // MARK: JWT bearer

    private func claims(_ assertion: String) -> JSONValue? {
        let parts = assertion.split(separator: ".")
        guard parts.count == 3 else { return nil }
        return Base64.urlDecode(String(parts[1])).flatMap { JSONValue($0) }
    }

    @Test func `an assertion has the claims of RFC 7523 and is signed over header and payload`() throws {
        var provider = Provider()
        let claims = AssertionClaims(key: Provider.key, subject: "user@example.com", lifetime: 300_000)
        provider.ask(.jwtBearer(claims), scopes: ["a", "b"])
        #expect(provider.values("grant_type") == ["urn:ietf:params:oauth:grant-type:jwt-bearer"])
        #expect(provider.values("scope") == ["a b"])
        let assertion = try #require(provider.values("assertion").first)
        let parts = assertion.split(separator: ".").map(String.init)
        #expect(parts.count == 3)
        let header = Base64.urlDecode(parts[0]).map { String(decoding: $0, as: UTF8.self) }
        #expect(header == #"{"alg":"ES256","kid":"key 1","typ":"JWT"}"#)
        let payload = Base64.urlDecode(parts[1]).map { String(decoding: $0, as: UTF8.self) }
        #expect(
            payload
                == #"{"aud":"https://as.example/token","exp":1700000290,"iat":1699999990,"iss":"client","jti":"AQEBAQEBAQEBAQEBAQEBAQ","sub":"user@example.com"}"#
        )
        let signature = try #require(Base64.urlDecode(parts[2]))
        let input = Array("\(parts[0]).\(parts[1])".utf8)
        #expect(Provider.key?.key.publicKey.isValid(signature, of: input, algorithm: .es256) == true)
    }

    @Test(
        arguments: [
            (.rs256, .rsa), (.ps256, .rsa), (.es256, .p256), (.es384, .p384), (.edDSA, .ed25519),
        ] as [(SignatureAlgorithm, KeyKind)])
    func `an assertion is signed by each algorithm`(algorithm: SignatureAlgorithm, kind: KeyKind) throws {
        let key = ClientKey(algorithm: algorithm, keyID: nil, key: try SigningKey.generate(kind))
        var provider = Provider()
        provider.ask(.jwtBearer(AssertionClaims(key: key)))
        let parts = try #require(provider.values("assertion").first).split(separator: ".").map(String.init)
        let header = Base64.urlDecode(parts[0]).flatMap { JSONValue($0) }
        #expect(header?["alg"]?.text == algorithm.rawValue && header?["kid"] == nil)
        let signature = try #require(Base64.urlDecode(parts[2]))
        let input = Array("\(parts[0]).\(parts[1])".utf8)
        #expect(key.key.publicKey.isValid(signature, of: input, algorithm: algorithm))
    }

    @Test func `issuer, audience, scope and further claims are as configured, and none replaces ours`() throws {
        var provider = Provider()
        let claims = AssertionClaims(
            key: Provider.key, issuer: "robot@project.example", audience: "https://aud.example", scopePlace: .claim,
            extra: ["tenant": .string("t"), "exp": .number("1"), "iss": .string("evil"), "jti": .string("same")])
        provider.ask(.jwtBearer(claims), scopes: ["https://www.googleapis.com/auth/drive", "email"])
        #expect(provider.values("scope").isEmpty)
        let payload = try #require(provider.values("assertion").first.flatMap { self.claims($0) })
        #expect(payload["iss"]?.text == "robot@project.example" && payload["aud"]?.text == "https://aud.example")
        #expect(payload["scope"]?.text == "https://www.googleapis.com/auth/drive email")
        #expect(payload["tenant"]?.text == "t" && payload["sub"] == nil)
        #expect(payload["exp"]?.integer == 1_700_000_170 && payload["jti"]?.text != "same")
        var both = Provider()
        both.ask(.jwtBearer(AssertionClaims(key: Provider.key, scopePlace: .both)), scopes: ["x"])
        #expect(both.values("scope") == ["x"])
        #expect(both.values("assertion").first.flatMap { self.claims($0) }?["scope"]?.text == "x")
    }

    @Test(
        arguments: [
            (3_600_000, 3600), (3_600_001, 3600), (Int64.max, 3600), (0, 30), (-1, 30), (Int64.min, 30), (60_000, 60),
        ] as [(Int64, Int64)])
    func `an assertion lives an hour at most`(lifetime: Int64, seconds: Int64) throws {
        var provider = Provider()
        provider.ask(.jwtBearer(AssertionClaims(key: Provider.key, lifetime: lifetime)))
        let payload = try #require(provider.values("assertion").first.flatMap { self.claims($0) })
        #expect((payload["exp"]?.integer ?? 0) - (payload["iat"]?.integer ?? 0) == seconds)
    }

    @Test func `the assertion alone says who asks where there is no secret`() {
        var provider = Provider { $0.clientSecrets = [] }
        provider.ask(.jwtBearer(AssertionClaims(key: Provider.key)))
        #expect(FormEncoding.decode(provider.body)?.map(\.name) == ["grant_type", "assertion"])
        var post = Provider { $0.clientAuthentication = .post }
        post.ask(.jwtBearer(AssertionClaims(key: Provider.key)))
        #expect(post.values("client_secret") == ["s3cret"])
        var other = Provider { $0.clientSecrets = [] }
        other.ask(.clientCredentials)
        #expect(other.values("client_id") == ["client"])
    }

    @Test func `parameters of the configuration never replace what a grant hangs on`() {
        var provider = Provider {
            $0.tokenParameters = [
                .init("assertion", "evil"), .init("subject_token", "evil"), .init("device_code", "evil"),
                .init("grant_type", "evil"), .init("subject_token_type", "evil"),
            ]
        }
        provider.ask(.jwtBearer(AssertionClaims(key: Provider.key)))
        #expect(!provider.body.contains("evil"))
        provider.ask(.tokenExchange(TokenExchange(subject: .grant("x"))), subject: "t")
        #expect(!provider.body.contains("evil"))
    }

    @Test func `without a key, or with one that does not sign, nothing is sent`() throws {
        var provider = Provider()
        provider.ask(.jwtBearer(AssertionClaims()))
        #expect(provider.problem?.code == "no_assertion" && provider.problem?.errorClass == .configuration)
        let unfit = ClientKey(algorithm: .rs256, keyID: nil, key: try SigningKey.generate(.p256))
        provider.ask(.jwtBearer(AssertionClaims(key: unfit)))
        #expect(provider.problem?.detail.contains("does not suit the algorithm RS256") == true)
        #expect(provider.problem?.errorClass == .configuration)
        #expect(provider.sent.isEmpty)
    }

    // MARK: Endpoints

    @Test func `a token endpoint is all that an unattended grant needs, and a consent is refused`() {
        var provider = Provider()
        provider.run(provider.machine.endpointsNeeded(Provider.id, now: provider.now))
        guard case .failure(let problem)? = provider.endpoints.first else {
            Issue.record("a consent could begin")
            return
        }
        #expect(problem.errorClass == .configuration && problem.detail.contains("authorization endpoint"))
    }

    @Test func `what is configured does where the metadata cannot be had, for those that need no more`() {
        var provider = Provider { $0.issuer = "https://as.example" }
        provider.ask(.clientCredentials)
        provider.run(provider.machine.endpointsNeeded(Provider.id, now: provider.now))
        #expect(provider.sent.map(\.1.purpose) == [.metadata])
        provider.reply("", status: 404)
        provider.reply("", status: 404)
        #expect(provider.sent.map(\.1.purpose) == [.metadata, .metadata, .unattended])
        guard case .failure(let problem)? = provider.endpoints.first else {
            Issue.record("a consent could begin")
            return
        }
        #expect(problem.code == "discovery_failed")
    }

    @Test func `metadata without an authorization endpoint serves calls and no consent`() {
        var provider = Provider {
            $0.issuer = "https://as.example"
            $0.tokenEndpoint = nil
        }
        provider.ask(.clientCredentials)
        provider.run(provider.machine.endpointsNeeded(Provider.id, now: provider.now))
        provider.reply(#"{"issuer":"https://as.example","token_endpoint":"https://as.example/t"}"#)
        #expect(provider.sent.last?.1.url.path == "/t")
        #expect(provider.endpoints.count == 1 && (try? provider.endpoints.first?.get()) == nil)
    }

    // MARK: Device authorization

    @Test func `a device asks where the metadata says, with scopes and the parameters of a consent`() throws {
        var provider = Provider {
            $0.issuer = "https://as.example"
            $0.clientSecrets = []
            $0.authorizeParameters = [.init("audience", "x"), .init("state", "evil")]
        }
        let id = CallID(owner: .device(1), number: 1)
        provider.run(provider.machine.deviceAuthorizationNeeded(id, scopes: ["a", "b"], now: provider.now))
        provider.reply(
            #"{"issuer":"https://as.example","token_endpoint":"https://as.example/t","device_authorization_endpoint":"https://as.example/d"}"#
        )
        #expect(provider.sent.last?.1.url.path == "/d" && provider.sent.last?.1.purpose == .deviceAuthorization)
        #expect(provider.body == "scope=a+b&client_id=client&audience=x")
        provider.reply(#"{"device_code":"d","user_code":"u","verification_uri":"https://as.example/v"}"#)
        #expect(try provider.devices.first?.get().userCode == "u")
        provider.run(
            provider.machine.tokensNeeded(TokenCall(id: id, kind: .deviceCode(Secret("d"))), now: provider.now))
        #expect(
            provider.body
                == "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d&client_id=client")
        #expect(provider.sent.last?.1.purpose == .devicePoll)
        // A person consented: this refresh token is right, and kept.
        provider.reply(#"{"access_token":"a","refresh_token":"r"}"#)
        #expect(provider.tokens?.refreshToken == Secret("r"))
    }

    @Test func `a device is told when the provider has no such endpoint`() {
        var provider = Provider()
        provider.run(provider.machine.deviceAuthorizationNeeded(Provider.id, scopes: [], now: provider.now))
        guard case .failure(let problem)? = provider.devices.first else {
            Issue.record("no failure")
            return
        }
        #expect(problem.code == "no_endpoints" && problem.errorClass == .configuration)
    }

    @Test func `a device's request tries the next secret as well`() {
        var provider = Provider {
            $0.deviceEndpoint = ProviderURL("https://as.example/device")
            $0.clientAuthentication = .post
            $0.clientSecrets = [Secret("old"), Secret("new")]
        }
        provider.run(provider.machine.deviceAuthorizationNeeded(Provider.id, scopes: [], now: provider.now))
        provider.reply(#"{"error":"invalid_client"}"#, status: 401)
        #expect(provider.values("client_secret") == ["new"])
        provider.reply(#"{"error":"invalid_client"}"#, status: 401)
        #expect(provider.sent.count == 2 && provider.devices.count == 1)
    }
}

struct UnattendedReplyTests {
    private func answered(
        _ grant: UnattendedGrant, _ body: String, status: Int = 200, headers: [HeaderField] = [],
        configure: (inout ProviderSettings) -> Void = { _ in }
    ) -> Provider {
        var provider = Provider(configure)
        provider.ask(grant, scopes: ["s"], subject: "subject")
        provider.reply(body, status: status, headers: headers)
        return provider
    }

    private static let exchange = TokenExchange(subject: .file("/t"))
    private static let all: [UnattendedGrant] = [
        .clientCredentials, .jwtBearer(AssertionClaims(key: Provider.key)), .tokenExchange(exchange),
    ]

    @Test(arguments: all)
    func `a reply without a refresh token is right, and one with it is not kept`(grant: UnattendedGrant) {
        let plain = answered(grant, #"{"access_token":"a","expires_in":60}"#)
        #expect(plain.tokens?.accessToken == Secret("a") && plain.tokens?.lifetime == 60_000)
        let more = answered(grant, #"{"access_token":"a","refresh_token":"r","refresh_token_expires_in":9}"#) {
            $0.refreshTokenLifetime = 1_000_000
        }
        #expect(more.tokens?.accessToken == Secret("a"))
        #expect(more.tokens?.refreshToken == nil && more.tokens?.refreshTokenLifetime == nil)
    }

    // MARK: Token exchange

    @Test(
        arguments: [
            ("urn:ietf:params:oauth:token-type:access_token", nil, true),
            ("urn:ietf:params:oauth:token-type:jwt", nil, true),
            ("urn:ietf:params:oauth:token-type:refresh_token", nil, false),
            ("urn:ietf:params:oauth:token-type:id_token", nil, false),
            (
                "urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:id_token", true
            ),
            (
                "urn:ietf:params:oauth:token-type:refresh_token", "urn:ietf:params:oauth:token-type:refresh_token",
                false
            ),
            ("", nil, false),
        ] as [(String, String?, Bool)])
    func `what was issued must be an access token, or what was asked for`(
        issued: String, requested: String?, isTaken: Bool
    ) {
        var exchange = Self.exchange
        exchange.requestedTokenType = requested
        let provider = answered(
            .tokenExchange(exchange),
            #"{"access_token":"a","token_type":"Bearer","issued_token_type":"\#(issued)"}"#)
        #expect((provider.tokens != nil) == isTaken)
        if !isTaken {
            #expect(provider.problem?.code == "wrong_token_type" && provider.problem?.errorClass == .configuration)
        }
    }

    @Test func `a reply that does not say what was issued is taken`() {
        let provider = answered(.tokenExchange(Self.exchange), #"{"access_token":"a","token_type":"Bearer"}"#)
        #expect(provider.tokens != nil)
    }

    @Test func `a token that is no access token is refused unless the configuration says otherwise`() {
        let body = #"{"access_token":"a","token_type":"N_A","issued_token_type":"\#(TokenExchange.jwtType)"}"#
        let refused = answered(.tokenExchange(Self.exchange), body)
        #expect(refused.problem?.code == "wrong_token_type" && refused.problem?.errorClass == .configuration)
        var exchange = Self.exchange
        exchange.acceptsUntypedToken = true
        #expect(answered(.tokenExchange(exchange), body).tokens != nil)
        #expect(answered(.tokenExchange(Self.exchange), body) { $0.headerName = "X-Token" }.tokens != nil)
        let other = body.replacing("N_A", with: "mac")
        #expect(answered(.tokenExchange(exchange), other).problem?.code == "invalid_reply")
        #expect(answered(.clientCredentials, body).problem?.code == "invalid_reply")
    }

    // MARK: Refusals

    @Test(
        arguments: [
            (all[0], "invalid_grant", .configuration, "what the provider allows this client"),
            (all[1], "invalid_grant", .configuration, "see issuer, subject, audience and key"),
            (all[2], "invalid_grant", .transient, "subject token"),
            (all[2], "invalid_request", .transient, "subject token"),
            (all[0], "unauthorized_client", .configuration, "this type of grant"),
            (all[1], "unauthorized_client", .configuration, "issuer may not use JWT bearer assertions"),
            (
                .jwtBearer(AssertionClaims(key: Provider.key, subject: "u")), "unauthorized_client", .configuration,
                "act for the subject"
            ),
            (all[2], "unauthorized_client", .configuration, "this type of grant"),
            (all[0], "unsupported_grant_type", .configuration, "this type of grant"),
            (all[0], "invalid_scope", .configuration, "scopes"), (all[1], "invalid_scope", .configuration, "scopes"),
            (all[2], "invalid_target", .configuration, "audience and resources"),
            (all[0], "invalid_target", .configuration, "audience and resources"),
            (all[0], "invalid_client", .configuration, ""), (all[0], "invalid_request", .transient, ""),
            (all[0], "temporarily_unavailable", .transient, ""),
        ] as [(UnattendedGrant, String, ErrorClass, String)])
    func `a refusal has its class and says what to look at`(
        grant: UnattendedGrant, code: String, errorClass: ErrorClass, words: String
    ) {
        let provider = answered(grant, #"{"error":"\#(code)","error_description":"because"}"#, status: 400)
        #expect(provider.problem?.errorClass == errorClass)
        #expect(provider.problem?.code == code)
        #expect(provider.problem?.detail.contains("because") == true)
        #expect(words.isEmpty || provider.problem?.detail.contains(words) == true)
    }

    @Test func `a description that is a sentence ends once`() {
        let provider = answered(
            Self.all[2], #"{"error":"invalid_target","error_description":"Not here."}"#, status: 400)
        #expect(
            provider.problem?.detail == "The provider answered invalid_target: Not here. See audience and resources.")
    }

    @Test(arguments: [429, 500, 503])
    func `a refusal with such a status passes`(status: Int) {
        for code in ["invalid_grant", "unauthorized_client", "invalid_scope"] {
            let provider = answered(
                .jwtBearer(AssertionClaims(key: Provider.key)), #"{"error":"\#(code)"}"#, status: status)
            #expect(provider.problem?.errorClass == .transient)
        }
    }

    @Test func `a provider's own words count as what they mean`() {
        let aliased = answered(.clientCredentials, #"{"error":"bad_app"}"#, status: 400) {
            $0.errorAliases = ["bad_app": "invalid_scope"]
        }
        #expect(aliased.problem?.errorClass == .configuration)
        let status = answered(.jwtBearer(AssertionClaims(key: Provider.key)), "", status: 403) {
            $0.errorAliases = ["403": "invalid_grant"]
        }
        #expect(status.problem?.errorClass == .configuration && status.problem?.code == "http_403")
    }

    @Test(
        arguments: [
            ("Tue, 14 Nov 2023 22:13:20 GMT", nil), ("Tue, 14 Nov 2023 22:12:20 GMT", nil),
            ("Tue, 14 Nov 2023 22:14:20 GMT", nil), ("Tue, 14 Nov 2023 22:12:19 GMT", "61 s ahead of"),
            ("Tue, 14 Nov 2023 22:23:20 GMT", "600 s behind"), ("soon", nil), ("", nil),
        ] as [(String, String?)])
    func `an assertion that was refused with clocks apart is told as that and tried again`(date: String, words: String?)
    {
        let provider = answered(
            .jwtBearer(AssertionClaims(key: Provider.key)), #"{"error":"invalid_grant"}"#, status: 400,
            headers: [HeaderField("Date", date)])
        #expect(provider.problem?.detail.contains("clock is") == (words != nil))
        #expect(words.map { provider.problem?.detail.contains($0) == true } ?? true)
        #expect(provider.problem?.errorClass == (words == nil ? .configuration : .transient))
    }

    @Test func `the clock is not blamed for what it cannot cause`() {
        let date = [HeaderField("Date", "Tue, 14 Nov 2023 12:00:00 GMT")]
        for grant in [Self.all[0], Self.all[2]] {
            let provider = answered(grant, #"{"error":"invalid_grant"}"#, status: 400, headers: date)
            #expect(provider.problem?.detail.contains("clock") == false)
        }
        let scope = answered(Self.all[1], #"{"error":"invalid_scope"}"#, status: 400, headers: date)
        #expect(scope.problem?.detail.contains("clock") == false)
    }

    @Test func `a refresh is judged as before`() {
        var provider = Provider()
        let call = TokenCall(id: Provider.id, kind: .refresh(refreshToken: Secret("r"), scopes: []))
        provider.run(provider.machine.tokensNeeded(call, now: provider.now))
        provider.reply(#"{"error":"invalid_grant"}"#, status: 400)
        #expect(provider.problem?.errorClass == .permanent)
    }
}

struct UnattendedDescriptionTests {
    @Test func `a description tells any two grants apart and is the same each time`() {
        let key = Provider.key
        let other = try? ClientKey(algorithm: .es256, keyID: "key 1", key: SigningKey.generate(.p256))
        let extra: [String: JSONValue] = ["a": .string("1"), "b": .string("2"), "c": .string("3")]
        let grants: [UnattendedGrant] = [
            .clientCredentials, .jwtBearer(AssertionClaims(key: key)), .jwtBearer(AssertionClaims(key: other)),
            .jwtBearer(AssertionClaims(key: key, issuer: "x")), .jwtBearer(AssertionClaims(key: key, subject: "x")),
            .jwtBearer(AssertionClaims(key: key, audience: "x")), .jwtBearer(AssertionClaims(key: key, lifetime: 1)),
            .jwtBearer(AssertionClaims(key: key, scopePlace: .claim)),
            .jwtBearer(AssertionClaims(key: key, extra: extra)), .tokenExchange(TokenExchange(subject: .file("x"))),
            .tokenExchange(TokenExchange(subject: .grant("x"))),
            .tokenExchange(TokenExchange(subject: .grant("x"), actor: .grant("y"))),
            .tokenExchange(TokenExchange(subject: .grant("x"), audiences: ["a"])),
            .tokenExchange(TokenExchange(subject: .grant("x"), resources: ["a"])),
            .tokenExchange(TokenExchange(subject: .grant("x"), requestedTokenType: "a")),
            .tokenExchange(TokenExchange(subject: .grant("x"), acceptsUntypedToken: true)),
        ]
        #expect(Set(grants.map(\.description)).count == grants.count)
        let reversed = Dictionary(uniqueKeysWithValues: extra.sorted { $0.key > $1.key })
        let claims = AssertionClaims(key: key, extra: extra)
        #expect(claims.description == AssertionClaims(key: key, extra: reversed).description)
    }
}
