import HTTP
import Proxy
import Reactor

/// The request on its way upstream: head, content kept for the retry, content that streams past.
extension Worker {
    /// Writes the head, and what is there of the content, to the attempt's connection.
    func sendRequest(_ exchange: Exchange) {
        guard let connection = exchange.upstream, mayConnect(exchange, connection) else { return }
        exchange.attempts += 1
        exchange.requestSent = false
        exchange.stage = .head
        exchange.responseUntouched = true
        // Ask first where the caller waits anyway; the content then survives an early rejection, whatever its size.
        let asks = exchange.owesContinue && exchange.replay.received == 0
        exchange.waitsForContinue = asks
        stopUpstreamWait(exchange)
        if let credential = exchange.credential, !credential.extraHeaders.isEmpty {
            RequestTransform.replaceFields(&exchange.request, with: credential)
        }
        var proof: [UInt8]?
        if exchange.credential?.proofKey != nil {
            proof = makeProof(exchange, connection)
            guard proof != nil else {
                exchange.errorReason = "no proof can be made with the key of the grant"
                perform(exchange, exchange.machine.requestRefused(.internalError))
                return
            }
        }
        if connection.session != nil {
            guard writeHTTP2Head(exchange, connection, asks: asks, proof: proof) else {
                // Between the lease and now the upstream has taken its offer back.
                perform(exchange, streamRefused(exchange))
                return
            }
        } else {
            writeHTTP1Head(exchange, connection, asks: asks, proof: proof)
        }
        touch(connection)
        if asks {
            // Not every upstream answers an expectation: go on after a second.
            setWait(
                exchange, upstream: .continuation, after: min(1000, connection.runtime.settings.firstByteTimeout))
        } else {
            feedUpstream(exchange)
            // Of a stream that has ended nothing is left to take, and no buffer to give back.
            if exchange.callerStream == nil || !exchange.requestEnded { pumpRequest(exchange) }
        }
    }

    private func writeHTTP1Head(
        _ exchange: Exchange, _ connection: UpstreamConnection, asks: Bool, proof: [UInt8]?
    ) {
        guard let route = exchange.route, let caller = exchange.caller, let identity = exchange.upstreamIdentity else {
            return
        }
        connection.scanner.reset()
        connection.wire.outbound.acquire(from: buffers)
        RequestTransform.writeHTTP1(
            exchange.request, rule: route.rule, upstream: identity, caller: caller.identity,
            credential: exchange.credential, upgrade: exchange.wantsUpgrade, expectContinue: asks,
            webSocketKey: webSocketKey(exchange), proof: proof, to: &connection.wire.outbound)
    }

    /// The upstream wants the content, or did not say in time.
    func continueRequest(_ exchange: Exchange) {
        guard exchange.waitsForContinue else { return }
        exchange.waitsForContinue = false
        // The second that it had for its answer is over; the next clock starts with the end of the request.
        stopUpstreamWait(exchange)
        writeContinue(exchange)
        feedUpstream(exchange)
        pumpRequest(exchange)
    }

    /// Takes content from the caller as long as there is somewhere to put it.
    func pumpRequest(_ exchange: Exchange) {
        guard let caller = exchange.caller else { return }
        if let stream = exchange.callerStream {
            pumpStream(exchange, stream)
            return
        }
        if exchange.stage == .tunnel {
            pumpTunnelFromCaller(exchange, caller)
            return
        }
        var reads = 0
        while !exchange.requestEnded, exchange.caller === caller, canTake(exchange) {
            if caller.wire.inbound.isEmpty || !decodeRequest(exchange, caller) {
                guard exchange.caller === caller, !exchange.requestEnded else { break }
                if reads == Self.readsPerTick {
                    readyAgain.append(caller.slot)
                    return
                }
                reads += 1
                guard receive(caller, contentOfExchange: true) else {
                    waitForContent(exchange, caller)
                    return
                }
                stopWait(exchange, caller: .body)
            }
        }
        if exchange.requestEnded, exchange.caller === caller { stopWait(exchange, caller: .body) }
        release(&caller.wire.inbound)
    }

