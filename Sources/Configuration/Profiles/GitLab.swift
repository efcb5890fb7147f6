// Facts: docs.gitlab.com/api/oauth2.

extension ProviderProfile {
    static let gitlab = ProviderProfile(
        name: "gitlab", title: "GitLab",
        purpose: "GitLab.com, or a GitLab of your own",
        text: #"""
            # Your own GitLab: variables = { host = "gitlab.example.com" }
            variables.host = "gitlab.com"
            issuer = "https://{host}"
            discovery = "openid"
            client_auth = "client_secret_post"
            # Each refresh token is good once; access tokens live for two hours.
            rotation = "single_use"
            """#,
        scopes: ["read_api"], upstream: "https://gitlab.com/api")
}
