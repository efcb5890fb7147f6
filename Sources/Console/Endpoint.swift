/// What a path of the console names.
enum Endpoint: Sendable, Equatable {
    case dashboard
    case grantList
    case grantPage(String)
    case grantAction(String, GrantAction)
    case authorize(String)
    case callback
    case consentDone
    case signIn
    case signOut
    case metrics
    case live
    case ready
    case apiStatus
    case apiGrants
    case apiGrant(String)
    case apiAction(String, APIAction)
    case apiKeys
    case apiRekey

    enum GrantAction: String, Sendable {
        case refresh
        case revoke
        case forget
    }

    enum APIAction: String, Sendable {
        case authorize
        case refresh
        case revoke
        case forget
        case callback
        case device
        case `import`
    }

    /// `path` is as received, the public URL's prefix taken off. Names of grants are percent-decoded, once.
    init?(path: String) {
        guard path.hasPrefix("/") else { return nil }
        let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        var decoded: [String] = []
        for segment in segments {
            guard let text = Encodings.percentDecoded(segment, plusIsSpace: false),
                text.utf8.count <= ConsoleLimits.grantNameBytes, !text.contains("/")
            else { return nil }
            decoded.append(text)
        }
        self.init(segments: decoded)
    }

    private init?(segments: [String]) {
        if segments.first == "api" {
            self.init(apiSegments: segments.dropFirst())
            return
        }
        switch segments.count {
        case 1: self.init(word: segments[0])
        case 2 where segments[0] == "oauth": self.init(oauthWord: segments[1])
        case 2 where segments[0] == "grants" && !segments[1].isEmpty: self = .grantPage(segments[1])
        case 2 where segments[0] == "authorize" && !segments[1].isEmpty: self = .authorize(segments[1])
        case 3 where segments[0] == "grants" && !segments[1].isEmpty:
            guard let action = GrantAction(rawValue: segments[2]) else { return nil }
            self = .grantAction(segments[1], action)
        default: return nil
        }
    }

    private init?(word: String) {
        switch word {
        case "": self = .dashboard
        case "grants": self = .grantList
        case "sign-in": self = .signIn
        case "sign-out": self = .signOut
        case "metrics": self = .metrics
        case "livez": self = .live
        case "readyz": self = .ready
        default: return nil
        }
    }

    private init?(oauthWord: String) {
        switch oauthWord {
        case "callback": self = .callback
        case "done": self = .consentDone
        default: return nil
        }
    }

    private init?(apiSegments: ArraySlice<String>) {
        let segments = Array(apiSegments)
        guard segments.count >= 2, segments[0] == "v1" else { return nil }
        switch (segments[1], segments.count) {
        case ("status", 2): self = .apiStatus
        case ("grants", 2): self = .apiGrants
        case ("keys", 2): self = .apiKeys
        case ("rekey", 2): self = .apiRekey
        case ("grants", 3) where !segments[2].isEmpty: self = .apiGrant(segments[2])
        case ("grants", 4) where !segments[2].isEmpty:
            guard let action = APIAction(rawValue: segments[3]) else { return nil }
            self = .apiAction(segments[2], action)
        default: return nil
        }
    }

    /// The methods that the endpoint knows, as `Allow` lists them.
    ///
    /// HEAD is left out where GET has an effect: a link checker must not use up a code or a one-time link.
    var methods: [String] {
        switch self {
        case .authorize, .callback: ["GET"]
        case .dashboard, .grantList, .grantPage, .consentDone, .metrics, .live, .ready, .apiStatus, .apiKeys:
            ["GET", "HEAD"]
        case .apiGrants: ["GET", "HEAD", "POST"]
        case .apiGrant: ["GET", "HEAD", "DELETE"]
        case .grantAction(_, .revoke), .grantAction(_, .forget), .signIn, .apiAction(_, .device):
            ["GET", "HEAD", "POST"]
        case .grantAction(_, .refresh), .signOut, .apiAction, .apiRekey: ["POST"]
        }
    }

    /// Whether the endpoint talks to programs: errors are `application/problem+json`, and there is no sign-in page.
    var isForPrograms: Bool {
        switch self {
        case .metrics, .live, .ready, .apiStatus, .apiGrants, .apiGrant, .apiAction, .apiKeys, .apiRekey: true
        case .dashboard, .grantList, .grantPage, .grantAction, .authorize, .callback, .consentDone, .signIn, .signOut:
            false
        }
    }

    /// Whether the endpoint's page holds a form, which is bound to a cookie.
    var hasForm: Bool {
        switch self {
        case .dashboard, .grantList, .grantPage, .grantAction, .signIn: true
        case .authorize, .callback, .consentDone, .signOut, .metrics, .live, .ready, .apiStatus, .apiGrants, .apiGrant,
            .apiAction, .apiKeys, .apiRekey:
            false
        }
    }

    /// Whether strangers may come here.
    var isOpen: Bool {
        switch self {
        case .live, .ready, .callback, .consentDone, .signIn: true
        case .dashboard, .grantList, .grantPage, .grantAction, .authorize, .signOut, .metrics, .apiStatus, .apiGrants,
            .apiGrant, .apiAction, .apiKeys, .apiRekey:
            false
        }
    }

    /// Where a sign-in may lead: the pages that are safe to open by GET, and nothing that a query could name otherwise.
    var isSignInTarget: Bool {
        switch self {
        case .dashboard, .grantList, .grantPage, .authorize: true
        case .grantAction, .callback, .consentDone, .signIn, .signOut, .metrics, .live, .ready, .apiStatus, .apiGrants,
            .apiGrant, .apiAction, .apiKeys, .apiRekey:
            false
        }
    }

    /// The canonical path, to be put behind the public URL's prefix.
    var path: String {
        switch self {
        case .dashboard: "/"
        case .grantList: "/grants"
        case .grantPage(let name): "/grants/\(Encodings.percentEncoded(name))"
        case .grantAction(let name, let action): "/grants/\(Encodings.percentEncoded(name))/\(action.rawValue)"
        case .authorize(let name): "/authorize/\(Encodings.percentEncoded(name))"
        case .callback: "/oauth/callback"
        case .consentDone: "/oauth/done"
        case .signIn: "/sign-in"
        case .signOut: "/sign-out"
        case .metrics: "/metrics"
        case .live: "/livez"
        case .ready: "/readyz"
        case .apiStatus: "/api/v1/status"
        case .apiGrants: "/api/v1/grants"
        case .apiKeys: "/api/v1/keys"
        case .apiRekey: "/api/v1/rekey"
        case .apiGrant(let name): "/api/v1/grants/\(Encodings.percentEncoded(name))"
        case .apiAction(let name, let action):
            "/api/v1/grants/\(Encodings.percentEncoded(name))/\(action.rawValue)"
        }
    }
}
