// Facts: docs.slack.dev/authentication (installing-with-oauth, using-token-rotation), methods oauth.v2.access, auth.revoke.

extension ProviderProfile {
    static let slack = ProviderProfile(
        name: "slack", title: "Slack bot",
        purpose: "Slack as the bot of your app",
        text: #"""
            authorize_url = "https://slack.com/oauth/v2/authorize"
            token_url = "https://slack.com/api/oauth.v2.access"
            client_auth = "client_secret_post"
            pkce = "off"
            scope_separator = ","
            token_types = ["bot"]
            # Where the app rotates its tokens: twelve hours, and a refresh token that is good once.
            rotation = "single_use"
            response_capture.team_id = "team.id word"
            # Errors come with status 200 and ok: false.
            error_aliases.invalid_refresh_token = "invalid_grant"
            error_aliases.token_revoked = "invalid_grant"
            error_aliases.token_expired = "invalid_grant"
            error_aliases.account_inactive = "invalid_grant"
            error_aliases.invalid_client_id = "invalid_client"
            error_aliases.bad_client_secret = "invalid_client"
            revocation.url = "https://slack.com/api/auth.revoke"
            revocation.auth = "token"
            revocation.body = "none"
            revocation.order = "access_token"
            revocation.advice = "Remove the app from the workspace at https://slack.com/apps/manage."
            revocation.invalid_codes = ["token_revoked", "token_expired", "invalid_auth", "account_inactive"]
            """#,
        scopes: ["channels:read", "chat:write"], upstream: "https://slack.com/api")
}

extension ProviderProfile {
    static let slackUser = ProviderProfile(
        name: "slack-user", title: "Slack user",
        purpose: "Slack as the person who consents",
        text: #"""
            authorize_url = "https://slack.com/oauth/v2/authorize"
            token_url = "https://slack.com/api/oauth.v2.access"
            client_auth = "client_secret_post"
            pkce = "off"
            scope_separator = ","
            # The person's scopes and tokens have places of their own; a refresh answers at the top.
            scope_param = "user_scope"
            token_types = ["user"]
            paths.access_token = "authed_user.access_token|access_token"
            paths.refresh_token = "authed_user.refresh_token|refresh_token"
            paths.expires_in = "authed_user.expires_in|expires_in"
            paths.scope = "authed_user.scope|scope"
            paths.token_type = "authed_user.token_type|token_type"
            paths.account = "authed_user.id"
            rotation = "single_use"
            response_capture.team_id = "team.id word"
            # Errors come with status 200 and ok: false.
            error_aliases.invalid_refresh_token = "invalid_grant"
            error_aliases.token_revoked = "invalid_grant"
            error_aliases.token_expired = "invalid_grant"
            error_aliases.account_inactive = "invalid_grant"
            error_aliases.invalid_client_id = "invalid_client"
            error_aliases.bad_client_secret = "invalid_client"
            revocation.url = "https://slack.com/api/auth.revoke"
            revocation.auth = "token"
            revocation.body = "none"
            revocation.order = "access_token"
            revocation.advice = "Remove the app from the workspace at https://slack.com/apps/manage."
            revocation.invalid_codes = ["token_revoked", "token_expired", "invalid_auth", "account_inactive"]
            """#,
        scopes: ["channels:read", "search:read"], upstream: "https://slack.com/api")
}
