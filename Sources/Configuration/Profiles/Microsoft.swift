// Facts: learn.microsoft.com/entra/identity-platform (refresh-tokens, v2-oauth2-auth-code-flow, v2-oauth2-device-code);
// anthropics/claude-ai-mcp#228.

extension ProviderProfile {
    static let microsoft = ProviderProfile(
        name: "microsoft", title: "Microsoft Entra ID",
        purpose: "Microsoft Graph and other APIs behind Entra ID",
        text: #"""
            required_variables.tenant.about = "the directory: its id, one of its domains, or organizations, consumers, common"
            required_variables.tenant.example = "contoso.onmicrosoft.com"
            required_variables.tenant.pattern = "[A-Za-z0-9][A-Za-z0-9.-]*"
            # No issuer: for several tenants the metadata's is a pattern, which nothing can be equal to.
            authorize_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize"
            token_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
            device_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode"
            # The id_token comes over TLS from the token endpoint; its issuer is the tenant's own.
            check_id_token = false
            client_auth = "client_secret_post"
            # A refresh without a scope gives tokens for less. Each brings a new refresh token; the old one stays good.
            refresh_scope = "same"
            rotation = "reusable"
            # 24 hours for a single-page app, whose tokens have no place here.
            refresh_token_lifetime = "90d"
            revocation.supported = false
            revocation.advice = "Remove the consent under Enterprise applications, or revoke the user's sign-in sessions."
            """#,
        scopes: ["offline_access", "https://graph.microsoft.com/User.Read"], upstream: "https://graph.microsoft.com")
}
