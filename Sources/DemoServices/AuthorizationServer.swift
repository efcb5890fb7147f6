import OpenSSLKit
import Reactor
import Synchronization

/// The demo authorization server: RFC 6749 (code grant), 7009, 7636, 7662, 8414, 9207, in memory.
final class AuthorizationServer: Sendable {
    /// An authorization request on its way through sign-in and consent.
    private struct Transaction {
        let session: String
        let redirectURI: String
        let state: String?
        let challenge: String
        let scope: String
        let startedAt: Int64
    }

    private struct State {
        var tokens: AuthorizationState
        var transactions: [String: Transaction] = [:]
        /// The account that is signed in, by session cookie.
        var sessions: [String: String?] = [:]
        var fault: (fault: TokenFault, remaining: Int)?
        var clockOffset: Int64 = 0
        var issuer = ""
    }

    private static let transactionSeconds: Int64 = 600
    private static let transactionLimit = 1000
    private let options: DemoOptions
    private let clientSecret: SecretString
    private let state: Mutex<State>

    init(options: DemoOptions, clientSecret: SecretString) {
        self.options = options
        self.clientSecret = clientSecret
        state = Mutex(
            State(tokens: AuthorizationState(accessSeconds: options.accessTokenSeconds, rotation: options.rotation)))
    }

    // MARK: From outside

    func setIssuer(_ issuer: String) { state.withLock { $0.issuer = issuer } }

    func set(fault: TokenFault?, times: Int) {
        state.withLock { $0.fault = fault.map { ($0, times) } }
    }

    func advanceClock(seconds: Int64) { state.withLock { $0.clockOffset += seconds } }

    func withTokens<Result: Sendable>(_ body: (inout AuthorizationState, _ now: Int64) -> Result) -> Result {
        state.withLock { state in body(&state.tokens, Self.now(state)) }
    }

    private static func now(_ state: State) -> Int64 { WallClock.seconds() + state.clockOffset }

    // MARK: Requests

    func answer(_ request: DemoRequest) -> DemoAnswer {
        switch (request.method, request.path) {
        case ("GET", "/.well-known/oauth-authorization-server"): .respond(metadata())
        case ("GET", "/authorize"): .respond(authorize(request))
        case ("POST", "/sign-in"): .respond(signIn(request))
        case ("POST", "/consent"): .respond(consent(request))
        case ("POST", "/token"): token(request)
        case ("POST", "/revoke"): .respond(revoke(request))
        case ("POST", "/introspect"): .respond(introspect(request))
        case ("GET", "/"): .respond(Pages.start(issuer: state.withLock(\.issuer)))
        default: .respond(Pages.problem(404, "There is no such page here."))
        }
    }

    private func metadata() -> DemoResponse {
        let issuer = state.withLock(\.issuer)
        return .json(
            .object([
                ("issuer", .text(issuer)), ("authorization_endpoint", .text(issuer + "/authorize")),
                ("token_endpoint", .text(issuer + "/token")), ("revocation_endpoint", .text(issuer + "/revoke")),
                ("introspection_endpoint", .text(issuer + "/introspect")),
                ("scopes_supported", .list([.text("read"), .text("write")])),
                ("response_types_supported", .list([.text("code")])),
                ("grant_types_supported", .list([.text("authorization_code"), .text("refresh_token")])),
                ("code_challenge_methods_supported", .list([.text("S256")])),
                (
                    "token_endpoint_auth_methods_supported",
                    .list([.text("client_secret_basic"), .text("client_secret_post")])
                ),
                (
                    "revocation_endpoint_auth_methods_supported",
                    .list([.text("client_secret_basic"), .text("client_secret_post")])
                ),
                ("authorization_response_iss_parameter_supported", .flag(true)),
            ]))
    }

    // MARK: Authorization endpoint

