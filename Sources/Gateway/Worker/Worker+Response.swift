import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// The response on its way to the caller.
extension Worker {
    /// Takes the response as far as the upstream has sent it and the caller can take it.
    func pumpResponse(_ exchange: Exchange) {
        if let stream = exchange.upstreamStream {
            pumpResponseStream(exchange, stream)
            return
        }
        var reads = 0
        let outer = pumped
        pumped = exchange
        defer { pumped = outer }
        while let connection = exchange.upstream, connection.state == .active, let caller = exchange.caller {
            if exchange.machine.phase == .holding { return }
            guard callerHasRoom(exchange, caller) else { return }
            if !connection.wire.inbound.isEmpty, parseResponse(exchange, connection) { continue }
            guard exchange.upstream === connection, connection.state == .active else { return }
            if reads == Self.readsPerTick {
                readyAgain.append(connection.slot)
                // All the time there was something to read: the pause that is waited for has not begun.
                watch(exchange, connection)
                return
            }
            reads += 1
            guard fill(connection) else {
                if connection.wire.inputEnded {
                    upstreamInputEnded(exchange, connection)
                } else if connection.state == .active {
                    waitForUpstream(exchange, connection)
                }
                return
            }
        }
    }

    private func waitForUpstream(_ exchange: Exchange, _ connection: UpstreamConnection) {
        release(&connection.wire.inbound)
        watch(exchange, connection)
    }

