import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// The response on its way to the caller.
extension Worker {
    /// Takes the response as far as the upstream has sent it and the caller can take it.
    func pumpResponse(_ exchange: Exchange) {
        var reads = 0
        let outer = pumped
        pumped = exchange
        defer { pumped = outer }
        while let connection = exchange.upstream, connection.state == .active, let caller = exchange.caller {
            if exchange.machine.phase == .holding { return }
            if caller.outbound.count >= Self.highWater {
                // The upstream is not to blame while the caller does not read.
                setWait(connection, .nothing)
                exchange.isHeldUp = true
                touch(caller)
                return
            }
            if !connection.inbound.isEmpty, parseResponse(exchange, connection) { continue }
            guard exchange.upstream === connection, connection.state == .active else { return }
            if reads == Self.readsPerTick {
                readyAgain.append(connection.slot)
                return
            }
            reads += 1
            guard fill(connection) else {
                if connection.inputEnded {
                    upstreamInputEnded(exchange, connection)
                } else if connection.state == .active {
                    waitForUpstream(exchange, connection)
                }
                return
            }
        }
    }

    private func waitForUpstream(_ exchange: Exchange, _ connection: UpstreamConnection) {
        connection.inbound.releaseIfEmpty(to: buffers)
        switch exchange.stage {
        case .body:
            setWait(connection, .response, after: connection.runtime.settings.responseIdleTimeout)
        case .none, .head, .tunnel, .complete:
            break
        }
    }

    /// Takes one step; false when it needs more input.
    private func parseResponse(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        switch exchange.stage {
        case .head: parseHead(exchange, connection)
        case .body: parseBody(exchange, connection)
        case .tunnel: passTunnelToCaller(exchange, connection)
        case .none, .complete: false
        }
    }

    private func parseHead(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        if exchange.responseUntouched {
            exchange.responseUntouched = false
            if exchange.firstByteAt == 0 { exchange.firstByteAt = nowNanoseconds }
        }
        switch connection.scanner.search(connection.inbound.readable, limits: configuration.limits.head) {
        case .incomplete:
            return false
        case .rejected(let rejection):
            upstreamBroken(exchange, rejection)
            return true
        case .complete(let length):
            connection.scanner.reset()
            let bytes = UnsafeRawBufferPointer(rebasing: connection.inbound.readable[..<length])
            let rejection = HTTP1ResponseParser.parse(
                bytes, answering: exchange.request.method, into: &exchange.response, limits: configuration.limits.head)
            connection.inbound.consume(length)
            if let rejection {
                upstreamBroken(exchange, rejection)
            } else if exchange.response.status < 200 {
                informational(exchange, connection)
            } else {
                finalHead(exchange, connection)
            }
            return true
        }
    }

    private func upstreamBroken(_ exchange: Exchange, _ rejection: Rejection) {
        exchange.errorReason = rejection.reason
        perform(exchange, exchange.machine.upstreamLost(.upstreamProtocol, untouched: false, replayable: false))
    }

    private func informational(_ exchange: Exchange, _ connection: UpstreamConnection) {
        if exchange.response.status == 101 {
            switchProtocols(exchange, connection)
            return
        }
        exchange.informationalCount += 1
        guard exchange.informationalCount <= 16 else {
            upstreamBroken(exchange, .malformed("there is no end of informational responses"))
            return
        }
        if exchange.response.status == 100 {
            continueRequest(exchange)
            return
        }
        // A first attempt may yet be retried: what it announces must not reach the caller then, so nothing of it does.
        guard exchange.request.minorVersion >= 1, exchange.route?.rule.grant == nil, let caller = exchange.caller else {
            return
        }
        ResponseTransform.filter(&exchange.response)
        caller.outbound.acquire(from: buffers)
        ResponseTransform.writeInformational(exchange.response, to: &caller.outbound)
        touch(caller)
    }

    private func finalHead(_ exchange: Exchange, _ connection: UpstreamConnection) {
        guard let route = exchange.route else { return }
        exchange.waitsForContinue = false
        let flags = exchange.response.flags
        let isRejection = route.rule.retryStatuses.contains(exchange.response.status)
        perform(
            exchange,
            exchange.machine.responseHeadReceived(
                isRejection: isRejection,
                challenge: !flags.contains(.challenge) || flags.contains(.tokenChallenge)
                    || route.rule.acceptsAnyChallenge,
                replayable: exchange.replay.isReplayable))
    }

