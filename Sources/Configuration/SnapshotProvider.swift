extension Snapshot {
    /// `[provider.NAME]`: an OAuth authorization server together with our client registration there.
    package struct Provider: Sendable, Hashable {
        package internal(set) var name = ""
        /// The profile whose directives stand under those of the file.
        package internal(set) var profile: String?
        /// The issuer exactly as written, for RFC 8414 discovery and the simple string comparison of RFC 9207.
        package internal(set) var issuer: String?
        package internal(set) var authorizeURL: URL?
        package internal(set) var tokenURL: URL?
        /// Where refreshes go, when not to `tokenURL`.
        package internal(set) var refreshURL: URL?
        package internal(set) var revocationURL: URL?
        /// Each of these is set instead of the URL above where that has names whose values only a grant has.
        package internal(set) var authorizeURLTemplate: URLTemplate?
        package internal(set) var tokenURLTemplate: URLTemplate?
        package internal(set) var refreshURLTemplate: URLTemplate?
        package internal(set) var revocationURLTemplate: URLTemplate?
        /// As the file has them; nil once their names are filled in, which only the provider's own variables can do.
        var deviceURLTemplate: URLTemplate?
        var pushedRequestURLTemplate: URLTemplate?
        var jwksURLTemplate: URLTemplate?
        /// RFC 8628 section 3.1.
        package internal(set) var deviceURL: URL?
        /// RFC 9126.
        package internal(set) var pushedRequestURL: URL?
        package internal(set) var jwksURL: URL?
        package internal(set) var discovery = Discovery.automatic
        package internal(set) var clientID = ""
        /// Tried in order when the provider answers `invalid_client`. Empty: a public client.
        package internal(set) var clientSecrets: [SecretSource] = []
        package internal(set) var clientAuthentication = ClientAuthentication.none
        /// nil: as at the token endpoint.
        package internal(set) var revocationAuthentication: ClientAuthentication?
        /// Private keys (PEM) that sign client assertions and the assertions of JWT bearer grants; tried in order.
        package internal(set) var clientKeyFiles: [String] = []
        /// `kid` of each key, in the same order; empty: none is sent.
        package internal(set) var clientKeyIDs: [String] = []
        /// nil: the usual one of the key's kind: RS256, ES256, EdDSA.
        package internal(set) var clientKeyAlgorithm: SignatureAlgorithm?
        /// Google's JSON file of a service account: key, its id, the account's name and the token endpoint.
        package internal(set) var serviceAccountFile: String?
        /// Both or none: what we present to the provider's endpoints (RFC 8705).
        package internal(set) var clientCertificateFile: String?
        package internal(set) var clientCertificateKeyFile: String?
        /// `aud` of client assertions; nil: the issuer, else the token endpoint.
        package internal(set) var assertionAudience: String?
        /// Where the scopes of a JWT bearer grant go.
        package internal(set) var assertionScope = AssertionScope.parameter
        package internal(set) var pushedRequests = PushedRequests.automatic
        /// Tokens are bound to a key of ours (RFC 9449).
        package internal(set) var dpop = false
        package internal(set) var dpopAlgorithm = SignatureAlgorithm.es256
        /// RFC 8707.
        package internal(set) var resources: [String] = []
        /// Whether the id_token is checked where `openid` is asked for.
        package internal(set) var checkIDToken = true
        package internal(set) var idTokenAlgorithms: [SignatureAlgorithm] = []
        package internal(set) var pkce = PKCE.s256
        package internal(set) var scopeSeparator = " "
        /// The authorization request's name for the scopes.
        package internal(set) var scopeParameter = ""
        /// The callback's name for the code.
        package internal(set) var codeParameter = ""
        /// Extra parameters, in the order of the file.
        package internal(set) var authorizeParameters: [NamedValue] = []
        package internal(set) var tokenParameters: [NamedValue] = []
        package internal(set) var refreshParameters: [NamedValue] = []
        package internal(set) var revocationParameters: [NamedValue] = []
        package internal(set) var tokenBody = Body.form
        package internal(set) var refreshScope = RefreshScope.omit
        /// The provider's own error codes and the standard code that each one means.
        package internal(set) var errorAliases: [String: ErrorMeaning] = [:]
        /// Where a reply's members are, as dotted paths; absent members have their standard names.
        package internal(set) var replyPaths = ReplyPaths()
        /// The lifetime of an access token whose reply has no `expires_in`; nil: unknown, only a 401 refreshes.
        package internal(set) var defaultLifetime: Duration?
        /// What `expires_in` counts.
        package internal(set) var expiresUnit = Duration.zero
        /// Refresh this long before expiry (the machine takes at most half of the lifetime).
        package internal(set) var refreshSkew = Duration.zero
        package internal(set) var minRefreshInterval = Duration.zero
        /// At most one refresh because of 401s in this time.
        package internal(set) var rejectionCooldown = Duration.zero
        /// Refresh even an unused grant this often; nil: off.
        package internal(set) var keepaliveInterval: Duration?
        /// How long a refresh token lives by the provider's documentation; nil: unknown.
        package internal(set) var refreshTokenLifetime: Duration?
        /// How long a refresh whose reply was lost may be sent again; zero: never.
        package internal(set) var replayWindow = Duration.zero
        package internal(set) var credentialHeader = CredentialHeader()
        /// Certificates to trust instead of the system's.
        package internal(set) var caFile: String?
        /// The whole of one call to the provider, from connecting to the last byte of the reply.
        package internal(set) var timeout = Duration.zero
        package internal(set) var userAgent = ""
        /// Header fields on every call to the provider; these win over the built-in `Accept`.
        package internal(set) var tokenHeaders: [NamedValue] = []
        /// `http://` is accepted, on loopback addresses only.
        package internal(set) var allowPlaintext = false
        /// A callback without `iss` is refused (RFC 9207).
        package internal(set) var requireISS = false
        /// What a refresh does to the refresh token.
        package internal(set) var rotation = Rotation.unknown
        /// Values of names in URLs and headers; a grant's own and captured ones come before them.
        package internal(set) var variables: [String: String] = [:]
        /// Names that must have a value before a grant can be used.
        package internal(set) var requiredVariables: [RequiredVariable] = []
        /// Hosts that captured values may choose: exact, or `*.` and what is below.
        package internal(set) var allowedHosts: [String] = []
        /// Hosts that only a pattern allows may be on loopback and private addresses.
        package internal(set) var allowPrivate = false
        /// Name → what gives its value, as in the file: `SOURCE [KIND] [required]`. Here of the callback.
        package internal(set) var callbackCaptures: [NamedValue] = []
        /// Here of the token reply, SOURCE being a dotted path.
        package internal(set) var responseCaptures: [NamedValue] = []
        /// Asked after a consent, in order.
        package internal(set) var lookups: [Lookup] = []
        /// Sent upstream beside the credential; values may have names.
        package internal(set) var extraHeaders: [NamedValue] = []
        /// Standard parameters that the authorization request leaves out.
        package internal(set) var omittedAuthorizeParameters: [String] = []
        /// Standard parameter → the provider's name for it; the key may begin with `authorize.`, `code.`, `refresh.` or
        /// `token.`.
        package internal(set) var renamedParameters: [String: String] = [:]
        /// nil: RFC 7009 at `revocationURL`.
        package internal(set) var revocation: Revocation?
        /// Token types besides bearer that are sent in the same way.
        package internal(set) var tokenTypes: [String] = []
        /// What a refresh sends.
        package internal(set) var refreshWith = RefreshWith.refreshToken
        package internal(set) var refreshGrantType = ""
        /// A refusal of a refresh with 400, 401 or 403 and an empty body means `invalid_grant`.
        package internal(set) var emptyRefusalEndsGrant = true
        /// `refreshTokenLifetime` counts from the consent, and not from the last refresh.
        package internal(set) var refreshTokenEndIsFixed = false

        /// Whether an endpoint is not given, and is to be found in the issuer's metadata.
        package var needsDiscovery: Bool {
            let isComplete =
                (authorizeURL != nil || authorizeURLTemplate != nil) && (tokenURL != nil || tokenURLTemplate != nil)
            return issuer != nil && !isComplete
        }

        /// Every name that something in this provider captures.
        package var capturedNames: Set<String> {
            Set((callbackCaptures + responseCaptures + lookups.flatMap(\.captures)).map(\.name))
        }
    }

    /// How we authenticate at the token and revocation endpoints (RFC 6749 section 2.3).
    package enum ClientAuthentication: Sendable, Hashable {
        /// What the discovered metadata supports, `client_secret_basic` if it says nothing (RFC 8414 section 2).
        /// Only with a secret and only where discovery happens.
        case automatic
        case clientSecretBasic
        case clientSecretPost
        /// RFC 7523, with the client secret as the key of an HMAC.
        case clientSecretJWT
        /// RFC 7523, with a key of `clientKeyFiles`.
        case privateKeyJWT
        /// RFC 8705, with the client certificate.
        case tlsClientAuth
        case selfSignedTLS
        /// `Authorization: Bearer SECRET`.
        case bearerSecret
        /// Basic with the secret as the user and an empty password.
        case secretAsUser
        case none

        var usesSecret: Bool {
            switch self {
            case .clientSecretBasic, .clientSecretPost, .clientSecretJWT, .bearerSecret, .secretAsUser: true
            case .automatic, .privateKeyJWT, .tlsClientAuth, .selfSignedTLS, .none: false
            }
        }
    }

    /// JOSE's names of the signatures that we make and check.
    package enum SignatureAlgorithm: String, Sendable, Hashable, CaseIterable {
        case rs256 = "RS256"
        case ps256 = "PS256"
        case es256 = "ES256"
        case edDSA = "EdDSA"
    }

    /// Whether authorization requests go to the provider first (RFC 9126).
    package enum PushedRequests: Sendable, Hashable {
        /// Where there is an endpoint for them.
        case automatic
        case required, off
    }

    /// What a refresh does to the refresh token.
    package enum Rotation: String, Sendable, Hashable, CaseIterable {
        /// Each is good once.
        case singleUse = "single_use"
        case reusable
        /// Treated as single use.
        case unknown
    }

    /// What a refresh sends to be refreshed.
    package enum RefreshWith: String, Sendable, Hashable, CaseIterable {
        case refreshToken = "refresh_token"
        case accessToken = "access_token"
    }

    /// Where the scopes of a JWT bearer grant go.
    package enum AssertionScope: String, Sendable, Hashable, CaseIterable {
        case parameter, claim, both
    }

    package enum PKCE: Sendable, Hashable {
        case s256
        /// For the few providers that refuse `code_challenge`.
        case off
    }

    /// Which metadata is asked for the endpoints that are not given.
    package enum Discovery: Sendable, Hashable {
        /// RFC 8414 first, then OpenID Connect.
        case automatic
        case oauth
        case openID
    }

    /// How requests to the token endpoint are encoded.
    package enum Body: String, Sendable, Hashable, CaseIterable {
        case form, json, query
    }

    /// What a refresh says about scope.
    package enum RefreshScope: Sendable, Hashable {
        case omit
        /// The scopes of the grant.
        case same
        case list([String])
    }

    /// The meanings that a provider's own error code can be given.
    package enum ErrorMeaning: String, Sendable, Hashable, CaseIterable {
        case invalidGrant = "invalid_grant"
        case invalidClient = "invalid_client"
        case temporarilyUnavailable = "temporarily_unavailable"
        /// No error at all.
        case success
    }

    /// Dotted paths into the token reply, split at the dots; `PATH@CLAIM` is a claim of the JWT at PATH, `A|B` A or B.
    package struct ReplyPaths: Sendable, Hashable {
        package internal(set) var accessToken = ["access_token"]
        package internal(set) var refreshToken = ["refresh_token"]
        package internal(set) var expiresIn = ["expires_in"]
        /// An absolute time in seconds since 1970; nil: not read.
        package internal(set) var expiresAt: [String]?
        package internal(set) var scope = ["scope"]
        package internal(set) var error = ["error"]
        package internal(set) var errorDescription = ["error_description"]
        /// What identifies the account that consented; nil: not read.
        package internal(set) var account: [String]?
        package internal(set) var tokenType = ["token_type"]
        /// nil: the usual names.
        package internal(set) var refreshExpiresIn: [String]?
        /// A further end of the refresh token that no refresh moves.
        package internal(set) var refreshHardExpiresIn: [String]?
    }

    /// The field that carries the token upstream.
    package struct CredentialHeader: Sendable, Hashable {
        package internal(set) var name = "Authorization"
        /// What stands before the token; empty: the token alone.
        package internal(set) var scheme = "Bearer"

        package init(name: String = "Authorization", scheme: String = "Bearer") {
            self.name = name
            self.scheme = scheme
        }
    }
}
