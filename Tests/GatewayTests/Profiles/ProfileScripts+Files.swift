import OAuth

/// Box, Dropbox, Google, Microsoft, Notion.
extension ProfileScript {
    static let box = ProfileScript(
        profile: "box", authorizeURL: "https://account.box.com/api/oauth2/authorize",
        authorize: ["scope": "root_readwrite"], pkce: false,
        exchange: .init(
            .form("https://api.box.com/oauth2/token", code(post, pkce: false)),
            .init(
                #"{"access_token":"a1","expires_in":4169,"restricted_to":[],"token_type":"bearer","refresh_token":"r1"}"#
            )
        ),
        scopes: ["root_readwrite"], lifetime: 4169, refreshTokenLifetime: 60 * 86_400, host: "api.box.com",
        refresh: .init(
            .form("https://api.box.com/oauth2/token", refreshing(post)),
            .init(
                #"{"access_token":"a2","expires_in":3600,"restricted_to":[],"token_type":"bearer","refresh_token":"r2"}"#
            )
        ),
        refreshedToken: "r2", refreshedLifetime: 3600,
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"Refresh token has expired"}"#),
            .init(400, #"{"error":"invalid_grant","error_description":"Invalid refresh token"}"#),
        ],
        busy: [.init(503, "", [.init("Retry-After", "5")])],
        wrongSecret: .init(
            400, #"{"error":"invalid_client","error_description":"The client credentials are invalid"}"#),
        revocation: [
            .init(
                .form("https://api.box.com/oauth2/revoke", ["token": "r1"].merging(post) { $1 }), .init(""))
        ],
        revocationAgain: .init(400, #"{"error":"invalid_token","error_description":"Invalid token"}"#))

    static let dropbox = ProfileScript(
        profile: "dropbox", authorizeURL: "https://www.dropbox.com/oauth2/authorize",
        authorize: ["scope": "files.metadata.read", "token_access_type": "offline"],
        exchange: .init(
            .form("https://api.dropboxapi.com/oauth2/token", code(post)),
            .init(
                #"{"access_token":"a1","token_type":"bearer","expires_in":14400,"refresh_token":"r1","scope":"account_info.read files.metadata.read","uid":"12345","account_id":"dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"}"#
            )),
        scopes: ["account_info.read", "files.metadata.read"],
        account: "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc", lifetime: 14_400, host: "api.dropboxapi.com",
        // Neither a refresh token nor the account comes again.
        refresh: .init(
            .form("https://api.dropboxapi.com/oauth2/token", refreshing(post)),
            .init(#"{"access_token":"a2","token_type":"bearer","expires_in":14399}"#)),
        refreshedLifetime: 14_399,
        dead: [.init(400, #"{"error":"invalid_grant","error_description":"refresh token is invalid or revoked"}"#)],
        busy: [
            .init(
                429, #"{"error_summary":"too_many_requests/..","error":{"reason":{".tag":"too_many_requests"}}}"#,
                [.init("Retry-After", "15")])
        ],
        wrongSecret: .init(
            400, #"{"error":"invalid_client","error_description":"Invalid client_id or client_secret"}"#),
        revocation: [
            .init(
                DocumentedRequest(
                    url: "https://api.dropboxapi.com/2/auth/token/revoke", headers: ["authorization": "Bearer a1"]),
                .init("null", [.init("Content-Type", "application/json")]))
        ],
        revocationAgain: .init(
            401, #"{"error_summary":"invalid_access_token/...","error":{".tag":"invalid_access_token"}}"#))

    static let google = ProfileScript(
        profile: "google",
        metadata: [
            .init(
                .get("https://accounts.google.com/.well-known/openid-configuration"),
                .init(
                    #"{"issuer":"https://accounts.google.com","authorization_endpoint":"https://accounts.google.com/o/oauth2/v2/auth","device_authorization_endpoint":"https://oauth2.googleapis.com/device/code","token_endpoint":"https://oauth2.googleapis.com/token","revocation_endpoint":"https://oauth2.googleapis.com/revoke","jwks_uri":"https://www.googleapis.com/oauth2/v3/certs","response_types_supported":["code"],"id_token_signing_alg_values_supported":["RS256"],"token_endpoint_auth_methods_supported":["client_secret_post","client_secret_basic"],"code_challenge_methods_supported":["plain","S256"]}"#
                ))
        ],
        authorizeURL: "https://accounts.google.com/o/oauth2/v2/auth",
        authorize: [
            "scope": "openid https://www.googleapis.com/auth/drive.readonly", "access_type": "offline",
            "prompt": "consent",
        ],
        exchange: .init(
            .form("https://oauth2.googleapis.com/token", code(), basic),
            .init(
                #"{"access_token":"a1","expires_in":3599,"refresh_token":"r1","scope":"https://www.googleapis.com/auth/drive.readonly openid","token_type":"Bearer","id_token":"ID_TOKEN"}"#
            )),
        afterExchange: [.init(.get("https://www.googleapis.com/oauth2/v3/certs"), .init("KEY_SET"))],
        scopes: ["openid", "https://www.googleapis.com/auth/drive.readonly"], account: "user-1", lifetime: 3599,
        host: "www.googleapis.com",
        refresh: .init(
            .form("https://oauth2.googleapis.com/token", refreshing(), basic),
            .init(
                #"{"access_token":"a2","expires_in":3599,"scope":"https://www.googleapis.com/auth/drive.readonly openid","token_type":"Bearer"}"#
            )),
        dead: [.init(400, #"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#)],
        busy: [.init(503, #"{"error":"internal_failure"}"#)],
        wrongSecret: .init(401, #"{"error":"invalid_client","error_description":"Unauthorized"}"#),
        revocation: [.init(.form("https://oauth2.googleapis.com/revoke", ["token": "r1"]), .init("{}"))],
        revocationAgain: .init(
            400, #"{"error":"invalid_token","error_description":"Token expired or revoked"}"#))

    /// Nobody consents, there is no refresh token, and each call asks anew.
    static let googleServiceAccount = ProfileScript(
        profile: "google-service-account",
        exchange: .init(
            .form(
                "https://oauth2.googleapis.com/token",
                ["grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "*"]),
            .init(#"{"access_token":"a1","expires_in":3599,"token_type":"Bearer"}"#)),
        scopes: ["https://www.googleapis.com/auth/cloud-platform"], lifetime: 3599, host: "storage.googleapis.com",
        refresh: .init(
            .form(
                "https://oauth2.googleapis.com/token",
                ["grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "*"]),
            .init(#"{"access_token":"a2","expires_in":3599,"token_type":"Bearer"}"#)),
        refreshedToken: nil,
        dead: [.init(400, #"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#)],
        busy: [.init(500, #"{"error":"internal_failure"}"#)])

    private static let entra = "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/"
    private static let graph = "offline_access https://graph.microsoft.com/User.Read"

    static let microsoft = ProfileScript(
        profile: "microsoft", authorizeURL: entra + "authorize", authorize: ["scope": graph],
        exchange: .init(
            .form(entra + "token", code(post)),
            .init(
                #"{"token_type":"Bearer","scope":"https://graph.microsoft.com/User.Read","expires_in":3736,"ext_expires_in":3736,"access_token":"a1","refresh_token":"r1"}"#
            )),
        scopes: ["https://graph.microsoft.com/User.Read"], lifetime: 3736, refreshTokenLifetime: 90 * 86_400,
        host: "graph.microsoft.com",
        refresh: .init(
            .form(entra + "token", refreshing(post).merging(["scope": graph]) { $1 }),
            .init(
                #"{"token_type":"Bearer","scope":"https://graph.microsoft.com/User.Read","expires_in":4012,"ext_expires_in":4012,"access_token":"a2","refresh_token":"r2"}"#
            )),
        refreshedToken: "r2", refreshedLifetime: 4012,
        dead: [
            .init(
                400,
                #"{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired due to inactivity.","error_codes":[700082],"timestamp":"2026-01-01 00:00:00Z","trace_id":"0","correlation_id":"0"}"#
            )
        ],
        busy: [
            .init(
                503, #"{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error."}"#)
        ],
        wrongSecret: .init(
            401,
            #"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}"#
        ))

    private static let notionVersion = ["notion-version": "2025-09-03"]
    private static let notionToken = "https://api.notion.com/v1/oauth/token"

    private static func notionReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"access_token":"a\#(number)","token_type":"bearer","refresh_token":"r\#(number)","bot_id":"b-1","workspace_icon":null,"workspace_name":"Acme","workspace_id":"3c90c3cc-0d44-4b50-8888-8dd25736052a","owner":{"type":"user","user":{"object":"user","id":"u-1","type":"person","person":{"email":"a@example.com"}}},"duplicated_template_id":null,"request_id":"q-1"}"#
        )
    }

    static let notion = ProfileScript(
        profile: "notion", authorizeURL: "https://api.notion.com/v1/oauth/authorize", authorize: ["owner": "user"],
        pkce: false,
        exchange: .init(
            .json(notionToken, code(pkce: false), basic.merging(notionVersion) { $1 }), notionReply(1)),
        captured: ["workspace_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a"], account: "u-1",
        extraHeaders: notionVersion, host: "api.notion.com",
        refresh: .init(.json(notionToken, refreshing(), basic.merging(notionVersion) { $1 }), notionReply(2)),
        refreshedToken: "r2",
        dead: [.init(400, #"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#)],
        busy: [
            .init(
                429,
                #"{"object":"error","status":429,"code":"rate_limited","message":"You have been rate limited."}"#,
                [.init("Retry-After", "12")]),
            .init(
                503, #"{"object":"error","status":503,"code":"service_unavailable","message":"Try again later."}"#),
        ],
        wrongSecret: .init(401, #"{"error":"invalid_client","request_id":"q-2"}"#),
        revocation: [
            .init(
                .json(
                    "https://api.notion.com/v1/oauth/revoke", ["token": "a1"], basic.merging(notionVersion) { $1 }),
                .init(#"{"request_id":"q-3"}"#))
        ])
}
