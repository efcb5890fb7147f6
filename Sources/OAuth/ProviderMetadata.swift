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
    /// RFC 9126 section 5.
    package var pushedRequestEndpoint: ProviderURL?
    package var requiresPushedRequests = false
    /// RFC 8628 section 4.
    package var deviceAuthorizationEndpoint: ProviderURL?
    /// OpenID Connect Discovery section 3.
    package var keySetEndpoint: ProviderURL?
    package var idTokenAlgorithms: [String]?
    /// RFC 9449 section 5.1.
    package var proofAlgorithms: [String]?
    /// For signed client assertions.
    package var assertionAlgorithms: [String]?
    /// Endpoints for clients that present a certificate (RFC 8705 section 5), by the name of the usual one.
    package var certificateAliases: [String: ProviderURL] = [:]

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
        for (name, value) in json["mtls_endpoint_aliases"]?.members ?? [:] {
            guard let text = value.text else { continue }
            guard let url = ProviderURL(text), url.isAllowed(plaintextOnLoopback: plaintextOnLoopback) else {
                return .failure(.badEndpoint("mtls_endpoint_aliases"))
            }
            metadata.certificateAliases[name] = url
        }
        let strings: (String) -> [String]? = { json[$0]?.list?.compactMap(\.text) }
        metadata.tokenAuthenticationMethods = strings("token_endpoint_auth_methods_supported")
        metadata.revocationAuthenticationMethods = strings("revocation_endpoint_auth_methods_supported")
        metadata.codeChallengeMethods = strings("code_challenge_methods_supported")
        metadata.idTokenAlgorithms = strings("id_token_signing_alg_values_supported")
        metadata.proofAlgorithms = strings("dpop_signing_alg_values_supported")
        metadata.assertionAlgorithms = strings("token_endpoint_auth_signing_alg_values_supported")
        metadata.requiresPushedRequests = json["require_pushed_authorization_requests"]?.flag ?? false
        metadata.announcesIssuerParameter = json["authorization_response_iss_parameter_supported"]?.flag ?? false
        return .success(metadata)
    }

    private static var endpointNames: [(String, WritableKeyPath<ProviderMetadata, ProviderURL?>)] {
        [
            ("authorization_endpoint", \.authorizationEndpoint), ("token_endpoint", \.tokenEndpoint),
            ("revocation_endpoint", \.revocationEndpoint),
            ("pushed_authorization_request_endpoint", \.pushedRequestEndpoint),
            ("device_authorization_endpoint", \.deviceAuthorizationEndpoint), ("jwks_uri", \.keySetEndpoint),
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
