// Facts: docs.github.com/apps (refreshing-user-access-tokens), docs.github.com/rest/apps/oauth-applications;
// envoyproxy/envoy#14542, speakeasy-api/gram#6088, vm0-ai/vm0#4891 (errors come with status 200).

extension ProviderProfile {
    static let github = ProviderProfile(
        name: "github", title: "GitHub",
        purpose: "GitHub Apps (user tokens that expire) and OAuth apps (tokens that do not)",
        text: #"""
            authorize_url = "https://github.com/login/oauth/authorize"
            token_url = "https://github.com/login/oauth/access_token"
            device_url = "https://github.com/login/device/code"
            client_auth = "client_secret_post"
            revocation_auth = "client_secret_basic"
            scope_separator = ","
            # A refresh ends the old refresh token, and the old access token at once. OAuth apps have neither lifetime nor refresh.
            rotation = "single_use"
            # Errors come with status 200 and names of GitHub's own.
            error_aliases.bad_refresh_token = "invalid_grant"
            error_aliases.bad_verification_code = "invalid_grant"
            error_aliases.incorrect_client_credentials = "invalid_client"
            # Ends the whole authorization; the call wants a living access token.
            revocation.url = "https://api.github.com/applications/{client_id}/grant"
            revocation.method = "DELETE"
            revocation.body = "json"
            revocation.token_param = "access_token"
            revocation.hint = false
            revocation.order = "access_token"
            revocation.advice = "The user revokes the app at https://github.com/settings/apps/authorizations."
            revocation.headers.Accept = "application/vnd.github+json"
            # Not checked with the vendor: what is documented is that the token must be a living one.
            revocation.invalid_statuses = [404]
            """#,
        scopes: ["repo"], upstream: "https://api.github.com")
}
