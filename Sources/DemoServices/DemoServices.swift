package import OpenSSLKit
import Reactor

/// An OAuth authorization server and an API behind it, over TLS on loopback, in this process and in memory: for
/// `token-gateway demo` and for tests of the gateway under faults. All methods may be called from any thread.
package final class DemoServices: Sendable {
    package let options: DemoOptions
    /// The authorization server's issuer identifier, without a slash at the end.
    package let issuer: String
    /// Where the API is, without a slash at the end.
    package let apiURL: String
    /// The authority that both certificates are from.
    package let caPEM: String
    package let clientID: String
    package let clientSecret: SecretString
    private let authorization: AuthorizationServer
    private let issuerServer: DemoServer
    private let apiServer: DemoServer

    /// Starts both services. They run until `stop` or until the object goes.
    package static func start(_ options: DemoOptions = DemoOptions()) throws -> DemoServices {
        try DemoServices(options)
    }

    private init(_ options: DemoOptions) throws {
        let now = WallClock.seconds()
        let validity = Validity(notBefore: now - 3600, notAfter: now + 30 * 86_400)
        let authority = try CertificateAuthority(commonName: "Token Gateway demo authority", validity: validity)
        let certificate = try authority.issue(
            LeafRequest(
                commonName: "Token Gateway demo", dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"],
                validity: validity))
        let clientSecret = options.clientSecret ?? SecretString(AuthorizationState.secret("secret"))
        let authorization = AuthorizationServer(options: options, clientSecret: clientSecret)
        let api = DemoAPI(options: options, authorization: authorization)
        issuerServer = try DemoServer(
            name: "demo-issuer", port: options.issuerPort, certificate: certificate,
            handler: { authorization.answer($0) })
        do {
            apiServer = try DemoServer(
                name: "demo-api", port: options.apiPort, certificate: certificate, handler: { api.answer($0) },
                doorman: { api.answerBeforeBody($0) })
        } catch {
            issuerServer.stop()
            throw error
        }
        issuer = "https://\(options.host):\(issuerServer.port)"
        apiURL = "https://\(options.host):\(apiServer.port)"
        authorization.setIssuer(issuer)
        self.options = options
        self.authorization = authorization
        self.clientSecret = clientSecret
        clientID = options.clientID
        caPEM = authority.certificatePEM
    }

    deinit { stop() }

    /// Ends both services and all their connections, and returns when they are gone. A second call does nothing.
    package func stop() {
        issuerServer.stop()
        apiServer.stop()
    }

    // MARK: Faults

    /// Access tokens that were given out so far are expired from now on; refresh tokens stay good.
    package func expireAllAccessTokens() {
        authorization.withTokens { tokens, _ in tokens.expireAllAccessTokens() }
    }

    /// Access tokens that were given out so far are refused from now on though their time is not over, and nobody is
    /// told.
    package func revokeAccessTokensSilently() {
        authorization.withTokens { tokens, _ in tokens.revokeAllAccessTokens() }
    }

    /// Refresh tokens that were given out so far are unknown from now on: `invalid_grant`.
    package func forgetRefreshTokens() {
        authorization.withTokens { tokens, _ in tokens.forgetRefreshTokens() }
    }

    /// The next `times` requests at the token endpoint meet this fault.
    package func failTokenEndpoint(_ fault: TokenFault, times: Int = .max) {
        authorization.set(fault: times > 0 ? fault : nil, times: times)
    }

    package func healTokenEndpoint() { authorization.set(fault: nil, times: 0) }

    /// Lets the services believe that so much time has gone by; for expiry and grace windows without waiting.
    package func advanceClock(seconds: Int64) { authorization.advanceClock(seconds: seconds) }

    package var counters: DemoCounters { authorization.withTokens { tokens, _ in tokens.counters } }

    // MARK: Help

    /// The bytes that `/download` serves, from `offset` on. Neighbouring blocks of 256 bytes differ.
    package static func pattern(from offset: Int = 0, count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            for index in 0..<count {
                let place = offset &+ index
                buffer[index] = UInt8(truncatingIfNeeded: place &* 167 &+ (place >> 8) &* 59 &+ (place >> 16))
            }
            initialized = count
        }
    }

    /// Goes through sign-in and consent as a person with a browser would, and returns the redirect URL with code and
    /// state (or the error), which the caller then requests.
    package func consentAutomatically(authorizationURL: String, allow: Bool = true) throws(DemoClientError) -> String {
        let client = DemoClient(caPEM: caPEM)
        let first = try client.request("GET", authorizationURL)
        if let location = first.field("location") { return location }
        guard first.status == 200, let cookie = first.field("set-cookie")?.split(separator: ";").first else {
            throw DemoClientError(description: "the authorization endpoint answered \(first.status)")
        }
        let consent = try post(
            "/sign-in", first, String(cookie), [("account", options.account), ("password", options.password)], client)
        guard consent.status == 200 else {
            throw DemoClientError(description: "the sign-in was answered with \(consent.status)")
        }
        let last = try post("/consent", consent, String(cookie), [("decision", allow ? "allow" : "deny")], client)
        guard let location = last.field("location") else {
            throw DemoClientError(description: "the consent was answered with \(last.status)")
        }
        return location
    }

    /// Sends the form of a page back with these fields.
    private func post(
        _ path: String, _ page: DemoReply, _ cookie: String, _ fields: [(String, String)], _ client: DemoClient
    ) throws(DemoClientError) -> DemoReply {
        let marker = "name=\"transaction\" value=\""
        guard let transaction = page.text.after(marker)?.prefix(while: { $0 != "\"" }) else {
            throw DemoClientError(description: "the page before \(path) has no form")
        }
        return try client.request(
            "POST", issuer + path,
            fields: [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", cookie)],
            body: Array(FormFields.encode([("transaction", String(transaction))] + fields).utf8))
    }
}

extension String {
    /// What follows the first occurrence of `marker`.
    fileprivate func after(_ marker: String) -> Substring? {
        var rest = self[...]
        while !rest.isEmpty {
            if rest.hasPrefix(marker) { return rest.dropFirst(marker.count) }
            rest = rest.dropFirst()
        }
        return nil
    }
}
