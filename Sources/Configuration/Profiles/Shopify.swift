// Facts: shopify.dev/docs/apps/auth (access-token-types/offline, get-access-tokens); Nango providers.yaml for the header.

extension ProviderProfile {
    static let shopify = ProviderProfile(
        name: "shopify", title: "Shopify",
        purpose: "Shopify shops, with offline tokens that expire",
        text: #"""
            required_variables.shop.about = "the shop's name, which stands before .myshopify.com"
            required_variables.shop.example = "my-shop"
            required_variables.shop.pattern = "[A-Za-z0-9][A-Za-z0-9-]*"
            authorize_url = "https://{shop}.myshopify.com/admin/oauth/authorize"
            token_url = "https://{shop}.myshopify.com/admin/oauth/access_token"
            client_auth = "client_secret_post"
            pkce = "off"
            scope_separator = ","
            # Without it the token neither expires nor comes with a refresh token.
            token_params.expiring = "1"
            header = "X-Shopify-Access-Token"
            # An hour, and 90 days for a refresh token that is good once.
            rotation = "single_use"
            refresh_token_lifetime = "90d"
            keepalive_interval = "30d"
            # As reported by developers (community.shopify.dev 35182); Shopify documents no codes for a refresh.
            error_aliases."401:invalid_request" = "invalid_grant"
            paths.account = "associated_user.id"
            revocation.supported = false
            revocation.advice = "The merchant uninstalls the app in the shop's admin."
            """#,
        scopes: ["read_orders"], upstream: "https://{shop}.myshopify.com",
        upstreamHosts: ["*.myshopify.com"])
}
