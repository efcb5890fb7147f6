import HTTP
import OAuth
import OpenSSLKit
import Reactor

/// One connection to a provider: TLS, the request, the reply.
extension ProviderClient {
    /// Reads in one turn of the loop; a peer that sends faster waits for the next.
    private static var readsPerTurn: Int { 32 }

    func connected(_ call: ProviderCall) {
        guard let descriptor = call.descriptor else { return }
        if let error = Socket.pendingError(of: descriptor) {
            attemptFailed(call, ProviderFailure.Reason(error), detail: "no connection: \(error)")
            return
        }
        switch call.request.url.scheme {
        case .https:
            guard let context = call.context else { return }
            call.engine = TLSEngine(client: context, host: call.request.url.host)
            call.phase = .handshaking
            // Makes the first flight.
            guard feed(call, UnsafeRawBufferPointer(start: nil, count: 0)) else { return }
            handshake(call)
        case .http:
            // The addresses were filtered; this is what the kernel says of the connection itself.
            guard let peer = Socket.peerAddress(of: descriptor) else {
                attemptFailed(call, .reset, detail: "the connection was cut before the request")
                return
            }
            if peer.isLoopback { begin(call) } else { refusePlaintext(call, at: peer) }
        }
    }

    // MARK: Handshake

    func handshake(_ call: ProviderCall) {
        for _ in 0..<Self.readsPerTurn {
            guard call.phase == .handshaking, let descriptor = call.descriptor, flush(call) else { return }
            switch Socket.read(descriptor, into: scratch) {
            case .bytes(let count):
                guard feed(call, UnsafeRawBufferPointer(rebasing: scratch[..<count])) else { return }
            case .wouldBlock:
                return
            case .endOfFile:
                attemptFailed(call, .closed, detail: "the connection was closed in the TLS handshake")
                return
            case .failed(let error):
                attemptFailed(call, ProviderFailure.Reason(error), detail: "the TLS handshake was cut: \(error)")
                return
            }
        }
        scheduleAgain(call)
    }

    /// Hands bytes to the handshake. False when there is nothing more to do here.
    private func feed(_ call: ProviderCall, _ input: UnsafeRawBufferPointer) -> Bool {
        guard let engine = call.engine else { return false }
        tlsOutput.removeAll()
        let step = engine.handshake(input, output: tlsOutput)
        call.outgoing.append(tlsOutput.bytes)
        tlsOutput.removeAll()
        switch step.state {
        case .needsInput:
            return true
        case .failed(let error):
            // The alert, so that the provider's log can say why too. No other address is tried: it is not a matter of place.
            if let descriptor = call.descriptor, !call.outgoing.isEmpty {
                _ = Socket.write(descriptor, call.outgoing.readable)
            }
            finish(call, .failure(.tls(error.reason)), detail: error.reason)
            return false
        case .complete:
            // Tickets may come with the last flight; anything else came before it was asked for.
            let rest = UnsafeRawBufferPointer(rebasing: input[step.consumed...])
            guard flush(call), takeEarly(call, engine, rest) else { return false }
            begin(call)
            return false
        }
    }

    // MARK: The request

    /// Queues the request, once the peer is known to be there still: what is not handed to the socket can be sent to
    /// another address, and needs no replay.
    private func begin(_ call: ProviderCall) {
        if let timer = call.attemptTimer { loop.cancel(timer) }
        call.attemptTimer = nil
        call.phase = .exchanging
        guard readEarly(call) else { return }
        var plain = ByteBuffer()
        guard ProviderRequestWriter.write(call.request, to: &plain) else {
            finish(
                call, .failure(.notSent(.refused)), detail: "a header field or the URL has an octet that cannot be sent"
            )
            return
        }
        call.bytesBeforeRequest = call.outgoing.count
        if let engine = call.engine {
            tlsOutput.removeAll()
            let step = engine.send(plain.readable, output: tlsOutput)
            call.outgoing.append(tlsOutput.bytes)
            tlsOutput.removeAll()
            if case .failed(let error) = step.state {
                attemptFailed(call, .reset, detail: error.reason)
                return
            }
        } else {
            call.outgoing.append(plain.readable)
        }
        exchange(call)
    }

    /// Looks for an end or a word of the peer before the request is sent; neither can be an answer to it.
    private func readEarly(_ call: ProviderCall) -> Bool {
        for _ in 0..<Self.readsPerTurn {
            guard let descriptor = call.descriptor else { return false }
            switch Socket.read(descriptor, into: scratch) {
            case .bytes(let count):
                let bytes = UnsafeRawBufferPointer(rebasing: scratch[..<count])
                guard let engine = call.engine else {
                    attemptFailed(call, .closed, detail: "the peer spoke before the request")
                    return false
                }
                guard takeEarly(call, engine, bytes) else { return false }
            case .wouldBlock:
                return true
            case .endOfFile:
                attemptFailed(call, .closed, detail: "the connection was closed before the request")
                return false
            case .failed(let error):
                attemptFailed(
                    call, ProviderFailure.Reason(error), detail: "the connection was cut before the request: \(error)")
                return false
            }
        }
        attemptFailed(call, .closed, detail: "the peer spoke before the request")
        return false
    }

