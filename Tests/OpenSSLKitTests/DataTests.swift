import COpenSSL
import COpenSSLTesting
import Testing

@testable import OpenSSLKit

@Suite struct DataTests {
    static func established(_ version: TLSVersion = .tls13, stride: Int = .max) throws -> Link {
        let link = try Fixture.link(client: Fixture.client(maximumVersion: version))
        #expect(link.handshake().bothComplete)
        #expect(link.receive(link.client).plaintext.isEmpty)
        link.stride = stride
        return link
    }

    @Test(arguments: TLSVersion.allCases, [(16 * 1024, Int.max), (100_000, 65_536), (1000, 1400), (16 * 1024, 17)])
    func `a mebibyte goes both ways`(version: TLSVersion, sizes: (room: Int, stride: Int)) throws {
        let link = try Self.established(version, stride: sizes.stride)
        let data = Fixture.pattern(1 << 20)
        let ciphertext = link.send(data, from: link.client)
        #expect(ciphertext.count < data.count + 64 * 40)
        #expect(link.receive(link.server, room: sizes.room).plaintext == data)
        link.send(data, from: link.server)
        #expect(link.receive(link.client, room: sizes.room).plaintext == data)
    }

    @Test func `data arrives whole wherever it is cut`() throws {
        let link = try Self.established(stride: 1)
        let data = Fixture.pattern(600)
        for piece in [data[..<1], data[1..<300], data[300...]] { link.send(Array(piece), from: link.server) }
        #expect(link.receive(link.client, room: 7).plaintext == data)
    }

    @Test func `a full room says open, then the rest comes without input`() throws {
        let link = try Self.established()
        let ciphertext = link.send(Fixture.pattern(1000), from: link.server)
        let output = TLSOutputBuffer()
        var space = [UInt8](repeating: 0, count: 600)
        let first = ciphertext.withUnsafeBytes { input in
            space.withUnsafeMutableBytes { link.client.receive(input, into: $0, output: output) }
        }
        #expect(first.produced == 600 && first.consumed == ciphertext.count)
        guard case .open = first.state else {
            Issue.record("there is more")
            return
        }
        #expect(link.client.hasBufferedPlaintext)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let second = space.withUnsafeMutableBytes { link.client.receive(none, into: $0, output: output) }
        #expect(second.produced == 400)
        guard case .needsInput = second.state else {
            Issue.record("there is no more")
            return
        }
        #expect(!link.client.hasBufferedPlaintext)
        #expect(output.isEmpty)
    }

    @Test(arguments: TLSVersion.allCases)
    func `close_notify ends the data cleanly, and the other way stays open`(version: TLSVersion) throws {
        let link = try Self.established(version)
        link.send(Array("last".utf8), from: link.server)
        link.close(link.server)
        let once = link.toClient.count
        link.close(link.server)
        #expect(link.toClient.count == once)
        let received = link.receive(link.client)
        #expect(received.plaintext == Array("last".utf8))
        #expect(received.isClosed)
        #expect(link.client.inputEnded() == .closedCleanly)
        link.send(Array("answer".utf8), from: link.client)
        #expect(link.receive(link.server).plaintext == Array("answer".utf8))
        #expect(link.server.inputEnded() == .truncated)
    }

    @Test func `the end of the stream without close_notify is a truncation`() throws {
        let link = try Fixture.link()
        #expect(link.client.inputEnded() == .truncated)
        #expect(link.handshake().bothComplete)
        link.send(Array("half".utf8), from: link.server)
        _ = link.receive(link.client)
        #expect(link.client.inputEnded() == .truncated)
    }

    @Test func `a forged end of the stream is not a clean one`() throws {
        let link = try Self.established()
        // An alert in clear text: level warning, close_notify.
        link.toClient = [21, 3, 3, 0, 2, 1, 0]
        #expect(link.receive(link.client).error != nil)
        #expect(link.client.inputEnded() == .truncated)
    }

