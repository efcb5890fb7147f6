import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// How attempts let go of their connections, and how those end or go back to the pool.
extension Worker {
    // MARK: Ends

    /// The exchange is complete: the connection goes back to the pool, or away.
    func releaseUpstream(_ exchange: Exchange) {
        guard let connection = exchange.upstream else { return }
        let runtime = connection.runtime
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: .answered)
        if let stream = exchange.upstreamStream {
            releaseStream(exchange, stream, connection)
            return
        }
        exchange.upstream = nil
        connection.exchange = nil
        let isReusable =
            exchange.requestSent && exchange.response.flags.contains(.keepAlive) && connection.wire.inbound.isEmpty
            && connection.wire.backlog == 0 && !connection.wire.inputEnded && !connection.wire.peerClosed
            && exchange.response.status != 101 && !runtime.isRetired && !isDraining && !isWornOut(connection)
            && !exchange.wantsUpgrade
        guard isReusable, runtime.pool.connectionFreed(connection.slot) else {
            closeUpstream(connection)
            return
        }
        connection.state = .idle
        release(&connection.wire.inbound)
        release(&connection.wire.outbound)
        counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: -1, idle: 1)
        setWait(connection, .idle, after: runtime.settings.idleTimeout)
        serveWaiting(runtime)
    }

    /// Gives the current attempt up; an HTTP/1 connection cannot carry anything else then.
    func dropUpstream(_ exchange: Exchange, outcome: AttemptOutcome) {
        if exchange.machine.phase == .finished || exchange.upstream == nil { giveWaitUp(exchange) }
        stopUpstreamWait(exchange)
        guard let connection = exchange.upstream else { return }
        counters.attemptEnded(upstream: connection.runtime.settings.metricIndex, outcome: outcome)
        if let stream = exchange.upstreamStream {
            // What is left of a request that is whole would leave first, and nobody wants it any more.
            connection.session?.reset(stream, code: HTTP2Code.cancel)
            releaseStream(exchange, stream, connection)
            return
        }
        exchange.upstream = nil
        if connection.session != nil {
            // Its stream could not be opened.
            exchange.leasesStream = false
            streamReleased(exchange, connection)
            return
        }
        connection.exchange = nil
        // Others may be waiting for places on a connection that is being opened.
        if connection.purpose == .stream, connection.runtime.streams.waitingCount > 0 { return }
        closeUpstream(connection)
    }

    /// Ends waiting for an address under a lease, or for a place in the pool.
    private func giveWaitUp(_ exchange: Exchange) {
        guard let runtime = exchange.runtime else { return }
        stopWaitingForConnection(exchange, runtime)
        if runtime.waitingForAddress.remove(exchange.id) {
            if exchange.leasesStream { runtime.streams.openFailed() } else { runtime.pool.connectionClosed(-1) }
            serveWaiting(runtime)
        }
    }

    func stopWaitingForConnection(_ exchange: Exchange, _ runtime: UpstreamRuntime) {
        guard exchange.isWaitingForConnection else { return }
        exchange.isWaitingForConnection = false
        if exchange.leasesStream {
            runtime.streams.stopWaiting(exchange.id)
        } else {
            runtime.pool.stopWaiting(exchange.id)
        }
    }

    /// - Parameter keepsLease: the place in the pool that it was opened under stays taken.
    func closeUpstream(_ connection: UpstreamConnection, keepsLease: Bool = false) {
        guard connection.state != .closed else { return }
        let runtime = connection.runtime
        let state = connection.state
        if let session = connection.wire.engine?.takeNewSession() { runtime.session = session }
        connection.state = .closed
        close(&connection.wire, saysGoodbye: state != .connecting && state != .handshaking)
        connection.session = nil
        freeSlot(connection.slot)
        let isIdle = state == .idle || (state == .multiplexed || state == .closing) && connection.streamCount == 0
        counters.upstreamConnectionsChanged(
            upstream: runtime.settings.metricIndex, active: isIdle ? 0 : -1, idle: isIdle ? -1 : 0)
        if listenersPaused { resumeListeners() }
        guard !keepsLease else { return }
        switch (connection.purpose, state) {
        case (.request, _): runtime.pool.connectionClosed(connection.slot)
        case (.stream, .connecting), (.stream, .handshaking): runtime.streams.openFailed()
        case (.stream, .active), (.stream, .idle), (.stream, .multiplexed), (.stream, .closing), (.stream, .closed):
            runtime.streams.closed(connection: connection.slot)
        }
        serveWaiting(runtime)
    }

    /// Gives connections, or leases to open them, to exchanges that wait.
    func serveWaiting(_ runtime: UpstreamRuntime) {
        guard !runtime.isServing else { return }
        runtime.isServing = true
        defer { runtime.isServing = false }
        while let id = runtime.pool.nextWaiting() ?? runtime.streams.nextWaiting() {
            let exchange = exchanges[id]
            exchange.isWaitingForConnection = false
            stopWait(exchange, caller: .connection)
            if let action = openAttempt(exchange, newConnection: false) { perform(exchange, action) }
        }
    }
}
