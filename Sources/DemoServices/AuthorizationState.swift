import OpenSSLKit

/// What the demo authorization server knows: a value with one method for each thing that can be asked of it. Times are
/// seconds since 1970 and come in as arguments.
struct AuthorizationState: Sendable {
    /// A person's consent, with all the tokens that came of it.
    struct Grant: Sendable {
        let subject: String
        let scope: String
        var isRevoked = false
    }

    struct Code: Sendable {
        let grant: Int
        let redirectURI: String
        let challenge: String
        let expiresAt: Int64
        var isUsed = false
    }

    struct AccessToken: Sendable {
        let grant: Int
        let number: Int
        let expiresAt: Int64
        var isRevoked = false
    }

    struct RefreshToken: Sendable {
        let grant: Int
        var usedAt: Int64?
        var isRevoked = false
    }

    struct Tokens: Sendable {
        let access: String
        let refresh: String?
        let lifetime: Int64
        let scope: String
    }

    enum Verdict: Sendable, Equatable {
        case active(number: Int, subject: String, scope: String, expiresAt: Int64)
        case inactive(String)
    }

    private static let codeSeconds: Int64 = 60
    let accessSeconds: Int64
    let rotation: DemoOptions.Rotation
    private(set) var grants: [Int: Grant] = [:]
    private var codes: [String: Code] = [:]
    private var accessTokens: [String: AccessToken] = [:]
    private var refreshTokens: [String: RefreshToken] = [:]
    private var lastNumber = 0
    var counters = DemoCounters()

    init(accessSeconds: Int64, rotation: DemoOptions.Rotation) {
        self.accessSeconds = accessSeconds
        self.rotation = rotation
    }

    // MARK: Consent and codes

    mutating func consented(subject: String, scope: String, redirectURI: String, challenge: String, now: Int64)
        -> String
    {
        counters.consents += 1
        lastNumber += 1
        grants[lastNumber] = Grant(subject: subject, scope: scope)
        let code = Self.secret("code")
        codes[code] = Code(
            grant: lastNumber, redirectURI: redirectURI, challenge: challenge, expiresAt: now + Self.codeSeconds)
        return code
    }

    /// `nil` is `invalid_grant`.
    mutating func exchange(code: String, redirectURI: String, verifier: String, now: Int64) -> Tokens? {
        guard let found = codes[code] else { return refused() }
        guard !found.isUsed else {
            // RFC 6749 4.1.2: a code that comes twice may have been stolen, so what it gave is taken back.
            revoke(grant: found.grant)
            return refused()
        }
        codes[code]?.isUsed = true
        guard now < found.expiresAt, found.redirectURI == redirectURI,
            Base64.urlEncode(Digest.sha256(Array(verifier.utf8))) == found.challenge,
            grants[found.grant]?.isRevoked == false
        else { return refused() }
        counters.codeExchanges += 1
        return issue(grant: found.grant, refresh: newRefreshToken(found.grant), now: now)
    }

    // MARK: Refresh

    /// `nil` is `invalid_grant`. Counts replays whatever becomes of them.
    mutating func refresh(token: String, now: Int64) -> Tokens? {
        guard let found = refreshTokens[token], !found.isRevoked, grants[found.grant]?.isRevoked == false else {
            if refreshTokens[token]?.usedAt != nil { counters.replays += 1 }
            return refused()
        }
        switch rotation {
        case .off:
            counters.refreshes += 1
            return issue(grant: found.grant, refresh: nil, now: now)
        case .rotating(let graceSeconds):
            if let usedAt = found.usedAt {
                counters.replays += 1
                guard now <= usedAt + graceSeconds else {
                    revoke(grant: found.grant)
                    return refused()
                }
            } else {
                refreshTokens[token]?.usedAt = now
            }
            counters.refreshes += 1
            return issue(grant: found.grant, refresh: newRefreshToken(found.grant), now: now)
        }
    }

    private mutating func refused() -> Tokens? {
        counters.refusals += 1
        return nil
    }

    private mutating func newRefreshToken(_ grant: Int) -> String {
        let token = Self.secret("refresh")
        refreshTokens[token] = RefreshToken(grant: grant)
        return token
    }

    private mutating func issue(grant: Int, refresh: String?, now: Int64) -> Tokens {
        lastNumber += 1
        let access = Self.secret("access")
        accessTokens[access] = AccessToken(grant: grant, number: lastNumber, expiresAt: now + accessSeconds)
        return Tokens(access: access, refresh: refresh, lifetime: accessSeconds, scope: grants[grant]?.scope ?? "")
    }

    // MARK: Use and end

    func verdict(access token: String, now: Int64) -> Verdict {
        guard let found = accessTokens[token], let grant = grants[found.grant] else {
            return .inactive("The access token is unknown")
        }
        guard !found.isRevoked, !grant.isRevoked else { return .inactive("The access token was revoked") }
        guard now < found.expiresAt else { return .inactive("The access token expired") }
        return .active(
            number: found.number, subject: grant.subject, scope: grant.scope, expiresAt: found.expiresAt)
    }

    /// The subject and scope of a refresh token that would still be taken.
    func verdict(refresh token: String) -> (subject: String, scope: String)? {
        guard let found = refreshTokens[token], !found.isRevoked, found.usedAt == nil || rotation == .off,
            let grant = grants[found.grant], !grant.isRevoked
        else { return nil }
        return (grant.subject, grant.scope)
    }

    /// RFC 7009: a refresh token takes its whole grant with it; an unknown token is fine.
    mutating func revoke(token: String) {
        counters.revocations += 1
        if let found = refreshTokens[token] {
            revoke(grant: found.grant)
        } else {
            accessTokens[token]?.isRevoked = true
        }
    }

    private mutating func revoke(grant: Int) {
        grants[grant]?.isRevoked = true
    }

    mutating func revokeAllAccessTokens() {
        for token in accessTokens.keys { accessTokens[token]?.isRevoked = true }
    }

    mutating func expireAllAccessTokens() {
        accessTokens = accessTokens.mapValues { token in
            AccessToken(grant: token.grant, number: token.number, expiresAt: .min, isRevoked: token.isRevoked)
        }
    }

    mutating func forgetRefreshTokens() {
        refreshTokens = [:]
    }

    static func secret(_ kind: String) -> String {
        "\(kind)-" + Base64.urlEncode(RandomBytes.bytes(32))
    }
}
