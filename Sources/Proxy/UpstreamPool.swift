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
    private var idle: [Int] = []
    private var waiting: [Int] = []
    private var waitingHead = 0
    /// Connections that are open or being opened, idle ones included.
    package private(set) var openCount = 0

    package init(limits: Limits) {
        self.limits = limits
    }

    package var idleCount: Int { idle.count }
    package var waitingCount: Int { waiting.count - waitingHead }

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
        if let index = idle.lastIndex(of: connection) { idle.remove(at: index) }
    }

    /// The exchange that has waited longest, if there is something for it now; lease for it again.
    package mutating func nextWaiting() -> Int? {
        guard waitingHead < waiting.count, !idle.isEmpty || openCount < limits.connections else { return nil }
        let exchange = waiting[waitingHead]
        waitingHead += 1
        dropServed()
        return exchange
    }

    /// An exchange does not wait any more.
    package mutating func stopWaiting(_ exchange: Int) {
        guard let index = waiting[waitingHead...].firstIndex(of: exchange) else { return }
        waiting.remove(at: index)
        dropServed()
    }

    /// Removes the entries before the head once they are as many as those behind it: a queue that never becomes empty
    /// must not grow, and moving all entries for each one would cost too much.
    private mutating func dropServed() {
        guard waitingHead > 0, waitingHead * 2 >= waiting.count else { return }
        waiting.removeSubrange(..<waitingHead)
        waitingHead = 0
    }

    /// Takes all idle connections out; the driver closes them.
    package mutating func takeIdle() -> [Int] {
        defer { idle.removeAll() }
        return idle
    }
}
