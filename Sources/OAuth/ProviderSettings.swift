package import OpenSSLKit

/// How the client proves itself at the token, revocation and pushed request endpoints (RFC 6749 section 2.3).
package enum ClientAuthentication: String, Sendable, CaseIterable {
    /// By what the metadata announces and we have; without metadata Basic where there is a secret, a signed assertion
    /// where there is only a key, the certificate where there is only that, else none.
    case automatic
    case basic = "client_secret_basic"
    case post = "client_secret_post"
    case none
    /// The secret as a bearer token, without a client id (Stripe).
    case bearerSecret = "bearer_secret"
    /// Basic with the secret as the user and no password (Stripe).
    case secretAsUser = "secret_as_user"
    /// An assertion under HS256 with the client secret (OpenID Connect Core section 9).
    case secretJWT = "client_secret_jwt"
    /// An assertion under one of `clientKeys` (RFC 7523 section 2.2).
    case privateKeyJWT = "private_key_jwt"
    /// The certificate that the driver presents, issued by an authority that the provider trusts (RFC 8705 section 2.1).
    case tlsClientAuth = "tls_client_auth"
    /// The certificate that the driver presents, registered with the provider as it is (RFC 8705 section 2.2).
    case selfSignedTLS = "self_signed_tls_client_auth"

    /// The client is known by its certificate.
    var usesCertificate: Bool {
        switch self {
        case .tlsClientAuth, .selfSignedTLS: true
        case .automatic, .basic, .post, .none, .bearerSecret, .secretAsUser, .secretJWT, .privateKeyJWT: false
        }
    }
}

/// Whether new grants get tokens that are bound to a key (RFC 9449). A grant that has a key keeps using it.
package enum DPoPUse: String, Sendable, CaseIterable {
    case off, on
}

