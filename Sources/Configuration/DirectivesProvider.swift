// The directives of OAuth: providers and grants.

let providerDirectives = Directives<Snapshot.Provider>(
    place: .provider,
    list: endpointDirectives + variableDirectives + clientDirectives + keyDirectives + protocolDirectives
        + quirkDirectives + lifetimeDirectives)

private let endpointDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "profile", .profileName, \.profile,
        "What the program knows of a vendor, under the lines here; `false` takes one of its lines away."),
    Directive(
        "issuer", .issuer, \.issuer,
        "The issuer's URL: endpoints that are not given are discovered from it; `iss` is compared with it."),
    Directive("authorize_url", .urlTemplate, \.authorizeURLTemplate, "The authorization endpoint."),
    Directive("token_url", .urlTemplate, \.tokenURLTemplate, "The token endpoint."),
    Directive("refresh_url", .urlTemplate, \.refreshURLTemplate, "Where refreshes go, if not to token_url."),
    Directive("revocation_url", .urlTemplate, \.revocationURLTemplate, "The revocation endpoint (RFC 7009)."),
    Directive(
        "revocation", .revocation, \.revocation,
        "How the provider ends a grant where it is not as in RFC 7009; `{token}` may stand in its url."),
    Directive(
        "device_url", .urlTemplate, \.deviceURLTemplate, "The device authorization endpoint (RFC 8628)."),
    Directive(
        "pushed_request_url", .urlTemplate, \.pushedRequestURLTemplate,
        "The endpoint for pushed authorization requests (RFC 9126)."),
    Directive("jwks_url", .urlTemplate, \.jwksURLTemplate, "The provider's public keys, for the id_token's signature."),
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
    Directive(
        "client_id", .string(), \.clientID, default: .described("required, but for a service account"),
        "Our client identifier."),
    Directive(
        "client_secret_file", .oneOrMore(of: .secretPath), default: .none,
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
            ("client_secret_post", .clientSecretPost), ("client_secret_jwt", .clientSecretJWT),
            ("private_key_jwt", .privateKeyJWT), ("tls_client_auth", .tlsClientAuth),
            ("self_signed_tls_client_auth", .selfSignedTLS), ("bearer_secret", .bearerSecret),
            ("secret_as_user", .secretAsUser), ("none", .none),
        ]), \.clientAuthentication, default: "auto",
        "How the client authenticates; `auto`: by what is given here and discovered, `client_secret_basic` at first."),
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
