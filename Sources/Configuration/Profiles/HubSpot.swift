// Facts: developers.hubspot.com/docs/api-reference (2026-03 authentication, oauth-tokens) and its changelog (v1 ends on
// 2027-02-16); nango.dev/blog/hubspot-oauth-bad-refresh-token (the error's form).

extension ProviderProfile {
    static let hubspot = ProviderProfile(
        name: "hubspot", title: "HubSpot",
        purpose: "HubSpot CRM and Marketing",
        text: #"""
            # HubSpot dates its endpoints.
            variables.api_version = "2026-03"
            authorize_url = "https://app.hubspot.com/oauth/authorize"
            token_url = "https://api.hubapi.com/oauth/{api_version}/token"
            client_auth = "client_secret_post"
            pkce = "off"
            # Access tokens live for 30 minutes; the refresh token stays.
            rotation = "reusable"
            paths.scope = "scopes|scope"
            # The portal.
            paths.account = "hub_id"
            paths.error = "error|status"
            error_aliases.BAD_REFRESH_TOKEN = "invalid_grant"
            error_aliases.EXPIRED_AUTH_CODE = "invalid_grant"
            error_aliases.BAD_CLIENT_SECRET = "invalid_client"
            # Access tokens live on until they expire.
            revocation.url = "https://api.hubapi.com/oauth/{api_version}/token/revoke"
            revocation.order = "refresh_token"
            revocation.invalid_statuses = [404]
            """#,
        scopes: ["oauth", "crm.objects.contacts.read"], upstream: "https://api.hubapi.com")
}