/// Everything about one provider that its operator can set; what quirks `providers.md` lists map to here.
///
/// Times are milliseconds. Immutable in use: a reload makes a new value and tells the machines by `settingsChanged`.
package struct ProviderSettings: Sendable, Equatable {
    package enum PKCE: String, Sendable, CaseIterable {
        case s256, off
    }

    package enum Body: String, Sendable, CaseIterable {
        case form, json
        /// A GET with the parameters in the query: for providers that know nothing better (Facebook). The secrets are
        /// then in a URL, which is never logged here, but may be there.
        case query
    }

    package enum RefreshScope: Sendable, Equatable {
        case omit
        /// The scopes that the grant asks for.
        case same
        case list([String])
    }

    package enum Discovery: String, Sendable, CaseIterable {
        /// RFC 8414 first, then OpenID Connect.
        case automatic
        case oauth
        case openID = "openid"
    }

    /// What a refresh does to the refresh token.
    package enum Rotation: String, Sendable, CaseIterable {
        /// Each refresh token is good for one refresh: using it twice may end the grant.
        case singleUse = "single_use"
        /// It stays the same, or the old one stays good: a refresh whose result cannot be stored loses nothing.
        case reusable
        /// Treated as single use.
        case unknown
    }

    /// Where in a token reply the values are: member names and places in arrays joined by dots; "PATH@CLAIM" is a claim
    /// of the JWT at PATH ("access_token@exp"); "A|B" is A, else B.
    package struct Paths: Sendable, Equatable {
        package var accessToken = "access_token"
        package var refreshToken = "refresh_token"
        package var expiresIn = "expires_in"
        /// Absolute expiry in seconds since 1970; not read by default.
        package var expiresAt: String?
        package var scope = "scope"
        package var error = "error"
        package var errorDescription = "error_description"
        /// What identifies the account that consented (pains 16); not read by default. With the prefix `id_token.` it
        /// is a claim of the checked id_token. nil: the id_token's `sub`, where openid was asked for.
        package var account: String?
        package var idToken = "id_token"
        package var tokenType = "token_type"
        /// nil: refresh_token_expires_in, refresh_expires_in, x_refresh_token_expires_in.
        package var refreshExpiresIn: String?
        /// A further limit of the refresh token that no refresh moves (QuickBooks).
        package var refreshHardExpiresIn = "x_refresh_token_hard_expires_in"

        package init() {}
    }

    package var name: String
    /// Issuer identifier; with it the endpoints that are not given are discovered.
    package var issuer: String?
    package var discovery = Discovery.automatic
    package var authorizationEndpoint: ProviderURL?
    package var tokenEndpoint: ProviderURL?
    /// Where refreshes go, for providers that part the two; default: the token endpoint.
    package var refreshEndpoint: ProviderURL?
    package var revocationEndpoint: ProviderURL?
    /// http:// endpoints on loopback addresses are accepted; nothing else ever is.
    package var allowPlaintextOnLoopback = false
    /// Hosts that only a pattern of `allowedHosts` allows may be on loopback and private addresses.
    package var allowPrivateHosts = false
    package var metadataLifetime: Int64 = 24 * 3_600_000

    package var clientID: String
    /// Tried in order on invalid_client; the one that worked is remembered (pains 34).
    package var clientSecrets: [Secret] = []
    package var clientAuthentication = ClientAuthentication.automatic
    /// nil: as at the token endpoint (or what the metadata announces for revocation).
    package var revocationAuthentication: ClientAuthentication?

    // Client authentication by assertion or certificate, pushed requests, DPoP, resources, id_tokens.

    /// For private_key_jwt: tried in order on invalid_client, as secrets are.
    package var clientKeys: [ClientKey] = []
    /// "aud" of client assertions; nil: the issuer, else the token endpoint; "token_endpoint": the token endpoint.
    package var assertionAudience: String?
    /// The driver presents a certificate to this provider: mtls_endpoint_aliases are used (RFC 8705 section 5).
    package var presentsCertificate = false
    package var pushedRequests = PushedRequests.automatic
    package var pushedRequestEndpoint: ProviderURL?
    package var dpop = DPoPUse.off
    /// One of `ProofKey.algorithms`. Where the metadata does not announce it but another of them, that one is used.
    package var dpopAlgorithm = SignatureAlgorithm.es256
    /// Sent as `resource` with authorization, token and refresh requests (RFC 8707).
    package var resources: [String] = []
    /// id_tokens are checked where openid is asked for; false: they are not looked at.
    package var checkIDToken = true
    /// Algorithms that id_tokens may be signed by; empty: those of the metadata, or any where it names none.
    package var idTokenAlgorithms: [SignatureAlgorithm] = []
    package var jwksEndpoint: ProviderURL?

    package var pkce = PKCE.s256
    /// A callback without iss is refused, whatever the metadata says (RFC 9207).
    package var requireIssuerParameter = false
    package var scopeSeparator = " "
    package var scopeParameter = "scope"
    /// The callback's name for the code.
    package var codeParameter = "code"
    package var authorizeParameters: [Parameter] = []
    package var tokenParameters: [Parameter] = []
    package var refreshParameters: [Parameter] = []
    package var revocationParameters: [Parameter] = []
    package var refreshScope = RefreshScope.omit
    package var tokenBody = Body.form
    /// Sent with each token, refresh and revocation request; replaces a default field of the same name.
    package var tokenHeaders: [HeaderField] = []
    package var userAgent = "token-gateway"
    package var paths = Paths()
    /// Provider's code → the code of RFC 6749 that it means, e.g. bad_refresh_token → invalid_grant. A key of three
    /// digits is a status: it applies where the reply has no OAuth error.
    package var errorAliases: [String: String] = [:]

    /// For replies without a usable expires_in; nil: unknown, only a 401 triggers a refresh.
    package var defaultLifetime: Int64?
    /// Milliseconds in one unit of expires_in.
    package var expiresUnit: Int64 = 1000
    package var refreshTokenLifetime: Int64?
    /// How far ahead of expiry a refresh starts; at most half of the lifetime.
    package var refreshSkew: Int64 = 300_000
    package var minimumRefreshInterval: Int64 = 0
    /// Whether a refresh may be made although its result cannot be stored now: only where it is `reusable`.
    package var rotation = Rotation.unknown
    /// A grant that was not refreshed for this long is refreshed, so that its refresh token does not die of idleness.
    package var keepaliveInterval: Int64?
    /// How long after a lost reply the same refresh token is sent again at once; 0 switches that off.
    package var replayWindow: Int64 = 25_000
    /// At most one refresh because of 401s in this time.
    package var rejectionCooldown: Int64 = 10_000
    /// The whole of one provider call.
    package var callDeadline: Int64 = 30_000

    /// How the access token is sent to the upstream.
    package var headerName = "Authorization"
    /// Empty: the token alone.
    package var headerScheme = "Bearer"

    /// For JWT bearer grants: who signs their assertions, where it is a service account; else the first of `clientKeys`.
    package var serviceAccount: ServiceAccountKey?
    package var assertionScope = AssertionClaims.ScopePlace.parameter
    /// Where a device asks for a code (RFC 8628 section 3.1); nil: as the metadata says.
    package var deviceEndpoint: ProviderURL?
    // What providers need beyond the standards (providers.md); each is off by default.

    /// Values for names in templates, from the provider's section: the same for all its grants.
    package var variables: [String: String] = [:]
    /// These go before the fixed endpoints above.
    package var authorizationEndpointTemplate: URLTemplate?
    package var tokenEndpointTemplate: URLTemplate?
    package var refreshEndpointTemplate: URLTemplate?
    /// The only hosts that values of grants, callbacks, replies and look-ups may select.
    package var allowedHosts: [HostPattern] = []
    package var callbackCaptures: [Capture] = []
    package var replyCaptures: [Capture] = []
    /// In their order, after a consent.
    package var lookups: [Lookup] = []
    /// Sent upstream with the credential.
    package var extraHeaders: [NamedTemplate] = []
    package var omittedAuthorizeParameters: Set<String> = []
    /// See `renamed(_:for:)`.
    package var renamedParameters: [String: String] = [:]
    package var revocation = RevocationStyle.standard
    /// Token types besides bearer that are sent as the header's scheme says, in lower case (Slack: bot, user).
    package var tokenTypes: Set<String> = []
    package var refreshWith = RefreshWith.refreshToken
    package var refreshGrantType = "refresh_token"
    /// A refresh does not prolong what `refreshTokenLifetime` says: it counts from the consent (NetSuite).
    package var refreshTokenEndIsFixed = false
    /// A refresh that is refused with 400, 401 or 403 and an empty body means invalid_grant.
    package var emptyRefusalEndsGrant = true

    package init(name: String, clientID: String) {
        self.name = name
        self.clientID = clientID
    }

    /// Changes when something changes that can turn a permanent failure into success: a latched grant is tried again.
    package var fingerprint: String {
        let parts: [String] =
            [issuer, authorizationEndpoint?.description, tokenEndpoint?.description, refreshEndpoint?.description]
            .map { $0 ?? "" }
            + [clientID, clientAuthentication.rawValue, tokenBody.rawValue, "\(refreshScope)", pkce.rawValue]
            + clientSecrets.map { $0.reveal() }
            + clientKeys.flatMap {
                [$0.algorithm.rawValue, $0.keyID ?? "", $0.certificateThumbprint ?? "", $0.key.publicKey.thumbprint]
            }
            + [assertionAudience ?? "", "\(presentsCertificate)", dpop.rawValue] + resources
            + (tokenParameters + refreshParameters).flatMap { [$0.name, $0.value] }
            + tokenHeaders.flatMap { [$0.name, $0.value] }
            + errorAliases.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] } + quirksFingerprint
        let joined = parts.map { "\($0.utf8.count):\($0)" }.joined()
        return Crypto.base64URL(Crypto.sha256(Array(("token-gateway provider\n" + joined).utf8)))
    }

    var acceptsAnyTokenType: Bool { !presentsBearerTokens }

    /// As RFC 6750 has it, so that a token that is bound to a key is presented as RFC 9449 has it.
    var presentsBearerTokens: Bool {
        headerName.lowercased() == "authorization" && headerScheme.lowercased() == "bearer"
    }

    /// Any type where the configuration says how the token is sent; else bearer and what is listed.
    func accepts(tokenType: String) -> Bool {
        let type = tokenType.lowercased()
        return type == "bearer" || tokenTypes.contains(type) || acceptsAnyTokenType
    }
}