    private func watch(_ exchange: Exchange, _ connection: UpstreamConnection) {
        switch exchange.stage {
        case .body:
            setWait(exchange, upstream: .response, after: connection.runtime.settings.responseIdleTimeout)
        case .tunnel:
            if exchange.requestEnded {
                setWait(exchange, upstream: .response, after: connection.runtime.settings.responseIdleTimeout)
            }
        case .none, .head, .complete:
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
        responseTouched(exchange)
        switch connection.scanner.search(connection.wire.inbound.readable, limits: configuration.limits.head) {
        case .incomplete:
            return false
        case .rejected(let rejection):
            upstreamBroken(exchange, rejection)
            return true
        case .complete(let length):
            connection.scanner.reset()
            let bytes = UnsafeRawBufferPointer(rebasing: connection.wire.inbound.readable[..<length])
            let rejection = HTTP1ResponseParser.parse(
                bytes, answering: exchange.request.method, into: &exchange.response, limits: configuration.limits.head)
            connection.wire.inbound.consume(length)
            if let rejection { upstreamBroken(exchange, rejection) } else { headReceived(exchange) }
            return true
        }
    }

    /// The first octet of a response has come.
    func responseTouched(_ exchange: Exchange) {
        guard exchange.responseUntouched else { return }
        exchange.responseUntouched = false
        if exchange.firstByteAt == 0 { exchange.firstByteAt = nowNanoseconds }
    }

    /// `exchange.response` is filled.
    func headReceived(_ exchange: Exchange) {
        if exchange.response.status >= 200 { finalHead(exchange) } else { informational(exchange) }
    }

    func upstreamBroken(_ exchange: Exchange, _ rejection: Rejection) {
        exchange.errorReason = rejection.reason
        perform(
            exchange,
            exchange.machine.upstreamLost(.upstreamProtocol, untouched: false, replayable: false, refused: false))
    }

    private func informational(_ exchange: Exchange) {
        if exchange.response.status == 101 {
            switchProtocols(exchange)
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
        guard exchange.request.minorVersion >= 1, exchange.route?.rule.injectsCredential == false else { return }
        ResponseTransform.filter(&exchange.response)
        writeInformational(exchange)
    }

    private func finalHead(_ exchange: Exchange) {
        guard let route = exchange.route else { return }
        if exchange.wantsUpgrade, exchange.upstreamStream != nil, exchange.response.status < 300 {
            switchProtocols(exchange)
            return
        }
        if exchange.request.method == .connect, exchange.response.status < 300 {
            // To the caller it would mean that the tunnel is open.
            upstreamBroken(exchange, .malformed("the upstream did not switch protocols and did not refuse to"))
            return
        }
        exchange.waitsForContinue = false
        let flags = exchange.response.flags
        let wantsNonce = takeNonce(exchange)
        let isRejection = route.rule.retries(exchange.response.status)
        perform(
            exchange,
            exchange.machine.responseHeadReceived(
                isRejection: isRejection,
                challenge: !flags.contains(.challenge) || flags.contains(.tokenChallenge)
                    || route.rule.acceptsAnyChallenge,
                replayable: exchange.replay.isReplayable, wantsNonce: wantsNonce))
    }

    /// The answer is a rejection and is kept, unread, until it is known whether there is a newer credential.
    func holdResponse(_ exchange: Exchange) {
        stopUpstreamWait(exchange)
    }

    /// Writes the response's head to the caller and goes on with its content.
    func forwardResponse(_ exchange: Exchange) {
        guard exchange.caller != nil, let route = exchange.route, let identity = exchange.upstreamIdentity else {
            return
        }
        // Answered without the content: what the caller may still send is not read as a request.
        if isDraining || exchange.owesContinue { exchange.keepCaller = false }
        if endsWithHead(exchange) { exchange.response.framing = .length(0) }
        exchange.framing = ResponseTransform.framing(
            exchange.response, requestMethod: exchange.request.method,
            callerMinorVersion: exchange.request.minorVersion)
        if exchange.framing == .untilClose { exchange.keepCaller = false }
        exchange.status = exchange.response.status
        exchange.headSent = true
        if ResponseTransform.filter(&exchange.response) {
            ResponseTransform.rewriteLocation(
                &exchange.response, rule: route.rule, upstream: identity,
                grantSegment: GrantKey.removedSegment(route.rule, of: exchange.request))
        }
        exchange.stage = .body
        let ended: Bool
        if let stream = exchange.upstreamStream {
            ended = stream.isPeerDone && stream.inbound.isEmpty
        } else {
            exchange.responseDecoder.begin(exchange.response.framing)
            ended = exchange.responseDecoder.isDone
        }
        writeHead(exchange, ends: ended && exchange.responseTrailers.fields.isEmpty || exchange.framing == .none)
        if ended {
            responseEnded(exchange)
            return
        }
        // A held response goes on: it is read from where its head ended.
        guard pumped !== exchange, let connection = exchange.upstream else { return }
        if exchange.upstreamStream != nil || !connection.wire.inbound.isEmpty || connection.wire.canRead
            || connection.wire.inputEnded
        {
            queue(exchange)
        } else {
            waitForUpstream(exchange, connection)
        }
    }

    /// Over HTTP/2 a response may end with its head and say nothing about a length; over HTTP/1 content up to the end
    /// of the connection would be expected then (RFC 9112 6.3).
    private func endsWithHead(_ exchange: Exchange) -> Bool {
        guard exchange.upstreamStream != nil, exchange.callerStream == nil, exchange.response.framing == .none else {
            return false
        }
        let status = exchange.response.status
        return exchange.request.method != .head && status != 204 && status != 304
    }

    private func parseBody(_ exchange: Exchange, _ connection: UpstreamConnection) -> Bool {
        let input = connection.wire.inbound.readable
        switch exchange.responseDecoder.decode(input, trailers: &exchange.responseTrailers) {
        case .needsInput:
            connection.wire.inbound.consume(exchange.responseDecoder.consumed)
            return false
        case .content(let offset, let length):
            let consumed = exchange.responseDecoder.consumed
            guard forwardContent(exchange, UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)])) else {
                return true
            }
            if exchange.upstream === connection { connection.wire.inbound.consume(consumed) }
            if exchange.responseDecoder.isDone, exchange.upstream === connection { responseEnded(exchange) }
            return true
        case .ended:
            connection.wire.inbound.consume(exchange.responseDecoder.consumed)
            responseEnded(exchange)
            return true
        case .rejected(let rejection):
            upstreamBroken(exchange, rejection)
            return true
        }
    }

    /// Sends content on; false when that was more than the route allows, and the exchange has ended.
    func forwardContent(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) -> Bool {
        exchange.responseBytes += UInt64(content.count)
        exchange.movedAt = now
        if let limit = exchange.route?.rule.responseBodyLimit, exchange.responseBytes > limit, exchange.stage == .body {
            upstreamBroken(exchange, .malformed("the response is longer than the route's limit"))
            return false
        }
        writeContent(exchange, content)
        return true
    }

    func responseEnded(_ exchange: Exchange) {
        if exchange.upstreamStream == nil, exchange.response.framing != .chunked { exchange.responseTrailers.reset() }
        writeEnd(exchange)
        completeResponse(exchange)
    }

    /// The upstream's connection has ended while the exchange runs.
    func upstreamInputEnded(_ exchange: Exchange, _ connection: UpstreamConnection) {
        if exchange.stage == .tunnel {
            tunnelEnded(exchange)
            return
        }
        if exchange.stage == .body, connection.wire.endedCleanly, exchange.responseDecoder.connectionEnded() {
            responseEnded(exchange)
            return
        }
        exchange.errorReason = "the upstream ended the connection before the response was complete"
        perform(
            exchange,
            exchange.machine.upstreamLost(
                .upstreamProtocol, untouched: exchange.responseUntouched, replayable: exchange.replay.isReplayable,
                refused: false))
    }
}
