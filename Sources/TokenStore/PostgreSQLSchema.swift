/// One step of the schema.
struct PostgreSQLMigration: Sendable {
    let statements: [String]
    /// The oldest schema version whose programs may go on using the store after this step. A step that only adds
    /// things keeps the number of the one before, so that replicas of both versions can run side by side.
    let readableBy: Int
}

/// The form of the PostgreSQL store, in a schema of its own. Steps are only ever added; they run under an advisory
/// lock, in one transaction. There is no way back.
enum PostgreSQLSchema {
    static let channel = "token_gateway"
    /// Advisory locks ("TGw" and a number): one replica migrates at a time; one puts a consent at a time; one makes a
    /// grant at a time.
    static let migrationLock: Int64 = 0x5447_7700_0001
    static let consentLock: Int64 = 0x5447_7700_0002
    static let roomLock: Int64 = 0x5447_7700_0003

    static let migrations = [
        PostgreSQLMigration(
            statements: [
                // One row for each key that seals something, with a value that only the right key opens.
                """
                CREATE TABLE token_gateway.store_key (
                    key_id text COLLATE "C" PRIMARY KEY, check_value bytea NOT NULL)
                """,
                // `live` false is the memory of a removed grant: its generation must never be given out again. The
                // reference makes that a key cannot be retired while a row is sealed under it, whoever writes.
                """
                CREATE TABLE token_gateway.grant_record (
                    grant_id text COLLATE "C" PRIMARY KEY, generation bigint NOT NULL, live boolean NOT NULL,
                    key_id text COLLATE "C" NOT NULL REFERENCES token_gateway.store_key, sealed bytea NOT NULL,
                    due_at bigint)
                """,
                "ALTER TABLE token_gateway.grant_record ALTER COLUMN sealed SET STORAGE EXTERNAL",
                "CREATE INDEX grant_by_due ON token_gateway.grant_record (due_at, grant_id) WHERE due_at IS NOT NULL",
                "CREATE INDEX grant_live ON token_gateway.grant_record (grant_id) WHERE live",
                "CREATE INDEX grant_by_key ON token_gateway.grant_record (key_id, grant_id)",
                // `consent_id` is a digest: the id itself is a secret while it is pending.
                """
                CREATE TABLE token_gateway.pending_consent (
                    consent_id text COLLATE "C" PRIMARY KEY, expires_at bigint NOT NULL,
                    key_id text COLLATE "C" NOT NULL REFERENCES token_gateway.store_key, sealed bytea NOT NULL)
                """,
                "CREATE INDEX consent_by_key ON token_gateway.pending_consent (key_id, consent_id)",
                "CREATE INDEX consent_by_expiry ON token_gateway.pending_consent (expires_at)",
                // A replica is there while a session of its holds the advisory lock `lock_key`.
                """
                CREATE TABLE token_gateway.replica (
                    instance text COLLATE "C" PRIMARY KEY, lock_key bigint NOT NULL, backend integer NOT NULL,
                    started_at timestamptz NOT NULL DEFAULT clock_timestamp())
                """,
                """
                CREATE TABLE token_gateway.write_check (
                    single boolean PRIMARY KEY CHECK (single), at timestamptz NOT NULL)
                """,
            ], readableBy: 1),
        PostgreSQLMigration(
            statements: [
                // NULL where a record was written without one. A program that writes none would leave a wrong one.
                "ALTER TABLE token_gateway.grant_record ADD COLUMN state text",
                "DROP INDEX token_gateway.grant_live",
                "CREATE INDEX grant_live ON token_gateway.grant_record (grant_id) INCLUDE (state) WHERE live",
                // Made once and dumped with the rest: what tells a store that was put back from an empty one.
                """
                ALTER TABLE token_gateway.store_version ADD COLUMN identity text NOT NULL
                    DEFAULT md5(random()::text || clock_timestamp()::text)
                """,
            ], readableBy: 2),
    ]
    /// The first version whose stores have an identity.
    private static let identifiedVersion = 2

    /// The version of the store; `nil`: there is none yet.
    static func version(_ link: Link) throws(ServerFailure) -> (version: Int, readableBy: Int)? {
        // Not to_regclass: in a transaction that waited for the lock it may go by what the session remembers.
        let found = try link.run(
            """
            SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'token_gateway' AND c.relname = 'store_version')
            """)
        guard try found.flag(0, 0) else { return nil }
        let rows = try link.run("SELECT version, readable_by FROM token_gateway.store_version")
        guard rows.count == 1 else { throw .store(link.failure.corrupt("its version is not there")) }
        return (Int(try rows.integer(0, 0)), Int(try rows.integer(0, 1)))
    }

    /// What tells this store from any other; `nil`: it is of before there was such a thing.
    static func identity(_ link: Link) throws(ServerFailure) -> String? {
        guard let found = try version(link), found.version >= identifiedVersion else { return nil }
        return try link.run("SELECT identity FROM token_gateway.store_version").text(0, 0)
    }

    /// Refuses what is in the place of a store that was open here. An empty store would end every grant, so none is
    /// made, and none that somebody else has made is taken for ours.
    static func confirm(
        _ link: Link, _ migrations: [PostgreSQLMigration], identity: String?
    ) throws(ServerFailure) {
        guard let found = try version(link) else { throw .store(link.failure.gone()) }
        try check(found, migrations, link.failure)
        guard let identity, try self.identity(link) != identity else { return }
        throw .store(
            StoreError(
                .foreign,
                "\(link.failure.name) is another store than the one that was open here: it was made anew, or another "
                    + "database answers. It is not used, because grants that it lacks would be ended. Put the old one "
                    + "back; or restart this gateway to go on with what is there"))
    }

    /// Refuses a store that is too new for `migrations`. A newer one that says that we may use it is taken as it is.
    static func check(
        _ found: (version: Int, readableBy: Int), _ migrations: [PostgreSQLMigration], _ failure: PostgreSQLFailure
    ) throws(ServerFailure) {
        guard found.version > migrations.count, found.readableBy > migrations.count else { return }
        throw .store(
            StoreError(
                .newerSchema,
                "\(failure.name) was changed by a newer token-gateway (schema \(found.version), for programs that know "
                    + "\(found.readableBy); this one knows \(migrations.count)); it was not touched. Run the newer "
                    + "version here too"))
    }

    /// Makes the store or takes it to our version. Must be called in a transaction that holds the lock.
    static func migrate(_ link: Link, _ migrations: [PostgreSQLMigration]) throws(ServerFailure) {
        let old = try version(link)
        if let old { try check(old, migrations, link.failure) }
        guard (old?.version ?? 0) < migrations.count else { return }
        if old == nil { try create(link) }
        for statement in migrations[max(0, old?.version ?? 0)...].flatMap(\.statements) {
            try link.script(statement)
        }
        _ = try link.run(
            "UPDATE token_gateway.store_version SET version = $1, readable_by = greatest(readable_by, $2)",
            .integer(Int64(migrations.count)), .integer(Int64(migrations.last?.readableBy ?? 1)))
    }

    private static func create(_ link: Link) throws(ServerFailure) {
        // Asked first: whoever was given an empty schema may not be allowed to make one.
        let found = try link.run("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'token_gateway')")
        if try !found.flag(0, 0) { try link.script("CREATE SCHEMA token_gateway") }
        try link.script(
            """
            CREATE TABLE token_gateway.store_version (
                single boolean PRIMARY KEY CHECK (single), version bigint NOT NULL, readable_by bigint NOT NULL);
            INSERT INTO token_gateway.store_version VALUES (true, 0, 1)
            """)
    }
}
