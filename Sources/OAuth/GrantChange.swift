/// One step from a grant's stored record to the next. The machine keeps changes in a queue and commits the first;
/// when the store turns out to hold another record, the change is built again onto that one, or is dropped.
enum GrantChange: Sendable, Equatable {
    /// A refresh of this generation is about to be sent.
    case intent(GrantRecord.Intent, generation: UInt64)
    case refreshed(TokenSet, sent: SentRefresh, sentAt: Moment, requiredScopes: [String])
    case consented(TokenSet, sentAt: Moment, from: Asked, generationAbove: UInt64, ticket: Ticket?)
    case failed(FailedRefresh)
    /// Tokens that a refresh brought after the grant was revoked: they are to be revoked too.
    case lateTokens([GrantRecord.Revocation.Token])
    case revoke
    case revocationStep(RevocationStep)
    /// A latched failure is given another chance.
    case unlatch
    case forget(ticket: Ticket)

    /// Who was asked for the consent, and for what.
    struct Asked: Sendable, Equatable {
        var provider: String
        var scopes: [String]
    }

    /// What went out with a refresh.
    struct SentRefresh: Sendable, Equatable {
        var generation: UInt64
        var refreshToken: Secret
    }

    struct FailedRefresh: Sendable, Equatable {
        var failure: GrantRecord.Failure
        var generation: UInt64
        var consecutive: Int
        /// Wall milliseconds.
        var nextAttemptAt: Int64?
        var fingerprint: String
        var outcomeUnknown: Bool
        /// The refresh was to replace tokens that an upstream had rejected.
        var isRejected: Bool
    }

    struct RevocationStep: Sendable, Equatable {
        var token: Secret
        /// nil: done with this token.
        var failure: GrantRecord.Failure?
        /// nil: it is another token's outcome that counts.
        var outcome: RevocationResult?
        /// Wall milliseconds.
        var nextAttemptAt: Int64
    }

    /// True where the tokens of the grant are what changes: such a change is in force only once it is durable.
    var bringsTokens: Bool {
        switch self {
        case .refreshed, .consented: true
        case .intent, .failed, .lateTokens, .revoke, .revocationStep, .unlatch, .forget: false
        }
    }

    /// True while the change means that a waiter has something to wait for.
    var leadsToCredential: Bool {
        switch self {
        case .intent, .refreshed, .consented, .unlatch: true
        case .failed, .lateTokens, .revoke, .revocationStep, .forget: false
        }
    }

    /// True for what is not worth keeping the machine busy when the store does not take it.
    var isExpendable: Bool {
        switch self {
        case .intent: true
        case .failed(let failed): failed.failure.errorClass == .transient
        case .refreshed, .consented, .lateTokens, .revoke, .revocationStep, .unlatch, .forget: false
        }
    }
}

extension GrantChange {
    /// The record after this change, with the next revision; nil where the change has no place on `base`.
    /// `forget` has no record: it is a deletion.
    func applied(to base: GrantRecord) -> GrantRecord? {
        var record = base
        let isApplied: Bool =
            switch self {
            case .intent(let intent, let generation): record.begin(intent, generation: generation)
            case .refreshed(let tokens, let sent, let sentAt, let required):
                record.refresh(tokens, sent: sent, sentAt: sentAt, requiredScopes: required)
            case .consented(let tokens, let sentAt, let asked, let floor, _):
                record.connect(tokens, sentAt: sentAt, from: asked, generationAbove: floor)
            case .failed(let failed): record.fail(failed)
            case .lateTokens(let tokens): record.addToRevocation(tokens)
            case .revoke: record.revoke()
            case .revocationStep(let step): record.advanceRevocation(step)
            case .unlatch: record.unlatch()
            case .forget: false
            }
        guard isApplied else { return nil }
        record.revision = base.revision &+ 1
        return record
    }
}

extension GrantRecord {
    fileprivate mutating func begin(_ intent: Intent, generation: UInt64) -> Bool {
        guard state == .active, self.generation == generation, tokens?.refreshToken != nil else { return false }
        self.intent = intent
        return true
    }

    fileprivate mutating func refresh(
        _ new: TokenSet, sent: GrantChange.SentRefresh, sentAt: Moment, requiredScopes: [String]
    ) -> Bool {
        if state == .revoked {
            return addToRevocation(new.revocable)
        }
        // Compare-and-set on the generation: a late result never overwrites a newer pair.
        guard generation == sent.generation, let old = tokens, old.refreshToken == sent.refreshToken else {
            return false
        }
        tokens = Tokens(new, sentAt: sentAt, scopes: new.scopes ?? old.scopes, old: old)
        generation += 1
        succeed(at: sentAt)
        let missing = requiredScopes.filter { !(tokens?.scopes ?? []).contains($0) }
        if !missing.isEmpty {
            state = .reauthorizationRequired
            lastFailure = Failure(
                errorClass: .permanent, code: "missing_scope",
                detail: "The provider no longer grants: \(missing.joined(separator: " ")).", at: sentAt.wall)
        }
        return true
    }

