import Logging
import OAuth
import Reactor
import Telemetry
import TokenStore

/// What is on its way because of news.
struct NewsState {
    /// Grants whose records others have changed and that are still to be read.
    var toRead: Set<String> = []
    var isReading = false
    var isComparing = false
    /// Something may have been missed after the comparison that goes on had begun.
    var mustCompareAgain = false
    var pollTimer: ControlLoop.Token?
    var hasFailed = false

    static let page = 64
    static let comparePage = 500
    static let pollInterval: UInt64 = 10_000
}

/// Several replicas on one store: what others changed reaches the machines here.
extension Control {
    /// Begins the slow comparison that catches what news may have missed.
    func watchOthers() {
        guard store?.isShared == true, news.pollTimer == nil else { return }
        news.pollTimer = loop.schedule(after: NewsState.pollInterval) { [unowned self] in
            news.pollTimer = nil
            // One that goes on is as good.
            if !news.isComparing { compareRevisions() }
            watchOthers()
        }
    }

    func newsArrived(_ arrived: StoreNews) {
        if news.hasFailed {
            news.hasFailed = false
            logger.notice("news of other replicas comes again")
        }
        if !arrived.presenceIsKnown { confirmStore() }
        for (grant, revision) in arrived.changes { changedElsewhere(grant, revision) }
        if arrived.mayHaveMissedSome { compareRevisions() }
        let gone = presence.reported(arrived.instances, isKnown: arrived.presenceIsKnown)
        for instance in gone {
            logger.notice("a replica is gone", metadata: ["instance": "\(instance)"])
            for grant in Array(grants.keys) {
                guard let entry = grants[grant], entry.machine.hasLoaded else { continue }
                perform(grant, entry.machine.instanceGone(instance, now: moment))
            }
        }
        readChanged()
    }

    func newsFailed(_ error: StoreError) {
        _ = presence.reported([], isKnown: false)
        guard !news.hasFailed else { return }
        news.hasFailed = true
        logger.warning("no news of other replicas can be had", metadata: ["reason": "\(error)"])
    }

    /// The store names a revision of a grant that is not ours: an echo of our own commit is none.
    private func changedElsewhere(_ grant: String, _ revision: UInt64) {
        loading.absent[grant] = nil
        due.changed(grant)
        if let entry = grants[grant] {
            // News may be older than what we have; a removal has no revision.
            if entry.revision < revision || (revision == 0 && entry.revision > 0) || !entry.isRead {
                news.toRead.insert(grant)
            }
        } else if let outstanding = loading.outstanding[grant], outstanding.revision != revision {
            // Nobody needs it in this moment; workers that hold something ask again.
            loading.outstanding[grant] = nil
            broadcast(.credential(grant: grant, .unknown))
        }
    }

    // MARK: Reading

    private func readChanged() {
        guard !news.isReading, !news.toRead.isEmpty else { return }
        news.isReading = true
        let names = Array(news.toRead.prefix(NewsState.page))
        news.toRead.subtract(names)
        let askedAt = moment
        withStore(.read) { store throws(StoreError) in
            var found: [(String, Result<StoredRecord?, StoreError>)] = []
            for name in names {
                do throws(StoreError) {
                    found.append((name, .success(try store.read(grant: name))))
                } catch {
                    guard error.concernsOneRecord else { throw error }
                    found.append((name, .failure(error)))
                }
            }
            return Reread(records: found)
        } then: { [unowned self] result in
            news.isReading = false
            switch result {
            case .success(let reread):
                for (name, stored) in reread.records { readElsewhere(name, stored, askedAt: askedAt) }
                readChanged()
            case .failure:
                // The comparison that follows the store's return finds them again.
                news.toRead.formUnion(names)
                loop.schedule(after: 1000) { [unowned self] in readChanged() }
            }
        }
    }

    private struct Reread: Sendable {
        var records: [(String, Result<StoredRecord?, StoreError>)]
    }

    /// - Parameter askedAt: when the store was asked: what it holds is known to be no older.
    func readElsewhere(_ grant: String, _ result: Result<StoredRecord?, StoreError>, askedAt: Moment) {
        guard let entry = grants[grant] else { return }
        let stored: StoredRecord?
        switch result {
        case .success(let found): stored = found
        case .failure(let error):
            // What we have of it goes on while it is good.
            unreadable(grant, error.message)
            return
        }
        storeHealth.recordRead(grant)
        guard let stored else {
            entry.note(nil)
            perform(grant, entry.machine.recordChangedElsewhere(nil, readAt: askedAt, now: moment))
            // A templated grant that another replica deleted is nobody's any more.
            if entry.template != nil, !entry.isBeingCreated, !entry.machine.holdsUnfinishedWork { vanish(entry) }
            if grants[grant] === entry, entry.revision > 0 { lookAgain(grant, 0) }
            return
        }
        guard let record = record(stored) else { return }
        perform(grant, entry.machine.recordChangedElsewhere(record, readAt: askedAt, now: moment))
        guard grants[grant] === entry else { return }
        if entry.revision < stored.generation {
            lookAgain(grant, stored.generation)
            return
        }
        entry.note(record)
        tellOfDeadIntent(record, entry)
        settleTemplated(entry)
    }

    /// The machine is at its own commit or read, whose outcome may or may not hold this, or this may be older.
    private func lookAgain(_ grant: String, _ revision: UInt64) {
        loop.schedule(after: 200) { [unowned self] in
            changedElsewhere(grant, revision)
            readChanged()
        }
    }

    /// The record says that a replica is at it, and that one is known to be gone.
    func tellOfDeadIntent(_ record: GrantRecord, _ entry: GrantEntry) {
        guard store?.isShared == true, let intent = record.intent, presence.intentSeen(of: intent.instance),
            grants[entry.name] === entry
        else { return }
        perform(entry.name, entry.machine.instanceGone(intent.instance, now: moment))
    }

    // MARK: Comparing

    /// Compares the revisions of all that is known here with the store's, a page at a time.
    func compareRevisions() {
        guard store?.isShared == true else { return }
        guard !news.isComparing else {
            news.mustCompareAgain = true
            return
        }
        news.isComparing = true
        news.mustCompareAgain = false
        let names = Array(grants.keys) + Array(loading.outstanding.keys)
        compare(Array(names)[...])
    }

    private func compare(_ names: ArraySlice<String>) {
        guard !names.isEmpty else {
            news.isComparing = false
            readChanged()
            // Of the pages that were done nobody knows what happened since.
            if news.mustCompareAgain { compareRevisions() }
            return
        }
        let page = Array(names.prefix(NewsState.comparePage))
        withStore(.read) { store throws(StoreError) in
            try store.revisions(of: page)
        } then: { [unowned self] result in
            guard case .success(let revisions) = result else {
                // The store's return begins another one.
                news.isComparing = false
                return
            }
            for name in page { changedElsewhere(name, revisions[name] ?? 0) }
            compare(names.dropFirst(page.count))
        }
    }
}
