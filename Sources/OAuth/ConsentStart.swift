/// The authorization request (RFC 6749 section 4.1.1), ready for the browser or to be pushed (RFC 9126).
package struct ConsentStart: Sendable, Equatable {
    /// Holds the state: show it to the operator who asked, and log it nowhere. Not to be used where `pushed` is not nil.
    package var authorizationURL: String
    /// To be put into the store before the browser is sent away, with `expiresAt` and a limit at which a new start is
    /// refused, so that a flood does not evict a real one (checklist E8).
    package var key: String
    package var pending: PendingConsent
    /// Not nil: hand these to `ProviderMachine.pushNeeded` first, and send the browser to `authorizationURL(pushed:)`.
    package var pushed: [ProviderSettings.Parameter]?
    fileprivate var endpoint: ProviderURL
    fileprivate var clientID: String

    /// Where the browser goes with a request that was pushed: only the client and the reference go through it (RFC 9126
    /// section 4).
    package func authorizationURL(pushed request: PushedRequest) -> String {
        Self.url(endpoint, [.init("client_id", clientID), .init("request_uri", request.requestURI)])
    }

    private static func url(_ endpoint: ProviderURL, _ parameters: [ProviderSettings.Parameter]) -> String {
        endpoint.description + (endpoint.query == nil ? "?" : "&") + FormEncoding.encode(parameters)
    }
}

package enum ConsentStartProblem: Error, Sendable, Hashable {
    /// The redirect URI is not absolute, has a fragment, or is plain http on an address that is not loopback.
    case badRedirectURI
    case notEnoughRandomness
    case bindingTooShort
    /// The provider or the configuration requires pushed requests, and nobody says where to push them.
    case noPushedRequestEndpoint
    /// `dpopAlgorithm` is not one of `ProofKey.algorithms`.
    case badProofAlgorithm
    /// The provider has no authorization endpoint: all its grants are unattended, or begun on a device.
    case noAuthorizationEndpoint
}

extension ConsentStart {
    /// Octets of fresh randomness that one start uses: state, verifier, nonce and proof key, 256 bits each.
    package static let randomnessBytes = 128

    /// Builds state, PKCE pair, proof key and URL. `randomness` must come from the system's generator and be used once.
    package static func make(
        _ request: ConsentRequest, randomness: [UInt8], now: Moment, lifetime: Int64 = PendingConsent.lifetime
    ) -> Result<ConsentStart, ConsentStartProblem> {
        let endpoints = request.endpoints
        let usesProof = request.provider.dpop == .on
        guard randomness.count >= (usesProof ? randomnessBytes : 96) else { return .failure(.notEnoughRandomness) }
        guard request.binding.bytes.count >= 16 else { return .failure(.bindingTooShort) }
        guard isAcceptable(redirectURI: request.redirectURI) else { return .failure(.badRedirectURI) }
        guard let endpoint = endpoints.authorization else { return .failure(.noAuthorizationEndpoint) }
        guard !endpoints.requiresPushedRequests || endpoints.pushedRequest != nil else {
            return .failure(.noPushedRequestEndpoint)
        }
        let proofKey =
            usesProof ? ProofKey.make(endpoints.proofAlgorithm, randomness: Array(randomness[96..<128])) : nil
        guard !usesProof || proofKey != nil else { return .failure(.badProofAlgorithm) }
        let state = Crypto.base64URL(Array(randomness[0..<32]))
        let usesPKCE = request.provider.pkce == .s256
        let verifier = usesPKCE ? Secret(Crypto.base64URL(Array(randomness[32..<64]))) : nil
        let nonce = request.grant.scopes.contains("openid") ? Crypto.base64URL(Array(randomness[64..<96])) : nil
        let pending = PendingConsent(
            grant: request.grant.name, provider: request.provider.name, clientID: request.provider.clientID,
            issuer: endpoints.issuer, requiresIssuer: endpoints.requiresIssuerParameter,
            tokenEndpoint: endpoints.token, redirectURI: request.redirectURI,
            codeParameter: request.provider.codeParameter, verifier: verifier, nonce: nonce.map { Secret($0) },
            proofKey: proofKey.map { Secret($0.encoded()) },
            capture: PendingCapture(request.provider, variables: request.grant.variables),
            bindingHash: PendingConsent.bindingHash(request.binding),
            expiresAt: now.wall.saturatingAdd(lifetime))
        let parameters = parameters(
            request, state: state, verifier: verifier, nonce: nonce, thumbprint: proofKey?.thumbprint)
        return .success(
            ConsentStart(
                authorizationURL: url(endpoint, parameters), key: PendingConsent.key(forState: state),
                pending: pending, pushed: endpoints.pushedRequest == nil ? nil : parameters,
                endpoint: endpoint, clientID: request.provider.clientID))
    }

    /// Absolute, https or on loopback, without a fragment (RFC 6749 section 3.1.2, checklist D7).
    package static func isAcceptable(redirectURI: String) -> Bool {
        ProviderURL(redirectURI).map { $0.isAllowed(plaintextOnLoopback: true) } ?? false
    }

    private static func parameters(
        _ request: ConsentRequest, state: String, verifier: Secret?, nonce: String?, thumbprint: String?
    ) -> [ProviderSettings.Parameter] {
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
        if let thumbprint { parameters.append(Parameter("dpop_jkt", thumbprint)) }
        parameters += provider.resources.map { Parameter("resource", $0) }
        for extra in provider.authorizeParameters where !reserved.contains(extra.name) {
            parameters.removeAll { $0.name == extra.name }
            parameters.append(extra)
        }
        return provider.shapedForAuthorization(parameters)
    }

    /// What the protection of the flow hangs on cannot be set by the configuration.
    package static let reserved: Set<String> = [
        "response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "nonce",
        "dpop_jkt", "request", "request_uri",
    ]
}
