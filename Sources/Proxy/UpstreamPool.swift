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
    /// The one that was used last is the last.
    private var idle = NumberQueue()
    private var waiting = NumberQueue()
    /// Connections that are open or being opened, idle ones included.
    package private(set) var openCount = 0

    package init(limits: Limits) {
        self.limits = limits
    }

    package var idleCount: Int { idle.count }
    package var waitingCount: Int { waiting.count }

    /// - Parameter newConnection: do not take an idle one as long as another may be opened. At the limit an idle one is
    ///   better than to wait beside it: nothing would end that wait.
    package mutating func lease(exchange: Int, newConnection: Bool) -> Lease {
        if !newConnection, let connection = idle.popLast() { return .reuse(connection: connection) }
        if openCount < limits.connections {
            openCount += 1
            return .open
        }
        if let connection = idle.popLast() { return .reuse(connection: connection) }
        guard waitingCount < limits.waiting else { return .refuse }
        waiting.append(exchange)
        return .wait
    }

    /// A connection can carry another exchange.
    ///
    /// - Returns: false when it is one too many and must be closed (and then counted by ``connectionClosed(_:)``).
    package mutating func connectionFreed(_ connection: Int) -> Bool {
        guard idle.count < limits.idle, openCount <= limits.connections else { return false }
        idle.append(connection)
        return true
    }

    /// Takes in an idle connection that was not opened under a lease of this pool; false where there is no place for it.
    package mutating func adopt(_ connection: Int) -> Bool {
        guard openCount < limits.connections, idle.count < limits.idle else { return false }
        openCount += 1
        idle.append(connection)
        return true
    }

    /// A connection is gone, or could not be made.
    package mutating func connectionClosed(_ connection: Int) {
        openCount -= 1
        idle.remove(connection)
    }

    /// The exchange that has waited longest, if there is something for it now; lease for it again.
    package mutating func nextWaiting() -> Int? {
        guard !waiting.isEmpty, !idle.isEmpty || openCount < limits.connections else { return nil }
        return waiting.popFirst()
    }

    /// An exchange does not wait any more.
    package mutating func stopWaiting(_ exchange: Int) {
        waiting.remove(exchange)
    }

    /// Takes all idle connections out; the driver closes them.
    package mutating func takeIdle() -> [Int] {
        idle.removeAll()
    }
}
