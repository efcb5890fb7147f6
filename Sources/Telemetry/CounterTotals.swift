/// Totals of all workers, keyed by name instead of by index.
package struct CounterTotals: Sendable {
    package struct Route: Sendable {
        /// By ``StatusClass``.
        package var requests = [UInt64](repeating: 0, count: StatusClass.allCases.count)
        /// By ``RetryOutcome``.
        package var retries = [UInt64](repeating: 0, count: RetryOutcome.allCases.count)
        package var durations = DurationHistogram()
    }

    package struct Upstream: Sendable {
        /// By ``AttemptOutcome``.
        package var attempts = [UInt64](repeating: 0, count: AttemptOutcome.allCases.count)
        package var active: Int64 = 0
        package var idle: Int64 = 0
    }

    package var routes: [String: Route] = [:]
    package var upstreams: [String: Upstream] = [:]
    package var errors: [String: UInt64] = [:]
    package var bytesFromCallers: UInt64 = 0
    package var bytesToCallers: UInt64 = 0
    package var bytesFromUpstreams: UInt64 = 0
    package var bytesToUpstreams: UInt64 = 0
    package var callerConnectionsTotal: UInt64 = 0
    package var callerConnections: Int64 = 0
    package var upstreamConnectionsTotal: UInt64 = 0
    package var requestsCurrent: Int64 = 0
    package var credentialWaiters: Int64 = 0
    package var handshakesFull: UInt64 = 0
    package var handshakesResumed: UInt64 = 0
    package var callerHandshakesFull: UInt64 = 0
    package var callerHandshakesResumed: UInt64 = 0
    package var callerHandshakesFailed: UInt64 = 0
    package var logLinesDropped: UInt64 = 0
    package var sessionsTotal: UInt64 = 0
    package var sessionFailures: [String: UInt64] = [:]

    package init() {}

    package mutating func add(_ snapshot: CounterSnapshot) {
        addRoutes(of: snapshot)
        addUpstreams(of: snapshot)
        for (index, code) in snapshot.names.errorCodes.enumerated() {
            errors[code, default: 0] &+= snapshot.errors[index]
        }
        for (index, kind) in snapshot.names.sessionFailures.enumerated() {
            sessionFailures[kind, default: 0] &+= snapshot.sessionFailures[index]
        }
        sessionsTotal &+= snapshot.sessionsTotal
        callerHandshakesFull &+= snapshot.callerHandshakesFull
        callerHandshakesResumed &+= snapshot.callerHandshakesResumed
        callerHandshakesFailed &+= snapshot.callerHandshakesFailed
        bytesFromCallers &+= snapshot.bytesFromCallers
        bytesToCallers &+= snapshot.bytesToCallers
        bytesFromUpstreams &+= snapshot.bytesFromUpstreams
        bytesToUpstreams &+= snapshot.bytesToUpstreams
        callerConnectionsTotal &+= snapshot.callerConnectionsTotal
        callerConnections &+= snapshot.callerConnections
        upstreamConnectionsTotal &+= snapshot.upstreamConnectionsTotal
        requestsCurrent &+= snapshot.requestsCurrent
        credentialWaiters &+= snapshot.credentialWaiters
        handshakesFull &+= snapshot.handshakesFull
        handshakesResumed &+= snapshot.handshakesResumed
        logLinesDropped &+= snapshot.logLinesDropped
    }

    private mutating func addRoutes(of snapshot: CounterSnapshot) {
        let classes = StatusClass.allCases.count
        let outcomes = RetryOutcome.allCases.count
        for (index, name) in snapshot.names.routes.enumerated() {
            var route = routes[name] ?? Route()
            for offset in 0..<classes { route.requests[offset] &+= snapshot.requests[index * classes + offset] }
            for offset in 0..<outcomes { route.retries[offset] &+= snapshot.retries[index * outcomes + offset] }
            route.durations.add(snapshot.durations[index])
            routes[name] = route
        }
    }

    private mutating func addUpstreams(of snapshot: CounterSnapshot) {
        let outcomes = AttemptOutcome.allCases.count
        for (index, name) in snapshot.names.upstreams.enumerated() {
            var upstream = upstreams[name] ?? Upstream()
            for offset in 0..<outcomes { upstream.attempts[offset] &+= snapshot.attempts[index * outcomes + offset] }
            upstream.active &+= snapshot.upstreamActive[index]
            upstream.idle &+= snapshot.upstreamIdle[index]
            upstreams[name] = upstream
        }
    }

    /// All requests that ended, and those among them that were answered 5xx.
    package var requestSums: (ended: UInt64, serverErrors: UInt64) {
        var ended: UInt64 = 0
        var serverErrors: UInt64 = 0
        for route in routes.values {
            ended &+= route.requests.reduce(0, &+)
            serverErrors &+= route.requests[StatusClass.serverError.rawValue]
        }
        return (ended, serverErrors)
    }
}

/// Keeps what workers that are gone had counted, so that a total never goes backwards in the life of the process.
///
/// On a worker's end (fewer workers after a reload, or counters that were built anew) hand its last snapshot to
/// ``retire(_:)`` once. At a scrape ask for ``totals(of:)`` with one snapshot of each living worker.
package struct Accumulator: Sendable {
    private var retired = CounterTotals()

    package init() {}

    package mutating func retire(_ snapshot: CounterSnapshot) {
        retired.add(snapshot)
    }

    package func totals(of living: [CounterSnapshot]) -> CounterTotals {
        var sum = retired
        for snapshot in living { sum.add(snapshot) }
        return sum
    }
}
