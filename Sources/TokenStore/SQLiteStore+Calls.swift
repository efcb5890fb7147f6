import FoundationEssentials
import GRDB

func blob(_ bytes: [UInt8]) -> Data { Data(bytes) }

extension SQLiteStore {
    // MARK: Grants

    package func read(grant: String) throws(StoreError) -> StoredRecord? {
        try read { db, sealer, failure in try GrantTable.find(db, sealer, failure, grant: grant)?.record }
    }

    package func readAll() throws(StoreError) -> [String: StoredRecord] {
        try read { db, sealer, failure in try GrantTable.all(db, sealer, failure).compactMapValues(\.record) }
    }

    package func commit(grant: String, payload: [UInt8], ifGeneration: UInt64) throws(StoreError) -> CommitOutcome {
        try checkStorable(id: grant, payload)
        return try write { db, sealer, failure in
            let found = try GrantTable.find(db, sealer, failure, grant: grant)
            guard found?.record?.generation ?? 0 == ifGeneration else { return .conflict(current: found?.record) }
            let (next, overflow) = (found?.generation ?? 0).addingReportingOverflow(1)
            guard !overflow, next <= Int64.max else { throw failure.corrupt("the generation of \(grant) is exhausted") }
            try GrantTable.put(db, sealer, grant: grant, GrantRow(generation: next, payload: payload))
            return .committed(generation: next)
        }
    }

    package func remove(grant: String, ifGeneration: UInt64?) throws(StoreError) -> RemoveOutcome {
        try write { db, sealer, failure in
            guard let record = try GrantTable.find(db, sealer, failure, grant: grant)?.record else { return .absent }
            guard ifGeneration == nil || ifGeneration == record.generation else { return .conflict(current: record) }
            try GrantTable.put(db, sealer, grant: grant, GrantRow(generation: record.generation, payload: nil))
            return .removed
        }
    }

    // MARK: Consents

    package func putConsent(id: String, payload: [UInt8], expiresAt: Int64, limit: Int, now: Int64)
        throws(StoreError) -> ConsentOutcome
    {
        try checkStorable(id: id, payload)
        let digest = ConsentTable.digest(of: id)
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

    package func takeConsent(id: String, now: Int64) throws(StoreError) -> [UInt8]? {
        let digest = ConsentTable.digest(of: id)
        return try write { db, sealer, failure in
            guard let row = try ConsentTable.find(db, sealer, failure, digest: digest) else { return nil }
            try ConsentTable.delete(db, digest: digest)
            return row.expiresAt > now ? row.payload : nil
        }
    }

    // MARK: Leases

    package func acquireLease(name: String, holder: String, duration: Int64, now: Int64)
        throws(StoreError) -> LeaseOutcome
    {
        try checkStorable(id: name, [])
        let until = try end(now, duration)
        return try write { db, _, failure in
            let found = try Self.lease(db, name, failure)
            if let found, found.holder != holder, found.expiresAt > now {
                return .held(by: found.holder, until: found.expiresAt)
            }
            let (fence, overflow) = (found?.fence ?? 0).addingReportingOverflow(1)
            guard !overflow, fence <= Int64.max else { throw failure.corrupt("the lease \(name) is exhausted") }
            try db.execute(
                sql: "REPLACE INTO lease (name, holder, expires_at, fence) VALUES (?, ?, ?, ?)",
                arguments: [name, holder, until, Int64(fence)])
            return .acquired(fence: fence)
        }
    }

    package func renewLease(name: String, holder: String, fence: UInt64, duration: Int64, now: Int64)
        throws(StoreError) -> Bool
    {
        let until = try end(now, duration)
        return try write { db, _, failure in
            guard let found = try Self.lease(db, name, failure), found.holder == holder, found.fence == fence,
                found.expiresAt > now
            else { return false }
            try db.execute(sql: "UPDATE lease SET expires_at = ? WHERE name = ?", arguments: [until, name])
            return true
        }
    }

    package func releaseLease(name: String, holder: String, fence: UInt64) throws(StoreError) {
        try write { db, _, failure in
            guard let found = try Self.lease(db, name, failure), found.holder == holder, found.fence == fence else {
                return
            }
            // The row stays: its fencing number must not be given out again.
            try db.execute(sql: "UPDATE lease SET expires_at = ? WHERE name = ?", arguments: [Int64.min, name])
        }
    }

    private static func lease(_ db: Database, _ name: String, _ failure: SQLiteFailure) throws -> (
        holder: String, expiresAt: Int64, fence: UInt64
    )? {
        let sql = "SELECT holder, expires_at, fence FROM lease WHERE name = ?"
        guard let row = try Row.fetchOne(db, sql: sql, arguments: [name]) else { return nil }
        let columns = Columns(row: row, failure: failure)
        return (try columns.text(0), try columns.integer(1), try columns.count(2))
    }

    // MARK: Keys

    package func rekey(to key: StoreKey) throws(StoreError) -> RekeyReport {
        try beginRekey(to: key)
        var resealed = 0
        while case let count = try resealSome(limit: 64), count > 0 { resealed += count }
        let retired = try write { db, sealer, _ in
            let inUse = try KeyTable.idsInUse(db)
            let unused = try KeyTable.ids(db).filter { $0 != sealer.ring.active.id && !inUse.contains($0.text) }
            for id in unused { try KeyTable.delete(db, id) }
            return unused
        }
        try emptyLog()
        return RekeyReport(resealed: resealed, retired: retired)
    }

    /// From here on new values are sealed under `key`.
    func beginRekey(to key: StoreKey) throws(StoreError) {
        try writeActivating(key) { db in
            if try !KeyTable.ids(db).contains(key.id) { try KeyTable.add(db, key) }
        }
    }

    /// Seals up to `limit` rows of each table again, in one transaction; says how many there were.
    func resealSome(limit: Int) throws(StoreError) -> Int {
        try write { db, sealer, failure in
            let id = sealer.ring.active.id
            let grants = try GrantTable.sealedOtherwise(db, sealer, failure, than: id, limit: limit)
            for (grant, row) in grants { try GrantTable.put(db, sealer, grant: grant, row) }
            let consents = try ConsentTable.sealedOtherwise(db, sealer, failure, than: id, limit: limit)
            for (digest, row) in consents { try ConsentTable.put(db, sealer, digest: digest, row) }
            return grants.count + consents.count
        }
    }

    package func checkWritable() throws(StoreError) {
        // Setting the version to what it is writes the first page, and the commit syncs it.
        try write { db, _, _ in try db.execute(sql: "PRAGMA user_version = \(SQLiteSchema.version(db))") }
    }

    // MARK: Arguments

    private func checkStorable(id: String, _ payload: [UInt8]) throws(StoreError) {
        guard (1...largestIDBytes).contains(id.utf8.count), !id.utf8.contains(0) else {
            throw StoreError(.invalid, "\(path): an id must have 1 to \(largestIDBytes) bytes and no NUL")
        }
        guard payload.count <= largestPayloadBytes else {
            throw StoreError(
                .invalid, "\(path): \(payload.count) bytes are more than a store takes (\(largestPayloadBytes))")
        }
    }

    private func end(_ now: Int64, _ duration: Int64) throws(StoreError) -> Int64 {
        let (until, overflow) = now.addingReportingOverflow(duration)
        guard !overflow, duration > 0 else { throw StoreError(.invalid, "\(path): a lease needs a sane duration") }
        return until
    }
}
