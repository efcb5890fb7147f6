import Configuration
import Glibc
import Reactor

/// Where the console of a configuration is reached from this machine.
struct ConsoleEndpoint: Sendable, Hashable, CustomStringConvertible {
    let address: SocketAddress
    /// The `Host` field: a console without a secret takes loopback names only.
    let host: String

    /// nil for port 0, where nobody outside of the process knows the port.
    init?(_ address: Snapshot.Address) {
        switch address {
        case .unix(let path): self.init(.unix(path: path), host: "localhost")
        case .tcp(_, 0), .any(0): return nil
        case .any(let port): self.init(.loopback(port: port))
        case .tcp(.v4(0), let port): self.init(.loopback(port: port))
        case .tcp(.v4(let bits), let port): self.init(.ipv4(bits, port: port))
        case .tcp(.v6(let high, let low), let port): self.init(.ipv6(high: high, low: low, port: port, scope: 0))
        }
    }

    init(_ address: SocketAddress, host: String? = nil) {
        self.address = address
        self.host = host ?? address.description
    }

    var description: String { address.description }
}

/// Why the console gave no answer.
enum ConsoleClientError: Error, Equatable {
    case unreachable(Errno)
    /// The connection was made and broke.
    case lost(Errno)
    case timedOut
    case malformed(String)
}

/// A blocking HTTP/1.1 client for the console: one request, one connection.
///
/// The description leaves out the secret.
struct ConsoleClient: Sendable, CustomStringConvertible {
    let endpoint: ConsoleEndpoint
    let secret: LoadedSecret?
    private static let connectMilliseconds: UInt64 = 10_000

    init(endpoint: ConsoleEndpoint, secret: LoadedSecret? = nil) {
        self.endpoint = endpoint
        self.secret = secret
    }

    var description: String { "ConsoleClient(\(endpoint))" }

    /// Sends one request and returns its answer whatever the status. `milliseconds` is for the whole of it.
    func request(
        _ method: String, _ path: String, json: [UInt8]? = nil, milliseconds: UInt64 = 15_000
    ) throws(ConsoleClientError) -> ConsoleReply {
        let deadline = MonotonicClock.milliseconds() + milliseconds
        let socket = try connect(until: min(deadline, MonotonicClock.milliseconds() + Self.connectMilliseconds))
        defer { socket.close() }
        var request = head(method, path, json)
        if let json { request += json }
        try send(request[...], to: socket, until: deadline)
        return try receive(from: socket, until: deadline)
    }

    private func head(_ method: String, _ path: String, _ json: [UInt8]?) -> [UInt8] {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: \(endpoint.host)\r\nConnection: close\r\n"
        text += "Accept: application/json\r\nUser-Agent: token-gateway-cli\r\n"
        if let json { text += "Content-Type: application/json\r\nContent-Length: \(json.count)\r\n" }
        guard let secret else { return Array((text + "\r\n").utf8) }
        return Array((text + "Authorization: Bearer ").utf8) + secret.bytes + Array("\r\n\r\n".utf8)
    }

    private func connect(until deadline: UInt64) throws(ConsoleClientError) -> Descriptor {
        switch Socket.connect(to: endpoint.address) {
        case .connected(let socket): return socket
        case .failed(let error): throw .unreachable(error)
        case .inProgress(let socket):
            do throws(ConsoleClientError) {
                try wait(for: Int16(POLLOUT), on: socket, until: deadline)
                if let error = Socket.pendingError(of: socket) { throw .unreachable(error) }
                return socket
            } catch {
                socket.close()
                throw error == .timedOut ? .unreachable(.timedOut) : error
            }
        }
    }

    private func send(
        _ bytes: ArraySlice<UInt8>, to socket: Descriptor, until deadline: UInt64
    ) throws(ConsoleClientError) {
        var rest = bytes
        while !rest.isEmpty {
            switch rest.withUnsafeBytes({ Socket.write(socket, $0) }) {
            case .bytes(let count): rest = rest.dropFirst(count)
            case .wouldBlock: try wait(for: Int16(POLLOUT), on: socket, until: deadline)
            // A console that refuses the request may close before it has read all of it; its answer is there to read.
            case .endOfFile, .failed: return
            }
        }
    }

    private func receive(from socket: Descriptor, until deadline: UInt64) throws(ConsoleClientError) -> ConsoleReply {
        var reader = ReplyReader()
        var room = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let step: ReplyReader.Step
            switch room.withUnsafeMutableBytes({ Socket.read(socket, into: $0) }) {
            case .bytes(let count): step = reader.received(room[..<count])
            case .endOfFile: step = reader.ended()
            case .failed(let error): throw .lost(error)
            case .wouldBlock:
                try wait(for: Int16(POLLIN), on: socket, until: deadline)
                continue
            }
            switch step {
            case .needsMore: continue
            case .reply(let reply): return reply
            case .malformed(let complaint): throw .malformed(complaint)
            }
        }
    }

    private func wait(for events: Int16, on socket: Descriptor, until deadline: UInt64) throws(ConsoleClientError) {
        while true {
            let now = MonotonicClock.milliseconds()
            guard now < deadline else { throw .timedOut }
            var entry = pollfd(fd: socket.rawValue, events: events, revents: 0)
            let result = poll(&entry, 1, Int32(clamping: deadline - now))
            if result > 0 { return }
            if result < 0, errno != EINTR { throw .lost(Errno(code: errno)) }
        }
    }
}
