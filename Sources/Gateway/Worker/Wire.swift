import HTTP
import OpenSSLKit
import Reactor
import Telemetry

/// A connected socket, with TLS or without, and what is on its way through it. Worker thread only. While nothing is on
/// its way it owns no buffer.
struct Wire: ~Copyable {
    enum Side: UInt8 {
        case caller, upstream
    }

    let descriptor: Descriptor
    let side: Side
    /// nil: plain.
    let engine: TLSEngine?
    /// Plaintext that has come and is not used up yet.
    var inbound = ByteBuffer()
    /// Plaintext that is to be sent; encrypted when it is flushed.
    var outbound = ByteBuffer()
    /// Ciphertext that the socket did not take.
    var ciphertext = ByteBuffer()
    /// Edge-triggered readiness that has not been used up.
    var canRead = false
    var canWrite = false
    /// The peer has shut its sending side: reads go on to the end of the stream.
    var peerClosed = false
    var inputEnded = false
    /// The input ended with an error: what came is not complete, whatever its framing.
    var inputBroke = false
    /// Until when the peer must have taken something of what waits to be written; `.max`: nothing waits. Monotonic
    /// milliseconds.
    var writeDeadline: UInt64 = .max

    init(descriptor: Descriptor, side: Side, engine: TLSEngine?) {
        self.descriptor = descriptor
        self.side = side
        self.engine = engine
    }

    /// Bytes that wait to be written.
    var backlog: Int { outbound.count + ciphertext.count }

    /// The stream has ended in order: by its own framing, or by TLS's close_notify where there is TLS.
    var endedCleanly: Bool { inputEnded && !inputBroke && engine?.inputEnded() != .truncated }

    /// Notes what an event says.
    mutating func note(_ readiness: Readiness) {
        if readiness.contains(.peerClosed) { peerClosed = true }
        if readiness.contains(.readable) || readiness.contains(.peerClosed) || readiness.contains(.hangUp)
            || readiness.contains(.error)
        {
            canRead = true
        }
        if readiness.contains(.writable) { canWrite = true }
    }
}

/// What one attempt to read a wire did.
enum WireInput {
    case bytes
    /// Nothing is there now, or the stream has ended.
    case nothing
    /// TLS broke; the input has ended.
    case failed(TLSError)
}

/// Moving bytes between wires' buffers and sockets. Each call touches its wire only and counts what it moved.
extension Worker {
    // MARK: Reading

    /// One read; plaintext is appended to the inbound buffer.
    func fill(_ wire: inout Wire) -> WireInput {
        guard wire.canRead, !wire.inputEnded else { return .nothing }
        guard let engine = wire.engine else { return fillPlain(&wire) }
        for _ in 0..<Self.readsPerTick {
            guard let count = receive(&wire, into: scratch) else { return .nothing }
            let before = wire.inbound.count
            if let error = decrypt(&wire, engine, UnsafeRawBufferPointer(rebasing: scratch[..<count])) {
                return .failed(error)
            }
            if wire.inbound.count > before { return .bytes }
            // A ticket or half a record: not the end of what is to be had.
            guard wire.canRead && !wire.inputEnded else { return .nothing }
        }
        return .nothing
    }

    private func fillPlain(_ wire: inout Wire) -> WireInput {
        wire.inbound.acquire(from: buffers)
        let space = wire.inbound.writable(minimum: 4096)
        guard let count = receive(&wire, into: space) else {
            release(&wire.inbound)
            return .nothing
        }
        wire.inbound.commit(count)
        return .bytes
    }

    /// One system call; nil when nothing came, and the wire says why.
    func receive(_ wire: inout Wire, into space: UnsafeMutableRawBufferPointer) -> Int? {
        switch Socket.read(wire.descriptor, into: space) {
        case .bytes(let count):
            switch wire.side {
            case .caller: counters.callerBytes(received: count, sent: 0)
            case .upstream: counters.upstreamBytes(received: count, sent: 0)
            }
            // A short read means that nothing is left, unless the end of the stream was announced with it.
            if count < space.count && !wire.peerClosed { wire.canRead = false }
            return count
        case .wouldBlock:
            wire.canRead = false
        case .endOfFile:
            wire.canRead = false
            wire.inputEnded = true
        case .failed:
            wire.canRead = false
            wire.inputEnded = true
            wire.inputBroke = true
        }
        return nil
    }

    /// Decrypts all of `input`; what TLS itself must answer is written.
    func decrypt(_ wire: inout Wire, _ engine: TLSEngine, _ input: UnsafeRawBufferPointer) -> TLSError? {
        tlsOutput.removeAll()
        var rest = input
        var failure: TLSError?
        while true {
            wire.inbound.acquire(from: records)
            let space = wire.inbound.writable(minimum: 17 * 1024)
            let step = engine.receive(rest, into: space, output: tlsOutput)
            wire.inbound.commit(step.produced)
            rest = UnsafeRawBufferPointer(rebasing: rest[step.consumed...])
            switch step.state {
            case .open: continue
            case .needsInput: break
            case .closed: wire.inputEnded = true
            case .failed(let error):
                failure = error
                wire.inputEnded = true
                wire.inputBroke = true
            }
            break
        }
        if !tlsOutput.isEmpty { _ = writeCiphertext(&wire) }
        release(&wire.inbound)
        return failure
    }

