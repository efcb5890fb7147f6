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
            if now >= connection.wire.writeDeadline {
                callerGone(connection)
            } else if now >= connection.deadline {
                callerTimeout(connection)
            } else if now >= connection.untakenDeadline {
                untakenTimeout(connection)
            }
            let next = connection.nextDeadline
            if connection.mode != .closed, next != .max { arm(slot: slot, at: next) }
        case .upstream(let connection):
            if now >= connection.wire.writeDeadline {
                connection.wire.writeDeadline = .max
                writeTimeout(connection)
            } else if now >= connection.deadline {
                upstreamTimeout(connection)
            } else if now >= connection.untakenDeadline {
                untakenTimeout(connection)
            }
            let next = connection.nextDeadline
            if connection.state != .closed, next != .max { arm(slot: slot, at: next) }
        case .exchange(let exchange):
            if now >= exchange.totalDeadline {
                totalTimeout(exchange)
            } else if now >= exchange.callerDeadline {
                callerTimeout(exchange)
            } else if now >= exchange.upstreamDeadline {
                upstreamTimeout(exchange)
            }
            // One deadline has been looked at; the others still hold.
            if exchange.nextDeadline != .max { arm(slot: slot, at: exchange.nextDeadline) }
        }
    }

    /// Of streams that their exchanges have left the caller takes nothing. Those end; the others are none the worse.
    private func untakenTimeout(_ connection: CallerConnection) {
        connection.untakenDeadline = .max
        guard connection.mode == .multiplexed, let session = connection.session else { return }
        connection.untakenDeadline = session.resetUntaken(now: now, patience: configuration.timeouts.writeIdle)
        touch(connection)
    }

    /// Of requests that were answered before they were whole the upstream takes nothing: their places are given back.
    private func untakenTimeout(_ connection: UpstreamConnection) {
        connection.untakenDeadline = .max
        guard connection.state == .multiplexed, let session = connection.session else { return }
        let patience = connection.runtime.settings.writeIdleTimeout
        connection.untakenDeadline = session.resetUntaken(now: now, patience: patience)
        touch(connection)
    }

    private func writeTimeout(_ connection: UpstreamConnection) {
        if connection.session != nil {
            note(connection.runtime, "an HTTP/2 connection to the upstream is dead", "it takes no octets")
            sessionLost(connection, "the upstream takes no octets", .upstreamTimeout)
        } else if let exchange = connection.exchange {
            // Half a request that was rejected may lie where it is until it is known what comes of it. Where the answer
            // has begun, its own pauses say whether it comes to an end; what is left of the request ends with it.
            if exchange.machine.phase == .holding || exchange.stage == .body { return }
            if exchange.isHeldUp {
                // It may take nothing because nothing is taken of what it says: that is the caller's matter.
                blocked(connection)
                return
            }
            perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
        } else {
            closeUpstream(connection)
        }
    }

    private func totalTimeout(_ exchange: Exchange) {
        exchange.totalDeadline = .max
        exchange.errorReason = "the route's timeout has passed"
        perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
    }

    private func callerTimeout(_ connection: CallerConnection) {
        let wait = connection.waitingFor
        setWait(connection, .nothing)
        switch wait {
        case .head where connection.mode == .multiplexed:
            endLateSession(connection)
        case .head:
            if connection.wire.inbound.isEmpty {
                closeCaller(connection)
            } else {
                refuseLate(connection)
            }
        case .keepAlive where connection.mode == .multiplexed:
            endIdleSession(connection)
        case .rest:
            sessionRests(connection)
        case .handshake, .keepAlive, .lingering:
            closeCaller(connection)
        case .nothing:
            break
        }
    }

    private func callerTimeout(_ exchange: Exchange) {
        let wait = exchange.callerWait
        stopWait(exchange, caller: wait)
        switch wait {
        case .body:
            if let rest = patienceLeft(exchange, of: configuration.timeouts.bodyIdle) {
                setWait(exchange, caller: .body, after: rest)
                return
            }
            exchange.errorReason = "the content stopped coming"
            exchange.keepCaller = false
            perform(exchange, exchange.machine.requestRefused(.requestTimeout))
        case .credential:
            stopWaitingForCredential(exchange)
            perform(exchange, exchange.machine.timedOut(.tokenUnavailable))
        case .connection:
            // A place in the pool, or the addresses of a name.
            let error: GatewayError = exchange.isWaitingForConnection ? .overloaded : .upstreamUnreachable
            perform(exchange, exchange.machine.timedOut(error))
        case .nothing:
            break
        }
    }

    /// What is left of the patience with one side's silence while content goes the other way, or waits for the caller to
    /// take it; nil: nothing is left.
    private func patienceLeft(_ exchange: Exchange, of patience: UInt64) -> UInt64? {
        if exchange.isHeldUp { return patience }
        let quiet = now &- exchange.movedAt
        return quiet < patience ? patience - quiet : nil
    }

    private func upstreamTimeout(_ exchange: Exchange) {
        let wait = exchange.upstreamWait
        stopUpstreamWait(exchange)
        switch wait {
        case .continuation:
            continueRequest(exchange)
        case .firstByte where exchange.isHeldUp:
            // It may have come behind what the caller does not take.
            setWait(exchange, upstream: .firstByte, after: exchange.runtime?.settings.firstByteTimeout ?? 0)
        case .firstByte where isOnItsWay(exchange):
            break
        case .firstByte:
            perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
        case .response:
            if let rest = patienceLeft(exchange, of: exchange.runtime?.settings.responseIdleTimeout ?? 0) {
                setWait(exchange, upstream: .response, after: rest)
            } else {
                perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
            }
        case .room:
            if let stream = exchange.upstreamStream, exchange.isHeldUp || stream.backlog < exchange.roomBacklog {
                exchange.roomBacklog = stream.backlog
                let patience = exchange.runtime?.settings.writeIdleTimeout ?? 0
                setWait(exchange, upstream: .room, after: patience)
            } else {
                perform(exchange, exchange.machine.timedOut(.upstreamTimeout))
            }
        case .callerRoom:
            if let stream = exchange.callerStream, stream.backlog < exchange.roomBacklog {
                exchange.roomBacklog = stream.backlog
                setWait(exchange, upstream: .callerRoom, after: configuration.timeouts.writeIdle)
            } else {
                perform(exchange, exchange.machine.callerLeft())
            }
        case .nothing:
            break
        }
    }

    /// The end of the request is written and the upstream has not taken it: as long as it takes something its answer is
    /// not late.
    private func isOnItsWay(_ exchange: Exchange) -> Bool {
        guard exchange.requestSent, let connection = exchange.upstream else { return false }
        let settings = connection.runtime.settings
        guard let stream = exchange.upstreamStream else {
            // `write_idle_timeout` runs beside; whoever writes the last octet begins this anew.
            guard connection.session == nil, connection.wire.backlog > 0 else { return false }
            setWait(exchange, upstream: .firstByte, after: settings.firstByteTimeout)
            return true
        }
        let before = exchange.roomBacklog
        exchange.roomBacklog = stream.backlog
        if stream.backlog == 0 {
            guard before > 0 else { return false }
            setWait(exchange, upstream: .firstByte, after: settings.firstByteTimeout)
            return true
        }
        guard before == 0 || stream.backlog < before else { return false }
        setWait(exchange, upstream: .firstByte, after: settings.writeIdleTimeout)
        return true
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
        case .idle:
            if connection.state == .idle || connection.session != nil && connection.streamCount == 0 {
                closeUpstream(connection)
            }
        case .silence:
            silenceLasted(connection)
        case .pong:
            pongMissing(connection)
        case .nothing:
            break
        }
    }
}
