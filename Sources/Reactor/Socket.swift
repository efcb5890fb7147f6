import CLinux

/// Stream sockets, all nonblocking and closed on `exec`. Only functions: state belongs to the connection's owner.
/// Reading and writing allocate nothing.
package enum Socket {
    package enum AcceptResult: Hashable, Sendable {
        /// The caller's socket, now the receiver's to close, and where the caller is.
        case accepted(Descriptor, SocketAddress)
        case wouldBlock
        /// No descriptor, or no memory for one. The connection still waits, so a level-triggered listener would report
        /// it again at once: take the listener out of the poller for a moment. Linux looks for a free descriptor first,
        /// so that this may be the answer when nobody waits.
        case descriptorsExhausted
        /// The listener itself is broken.
        case failed(Errno)
    }

    package enum ConnectResult: Hashable, Sendable {
        case connected(Descriptor)
        /// Ready for writing means decided: ask ``Socket/pendingError(of:)`` then.
        case inProgress(Descriptor)
        /// Nothing is left open.
        case failed(Errno)
    }

    /// Takes one waiting connection. Connections that died while they waited are skipped. `TCP_NODELAY` is inherited
    /// from the listener.
    package static func accept(_ listener: Descriptor) -> AcceptResult {
        var raw = tg_address()
        let result = unsafe tg_accept(listener.rawValue, &raw)
        guard result < 0 else {
            return .accepted(Descriptor(rawValue: result), SocketAddress(raw) ?? .unix(path: ""))
        }
        let error = Errno(code: -result)
        if error.isExhaustion { return .descriptorsExhausted }
        return error == .wouldBlock ? .wouldBlock : .failed(error)
    }

    /// Starts to connect, with `TCP_NODELAY`.
    package static func connect(to address: SocketAddress) -> ConnectResult {
        guard address.isUsable else { return .failed(.nameTooLong) }
        let raw = address.raw
        let socket = tg_socket(raw.family)
        guard socket >= 0 else { return .failed(Errno(code: -socket)) }
        let descriptor = Descriptor(rawValue: socket)
        if address.unixPath == nil { _ = setNoDelay(descriptor) }
        let result = unsafe tg_connect(socket, raw, address.unixPath)
        if result >= 0 { return .connected(descriptor) }
        if Errno(code: -result) == .inProgress { return .inProgress(descriptor) }
        descriptor.close()
        return .failed(Errno(code: -result))
    }

    /// Takes the error that the kernel keeps for a socket, for example how a connection attempt ended; nil when well.
    package static func pendingError(of descriptor: Descriptor) -> Errno? {
        let code = tg_pending_error(descriptor.rawValue)
        return code == 0 ? nil : Errno(code: code)
    }

    /// Receives into the buffer. With edge-triggered polling: read until `.wouldBlock`, `.endOfFile` or `.failed`.
    package static func read(_ descriptor: Descriptor, into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
        guard unsafe !buffer.isEmpty else { return .bytes(0) }
        return IOResult(reading: unsafe tg_receive(descriptor.rawValue, buffer.baseAddress, buffer.count))
    }

    /// Sends what fits; never raises `SIGPIPE`.
    package static func write(_ descriptor: Descriptor, _ bytes: UnsafeRawBufferPointer) -> IOResult {
        guard unsafe !bytes.isEmpty else { return .bytes(0) }
        return IOResult(writing: unsafe tg_send(descriptor.rawValue, bytes.baseAddress, bytes.count))
    }

    /// Sends what fits of two pieces, in order, in one call; never raises `SIGPIPE`. Either may be empty.
    package static func write(
        _ descriptor: Descriptor, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
    ) -> IOResult {
        guard unsafe !first.isEmpty else { return unsafe write(descriptor, second) }
        guard unsafe !second.isEmpty else { return unsafe write(descriptor, first) }
        return IOResult(
            writing: unsafe tg_send_two(
                descriptor.rawValue, first.baseAddress, first.count, second.baseAddress, second.count))
    }

    /// Tells the peer that no more bytes come. A peer that has gone already is no error.
    package static func shutdownWriting(_ descriptor: Descriptor) {
        _ = tg_shutdown_writing(descriptor.rawValue)
    }

    /// Has the kernel probe a silent TCP peer: first after `idleSeconds`, then each `intervalSeconds`; after `count`
    /// unanswered probes the connection fails with `ETIMEDOUT`. No effect on unix sockets.
    package static func setKeepAlive(
        _ descriptor: Descriptor, idleSeconds: Int32, intervalSeconds: Int32, count: Int32
    ) {
        set(TG_OPTION_KEEP_ALIVE, 1, on: descriptor)
        set(TG_OPTION_KEEP_ALIVE_IDLE, idleSeconds, on: descriptor)
        set(TG_OPTION_KEEP_ALIVE_INTERVAL, intervalSeconds, on: descriptor)
        set(TG_OPTION_KEEP_ALIVE_COUNT, count, on: descriptor)
    }

    /// Lets a TCP connection fail with `ETIMEDOUT` when bytes that were sent stay unacknowledged for so long.
    package static func setUnacknowledgedTimeout(_ descriptor: Descriptor, milliseconds: Int32) {
        set(TG_OPTION_USER_TIMEOUT, milliseconds, on: descriptor)
    }

    /// Makes the next close a reset: unsent bytes are dropped, and the peer sees a cut instead of a clean end.
    package static func setLinger0(_ descriptor: Descriptor) {
        _ = tg_reset_on_close(descriptor.rawValue)
    }

    /// Who is at the other end of a unix socket, as the kernel noted when the connection was made; nil for TCP.
    package static func unixPeer(of descriptor: Descriptor) -> (uid: UInt32, gid: UInt32, pid: Int32)? {
        guard case .unix? = localAddress(of: descriptor) else { return nil }
        var (user, group, process): (UInt32, UInt32, Int32) = (0, 0, 0)
        guard unsafe tg_unix_peer(descriptor.rawValue, &user, &group, &process) == 0 else { return nil }
        return (user, group, process)
    }

    /// The address that a socket is bound to, with the real port where port 0 was asked for.
    package static func localAddress(of descriptor: Descriptor) -> SocketAddress? {
        unsafe address { raw, path in unsafe tg_local_address(descriptor.rawValue, raw, path) }
    }

    /// The address at the other end; nil when not connected.
    package static func peerAddress(of descriptor: Descriptor) -> SocketAddress? {
        unsafe address { raw, path in unsafe tg_peer_address(descriptor.rawValue, raw, path) }
    }

    static func setNoDelay(_ descriptor: Descriptor) -> Int32 {
        tg_set_option(descriptor.rawValue, Int32(TG_OPTION_NO_DELAY), 1)
    }

    private static func set(_ option: Int, _ value: Int32, on descriptor: Descriptor) {
        _ = tg_set_option(descriptor.rawValue, Int32(option), value)
    }

    private static func address(
        _ ask: (UnsafeMutablePointer<tg_address>, UnsafeMutablePointer<CChar>?) -> Int32
    ) -> SocketAddress? {
        var raw = tg_address()
        let capacity = TG_UNIX_PATH_CAPACITY + 1
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { path in
            unsafe path.initialize(repeating: 0)
            guard unsafe ask(&raw, path.baseAddress) >= 0, let text = path.baseAddress else { return nil }
            return SocketAddress(raw, path: unsafe String(cString: text))
        }
    }
}
