extension Snapshot {
    /// `[provider.NAME]`: an OAuth authorization server together with our client registration there.
    package struct Provider: Sendable, Hashable {
        package internal(set) var name = ""
        /// The issuer exactly as written, for RFC 8414 discovery and the simple string comparison of RFC 9207.
        package internal(set) var issuer: String?
        package internal(set) var authorizeURL: URL?
        package internal(set) var tokenURL: URL?
        /// Where refreshes go, when not to `tokenURL`.
        package internal(set) var refreshURL: URL?
        package internal(set) var revocationURL: URL?
        package internal(set) var discovery = Discovery.automatic
        package internal(set) var clientID = ""
        /// Tried in order when the provider answers `invalid_client`. Empty: a public client.
        package internal(set) var clientSecrets: [SecretSource] = []
        package internal(set) var clientAuthentication = ClientAuthentication.none
        /// nil: as at the token endpoint.
        package internal(set) var revocationAuthentication: ClientAuthentication?
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

        /// Whether the metadata must be fetched before this provider can be used.
        package var needsDiscovery: Bool { authorizeURL == nil || tokenURL == nil }
    }

    /// How we authenticate at the token and revocation endpoints (RFC 6749 section 2.3).
    package enum ClientAuthentication: Sendable, Hashable {
        /// What the discovered metadata supports, `client_secret_basic` if it says nothing (RFC 8414 section 2).
        /// Only with a secret and only where discovery happens.
        case automatic
        case clientSecretBasic
        case clientSecretPost
        case none
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
        case form, json
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
    }

    /// Dotted paths into the token reply, split at the dots.
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

    /// `[grant.NAME]`: one resource owner's authorization, or a token that another program keeps fresh.
    package struct Grant: Sendable, Hashable {
        package enum Source: Sendable, Hashable {
            /// `requiredScopes`: missing ones make the grant unusable (RFC 6749 section 3.3).
            case provider(String, scopes: [String], requiredScopes: [String])
            /// Re-read when it changes.
            case tokenFile(path: String)
        }
        package internal(set) var name = ""
        package internal(set) var source = Source.tokenFile(path: "")
        /// true: a consent without a refresh token is refused; false: accepted; nil: refused only where it would
        /// replace a grant that has one.
        package internal(set) var requireRefreshToken: Bool?
        /// The only account whose consent is accepted; nil: the first one is pinned, where `paths.account` is set.
        package internal(set) var expectedAccount: String?
        /// The grant's own, else its provider's, else `Authorization: Bearer`.
        package internal(set) var credentialHeader = CredentialHeader()

        /// The provider's name, when the grant has one.
        package var providerName: String? {
            switch source {
            case .provider(let name, _, _): name
            case .tokenFile: nil
            }
        }
    }
}
