import OpenSSLKit
import Testing

@Suite struct HandshakeTests {
    @Test(arguments: [1, 2, 3, 7, 100, 1000, Int.max], TLSVersion.allCases)
    func `a handshake completes however the octets are cut`(stride: Int, version: TLSVersion) throws {
        let link = try Fixture.link(client: Fixture.client(maximumVersion: version), stride: stride)
        #expect(link.handshake().bothComplete)
        #expect(link.client.tlsVersion == (version == .tls13 ? "TLSv1.3" : "TLSv1.2"))
        #expect(link.server.tlsVersion == link.client.tlsVersion)
        #expect(
            link.client.cipherName
                == (version == .tls13 ? "TLS_AES_128_GCM_SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256"))
        #expect(link.server.serverName == "api.example.com")
        #expect(link.client.serverName == nil)
        link.send(Array("ping".utf8), from: link.client)
        #expect(link.receive(link.server).plaintext == Array("ping".utf8))
        link.send(Array("pong".utf8), from: link.server)
        #expect(link.receive(link.client).plaintext == Array("pong".utf8))
    }

    @Test func `data that comes with the last flight is not lost`() throws {
        let link = try Fixture.link(client: Fixture.client())
        let output = TLSOutputBuffer()
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        _ = link.client.handshake(none, output: output)
        let toServer = Array(output.bytes)
        output.removeAll()
        _ = toServer.withUnsafeBytes { link.server.handshake($0, output: output) }
        // With TLS 1.3 a server may speak before the client has finished; here the client does at once.
        let toClient = Array(output.bytes)
        output.removeAll()
        _ = toClient.withUnsafeBytes { link.client.handshake($0, output: output) }
        _ = Array("early bird".utf8).withUnsafeBytes { link.client.send($0, output: output) }
        link.toServer = Array(output.bytes)
        output.removeAll()
        let step = link.toServer.withUnsafeBytes { link.server.handshake($0, output: output) }
        link.toServer.removeFirst(step.consumed)
        guard case .complete = step.state else {
            Issue.record("the server is not done")
            return
        }
        #expect(link.receive(link.server).plaintext == Array("early bird".utf8))
    }

    @Test(
        arguments: [
            (["h2", "http/1.1"], ["h2", "http/1.1"], ApplicationProtocol.h2),
            (["h2", "http/1.1"], ["http/1.1"], .http11),
            (["http/1.1"], ["h2", "http/1.1"], .http11),
            // The server's order counts.
            (["http/1.1", "h2"], ["h2", "http/1.1"], .h2),
            (["smtp"], ["smtp"], .other),
            ([], ["h2"], .none),
            (["h2"], [], .none),
        ])
    func `ALPN chooses what both speak`(client: [String], server: [String], chosen: ApplicationProtocol) throws {
        let link = try Fixture.link(client: Fixture.client(alpn: client), server: Fixture.server(alpn: server))
        #expect(link.client.negotiatedProtocol == .none)
        #expect(link.handshake().bothComplete)
        #expect(link.client.negotiatedProtocol == chosen)
        #expect(link.server.negotiatedProtocol == chosen)
    }

    @Test func `without a common protocol both sides say so`() throws {
        let link = try Fixture.link(client: Fixture.client(alpn: ["h2"]), server: Fixture.server(alpn: ["http/1.1"]))
        let outcome = link.handshake()
        #expect(outcome.serverError?.kind == .noApplicationProtocol)
        #expect(outcome.clientError?.kind == .noApplicationProtocol)
    }

    @Test func `calls before the handshake is complete fail and send nothing`() throws {
        let link = try Fixture.link()
        let output = TLSOutputBuffer()
        let sent = [1, 2, 3].withUnsafeBytes { link.client.send($0, output: output) }
        guard case .failed(let error) = sent.state else {
            Issue.record("it was sent")
            return
        }
        #expect(error.kind == .internalFailure)
        #expect(sent.consumed == 0)
        link.client.close(output: output)
        link.client.updateKeys()
        link.client.releaseIdleBuffers()
        #expect(output.isEmpty)
        #expect(link.client.cipherName == "none")
        #expect(link.client.takeNewSession() == nil)
        // The engine is as good as before.
        #expect(link.handshake().bothComplete)
    }
}

@Suite struct ResumptionTests {
    @Test(arguments: TLSVersion.allCases)
    func `a session shortens the next handshake`(version: TLSVersion) throws {
        let client = try Fixture.client(maximumVersion: version)
        let server = try Fixture.server()
        let first = try Fixture.link(client: client, server: server)
        #expect(first.handshake().bothComplete)
        #expect(!first.client.sessionReused)
        _ = first.receive(first.client)
        let session = try #require(first.client.takeNewSession())
        #expect(first.client.takeNewSession() == nil)
        #expect(session.isResumable)
        #expect(session.expiresAt > 1_700_000_000)

        let second = try Fixture.link(client: client, server: server, session: session)
        #expect(second.handshake().bothComplete)
        #expect(second.client.sessionReused)
        #expect(second.server.sessionReused)
        _ = second.receive(second.client)
        // TLS 1.3 gives a new one each time; with 1.2 the old one goes on.
        #expect((second.client.takeNewSession() != nil) == (version == .tls13))
        second.send([1, 2, 3], from: second.client)
        #expect(second.receive(second.server).plaintext == [1, 2, 3])
    }

    @Test(arguments: TLSVersion.allCases)
    func `a connection that is dropped without close_notify leaves its session usable`(version: TLSVersion) throws {
        let client = try Fixture.client(maximumVersion: version)
        let server = try Fixture.server()
        func take() throws -> TLSSession {
            let link = try Fixture.link(client: client, server: server)
            #expect(link.handshake().bothComplete)
            _ = link.receive(link.client)
            return try #require(link.client.takeNewSession())
        }
        let session = try take()
        #expect(session.isResumable)
        let second = try Fixture.link(client: client, server: server, session: session)
        #expect(second.handshake().bothComplete)
        #expect(second.client.sessionReused)
    }

    @Test func `a session is not used for another host or through another context`() throws {
        let client = try Fixture.client()
        let server = try Fixture.server()
        let first = try Fixture.link(client: client, server: server)
        #expect(first.handshake().bothComplete)
        _ = first.receive(first.client)
        let session = try #require(first.client.takeNewSession())
        let otherHost = try Fixture.link(client: client, server: server, host: "a.wild.example.com", session: session)
        #expect(otherHost.handshake().bothComplete)
        #expect(!otherHost.client.sessionReused)
        let otherContext = try Fixture.link(client: Fixture.client(), server: server, session: session)
        #expect(otherContext.handshake().bothComplete)
        #expect(!otherContext.client.sessionReused)
    }

    @Test func `a server that lost its ticket keys makes a full handshake`() throws {
        let client = try Fixture.client()
        let first = try Fixture.link(client: client)
        #expect(first.handshake().bothComplete)
        _ = first.receive(first.client)
        let session = try #require(first.client.takeNewSession())
        let second = try Fixture.link(client: client, session: session)
        #expect(second.handshake().bothComplete)
        #expect(!second.client.sessionReused)
    }
}
