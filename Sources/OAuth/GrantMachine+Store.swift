// How a GrantMachine makes its changes durable, and what follows when they are.
extension GrantMachine {
    static let commitRetryLimit: Int64 = 30_000
    /// New tokens are stored as soon as the store is back: before others take us for dead.
    static let tokenCommitRetryLimit: Int64 = 4000

    /// Starts the commit of the first change if none is in flight and its time has come.
    mutating func commitNext(_ now: Moment) {
        while !isCommitting, !holdsCommit, let change = changes.first {
            if let commitRetryAt, commitRetryAt > now.monotonic { return }
            commitRetryAt = nil
            if case .forget(let ticket) = change {
                // Another replica may have connected the grant a moment ago: the store says what there is to delete.
                guard record.revision > 0 || !environment.storeIsExclusive else {
                    changes.removeFirst()
                    forgotten(ticket, now: now)
                    continue
                }
                isCommitting = true
                commitAskedAt = now.monotonic
                actions.append(.delete(expectedRevision: record.revision))
                return
            }
            guard var next = change.applied(to: record) else {
                changes.removeFirst()
                dropped(change, now: now)
                continue
            }
            if next.lineage == nil { next.lineage = jitter.name() }
            if let askedAt = change.askedAt {
                next.tokens?.heldFor = max(now.monotonic.saturatingSubtract(askedAt.monotonic), 0)
            }
            candidate = next
            isCommitting = true
            commitAskedAt = now.monotonic
            actions.append(
                .commit(GrantCommit(record: next, expectedRevision: record.revision, dueAt: dueAt(of: next))))
        }
    }

    /// The store is away and a call that replaces what it has not taken is in flight: one result is stored, not two.
    var holdsCommit: Bool {
        guard unstored != nil, commitRetryAt != nil, let call, case .refresh = call.kind else { return false }
        return true
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
        // Whoever was at it is not waited for any more, nor is what he began made again: new tokens or a revocation have
        // ended that.
        if record.intent == nil { foreign = nil }
        if change.bringsTokens { recovery = nil }
        synced(commitAskedAt, now)
        tookEffect(change, now: now)
    }

    private mutating func conflicted(
        _ change: GrantChange, _ written: GrantRecord?, newer: GrantRecord?, now: Moment
    ) {
        if newer == nil, case .forget = change { return committed(change, nil, now: now) }
        if let newer, var written {
            // A store that goes on counting after a deletion says another revision; tokens age with each try.
            if written.revision == 1 { written.revision = newer.revision }
            written.tokens?.heldFor = newer.tokens?.heldFor ?? 0
            // A commit that was reported as failed had been made.
            if newer == written { return committed(change, newer, now: now) }
        }
        if let newer, lostOurs(newer) {
            // What we hold goes over it, with the change.
            record.revision = newer.revision
            actions.append(.note(.storeWentBack))
        } else {
            adopt(newer ?? GrantRecord(), readAt: commitAskedAt, now: now)
        }
        switch change {
        // Somebody else has acted on the grant: decide anew.
        case .intent: changes.removeFirst()
        case .importIntent:
            changes.removeFirst()
            if !imports.isEmpty { imports[0].isBegun = false }
        case .refreshed, .consented, .failed, .importEnded, .created, .lateTokens, .revoke, .revocationStep, .unlatch,
            .forget:
            break
        }
    }

    /// The store has an older state of this same record: a standby took over that had not got the last commits. Its tokens
    /// have been rotated, so they are of no use, and their use may end the grant.
    private func lostOurs(_ found: GrantRecord) -> Bool {
        found.lineage != nil && found.lineage == record.lineage && found.generation < record.generation
    }

    private mutating func commitFailed(_ change: GrantChange, now: Moment) {
        actions.append(.note(.storeFailed))
        let limit = change.bringsTokens ? Self.tokenCommitRetryLimit : Self.commitRetryLimit
        let retryAt = now.monotonic.saturatingAdd(commitBackoff(commitFailures, limit: limit))
        commitFailures += 1
        if change.isExpendable {
            changes.removeFirst()
            storeBlockedUntil = retryAt
            // The failures go on counting over expendable changes, so that the back-off grows; a change that is kept
            // starts with its own.
            expendableFailed(change, now: now)
        } else {
            commitRetryAt = retryAt
            if case .refreshed(let refreshed) = change, refreshed.sent.isRepeatable, changes.count == 1, unstored == nil
            {
                useBeforeStored(now)
            }
        }
        failQueuedCommands()
    }

