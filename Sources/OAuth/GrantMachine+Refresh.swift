// When a GrantMachine refreshes, and what it makes of the answer.
extension GrantMachine {
    /// Replays of one lost reply.
    static let replayLimit = 2
    static let backoffBase: Int64 = 1000
    /// A replica whose credentials the provider refuses leaves refreshes to the others for so long.
    static let refusedCredentialsPause: Int64 = 600_000
    /// Where there is no other, a refused client is tried so often, with another of its grants.
    static let refusedClientPause: Int64 = 60_000
    static let backoffLimit: Int64 = 300_000
    /// A token that lived this long was accepted somewhere: its rejection is no strike.
    static let strikeMemory: Int64 = 600_000
    static let rejectionGateLimit: Int64 = 3_600_000

    // MARK: Gates

    /// No refresh before this time, but for an operator's command.
    var refreshGate: Int64 {
        max(
            notBefore, usesTokensBeforeStored ? .min : storeBlockedUntil, intervalGate, foreign?.until ?? .min,
            ownCredentialsRefusedUntil)
    }

    var intervalGate: Int64 {
        guard let lastCallAt, provider.minimumRefreshInterval > 0 else { return .min }
        return lastCallAt.saturatingAdd(provider.minimumRefreshInterval)
    }

    /// No refresh because of a 401 before this time: the cool-down, doubled with each fresh token that was rejected too.
    var rejectionGate: Int64 {
        guard let lastRejectionRefreshAt else { return .min }
        // Zero switches the brake off, also the one that grows.
        let base = provider.rejectionCooldown
        let grown = base.multipliedReportingOverflow(by: 1 << Int64(min(strikes, 20)))
        let wait =
            grown.overflow ? Self.rejectionGateLimit : min(grown.partialValue, max(base, Self.rejectionGateLimit))
        return lastRejectionRefreshAt.saturatingAdd(wait)
    }

    /// A refresh that a 401 asked for has failed for now: it is still owed.
    var owesRetryAfterRejection: Bool {
        record.consecutiveFailures > 0 && rejectedGeneration == currentGeneration
    }

    /// Why a refresh is to start now; nil: it is not.
    func dueRefresh(_ now: Moment) -> GrantFact.RefreshReason? {
        guard isRefreshable, call == nil, !isWaitingForSibling(now) else { return nil }
        guard usesTokensBeforeStored || storeBlockedUntil <= now.monotonic else { return nil }
        if !refreshTickets.isEmpty { return .command }
        guard refreshGate <= now.monotonic else { return nil }
        if let recovery { return recovery }
        let isWaitedFor = !waiters.isEmpty
        if lacksTokens { return isDormant && !isWaitedFor ? nil : isRetry ?? .acquisition }
        if isWaitedFor, usableCredential(now) == nil { return isRetry ?? .expiry }
        if isWaitedFor, rejectionGate <= now.monotonic {
            let generation = currentGeneration
            if waiters.values.contains(where: { $0 == .some(generation) }) { return .rejected }
        }
        if owesRetryAfterRejection { return .retry }
        if let refreshAt, refreshAt <= now.monotonic { return isRetry ?? .expiry }
        if let keepaliveAt, keepaliveAt <= now.monotonic { return isRetry ?? .keepalive }
        return nil
    }

    private var isRetry: GrantFact.RefreshReason? {
        record.consecutiveFailures > 0 ? .retry : nil
    }

    // MARK: 401

    mutating func generationRejected(_ generation: UInt64, now: Moment) {
        guard rejectedGeneration != generation else { return }
        rejectedGeneration = generation
        let isFresh = now.monotonic.saturatingSubtract(obtainedAt) < Self.strikeMemory
        if generationFromRejection == generation, isFresh {
            strikes += 1
            actions.append(.note(.freshTokenRejected(strikes: strikes)))
        } else {
            strikes = 0
        }
        rebuildCredential()
    }

    // MARK: The call

