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
        var parent: Int?
        var usedAt: Int64?
        var children: [Int] = []
        var isDead = false
        var fate = Fate.underway
    }

    let scenario: Scenario
    /// By serial: the refresh token rN, and the access token aN that came with it.
    var tokens: [Token] = []
    var accessExpiry: [Int64] = []
    var isFamilyDead = false
    /// A token came again although nothing of what it had brought was lost.
    var wrongfulEnd = false

    init(scenario: Scenario, now: Int64) {
        self.scenario = scenario
        _ = issue(parent: nil, now: now)
        tokens[0].fate = .durable
    }

    mutating func issue(parent: Int?, now: Int64) -> Int {
        if let parent { tokens[parent].children.append(tokens.count) }
        tokens.append(Token(parent: parent))
        accessExpiry.append(now + scenario.lifetime)
        return tokens.count - 1
    }

    static func serial(_ token: Secret) -> Int { Int(token.reveal().dropFirst()) ?? 0 }

    /// Would a refresh with it succeed now?
    func honours(_ token: Secret, now: Int64) -> Bool {
        switch scenario.kind {
        case .unattended, .reusable: return !isFamilyDead
        case .rotating: break
        }
        let token = tokens[Self.serial(token)]
        guard !isFamilyDead, !token.isDead else { return false }
        guard let usedAt = token.usedAt else { return true }
        switch scenario.grace {
        case .none: return false
        case .milliseconds(let limit): return now - usedAt <= limit && !isSuccessorUsed(token)
        case .untilSuccessorUsed: return !isSuccessorUsed(token)
        }
    }

    /// Nothing can come of the record's refresh token any more.
    func hasEnded(_ record: GrantRecord) -> Bool {
        guard scenario.kind == .rotating, let token = record.tokens?.refreshToken else { return false }
        return isFamilyDead || tokens[Self.serial(token)].isDead
    }

    private func isSuccessorUsed(_ token: Token) -> Bool {
        token.children.contains { tokens[$0].usedAt != nil }
    }

    /// nil: invalid_grant.
    mutating func refresh(_ token: Secret?, now: Int64) -> Int? {
        guard let token, scenario.kind == .rotating else {
            return isFamilyDead ? nil : issue(parent: nil, now: now)
        }
        let serial = Self.serial(token)
        guard honours(token, now: now) else {
            if scenario.endsFamilyOnReuse, tokens[serial].usedAt != nil { isFamilyDead = true }
            return nil
        }
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
        return issue(parent: serial, now: now)
    }

    mutating func consent(now: Int64) -> TokenSet {
        isFamilyDead = false
        return reply(issue(parent: nil, now: now))
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
