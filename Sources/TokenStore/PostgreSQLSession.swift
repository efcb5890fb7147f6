/// When the next attempt at a connection is due: at once after a connection that worked, then 0.1 s after a failure,
/// doubling up to a limit.
struct ConnectionBackoff {
    let limit: Int64
    private var delay: Int64 = 0
    private(set) var notBefore = Int64.min

    init(limit: Int64) { self.limit = limit }

    mutating func failed(now: Int64) {
        delay = min(max(100, delay * 2), limit)
        notBefore = now + delay
    }

    mutating func succeeded() {
        delay = 0
        notBefore = .min
    }
}

/// A way to run statements within one call: the connection, how long the call may take, and what opens values.
struct Link {
    let connection: PostgreSQLConnection
    let deadline: Int64
    let sealer: Sealer
    let failure: PostgreSQLFailure

    func run(_ sql: String, _ values: SQLValue...) throws(ServerFailure) -> Rows {
        try connection.run(sql, values, until: deadline)
    }

    /// Constant statements only.
    func script(_ sql: String) throws(ServerFailure) {
        try connection.runScript(sql, until: deadline)
    }

    /// Runs `body` in a transaction. It is the caller of all this who rolls back after an error.
    func transaction<Value>(
        lock: Int64? = nil, _ body: () throws(ServerFailure) -> Value
    ) throws(ServerFailure) -> Value {
        try script("BEGIN" + (lock.map { "; SELECT pg_advisory_xact_lock(\($0))" } ?? ""))
        let value = try body()
        try script("COMMIT")
        return value
    }
}

/// A connection that is made when it is needed and made anew when it is lost.
struct PostgreSQLSession {
    let settings: PostgreSQLSettings
    let applicationName: String
    private var connection: PostgreSQLConnection?
    private(set) var backoff: ConnectionBackoff
    private var lastFailure = "no connection was made yet"
    /// Since when the server has been silent: a call or an attempt at a connection was given up for want of an answer.
    private(set) var silentSince: Int64?

    init(settings: PostgreSQLSettings, applicationName: String, backoffLimit: Int64) {
        self.settings = settings
        self.applicationName = applicationName
        backoff = ConnectionBackoff(limit: backoffLimit)
    }

    /// The connection, made anew if need be; until the next attempt is due that fails at once. `isSilent` says whether
    /// a server that was silent still is: then nothing is tried.
    mutating func connected(
        until deadline: Int64, wake: Int32 = -1, isSilent: (_ since: Int64) -> Bool = { _ in false }
    ) throws(ServerFailure) -> (PostgreSQLConnection, isNew: Bool) {
        if let connection, connection.isAlive() { return (connection, false) }
        connection = nil
        let now = monotonicMilliseconds()
        if let silentSince, isSilent(silentSince) {
            throw .unreachable(state: nil, text: "Waiting for a sign of life after: \(lastFailure)")
        }
        guard now >= backoff.notBefore else {
            throw .unreachable(state: nil, text: "Waiting before the next attempt after: \(lastFailure)")
        }
        let connectDeadline = min(deadline, now + Int64(settings.connectTimeout))
        do throws(ServerFailure) {
            let made = try PostgreSQLConnection(
                settings, applicationName: applicationName, until: connectDeadline, wake: wake)
            try prepare(made, until: deadline)
            silentSince = nil
            connection = made
            return (made, true)
        } catch {
            switch error {
            case .unreachable(_, let text), .lost(let text), .refused(_, let text): lastFailure = text
            case .store, .woken: break
            }
            backoff.failed(now: monotonicMilliseconds())
            if monotonicMilliseconds() >= connectDeadline { silentSince = monotonicMilliseconds() }
            if case .lost(let text) = error { throw .unreachable(state: nil, text: text) }
            throw error
        }
    }

    /// The connection served its purpose: a later failure begins with a short pause again.
    mutating func succeeded() { backoff.succeeded() }

    /// A connection that was made was of no use: the next attempt is put off as after one that failed.
    mutating func failed() { backoff.failed(now: monotonicMilliseconds()) }

    mutating func drop() {
        if connection?.hasTimedOut == true {
            silentSince = monotonicMilliseconds()
            lastFailure = PostgreSQLConnection.silence
        }
        connection = nil
    }

    /// Limits for this session, whatever the server's defaults are. A commit must be durable even where the server's
    /// default lets it be lost, and a client that is gone must be noticed by the server too.
    private func prepare(_ connection: PostgreSQLConnection, until deadline: Int64) throws(ServerFailure) {
        guard connection.serverVersion >= 120_000 else {
            throw .store(
                StoreError(
                    .foreign, "\(settings.name): PostgreSQL 12 or newer is needed; this is \(connection.serverVersion)")
            )
        }
        // So that the server gives up before we do: then it is known that nothing was changed.
        let limit = max(1, settings.statementTimeout * 9 / 10)
        try connection.runScript(
            """
            SET statement_timeout = \(limit); SET lock_timeout = \(max(1, limit / 2));
            SET idle_in_transaction_session_timeout = \(limit + 1000); SET search_path = pg_catalog;
            SET default_transaction_isolation = 'read committed'; SET tcp_keepalives_idle = 2;
            SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 5000;
            SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
            SELECT set_config('idle_session_timeout', '0', false)
                WHERE current_setting('idle_session_timeout', true) IS NOT NULL
            """, until: deadline)
        try PostgreSQLPooler.claim(connection, settings.name, until: deadline)
    }
}
