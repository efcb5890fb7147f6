// Facts: github.com/XeroAPI/Xero-OpenAPI (xero-identity.yaml), XeroAPI/xero-node#382,
// nango.dev/blog/xero-oauth-refresh-token-invalid-grant.

extension ProviderProfile {
    static let xero = ProviderProfile(
        name: "xero", title: "Xero",
        purpose: "Xero accounting",
        text: #"""
            authorize_url = "https://login.xero.com/identity/connect/authorize"
            token_url = "https://identity.xero.com/connect/token"
            client_auth = "client_secret_basic"
            # Good once; dead after 60 days without use.
            rotation = "single_use"
            refresh_token_lifetime = "60d"
            keepalive_interval = "20d"
            # The first organisation that the consent is for; another: [grant.NAME] variables = { tenant_id = "…" }
            lookup = [{ url = "https://api.xero.com/connections", capture = { tenant_id = "0.tenantId word required" } }]
            extra_headers.xero-tenant-id = "{tenant_id}"
            # Ends all of the person's connections with the app.
            revocation.url = "https://identity.xero.com/connect/revocation"
            revocation.order = "refresh_token"
            """#,
        scopes: ["offline_access", "accounting.transactions"], upstream: "https://api.xero.com")
}