    private func authorize(_ request: DemoRequest) -> DemoResponse {
        let fields = FormFields(request.query)
        // Until client and redirect URI are known to be right, nothing is sent there (RFC 6749 4.1.2.1).
        guard fields.repeated == nil else { return Pages.problem(400, "A parameter is there twice.") }
        guard fields["client_id"] == options.clientID else { return Pages.problem(400, "The client is unknown.") }
        guard let redirectURI = fields["redirect_uri"], isRegistered(redirectURI) else {
            return Pages.problem(400, "The redirect URI is not registered for this client.")
        }
        func refuse(_ code: String) -> DemoResponse {
            redirect(redirectURI, [("error", code)], state: fields["state"])
        }
        guard fields["response_type"] == "code" else { return refuse("unsupported_response_type") }
        guard fields["code_challenge_method"] == "S256", let challenge = fields["code_challenge"],
            Base64.urlDecode(challenge)?.count == 32
        else { return refuse("invalid_request") }
        let scope = fields["scope"] ?? "read"
        guard scope.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else { return refuse("invalid_scope") }
        return begin(request, redirectURI: redirectURI, state: fields["state"], challenge: challenge, scope: scope)
    }

    private func begin(
        _ request: DemoRequest, redirectURI: String, state callerState: String?, challenge: String, scope: String
    ) -> DemoResponse {
        state.withLock { state in
            let now = Self.now(state)
            state.transactions = state.transactions.filter { $0.value.startedAt + Self.transactionSeconds > now }
            guard state.transactions.count < Self.transactionLimit else {
                return Pages.problem(503, "Too many people are signing in. Try again in some minutes.")
            }
            let known = Self.session(request).flatMap { state.sessions[$0] == nil ? nil : $0 }
            let session = known ?? AuthorizationState.secret("session")
            if known == nil { state.sessions[session] = .some(nil) }
            let id = AuthorizationState.secret("transaction")
            state.transactions[id] = Transaction(
                session: session, redirectURI: redirectURI, state: callerState, challenge: challenge, scope: scope,
                startedAt: now)
            var page =
                if let account = state.sessions[session] ?? nil {
                    Pages.consent(transaction: id, client: options.clientID, account: account, scope: scope)
                } else {
                    Pages.signIn(transaction: id, options: options, isRetry: false)
                }
            page.fields.append(("Set-Cookie", "__Host-demo=\(session); Path=/; Secure; HttpOnly; SameSite=Lax"))
            return page
        }
    }

    private func signIn(_ request: DemoRequest) -> DemoResponse {
        let fields = FormFields(String(decoding: request.body, as: UTF8.self))
        return state.withLock { state in
            guard let (id, transaction) = Self.transaction(fields, request, state) else { return Pages.tooLate }
            let password = Array((fields["password"] ?? "").utf8)
            guard fields["account"] == options.account, constantTimeEquals(password, Array(options.password.utf8))
            else { return Pages.signIn(transaction: id, options: options, isRetry: true) }
            state.sessions[transaction.session] = .some(options.account)
            return Pages.consent(
                transaction: id, client: options.clientID, account: options.account, scope: transaction.scope)
        }
    }

    private func consent(_ request: DemoRequest) -> DemoResponse {
        let fields = FormFields(String(decoding: request.body, as: UTF8.self))
        return state.withLock { state in
            guard let (id, transaction) = Self.transaction(fields, request, state),
                let account = state.sessions[transaction.session] ?? nil
            else { return Pages.tooLate }
            state.transactions[id] = nil
            guard fields["decision"] == "allow" else {
                return redirect(
                    transaction.redirectURI, [("error", "access_denied")], state: transaction.state,
                    issuer: state.issuer)
            }
            let code = state.tokens.consented(
                subject: account, scope: transaction.scope, redirectURI: transaction.redirectURI,
                challenge: transaction.challenge, now: Self.now(state))
            return redirect(
                transaction.redirectURI, [("code", code)], state: transaction.state, issuer: state.issuer)
        }
    }

    /// The transaction of a form, if it belongs to the browser that sends it.
    private static func transaction(
        _ fields: FormFields, _ request: DemoRequest, _ state: State
    ) -> (id: String, transaction: Transaction)? {
        guard let id = fields["transaction"], let found = state.transactions[id], session(request) == found.session,
            found.startedAt + transactionSeconds > now(state)
        else { return nil }
        return (id, found)
    }

