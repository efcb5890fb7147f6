import HTTP
import Proxy
import Reactor
import Telemetry

/// Callers that speak HTTP/2: one session per connection, one exchange per stream.
extension Worker {
    func startSession(_ connection: CallerConnection) {
        let limits = configuration.limits
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = limits.http2Streams
        settings.head = limits.head
        settings.allowsConnectProtocol = true
        guard let session = HTTP2Session(role: .server, settings: settings, windowBudget: windowBudget) else {
            closeCaller(connection)
            return
        }
        connection.session = session
        connection.mode = .multiplexed
        counters.sessionOpened()
        setWait(connection, .head, after: configuration.timeouts.head)
        touch(connection)
        if isDraining { drainSession(connection) }
        readSession(connection)
    }

    /// Takes what has come, frame by frame, and reads more.
    func readSession(_ connection: CallerConnection) {
        for _ in 0..<Self.readsPerTick {
            // Answers without content pass every window: whoever does not read them is not asked what else he wants.
            guard connection.wire.backlog < Self.unreadBytes, takeFrames(connection) else { return }
            switch fill(&connection.wire) {
            case .bytes:
                continue
            case .nothing:
                if connection.wire.inputEnded {
                    // Without the caller's window updates and resets nothing could be ended in order.
                    callerGone(connection)
                } else if connection.wire.canRead {
                    readyAgain.append(connection.slot)
                }
                return
            case .failed:
                callerGone(connection)
                return
            }
        }
        if connection.mode == .multiplexed { readyAgain.append(connection.slot) }
    }

    /// False when the connection takes no more input.
    private func takeFrames(_ connection: CallerConnection) -> Bool {
        guard let session = connection.session else { return false }
        tellTime(session, &connection.sessionTime)
        while connection.mode == .multiplexed, !connection.wire.inbound.isEmpty,
            connection.wire.backlog < Self.unreadBytes
        {
            let input = connection.wire.inbound.readable
            let step = session.step(input)
            guard step.consumed > 0 else { break }
            receive(step.event, of: session, connection, input)
            guard connection.mode != .closed else { return false }
            // Nothing is left where the connection is closing.
            connection.wire.inbound.consume(min(step.consumed, connection.wire.inbound.count))
        }
        while let event = session.takeReset() {
            receive(event, of: session, connection, UnsafeRawBufferPointer(start: nil, count: 0))
            guard connection.mode != .closed else { return false }
        }
        release(&connection.wire.inbound)
        if session.isInHead, connection.waitingFor != .head {
            setWait(connection, .head, after: configuration.timeouts.head)
        } else if !session.isInHead, connection.waitingFor == .head {
            headEnded(connection)
        }
        if !connection.isDirty, session.hasOutput { touch(connection) }
        if let failure = session.failure, connection.mode == .multiplexed {
            sessionFailed(connection, failure)
            return false
        }
        return connection.mode == .multiplexed
    }

    /// A field block is whole that began no exchange: it was of one that runs, or of one that is over.
    private func headEnded(_ connection: CallerConnection) {
        if connection.streamCount > 0 {
            setWait(connection, .nothing)
        } else if connection.hasSettings {
            setWait(connection, .keepAlive, after: configuration.timeouts.keepAlive)
        }
    }

    /// What a peer does without use is forgiven as time passes: one that only asks now and then whether we live, for
    /// days, does no harm.
    func tellTime(_ session: HTTP2Session, _ told: inout UInt64) {
        if told == 0 { told = now }
        let seconds = (now &- told) / 1000
        guard seconds > 0 else { return }
        told += seconds * 1000
        session.timePassed(seconds: Int(min(seconds, 3600)))
    }

