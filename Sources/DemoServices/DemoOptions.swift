package import OpenSSLKit

/// How the demo services behave.
package struct DemoOptions: Sendable {
    /// The host in the URLs: "127.0.0.1" or "localhost". The certificate is for both.
    package var host = "127.0.0.1"
    /// 0 takes any free port.
    package var issuerPort: UInt16 = 0
    package var apiPort: UInt16 = 0
    package var clientID = "token-gateway-demo"
    /// `nil` makes a new random one.
    package var clientSecret: SecretString?
    /// The redirect URIs that are registered, compared to the letter. Empty: any on loopback.
    package var redirectURIs: [String] = []
    /// How long an access token is good for.
    package var accessTokenSeconds: Int64 = 60
    package var rotation = Rotation.rotating(graceSeconds: 30)
    /// The account that may sign in; its password is shown on the page.
    package var account = "alice"
    package var password = "wonderland"
    /// The field that carries the access token to the API, and the word before it ("" for none).
    package var credentialField = "Authorization"
    package var credentialScheme = "Bearer"

    package init() {}

    package enum Rotation: Sendable, Equatable {
        /// A refresh token stays good.
        case off
        /// Each refresh gives a new refresh token. The used one still works for so long after its first use; later
        /// use counts as theft and ends the grant (RFC 9700 4.14.2).
        case rotating(graceSeconds: Int64)
    }
}

/// What the token endpoint does instead of its work.
package enum TokenFault: Sendable, Equatable {
    /// Answers with this status and a short text. Nothing is processed.
    case status(Int, retryAfterSeconds: Int? = nil)
    /// Answers 400 (401 for `invalid_client`) with this OAuth error.
    case oauthError(String)
    /// Answers 200 with an OAuth error inside, as some providers do.
    case errorInSuccess(String)
    /// Answers 200 with a page of HTML, as an intermediary does.
    case html
    /// Answers 200 with JSON that stops in the middle.
    case brokenJSON
    /// Never answers. Nothing is processed.
    case timeout
    /// Processes the request and never answers.
    case timeoutAfter
    /// Closes the connection. Nothing is processed.
    case cutBefore
    /// Processes the request and closes the connection: the reply is lost.
    case cutAfter
    /// Processes the request and answers late.
    case slow(milliseconds: Int)
}

/// What has happened so far.
package struct DemoCounters: Sendable, Equatable {
    /// Requests at the token endpoint, failed ones too.
    package var tokenCalls = 0
    package var codeExchanges = 0
    /// Refreshes that gave new tokens, replays within the grace window among them.
    package var refreshes = 0
    /// Requests with a refresh token that had been used before.
    package var replays = 0
    /// Refresh and code requests that were refused.
    package var refusals = 0
    package var consents = 0
    package var revocations = 0
    package var introspections = 0
    /// Requests at the API, and those of them that were answered 401.
    package var apiCalls = 0
    package var apiRejections = 0
    /// Requests at the API with more than one credential.
    package var apiDoubleCredentials = 0

    package init() {}
}
