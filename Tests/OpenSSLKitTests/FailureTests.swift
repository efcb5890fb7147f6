import COpenSSL
import COpenSSLTesting
import Testing

@testable import OpenSSLKit

@Suite struct FailureTests {
    /// Feeds octets that are not from our peer into a new engine.
    static func answer(_ octets: [UInt8], host: String = "api.example.com") throws -> (TLSHandshakeStep.State, Int) {
        let link = try Fixture.link(host: host)
        let output = TLSOutputBuffer()
        _ = link.client.handshake(UnsafeRawBufferPointer(start: nil, count: 0), output: output)
        output.removeAll()
        let step = octets.withUnsafeBytes { link.client.handshake($0, output: output) }
        return (step.state, output.count)
    }

    static func error(_ state: TLSHandshakeStep.State) -> TLSError? {
        if case .failed(let error) = state { error } else { nil }
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail.example.com ESMTP\r\n", "SSH-2.0-OpenSSH_9.2\r\n"])
    func `a server that does not speak TLS is told as such`(text: String) throws {
        let (state, answered) = try Self.answer(Array(text.utf8))
        let error = try #require(Self.error(state))
        #expect(error.kind == .notTLS)
        #expect(error.reason.contains("api.example.com"))
        #expect(answered == 0)
    }

    @Test(arguments: ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"])
    func `a caller that does not speak TLS is told as such`(text: String) throws {
        let server = try TLSEngine(server: Fixture.server())
        let output = TLSOutputBuffer()
        let step = Array(text.utf8).withUnsafeBytes { server.handshake($0, output: output) }
        let error = try #require(Self.error(step.state))
        #expect(error.kind == .notTLS)
        #expect(error.reason.contains("the caller"))
    }

    @Test func `random octets never complete and never trap`() throws {
        var random = SystemRandomNumberGenerator()
        for length in 0..<300 {
            var octets = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Half of them look like a handshake record.
            if length.isMultiple(of: 2) { octets = [22, 3, 3, UInt8(length >> 8), UInt8(length & 255)] + octets }
            if case .complete = try Self.answer(octets).0 { Issue.record("completed by \(octets)") }
            let server = try TLSEngine(server: Fixture.server())
            let output = TLSOutputBuffer()
            if case .complete = octets.withUnsafeBytes({ server.handshake($0, output: output) }).state {
                Issue.record("completed by \(octets)")
            }
        }
    }

    @Test(arguments: TLSVersion.allCases)
    func `a handshake with any one octet changed does not complete on both sides`(version: TLSVersion) throws {
        let client = try Fixture.client(maximumVersion: version)
        let server = try Fixture.server()
        let output = TLSOutputBuffer()
        let whole = try firstFlight(Fixture.link(client: client, server: server), output, changing: nil)
        for offset in stride(from: 0, to: whole.count, by: 3) {
            let link = try Fixture.link(client: client, server: server)
            let flight = firstFlight(link, output, changing: offset)
            let step = flight.withUnsafeBytes { link.client.handshake($0, output: output) }
            let answer = Array(output.bytes)
            output.removeAll()
            let end = answer.withUnsafeBytes { link.server.handshake($0, output: output) }
            output.removeAll()
            if case .complete = step.state, case .complete = end.state {
                Issue.record("octet \(offset) does not count")
            }
        }
    }

    /// The server's first flight, with one octet flipped.
    private func firstFlight(_ link: Link, _ output: TLSOutputBuffer, changing offset: Int?) -> [UInt8] {
        _ = link.client.handshake(UnsafeRawBufferPointer(start: nil, count: 0), output: output)
        let hello = Array(output.bytes)
        output.removeAll()
        _ = hello.withUnsafeBytes { link.server.handshake($0, output: output) }
        var flight = Array(output.bytes)
        output.removeAll()
        // Its length can differ by an octet: signatures do.
        if let offset, offset < flight.count { flight[offset] ^= 0x55 } else if offset != nil { flight = [] }
        return flight
    }

    @Test func `a server of TLS 1-1 is refused with the versions that would do`() throws {
        let server = try Fixture.server()
        #expect(SSL_CTX_set_cipher_list(server.pointer, "ALL:@SECLEVEL=0") == 1)
        #expect(tg_set_minimum_version(server.pointer, TLS1_VERSION) == 1)
        #expect(tg_set_maximum_version(server.pointer, TLS1_1_VERSION) == 1)
        let outcome = try Fixture.link(server: server).handshake()
        #expect(outcome.clientError?.kind == .versionMismatch)
        #expect(outcome.clientError?.reason.contains("TLS 1.2 or 1.3") == true)
        #expect(outcome.serverError?.kind == .versionMismatch)
    }

    @Test func `a client that wants 1-3 refuses a server of 1-2`() throws {
        let server = try Fixture.server()
        #expect(tg_set_maximum_version(server.pointer, TLS1_2_VERSION) == 1)
        let outcome = try Fixture.link(client: Fixture.client(minimumVersion: .tls13), server: server).handshake()
        #expect(outcome.clientError?.kind == .versionMismatch)
    }

    @Test(arguments: [
        "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256",
    ])
    func `TLS 1-2 suites without ECDHE and AEAD are not spoken`(suite: String) throws {
        let server = try Fixture.server()
        #expect(tg_set_maximum_version(server.pointer, TLS1_2_VERSION) == 1)
        #expect(SSL_CTX_set_cipher_list(server.pointer, suite) == 1)
        let outcome = try Fixture.link(server: server).handshake()
        #expect(outcome.clientError?.kind == .noCommonParameters)
        #expect(outcome.serverError?.kind == .noCommonParameters)
    }

    @Test func `a protocol that was not offered is refused`() throws {
        let server = try Fixture.server(alpn: ["h2"])
        SSL_CTX_set_alpn_select_cb(
            server.pointer,
            { _, out, count, _, _, _ in
                out?.pointee = unofferedName.utf8Start
                count?.pointee = UInt8(unofferedName.utf8CodeUnitCount)
                return SSL_TLSEXT_ERR_OK
            }, nil)
        let link = try Fixture.link(client: Fixture.client(alpn: ["h2"]), server: server)
        let outcome = link.handshake()
        #expect([.noApplicationProtocol, .protocolViolation].contains(outcome.clientError?.kind))
        let output = TLSOutputBuffer()
        let sent = [1].withUnsafeBytes { link.client.send($0, output: output) }
        #expect(sent.consumed == 0 && output.isEmpty)
    }

    @Test func `renegotiation, compression and early data are off`() throws {
        let client = try Fixture.client()
        let server = try Fixture.server()
        // The pointers are the contexts' own: without this both would be freed before the first look at them.
        withExtendedLifetime((client, server)) {
            for context in [client.pointer, server.pointer] {
                let options = SSL_CTX_get_options(context)
                #expect(options & tg_hardening_options() == tg_hardening_options())
                #expect(SSL_CTX_get_max_early_data(context) == 0)
                #expect(SSL_CTX_get_security_level(context) >= 2)
            }
        }
    }

    @Test func `connections, good and bad, give back all their memory`() throws {
        let client = try Fixture.client(alpn: ["h2"])
        let server = try Fixture.server(alpn: ["h2"])
        let foreign = try Fixture.client(authority: Fixture.otherAuthority)
        func connect() throws {
            let link = try Fixture.link(client: client, server: server)
            #expect(link.handshake().bothComplete)
            _ = link.receive(link.client)
            let session = try #require(link.client.takeNewSession())
            let second = try Fixture.link(client: client, server: server, session: session)
            #expect(second.handshake().bothComplete)
            _ = second.receive(second.client)
            #expect(try Fixture.link(client: foreign, server: server).handshake().clientError != nil)
            _ = try Fixture.link(client: client, server: server)
            _ = try Self.answer(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        }
        for _ in 0..<3 { try connect() }
        let before = tg_allocations_now().live
        for _ in 0..<20 { try connect() }
        #expect(tg_allocations_now().live <= before)
    }
}

private let unofferedName: StaticString = "smtp"

@Suite struct OutputBufferTests {
    @Test func `it grows, keeps its memory, and gives back a burst`() throws {
        let link = try DataTests.established()
        let output = TLSOutputBuffer(capacity: 16)
        let data = Fixture.pattern(3 << 20)
        let step = data.withUnsafeBytes { link.client.send($0, output: output) }
        #expect(step.consumed == data.count)
        #expect(output.count == output.bytes.count && output.count > data.count)
        #expect(output.storage.pointee.capacity >= output.count)
        output.removeAll()
        #expect(output.isEmpty)
        #expect(output.storage.pointee.capacity == 16)
        _ = data.prefix(1000).withUnsafeBytes { link.client.send($0, output: output) }
        let capacity = output.storage.pointee.capacity
        output.removeAll()
        #expect(output.storage.pointee.capacity == capacity)
    }
}