    /// Writes the intent down; the call follows when it is durable. Where the store is known to be away and nothing can
    /// be lost, the call is made at once.
    mutating func startRefresh(_ reason: GrantFact.RefreshReason, now: Moment) {
        refreshReason = reason
        recovery = nil
        foreign = nil
        replay = nil
        if reason == .rejected { lastRejectionRefreshAt = now.monotonic }
        actions.append(.note(.refreshStarted(reason)))
        lease = Lease(startedAt: now.monotonic, term: leaseTerm, fence: 0, reason: reason)
        if usesTokensBeforeStored, unstored != nil || storeBlockedUntil > now.monotonic { return sendRefresh(now) }
        changes.append(
            .intent(newIntent(now), generation: record.generation, isUnattended: unattended != nil))
    }

    /// The intent is durable.
    mutating func intentStored(now: Moment) {
        lease?.fence = record.revision
        // A consent or a revocation that came meanwhile takes precedence.
        guard changes.isEmpty, call == nil else { return }
        guard leaseAllowsCall(now) else {
            // The store took so long that others may soon take us for dead: the intent is written anew.
            if isRefreshable, let reason = lease?.reason { startRefresh(reason, now: now) }
            return
        }
        sendRefresh(now)
    }

    /// Sends the current refresh token: after its intent is durable, or again after a lost reply.
    mutating func sendRefresh(_ now: Moment) {
        // A reload may have named another provider since this refresh began: it must not see the token.
        guard isRefreshable else {
            replay = nil
            return
        }
        replay?.dueAt = .max
        lastCallAt = now.monotonic
        let token = unattended == nil ? record.tokens?.refreshToken : nil
        let sent = GrantChange.SentRefresh(
            generation: record.generation, refreshToken: token, fence: lease?.fence ?? 0,
            isRepeatable: usesTokensBeforeStored, acquiredWith: acquisitionMark,
            replaces: unattended == nil ? nil : record.tokens?.accessToken, provider: settings.provider)
        call = Call(id: newCallID(), kind: .refresh(sent))
        if let unattended {
            request(.unattended(unattended, scopes: settings.scopes))
        } else if let token {
            request(.refresh(refreshToken: token, scopes: settings.scopes))
        }
    }

    mutating func newCallID() -> CallID {
        defer { nextCall += 1 }
        return CallID(owner: .grant(settings.name), number: nextCall)
    }

    /// Hands the call that has just begun to the provider.
    mutating func request(_ kind: TokenCall.Kind, isImport: Bool = false) {
        guard let call else { return }
        actions.append(
            .requestTokens(
                TokenCall(
                    id: call.id, kind: kind, isImport: isImport, variables: templateVariables,
                    proofKey: isImport ? nil : record.tokens?.proofKey, identity: expectedIdentity)))
    }

    /// What was captured, under what the operator has set: his word stands.
    package var templateVariables: [String: String] {
        record.captured.merging(ownVariables) { _, own in own }
    }

    /// What the operator has set, without what was captured.
    package var ownVariables: [String: String] {
        settings.variables.merging(record.variables) { _, own in own }
    }

    /// A refreshed id_token, where one comes, must be of the same account (OpenID Connect Core section 12.2).
    private var expectedIdentity: IdentityExpectation? {
        guard settings.scopes.contains("openid"), record.state != .notConnected else { return nil }
        return IdentityExpectation(account: record.account)
    }

    /// A refresh ended. Answers to abandoned calls are dropped.
    package mutating func tokenCallFinished(_ id: CallID, _ report: TokenCallReport, now: Moment) -> [GrantAction] {
        guard let call, call.id == id else {
            actions.append(.note(.lateResultDropped))
            return finish(now)
        }
        switch call.kind {
        case .revocation: return finish(now)
        case .importing(let token):
            self.call = nil
            importCallFinished(token, report, now: now)
        case .refresh(let sent):
            self.call = nil
            switch report.result {
            case .success(let tokens): refreshSucceeded(tokens, sent: sent, sentAt: report.sentAt, now: now)
            case .failure(let problem): refreshFailed(problem, sent: sent, now: now)
            }
        }
        return finish(now)
    }

