// Facts: docs.stripe.com/stripe-apps/api-authentication/oauth; docs.stripe.com/connect/oauth-reference (deauthorize).

extension ProviderProfile {
    static let stripe = ProviderProfile(
        name: "stripe", title: "Stripe Apps",
        purpose: "Stripe accounts that install your app",
        text: #"""
            authorize_url = "https://marketplace.stripe.com/oauth/v2/authorize"
            token_url = "https://api.stripe.com/v1/oauth/token"
            # Your secret key is the client secret; it is sent as the user's name.
            client_auth = "secret_as_user"
            pkce = "off"
            # An hour, which the reply does not say; a refresh gives a new refresh token, good for a year.
            default_lifetime = "1h"
            rotation = "single_use"
            refresh_token_lifetime = "365d"
            response_capture.stripe_user_id = "stripe_user_id word required"
            paths.account = "stripe_user_id"
            # By the account, not by a token. Stripe documents it for Connect; for Stripe Apps it is not checked.
            revocation.url = "https://connect.stripe.com/oauth/deauthorize"
            revocation.token_param = ""
            revocation.hint = false
            revocation.params.client_id = "{client_id}"
            revocation.params.stripe_user_id = "{stripe_user_id}"
            revocation.order = "access_token"
            """#,
        scopes: [], upstream: "https://api.stripe.com")
}
