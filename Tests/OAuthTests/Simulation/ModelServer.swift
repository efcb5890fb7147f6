@testable import OAuth

/// An authorization server, as strict or as kind as the scenario says.
struct ModelServer {
    enum Fate: Equatable {
        case underway
        /// The reply never came, or came to nobody.
        case lost
        /// A process has it in memory.
        case held(by: Int)
        case durable
    }

    struct Token {
        /// What one consent brought, and all that has come of it since.
        var family: Int
        var parent: Int?
        var usedAt: Int64?
        var children: [Int] = []
        var isDead = false
        var fate = Fate.underway
        /// Who got it had been taken for dead, and what the other one got is stored: nobody has it.
        var isDropped = false
    }

    let scenario: Scenario
    /// By serial: the refresh token rN, and the access token aN that came with it.
    var tokens: [Token] = []
    var accessExpiry: [Int64] = []
    var families = 1
    var deadFamilies: Set<Int> = []
    /// Families of which a token was revoked.
    var revokedFamilies: Set<Int> = []
    /// Tokens, refresh and access, that were revoked.
    var revoked: Set<String> = []

    init(scenario: Scenario, now: Int64) {
        self.scenario = scenario
        _ = issue(parent: nil, family: 0, now: now)
        tokens[0].fate = .durable
    }

    mutating func issue(parent: Int?, family: Int, now: Int64) -> Int {
        if let parent { tokens[parent].children.append(tokens.count) }
        tokens.append(Token(family: family, parent: parent))
        accessExpiry.append(now + scenario.lifetime)
        return tokens.count - 1
    }

    static func serial(_ token: Secret) -> Int { serial(token.reveal()) }
    static func serial(_ token: String) -> Int { Int(token.drop { !$0.isNumber }) ?? 0 }

    func isDead(_ token: Secret) -> Bool { deadFamilies.contains(tokens[Self.serial(token)].family) }

    /// Would a refresh with it succeed now?
    func honours(_ token: Secret, now: Int64) -> Bool {
        let token = tokens[Self.serial(token)]
        guard !deadFamilies.contains(token.family), !token.isDead else { return false }
        switch scenario.kind {
        case .unattended, .reusable: return true
        case .rotating: break
        }
        guard let usedAt = token.usedAt else { return true }
        switch scenario.grace {
        case .none: return false
        case .milliseconds(let limit): return now - usedAt <= limit && !isSuccessorUsed(token)
        case .untilSuccessorUsed: return !isSuccessorUsed(token)
        }
    }

    private func isSuccessorUsed(_ token: Token) -> Bool {
        token.children.contains { tokens[$0].usedAt != nil }
    }

    mutating func newFamily() -> Int {
        families += 1
        return families - 1
    }

    /// nil: invalid_grant. `family`: of what comes without a refresh token.
    mutating func refresh(_ token: Secret?, family: Int, now: Int64) -> Int? {
        guard let token else { return issue(parent: nil, family: family, now: now) }
        let serial = Self.serial(token)
        guard honours(token, now: now) else {
            if scenario.endsFamilyOnReuse, tokens[serial].usedAt != nil { deadFamilies.insert(tokens[serial].family) }
            return nil
        }
        guard scenario.kind == .rotating else { return issue(parent: nil, family: tokens[serial].family, now: now) }
        let isFirst = tokens[serial].usedAt == nil
        if isFirst {
            tokens[serial].usedAt = now
            // Of those that came of one token, the one that is used is the one that counts.
            if let parent = tokens[serial].parent {
                for sibling in tokens[parent].children where sibling != serial { tokens[sibling].isDead = true }
            }
        } else if scenario.graceRepeatsSuccessor, let last = tokens[serial].children.last {
            accessExpiry[last] = now + scenario.lifetime
            return last
        } else if scenario.graceReplacesSuccessor {
            for child in tokens[serial].children { tokens[child].isDead = true }
        }
        return issue(parent: serial, family: tokens[serial].family, now: now)
    }

    /// Somebody consents: the first tokens of a new family.
    mutating func connect(now: Int64) -> Int {
        issue(parent: nil, family: newFamily(), now: now)
    }

    /// RFC 7009. Some servers end all that came of the same consent with a refresh token, others that token alone.
    mutating func revoke(_ token: String) {
        revoked.insert(token)
        let serial = Self.serial(token)
        guard tokens.indices.contains(serial), token.hasPrefix("r") else { return }
        revokedFamilies.insert(tokens[serial].family)
        if scenario.revokesFamily { deadFamilies.insert(tokens[serial].family) } else { tokens[serial].isDead = true }
    }

    /// The reply to a code.
    func firstReply(_ serial: Int) -> TokenSet {
        var tokens = reply(serial)
        tokens.refreshToken = scenario.givesRefreshTokens ? Secret("r\(serial)") : nil
        return tokens
    }

    func reply(_ serial: Int) -> TokenSet {
        let refresh: String? =
            switch scenario.kind {
            case .rotating: "r\(serial)"
            case .reusable, .unattended: nil
            }
        return TokenSet(
            accessToken: Secret("a\(serial)"), refreshToken: refresh.map { Secret($0) }, lifetime: scenario.lifetime)
    }

    func accessIsGood(_ value: String, now: Int64, slack: Int64) -> Bool {
        guard let serial = Int(value.drop { !$0.isNumber }), accessExpiry.indices.contains(serial) else { return false }
        return now < accessExpiry[serial] + slack
    }
}
