import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// What upstreams that speak HTTP/2 say, frame by frame, and what is said to them.
extension Worker {
    // MARK: Receiving

    /// Takes what has come, frame by frame, and reads more.
    func readStreams(_ connection: UpstreamConnection) {
        for _ in 0..<Self.readsPerTick {
            guard takeFrames(connection) else { return }
            switch fill(&connection.wire) {
            case .bytes:
                connection.receivedAt = now
            case .nothing:
                if connection.wire.inputEnded {
                    sessionLost(connection, "the upstream ended the connection before the response was complete")
                } else if connection.wire.canRead {
                    readyAgain.append(connection.slot)
                }
                return
            case .failed(let error):
                note(connection.runtime, "TLS to the upstream broke", error.reason)
                sessionLost(connection, "TLS to the upstream broke")
                return
            }
        }
        if connection.state == .multiplexed { readyAgain.append(connection.slot) }
    }

    /// False when the connection is gone.
    private func takeFrames(_ connection: UpstreamConnection) -> Bool {
        guard let session = connection.session else { return false }
        tellTime(session, &connection.sessionTime)
        while connection.state == .multiplexed, !connection.wire.inbound.isEmpty {
            let input = connection.wire.inbound.readable
            let step = session.step(input)
            guard step.consumed > 0 else { break }
            receive(step.event, of: session, connection, input)
            guard connection.state == .multiplexed else { return false }
            connection.wire.inbound.consume(step.consumed)
        }
        guard takeResets(connection, session) else { return false }
        endLateStreams(connection, session)
        release(&connection.wire.inbound)
        if session.hasOutput { touch(connection) }
        if let failure = session.failure {
            note(connection.runtime, "an HTTP/2 connection to the upstream was ended", failure.reason.description)
            // The GOAWAY that says why.
            session.collect(into: &connection.wire.outbound, limit: Self.frameBytes)
            _ = flush(&connection.wire)
            sessionLost(connection, "the upstream broke a rule of HTTP/2")
            return false
        }
        if connection.isRetiring, connection.streamCount == 0, !session.hasOutput {
            closeUpstream(connection)
            return false
        }
        return true
    }

    private func takeResets(_ connection: UpstreamConnection, _ session: HTTP2Session) -> Bool {
        while let event = session.takeReset() {
            receive(event, of: session, connection, UnsafeRawBufferPointer(start: nil, count: 0))
            guard connection.state == .multiplexed else { return false }
        }
        return true
    }

    private func receive(
        _ event: HTTP2Event, of session: HTTP2Session, _ connection: UpstreamConnection, _ input: UnsafeRawBufferPointer
    ) {
        switch event {
        case .head(let stream, _, let rejection):
            guard let exchange = exchange(onUpstream: stream) else { return }
            swap(&exchange.response, &stream.head)
            responseTouched(exchange)
            if let rejection {
                upstreamBroken(exchange, rejection)
            } else if exchange.stage == .head {
                headReceived(exchange)
                if exchange.upstreamStream === stream, stream.isPeerDone { exchange.machine.responseEnded() }
            } else {
                upstreamBroken(exchange, .malformed("there is a second response head"))
            }
        case .content(let stream, let offset, let length, _):
            guard let exchange = exchange(onUpstream: stream) else { return }
            let content = UnsafeRawBufferPointer(rebasing: input[offset..<(offset + length)])
            contentReceived(exchange, session, stream, content)
        case .trailers(let stream):
            guard let exchange = exchange(onUpstream: stream) else { return }
            swap(&exchange.responseTrailers, &stream.head)
            ResponseTransform.filter(&exchange.responseTrailers)
            pumpResponseStream(exchange, stream)
        case .reset(let stream, let code, let isRefused, let isLocal):
            guard let exchange = exchange(onUpstream: stream) else {
                session.release(stream)
                return
            }
            streamBroke(exchange, stream, code: code, isRefused: isRefused, isLocal: isLocal)
        case .settings:
            connection.runtime.streams.capacityChanged(
                connection: connection.slot, to: min(session.maxPeerStreams, connection.runtime.settings.maxStreams))
            connection.hasSettings = true
            let waiting = connection.waitingForSettings
            connection.waitingForSettings = []
            for id in waiting {
                // Whoever has left since, or is another exchange by now, does not wait here.
                let exchange = exchanges[id]
                guard exchange.upstream === connection, exchange.wantsUpgrade, exchange.upstreamStream == nil,
                    exchange.machine.phase == .sending
                else { continue }
                sendRequest(exchange)
            }
            serveWaiting(connection.runtime)
        case .goAway:
            retire(connection)
            serveWaiting(connection.runtime)
        case .pong:
            if connection.streamCount > 0 { watchSilence(connection) }
        case .none:
            break
        }
    }

