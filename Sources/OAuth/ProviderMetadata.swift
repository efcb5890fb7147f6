/// What an authorization server says about itself (RFC 8414 section 2), as far as we use it.
package struct ProviderMetadata: Sendable, Equatable {
    package var issuer: String
    package var authorizationEndpoint: ProviderURL?
    package var tokenEndpoint: ProviderURL?
    package var revocationEndpoint: ProviderURL?
    /// nil: not said, which means client_secret_basic.
    package var tokenAuthenticationMethods: [String]?
    package var revocationAuthenticationMethods: [String]?
    /// The server announces iss in its authorization responses (RFC 9207 section 3).
    package var announcesIssuerParameter = false
    package var codeChallengeMethods: [String]?
    /// RFC 8628 section 4.
    package var deviceEndpoint: ProviderURL?

    /// Refuses metadata whose issuer is not identical (RFC 8414 section 3.3), or with an endpoint that is not https
    /// (or, where allowed, on loopback).
    package static func read(
        _ body: [UInt8], issuer: String, plaintextOnLoopback: Bool
    ) -> Result<ProviderMetadata, MetadataProblem> {
        guard let json = JSONValue(body), case .object = json else { return .failure(.notJSON) }
        guard let found = json["issuer"]?.text, found == issuer else {
            return .failure(.otherIssuer(SafeText.clean(json["issuer"]?.text ?? "none", limit: 200)))
        }
        var metadata = ProviderMetadata(issuer: issuer)
        for (name, place) in endpointNames {
            guard let text = json[name]?.text else { continue }
            guard let url = ProviderURL(text), url.isAllowed(plaintextOnLoopback: plaintextOnLoopback) else {
                return .failure(.badEndpoint(name))
            }
            metadata[keyPath: place] = url
        }
        let strings: (String) -> [String]? = { json[$0]?.list?.compactMap(\.text) }
        metadata.tokenAuthenticationMethods = strings("token_endpoint_auth_methods_supported")
        metadata.revocationAuthenticationMethods = strings("revocation_endpoint_auth_methods_supported")
        metadata.codeChallengeMethods = strings("code_challenge_methods_supported")
        metadata.announcesIssuerParameter = json["authorization_response_iss_parameter_supported"]?.flag ?? false
        return .success(metadata)
    }

    private static var endpointNames: [(String, WritableKeyPath<ProviderMetadata, ProviderURL?>)] {
        [
            ("authorization_endpoint", \.authorizationEndpoint), ("token_endpoint", \.tokenEndpoint),
            ("revocation_endpoint", \.revocationEndpoint), ("device_authorization_endpoint", \.deviceEndpoint),
        ]
    }
}

package enum MetadataProblem: Error, Sendable, Hashable {
    case notJSON
    case otherIssuer(String)
    case badEndpoint(String)

    var explanation: String {
        switch self {
        case .notJSON: "the metadata is not a JSON object"
        case .otherIssuer(let found): "the issuer in the metadata is another (\(found))"
        case .badEndpoint(let name): "\(name) in the metadata is not an https URL"
        }
    }
}

/// The endpoints in force: what is configured, completed by what was discovered.
package struct ProviderEndpoints: Sendable, Equatable {
    package var issuer: String?
    /// nil: no person can consent here, which is right where every grant is unattended.
    package var authorization: ProviderURL?
    package var token: ProviderURL
    package var revocation: ProviderURL?
    package var tokenAuthentication: ClientAuthentication
    package var revocationAuthentication: ClientAuthentication
    /// A callback without iss is refused.
    package var requiresIssuerParameter: Bool
    /// nil: this provider has no device authorization, or does not say so.
    package var device: ProviderURL?

    /// nil: the token endpoint is neither configured nor in the metadata.
    package init?(settings: ProviderSettings, metadata: ProviderMetadata?) {
        guard let token = settings.tokenEndpoint ?? metadata?.tokenEndpoint else { return nil }
        issuer = settings.issuer
        authorization = settings.authorizationEndpoint ?? metadata?.authorizationEndpoint
        self.token = token
        device = settings.deviceEndpoint ?? metadata?.deviceEndpoint
        revocation = settings.revocationEndpoint ?? metadata?.revocationEndpoint
        let hasSecret = !settings.clientSecrets.isEmpty
        tokenAuthentication = Self.authentication(
            settings.clientAuthentication, announced: metadata?.tokenAuthenticationMethods, hasSecret: hasSecret)
        // What the metadata leaves unsaid about revocation follows the token endpoint.
        revocationAuthentication =
            settings.revocationAuthentication.map { Self.authentication($0, announced: nil, hasSecret: hasSecret) }
            ?? (settings.clientAuthentication == .automatic
                ? metadata?.revocationAuthenticationMethods.map {
                    Self.authentication(.automatic, announced: $0, hasSecret: hasSecret)
                } : nil) ?? tokenAuthentication
        requiresIssuerParameter =
            settings.requireIssuerParameter || (metadata?.announcesIssuerParameter ?? false) && settings.issuer != nil
    }

    func suffice(for work: ProviderMachine.Work) -> Bool {
        switch work {
        case .endpoints: authorization != nil
        case .token, .revocation: true
        case .device: device != nil
        }
    }

    /// Exactly one method, always the same one (checklist D14, D38).
    private static func authentication(
        _ configured: ClientAuthentication, announced: [String]?, hasSecret: Bool
    ) -> ClientAuthentication {
        guard configured == .automatic else { return configured }
        guard hasSecret else { return .none }
        guard let announced, !announced.isEmpty else { return .basic }
        return [.basic, .post].first { announced.contains($0.rawValue) } ?? .basic
    }
}
