import Testing

@testable import Configuration

struct SnapshotTests {
    @Test func `a token from a file needs no console, store or provider`() throws {
        #expect(mistakes(minimal) == [])
        let snapshot = try #require(parsed(minimal))
        #expect(snapshot.workers == 1)
        #expect(snapshot.console == nil && snapshot.store == nil && snapshot.providers.isEmpty)
        #expect(snapshot.listeners.map(\.address) == [.tcp(.v4(0x7f00_0001), port: 8080)])
        #expect(snapshot.grants.map(\.source) == [.tokenFile(path: "/k/token")])
        #expect(snapshot.grants.map(\.credentialHeader) == [.init(name: "Authorization", scheme: "Bearer")])
        let upstream = try #require(snapshot.upstream(named: "api"))
        #expect(upstream.url.host == "localhost" && upstream.url.port == 8443 && upstream.caFile == "/k/ca.pem")
        let route = try #require(snapshot.routes.first)
        #expect(route.path == .prefix("/") && route.grant == "fixed" && route.retryStatuses == [401])
        #expect(snapshot.log.access == .off)
    }

    @Test func `a provider's grant is complete with console and store`() throws {
        #expect(mistakes(full) == [])
        let snapshot = try #require(parsed(full))
        #expect(snapshot.console?.redirectURI == "https://gateway.example.com/oauth/callback")
        #expect(snapshot.store?.keys == [.file(path: "/k/store.key")])
        let provider = try #require(snapshot.provider(named: "zoho"))
        #expect(provider.issuer == "https://accounts.zoho.com" && provider.needsDiscovery)
        #expect(provider.clientSecrets == [.file(path: "/k/secret")])
        #expect(provider.clientAuthentication == .automatic)
        #expect(
            snapshot.grant(named: "crm")?.source
                == .provider("zoho", scopes: ["ZohoCRM.modules.ALL"], requiredScopes: []))
        #expect(snapshot.grant(named: "crm")?.providerName == "zoho")
        #expect(snapshot.routes.first?.stripPrefix == "/crm")
    }

    @Test func `the defaults are sane`() throws {
        let snapshot = try #require(parsed(full))
        #expect(snapshot.workers == 4)
        #expect(snapshot.timeouts.head == .seconds(10) && snapshot.timeouts.keepAlive == .seconds(75))
        #expect(snapshot.timeouts.drain == .seconds(30) && snapshot.timeouts.bodyIdle == .seconds(60))
        #expect(snapshot.limits.headerBytes == 32768 && snapshot.limits.targetBytes == 16384)
        #expect(snapshot.limits.headerCount == 100 && snapshot.limits.temporaryDirectory == "/tmp")
        let upstream = try #require(snapshot.upstreams.first)
        #expect(upstream.connectTimeout == .seconds(5) && upstream.tlsTimeout == .seconds(5))
        #expect(upstream.firstByteTimeout == .seconds(60) && upstream.maxConnectionAge == .seconds(3600))
        let provider = try #require(snapshot.providers.first)
        #expect(provider.timeout == .seconds(30) && provider.refreshSkew == .seconds(60))
        #expect(provider.replayWindow == .seconds(25) && provider.pkce == .s256 && provider.defaultLifetime == nil)
        let route = try #require(snapshot.routes.first)
        #expect(route.retryBodyLimit == 262_144 && route.requestBodyLimit == nil && route.timeout == .seconds(3600))
        #expect(route.via && !route.forwardAuthorization && !route.forwardCookies && route.forwarded == .off)
    }

    @Test(arguments: [
        ("", "", "Authorization", "Bearer"),
        (#"scheme = "Zoho-oauthtoken""#, "", "Authorization", "Zoho-oauthtoken"),
        (#"header = "X-Shopify-Access-Token""#, "", "X-Shopify-Access-Token", ""),
        ("", #"header = "X-Token""#, "X-Token", ""),
        (#"header = "X-A""#, "header = \"authorization\"", "authorization", "Bearer"),
        (#"header = "X-A""#, #"scheme = "Key""#, "X-A", "Key"),
    ])
    func `a grant's header comes from itself, its provider or RFC 6750`(
        _ provider: String, _ grant: String, _ name: String, _ scheme: String
    ) throws {
        let text = full.replacing("client_id =", with: "\(provider)\nclient_id =")
            .replacing("provider = \"zoho\"", with: "\(grant)\nprovider = \"zoho\"")
        let header = try #require(parsed(text)?.grants.first?.credentialHeader)
        #expect(header == Snapshot.CredentialHeader(name: name, scheme: scheme))
    }

    @Test func `auto authentication is settled where no metadata is fetched`() throws {
        let endpoints = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\""
        let explicit = full.replacing("issuer = \"https://accounts.zoho.com\"", with: endpoints)
        #expect(parsed(explicit)?.providers.first?.clientAuthentication == .clientSecretBasic)
        #expect(parsed(explicit)?.providers.first?.needsDiscovery == false)
        let isPublic = full.replacing("client_secret_file = \"/k/secret\"\n", with: "")
        #expect(parsed(isPublic)?.providers.first?.clientAuthentication == Snapshot.ClientAuthentication.none)
    }

    @Test func `a provider's quirks are read`() throws {
        let quirks = """
            client_id = "x"
            authorize_params = { prompt = "consent", access_type = "offline" }
            token_headers = { "X-Api-Version" = "2" }
            refresh_scope = ["a", "b"]
            error_aliases = { bad_refresh_token = "invalid_grant" }
            paths = { access_token = "authed_user.access_token", account = "team.id", expires_at = "at" }
            keepalive_interval = "30d"
            replay_window = "0s"
            scope_separator = ","
            pkce = "off"
            discovery = "openid"
            revocation_auth = "none"
            scope_param = "user_scope"
            code_param = "spapi_oauth_code"
            token_body = "json"
            expires_unit = "1ms"
            rejection_cooldown = "0s"
            revocation_params = { a = "b" }
            """
        let text = full.replacing("client_id = \"1000.ABC\"", with: quirks)
        #expect(mistakes(text) == [])
        let provider = try #require(parsed(text)?.providers.first)
        #expect(provider.authorizeParameters.map(\.name) == ["prompt", "access_type"])
        #expect(provider.tokenHeaders == [Snapshot.NamedValue(name: "X-Api-Version", value: "2")])
        #expect(provider.refreshScope == .list(["a", "b"]))
        #expect(provider.errorAliases == ["bad_refresh_token": .invalidGrant])
        #expect(provider.replyPaths.accessToken == ["authed_user", "access_token"])
        #expect(provider.replyPaths.refreshToken == ["refresh_token"])
        #expect(provider.keepaliveInterval == .seconds(30 * 86_400) && provider.replayWindow == .zero)
        #expect(provider.scopeSeparator == "," && provider.pkce == .off)
        #expect(provider.replyPaths.account == ["team", "id"] && provider.replyPaths.expiresAt == ["at"])
        #expect(
            provider.discovery == .openID && provider.revocationAuthentication == Snapshot.ClientAuthentication.none)
        #expect(provider.scopeParameter == "user_scope" && provider.codeParameter == "spapi_oauth_code")
        #expect(provider.tokenBody == .json && provider.expiresUnit == .milliseconds(1))
        #expect(provider.rejectionCooldown == .zero && provider.revocationParameters.map(\.name) == ["a"])
    }

    @Test func `an expected account needs the place where accounts are found`() throws {
        let text = full.replacing(
            "provider = \"zoho\"", with: "provider = \"zoho\"\nrequire_refresh_token = false\nexpected_account = \"7\"")
        #expect(
            mistakes(text) == [#"16:20: error: "expected_account" needs "account" in the "paths" of [provider.zoho]"#])
        let grant = try #require(
            parsed(text.replacing("client_id =", with: "paths = { account = \"id\" }\nclient_id ="))?.grants.first)
        #expect(grant.expectedAccount == "7" && grant.requireRefreshToken == false)
    }

    @Test func `routes of one path may differ in host or methods`() throws {
        let more = """
            [route.b]
            path = "/*"
            host = "API.example.com"
            upstream = "api"
            [route.c]
            path = "/*"
            methods = ["GET"]
            upstream = "api"
            [route.d]
            path = "/"
            upstream = "api"
            """
        #expect(mistakes(minimal + more) == [])
        #expect(parsed(minimal + more)?.routes.map(\.host) == [nil, "api.example.com", nil, nil])
    }

    @Test func `plaintext providers are accepted on loopback addresses that say so`() {
        let local = full.replacing("https://accounts.zoho.com", with: "http://[::1]:9000")
            .replacing("client_id =", with: "allow_plaintext = true\nclient_id =")
        #expect(mistakes(local) == [])
        let remote = local.replacing("[::1]", with: "10.0.0.1")
        #expect(mistakes(remote).count == 1)
    }

    @Test func `a console off loopback is accepted with a secret`() {
        let text = full.replacing("127.0.0.1:9090\"", with: "*:9090\"\nsecret_file = \"/k/secret\"")
        #expect(mistakes(text) == [])
    }

    @Test func `the summary names the redirect URI and the routes, and no secret`() throws {
        let text = full.replacing("client_id =", with: "authorize_params = { k = \"${SEED}\" }\nclient_id =")
        let summary = try #require(parsed(text, environment(variables: ["SEED": "hunter2"]))?.summary)
        #expect(
            summary == """
                workers: 4
                listener internal: 127.0.0.1:8080
                console: 127.0.0.1:9090
                redirect URI to register: https://gateway.example.com/oauth/callback
                store: /var/lib/token-gateway/grants.db
                provider zoho: https://accounts.zoho.com, client 1000.ABC, authentication as discovered, \
                endpoints discovered
                grant crm: provider zoho, scopes ZohoCRM.modules.ALL, sent as Authorization: Bearer …
                route crm: /crm/* -> https://www.zohoapis.com/ without /crm, grant crm

                """)
    }

    @Test(arguments: ["https://g.example", "https://g.example/"])
    func `the redirect URI has one slash before its path`(_ url: String) {
        let text = full.replacing("https://gateway.example.com", with: url)
        #expect(parsed(text)?.console?.redirectURI == "https://g.example/oauth/callback")
    }

    @Test func `the order of the file and line ends do not matter`() {
        let tables = minimal.split(separator: "[").reversed().map { "[" + $0 }.dropLast()
        let shuffled = "workers = 1\r\n" + tables.joined().replacing("\n", with: "\r\n")
        #expect(parsed(shuffled) == parsed(minimal))
    }
}
