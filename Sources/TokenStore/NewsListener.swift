import Glibc
import OpenSSLKit
import Synchronization

/// What a notification says: the revision (0: removed) and the grant.
enum NewsText {
    static func text(_ grant: String, _ row: GrantRow) -> String {
        "\(row.payload == nil ? 0 : row.generation) \(grant)"
    }

    /// `nil`: somebody else's words on our channel.
    static func read(_ text: String) -> (grant: String, revision: UInt64)? {
        let parts = text.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let revision = UInt64(parts[0]), !parts[1].isEmpty else { return nil }
        return (String(parts[1]), revision)
    }
}

/// The second connection of a replica: it listens, shows that the replica is there, and looks who else is.
///
/// While its session lasts it holds an advisory lock, which the server gives up the moment that the process is gone.
final class NewsListener: Sendable {
    /// How often it looks who is there, in milliseconds. The look also finds a connection that is dead.
    static let lookInterval: Int64 = 400
    /// How long an answer may take before the connection counts as dead.
    static let patience: Int64 = 1500

    struct State {
        var session: PostgreSQLSession
        var tracker = PresenceTracker()
        var nextLook: Int64 = 0
        var changes: [String: UInt64] = [:]
        var hasGap = false
        /// What was told last of who is there.
        var told: (instances: Set<String>, isKnown: Bool) = ([], false)
    }

    private let name: String
    private let settings: PostgreSQLSettings
    private let instance: String
    private let lockKey: Int64
    /// Readable from `stop` on; never emptied.
    private let wake: (reader: Int32, writer: Int32)
    private let isStopped = Atomic(false)
    /// When the server last said anything, and when somebody last waited for news; monotonic milliseconds.
    private let lastAnswer = Atomic(Int64.min)
    private let lastTurn = Atomic(Int64.min)
    /// The session ended: what is there now may be another store.
    private let isInDoubt = Atomic(false)
    /// So long after the last wait nobody goes by what is heard here.
    private static let memory: Int64 = 10_000
    private let state: Mutex<State>

