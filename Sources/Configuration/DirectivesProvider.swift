// The directives of OAuth: providers and grants.

let providerDirectives = Directives<Snapshot.Provider>(
    place: .provider, list: endpointDirectives + clientDirectives + quirkDirectives + lifetimeDirectives)

private let endpointDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "issuer", .issuer, \.issuer,
        "The issuer's URL: endpoints that are not given are discovered from it; `iss` is compared with it."),
    Directive("authorize_url", .url, \.authorizeURL, "The authorization endpoint."),
    Directive("token_url", .url, \.tokenURL, "The token endpoint."),
    Directive("refresh_url", .url, \.refreshURL, "Where refreshes go, if not to token_url."),
    Directive("revocation_url", .url, \.revocationURL, "The revocation endpoint (RFC 7009)."),
    Directive(
        "discovery", .choice([("auto", .automatic), ("oauth", .oauth), ("openid", .openID)]), \.discovery,
        default: "auto", "Whose metadata is asked: RFC 8414's (`oauth`), OpenID Connect's, or one after the other."),
    Directive("ca_file", .path, \.caFile, "Certificates (PEM) to trust instead of the system's."),
    Directive(
        "timeout", .duration(.seconds(1)...(.seconds(600))), \.timeout, default: "30s",
        "For one whole call to the provider; a reply that comes later is lost."),
    Directive(
        "user_agent", .string(), \.userAgent, default: "token-gateway", "The User-Agent of calls to the provider."),
    Directive(
        "token_headers", .fields(reserved: reservedFields.union(["authorization", "content-type", "user-agent"])),
        \.tokenHeaders, "Further header fields of calls to the provider."),
    Directive(
        "allow_plaintext", .boolean, \.allowPlaintext, default: false,
        "Accept `http://` endpoints, on loopback addresses only."),
]

private let clientDirectives: [Directive<Snapshot.Provider>] = [
    Directive("client_id", .string(), \.clientID, isRequired: true, "Our client identifier."),
    Directive(
        "client_secret_file", .oneOrMore(of: .path), default: .none,
        "A file with the client secret, re-read when it changes; several are tried in order."
    ) { $0.clientSecrets += $1.map { .file(path: $0) } },
    Directive(
        "client_secret_env", .variableName, default: .none,
        "Instead of client_secret_file: the environment variable with the secret."
    ) { $0.clientSecrets.append(.environment(name: $1)) },
    Directive(
        "client_secret_credential", .credentialName, default: .none,
        "Instead of client_secret_file: the systemd credential with the secret."
    ) { $0.clientSecrets.append(.credential(name: $1)) },
    Directive(
        "client_auth",
        .choice([
            ("auto", .automatic), ("client_secret_basic", .clientSecretBasic),
            ("client_secret_post", .clientSecretPost), ("none", .none),
        ]), \.clientAuthentication, default: "auto",
        "How the client authenticates; `auto`: as discovered, else `client_secret_basic`, without a secret `none`."),
    Directive(
        "revocation_auth",
        .choice([
            ("client_secret_basic", .clientSecretBasic), ("client_secret_post", .clientSecretPost), ("none", .none),
        ]), \.revocationAuthentication, "How it authenticates for revocation, if not as at the token endpoint."),
    Directive(
        "pkce", .choice([("s256", .s256), ("off", .off)]), \.pkce, default: "s256",
        "`off` only for a provider that refuses PKCE."),
    Directive(
        "require_iss", .boolean, \.requireISS, default: false, "Refuse a callback without `iss` (RFC 9207)."),
]

