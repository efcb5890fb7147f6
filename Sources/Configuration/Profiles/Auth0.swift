// Facts: auth0.com/docs/secure/tokens/refresh-tokens (rotation, revocation).

extension ProviderProfile {
    static let auth0 = ProviderProfile(
        name: "auth0", title: "Auth0",
        purpose: "APIs behind an Auth0 tenant",
        text: #"""
            required_variables.domain.about = "the tenant's domain"
            required_variables.domain.example = "acme.eu.auth0.com"
            required_variables.domain.pattern = "[A-Za-z0-9.-]+"
            # With the slash: Auth0's tokens say it so.
            issuer = "https://{domain}/"
            discovery = "openid"
            client_auth = "client_secret_post"
            error_aliases."401:access_denied" = "invalid_client"
            # For an API of yours: authorize_params = { audience = "https://api.example.com" }
            # Whether refresh tokens rotate is the application's setting; its leeway is zero unless it is set.
            rotation = "unknown"
            # Access tokens cannot be revoked.
            revocation.url = "https://{domain}/oauth/revoke"
            revocation.body = "json"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["openid", "offline_access"], upstream: "https://api.example.com")
}
