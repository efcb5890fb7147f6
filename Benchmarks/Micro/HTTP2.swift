import HTTP
import Proxy

/// Field blocks, whole exchanges through two sessions, and the pool of HTTP/2 connections.
func http2Benchmarks() -> [Benchmark] {
    var all = [block("HPACK encoder: a request's fields, all in the table")]
    all.append(block("HPACK encoder: a request's fields, in no table", tableSize: 0))
    for streams in [1, 16] {
        all.append(roundTrips("HTTP/2 sessions: request and response, \(streams) at a time", streams))
    }
    for size in [1, 4] { all.append(streamPool("stream pool: lease and end, \(size) connections", size)) }
    return all
}

private func block(_ name: String, tableSize: Int = 4096) -> Benchmark {
    Benchmark(name) { count in
        var encoder = HPACKEncoder()
        encoder.setPeerTableSize(tableSize)
        var out = ByteBuffer(capacity: 4096)
        for _ in 0..<count {
            out.removeAll()
            encoder.begin(to: &out)
            writeRequest(&encoder, &out)
            expect(out.count > 5, "there is a block")
        }
    }
}

private func writeRequest(_ encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
    encoder.method(.get, text: UnsafeRawBufferPointer(start: nil, count: 0), to: &out)
    encoder.scheme(isTLS: true, to: &out)
    encoder.authority(octets("api.example.org"), to: &out)
    encoder.path(octets("/v1/items/7"), to: &out)
    encoder.field("user-agent", "curl/8.5.0", to: &out)
    encoder.field("accept", "application/json", to: &out)
    encoder.field("accept-language", "en", to: &out)
    encoder.field("via", "1.1 token-gateway", to: &out)
    encoder.field("x-forwarded-for", "10.0.0.9", to: &out)
}

private func octets(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
}

/// Counted by request: `streams` of them are under way together.
private func roundTrips(_ name: String, _ streams: Int) -> Benchmark {
    Benchmark(name) { count in
        let link = SessionLink()
        var left = count
        while left > 0 {
            let together = min(left, streams)
            link.exchange(together)
            left -= together
        }
    }
}

/// A caller's session and an upstream's, with what is on its way between them.
private final class SessionLink {
    private let client = HTTP2Session(role: .client, settings: HTTP2Settings())!
    private let server = HTTP2Session(role: .server, settings: HTTP2Settings())!
    private var forth = ByteBuffer()
    private var back = ByteBuffer()
    private var answered = 0

    func exchange(_ count: Int) {
        answered = 0
        for _ in 0..<count {
            let stream = client.request(method: .get, ends: true, into: &forth) { writeRequest(&$0, &$1) }
            expect(stream != nil, "a stream is to be had")
        }
        client.collect(into: &forth, limit: .max)
        serve()
        receive()
        expect(answered == count, "all are answered")
    }

    private func serve() {
        while true {
            let step = server.step(forth.readable)
            if case .head(let stream, _, _) = step.event {
                server.respond(stream, ends: false, into: &back) { encoder, out in
                    encoder.status(200, to: &out)
                    encoder.field("content-type", "application/json", to: &out)
                    encoder.field("server", "api", to: &out)
                    encoder.field("content-length", 128, to: &out)
                }
                withUnsafeBytes(of: Self.content) { server.send($0, on: stream) }
                server.finish(stream)
                server.release(stream)
            }
            guard step.consumed > 0 else { break }
            forth.consume(step.consumed)
        }
        server.collect(into: &back, limit: .max)
    }

    private func receive() {
        while true {
            let step = client.step(back.readable)
            if case .content(let stream, _, let length, let ends) = step.event {
                client.consume(length, on: stream)
                if ends {
                    answered += 1
                    client.release(stream)
                }
            }
            guard step.consumed > 0 else { break }
            back.consume(step.consumed)
        }
    }

    private static let content = SIMD64<UInt16>(repeating: 0x6161)
}

private func streamPool(_ name: String, _ size: Int) -> Benchmark {
    Benchmark(name) { count in
        var pool = StreamPool(limits: StreamPool.Limits(connections: size, streams: 100, waiting: 100))
        for number in 0..<size {
            // Fills what is there, so that the next one is opened.
            while case .share = pool.lease(exchange: 1, newConnection: false) {}
            pool.opened(connection: number, capacity: 100)
        }
        _ = pool.streamEnded(connection: size - 1)
        for _ in 0..<count {
            guard case .share(let connection) = pool.lease(exchange: 1, newConnection: false) else {
                expect(false, "a stream is free")
                return
            }
            _ = pool.streamEnded(connection: connection)
        }
    }
}
