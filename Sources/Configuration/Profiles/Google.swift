// Facts: developers.google.com/identity/protocols/oauth2/web-server and .../oauth2/service-account;
// amp-labs/connectors#1168 (prompt), rmorlok/authproxy#188 (a second revocation answers 400).

extension ProviderProfile {
    static let google = ProviderProfile(
        name: "google", title: "Google",
        purpose: "Drive, Gmail, Calendar and the other Google APIs, by a person",
        text: #"""
            # Google's metadata names the endpoints.
            issuer = "https://accounts.google.com"
            discovery = "openid"
            # Without both there is no refresh token, or only at the very first consent.
            authorize_params.access_type = "offline"
            authorize_params.prompt = "consent"
            # A refresh leaves the refresh token as it is; unused for six months it dies, and for an app in testing after a week.
            rotation = "reusable"
            keepalive_interval = "30d"
            # Revoking the refresh token ends the access tokens too; the endpoint wants no client.
            revocation.url = "https://oauth2.googleapis.com/revoke"
            revocation.auth = "none"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["openid", "https://www.googleapis.com/auth/drive.readonly"], upstream: "https://www.googleapis.com")
}

extension ProviderProfile {
    static let googleServiceAccount = ProviderProfile(
        name: "google-service-account", title: "Google service account",
        purpose: "Google APIs without a person: a key of a service account signs for the tokens",
        credentials: .serviceAccount,
        text: #"""
            token_url = "https://oauth2.googleapis.com/token"
            # The assertion is all that is sent, and Google takes the scopes nowhere but in it.
            client_auth = "none"
            assertion_scope = "claim"
            rotation = "reusable"
            revocation.supported = false
            revocation.advice = "Delete the service account's key in the Google Cloud console."
            """#,
        scopes: ["https://www.googleapis.com/auth/cloud-platform"], upstream: "https://storage.googleapis.com",
        grantLines: ["type = \"jwt_bearer\""])
}
