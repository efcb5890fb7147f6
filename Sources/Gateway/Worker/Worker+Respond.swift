import HTTP
import Proxy
import Reactor
import Telemetry

/// What goes to the caller, in the version of HTTP that it speaks.
extension Worker {
    /// Whether more content may be written now. If not, the exchange goes on when there is room.
    func callerHasRoom(_ exchange: Exchange, _ caller: CallerConnection) -> Bool {
        if let stream = exchange.callerStream {
            guard stream.backlog >= Self.highWater else { return true }
            stream.wantsRoom = true
            exchange.isHeldUp = true
            // What the caller has not granted room for is not the upstream's fault.
            if exchange.upstreamWait != .callerRoom {
                exchange.roomBacklog = stream.backlog
                setWait(exchange, upstream: .callerRoom, after: configuration.timeouts.writeIdle)
            }
            return false
        }
        guard caller.wire.backlog >= Self.highWater else { return true }
        // The upstream is not to blame while the caller does not read. Its answer, of which nothing was read, may be there
        // or not: that is waited for as before.
        if exchange.stage != .head { stopUpstreamWait(exchange) }
        exchange.isHeldUp = true
        touch(caller)
        return false
    }

    /// Writes the response's head.
    ///
    /// - Parameter ends: there is no content.
    func writeHead(_ exchange: Exchange, ends: Bool) {
        guard let caller = exchange.caller else { return }
        let needsDate = !exchange.response.flags.contains(.hasDate)
        let skipped = exchange.machine.retryOutcome == .skippedBody
        if needsDate { refreshDate() }
        caller.wire.outbound.acquire(from: buffers)
        if let stream = exchange.callerStream, let session = caller.session {
            var length: UInt64?
            if case .length(let octets) = exchange.framing { length = octets }
            session.respond(stream, ends: ends, into: &caller.wire.outbound) { encoder, out in
                ResponseTransform.writeHTTP2(
                    exchange.response, date: date, retrySkipped: skipped, contentLength: length, encoder: &encoder,
                    to: &out)
            }
        } else {
            ResponseTransform.writeHTTP1(
                exchange.response, framing: exchange.framing, callerMinorVersion: exchange.request.minorVersion,
                keepAlive: exchange.keepCaller, date: date, retrySkipped: skipped, to: &caller.wire.outbound)
        }
        touch(caller)
    }

    func writeInformational(_ exchange: Exchange) {
        guard let caller = exchange.caller else { return }
        caller.wire.outbound.acquire(from: buffers)
        if let stream = exchange.callerStream, let session = caller.session {
            session.informational(stream, into: &caller.wire.outbound) { encoder, out in
                ResponseTransform.writeInformationalHTTP2(exchange.response, encoder: &encoder, to: &out)
            }
        } else {
            ResponseTransform.writeInformational(exchange.response, to: &caller.wire.outbound)
        }
        touch(caller)
    }

    /// The caller waits for a 100 before it sends content.
    func writeContinue(_ exchange: Exchange) {
        guard exchange.owesContinue, let caller = exchange.caller else { return }
        exchange.owesContinue = false
        caller.wire.outbound.acquire(from: buffers)
        if let stream = exchange.callerStream, let session = caller.session {
            session.informational(stream, into: &caller.wire.outbound) { encoder, out in
                encoder.begin(to: &out)
                encoder.status(100, to: &out)
            }
        } else {
            caller.wire.outbound.append("HTTP/1.1 100 Continue\r\n\r\n")
        }
        touch(caller)
    }

    /// Content in the caller's framing; large pieces go to the socket at once, without a copy.
    func writeContent(_ exchange: Exchange, _ content: UnsafeRawBufferPointer) {
        guard let caller = exchange.caller else { return }
        if let stream = exchange.callerStream, let session = caller.session {
            // What is gathered leaves before it is more than one write's worth: it would be copied again. That the
            // caller takes no more is told by an event.
            if caller.wire.outbound.count >= Self.frameBytes { _ = flush(&caller.wire) }
            if content.count >= Self.directWriteBytes, caller.wire.outbound.count < Self.frameBytes {
                caller.wire.outbound.acquire(from: records)
                session.sendDirectly(content, on: stream, into: &caller.wire.outbound)
            } else {
                session.send(content, on: stream)
            }
            touch(caller)
            return
        }
        caller.wire.outbound.acquire(from: buffers)
        let isChunked = exchange.framing == .chunked
        guard content.count >= Self.directWriteBytes, caller.wire.canWrite else {
            if isChunked {
                HTTP1Writer.chunk(content, to: &caller.wire.outbound)
            } else {
                caller.wire.outbound.append(content)
            }
            touch(caller)
            return
        }
        if isChunked {
            caller.wire.outbound.appendHexadecimal(UInt64(content.count))
            caller.wire.outbound.append("\r\n")
        }
        writeDirectly(caller, content)
        if isChunked, caller.mode != .closed {
            caller.wire.outbound.acquire(from: buffers)
            caller.wire.outbound.append("\r\n")
            touch(caller)
        }
    }

