// How a GrantMachine makes its changes durable, and what follows when they are.
extension GrantMachine {
    static let commitRetryLimit: Int64 = 30_000

    // MARK: Reading

    /// The store's answer to `load`; nil: it holds nothing.
    package mutating func recordLoaded(_ found: GrantRecord?, now: Moment) -> [GrantAction] {
        guard let load else { return finish(now) }
        self.load = nil
        let found = found ?? GrantRecord()
        switch load.purpose {
        case .start: firstRecordLoaded(found, now: now)
        case .suspicion(let problem, let sent):
            // A sibling may have rotated the token while ours was on its way (pains 3).
            if found.revision > record.revision || found.revision == 0 { adopt(found, now: now) }
            if record.generation == sent.generation, record.tokens?.refreshToken == sent.refreshToken {
                latch(problem, now: now)
            }
        }
        return finish(now)
    }

    /// The store could not be read. Tried again with back-off.
    package mutating func loadFailed(now: Moment) -> [GrantAction] {
        guard load != nil else { return finish(now) }
        let failures = load?.failures ?? 0
        let retryAt = now.monotonic.saturatingAdd(commitBackoff(failures))
        load?.failures = failures + 1
        load?.retryAt = retryAt
        actions.append(.note(.storeFailed))
        return finish(now)
    }

    private mutating func firstRecordLoaded(_ found: GrantRecord, now: Moment) {
        isLoaded = true
        record = found
        generationFloor = found.generation
        rejectedGeneration = found.rejectedGeneration
        readClocks(now, atStart: true)
        readBackoff(now)
        readRevocationClock(now)
        readIntent(now)
        unlatchIfConfigurationChanged()
        rebuildCredential()
        notedState = state
        let commands = inbox
        inbox = []
        for command in commands { perform(command, now: now) }
    }

    /// Takes over what another has written.
    mutating func adopt(_ newer: GrantRecord, now: Moment) {
        let tokensChanged = newer.generation != record.generation || newer.tokens != record.tokens
        record = newer
        generationFloor = max(generationFloor, newer.generation)
        rejectedGeneration = newer.rejectedGeneration ?? rejectedGeneration
        if tokensChanged {
            replay = nil
            readClocks(now, atStart: false)
            if newer.tokens != nil {
                actions.append(.note(.siblingTokensAdopted(generation: newer.generation)))
                finishRefreshTickets(.refreshed(generation: newer.generation))
            }
        }
        if newer.state != .active { replay = nil }
        readBackoff(now)
        readRevocationClock(now)
        readIntent(now)
        rebuildCredential()
    }

    private mutating func readRevocationClock(_ now: Moment) {
        guard let revocation = record.revocation else { return }
        let wait = revocation.nextAttemptAt.saturatingSubtract(now.wall).clamped(to: 0...RetryAfter.limit)
        revocationNotBefore = now.monotonic.saturatingAdd(wait)
    }

    /// An intent that is ours, from before a restart, or whose writer is dead means that a reply may be lost: refresh
    /// at once, while the provider's grace lasts. Another's that is alive means: wait for its result.
    private mutating func readIntent(_ now: Moment) {
        foreignIntentUntil = nil
        recovery = nil
        guard record.state == .active, let intent = record.intent else { return }
        if environment.storeIsExclusive || intent.instance == environment.instance {
            if call == nil, replay == nil, !isRefreshing { recovery = .recovery }
            return
        }
        let left = intent.expiresAt.saturatingSubtract(now.wall).clamped(to: 0...600_000)
        foreignIntentUntil = now.monotonic.saturatingAdd(left)
        recovery = .recovery
    }

    // MARK: Committing

    /// Starts the commit of the first change if none is in flight and its time has come.
    mutating func commitNext(_ now: Moment) {
        while !isCommitting, let change = changes.first {
            if let commitRetryAt, commitRetryAt > now.monotonic { return }
            commitRetryAt = nil
            if case .forget(let ticket) = change {
                guard record.revision > 0 else {
                    changes.removeFirst()
                    forgotten(ticket)
                    continue
                }
                isCommitting = true
                actions.append(.delete(expectedRevision: record.revision))
                return
            }
            guard let next = change.applied(to: record) else {
                changes.removeFirst()
                dropped(change, now: now)
                continue
            }
            candidate = next
            isCommitting = true
            actions.append(.commit(GrantCommit(record: next, expectedRevision: record.revision)))
        }
    }

    /// The store's answer to `commit` or `delete`.
    package mutating func commitFinished(_ result: CommitResult, now: Moment) -> [GrantAction] {
        guard isCommitting, let change = changes.first else { return finish(now) }
        isCommitting = false
        var written = candidate
        candidate = nil
        switch result {
        case .committed: committed(change, written, now: now)
        case .committedAs(let revision):
            written?.revision = revision
            committed(change, written, now: now)
        case .conflict(let newer): conflicted(change, written, newer: newer, now: now)
        case .failed: commitFailed(change, now: now)
        }
        return finish(now)
    }

