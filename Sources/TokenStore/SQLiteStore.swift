import GRDB
import Synchronization

/// The embedded store: one SQLite file (WAL, `synchronous=FULL`) for one process.
///
/// SQLite's exclusive locking mode is on: no other program can open the file meanwhile, and there is no shared-memory
/// file, whose mapping could fault on a full disk.
package final class SQLiteStore: TokenStore {
    struct State {
        var database: DatabaseQueue?
        var sealer: Sealer
        var lock: StoreLock?
        var files: OpenFiles?
    }

    let path: String
    private let state: Mutex<State>

    /// A store of up to this size is checked in whole when it is opened.
    static let smallBytes: Int64 = 4 << 20

    package var isShared: Bool { false }

    /// Opens the store, or makes it if there is no file. Checks directory, file modes, lock, form and keys before
    /// anything is written. Of a store of up to 4 MiB every value must open; a larger one is taken as it is, since
    /// the check would take seconds: its values are verified as they are read, and the gateway goes through them all
    /// with `verify` while it runs.
    package convenience init(path: String, keys: KeyRing) throws(StoreError) {
        try self.init(path: path, keys: keys, migrations: SQLiteSchema.migrations)
    }

    /// `migrations` other than the schema's own are for tests.
    init(path: String, keys: KeyRing, migrations: [[String]]) throws(StoreError) {
        let files = StoreFiles(path: path)
        try files.prepareDirectory()
        let lock = try StoreLock(files)
        let sealer = Sealer(ring: keys)
        if try !files.checkDatabase() {
            try Self.create(files, sealer, migrations)
        }
        try SQLiteSchema.checkHeader(
            files.header(SQLiteSchema.headerBytes), path: path, fileBytes: files.bytesWithoutLog())
        let isSmall = try files.totalBytes() <= Self.smallBytes
        let failure = SQLiteFailure(path: path)
        do {
            let database = try Self.connect(path)
            try Self.examine(database, sealer, migrations, inWhole: isSmall, failure)
            self.path = path
            state = Mutex(State(database: database, sealer: sealer, lock: lock, files: try files.identities()))
        } catch {
            throw failure.translate(error)
        }
    }

    deinit {
        close()
    }

    package func close() {
        state.withLock { state in
            // A failure here loses nothing: every commit was durable when it returned.
            try? state.database?.close()
            state.database = nil
            state.lock = nil
        }
    }

    // MARK: Opening

    static func connect(_ path: String) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "token-store"
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { db in
            // The locking mode comes first: it decides how the log is opened. The size of a page is for new files only,
            // and must be said before the log is there: a record of up to 2,000 octets then lies within its page. With
            // 4,096 each of more than 1,000 octets has a page to itself, which more than doubles the file.
            try db.execute(
                sql: """
                    PRAGMA page_size = 8192;
                    PRAGMA locking_mode = EXCLUSIVE;
                    PRAGMA journal_mode = WAL;
                    PRAGMA synchronous = FULL;
                    PRAGMA secure_delete = ON;
                    PRAGMA cell_size_check = ON;
                    PRAGMA trusted_schema = OFF;
                    PRAGMA temp_store = MEMORY;
                    """)
        }
        return try DatabaseQueue(path: path, configuration: configuration)
    }

    private static func create(_ files: StoreFiles, _ sealer: Sealer, _ migrations: [[String]]) throws(StoreError) {
        try files.createUnfinished()
        do {
            let database = try connect(files.unfinishedPath)
            try database.write { db in
                try db.execute(sql: "PRAGMA application_id = \(SQLiteSchema.applicationID)")
                try SQLiteSchema.migrate(db, migrations)
                try KeyTable.add(db, sealer.ring.active)
            }
            // Closing moves the log into the file and removes it.
            try database.close()
        } catch {
            throw SQLiteFailure(path: files.unfinishedPath).translate(error)
        }
        try files.publishUnfinished()
    }

    private static func examine(
        _ database: DatabaseQueue, _ sealer: Sealer, _ migrations: [[String]], inWhole: Bool, _ failure: SQLiteFailure
    ) throws {
        // All checks, the migration and the note of a new key are one transaction: a refusal leaves no trace.
        try database.write { db in
            let version = try SQLiteSchema.version(db)
            guard version <= migrations.count else {
                throw StoreError(
                    .newerSchema,
                    "\(failure.path) was written by a newer token-gateway (schema \(version), this one knows "
                        + "\(migrations.count)); it was not touched. Run the newer version, or put a backup back")
            }
            if inWhole { try structureCheck(db, failure) }
            guard version > 0, try SQLiteSchema.matches(db, Array(migrations.prefix(version))) else {
                throw failure.corrupt("its tables are not those of a store")
            }
            try SQLiteSchema.migrate(db, migrations)
            try KeyTable.admit(db, sealer, failure)
            if inWhole {
                for (_, row) in try GrantTable.page(db, sealer, failure, after: "", limit: .max) { _ = try row.get() }
                try ConsentTable.verifyAll(db, sealer, failure)
            }
        }
    }

    /// Goes through the whole file. Not the quicker `quick_check`: only this one sees that an index lacks a row.
    static func structureCheck(_ db: Database, _ failure: SQLiteFailure) throws {
        let findings = try DatabaseValue.fetchAll(db, sql: "PRAGMA integrity_check(1)")
        guard findings.map(\.storage.value) as? [String] == ["ok"] else {
            throw failure.corrupt("its integrity check failed")
        }
    }

    // MARK: Transactions

    /// Runs `body` in one transaction, durable when this returns.
    func write<Result: Sendable>(_ body: (Database, Sealer, SQLiteFailure) throws -> Result)
        throws(StoreError) -> Result
    {
        try transaction { database, sealer, failure in
            try database.write { db in try body(db, sealer, failure) }
        }
    }

    func read<Result: Sendable>(_ body: (Database, Sealer, SQLiteFailure) throws -> Result)
        throws(StoreError) -> Result
    {
        try transaction { database, sealer, failure in
            try database.read { db in try body(db, sealer, failure) }
        }
    }

    /// Changes the ring to `ring` if `body` succeeds with it in a transaction.
    func changeRing(to ring: KeyRing, _ body: (Database, Sealer, SQLiteFailure) throws -> Void) throws(StoreError) {
        let failure = SQLiteFailure(path: path)
        try state.withLock { state throws(StoreError) in
            try keepFiles(&state)
            guard let database = state.database else { throw Self.closed(failure.path) }
            do {
                try database.write { db in try body(db, Sealer(ring: ring), failure) }
            } catch {
                throw failure.translate(error)
            }
            state.sealer.ring = ring
        }
    }

    /// Empties the log into the file, so that nothing old stays in it.
    func emptyLog() throws(StoreError) {
        try transaction { database, _, _ in
            try database.writeWithoutTransaction { db in _ = try db.checkpoint(.truncate) }
        }
    }

    private func transaction<Result: Sendable>(
        _ body: (DatabaseQueue, Sealer, SQLiteFailure) throws -> Result
    ) throws(StoreError) -> Result {
        let failure = SQLiteFailure(path: path)
        return try state.withLock { state throws(StoreError) in
            try keepFiles(&state)
            guard let database = state.database else { throw Self.closed(failure.path) }
            do {
                return try body(database, state.sealer, failure)
            } catch {
                throw failure.translate(error)
            }
        }
    }

    static func closed(_ path: String) -> StoreError {
        StoreError(.closed, "\(path): the store is closed")
    }
}