    private func writeDirectly(_ caller: CallerConnection, _ content: UnsafeRawBufferPointer) {
        guard writeDirectly(&caller.wire, content) else {
            // The event that says so comes too; here the exchange must not be pulled from under its pump.
            caller.wire.inputEnded = true
            readyAgain.append(caller.slot)
            caller.wire.writeDeadline = now
            arm(slot: caller.slot, at: now)
            return
        }
        if caller.wire.backlog > 0 { blocked(caller) }
    }

    /// The end of the content, with the trailer fields where the caller's framing has a place for them.
    func writeEnd(_ exchange: Exchange) {
        guard let caller = exchange.caller else { return }
        if let stream = exchange.callerStream, let session = caller.session {
            if exchange.responseTrailers.fields.isEmpty {
                session.finish(stream)
            } else {
                session.finish(stream, trailers: exchange.responseTrailers)
            }
            touch(caller)
        } else if exchange.framing == .chunked {
            caller.wire.outbound.acquire(from: buffers)
            HTTP1Writer.lastChunk(trailers: exchange.responseTrailers, to: &caller.wire.outbound)
            touch(caller)
        }
    }

    /// Writes an answer of ours to the caller's buffer.
    func writeProblem(
        _ caller: CallerConnection, _ error: GatewayError, reason: StaticString?, retryAfter: UInt32, keepAlive: Bool,
        exchange: Exchange?
    ) {
        if exchange == nil {
            requestSerial &+= 1
            counters.errorMade(code: Int(error.rawValue))
            if services.log.isEnabled { writeRefusal(caller, error, reason) }
        }
        let requestID = exchange?.requestID ?? requestSerial
        let grant = error.concernsGrant ? exchange?.grant?.id : nil
        let withBody = exchange?.request.method != .head
        refreshDate()
        caller.wire.outbound.acquire(from: buffers)
        if let stream = exchange?.callerStream, let session = caller.session {
            var body = ByteBuffer()
            session.respond(stream, ends: !withBody, into: &caller.wire.outbound) { encoder, out in
                ProblemResponse.writeHTTP2(
                    error, reason: reason, requestID: requestID, grant: grant, retryAfter: retryAfter, date: date,
                    withBody: withBody, encoder: &encoder, to: &out, body: &body)
            }
            if withBody {
                session.send(body.readable, on: stream)
                session.finish(stream)
            }
        } else {
            ProblemResponse.writeHTTP1(
                error, reason: reason, requestID: requestID, grant: grant, retryAfter: retryAfter, date: date,
                keepAlive: keepAlive, withBody: withBody, to: &caller.wire.outbound)
        }
        touch(caller)
    }

    /// The line of a request that was refused before it was an exchange: the caller is told the same identifier.
    private func writeRefusal(_ caller: CallerConnection, _ error: GatewayError, _ reason: StaticString?) {
        accessLog.begin(level: .info, unixMilliseconds: WallClock.milliseconds(), message: "refused")
        accessLog.field("request_id", String(requestSerial, radix: 16))
        let address = caller.identity.address
        accessLog.field("caller", bytes: address.span)
        accessLog.field("status", error.status)
        accessLog.field("error", error.code.description)
        if let reason { accessLog.field("reason", reason.description) }
        accessLog.end()
    }

    /// The last hop that `Max-Forwards` allows is this one (RFC 9110 7.6.2).
    func answerOptions(_ exchange: Exchange) {
        guard let caller = exchange.caller else { return }
        exchange.machine.responseCompleted()
        exchange.status = 200
        let keep = exchange.keepCaller && exchange.requestEnded
        refreshDate()
        caller.wire.outbound.acquire(from: buffers)
        if let stream = exchange.callerStream, let session = caller.session {
            session.respond(stream, ends: true, into: &caller.wire.outbound) { encoder, out in
                encoder.begin(to: &out)
                encoder.status(200, to: &out)
                date.withUnsafeBytes { encoder.field("date", $0, to: &out) }
            }
        } else {
            caller.wire.outbound.append("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: ")
            caller.wire.outbound.append(date)
            caller.wire.outbound.append(keep ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n")
        }
        touch(caller)
        endCaller(exchange, keep: keep, linger: true)
    }

    /// Makes `date` the present second's.
    func refreshDate() {
        let second = WallClock.seconds()
        guard second != dateSecond else { return }
        date.removeAll(keepingCapacity: true)
        Timestamp.appendIMFFixdate(seconds: second, to: &date)
        dateSecond = second
    }
}
