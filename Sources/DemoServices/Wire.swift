import Glibc
import OpenSSLKit
import Reactor
import Synchronization

/// Why a blocking read or write gave up.
enum WireError: Error {
    case timedOut
    /// The services are being stopped.
    case stopped
    /// The peer ended the stream in the middle of something.
    case ended
    case malformed(String)
    case tooLarge
    case tls(TLSError)
    case system(Errno)
}

/// Wakes everybody who waits, once and for good.
final class StopSignal: Sendable {
    let descriptor: Int32
    private let sender: Mutex<Int32?>

    init() throws(Errno) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Errno(code: errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        descriptor = ends[0]
        sender = Mutex(ends[1])
    }

    deinit {
        raise()
        Glibc.close(descriptor)
    }

    /// From now on `descriptor` reports its end to everybody.
    func raise() {
        sender.withLock { end in
            if let open = end { Glibc.close(open) }
            end = nil
        }
    }
}

/// A blocking stream of bytes over a socket, with or without TLS. Belongs to one thread; owns the socket.
final class Wire {
    /// POLLRDHUP, which Glibc's module leaves out.
    private static let peerClosed: Int16 = 0x2000
    private let socket: Descriptor
    private let engine: TLSEngine?
    private let stop: StopSignal?
    private let output = TLSOutputBuffer(capacity: 4096)
    private var ciphertext: [UInt8] = []
    private var room = [UInt8](repeating: 0, count: 32 * 1024)
    private var isOpen = true
    /// How long one read or write may take; -1 is for ever.
    var patienceMilliseconds: Int32

    init(socket: Descriptor, engine: TLSEngine?, stop: StopSignal?, patienceMilliseconds: Int32 = 30_000) {
        self.socket = socket
        self.engine = engine
        self.stop = stop
        self.patienceMilliseconds = patienceMilliseconds
    }

    deinit { abandon() }

    // MARK: Stream

    func handshake() throws(WireError) {
        guard let engine else { return }
        while true {
            let step = ciphertext.withUnsafeBytes { engine.handshake($0, output: output) }
            ciphertext.removeFirst(step.consumed)
            try flush()
            switch step.state {
            case .complete: return
            case .failed(let error): throw .tls(error)
            case .needsInput: guard try fetch() else { throw .ended }
            }
        }
    }

    /// The next bytes; none at the end of the stream.
    func read() throws(WireError) -> [UInt8] {
        guard let engine else { return try readSocket() }
        while true {
            let step = ciphertext.withUnsafeBytes { input in
                room.withUnsafeMutableBytes { engine.receive(input, into: $0, output: output) }
            }
            ciphertext.removeFirst(step.consumed)
            try flush()
            if step.produced > 0 { return Array(room[..<step.produced]) }
            switch step.state {
            case .open: continue
            case .closed: return []
            case .failed(let error): throw .tls(error)
            case .needsInput: guard try fetch() else { return [] }
            }
        }
    }

    func write(_ bytes: [UInt8]) throws(WireError) {
        guard let engine else { return try writeSocket(bytes) }
        var sent = 0
        while sent < bytes.count {
            let end = min(bytes.count, sent + 64 * 1024)
            let step = bytes[sent..<end].withUnsafeBytes { engine.send($0, output: output) }
            if case .failed(let error) = step.state { throw .tls(error) }
            try flush()
            sent = end
        }
    }

    /// Says goodbye and closes.
    func close() {
        guard isOpen else { return }
        engine?.close(output: output)
        try? flush()
        Socket.shutdownWriting(socket)
        abandon()
    }

    /// Says goodbye, and takes in for a moment what the peer still sends: closing on unread bytes would reset the
    /// connection and with it the answer that is on its way (RFC 9112 9.6).
    func closeAfterDraining() {
        guard isOpen else { return }
        engine?.close(output: output)
        try? flush()
        Socket.shutdownWriting(socket)
        patienceMilliseconds = 500
        var budget = 8 << 20
        while budget > 0, let bytes = try? readSocket(), !bytes.isEmpty { budget -= bytes.count }
        abandon()
    }

    /// Closes without a word, as a crashed server would.
    func abandon() {
        guard isOpen else { return }
        isOpen = false
        socket.close()
    }

    // MARK: Waiting

    /// Waits until the time is over or the peer goes; `false` when it went.
    func pause(milliseconds: Int) throws(WireError) -> Bool {
        let end = MonotonicClock.milliseconds() + UInt64(max(0, milliseconds))
        while case let now = MonotonicClock.milliseconds(), now < end {
            do throws(WireError) {
                try wait(for: Self.peerClosed, milliseconds: Int32(clamping: end - now))
                return false
            } catch {
                guard case .timedOut = error else { throw error }
            }
        }
        return true
    }

    /// Blocks until the socket reports one of the events (or an error, which the next call will then see).
    func wait(for events: Int16, milliseconds: Int32) throws(WireError) {
        var polled = [pollfd(fd: socket.rawValue, events: events, revents: 0)]
        if let stop { polled.append(pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0)) }
        while true {
            let count = poll(&polled, nfds_t(polled.count), milliseconds)
            if count < 0 {
                guard errno == EINTR else { throw .system(Errno(code: errno)) }
                continue
            }
            if count == 0 { throw .timedOut }
            if polled.count > 1, polled[1].revents != 0 { throw .stopped }
            return
        }
    }

    // MARK: Socket

    /// Takes in more ciphertext; `false` at the end.
    private func fetch() throws(WireError) -> Bool {
        let bytes = try readSocket()
        ciphertext += bytes
        return !bytes.isEmpty
    }

    private func readSocket() throws(WireError) -> [UInt8] {
        while true {
            switch room.withUnsafeMutableBytes({ Socket.read(socket, into: $0) }) {
            case .bytes(let count): return Array(room[..<count])
            case .endOfFile: return []
            case .wouldBlock: try wait(for: Int16(POLLIN), milliseconds: patienceMilliseconds)
            case .failed(let error): throw .system(error)
            }
        }
    }

    private func flush() throws(WireError) {
        guard !output.isEmpty else { return }
        let bytes = output.bytes.withMemoryRebound(to: UInt8.self) { Array($0) }
        output.removeAll()
        try writeSocket(bytes)
    }

    private func writeSocket(_ bytes: [UInt8]) throws(WireError) {
        var sent = 0
        while sent < bytes.count {
            switch bytes[sent...].withUnsafeBytes({ Socket.write(socket, $0) }) {
            case .bytes(let count): sent += count
            case .endOfFile: throw .ended
            case .wouldBlock: try wait(for: Int16(POLLOUT), milliseconds: patienceMilliseconds)
            case .failed(let error): throw .system(error)
            }
        }
    }
}
