// Facts: zoho.com/accounts/protocol/oauth (multi-dc.html, multi-dc/client-authorization.html, web-apps/authorization.html,
// web-apps/access-token-expiry.html), zoho.com/crm/developer/docs/api/multi-dc.html; PipedreamHQ/pipedream PR 15602.

extension ProviderProfile {
    static let zoho = ProviderProfile(
        name: "zoho", title: "Zoho",
        purpose: "Zoho CRM, Books, Desk and the others, in whichever data centre the account is",
        text: #"""
            # Where the consent begins; the callback names the data centre of whoever consented, the reply its API.
            variables.accounts_server = "accounts.zoho.com"
            variables.api_domain = "www.zohoapis.com"
            authorize_url = "https://{accounts_server}/oauth/v2/auth"
            token_url = "https://{accounts_server}/oauth/v2/token"
            callback_capture.accounts_server = "accounts-server host"
            callback_capture.location = "location word"
            response_capture.api_domain = "api_domain host"
            # Zoho's data centres, one by one: the code and the client secret go to a host that the browser brings.
            allowed_hosts = [
              "accounts.zoho.com", "accounts.zoho.eu", "accounts.zoho.in", "accounts.zoho.com.au",
              "accounts.zoho.com.cn", "accounts.zoho.jp", "accounts.zoho.sa", "accounts.zoho.uk",
              "accounts.zohocloud.ca", "www.zohoapis.com", "www.zohoapis.eu", "www.zohoapis.in",
              "www.zohoapis.com.au", "www.zohoapis.com.cn", "www.zohoapis.jp", "www.zohoapis.sa",
              "www.zohoapis.uk", "www.zohoapis.ca", "www.zohocloud.ca", "api.zoho.com", "api.zoho.eu",
              "api.zoho.in", "api.zoho.com.au", "api.zoho.com.cn", "api.zoho.jp", "api.zoho.sa",
              "api.zoho.uk",
            ]
            client_auth = "client_secret_post"
            pkce = "off"
            scope_separator = ","
            # Without both there is no refresh token.
            authorize_params.access_type = "offline"
            authorize_params.prompt = "consent"
            # The reply says Bearer, but the APIs want this.
            scheme = "Zoho-oauthtoken"
            rotation = "reusable"
            # Ten access tokens in ten minutes for a refresh token; more are refused.
            min_refresh_interval = "1m"
            # As developers report it for dead refresh tokens; Zoho documents it for codes only.
            error_aliases.invalid_code = "invalid_grant"
            error_aliases.invalid_client_secret = "invalid_client"
            revocation.url = "https://{accounts_server}/oauth/v2/token/revoke"
            revocation.auth = "none"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["ZohoCRM.modules.ALL"], upstream: "https://{api_domain}",
        upstreamHosts: [
            "www.zohoapis.com", "www.zohoapis.eu", "www.zohoapis.in", "www.zohoapis.com.au", "www.zohoapis.com.cn",
            "www.zohoapis.jp", "www.zohoapis.sa", "www.zohoapis.uk", "www.zohoapis.ca", "www.zohocloud.ca",
            "api.zoho.com", "api.zoho.eu", "api.zoho.in", "api.zoho.com.au", "api.zoho.com.cn", "api.zoho.jp",
            "api.zoho.sa", "api.zoho.uk",
        ])
}
