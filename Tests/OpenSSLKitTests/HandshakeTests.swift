import OpenSSLKit
import Testing

@Suite struct HandshakeTests {
    @Test(arguments: [1, 2, 3, 7, 100, 1000, Int.max])
    func `a handshake completes however the octets are cut`(stride: Int) throws {
        let link = try Fixture.link(stride: stride)
        #expect(link.handshake().bothComplete)
        #expect(link.client.tlsVersion == "TLSv1.3")
        #expect(link.client.cipherName == "TLS_AES_128_GCM_SHA256")
        #expect(link.server.serverName == "api.example.com")
        link.send(Array("ping".utf8), from: link.client)
        #expect(link.receive(link.server).plaintext == Array("ping".utf8))
        link.send(Array("pong".utf8), from: link.server)
        #expect(link.receive(link.client).plaintext == Array("pong".utf8))
    }
}
