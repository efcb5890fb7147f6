package import OpenSSLKit

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
    /// Where authorization requests are pushed to (RFC 9126); nil: nowhere, they go through the browser as they are.
    package var pushedRequest: ProviderURL?
    /// Without a `pushedRequest` no consent can start.
    package var requiresPushedRequests: Bool
    /// nil: this provider has no device authorization (RFC 8628), or does not say so.
    package var deviceAuthorization: ProviderURL?
    /// Where the keys of id_tokens are.
    package var keySet: ProviderURL?
    package var idTokenAlgorithms: [SignatureAlgorithm]
    /// For new proof keys.
    package var proofAlgorithm: SignatureAlgorithm

    /// nil: the token endpoint is neither configured nor in the metadata.
    package init?(settings: ProviderSettings, metadata: ProviderMetadata?) {
        let authentication = ClientAuthenticationChoice(settings: settings)
        tokenAuthentication = authentication.chosen(
            settings.clientAuthentication, announced: metadata?.tokenAuthenticationMethods)
        let usesCertificate = settings.presentsCertificate || tokenAuthentication.usesCertificate
        let alias: (String) -> ProviderURL? = { usesCertificate ? metadata?.certificateAliases[$0] : nil }
        guard let token = settings.tokenEndpoint ?? alias("token_endpoint") ?? metadata?.tokenEndpoint else {
            return nil
        }
        issuer = settings.issuer
        authorization = settings.authorizationEndpoint ?? metadata?.authorizationEndpoint
        self.token = token
        revocation = settings.revocationEndpoint ?? alias("revocation_endpoint") ?? metadata?.revocationEndpoint
        // What the metadata leaves unsaid about revocation follows the token endpoint.
        revocationAuthentication =
            settings.revocationAuthentication.map { authentication.chosen($0, announced: nil) }
            ?? (settings.clientAuthentication == .automatic
                ? metadata?.revocationAuthenticationMethods.map { authentication.chosen(.automatic, announced: $0) }
                : nil) ?? tokenAuthentication
        requiresIssuerParameter =
            settings.requireIssuerParameter || (metadata?.announcesIssuerParameter ?? false) && settings.issuer != nil
        requiresPushedRequests = settings.pushedRequests == .required || metadata?.requiresPushedRequests ?? false
        let offered =
            settings.pushedRequestEndpoint ?? alias("pushed_authorization_request_endpoint")
            ?? metadata?.pushedRequestEndpoint
        pushedRequest = settings.pushedRequests == .off && !requiresPushedRequests ? nil : offered
        deviceAuthorization =
            settings.deviceEndpoint ?? alias("device_authorization_endpoint") ?? metadata?.deviceAuthorizationEndpoint
        keySet = settings.jwksEndpoint ?? metadata?.keySetEndpoint
        idTokenAlgorithms = Self.idTokenAlgorithms(settings, metadata)
        proofAlgorithm = Self.proofAlgorithm(settings, metadata)
    }

    private static func idTokenAlgorithms(
        _ settings: ProviderSettings, _ metadata: ProviderMetadata?
    ) -> [SignatureAlgorithm] {
        guard settings.idTokenAlgorithms.isEmpty else { return settings.idTokenAlgorithms }
        guard let announced = metadata?.idTokenAlgorithms else { return SignatureAlgorithm.allCases }
        return announced.compactMap(SignatureAlgorithm.init(rawValue:))
    }

    private static func proofAlgorithm(
        _ settings: ProviderSettings, _ metadata: ProviderMetadata?
    ) -> SignatureAlgorithm {
        let wanted = settings.dpopAlgorithm
        guard let announced = metadata?.proofAlgorithms, !announced.contains(wanted.rawValue) else { return wanted }
        return ProofKey.algorithms.first { announced.contains($0.rawValue) } ?? wanted
    }
}

/// Chooses exactly one method, always the same one (checklist D14, D38).
private struct ClientAuthenticationChoice {
    let settings: ProviderSettings

    private var hasSecret: Bool { !settings.clientSecrets.isEmpty }
    private var hasKey: Bool { !settings.clientKeys.isEmpty }

    func chosen(_ configured: ClientAuthentication, announced: [String]?) -> ClientAuthentication {
        guard configured == .automatic else { return configured }
        if let announced, let method = possible.first(where: { announced.contains($0.rawValue) }) { return method }
        if hasSecret { return .basic }
        if hasKey { return .privateKeyJWT }
        return settings.presentsCertificate ? .tlsClientAuth : .none
    }

    /// What we have the means for, the strongest first.
    private var possible: [ClientAuthentication] {
        (hasKey ? [.privateKeyJWT] : [])
            + (settings.presentsCertificate ? [.tlsClientAuth, .selfSignedTLS] : [])
            + (hasSecret ? [.basic, .post, .secretJWT] : [])
    }
}