    @Test(arguments: TLSVersion.allCases)
    func `a record that was changed is refused, and the failure stays`(version: TLSVersion) throws {
        let link = try Self.established(version)
        link.send(Array("good".utf8), from: link.server)
        link.send(Array("evil".utf8), from: link.server)
        link.toClient[link.toClient.count - 1] ^= 1
        let received = link.receive(link.client)
        #expect(received.plaintext == Array("good".utf8))
        #expect(received.error?.kind == .protocolViolation)
        // The alert for the peer.
        #expect(!link.toServer.isEmpty)
        link.send(Array("more".utf8), from: link.server)
        #expect(link.receive(link.client).error == received.error)
        let output = TLSOutputBuffer()
        let sent = [1].withUnsafeBytes { link.client.send($0, output: output) }
        guard case .failed(let error) = sent.state else {
            Issue.record("it was sent")
            return
        }
        #expect(error == received.error)
        #expect(link.receive(link.server).error?.kind == .peerAlert)
    }

    @Test func `a record sent twice is refused`() throws {
        let link = try Self.established()
        let record = link.send(Array("pay 1".utf8), from: link.client)
        link.toServer += record
        let received = link.receive(link.server)
        #expect(received.plaintext == Array("pay 1".utf8))
        #expect(received.error?.kind == .protocolViolation)
    }

    @Test func `sending after closing is our own fault`() throws {
        let link = try Self.established()
        link.close(link.client)
        let output = TLSOutputBuffer()
        let sent = [1].withUnsafeBytes { link.client.send($0, output: output) }
        guard case .failed(let error) = sent.state else {
            Issue.record("it was sent")
            return
        }
        #expect(error.kind == .internalFailure)
        #expect(output.isEmpty)
    }

    @Test func `sending nothing sends nothing`() throws {
        let link = try Self.established()
        #expect(link.send([], from: link.client).isEmpty)
    }

    @Test func `released buffers come back by themselves`() throws {
        let link = try Self.established()
        for _ in 0..<3 {
            let before = tg_allocations_now().live
            link.client.releaseIdleBuffers()
            #expect(tg_allocations_now().live < before)
            link.send(Fixture.pattern(40_000), from: link.client)
            #expect(link.receive(link.server).plaintext == Fixture.pattern(40_000))
            link.send(Fixture.pattern(40_000), from: link.server)
            #expect(link.receive(link.client).plaintext == Fixture.pattern(40_000))
        }
    }

    @Test func `buffers are not released in the middle of a record`() throws {
        let link = try Self.established()
        var record = link.send(Fixture.pattern(5000), from: link.server)
        let rest = record.suffix(1000)
        record.removeLast(1000)
        link.toClient = record
        #expect(link.receive(link.client).plaintext.isEmpty)
        link.client.releaseIdleBuffers()
        link.toClient = Array(rest)
        #expect(link.receive(link.client).plaintext == Fixture.pattern(5000))
    }

    @Test(arguments: TLSVersion.allCases)
    func `in the steady state a record leaves no memory behind`(version: TLSVersion) throws {
        let link = try Self.established(version)
        let output = TLSOutputBuffer()
        let data = Fixture.pattern(1000)
        var space = [UInt8](repeating: 0, count: 16 * 1024)
        func exchange() {
            _ = data.withUnsafeBytes { link.client.send($0, output: output) }
            let step = space.withUnsafeMutableBytes { link.server.receive(output.bytes, into: $0, output: output) }
            #expect(step.produced == data.count)
            output.removeAll()
        }
        exchange()
        let before = tg_allocations_now()
        for _ in 0..<100 { exchange() }
        let after = tg_allocations_now()
        #expect(after.live == before.live)
        // OpenSSL 3.0 takes and gives back four small blocks for writing and reading one record.
        #expect(after.made - before.made <= 400)
    }
}

@Suite struct PostHandshakeTests {
    @Test func `keys can be changed by either side, in the middle of data`() throws {
        let link = try DataTests.established()
        for _ in 0..<5 {
            link.client.updateKeys()
            link.send(Array("one".utf8), from: link.client)
            #expect(link.receive(link.server).plaintext == Array("one".utf8))
            link.send(Array("two".utf8), from: link.server)
            #expect(link.receive(link.client).plaintext == Array("two".utf8))
            link.server.updateKeys()
            link.send(Array("three".utf8), from: link.server)
            link.send(Array("four".utf8), from: link.client)
            #expect(link.receive(link.client).plaintext == Array("three".utf8))
            #expect(link.receive(link.server).plaintext == Array("four".utf8))
        }
    }

