// The directives for what providers do in their own way.

let quirkDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "scope_separator",
        .string(expected: "one printable ASCII character that is not a letter or digit") { text in
            text.utf8.count == 1 && text.utf8.allSatisfy { $0 < 0x7f && !$0.isLetter && !$0.isDigit }
        }, \.scopeSeparator, default: " ", "What stands between scopes; some providers want `,`."),
    Directive(
        "scope_param", .parameterName, \.scopeParameter, default: "scope",
        "The authorization request's name for the scopes."),
    Directive(
        "omit_authorize_params", .list(of: .omittableName), \.omittedAuthorizeParameters,
        "Standard parameters that the authorization request leaves out."),
    Directive(
        "rename_params", .renamedParameters, \.renamedParameters,
        "Standard parameters and what the provider calls them, in every request."),
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
        "callback_capture", .captures(of: .callbackCapture, example: #"{ realm_id = "realmId digits" }"#),
        \.callbackCaptures,
        "Values to keep from the callback for `{name}`: the parameter, its kind, and `required`."),
    Directive(
        "response_capture", .captures(of: .replyCapture, example: #"{ api_domain = "api_domain host" }"#),
        \.responseCaptures,
        "Values to keep from token replies for `{name}`: the dotted path, its kind, and `required`."),
    Directive(
        "lookup", .lookups, \.lookups,
        "Calls with the new token after a consent, for values that no reply gave; names as in response_capture."),
    Directive(
        "allowed_hosts", .list(of: .hostPattern), \.allowedHosts,
        "The hosts that captured values may choose: `api.example.com`, or `*.example.com` for all below."),
    Directive(
        "allow_private", .boolean, \.allowPrivate, default: false,
        "Let a host that only a pattern like `*.example.com` or `{shop}.example.com` allows be on a private address."),
    Directive(
        "extra_headers", .fields(reserved: upstreamFields), \.extraHeaders,
        "Header fields sent upstream beside the token; `{name}` stands for a value of the grant."),
    Directive(
        "token_types", .list(of: .string()), \.tokenTypes,
        "Token types that are sent like `bearer`, where the provider calls its tokens something else."),
    Directive(
        "empty_refusal_ends_grant", .boolean, \.emptyRefusalEndsGrant, default: true,
        "Take a refusal (400, 401, 403) of a refresh without any body for `invalid_grant`."),
    Directive(
        "refresh_with", .choice, \.refreshWith, default: "refresh_token",
        "What a refresh sends: `access_token` where a provider has no refresh tokens."),
    Directive(
        "refresh_grant_type", .string(), \.refreshGrantType, default: "refresh_token", "The grant_type of refreshes."),
    Directive(
        "header", .credentialHeaderName, \.credentialHeader.name, default: "Authorization",
        "The header field that carries the token upstream."),
    Directive(
        "scheme", .credentialScheme, \.credentialHeader.scheme,
        default: .described("`Bearer` in `Authorization`, else empty"),
        "What stands before the token; empty: the token alone."),
]

let lifetimeDirectives: [Directive<Snapshot.Provider>] = [
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
        "refresh_token_end", .choice([("sliding", false), ("fixed", true)]), \.refreshTokenEndIsFixed,
        default: "sliding", "`fixed`: refresh_token_lifetime counts from the consent, not from the last refresh."),
    Directive(
        "rotation", .choice, \.rotation, default: "unknown",
        "What a refresh does to the refresh token; `unknown` is treated as `single_use`."),
    Directive(
        "replay_window", .durationOrOff(.seconds(1)...(.seconds(600)), zero: "never"), default: "25s",
        "How long a refresh whose reply was lost may be sent again."
    ) { $0.replayWindow = $1 ?? .zero },
]

let year = Duration.seconds(366 * 86_400)

extension ValueType where Value == String {
    /// A standard parameter without which a consent is still safe.
    fileprivate static var omittableName: Self {
        string("parameter", expected: "a parameter other than state, nonce and those of PKCE (pkce = \"off\")") {
            !["state", "nonce", "code_challenge", "code_challenge_method"].contains($0)
        }
    }
}
