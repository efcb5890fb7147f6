import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// Octets of an HTTP/1 connection to an upstream, and those of any that is being set up.
extension Worker {
    // MARK: Reading

    /// One read of an HTTP/1 connection; false when nothing came.
    func fill(_ connection: UpstreamConnection) -> Bool {
        switch fill(&connection.wire) {
        case .bytes: return true
        case .nothing:
            if connection.wire.canRead { readyAgain.append(connection.slot) }
            return false
        case .failed(let error):
            note(connection.runtime, "TLS to the upstream broke", error.reason)
            return false
        }
    }

    /// An idle connection has input: a TLS ticket is fine, anything else ends it (RFC 9112 9.3: it answers nothing).
    func idleInput(_ connection: UpstreamConnection) {
        if fill(connection) || connection.wire.inputEnded { closeUpstream(connection) }
    }

    // MARK: Writing

    func touch(_ connection: UpstreamConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirtyUpstreams.append(connection)
    }

    /// Encrypts and writes what waits; then lets the request go on.
    func flush(_ connection: UpstreamConnection) {
        switch connection.state {
        case .connecting, .closing, .closed: return
        case .multiplexed:
            flushStreams(connection)
            return
        case .handshaking, .active, .idle: break
        }
        guard flush(&connection.wire) else {
            readyAgain.append(connection.slot)
            return
        }
        guard connection.state == .active, let exchange = connection.exchange else { return }
        if connection.wire.backlog == 0 {
            flushed(connection, exchange)
        } else {
            blocked(connection)
        }
    }

    /// The upstream does not take what is there: patience runs, and starts anew only when something is taken.
    func blocked(_ connection: UpstreamConnection) {
        guard connection.wire.writeDeadline == .max else { return }
        connection.wire.writeDeadline = now &+ connection.runtime.settings.writeIdleTimeout
        arm(slot: connection.slot, at: connection.wire.writeDeadline)
    }

    private func flushed(_ connection: UpstreamConnection, _ exchange: Exchange) {
        connection.wire.writeDeadline = .max
        release(&connection.wire.outbound)
        release(&connection.wire.ciphertext)
        if exchange.stage == .tunnel {
            if exchange.requestEnded, exchange.callerStream != nil || exchange.caller?.wire.inbound.isEmpty == true {
                finishSending(&connection.wire)
            } else {
                queue(exchange)
            }
        } else if exchange.requestSent {
            // Not where its answer, a rejection, is there already.
            if exchange.stage == .head, exchange.machine.phase == .sending {
                setWait(exchange, upstream: .firstByte, after: connection.runtime.settings.firstByteTimeout)
            }
        } else {
            feedUpstream(exchange)
            guard let caller = exchange.caller else { return }
            if isMoreThere(exchange, caller) {
                // In the next tick: two fast peers must not keep this one from ending.
                queue(exchange)
            } else if exchange.callerWait == .nothing, !exchange.requestEnded, canTake(exchange) {
                setWait(exchange, caller: .body, after: configuration.timeouts.bodyIdle)
            }
        }
    }

    /// Whether the caller has content that was not taken yet.
    private func isMoreThere(_ exchange: Exchange, _ caller: CallerConnection) -> Bool {
        if let stream = exchange.callerStream { return !stream.inbound.isEmpty }
        return caller.wire.canRead || !caller.wire.inbound.isEmpty || caller.wire.inputEnded
    }
}
