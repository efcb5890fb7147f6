import Testing

@testable import Gateway

@Suite struct WebSocketHandshakeTests {
    @Test(arguments: [
        ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), ("", "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w="),
    ])
    func `the proof of the handshake is that of RFC 6455`(key: String, accept: String) {
        #expect(WebSocketHandshake.accept(for: Array(key.utf8)) == Array(accept.utf8))
    }
}