    private func contentReceived(
        _ exchange: Exchange, _ session: HTTP2Session, _ stream: HTTP2Stream, _ content: UnsafeRawBufferPointer
    ) {
        if !content.isEmpty {
            if stream.inbound.isEmpty, isForwarding(exchange), let caller = exchange.caller,
                callerHasRoom(exchange, caller)
            {
                guard forwardContent(exchange, content), exchange.upstreamStream === stream else { return }
                session.consume(content.count, on: stream)
            } else {
                stream.inbound.acquire(from: buffers)
                stream.inbound.append(content)
            }
        }
        pumpResponseStream(exchange, stream)
    }

    private func isForwarding(_ exchange: Exchange) -> Bool {
        exchange.stage == .body || exchange.stage == .tunnel
    }

    /// Sends on what the stream has kept, as far as the caller takes it.
    func pumpResponseStream(_ exchange: Exchange, _ stream: HTTP2Stream) {
        if stream.isPeerDone { exchange.machine.responseEnded() }
        guard isForwarding(exchange), let connection = exchange.upstream, let caller = exchange.caller else { return }
        let session = connection.session
        while !stream.inbound.isEmpty {
            guard callerHasRoom(exchange, caller) else { break }
            let piece = UnsafeRawBufferPointer(rebasing: stream.inbound.readable.prefix(Self.highWater))
            guard forwardContent(exchange, piece), exchange.upstreamStream === stream else { return }
            stream.inbound.consume(piece.count)
            session?.consume(piece.count, on: stream)
        }
        if !connection.isDirty, session?.hasOutput == true { touch(connection) }
        guard stream.inbound.isEmpty else { return }
        release(&stream.inbound)
        if stream.isPeerDone {
            if exchange.stage == .tunnel { tunnelEnded(exchange) } else { responseEnded(exchange) }
        } else if exchange.stage == .body || exchange.requestEnded, exchange.upstreamWait != .callerRoom {
            setWait(exchange, upstream: .response, after: connection.runtime.settings.responseIdleTimeout)
        }
    }

    private func streamBroke(
        _ exchange: Exchange, _ stream: HTTP2Stream, code: UInt32, isRefused: Bool, isLocal: Bool
    ) {
        if exchange.stage == .tunnel {
            perform(
                exchange,
                exchange.machine.upstreamLost(
                    .upstreamProtocol, untouched: false, replayable: false, refused: false))
            return
        }
        exchange.errorReason =
            isLocal ? "the response broke a rule of HTTP/2" : "the upstream reset the stream"
        perform(
            exchange,
            exchange.machine.upstreamLost(
                .upstreamProtocol, untouched: exchange.responseUntouched && !isLocal,
                replayable: exchange.replay.isReplayable, refused: isRefused))
    }

    // MARK: Flushing

    func flushStreams(_ connection: UpstreamConnection) {
        guard let session = connection.session else { return }
        for _ in 0..<Self.readsPerTick {
            if session.hasOutput, connection.wire.outbound.count < Self.frameBytes {
                connection.wire.outbound.acquire(from: records)
                session.collect(into: &connection.wire.outbound, limit: Self.frameBytes)
                while let stream = session.takeRoomy() {
                    guard let exchange = exchange(onUpstream: stream) else { continue }
                    if exchange.upstreamWait == .room { stopUpstreamWait(exchange) }
                    queue(exchange)
                }
                guard takeResets(connection, session) else { return }
            }
            guard flush(&connection.wire) else {
                // What it has said before it went may still be read.
                readyAgain.append(connection.slot)
                return
            }
            guard connection.wire.backlog == 0, session.hasOutput else { break }
        }
        endLateStreams(connection, session)
        guard connection.state == .multiplexed else { return }
        if connection.lateStreams > 0, connection.untakenDeadline == .max { watchUntaken(connection, session) }
        guard connection.wire.backlog == 0 else {
            blocked(connection)
            return
        }
        connection.wire.writeDeadline = .max
        release(&connection.wire.outbound)
        release(&connection.wire.ciphertext)
        if session.hasOutput {
            readyAgain.append(connection.slot)
        } else if connection.isRetiring, connection.streamCount == 0 {
            closeUpstream(connection)
        }
    }

    /// What is left of requests whose exchanges are over is on its way: from now on each has its time.
    private func watchUntaken(_ connection: UpstreamConnection, _ session: HTTP2Session) {
        let patience = connection.runtime.settings.writeIdleTimeout
        connection.untakenDeadline = min(session.resetUntaken(now: now, patience: patience), now &+ patience)
        arm(slot: connection.slot, at: connection.untakenDeadline)
    }
}
