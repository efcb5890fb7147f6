// Facts: learn.microsoft.com/linkedin/shared/authentication (authorization-code-flow, programmatic-refresh-tokens).

extension ProviderProfile {
    static let linkedin = ProviderProfile(
        name: "linkedin", title: "LinkedIn",
        purpose: "LinkedIn, for partners who get refresh tokens",
        text: #"""
            authorize_url = "https://www.linkedin.com/oauth/v2/authorization"
            token_url = "https://www.linkedin.com/oauth/v2/accessToken"
            client_auth = "client_secret_post"
            pkce = "off"
            # Access tokens live for 60 days; the refresh token ends 365 days after the consent, whatever is done.
            rotation = "reusable"
            refresh_skew = "1d"
            refresh_token_lifetime = "365d"
            refresh_token_end = "fixed"
            revocation.supported = false
            revocation.advice = "The member removes the app under Permitted services in the settings of LinkedIn."
            """#,
        scopes: ["r_organization_social"], upstream: "https://api.linkedin.com")
}