    private func waitForContent(_ exchange: Exchange, _ caller: CallerConnection) {
        guard caller.mode == .exchange, exchange.caller === caller else { return }
        if caller.wire.inputEnded {
            // The rest will never come: the request must not look complete upstream (RFC 9112 8).
            callerGone(caller)
            return
        }
        if exchange.callerWait == .nothing || exchange.callerWait == .body {
            setWait(exchange, caller: .body, after: configuration.timeouts.bodyIdle)
        }
    }

    /// Whether content may be taken from the caller now.
    func canTake(_ exchange: Exchange) -> Bool {
        if exchange.stage == .tunnel { return upstreamHasRoom(exchange) }
        if exchange.waitsForContinue { return false }
        switch exchange.replay.mode {
        case .keeping:
            // The caller that asked is told to go on when a credential and a connection are there.
            return !exchange.owesContinue || exchange.machine.phase == .sending || exchange.machine.phase == .holding
        case .draining:
            return false
        case .streaming:
            return isSendable(exchange) && upstreamHasRoom(exchange)
        }
    }

    /// Whether more content may be written to the attempt now. If not, the exchange goes on when there is room.
    func upstreamHasRoom(_ exchange: Exchange) -> Bool {
        guard let connection = exchange.upstream else { return false }
        guard let stream = exchange.upstreamStream else { return connection.wire.backlog < Self.highWater }
        guard stream.backlog >= Self.highWater else { return true }
        stream.wantsRoom = true
        if exchange.upstreamWait == .nothing {
            exchange.roomBacklog = stream.backlog
            setWait(exchange, upstream: .room, after: connection.runtime.settings.writeIdleTimeout)
        }
        return false
    }

    private func isSendable(_ exchange: Exchange) -> Bool {
        guard let connection = exchange.upstream, !exchange.waitsForContinue,
            connection.state == .active || exchange.upstreamStream != nil && connection.session != nil
        else { return false }
        return exchange.machine.phase == .sending || exchange.machine.phase == .responding
    }

