/// What starts a consent, and how the answer will come back.
package struct ConsentRequest: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// The callback comes from the browser, with the cookie that was set at the start.
        case browser
        /// The operator pastes the redirected URL into the command that started, which holds the binding.
        case paste
    }

    package var grant: GrantSettings
    package var provider: ProviderSettings
    package var endpoints: ProviderEndpoints
    /// `public_url` + /oauth/callback: from the configuration, never from a request (checklist D7).
    package var redirectURI: String
    /// The secret that the starting browser (as a cookie) or command keeps; at least 128 bits, in any text form.
    package var binding: Secret
    package var kind: Kind

    package init(
        grant: GrantSettings, provider: ProviderSettings, endpoints: ProviderEndpoints, redirectURI: String,
        binding: Secret, kind: Kind
    ) {
        self.grant = grant
        self.provider = provider
        self.endpoints = endpoints
        self.redirectURI = redirectURI
        self.binding = binding
        self.kind = kind
    }
}

/// A consent that waits for its callback; kept in the store under `key`, sealed, bounded in number, taken once.
package struct PendingConsent: Sendable, Equatable {
    /// How long a person has.
    package static let lifetime: Int64 = 600_000
    /// More than this in the store: a new start is refused, so that a flood does not evict a real one (checklist E8).
    package static let limit = 200

    package var grant: String
    package var provider: String
    package var kind: ConsentRequest.Kind
    package var issuer: String?
    package var requiresIssuer: Bool
    package var tokenEndpoint: ProviderURL
    package var redirectURI: String
    package var codeParameter: String
    package var verifier: Secret?
    /// What the callback must give besides the code, and the grant's variables; nil: nothing.
    package var capture: PendingCapture?
    /// Of the binding, with a prefix of its own.
    package var bindingHash: String
    /// Wall milliseconds.
    package var expiresAt: Int64

    package static func bindingHash(_ binding: Secret) -> String {
        Crypto.base64URL(Crypto.sha256(Array("token-gateway consent binding\n".utf8) + binding.bytes))
    }

    /// What the store knows it by: the state itself is nowhere but in the browser.
    package static func key(forState state: String) -> String {
        Crypto.base64URL(Crypto.sha256(Array("token-gateway consent state\n\(state)".utf8)))
    }

    func isBound(to binding: Secret?) -> Bool {
        guard let binding else { return false }
        return Crypto.constantTimeEquals(Array(Self.bindingHash(binding).utf8), Array(bindingHash.utf8))
    }
}

extension PendingConsent: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "pending consent for \(grant)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension PendingConsent {
    private static let format = "1"

    /// The payload for the store, to be sealed.
    package func encoded() -> [UInt8] {
        var members: [String: JSONValue] = [
            "format": .string(Self.format), "grant": .string(grant), "provider": .string(provider),
            "kind": .string(kind.rawValue), "requires_issuer": .bool(requiresIssuer),
            "token_endpoint": .string(tokenEndpoint.description), "redirect_uri": .string(redirectURI),
            "code_parameter": .string(codeParameter), "binding_hash": .string(bindingHash),
            "expires_at": .number(String(expiresAt)),
        ]
        members["issuer"] = issuer.map { .string($0) }
        members["verifier"] = verifier.map { .string($0.reveal()) }
        members["capture"] = capture?.json
        return JSONValue.object(members).encoded()
    }

    /// nil for what `encoded()` does not make.
    package init?(payload: [UInt8]) {
        guard let json = JSONValue(payload), json["format"]?.text == Self.format else { return nil }
        guard let grant = json["grant"]?.text, let provider = json["provider"]?.text else { return nil }
        guard let kind = json["kind"]?.text.flatMap(ConsentRequest.Kind.init(rawValue:)) else { return nil }
        guard let tokenEndpoint = json["token_endpoint"]?.text.flatMap({ ProviderURL($0) }) else { return nil }
        guard let redirectURI = json["redirect_uri"]?.text, let bindingHash = json["binding_hash"]?.text else {
            return nil
        }
        let capture = json["capture"].flatMap { PendingCapture($0) }
        guard capture != nil || json["capture"] == nil else { return nil }
        guard let expiresAt = json["expires_at"]?.integer, let code = json["code_parameter"]?.text else { return nil }
        self.init(
            grant: grant, provider: provider, kind: kind, issuer: json["issuer"]?.text,
            requiresIssuer: json["requires_issuer"]?.flag ?? true, tokenEndpoint: tokenEndpoint,
            redirectURI: redirectURI, codeParameter: code, verifier: json["verifier"]?.text.map { Secret($0) },
            capture: capture, bindingHash: bindingHash, expiresAt: expiresAt)
    }
}

