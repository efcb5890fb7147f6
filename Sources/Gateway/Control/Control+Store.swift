import Console
import Logging
import OAuth
import Reactor
import Telemetry
import TokenStore

/// Calls to the store, and what their failures mean.
extension Control {
    /// Runs `work` on the store's thread and `done` here with its result.
    func withStore<Value: Sendable>(
        _ operation: StoreOperation, _ work: @escaping @Sendable (any TokenStore) throws(StoreError) -> Value,
        then done: @escaping (Result<Value, StoreError>) -> Void
    ) {
        guard let store else {
            done(.failure(StoreError(.closed, "the configuration has no store")))
            return
        }
        let request = nextStoreRequest
        nextStoreRequest += 1
        let box = ResultBox<Result<Value, StoreError>>()
        let started = MonotonicClock.nanoseconds()
        storeAnswers[request] = { [unowned self] in
            guard let result = box.take() else { return }
            counters.storeAnswered(
                operation, nanoseconds: MonotonicClock.nanoseconds() - started, failed: result.failure != nil)
            storeAnswered(operation, result.failure)
            done(result)
        }
        let mailbox = mailbox
        store.perform { store in
            do throws(StoreError) {
                box.fill(.success(try work(store)))
            } catch {
                box.fill(.failure(error))
            }
            mailbox.post(.storeAnswered(request: request))
        }
    }

    func storeAnswered(_ operation: StoreOperation, _ error: StoreError?) {
        switch storeHealth.answered(isWrite: operation.isWrite, error) {
        case .none: break
        case .failed(let reason):
            logger.error("the store failed", metadata: ["reason": "\(reason)"])
            probeStore()
        case .works:
            logger.notice("the store works again")
            storeCameBack()
        }
    }

    /// While something is wrong the store is tried every second: nothing else may come to write.
    private func probeStore() {
        guard !isProbingStore, store != nil else { return }
        isProbingStore = true
        loop.schedule(after: 1000) { [unowned self] in
            isProbingStore = false
            guard !storeHealth.isWorking else { return }
            withStore(.writeCheck) { store throws(StoreError) in
                try store.checkWritable()
            } then: { [unowned self] _ in
                if !storeHealth.isWorking { probeStore() }
            }
        }
    }

    /// The database seems to be away: whoever asks about readiness is not to wait for the next call to find out.
    func confirmStore() {
        guard storeHealth.isWorking, !isProbingStore else { return }
        withStore(.writeCheck) { store throws(StoreError) in
            try store.checkWritable()
        } then: { _ in
        }
    }

    /// What had to wait for the store goes on, and what others did meanwhile is looked up.
    func storeCameBack() {
        for name in Array(grants.keys) {
            guard let entry = grants[name] else { continue }
            perform(name, entry.machine.storeWorksAgain(now: moment))
        }
        perform(due.started(now: moment))
        compareRevisions()
    }

    // MARK: A grant's record

    func load(_ grant: String) {
        withStore(.read) { store throws(StoreError) in
            try store.read(grant: grant)
        } then: { [unowned self] result in
            guard let entry = grants[grant] else { return }
            recordRead(entry, result)
            let isFirst = !entry.isRead
            entry.isRead = true
            if isFirst, entry.template == nil { unreadFileGrants -= 1 }
            fileGrantWasRead()
        }
    }

    private func recordRead(_ entry: GrantEntry, _ result: Result<StoredRecord?, StoreError>) {
        let grant = entry.name
        switch result {
        case .success(nil):
            storeHealth.recordRead(grant)
            if entry.template != nil, !entry.isBeingCreated {
                vanish(entry)
                return
            }
            perform(grant, entry.machine.recordLoaded(nil, now: moment))
            ended(entry, reading: .read)
        case .success(let stored?):
            guard let record = GrantRecord(payload: stored.payload, revision: stored.generation) else {
                unreadable(grant, Self.unreadableContent)
                perform(grant, entry.machine.loadFailed(now: moment))
                ended(entry, reading: .failed)
                return
            }
            storeHealth.recordRead(grant)
            entry.note(record)
            if let refusal = providers[entry.providerName]?.refusals.refusal(
                grant: grant, variables: entry.variables, now: moment.monotonic)
            {
                entry.machine.remember(refusal)
            }
            var actions = entry.machine.recordLoaded(record, now: moment)
            if due.active[grant] != nil { actions += entry.machine.readBecauseDue(now: moment) }
            perform(grant, actions)
            tellOfDeadIntent(record, entry)
            ended(entry, reading: .read)
        case .failure(let error):
            if error.concernsOneRecord { unreadable(grant, error.message) }
            perform(grant, entry.machine.loadFailed(now: moment))
            ended(entry, reading: .failed)
        }
    }

