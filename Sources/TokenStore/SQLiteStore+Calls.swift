import FoundationEssentials
import GRDB

func blob(_ bytes: [UInt8]) -> Data { Data(bytes) }

extension SQLiteStore {
    // MARK: Grants

    package func read(grant: String) throws(StoreError) -> StoredRecord? {
        try read { db, sealer, failure in try GrantTable.find(db, sealer, failure, grant: grant)?.record }
    }

    package func commit(grant: String, payload: [UInt8], ifGeneration: UInt64, terms: CommitTerms)
        throws(StoreError) -> CommitOutcome
    {
        try check.storable(id: grant, payload)
        return try write { db, sealer, failure in
            let found = try GrantTable.find(db, sealer, failure, grant: grant)
            guard found?.record?.generation ?? 0 == ifGeneration else { return .conflict(current: found?.record) }
            if ifGeneration == 0, let room = terms.room {
                let count = try GrantTable.count(db, prefix: room.prefix)
                guard count < room.limit else { return .full(count: count) }
            }
            guard let next = found.map(\.nextGeneration) ?? 1 else {
                throw failure.corrupt("the generation of \(grant) is exhausted")
            }
            let row = GrantRow(generation: next, payload: payload, dueAt: terms.dueAt, state: terms.state)
            try GrantTable.put(db, sealer, grant: grant, row)
            return .committed(generation: next)
        }
    }

    package func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome {
        try write { db, sealer, failure in
            let generation: UInt64
            do {
                guard let record = try GrantTable.find(db, sealer, failure, grant: grant)?.record else {
                    return .absent
                }
                guard ifGeneration == nil || ifGeneration == record.generation else {
                    return .conflict(current: record)
                }
                generation = record.generation
            } catch let error as StoreError where error.kind == .corrupt && ifGeneration == nil {
                // The way out for a record that is damaged; its generation is believed as far as it can be.
                guard let found = try GrantTable.generation(db, grant: grant) else { throw error }
                generation = UInt64(clamping: found)
            }
            try GrantTable.put(db, sealer, grant: grant, GrantRow(generation: generation, payload: nil, dueAt: nil))
            return .removed
        }
    }

    package func names(
        prefix: String, state: String?, after: String?, limit: Int
    ) throws(StoreError) -> [String] {
        try read { db, _, _ in
            try GrantTable.names(db, prefix: prefix, state: state, after: after, limit: max(0, limit))
        }
    }

    package func count(prefix: String) throws(StoreError) -> Int {
        try read { db, _, _ in try GrantTable.count(db, prefix: prefix) }
    }

    package func states(prefix: String, after: String?, limit: Int) throws(StoreError) -> StatePage {
        try read { db, _, failure in
            try GrantTable.states(db, failure, prefix: prefix, after: after, limit: max(1, limit))
        }
    }

    package func noteStates(_ notes: [StateNote]) throws(StoreError) {
        guard !notes.isEmpty else { return }
        try write { db, _, _ in for note in notes { try GrantTable.note(db, note) } }
    }

    package func due(
        after: DuePosition?, before: Int64, limit: Int
    ) throws(StoreError) -> [(grant: String, dueAt: Int64)] {
        try read { db, _, _ in
            try GrantTable.due(db, after: after ?? .first, before: before, limit: max(0, limit))
        }
    }

    package func nextDue(after: DuePosition?) throws(StoreError) -> Int64? {
        try read { db, _, _ in try GrantTable.nextDue(db, after: after ?? .first) }
    }

    package func revisions(of grants: [String]) throws(StoreError) -> [String: UInt64] {
        try read { db, _, failure in
            var found: [String: UInt64] = [:]
            for grant in grants { found[grant] = try GrantTable.revision(db, grant, failure) }
            return found
        }
    }

    // MARK: Consents

    package func putConsent(id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64)
        throws(StoreError) -> ConsentOutcome
    {
        try check.storable(id: id, payload)
        let digest = consentDigest(of: id)
        return try write { db, sealer, failure in
            try ConsentTable.purge(db, now: now)
            guard try ConsentTable.find(db, sealer, failure, digest: digest) == nil else {
                throw StoreError(.invalid, "\(failure.path): a consent with this id is pending already")
            }
            guard try ConsentTable.count(db) < limit else { return .full }
            try ConsentTable.put(db, sealer, digest: digest, ConsentRow(expiresAt: expiresAt, payload: payload))
            return .stored
        }
    }

