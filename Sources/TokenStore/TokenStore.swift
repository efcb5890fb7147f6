/// What a store holds for one grant: opaque bytes and the generation that they were committed as.
package struct StoredRecord: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Grows by one with each commit of the grant and is never used twice, not even after `remove`.
    package let generation: UInt64
    /// The opened (plaintext) bytes: tokens. They never appear in a description.
    package let payload: [UInt8]

    package init(generation: UInt64, payload: [UInt8]) {
        self.generation = generation
        self.payload = payload
    }

    package var description: String { "StoredRecord(generation \(generation), \(payload.count) bytes redacted)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["generation": generation]) }
}

/// What is kept beside a record in clear, and what a commit must keep to.
package struct CommitTerms: Sendable, Equatable {
    /// When the grant wants to be looked at, in milliseconds since 1970; nil: never.
    package var dueAt: Int64?
    /// One word for the grant's state, to count by. Not authenticated: nothing is decided by it.
    package var state: String?
    /// For a grant that is to be made: how many of its kind there may be.
    package var room: GrantRoom?

    package init(dueAt: Int64? = nil, state: String? = nil, room: GrantRoom? = nil) {
        self.dueAt = dueAt
        self.state = state
        self.room = room
    }
}

/// Of grants whose names begin with `prefix` there may be `limit`. It is counted where it is written, so that two
/// replicas that make grants at once stay within it.
package struct GrantRoom: Sendable, Equatable {
    package var prefix: String
    package var limit: Int

    package init(prefix: String, limit: Int) {
        self.prefix = prefix
        self.limit = limit
    }
}

/// How many grants are in which state, for one page of names.
package struct StatePage: Sendable, Equatable {
    /// Grants by the word that was committed with them.
    package var states: [String: Int] = [:]
    /// Grants that were written without such a word. A page that has some is short.
    package var unnoted: [String] = []
    /// How many grants the page has, with those.
    package var count = 0
    /// Where the next page begins; `nil`: that was the last one.
    package var last: String?

    package init() {}

    /// The most grants of a page that has some without a word.
    package static let shortPage = 100
}

/// A word for the state of a record that was written without one.
package struct StateNote: Sendable, Equatable {
    package var grant: String
    package var generation: UInt64
    package var state: String

    package init(grant: String, generation: UInt64, state: String) {
        self.grant = grant
        self.generation = generation
        self.state = state
    }
}

/// A place in the list of due grants.
package struct DuePosition: Sendable, Equatable {
    /// Milliseconds since 1970.
    package var dueAt: Int64
    package var grant: String

    package init(dueAt: Int64, grant: String) {
        self.dueAt = dueAt
        self.grant = grant
    }

    /// Before all others.
    static let first = DuePosition(dueAt: .min, grant: "")
}

/// A row among the consents: what is left behind when a pending one is taken.
package struct KeptConsent: Sendable, Equatable {
    package var id: String
    package var payload: [UInt8]
    /// Seconds since 1970.
    package var expiresAt: Int64
    /// Nothing is kept where so many rows are there.
    package var limit: Int

    package init(id: String, payload: [UInt8], expiresAt: Int64, limit: Int) {
        self.id = id
        self.payload = payload
        self.expiresAt = expiresAt
        self.limit = limit
    }
}

/// How a `commit` ended. All are ordinary: a conflict says that a sibling was faster.
package enum CommitOutcome: Sendable, Equatable {
    /// The bytes are durable, under this generation.
    case committed(generation: UInt64)
    /// Nothing was written; this is what the store holds now (`nil`: nothing).
    case conflict(current: StoredRecord?)
    /// Nothing was written: `CommitTerms.room` is used up, by so many grants.
    case full(count: Int)
}

/// How a `remove` ended.
package enum RemoveOutcome: Sendable, Equatable {
    case removed
    /// There was no record to remove.
    case absent
    /// Nothing was removed: the record has another generation than the one given.
    case conflict(current: StoredRecord)
}

/// How a `putConsent` ended.
package enum ConsentOutcome: Sendable, Equatable {
    case stored
    /// As many live consents as the limit are pending; none was evicted and this one was not stored.
    case full
}

