// Facts: developers.notion.com/reference (authentication, create-a-token, refresh-a-token, revoke-token).

extension ProviderProfile {
    static let notion = ProviderProfile(
        name: "notion", title: "Notion",
        purpose: "Notion workspaces",
        text: #"""
            authorize_url = "https://api.notion.com/v1/oauth/authorize"
            token_url = "https://api.notion.com/v1/oauth/token"
            authorize_params.owner = "user"
            client_auth = "client_secret_basic"
            token_body = "json"
            pkce = "off"
            # Every request names the version of the API.
            variables.notion_version = "2025-09-03"
            extra_headers.Notion-Version = "{notion_version}"
            token_headers.Notion-Version = "2025-09-03"
            # A refresh gives a new pair.
            rotation = "single_use"
            paths.error = "error|code"
            paths.account = "owner.user.id|bot_id"
            response_capture.workspace_id = "workspace_id word"
            revocation.url = "https://api.notion.com/v1/oauth/revoke"
            revocation.body = "json"
            revocation.hint = false
            revocation.order = "access_token"
            revocation.advice = "The user removes the connection in the settings of the Notion workspace."
            """#,
        scopes: [], upstream: "https://api.notion.com")
}
