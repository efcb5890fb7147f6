import Testing

@testable import Configuration

/// What grants, templates, routes and stores come to in a snapshot.
struct GrantTests {
    private static let base = """
        [listener.internal]
        address = "127.0.0.1:8080"
        [store]
        path = "/var/lib/token-gateway/grants.db"
        key_file = "/k/store.key"
        [provider.p]
        token_url = "https://a.example/token"
        client_id = "a"
        client_secret_file = "/k/secret"
        [grant.g]
        provider = "p"

        """

    private func read(_ lines: String, provider: String = "") -> Snapshot.Grant? {
        let text = Self.base.replacing("[grant.g]", with: provider + "\n[grant.g]") + lines
        let world = environment(files: ["/k/key.pem": Certificates.other.key])
        return parsed(text, world)?.grant(named: "g")
    }

    @Test func `an unattended grant needs neither console nor authorization endpoint`() throws {
        let grant = try #require(read("type = \"client_credentials\""))
        #expect(grant.acquisition == .clientCredentials && grant.acquisition.isUnattended)
        #expect(grant.providerName == "p")
    }

    @Test func `the claims of an assertion are the grant's`() throws {
        let lines = """
            type = "jwt_bearer"
            subject = "admin@example.com"
            assertion_audience = "https://a.example"
            assertion_lifetime = "5m"
            assertion_claims = { tenant = "t" }

            """
        let grant = try #require(read(lines, provider: "client_key_file = \"/k/key.pem\""))
        guard case .jwtBearer(let assertion) = grant.acquisition else {
            Issue.record("\(grant.acquisition)")
            return
        }
        #expect(assertion.issuer == nil && assertion.subject == "admin@example.com")
        #expect(assertion.audience == "https://a.example" && assertion.lifetime == .seconds(300))
        #expect(assertion.claims == [.init("tenant", "t")])
    }

    @Test func `a token exchange says whose token is exchanged, and for what`() {
        let lines = """
            type = "token_exchange"
            subject_token_file = "/k/token"
            subject_token_type = "jwt"
            requested_token_type = "https://a.example/type"
            audience = ["x", "y"]

            """
        guard case .tokenExchange(let exchange)? = read(lines)?.acquisition else {
            Issue.record("no exchange")
            return
        }
        #expect(exchange.subject == .file(path: "/k/token") && exchange.actor == nil)
        #expect(exchange.subjectTokenType == "urn:ietf:params:oauth:token-type:jwt")
        #expect(exchange.requestedTokenType == "https://a.example/type" && exchange.audiences == ["x", "y"])
    }

    @Test(arguments: [
        ("header:X-Tenant", Snapshot.GrantKeySource.header("x-tenant")), ("path:3", .path(3)), ("caller", .caller),
        ("name:acme@eu.1", .name("acme@eu.1")),
    ])
    func `what names a grant is read`(_ text: String, _ source: Snapshot.GrantKeySource) {
        let node = Node(position: .nowhere, kind: .string(text, raw: text))
        guard case .value(let found) = ValueType<Snapshot.GrantKeySource>.grantKeySource.read(node) else {
            Issue.record("\(text) is refused")
            return
        }
        #expect(found == source)
    }

    @Test(arguments: ["header:", "header:a b", "header:Host", "path:x", "path:33", "caller:x", "name:", "name:a/b", ""])
    func `what cannot name a grant is refused`(_ text: String) {
        let node = Node(position: .nowhere, kind: .string(text, raw: text))
        if case .value(let found) = ValueType<Snapshot.GrantKeySource>.grantKeySource.read(node) {
            Issue.record("\(text) is taken for \(found)")
        }
    }

    @Test func `a database's url is taken apart, and holds no password`() throws {
        let url = "postgresql://gate%40way@[::1]:6432/tokens?sslmode=verify-ca"
        let database = try DatabaseURL.read(url).get()
        #expect(database.user == "gate@way" && database.host == "::1" && database.port == 6432)
        #expect(database.database == "tokens" && database.tls == .verifyCA && database.isLocal)
        let socket = try DatabaseURL.read("postgres://gateway@/tokens?host=/run/postgresql").get()
        #expect(socket.host == "/run/postgresql" && socket.tls == .disable)
        #expect(try DatabaseURL.read("postgresql://u@db/x").get().tls == nil)
    }

    @Test(arguments: [
        "postgresql://", "postgresql://u@h", "postgresql://u@h/%0a", "postgresql://u@h:0/x", "postgresql://u@h/x#y",
        "postgresql://u@h/x?host=relative", "http://u@h/x",
    ])
    func `what is no database's url is refused`(_ text: String) {
        #expect(throws: DatabaseURL.Problem.self) { try DatabaseURL.read(text).get() }
    }

    @Test func `the provider's own variables are filled in where nothing else can give them`() throws {
        let text = full.replacing(
            #"issuer = "https://accounts.zoho.com""#,
            with: """
                authorize_url = "https://{host}/a b"
                """)
        #expect(parsed(text) == nil)
        let good = full.replacing(
            #"issuer = "https://accounts.zoho.com""#,
            with: """
                authorize_url = "https://{host}/{realm}/auth"
                token_url = "https://{host}/token"
                refresh_url = "https://{dc}.example.com/token"
                variables = { host = "sso.example.com:8443", realm = "a b" }
                response_capture = { dc = "dc label" }
                """)
        let provider = try #require(parsed(good)?.providers.first)
        #expect(provider.authorizeURL?.description == "https://sso.example.com:8443/a%20b/auth")
        #expect(provider.tokenURL?.port == 8443 && provider.tokenURLTemplate == nil)
        // One label in front of two fixed ones cannot lead elsewhere: no list of hosts is asked for.
        #expect(provider.refreshURL == nil && provider.refreshURLTemplate?.names == ["dc"])
        #expect(!provider.needsDiscovery && provider.capturedNames == ["dc"])
    }
}
