import GRDB
import OpenSSLKit

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

/// A row of `grant_record`, opened.
struct GrantRow {
    let generation: UInt64
    /// `nil`: the grant was removed.
    let payload: [UInt8]?

    var record: StoredRecord? {
        payload.map { StoredRecord(generation: generation, payload: $0) }
    }
}

/// The statements on `grant_record`.
enum GrantTable {
    private static let columns = "SELECT grant_id, generation, live, key_id, sealed FROM grant_record"

    static func find(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, grant: String) throws -> GrantRow? {
        guard let row = try Row.fetchOne(db, sql: columns + " WHERE grant_id = ?", arguments: [grant]) else {
            return nil
        }
        return try open(Columns(row: row, failure: failure), sealer).row
    }

    static func all(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure) throws -> [String: GrantRow] {
        try rows(db, sealer, failure, sql: columns, arguments: [])
    }

    static func verifyAll(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure) throws {
        _ = try all(db, sealer, failure)
    }

    /// Up to `limit` rows that are sealed under another key than `id`.
    static func sealedOtherwise(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, than id: KeyID, limit: Int
    ) throws -> [String: GrantRow] {
        try rows(
            db, sealer, failure, sql: columns + " WHERE key_id <> ? LIMIT ?", arguments: [id.text, limit])
    }

    static func put(_ db: Database, _ sealer: Sealer, grant: String, _ row: GrantRow) throws {
        let sealed = try sealer.seal(row.payload ?? [], at: place(grant, row.generation, live: row.payload != nil))
        try db.execute(
            sql: "REPLACE INTO grant_record (grant_id, generation, live, key_id, sealed) VALUES (?, ?, ?, ?, ?)",
            arguments: [
                grant, Int64(row.generation), row.payload == nil ? 0 : 1, sealed.keyID.text, blob(sealed.bytes),
            ])
    }

    private static func rows(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, sql: String, arguments: StatementArguments
    ) throws -> [String: GrantRow] {
        var found: [String: GrantRow] = [:]
        let cursor = try Row.fetchCursor(db, sql: sql, arguments: arguments)
        while let row = try cursor.next() {
            let (grant, opened) = try open(Columns(row: row, failure: failure), sealer)
            guard found.updateValue(opened, forKey: grant) == nil else {
                throw failure.corrupt("grant \(grant) is there twice")
            }
        }
        return found
    }

    private static func open(_ columns: Columns, _ sealer: Sealer) throws -> (grant: String, row: GrantRow) {
        let grant = try columns.text(0)
        let generation = try columns.count(1)
        let live = try columns.integer(2) != 0
        let sealed = Sealed(keyID: KeyID(try columns.text(3)), bytes: try columns.bytes(4))
        guard let payload = sealer.open(sealed, at: place(grant, generation, live: live)) else {
            throw columns.failure.corrupt("the record of grant \(grant) does not open under its key")
        }
        return (grant, GrantRow(generation: generation, payload: live ? payload : nil))
    }

    private static func place(_ grant: String, _ generation: UInt64, live: Bool) -> SealedPlace {
        SealedPlace(table: live ? "grant" : "removed grant", row: grant, number: generation)
    }
}

/// A row of `pending_consent`, opened.
struct ConsentRow {
    let expiresAt: Int64
    let payload: [UInt8]
}

/// The statements on `pending_consent`. Rows are found by `digest(of: id)`.
enum ConsentTable {
    private static let columns = "SELECT consent_id, expires_at, key_id, sealed FROM pending_consent"

    static func digest(of id: String) -> String {
        hexText(Digest.sha256(Array("token-gateway consent id".utf8) + Array(id.utf8)))
    }

    static func find(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, digest: String) throws -> ConsentRow? {
        guard let row = try Row.fetchOne(db, sql: columns + " WHERE consent_id = ?", arguments: [digest]) else {
            return nil
        }
        return try open(Columns(row: row, failure: failure), sealer).row
    }

    static func verifyAll(_ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure) throws {
        _ = try rows(db, sealer, failure, sql: columns, arguments: [])
    }

