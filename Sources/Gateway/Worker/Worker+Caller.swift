import HTTP
import Proxy
import Reactor
import Telemetry

/// The caller's side: accepting, reading heads, writing, closing.
extension Worker {
    func acceptCallers(_ listener: Descriptor) {
        for _ in 0..<64 {
            switch Socket.accept(listener) {
            case .accepted(let descriptor, let peer):
                accepted(descriptor, peer)
            case .wouldBlock, .failed:
                return
            case .descriptorsExhausted:
                pauseListeners()
                return
            }
        }
    }

    private func accepted(_ descriptor: Descriptor, _ peer: SocketAddress) {
        let slot = allocateSlot(.free)
        let connection = CallerConnection(descriptor: descriptor, slot: slot, peer: peer)
        do {
            try poller.add(descriptor, token: token(slot))
        } catch {
            descriptor.close()
            freeSlot(slot)
            return
        }
        slots[slot] = .caller(connection)
        callerCount += 1
        counters.callerConnectionOpened()
        if callerCount > configuration.limits.connections {
            // An answer and not a reset, so that the caller can tell this from a network fault.
            writeProblem(connection, .overloaded, reason: nil, retryAfter: 1, keepAlive: false, exchange: nil)
            closeAfterFlush(connection, linger: true)
            return
        }
        setWait(connection, .head, after: configuration.timeouts.head)
        // Data is often there already: accept is told after the handshake, and callers speak first.
        readCaller(connection)
    }

    /// Out of descriptors: stop accepting until one comes back or a second has passed.
    private func pauseListeners() {
        guard !listenersPaused else { return }
        listenersPaused = true
        for slot in slots.indices {
            if case .listener(let descriptor) = slots[slot] {
                poller.remove(descriptor)
                arm(slot: slot, at: now + 1000)
            }
        }
    }

    func resumeListeners() {
        guard listenersPaused, !isDraining else { return }
        listenersPaused = false
        for slot in slots.indices {
            if case .listener(let descriptor) = slots[slot] {
                try? poller.addListener(descriptor, token: token(slot))
            }
        }
    }

    func callerReady(_ connection: CallerConnection, _ readiness: Readiness) {
        if readiness.contains(.error) || readiness.contains(.hangUp) {
            callerGone(connection)
            return
        }
        if readiness.contains(.peerClosed) { connection.peerClosed = true }
        if readiness.contains(.readable) || readiness.contains(.peerClosed) { connection.canRead = true }
        if readiness.contains(.writable) {
            connection.canWrite = true
            if !connection.outbound.isEmpty { touch(connection) }
        }
        if connection.canRead { readCaller(connection) }
    }

    /// Goes on without an event: input may wait in the buffer only, as that of pipelined requests does.
    func resume(_ connection: CallerConnection) {
        switch connection.mode {
        case .reading:
            processInput(connection)
        case .exchange:
            if let exchange = connection.exchange { pumpRequest(exchange) }
        case .closing, .lingering, .closed:
            break
        }
        if connection.canRead { readCaller(connection) }
    }

    /// Reads and processes as long as there is something to read and somewhere to put it.
    func readCaller(_ connection: CallerConnection) {
        for _ in 0..<Self.readsPerTick {
            switch connection.mode {
            case .reading:
                guard connection.canRead, receive(connection) else {
                    if connection.inputEnded { callerInputEnded(connection) }
                    return
                }
                processInput(connection)
            case .exchange:
                guard let exchange = connection.exchange else { return }
                pumpRequest(exchange)
                return
            case .closing, .closed:
                return
            case .lingering:
                guard connection.canRead, receive(connection) else {
                    if connection.inputEnded { closeCaller(connection) }
                    return
                }
                connection.inbound.release(to: buffers)
            }
        }
        readyAgain.append(connection.slot)
    }

    /// One read into the inbound buffer; false when nothing came.
    func receive(_ connection: CallerConnection) -> Bool {
        connection.inbound.acquire(from: buffers)
        let space = connection.inbound.writable(minimum: 4096)
        switch Socket.read(connection.descriptor, into: space) {
        case .bytes(let count):
            connection.inbound.commit(count)
            counters.callerBytes(received: count, sent: 0)
            // A short read means that nothing is left, unless the end of the stream was announced with it.
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
            connection.inbound.releaseIfEmpty(to: buffers)
            callerGone(connection)
            return false
        }
        connection.inbound.releaseIfEmpty(to: buffers)
        return false
    }

    /// Starts exchanges from what is in the inbound buffer.
    func processInput(_ connection: CallerConnection) {
        while connection.mode == .reading, !connection.inbound.isEmpty {
            guard let length = completeHead(connection) else { break }
            startExchange(connection, headLength: length)
        }
        guard connection.mode == .reading else { return }
        connection.inbound.releaseIfEmpty(to: buffers)
        if connection.inputEnded { callerInputEnded(connection) }
    }

    /// The length of the head at the front of the buffer; nil while it is incomplete or when it was refused.
    private func completeHead(_ connection: CallerConnection) -> Int? {
        if connection.inbound[0] == 0x0D {
            guard let empty = HTTP1RequestParser.leadingEmptyLines(connection.inbound.readable),
                connection.emptyLineBytes + empty <= HTTP1RequestParser.skippedLineBytes
            else {
                refuse(connection, .malformed("there are too many empty lines before the request line"))
                return nil
            }
            connection.emptyLineBytes += empty
            connection.inbound.consume(empty)
            connection.scanner.reset()
        }
        guard !connection.inbound.isEmpty else { return nil }
        guard HTTP1RequestParser.canBegin(with: connection.inbound[0]) else {
            refuse(connection, .malformed("this is not HTTP"))
            return nil
        }
        let limits = configuration.limits.head
        switch connection.scanner.search(connection.inbound.readable, limits: limits) {
        case .incomplete:
            if connection.waitingFor != .head { setWait(connection, .head, after: configuration.timeouts.head) }
            return nil
        case .complete(let length):
            connection.scanner.reset()
            connection.emptyLineBytes = 0
            return length
        case .rejected(let rejection):
            refuse(connection, rejection)
            return nil
        }
    }