extension ProviderSettings {
    /// A name and a value, in the order in which they are sent.
    package struct Parameter: Sendable, Hashable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }
}

/// What an operator sets for one grant.
package struct GrantSettings: Sendable, Equatable {
    /// Where a grant's first tokens come from.
    package enum Acquisition: Sendable, Equatable {
        /// A person consents; refresh tokens keep the grant going.
        case consent
        /// Nobody needs to: the request can be made again at any time.
        case unattended(UnattendedGrant)
    }

    package var name: String
    package var provider: String
    /// Asked for in the authorization request.
    package var scopes: [String]
    /// Without one of these the grant is not usable (checklist D12).
    package var requiredScopes: [String] = []
    /// true: a consent without a refresh token is refused; false: accepted; nil: refused only where it would replace a
    /// grant that has one.
    package var refreshTokenRequired: Bool?
    /// The only account whose consent is accepted; nil: the first that consents is pinned, where `paths.account` is set.
    package var expectedAccount: String?
    package var acquisition = Acquisition.consent
    /// Values for names in the provider's templates; what is set here is not captured.
    package var variables: [String: String] = [:]
    /// More waiters than this are answered at once (checklist D34).
    package var maximumWaiters = 10_000

    package init(name: String, provider: String, scopes: [String] = []) {
        self.name = name
        self.provider = provider
        self.scopes = scopes
    }
}

extension ProviderSettings: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "provider \(name)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