    /// The answer is a rejection and is kept, unread, until it is known whether there is a newer credential.
    func holdResponse(_ exchange: Exchange) {
        if let connection = exchange.upstream { setWait(connection, .nothing) }
    }

    /// Writes the response's head to the caller and goes on with its content.
    func forwardResponse(_ exchange: Exchange) {
        guard let caller = exchange.caller, let route = exchange.route, let runtime = exchange.runtime else { return }
        // Answered without the content: what the caller may still send is not read as a request.
        if isDraining || exchange.owesContinue { exchange.keepCaller = false }
        exchange.framing = ResponseTransform.framing(
            exchange.response, requestMethod: exchange.request.method,
            callerMinorVersion: exchange.request.minorVersion)
        if exchange.framing == .untilClose { exchange.keepCaller = false }
        exchange.status = exchange.response.status
        exchange.headSent = true
        ResponseTransform.filter(&exchange.response)
        ResponseTransform.rewriteLocation(&exchange.response, rule: route.rule, upstream: runtime.settings.identity)
        caller.outbound.acquire(from: buffers)
        let needsDate = !exchange.response.flags.contains(.hasDate)
        ResponseTransform.writeHTTP1(
            exchange.response, framing: exchange.framing, callerMinorVersion: exchange.request.minorVersion,
            keepAlive: exchange.keepCaller, date: needsDate ? currentDate() : date,
            retrySkipped: exchange.machine.retryOutcome == .skippedBody, to: &caller.outbound)
        touch(caller)
        exchange.stage = .body
        exchange.responseDecoder.begin(exchange.response.framing)
        if exchange.responseDecoder.isDone {
            responseEnded(exchange)
            return
        }
        guard pumped !== exchange, let connection = exchange.upstream else { return }
        // A held response goes on: it is read from where its head ended.
        if !connection.inbound.isEmpty || connection.canRead || connection.inputEnded {
            readyAgain.append(connection.slot)
        } else {
            waitForUpstream(exchange, connection)
        }
    }

