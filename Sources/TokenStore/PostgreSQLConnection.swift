import CPostgreSQL
import Glibc
import OpenSSLKit

/// How a conversation with the server failed.
enum ServerFailure: Error {
    /// No connection was made; nothing was sent. `state` is the server's code when it was the server that refused.
    case unreachable(state: String?, text: String)
    /// The connection ended, or the time did, before the answer: whether the statement took effect is unknown.
    case lost(String)
    /// The server refused the statement, which had no effect.
    case refused(state: String, text: String)
    /// Something of ours, to be passed on.
    case store(StoreError)
    /// `stopNews` woke us.
    case woken
}

/// Milliseconds of the monotonic clock.
func monotonicMilliseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
}

/// Waits until the descriptor is ready for one of `events`; `false`: the time is over. Throws `woken` when `wake`
/// becomes readable.
func waitUntilReady(
    _ descriptor: Int32, _ events: Int32, until deadline: Int64, wake: Int32
) throws(ServerFailure) -> Bool {
    while true {
        // poll leaves negative descriptors alone.
        var entries = [
            pollfd(fd: descriptor, events: Int16(events), revents: 0),
            pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
        ]
        let left = max(0, deadline - monotonicMilliseconds())
        let ready = poll(&entries, 2, Int32(clamping: left))
        if ready > 0, entries[1].revents != 0 { throw .woken }
        if ready > 0, entries[0].revents != 0 { return true }
        if ready == 0, left < Int64(Int32.max) { return false }
    }
}

/// One session at a server. No call takes longer than its deadline, whatever the server does: libpq is used in its
/// non-blocking mode, and after a failure the session is only good for being dropped.
final class PostgreSQLConnection {
    private let handle: OpaquePointer
    /// Statement → the name that it was prepared under.
    private var prepared: [String: String] = [:]
    private(set) var isBroken = false
    /// A statement was given up because no answer came.
    private(set) var hasTimedOut = false
    static let silence = "the server did not answer in time"
    private let wake: Int32

    /// Makes a connection. `wake` (or -1) is a descriptor that ends any wait when it becomes readable.
    init(_ settings: PostgreSQLSettings, applicationName: String, until deadline: Int64, wake: Int32 = -1)
        throws(ServerFailure)
    {
        guard let handle = Self.start(settings, applicationName) else {
            throw .unreachable(state: nil, text: "out of memory")
        }
        self.handle = handle
        self.wake = wake
        // With the codes in the text: libpq has no other way to tell why a connection was refused.
        PQsetErrorVerbosity(handle, PQERRORS_VERBOSE)
        PQsetNoticeReceiver(handle, { _, _ in }, nil)
        guard PQstatus(handle) != CONNECTION_BAD else { throw refusal() }
        try finishConnecting(until: deadline)
        PQsetErrorVerbosity(handle, PQERRORS_TERSE)
        guard PQsetnonblocking(handle, 1) == 0 else { throw .unreachable(state: nil, text: lastMessage) }
    }

    deinit {
        // So that no word of farewell can block.
        if isBroken, PQsocket(handle) >= 0 { shutdown(PQsocket(handle), Int32(SHUT_RDWR)) }
        PQfinish(handle)
    }

    var serverVersion: Int { Int(PQserverVersion(handle)) }
    var isInTransaction: Bool { PQtransactionStatus(handle) != PQTRANS_IDLE }
    var descriptor: Int32 { PQsocket(handle) }

    private static func start(_ settings: PostgreSQLSettings, _ applicationName: String) -> OpaquePointer? {
        var pairs = settings.parameters.map { ($0.key, $0.value) }
        pairs.append(("fallback_application_name", applicationName))
        if let password = settings.password {
            pairs.append(("password", String(decoding: password.exposed(), as: UTF8.self)))
        }
        let keys = pairs.map { strdup($0.0) } + [nil]
        let values = pairs.map { strdup($0.1) } + [nil]
        defer {
            for text in keys + values {
                guard let text else { continue }
                explicit_bzero(text, strlen(text))
                free(text)
            }
        }
        return PQconnectStartParams(keys.map { UnsafePointer($0) }, values.map { UnsafePointer($0) }, 0)
    }

    private func finishConnecting(until deadline: Int64) throws(ServerFailure) {
        var events = POLLOUT
        while true {
            guard try waitUntilReady(PQsocket(handle), events, until: deadline, wake: wake) else {
                isBroken = true
                throw .unreachable(state: nil, text: Self.silence)
            }
            switch PQconnectPoll(handle) {
            case PGRES_POLLING_OK: return
            case PGRES_POLLING_READING: events = POLLIN
            case PGRES_POLLING_WRITING: events = POLLOUT
            default: throw refusal()
            }
        }
    }