    private mutating func expendableFailed(_ change: GrantChange, now: Moment) {
        switch change {
        case .intent:
            if usesTokensBeforeStored, isRefreshable, changes.isEmpty, call == nil { sendRefresh(now) }
        case .importIntent:
            endImport("store_unavailable", "The store does not take what the refresh token would bring.")
        case .created(_, let ticket): actions.append(.finish(ticket, .createFailed))
        case .forget(let ticket):
            rebuildCredential()
            actions.append(.finish(ticket, .forgetFailed))
        case .refreshed, .consented, .failed, .importEnded, .lateTokens, .revoke, .revocationStep, .unlatch: break
        }
    }

    /// Who waits behind a change that the store does not take is told, and does not wait for the store.
    private mutating func failQueuedCommands() {
        var kept: [GrantChange] = []
        for change in changes {
            switch change {
            case .forget(let ticket): actions.append(.finish(ticket, .forgetFailed))
            case .created(_, let ticket): actions.append(.finish(ticket, .createFailed))
            case .consented(let tokens, let sentAt, let asked, let floor, let ticket?):
                actions.append(.finish(ticket, .consentNotStored))
                kept.append(.consented(tokens, sentAt: sentAt, from: asked, generationAbove: floor, ticket: nil))
            case .refreshed, .consented, .intent, .failed, .importIntent, .importEnded, .lateTokens, .revoke,
                .revocationStep, .unlatch:
                kept.append(change)
            }
        }
        changes = kept
        while let first = imports.first, !first.isBegun {
            endImport("store_unavailable", "The store does not take what the refresh token would bring.")
        }
        rebuildCredential()
    }

    mutating func commitBackoff(_ failures: Int, limit: Int64) -> Int64 {
        let grown = min(Int64(250) << Int64(min(failures, 10)), limit)
        return grown - jitter.upTo(grown / 4)
    }

    // MARK: Effects

    /// A change is durable.
    private mutating func tookEffect(_ change: GrantChange, now: Moment) {
        switch change {
        case .intent: intentStored(now: now)
        case .importIntent:
            lease?.fence = record.revision
            sendImport(now)
        case .refreshed(let refreshed): refreshStored(refreshed, now: now)
        case .consented(let tokens, let sentAt, let asked, _, let ticket):
            consentStored(tokens, sentAt: sentAt, asked: asked, ticket: ticket, now: now)
        case .created(_, let ticket): actions.append(.finish(ticket, .created))
        case .failed, .importEnded: break
        // Of a latched grant only an import is at work, and nobody refreshed it: now somebody may.
        case .unlatch: if record.intent != nil { readIntent(now, knownSince: syncedAt) }
        case .revoke:
            unstored = nil
            revocationNotBefore = .min
            stopClocks()
            if record.revocation == nil { finishRevocationTickets(.nothingToRevoke) }
            // They can be revoked when the configuration names their provider again.
            if belongsElsewhere { finishRevocationTickets(.failedKeptForRetry) }
        case .lateTokens: revocationNotBefore = .min
        case .revocationStep: revocationAdvanced(now)
        case .forget(let ticket): forgotten(ticket, now: now)
        }
        rebuildCredential()
    }

    private mutating func refreshStored(_ refreshed: GrantChange.Refreshed, now: Moment) {
        let wasInUse = unstored != nil
        unstored = nil
        guard record.state != .revoked else {
            revocationNotBefore = .min
            return
        }
        generationFloor = max(generationFloor, record.generation)
        if wasInUse {
            startClocks(sentAt: refreshed.sentAt)
        } else {
            refreshTookEffect(refreshed, generation: record.generation)
        }
    }

    /// A change had no place on the record that the store holds.
    private mutating func dropped(_ change: GrantChange, now: Moment) {
        switch change {
        case .refreshed:
            actions.append(.note(.lateResultDropped))
            if unstored != nil {
                unstored = nil
                // What the record holds was adopted a while ago, and not looked at while something else was in use.
                readClocks(now, knownSince: nil)
            }
        case .revoke:
            // Another replica has revoked it, or the record is gone.
            if record.revocation == nil { finishRevocationTickets(.nothingToRevoke) }
        case .created(_, let ticket): actions.append(.finish(ticket, .alreadyExists))
        // `answerRevocationTickets` says what has become of it.
        case .consented, .intent, .failed, .importIntent, .importEnded, .lateTokens, .revocationStep, .unlatch, .forget:
            break
        }
        rebuildCredential()
    }
}
