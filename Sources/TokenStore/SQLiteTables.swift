import FoundationEssentials
import GRDB

/// Reads columns without trust: a damaged file may hold any type anywhere.
struct Columns {
    let row: Row
    let failure: SQLiteFailure

    func text(_ index: Int) throws -> String {
        guard case .string(let text) = storage(index) else { throw failure.corrupt("a column has the wrong type") }
        return text
    }

    func integer(_ index: Int) throws -> Int64 {
        guard case .int64(let number) = storage(index) else { throw failure.corrupt("a column has the wrong type") }
        return number
    }

    func optionalText(_ index: Int) throws -> String? {
        if case .null = storage(index) { return nil }
        return try text(index)
    }

    func optionalInteger(_ index: Int) throws -> Int64? {
        if case .null = storage(index) { return nil }
        return try integer(index)
    }

    /// An integer that is never negative.
    func count(_ index: Int) throws -> UInt64 {
        guard let number = UInt64(exactly: try integer(index)) else { throw failure.corrupt("a number is negative") }
        return number
    }

    func bytes(_ index: Int) throws -> [UInt8] {
        guard case .blob(let data) = storage(index) else { throw failure.corrupt("a column has the wrong type") }
        return Array(data)
    }

    private func storage(_ index: Int) -> DatabaseValue.Storage {
        let value: DatabaseValue = row[index]
        return value.storage
    }
}

/// The statements on `grant_record`.
enum GrantTable {
    private static let columns = "SELECT grant_id, generation, live, key_id, sealed, due_at, state FROM grant_record"

    static func find(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, grant: String) throws -> GrantRow? {
        let statement = try db.cachedStatement(sql: columns + " WHERE grant_id = ?")
        guard let row = try Row.fetchOne(statement, arguments: [grant]) else { return nil }
        return try open(Columns(row: row, failure: failure), sealer).row
    }

    /// The generation of a grant, removed or not, without a look at its value.
    static func generation(_ db: Database, grant: String) throws -> Int64? {
        try Int64.fetchOne(db, sql: "SELECT generation FROM grant_record WHERE grant_id = ?", arguments: [grant])
    }

    /// Up to `limit` rows after `after`; a row that does not open is an error in its place.
    static func page(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, after: String, limit: Int
    ) throws -> [(grant: String, row: Result<GrantRow, StoreError>)] {
        let sql = columns + " WHERE grant_id > ? ORDER BY grant_id LIMIT ?"
        return try Row.fetchAll(db, sql: sql, arguments: [after, limit]).map { row in
            let columns = Columns(row: row, failure: failure)
            let grant = try columns.text(0)
            do {
                return (grant, .success(try open(columns, sealer).row))
            } catch let error as StoreError {
                return (grant, .failure(error))
            }
        }
    }

    /// Up to `limit` rows that are sealed under `key`.
    static func sealed(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, under key: String, limit: Int
    ) throws -> [(grant: String, row: GrantRow)] {
        let sql = columns + " WHERE key_id = ? ORDER BY grant_id LIMIT ?"
        return try Row.fetchAll(db, sql: sql, arguments: [key, limit]).map {
            try open(Columns(row: $0, failure: failure), sealer)
        }
    }

