import HTTP
import Testing

/// A connection to the counted gateway, of a caller or of the upstream: the same simple message again and again. What
/// belongs together is written in one piece.
final class CountedPeer {
    private enum Speech {
        case http1
        case http2(HTTP2Session)
    }

    private let end: WireEnd
    private let speech: Speech
    private let role: HTTP2Session.Role
    private var input: [UInt8] = []
    private var output = ByteBuffer()
    /// HTTP/2: whose message has come whole.
    private var complete: [HTTP2Stream] = []

    init(_ end: WireEnd, _ version: Pairing.Version, _ role: HTTP2Session.Role) throws {
        self.end = end
        self.role = role
        switch version {
        case .http1: speech = .http1
        case .http2: speech = .http2(try #require(HTTP2Session(role: role, settings: HTTP2Settings())))
        }
    }

    func close() { end.close() }

    /// Sends so many requests, all for the grant of `tenant`.
    func ask(_ count: Int, tenant: String? = nil) throws {
        switch speech {
        case .http1:
            let naming = tenant.map { "X-Tenant: \($0)\r\n" } ?? ""
            for _ in 0..<count {
                end.write("GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\(naming)\r\n")
            }
        case .http2(let session):
            for _ in 0..<count {
                let stream = session.request(method: .get, ends: true, into: &output) { encoder, out in
                    encoder.method(.get, text: UnsafeRawBufferPointer(start: nil, count: 0), to: &out)
                    encoder.scheme(isTLS: false, to: &out)
                    text("/a") { encoder.path($0, to: &out) }
                    text("a") { encoder.authority($0, to: &out) }
                    encoder.field("user-agent", "test", to: &out)
                    encoder.field("accept", "*/*", to: &out)
                    if let tenant { encoder.field("x-tenant", Array(tenant.utf8), to: &out) }
                }
                try #require(stream != nil, "the gateway takes no more streams")
            }
            flush(session)
        }
    }

    /// Answers what has come.
    func answer() throws {
        switch speech {
        case .http1:
            end.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        case .http2(let session):
            for stream in complete {
                session.respond(stream, ends: false, into: &output) { encoder, out in
                    encoder.status(200, to: &out)
                    encoder.field("content-length", 2, to: &out)
                }
                text("ok") { session.send($0, on: stream) }
                session.finish(stream)
            }
            flush(session)
            releaseAll()
        }
    }

    /// Waits for so many messages.
    func awaitMessages(_ count: Int) throws {
        switch speech {
        case .http1:
            for _ in 0..<count { try awaitMessage() }
        case .http2(let session):
            while complete.count < count {
                let octets = try #require(end.readSome())
                try #require(!octets.isEmpty, "the gateway closed the connection")
                input += octets
                try takeFrames(session)
                flush(session)
            }
        }
    }

    private func awaitMessage() throws {
        switch role {
        case .client:
            let response = end.readMessage()
            try #require(response.status == 200, "\(response)")
        case .server:
            try #require(!end.read(until: "\r\n\r\n").isEmpty, "the gateway closed the connection")
        }
    }

    /// HTTP/2: lets go of the streams whose messages have come.
    func releaseAll() {
        guard case .http2(let session) = speech else { return }
        for stream in complete { session.release(stream) }
        complete.removeAll()
    }

    private func takeFrames(_ session: HTTP2Session) throws {
        var used = 0
        while true {
            let (consumed, event) = input[used...].withUnsafeBytes { octets in
                let step = session.step(octets)
                return (step.consumed, step.event)
            }
            try note(event, session)
            if consumed == 0 { break }
            used += consumed
        }
        input.removeFirst(used)
        try #require(session.failure == nil)
    }

    private func note(_ event: HTTP2Event, _ session: HTTP2Session) throws {
        switch event {
        case .head(let stream, let ends, let rejection):
            try #require(rejection == nil)
            if role == .client { try #require(stream.head.status == 200, "\(stream.head.status)") }
            if ends { complete.append(stream) }
        case .content(let stream, _, let length, let ends):
            session.consume(length, on: stream)
            if ends { complete.append(stream) }
        case .trailers, .reset, .goAway:
            Issue.record("an event that was not expected: \(event)")
        case .settings, .pong, .none:
            break
        }
    }

    private func flush(_ session: HTTP2Session) {
        session.collect(into: &output, limit: .max)
        if !output.isEmpty { end.write(output.array()) }
        output.removeAll()
    }

    private func text(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
        Array(text.utf8).withUnsafeBytes { body($0) }
    }
}
