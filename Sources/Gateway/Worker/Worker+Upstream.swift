import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// The upstream's side: addresses, connecting, TLS, reading, writing, the pool.
extension Worker {
    // MARK: Getting a connection

    /// The next action when a connection is there; nil while one is being made or waited for.
    func openAttempt(_ exchange: Exchange, newConnection: Bool) -> ExchangeMachine.Action? {
        guard let runtime = exchange.runtime else { return nil }
        if takesStream(exchange, runtime) { return openStream(exchange, runtime, newConnection: newConnection) }
        exchange.leasesStream = false
        while true {
            switch runtime.pool.lease(exchange: exchange.id, newConnection: newConnection) {
            case .reuse(let slot):
                guard case .upstream(let connection) = slots[slot], connection.state == .idle else { continue }
                if isWornOut(connection) {
                    closeUpstream(connection)
                    continue
                }
                connection.state = .active
                setWait(connection, .nothing)
                counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: 1, idle: -1)
                attach(exchange, connection)
                return exchange.machine.connectionReady(reused: true)
            case .open:
                exchange.connectTries = 0
                return connect(exchange, runtime)
            case .wait:
                exchange.isWaitingForConnection = true
                setWait(exchange, caller: .connection, after: runtime.settings.connectTimeout)
                return nil
            case .refuse:
                return exchange.machine.connectionFailed(.overloaded)
            }
        }
    }

    /// Whether the attempt goes on a stream. Where the upstream speaks HTTP/2 but was not heard to take extended
    /// CONNECT (RFC 8441), an upgrade goes on an HTTP/1 connection of its own.
    private func takesStream(_ exchange: Exchange, _ runtime: UpstreamRuntime) -> Bool {
        guard runtime.speech != .http1 else { return false }
        return !exchange.wantsUpgrade || runtime.upgradeContext == nil
    }

    func isWornOut(_ connection: UpstreamConnection) -> Bool {
        guard let age = connection.runtime.settings.maxAge else { return false }
        return now &- connection.openedAt > age
    }

    private func attach(_ exchange: Exchange, _ connection: UpstreamConnection) {
        exchange.upstream = connection
        connection.exchange = exchange
    }

    /// Opens a connection under a lease that the exchange holds.
    func connect(_ exchange: Exchange, _ runtime: UpstreamRuntime) -> ExchangeMachine.Action? {
        if runtime.addresses.isEmpty || now &- runtime.addressesAt > 30_000 { resolve(runtime) }
        guard !runtime.addresses.isEmpty else {
            runtime.waitingForAddress.append(exchange.id)
            setWait(exchange, caller: .connection, after: runtime.settings.connectTimeout)
            return nil
        }
        while exchange.connectTries < runtime.addresses.count {
            let address = runtime.addresses[(runtime.nextAddress + exchange.connectTries) % runtime.addresses.count]
            exchange.connectTries += 1
            switch Socket.connect(to: address) {
            case .connected(let descriptor), .inProgress(let descriptor):
                let purpose: UpstreamConnection.Purpose = exchange.leasesStream ? .stream : .request
                guard let connection = makeConnection(descriptor, runtime, purpose, for: exchange) else { continue }
                attach(exchange, connection)
                setWait(connection, .connecting, after: runtime.settings.connectTimeout)
                return nil
            case .failed(let failure) where failure.isExhaustion:
                // Ours, not the upstream's: no other address would help.
                return giveLeaseUp(exchange, runtime, .overloaded)
            case .failed(let failure):
                note(runtime, "no connection to the upstream", failure.description)
            }
        }
        return giveLeaseUp(exchange, runtime)
    }

    /// No address took the connection.
    private func giveLeaseUp(
        _ exchange: Exchange, _ runtime: UpstreamRuntime, _ error: GatewayError = .upstreamUnreachable
    ) -> ExchangeMachine.Action {
        let purpose: UpstreamConnection.Purpose = exchange.leasesStream ? .stream : .request
        exchange.leasesStream = false
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: AttemptOutcome(error))
        let action = exchange.machine.connectionFailed(error)
        leaseEnded(runtime, purpose, error)
        return action
    }

    /// A lease to open a connection has come to nothing. Who waited for a place on that connection is told the same.
    private func leaseEnded(
        _ runtime: UpstreamRuntime, _ purpose: UpstreamConnection.Purpose, _ error: GatewayError
    ) {
        switch purpose {
        case .request:
            runtime.pool.connectionClosed(-1)
        case .stream:
            runtime.streams.openFailed()
            guard !runtime.streams.hasReady, !runtime.streams.isOpening else { break }
            for id in runtime.streams.takeWaiting() {
                let waiting = exchanges[id]
                waiting.isWaitingForConnection = false
                waiting.leasesStream = false
                stopWait(waiting, caller: .connection)
                counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: AttemptOutcome(error))
                perform(waiting, waiting.machine.connectionFailed(error))
            }
        }
        serveWaiting(runtime)
    }

    private func makeConnection(
        _ descriptor: Descriptor, _ runtime: UpstreamRuntime, _ purpose: UpstreamConnection.Purpose,
        for exchange: Exchange
    ) -> UpstreamConnection? {
        let slot = allocateSlot(.free)
        do {
            try poller.add(descriptor, token: token(slot))
        } catch {
            descriptor.close()
            freeSlot(slot)
            return nil
        }
        var engine: TLSEngine?
        let isForUpgrade = purpose == .request && exchange.wantsUpgrade
        if isForUpgrade, let context = runtime.upgradeContext {
            engine = TLSEngine(client: context, host: runtime.settings.host)
        } else if let context = runtime.context {
            engine = TLSEngine(client: context, host: runtime.settings.host, session: runtime.session)
            runtime.session = nil
        }
        let connection = UpstreamConnection(
            descriptor: descriptor, slot: slot, runtime: runtime, purpose: purpose, engine: engine, now: now)
        slots[slot] = .upstream(connection)
        counters.upstreamConnectionOpened(upstream: runtime.settings.metricIndex)
        return connection
    }

    // MARK: Addresses

    private func resolve(_ runtime: UpstreamRuntime) {
        guard !runtime.isResolving else { return }
        runtime.isResolving = true
        let mailbox = mailbox
        nextLookup += 1
        let lookup = nextLookup
        lookups[lookup] = runtime
        services.resolver.resolve(host: runtime.settings.host, port: runtime.settings.port) { result in
            mailbox.post(.resolved(lookup: lookup, result))
        }
    }

    func addressesFound(_ runtime: UpstreamRuntime, _ result: Result<[SocketAddress], ResolveError>) {
        runtime.isResolving = false
        runtime.addressesAt = now
        switch result {
        case .success(let addresses):
            let usable = runtime.settings.allowsPrivate ? addresses : addresses.filter(\.isPublic)
            if usable.isEmpty, let address = addresses.first {
                note(
                    runtime, "the upstream's host, which only a pattern allows, is on a private address",
                    "\(runtime.settings.host) is at \(address.ipText): see allow_private")
            }
            runtime.addresses = usable
            runtime.nextAddress = 0
        case .failure(let error):
            note(runtime, "the upstream's name did not resolve", "\(error)")
        }
        for id in runtime.waitingForAddress.removeAll() {
            let exchange = exchanges[id]
            guard exchange.machine.phase == .waitingForConnection, exchange.runtime === runtime else { continue }
            stopWait(exchange, caller: .connection)
            let action =
                runtime.addresses.isEmpty ? giveLeaseUp(exchange, runtime) : connect(exchange, runtime) ?? .none
            perform(exchange, action)
        }
    }

    // MARK: Events

    /// - Parameter again: there may be input in our buffer that no event will tell of.
    func upstreamReady(_ connection: UpstreamConnection, _ readiness: Readiness, again: Bool = false) {
        connection.wire.note(readiness)
        switch connection.state {
        case .connecting:
            if connection.wire.canWrite || readiness.contains(.error) || readiness.contains(.hangUp) {
                connected(connection)
            }
        case .handshaking:
            if connection.wire.backlog > 0 { touch(connection) }
            handshake(connection)
        case .active:
            if connection.wire.canWrite, connection.wire.backlog > 0 { touch(connection) }
            if connection.wire.canRead || again, let exchange = connection.exchange { pumpResponse(exchange) }
        case .idle:
            if connection.wire.canRead { idleInput(connection) }
        case .multiplexed:
            if connection.wire.canWrite, connection.wire.backlog > 0 || connection.session?.hasOutput == true {
                touch(connection)
            }
            if connection.wire.canRead || again { readStreams(connection) }
        case .closing, .closed:
            break
        }
    }

    private func connected(_ connection: UpstreamConnection) {
        if let failure = Socket.pendingError(of: connection.wire.descriptor) {
            note(connection.runtime, "no connection to the upstream", failure.description)
            connectFailed(connection, .upstreamUnreachable)
            return
        }
        guard connection.wire.engine != nil else {
            established(connection, speaksHTTP2: connection.purpose == .stream)
            return
        }
        connection.state = .handshaking
        setWait(connection, .handshake, after: connection.runtime.settings.tlsTimeout)
        handshake(connection)
    }

    /// Tries the next address, or gives up. TLS failures do not try others: they would not be a matter of place.
    func connectFailed(_ connection: UpstreamConnection, _ error: GatewayError) {
        let runtime = connection.runtime
        let exchange = connection.exchange
        connection.exchange = nil
        exchange?.upstream = nil
        closeUpstream(connection, keepsLease: true)
        if error == .upstreamUnreachable, let exchange {
            if let action = connect(exchange, runtime) { perform(exchange, action) }
            return
        }
        guard let exchange else {
            // Its opener has left: who waits may try for itself, from the first address on.
            runtime.streams.openFailed()
            serveWaiting(runtime)
            return
        }
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: AttemptOutcome(error))
        exchange.leasesStream = false
        perform(exchange, exchange.machine.connectionFailed(error))
        leaseEnded(runtime, connection.purpose, error)
    }

    private func handshake(_ connection: UpstreamConnection) {
        guard let engine = connection.wire.engine else { return }
        var input = UnsafeRawBufferPointer(start: nil, count: 0)
        if connection.wire.canRead {
            if let count = receive(&connection.wire, into: scratch) {
                input = UnsafeRawBufferPointer(rebasing: scratch[..<count])
            } else if connection.wire.inputEnded {
                note(connection.runtime, "TLS to the upstream failed", "it closed the connection in the handshake")
                connectFailed(connection, .upstreamTLS)
                return
            }
        }
        tlsOutput.removeAll()
        let step = engine.handshake(input, output: tlsOutput)
        _ = writeCiphertext(&connection.wire)
        switch step.state {
        case .needsInput:
            if connection.wire.canRead { readyAgain.append(connection.slot) }
        case .failed(let error):
            note(connection.runtime, "TLS to the upstream failed", error.reason)
            connectFailed(connection, .upstreamTLS)
        case .complete:
            counters.handshakeCompleted(resumed: engine.sessionReused)
            if let error = decrypt(&connection.wire, engine, UnsafeRawBufferPointer(rebasing: input[step.consumed...]))
            {
                note(connection.runtime, "TLS to the upstream broke", error.reason)
            }
            established(connection, speaksHTTP2: engine.negotiatedProtocol == .h2)
        }
    }

    /// The connection is up. What it speaks may be other than what it was opened for.
    private func established(_ connection: UpstreamConnection, speaksHTTP2: Bool) {
        let runtime = connection.runtime
        if speaksHTTP2 {
            if runtime.speech == .unknown || connection.purpose == .request { runtime.speech = .http2 }
            guard connection.purpose == .stream else {
                // It spoke HTTP/1 until now: this request finds its place among the streams.
                moveToStreams(connection)
                return
            }
            streamsEstablished(connection)
            return
        }
        guard connection.purpose == .request else {
            speaksHTTP1(connection)
            return
        }
        exchangeEstablished(connection)
    }

    private func exchangeEstablished(_ connection: UpstreamConnection) {
        connection.state = .active
        setWait(connection, .nothing)
        guard let exchange = connection.exchange else {
            closeUpstream(connection)
            return
        }
        // What came in the handshake's last flight, an end for example, is not told again.
        if connection.wire.canRead || connection.wire.inputEnded || !connection.wire.inbound.isEmpty {
            readyAgain.append(connection.slot)
        }
        perform(exchange, exchange.machine.connectionReady(reused: false))
    }

    /// The upstream has learnt HTTP/2 since: the connection is given up, and the request starts again as a stream.
    private func moveToStreams(_ connection: UpstreamConnection) {
        let exchange = connection.exchange
        connection.exchange = nil
        exchange?.upstream = nil
        closeUpstream(connection)
        if let exchange, let action = openAttempt(exchange, newConnection: false) { perform(exchange, action) }
    }

    /// The upstream was asked for HTTP/2 and chose HTTP/1.1: who waits for streams gets connections.
    private func speaksHTTP1(_ connection: UpstreamConnection) {
        let runtime = connection.runtime
        guard runtime.settings.protocolChoice == .automatic else {
            note(runtime, "TLS to the upstream failed", "it does not speak HTTP/2, as `protocol` demands")
            connectFailed(connection, .upstreamTLS)
            return
        }
        runtime.speech = .http1
        let exchange = connection.exchange
        let waiting = runtime.streams.takeWaiting()
        connection.exchange = nil
        exchange?.upstream = nil
        // The handshake is not thrown away: the connection becomes the first of the other pool.
        runtime.streams.openFailed()
        if runtime.pool.adopt(connection.slot) {
            connection.purpose = .request
            connection.state = .idle
            counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: -1, idle: 1)
            setWait(connection, .idle, after: runtime.settings.idleTimeout)
        } else {
            closeUpstream(connection, keepsLease: true)
        }
        for id in (exchange.map { [$0.id] } ?? []) + waiting {
            let waiting = exchanges[id]
            waiting.isWaitingForConnection = false
            waiting.leasesStream = false
            stopWait(waiting, caller: .connection)
            if let action = openAttempt(waiting, newConnection: false) { perform(waiting, action) }
        }
        if connection.state == .idle, connection.wire.canRead || connection.wire.inputEnded { idleInput(connection) }
    }

    // MARK: Time and log

    func setWait(_ connection: UpstreamConnection, _ wait: UpstreamConnection.Wait, after milliseconds: UInt64) {
        connection.waitingFor = wait
        connection.deadline = now &+ milliseconds
        arm(slot: connection.slot, at: connection.deadline)
    }

    func setWait(_ connection: UpstreamConnection, _ wait: UpstreamConnection.Wait) {
        connection.waitingFor = wait
        connection.deadline = .max
    }

    /// A fact about an upstream for the operator.
    func note(_ runtime: UpstreamRuntime, _ message: StaticString, _ reason: String) {
        log.begin(level: .warning, unixMilliseconds: WallClock.milliseconds(), message: message)
        log.field("upstream", runtime.settings.name)
        if runtime.settings.template != nil { log.field("host", runtime.settings.host) }
        log.field("reason", reason)
        log.end()
    }
}
