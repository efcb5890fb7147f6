import CLinux

/// Why an address cannot be listened on. Start-up and reload only.
package enum SocketError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was being done when the kernel refused.
    package enum Step: String, Sendable {
        case create = "create a socket"
        case configure = "set socket options"
        case bind
        case permit = "set the socket file's permissions"
        case listen
    }

    case failed(Step, SocketAddress, Errno)
    /// Another process answers on the unix socket.
    case pathInUse(String)
    /// Something that is not a socket is at the path; it is left alone.
    case pathIsNotSocket(String)
    /// The path is empty, too long for the kernel or has a zero byte.
    case pathUnusable(String)

    package var description: String {
        switch self {
        case .failed(let step, let address, let error):
            "cannot listen on \(address): \(step.rawValue): \(error)"
        case .pathInUse(let path):
            "cannot listen on unix:\(path): another process is listening on it"
        case .pathIsNotSocket(let path):
            "cannot listen on unix:\(path): a file that is not a socket is there"
        case .pathUnusable(let path):
            "cannot listen on unix:\(path): the path must have 1 to \(SocketAddress.longestUnixPath) bytes, none of them 0"
        }
    }
}

extension Socket {
    /// Opens a listener.
    ///
    /// - `reusePort`: lets each worker have its own socket on one TCP address (the kernel spreads connections). All
    ///   sockets of an address must ask for it. Ignored for unix sockets: give the workers one descriptor there.
    /// - `unixMode`: the permissions of the socket file, for example `0o660`; nil leaves them to the umask. They are in
    ///   force before the first connection can be made.
    ///
    /// `[::]` means IPv6 only; an operator who wants both families lists both. A unix socket's file that a dead process
    /// left behind is removed; one that answers is not. The file stays when the listener is closed: its owner removes it.
    package static func listen(
        on address: SocketAddress, reusePort: Bool = false, backlog: Int32 = 1024, unixMode: UInt32? = nil
    ) throws(SocketError) -> Descriptor {
        if let path = address.unixPath {
            guard address.isUsable else { throw .pathUnusable(path) }
            try removeStaleSocket(at: path)
        }
        let socket = tg_socket(address.raw.family)
        guard socket >= 0 else { throw .failed(.create, address, Errno(code: -socket)) }
        let descriptor = Descriptor(rawValue: socket)
        do throws(SocketError) {
            try prepare(descriptor, for: address, reusePort: reusePort, unixMode: unixMode)
            try check(tg_listen(socket, backlog), .listen, address)
        } catch {
            descriptor.close()
            throw error
        }
        return descriptor
    }

    /// Removes the file that a unix listener leaves; anything that is no socket stays. For the end of the process.
    package static func removeSocketFile(at path: String) {
        var status = tg_file_status()
        guard Files.isUsable(path), unsafe tg_status(path, &status) == 0, tg_is_socket(status.mode) != 0 else { return }
        _ = unsafe tg_unlink(path)
    }

    private static func prepare(
        _ descriptor: Descriptor, for address: SocketAddress, reusePort: Bool, unixMode: UInt32?
    ) throws(SocketError) {
        let socket = descriptor.rawValue
        switch address {
        case .ipv4, .ipv6:
            try check(tg_set_option(socket, Int32(TG_OPTION_REUSE_ADDRESS), 1), .configure, address)
            if reusePort {
                try check(tg_set_option(socket, Int32(TG_OPTION_REUSE_PORT), 1), .configure, address)
            }
            if case .ipv6 = address {
                try check(tg_set_option(socket, Int32(TG_OPTION_V6_ONLY), 1), .configure, address)
            }
            try check(setNoDelay(descriptor), .configure, address)
            try check(tg_bind(socket, address.raw, nil), .bind, address)
        case .unix(let path):
            // The mode of the socket before bind limits the mode of the file; the umask may take more away, so it is
            // set again. Nobody can connect before listen.
            if let unixMode { try check(tg_set_mode_of(socket, unixMode), .permit, address) }
            try check(unsafe tg_bind(socket, address.raw, path), .bind, address)
            if let unixMode { try check(unsafe tg_set_mode(path, unixMode), .permit, address) }
        }
    }

    /// Makes room at the path, unless somebody answers there or it is no socket.
    private static func removeStaleSocket(at path: String) throws(SocketError) {
        var status = tg_file_status()
        let found = unsafe tg_status(path, &status)
        if Errno(code: -found) == .noSuchFile { return }
        let address = SocketAddress.unix(path: path)
        try check(found, .bind, address)
        guard tg_is_socket(status.mode) != 0 else { throw .pathIsNotSocket(path) }
        switch connect(to: address) {
        case .connected(let descriptor), .inProgress(let descriptor):
            descriptor.close()
            throw .pathInUse(path)
        case .failed(.connectionRefused):
            try check(unsafe tg_unlink(path), .bind, address)
        case .failed(.wouldBlock):
            // Its queue is full: busy, not dead.
            throw .pathInUse(path)
        case .failed(let error):
            throw .failed(.bind, address, error)
        }
    }

    private static func check(_ result: Int32, _ step: SocketError.Step, _ address: SocketAddress) throws(SocketError) {
        guard result >= 0 else { throw .failed(step, address, Errno(code: -result)) }
    }
}
