import HTTP
import Proxy
import Reactor
import Telemetry

/// The caller's connection: HTTP/1 heads, writing, closing.
extension Worker {
    func callerReady(_ connection: CallerConnection, _ readiness: Readiness) {
        if readiness.contains(.error) || readiness.contains(.hangUp) {
            callerGone(connection)
            return
        }
        connection.wire.note(readiness)
        if readiness.contains(.writable) && connection.wire.backlog > 0 || connection.session?.hasOutput == true {
            touch(connection)
        }
        switch connection.mode {
        case .handshaking:
            handshake(connection)
        case .multiplexed:
            if connection.wire.canRead || connection.wire.inputEnded || !connection.wire.inbound.isEmpty {
                readSession(connection)
            }
        case .reading, .exchange, .closing, .lingering, .closed:
            if connection.wire.canRead || connection.wire.inputEnded || !connection.wire.inbound.isEmpty {
                readCaller(connection)
            }
        }
    }

    /// Reads and processes as long as there is something to read and somewhere to put it.
    func readCaller(_ connection: CallerConnection) {
        // Requests that came together with one that has just ended.
        if connection.mode == .reading, !connection.wire.inbound.isEmpty { processInput(connection) }
        for _ in 0..<Self.readsPerTick {
            switch connection.mode {
            case .reading:
                guard connection.wire.outbound.count < Self.highWater else { return }
                guard receive(connection) else {
                    if connection.wire.inputEnded { callerInputEnded(connection) }
                    return
                }
                processInput(connection)
            case .exchange:
                guard let exchange = connection.exchange else { return }
                pumpRequest(exchange)
                return
            case .lingering:
                guard receive(connection) else {
                    if connection.wire.inputEnded { closeCaller(connection) }
                    return
                }
                discard(&connection.wire.inbound)
            case .handshaking, .multiplexed, .closing, .closed:
                return
            }
        }
        readyAgain.append(connection.slot)
    }

    /// One read into the inbound buffer; false when nothing came, or when the connection broke and is gone.
    ///
    /// - Parameter contentOfExchange: much may come at once.
    func receive(_ connection: CallerConnection, contentOfExchange: Bool = false) -> Bool {
        if contentOfExchange { connection.wire.inbound.acquire(from: records) }
        switch fill(&connection.wire) {
        case .bytes:
            return true
        case .nothing:
            if connection.wire.inputBroke {
                callerGone(connection)
            } else if connection.wire.canRead {
                readyAgain.append(connection.slot)
            }
            return false
        case .failed:
            callerGone(connection)
            return false
        }
    }

    /// Starts exchanges from what is in the inbound buffer.
    func processInput(_ connection: CallerConnection) {
        if connection.isFresh, !decideVersion(connection) { return }
        while connection.mode == .reading, !connection.wire.inbound.isEmpty {
            // Whoever does not read the answers is not asked what else he wants.
            guard connection.wire.outbound.count < Self.highWater else { return }
            guard let length = completeHead(connection) else { break }
            startExchange(connection, headLength: length)
        }
        guard connection.mode == .reading else { return }
        release(&connection.wire.inbound)
        waitForRequest(connection)
        if connection.wire.inputEnded { callerInputEnded(connection) }
    }

    /// False while it is not known which version of HTTP begins, or when it is not the one that goes on here.
    private func decideVersion(_ connection: CallerConnection) -> Bool {
        let settings = connection.listener.settings
        guard settings.allowsHTTP2, let isHTTP2 = beginsWithPreface(connection) else {
            if !settings.allowsHTTP2 { connection.isFresh = false }
            return !settings.allowsHTTP2
        }
        connection.isFresh = false
        if isHTTP2 {
            startSession(connection)
            return false
        }
        guard settings.allowsHTTP1 else {
            refuse(connection, .versionNotSupported)
            return false
        }
        return true
    }

