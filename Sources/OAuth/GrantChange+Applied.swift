// What each change makes of the record that the store holds.
extension GrantChange {
    /// The record after this change, with the next revision; nil where the change has no place on `base`.
    /// `forget` has no record: it is a deletion.
    func applied(to base: GrantRecord) -> GrantRecord? {
        var record = base
        let isApplied: Bool =
            switch self {
            case .intent(let intent, let generation, let isUnattended):
                record.begin(intent, generation: generation, isUnattended: isUnattended)
            case .refreshed(let refreshed): record.refresh(refreshed)
            case .consented(let tokens, let sentAt, let asked, let floor, _):
                record.connect(tokens, sentAt: sentAt, from: asked, generationAbove: floor)
            case .failed(let failed): record.fail(failed)
            case .importIntent(let intent): record.beginImport(intent)
            case .importEnded(let instance): record.endImport(instance)
            case .created(let creation, _): record.create(creation)
            case .lateTokens(let tokens): record.addToRevocation(tokens)
            case .revoke: record.revoke()
            case .revocationStep(let step): record.advanceRevocation(step)
            case .unlatch(let isUnattended): record.unlatch(isUnattended: isUnattended)
            case .forget: false
            }
        guard isApplied else { return nil }
        record.revision = base.revision &+ 1
        return record
    }
}

extension GrantRecord {
    fileprivate mutating func begin(_ intent: Intent, generation: UInt64, isUnattended: Bool) -> Bool {
        guard self.generation == generation else { return false }
        guard isUnattended ? canBeAcquired : state == .active && tokens?.refreshToken != nil else { return false }
        self.intent = intent
        return true
    }

    /// Neither latched nor revoked: an unattended grant may ask for tokens.
    var canBeAcquired: Bool {
        state == .active || state == .notConnected
    }

    fileprivate mutating func beginImport(_ intent: Intent) -> Bool {
        self.intent = intent
        return true
    }

    fileprivate mutating func endImport(_ instance: String) -> Bool {
        guard intent?.instance == instance else { return false }
        intent = nil
        return true
    }

    fileprivate mutating func create(_ creation: GrantChange.Creation) -> Bool {
        guard revision == 0 else { return false }
        template = creation.template
        label = creation.label
        variables = creation.variables
        return true
    }

    fileprivate mutating func refresh(_ new: GrantChange.Refreshed) -> Bool {
        if state == .revoked {
            return addToRevocation(new.tokens.revocable)
        }
        guard takes(new) else { return false }
        let sent = new.sent
        tokens = Tokens(
            new.tokens, sentAt: new.sentAt, scopes: new.tokens.scopes ?? tokens?.scopes ?? new.scopes, old: tokens)
        tokens?.origin = Origin(generation: sent.generation, fence: sent.fence)
        if let acquiredWith = sent.acquiredWith {
            provider = sent.provider
            self.acquiredWith = acquiredWith
        }
        captured.merge(new.tokens.captured) { _, last in last }
        generation = max(generation + 1, new.publishedAs)
        succeed(at: new.sentAt)
        let missing = tokens?.lacking(of: new.requiredScopes) ?? new.requiredScopes
        if !missing.isEmpty {
            state = .reauthorizationRequired
            lastFailure = Failure(
                errorClass: .permanent, code: "missing_scope",
                detail: "The provider no longer grants: \(missing.joined(separator: " ")).", at: new.sentAt.wall)
        }
        return true
    }

    /// Compare-and-set on the generation: a late result never overwrites a newer pair. Two exceptions: a sibling that
    /// was taken for dead has stored what it got before we asked, so that what we got is newer still; and a token that
    /// is in use from memory since the store was away.
    private func takes(_ new: GrantChange.Refreshed) -> Bool {
        let sent = new.sent
        // Nothing is lost where tokens are asked for anew; what others wrote meanwhile may have been a revocation.
        if sent.acquiredWith != nil {
            return generation == sent.generation && tokens?.accessToken == sent.replaces
        }
        guard state != .notConnected else { return false }
        if sent.isRepeatable, new.publishedAs > 0 { return tokens?.refreshToken == sent.refreshToken }
        if generation == sent.generation { return tokens != nil && tokens?.refreshToken == sent.refreshToken }
        guard let origin = tokens?.origin, generation == sent.generation + 1 else { return false }
        return origin.generation == sent.generation && origin.fence < sent.fence
    }

    /// More than can be made while one waits for the store.
    private static let rememberedConnections = 8

