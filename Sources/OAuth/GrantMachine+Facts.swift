// What follows from a GrantMachine's facts, without changing them.
extension GrantMachine {
    /// The record has been read: the state is the grant's, not just the start's.
    package var hasLoaded: Bool { isLoaded }

    /// Tokens are on their way, from the provider or into the store: who drops the machine now may lose the grant.
    package var holdsUnfinishedWork: Bool {
        isRefreshing || call != nil || isCommitting || imports.first?.isBegun == true || holdsUnstoredTokens
    }

    /// A call may have used up a single-use token, and its reply, or that of its repetition, is still to come: who stops
    /// the process now may lose the grant.
    package var awaitsTokens: Bool {
        guard !usesTokensBeforeStored else { return false }
        switch call?.kind {
        case .refresh, .importing: return true
        case .revocation, nil: return isRepeatingCall
        }
    }

    /// What is sent next, or was sent last, asks again for a reply that was lost.
    package var isRepeatingCall: Bool { replay != nil || imports.first?.replay != nil }

    /// Tokens that the provider has given and the store has not taken yet.
    package var holdsUnstoredTokens: Bool { changes.contains(where: \.bringsTokens) || holdsUnreadConsent }

    /// The store lacks something that must survive a restart: tokens, a revocation, a consent.
    package var holdsUnstoredChanges: Bool { isCommitting || !changes.isEmpty || holdsUnreadConsent }

    /// A consent's tokens that wait for the record to be read.
    private var holdsUnreadConsent: Bool {
        inbox.contains {
            if case .consent = $0 { true } else { false }
        }
    }

    /// A driver may drop the machine, and make a new one from the store when the grant is needed or due again.
    package var mayBeUnloaded: Bool {
        isLoaded && load == nil && !awaitsAbandonedRead && waiters.isEmpty && call == nil && replay == nil
            && !isCommitting && changes.isEmpty
            && unstored == nil && refreshTickets.isEmpty && revocationTickets.isEmpty && imports.isEmpty
            // What the breaker for 401s remembers is nowhere else, nor is the back-off of a store that fails.
            && lastRejectionRefreshAt == nil && storeBlockedUntil == .min
            && (rejectedGeneration != record.generation || record.rejectedGeneration == record.generation)
    }

    /// Wall milliseconds at which the grant next wants something done without being asked, by what the store holds; nil:
    /// never. Replicas add their own spread.
    package var dueAt: Int64? { dueAt(of: record) }

    /// The replica whose refresh is waited for.
    package var awaitedInstance: String? { foreign?.intent.instance }

    /// The settings in force.
    package var grantSettings: GrantSettings { settings }

    /// Why a grant is over that has nothing to be refreshed with.
    static let noRefreshToken = "no_refresh_token"

    // MARK: What is current

    var currentTokens: GrantRecord.Tokens? { unstored?.tokens ?? record.tokens }
    var currentGeneration: UInt64 { unstored?.generation ?? record.generation }

    var unattended: UnattendedGrant? {
        switch settings.acquisition {
        case .consent: nil
        case .unattended(let grant): grant
        }
    }

    /// Nobody consents: the grant has tokens as long as the gateway can ask for them.
    package var isUnattended: Bool { unattended != nil }

    /// Changes when something changes that can turn a permanent failure into success: the provider's settings, and,
    /// where nobody consents, how tokens are asked for and with which key.
    var fingerprint: String {
        acquisitionMark.map { "\(provider.fingerprint).\($0)" } ?? provider.fingerprint
    }

    /// While the store is away a refresh is made all the same: whatever becomes of its result, nothing is lost.
    var usesTokensBeforeStored: Bool {
        unattended != nil || provider.rotation == .reusable
    }

    /// The tokens came from another provider, or for another subject, before the configuration changed: they are not
    /// for this one to see.
    var belongsElsewhere: Bool {
        if acquisitionMark != nil || record.acquiredWith != nil {
            return record.tokens != nil && record.acquiredWith != acquisitionMark
        }
        guard let name = record.provider else { return false }
        return name != settings.provider
    }

    var isRefreshable: Bool {
        if unattended != nil { return record.canBeAcquired }
        return record.state == .active && record.tokens?.refreshToken != nil && !belongsElsewhere
    }

    /// An unattended grant that has nothing yet, or nothing that is its own.
    var lacksTokens: Bool {
        guard unattended != nil, record.canBeAcquired else { return false }
        return currentTokens == nil || belongsElsewhere
    }

    // MARK: Plans

    /// How far ahead of expiry a refresh starts: min(skew, half of the lifetime).
    func lead(of tokens: GrantRecord.Tokens) -> Int64 {
        guard let expiry = tokens.expiresAt else { return 0 }
        let lifetime = max(expiry.saturatingSubtract(tokens.obtainedAt), 0)
        return min(max(provider.refreshSkew, 0), lifetime / 2)
    }

    /// A number in 0...limit that is the same wherever the grant is looked at, and another for each grant and
    /// generation: grants that were made together part (checklist D33).
    func spread(_ limit: Int64, generation: UInt64) -> Int64 {
        guard limit > 0 else { return 0 }
        var hash = settings.name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        hash = (hash ^ generation) &* 0x9E37_79B9_7F4A_7C15
        return Int64((hash ^ (hash >> 31)) % (UInt64(limit) + 1))
    }

    func dueAt(of record: GrantRecord) -> Int64? {
        if record.state == .revoked { return record.revocation?.nextAttemptAt }
        let isAcquired = unattended != nil && record.canBeAcquired
        guard record.state == .active || isAcquired else { return nil }
        guard let tokens = record.tokens else {
            return isAcquired
                ? max(record.nextAttemptAt ?? 0, record.intent.map { $0.isOver ? 0 : $0.expiresAt } ?? 0) : nil
        }
        guard isAcquired || tokens.refreshToken != nil else {
            return tokens.expiresAt?.saturatingAdd(environment.storeIsExclusive ? 0 : Self.endTolerance)
        }
        if let intent = record.intent, !intent.isOver { return intent.expiresAt }
        let lead = lead(of: tokens)
        var times: [Int64] = []
        if let expiry = tokens.expiresAt {
            times.append(
                expiry.saturatingSubtract(lead).saturatingAdd(spread(lead / 8, generation: record.generation)))
        }
        if let interval = provider.keepaliveInterval, interval > 0 {
            let spread = spread(interval / 20, generation: record.generation)
            times.append(tokens.obtainedAt.saturatingAdd(interval).saturatingSubtract(spread))
        }
        guard let planned = times.min() else { return record.nextAttemptAt }
        return max(planned, record.nextAttemptAt ?? planned)
    }
}

extension GrantMachine {
    /// For an exchange into another grant's token (RFC 8693); nil: there is none that may be used now.
    package func usableAccessToken(now: Moment) -> Secret? {
        usableCredential(now) == nil ? nil : currentTokens?.accessToken
    }
}

extension GrantSettings {
    /// Tokens that were asked for in another way, or for another subject, have another mark.
    var acquisitionMark: String? {
        guard case .unattended(let grant) = acquisition else { return nil }
        // A description's members are sorted: those of a dictionary have another order in each process.
        let words = "\(grant)".filter { $0 != "[" && $0 != "]" }.split(separator: ",").map(\.trimmed).sorted()
        let values = variables.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
        let parts = [provider] + words + ["scopes"] + scopes.sorted() + ["variables"] + values
        let joined = parts.map { "\($0.utf8.count):\($0)" }.joined()
        return Crypto.base64URL(Crypto.sha256(Array(("token-gateway acquisition\n" + joined).utf8)))
    }
}