    static func put(_ db: Database, _ sealer: Sealer, grant: String, _ row: GrantRow) throws {
        let isLive = row.payload != nil
        let sealed = try sealer.seal(row.payload ?? [], at: .grant(grant, row.generation, live: isLive))
        // Not REPLACE: an update leaves those indexes alone whose columns stay as they are.
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO grant_record (grant_id, generation, live, key_id, sealed, due_at, state)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (grant_id) DO UPDATE SET generation = excluded.generation, live = excluded.live,
                    key_id = excluded.key_id, sealed = excluded.sealed, due_at = excluded.due_at, state = excluded.state
                """)
        try statement.execute(
            arguments: [
                grant, Int64(row.generation), isLive ? 1 : 0, sealed.keyID.text, blob(sealed.bytes), row.dueAt,
                row.state,
            ])
    }

    private static func open(_ columns: Columns, _ sealer: Sealer) throws -> (grant: String, row: GrantRow) {
        let grant = try columns.text(0)
        let generation = try columns.count(1)
        let live = try columns.integer(2) != 0
        let sealed = Sealed(keyID: KeyID(try columns.text(3)), bytes: try columns.bytes(4))
        let failure = columns.failure
        let payload = try sealer.open(
            sealed, at: .grant(grant, generation, live: live), in: failure.path, what: "the record of grant \(grant)",
            corrupt: failure.corrupt)
        let row = GrantRow(
            generation: generation, payload: live ? payload : nil, dueAt: try columns.optionalInteger(5),
            state: try columns.optionalText(6))
        return (grant, row)
    }

    // MARK: Questions to the indexes

    static func names(
        _ db: Database, prefix: String, state: String?, after: String?, limit: Int
    ) throws -> [String] {
        try String.fetchAll(
            db,
            sql: """
                SELECT grant_id FROM grant_record INDEXED BY grant_live
                WHERE live <> 0 AND grant_id >= ? AND grant_id > ? AND (? IS NULL OR grant_id < ?)
                AND (? IS NULL OR state = ?)
                ORDER BY grant_id LIMIT ?
                """,
            arguments: [prefix, after ?? "", end(ofPrefix: prefix), end(ofPrefix: prefix), state, state, limit])
    }

    static func count(_ db: Database, prefix: String) throws -> Int {
        try Int.fetchOne(
            db,
            sql: """
                SELECT count(*) FROM grant_record INDEXED BY grant_live
                WHERE live <> 0 AND grant_id >= ? AND (? IS NULL OR grant_id < ?)
                """,
            arguments: [prefix, end(ofPrefix: prefix), end(ofPrefix: prefix)]) ?? 0
    }

    static func states(
        _ db: Database, _ failure: SQLiteFailure, prefix: String, after: String?, limit: Int
    ) throws -> StatePage {
        let page = """
            SELECT grant_id, state FROM grant_record INDEXED BY grant_live
            WHERE live <> 0 AND grant_id >= ? AND grant_id > ? AND (? IS NULL OR grant_id < ?)
            ORDER BY grant_id LIMIT ?
            """
        func arguments(_ limit: Int) -> StatementArguments {
            [prefix, after ?? "", end(ofPrefix: prefix), end(ofPrefix: prefix), limit]
        }
        let sql = "SELECT state, count(*), max(grant_id) FROM (\(page)) GROUP BY state"
        let groups = try Row.fetchAll(db, sql: sql, arguments: arguments(limit)).map { row in
            let columns = Columns(row: row, failure: failure)
            return StateGroup(
                state: try columns.optionalText(0), count: Int(try columns.integer(1)), last: try columns.text(2))
        }
        if let page = StatePage(groups, limit: limit) { return page }
        let short = min(limit, StatePage.shortPage)
        let rows = try Row.fetchAll(db, sql: page, arguments: arguments(short)).map { row in
            let columns = Columns(row: row, failure: failure)
            return (grant: try columns.text(0), state: try columns.optionalText(1))
        }
        return StatePage(rows, limit: short)
    }

    static func note(_ db: Database, _ note: StateNote) throws {
        let statement = try db.cachedStatement(
            sql: """
                UPDATE grant_record SET state = ? WHERE grant_id = ? AND generation = ? AND live <> 0 AND state IS NULL
                """)
        try statement.execute(arguments: [note.state, note.grant, Int64(clamping: note.generation)])
    }

    static func due(
        _ db: Database, after: DuePosition, before: Int64, limit: Int
    ) throws -> [(grant: String, dueAt: Int64)] {
        try Row.fetchAll(
            db,
            sql: """
                SELECT grant_id, due_at FROM grant_record INDEXED BY grant_by_due
                WHERE due_at IS NOT NULL AND (due_at, grant_id) > (?, ?) AND due_at <= ?
                ORDER BY due_at, grant_id LIMIT ?
                """,
            arguments: [after.dueAt, after.grant, before, limit]
        ).map { ($0[0], $0[1]) }
    }

    static func nextDue(_ db: Database, after: DuePosition) throws -> Int64? {
        try Int64.fetchOne(
            db,
            sql: """
                SELECT due_at FROM grant_record INDEXED BY grant_by_due
                WHERE due_at IS NOT NULL AND (due_at, grant_id) > (?, ?) ORDER BY due_at, grant_id LIMIT 1
                """, arguments: [after.dueAt, after.grant])
    }

    /// Whether the indexes have the row, each in its place: one that is missing there is never listed or refreshed.
    static func isIndexed(_ db: Database, _ grant: String, _ row: GrantRow) throws -> Bool {
        let live = try db.cachedStatement(
            sql: "SELECT 1 FROM grant_record INDEXED BY grant_live WHERE live <> 0 AND grant_id = ?")
        if row.payload != nil, try Row.fetchOne(live, arguments: [grant]) == nil { return false }
        guard let dueAt = row.dueAt else { return true }
        let due = try db.cachedStatement(
            sql: """
                SELECT 1 FROM grant_record INDEXED BY grant_by_due
                WHERE due_at IS NOT NULL AND due_at = ? AND grant_id = ?
                """)
        return try Row.fetchOne(due, arguments: [dueAt, grant]) != nil
    }

    static func revision(_ db: Database, _ grant: String, _ failure: SQLiteFailure) throws -> UInt64? {
        let statement = try db.cachedStatement(
            sql: "SELECT generation FROM grant_record WHERE grant_id = ? AND live <> 0")
        return try Row.fetchOne(statement, arguments: [grant]).map { try Columns(row: $0, failure: failure).count(0) }
    }
}

/// The statements on `pending_consent`. Rows are found by `consentDigest(of: id)`.
enum ConsentTable {
    private static let columns = "SELECT consent_id, expires_at, key_id, sealed FROM pending_consent"

    static func find(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, digest: String) throws -> ConsentRow? {
        guard let row = try Row.fetchOne(db, sql: columns + " WHERE consent_id = ?", arguments: [digest]) else {
            return nil
        }
        return try open(Columns(row: row, failure: failure), sealer).row
    }

    static func verifyAll(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure) throws {
        let cursor = try Row.fetchCursor(db, sql: columns)
        while let row = try cursor.next() { _ = try open(Columns(row: row, failure: failure), sealer) }
    }

    /// Up to `limit` rows that are sealed under `key`, by digest.
    static func sealed(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, under key: String, limit: Int
    ) throws -> [(digest: String, row: ConsentRow)] {
        let sql = columns + " WHERE key_id = ? ORDER BY consent_id LIMIT ?"
        return try Row.fetchAll(db, sql: sql, arguments: [key, limit]).map {
            try open(Columns(row: $0, failure: failure), sealer)
        }
    }

    static func count(_ db: Database) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM pending_consent") ?? 0
    }

    static func purge(_ db: Database, now: Int64) throws {
        try db.execute(sql: "DELETE FROM pending_consent WHERE expires_at <= ?", arguments: [now])
    }

    static func delete(_ db: Database, digest: String) throws {
        try db.execute(sql: "DELETE FROM pending_consent WHERE consent_id = ?", arguments: [digest])
    }

    /// In place of the row with the same id; `false`: there are as many as may be.
    static func keep(_ db: Database, _ sealer: Sealer, _ kept: KeptConsent, now: Int64) throws -> Bool {
        let digest = consentDigest(of: kept.id)
        try purge(db, now: now)
        try delete(db, digest: digest)
        guard try count(db) < kept.limit else { return false }
        try put(db, sealer, digest: digest, ConsentRow(expiresAt: kept.expiresAt, payload: kept.payload))
        return true
    }

    static func put(_ db: Database, _ sealer: Sealer, digest: String, _ row: ConsentRow) throws {
        let sealed = try sealer.seal(row.payload, at: .consent(digest, row.expiresAt))
        try db.execute(
            sql: "REPLACE INTO pending_consent (consent_id, expires_at, key_id, sealed) VALUES (?, ?, ?, ?)",
            arguments: [digest, row.expiresAt, sealed.keyID.text, blob(sealed.bytes)])
    }

    private static func open(_ columns: Columns, _ sealer: Sealer) throws -> (digest: String, row: ConsentRow) {
        let digest = try columns.text(0)
        let expiresAt = try columns.integer(1)
        let sealed = Sealed(keyID: KeyID(try columns.text(2)), bytes: try columns.bytes(3))
        let failure = columns.failure
        let payload = try sealer.open(
            sealed, at: .consent(digest, expiresAt), in: failure.path, what: "a pending consent",
            corrupt: failure.corrupt)
        return (digest, ConsentRow(expiresAt: expiresAt, payload: payload))
    }
}

/// The statements on `store_key`: which keys seal something here, and how a key is known to be the right one.
enum KeyTable {
    private static let tables = ["grant_record", "pending_consent"]

    static func add(_ db: Database, _ key: StoreKey) throws {
        let sealed = try Sealer.seal(KeyProof.text, with: key, at: .keyCheck(key.id))
        try db.execute(
            sql: "REPLACE INTO store_key (key_id, check_value) VALUES (?, ?)",
            arguments: [key.id.text, blob(sealed.bytes)])
    }

    static func ids(_ db: Database) throws -> [KeyID] {
        try String.fetchAll(db, sql: "SELECT CAST(key_id AS TEXT) FROM store_key ORDER BY key_id").map { KeyID($0) }
    }

    /// The keys that rows are sealed under. Leaps from key to key in the indexes.
    static func idsInUse(_ db: Database) throws -> Set<String> {
        var found: Set<String> = []
        for table in tables {
            let sql = "SELECT CAST(key_id AS TEXT) FROM \(table) WHERE key_id > ? ORDER BY key_id LIMIT 1"
            var last = ""
            while let next = try String.fetchOne(db, sql: sql, arguments: [last]) {
                found.insert(next)
                guard next > last else { break }
                last = next
            }
        }
        return found
    }

    static func rows(_ db: Database, under id: KeyID) throws -> Int {
        try tables.reduce(0) { sum, table in
            let sql = "SELECT count(*) FROM \(table) WHERE key_id = ?"
            return try sum + (Int.fetchOne(db, sql: sql, arguments: [id.text]) ?? 0)
        }
    }

    static func delete(_ db: Database, _ id: KeyID) throws {
        try db.execute(sql: "DELETE FROM store_key WHERE key_id = ?", arguments: [id.text])
    }

    /// Refuses a ring that lacks a key in use, or that has none of the store's keys. Then notes the active key and
    /// forgets keys that seal nothing and are no longer configured.
    static func admit(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure) throws {
        let listed = try ids(db)
        guard !listed.isEmpty else { throw failure.corrupt("it names no key") }
        let inUse = try idsInUse(db)
        let missing = listed.filter { sealer.ring.key($0) == nil }
        guard missing.count < listed.count, !missing.contains(where: { inUse.contains($0.text) }) else {
            throw KeyProof.wrongKey(failure.path, listed: listed, missing: missing, ring: sealer.ring.ids)
        }
        for id in listed where !missing.contains(id) {
            try prove(db, id, sealer, failure)
        }
        for id in missing { try delete(db, id) }
        if !listed.contains(sealer.ring.active.id) { try add(db, sealer.ring.active) }
    }

    private static func prove(_ db: Database, _ id: KeyID, _ sealer: Sealer, _ failure: SQLiteFailure) throws {
        let row = try Row.fetchOne(
            db, sql: "SELECT check_value FROM store_key WHERE key_id = ?", arguments: [id.text])
        guard let row, KeyProof.isRight(try Columns(row: row, failure: failure).bytes(0), id, sealer) else {
            throw failure.corrupt("the check value of key \(id) does not open")
        }
    }
}