/// The authorization request (RFC 6749 section 4.1.1), ready for the browser.
package struct ConsentStart: Sendable, Equatable {
    /// Holds the state: show it to the operator who asked, and log it nowhere.
    package var authorizationURL: String
    /// To be put into the store before the browser is sent away; `expiresAt` and `PendingConsent.limit` go with it.
    package var key: String
    package var pending: PendingConsent
}

package enum ConsentStartProblem: Error, Sendable, Hashable {
    /// The redirect URI is not absolute, has a fragment, or is plain http on an address that is not loopback.
    case badRedirectURI
    case notEnoughRandomness
    case bindingTooShort
}

extension ConsentStart {
    /// Octets of fresh randomness that one start uses: state, verifier and nonce, 256 bits each.
    package static let randomnessBytes = 96

    /// Builds state, PKCE pair and URL. `randomness` must come from the system's generator and be used once.
    package static func make(
        _ request: ConsentRequest, randomness: [UInt8], now: Moment, lifetime: Int64 = PendingConsent.lifetime
    ) -> Result<ConsentStart, ConsentStartProblem> {
        guard randomness.count >= randomnessBytes else { return .failure(.notEnoughRandomness) }
        guard request.binding.bytes.count >= 16 else { return .failure(.bindingTooShort) }
        guard isAcceptable(redirectURI: request.redirectURI) else { return .failure(.badRedirectURI) }
        let state = Crypto.base64URL(Array(randomness[0..<32]))
        let usesPKCE = request.provider.pkce == .s256
        let verifier = usesPKCE ? Secret(Crypto.base64URL(Array(randomness[32..<64]))) : nil
        let nonce = request.grant.scopes.contains("openid") ? Crypto.base64URL(Array(randomness[64..<96])) : nil
        let pending = PendingConsent(
            grant: request.grant.name, provider: request.provider.name, kind: request.kind,
            issuer: request.endpoints.issuer, requiresIssuer: request.endpoints.requiresIssuerParameter,
            tokenEndpoint: request.endpoints.token, redirectURI: request.redirectURI,
            codeParameter: request.provider.codeParameter, verifier: verifier,
            capture: PendingCapture(request.provider, variables: request.grant.variables),
            bindingHash: PendingConsent.bindingHash(request.binding),
            expiresAt: now.wall.saturatingAdd(lifetime))
        return .success(
            ConsentStart(
                authorizationURL: url(request, state: state, verifier: verifier, nonce: nonce),
                key: PendingConsent.key(forState: state), pending: pending))
    }

    /// Absolute, https or on loopback, without a fragment (RFC 6749 section 3.1.2, checklist D7).
    package static func isAcceptable(redirectURI: String) -> Bool {
        ProviderURL(redirectURI).map { $0.isAllowed(plaintextOnLoopback: true) } ?? false
    }

    private static func url(_ request: ConsentRequest, state: String, verifier: Secret?, nonce: String?) -> String {
        typealias Parameter = ProviderSettings.Parameter
        let provider = request.provider
        var parameters = [
            Parameter("response_type", "code"), Parameter("client_id", provider.clientID),
            Parameter("redirect_uri", request.redirectURI),
        ]
        if !request.grant.scopes.isEmpty {
            let scope = request.grant.scopes.joined(separator: provider.scopeSeparator)
            parameters.append(Parameter(provider.scopeParameter, scope))
        }
        parameters.append(Parameter("state", state))
        if let verifier {
            parameters.append(Parameter("code_challenge", Crypto.base64URL(Crypto.sha256(verifier.bytes))))
            parameters.append(Parameter("code_challenge_method", "S256"))
        }
        if let nonce { parameters.append(Parameter("nonce", nonce)) }
        for extra in provider.authorizeParameters where !reserved.contains(extra.name) {
            parameters.removeAll { $0.name == extra.name }
            parameters.append(extra)
        }
        let endpoint = request.endpoints.authorization
        return endpoint.description + (endpoint.query == nil ? "?" : "&")
            + FormEncoding.encode(provider.shapedForAuthorization(parameters))
    }

    /// What the protection of the flow hangs on cannot be set by the configuration.
    package static let reserved: Set<String> = [
        "response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "nonce",
    ]
}
