/// The connections of one worker to one upstream: which are idle, how many may be opened, who waits.
///
/// A value without I/O; connections and exchanges are numbers that the driver gives out. The most recently used idle
/// connection is taken first, so that the others grow old and go.
package struct UpstreamPool: Sendable {
    package struct Limits: Sendable, Equatable {
        package var connections: Int
        package var idle: Int
        /// Exchanges that may wait for a connection.
        package var waiting: Int

        package init(connections: Int, idle: Int, waiting: Int) {
            self.connections = connections
            self.idle = idle
            self.waiting = waiting
        }
    }

    package enum Lease: Equatable {
        case reuse(connection: Int)
        /// Open one; it is counted from now on.
        case open
        /// Wait; ``UpstreamPool/nextWaiting()`` will give this exchange out.
        case wait
        /// As many wait as may.
        case refuse
    }

    package var limits: Limits
    /// The idle connection that was used last, -1: none. Most exchanges take this one and give it back: not to touch the
    /// others' memory matters where there are many pools.
    private var newest = -1
    /// The other idle ones; of them, the one that was used last is the last.
    private var older = NumberQueue()
    private var waiting = NumberQueue()
    /// Connections that are open or being opened, idle ones included.
    package private(set) var openCount = 0

    package init(limits: Limits) {
        self.limits = limits
    }

    package var idleCount: Int { older.count + (newest < 0 ? 0 : 1) }
    package var waitingCount: Int { waiting.count }

    /// - Parameter newConnection: do not take an idle one as long as another may be opened. At the limit an idle one is
    ///   better than to wait beside it: nothing would end that wait.
    package mutating func lease(exchange: Int, newConnection: Bool) -> Lease {
        if !newConnection, let connection = takeNewest() { return .reuse(connection: connection) }
        if openCount < limits.connections {
            openCount += 1
            return .open
        }
        if let connection = takeNewest() { return .reuse(connection: connection) }
        guard waitingCount < limits.waiting else { return .refuse }
        waiting.append(exchange)
        return .wait
    }

    /// A connection can carry another exchange.
    ///
    /// - Returns: false when it is one too many and must be closed (and then counted by ``connectionClosed(_:)``).
    package mutating func connectionFreed(_ connection: Int) -> Bool {
        guard idleCount < limits.idle, openCount <= limits.connections else { return false }
        add(connection)
        return true
    }

    /// Takes in an idle connection that was not opened under a lease of this pool; false where there is no place for it.
    package mutating func adopt(_ connection: Int) -> Bool {
        guard openCount < limits.connections, idleCount < limits.idle else { return false }
        openCount += 1
        add(connection)
        return true
    }

    /// A connection is gone, or could not be made.
    package mutating func connectionClosed(_ connection: Int) {
        openCount -= 1
        guard connection >= 0 else { return }
        if connection == newest { newest = -1 } else { older.remove(connection) }
    }

    /// The exchange that has waited longest, if there is something for it now; lease for it again.
    package mutating func nextWaiting() -> Int? {
        guard !waiting.isEmpty, idleCount > 0 || openCount < limits.connections else { return nil }
        return waiting.popFirst()
    }

    /// An exchange does not wait any more.
    package mutating func stopWaiting(_ exchange: Int) {
        waiting.remove(exchange)
    }

    /// Takes all idle connections out; the driver closes them.
    package mutating func takeIdle() -> [Int] {
        let last = newest < 0 ? [] : [newest]
        newest = -1
        return older.removeAll() + last
    }

    private mutating func add(_ connection: Int) {
        if newest >= 0 { older.append(newest) }
        newest = connection
    }

    private mutating func takeNewest() -> Int? {
        guard newest >= 0 else { return older.popLast() }
        defer { newest = -1 }
        return newest
    }
}
