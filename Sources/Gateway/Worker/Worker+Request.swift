import HTTP
import Proxy
import Reactor

/// The request on its way upstream: head, content kept for the retry, content that streams past.
extension Worker {
    /// Writes the head, and what is there of the content, to the attempt's connection.
    func sendRequest(_ exchange: Exchange) {
        guard let connection = exchange.upstream, let route = exchange.route, let caller = exchange.caller else {
            return
        }
        exchange.attempts += 1
        exchange.requestSent = false
        exchange.stage = .head
        exchange.responseUntouched = true
        connection.scanner.reset()
        // Ask first where the caller waits anyway; the content then survives an early rejection, whatever its size.
        let asks = exchange.owesContinue && exchange.replay.received == 0
        exchange.waitsForContinue = asks
        connection.outbound.acquire(from: buffers)
        RequestTransform.writeHTTP1(
            exchange.request, rule: route.rule, upstream: connection.runtime.settings.identity, caller: caller.identity,
            credential: exchange.credential, upgrade: exchange.wantsUpgrade, expectContinue: asks,
            to: &connection.outbound)
        touch(connection)
        setWait(connection, .nothing)
        if asks {
            // Not every upstream answers an expectation: go on after a second.
            setWait(connection, .firstByte, after: min(1000, connection.runtime.settings.firstByteTimeout))
        } else {
            feedUpstream(exchange)
            pumpRequest(exchange)
        }
    }

    /// The upstream wants the content, or did not say in time.
    func continueRequest(_ exchange: Exchange) {
        guard exchange.waitsForContinue else { return }
        exchange.waitsForContinue = false
        // The second that it had for its answer is over; the next clock starts with the end of the request.
        if let connection = exchange.upstream { setWait(connection, .nothing) }
        sendContinueToCaller(exchange)
        feedUpstream(exchange)
        pumpRequest(exchange)
    }

    private func sendContinueToCaller(_ exchange: Exchange) {
        guard exchange.owesContinue, let caller = exchange.caller else { return }
        exchange.owesContinue = false
        caller.outbound.acquire(from: buffers)
        caller.outbound.append("HTTP/1.1 100 Continue\r\n\r\n")
        touch(caller)
    }

    /// Takes content from the caller as long as there is somewhere to put it.
    func pumpRequest(_ exchange: Exchange) {
        guard let caller = exchange.caller else { return }
        if exchange.stage == .tunnel {
            pumpTunnelFromCaller(exchange, caller)
            return
        }
        var reads = 0
        while !exchange.requestEnded, exchange.caller === caller, canTake(exchange) {
            if caller.inbound.isEmpty || !decodeRequest(exchange, caller) {
                guard exchange.caller === caller, !exchange.requestEnded else { break }
                if reads == Self.readsPerTick {
                    readyAgain.append(caller.slot)
                    return
                }
                reads += 1
                guard caller.canRead, receive(caller) else {
                    waitForContent(exchange, caller)
                    return
                }
                if caller.waitingFor == .body { setWait(caller, .nothing) }
            }
        }
        if exchange.requestEnded, caller.mode == .exchange, caller.waitingFor == .body { setWait(caller, .nothing) }
        caller.inbound.releaseIfEmpty(to: buffers)
    }

    private func waitForContent(_ exchange: Exchange, _ caller: CallerConnection) {
        guard caller.mode == .exchange, exchange.caller === caller else { return }
        if caller.inputEnded {
            // The rest will never come: the request must not look complete upstream (RFC 9112 8).
            callerGone(caller)
            return
        }
        if caller.waitingFor == .nothing || caller.waitingFor == .body {
            setWait(caller, .body, after: configuration.timeouts.bodyIdle)
        }
    }

    /// Whether content may be taken from the caller now.
    private func canTake(_ exchange: Exchange) -> Bool {
        if exchange.waitsForContinue { return false }
        switch exchange.replay.mode {
        case .keeping:
            // The caller that asked is told to go on when a credential and a connection are there.
            return !exchange.owesContinue || exchange.machine.phase == .sending || exchange.machine.phase == .holding
        case .draining:
            return false
        case .streaming:
            guard let connection = exchange.upstream, isSendable(exchange) else { return false }
            return connection.backlog < Self.highWater
        }
    }

    private func isSendable(_ exchange: Exchange) -> Bool {
        guard let connection = exchange.upstream, connection.state == .active, !exchange.waitsForContinue else {
            return false
        }
        return exchange.machine.phase == .sending || exchange.machine.phase == .responding
    }

