// Facts: developer.zendesk.com (authentication: refresh-token, oauth tokens), Nango providers.yaml (expires_in parameter).

extension ProviderProfile {
    static let zendesk = ProviderProfile(
        name: "zendesk", title: "Zendesk",
        purpose: "Zendesk Support",
        text: #"""
            required_variables.subdomain.about = "the account's name, which stands before .zendesk.com"
            required_variables.subdomain.example = "acme"
            required_variables.subdomain.pattern = "[A-Za-z0-9][A-Za-z0-9-]*"
            authorize_url = "https://{subdomain}.zendesk.com/oauth/authorizations/new"
            token_url = "https://{subdomain}.zendesk.com/oauth/tokens"
            client_auth = "client_secret_post"
            token_body = "json"
            # In seconds: a day, and 30 days for the refresh token. They go out as texts, where Zendesk's examples have
            # numbers: not checked with the vendor.
            token_params.expires_in = "86400"
            token_params.refresh_token_expires_in = "2592000"
            refresh_params.expires_in = "86400"
            refresh_params.refresh_token_expires_in = "2592000"
            rotation = "single_use"
            refresh_token_lifetime = "30d"
            keepalive_interval = "7d"
            revocation.url = "https://{subdomain}.zendesk.com/api/v2/oauth/tokens/current"
            revocation.method = "DELETE"
            revocation.auth = "token"
            revocation.body = "none"
            revocation.order = "access_token"
            revocation.advice = "An administrator deletes the token among the OAuth clients of the account."
            revocation.invalid_statuses = [401]
            """#,
        scopes: ["read"], upstream: "https://{subdomain}.zendesk.com",
        upstreamHosts: ["*.zendesk.com"])
}