    init(settings: PostgreSQLSettings, instance: String) throws(StoreError) {
        name = settings.name
        self.settings = settings
        self.instance = instance
        lockKey = Self.lockKey(instance)
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw StoreFiles.failure("cannot make a pipe", errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        wake = (ends[0], ends[1])
        // All replicas must be back well within the time that presence needs to settle.
        let session = PostgreSQLSession(settings: settings, applicationName: "token-gateway news", backoffLimit: 400)
        state = Mutex(State(session: session))
    }

    deinit {
        Glibc.close(wake.reader)
        Glibc.close(wake.writer)
    }

    static func lockKey(_ instance: String) -> Int64 {
        let digest = Digest.sha256(Array("token-gateway replica".utf8) + Array(instance.utf8))
        return Int64(bitPattern: digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    func stop() {
        guard !isStopped.exchange(true, ordering: .sequentiallyConsistent) else { return }
        _ = Glibc.write(wake.writer, "x", 1)
    }

    /// Stops, and ends the session once `wait` has returned.
    func close() {
        stop()
        state.withLock { $0.session.drop() }
    }

    /// Whether the server has answered since then, for calls that it did not. Where nobody waits for news, who knows.
    func hasHeard(since time: Int64) -> Bool {
        let turn = lastTurn.load(ordering: .sequentiallyConsistent)
        if turn == .min || turn + Self.memory < monotonicMilliseconds() { return true }
        return lastAnswer.load(ordering: .sequentiallyConsistent) >= time
    }

    /// True once after the session has ended.
    func takeDoubt() -> Bool { isInDoubt.exchange(false, ordering: .sequentiallyConsistent) }

    func doubt() { isInDoubt.store(true, ordering: .sequentiallyConsistent) }

    private func noteAnswer() { lastAnswer.store(monotonicMilliseconds(), ordering: .sequentiallyConsistent) }

    /// See `TokenStore.waitForNews`.
    func wait(upTo milliseconds: Int) throws(StoreError) -> StoreNews {
        try state.withLock { state throws(StoreError) in
            let deadline = monotonicMilliseconds() + Int64(max(0, milliseconds))
            while true {
                guard !isStopped.load(ordering: .sequentiallyConsistent) else {
                    throw StoreError(.closed, "\(name): the store is closed")
                }
                let pause = step(&state)
                if let news = takeNews(&state) { return news }
                guard monotonicMilliseconds() < deadline else { return StoreNews(state) }
                // Woken: the next round says so.
                _ = try? waitUntilReady(
                    pause.descriptor, POLLIN, until: min(deadline, pause.until), wake: wake.reader)
            }
        }
    }

    /// Does what is due now; says what to wait for next.
    private func step(_ state: inout State) -> (descriptor: Int32, until: Int64) {
        lastTurn.store(monotonicMilliseconds(), ordering: .sequentiallyConsistent)
        do throws(ServerFailure) {
            let patience = Int64(settings.connectTimeout) + Self.patience
            let (connection, isNew) = try state.session.connected(
                until: monotonicMilliseconds() + patience, wake: wake.reader)
            do throws(ServerFailure) {
                return try listen(connection, isNew: isNew, &state)
            } catch {
                state.session.drop()
                // Where the tables are gone, or a standby answers, each connection can be made and none is of use.
                if isNew { state.session.failed() }
                throw error
            }
        } catch {
            // A refusal is an answer, too: what the next call is told is its affair.
            switch error {
            case .refused, .unreachable(.some, _), .store: noteAnswer()
            case .unreachable(nil, _), .lost, .woken: break
            }
            doubt()
            state.tracker.lost()
            return (-1, max(state.session.backoff.notBefore, monotonicMilliseconds() + 20))
        }
    }

    private func listen(
        _ connection: PostgreSQLConnection, isNew: Bool, _ state: inout State
    ) throws(ServerFailure) -> (descriptor: Int32, until: Int64) {
        if isNew {
            try register(connection)
            state.session.succeeded()
            state.tracker.connected(now: monotonicMilliseconds())
            state.hasGap = true
            state.nextLook = 0
        }
        if monotonicMilliseconds() >= state.nextLook {
            try look(connection, &state)
            noteAnswer()
            state.nextLook = monotonicMilliseconds() + Self.lookInterval
        }
        let isAlive = connection.takeNotifications { text in
            guard let (grant, revision) = NewsText.read(text) else { return }
            state.changes[grant] = revision
        }
        guard isAlive else { throw .lost("the session ended") }
        return (connection.descriptor, state.nextLook)
    }

    private func takeNews(_ state: inout State) -> StoreNews? {
        let now = (instances: state.tracker.instances, isKnown: state.tracker.isKnown)
        guard !state.changes.isEmpty || state.hasGap || now != state.told else { return nil }
        let news = StoreNews(state)
        state.changes = [:]
        state.hasGap = false
        state.told = now
        return news
    }

    // MARK: Statements

    private func run(
        _ connection: PostgreSQLConnection, _ sql: String, _ values: SQLValue...
    ) throws(ServerFailure) -> Rows {
        try connection.run(sql, values, until: monotonicMilliseconds() + Self.patience)
    }

    /// The lock comes before the row: who takes away the rows of the dead looks at the lock.
    private func register(_ connection: PostgreSQLConnection) throws(ServerFailure) {
        _ = try run(connection, "SELECT pg_advisory_lock_shared($1)", .integer(lockKey))
        _ = try run(
            connection,
            """
            INSERT INTO token_gateway.replica (instance, lock_key, backend) VALUES ($1, $2, pg_backend_pid())
            ON CONFLICT (instance) DO UPDATE SET lock_key = excluded.lock_key, backend = excluded.backend
            """, .text(instance), .integer(lockKey))
        try connection.runScript(
            "LISTEN \(PostgreSQLSchema.channel)", until: monotonicMilliseconds() + Self.patience)
    }

    private static let locks = """
        SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.classid::bigint = (r.lock_key >> 32) & 4294967295 AND l.objid::bigint = r.lock_key & 4294967295
        """

    private func look(_ connection: PostgreSQLConnection, _ state: inout State) throws(ServerFailure) {
        let rows = try run(
            connection, "SELECT instance, EXISTS (\(Self.locks)) FROM token_gateway.replica r")
        var (present, absent): (Set<String>, Set<String>) = ([], [])
        for row in 0..<rows.count {
            let instance = try rows.text(row, 0)
            if try rows.flag(row, 1) { present.insert(instance) } else { absent.insert(instance) }
        }
        // Somebody took our row away: the next session puts it back.
        guard present.contains(instance) else { throw .lost("our row is gone") }
        let dead = state.tracker.observed(present: present, absent: absent, now: monotonicMilliseconds())
        for instance in dead {
            _ = try run(
                connection,
                "DELETE FROM token_gateway.replica r WHERE instance = $1 AND NOT EXISTS (\(Self.locks))",
                .text(instance))
        }
    }
}

extension StoreNews {
    fileprivate init(_ state: NewsListener.State) {
        self.init(
            changes: state.changes, mayHaveMissedSome: state.hasGap, instances: state.tracker.instances,
            presenceIsKnown: state.tracker.isKnown)
    }
}

extension PostgreSQLStore {
    package func waitForNews(upTo milliseconds: Int) throws(StoreError) -> StoreNews {
        try news.wait(upTo: milliseconds)
    }

    package func stopNews() { news.stop() }
}
