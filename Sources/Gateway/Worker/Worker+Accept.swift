import HTTP
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// New callers: accepting, TLS, and which version of HTTP they speak.
extension Worker {
    func acceptCallers(_ listener: Listener) {
        for _ in 0..<64 {
            switch Socket.accept(listener.descriptor) {
            case .accepted(let descriptor, let peer):
                accepted(descriptor, peer, listener)
            case .wouldBlock, .failed:
                return
            case .descriptorsExhausted:
                pauseListeners()
                return
            }
        }
    }

    private func accepted(_ descriptor: Descriptor, _ peer: SocketAddress, _ listener: Listener) {
        let slot = allocateSlot(.free)
        do {
            try poller.add(descriptor, token: token(slot))
        } catch {
            descriptor.close()
            freeSlot(slot)
            return
        }
        let connection = CallerConnection(
            descriptor: descriptor, slot: slot, peer: peer, listener: listener,
            engine: listener.context.map { TLSEngine(server: $0) })
        slots[slot] = .caller(connection)
        callerCount += 1
        counters.callerConnectionOpened()
        if callerCount > configuration.limits.connections {
            refuseConnection(connection)
            return
        }
        // Data is often there already: accept is told after TCP's handshake, and callers speak first.
        if connection.wire.engine == nil {
            setWait(connection, .head, after: configuration.timeouts.head)
            readCaller(connection)
        } else {
            connection.mode = .handshaking
            setWait(connection, .handshake, after: configuration.timeouts.head)
            handshake(connection)
        }
    }

    /// An answer and not a reset, so that the caller can tell this from a network fault; over TLS an answer would cost
    /// a handshake, which is what there is too much of.
    private func refuseConnection(_ connection: CallerConnection) {
        guard connection.wire.engine == nil else {
            counters.errorMade(code: Int(GatewayError.overloaded.rawValue))
            closeCaller(connection)
            return
        }
        writeProblem(connection, .overloaded, reason: nil, retryAfter: 1, keepAlive: false, exchange: nil)
        closeAfterFlush(connection, linger: true)
    }

    /// Out of descriptors: stop accepting until one comes back or a second has passed.
    private func pauseListeners() {
        guard !listenersPaused else { return }
        listenersPaused = true
        for slot in listenerSlots {
            if case .listener(let listener) = slots[slot] {
                poller.remove(listener.descriptor)
                arm(slot: slot, at: now + 1000)
            }
        }
        log.begin(
            level: .warning, unixMilliseconds: WallClock.milliseconds(),
            message: "no descriptor is left: callers wait to be accepted")
        log.end()
    }

    func resumeListeners() {
        guard listenersPaused, !isDraining else { return }
        listenersPaused = false
        for slot in listenerSlots {
            if case .listener(let listener) = slots[slot] {
                try? poller.addListener(listener.descriptor, token: token(slot), shared: listener.isShared)
            }
        }
    }

    // MARK: TLS

    /// Goes on with the handshake as far as there is input.
    func handshake(_ connection: CallerConnection) {
        guard let engine = connection.wire.engine else { return }
        while connection.mode == .handshaking, connection.wire.canRead {
            guard let count = receive(&connection.wire, into: scratch) else { break }
            let input = UnsafeRawBufferPointer(rebasing: scratch[..<count])
            tlsOutput.removeAll()
            let step = engine.handshake(input, output: tlsOutput)
            _ = writeCiphertext(&connection.wire)
            switch step.state {
            case .needsInput:
                continue
            case .failed(let error):
                counters.callerHandshakeFailed()
                noteHandshake(connection, error.reason)
                closeCaller(connection)
                return
            case .complete:
                counters.callerHandshakeCompleted(resumed: engine.sessionReused)
                let rest = UnsafeRawBufferPointer(rebasing: input[step.consumed...])
                if let error = decrypt(&connection.wire, engine, rest) {
                    noteHandshake(connection, error.reason)
                    closeCaller(connection)
                    return
                }
                handshakeCompleted(connection, engine)
                return
            }
        }
        if connection.mode == .handshaking, connection.wire.inputEnded { closeCaller(connection) }
        if connection.mode == .handshaking, connection.wire.backlog > 0 { touch(connection) }
    }

    private func handshakeCompleted(_ connection: CallerConnection, _ engine: TLSEngine) {
        if connection.wire.backlog > 0 { touch(connection) }
        switch engine.negotiatedProtocol {
        case .h2:
            startSession(connection)
        case .http11, .none, .other:
            guard connection.listener.settings.allowsHTTP1 else {
                closeAfterFlush(connection, linger: false)
                return
            }
            connection.isFresh = false
            connection.mode = .reading
            setWait(connection, .head, after: configuration.timeouts.head)
            readCaller(connection)
        }
    }

    /// At most one line a second: whoever knocks must not fill the log.
    private func noteHandshake(_ connection: CallerConnection, _ reason: String) {
        guard now &- handshakeNotedAt >= 1000 else { return }
        handshakeNotedAt = now
        log.begin(
            level: .info, unixMilliseconds: WallClock.milliseconds(), message: "a caller's TLS handshake failed")
        log.field("listener", connection.listener.settings.name)
        let address = connection.identity.address
        log.field("caller", bytes: address.span)
        log.field("reason", reason)
        log.end()
    }

    // MARK: The preface

    /// Whether a plain connection begins with the preface of HTTP/2 (RFC 9113 3.3); nil while that is not known yet.
    func beginsWithPreface(_ connection: CallerConnection) -> Bool? {
        let bytes = connection.wire.inbound.readable
        let preface = HTTP2Session.preface
        let known = min(bytes.count, preface.utf8CodeUnitCount)
        for index in 0..<known where bytes[index] != preface.utf8Start[index] { return false }
        return known == preface.utf8CodeUnitCount ? true : nil
    }
}