    /// The length of the head at the front of the buffer; nil while it is incomplete or when it was refused.
    private func completeHead(_ connection: CallerConnection) -> Int? {
        if connection.wire.inbound[0] == 0x0D {
            guard let empty = HTTP1RequestParser.leadingEmptyLines(connection.wire.inbound.readable),
                connection.emptyLineBytes + empty <= HTTP1RequestParser.skippedLineBytes
            else {
                refuse(connection, .malformed("there are too many empty lines before the request line"))
                return nil
            }
            connection.emptyLineBytes += empty
            connection.wire.inbound.consume(empty)
            connection.scanner.reset()
        }
        guard !connection.wire.inbound.isEmpty else { return nil }
        guard HTTP1RequestParser.canBegin(with: connection.wire.inbound[0]) else {
            refuse(connection, .malformed("this is not HTTP"))
            return nil
        }
        let limits = configuration.limits.head
        switch connection.scanner.search(connection.wire.inbound.readable, limits: limits) {
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
        if connection.wire.backlog == 0 { closeCaller(connection) } else { closeAfterFlush(connection, linger: false) }
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
        if connection.session != nil {
            flushSession(connection)
            return
        }
        guard flush(&connection.wire) else {
            callerGone(connection)
            return
        }
        if connection.wire.backlog == 0 { flushed(connection) } else { blocked(connection) }
    }

    private func flushed(_ connection: CallerConnection) {
        release(&connection.wire.outbound)
        release(&connection.wire.ciphertext)
        connection.wire.writeDeadline = .max
        switch connection.mode {
        case .closing:
            if connection.lingerAfterFlush { startLingering(connection) } else { closeCaller(connection) }
        case .exchange:
            if let exchange = connection.exchange, exchange.isHeldUp {
                exchange.isHeldUp = false
                queue(exchange)
            }
        case .reading:
            waitForRequest(connection)
            if !connection.wire.inbound.isEmpty || connection.wire.canRead { readyAgain.append(connection.slot) }
        case .handshaking, .multiplexed, .lingering, .closed:
            break
        }
    }

    /// The caller does not take what is there: patience runs, and starts anew with each byte that it takes.
    func blocked(_ connection: CallerConnection) {
        guard connection.wire.writeDeadline == .max else { return }
        connection.wire.writeDeadline = now &+ configuration.timeouts.writeIdle
        arm(slot: connection.slot, at: connection.wire.writeDeadline)
    }

    /// Patience with the next request begins when the last answer has left: until then `write_idle` runs. With a head that
    /// has begun it begins where that is found to be incomplete.
    private func waitForRequest(_ connection: CallerConnection) {
        guard connection.waitingFor == .nothing, connection.wire.inbound.isEmpty, connection.wire.backlog == 0 else {
            return
        }
        setWait(connection, .keepAlive, after: configuration.timeouts.keepAlive)
    }

    /// The connection is free for the next request, which may be in the buffer already.
    func nextRequest(_ caller: CallerConnection) {
        caller.mode = .reading
        touch(caller)
        if isDraining && caller.wire.inbound.isEmpty {
            closeAfterFlush(caller, linger: false)
            return
        }
        // Not from here: the stack would grow with each pipelined request.
        if !caller.wire.inbound.isEmpty || caller.wire.canRead || caller.wire.inputEnded {
            readyAgain.append(caller.slot)
        }
    }

    // MARK: Closing

    /// Closes when all is written. `linger`: unread input may be there, so shut our side first and drain a little.
    func closeAfterFlush(_ connection: CallerConnection, linger: Bool) {
        guard connection.mode != .closed else { return }
        connection.mode = .closing
        // What it waited for is over; how long the rest may take to leave is another matter.
        setWait(connection, .nothing)
        connection.lingerAfterFlush = linger && !connection.wire.inputEnded
        discard(&connection.wire.inbound)
        touch(connection)
    }

    private func startLingering(_ connection: CallerConnection) {
        finishSending(&connection.wire)
        connection.mode = .lingering
        setWait(connection, .lingering, after: 2000)
        if connection.wire.canRead { readCaller(connection) }
    }

    func closeCaller(_ connection: CallerConnection) {
        // A goodbye has been said before lingering; before the handshake is done there is none.
        end(connection, saysGoodbye: connection.mode != .handshaking && connection.mode != .lingering)
    }

    /// Closes so that the caller can see that something is missing.
    func cutCaller(_ connection: CallerConnection) {
        end(connection, saysGoodbye: false)
    }

    private func end(_ connection: CallerConnection, saysGoodbye: Bool) {
        guard connection.mode != .closed else { return }
        connection.mode = .closed
        connection.session = nil
        close(&connection.wire, saysGoodbye: saysGoodbye)
        freeSlot(connection.slot)
        callerCount -= 1
        counters.callerConnectionClosed()
        if listenersPaused { resumeListeners() }
    }

    /// The connection broke or must break: its exchanges are given up.
    func callerGone(_ connection: CallerConnection) {
        guard connection.mode != .closed else { return }
        if let exchange = connection.exchange { perform(exchange, exchange.machine.callerLeft()) }
        if connection.session != nil { abandonStreams(connection) }
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

    func setWait(_ exchange: Exchange, caller wait: Exchange.CallerWait, after milliseconds: UInt64) {
        exchange.callerWait = wait
        exchange.callerDeadline = now &+ milliseconds
        arm(slot: exchange.slot, at: exchange.callerDeadline)
    }

    func stopWait(_ exchange: Exchange, caller wait: Exchange.CallerWait) {
        guard exchange.callerWait == wait else { return }
        exchange.callerWait = .nothing
        exchange.callerDeadline = .max
    }

    func setWait(_ exchange: Exchange, upstream wait: Exchange.UpstreamWait, after milliseconds: UInt64) {
        exchange.upstreamWait = wait
        exchange.upstreamDeadline = now &+ milliseconds
        arm(slot: exchange.slot, at: exchange.upstreamDeadline)
    }

    func stopUpstreamWait(_ exchange: Exchange) {
        exchange.upstreamWait = .nothing
        exchange.upstreamDeadline = .max
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
