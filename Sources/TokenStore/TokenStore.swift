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

/// How a `commit` ended. Both are ordinary: a conflict says that a sibling was faster.
package enum CommitOutcome: Sendable, Equatable {
    /// The bytes are durable, under this generation.
    case committed(generation: UInt64)
    /// Nothing was written; this is what the store holds now (`nil`: nothing).
    case conflict(current: StoredRecord?)
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

/// How an `acquireLease` ended.
package enum LeaseOutcome: Sendable, Equatable {
    /// The lease is the holder's until it ends; the fencing number is larger than any given out before under the name.
    case acquired(fence: UInt64)
    /// Someone else has it until then (seconds since 1970).
    case held(by: String, until: Int64)
}

/// What a `rekey` did.
package struct RekeyReport: Sendable, Equatable {
    /// Rows that were sealed again under the new key.
    package let resealed: Int
    /// Keys that seal nothing any more, so that they can be taken out of the configuration.
    package let retired: [KeyID]
}

/// Where grants live between restarts: compare-and-set on the generation, single-use consents, leases.
///
/// Every call blocks and is meant for one store thread; a return without an error means durable (fsynced). After an
/// error of a writing call the outcome is unknown in the way a power cut is: the old or the new state, never a mix;
/// read again to know. Times are seconds since 1970 and come from the caller.
package protocol TokenStore: AnyObject, Sendable {
    /// The record of a grant; `nil` when there is none.
    func read(grant: String) throws(StoreError) -> StoredRecord?

    /// All records by grant.
    func readAll() throws(StoreError) -> [String: StoredRecord]

    /// Writes the record if the grant's generation is still `ifGeneration`; 0 means that there must be none.
    /// A grant that was removed goes on from its last generation, so that a late writer of old never matches.
    func commit(grant: String, payload: [UInt8], ifGeneration: UInt64) throws(StoreError) -> CommitOutcome

    /// Removes the record if its generation is still `ifGeneration`; `nil` removes whatever is there.
    func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome

    /// Keeps a pending consent until it is taken or expires. Expired ones are purged first; a live one is never
    /// evicted for a new one. An id that is already pending is an error.
    func putConsent(id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64)
        throws(StoreError) -> ConsentOutcome

    /// Deletes a pending consent and returns its payload, exactly once; `nil` if unknown, taken or expired.
    func takeConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]?

    /// Takes a lease that is free or has ended, or takes the holder's own again with a new fencing number.
    func acquireLease(name: String, holder: String, duration: Int64, now: Int64) throws(StoreError) -> LeaseOutcome

    /// Prolongs a lease to `now + duration`. `false`: it has ended or is another's, so its work must stop.
    func renewLease(name: String, holder: String, fence: UInt64, duration: Int64, now: Int64)
        throws(StoreError) -> Bool

    /// Gives a lease back. Another's lease is left alone.
    func releaseLease(name: String, holder: String, fence: UInt64) throws(StoreError)

    /// Makes `key` the active key and seals every row again under it, in small transactions: when it is cut short,
    /// calling it again goes on. Older keys must stay configured until it has returned.
    func rekey(to key: StoreKey) throws(StoreError) -> RekeyReport

    /// Makes a small durable write that changes nothing, so that a refresh whose result could not be kept is not begun.
    func checkWritable() throws(StoreError)

    /// Ends the use of the store; every later call throws `closed`. A second call does nothing.
    func close()
}

/// The largest payload that a store takes; larger ones are an error of kind `invalid`.
package let largestPayloadBytes = 1 << 20
/// The longest grant id, consent id or lease name.
package let largestIDBytes = 512
