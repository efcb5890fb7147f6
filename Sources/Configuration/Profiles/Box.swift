// Facts: developer.box.com/guides/authentication/tokens (refresh, revoke); support.box.com 15765421154323.

extension ProviderProfile {
    static let box = ProviderProfile(
        name: "box", title: "Box",
        purpose: "Box files",
        text: #"""
            authorize_url = "https://account.box.com/api/oauth2/authorize"
            token_url = "https://api.box.com/oauth2/token"
            client_auth = "client_secret_post"
            pkce = "off"
            # Good once, for 60 days; but the same pair comes again until the new one is used, and so a lost reply can be had again.
            rotation = "single_use"
            replay_window = "1m"
            refresh_token_lifetime = "60d"
            keepalive_interval = "20d"
            # Either token ends both.
            revocation.url = "https://api.box.com/oauth2/revoke"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["root_readwrite"], upstream: "https://api.box.com")
}
