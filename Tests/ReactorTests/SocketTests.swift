import Foundation
import Reactor
import Testing

@Suite struct SocketTests {
    @Test(arguments: hasIPv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"])
    func `bytes travel both ways and both ends know each other`(host: String) throws {
        let address = try #require(SocketAddress(numericHost: host, port: 0))
        let connection = try Connection(over: address)
        #expect(Socket.localAddress(of: connection.listener)?.port != 0)
        #expect(Socket.localAddress(of: connection.near) == connection.nearAddress)
        #expect(Socket.peerAddress(of: connection.near) == Socket.localAddress(of: connection.listener))
        #expect(send("ping", to: connection.near) == .bytes(4))
        try waitFor([.readable], on: connection.far)
        #expect(receive(16, from: connection.far) == (.bytes(4), "ping"))
        #expect(receive(16, from: connection.far) == (.wouldBlock, ""))
        #expect(send("pong", to: connection.far) == .bytes(4))
        try waitFor([.readable], on: connection.near)
        #expect(receive(2, from: connection.near) == (.bytes(2), "po"))
        #expect(receive(2, from: connection.near) == (.bytes(2), "ng"))
    }

    @Test func `an accepted and a connected socket send without delay and end with exec`() throws {
        let connection = try Connection()
        for descriptor in [connection.near, connection.far] {
            var value: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            #expect(getsockopt(descriptor.rawValue, Int32(IPPROTO_TCP), TCP_NODELAY, &value, &length) == 0)
            #expect(value != 0)
            #expect(fcntl(descriptor.rawValue, F_GETFD) & FD_CLOEXEC != 0)
            #expect(fcntl(descriptor.rawValue, F_GETFL) & O_NONBLOCK != 0)
        }
    }

    @Test func `two parts are sent in order by one call`() throws {
        let connection = try Connection()
        let head = Array("head ".utf8)
        let body = Array("body".utf8)
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        head.withUnsafeBytes { head in
            body.withUnsafeBytes { body in
                #expect(Socket.write(connection.near, head, body) == .bytes(9))
                #expect(Socket.write(connection.near, empty, body) == .bytes(4))
                #expect(Socket.write(connection.near, head, empty) == .bytes(5))
                #expect(Socket.write(connection.near, empty, empty) == .bytes(0))
                #expect(Socket.write(connection.near, empty) == .bytes(0))
            }
        }
        var text = ""
        while text.utf8.count < 18 {
            try waitFor([.readable], on: connection.far)
            text += receive(64, from: connection.far).1
        }
        #expect(text == "head bodybodyhead ")
    }

    @Test func `an empty buffer is not mistaken for the end of the stream`() throws {
        let connection = try Connection()
        #expect(Socket.read(connection.far, into: UnsafeMutableRawBufferPointer(start: nil, count: 0)) == .bytes(0))
    }

    @Test func `a full peer makes the writer wait, and reading lets it go on`() throws {
        let connection = try Connection()
        let poller = try Poller()
        try poller.add(connection.near, token: 1)
        try waitFor([.writable], in: poller)
        let block = String(repeating: "x", count: 65_536)
        var sent = 0
        while case .bytes(let count) = send(block, to: connection.near) { sent += count }
        var received = 0
        while received < sent {
            try waitFor([.readable], on: connection.far)
            while case (.bytes(let count), _) = receive(1 << 20, from: connection.far) { received += count }
        }
        #expect(received == sent)
        try waitFor([.writable], in: poller)
        #expect(send("more", to: connection.near) == .bytes(4))
    }

    @Test func `the end of one direction leaves the other open`() throws {
        let connection = try Connection()
        #expect(send("last", to: connection.near) == .bytes(4))
        Socket.shutdownWriting(connection.near)
        let seen = try waitFor([.readable, .peerClosed], on: connection.far)
        #expect(!seen.contains(.hangUp))
        #expect(receive(16, from: connection.far) == (.bytes(4), "last"))
        #expect(receive(16, from: connection.far) == (.endOfFile, ""))
        #expect(send("answer", to: connection.far) == .bytes(6))
        try waitFor([.readable], on: connection.near)
        #expect(receive(16, from: connection.near) == (.bytes(6), "answer"))
    }

    @Test func `a close without lingering is a reset at the other end`() throws {
        let connection = try Connection()
        Socket.setLinger0(connection.near)
        connection.close(connection.near)
        try waitFor([.error, .hangUp], on: connection.far)
        #expect(receive(16, from: connection.far) == (.failed(.connectionReset), ""))
    }

    @Test func `writing to a peer that has gone is an error and no signal`() throws {
        let connection = try Connection()
        Socket.setLinger0(connection.near)
        connection.close(connection.near)
        try waitFor([.error], on: connection.far)
        #expect(Socket.pendingError(of: connection.far) == .connectionReset)
        #expect(send("x", to: connection.far) == .failed(.brokenPipe))
    }

    @Test func `a refused connection is told at once or by the poller`() throws {
        // A port that is taken, so that no other test gets it, and at which nobody listens.
        let connection = try Connection()
        switch Socket.connect(to: connection.nearAddress) {
        case .connected(let descriptor):
            descriptor.close()
            Issue.record("nobody listens")
        case .inProgress(let descriptor):
            try waitFor([.error], on: descriptor)
            #expect(Socket.pendingError(of: descriptor) == .connectionRefused)
            #expect(Socket.pendingError(of: descriptor) == nil, "taken once")
            descriptor.close()
        case .failed(let error):
            #expect(error == .connectionRefused)
        }
    }

    @Test func `a silent peer is probed as told`() throws {
        let connection = try Connection()
        Socket.setKeepAlive(connection.near, idleSeconds: 61, intervalSeconds: 7, count: 3)
        Socket.setUnacknowledgedTimeout(connection.near, milliseconds: 9_000)
        func option(_ level: Int32, _ name: Int32) -> Int32 {
            var value: Int32 = -1
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(connection.near.rawValue, level, name, &value, &length)
            return value
        }
        #expect(option(SOL_SOCKET, SO_KEEPALIVE) == 1)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPIDLE) == 61)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPINTVL) == 7)
        #expect(option(Int32(IPPROTO_TCP), TCP_KEEPCNT) == 3)
        #expect(option(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT) == 9_000)
    }

    @Test func `nobody waiting is no error, and an unlistening socket is one`() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        #expect(Socket.accept(listener) == .wouldBlock)
        listener.close()
        let connection = try Connection()
        #expect(Socket.accept(connection.near) == .failed(.invalidArgument))
    }

