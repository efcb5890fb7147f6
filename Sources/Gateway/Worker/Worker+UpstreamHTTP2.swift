import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// Upstreams that speak HTTP/2: one session per connection, one attempt per stream.
extension Worker {
    // MARK: Getting a stream

    /// The next action when a stream's place is there; nil while a connection is being made or waited for.
    func openStream(
        _ exchange: Exchange, _ runtime: UpstreamRuntime, newConnection: Bool
    ) -> ExchangeMachine.Action? {
        while true {
            switch runtime.streams.lease(exchange: exchange.id, newConnection: newConnection) {
            case .share(let slot):
                guard case .upstream(let connection) = slots[slot], connection.state == .multiplexed else {
                    runtime.streams.closed(connection: slot)
                    continue
                }
                if isWornOut(connection) {
                    _ = runtime.streams.streamEnded(connection: slot)
                    retire(connection)
                    continue
                }
                attachStream(exchange, connection)
                return exchange.machine.connectionReady(reused: true)
            case .open:
                exchange.connectTries = 0
                exchange.leasesStream = true
                return connect(exchange, runtime)
            case .wait:
                exchange.isWaitingForConnection = true
                exchange.leasesStream = true
                setWait(exchange, caller: .connection, after: patience(of: runtime))
                return nil
            case .refuse:
                return exchange.machine.connectionFailed(.overloaded)
            }
        }
    }

    /// How long a place on a connection that somebody else opens may take.
    private func patience(of runtime: UpstreamRuntime) -> UInt64 {
        runtime.settings.connectTimeout + runtime.settings.tlsTimeout
    }

    /// The pool has counted the stream already.
    private func attachStream(_ exchange: Exchange, _ connection: UpstreamConnection) {
        exchange.upstream = connection
        exchange.leasesStream = true
        connection.streams.append(exchange.id)
        if connection.streamCount == 1 {
            counters.upstreamConnectionsChanged(
                upstream: connection.runtime.settings.metricIndex, active: 1, idle: -1)
            watchSilence(connection)
        }
    }

