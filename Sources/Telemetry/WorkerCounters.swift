/// The names behind the small integers that workers count by.
///
/// A table only ever grows: a configuration reload makes a longer one by ``extended(routes:upstreams:)``, in which every
/// name keeps its index. So an exchange that began under the old snapshot counts at the right place when it ends under
/// the new one, and totals never go backwards. A route that is gone keeps its (still) series until the process ends.
package struct MetricNames: Sendable, Equatable {
    /// The index of requests that no route took.
    package static let unrouted = 0

    package private(set) var routes: [String]
    package private(set) var upstreams: [String]
    package let errorCodes: [String]
    package let sessionFailures: [String]

    /// - Parameters:
    ///   - errorCodes: the closed list of codes that the gateway's own errors carry.
    ///   - sessionFailures: the closed list of reasons for which a caller's HTTP/2 connection is ended.
    package init(routes: [String], upstreams: [String], errorCodes: [String], sessionFailures: [String] = []) {
        self.routes = ["(none)"]
        self.upstreams = []
        self.errorCodes = errorCodes
        self.sessionFailures = sessionFailures
        extend(routes: routes, upstreams: upstreams)
    }

    /// The same table with the names that it lacks at its end.
    package func extended(routes: [String], upstreams: [String]) -> MetricNames {
        var copy = self
        copy.extend(routes: routes, upstreams: upstreams)
        return copy
    }

    package func routeIndex(of name: String) -> Int? {
        routes.dropFirst().firstIndex(of: name)
    }

    package func upstreamIndex(of name: String) -> Int? {
        upstreams.firstIndex(of: name)
    }

    package func errorIndex(of code: String) -> Int? {
        errorCodes.firstIndex(of: code)
    }

    private mutating func extend(routes newRoutes: [String], upstreams newUpstreams: [String]) {
        for name in newRoutes where routeIndex(of: name) == nil { routes.append(name) }
        for name in newUpstreams where upstreamIndex(of: name) == nil { upstreams.append(name) }
    }
}

/// The numbers of one worker at one moment, with the names that they are indexed by.
@usableFromInline
package struct CounterSnapshot: Sendable {
    package var names: MetricNames
    /// Route index × ``StatusClass``.
    @usableFromInline package var requests: ContiguousArray<UInt64>
    @usableFromInline package var durations: ContiguousArray<DurationHistogram>
    /// Route index × ``RetryOutcome``.
    @usableFromInline package var retries: ContiguousArray<UInt64>
    /// Upstream index × ``AttemptOutcome``.
    @usableFromInline package var attempts: ContiguousArray<UInt64>
    /// Open connections with an exchange on them, by upstream. Signed: a connection may be opened in one worker object
    /// and closed in its successor.
    @usableFromInline package var upstreamActive: ContiguousArray<Int64>
    /// Open connections in the pool, by upstream.
    @usableFromInline package var upstreamIdle: ContiguousArray<Int64>
    @usableFromInline package var errors: ContiguousArray<UInt64>

    @usableFromInline package var bytesFromCallers: UInt64 = 0
    @usableFromInline package var bytesToCallers: UInt64 = 0
    @usableFromInline package var bytesFromUpstreams: UInt64 = 0
    @usableFromInline package var bytesToUpstreams: UInt64 = 0
    @usableFromInline package var callerConnectionsTotal: UInt64 = 0
    @usableFromInline package var callerConnections: Int64 = 0
    @usableFromInline package var upstreamConnectionsTotal: UInt64 = 0
    @usableFromInline package var requestsCurrent: Int64 = 0
    @usableFromInline package var credentialWaiters: Int64 = 0
    @usableFromInline package var handshakesFull: UInt64 = 0
    @usableFromInline package var handshakesResumed: UInt64 = 0
    /// TLS handshakes with callers.
    @usableFromInline package var callerHandshakesFull: UInt64 = 0
    @usableFromInline package var callerHandshakesResumed: UInt64 = 0
    @usableFromInline package var callerHandshakesFailed: UInt64 = 0
    @usableFromInline package var logLinesDropped: UInt64 = 0
    /// Callers' connections that spoke HTTP/2.
    @usableFromInline package var sessionsTotal: UInt64 = 0
    /// HTTP/2 connections of callers that the gateway ended, by kind.
    @usableFromInline package var sessionFailures: ContiguousArray<UInt64>

    package init(names: MetricNames) {
        self.names = names
        let routes = names.routes.count
        let upstreams = names.upstreams.count
        requests = ContiguousArray(repeating: 0, count: routes * StatusClass.allCases.count)
        durations = ContiguousArray(repeating: DurationHistogram(), count: routes)
        retries = ContiguousArray(repeating: 0, count: routes * RetryOutcome.allCases.count)
        attempts = ContiguousArray(repeating: 0, count: upstreams * AttemptOutcome.allCases.count)
        upstreamActive = ContiguousArray(repeating: 0, count: upstreams)
        upstreamIdle = ContiguousArray(repeating: 0, count: upstreams)
        errors = ContiguousArray(repeating: 0, count: names.errorCodes.count)
        sessionFailures = ContiguousArray(repeating: 0, count: names.sessionFailures.count)
    }

    /// Lengthens the arrays for a longer table of names; nothing moves.
    package mutating func extend(to newNames: MetricNames) {
        let blank = CounterSnapshot(names: newNames)
        requests.append(contentsOf: blank.requests.dropFirst(requests.count))
        durations.append(contentsOf: blank.durations.dropFirst(durations.count))
        retries.append(contentsOf: blank.retries.dropFirst(retries.count))
        attempts.append(contentsOf: blank.attempts.dropFirst(attempts.count))
        upstreamActive.append(contentsOf: blank.upstreamActive.dropFirst(upstreamActive.count))
        upstreamIdle.append(contentsOf: blank.upstreamIdle.dropFirst(upstreamIdle.count))
        names = newNames
    }
}