    fileprivate mutating func connect(
        _ new: TokenSet, sentAt: Moment, from asked: GrantChange.Asked, generationAbove floor: UInt64
    ) -> Bool {
        tokens = Tokens(new, sentAt: sentAt, scopes: new.scopes ?? asked.scopes, old: nil)
        provider = asked.provider
        generation = max(generation, floor) + 1
        account = new.account ?? account
        // A revocation that is still owed would end the new consent at providers that revoke by user.
        revocation = nil
        revocationOutcome = nil
        succeed(at: sentAt)
        return true
    }

    private mutating func succeed(at sentAt: Moment) {
        state = .active
        intent = nil
        lastFailure = nil
        consecutiveFailures = 0
        nextAttemptAt = nil
        latchedFingerprint = nil
        rejectedGeneration = nil
        lastRefreshAt = sentAt.wall
    }

    fileprivate mutating func fail(_ failed: GrantChange.FailedRefresh) -> Bool {
        guard generation == failed.generation, state == .active else { return false }
        lastFailure = failed.failure
        consecutiveFailures = failed.consecutive
        nextAttemptAt = failed.nextAttemptAt
        if failed.isRejected { rejectedGeneration = generation }
        // The intent stays where the outcome is unknown: a restart then refreshes at once.
        if !failed.outcomeUnknown { intent = nil }
        switch failed.failure.errorClass {
        case .permanent: state = .reauthorizationRequired
        case .configuration: state = .configurationError
        case .transient: return true
        }
        intent = nil
        latchedFingerprint = failed.fingerprint
        return true
    }

    fileprivate mutating func addToRevocation(_ late: [Revocation.Token]) -> Bool {
        guard state == .revoked else { return false }
        let known = revocation?.tokens ?? []
        revocation = Revocation(tokens: late + known, attempts: 0, nextAttemptAt: 0)
        return true
    }

    fileprivate mutating func revoke() -> Bool {
        guard state != .revoked, state != .notConnected else { return false }
        let owed = tokens?.revocable ?? []
        revocation = owed.isEmpty ? nil : Revocation(tokens: owed, attempts: 0, nextAttemptAt: 0)
        revocationOutcome = nil
        tokens = nil
        intent = nil
        nextAttemptAt = nil
        lastFailure = nil
        latchedFingerprint = nil
        rejectedGeneration = nil
        consecutiveFailures = 0
        generation += 1
        state = .revoked
        return true
    }

    fileprivate mutating func advanceRevocation(_ step: GrantChange.RevocationStep) -> Bool {
        guard state == .revoked, var owed = revocation else { return false }
        guard owed.tokens.contains(where: { $0.token == step.token }) else { return false }
        if let failure = step.failure {
            owed.attempts += 1
            owed.nextAttemptAt = step.nextAttemptAt
            lastFailure = failure
            revocation = owed
            return true
        }
        owed.tokens.removeAll { $0.token == step.token }
        // The refresh token goes first, and what became of it is what the operator is told.
        revocationOutcome = revocationOutcome ?? step.outcome?.rawValue
        lastFailure = nil
        revocation = owed.tokens.isEmpty ? nil : owed
        return true
    }

    fileprivate mutating func unlatch() -> Bool {
        guard state == .reauthorizationRequired || state == .configurationError else { return false }
        guard tokens?.refreshToken != nil else { return false }
        state = .active
        latchedFingerprint = nil
        consecutiveFailures = 0
        nextAttemptAt = nil
        return true
    }
}

extension GrantRecord.Tokens {
    /// An absent refresh token keeps the old one (RFC 6749 section 6).
    fileprivate init(_ new: TokenSet, sentAt: Moment, scopes: [String], old: GrantRecord.Tokens?) {
        let refreshExpiry = new.refreshTokenLifetime.map { sentAt.wall.saturatingAdd($0) }
        self.init(
            accessToken: new.accessToken, refreshToken: new.refreshToken ?? old?.refreshToken, obtainedAt: sentAt.wall,
            expiresAt: new.lifetime.map { sentAt.wall.saturatingAdd($0) },
            refreshTokenExpiresAt: refreshExpiry
                ?? (new.refreshToken == nil || new.keepsRefreshTokenEnd ? old?.refreshTokenExpiresAt : nil),
            scopes: scopes)
    }

    fileprivate var revocable: [GrantRecord.Revocation.Token] {
        var owed = [GrantRecord.Revocation.Token(token: accessToken, hint: .accessToken)]
        if let refreshToken {
            owed.insert(.init(token: refreshToken, hint: .refreshToken), at: 0)
        }
        return owed
    }
}

extension TokenSet {
    /// Refresh token first (RFC 7009 section 2.1: it ends the access tokens too).
    var revocable: [GrantRecord.Revocation.Token] {
        var owed = [GrantRecord.Revocation.Token(token: accessToken, hint: .accessToken)]
        if let refreshToken {
            owed.insert(.init(token: refreshToken, hint: .refreshToken), at: 0)
        }
        return owed
    }
}
