// Facts: nango.dev/blog/salesforce-get-access-token-expires-at, PostHog/posthog#70044, amp-labs/connectors#1053;
// help.salesforce.com (OAuth endpoints, revoking tokens).

extension ProviderProfile {
    static let salesforce = ProviderProfile(
        name: "salesforce", title: "Salesforce",
        purpose: "Salesforce orgs, sandboxes and My Domains",
        text: #"""
            # A sandbox: test.salesforce.com; a My Domain: acme.my.salesforce.com.
            variables.login_host = "login.salesforce.com"
            authorize_url = "https://{login_host}/services/oauth2/authorize"
            token_url = "https://{login_host}/services/oauth2/token"
            # The host of the org's API.
            response_capture.instance_url = "instance_url host required"
            allowed_hosts = ["*.salesforce.com", "*.my.salesforce.mil"]
            client_auth = "client_secret_post"
            # The reply does not say how long the token lives: the org's session setting does. A 401 refreshes earlier.
            default_lifetime = "1h"
            # The identity URL, which differs for each user of each org.
            paths.account = "id"
            error_aliases.invalid_client_id = "invalid_client"
            # An app's setting decides whether refresh tokens rotate.
            rotation = "unknown"
            revocation.url = "https://{instance_url}/services/oauth2/revoke"
            revocation.auth = "none"
            revocation.hint = false
            revocation.order = "refresh_token"
            """#,
        scopes: ["api", "refresh_token"], upstream: "https://{instance_url}",
        upstreamHosts: ["*.salesforce.com"])
}