    /// What libpq says, cut down to the first line, and the server's code in it: `…: FATAL:  28P01: text`.
    private func refusal() -> ServerFailure {
        isBroken = true
        let text = lastMessage
        let parts = text.split(separator: ":").map { $0.drop { $0 == " " } }
        let state = parts.first { part in
            part.utf8.count == 5 && part.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) }
                && part.utf8.contains { (0x30...0x39).contains($0) }
        }
        return .unreachable(state: state.map(String.init), text: text)
    }

    private var lastMessage: String {
        let text = String(cString: PQerrorMessage(handle))
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("LOCATION:") }
        return lines.prefix(2).joined(separator: "; ")
    }

    // MARK: Statements

    /// Whether the server has not ended the session in the meantime. Does not wait.
    func isAlive() -> Bool {
        for _ in 0..<4 {
            var entry = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
            guard !isBroken, poll(&entry, 1, 0) > 0 else { break }
            if PQconsumeInput(handle) == 0 { isBroken = true }
        }
        return !isBroken && PQstatus(handle) == CONNECTION_OK
    }

    /// Runs a statement with parameters, prepared once for the session. Results are in binary form.
    func run(_ sql: String, _ values: [SQLValue], until deadline: Int64) throws(ServerFailure) -> Rows {
        let name = try prepare(sql, values, until: deadline)
        let wires = values.map(\.wire)
        // One spare byte, so that an empty value has an address too.
        let joined = wires.reduce(into: [UInt8]()) { $0 += $1 ?? [] } + [0]
        let sent = joined.withUnsafeBytes { bytes in
            var offset = 0
            var addresses: [UnsafePointer<CChar>?] = []
            for wire in wires {
                addresses.append(
                    wire == nil ? nil : bytes.baseAddress.map { ($0 + offset).assumingMemoryBound(to: CChar.self) })
                offset += wire?.count ?? 0
            }
            let lengths = wires.map { Int32($0?.count ?? 0) }
            let formats = [Int32](repeating: 1, count: wires.count)
            return PQsendQueryPrepared(handle, name, Int32(wires.count), addresses, lengths, formats, 1)
        }
        return try finish(sent, until: deadline)
    }

    /// Runs constant statements without parameters, several at a time.
    func runScript(_ sql: String, until deadline: Int64) throws(ServerFailure) {
        _ = try finish(PQsendQuery(handle, sql), until: deadline)
    }

    private func prepare(_ sql: String, _ values: [SQLValue], until deadline: Int64) throws(ServerFailure) -> String {
        if let name = prepared[sql] { return name }
        let name = "s\(prepared.count)"
        let sent = PQsendPrepare(handle, name, sql, Int32(values.count), values.map(\.type))
        _ = try finish(sent, until: deadline)
        prepared[sql] = name
        return name
    }

    private func finish(_ sent: Int32, until deadline: Int64) throws(ServerFailure) -> Rows {
        do throws(ServerFailure) {
            guard sent == 1 else { throw ServerFailure.lost(lastMessage) }
            try flush(until: deadline)
            return try collect(until: deadline)
        } catch {
            switch error {
            case .refused: break
            case .unreachable, .lost, .store, .woken: isBroken = true
            }
            throw error
        }
    }

    private func flush(until deadline: Int64) throws(ServerFailure) {
        while true {
            let left = PQflush(handle)
            if left == 0 { return }
            guard left > 0 else { throw .lost(lastMessage) }
            try wait(POLLIN | POLLOUT, until: deadline)
            // The server may want to be read before it reads on.
            guard PQconsumeInput(handle) == 1 else { throw .lost(lastMessage) }
        }
    }

    private func collect(until deadline: Int64) throws(ServerFailure) -> Rows {
        var rows = Rows()
        var failure: ServerFailure?
        while true {
            while PQisBusy(handle) == 1 {
                try wait(POLLIN, until: deadline)
                guard PQconsumeInput(handle) == 1 else { throw failure ?? .lost(lastMessage) }
            }
            guard let result = PQgetResult(handle) else { break }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COMMAND_OK: break
            case PGRES_TUPLES_OK: rows = Rows(result)
            default: failure = failure ?? self.failure(of: result)
            }
        }
        if let failure { throw failure }
        return rows
    }

    private func failure(of result: OpaquePointer) -> ServerFailure {
        func field(_ code: Unicode.Scalar) -> String? {
            PQresultErrorField(result, Int32(code.value)).map { String(cString: $0) }
        }
        // 'C' is the code, 'M' the message alone: details and hints may hold values of rows.
        guard let state = field("C"), let text = field("M") else { return .lost(lastMessage) }
        // The server is going down, or is cutting us off: it may have committed before.
        if state.hasPrefix("08") || state.hasPrefix("57P") { return .lost(text) }
        return .refused(state: state, text: text)
    }

    private func wait(_ events: Int32, until deadline: Int64) throws(ServerFailure) {
        guard try waitUntilReady(PQsocket(handle), events, until: deadline, wake: wake) else {
            hasTimedOut = true
            throw .lost(Self.silence)
        }
    }

    // MARK: Notifications

    /// Reads what has come without waiting; `false`: the session is over.
    func takeNotifications(_ body: (_ payload: String) -> Void) -> Bool {
        guard isAlive() else { return false }
        while let found = PQnotifies(handle) {
            body(String(cString: found.pointee.extra))
            PQfreemem(found)
        }
        return true
    }
}