    private mutating func committed(_ change: GrantChange, _ written: GrantRecord?, now: Moment) {
        changes.removeFirst()
        commitFailures = 0
        commitRetryAt = nil
        storeBlockedUntil = .min
        if let written { record = written }
        tookEffect(change, now: now)
    }

    private mutating func conflicted(
        _ change: GrantChange, _ written: GrantRecord?, newer: GrantRecord?, now: Moment
    ) {
        if let newer, let written, newer == written {
            // A commit that was reported as failed had been made.
            return committed(change, written, now: now)
        }
        adopt(newer ?? GrantRecord(), now: now)
        if case .intent = change {
            // Somebody else has acted on the grant: decide anew.
            changes.removeFirst()
        }
    }

    private mutating func commitFailed(_ change: GrantChange, now: Moment) {
        actions.append(.note(.storeFailed))
        let retryAt = now.monotonic.saturatingAdd(commitBackoff(commitFailures))
        commitFailures += 1
        if change.isExpendable {
            changes.removeFirst()
            storeBlockedUntil = retryAt
            // The failures go on counting over expendable changes, so that the back-off grows; a change that is kept
            // starts with its own.
            return
        }
        commitRetryAt = retryAt
        switch change {
        case .consented(let tokens, let sentAt, let asked, let floor, let ticket?):
            actions.append(.finish(ticket, .consentNotStored))
            changes[0] = .consented(tokens, sentAt: sentAt, from: asked, generationAbove: floor, ticket: nil)
        case .forget(let ticket):
            changes.removeFirst()
            commitRetryAt = nil
            rebuildCredential()
            actions.append(.finish(ticket, .forgetFailed))
        case .refreshed, .consented, .intent, .failed, .lateTokens, .revoke, .revocationStep, .unlatch: break
        }
    }

    private mutating func commitBackoff(_ failures: Int) -> Int64 {
        let grown = min(Int64(250) << Int64(min(failures, 10)), Self.commitRetryLimit)
        return grown - jitter.upTo(grown / 4)
    }

    // MARK: Effects

    /// A change is durable.
    private mutating func tookEffect(_ change: GrantChange, now: Moment) {
        switch change {
        case .intent:
            // A consent or a revocation that came meanwhile takes precedence.
            if changes.isEmpty { sendRefresh(now) }
        case .refreshed(let tokens, let sent, let sentAt, _):
            refreshStored(tokens, sent: sent, sentAt: sentAt, now: now)
        case .consented(let tokens, let sentAt, _, _, let ticket):
            consentStored(tokens, sentAt: sentAt, ticket: ticket, now: now)
        case .failed, .unlatch: break
        case .revoke:
            revocationNotBefore = .min
            readClocks(now, atStart: false)
            if record.revocation == nil { finishRevocationTickets(.nothingToRevoke) }
            // They can be revoked when the configuration names their provider again.
            if belongsElsewhere { finishRevocationTickets(.failedKeptForRetry) }
        case .lateTokens: revocationNotBefore = .min
        case .revocationStep: revocationAdvanced()
        case .forget(let ticket): forgotten(ticket)
        }
        rebuildCredential()
    }

    private mutating func refreshStored(
        _ tokens: TokenSet, sent: GrantChange.SentRefresh, sentAt: Moment, now: Moment
    ) {
        guard record.state != .revoked else {
            revocationNotBefore = .min
            return
        }
        startClocks(sentAt: sentAt)
        notBefore = .min
        generationFloor = max(generationFloor, record.generation)
        generationFromRejection =
            refreshReason == .rejected || rejectedGeneration == sent.generation ? record.generation : nil
        let rotated = tokens.refreshToken.map { $0 != sent.refreshToken } ?? false
        actions.append(.note(.refreshSucceeded(generation: record.generation, rotated: rotated)))
        let lost = settings.scopes.filter { !(record.tokens?.scopes ?? []).contains($0) }
        if tokens.scopes != nil, !lost.isEmpty { actions.append(.note(.scopesLost(lost))) }
        finishRefreshTickets(
            record.state == .active
                ? .refreshed(generation: record.generation)
                : .refreshFailed(code: record.lastFailure?.code ?? "", detail: record.lastFailure?.detail ?? ""))
    }

    /// A change had no place on the record that the store holds.
    private mutating func dropped(_ change: GrantChange, now: Moment) {
        switch change {
        case .refreshed: actions.append(.note(.lateResultDropped))
        case .revoke:
            // Another replica has revoked it, or the record is gone.
            if record.revocation == nil { finishRevocationTickets(.nothingToRevoke) }
        case .consented, .intent, .failed, .lateTokens, .revocationStep, .unlatch, .forget: break
        }
        rebuildCredential()
    }
}
