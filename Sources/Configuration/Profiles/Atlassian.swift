// Facts: developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps; nango.dev/blog/jira-oauth-refresh-token-invalid-grant,
// PostHog/posthog#49714 (a dead refresh token may be refused with 403).

extension ProviderProfile {
    static let atlassian = ProviderProfile(
        name: "atlassian", title: "Atlassian",
        purpose: "Jira and Confluence Cloud",
        text: #"""
            authorize_url = "https://auth.atlassian.com/authorize"
            token_url = "https://auth.atlassian.com/oauth/token"
            authorize_params.audience = "api.atlassian.com"
            authorize_params.prompt = "consent"
            client_auth = "client_secret_post"
            token_body = "json"
            pkce = "off"
            # Good once; dead after 90 days without use.
            rotation = "single_use"
            refresh_token_lifetime = "90d"
            keepalive_interval = "30d"
            # Documented is invalid_grant; this one is from developers' reports.
            error_aliases."403:unauthorized_client" = "invalid_grant"
            error_aliases."401:access_denied" = "invalid_client"
            # The first site that the consent is for; another: [grant.NAME] variables = { cloud_id = "…" }
            lookup = [{ url = "https://api.atlassian.com/oauth/token/accessible-resources", capture = { cloud_id = "0.id word required", site_url = "0.url text" } }]
            revocation.supported = false
            revocation.advice = "Remove the app under Connected apps at id.atlassian.com."
            """#,
        scopes: ["offline_access", "read:jira-work"], upstream: "https://api.atlassian.com/ex/jira/{cloud_id}")
}