    @Test func `a key update that waits does not swallow close_notify`() throws {
        let link = try DataTests.established()
        link.client.updateKeys()
        link.close(link.client)
        #expect(link.receive(link.server).isClosed)
        #expect(link.server.inputEnded() == .closedCleanly)
    }

    @Test func `TLS 1.2 has no key update and goes on`() throws {
        let link = try DataTests.established(.tls12)
        link.client.updateKeys()
        link.send([1], from: link.client)
        #expect(link.receive(link.server).plaintext == [1])
    }

    @Test func `keys are changed by themselves after so many records`() throws {
        let link = try DataTests.established()
        link.client.recordsPerKey = 4
        let sizes = (0..<9).map { _ in link.send([7], from: link.client).count }
        // A record with one octet has 23, a key update before it 27 more.
        #expect(sizes == [23, 23, 23, 50, 23, 23, 23, 50, 23])
        #expect(link.receive(link.server).plaintext == [UInt8](repeating: 7, count: 9))
        link.send([8], from: link.server)
        #expect(link.receive(link.client).plaintext == [8])
    }

    @Test func `a key update that waits also goes out while receiving`() throws {
        let link = try DataTests.established()
        link.client.updateKeys()
        link.send([1], from: link.server)
        #expect(link.receive(link.client).plaintext == [1])
        #expect(!link.toServer.isEmpty)
        #expect(link.receive(link.server).error == nil)
        link.send([2], from: link.client)
        #expect(link.receive(link.server).plaintext == [2])
    }

    @Test func `what is sent while a ticket is half read goes out after it`() throws {
        let (link, rest) = try halfATicket()
        #expect(link.send(Array("hel".utf8), from: link.client).isEmpty)
        #expect(link.send(Array("lo".utf8), from: link.client).isEmpty)
        link.close(link.client)
        #expect(link.toServer.isEmpty)
        link.toClient = rest
        #expect(link.receive(link.client).error == nil)
        #expect(link.receive(link.server).plaintext == Array("hello".utf8))
        link.send(Array("!".utf8), from: link.client)
        #expect(link.receive(link.server).plaintext == Array("!".utf8))
        #expect(link.client.takeNewSession() != nil)
    }

    @Test func `a peer that never ends its ticket cannot make us keep everything`() throws {
        let (link, _) = try halfATicket()
        let output = TLSOutputBuffer()
        let data = Fixture.pattern(1 << 19)
        func send(_ bytes: [UInt8]) -> TLSSendStep { bytes.withUnsafeBytes { link.client.send($0, output: output) } }
        #expect(send(data).consumed == data.count)
        #expect(send(data).consumed == data.count)
        let last = send([1])
        #expect(last.consumed == 0)
        guard case .failed(let error) = last.state else {
            Issue.record("it was kept")
            return
        }
        #expect(error.kind == .protocolViolation)
        #expect(output.isEmpty)
    }

    /// A ticket with a long name and a long protocol in it, cut into records of 512 octets, of which the client has the first:
    /// now OpenSSL does not write. The second value is the rest of the tickets.
    private func halfATicket() throws -> (Link, [UInt8]) {
        let host = [String](repeating: String(repeating: "a", count: 60), count: 4).joined(separator: ".")
        let leaf = try Fixture.authority.issue(LeafRequest(dnsNames: [host], validity: Fixture.longValidity))
        let alpn = [String(repeating: "p", count: 255)]
        let server = try Fixture.server(leaf, alpn: alpn)
        #expect(SSL_CTX_ctrl(server.pointer, SSL_CTRL_SET_MAX_SEND_FRAGMENT, 512, nil) == 1)
        let link = try Fixture.link(client: Fixture.client(alpn: alpn), server: server, host: host)
        let output = TLSOutputBuffer()
        var flight: [UInt8] = []
        for engine in [link.client, link.server, link.client, link.server] {
            _ = flight.withUnsafeBytes { engine.handshake($0, output: output) }
            flight = Array(output.bytes)
            output.removeAll()
        }
        let firstRecord = 5 + Int(flight[3]) << 8 + Int(flight[4])
        try #require(flight.count > firstRecord)
        link.toClient = Array(flight[..<firstRecord])
        #expect(link.receive(link.client).error == nil)
        return (link, Array(flight[firstRecord...]))
    }
}