    private static func session(_ request: DemoRequest) -> String? {
        let cookies = request.head.values("cookie").flatMap { $0.split(separator: ";") }.map { trim(String($0)) }
        return cookies.first { $0.hasPrefix("__Host-demo=") }.map { String($0.dropFirst("__Host-demo=".count)) }
    }

    private func redirect(_ uri: String, _ fields: [(String, String)], state: String?) -> DemoResponse {
        redirect(uri, fields, state: state, issuer: self.state.withLock(\.issuer))
    }

    private func redirect(_ uri: String, _ fields: [(String, String)], state: String?, issuer: String)
        -> DemoResponse
    {
        let all = fields + (state.map { [("state", $0)] } ?? []) + [("iss", issuer)]
        let target = uri + (uri.contains("?") ? "&" : "?") + FormFields.encode(all)
        return DemoResponse(status: 303, fields: Pages.fields + [("Location", target)])
    }

    private func isRegistered(_ uri: String) -> Bool {
        if !options.redirectURIs.isEmpty { return options.redirectURIs.contains(uri) }
        guard let url = DemoURL(uri), !uri.contains("#") else { return false }
        return ["127.0.0.1", "localhost", "[::1]"].contains(url.host)
    }

    // MARK: Token endpoint and its neighbours

    private func token(_ request: DemoRequest) -> DemoAnswer {
        let fault = state.withLock { state -> TokenFault? in
            state.tokens.counters.tokenCalls += 1
            guard let (fault, remaining) = state.fault else { return nil }
            state.fault = remaining > 1 ? (fault, remaining - 1) : nil
            return fault
        }
        switch fault {
        case nil: return .respond(grantTokens(request))
        case .slow(let milliseconds): return .late(milliseconds: milliseconds, grantTokens(request))
        case .cutAfter:
            _ = grantTokens(request)
            return .cut
        case .timeoutAfter:
            _ = grantTokens(request)
            return .hang
        case .cutBefore: return .cut
        case .timeout: return .hang
        case .html: return .respond(Pages.problem(200, "Please accept the terms of this network."))
        case .brokenJSON:
            return .respond(
                DemoResponse(
                    status: 200, fields: [("Content-Type", "application/json")],
                    body: .bytes(Array("{\"access_token\":\"ab".utf8))))
        case .oauthError(let code): return .respond(Self.failure(code))
        case .errorInSuccess(let code): return .respond(.json(.object([("error", .text(code))])))
        case .status(let status, let seconds):
            let retry = seconds.map { [("Retry-After", String($0))] } ?? []
            return .respond(
                DemoResponse(
                    status: status, fields: [("Content-Type", "text/plain")] + retry,
                    body: .bytes(Array("The demo was asked to fail.\n".utf8))))
        }
    }

    private func grantTokens(_ request: DemoRequest) -> DemoResponse {
        guard case .success(let fields) = authenticated(request) else { return Self.failure(error(of: request)) }
        switch fields["grant_type"] {
        case "authorization_code":
            guard let code = fields["code"], let uri = fields["redirect_uri"], let verifier = fields["code_verifier"],
                (43...128).contains(verifier.utf8.count)
            else { return Self.failure("invalid_request") }
            return reply(
                withTokens { tokens, now in
                    tokens.exchange(code: code, redirectURI: uri, verifier: verifier, now: now)
                })
        case "refresh_token":
            guard let token = fields["refresh_token"], !token.isEmpty else { return Self.failure("invalid_request") }
            return reply(withTokens { tokens, now in tokens.refresh(token: token, now: now) })
        case nil: return Self.failure("invalid_request")
        default: return Self.failure("unsupported_grant_type")
        }
    }

