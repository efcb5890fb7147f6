// Facts: developers.pipedrive.com changelog (api_domain in token replies), pipedrive.readme.io (oauth-authorization,
// app-uninstallation).

extension ProviderProfile {
    static let pipedrive = ProviderProfile(
        name: "pipedrive", title: "Pipedrive",
        purpose: "Pipedrive CRM",
        text: #"""
            authorize_url = "https://oauth.pipedrive.com/oauth/authorize"
            token_url = "https://oauth.pipedrive.com/oauth/token"
            client_auth = "client_secret_basic"
            pkce = "off"
            scope_separator = ","
            # Each company has a host of its own.
            response_capture.api_domain = "api_domain host required"
            allowed_hosts = ["*.pipedrive.com"]
            # Dead after 60 days without use.
            rotation = "unknown"
            refresh_token_lifetime = "60d"
            keepalive_interval = "20d"
            revocation_url = "https://oauth.pipedrive.com/oauth/revoke"
            """#,
        scopes: [], upstream: "https://{api_domain}",
        upstreamHosts: ["*.pipedrive.com"])
}
