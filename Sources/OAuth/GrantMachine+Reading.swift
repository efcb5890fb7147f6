// What a GrantMachine takes over from the store.
extension GrantMachine {
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
}
