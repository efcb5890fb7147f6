// Facts: keycloak.org/docs (server administration: sessions and tokens; securing applications: endpoints).

extension ProviderProfile {
    static let keycloak = ProviderProfile(
        name: "keycloak", title: "Keycloak",
        purpose: "APIs behind a Keycloak realm",
        text: #"""
            required_variables.host.about = "Keycloak's host, with its port if it has one of its own"
            required_variables.host.example = "sso.example.com"
            required_variables.realm.about = "the realm's name"
            required_variables.realm.example = "main"
            issuer = "https://{host}/realms/{realm}"
            discovery = "openid"
            # The realm's setting "revoke refresh token". Ask for offline_access, or the token ends with the person's session.
            rotation = "unknown"
            """#,
        scopes: ["openid", "offline_access"], upstream: "https://api.example.com")
}