/// A key that the store has noted.
package struct KeyUse: Sendable, Equatable {
    package let id: KeyID
    /// Rows that are sealed under it.
    package let rows: Int
    /// The key of ours that seals what is written.
    package let isActive: Bool
    /// Whether our ring has it; rows under a key that it lacks cannot be read here.
    package let isOnRing: Bool
}

/// A page of a full check.
package struct VerifiedPage: Sendable, Equatable {
    /// The last grant of the page, where the next one begins; `nil`: that was the last page.
    package let last: String?
    /// How many records were opened.
    package let checked: Int
    /// Grants whose records cannot be read, with the reason.
    package let unreadable: [String: StoreError]
}

/// What others have changed in a shared store, and who is there.
package struct StoreNews: Sendable, Equatable {
    /// Grant → revision (the generation that was committed last; 0: removed). Our own commits are among them.
    package var changes: [String: UInt64]
    /// A gap: the connection was made anew, so that everything loaded must be compared with `revisions`.
    package var mayHaveMissedSome: Bool
    /// Replicas that are there now, ourselves among them; meaningful only with `presenceIsKnown`.
    package var instances: Set<String>
    /// `false` while the database is away or has just come back: nobody may be taken for dead.
    package var presenceIsKnown: Bool

    package init(
        changes: [String: UInt64] = [:], mayHaveMissedSome: Bool = false, instances: Set<String> = [],
        presenceIsKnown: Bool = false
    ) {
        self.changes = changes
        self.mayHaveMissedSome = mayHaveMissedSome
        self.instances = instances
        self.presenceIsKnown = presenceIsKnown
    }
}

