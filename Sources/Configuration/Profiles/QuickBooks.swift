// Facts: github.com/intuit/QuickBooks-V3-Java-SDK (release notes of 6.5.4: hard end of refresh tokens), airbytehq/airbyte#7296;
// developer.intuit.com (OAuth 2.0).

extension ProviderProfile {
    static let quickbooks = ProviderProfile(
        name: "quickbooks", title: "QuickBooks Online",
        purpose: "QuickBooks Online by Intuit",
        text: #"""
            authorize_url = "https://appcenter.intuit.com/connect/oauth2"
            token_url = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"
            client_auth = "client_secret_basic"
            pkce = "off"
            # The company, which stands in the path of every call.
            callback_capture.realm_id = "realmId digits required"
            # The value changes about once a day: 100 days from the last use, five years at most.
            rotation = "unknown"
            refresh_token_lifetime = "100d"
            keepalive_interval = "30d"
            revocation.url = "https://developer.api.intuit.com/v2/oauth2/tokens/revoke"
            revocation.body = "json"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["com.intuit.quickbooks.accounting"],
        upstream: "https://quickbooks.api.intuit.com/v3/company/{realm_id}")
}
