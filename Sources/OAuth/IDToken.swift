import OpenSSLKit

/// What an id_token must say, from whoever started the exchange. Its presence in a call means that openid was asked for.
package struct IdentityExpectation: Sendable, Equatable {
    /// Of the authorization request; nil where none was sent (device grants, refreshes).
    package var nonce: Secret?
    /// For a refresh: the account that the grant is pinned to.
    package var account: String?

    package init(nonce: Secret? = nil, account: String? = nil) {
        self.nonce = nonce
        self.account = account
    }
}

/// Why an id_token is not believed.
enum IDTokenFault: String, Error, CaseIterable {
    case missing = "id_token_missing"
    case malformed = "id_token_malformed"
    case algorithm = "id_token_algorithm"
    case unknownKey = "id_token_unknown_key"
    case signature = "id_token_signature"
    case issuer = "id_token_issuer"
    case audience = "id_token_audience"
    case expired = "id_token_expired"
    case notYetValid = "id_token_not_yet_valid"
    case nonce = "id_token_nonce"
    case subject = "id_token_subject"
    case unverifiedEmail = "id_token_unverified_email"
    case otherSubject = "id_token_other_subject"

    private var explanation: String {
        switch self {
        case .missing:
            "openid was asked for, but the reply has no id_token; if this provider never sends one, set "
                + "check_id_token = false"
        case .malformed: "the id_token cannot be read"
        case .algorithm: "the id_token is signed by an algorithm that is not among the expected ones"
        case .unknownKey: "the id_token is signed by a key that the provider does not publish"
        case .signature: "the signature of the id_token is wrong"
        case .issuer: "the id_token is from another issuer"
        case .audience: "the id_token is meant for another client"
        case .expired: "the id_token has expired; compare the clocks"
        case .notYetValid: "the id_token is from the future; compare the clocks"
        case .nonce: "the id_token belongs to another authorization request"
        case .subject: "the id_token names no subject"
        case .unverifiedEmail: "the provider has not verified the email address in the id_token"
        case .otherSubject: "the refresh brought an id_token of another account"
        }
    }

    var problem: ProviderProblem {
        // A consent that brings a bad id_token is over and can be made again. A refresh that suddenly speaks of another
        // account must not be repeated.
        ProviderProblem(
            self == .otherSubject ? .permanent : .transient, code: rawValue,
            detail: "The tokens were refused: \(explanation).")
    }
}

/// Checks id_tokens (OpenID Connect Core section 3.1.3.7). Sans-IO, and without state: keys come as arguments.
struct IDTokenCheck {
    /// Milliseconds by which the clocks may differ.
    static let leeway: Int64 = 120_000
    /// Prefix of `ProviderSettings.Paths.account` that points into the id_token.
    static let prefix = "id_token."
    /// The general spelling of a claim, which means the same: only what was checked may say who somebody is.
    static let generalPrefix = "id_token@"

    let settings: ProviderSettings
    let endpoints: ProviderEndpoints
    let expectation: IdentityExpectation

    /// The algorithm that the token names, if it is one of those expected: never `none`, never HS*.
    func algorithm(of token: ReceivedToken) throws(IDTokenFault) -> SignatureAlgorithm {
        guard let algorithm = SignatureAlgorithm(rawValue: token.algorithm),
            endpoints.idTokenAlgorithms.contains(algorithm)
        else { throw .algorithm }
        return algorithm
    }

    /// Everything but the signature. Returns what identifies the account; nil where the configured claim is not there.
    func account(in token: ReceivedToken, now: Moment) throws(IDTokenFault) -> String? {
        let claims = token.claims
        try checkParties(claims)
        guard let expires = Self.time(claims["exp"]), let issued = Self.time(claims["iat"]) else { throw .malformed }
        guard now.wall < expires.saturatingAdd(Self.leeway) else { throw .expired }
        let begins = Self.time(claims["nbf"]) ?? issued
        guard max(issued, begins) <= now.wall.saturatingAdd(Self.leeway) else { throw .notYetValid }
        if let nonce = expectation.nonce {
            guard let found = claims["nonce"]?.text, Secret(found) == nonce else { throw .nonce }
        }
        guard Self.subject(claims) != nil else { throw .subject }
        return try account(claims)
    }

    private func checkParties(_ claims: JSONValue) throws(IDTokenFault) {
        guard let issuer = claims["iss"]?.text, !issuer.isEmpty else { throw .issuer }
        if let expected = settings.issuer, issuer != expected { throw .issuer }
        let audience = claims["aud"]?.list?.compactMap(\.text) ?? [claims["aud"]?.text].compactMap { $0 }
        guard audience.contains(settings.clientID) else { throw .audience }
        let authorized = claims["azp"]?.text
        guard audience.count == 1 || authorized != nil else { throw .audience }
        if let authorized, authorized != settings.clientID { throw .audience }
    }

    /// `sub` where nothing is configured: the only claim that stays the same for an account for ever.
    private func account(_ claims: JSONValue) throws(IDTokenFault) -> String? {
        guard let path = settings.paths.account else { return Self.subject(claims) }
        guard let name = Self.claim(path) else { return nil }
        // Whoever may type in any address must not pass for its owner.
        if name == "email", claims["email_verified"] == .bool(false) || claims["email_verified"] == .string("false") {
            throw .unverifiedEmail
        }
        guard let text = claims.value(at: name)?.scalarText, !text.isEmpty else { return nil }
        return SafeText.clean(text, limit: 255)
    }

    /// An id_token in the reply to a refresh (section 12.2): it is only ever a reason to refuse, so that its signature is
    /// of no interest, and one that cannot be read is passed over.
    func checkRefreshed(_ text: Secret) throws(IDTokenFault) {
        let accountIsSubject = settings.paths.account.map { Self.claim($0) == "sub" } ?? true
        guard accountIsSubject, let account = expectation.account, let token = ReceivedToken(text),
            let subject = Self.subject(token.claims)
        else { return }
        guard subject == account else { throw .otherSubject }
    }

    /// The claim that a path of `Paths.account` names; nil: it points elsewhere.
    private static func claim(_ path: String) -> String? {
        let prefix = [prefix, generalPrefix].first { path.hasPrefix($0) }
        return prefix.map { String(path.dropFirst($0.count)) }
    }

    private static func subject(_ claims: JSONValue) -> String? {
        guard let subject = claims["sub"]?.text, !subject.isEmpty, subject.utf8.count <= 255 else { return nil }
        return SafeText.clean(subject, limit: 255)
    }

    /// Seconds, perhaps with decimals, as milliseconds.
    private static func time(_ value: JSONValue?) -> Int64? {
        guard case .number(let text)? = value, let seconds = Double(text), seconds.isFinite else { return nil }
        guard seconds >= 0, seconds < 9e15 else { return nil }
        return Int64(seconds * 1000)
    }
}
