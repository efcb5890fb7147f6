import Foundation
import Synchronization

@testable import Gateway
@testable import TokenStore

/// What several fake stores share: a database in memory, with news for each of them and an outage that a test begins.
final class FakeDatabase: Sendable {
    struct Row: Sendable {
        var payload: [UInt8]?
        var generation: UInt64
        var dueAt: Int64?
        var state: String?
    }

    struct State {
        var rows: [String: Row] = [:]
        var consents: [String: (payload: [UInt8], expiresAt: Int64)] = [:]
        var failure: StoreError?
        var writeFailure: StoreError?
        var reads: [String: Int] = [:]
        var news: [String: StoreNews] = [:]
        var present: Set<String> = []
        var commits = 0
        var presenceIsKnown = true
        /// Records that do not open, by grant.
        var damaged: Set<String> = []
        /// Runs on the store's thread when revisions have been looked up, before they are told.
        var whenCompared: (@Sendable () -> Void)?
    }

    private let condition = NSCondition()
    private let state = Mutex(State())

    func with<Value: Sendable>(_ body: (inout State) throws -> Value) rethrows -> Value {
        defer {
            condition.lock()
            condition.broadcast()
            condition.unlock()
        }
        return try state.withLock { state in try body(&state) }
    }

    /// What has happened since the last call, or nothing once the time is over.
    func news(for instance: String, upTo milliseconds: Int, isStopped: () -> Bool) -> StoreNews {
        let deadline = Date().addingTimeInterval(Double(milliseconds) / 1000)
        condition.lock()
        defer { condition.unlock() }
        while true {
            let found = state.withLock { state -> StoreNews? in
                var news = state.news.removeValue(forKey: instance)
                news?.instances = state.present
                news?.presenceIsKnown = state.presenceIsKnown
                return news
            }
            if let found { return found }
            if isStopped() || !condition.wait(until: deadline) {
                return state.withLock {
                    StoreNews(instances: $0.present, presenceIsKnown: $0.presenceIsKnown)
                }
            }
        }
    }

    func goAway() {
        with { $0.failure = StoreError(.unavailable, "the fake database is away") }
    }

    func comeBack() {
        with { state in
            state.failure = nil
            for instance in state.present { state.news[instance, default: StoreNews()].mayHaveMissedSome = true }
        }
    }
}

/// A token store in memory, alone or one of several on a database.
final class FakeStore: TokenStore {
    let database: FakeDatabase
    let instance: String
    let isShared: Bool
    private let stopped = Mutex(false)

    init(_ database: FakeDatabase = FakeDatabase(), instance: String = "a", isShared: Bool = false) {
        self.database = database
        self.instance = instance
        self.isShared = isShared
        database.with { _ = $0.present.insert(instance) }
    }

    private func locked<Value: Sendable>(
        isWrite: Bool = false, _ body: (inout FakeDatabase.State) -> Value
    ) throws(StoreError) -> Value {
        let result: Result<Value, StoreError> = database.with { state in
            if let failure = state.failure { return .failure(failure) }
            if isWrite, let failure = state.writeFailure { return .failure(failure) }
            return .success(body(&state))
        }
        return try result.get()
    }

    private func tell(_ grant: String, _ revision: UInt64, _ state: inout FakeDatabase.State) {
        for name in state.present { state.news[name, default: StoreNews()].changes[grant] = revision }
    }

    func read(grant: String) throws(StoreError) -> StoredRecord? {
        try locked { state in
            state.reads[grant, default: 0] += 1
            guard let row = state.rows[grant], let payload = row.payload else { return nil }
            return StoredRecord(generation: row.generation, payload: payload)
        }
    }

    func commit(
        grant: String, payload: [UInt8], ifGeneration: UInt64, terms: CommitTerms
    ) throws(StoreError) -> CommitOutcome {
        try locked(isWrite: true) { state in
            let row = state.rows[grant]
            let current = row?.payload == nil ? 0 : row?.generation ?? 0
            guard current == ifGeneration else {
                return .conflict(
                    current: row?.payload.map { StoredRecord(generation: row?.generation ?? 0, payload: $0) })
            }
            if let room = terms.room {
                let count = state.rows.count { $0.value.payload != nil && $0.key.hasPrefix(room.prefix) }
                guard count < room.limit else { return .full(count: count) }
            }
            let generation = (row?.generation ?? 0) + 1
            state.rows[grant] = FakeDatabase.Row(
                payload: payload, generation: generation, dueAt: terms.dueAt, state: terms.state)
            state.commits += 1
            tell(grant, generation, &state)
            return .committed(generation: generation)
        }
    }

    func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome {
        try locked(isWrite: true) { state in
            guard let row = state.rows[grant], let payload = row.payload else { return .absent }
            guard ifGeneration == nil || ifGeneration == row.generation else {
                return .conflict(current: StoredRecord(generation: row.generation, payload: payload))
            }
            state.rows[grant]?.payload = nil
            state.rows[grant]?.dueAt = nil
            tell(grant, 0, &state)
            return .removed
        }
    }

