import Synchronization

/// The store for several replicas: a PostgreSQL database, reached through libpq.
///
/// Each write compares and sets by the row's generation; nothing is held open between calls. A call takes at most the
/// statement time-out (or the connect time-out, if that is longer and a connection has to be made), whatever the server
/// does. While no connection can be made, calls fail at once with `unavailable` until the next attempt is due (0.1 s,
/// doubling to 2 s). Once a server was silent for the length of a call, they fail at once until it has answered the other
/// connection. After a commit whose answer was lost (`unavailable`, "unknown" in its message)
/// the record is there or will never be: a later commit on the same generation tells, since its conflict shows the
/// record that one had written oneself.
///
/// Two connections: one for the calls, on the store's thread, and one for `waitForNews`, on a thread of its own.
package final class PostgreSQLStore: TokenStore {
    struct State {
        var session: PostgreSQLSession
        var sealer: Sealer
        var isClosed = false
        var isOpen = false
        /// Of the store that was opened, against one that takes its place.
        var identity: String?
    }

    /// The name of this replica among those that share the store; each start has another.
    package let instance: String
    let settings: PostgreSQLSettings
    let migrations: [PostgreSQLMigration]
    let news: NewsListener
    private let state: Mutex<State>

    package var isShared: Bool { true }

    /// Connects, makes or migrates the tables under an advisory lock, and checks the keys: nothing is changed when
    /// one is missing. `unavailable` is worth another try later; so is `busy` (another replica is migrating).
    package convenience init(settings: PostgreSQLSettings, keys: KeyRing, instance: String) throws(StoreError) {
        try self.init(settings: settings, keys: keys, instance: instance, migrations: PostgreSQLSchema.migrations)
    }

    /// Other `migrations` than the schema's own are for tests.
    init(
        settings: PostgreSQLSettings, keys: KeyRing, instance: String, migrations: [PostgreSQLMigration]
    ) throws(StoreError) {
        try ArgumentCheck(store: settings.name).storable(id: instance, [])
        self.settings = settings
        self.instance = instance
        self.migrations = migrations
        news = try NewsListener(settings: settings, instance: instance)
        let session = PostgreSQLSession(settings: settings, applicationName: "token-gateway", backoffLimit: 2000)
        state = Mutex(State(session: session, sealer: Sealer(ring: keys)))
        try prepareTables()
        try PostgreSQLPooler.probe(settings)
        try useKeys(keys)
        let identity = try call(writes: false) { link throws(ServerFailure) in try PostgreSQLSchema.identity(link) }
        state.withLock { state in
            state.identity = identity
            state.isOpen = true
        }
    }

    deinit {
        close()
    }

    package func close() {
        state.withLock { state in
            state.isClosed = true
            state.session.drop()
        }
        news.close()
    }

    // MARK: Opening

    private func prepareTables() throws(StoreError) {
        let found = try call(writes: false) { link throws(ServerFailure) in
            let found = try PostgreSQLSchema.version(link)
            if let found { try PostgreSQLSchema.check(found, migrations, link.failure) }
            return found?.version ?? 0
        }
        guard found < migrations.count else { return }
        // A large table takes longer to change than any other call may take.
        try call(writes: true, within: 120_000) { link throws(ServerFailure) in
            try link.script("BEGIN; SET LOCAL statement_timeout = 120000; SET LOCAL lock_timeout = 120000")
            try link.script("SELECT pg_advisory_xact_lock(\(PostgreSQLSchema.migrationLock))")
            try PostgreSQLSchema.migrate(link, migrations)
            try link.script("COMMIT")
        }
    }

    // MARK: Calls

    /// Runs `body` on the connection. A statement that the server gave up for another one's sake is run again; so is
    /// a call that only reads, once, when the connection turns out to be dead.
    func call<Value: Sendable>(
        writes: Bool, within milliseconds: Int? = nil, keys: KeyRing? = nil,
        _ body: @Sendable (Link) throws(ServerFailure) -> Value
    ) throws(StoreError) -> Value {
        let failure = PostgreSQLFailure(name: settings.name)
        let deadline = monotonicMilliseconds() + Int64(milliseconds ?? settings.statementTimeout)
        return try state.withLock { state throws(StoreError) in
            guard !state.isClosed else { throw StoreError(.closed, "\(settings.name): the store is closed") }
            var repetitions = 0
            while true {
                do throws(ServerFailure) {
                    let value = try attempt(&state, deadline, keys, failure, body)
                    if let keys { state.sealer.ring = keys }
                    state.session.succeeded()
                    return value
                } catch {
                    repetitions += 1
                    switch error {
                    case .refused(let code, _) where PostgreSQLFailure.mayBeRepeated(code) && repetitions < 10: continue
                    case .lost where !writes && repetitions == 1: continue
                    case .refused, .lost, .unreachable, .store, .woken:
                        throw failure.translate(error, wrote: writes)
                    }
                }
            }
        }
    }

    private func attempt<Value>(
        _ state: inout State, _ deadline: Int64, _ keys: KeyRing?, _ failure: PostgreSQLFailure,
        _ body: @Sendable (Link) throws(ServerFailure) -> Value
    ) throws(ServerFailure) -> Value {
        let longest = max(
            deadline, deadline - Int64(settings.statementTimeout) + Int64(settings.connectTimeout))
        let (connection, isNew) = try state.session.connected(until: longest) { since in !news.hasHeard(since: since) }
        let sealer = keys.map { Sealer(ring: $0) } ?? state.sealer
        let link = Link(
            connection: connection, deadline: isNew ? longest : deadline, sealer: sealer, failure: failure)
        do throws(ServerFailure) {
            // The store may have been migrated, or be another one, since we were here last.
            if news.takeDoubt() || isNew { try confirm(state, link) }
            return try body(link)
        } catch {
            // It may be put right at any time: the next call looks again.
            if PostgreSQLFailure.castsDoubt(error) { news.doubt() }
            recover(&state, connection, link, error)
            throw error
        }
    }

    private func confirm(_ state: State, _ link: Link) throws(ServerFailure) {
        if state.isOpen {
            try PostgreSQLSchema.confirm(link, migrations, identity: state.identity)
        } else if let found = try PostgreSQLSchema.version(link) {
            try PostgreSQLSchema.check(found, migrations, link.failure)
        }
    }

    private func recover(
        _ state: inout State, _ connection: PostgreSQLConnection, _ link: Link, _ error: ServerFailure
    ) {
        if case .refused(let code, _) = error, PostgreSQLFailure.spoilsSession(code) { state.session.drop() }
        if connection.isBroken { return state.session.drop() }
        guard connection.isInTransaction else { return }
        do {
            try link.script("ROLLBACK")
        } catch {
            state.session.drop()
        }
    }

    var check: ArgumentCheck { ArgumentCheck(store: settings.name) }
}
