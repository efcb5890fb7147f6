import OAuth

/// A request as the provider's documentation has it. Header fields that every request carries are not repeated here; a
/// value "*" is any.
struct DocumentedRequest {
    enum Body {
        case none
        case form([String: String])
        case json([String: String])
    }

    var method = "POST"
    var url: String
    var headers: [String: String] = [:]
    var body = Body.none

    static func get(_ url: String, _ headers: [String: String] = [:]) -> Self {
        Self(method: "GET", url: url, headers: headers)
    }

    static func form(_ url: String, _ members: [String: String], _ headers: [String: String] = [:]) -> Self {
        Self(url: url, headers: headers, body: .form(members))
    }

    static func json(_ url: String, _ members: [String: String], _ headers: [String: String] = [:]) -> Self {
        Self(url: url, headers: headers, body: .json(members))
    }

    /// All fields that the request must have, by name in lower case.
    var allHeaders: [String: String] {
        var all = ["accept": "application/json", "user-agent": "*"]
        switch body {
        case .none: break
        case .form: all["content-type"] = "application/x-www-form-urlencoded"
        case .json: all["content-type"] = "application/json"
        }
        return all.merging(headers) { _, own in own }
    }
}

/// In the body, ID_TOKEN stands for one that the provider signs for this consent, and KEY_SET for its keys.
struct DocumentedReply {
    var status: Int
    var body: String
    var headers: [OAuth.HeaderField]

    init(_ body: String, _ headers: [OAuth.HeaderField] = []) {
        self.init(200, body, headers)
    }

    init(_ status: Int, _ body: String, _ headers: [OAuth.HeaderField] = []) {
        self.status = status
        self.body = body
        self.headers = headers
    }

    static let page = DocumentedReply(
        502, "<html><body>Bad gateway</body></html>", [OAuth.HeaderField("Content-Type", "text/html")])
    /// What a firewall in front of a provider says.
    static let block = DocumentedReply(
        403, "<html><body>Request blocked</body></html>", [OAuth.HeaderField("Content-Type", "text/html")])
}

struct DocumentedStep {
    var request: DocumentedRequest
    var reply: DocumentedReply

    init(_ request: DocumentedRequest, _ reply: DocumentedReply) {
        self.request = request
        self.reply = reply
    }
}

/// One provider: what it is asked, what it answers, and what must come of it. The tokens are a1 and r1, after a refresh
/// a2 and, where it changes, another refresh token.
struct ProfileScript {
    static let clientID = "YOUR-CLIENT-ID"
    static let secret = "s3cret/s3cret"
    static let redirectURI = "https://gateway.example.com/oauth/callback"
    /// The client in the body.
    static let post = ["client_id": clientID, "client_secret": secret]
    /// The client in the header, form-encoded first.
    static let basic = ["authorization": "Basic WU9VUi1DTElFTlQtSUQ6czNjcmV0JTJGczNjcmV0"]

    var profile: String
    var metadata: [DocumentedStep] = []

    var authorizeURL = ""
    /// Besides response_type, client_id, redirect_uri, state, and what PKCE and OpenID Connect add.
    var authorize: [String: String] = [:]
    var pkce = true
    /// What the callback has besides code and state.
    var callback = ""

    var exchange: DocumentedStep
    /// Keys and look-ups.
    var afterExchange: [DocumentedStep] = []

    var captured: [String: String] = [:]
    var scopes: [String] = []
    var account: String?
    /// In seconds, as are all here.
    var lifetime: Int64?
    var refreshTokenLifetime: Int64?

    var header = "Authorization: Bearer "
    var extraHeaders: [String: String] = [:]
    var host: String
    var basePath = ""

    var refresh: DocumentedStep
    var refreshedToken: String? = "r1"
    var refreshedLifetime: Int64?
    var refreshedTokenLifetime: Int64?

    /// To a refresh, with a refresh token that is dead.
    var dead: [DocumentedReply]
    /// To a refresh, when the provider has too much to do.
    var busy: [DocumentedReply] = []
    /// To a refresh, with a client secret that is wrong.
    var wrongSecret = DocumentedReply(401, #"{"error":"invalid_client"}"#)

    /// Empty: the provider has no revocation.
    var revocation: [DocumentedStep] = []
    /// To the same, when the tokens were revoked already.
    var revocationAgain: DocumentedReply?

    static func code(_ more: [String: String] = [:], pkce: Bool = true) -> [String: String] {
        let verifier = pkce ? ["code_verifier": "*"] : [:]
        return ["grant_type": "authorization_code", "code": "c-1/x", "redirect_uri": redirectURI]
            .merging(verifier) { $1 }.merging(more) { $1 }
    }

    static func refreshing(_ more: [String: String] = [:]) -> [String: String] {
        ["grant_type": "refresh_token", "refresh_token": "r1"].merging(more) { $1 }
    }

    /// The refresh's request with another answer.
    func refresh(answering reply: DocumentedReply) -> DocumentedStep { DocumentedStep(refresh.request, reply) }
}

extension ProfileScript {
    /// By profile.
    static let all: [String: ProfileScript] = Dictionary(
        uniqueKeysWithValues: [
            atlassian, auth0, box, dropbox, github, gitlab, google, googleServiceAccount, hubspot, keycloak, linkedin,
            microsoft, notion, okta, pipedrive, quickbooks, salesforce, shopify, slack, slackUser, stripe, xero,
            zendesk, zoho,
        ].map { ($0.profile, $0) })
}
