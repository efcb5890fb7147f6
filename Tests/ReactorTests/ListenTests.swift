import Foundation
import Reactor
import Testing

@Suite struct ListenTests {
    @Test func `an address in use is told with its name`() throws {
        let first = try Socket.listen(on: .loopback(port: 0))
        defer { first.close() }
        let address = try #require(Socket.localAddress(of: first))
        let error = #expect(throws: SocketError.self) { try Socket.listen(on: address).close() }
        // Linux lets a second socket bind with SO_REUSEADDR only when none listens.
        #expect(error?.description == "cannot listen on \(address): bind: Address already in use (EADDRINUSE)")
    }

    @Test func `workers share a port, each with its own socket`() throws {
        let first = try Socket.listen(on: .loopback(port: 0), reusePort: true)
        defer { first.close() }
        let address = try #require(Socket.localAddress(of: first))
        let second = try Socket.listen(on: address, reusePort: true)
        defer { second.close() }
        #expect(Socket.localAddress(of: second) == address)
        #expect(throws: SocketError.failed(.bind, address, .addressInUse)) { try Socket.listen(on: address).close() }
    }

    @Test func `an address that is not ours is refused`() throws {
        let foreign = try #require(SocketAddress(numericHost: "192.0.2.1", port: 0))
        #expect(throws: SocketError.failed(.bind, foreign, .addressNotAvailable)) {
            try Socket.listen(on: foreign).close()
        }
    }

    @Test(.enabled(if: hasIPv6)) func `an IPv6 listener leaves IPv4 to another`() throws {
        let six = try Socket.listen(on: #require(SocketAddress(numericHost: "::", port: 0)))
        defer { six.close() }
        var onlySix: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        #expect(getsockopt(six.rawValue, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &onlySix, &length) == 0)
        #expect(onlySix == 1)
    }

    @Test func `a unix socket carries bytes and says who connected`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let connection = try Connection(over: .unix(path: path))
        #expect(Socket.localAddress(of: connection.listener) == .unix(path: path))
        #expect(connection.nearAddress == .unix(path: ""))
        let peer = try #require(Socket.unixPeer(of: connection.far))
        #expect(peer.uid == getuid())
        #expect(peer.gid == getgid())
        #expect(peer.pid == getpid())
        #expect(send("hello", to: connection.near) == .bytes(5))
        #expect(receive(16, from: connection.far) == (.bytes(5), "hello"))
        let stranger = try Connection()
        #expect(Socket.unixPeer(of: stranger.far) == nil, "TCP knows nobody")
    }

    @Test(arguments: [0o600, 0o660, 0o666, 0o777] as [UInt32])
    func `a unix socket has exactly the mode that was asked for`(mode: UInt32) throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let listener = try Socket.listen(on: .unix(path: path), unixMode: mode)
        defer { listener.close() }
        #expect(Files.access(of: path)?.mode == mode)
    }

    @Test func `the socket of a dead process is replaced`() throws {
        let directory = try TemporaryDirectory()
        let address = SocketAddress.unix(path: directory.path + "/socket")
        try Socket.listen(on: address).close()
        #expect(directory.entries == ["socket"], "closing leaves the file")
        let listener = try Socket.listen(on: address)
        defer { listener.close() }
        try connected(to: address).close()
    }

    @Test func `only a socket's file is removed at the end`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        try Socket.listen(on: .unix(path: path)).close()
        Socket.removeSocketFile(at: path)
        Socket.removeSocketFile(at: path)
        #expect(directory.entries.isEmpty)
        Socket.removeSocketFile(at: try directory.write("precious", to: "file"))
        #expect(directory.entries == ["file"])
    }

    @Test func `the socket of a living process is not touched`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let first = try Socket.listen(on: .unix(path: path))
        defer { first.close() }
        let error = #expect(throws: SocketError.pathInUse(path)) { try Socket.listen(on: .unix(path: path)).close() }
        #expect(error?.description == "cannot listen on unix:\(path): another process is listening on it")
        try connected(to: .unix(path: path)).close()
    }

    @Test func `a living socket with a full queue is in use as well`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let first = try Socket.listen(on: .unix(path: path), backlog: 0)
        defer { first.close() }
        var clients: [Descriptor] = []
        defer { clients.forEach { $0.close() } }
        while case .connected(let client) = Socket.connect(to: .unix(path: path)) { clients.append(client) }
        #expect(Socket.connect(to: .unix(path: path)) == .failed(.wouldBlock))
        #expect(throws: SocketError.pathInUse(path)) { try Socket.listen(on: .unix(path: path)).close() }
    }

    @Test func `a file that is no socket is not removed`() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("precious", to: "file")
        #expect(throws: SocketError.pathIsNotSocket(path)) { try Socket.listen(on: .unix(path: path)).close() }
        #expect(try Files.read(path: path, limit: 100) == Array("precious".utf8))
    }

    @Test func `a path that no kernel takes is refused`() throws {
        let long = "/tmp/" + String(repeating: "x", count: 103)
        for path in ["", long, "/tmp/a\0b"] {
            #expect(throws: SocketError.pathUnusable(path)) { try Socket.listen(on: .unix(path: path)).close() }
            #expect(Socket.connect(to: .unix(path: path)) == .failed(.nameTooLong))
        }
        let directory = try TemporaryDirectory()
        let longest = directory.path + "/" + String(repeating: "x", count: 106 - directory.path.utf8.count)
        let listener = try Socket.listen(on: .unix(path: longest))
        defer { listener.close() }
        #expect(Socket.localAddress(of: listener) == .unix(path: longest))
    }

    @Test func `a directory that is missing is told`() {
        let address = SocketAddress.unix(path: "/nonexistent/socket")
        #expect(throws: SocketError.failed(.bind, address, .noSuchFile)) { try Socket.listen(on: address).close() }
    }
}
