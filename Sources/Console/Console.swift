package import Telemetry

/// The console as a machine: a request comes in, an action comes out, and where the action is a command its outcome
/// comes in and the response comes out. No socket, no clock, no randomness of its own.
///
/// It keeps next to nothing: sessions are signed cookies, so that each of several replicas knows them; one-time links
/// are the driver's to remember; counts of wrong secrets and of sessions that were signed out here are bounded and in
/// memory. Grants, pending consents and tokens are the driver's.
///
/// Who may do what:
/// - `/livez`, `/readyz`: anybody. `/oauth/callback`, `/oauth/done`: anybody; what protects them is the state and the
///   cookie, or a signature.
/// - all else, with a secret configured: a session, or `Authorization: Bearer`; requests that change something by a
///   session also need their form's token.
/// - all else, without a secret: peers on this machine that name a loopback host (so a web page cannot reach the console
///   by DNS rebinding) and do not come through a proxy.
/// - requests that a browser sends for another site's page change nothing in either case.
package struct Console: Sendable {
    package internal(set) var settings: ConsoleSettings
    /// Used where the settings bring no key: new in each process.
    private let ownKey: [UInt8]
    let stylesheetSource: String
    var endedSessions = SignedOutTable()
    var attempts = AttemptLimiter()

    /// `random` gives that many bytes from the system's generator; here and in every other call it must not fail.
    package init(settings: ConsoleSettings, random: (Int) -> [UInt8]) {
        self.settings = settings
        ownKey = random(32)
        stylesheetSource = "'sha256-\(Encodings.base64(settings.cryptography.sha256(Array(Stylesheet.text.utf8))))'"
    }

    /// Takes over a new snapshot's settings. A changed secret ends every session: their signatures hold it.
    package mutating func settingsChanged(_ newSettings: ConsoleSettings) {
        settings = newSettings
    }

    /// Judges a complete request.
    package mutating func requestReceived(
        _ request: ConsoleRequest, now: Timestamp, random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        var context = self.context(of: request, now: now, random: random)
        if let refusal = refusal(of: request, context: context) { return .respond(refusal) }
        guard let endpoint = context.endpoint else {
            return .respond(failure(.notFound, context))
        }
        guard endpoint.methods.contains(request.method) else {
            var response = failure(.methodNotAllowed, context)
            response.fields.append(ConsoleField("Allow", endpoint.methods.joined(separator: ", ")))
            return .respond(response)
        }
        switch identity(of: request, context: &context, now: now) {
        case .tooManyAttempts(let seconds): return .respond(tooManyAttempts(seconds, context))
        case .stranger where !endpoint.isOpen && !mayUseTicket(request, endpoint):
            return .respond(signInNeeded(endpoint, context))
        case .stranger: break
        case .operator: context.isOperator = true
        }
        if request.method == "POST" {
            return posted(request, endpoint, context, now: now, random: random)
        }
        if request.method == "DELETE" { return deleted(request, endpoint, context) }
        return fetched(request, endpoint, context, now: now, random: random)
    }

    // MARK: What is known of a request

    private func context(
        of request: ConsoleRequest, now: Timestamp, random: (Int) -> [UInt8]
    ) -> ConsoleContext {
        let endpoint = Endpoint(path: pathBelowPrefix(request.path))
        let isSecure = self.isSecure(request)
        let known = request.cookie(ConsoleCookie.form.name(isSecure: isSecure)).flatMap {
            Encodings.isToken($0) ? $0 : nil
        }
        let formCookie = known ?? Encodings.base64URL(random(32))
        let session = request.cookie(ConsoleCookie.session.name(isSecure: isSecure))
        let hasSession = session.map { isSession($0, now: now) } ?? false
        var context = ConsoleContext(
            endpoint: endpoint, isHead: request.method == "HEAD", requestID: request.requestID,
            isForPrograms: endpoint?.isForPrograms ?? request.path.hasPrefix("/api/"), isSecure: isSecure,
            hasSession: hasSession, formCookie: formCookie,
            formToken: signature(of: ["form", formCookie, hasSession ? session ?? "" : ""]))
        if known == nil, endpoint?.hasForm ?? false {
            context.setCookies = [ConsoleCookie.form.field(value: formCookie, isSecure: isSecure, maxAge: nil)]
        }
        return context
    }

    /// A reverse proxy may take the public URL's prefix off, or not.
    private func pathBelowPrefix(_ path: String) -> String {
        let prefix = settings.publicURL.prefix
        guard !prefix.isEmpty, path.hasPrefix(prefix) else { return path }
        let rest = path.dropFirst(prefix.count)
        if rest.isEmpty { return "/" }
        return rest.hasPrefix("/") ? String(rest) : path
    }

    /// Whether this browser would keep a `Secure` cookie: told by the host that it asked for, or by the proxy's word.
    private func isSecure(_ request: ConsoleRequest) -> Bool {
        if settings.servesTLS { return true }
        if request.authority == settings.publicURL.authority { return settings.publicURL.isHTTPS }
        return request.field("x-forwarded-proto")?.lowercased() == "https"
    }

    // MARK: Who and where from

    /// The checks that come before anything is looked up.
    private func refusal(of request: ConsoleRequest, context: ConsoleContext) -> ConsoleResponse? {
        guard request.body.count <= ConsoleLimits.bodyBytes else { return failure(.bodyTooLarge, context) }
        guard !isOpenToAnyHost(request, context.endpoint) else { return nil }
        let host = HostKind(authority: request.authority, publicURL: settings.publicURL)
        switch settings.authentication {
        case .none:
            guard request.isLoopbackPeer, !request.wasForwarded else { return failure(.notLocal, context) }
            guard host == .loopback else { return failure(.hostNotAllowed, context) }
        case .secrets:
            // A page's script cannot make up the field, so a program may use any name for us.
            let isProgram = context.isForPrograms && request.has(field: "authorization")
            guard host != .other || isProgram else { return failure(.hostNotAllowed, context) }
        }
        return nil
    }

    /// What is protected by other means, and must work behind a proxy that rewrites `Host`.
    private func isOpenToAnyHost(_ request: ConsoleRequest, _ endpoint: Endpoint?) -> Bool {
        switch endpoint {
        case .live, .ready, .callback, .consentDone: true
        case .authorize: mayUseTicket(request, endpoint)
        case .dashboard, .grantList, .grantPage, .grantAction, .signIn, .signOut, .metrics, .apiStatus, .apiGrants,
            .apiGrant, .apiAction, .apiKeys, .apiRekey, nil:
            false
        }
    }

    private func mayUseTicket(_ request: ConsoleRequest, _ endpoint: Endpoint?) -> Bool {
        guard case .authorize = endpoint else { return false }
        return request.query.flatMap { Encodings.parameter("ticket", in: $0) } != nil
    }

    private enum Identity {
        case `operator`
        case stranger
        case tooManyAttempts(seconds: Int64)
    }

    private mutating func identity(
        of request: ConsoleRequest, context: inout ConsoleContext, now: Timestamp
    ) -> Identity {
        guard case .secrets = settings.authentication else {
            return isLocalOperator(request) ? .operator : .stranger
        }
        if request.has(field: "authorization"), !isForAnybody(request, context.endpoint) {
            if let seconds = attempts.secondsToWait(peer: request.attemptKey, now: now) {
                return .tooManyAttempts(seconds: seconds)
            }
            if let secret = request.bearerSecret, isSecret(secret) { return .operator }
            attempts.attemptFailed(peer: request.attemptKey, now: now)
            return .stranger
        }
        // A session does for programs' endpoints too, as long as nothing is changed by it: those have no form token.
        let isReading = request.method == "GET" || request.method == "HEAD"
        let isEnough = context.hasSession && (!context.isForPrograms || isReading)
        return isEnough ? .operator : .stranger
    }

    /// What the public reaches through a proxy. A secret is not looked at here: guesses would be counted against all who
    /// come by the same proxy.
    private func isForAnybody(_ request: ConsoleRequest, _ endpoint: Endpoint?) -> Bool {
        switch endpoint {
        case .callback, .consentDone: true
        case .authorize(let name): mayUseTicket(request, .authorize(name))
        case nil, .dashboard, .grantList, .grantPage, .grantAction, .signIn, .signOut, .metrics, .live, .ready,
            .apiStatus,
            .apiGrants, .apiGrant, .apiAction, .apiKeys, .apiRekey:
            false
        }
    }

    /// Without a secret: the same conditions as in ``refusal(of:context:)``, for the endpoints that are open to others.
    private func isLocalOperator(_ request: ConsoleRequest) -> Bool {
        request.isLoopbackPeer && !request.wasForwarded
            && HostKind(authority: request.authority, publicURL: settings.publicURL) == .loopback
    }

    func isSecret(_ text: String) -> Bool {
        guard case .secrets(let digests) = settings.authentication else { return false }
        let given = hash(text)
        // All of them, so that the time does not tell which one it was.
        return digests.reduce(false) { Encodings.constantTimeEqual(given, $1) || $0 }
    }

    // MARK: Hashes and signatures

    func hash(_ text: String) -> [UInt8] {
        settings.cryptography.sha256(Array(text.utf8))
    }

    /// One unambiguous text under the first key: the parts are joined by NUL, which none of them can hold.
    func signature(of parts: [String]) -> String {
        signature(of: parts, under: settings.signingKeys.first ?? ownKey)
    }

    private func signature(of parts: [String], under key: [UInt8]) -> String {
        Encodings.hex(settings.cryptography.hmacSHA256(key, Array(parts.joined(separator: "\0").utf8)))
    }

    /// Under any of the keys: another replica, or we ourselves before a rekey, may have signed with an older one.
    func isSigned(_ parts: [String], by signature: String) -> Bool {
        let keys = settings.signingKeys.isEmpty ? [ownKey] : settings.signingKeys
        return keys.reduce(false) { found, key in
            let expected = Array(self.signature(of: parts, under: key).utf8)
            return Encodings.constantTimeEqual(expected, Array(signature.utf8)) || found
        }
    }

    /// Another endpoint's address for a link or `Location`.
    func link(_ endpoint: Endpoint) -> String {
        settings.publicURL.prefix + endpoint.path
    }
}