    private func takeEarly(_ call: ProviderCall, _ engine: TLSEngine, _ input: UnsafeRawBufferPointer) -> Bool {
        tlsOutput.removeAll()
        let step = engine.receive(input, into: plaintext, output: tlsOutput)
        call.outgoing.append(tlsOutput.bytes)
        tlsOutput.removeAll()
        if step.produced > 0 {
            attemptFailed(call, .closed, detail: "the peer spoke before the request")
            return false
        }
        switch step.state {
        case .open, .needsInput:
            return true
        case .closed:
            attemptFailed(call, .closed, detail: "the connection was closed before the request")
        case .failed(let error):
            // With TLS 1.3 a server refuses our certificate only after our side of the handshake is complete.
            finish(call, .failure(.tls(error.reason)), detail: error.reason)
        }
        return false
    }

    // MARK: The reply

    func exchange(_ call: ProviderCall) {
        guard flush(call) else { return }
        for _ in 0..<Self.readsPerTurn {
            guard call.phase == .exchanging, let descriptor = call.descriptor else { return }
            switch Socket.read(descriptor, into: scratch) {
            case .bytes(let count):
                guard received(call, UnsafeRawBufferPointer(rebasing: scratch[..<count])) else { return }
            case .wouldBlock:
                return
            case .endOfFile:
                // A peer that has refused our bytes has not closed in peace.
                inputEnded(call, cleanly: call.engine == nil && call.writeFailure == nil)
                return
            case .failed(let error):
                attemptFailed(call, ProviderFailure.Reason(error), detail: "the connection was cut: \(error)")
                return
            }
        }
        scheduleAgain(call)
    }

    /// False when the call has ended.
    private func received(_ call: ProviderCall, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let engine = call.engine else { return take(call, call.reader.received(bytes)) }
        var rest = bytes
        while true {
            tlsOutput.removeAll()
            let step = engine.receive(rest, into: plaintext, output: tlsOutput)
            call.outgoing.append(tlsOutput.bytes)
            tlsOutput.removeAll()
            rest = UnsafeRawBufferPointer(rebasing: rest[step.consumed...])
            if step.produced > 0 {
                let piece = UnsafeRawBufferPointer(rebasing: plaintext[..<step.produced])
                guard take(call, call.reader.received(piece)) else { return false }
            }
            switch step.state {
            case .open: continue
            case .needsInput: return flush(call)
            case .closed:
                inputEnded(call, cleanly: true)
                return false
            case .failed(let error):
                attemptFailed(call, .reset, detail: error.reason)
                return false
            }
        }
    }

    private func inputEnded(_ call: ProviderCall, cleanly: Bool) {
        guard call.isSent else {
            attemptFailed(call, .closed, detail: "the connection was closed before the request")
            return
        }
        if let reason = call.writeFailure {
            attemptFailed(call, reason, detail: "the connection was cut while the request was sent")
            return
        }
        _ = take(call, call.reader.ended(cleanly: cleanly))
    }

    /// False when the call has ended.
    private func take(_ call: ProviderCall, _ step: ProviderReplyReader.Step) -> Bool {
        if case .needsInput = step { return true }
        guard call.isSent else {
            attemptFailed(call, .closed, detail: "the peer spoke before the request")
            return false
        }
        switch step {
        case .needsInput: break
        case .complete(let reply): finish(call, .success(reply), detail: "")
        case .failed(let failure): finish(call, .failure(failure), detail: Self.text(of: failure))
        }
        return false
    }

    private static func text(of failure: ProviderFailure) -> String {
        switch failure {
        case .notSent(let reason): "the request was not sent: \(reason.rawValue)"
        case .replyLost: "the connection ended before the reply was complete"
        case .tls(let reason): reason
        case .tooLarge: "the reply is longer than \(ProviderRequest.replyLimitBytes) bytes"
        case .malformed: "the reply is not HTTP/1.1"
        }
    }

    // MARK: Writing

    /// Writes what waits, as far as the socket takes it. False when the call is not where it was.
    private func flush(_ call: ProviderCall) -> Bool {
        while let descriptor = call.descriptor, !call.outgoing.isEmpty {
            switch Socket.write(descriptor, call.outgoing.readable) {
            case .bytes(let count):
                call.wrote(count)
            case .wouldBlock:
                return true
            case .endOfFile:
                return true
            case .failed(let error):
                let reason = ProviderFailure.Reason(error)
                guard call.isSent else {
                    attemptFailed(call, reason, detail: "the connection was cut before the request: \(error)")
                    return false
                }
                // The peer may have answered without reading everything: reading decides.
                call.writeFailure = reason
                call.outgoing.removeAll()
            }
        }
        return true
    }
}