    package func takeConsent(
        id: String, now: Int64, leaving: (@Sendable ([UInt8]) -> KeptConsent?)?
    ) throws(StoreError) -> [UInt8]? {
        let digest = consentDigest(of: id)
        return try write { db, sealer, failure in
            guard let row = try ConsentTable.find(db, sealer, failure, digest: digest) else { return nil }
            try ConsentTable.delete(db, digest: digest)
            guard row.expiresAt > now else { return nil }
            if let kept = leaving?(row.payload) { _ = try ConsentTable.keep(db, sealer, kept, now: now) }
            return row.payload
        }
    }

    package func findConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        let digest = consentDigest(of: id)
        return try read { db, sealer, failure in
            let row = try ConsentTable.find(db, sealer, failure, digest: digest)
            return row.flatMap { $0.expiresAt > now ? $0.payload : nil }
        }
    }

    package func keepConsent(_ kept: KeptConsent, now: Int64) throws(StoreError) -> ConsentOutcome {
        try check.storable(id: kept.id, kept.payload)
        return try write { db, sealer, _ in try ConsentTable.keep(db, sealer, kept, now: now) ? .stored : .full }
    }

    // MARK: Keys

    package func useKeys(_ ring: KeyRing) throws(StoreError) {
        try changeRing(to: ring) { db, sealer, failure in try KeyTable.admit(db, sealer, failure) }
    }

    package func rekeySome(limit: Int) throws(StoreError) -> RekeyPage {
        let page: RekeyPage = try write { db, sealer, failure in
            let active = sealer.ring.active.id.text
            var count = 0
            for key in try KeyTable.idsInUse(db).sorted() where key != active && count < limit {
                let grants = try GrantTable.sealed(db, sealer, failure, under: key, limit: limit - count)
                for (grant, row) in grants { try GrantTable.put(db, sealer, grant: grant, row) }
                count += grants.count
                let consents = try ConsentTable.sealed(db, sealer, failure, under: key, limit: limit - count)
                for (digest, row) in consents { try ConsentTable.put(db, sealer, digest: digest, row) }
                count += consents.count
            }
            return RekeyPage(seen: count, resealed: count)
        }
        // Nothing that was sealed under the old key stays in the log.
        if page.seen == 0 { try emptyLog() }
        return page
    }

    package func retire(_ id: KeyID) throws(StoreError) -> Bool {
        try write { db, sealer, failure in
            guard try KeyTable.ids(db).contains(id) else { return false }
            guard id != sealer.ring.active.id else { throw KeyProof.active(failure.path, id) }
            let rows = try KeyTable.rows(db, under: id)
            guard rows == 0 else { throw KeyProof.inUse(failure.path, id, rows: rows) }
            try KeyTable.delete(db, id)
            return true
        }
    }

    package func keyUse() throws(StoreError) -> [KeyUse] {
        try read { db, sealer, _ in
            try KeyTable.ids(db).map { id in
                KeyUse(
                    id: id, rows: try KeyTable.rows(db, under: id), isActive: id == sealer.ring.active.id,
                    isOnRing: sealer.ring.key(id) != nil)
            }
        }
    }

    // MARK: Checks

    package func verify(after: String?, limit: Int) throws(StoreError) -> VerifiedPage {
        try read { db, sealer, failure in
            let rows = try GrantTable.page(db, sealer, failure, after: after ?? "", limit: max(1, limit))
            var unreadable: [String: StoreError] = [:]
            for (grant, row) in rows {
                switch row {
                case .failure(let error): unreadable[grant] = error
                case .success(let row) where try !GrantTable.isIndexed(db, grant, row):
                    unreadable[grant] = failure.corrupt("an index lacks grant \(grant)")
                case .success: break
                }
            }
            return VerifiedPage(
                last: rows.count < limit ? nil : rows.last?.grant, checked: rows.count, unreadable: unreadable)
        }
    }

    package func checkWritable() throws(StoreError) {
        // Setting the version to what it is writes the first page, and the commit syncs it.
        try write { db, _, _ in try db.execute(sql: "PRAGMA user_version = \(SQLiteSchema.version(db))") }
    }

    // MARK: News

    package func waitForNews(upTo milliseconds: Int) throws(StoreError) -> StoreNews {
        throw StoreError(.invalid, "\(path): an embedded store has no news")
    }

    package func stopNews() {}

    private var check: ArgumentCheck { ArgumentCheck(store: path) }
}