private let quirkDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "scope_separator",
        .string(expected: "one printable ASCII character that is not a letter or digit") { text in
            text.utf8.count == 1 && text.utf8.allSatisfy { $0 < 0x7f && !$0.isLetter && !$0.isDigit }
        }, \.scopeSeparator, default: " ", "What stands between scopes; some providers want `,`."),
    Directive(
        "scope_param", .parameterName, \.scopeParameter, default: "scope",
        "The authorization request's name for the scopes."),
    Directive("code_param", .parameterName, \.codeParameter, default: "code", "The callback's name for the code."),
    Directive(
        "authorize_params",
        .parameters(reserved: [
            "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
        ]), \.authorizeParameters, "Further parameters of the authorization request."),
    Directive(
        "token_params",
        .parameters(reserved: [
            "grant_type", "code", "redirect_uri", "client_id", "client_secret", "code_verifier",
        ]), \.tokenParameters, "Further parameters of the token request."),
    Directive(
        "refresh_params",
        .parameters(reserved: ["grant_type", "refresh_token", "client_id", "client_secret", "scope"]),
        \.refreshParameters, "Further parameters of refresh requests."),
    Directive(
        "revocation_params",
        .parameters(reserved: ["token", "token_type_hint", "client_id", "client_secret"]), \.revocationParameters,
        "Further parameters of revocation requests."),
    Directive("token_body", .choice, \.tokenBody, default: "form", "How requests to the token endpoint are encoded."),
    Directive(
        "refresh_scope", .refreshScope, \.refreshScope, default: "omit",
        "The scope of refreshes: `omit`, `same` (the grant's) or a list."),
    Directive(
        "error_aliases", .table(of: .choice, example: #"{ bad_refresh_token = "invalid_grant" }"#), \.errorAliases,
        "The provider's own error codes and what they mean."),
    Directive(
        "paths", .replyPaths, \.replyPaths, "Where a token reply's members are, as dotted paths."),
    Directive(
        "header", .credentialHeaderName, \.credentialHeader.name, default: "Authorization",
        "The header field that carries the token upstream."),
    Directive(
        "scheme", .credentialScheme, \.credentialHeader.scheme,
        default: .described("`Bearer` in `Authorization`, else empty"),
        "What stands before the token; empty: the token alone."),
]

private let lifetimeDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "default_lifetime", .durationOrOff(.seconds(1)...year, zero: "unknown"), \.defaultLifetime, default: "0s",
        "The lifetime of an access token whose reply does not say it; unknown: only a 401 refreshes."),
    Directive(
        "expires_unit", .duration(.milliseconds(1)...(.seconds(86_400))), \.expiresUnit, default: "1s",
        "What one unit of `expires_in` is."),
    Directive(
        "refresh_skew", .duration(.zero...(.seconds(86_400))), \.refreshSkew, default: "1m",
        "Refresh this long before expiry, but at most half of the lifetime."),
    Directive(
        "min_refresh_interval", .duration(.zero...(.seconds(86_400))), \.minRefreshInterval, default: "0s",
        "The least time between two refreshes of a grant, for providers that count them."),
    Directive(
        "rejection_cooldown", .duration(.zero...(.seconds(86_400))), \.rejectionCooldown, default: "10s",
        "At most one refresh because of 401s in this time; 0s: no limit."),
    Directive(
        "keepalive_interval", .durationOrOff(.seconds(60)...year), \.keepaliveInterval, default: "0s",
        "Refresh even an unused grant this often."),
    Directive(
        "refresh_token_lifetime", .durationOrOff(.seconds(60)...(.seconds(3650 * 86_400)), zero: "unknown"),
        \.refreshTokenLifetime, default: "0s", "How long a refresh token lives, for the warning before it ends."),
    Directive(
        "replay_window", .durationOrOff(.seconds(1)...(.seconds(600)), zero: "never"), default: "25s",
        "How long a refresh whose reply was lost may be sent again."
    ) { $0.replayWindow = $1 ?? .zero },
]

let year = Duration.seconds(366 * 86_400)

/// What a grant says before its provider is known.
struct GrantDraft: Sendable {
    var name = ""
    var provider: String?
    var scopes: [String] = []
    var requiredScopes: [String] = []
    var tokenFile: String?
    var requireRefreshToken: Bool?
    var expectedAccount: String?
    var header: String?
    var scheme: String?
}

let grantDirectives = Directives<GrantDraft>(
    place: .grant,
    list: [
        Directive("provider", .string(), \.provider, "The provider that issues the tokens."),
        Directive("scopes", .list(of: .scopeToken), \.scopes, "The scopes to ask for."),
        Directive(
            "required_scopes", .list(of: .scopeToken), \.requiredScopes,
            "Scopes without which the grant is not usable; others may be refused by the resource owner."),
        Directive(
            "token_file", .path, \.tokenFile,
            "Instead of a provider: a file with the token, re-read when it changes."),
        Directive(
            "require_refresh_token", .boolean, \.requireRefreshToken,
            "Refuse a consent without a refresh token; unset: where it would replace a grant that has one."),
        Directive(
            "expected_account", .string(), \.expectedAccount,
            "The only account whose consent is accepted, as found at `account` in the provider's paths."),
        Directive("header", .credentialHeaderName, \.header, "Instead of the provider's header."),
        Directive("scheme", .credentialScheme, \.scheme, "Instead of the provider's scheme."),
    ])
