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
        while true {
            switch runtime.pool.lease(exchange: exchange.id, newConnection: newConnection) {
            case .reuse(let slot):
                guard case .upstream(let connection) = slots[slot], connection.state == .idle else { continue }
                if isWornOut(connection) {
                    closeUpstream(connection)
                    continue
                }
                connection.state = .active
                connection.wasReused = true
                counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: 1, idle: -1)
                attach(exchange, connection)
                return exchange.machine.connectionReady(reused: true)
            case .open:
                exchange.connectTries = 0
                return connect(exchange, runtime)
            case .wait:
                exchange.isWaitingForConnection = true
                if let caller = exchange.caller {
                    setWait(caller, .connection, after: runtime.settings.connectTimeout)
                }
                return nil
            case .refuse:
                return exchange.machine.connectionFailed(.overloaded)
            }
        }
    }

    private func isWornOut(_ connection: UpstreamConnection) -> Bool {
        guard let age = connection.runtime.settings.maxAge else { return false }
        return now &- connection.openedAt > age
    }

    private func attach(_ exchange: Exchange, _ connection: UpstreamConnection) {
        exchange.upstream = connection
        connection.exchange = exchange
    }

    /// Opens a connection under a lease that the exchange holds.
    private func connect(_ exchange: Exchange, _ runtime: UpstreamRuntime) -> ExchangeMachine.Action? {
        if runtime.addresses.isEmpty || now &- runtime.addressesAt > 30_000 { resolve(runtime) }
        guard !runtime.addresses.isEmpty else {
            runtime.waitingForAddress.append(exchange.id)
            if let caller = exchange.caller { setWait(caller, .connection, after: runtime.settings.connectTimeout) }
            return nil
        }
        while exchange.connectTries < runtime.addresses.count {
            let address = runtime.addresses[(runtime.nextAddress + exchange.connectTries) % runtime.addresses.count]
            exchange.connectTries += 1
            switch Socket.connect(to: address) {
            case .connected(let descriptor), .inProgress(let descriptor):
                guard let connection = makeConnection(descriptor, runtime) else { continue }
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
        runtime.pool.connectionClosed(-1)
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: AttemptOutcome(error))
        let action = exchange.machine.connectionFailed(error)
        serveWaiting(runtime)
        return action
    }

    private func makeConnection(_ descriptor: Descriptor, _ runtime: UpstreamRuntime) -> UpstreamConnection? {
        let slot = allocateSlot(.free)
        do {
            try poller.add(descriptor, token: token(slot))
        } catch {
            descriptor.close()
            freeSlot(slot)
            return nil
        }
        var engine: TLSEngine?
        if let context = runtime.context {
            engine = TLSEngine(client: context, host: runtime.settings.host, session: runtime.session)
            runtime.session = nil
        }
        let connection = UpstreamConnection(
            descriptor: descriptor, slot: slot, runtime: runtime, engine: engine, now: now)
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
            runtime.addresses = addresses
            runtime.nextAddress = 0
        case .failure(let error):
            note(runtime, "the upstream's name did not resolve", "\(error)")
        }
        let waiting = runtime.waitingForAddress
        runtime.waitingForAddress.removeAll()
        for id in waiting {
            let exchange = exchanges[id]
            guard exchange.machine.phase == .waitingForConnection, exchange.runtime === runtime else { continue }
            if let caller = exchange.caller { setWait(caller, .nothing) }
            let action =
                runtime.addresses.isEmpty ? giveLeaseUp(exchange, runtime) : connect(exchange, runtime) ?? .none
            perform(exchange, action)
        }
    }

    // MARK: Events

    /// - Parameter again: there may be input in our buffer that no event will tell of.
    func upstreamReady(_ connection: UpstreamConnection, _ readiness: Readiness, again: Bool = false) {
        if readiness.contains(.peerClosed) { connection.peerClosed = true }
        if readiness.contains(.readable) || readiness.contains(.peerClosed) || readiness.contains(.hangUp)
            || readiness.contains(.error)
        {
            connection.canRead = true
        }
        if readiness.contains(.writable) { connection.canWrite = true }
        switch connection.state {
        case .connecting:
            if connection.canWrite || readiness.contains(.error) || readiness.contains(.hangUp) {
                connected(connection)
            }
        case .handshaking:
            if connection.backlog > 0 { touch(connection) }
            handshake(connection)
        case .active:
            if connection.canWrite, connection.backlog > 0 { touch(connection) }
            if connection.canRead || again, let exchange = connection.exchange { pumpResponse(exchange) }
        case .idle:
            if connection.canRead { idleInput(connection) }
        case .closed:
            break
        }
    }

    private func connected(_ connection: UpstreamConnection) {
        if let failure = Socket.pendingError(of: connection.descriptor) {
            note(connection.runtime, "no connection to the upstream", failure.description)
            connectFailed(connection, .upstreamUnreachable)
            return
        }
        guard connection.engine != nil else {
            established(connection)
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
        closeUpstream(connection, keepsLease: exchange != nil)
        guard let exchange else { return }
        if error == .upstreamUnreachable {
            if let action = connect(exchange, runtime) { perform(exchange, action) }
            return
        }
        runtime.pool.connectionClosed(-1)
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: AttemptOutcome(error))
        perform(exchange, exchange.machine.connectionFailed(error))
        serveWaiting(runtime)
    }

    private func handshake(_ connection: UpstreamConnection) {
        guard let engine = connection.engine else { return }
        var input = UnsafeRawBufferPointer(start: nil, count: 0)
        if connection.canRead {
            switch Socket.read(connection.descriptor, into: scratch) {
            case .bytes(let count):
                counters.upstreamBytes(received: count, sent: 0)
                if count < scratch.count && !connection.peerClosed { connection.canRead = false }
                input = UnsafeRawBufferPointer(rebasing: scratch[..<count])
            case .wouldBlock:
                connection.canRead = false
            case .endOfFile:
                note(connection.runtime, "TLS to the upstream failed", "it closed the connection in the handshake")
                connectFailed(connection, .upstreamTLS)
                return
            case .failed(let failure):
                note(connection.runtime, "TLS to the upstream failed", failure.description)
                connectFailed(connection, .upstreamTLS)
                return
            }
        }
        tlsOutput.removeAll()
        let step = engine.handshake(input, output: tlsOutput)
        writeCiphertext(connection)
        switch step.state {
        case .needsInput:
            if connection.canRead { readyAgain.append(connection.slot) }
        case .failed(let error):
            note(connection.runtime, "TLS to the upstream failed", error.reason)
            connectFailed(connection, .upstreamTLS)
        case .complete:
            counters.handshakeCompleted(resumed: engine.sessionReused)
            decrypt(connection, UnsafeRawBufferPointer(rebasing: input[step.consumed...]))
            if connection.state == .handshaking { established(connection) }
        }
    }

    private func established(_ connection: UpstreamConnection) {
        connection.state = .active
        setWait(connection, .nothing)
        guard let exchange = connection.exchange else {
            closeUpstream(connection)
            return
        }
        // What came in the handshake's last flight, an end for example, is not told again.
        if connection.canRead || connection.inputEnded || !connection.inbound.isEmpty {
            readyAgain.append(connection.slot)
        }
        perform(exchange, exchange.machine.connectionReady(reused: false))
    }

    // MARK: Reading

    /// One read; plaintext is appended to the inbound buffer. False when nothing came.
    func fill(_ connection: UpstreamConnection) -> Bool {
        guard connection.canRead, !connection.inputEnded else { return false }
        guard connection.engine != nil else { return fillPlain(connection) }
        for _ in 0..<Self.readsPerTick {
            switch Socket.read(connection.descriptor, into: scratch) {
            case .bytes(let count):
                counters.upstreamBytes(received: count, sent: 0)
                if count < scratch.count && !connection.peerClosed { connection.canRead = false }
                let before = connection.inbound.count
                decrypt(connection, UnsafeRawBufferPointer(rebasing: scratch[..<count]))
                if connection.inbound.count > before { return true }
                // A ticket or half a record: not the end of what is to be had.
                guard connection.canRead && !connection.inputEnded else { return false }
            case .wouldBlock:
                connection.canRead = false
                return false
            case .endOfFile:
                connection.canRead = false
                connection.inputEnded = true
                return false
            case .failed:
                connection.canRead = false
                connection.inputEnded = true
                connection.inputBroke = true
                return false
            }
        }
        readyAgain.append(connection.slot)
        return false
    }

    private func fillPlain(_ connection: UpstreamConnection) -> Bool {
        connection.inbound.acquire(from: buffers)
        let space = connection.inbound.writable(minimum: 4096)
        switch Socket.read(connection.descriptor, into: space) {
        case .bytes(let count):
            connection.inbound.commit(count)
            counters.upstreamBytes(received: count, sent: 0)
            if count < space.count && !connection.peerClosed { connection.canRead = false }
            return true
        case .wouldBlock:
            connection.canRead = false
        case .endOfFile:
            connection.canRead = false
            connection.inputEnded = true
        case .failed:
            connection.canRead = false
            connection.inputEnded = true
            connection.inputBroke = true
        }
        return false
    }

    /// Decrypts all of `input`.
    private func decrypt(_ connection: UpstreamConnection, _ input: UnsafeRawBufferPointer) {
        guard let engine = connection.engine else { return }
        tlsOutput.removeAll()
        var rest = input
        while true {
            connection.inbound.acquire(from: buffers)
            let space = connection.inbound.writable(minimum: 17 * 1024)
            let step = engine.receive(rest, into: space, output: tlsOutput)
            connection.inbound.commit(step.produced)
            rest = UnsafeRawBufferPointer(rebasing: rest[step.consumed...])
            switch step.state {
            case .open: continue
            case .needsInput: break
            case .closed: connection.inputEnded = true
            case .failed(let error):
                note(connection.runtime, "TLS to the upstream broke", error.reason)
                connection.inputEnded = true
            }
            break
        }
        if !tlsOutput.isEmpty { writeCiphertext(connection) }
        connection.inbound.releaseIfEmpty(to: buffers)
    }

    /// An idle connection has input: a TLS ticket is fine, anything else ends it (RFC 9112 9.3: it answers nothing).
    private func idleInput(_ connection: UpstreamConnection) {
        if fill(connection) || connection.inputEnded { closeUpstream(connection) }
    }

    // MARK: Writing

    func touch(_ connection: UpstreamConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirtyUpstreams.append(connection)
    }

    /// Encrypts and writes what waits; then lets the request go on.
    func flush(_ connection: UpstreamConnection) {
        guard connection.state != .closed, connection.state != .connecting else { return }
        writeBacklog(connection)
        guard connection.state == .active, let exchange = connection.exchange else { return }
        if connection.backlog == 0 {
            connection.writeDeadline = .max
            connection.outbound.releaseIfEmpty(to: buffers)
            connection.ciphertext.releaseIfEmpty(to: buffers)
            if exchange.requestSent && exchange.stage != .tunnel {
                if exchange.stage == .head, connection.waitingFor != .firstByte {
                    setWait(connection, .firstByte, after: connection.runtime.settings.firstByteTimeout)
                }
            } else {
                feedUpstream(exchange)
                // In the next tick: two fast peers must not keep this one from ending.
                if let caller = exchange.caller, caller.canRead || !caller.inbound.isEmpty || caller.inputEnded {
                    readyAgain.append(caller.slot)
                }
            }
        } else if connection.writeDeadline == .max {
            // Starts anew only when something is taken.
            connection.writeDeadline = now &+ connection.runtime.settings.writeIdleTimeout
            arm(slot: connection.slot, at: connection.writeDeadline)
        }
    }

    private func writeBacklog(_ connection: UpstreamConnection) {
        if !connection.ciphertext.isEmpty {
            guard connection.canWrite else { return }
            write(connection, from: connection.ciphertext.readable) { $0.ciphertext.consume($1) }
            guard connection.ciphertext.isEmpty else { return }
        }
        guard !connection.outbound.isEmpty else { return }
        guard let engine = connection.engine else {
            guard connection.canWrite else { return }
            write(connection, from: connection.outbound.readable) { $0.outbound.consume($1) }
            return
        }
        tlsOutput.removeAll()
        _ = engine.send(connection.outbound.readable, output: tlsOutput)
        connection.outbound.removeAll()
        writeCiphertext(connection)
    }

    private func write(
        _ connection: UpstreamConnection, from bytes: UnsafeRawBufferPointer,
        consume: (UpstreamConnection, Int) -> Void
    ) {
        switch Socket.write(connection.descriptor, bytes) {
        case .bytes(let count):
            counters.upstreamBytes(received: 0, sent: count)
            connection.writeDeadline = .max
            if count < bytes.count { connection.canWrite = false }
            consume(connection, count)
        case .wouldBlock:
            connection.canWrite = false
        case .endOfFile, .failed:
            writingFailed(connection)
        }
    }

    /// Writes what the engine has put out; what the socket does not take is kept.
    private func writeCiphertext(_ connection: UpstreamConnection) {
        guard !tlsOutput.isEmpty else { return }
        let bytes = tlsOutput.bytes
        var written = 0
        if connection.canWrite && connection.ciphertext.isEmpty {
            switch Socket.write(connection.descriptor, bytes) {
            case .bytes(let count):
                counters.upstreamBytes(received: 0, sent: count)
                connection.writeDeadline = .max
                written = count
                if count < bytes.count { connection.canWrite = false }
            case .wouldBlock:
                connection.canWrite = false
            case .endOfFile, .failed:
                writingFailed(connection)
                written = bytes.count
            }
        }
        if written < bytes.count {
            connection.ciphertext.acquire(from: buffers)
            connection.ciphertext.append(UnsafeRawBufferPointer(rebasing: bytes[written...]))
        }
        tlsOutput.removeAll()
    }

    /// The peer takes no more. An answer may be there all the same (an early refusal), so reading decides.
    private func writingFailed(_ connection: UpstreamConnection) {
        connection.canWrite = false
        connection.canRead = true
        connection.outbound.removeAll()
        connection.ciphertext.removeAll()
        readyAgain.append(connection.slot)
    }

    /// Large content past the buffer: one encryption run and one write.
    func writeDirectly(_ connection: UpstreamConnection, _ content: UnsafeRawBufferPointer) {
        guard connection.ciphertext.isEmpty, connection.canWrite else {
            connection.outbound.acquire(from: buffers)
            connection.outbound.append(content)
            touch(connection)
            return
        }
        if let engine = connection.engine {
            tlsOutput.removeAll()
            if !connection.outbound.isEmpty {
                _ = engine.send(connection.outbound.readable, output: tlsOutput)
                connection.outbound.removeAll()
            }
            _ = engine.send(content, output: tlsOutput)
            writeCiphertext(connection)
        } else {
            let waiting = connection.outbound.count
            switch Socket.write(connection.descriptor, connection.outbound.readable, content) {
            case .bytes(let count):
                counters.upstreamBytes(received: 0, sent: count)
                connection.writeDeadline = .max
                connection.outbound.consume(min(count, waiting))
                if count < waiting + content.count {
                    connection.canWrite = false
                    connection.outbound.acquire(from: buffers)
                    connection.outbound.append(UnsafeRawBufferPointer(rebasing: content[max(0, count - waiting)...]))
                }
            case .wouldBlock:
                connection.canWrite = false
                connection.outbound.acquire(from: buffers)
                connection.outbound.append(content)
            case .endOfFile, .failed:
                writingFailed(connection)
            }
        }
        if connection.backlog > 0 { touch(connection) }
    }

    // MARK: Ends

    /// Nothing more is sent; what comes is still read. Only when nothing waits to be written.
    func finishSending(_ connection: UpstreamConnection) {
        if let engine = connection.engine {
            tlsOutput.removeAll()
            engine.close(output: tlsOutput)
            writeCiphertext(connection)
        }
        if connection.ciphertext.isEmpty { Socket.shutdownWriting(connection.descriptor) }
    }

    /// The exchange is complete: the connection goes back to the pool, or away.
    func releaseUpstream(_ exchange: Exchange) {
        guard let connection = exchange.upstream else { return }
        let runtime = connection.runtime
        exchange.upstream = nil
        connection.exchange = nil
        counters.attemptEnded(upstream: runtime.settings.metricIndex, outcome: .answered)
        let isReusable =
            exchange.requestSent && exchange.response.flags.contains(.keepAlive) && connection.inbound.isEmpty
            && connection.backlog == 0 && !connection.inputEnded && !connection.peerClosed
            && exchange.status != 101 && !runtime.isRetired && !isDraining && !isWornOut(connection)
        guard isReusable, runtime.pool.connectionFreed(connection.slot) else {
            closeUpstream(connection)
            return
        }
        connection.state = .idle
        connection.inbound.releaseIfEmpty(to: buffers)
        connection.outbound.releaseIfEmpty(to: buffers)
        counters.upstreamConnectionsChanged(upstream: runtime.settings.metricIndex, active: -1, idle: 1)
        setWait(connection, .idle, after: runtime.settings.idleTimeout)
        serveWaiting(runtime)
    }

    /// Gives the current attempt up; its connection cannot carry anything else.
    func dropUpstream(_ exchange: Exchange, outcome: AttemptOutcome) {
        if exchange.machine.phase == .finished || exchange.upstream == nil { giveWaitUp(exchange) }
        guard let connection = exchange.upstream else { return }
        counters.attemptEnded(upstream: connection.runtime.settings.metricIndex, outcome: outcome)
        exchange.upstream = nil
        connection.exchange = nil
        closeUpstream(connection)
    }

    /// Ends waiting for an address under a lease, or for a place in the pool.
    private func giveWaitUp(_ exchange: Exchange) {
        guard let runtime = exchange.runtime else { return }
        if exchange.isWaitingForConnection {
            runtime.pool.stopWaiting(exchange.id)
            exchange.isWaitingForConnection = false
        }
        if let index = runtime.waitingForAddress.firstIndex(of: exchange.id) {
            runtime.waitingForAddress.remove(at: index)
            runtime.pool.connectionClosed(-1)
            serveWaiting(runtime)
        }
    }

    /// - Parameter keepsLease: the exchange goes on to another address under the same lease.
    func closeUpstream(_ connection: UpstreamConnection, keepsLease: Bool = false) {
        guard connection.state != .closed else { return }
        let runtime = connection.runtime
        let wasIdle = connection.state == .idle
        if let engine = connection.engine {
            if let session = engine.takeNewSession() { runtime.session = session }
            if connection.state == .active || wasIdle, connection.canWrite {
                tlsOutput.removeAll()
                engine.close(output: tlsOutput)
                if !tlsOutput.isEmpty { _ = Socket.write(connection.descriptor, tlsOutput.bytes) }
                tlsOutput.removeAll()
            }
        }
        connection.state = .closed
        connection.descriptor.close()
        connection.inbound.release(to: buffers)
        connection.outbound.release(to: buffers)
        connection.ciphertext.release(to: buffers)
        freeSlot(connection.slot)
        counters.upstreamConnectionsChanged(
            upstream: runtime.settings.metricIndex, active: wasIdle ? 0 : -1, idle: wasIdle ? -1 : 0)
        if listenersPaused { resumeListeners() }
        guard !keepsLease else { return }
        runtime.pool.connectionClosed(connection.slot)
        serveWaiting(runtime)
    }

    /// Gives connections, or leases to open them, to exchanges that wait.
    private func serveWaiting(_ runtime: UpstreamRuntime) {
        guard !runtime.isServing else { return }
        runtime.isServing = true
        defer { runtime.isServing = false }
        while let id = runtime.pool.nextWaiting() {
            let exchange = exchanges[id]
            exchange.isWaitingForConnection = false
            if let caller = exchange.caller { setWait(caller, .nothing) }
            if let action = openAttempt(exchange, newConnection: false) { perform(exchange, action) }
        }
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
        log.field("reason", reason)
        log.end()
    }
}