    func unreadable(_ grant: String, _ reason: String) {
        guard storeHealth.recordUnreadable(grant, reason) else { return }
        logger.error(
            "the stored record of a grant cannot be read", metadata: ["grant": "\(grant)", "reason": "\(reason)"])
    }

    private func ended(_ entry: GrantEntry, reading result: GrantEntry.ReadResult) {
        let waiting = entry.whenRead
        entry.whenRead = []
        for done in waiting { done(result) }
        if result == .failed { restUnread(entry) }
        settleTemplated(entry)
    }

    func commit(_ grant: String, _ commit: GrantCommit) {
        let payload = commit.record.encoded()
        let expected = commit.expectedRevision
        let record = commit.record
        let terms = terms(of: commit, grant)
        withStore(.commit) { store throws(StoreError) in
            try store.commit(grant: grant, payload: payload, ifGeneration: expected, terms: terms)
        } then: { [unowned self] result in
            guard let entry = grants[grant] else { return }
            let outcome: CommitResult
            switch result {
            case .success(.full(let count)):
                entry.siblings = count
                outcome = .failed
            case .success(.committed(let generation)):
                entry.note(record)
                due.changed(grant)
                outcome = .committedAs(revision: generation)
            case .success(.conflict(let current)): outcome = conflict(grant, current)
            case .failure:
                outcome = .failed
            }
            perform(grant, entry.machine.commitFinished(outcome, now: moment))
            settleTemplated(entry)
        }
    }

    private func terms(of commit: GrantCommit, _ grant: String) -> CommitTerms {
        var terms = CommitTerms(state: GrantStateLabel(commit.record.state).rawValue)
        guard let entry = grants[grant], let name = entry.template else { return terms }
        terms.dueAt = commit.dueAt
        if entry.isBeingCreated, let template = templates[name] {
            terms.room = GrantRoom(prefix: TemplatedName.prefix(of: name), limit: template.maxGrants)
        }
        return terms
    }

    /// Another has written first. What this version of the program cannot read is not gone: a newer replica may have
    /// written it, and the change waits until it can be made.
    private func conflict(_ grant: String, _ current: StoredRecord?) -> CommitResult {
        guard let current else { return .conflict(nil) }
        guard let record = record(current) else {
            unreadable(grant, Self.unreadableContent)
            return .failed
        }
        return .conflict(record)
    }

    private static let unreadableContent = "its content is not a grant's record"

    func record(_ stored: StoredRecord) -> GrantRecord? {
        GrantRecord(payload: stored.payload, revision: stored.generation)
    }

    func delete(_ grant: String, _ revision: UInt64) {
        withStore(.commit) { store throws(StoreError) in
            try store.remove(grant: grant, ifGeneration: revision)
        } then: { [unowned self] result in
            guard let entry = grants[grant] else { return }
            let outcome: CommitResult =
                switch result {
                case .success(.removed), .success(.absent): .committed
                case .success(.conflict(let current)): conflict(grant, current)
                case .failure: .failed
                }
            perform(grant, entry.machine.commitFinished(outcome, now: moment))
            settleTemplated(entry)
        }
    }
}

extension StoreOperation {
    var isWrite: Bool {
        switch self {
        case .read: false
        case .commit, .writeCheck, .consent: true
        }
    }
}

extension StoreError {
    /// False for what is wrong with one call or one row: the store itself works.
    var concernsTheWholeStore: Bool { kind != .invalid && !concernsOneRecord }

    var concernsOneRecord: Bool { kind == .unknownKey || kind == .corrupt }
}
