import OAuth

/// Auth0, Keycloak, Okta: whose endpoints are in their metadata.
extension ProfileScript {
    static let auth0 = ProfileScript(
        profile: "auth0",
        metadata: [
            .init(
                .get("https://acme.eu.auth0.com/.well-known/openid-configuration"),
                .init(
                    #"{"issuer":"https://acme.eu.auth0.com/","authorization_endpoint":"https://acme.eu.auth0.com/authorize","token_endpoint":"https://acme.eu.auth0.com/oauth/token","device_authorization_endpoint":"https://acme.eu.auth0.com/oauth/device/code","userinfo_endpoint":"https://acme.eu.auth0.com/userinfo","jwks_uri":"https://acme.eu.auth0.com/.well-known/jwks.json","revocation_endpoint":"https://acme.eu.auth0.com/oauth/revoke","token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt"],"id_token_signing_alg_values_supported":["HS256","RS256","PS256"],"code_challenge_methods_supported":["S256","plain"]}"#
                ))
        ],
        authorizeURL: "https://acme.eu.auth0.com/authorize", authorize: ["scope": "openid offline_access"],
        exchange: .init(
            .form("https://acme.eu.auth0.com/oauth/token", code(post)),
            .init(
                #"{"access_token":"a1","refresh_token":"r1","id_token":"ID_TOKEN","scope":"openid offline_access","expires_in":86400,"token_type":"Bearer"}"#
            )),
        afterExchange: [.init(.get("https://acme.eu.auth0.com/.well-known/jwks.json"), .init("KEY_SET"))],
        scopes: ["openid", "offline_access"], account: "user-1", lifetime: 86_400, host: "api.example.com",
        // With rotation; without it there is no refresh token in the answer.
        refresh: .init(
            .form("https://acme.eu.auth0.com/oauth/token", refreshing(post)),
            .init(
                #"{"access_token":"a2","refresh_token":"r2","scope":"openid offline_access","expires_in":86400,"token_type":"Bearer"}"#
            )),
        refreshedToken: "r2",
        dead: [
            .init(403, #"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#)
        ],
        busy: [
            .init(429, #"{"error":"too_many_requests","error_description":"Global limit has been reached"}"#)
        ],
        wrongSecret: .init(401, #"{"error":"access_denied","error_description":"Unauthorized"}"#),
        revocation: [
            .init(
                .json("https://acme.eu.auth0.com/oauth/revoke", ["token": "r1"].merging(post) { $1 }), .init(""))
        ])

    private static let realm = "https://sso.example.com/realms/main"
    private static let keycloakToken = realm + "/protocol/openid-connect/token"

    static let keycloak = ProfileScript(
        profile: "keycloak",
        metadata: [
            .init(
                .get(realm + "/.well-known/openid-configuration"),
                .init(
                    #"{"issuer":"\#(realm)","authorization_endpoint":"\#(realm)/protocol/openid-connect/auth","token_endpoint":"\#(keycloakToken)","jwks_uri":"\#(realm)/protocol/openid-connect/certs","revocation_endpoint":"\#(realm)/protocol/openid-connect/revoke","revocation_endpoint_auth_methods_supported":["private_key_jwt","client_secret_basic","client_secret_post","tls_client_auth","client_secret_jwt"],"token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_basic","client_secret_post","tls_client_auth","client_secret_jwt"],"id_token_signing_alg_values_supported":["PS384","RS384","EdDSA","ES384","HS256","RS256","ES256"]}"#
                ))
        ],
        authorizeURL: realm + "/protocol/openid-connect/auth", authorize: ["scope": "openid offline_access"],
        exchange: .init(
            .form(keycloakToken, code(), basic),
            // Zero: an offline token has no end.
            .init(
                #"{"access_token":"a1","expires_in":300,"refresh_expires_in":0,"refresh_token":"r1","token_type":"Bearer","id_token":"ID_TOKEN","not-before-policy":0,"session_state":"s","scope":"openid offline_access"}"#
            )),
        afterExchange: [.init(.get(realm + "/protocol/openid-connect/certs"), .init("KEY_SET"))],
        scopes: ["openid", "offline_access"], account: "user-1", lifetime: 300, host: "api.example.com",
        refresh: .init(
            .form(keycloakToken, refreshing(), basic),
            .init(
                #"{"access_token":"a2","expires_in":300,"refresh_expires_in":1800,"refresh_token":"r2","token_type":"Bearer","not-before-policy":0,"session_state":"s","scope":"openid offline_access"}"#
            )),
        refreshedToken: "r2", refreshedTokenLifetime: 1800,
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"Token is not active"}"#),
            .init(400, #"{"error":"invalid_grant","error_description":"Offline user session not found"}"#),
        ],
        busy: [.init(500, #"{"error":"unknown_error"}"#)],
        wrongSecret: .init(
            401,
            #"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#),
        revocation: both(realm + "/protocol/openid-connect/revoke", [:], basic))

    private static let server = "https://acme.okta.com/oauth2/default"

    static let okta = ProfileScript(
        profile: "okta",
        metadata: [
            .init(
                .get(server + "/.well-known/openid-configuration"),
                .init(
                    #"{"issuer":"\#(server)","authorization_endpoint":"\#(server)/v1/authorize","token_endpoint":"\#(server)/v1/token","jwks_uri":"\#(server)/v1/keys","revocation_endpoint":"\#(server)/v1/revoke","revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","client_secret_jwt","private_key_jwt","none"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","client_secret_jwt","private_key_jwt","none"],"id_token_signing_alg_values_supported":["RS256"],"code_challenge_methods_supported":["S256"]}"#
                ))
        ],
        authorizeURL: server + "/v1/authorize", authorize: ["scope": "openid offline_access"],
        exchange: .init(
            .form(server + "/v1/token", code(), basic),
            .init(
                #"{"access_token":"a1","token_type":"Bearer","expires_in":3600,"scope":"offline_access openid","refresh_token":"r1","id_token":"ID_TOKEN"}"#
            )),
        afterExchange: [.init(.get(server + "/v1/keys"), .init("KEY_SET"))],
        scopes: ["openid", "offline_access"], account: "user-1", lifetime: 3600, host: "api.example.com",
        refresh: .init(
            .form(server + "/v1/token", refreshing(), basic),
            .init(
                #"{"access_token":"a2","token_type":"Bearer","expires_in":3600,"scope":"offline_access openid","refresh_token":"r2"}"#
            )),
        refreshedToken: "r2",
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"The refresh token is invalid or expired."}"#)
        ],
        busy: [
            .init(429, #"{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit"}"#)
        ],
        wrongSecret: .init(
            401, #"{"error":"invalid_client","error_description":"The client secret supplied is invalid."}"#),
        revocation: both(server + "/v1/revoke", [:], basic))
}