    /// Gives an empty buffer's memory back to the pool that it came from.
    func release(_ buffer: inout ByteBuffer) {
        guard buffer.isEmpty, buffer.ownsMemory else { return }
        discard(&buffer)
    }

    /// Gives a buffer's memory back, readable bytes included.
    func discard(_ buffer: inout ByteBuffer) {
        buffer.release(to: buffer.capacity == records.blockBytes ? records : buffers)
    }

    // MARK: Writing

    /// Encrypts and writes what waits, as far as the socket takes it.
    ///
    /// - Returns: false when the peer takes no more: what waited is dropped, and reading decides what that means.
    func flush(_ wire: inout Wire) -> Bool {
        if !wire.ciphertext.isEmpty {
            guard wire.canWrite else { return true }
            guard let count = send(&wire, wire.ciphertext.readable) else { return broken(&wire) }
            wire.ciphertext.consume(count)
            guard wire.ciphertext.isEmpty else { return true }
        }
        guard !wire.outbound.isEmpty else { return true }
        guard let engine = wire.engine else {
            guard wire.canWrite else { return true }
            guard let count = send(&wire, wire.outbound.readable) else { return broken(&wire) }
            wire.outbound.consume(count)
            return true
        }
        tlsOutput.removeAll()
        _ = engine.send(wire.outbound.readable, output: tlsOutput)
        wire.outbound.removeAll()
        return writeCiphertext(&wire)
    }

    /// What waits and then `content`, without a copy of what the socket takes: one encryption run and one write.
    ///
    /// - Returns: false as ``flush(_:)``.
    func writeDirectly(_ wire: inout Wire, _ content: UnsafeRawBufferPointer) -> Bool {
        guard wire.ciphertext.isEmpty, wire.canWrite else {
            wire.outbound.acquire(from: buffers)
            wire.outbound.append(content)
            return true
        }
        if let engine = wire.engine {
            tlsOutput.removeAll()
            if !wire.outbound.isEmpty {
                _ = engine.send(wire.outbound.readable, output: tlsOutput)
                wire.outbound.removeAll()
            }
            _ = engine.send(content, output: tlsOutput)
            return writeCiphertext(&wire)
        }
        let waiting = wire.outbound.count
        guard let count = send(&wire, wire.outbound.readable, content) else { return broken(&wire) }
        wire.outbound.consume(min(count, waiting))
        if count < waiting + content.count {
            wire.outbound.acquire(from: buffers)
            wire.outbound.append(UnsafeRawBufferPointer(rebasing: content[max(0, count - waiting)...]))
        }
        return true
    }

    /// Writes what the engine has put out; what the socket does not take is kept.
    func writeCiphertext(_ wire: inout Wire) -> Bool {
        guard !tlsOutput.isEmpty else { return true }
        defer { tlsOutput.removeAll() }
        let bytes = tlsOutput.bytes
        var written = 0
        if wire.canWrite && wire.ciphertext.isEmpty {
            guard let count = send(&wire, bytes) else { return broken(&wire) }
            written = count
        }
        if written < bytes.count {
            wire.ciphertext.acquire(from: buffers)
            wire.ciphertext.append(UnsafeRawBufferPointer(rebasing: bytes[written...]))
        }
        return true
    }

    /// Says goodbye at the TLS level and shuts the sending side; what comes is still read. Only when nothing waits.
    func finishSending(_ wire: inout Wire) {
        if let engine = wire.engine {
            tlsOutput.removeAll()
            engine.close(output: tlsOutput)
            _ = writeCiphertext(&wire)
        }
        if wire.ciphertext.isEmpty { Socket.shutdownWriting(wire.descriptor) }
    }

    /// Closes the socket, after TLS's goodbye where that can be said, and gives the buffers back.
    func close(_ wire: inout Wire, saysGoodbye: Bool) {
        if saysGoodbye, let engine = wire.engine, wire.canWrite, wire.ciphertext.isEmpty {
            tlsOutput.removeAll()
            engine.close(output: tlsOutput)
            if !tlsOutput.isEmpty { _ = Socket.write(wire.descriptor, tlsOutput.bytes) }
            tlsOutput.removeAll()
        }
        wire.canRead = false
        wire.canWrite = false
        wire.descriptor.close()
        discard(&wire.inbound)
        discard(&wire.outbound)
        discard(&wire.ciphertext)
    }

    /// One system call for one or two pieces; nil when the peer takes no more.
    private func send(
        _ wire: inout Wire, _ first: UnsafeRawBufferPointer,
        _ second: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) -> Int? {
        switch Socket.write(wire.descriptor, first, second) {
        case .bytes(let count):
            switch wire.side {
            case .caller: counters.callerBytes(received: 0, sent: count)
            case .upstream: counters.upstreamBytes(received: 0, sent: count)
            }
            wire.writeDeadline = .max
            // The rest waits for the next edge.
            if count < first.count + second.count { wire.canWrite = false }
            return count
        case .wouldBlock:
            wire.canWrite = false
            return 0
        case .endOfFile, .failed:
            return nil
        }
    }

    /// The peer takes no more. An answer may be there all the same (an early refusal), so reading decides, up to the end.
    private func broken(_ wire: inout Wire) -> Bool {
        wire.canWrite = false
        wire.canRead = true
        wire.peerClosed = true
        wire.writeDeadline = .max
        wire.outbound.removeAll()
        wire.ciphertext.removeAll()
        return false
    }
}
