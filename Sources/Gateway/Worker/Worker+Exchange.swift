import HTTP
import Proxy
import Reactor
import Telemetry

/// An exchange from its head to its end, as the machine decides.
extension Worker {
    /// Starts an HTTP/1 exchange from the head at the front of the caller's buffer.
    func startExchange(_ connection: CallerConnection, headLength: Int) {
        let exchange = begin(connection)
        connection.exchange = exchange
        connection.mode = .exchange
        setWait(connection, .nothing)
        let bytes = UnsafeRawBufferPointer(rebasing: connection.wire.inbound.readable[..<headLength])
        let rejection = HTTP1RequestParser.parse(bytes, into: &exchange.request, limits: configuration.limits.head)
        connection.wire.inbound.consume(headLength)
        if let rejection {
            exchange.errorReason = rejection.reason
            exchange.keepCaller = false
            perform(exchange, exchange.machine.requestRefused(GatewayError(rejection)))
            return
        }
        exchange.keepCaller = exchange.request.flags.contains(.keepAlive) && !isDraining
        exchange.requestDecoder.begin(exchange.request.framing)
        exchange.requestEnded = exchange.requestDecoder.isDone
        exchange.owesContinue = !exchange.requestEnded && exchange.request.flags.contains(.expectsContinue)
        run(exchange)
    }

    /// An exchange of this connection, counted and with a number.
    func begin(_ connection: CallerConnection) -> Exchange {
        let exchange = takeExchange()
        exchange.configuration = configuration
        exchange.caller = connection
        exchange.startedAt = nowNanoseconds
        if !exchange.trailers.fields.isEmpty { exchange.trailers.reset() }
        requestSerial &+= 1
        exchange.requestID = requestSerial
        activeExchanges += 1
        counters.requestStarted()
        return exchange
    }

    /// Routes a request and sets the machine going.
    func run(_ exchange: Exchange) {
        if let error = route(exchange) {
            perform(exchange, exchange.machine.requestRefused(error))
            return
        }
        if exchange.request.method == .options, RequestTransform.endsHere(&exchange.request) {
            answerOptions(exchange)
            return
        }
        perform(exchange, exchange.machine.requestRouted())
        if !exchange.requestEnded, exchange.caller != nil { pumpRequest(exchange) }
    }

    /// Finds the route and checks what it allows.
    private func route(_ exchange: Exchange) -> GatewayError? {
        if exchange.request.flags.contains(.unknownExpectation) { return .expectationFailed }
        // TRACE would echo the credential that we add (RFC 9110 9.3.8).
        if exchange.request.method == .trace { return .notImplemented }
        // An extended CONNECT (RFC 8441 4) is how WebSocket begins over HTTP/2; any other opens a tunnel to anywhere.
        if exchange.request.method == .connect, !asksForTunnel(exchange) { return .notImplemented }
        switch configuration.table.match(exchange.request, scratch: &pathScratch) {
        case .noRoute: return .noRoute
        case .refused:
            exchange.errorReason = "the path can be read in more than one way"
            return .malformedRequest
        case .route(let index):
            return take(exchange, configuration.routes[index])
        }
    }

    private func take(_ exchange: Exchange, _ route: WorkerConfiguration.Route) -> GatewayError? {
        exchange.route = route
        guard let caller = exchange.caller, isAllowed(caller.peer, route) else { return .callerDenied }
        if exchange.request.method == .connect {
            guard route.rule.allowWebSocket else { return .notImplemented }
            // What is said in the tunnel waits for its opening, and has no framing.
            exchange.requestEnded = true
            exchange.request.framing = .none
            exchange.owesContinue = false
        }
        var expected: UInt64?
        if case .length(let length) = exchange.request.framing { expected = length }
        if exchange.requestEnded { expected = 0 }
        if let limit = route.rule.requestBodyLimit, let expected, expected > limit { return .bodyTooLarge }
        if let timeout = route.rule.timeout {
            exchange.totalDeadline = now &+ timeout
            arm(slot: exchange.slot, at: exchange.totalDeadline)
        }
        // Content could not be told from what is said in the tunnel.
        exchange.wantsUpgrade =
            route.rule.allowWebSocket && exchange.request.flags.contains(.webSocket) && exchange.requestEnded
        exchange.replay = ReplayPlan(limit: UInt64(route.rule.retryBodyLimit), expected: expected)
        switch places[route.rule.upstream] {
        case .fixed(let runtime): exchange.runtime = runtime
        case .captured(let upstream): exchange.captured = upstream
        }
        if let error = pickGrant(exchange, route) { return error }
        RequestTransform.filter(&exchange.request, rule: route.rule)
        exchange.machine = ExchangeMachine(
            needsCredential: route.rule.injectsCredential, isIdempotent: exchange.request.method.isIdempotent)
        return nil
    }

