import Testing

@testable import OAuth

struct ConsentTests {
    static let now = Moment(monotonic: 5000, wall: 1_700_000_000_000)
    static let binding = Secret("binding-0123456789abcdef")

    static func start(
        redirectURI: String = "https://gw.example/oauth/callback",
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) -> Result<ConsentStart, ConsentStartProblem> {
        var grant = GrantSettings(name: "crm", provider: "zoho", scopes: ["a", "b"])
        var provider = GrantDriver.provider
        provider.issuer = "https://as.example"
        configure(&grant, &provider)
        guard let endpoints = ProviderEndpoints(settings: provider, metadata: nil) else {
            return .failure(.badRedirectURI)
        }
        let request = ConsentRequest(
            grant: grant, provider: provider, endpoints: endpoints, redirectURI: redirectURI, binding: binding)
        return ConsentStart.make(request, randomness: (0..<128).map { UInt8($0) }, now: now)
    }

    private func parameters(_ start: ConsentStart) -> [String: String] {
        let query = start.authorizationURL.split(separator: "?", maxSplits: 1).last ?? ""
        return Dictionary((FormEncoding.decode(query) ?? []).map { ($0.name, $0.value) }) { first, _ in first + "!twice"
        }
    }

    // MARK: Start

    @Test func `the authorization URL has PKCE S256, state and everything else once`() throws {
        let start = try Self.start {
            $1.authorizeParameters = [.init("access_type", "offline"), .init("state", "evil")]
        }.get()
        let found = parameters(start)
        #expect(start.authorizationURL.hasPrefix("https://as.example/authorize?"))
        #expect(found["response_type"] == "code" && found["client_id"] == "client" && found["scope"] == "a b")
        #expect(found["redirect_uri"] == "https://gw.example/oauth/callback" && found["access_type"] == "offline")
        #expect(found["code_challenge_method"] == "S256" && found["nonce"] == nil)
        let verifier = try #require(start.pending.verifier)
        #expect(verifier.bytes.count == 43)
        #expect(found["code_challenge"] == Crypto.base64URL(Crypto.sha256(verifier.bytes)))
        #expect(found["state"].map { PendingConsent.key(forState: $0) } == start.key)
        #expect(found["state"]?.count == 43)
        #expect(!start.authorizationURL.contains(verifier.reveal()))
        #expect(PendingConsent(payload: start.pending.encoded()) == start.pending)
    }

    @Test func `the challenge is the one of RFC 7636 appendix B`() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        #expect(Crypto.base64URL(Crypto.sha256(Array(verifier.utf8))) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    }