/// Where grants live between restarts: compare-and-set on the generation, single-use consents.
///
/// There are no leases beside the records: who refreshes a grant says so in its record (`GrantRecord.Intent`), and the
/// revision of that record is the fencing number of what the refresh brings.
///
/// Every call blocks and is meant for one store thread; a return without an error means durable (fsynced). After an
/// error of a writing call the outcome is unknown in the way a power cut is: the old or the new state, never a mix;
/// read again to know. Times are seconds since 1970 and come from the caller, unless said otherwise.
///
/// A record is verified when it is read, not when the store is opened: `corrupt` and `unknownKey` may come from any
/// read and concern one grant only.
package protocol TokenStore: AnyObject, Sendable {
    /// Whether other processes may have the store open: then there are news, and `waitForNews` must be running.
    var isShared: Bool { get }

    /// The record of a grant; `nil` when there is none.
    func read(grant: String) throws(StoreError) -> StoredRecord?

    /// Writes the record if the grant's generation is still `ifGeneration`; 0 means that there must be none.
    /// A grant that was removed goes on from its last generation, so that a late writer of old never matches.
    /// A grant that is there is a conflict before it is one too many.
    func commit(grant: String, payload: [UInt8], ifGeneration: UInt64, terms: CommitTerms)
        throws(StoreError) -> CommitOutcome

    /// Removes the record if its generation is still `ifGeneration`; `nil` removes whatever is there, also a record
    /// that cannot be read.
    func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome

    /// Up to `limit` names of grants that begin with `prefix` and come after `after`, in the order of their bytes.
    ///
    /// - Parameter state: only those that were committed with this word; nil: all.
    func names(prefix: String, state: String?, after: String?, limit: Int) throws(StoreError) -> [String]

    /// How many grants there are whose names begin with `prefix`.
    func count(prefix: String) throws(StoreError) -> Int

    /// Counts up to `limit` grants by their state, in the order of `names`, without opening a record.
    func states(prefix: String, after: String?, limit: Int) throws(StoreError) -> StatePage

    /// Notes states of records that have none yet; one that has another generation by now is left alone. No news.
    func noteStates(_ notes: [StateNote]) throws(StoreError)

    /// Up to `limit` grants whose time has come by `before` (milliseconds since 1970), the longest due first, and of the
    /// same time in the order of their names.
    ///
    /// - Parameter after: only those that come later in this order; nil: all.
    func due(after: DuePosition?, before: Int64, limit: Int) throws(StoreError) -> [(grant: String, dueAt: Int64)]

    /// When the next grant is due, of those that come after this place; `nil`: none ever.
    func nextDue(after: DuePosition?) throws(StoreError) -> Int64?

    /// The generations of those of `grants` that are there. The net under news.
    func revisions(of grants: [String]) throws(StoreError) -> [String: UInt64]

    /// Keeps a pending consent until it is taken or expires. Expired ones are purged first; a live one is never
    /// evicted for a new one. An id that is already pending is an error.
    func putConsent(id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64)
        throws(StoreError) -> ConsentOutcome

    /// Deletes a pending consent and returns its payload, exactly once; `nil` if unknown, taken or expired. What `leaving`
    /// makes of the payload is there from the moment on in which the consent is not.
    func takeConsent(id: String, now: Int64, leaving: (@Sendable ([UInt8]) -> KeptConsent?)?)
        throws(StoreError) -> [UInt8]?

    /// The payload of a row that stays where it is; `nil` if unknown or expired.
    func findConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]?

    /// Puts a row in place of the one with its id, if there is one.
    func keepConsent(_ kept: KeptConsent, now: Int64) throws(StoreError) -> ConsentOutcome

    /// Uses another ring from now on, after the checks that opening makes.
    func useKeys(_ ring: KeyRing) throws(StoreError)

    /// Seals up to `limit` rows again under the ring's active key; the number of rows that are still under another
    /// one and were looked at (0: done). May be cut short anywhere and called again. A row that is written meanwhile
    /// is left as it is written and seen again if need be.
    ///
    /// A rotation over replicas that takes none of them down: put the new key on every ring as an older key and
    /// restart (or `useKeys`) replica by replica; then put it in front everywhere; then call this on one of them until it
    /// is done; then `retire` the old key; then take it out of the configuration.
    func rekeySome(limit: Int) throws(StoreError) -> RekeyPage

    /// Ends the use of a key. Refuses while it seals anything, and says how many rows; `false`: the store does not
    /// know such a key. In a shared store a replica that still has it in front cannot write from then on.
    func retire(_ id: KeyID) throws(StoreError) -> Bool

    /// The keys that the store has noted, with the number of their rows.
    func keyUse() throws(StoreError) -> [KeyUse]

    /// Opens up to `limit` records after `after`, to find what is damaged: a record that does not open, or that an index
    /// of the file lacks. Run it in the background, page by page.
    func verify(after: String?, limit: Int) throws(StoreError) -> VerifiedPage

    /// Makes a small durable write that changes nothing, so that a refresh whose result could not be kept is not begun.
    func checkWritable() throws(StoreError)

    /// Shared stores only; blocks, on a thread of its own, until something happened or the time is over. While the
    /// database is away it waits in vain and makes the connection anew; only a closed store is an error.
    func waitForNews(upTo milliseconds: Int) throws(StoreError) -> StoreNews

    /// Wakes `waitForNews` for good; it throws `closed` from then on.
    func stopNews()

    /// Ends the use of the store; every later call throws `closed`. A second call does nothing.
    func close()
}

/// What `rekeySome` did.
package struct RekeyPage: Sendable, Equatable {
    /// Rows found under another key; 0: there are none left.
    package let seen: Int
    /// Those of them that are under the active key now.
    package let resealed: Int
}

extension TokenStore {
    package func commit(
        grant: String, payload: [UInt8], ifGeneration: UInt64, dueAt: Int64?
    ) throws(StoreError) -> CommitOutcome {
        try commit(grant: grant, payload: payload, ifGeneration: ifGeneration, terms: CommitTerms(dueAt: dueAt))
    }

    package func due(before: Int64, limit: Int) throws(StoreError) -> [(grant: String, dueAt: Int64)] {
        try due(after: nil, before: before, limit: limit)
    }

    package func nextDue() throws(StoreError) -> Int64? { try nextDue(after: nil) }

    package func names(prefix: String, after: String?, limit: Int) throws(StoreError) -> [String] {
        try names(prefix: prefix, state: nil, after: after, limit: limit)
    }

    package func takeConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        try takeConsent(id: id, now: now, leaving: nil)
    }
}

/// The largest payload that a store takes; larger ones are an error of kind `invalid`.
package let largestPayloadBytes = 1 << 20
/// The longest grant id, consent id or name of a replica.
package let largestIDBytes = 512