    private func parseBody(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        let input = connection.inbound.readable
        switch exchange.responseDecoder.decode(input, trailers: &exchange.responseTrailers) {
        case .needsInput:
            connection.inbound.consume(exchange.responseDecoder.consumed)
            return false
        case .content(let offset, let length):
            exchange.responseBytes += UInt64(length)
            if let limit = exchange.route?.rule.responseBodyLimit, exchange.responseBytes > limit {
                upstreamBroken(exchange, .malformed("the response is longer than the route's limit"))
                return true
            }
            let content = UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)])
            sendToCaller(exchange, content)
            if exchange.upstream === connection { connection.inbound.consume(exchange.responseDecoder.consumed) }
            if exchange.responseDecoder.isDone, exchange.upstream === connection { responseEnded(exchange) }
            return true
        case .ended:
            connection.inbound.consume(exchange.responseDecoder.consumed)
            responseEnded(exchange)
            return true
        case .rejected(let rejection):
            upstreamBroken(exchange, rejection)
            return true
        }
    }

    private func responseEnded(_ exchange: Exchange) {
        if exchange.framing == .chunked, let caller = exchange.caller {
            caller.outbound.acquire(from: buffers)
            if exchange.response.framing != .chunked { exchange.responseTrailers.reset() }
            HTTP1Writer.lastChunk(trailers: exchange.responseTrailers, to: &caller.outbound)
            touch(caller)
        }
        completeResponse(exchange)
    }

    /// Content in the caller's framing; large pieces go to the socket at once, without a copy.
    private func sendToCaller(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) {
        guard let caller = exchange.caller else { return }
        caller.outbound.acquire(from: buffers)
        let isChunked = exchange.framing == .chunked
        guard content.count >= Self.directWriteBytes, caller.canWrite else {
            if isChunked {
                HTTP1Writer.chunk(content, to: &caller.outbound)
            } else {
                caller.outbound.append(content)
            }
            touch(caller)
            return
        }
        if isChunked {
            caller.outbound.appendHexadecimal(UInt64(content.count))
            caller.outbound.append("\r\n")
        }
        writeDirectly(caller, content)
        if isChunked, caller.mode != .closed {
            caller.outbound.acquire(from: buffers)
            caller.outbound.append("\r\n")
            touch(caller)
        }
    }

    /// What waits and then `content`, in one system call; what the socket does not take is kept.
    private func writeDirectly(_ caller: CallerConnection, _ content: UnsafeRawBufferPointer) {
        let waiting = caller.outbound.count
        switch Socket.write(caller.descriptor, caller.outbound.readable, content) {
        case .bytes(let count):
            counters.callerBytes(received: 0, sent: count)
            caller.writeDeadline = .max
            caller.outbound.consume(min(count, waiting))
            let written = max(0, count - waiting)
            if count < waiting + content.count {
                caller.canWrite = false
                caller.outbound.append(UnsafeRawBufferPointer(rebasing: content[written...]))
                blocked(caller)
            }
        case .wouldBlock:
            caller.canWrite = false
            caller.outbound.append(content)
            blocked(caller)
        case .endOfFile, .failed:
            // The event that says so comes too; here the exchange must not be pulled from under its pump.
            caller.canWrite = false
            caller.canRead = true
            caller.inputEnded = true
            readyAgain.append(caller.slot)
            caller.outbound.removeAll()
            caller.writeDeadline = now
            arm(slot: caller.slot, at: now)
        }
    }

    /// The upstream's connection has ended while the exchange runs.
    func upstreamInputEnded(_ exchange: Exchange, _ connection: UpstreamConnection) {
        if exchange.stage == .tunnel {
            completeResponse(exchange)
            return
        }
        let isClean = !connection.inputBroke && connection.engine?.inputEnded() != .truncated
        if exchange.stage == .body, isClean, exchange.responseDecoder.connectionEnded() {
            responseEnded(exchange)
            return
        }
        exchange.errorReason = "the upstream ended the connection before the response was complete"
        perform(
            exchange,
            exchange.machine.upstreamLost(
                .upstreamProtocol, untouched: exchange.responseUntouched, replayable: exchange.replay.isReplayable))
    }

    // MARK: Upgrade

    private func switchProtocols(_ exchange: Exchange, _ connection: UpstreamConnection) {
        guard exchange.wantsUpgrade, let caller = exchange.caller else {
            upstreamBroken(exchange, .malformed("the upstream switched protocols and nobody had asked"))
            return
        }
        ResponseTransform.filter(&exchange.response)
        caller.outbound.acquire(from: buffers)
        ResponseTransform.writeInformational(exchange.response, to: &caller.outbound)
        touch(caller)
        exchange.status = 101
        exchange.stage = .tunnel
        exchange.keepCaller = false
        exchange.requestEnded = false
        exchange.totalDeadline = .max
        _ = exchange.machine.responseHeadReceived(isRejection: false, challenge: true, replayable: false)
        setWait(connection, .nothing)
        pumpTunnelFromCaller(exchange, caller)
    }

    private func passTunnelToCaller(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        guard let caller = exchange.caller else { return false }
        caller.outbound.acquire(from: buffers)
        let bytes = connection.inbound.readable
        exchange.responseBytes += UInt64(bytes.count)
        caller.outbound.append(bytes)
        connection.inbound.consume(bytes.count)
        touch(caller)
        return true
    }

    func pumpTunnelFromCaller(_ exchange: Exchange, _ caller: CallerConnection) {
        while let connection = exchange.upstream, connection.state == .active, connection.backlog < Self.highWater {
            if !caller.inbound.isEmpty {
                connection.outbound.acquire(from: buffers)
                connection.outbound.append(caller.inbound.readable)
                caller.inbound.removeAll()
                touch(connection)
            }
            guard caller.canRead, receive(caller) else {
                if caller.inputEnded { endTunnelUpstream(exchange, connection) }
                return
            }
        }
    }

    /// The caller has said its last words: when they are written the upstream is told, and may still answer.
    private func endTunnelUpstream(_ exchange: Exchange, _ connection: UpstreamConnection) {
        guard connection.backlog == 0 else {
            touch(connection)
            return
        }
        guard connection.waitingFor != .response else { return }
        setWait(connection, .response, after: connection.runtime.settings.responseIdleTimeout)
        finishSending(connection)
    }
}