    /// A connection is up and speaks HTTP/2.
    func streamsEstablished(_ connection: UpstreamConnection) {
        let runtime = connection.runtime
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 0
        settings.head = configuration.limits.head
        guard let session = HTTP2Session(role: .client, settings: settings, windowBudget: windowBudget) else {
            connectFailed(connection, .overloaded)
            return
        }
        let opener = connection.exchange
        connection.exchange = nil
        connection.session = session
        connection.state = .multiplexed
        // Streams above what its SETTINGS will allow would be refused: who waits, waits for those.
        runtime.streams.opened(connection: connection.slot, capacity: nil)
        counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: -1, idle: 1)
        setWait(connection, .idle, after: runtime.settings.idleTimeout)
        touch(connection)
        if let opener {
            attachStream(opener, connection)
            perform(opener, opener.machine.connectionReady(reused: false))
        } else {
            streamLeft(connection)
        }
        if connection.state == .multiplexed,
            connection.wire.canRead || connection.wire.inputEnded || !connection.wire.inbound.isEmpty
        {
            readyAgain.append(connection.slot)
        }
        serveWaiting(runtime)
    }

    // MARK: Sending

    /// False when the upstream takes no stream now.
    func writeHTTP2Head(
        _ exchange: Exchange, _ connection: UpstreamConnection, asks: Bool, proof: [UInt8]?
    ) -> Bool {
        guard let route = exchange.route, let caller = exchange.caller, let session = connection.session,
            let identity = exchange.upstreamIdentity, session.canRequest
        else {
            // Numbers that are used up do not come back.
            if connection.session?.isSpent == true { retire(connection) }
            return false
        }
        exchange.responseTrailers.reset()
        connection.wire.outbound.acquire(from: buffers)
        let ends =
            exchange.requestEnded && exchange.replay.received == 0 && !exchange.wantsUpgrade && !asks
            && exchange.trailers.fields.isEmpty
        let method = exchange.wantsUpgrade ? Method.connect : exchange.request.method
        let stream = session.request(method: method, ends: ends, into: &connection.wire.outbound) { encoder, out in
            RequestTransform.writeHTTP2(
                exchange.request, rule: route.rule, upstream: identity,
                caller: caller.identity, credential: exchange.credential, upgrade: exchange.wantsUpgrade,
                expectContinue: asks, proof: proof, encoder: &encoder, to: &out)
        }
        guard let stream else { return false }
        stream.owner = exchange.id
        exchange.upstreamStream = stream
        return true
    }

    /// The attempt was certainly not processed (RFC 9113 8.7).
    func streamRefused(_ exchange: Exchange) -> ExchangeMachine.Action {
        exchange.errorReason = "the upstream refused the stream"
        return exchange.machine.upstreamLost(
            .upstreamProtocol, untouched: true, replayable: exchange.replay.isReplayable, refused: true)
    }

    /// Whether an upgrade may go out as an extended CONNECT now; if not, it waits for the upstream's SETTINGS, or has
    /// failed (RFC 8441 3: it must not be sent to a peer that has not allowed it).
    func mayConnect(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        guard exchange.wantsUpgrade, let session = connection.session, !session.peerAllowsConnectProtocol else {
            return true
        }
        guard connection.hasSettings else {
            connection.waitingForSettings.append(exchange.id)
            setWait(exchange, upstream: .firstByte, after: connection.runtime.settings.firstByteTimeout)
            return false
        }
        upstreamBroken(exchange, .malformed("the upstream speaks HTTP/2 and takes no WebSocket over it"))
        return false
    }

    // MARK: Ends

    /// The attempt lets go of its stream.
    func releaseStream(_ exchange: Exchange, _ stream: HTTP2Stream, _ connection: UpstreamConnection) {
        exchange.upstreamStream = nil
        exchange.upstream = nil
        exchange.leasesStream = false
        stream.owner = -1
        discard(&stream.inbound)
        // What resets it has to leave first: until then its place is not free.
        let isLate = !stream.isClosed && connection.state == .multiplexed
        connection.session?.release(stream, at: now)
        if isLate { connection.lateStreams += 1 }
        streamReleased(exchange, connection, endsPlace: !isLate)
    }

    /// Gives the places of streams back that the session has closed since.
    func endLateStreams(_ connection: UpstreamConnection, _ session: HTTP2Session) {
        guard connection.lateStreams > 0 else { return }
        let still = max(0, session.openStreams - connection.streamCount)
        guard still < connection.lateStreams else { return }
        for _ in still..<connection.lateStreams {
            _ = connection.runtime.streams.streamEnded(connection: connection.slot)
        }
        connection.lateStreams = still
        serveWaiting(connection.runtime)
    }

    /// An attempt of the connection has ended, or could not begin.
    func streamReleased(_ exchange: Exchange, _ connection: UpstreamConnection, endsPlace: Bool = true) {
        connection.streams.remove(exchange.id)
        guard connection.state != .closed else { return }
        if connection.streamCount == 0 {
            counters.upstreamConnectionsChanged(
                upstream: connection.runtime.settings.metricIndex, active: -1, idle: 1)
        }
        streamLeft(connection, endsPlace: endsPlace)
    }

    private func streamLeft(_ connection: UpstreamConnection, endsPlace: Bool = true) {
        guard connection.state == .multiplexed else { return }
        let runtime = connection.runtime
        if endsPlace { _ = runtime.streams.streamEnded(connection: connection.slot) }
        touch(connection)
        if connection.streamCount == 0 {
            if runtime.isRetired || isDraining { retire(connection) }
            setWait(connection, .idle, after: connection.isRetiring ? 1000 : runtime.settings.idleTimeout)
        }
        serveWaiting(runtime)
    }

    /// No new streams; closed when the last one has ended.
    func retire(_ connection: UpstreamConnection) {
        guard !connection.isRetiring else { return }
        connection.isRetiring = true
        connection.runtime.streams.draining(connection: connection.slot)
        touch(connection)
    }

    /// The connection is no more: every attempt on it is lost.
    func sessionLost(
        _ connection: UpstreamConnection, _ reason: StaticString, _ error: GatewayError = .upstreamProtocol
    ) {
        guard connection.state == .multiplexed else { return }
        retire(connection)
        connection.state = .closing
        for id in connection.streams.numbers {
            let exchange = exchanges[id]
            guard exchange.upstream === connection else { continue }
            exchange.errorReason = reason
            perform(
                exchange,
                exchange.machine.upstreamLost(
                    error, untouched: exchange.responseUntouched,
                    replayable: exchange.replay.isReplayable, refused: false))
            // What came whole outlives its connection; of a held rejection nothing more than its head does.
            if exchange.upstream === connection, let stream = exchange.upstreamStream, !stream.isPeerDone {
                releaseStream(exchange, stream, connection)
            }
        }
        closeUpstream(connection)
    }

    // MARK: Silence

    /// With attempts under way, a peer that says nothing for long is asked whether it is there.
    func watchSilence(_ connection: UpstreamConnection) {
        guard let interval = connection.runtime.settings.pingInterval else {
            setWait(connection, .nothing)
            return
        }
        setWait(connection, .silence, after: interval)
    }

    func silenceLasted(_ connection: UpstreamConnection) {
        guard connection.streamCount > 0, let interval = connection.runtime.settings.pingInterval else { return }
        let quiet = now &- connection.receivedAt
        guard quiet >= interval else {
            setWait(connection, .silence, after: interval - quiet)
            return
        }
        connection.session?.ping()
        touch(connection)
        setWait(connection, .pong, after: connection.runtime.settings.pingTimeout)
    }

    func pongMissing(_ connection: UpstreamConnection) {
        // Anything that has come since is as good an answer.
        if now &- connection.receivedAt < connection.runtime.settings.pingTimeout {
            if connection.streamCount > 0 { watchSilence(connection) }
            return
        }
        note(connection.runtime, "an HTTP/2 connection to the upstream is dead", "it does not answer a ping")
        sessionLost(connection, "the upstream does not answer", .upstreamTimeout)
    }
}