    /// Up to `limit` rows that are sealed under another key than `id`, by digest.
    static func sealedOtherwise(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, than id: KeyID, limit: Int
    ) throws -> [String: ConsentRow] {
        try rows(
            db, sealer, failure, sql: columns + " WHERE key_id <> ? LIMIT ?", arguments: [id.text, limit])
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

    static func put(_ db: Database, _ sealer: Sealer, digest: String, _ row: ConsentRow) throws {
        let sealed = try sealer.seal(row.payload, at: place(digest, row.expiresAt))
        try db.execute(
            sql: "REPLACE INTO pending_consent (consent_id, expires_at, key_id, sealed) VALUES (?, ?, ?, ?)",
            arguments: [digest, row.expiresAt, sealed.keyID.text, blob(sealed.bytes)])
    }

    private static func rows(
        _ db: Database, _ sealer: Sealer, _ failure: SQLiteFailure, sql: String, arguments: StatementArguments
    ) throws -> [String: ConsentRow] {
        var found: [String: ConsentRow] = [:]
        let cursor = try Row.fetchCursor(db, sql: sql, arguments: arguments)
        while let row = try cursor.next() {
            let (digest, opened) = try open(Columns(row: row, failure: failure), sealer)
            found[digest] = opened
        }
        return found
    }

    private static func open(_ columns: Columns, _ sealer: Sealer) throws -> (digest: String, row: ConsentRow) {
        let digest = try columns.text(0)
        let expiresAt = try columns.integer(1)
        let sealed = Sealed(keyID: KeyID(try columns.text(2)), bytes: try columns.bytes(3))
        guard let payload = sealer.open(sealed, at: place(digest, expiresAt)) else {
            throw columns.failure.corrupt("a pending consent does not open under its key")
        }
        return (digest, ConsentRow(expiresAt: expiresAt, payload: payload))
    }

    private static func place(_ digest: String, _ expiresAt: Int64) -> SealedPlace {
        SealedPlace(table: "pending consent", row: digest, number: UInt64(bitPattern: expiresAt))
    }
}

/// The statements on `store_key`: which keys seal something here, and how a key is known to be the right one.
enum KeyTable {
    private static let proof = Array("token-gateway store key".utf8)

    static func add(_ db: Database, _ key: StoreKey) throws {
        let sealed = try Sealer.seal(proof, with: key, at: place(key.id))
        try db.execute(
            sql: "REPLACE INTO store_key (key_id, check_value) VALUES (?, ?)",
            arguments: [key.id.text, blob(sealed.bytes)])
    }

    static func ids(_ db: Database) throws -> [KeyID] {
        try String.fetchAll(db, sql: "SELECT CAST(key_id AS TEXT) FROM store_key ORDER BY key_id").map { KeyID($0) }
    }

    /// The keys that rows are sealed under.
    static func idsInUse(_ db: Database) throws -> Set<String> {
        try Set(
            String.fetchAll(
                db,
                sql: """
                    SELECT CAST(key_id AS TEXT) FROM grant_record UNION
                    SELECT CAST(key_id AS TEXT) FROM pending_consent
                    """))
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
            throw wrongKey(failure.path, listed, missing, sealer.ring.ids)
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
        guard let row,
            let opened = sealer.open(
                Sealed(keyID: id, bytes: try Columns(row: row, failure: failure).bytes(0)), at: place(id)),
            opened == proof
        else { throw failure.corrupt("the check value of key \(id) does not open") }
    }

    private static func wrongKey(_ path: String, _ listed: [KeyID], _ missing: [KeyID], _ ring: [KeyID]) -> StoreError {
        func list(_ ids: [KeyID]) -> String { ids.map(\.text).joined(separator: ", ") }
        return StoreError(
            .key,
            "\(path) is sealed under key \(list(listed)), but the configured key is \(list(ring)); missing: "
                + "\(list(missing)). Nothing was changed. Configure the missing key (as an older key if another is to "
                + "replace it)")
    }

    private static func place(_ id: KeyID) -> SealedPlace {
        SealedPlace(table: "key check", row: id.text, number: 0)
    }
}