    private func asksForTunnel(_ exchange: Exchange) -> Bool {
        exchange.callerStream != nil && exchange.request.flags.contains(.webSocket)
    }

    private func isAllowed(_ peer: SocketAddress, _ route: WorkerConfiguration.Route) -> Bool {
        if route.rule.allowsEveryone { return true }
        let allowed = route.rule.allowFrom
        switch peer {
        case .unix: return true
        case .ipv4(let address, _):
            return allowed.contains { $0.contains(high: 0, low: UInt64(address), isIPv4: true) }
        case .ipv6(let high, let low, _, _):
            if high == 0, low >> 32 == 0xFFFF {
                return allowed.contains { $0.contains(high: 0, low: low & 0xFFFF_FFFF, isIPv4: true) }
            }
            return allowed.contains { $0.contains(high: high, low: low, isIPv4: false) }
        }
    }

    /// Does what the machine says, until it waits for an event.
    func perform(_ exchange: Exchange, _ first: ExchangeMachine.Action) {
        var action = first
        while true {
            switch action {
            case .none:
                return
            case .needCredential(let rejected):
                guard let next = getCredential(exchange, rejected: rejected) else { return }
                action = next
            case .hold(let rejected):
                holdResponse(exchange)
                guard let next = getCredential(exchange, rejected: rejected) else { return }
                action = next
            case .openAttempt(let newConnection):
                if exchange.upstream != nil {
                    // A pooled connection was dead: the request starts again on another one.
                    dropUpstream(exchange, outcome: .disconnected)
                    exchange.replay.restarted()
                }
                if let reason = findPlace(exchange) {
                    exchange.errorReason = reason
                    action = exchange.machine.connectionFailed(.upstreamNotNamed)
                    continue
                }
                guard let next = openAttempt(exchange, newConnection: newConnection) else { return }
                action = next
            case .sendRequest:
                if let refusal = withdrawal(exchange) ?? expiry(exchange) {
                    var seconds: UInt32 = 0
                    if case .unavailable(let wait) = refusal { seconds = wait }
                    action = exchange.machine.requestRefused(refusal.error, retryAfter: seconds)
                    continue
                }
                sendRequest(exchange)
                return
            case .forwardResponse(let report):
                if let report, let grant = exchange.grant, !grant.isSuperseded {
                    services.credentialRejected(grant.id, report)
                }
                forwardResponse(exchange)
                return
            case .retry, .retryWithNonce:
                dropUpstream(exchange, outcome: .answered)
                exchange.replay.restarted()
                action = .openAttempt(newConnection: false)
            case .fail(let error, let retryAfter):
                fail(exchange, error, retryAfter: retryAfter)
                return
            case .abort(let error):
                abort(exchange, error)
                return
            case .cancel:
                dropUpstream(exchange, outcome: .abandoned)
                exchange.caller?.exchange = nil
                releaseCallerStream(exchange)
                finish(exchange)
                return
            }
        }
    }

    // MARK: Ends

    /// Answers with an error of our own.
    private func fail(_ exchange: Exchange, _ error: GatewayError, retryAfter: UInt32) {
        dropUpstream(exchange, outcome: AttemptOutcome(error))
        exchange.error = error
        guard let caller = exchange.caller else { return }
        // What is left of the content cannot be told from a next request by a caller that does not read answers early.
        // Nor does a problem say "keep-alive", which a caller of HTTP/1.0 would need to hear.
        let keep =
            exchange.keepCaller && exchange.requestEnded && !error.closesCaller && !isDraining
            && exchange.request.minorVersion >= 1
        writeProblem(
            caller, error, reason: exchange.errorReason, retryAfter: retryAfter, keepAlive: keep, exchange: exchange)
        exchange.status = error.status
        endCaller(exchange, keep: keep, linger: true)
    }

    /// The response has begun and cannot be completed.
    private func abort(_ exchange: Exchange, _ error: GatewayError) {
        exchange.error = error
        guard exchange.headSent || exchange.stage == .tunnel else {
            fail(exchange, error, retryAfter: 0)
            return
        }
        dropUpstream(exchange, outcome: AttemptOutcome(error))
        guard let caller = exchange.caller else { return }
        if let stream = exchange.callerStream {
            caller.session?.reset(stream, code: HTTP2Code.internalError)
            endCaller(exchange, keep: true, linger: false)
            return
        }
        // Content that ends with the connection would look complete after an orderly close (RFC 9112 8).
        if exchange.framing == .untilClose {
            Socket.setLinger0(caller.wire.descriptor)
        } else {
            _ = flush(&caller.wire)
        }
        caller.exchange = nil
        finish(exchange)
        cutCaller(caller)
    }

