import OAuth

/// Atlassian, GitHub, GitLab, LinkedIn, Slack, Zendesk.
extension ProfileScript {
    private static let site = "1324a887-45db-1bf4-1e99-ef0ff456d421"

    static let atlassian = ProfileScript(
        profile: "atlassian", authorizeURL: "https://auth.atlassian.com/authorize",
        authorize: [
            "scope": "offline_access read:jira-work", "audience": "api.atlassian.com", "prompt": "consent",
        ],
        pkce: false,
        exchange: .init(
            .json("https://auth.atlassian.com/oauth/token", code(post, pkce: false)),
            .init(
                #"{"access_token":"a1","refresh_token":"r1","expires_in":3600,"token_type":"Bearer","scope":"read:jira-work offline_access"}"#
            )),
        afterExchange: [
            .init(
                .get(
                    "https://api.atlassian.com/oauth/token/accessible-resources", ["authorization": "Bearer a1"]),
                .init(
                    #"[{"id":"\#(site)","name":"Site","url":"https://your-domain.atlassian.net","scopes":["read:jira-work"],"avatarUrl":"https://x.example/a.png"},{"id":"other","url":"https://other.atlassian.net"}]"#
                ))
        ],
        captured: ["cloud_id": site, "site_url": "https://your-domain.atlassian.net"],
        scopes: ["read:jira-work", "offline_access"], lifetime: 3600, refreshTokenLifetime: 90 * 86_400,
        host: "api.atlassian.com", basePath: "/ex/jira/" + site,
        refresh: .init(
            .json("https://auth.atlassian.com/oauth/token", refreshing(post)),
            .init(
                #"{"access_token":"a2","refresh_token":"r2","expires_in":3600,"scope":"read:jira-work offline_access"}"#
            )
        ),
        refreshedToken: "r2",
        dead: [
            .init(403, #"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#),
            .init(403, #"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#),
        ],
        busy: [.init(429, #"{"error":"too_many_requests"}"#, [.init("Retry-After", "10")])],
        wrongSecret: .init(401, #"{"error":"access_denied","error_description":"Unauthorized"}"#))

    private static let githubToken = "https://github.com/login/oauth/access_token"

    static let github = ProfileScript(
        profile: "github", authorizeURL: "https://github.com/login/oauth/authorize", authorize: ["scope": "repo"],
        exchange: .init(
            .form(githubToken, code(post)),
            .init(
                #"{"access_token":"a1","expires_in":28800,"refresh_token":"r1","refresh_token_expires_in":15897600,"scope":"repo,gist","token_type":"bearer"}"#
            )),
        scopes: ["repo", "gist"], lifetime: 28_800, refreshTokenLifetime: 15_897_600, host: "api.github.com",
        refresh: .init(
            .form(githubToken, refreshing(post)),
            // Without the Accept field, and at old GitHub servers with it, the answer is a form.
            .init(
                "access_token=a2&expires_in=28800&refresh_token=r2&refresh_token_expires_in=15897599&scope=repo%2Cgist&token_type=bearer",
                [.init("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")])),
        refreshedToken: "r2", refreshedTokenLifetime: 15_897_599,
        dead: [
            .init(
                #"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired.","error_uri":"https://docs.github.com"}"#
            ),
            .init("error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired."),
        ],
        busy: [.init(#"{"error":"unverified_user_email","error_description":"x"}"#)],
        wrongSecret: .init(
            #"{"error":"incorrect_client_credentials","error_description":"The client_id and/or client_secret passed are incorrect."}"#
        ),
        revocation: [
            .init(
                DocumentedRequest(
                    method: "DELETE", url: "https://api.github.com/applications/\(clientID)/grant",
                    headers: basic.merging(["accept": "application/vnd.github+json"]) { $1 },
                    body: .json(["access_token": "a1"])),
                .init(204, ""))
        ],
        revocationAgain: .init(404, #"{"message":"Not Found","documentation_url":"https://docs.github.com/rest"}"#))

    static let gitlab = ProfileScript(
        profile: "gitlab",
        metadata: [
            .init(
                .get("https://gitlab.com/.well-known/openid-configuration"),
                .init(
                    #"{"issuer":"https://gitlab.com","authorization_endpoint":"https://gitlab.com/oauth/authorize","token_endpoint":"https://gitlab.com/oauth/token","revocation_endpoint":"https://gitlab.com/oauth/revoke","introspection_endpoint":"https://gitlab.com/oauth/introspect","userinfo_endpoint":"https://gitlab.com/oauth/userinfo","jwks_uri":"https://gitlab.com/oauth/discovery/keys","response_types_supported":["code"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"],"code_challenge_methods_supported":["plain","S256"]}"#
                ))
        ],
        authorizeURL: "https://gitlab.com/oauth/authorize", authorize: ["scope": "read_api"],
        exchange: .init(
            .form("https://gitlab.com/oauth/token", code(post)),
            .init(
                #"{"access_token":"a1","token_type":"bearer","expires_in":7200,"refresh_token":"r1","scope":"read_api","created_at":1607635748}"#
            )),
        scopes: ["read_api"], lifetime: 7200, host: "gitlab.com", basePath: "/api",
        refresh: .init(
            .form("https://gitlab.com/oauth/token", refreshing(post)),
            .init(
                #"{"access_token":"a2","token_type":"bearer","expires_in":7200,"refresh_token":"r2","scope":"read_api","created_at":1607635749}"#
            )),
        refreshedToken: "r2",
        dead: [
            .init(
                400,
                #"{"error":"invalid_grant","error_description":"The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."}"#
            )
        ],
        busy: [.init(429, "Retry later\n", [.init("Retry-After", "60")])],
        wrongSecret: .init(
            401, #"{"error":"invalid_client","error_description":"Client authentication failed."}"#),
        revocation: both("https://gitlab.com/oauth/revoke", post, answer: "{}"))

    /// RFC 7009, the refresh token first.
    static func both(
        _ url: String, _ client: [String: String] = [:], _ headers: [String: String] = [:], answer: String = ""
    ) -> [DocumentedStep] {
        [("r1", "refresh_token"), ("a1", "access_token")].map { token, hint in
            .init(
                .form(url, ["token": token, "token_type_hint": hint].merging(client) { $1 }, headers),
                .init(answer))
        }
    }

    private static let linkedinToken = "https://www.linkedin.com/oauth/v2/accessToken"

    static let linkedin = ProfileScript(
        profile: "linkedin", authorizeURL: "https://www.linkedin.com/oauth/v2/authorization",
        authorize: ["scope": "r_organization_social"], pkce: false,
        exchange: .init(
            .form(linkedinToken, code(post, pkce: false)),
            .init(
                #"{"access_token":"a1","expires_in":5184000,"refresh_token":"r1","refresh_token_expires_in":31536059,"scope":"r_organization_social"}"#
            )),
        scopes: ["r_organization_social"], lifetime: 5_184_000, refreshTokenLifetime: 31_536_059,
        host: "api.linkedin.com",
        // The refresh token is the same, and its time runs down.
        refresh: .init(
            .form(linkedinToken, refreshing(post)),
            .init(
                #"{"access_token":"a2","expires_in":5184000,"refresh_token":"r1","refresh_token_expires_in":439200}"#)
        ),
        refreshedTokenLifetime: 439_200,
        dead: [
            .init(
                400,
                #"{"error":"invalid_grant","error_description":"The provided authorization grant or refresh token is invalid, expired or revoked."}"#
            )
        ],
        busy: [.init(500, #"{"error":"server_error"}"#)],
        wrongSecret: .init(401, #"{"error":"invalid_client","error_description":"Client authentication failed"}"#))

    private static let slackToken = "https://slack.com/api/oauth.v2.access"
    private static let slackDead = ["invalid_refresh_token", "token_revoked", "token_expired", "account_inactive"].map {
        DocumentedReply(#"{"ok":false,"error":"\#($0)"}"#)
    }
    private static let slackBusy = [
        DocumentedReply(429, #"{"ok":false,"error":"ratelimited"}"#, [.init("Retry-After", "30")]),
        DocumentedReply(#"{"ok":false,"error":"internal_error"}"#),
        DocumentedReply(#"{"ok":false,"error":"fatal_error"}"#),
    ]
    private static let slackRevocation = DocumentedStep(
        DocumentedRequest(url: "https://slack.com/api/auth.revoke", headers: ["authorization": "Bearer a1"]),
        .init(#"{"ok":true,"revoked":true}"#))

    static let slack = ProfileScript(
        profile: "slack", authorizeURL: "https://slack.com/oauth/v2/authorize",
        authorize: ["scope": "channels:read,chat:write"], pkce: false,
        exchange: .init(
            .form(slackToken, code(post, pkce: false)),
            .init(
                #"{"ok":true,"access_token":"a1","expires_in":43200,"refresh_token":"r1","token_type":"bot","scope":"channels:read,chat:write","bot_user_id":"U0KRQLJ9H","app_id":"A0KRD7HC3","team":{"name":"Acme","id":"T9TK3CUKW"},"enterprise":null,"authed_user":{"id":"U1234"}}"#
            )),
        captured: ["team_id": "T9TK3CUKW"], scopes: ["channels:read", "chat:write"], lifetime: 43_200,
        host: "slack.com", basePath: "/api",
        refresh: .init(
            .form(slackToken, refreshing(post)),
            .init(
                #"{"ok":true,"access_token":"a2","expires_in":43200,"refresh_token":"r2","token_type":"bot","scope":"channels:read,chat:write","bot_user_id":"U0KRQLJ9H","app_id":"A0KRD7HC3","team":{"name":"Acme","id":"T9TK3CUKW"},"enterprise":null}"#
            )),
        refreshedToken: "r2", dead: slackDead, busy: slackBusy,
        wrongSecret: .init(#"{"ok":false,"error":"bad_client_secret"}"#), revocation: [slackRevocation],
        revocationAgain: .init(#"{"ok":false,"error":"token_revoked"}"#))

    /// The person's token is inside, beside the one of a bot, which is not ours.
    static let slackUser = ProfileScript(
        profile: "slack-user", authorizeURL: "https://slack.com/oauth/v2/authorize",
        authorize: ["user_scope": "channels:read,search:read"], pkce: false,
        exchange: .init(
            .form(slackToken, code(post, pkce: false)),
            .init(
                #"{"ok":true,"access_token":"bot","refresh_token":"bot","expires_in":1,"token_type":"bot","scope":"chat:write","app_id":"A0KRD7HC3","team":{"name":"Acme","id":"T9TK3CUKW"},"enterprise":null,"authed_user":{"id":"U1234","scope":"channels:read,search:read","access_token":"a1","expires_in":43200,"refresh_token":"r1","token_type":"user"}}"#
            )),
        captured: ["team_id": "T9TK3CUKW"], scopes: ["channels:read", "search:read"], account: "U1234",
        lifetime: 43_200, host: "slack.com", basePath: "/api",
        refresh: .init(
            .form(slackToken, refreshing(post)),
            .init(
                #"{"ok":true,"access_token":"a2","expires_in":43200,"refresh_token":"r2","token_type":"user","scope":"channels:read,search:read","app_id":"A0KRD7HC3","team":{"name":"Acme","id":"T9TK3CUKW"},"enterprise":null}"#
            )),
        refreshedToken: "r2", dead: slackDead, busy: slackBusy,
        wrongSecret: .init(#"{"ok":false,"error":"bad_client_secret"}"#), revocation: [slackRevocation],
        revocationAgain: .init(#"{"ok":false,"error":"token_expired"}"#))

    private static let zendeskLifetimes = ["expires_in": "86400", "refresh_token_expires_in": "2592000"]

    static let zendesk = ProfileScript(
        profile: "zendesk", authorizeURL: "https://acme.zendesk.com/oauth/authorizations/new",
        authorize: ["scope": "read"],
        exchange: .init(
            .json("https://acme.zendesk.com/oauth/tokens", code(post).merging(zendeskLifetimes) { $1 }),
            .init(
                #"{"access_token":"a1","refresh_token":"r1","token_type":"bearer","scope":"read","expires_in":86400,"refresh_token_expires_in":2592000}"#
            )),
        scopes: ["read"], lifetime: 86_400, refreshTokenLifetime: 2_592_000, host: "acme.zendesk.com",
        refresh: .init(
            .json("https://acme.zendesk.com/oauth/tokens", refreshing(post).merging(zendeskLifetimes) { $1 }),
            .init(
                #"{"access_token":"a2","refresh_token":"r2","token_type":"bearer","scope":"read","expires_in":86400,"refresh_token_expires_in":2592000}"#
            )),
        refreshedToken: "r2",
        dead: [
            .init(
                400,
                #"{"error":"invalid_grant","error_description":"The provided access grant is invalid, expired, or revoked (e.g. invalid assertion, expired authorization token, bad end-user password credentials, or mismatching authorization code and redirection URI)."}"#
            )
        ],
        busy: [.init(429, "Number of allowed API requests per minute exceeded", [.init("Retry-After", "93")])],
        revocation: [
            .init(
                DocumentedRequest(
                    method: "DELETE", url: "https://acme.zendesk.com/api/v2/oauth/tokens/current",
                    headers: ["authorization": "Bearer a1"]),
                .init(204, ""))
        ],
        revocationAgain: .init(401, #"{"error":"Couldn't authenticate you"}"#))
}
