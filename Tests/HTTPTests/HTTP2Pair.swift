import HTTP
import Testing

/// A client and a server, connected.
struct Pair {
    let client: Peer
    let server: Peer

    init(client: HTTP2Settings = HTTP2Settings(), server: HTTP2Settings = HTTP2Settings()) {
        self.client = Peer(.client, settings: client)
        self.server = Peer(.server, settings: server)
    }

    /// Carries octets to and fro until neither has any, `chunk` at a time.
    func exchange(chunk: Int = .max) {
        for _ in 0..<10_000 {
            let forth = client.collect()
            server.receive(forth, chunk: chunk)
            let back = server.collect()
            client.receive(back, chunk: chunk)
            if forth.isEmpty && back.isEmpty { return }
        }
        Issue.record("the two do not come to rest")
    }

    /// Connected, with the settings and what was told about them out of the way.
    static func ready(client: HTTP2Settings = HTTP2Settings(), server: HTTP2Settings = HTTP2Settings()) -> Pair {
        let pair = Pair(client: client, server: server)
        pair.exchange()
        _ = pair.client.news()
        _ = pair.server.news()
        return pair
    }
}