    @Test func `PKCE can be switched off, openid brings a nonce, quirks are followed`() throws {
        let start = try Self.start {
            $0.scopes = ["openid", "x"]
            $1.pkce = .off
            $1.scopeSeparator = ","
            $1.scopeParameter = "user_scope"
            $1.authorizationEndpoint = ProviderURL("https://as.example/authorize?tenant=1")
        }.get()
        #expect(start.pending.verifier == nil && !start.authorizationURL.contains("code_challenge"))
        #expect(start.authorizationURL.hasPrefix("https://as.example/authorize?tenant=1&"))
        #expect(
            start.authorizationURL.contains("&user_scope=openid%2Cx&") && start.authorizationURL.contains("&nonce="))
    }

    @Test(arguments: [
        "http://gw.example/cb", "https://gw.example/cb#x", "/oauth/callback", "", "https://", "ftp://gw.example/",
        "https://u@gw.example/",
    ])
    func `a redirect URI that is not absolute and https is refused`(text: String) {
        #expect(Self.start(redirectURI: text) == .failure(.badRedirectURI))
    }

    @Test func `a redirect URI on loopback may be plain`() throws {
        #expect(
            try Self.start(redirectURI: "http://127.0.0.1:9090/oauth/callback").get().pending.redirectURI
                == "http://127.0.0.1:9090/oauth/callback")
    }

    // MARK: Callback

    /// The machine with one consent in the store.
    private struct Flow {
        var machine = AuthorizationMachine()
        var store: [String: PendingConsent] = [:]
        var state = ""
        var exchanges: [TokenCall] = []
        var grants: [(TokenSet, Ticket)] = []
        var shown: [CallbackID: ConsentOutcome] = [:]
        var memories: [String: ConsentMemory] = [:]
        var looks: [String] = []
        var takes = 0
        var holdsTakes = false
        var heldKeys: [String] = []
        var now = ConsentTests.now

        init(_ start: Result<ConsentStart, ConsentStartProblem> = ConsentTests.start()) throws {
            let start = try start.get()
            store[start.key] = start.pending
            let query = start.authorizationURL.split(separator: "?", maxSplits: 1)[1]
            state = FormEncoding.decode(query)?.first { $0.name == "state" }?.value ?? ""
        }

        mutating func run(_ actions: [ConsentAction]) {
            for action in actions {
                switch action {
                case .takePending(let key):
                    takes += 1
                    heldKeys.append(key)
                    if !holdsTakes { releaseTake() }
                case .restorePending(let key, let pending): store[key] = pending
                case .exchangeCode(_, let call): exchanges.append(call)
                case .grantTokens(_, _, let tokens, _, let ticket): grants.append((tokens, ticket))
                case .remember(let key, let memory, _): memories[key] = memory
                case .lookAgain(let key, _): looks.append(key)
                case .show(let id, let outcome): shown[id] = outcome
                }
            }
        }

        mutating func releaseTake() {
            let key = heldKeys.removeFirst()
            run(machine.pendingTaken(key: key, store.removeValue(forKey: key), now: now))
        }

        @discardableResult
        mutating func callback(_ number: UInt64, _ query: String, binding: Secret? = ConsentTests.binding)
            -> ConsentOutcome?
        {
            run(machine.callbackReceived(CallbackID(number), query: query, binding: binding, now: now))
            return shown[CallbackID(number)]
        }

        mutating func exchanged(_ result: Result<TokenSet, ProviderProblem>) {
            run(machine.codeExchanged(exchanges[0].id, TokenCallReport(result: result, sentAt: now), now: now))
        }

        mutating func connect() {
            exchanged(.success(TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"))))
            run(
                machine.consentFinished(
                    grants[0].1, .connected(.init(scopes: ["a"], missingScopes: [], warnings: [])), now: now))
        }
    }

    private let connected = ConsentOutcome.connected(
        grant: "crm", ConsentReport(scopes: ["a"], missingScopes: [], warnings: []))

    @Test func `a callback is exchanged, granted and shown`() throws {
        var flow = try Flow()
        #expect(
            flow.callback(1, "code=c%2F1&state=\(flow.state)&iss=https%3A%2F%2Fas.example&unknown=1&unknown=2") == nil)
        guard case .code(let code, let verifier, let redirectURI, let endpoint)? = flow.exchanges.first?.kind else {
            Issue.record("no exchange")
            return
        }
        #expect(code == Secret("c/1") && verifier != nil && redirectURI == "https://gw.example/oauth/callback")
        #expect(endpoint.description == "https://as.example/token")
        flow.connect()
        #expect(flow.shown[CallbackID(1)] == connected)
    }

    @Test func `a second callback is shown the first outcome and makes no exchange`() throws {
        var flow = try Flow()
        flow.callback(1, "code=c&state=\(flow.state)")
        flow.connect()
        #expect(flow.callback(2, "code=c&state=\(flow.state)") == connected)
        #expect(flow.callback(3, "error=access_denied&state=\(flow.state)") == connected)
        #expect(
            flow.callback(4, "code=c&state=\(flow.state)", binding: Secret("another-browser-000000"))
                == .rejected(.unknownState))
        #expect(flow.callback(5, "code=c&state=\(flow.state)", binding: nil) == .rejected(.unknownState))
        #expect(flow.exchanges.count == 1 && flow.takes == 1)
    }

    @Test func `two callbacks at once make one exchange and both see its outcome`() throws {
        var flow = try Flow()
        flow.holdsTakes = true
        flow.callback(1, "code=c&state=\(flow.state)")
        flow.callback(2, "code=c&state=\(flow.state)")
        flow.releaseTake()
        flow.callback(3, "code=c&state=\(flow.state)")
        #expect(flow.takes == 1 && flow.exchanges.count == 1)
        flow.connect()
        for number: UInt64 in 1...3 { #expect(flow.shown[CallbackID(number)] == connected) }
    }

    @Test func `another browser is turned away and does not use the consent up`() throws {
        var flow = try Flow()
        for binding in [nil, Secret("another-browser-000000"), Secret("")] {
            #expect(flow.callback(1, "code=c&state=\(flow.state)", binding: binding) == .rejected(.wrongBrowser))
        }
        #expect(flow.exchanges.isEmpty && flow.store.count == 1)
        flow.callback(2, "code=c&state=\(flow.state)")
        #expect(flow.exchanges.count == 1)
    }

    @Test func `of two browsers at once the one that started goes on`() throws {
        var flow = try Flow()
        flow.holdsTakes = true
        flow.callback(1, "code=c&state=\(flow.state)", binding: Secret("another-browser-000000"))
        flow.callback(2, "code=c&state=\(flow.state)")
        flow.releaseTake()
        #expect(flow.shown[CallbackID(1)] == .rejected(.wrongBrowser))
        #expect(flow.exchanges.count == 1)
    }

    @Test func `unknown, expired and used states cause no token request`() throws {
        var flow = try Flow()
        let other = String(repeating: "A", count: 43)
        #expect(flow.callback(1, "code=c&state=\(other)") == .rejected(.unknownState))
        for state in ["", "short", other + "A", String(repeating: "=", count: 43)] {
            #expect(flow.callback(2, "code=c&state=\(state)") == .rejected(.unknownState))
        }
        #expect(flow.callback(3, "code=c") == .rejected(.unknownState))
        flow.now.wall += PendingConsent.lifetime
        #expect(flow.callback(4, "code=c&state=\(flow.state)") == .rejected(.unknownState))
        #expect(flow.exchanges.isEmpty)
    }

    /// Replicas share the wall time and nothing else: each has a monotonic clock of its own.
    @Test(arguments: [-3_600_000, -300_000, 300_000, 590_000] as [Int64])
    func `a callback is taken at a replica whose clock is minutes off`(skew: Int64) throws {
        #expect(PendingConsent.lifetime == 600_000)
        var flow = try Flow()
        flow.now.wall += skew
        flow.now.monotonic = 77_000_000
        flow.callback(1, "code=c&state=\(flow.state)")
        #expect(flow.exchanges.count == 1)
        flow.connect()
        #expect(flow.shown[CallbackID(1)] == connected)
        #expect(flow.callback(2, "code=c&state=\(flow.state)") == connected)
        #expect(flow.takes == 1)
    }

    @Test(arguments: [
        ("code=c&code=d&state=S", CallbackRejection.repeatedParameter), ("code=c&state=S&state=S", .repeatedParameter),
        ("code=c&state=S&iss=a&iss=a", .repeatedParameter), ("error=a&error=b&state=S", .repeatedParameter),
        ("code=c&error=access_denied&state=S", .codeAndError), ("state=S", .neitherCodeNorError),
        ("code=&state=S", .malformed),
        ("code=%zz&state=S", .malformed), ("code=%ff&state=S", .malformed), ("code=%0a&state=S", .malformed),
        ("code=c&state=S&iss=https%3A%2F%2Fevil.example", .otherIssuer),
        ("code=c&state=S&iss=https%3A%2F%2Fas.example%2F", .otherIssuer),
        ("error=x&state=S&iss=https%3A%2F%2Fevil.example", .otherIssuer), ("code=c&state=S&iss=", .otherIssuer),
        ("code=c&state=S&x=" + String(repeating: "y", count: 8192), .tooLong),
    ])
    func `a callback that is not as it must be is refused without a token request`(
        query: String, reason: CallbackRejection
    ) throws {
        var flow = try Flow()
        #expect(flow.callback(1, query.replacing("=S", with: "=\(flow.state)")) == .rejected(reason))
        #expect(flow.exchanges.isEmpty)
        #expect(!reason.explanation.isEmpty)
    }

    @Test func `a missing iss is refused where it is announced or configured`() throws {
        var flow = try Flow(Self.start { $1.requireIssuerParameter = true })
        #expect(flow.callback(1, "code=c&state=\(flow.state)") == .rejected(.missingIssuer))
        #expect(flow.exchanges.isEmpty)
        var good = try Flow(Self.start { $1.requireIssuerParameter = true })
        good.callback(1, "code=c&state=\(good.state)&iss=https%3A%2F%2Fas.example")
        #expect(good.exchanges.count == 1)
    }

    @Test func `a refusal by the provider is told, cleaned`() throws {
        var flow = try Flow()
        let outcome = flow.callback(
            1, "error=access_denied&error_description=no%0D%0A%1B%5B31m%3Cb%3E&state=\(flow.state)")
        #expect(outcome == .deniedByProvider(grant: "crm", code: "access_denied", description: "no???[31m<b>"))
        #expect(flow.exchanges.isEmpty)
    }

    @Test func `an exchange that fails is told and not repeated`() throws {
        var flow = try Flow()
        flow.callback(1, "code=c&state=\(flow.state)")
        let problem = ProviderProblem(.permanent, code: "invalid_grant", detail: "no")
        flow.exchanged(.failure(problem))
        #expect(flow.shown[CallbackID(1)] == .exchangeFailed(grant: "crm", problem))
        #expect(flow.callback(2, "code=c&state=\(flow.state)") == .exchangeFailed(grant: "crm", problem))
        #expect(flow.exchanges.count == 1)
    }

    @Test func `what the grant refuses or cannot store is shown`() throws {
        for (result, outcome) in [
            (TicketResult.consentRefused(.noRefreshToken), ConsentOutcome.refused(grant: "crm", .noRefreshToken)),
            (.consentNotStored, .notStored(grant: "crm")),
        ] {
            var flow = try Flow()
            flow.callback(1, "code=c&state=\(flow.state)")
            flow.exchanged(.success(TokenSet(accessToken: Secret("a"))))
            #expect(flow.machine.owns(flow.grants[0].1))
            flow.run(flow.machine.consentFinished(flow.grants[0].1, result, now: flow.now))
            #expect(flow.shown[CallbackID(1)] == outcome)
        }
    }

    @Test func `a store that is down is told, and the consent is still good`() throws {
        var flow = try Flow()
        flow.holdsTakes = true
        flow.callback(1, "code=c&state=\(flow.state)")
        flow.run(flow.machine.takeFailed(key: flow.heldKeys.removeFirst()))
        #expect(flow.shown[CallbackID(1)] == .rejected(.storeUnavailable))
        flow.holdsTakes = false
        flow.callback(2, "code=c&state=\(flow.state)")
        #expect(flow.exchanges.count == 1)
    }

    @Test func `running callbacks are bounded, and lost ones make room`() throws {
        var flow = try Flow()
        flow.holdsTakes = true
        for number in 0..<AuthorizationMachine.runLimit {
            let tail = String(number)
            flow.callback(UInt64(number), "code=c&state=\(tail)\(String(repeating: "A", count: 43 - tail.count))")
        }
        #expect(flow.callback(9999, "code=c&state=\(flow.state)") == .rejected(.tooManyCallbacks))
        flow.now.monotonic += PendingConsent.lifetime
        flow.heldKeys = []
        flow.holdsTakes = false
        flow.callback(10_000, "code=c&state=\(flow.state)")
        #expect(flow.exchanges.count == 1)
    }
}