    /// The response is complete and written to the caller's buffer.
    func completeResponse(_ exchange: Exchange) {
        exchange.machine.responseCompleted()
        exchange.stage = .complete
        releaseUpstream(exchange)
        guard let caller = exchange.caller else { return }
        let keep = exchange.keepCaller && exchange.requestEnded && exchange.framing != .untilClose
        // A close with input unread is a reset, and could cost the caller the response.
        let linger = !exchange.requestEnded || !caller.wire.inbound.isEmpty || caller.wire.canRead
        endCaller(exchange, keep: keep, linger: linger)
    }

    /// The exchange has said everything to its caller.
    func endCaller(_ exchange: Exchange, keep: Bool, linger: Bool) {
        guard let caller = exchange.caller else { return }
        if exchange.callerStream != nil {
            releaseCallerStream(exchange)
            finish(exchange)
            return
        }
        caller.exchange = nil
        finish(exchange)
        if keep { nextRequest(caller) } else { closeAfterFlush(caller, linger: linger) }
    }

    /// Counts, logs and gives the exchange back. Its caller and upstream have let go of it.
    func finish(_ exchange: Exchange) {
        stopWaitingForCredential(exchange)
        if let runtime = exchange.runtime { stopWaitingForConnection(exchange, runtime) }
        exchange.runtime?.waitingForAddress.remove(exchange.id)
        let route = exchange.route?.metricIndex ?? MetricNames.unrouted
        let duration = MonotonicClock.nanoseconds() &- exchange.startedAt
        counters.requestEnded(route: route, status: Int(exchange.status), nanoseconds: duration)
        if let outcome = exchange.machine.retryOutcome {
            counters.retryEnded(route: route, outcome: Telemetry.RetryOutcome(outcome))
        }
        if let error = exchange.error { counters.errorMade(code: Int(error.rawValue)) }
        if services.log.isEnabled { writeLog(exchange, duration: duration) }
        if let grant = exchange.grant { grants.letGo(grant) }
        activeExchanges -= 1
        exchange.reset(pool: buffers)
        freeExchanges.append(exchange.id)
    }

    private func writeLog(_ exchange: Exchange, duration: UInt64) {
        let facts = ExchangeFacts(
            unixMilliseconds: WallClock.milliseconds() - Int64(duration / 1_000_000),
            route: exchange.route?.rule.name, upstream: exchange.route?.upstreamName, status: Int(exchange.status),
            bytesReceived: exchange.replay.received, bytesSent: exchange.responseBytes, totalNanoseconds: duration,
            firstByteNanoseconds: exchange.firstByteAt == 0 ? nil : exchange.firstByteAt &- exchange.startedAt,
            credentialWaitNanoseconds: exchange.credentialWait, attempts: exchange.attempts,
            retry: exchange.machine.retryOutcome.map { Telemetry.RetryOutcome($0) },
            errorCode: exchange.error.map { $0.code.description }, grant: exchange.grant?.loggedID)
        var requestID = ByteBuffer(capacity: 16)
        requestID.appendHexadecimal(exchange.requestID)
        let address = exchange.caller?.identity.address ?? []
        accessLog.exchangeEnded(
            facts, requestID: requestID.array().span, caller: address.span,
            method: Array(exchange.request.bytes(exchange.request.methodText)).span,
            target: Array(exchange.request.bytes(exchange.request.target)).span)
        if accessLog.bytes.count > 60 * 1024 { flushLog() }
    }
}

extension Telemetry.RetryOutcome {
    init(_ outcome: Proxy.RetryOutcome) {
        switch outcome {
        case .succeeded: self = .accepted
        case .rejectedAgain: self = .rejectedAgain
        case .unchanged, .unavailable: self = .noNewCredential
        case .skippedBody: self = .bodyNotKept
        case .otherChallenge: self = .noNewCredential
        }
    }
}

extension AttemptOutcome {
    init(_ error: GatewayError) {
        switch error {
        case .upstreamUnreachable: self = .unreachable
        case .upstreamTLS: self = .tls
        case .upstreamTimeout: self = .timeout
        case .upstreamProtocol: self = .malformed
        case .upstreamNotNamed: self = .abandoned
        case .malformedRequest, .requestTimeout, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported,
            .notImplemented, .expectationFailed, .callerDenied, .noRoute, .grantNotNamed, .unknownGrant, .notConnected,
            .reauthorizationRequired, .tokenUnavailable, .configurationError, .overloaded, .draining, .internalError:
            self = .abandoned
        }
    }
}