    /// One step of the decoder; false when it needs more input.
    private func decodeRequest(_ exchange: Exchange, _ caller: CallerConnection) -> Bool {
        let input = caller.inbound.readable
        switch exchange.requestDecoder.decode(input, trailers: &exchange.trailers) {
        case .needsInput:
            caller.inbound.consume(exchange.requestDecoder.consumed)
            if caller.inbound.count > 64 * 1024 {
                refuseContent(exchange, .malformedRequest, "the trailer section is too large")
            }
            return false
        case .content(let offset, let length):
            sendContinueToCaller(exchange)
            takeContent(exchange, UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)]))
            guard exchange.caller === caller else { return true }
            caller.inbound.consume(exchange.requestDecoder.consumed)
            if exchange.requestDecoder.isDone { contentEnded(exchange) }
            return true
        case .ended:
            caller.inbound.consume(exchange.requestDecoder.consumed)
            contentEnded(exchange)
            return true
        case .rejected(let rejection):
            refuseContent(exchange, GatewayError(rejection), rejection.reason)
            return true
        }
    }

    private func contentEnded(_ exchange: Exchange) {
        exchange.requestEnded = true
        feedUpstream(exchange)
    }

    private func refuseContent(_ exchange: Exchange, _ error: GatewayError, _ reason: StaticString) {
        exchange.errorReason = reason
        exchange.keepCaller = false
        perform(exchange, exchange.machine.requestRefused(error))
    }

    private func takeContent(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) {
        let total = exchange.replay.received + UInt64(content.count)
        if let limit = exchange.route?.rule.requestBodyLimit, total > limit {
            refuseContent(exchange, .bodyTooLarge, "the content is longer than the route's limit")
            return
        }
        guard exchange.replay.mode == .keeping else {
            exchange.replay.took(UInt64(content.count))
            if let connection = exchange.upstream { writeContent(exchange, connection, content) }
            return
        }
        keep(exchange, content)
        exchange.replay.took(UInt64(content.count))
        feedUpstream(exchange)
        if exchange.replay.received > exchange.replay.limit {
            exchange.replay.overflowed()
            if exchange.replay.mode == .streaming { dropKept(exchange) }
        }
    }

    /// Puts content where it can be sent from again: memory first, then an unlinked file.
    private func keep(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) {
        if exchange.spool == nil, exchange.kept.count + content.count > configuration.limits.retryMemoryBytes,
            exchange.replay.limit > UInt64(configuration.limits.retryMemoryBytes)
        {
            exchange.spool = try? SpoolFile(directory: configuration.limits.temporaryDirectory)
            // Without a file, memory must do up to the route's limit: the request goes on.
        }
        if let spool = exchange.spool {
            do {
                try spool.append(content)
                return
            } catch {
                exchange.errorReason = "the temporary file could not be written"
                exchange.keepCaller = false
                perform(exchange, exchange.machine.requestRefused(.internalError))
                return
            }
        }
        if exchange.kept.isEmpty { exchange.kept.acquire(from: buffers) }
        exchange.kept.append(content)
    }

    private func dropKept(_ exchange: Exchange) {
        exchange.kept.release(to: buffers)
        exchange.spool = nil
    }

    /// Gives the attempt what is kept and not yet sent, then the end of the request.
    func feedUpstream(_ exchange: Exchange) {
        guard let connection = exchange.upstream, isSendable(exchange), !exchange.requestSent else { return }
        while exchange.replay.pending > 0, connection.backlog < Self.highWater, exchange.upstream === connection {
            guard let count = feedKept(exchange, connection) else { return }
            if exchange.replay.gave(UInt64(count)) { dropKept(exchange) }
        }
        guard exchange.requestEnded, exchange.replay.pending == 0, exchange.upstream === connection else {
            if connection.backlog > 0 { touch(connection) }
            return
        }
        exchange.requestSent = true
        if exchange.request.framing == .chunked {
            connection.outbound.acquire(from: buffers)
            if let route = exchange.route { RequestTransform.filterTrailers(&exchange.trailers, rule: route.rule) }
            HTTP1Writer.lastChunk(trailers: exchange.trailers, to: &connection.outbound)
        }
        touch(connection)
        if exchange.stage == .head {
            setWait(connection, .firstByte, after: connection.runtime.settings.firstByteTimeout)
        }
    }

    /// One piece of the kept content; nil when the file cannot be read.
    private func feedKept(_ exchange: Exchange, _ connection: UpstreamConnection) -> Int? {
        let inMemory = UInt64(exchange.kept.count)
        let sent = exchange.replay.sent
        if sent < inMemory {
            let rest = exchange.kept.readable[Int(sent)...]
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(Self.highWater))
            writeContent(exchange, connection, piece)
            return piece.count
        }
        guard let spool = exchange.spool else { return nil }
        let room = UnsafeMutableRawBufferPointer(rebasing: scratch[..<Self.highWater])
        guard case .bytes(let count) = spool.read(at: Int64(sent - inMemory), into: room) else {
            perform(exchange, exchange.machine.upstreamLost(.internalError, untouched: false, replayable: false))
            return nil
        }
        writeContent(exchange, connection, UnsafeRawBufferPointer(rebasing: room[..<count]))
        return count
    }

    /// Writes content in the request's framing.
    private func writeContent(
        _ exchange: Exchange, _ connection: UpstreamConnection, _ content: UnsafeRawBufferPointer
    ) {
        if exchange.request.framing == .chunked {
            connection.outbound.acquire(from: buffers)
            HTTP1Writer.chunk(content, to: &connection.outbound)
            touch(connection)
        } else if content.count >= Self.directWriteBytes {
            writeDirectly(connection, content)
        } else {
            connection.outbound.acquire(from: buffers)
            connection.outbound.append(content)
            touch(connection)
        }
    }
}