    /// Answers a head that cannot be an exchange, and closes.
    func refuse(_ connection: CallerConnection, _ rejection: Rejection) {
        let error = GatewayError(rejection)
        writeProblem(connection, error, reason: rejection.reason, retryAfter: 0, keepAlive: false, exchange: nil)
        closeAfterFlush(connection, linger: true)
    }

    private func callerInputEnded(_ connection: CallerConnection) {
        guard connection.mode == .reading else { return }
        // An incomplete head is never completed (RFC 9112 8).
        if connection.outbound.isEmpty { closeCaller(connection) } else { closeAfterFlush(connection, linger: false) }
    }

    // MARK: Writing

    /// Has the connection flushed at the end of the tick.
    func touch(_ connection: CallerConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirtyCallers.append(connection)
    }

    func flushAll() {
        while !dirtyCallers.isEmpty || !dirtyUpstreams.isEmpty {
            while let connection = dirtyUpstreams.popLast() {
                connection.isDirty = false
                flush(connection)
            }
            while let connection = dirtyCallers.popLast() {
                connection.isDirty = false
                flush(connection)
            }
        }
    }

    private func flush(_ connection: CallerConnection) {
        guard connection.mode != .closed else { return }
        if !connection.outbound.isEmpty && connection.canWrite {
            switch Socket.write(connection.descriptor, connection.outbound.readable) {
            case .bytes(let count):
                counters.callerBytes(received: 0, sent: count)
                connection.outbound.consume(count)
                // The rest waits for the next edge.
                if !connection.outbound.isEmpty { connection.canWrite = false }
            case .wouldBlock:
                connection.canWrite = false
            case .endOfFile, .failed:
                callerGone(connection)
                return
            }
        }
        if connection.outbound.isEmpty { flushed(connection) } else { blocked(connection) }
    }

    private func flushed(_ connection: CallerConnection) {
        connection.outbound.releaseIfEmpty(to: buffers)
        switch connection.mode {
        case .closing:
            if connection.lingerAfterFlush { startLingering(connection) } else { closeCaller(connection) }
        case .exchange:
            if connection.waitingFor == .writing { setWait(connection, .nothing) }
            if let exchange = connection.exchange { pumpResponse(exchange) }
        case .reading:
            if connection.waitingFor == .writing || connection.waitingFor == .nothing { waitForRequest(connection) }
        case .lingering, .closed:
            break
        }
    }

    /// The caller does not take what is there: patience runs, and starts anew with each byte that it takes.
    func blocked(_ connection: CallerConnection) {
        setWait(connection, .writing, after: configuration.timeouts.writeIdle)
    }

    func waitForRequest(_ connection: CallerConnection) {
        if connection.inbound.isEmpty {
            setWait(connection, .keepAlive, after: configuration.timeouts.keepAlive)
        } else {
            setWait(connection, .head, after: configuration.timeouts.head)
        }
    }

    // MARK: Closing

    /// Closes when all is written. `linger`: unread input may be there, so shut our side first and drain a little.
    func closeAfterFlush(_ connection: CallerConnection, linger: Bool) {
        guard connection.mode != .closed else { return }
        connection.mode = .closing
        connection.lingerAfterFlush = linger && !connection.inputEnded
        connection.inbound.release(to: buffers)
        touch(connection)
    }

    private func startLingering(_ connection: CallerConnection) {
        Socket.shutdownWriting(connection.descriptor)
        connection.mode = .lingering
        setWait(connection, .lingering, after: 2000)
        if connection.canRead { readCaller(connection) }
    }

    func closeCaller(_ connection: CallerConnection) {
        guard connection.mode != .closed else { return }
        connection.mode = .closed
        connection.descriptor.close()
        connection.inbound.release(to: buffers)
        connection.outbound.release(to: buffers)
        freeSlot(connection.slot)
        callerCount -= 1
        counters.callerConnectionClosed()
        if listenersPaused { resumeListeners() }
    }

    /// The connection broke or must break: its exchange is given up.
    func callerGone(_ connection: CallerConnection) {
        guard connection.mode != .closed else { return }
        if let exchange = connection.exchange {
            perform(exchange, exchange.machine.callerLeft())
        }
        closeCaller(connection)
    }

    // MARK: Time

    func setWait(_ connection: CallerConnection, _ wait: CallerConnection.Wait, after milliseconds: UInt64) {
        connection.waitingFor = wait
        connection.deadline = now &+ milliseconds
        arm(slot: connection.slot, at: connection.deadline)
    }

    func setWait(_ connection: CallerConnection, _ wait: CallerConnection.Wait) {
        connection.waitingFor = wait
        connection.deadline = .max
    }
}

extension GatewayError {
    init(_ rejection: Rejection) {
        switch rejection {
        case .malformed: self = .malformedRequest
        case .targetTooLong: self = .targetTooLong
        case .headTooLarge, .tooManyFields: self = .headersTooLarge
        case .versionNotSupported: self = .versionNotSupported
        case .codingNotImplemented: self = .notImplemented
        }
    }
}
