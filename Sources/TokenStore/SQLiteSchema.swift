import GRDB

/// The form of the SQLite store. Each entry of `migrations` takes the schema one version further, in one transaction;
/// entries are only ever added. There is no way back: an older gateway refuses a newer store.
enum SQLiteSchema {
    /// "TGws" in the header of the file: how a store of ours is told from any other SQLite database.
    static let applicationID: UInt32 = 0x5447_7773

    static let migrations: [[String]] = [
        [
            // `live` 0 is the memory of a removed grant: its generation must never be given out again. The sealed
            // value is then empty, but it still proves that the row is ours.
            """
            CREATE TABLE grant_record (
                grant_id TEXT PRIMARY KEY NOT NULL, generation INTEGER NOT NULL, live INTEGER NOT NULL,
                key_id TEXT NOT NULL, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID
            """,
            // `consent_id` is a digest: the id itself is a secret while it is pending.
            """
            CREATE TABLE pending_consent (
                consent_id TEXT PRIMARY KEY NOT NULL, expires_at INTEGER NOT NULL,
                key_id TEXT NOT NULL, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID
            """,
            // One row for each key that seals something, with a value that only the right key opens.
            """
            CREATE TABLE store_key (
                key_id TEXT PRIMARY KEY NOT NULL, check_value BLOB NOT NULL) STRICT, WITHOUT ROWID
            """,
        ],
        [
            // Each index holds all that its question needs: a page of the table itself holds few rows, since the sealed
            // values are there.
            "ALTER TABLE grant_record ADD COLUMN due_at INTEGER",
            "CREATE INDEX grant_by_due ON grant_record (due_at, grant_id) WHERE due_at IS NOT NULL",
            "CREATE INDEX grant_live ON grant_record (grant_id, live) WHERE live <> 0",
            "CREATE INDEX grant_by_key ON grant_record (key_id, grant_id)",
            "CREATE INDEX consent_by_key ON pending_consent (key_id, consent_id)",
            "CREATE INDEX consent_by_expiry ON pending_consent (expires_at)",
        ],
        [
            // NULL where a record was written without one. Grants are counted by it, from the index alone.
            "ALTER TABLE grant_record ADD COLUMN state TEXT",
            "DROP INDEX grant_live",
            "CREATE INDEX grant_live ON grant_record (grant_id, live, state) WHERE live <> 0",
        ],
    ]

    static func version(_ db: Database) throws -> Int {
        try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    }

    /// Runs what is missing of `migrations`. Must be called in a transaction.
    static func migrate(_ db: Database, _ migrations: [[String]]) throws {
        let old = try version(db)
        guard old < migrations.count else { return }
        for statement in migrations[max(0, old)...].joined() {
            try db.execute(sql: statement)
        }
        try db.execute(sql: "PRAGMA user_version = \(migrations.count)")
    }

    /// Whether the tables are, to the letter, those that `migrations` would have made. A table `lease`, which versions
    /// before 0.1.0 made and never used, may be there or not.
    static func matches(_ db: Database, _ migrations: [[String]]) throws -> Bool {
        let found = try DatabaseValue.fetchAll(
            db,
            sql: """
                SELECT sql FROM sqlite_schema
                WHERE name NOT LIKE 'sqlite_%' AND NOT (type = 'table' AND name = 'lease') ORDER BY rowid
                """)
        let expected = try expectedStatements(migrations)
        return found.map(\.storage.value) as? [String] == expected
    }

    /// Made in a database in memory, since a later migration may alter what an earlier one created.
    private static func expectedStatements(_ migrations: [[String]]) throws -> [String] {
        try DatabaseQueue().write { db in
            try migrate(db, migrations)
            return try String.fetchAll(
                db, sql: "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY rowid")
        }
    }

    /// Reads the header of a database file; says what is wrong with it.
    /// `fileBytes` is the size of a file that has no log, so that all its pages must be there; otherwise `nil`.
    static func checkHeader(_ header: [UInt8], path: String, fileBytes: Int64?) throws(StoreError) {
        let magic = Array("SQLite format 3\0".utf8)
        guard header.count == headerBytes, header.starts(with: magic) else {
            let size = header.count < headerBytes ? " (it has only \(header.count) bytes)" : ""
            throw SQLiteFailure(path: path).corrupt("it does not begin as a store does\(size)")
        }
        let id = header[68..<72].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard id == applicationID else {
            throw StoreError(
                .foreign,
                "\(path) is an SQLite database of another program, or a damaged store; it was not touched. Set the "
                    + "store's path to a file of its own, or put a backup back")
        }
        // Offsets 16 and 28: the size of a page (1 stands for 65536) and the number of pages.
        let pageBytes = Int64(header[16]) << 8 | Int64(header[17])
        let pages = header[28..<32].reduce(Int64(0)) { $0 << 8 | Int64($1) }
        if let fileBytes, pages * (pageBytes == 1 ? 65536 : pageBytes) > fileBytes {
            throw SQLiteFailure(path: path).corrupt("its end is missing (\(fileBytes) bytes are there)")
        }
    }

    static let headerBytes = 100
}

/// Turns what SQLite reports into errors that name the file and the remedy.
struct SQLiteFailure: Sendable {
    let path: String

    func corrupt(_ detail: String) -> StoreError {
        StoreError(
            .corrupt,
            "\(path) is damaged: \(detail). Put a backup back, or move it (and \(path)-wal) away to start with an empty "
                + "store; then every grant needs consent again")
    }

    func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else {
            return StoreError(.inputOutput, "\(path): \(type(of: error))")
        }
        // The text of SQLite only: the statement's arguments stay out.
        let detail = "SQLite says: \(error.message ?? "nothing") (code \(error.extendedResultCode.rawValue))"
        switch error.resultCode {
        case .SQLITE_FULL:
            return StoreError(.diskFull, "\(path): the disk or quota is full. \(detail)")
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL:
            return StoreError(.busy, "\(path) is locked by another program. \(detail)")
        case .SQLITE_READONLY:
            return StoreError(.readOnly, "\(path) cannot be written. \(detail)")
        case .SQLITE_PERM, .SQLITE_AUTH, .SQLITE_CANTOPEN:
            return StoreError(.permissions, "\(path) cannot be opened. \(detail)")
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_ERROR, .SQLITE_SCHEMA, .SQLITE_CONSTRAINT, .SQLITE_MISMATCH:
            return corrupt(detail)
        default:
            return StoreError(.inputOutput, "\(path): reading or writing failed. \(detail)")
        }
    }
}
