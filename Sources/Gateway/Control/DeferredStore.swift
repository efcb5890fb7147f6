import Glibc
import Reactor
import Synchronization
import TokenStore

/// A shared store that could not be reached at the start: who waits for news tries to open it, until that succeeds.
/// Meanwhile calls fail at once with the reason, as they do when a store that was open is away.
final class DeferredStore: TokenStore {
    private struct State {
        var store: (any TokenStore)?
        var failure: StoreError
        /// Monotonic milliseconds of the next try.
        var retryAt: UInt64
        var isStopped = false
        var isClosed = false
    }

    private let open: @Sendable () throws(StoreError) -> any TokenStore
    private let state: Mutex<State>
    private static let retryInterval: UInt64 = 500

    /// - Parameter failure: of the first try.
    init(after failure: StoreError, open: @escaping @Sendable () throws(StoreError) -> any TokenStore) {
        self.open = open
        state = Mutex(
            State(store: nil, failure: failure, retryAt: MonotonicClock.milliseconds() + Self.retryInterval))
    }

    /// The store itself where it can be opened now; one that is opened later where it is only away; an error where
    /// trying again would not help.
    static func opened(
        _ open: @escaping @Sendable () throws(StoreError) -> any TokenStore
    ) throws(StoreError) -> any TokenStore {
        do throws(StoreError) {
            return try open()
        } catch {
            guard error.isTransient else { throw error }
            return DeferredStore(after: error, open: open)
        }
    }

    var isShared: Bool { true }

    private func opened() throws(StoreError) -> any TokenStore {
        let (store, failure) = state.withLock { ($0.store, $0.failure) }
        guard let store else { throw failure }
        return store
    }

    /// On the thread that waits for news only, so that it is opened once and no call waits for a server that hangs.
    private func tryToOpen() {
        do throws(StoreError) {
            let store = try open()
            let (isStopped, isClosed) = state.withLock { state in
                if !state.isClosed { state.store = store }
                return (state.isStopped, state.isClosed)
            }
            if isStopped { store.stopNews() }
            if isClosed { store.close() }
        } catch {
            state.withLock { state in
                state.failure = error
                state.retryAt = MonotonicClock.milliseconds() + Self.retryInterval
            }
        }
    }

    func read(grant: String) throws(StoreError) -> StoredRecord? { try opened().read(grant: grant) }

    func commit(
        grant: String, payload: [UInt8], ifGeneration: UInt64, terms: CommitTerms
    ) throws(StoreError) -> CommitOutcome {
        try opened().commit(grant: grant, payload: payload, ifGeneration: ifGeneration, terms: terms)
    }

    func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome {
        try opened().remove(grant: grant, ifGeneration: ifGeneration)
    }

    func names(prefix: String, state: String?, after: String?, limit: Int) throws(StoreError) -> [String] {
        try opened().names(prefix: prefix, state: state, after: after, limit: limit)
    }

    func count(prefix: String) throws(StoreError) -> Int { try opened().count(prefix: prefix) }

    func states(prefix: String, after: String?, limit: Int) throws(StoreError) -> StatePage {
        try opened().states(prefix: prefix, after: after, limit: limit)
    }

    func noteStates(_ notes: [StateNote]) throws(StoreError) { try opened().noteStates(notes) }

    func due(
        after: DuePosition?, before: Int64, limit: Int
    ) throws(StoreError) -> [(grant: String, dueAt: Int64)] {
        try opened().due(after: after, before: before, limit: limit)
    }

    func nextDue(after: DuePosition?) throws(StoreError) -> Int64? { try opened().nextDue(after: after) }

    func revisions(of grants: [String]) throws(StoreError) -> [String: UInt64] { try opened().revisions(of: grants) }

    func putConsent(
        id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64
    ) throws(StoreError) -> StoredConsentOutcome {
        try opened().putConsent(id: id, payload: payload, expiresAt: expiresAt, limit: limit, now: now)
    }

    func takeConsent(
        id: String, now: Int64, leaving: (@Sendable ([UInt8]) -> KeptConsent?)?
    ) throws(StoreError) -> [UInt8]? {
        try opened().takeConsent(id: id, now: now, leaving: leaving)
    }

    func findConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        try opened().findConsent(id: id, now: now)
    }

    func keepConsent(_ kept: KeptConsent, now: Int64) throws(StoreError) -> StoredConsentOutcome {
        try opened().keepConsent(kept, now: now)
    }

    func useKeys(_ ring: KeyRing) throws(StoreError) { try opened().useKeys(ring) }

    func rekeySome(limit: Int) throws(StoreError) -> RekeyPage { try opened().rekeySome(limit: limit) }

    func retire(_ id: KeyID) throws(StoreError) -> Bool { try opened().retire(id) }

    func keyUse() throws(StoreError) -> [KeyUse] { try opened().keyUse() }

    func verify(after: String?, limit: Int) throws(StoreError) -> VerifiedPage {
        try opened().verify(after: after, limit: limit)
    }

    func checkWritable() throws(StoreError) { try opened().checkWritable() }

    /// While the store is not open there are no news, and nobody may be taken for dead.
    func waitForNews(upTo milliseconds: Int) throws(StoreError) -> StoreNews {
        let deadline = MonotonicClock.milliseconds() + UInt64(max(0, milliseconds))
        while true {
            let (store, isStopped, retryAt) = state.withLock { ($0.store, $0.isStopped, $0.retryAt) }
            if let store { return try store.waitForNews(upTo: milliseconds) }
            if isStopped { throw StoreError(.closed, "the store is closed") }
            if MonotonicClock.milliseconds() >= retryAt {
                tryToOpen()
                continue
            }
            if MonotonicClock.milliseconds() >= deadline { return StoreNews() }
            usleep(50_000)
        }
    }

    func stopNews() {
        let store = state.withLock { state in
            state.isStopped = true
            return state.store
        }
        store?.stopNews()
    }

    func close() {
        let store = state.withLock { state in
            state.isClosed = true
            state.isStopped = true
            state.failure = StoreError(.closed, "the store is closed")
            return state.store
        }
        store?.close()
    }
}