    /// One step of the decoder; false when it needs more input.
    private func decodeRequest(_ exchange: Exchange, _ caller: CallerConnection) -> Bool {
        let input = caller.wire.inbound.readable
        switch exchange.requestDecoder.decode(input, trailers: &exchange.trailers) {
        case .needsInput:
            caller.wire.inbound.consume(exchange.requestDecoder.consumed)
            if caller.wire.inbound.count > 64 * 1024 {
                refuseContent(exchange, .malformedRequest, "the trailer section is too large")
            }
            return false
        case .content(let offset, let length):
            takeFromCaller(exchange, UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)]))
            guard exchange.caller === caller else { return true }
            caller.wire.inbound.consume(exchange.requestDecoder.consumed)
            if exchange.requestDecoder.isDone { endOfContent(exchange) }
            return true
        case .ended:
            caller.wire.inbound.consume(exchange.requestDecoder.consumed)
            endOfContent(exchange)
            return true
        case .rejected(let rejection):
            refuseContent(exchange, GatewayError(rejection), rejection.reason)
            return true
        }
    }

    /// Content of a request, or what is said in a tunnel.
    func takeFromCaller(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) {
        exchange.movedAt = now
        if exchange.stage == .tunnel {
            writeContent(exchange, toUpstream: content)
            return
        }
        writeContinue(exchange)
        takeContent(exchange, content)
    }

    /// All content has come, or the caller has said its last words in a tunnel.
    func endOfContent(_ exchange: Exchange) {
        exchange.requestEnded = true
        if exchange.stage == .tunnel { endTunnelUpstream(exchange) } else { feedUpstream(exchange) }
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
            writeContent(exchange, toUpstream: content)
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
        while exchange.replay.pending > 0, upstreamHasRoom(exchange), exchange.upstream === connection {
            guard let count = feedKept(exchange) else { return }
            if exchange.replay.gave(UInt64(count)) { dropKept(exchange) }
        }
        guard exchange.requestEnded, exchange.replay.pending == 0, exchange.upstream === connection else {
            if connection.wire.backlog > 0 { touch(connection) }
            return
        }
        exchange.requestSent = true
        writeEnd(exchange, toUpstream: connection)
        touch(connection)
        if exchange.stage == .head {
            exchange.roomBacklog = 0
            setWait(exchange, upstream: .firstByte, after: connection.runtime.settings.firstByteTimeout)
        }
    }

    /// The end of the request, with the trailer fields where its framing has a place for them.
    private func writeEnd(_ exchange: Exchange, toUpstream connection: UpstreamConnection) {
        let isChunked = exchange.request.framing == .chunked
        if isChunked, let route = exchange.route {
            RequestTransform.filterTrailers(&exchange.trailers, rule: route.rule)
        }
        if let stream = exchange.upstreamStream, let session = connection.session {
            // A tunnel's end is said when the caller says it.
            guard !stream.isLocalDone, !exchange.wantsUpgrade else { return }
            if !isChunked || exchange.trailers.fields.isEmpty {
                session.finish(stream)
            } else {
                session.finish(stream, trailers: exchange.trailers)
            }
        } else if isChunked {
            connection.wire.outbound.acquire(from: buffers)
            HTTP1Writer.lastChunk(trailers: exchange.trailers, to: &connection.wire.outbound)
        }
    }

    /// One piece of the kept content; nil when the file cannot be read.
    private func feedKept(_ exchange: Exchange) -> Int? {
        let inMemory = UInt64(exchange.kept.count)
        let sent = exchange.replay.sent
        if sent < inMemory {
            let rest = exchange.kept.readable[Int(sent)...]
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(Self.highWater))
            writeContent(exchange, toUpstream: piece)
            return piece.count
        }
        guard let spool = exchange.spool else { return nil }
        let room = UnsafeMutableRawBufferPointer(rebasing: scratch[..<Self.highWater])
        guard case .bytes(let count) = spool.read(at: Int64(sent - inMemory), into: room) else {
            perform(exchange, exchange.machine.upstreamLost(.internalError, untouched: false, replayable: false))
            return nil
        }
        writeContent(exchange, toUpstream: UnsafeRawBufferPointer(rebasing: room[..<count]))
        return count
    }

    /// Writes content in the request's framing; in a tunnel there is none.
    func writeContent(_ exchange: Exchange, toUpstream content: UnsafeRawBufferPointer) {
        guard let connection = exchange.upstream else { return }
        if let stream = exchange.upstreamStream {
            // A whole response may outlive its connection; what the request still had is not wanted any more.
            guard let session = connection.session else { return }
            // What is gathered leaves before it is more than one write's worth: it would be copied again.
            if connection.wire.outbound.count >= Self.frameBytes, !flush(&connection.wire) {
                readyAgain.append(connection.slot)
            }
            if content.count >= Self.directWriteBytes, connection.wire.outbound.count < Self.frameBytes {
                connection.wire.outbound.acquire(from: records)
                session.sendDirectly(content, on: stream, into: &connection.wire.outbound)
            } else {
                session.send(content, on: stream)
            }
            touch(connection)
        } else if exchange.request.framing == .chunked, exchange.stage != .tunnel {
            connection.wire.outbound.acquire(from: buffers)
            HTTP1Writer.chunk(content, to: &connection.wire.outbound)
            touch(connection)
        } else if content.count >= Self.directWriteBytes {
            writeDirectly(connection, content)
        } else {
            connection.wire.outbound.acquire(from: buffers)
            connection.wire.outbound.append(content)
            touch(connection)
        }
    }

    /// Large content past the buffer.
    private func writeDirectly(_ connection: UpstreamConnection, _ content: UnsafeRawBufferPointer) {
        guard writeDirectly(&connection.wire, content) else {
            readyAgain.append(connection.slot)
            return
        }
        if connection.wire.backlog > 0 { touch(connection) }
    }
}
