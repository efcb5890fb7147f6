import HTTP
import Proxy
import Reactor

/// What happens when patience ends. The wheel only says "look": each connection knows its own deadline.
extension Worker {
    func timerFired(slot: Int) {
        slotTimers[slot] = .max
        switch slots[slot] {
        case .free:
            break
        case .mailbox:
            if isDraining { arm(slot: slot, at: max(drainDeadline, now + 16)) }
        case .listener:
            resumeListeners()
        case .caller(let connection):
            if now >= connection.exchange?.totalDeadline ?? .max {
                totalTimeout(connection)
            } else if now >= connection.writeDeadline {
                callerGone(connection)
            } else if now >= connection.deadline {
                callerTimeout(connection)
            }
            rearm(connection)
        case .upstream(let connection):
            if now >= connection.writeDeadline {
                connection.writeDeadline = .max
                upstreamTimedOut(connection)
            } else if now >= connection.deadline {
                upstreamTimeout(connection)
            }
            let next = min(connection.deadline, connection.writeDeadline)
            if connection.state != .closed, next != .max { arm(slot: slot, at: next) }
        }
    }

    /// One deadline has been looked at; the others still hold.
    private func rearm(_ connection: CallerConnection) {
        guard connection.mode != .closed else { return }
        let total = connection.exchange?.totalDeadline ?? .max
        let next = min(total, connection.deadline, connection.writeDeadline)
        if next != .max { arm(slot: connection.slot, at: next) }
    }

    private func upstreamTimedOut(_ connection: UpstreamConnection) {
        guard let exchange = connection.exchange else {
            closeUpstream(connection)
            return
        }
        perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
    }

    private func totalTimeout(_ connection: CallerConnection) {
        guard let exchange = connection.exchange else { return }
        exchange.errorReason = "the route's timeout has passed"
        perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
    }

    private func callerTimeout(_ connection: CallerConnection) {
        let wait = connection.waitingFor
        setWait(connection, .nothing)
        switch wait {
        case .head:
            if connection.inbound.isEmpty {
                closeCaller(connection)
            } else {
                refuseLate(connection)
            }
        case .keepAlive, .lingering:
            closeCaller(connection)
        case .body:
            guard let exchange = connection.exchange else { return }
            exchange.errorReason = "the content stopped coming"
            exchange.keepCaller = false
            perform(exchange, exchange.machine.requestRefused(.requestTimeout))
        case .credential:
            guard let exchange = connection.exchange else { return }
            stopWaitingForCredential(exchange)
            perform(exchange, exchange.machine.timedOut(.tokenUnavailable))
        case .connection:
            guard let exchange = connection.exchange else { return }
            // A place in the pool, or the addresses of a name.
            let error: GatewayError = exchange.isWaitingForConnection ? .overloaded : .upstreamUnreachable
            perform(exchange, exchange.machine.timedOut(error))
        case .nothing:
            break
        }
    }

    private func refuseLate(_ connection: CallerConnection) {
        writeProblem(
            connection, .requestTimeout, reason: "the head stopped coming", retryAfter: 0, keepAlive: false,
            exchange: nil)
        closeAfterFlush(connection, linger: true)
    }

    private func upstreamTimeout(_ connection: UpstreamConnection) {
        let wait = connection.waitingFor
        setWait(connection, .nothing)
        switch wait {
        case .connecting:
            note(connection.runtime, "no connection to the upstream", "connecting took longer than connect_timeout")
            connectFailed(connection, .upstreamUnreachable)
        case .handshake:
            note(connection.runtime, "TLS to the upstream failed", "the handshake took longer than tls_timeout")
            connectFailed(connection, .upstreamTLS)
        case .firstByte:
            guard let exchange = connection.exchange else { return }
            if exchange.waitsForContinue {
                continueRequest(exchange)
            } else {
                upstreamTimedOut(connection)
            }
        case .response:
            upstreamTimedOut(connection)
        case .idle:
            closeUpstream(connection)
        case .nothing:
            break
        }
    }
}