    private func reply(_ tokens: AuthorizationState.Tokens?) -> DemoResponse {
        guard let tokens else { return Self.failure("invalid_grant") }
        var members: [(String, DemoJSON)] = [
            ("access_token", .text(tokens.access)), ("token_type", .text("Bearer")),
            ("expires_in", .number(Int(tokens.lifetime))), ("scope", .text(tokens.scope)),
        ]
        if let refresh = tokens.refresh { members.append(("refresh_token", .text(refresh))) }
        return .json(.object(members))
    }

    private func revoke(_ request: DemoRequest) -> DemoResponse {
        guard case .success(let fields) = authenticated(request) else { return Self.failure(error(of: request)) }
        guard let token = fields["token"] else { return Self.failure("invalid_request") }
        withTokens { tokens, _ in tokens.revoke(token: token) }
        return DemoResponse(status: 200, fields: [("Cache-Control", "no-store")])
    }

    private func introspect(_ request: DemoRequest) -> DemoResponse {
        guard case .success(let fields) = authenticated(request) else { return Self.failure(error(of: request)) }
        guard let token = fields["token"] else { return Self.failure("invalid_request") }
        let (access, refresh) = withTokens { tokens, now in
            tokens.counters.introspections += 1
            return (tokens.verdict(access: token, now: now), tokens.verdict(refresh: token))
        }
        let common: [(String, DemoJSON)] = [("active", .flag(true)), ("client_id", .text(options.clientID))]
        if case .active(_, let subject, let scope, let expiresAt) = access {
            return .json(
                .object(
                    common + [
                        ("sub", .text(subject)), ("scope", .text(scope)), ("exp", .number(Int(expiresAt))),
                        ("token_type", .text("Bearer")),
                    ]))
        }
        if let refresh {
            return .json(.object(common + [("sub", .text(refresh.subject)), ("scope", .text(refresh.scope))]))
        }
        return .json(.object([("active", .flag(false))]))
    }

    // MARK: Client authentication

    private enum Refusal: String, Error { case invalidClient = "invalid_client", invalidRequest = "invalid_request" }

    private func error(of request: DemoRequest) -> String {
        guard case .failure(let refusal) = authenticated(request) else { return "invalid_request" }
        return refusal.rawValue
    }

    /// The form of a request whose client has proved itself, by exactly one method (RFC 6749 2.3).
    private func authenticated(_ request: DemoRequest) -> Result<FormFields, Refusal> {
        let type = request.field("content-type")?.split(separator: ";").first.map { trim(String($0)).lowercased() }
        let fields = FormFields(String(decoding: request.body, as: UTF8.self))
        guard type == "application/x-www-form-urlencoded", fields.repeated == nil, request.query.isEmpty else {
            return .failure(.invalidRequest)
        }
        let id: String?
        let secret: String?
        if let authorization = request.field("authorization") {
            guard fields["client_secret"] == nil else { return .failure(.invalidRequest) }
            (id, secret) = Self.basic(authorization) ?? (nil, nil)
        } else {
            (id, secret) = (fields["client_id"], fields["client_secret"])
        }
        let expected = clientSecret.withUnsafeBytes { Array($0) }
        guard id == options.clientID, let secret, constantTimeEquals(Array(secret.utf8), expected) else {
            return .failure(.invalidClient)
        }
        return .success(fields)
    }

    /// Id and secret are form-encoded before they are joined (RFC 6749 2.3.1).
    private static func basic(_ value: String) -> (String?, String?)? {
        let words = value.split(separator: " ", maxSplits: 1)
        guard words.count == 2, words[0].lowercased() == "basic", let bytes = Base64.decode(String(words[1])) else {
            return nil
        }
        let parts = String(decoding: bytes, as: UTF8.self).split(
            separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        return (FormFields.decode(String(parts[0])), FormFields.decode(String(parts[1])))
    }

    private static func failure(_ code: String) -> DemoResponse {
        let isClient = code == "invalid_client"
        return .json(
            .object([("error", .text(code))]), status: isClient ? 401 : 400,
            fields: isClient ? [("WWW-Authenticate", "Basic realm=\"demo\"")] : [])
    }
}
