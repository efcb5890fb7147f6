// Facts: developer.okta.com (authorization servers, refresh token rotation: grace of 30 seconds unless set).

extension ProviderProfile {
    static let okta = ProviderProfile(
        name: "okta", title: "Okta",
        purpose: "APIs behind an Okta authorization server",
        text: #"""
            required_variables.domain.about = "the organisation's domain"
            required_variables.domain.example = "acme.okta.com"
            required_variables.domain.pattern = "[A-Za-z0-9.-]+"
            # Another authorization server: variables = { server = "aus9…" }
            variables.server = "default"
            issuer = "https://{domain}/oauth2/{server}"
            discovery = "openid"
            # The application's setting; with rotation the old token is good for another 30 seconds.
            rotation = "unknown"
            replay_window = "25s"
            """#,
        scopes: ["openid", "offline_access"], upstream: "https://api.example.com")
}
