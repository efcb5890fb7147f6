import OAuth

/// HubSpot, Pipedrive, QuickBooks, Salesforce, Shopify, Stripe, Xero, Zoho.
extension ProfileScript {
    private static let hubspotToken = "https://api.hubapi.com/oauth/2026-03/token"

    private static func hubspotReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"token_type":"bearer","refresh_token":"r1","hub_id":62515,"scopes":["oauth","crm.objects.contacts.read","crm.lists.read"],"access_token":"a\#(number)","expires_in":1800}"#
        )
    }

    static let hubspot = ProfileScript(
        profile: "hubspot", authorizeURL: "https://app.hubspot.com/oauth/authorize",
        authorize: ["scope": "oauth crm.objects.contacts.read"], pkce: false,
        exchange: .init(.form(hubspotToken, code(post, pkce: false)), hubspotReply(1)),
        scopes: ["oauth", "crm.objects.contacts.read", "crm.lists.read"], account: "62515", lifetime: 1800,
        host: "api.hubapi.com", refresh: .init(.form(hubspotToken, refreshing(post)), hubspotReply(2)),
        dead: [
            .init(400, #"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#),
            .init(
                400,
                #"{"error":"invalid_grant","error_description":"missing or invalid refresh token","status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#
            ),
        ],
        busy: [
            .init(
                429,
                #"{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"SECONDLY"}"#
            )
        ],
        wrongSecret: .init(400, #"{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}"#),
        revocation: [
            .init(
                .form(
                    hubspotToken + "/revoke",
                    ["token": "r1", "token_type_hint": "refresh_token"].merging(post) { $1 }),
                .init(""))
        ],
        revocationAgain: .init(404, ""))

    private static let pipedriveToken = "https://oauth.pipedrive.com/oauth/token"

    private static func pipedriveReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"access_token":"a\#(number)","token_type":"Bearer","refresh_token":"r\#(number)","scope":"deals:full,users:full,base","expires_in":3599,"api_domain":"https://acme.pipedrive.com"}"#
        )
    }

    static let pipedrive = ProfileScript(
        profile: "pipedrive", authorizeURL: "https://oauth.pipedrive.com/oauth/authorize", pkce: false,
        exchange: .init(.form(pipedriveToken, code(pkce: false), basic), pipedriveReply(1)),
        captured: ["api_domain": "acme.pipedrive.com"], scopes: ["deals:full", "users:full", "base"], lifetime: 3599,
        refreshTokenLifetime: 60 * 86_400, host: "acme.pipedrive.com",
        refresh: .init(.form(pipedriveToken, refreshing(), basic), pipedriveReply(2)), refreshedToken: "r2",
        dead: [
            .init(
                400,
                #"{"success":"false","message":"Invalid grant: refresh_token is invalid","error":"invalid_grant"}"#)
        ],
        busy: [.init(429, #"{"success":false,"error":"request over limit"}"#)],
        wrongSecret: .init(
            400, #"{"success":"false","message":"Invalid client: client is invalid","error":"invalid_client"}"#),
        revocation: both("https://oauth.pipedrive.com/oauth/revoke", [:], basic))

    private static let intuit = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"

    static let quickbooks = ProfileScript(
        profile: "quickbooks", authorizeURL: "https://appcenter.intuit.com/connect/oauth2",
        authorize: ["scope": "com.intuit.quickbooks.accounting"], pkce: false,
        callback: "&realmId=1231434565226279",
        exchange: .init(
            .form(intuit, code(pkce: false), basic),
            // Two ends of the refresh token: the one that comes first counts.
            .init(
                #"{"token_type":"bearer","expires_in":3600,"refresh_token":"r1","x_refresh_token_expires_in":8726400,"x_refresh_token_hard_expires_in":157680000,"access_token":"a1"}"#
            )),
        captured: ["realm_id": "1231434565226279"], scopes: ["com.intuit.quickbooks.accounting"], lifetime: 3600,
        refreshTokenLifetime: 8_726_400, host: "quickbooks.api.intuit.com", basePath: "/v3/company/1231434565226279",
        // A day later it has another value; near the hard end that one counts.
        refresh: .init(
            .form(intuit, refreshing(), basic),
            .init(
                #"{"token_type":"bearer","expires_in":3600,"refresh_token":"r2","x_refresh_token_expires_in":8726400,"x_refresh_token_hard_expires_in":86400,"access_token":"a2"}"#
            )),
        refreshedToken: "r2", refreshedTokenLifetime: 86_400,
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"Incorrect or invalid refresh token"}"#),
            .init(400, #"{"error":"invalid_grant"}"#),
        ],
        busy: [.init(429, #"{"error":"throttled"}"#), .init(500, "")],
        revocation: [
            .init(
                .json("https://developer.api.intuit.com/v2/oauth2/tokens/revoke", ["token": "r1"], basic),
                .init(""))
        ],
        revocationAgain: .init(400, #"{"error":"invalid_grant"}"#))

    private static let salesforceToken = "https://login.salesforce.com/services/oauth2/token"
    private static let identity = "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P"

    static let salesforce = ProfileScript(
        profile: "salesforce", authorizeURL: "https://login.salesforce.com/services/oauth2/authorize",
        authorize: ["scope": "api refresh_token"],
        exchange: .init(
            .form(salesforceToken, code(post)),
            .init(
                #"{"access_token":"a1","refresh_token":"r1","signature":"2P+1pAmM=","scope":"refresh_token api","instance_url":"https://Acme.my.salesforce.com","id":"\#(identity)","token_type":"Bearer","issued_at":"1278448384422"}"#
            )),
        captured: ["instance_url": "acme.my.salesforce.com"], scopes: ["refresh_token", "api"], account: identity,
        lifetime: 3600, host: "acme.my.salesforce.com",
        refresh: .init(
            .form(salesforceToken, refreshing(post)),
            .init(
                #"{"access_token":"a2","signature":"2P+1pAmM=","scope":"refresh_token api","instance_url":"https://acme.my.salesforce.com","id":"\#(identity)","token_type":"Bearer","issued_at":"1278448384423"}"#
            )),
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#),
            .init(400, #"{"error":"invalid_grant","error_description":"inactive user"}"#),
        ],
        busy: [.init(400, #"{"error":"unknown_error","error_description":"retry your request"}"#)],
        wrongSecret: .init(400, #"{"error":"invalid_client_id","error_description":"client identifier invalid"}"#),
        revocation: [
            .init(.form("https://acme.my.salesforce.com/services/oauth2/revoke", ["token": "r1"]), .init(""))
        ],
        revocationAgain: .init(400, #"{"error":"invalid_token","error_description":"invalid token"}"#))

    private static let shop = "https://my-shop.myshopify.com/admin/oauth/"

    private static func shopReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"access_token":"a\#(number)","scope":"read_orders","expires_in":3600,"refresh_token":"r\#(number)","refresh_token_expires_in":7776000}"#
        )
    }

    static let shopify = ProfileScript(
        profile: "shopify", authorizeURL: shop + "authorize", authorize: ["scope": "read_orders"], pkce: false,
        callback: "&hmac=0a1b&host=YWRtaW4&shop=my-shop.myshopify.com&timestamp=1700000000",
        exchange: .init(
            .form(shop + "access_token", code(post, pkce: false).merging(["expiring": "1"]) { $1 }), shopReply(1)),
        scopes: ["read_orders"], lifetime: 3600, refreshTokenLifetime: 7_776_000,
        header: "X-Shopify-Access-Token: ", host: "my-shop.myshopify.com",
        refresh: .init(
            .form(shop + "access_token", refreshing(post).merging(["expiring": "1"]) { $1 }), shopReply(2)),
        refreshedToken: "r2",
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"The refresh token is invalid."}"#),
            .init(
                401,
                #"{"error":"invalid_request","error_description":"This request requires an active refresh_token"}"#),
        ],
        busy: [.init(520, "error code: 520")],
        wrongSecret: .init(400, #"{"error":"invalid_client"}"#))

    private static let stripeUser = ["authorization": "Basic czNjcmV0L3MzY3JldDo="]

    private static func stripeReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"access_token":"a\#(number)","livemode":true,"refresh_token":"r\#(number)","scope":"stripe_apps","stripe_publishable_key":"pk_live_1","stripe_user_id":"acct_123","token_type":"bearer"}"#
        )
    }

    static let stripe = ProfileScript(
        profile: "stripe", authorizeURL: "https://marketplace.stripe.com/oauth/v2/authorize", pkce: false,
        exchange: .init(
            .form("https://api.stripe.com/v1/oauth/token", code(pkce: false), stripeUser), stripeReply(1)),
        captured: ["stripe_user_id": "acct_123"], scopes: ["stripe_apps"], account: "acct_123", lifetime: 3600,
        refreshTokenLifetime: 365 * 86_400, host: "api.stripe.com",
        refresh: .init(.form("https://api.stripe.com/v1/oauth/token", refreshing(), stripeUser), stripeReply(2)),
        refreshedToken: "r2",
        dead: [
            .init(400, #"{"error":"invalid_grant","error_description":"Refresh token does not exist: r1"}"#)
        ],
        busy: [
            .init(
                429, #"{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Too many requests"}}"#)
        ],
        revocation: [
            .init(
                .form(
                    "https://connect.stripe.com/oauth/deauthorize",
                    ["client_id": clientID, "stripe_user_id": "acct_123"], stripeUser),
                .init(#"{"stripe_user_id":"acct_123"}"#))
        ])

    private static let tenant = "70784a63-d24b-46a9-a4db-0e70a274b056"
    private static let xeroToken = "https://identity.xero.com/connect/token"

    private static func xeroReply(_ number: Int) -> DocumentedReply {
        .init(
            #"{"access_token":"a\#(number)","expires_in":1800,"token_type":"Bearer","refresh_token":"r\#(number)","scope":"offline_access accounting.transactions"}"#
        )
    }

    static let xero = ProfileScript(
        profile: "xero", authorizeURL: "https://login.xero.com/identity/connect/authorize",
        authorize: ["scope": "offline_access accounting.transactions"],
        exchange: .init(.form(xeroToken, code(), basic), xeroReply(1)),
        afterExchange: [
            .init(
                .get("https://api.xero.com/connections", ["authorization": "Bearer a1"]),
                .init(
                    #"[{"id":"e1eede29-f875-4a5d-8470-17f6a29a88b1","authEventId":"d99ecdfe","tenantId":"\#(tenant)","tenantType":"ORGANISATION","tenantName":"Maple","createdDateUtc":"2019-07-09T23:40:30.1833130"}]"#
                ))
        ],
        captured: ["tenant_id": tenant], scopes: ["offline_access", "accounting.transactions"], lifetime: 1800,
        refreshTokenLifetime: 60 * 86_400, extraHeaders: ["xero-tenant-id": tenant], host: "api.xero.com",
        refresh: .init(.form(xeroToken, refreshing(), basic), xeroReply(2)), refreshedToken: "r2",
        dead: [.init(400, #"{"error":"invalid_grant"}"#)], busy: [.init(503, "")],
        wrongSecret: .init(400, #"{"error":"invalid_client"}"#),
        revocation: [
            .init(
                .form(
                    "https://identity.xero.com/connect/revocation",
                    ["token": "r1", "token_type_hint": "refresh_token"], basic),
                .init(""))
        ])

    private static let zohoEU = "https://accounts.zoho.eu/oauth/v2/token"

    static let zoho = ProfileScript(
        profile: "zoho", authorizeURL: "https://accounts.zoho.com/oauth/v2/auth",
        authorize: ["scope": "ZohoCRM.modules.ALL", "access_type": "offline", "prompt": "consent"], pkce: false,
        callback: "&location=eu&accounts-server=https%3A%2F%2Faccounts.zoho.eu",
        exchange: .init(
            .form(zohoEU, code(post, pkce: false)),
            .init(
                #"{"access_token":"a1","refresh_token":"r1","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#
            )),
        captured: ["accounts_server": "accounts.zoho.eu", "location": "eu", "api_domain": "www.zohoapis.eu"],
        scopes: ["ZohoCRM.modules.ALL"], lifetime: 3600, header: "Authorization: Zoho-oauthtoken ",
        host: "www.zohoapis.eu",
        refresh: .init(
            .form(zohoEU, refreshing(post)),
            .init(
                #"{"access_token":"a2","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#
            )
        ),
        dead: [.init(#"{"error":"invalid_code"}"#), .init(400, #"{"error":"invalid_code"}"#)],
        busy: [
            .init(
                400,
                #"{"error_description":"You have made too many requests continuously. Please try again after some time.","error":"Access Denied","status":"failure"}"#
            )
        ],
        wrongSecret: .init(#"{"error":"invalid_client_secret"}"#),
        revocation: [.init(.form(zohoEU + "/revoke", ["token": "r1"]), .init(#"{"status":"success"}"#))],
        revocationAgain: .init(400, #"{"error":"invalid_code"}"#))
}
