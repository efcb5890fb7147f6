// How a GrantMachine makes its changes durable, and what follows when they are.
extension GrantMachine {
    static let commitRetryLimit: Int64 = 30_000
    /// New tokens are stored as soon as the store is back: before others take us for dead.
    static let tokenCommitRetryLimit: Int64 = 4000

    // MARK: Reading

    mutating func beginLoad(_ purpose: Load.Purpose, _ now: Moment) {
        load = Load(purpose: purpose, askedAt: now.monotonic)
        askStore(now)
    }

    mutating func askStore(_ now: Moment) {
        load?.retryAt = nil
        load?.askedAt = now.monotonic
        load?.isAsked = !awaitsAbandonedRead
        if !awaitsAbandonedRead { actions.append(.load) }
    }

    /// It was the answer to a read that is of no interest any more: what waits for that is asked now.
    private mutating func passedOver(_ now: Moment) -> Bool {
        guard awaitsAbandonedRead else { return false }
        awaitsAbandonedRead = false
        if let load, !load.isAsked, load.retryAt == nil { askStore(now) }
        return true
    }

    /// The store's answer to `load`; nil: it holds nothing.
    package mutating func recordLoaded(_ found: GrantRecord?, now: Moment) -> [GrantAction] {
        guard !passedOver(now), let load else { return finish(now) }
        self.load = nil
        let found = found ?? GrantRecord()
        switch load.purpose {
        case .start: firstRecordLoaded(found, readAt: load.askedAt, now: now)
        case .takeOver:
            let awaited = foreign?.intent
            readAgain(found, readAt: load.askedAt, now: now)
            if foreign?.intent == awaited { takeOverRead(now) }
        case .suspicion(let problem, let sent):
            // A sibling may have rotated the token while ours was on its way (pains 3).
            readAgain(found, readAt: load.askedAt, now: now)
            if record.generation == sent.generation, record.tokens?.refreshToken == sent.refreshToken {
                latch(problem, now: now)
            }
        case .revocation(let ticket):
            readAgain(found, readAt: load.askedAt, now: now)
            revokeAsKnown(ticket)
        }
        return finish(now)
    }

    private mutating func readAgain(_ found: GrantRecord, readAt: Int64, now: Moment) {
        guard isComparable(found, readAt: readAt) else { return }
        if isNews(found) || found.revision == 0 { adopt(found, readAt: readAt, now: now) }
        synced(readAt, now)
    }

    /// The store could not be read. Tried again with back-off; who commanded something is told now, since a command that
    /// is obeyed when nobody expects it any more does harm. What a consent brought is kept.
    package mutating func loadFailed(now: Moment) -> [GrantAction] {
        guard !passedOver(now), let failed = load else { return finish(now) }
        if case .revocation(let ticket) = failed.purpose {
            load = nil
            actions.append(.note(.storeFailed))
            // What is owed already is known without the store, and is tried. Whether there is more to revoke is not.
            revocationNotBefore = .min
            actions.append(.finish(ticket, .revocationNotDone))
            return finish(now)
        }
        let failures = load?.failures ?? 0
        let retryAt = now.monotonic.saturatingAdd(commitBackoff(failures, limit: Self.commitRetryLimit))
        load?.failures = failures + 1
        load?.isAsked = false
        load?.retryAt = retryAt
        actions.append(.note(.storeFailed))
        finishRefreshTickets(.refreshFailed(code: "store_unavailable", detail: "The grant's record cannot be read."))
        failInbox()
        return finish(now)
    }

    private mutating func failInbox() {
        let commands = inbox
        inbox = []
        for command in commands {
            switch command {
            case .create(_, let ticket): actions.append(.finish(ticket, .createFailed))
            case .importToken(_, let ticket):
                actions.append(
                    .finish(
                        ticket,
                        .importFailed(code: "store_unavailable", detail: "The grant's record cannot be read.")))
            case .refresh(let ticket):
                actions.append(
                    .finish(
                        ticket,
                        .refreshFailed(code: "store_unavailable", detail: "The grant's record cannot be read.")))
            case .consent(let tokens, let sentAt, let ticket):
                if let ticket { actions.append(.finish(ticket, .consentNotStored)) }
                inbox.append(.consent(tokens, sentAt: sentAt, nil))
            case .revoke(let ticket): actions.append(.finish(ticket, .revocationNotDone))
            case .forget(let ticket): actions.append(.finish(ticket, .forgetFailed))
            }
        }
    }

    /// What another has written after what we know. The generation counts for itself: a store that lost its last commits
    /// in a failover counts revisions anew.
    func isNews(_ found: GrantRecord) -> Bool {
        found.revision > record.revision || found.lineage == record.lineage && found.generation > record.generation
    }

    /// Which of two records is newer their revisions say. Of a record and none it is the time: a deletion leaves nothing
    /// behind, and what the store was asked before it told us what we know may be from before that.
    func isComparable(_ found: GrantRecord?, readAt: Int64) -> Bool {
        (found?.revision ?? 0 > 0) == (record.revision > 0) || readAt >= toldAt
    }

    /// What we know was deleted; `newer` is nothing, or what began after that.
    private func isOfAnotherLife(_ newer: GrantRecord) -> Bool {
        guard record.revision > 0 else { return false }
        if newer.revision == 0 { return true }
        guard let known = record.lineage, let found = newer.lineage else { return false }
        return known != found
    }

    private mutating func firstRecordLoaded(_ found: GrantRecord, readAt: Int64, now: Moment) {
        record = found
        generationFloor = found.generation
        rejectedGeneration = found.rejectedGeneration
        toldAt = now.monotonic
        readClocks(now, knownSince: nil)
        isLoaded = true
        readBackoff(now)
        readRevocationClock(now)
        readIntent(now, knownSince: nil)
        syncedIntent = found.intent
        syncedAt = found.intent == nil ? readAt : nil
        // Known from a machine of before: ours are no better than those that were refused.
        if ownCredentialsRefusedUntil <= now.monotonic { unlatchIfConfigurationChanged() }
        rebuildCredential()
        notedState = state
        let commands = inbox
        inbox = []
        for command in commands { perform(command, now: now) }
    }

    /// Takes over what another has written.
    mutating func adopt(_ newer: GrantRecord, readAt: Int64, now: Moment) {
        let tokensChanged = newer.generation != record.generation || newer.tokens != record.tokens
        if isOfAnotherLife(newer) {
            if newer.tokens != nil { finishRefreshTickets(.refreshed(generation: newer.generation)) }
            forgottenElsewhere()
        }
        // Somebody else has taken over, or has ended what we began: the token that we would send again is his to send.
        if newer.intent?.instance != environment.instance { replay = nil }
        record = newer
        generationFloor = max(generationFloor, newer.generation)
        rejectedGeneration = newer.rejectedGeneration ?? rejectedGeneration
        if tokensChanged {
            replay = nil
            if unstored == nil { readClocks(now, knownSince: newer.tokens?.origin?.fence == 0 ? nil : syncedAt) }
            if newer.tokens != nil {
                actions.append(.note(.siblingTokensAdopted(generation: newer.generation)))
                finishRefreshTickets(.refreshed(generation: newer.generation))
            }
        }
        if newer.state != .active { replay = nil }
        readBackoff(now)
        readRevocationClock(now)
        readIntent(now, knownSince: syncedAt)
        synced(readAt, now)
        unlatchIfOnlyOthersWereRefused(now)
        rebuildCredential()
    }

    // MARK: Committing

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

    private mutating func commitBackoff(_ failures: Int, limit: Int64) -> Int64 {
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