    func names(prefix: String, state wanted: String?, after: String?, limit: Int) throws(StoreError) -> [String] {
        try locked { state in
            let names = state.rows.filter { name, row in
                row.payload != nil && name.hasPrefix(prefix) && (wanted == nil || row.state == wanted)
            }.keys.sorted()
            return Array(names.filter { name in after.map { name > $0 } ?? true }.prefix(limit))
        }
    }

    func count(prefix: String) throws(StoreError) -> Int {
        try locked { state in state.rows.count { $0.value.payload != nil && $0.key.hasPrefix(prefix) } }
    }

    func states(prefix: String, after: String?, limit: Int) throws(StoreError) -> StatePage {
        let names = try names(prefix: prefix, after: after, limit: limit)
        return try locked { state in StatePage(names.map { ($0, state.rows[$0]?.state) }, limit: limit) }
    }

    func noteStates(_ notes: [StateNote]) throws(StoreError) {
        try locked(isWrite: true) { state in
            for note in notes where state.rows[note.grant]?.generation == note.generation {
                state.rows[note.grant]?.state = note.state
            }
        }
    }

    func due(
        after: DuePosition?, before: Int64, limit: Int
    ) throws(StoreError) -> [(grant: String, dueAt: Int64)] {
        let rows = try locked { state in
            state.rows.compactMap { name, row in row.dueAt.map { FakeDue(grant: name, dueAt: $0) } }
        }
        let due = rows.filter { $0.dueAt <= before && $0.isAfter(after) }.sorted {
            ($0.dueAt, $0.grant) < ($1.dueAt, $1.grant)
        }
        return due.prefix(limit).map { (grant: $0.grant, dueAt: $0.dueAt) }
    }

    func nextDue(after: DuePosition?) throws(StoreError) -> Int64? {
        try locked { state in
            state.rows.compactMap { name, row in row.dueAt.map { FakeDue(grant: name, dueAt: $0) } }
                .filter { $0.isAfter(after) }.map(\.dueAt).min()
        }
    }

    func revisions(of grants: [String]) throws(StoreError) -> [String: UInt64] {
        let found = try locked { state in
            var found: [String: UInt64] = [:]
            for name in grants {
                if let row = state.rows[name], row.payload != nil { found[name] = row.generation }
            }
            return found
        }
        database.with { $0.whenCompared }?()
        return found
    }

    func putConsent(
        id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64
    ) throws(StoreError) -> StoredConsentOutcome {
        let isNew = try locked(isWrite: true) { state -> Bool? in
            state.consents = state.consents.filter { $0.value.expiresAt > now }
            guard state.consents[id] == nil else { return nil }
            guard state.consents.count < limit else { return false }
            state.consents[id] = (payload, expiresAt)
            return true
        }
        guard let isNew else { throw StoreError(.invalid, "pending already") }
        return isNew ? .stored : .full
    }

    func takeConsent(
        id: String, now: Int64, leaving: (@Sendable ([UInt8]) -> KeptConsent?)?
    ) throws(StoreError) -> [UInt8]? {
        try locked(isWrite: true) { state in
            guard let found = state.consents.removeValue(forKey: id), found.expiresAt > now else { return nil }
            if let kept = leaving?(found.payload) { state.consents[kept.id] = (kept.payload, kept.expiresAt) }
            return found.payload
        }
    }

    func findConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        try locked { state in state.consents[id].flatMap { $0.expiresAt > now ? $0.payload : nil } }
    }

    func keepConsent(_ kept: KeptConsent, now: Int64) throws(StoreError) -> StoredConsentOutcome {
        try locked(isWrite: true) { state in
            state.consents[kept.id] = (kept.payload, kept.expiresAt)
            return .stored
        }
    }

    func useKeys(_ ring: KeyRing) throws(StoreError) {}
    func rekeySome(limit: Int) throws(StoreError) -> RekeyPage { RekeyPage(seen: 0, resealed: 0) }
    func retire(_ id: KeyID) throws(StoreError) -> Bool { true }
    func keyUse() throws(StoreError) -> [KeyUse] { [] }

    func verify(after: String?, limit: Int) throws(StoreError) -> VerifiedPage {
        let names = try names(prefix: "", state: nil, after: after, limit: limit)
        let damaged = try locked { $0.damaged.intersection(names) }
        return VerifiedPage(
            last: names.count < limit ? nil : names.last, checked: names.count,
            unreadable: Dictionary(uniqueKeysWithValues: damaged.map { ($0, StoreError(.corrupt, "damaged")) }))
    }

    func checkWritable() throws(StoreError) { try locked(isWrite: true) { _ in } }

    func waitForNews(upTo milliseconds: Int) throws(StoreError) -> StoreNews {
        if stopped.withLock({ $0 }) { throw StoreError(.closed, "closed") }
        return database.news(for: instance, upTo: milliseconds) { stopped.withLock { $0 } }
    }

    func stopNews() {
        stopped.withLock { $0 = true }
        database.with { _ in }
    }

    func close() {}
}

private struct FakeDue: Sendable {
    var grant: String
    var dueAt: Int64

    func isAfter(_ position: DuePosition?) -> Bool {
        position.map { (dueAt, grant) > ($0.dueAt, $0.grant) } ?? true
    }
}