    @Test func `a caller that left before it was accepted does not disturb the next`() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        defer { listener.close() }
        let address = try #require(Socket.localAddress(of: listener))
        let gone = try connected(to: address)
        Socket.setLinger0(gone)
        gone.close()
        let staying = try connected(to: address)
        defer { staying.close() }
        let own = try #require(Socket.localAddress(of: staying))
        var peers: [SocketAddress] = []
        while !peers.contains(own) {
            let (descriptor, peer) = try accepted(listener)
            descriptor.close()
            peers.append(peer)
        }
        #expect(peers.count <= 2)
    }

    @Test func `without descriptors a connection waits, and is accepted when one is free`() throws {
        // The thread has a descriptor table of its own, so that it alone runs out.
        let failure = Guarded<String?>("the thread did not run")
        let thread = try WorkerThread.start(name: "exhaustion") {
            failure.update { $0 = acceptWithoutDescriptors() }
        }
        thread.join()
        #expect(failure.value == nil)
    }
}

/// Gives the calling thread a copy of the table of descriptors; Glibc's module has no `unshare`.
private func leaveSharedDescriptorTable() -> Bool {
    guard let symbol = dlsym(nil, "unshare") else { return false }
    let cloneFiles: Int32 = 0x400
    return unsafeBitCast(symbol, to: (@convention(c) (Int32) -> Int32).self)(cloneFiles) == 0
}

/// Nil when all went well.
private func acceptWithoutDescriptors() -> String? {
    guard leaveSharedDescriptorTable() else { return "no table of its own: \(errno)" }
    do {
        let listener = try Socket.listen(on: .loopback(port: 0))
        let address = try #require(Socket.localAddress(of: listener))
        _ = try connected(to: address)
        var last: Int32 = -1
        while case let next = dup(0), next >= 0 { last = next }
        guard errno == EMFILE else { return "dup: \(errno)" }
        guard Socket.accept(listener) == .descriptorsExhausted else { return "exhaustion was not seen" }
        guard case .failed(.processDescriptorsExhausted) = Socket.connect(to: address) else { return "connect" }
        close(last)
        guard case .accepted(let caller, _) = Socket.accept(listener) else { return "the connection was lost" }
        caller.close()
        return Socket.accept(listener) == .wouldBlock ? nil : "the queue is not empty"
    } catch {
        return "\(error)"
    }
}