/// The counters of one worker: plain integers, no lock and no atomic, used on the worker's thread only.
///
/// Not Sendable on purpose. Control asks by message and the worker answers with ``snapshot()``. An index that the table
/// does not have is a mistake of ours: it stops a debug build and is ignored in a release build, since a missing count
/// is no reason to end callers' connections.
@usableFromInline
package final class WorkerCounters {
    @usableFromInline var values: CounterSnapshot

    package init(names: MetricNames) {
        values = CounterSnapshot(names: names)
    }

    /// A copy for control. Until control drops it, the next count of each kind copies that array once.
    package func snapshot() -> CounterSnapshot {
        values
    }

    /// Takes over a longer table of names after a reload. Counts and gauges stay.
    package func extend(to names: MetricNames) {
        values.extend(to: names)
    }

    // MARK: Exchanges

    @inlinable
    package func requestStarted() {
        values.requestsCurrent &+= 1
    }

    /// One exchange ended; `status` is what the caller was sent, or 0 where it was sent no response head.
    @inlinable
    package func requestEnded(route: Int, status: Int, nanoseconds: UInt64) {
        values.requestsCurrent &-= 1
        assert(values.durations.indices.contains(route))
        guard values.durations.indices.contains(route) else { return }
        values.requests[route &* 6 &+ StatusClass(status: status).rawValue] &+= 1
        values.durations[route].record(nanoseconds: nanoseconds)
    }

    @inlinable
    package func attemptEnded(upstream: Int, outcome: AttemptOutcome) {
        assert(values.upstreamActive.indices.contains(upstream))
        guard values.upstreamActive.indices.contains(upstream) else { return }
        values.attempts[upstream &* 7 &+ outcome.rawValue] &+= 1
    }

    @inlinable
    package func retryEnded(route: Int, outcome: RetryOutcome) {
        assert(values.durations.indices.contains(route))
        guard values.durations.indices.contains(route) else { return }
        values.retries[route &* 5 &+ outcome.rawValue] &+= 1
    }

    /// The gateway made an error of its own.
    @inlinable
    package func errorMade(code: Int) {
        assert(values.errors.indices.contains(code))
        guard values.errors.indices.contains(code) else { return }
        values.errors[code] &+= 1
    }

    @inlinable
    package func credentialWaitersChanged(by difference: Int) {
        values.credentialWaiters &+= Int64(difference)
    }

    // MARK: Connections

    @inlinable
    package func callerConnectionOpened() {
        values.callerConnections &+= 1
        values.callerConnectionsTotal &+= 1
    }

    @inlinable
    package func callerConnectionClosed() {
        values.callerConnections &-= 1
    }

    /// A connection to an upstream was made; it counts as active.
    @inlinable
    package func upstreamConnectionOpened(upstream: Int) {
        values.upstreamConnectionsTotal &+= 1
        upstreamConnectionsChanged(upstream: upstream, active: 1, idle: 0)
    }

    /// Moves connections between the states: into the pool is (-1, 1), out of it (1, -1), closing one (-1, 0) or (0, -1).
    @inlinable
    package func upstreamConnectionsChanged(upstream: Int, active: Int, idle: Int) {
        assert(values.upstreamActive.indices.contains(upstream))
        guard values.upstreamActive.indices.contains(upstream) else { return }
        values.upstreamActive[upstream] &+= Int64(active)
        values.upstreamIdle[upstream] &+= Int64(idle)
    }

    @inlinable
    package func callerHandshakeCompleted(resumed: Bool) {
        if resumed { values.callerHandshakesResumed &+= 1 } else { values.callerHandshakesFull &+= 1 }
    }

    @inlinable
    package func callerHandshakeFailed() {
        values.callerHandshakesFailed &+= 1
    }

    /// A caller's connection speaks HTTP/2.
    @inlinable
    package func sessionOpened() {
        values.sessionsTotal &+= 1
    }

    /// The gateway ended a caller's HTTP/2 connection.
    @inlinable
    package func sessionFailed(kind: Int) {
        assert(values.sessionFailures.indices.contains(kind))
        guard values.sessionFailures.indices.contains(kind) else { return }
        values.sessionFailures[kind] &+= 1
    }

    @inlinable
    package func handshakeCompleted(resumed: Bool) {
        if resumed { values.handshakesResumed &+= 1 } else { values.handshakesFull &+= 1 }
    }

    // MARK: Bytes and log

    /// Bytes of callers' connections, counted once for each read or write.
    @inlinable
    package func callerBytes(received: Int, sent: Int) {
        values.bytesFromCallers &+= UInt64(truncatingIfNeeded: received)
        values.bytesToCallers &+= UInt64(truncatingIfNeeded: sent)
    }

    /// Bytes of upstream connections as they were on the wire.
    @inlinable
    package func upstreamBytes(received: Int, sent: Int) {
        values.bytesFromUpstreams &+= UInt64(truncatingIfNeeded: received)
        values.bytesToUpstreams &+= UInt64(truncatingIfNeeded: sent)
    }

    @inlinable
    package func logLinesDropped(_ count: Int) {
        values.logLinesDropped &+= UInt64(truncatingIfNeeded: count)
    }
}