    private func receive(
        _ event: HTTP2Event, of session: HTTP2Session, _ connection: CallerConnection, _ input: UnsafeRawBufferPointer
    ) {
        switch event {
        case .head(let stream, let ends, let rejection):
            startExchange(connection, stream, ends: ends, rejection)
        case .content(let stream, let offset, let length, let ends):
            guard let exchange = exchange(onCaller: stream) else { return }
            let content = UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)])
            contentReceived(exchange, session, stream, content, ends: ends)
        case .trailers(let stream):
            guard let exchange = exchange(onCaller: stream) else { return }
            swap(&exchange.trailers, &stream.head)
            let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
            contentReceived(exchange, session, stream, nothing, ends: true)
        case .reset(let stream, let code, _, let isLocal):
            guard let exchange = exchange(onCaller: stream) else {
                session.release(stream)
                return
            }
            streamBroke(exchange, code: code, isLocal: isLocal)
        case .pong:
            if isDraining { session.end(code: HTTP2Code.noError) }
        case .settings:
            // The preface is whole (RFC 9113 3.4); from now on patience is as with any connection that is kept.
            connection.hasSettings = true
            if connection.waitingFor == .head, connection.streamCount == 0 {
                setWait(connection, .keepAlive, after: configuration.timeouts.keepAlive)
            }
        case .goAway, .none:
            break
        }
    }

    /// The exchange whose caller is on the stream.
    private func exchange(onCaller stream: HTTP2Stream) -> Exchange? {
        guard exchanges.indices.contains(stream.owner) else { return nil }
        let exchange = exchanges[stream.owner]
        return exchange.callerStream === stream ? exchange : nil
    }

    /// The exchange whose attempt is on the stream.
    func exchange(onUpstream stream: HTTP2Stream) -> Exchange? {
        guard exchanges.indices.contains(stream.owner) else { return nil }
        let exchange = exchanges[stream.owner]
        return exchange.upstreamStream === stream ? exchange : nil
    }

    private func streamBroke(_ exchange: Exchange, code: UInt32, isLocal: Bool) {
        if isLocal {
            exchange.error = .malformedRequest
            exchange.errorReason = "the stream broke a rule of HTTP/2"
        }
        perform(exchange, exchange.machine.callerLeft())
    }

    /// The connection broke a rule, or asks for too much: it is told why and closed.
    private func sessionFailed(_ connection: CallerConnection, _ failure: HTTP2Failure) {
        counters.sessionFailed(kind: Int(failure.abuse.rawValue))
        if now &- handshakeNotedAt >= 1000 {
            handshakeNotedAt = now
            log.begin(
                level: .warning, unixMilliseconds: WallClock.milliseconds(),
                message: "a caller's HTTP/2 connection was ended")
            let address = connection.identity.address
            log.field("caller", bytes: address.span)
            log.field("kind", failure.abuse.label.description)
            log.field("reason", failure.reason.description)
            log.end()
        }
        abandonStreams(connection)
        closeAfterFlush(connection, linger: true)
    }

    /// Gives up all exchanges of a connection that is going.
    func abandonStreams(_ connection: CallerConnection) {
        for id in connection.streams.numbers where exchanges[id].caller === connection {
            perform(exchanges[id], exchanges[id].machine.callerLeft())
        }
    }

    // MARK: Exchanges

    private func startExchange(
        _ connection: CallerConnection, _ stream: HTTP2Stream, ends: Bool, _ rejection: Rejection?
    ) {
        let exchange = begin(connection)
        exchange.callerStream = stream
        stream.owner = exchange.id
        connection.streams.append(exchange.id)
        setWait(connection, .nothing)
        swap(&exchange.request, &stream.head)
        exchange.requestEnded = ends
        exchange.keepCaller = true
        if let rejection {
            exchange.errorReason = rejection.reason
            perform(exchange, exchange.machine.requestRefused(GatewayError(rejection)))
            return
        }
        exchange.owesContinue = !ends && exchange.request.flags.contains(.expectsContinue)
        run(exchange)
    }

    /// Content of a request, or what is said in a tunnel.
    private func contentReceived(
        _ exchange: Exchange, _ session: HTTP2Session, _ stream: HTTP2Stream, _ content: UnsafeRawBufferPointer,
        ends: Bool
    ) {
        if !content.isEmpty {
            stopWait(exchange, caller: .body)
            if stream.inbound.isEmpty, !exchange.requestEnded, canTake(exchange) {
                takeFromCaller(exchange, content)
                guard exchange.callerStream === stream else { return }
                session.consume(content.count, on: stream)
            } else {
                stream.inbound.acquire(from: buffers)
                stream.inbound.append(content)
            }
        }
        pumpStream(exchange, stream)
    }

    /// Takes what the stream has kept, as long as there is somewhere to put it.
    func pumpStream(_ exchange: Exchange, _ stream: HTTP2Stream) {
        guard let caller = exchange.caller, let session = caller.session else { return }
        while !exchange.requestEnded, !stream.inbound.isEmpty, canTake(exchange) {
            let piece = UnsafeRawBufferPointer(rebasing: stream.inbound.readable.prefix(Self.highWater))
            takeFromCaller(exchange, piece)
            guard exchange.callerStream === stream else { return }
            stream.inbound.consume(piece.count)
            session.consume(piece.count, on: stream)
        }
        if !caller.isDirty, session.hasOutput { touch(caller) }
        guard stream.inbound.isEmpty, !exchange.requestEnded else { return }
        release(&stream.inbound)
        if stream.isPeerDone {
            stopWait(exchange, caller: .body)
            endOfContent(exchange)
        } else if exchange.callerWait == .nothing, exchange.stage != .tunnel, canTake(exchange) {
            setWait(exchange, caller: .body, after: configuration.timeouts.bodyIdle)
        }
    }

    /// The exchange lets go of its stream; what was written to it still leaves.
    func releaseCallerStream(_ exchange: Exchange) {
        guard let caller = exchange.caller, let stream = exchange.callerStream else { return }
        exchange.callerStream = nil
        stream.owner = -1
        discard(&stream.inbound)
        caller.session?.release(stream, at: now)
        caller.streams.remove(exchange.id)
        guard caller.mode == .multiplexed else { return }
        touch(caller)
        if caller.streamCount == 0 {
            if isDraining { setWait(caller, .keepAlive, after: 1000) } else { setWait(caller, .rest, after: 1000) }
        }
    }

    // MARK: Writing

    func flushSession(_ connection: CallerConnection) {
        guard let session = connection.session else { return }
        for _ in 0..<Self.readsPerTick {
            if session.hasOutput, connection.wire.outbound.count < Self.frameBytes {
                connection.wire.outbound.acquire(from: records)
                session.collect(into: &connection.wire.outbound, limit: Self.frameBytes)
                if !afterCollect(connection, session) { return }
            }
            guard flush(&connection.wire) else {
                callerGone(connection)
                return
            }
            guard connection.wire.backlog == 0, session.hasOutput else { break }
        }
        sessionFlushed(connection, session)
    }

    /// Streams that have room again go on; streams that the session has ended are told. False when the connection is
    /// gone.
    private func afterCollect(_ connection: CallerConnection, _ session: HTTP2Session) -> Bool {
        while let stream = session.takeRoomy() {
            guard let exchange = exchange(onCaller: stream) else { continue }
            if exchange.upstreamWait == .callerRoom { stopUpstreamWait(exchange) }
            exchange.isHeldUp = false
            queue(exchange)
        }
        while let event = session.takeReset() {
            receive(event, of: session, connection, UnsafeRawBufferPointer(start: nil, count: 0))
            if connection.mode == .closed { return false }
        }
        return true
    }

    private func sessionFlushed(_ connection: CallerConnection, _ session: HTTP2Session) {
        let unsent = session.openStreams > connection.streamCount
        if unsent, connection.untakenDeadline == .max { watchUntaken(connection, session) }
        guard connection.wire.backlog == 0 else {
            blocked(connection)
            return
        }
        connection.wire.writeDeadline = .max
        release(&connection.wire.outbound)
        release(&connection.wire.ciphertext)
        if session.hasOutput {
            readyAgain.append(connection.slot)
            return
        }
        switch connection.mode {
        case .closing:
            if connection.lingerAfterFlush { lingerAfterSession(connection) } else { closeCaller(connection) }
        case .multiplexed:
            if !connection.wire.inbound.isEmpty || connection.wire.canRead { readyAgain.append(connection.slot) }
            if session.isFinished, connection.streamCount == 0, !unsent { closeCaller(connection) }
        case .handshaking, .reading, .exchange, .lingering, .closed:
            break
        }
    }

    /// Answers whose exchanges are over are on their way: from now on each has its time.
    private func watchUntaken(_ connection: CallerConnection, _ session: HTTP2Session) {
        let patience = configuration.timeouts.writeIdle
        connection.untakenDeadline = min(session.resetUntaken(now: now, patience: patience), now &+ patience)
        arm(slot: connection.slot, at: connection.untakenDeadline)
    }

    /// A close with input unread is a reset, and could cost the caller the GOAWAY.
    private func lingerAfterSession(_ connection: CallerConnection) {
        connection.session = nil
        connection.lingerAfterFlush = true
        touch(connection)
    }

    // MARK: Ends

    /// No new streams; the connection goes when the last one has ended.
    func drainSession(_ connection: CallerConnection) {
        guard let session = connection.session else { return }
        session.announceEnd()
        session.ping()
        touch(connection)
        if connection.streamCount == 0 { setWait(connection, .keepAlive, after: 1000) }
    }

    /// The preface, or a field block, has not come to its end in time.
    func endLateSession(_ connection: CallerConnection) {
        connection.session?.end(code: HTTP2Code.enhanceYourCalm)
        abandonStreams(connection)
        closeAfterFlush(connection, linger: true)
    }

    /// Nothing has been asked for a moment: memory goes back.
    func sessionRests(_ connection: CallerConnection) {
        connection.session?.trim()
        setWait(connection, .keepAlive, after: configuration.timeouts.keepAlive)
    }

    /// Nothing has been asked for long enough.
    func endIdleSession(_ connection: CallerConnection) {
        guard let session = connection.session else { return }
        session.end(code: HTTP2Code.noError)
        guard session.openStreams <= connection.streamCount else {
            // Answers are still on their way: as long as the caller takes something of them, it has time.
            touch(connection)
            return
        }
        closeAfterFlush(connection, linger: true)
    }
}