    fileprivate mutating func connect(
        _ new: TokenSet, sentAt: Moment, from asked: GrantChange.Asked, generationAbove floor: UInt64
    ) -> Bool {
        // It is there already, though the store said that it had failed: perhaps used, refreshed or revoked since.
        // With the time: some providers give the same access token to a second consent.
        let mark = Crypto.base64URL(Array(Crypto.sha256(new.accessToken.bytes + "\(sentAt.wall)".utf8).prefix(12)))
        guard !connectedBy.contains(mark) else { return false }
        connectedBy = [mark] + connectedBy.prefix(Self.rememberedConnections - 1)
        tokens = Tokens(new, sentAt: sentAt, scopes: new.scopes ?? asked.scopes, old: nil)
        provider = asked.provider
        generation = max(generation, floor) + 1
        account = new.account ?? account
        acquiredWith = nil
        // What another consent captured says nothing of this one's tenant.
        captured = new.captured
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
        guard generation == failed.generation else { return false }
        guard state == .active || failed.isUnattended && canBeAcquired else { return false }
        // We were taken for dead, and another replica is at it: what comes of that counts. Where there is no refresh token
        // it is at an import, which need not come to anything: the grant is over all the same.
        let isAnothers = intent.map { $0.instance != failed.instance && !$0.isOver } ?? false
        if isAnothers, failed.isUnattended || tokens?.refreshToken != nil { return false }
        lastFailure = failed.failure
        consecutiveFailures = failed.consecutive
        nextAttemptAt = failed.nextAttemptAt
        if failed.isRejected { rejectedGeneration = generation }
        // The intent stays where the outcome is unknown: a restart then refreshes at once.
        if failed.outcomeUnknown { intent?.isOver = true } else if !isAnothers { intent = nil }
        switch failed.failure.errorClass {
        case .permanent: state = .reauthorizationRequired
        case .configuration: state = .configurationError
        case .transient: return true
        }
        if !isAnothers { intent = nil }
        latchedFingerprint = failed.fingerprint
        return true
    }

    fileprivate mutating func addToRevocation(_ late: [Revocation.Token]) -> Bool {
        guard state == .revoked else { return false }
        var owed = Revocation(tokens: late + (revocation?.tokens ?? []), attempts: 0, nextAttemptAt: 0)
        owed.hasSkippedRefreshToken = revocation?.hasSkippedRefreshToken ?? false
        revocation = owed
        return true
    }

    fileprivate mutating func revoke() -> Bool {
        guard state != .revoked, state != .notConnected else { return false }
        let owed = tokens?.revocable ?? []
        revocation = owed.isEmpty ? nil : Revocation(tokens: owed, attempts: 0, nextAttemptAt: 0)
        // Other reasons for a new consent leave the refresh token alive.
        let code = lastFailure?.code
        revocation?.isRefreshTokenDead =
            state == .reauthorizationRequired && code != "missing_scope"
            && code.flatMap(IDTokenFault.init(rawValue:)) == nil
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
        revocationOutcome = revocationOutcome ?? owed.outcome(of: step)?.rawValue
        if step.outcome == nil { owed.hasSkippedRefreshToken = true }
        lastFailure = nil
        revocation = owed.tokens.isEmpty ? nil : owed
        return true
    }

    fileprivate mutating func unlatch(isUnattended: Bool) -> Bool {
        switch state {
        case .notConnected, .active: return false
        case .revoked:
            guard isUnattended else { return false }
            revocation = nil
            revocationOutcome = nil
        case .reauthorizationRequired, .configurationError:
            guard isUnattended || tokens?.refreshToken != nil else { return false }
        }
        state = tokens == nil ? .notConnected : .active
        latchedFingerprint = nil
        consecutiveFailures = 0
        nextAttemptAt = nil
        return true
    }
}

extension GrantRecord.Revocation {
    /// Where the grant ends with the access token, one that the provider does not know (any more) has ended nothing: most
    /// often it has only expired, and what the refresh token is good for nobody has heard.
    fileprivate func outcome(of step: GrantChange.RevocationStep) -> RevocationResult? {
        let isOpen = hasSkippedRefreshToken && !isRefreshTokenDead
        return step.outcome == .alreadyInvalid && isOpen ? .notConfirmed : step.outcome
    }
}

extension GrantRecord.Tokens {
    /// An absent refresh token keeps the old one (RFC 6749 section 6).
    init(_ new: TokenSet, sentAt: Moment, scopes: [String], old: GrantRecord.Tokens?) {
        let refreshExpiry = new.refreshTokenLifetime.map { sentAt.wall.saturatingAdd($0) }
        self.init(
            accessToken: new.accessToken, refreshToken: new.refreshToken ?? old?.refreshToken, obtainedAt: sentAt.wall,
            expiresAt: new.lifetime.map { sentAt.wall.saturatingAdd($0) },
            refreshTokenExpiresAt: refreshExpiry
                ?? (new.refreshToken == nil || new.keepsRefreshTokenEnd ? old?.refreshTokenExpiresAt : nil),
            scopes: scopes, type: new.tokenType, proofKey: new.proofKey ?? old?.proofKey)
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
    /// The one token that is to be revoked where these are not wanted and nobody waits for the end; nil: the provider
    /// takes none of them.
    package func unwanted(at provider: ProviderSettings) -> GrantRecord.Revocation.Token? {
        revocable.first { provider.revocation.wants($0.hint) }
    }

    /// Refresh token first (RFC 7009 section 2.1: it ends the access tokens too).
    var revocable: [GrantRecord.Revocation.Token] {
        var owed = [GrantRecord.Revocation.Token(token: accessToken, hint: .accessToken)]
        if let refreshToken {
            owed.insert(.init(token: refreshToken, hint: .refreshToken), at: 0)
        }
        return owed
    }
}
