/// The HTTP/2 connections of one worker to one upstream: which have room for another stream, how many may be opened,
/// who waits.
///
/// A value without I/O; connections and exchanges are numbers that the driver gives out. The fullest connection that has
/// room is taken first, so that the others become idle and go. A call costs as much as there are connections, which are few.
package struct StreamPool: Sendable {
    package struct Limits: Sendable, Equatable {
        /// At most so many take new streams; as many again may be left that only finish theirs.
        package var connections: Int
        /// Of ours on one connection, whatever the peer allows.
        package var streams: Int
        /// Exchanges that may wait for a stream.
        package var waiting: Int

        package init(connections: Int, streams: Int, waiting: Int) {
            self.connections = connections
            self.streams = streams
            self.waiting = waiting
        }
    }

    package enum Lease: Equatable, Sendable {
        /// Open a stream on it; it is counted from now on.
        case share(connection: Int)
        /// Open a connection, then a stream on it; both are counted from now on. ``StreamPool/opened(connection:capacity:)``
        /// or ``StreamPool/openFailed()`` must follow.
        case open
        /// Wait; ``StreamPool/nextWaiting()`` will give this exchange out.
        case wait
        /// As many wait as may.
        case refuse
    }

    private struct Connection {
        let number: Int
        /// Streams that may be open at a time: the peer's limit and ours.
        var capacity: Int
        var streams: Int
        /// Takes no new streams.
        var isDraining = false
        /// What it takes has not been said yet.
        var isProvisional = false

        var hasRoom: Bool { !isDraining && streams < capacity }
    }

    package var limits: Limits
    private var connections: [Connection] = []
    private var opening = 0
    private var waiting = NumberQueue()
    /// What a connection to this upstream is likely to take, to judge how many are needed for those that wait.
    private var likelyCapacity: Int
    /// ``drainAll()`` was called: whoever still leases is served, and connections that become idle are to be closed.
    package private(set) var isRetired = false

    package init(limits: Limits) {
        self.limits = limits
        likelyCapacity = limits.streams
        connections.reserveCapacity(min(limits.connections, 16))
    }

    // MARK: Facts

    /// Connections that are open or being opened, draining ones included.
    package var openCount: Int { connections.count + opening }
    /// Streams on connections that are open; those of openers are not among them.
    package var activeStreams: Int { connections.reduce(0) { $0 + $1.streams } }
    package var waitingCount: Int { waiting.count }
    /// Neither connections nor anybody who waits.
    package var isEmpty: Bool { openCount == 0 && waitingCount == 0 }
    /// A connection is being opened.
    package var isOpening: Bool { opening > 0 }
    /// A connection is open that takes new streams, though perhaps not at the moment.
    package var hasReady: Bool { connections.contains { !$0.isDraining } }

    /// Whether the connection takes no new streams: when it is idle it is to be closed.
    package func isDraining(connection: Int) -> Bool {
        guard let index = index(of: connection) else { return true }
        return connections[index].isDraining
    }

    private func index(of connection: Int) -> Int? {
        for index in connections.indices where connections[index].number == connection { return index }
        return nil
    }

    // MARK: Leasing

    /// - Parameter newConnection: a connection has just died under this exchange; any other is as good as a new one.
    package mutating func lease(exchange: Int, newConnection: Bool) -> Lease {
        if let index = fullestWithRoom() {
            connections[index].streams += 1
            return .share(connection: connections[index].number)
        }
        if wouldOpen(before: waitingCount) {
            opening += 1
            return .open
        }
        guard waitingCount < limits.waiting else { return .refuse }
        waiting.append(exchange)
        return .wait
    }

    private func fullestWithRoom() -> Int? {
        var found: Int?
        for index in connections.indices where connections[index].hasRoom {
            if let best = found, connections[best].streams >= connections[index].streams { continue }
            found = index
        }
        return found
    }

    /// Whether an exchange with `before` others that wait already needs a connection of its own, and may have it.
    /// Connections that only finish their streams do not count against the limit, or one long stream on them would shut
    /// the upstream; but there is an end to their number too.
    private func wouldOpen(before: Int) -> Bool {
        var coming = opening
        var usable = opening
        for index in connections.indices where !connections[index].isDraining {
            usable += 1
            if connections[index].isProvisional { coming += 1 }
        }
        guard before >= coming * max(likelyCapacity - 1, 0) else { return false }
        return usable < limits.connections && openCount < limits.connections * 2
    }

    // MARK: Connections

    /// The connection that ``Lease/open`` promised is ready. Its opener's stream counts.
    ///
    /// - Parameter capacity: streams that the peer allows; nil: it has not said yet, and gets the opener's stream only
    ///   until ``capacityChanged(connection:to:)`` tells.
    package mutating func opened(connection: Int, capacity: Int?) {
        guard opening > 0 else { return }
        opening -= 1
        guard let capacity else {
            connections.append(Connection(number: connection, capacity: 1, streams: 1, isProvisional: true))
            return
        }
        likelyCapacity = bounded(capacity)
        connections.append(Connection(number: connection, capacity: likelyCapacity, streams: 1))
    }

    /// The connection that ``Lease/open`` promised could not be made; its opener has no stream.
    package mutating func openFailed() {
        if opening > 0 { opening -= 1 }
    }

    /// The peer's SETTINGS allow another number of streams; those above it stay.
    package mutating func capacityChanged(connection: Int, to capacity: Int) {
        guard let index = index(of: connection) else { return }
        connections[index].capacity = bounded(capacity)
        connections[index].isProvisional = false
        likelyCapacity = bounded(capacity)
    }

    private func bounded(_ capacity: Int) -> Int { max(0, min(capacity, limits.streams)) }

    /// - Returns: true when no streams are left on it: it is idle, or is to be closed where it is draining or the pool
    ///   retired.
    package mutating func streamEnded(connection: Int) -> Bool {
        guard let index = index(of: connection), connections[index].streams > 0 else { return false }
        connections[index].streams -= 1
        return connections[index].streams == 0
    }

    /// GOAWAY has come, or it is old: it takes no new streams.
    package mutating func draining(connection: Int) {
        guard let index = index(of: connection) else { return }
        connections[index].isDraining = true
    }

    /// It is gone, and its streams with it.
    package mutating func closed(connection: Int) {
        guard let index = index(of: connection) else { return }
        connections.swapAt(index, connections.count - 1)
        connections.removeLast()
    }

    /// The pool is not used any more by new exchanges: all connections take no new streams.
    ///
    /// - Returns: the idle ones, to be closed now.
    package mutating func drainAll() -> [Int] {
        isRetired = true
        for index in connections.indices { connections[index].isDraining = true }
        return connections.filter { $0.streams == 0 }.map { $0.number }
    }

    // MARK: Waiting

    /// The exchange that has waited longest, if ``lease(exchange:newConnection:)`` would give it a stream or a connection
    /// now; lease for it again. To be called until it returns nil after whatever makes room: a stream or a connection
    /// that ended, one that opened or could not be opened, a higher capacity.
    package mutating func nextWaiting() -> Int? {
        guard !waiting.isEmpty, fullestWithRoom() != nil || wouldOpen(before: waitingCount - 1) else { return nil }
        return waiting.popFirst()
    }

    /// An exchange does not wait any more.
    package mutating func stopWaiting(_ exchange: Int) {
        waiting.remove(exchange)
    }

    /// Takes all that wait, the longest first: the connection could not be made, or the upstream speaks HTTP/1.
    package mutating func takeWaiting() -> [Int] {
        waiting.removeAll()
    }
}
