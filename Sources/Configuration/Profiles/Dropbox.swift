// Facts: dropbox.tech/developers/using-oauth-2-0-with-offline-access; dropbox.com/developers/documentation/http.

extension ProviderProfile {
    static let dropbox = ProviderProfile(
        name: "dropbox", title: "Dropbox",
        purpose: "Dropbox files",
        text: #"""
            authorize_url = "https://www.dropbox.com/oauth2/authorize"
            token_url = "https://api.dropboxapi.com/oauth2/token"
            # Without it there is no refresh token.
            authorize_params.token_access_type = "offline"
            # One way of authenticating at a time.
            client_auth = "client_secret_post"
            # The refresh token does not end; access tokens live for four hours.
            rotation = "reusable"
            paths.account = "account_id"
            revocation.url = "https://api.dropboxapi.com/2/auth/token/revoke"
            revocation.auth = "token"
            revocation.body = "none"
            revocation.order = "access_token"
            revocation.advice = "The user disconnects the app at https://www.dropbox.com/account/connected_apps."
            revocation.invalid_statuses = [401]
            """#,
        scopes: ["files.metadata.read"], upstream: "https://api.dropboxapi.com")
}