    private mutating func refreshSucceeded(
        _ tokens: TokenSet, sent: GrantChange.SentRefresh, sentAt: Moment, now: Moment
    ) {
        replay = nil
        // `forget` may yet fail, and then these are the grant's only tokens.
        if changes.contains(.revoke) || projected.state == .revoked {
            changes.append(.lateTokens(tokens.revocable))
            return
        }
        var tokens = tokens
        // An unattended grant asks anew each time.
        if unattended != nil { tokens.refreshToken = nil }
        if tokens.lifetime == nil { actions.append(.note(.lifetimeUnknown)) }
        var refreshed = GrantChange.Refreshed(
            tokens: tokens, sent: sent, sentAt: sentAt, requiredScopes: settings.requiredScopes,
            scopes: settings.scopes, scopesBefore: currentTokens?.scopes)
        // A result that the store has not taken is replaced; a refresh token that came with it is not lost.
        if sent.isRepeatable, !isCommitting, case .refreshed(let older)? = changes.last {
            refreshed.tokens.refreshToken = tokens.refreshToken ?? older.tokens.refreshToken
            refreshed.publishedAs = older.publishedAs
            changes.removeLast()
        }
        changes.append(.refreshed(refreshed))
        if sent.isRepeatable, sent.fence == 0 { useBeforeStored(now) }
    }

    /// The store is away and the access token is good: it is used from memory, since nothing is lost if it is lost.
    /// A refresh token that came with it is used only when it is durable.
    mutating func useBeforeStored(_ now: Moment) {
        guard case .refreshed(var refreshed)? = changes.last, refreshed.sent.isRepeatable, !isStopped else { return }
        guard let applied = GrantChange.refreshed(refreshed).applied(to: record), applied.state == .active else {
            return
        }
        guard var tokens = applied.tokens else { return }
        tokens.refreshToken = record.tokens?.refreshToken
        refreshed.publishedAs = max(currentGeneration, generationFloor) + 1
        changes[changes.count - 1] = .refreshed(refreshed)
        unstored = Unstored(tokens: tokens, generation: refreshed.publishedAs)
        generationFloor = max(generationFloor, refreshed.publishedAs)
        actions.append(.note(.usedBeforeStored(generation: refreshed.publishedAs)))
        refreshTookEffect(refreshed, generation: refreshed.publishedAs)
        rebuildCredential()
    }

    /// New tokens are in use: durable, or from memory.
    mutating func refreshTookEffect(_ refreshed: GrantChange.Refreshed, generation: UInt64) {
        startClocks(sentAt: refreshed.sentAt)
        notBefore = .min
        ownCredentialsRefusedUntil = .min
        record.consecutiveFailures = 0
        isDormant = false
        generationFromRejection =
            refreshReason == .rejected || rejectedGeneration == refreshed.sent.generation ? generation : nil
        let tokens = refreshed.tokens
        let rotated = tokens.refreshToken.map { $0 != refreshed.sent.refreshToken } ?? false
        actions.append(.note(.refreshSucceeded(generation: generation, rotated: rotated)))
        noteLostScopes(since: refreshed.scopesBefore)
        finishRefreshTickets(
            record.state == .active || unstored != nil
                ? .refreshed(generation: generation)
                : .refreshFailed(code: record.lastFailure?.code ?? "", detail: record.lastFailure?.detail ?? ""))
    }

    /// Told once: the scopes that were granted until now, not those that never were.
    private mutating func noteLostScopes(since before: [String]?) {
        let missing = currentTokens?.lacking(of: settings.scopes) ?? []
        let lost = missing.filter { before?.contains($0) ?? true }
        if !lost.isEmpty { actions.append(.note(.scopesLost(lost))) }
    }
}
