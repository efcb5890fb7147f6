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
            let total = connection.exchange?.totalDeadline ?? .max
            if now >= total {
                totalTimeout(connection)
            } else if now >= connection.deadline {
                callerTimeout(connection)
            } else {
                let next = min(total, connection.deadline)
                if next != .max { arm(slot: slot, at: next) }
            }
        case .upstream(let connection):
            if now >= connection.deadline {
                upstreamTimeout(connection)
            } else if connection.deadline != .max {
                arm(slot: slot, at: connection.deadline)
            }
        }
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
        case .writing:
            callerGone(connection)
        case .credential:
            guard let exchange = connection.exchange else { return }
            credentialTimeout(exchange)
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

    /// A credential, or a place in the pool, did not come in time.
    private func credentialTimeout(_ exchange: Exchange) {
        if exchange.isWaitingForConnection {
            perform(exchange, exchange.machine.timedOut(.overloaded))
        } else {
            stopWaitingForCredential(exchange)
            perform(exchange, exchange.machine.timedOut(.tokenUnavailable))
        }
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
                perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
            }
        case .response, .writing:
            guard let exchange = connection.exchange else { return }
            perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
        case .idle:
            closeUpstream(connection)
        case .nothing:
            break
        }
    }
}
