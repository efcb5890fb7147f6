import CAllocationCounter
import HTTP
import Testing

/// What a session costs: no allocation per request, and nothing that stays.
@Suite struct HTTP2CostTests {
    static let countsAllocations = allocations_of_this_thread() >= 0

    @Test(.enabled(if: countsAllocations), arguments: [0, 200, 20_000])
    func `requests and responses allocate nothing in the steady state`(length: Int) {
        var line = Line(length: length)
        line.connect()
        for _ in 0..<200 { line.roundTrip() }
        let before = allocations_of_this_thread()
        for _ in 0..<1000 { line.roundTrip() }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
        #expect(line.completed == 1200)
    }

    @Test(.enabled(if: countsAllocations))
    func `streams that are reset allocate nothing in the steady state`() {
        var line = Line(length: 10)
        line.connect()
        for _ in 0..<100 { line.roundTrip() }
        for _ in 0..<200 {
            line.brokenRoundTrip()
            line.roundTrip()
        }
        let before = allocations_of_this_thread()
        for _ in 0..<500 {
            line.brokenRoundTrip()
            line.roundTrip()
        }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
        #expect(line.client.failure == nil && line.server.failure == nil)
    }

    @Test func `a session that is let go with streams open leaves nothing behind`() {
        let before = HTTP2Session.libraryBlocks
        do {
            let pair = Pair.ready()
            for index in 0..<20 {
                _ = pair.client.request(.post, fields: [("x-\(index)", "\(index)")], ends: false)
            }
            pair.exchange()
            for id in [1, 3, 5] as [Int32] { pair.server.respond(id) }
            for id in [1, 3, 5, 7] as [Int32] { pair.client.send(String(repeating: "x", count: 300_000), on: id) }
            pair.server.receive(Array(pair.client.collect(limit: 100_000).dropLast(5)))
            pair.client.finish(9)
            pair.server.session.announceEnd()
            pair.client.session.ping()
            pair.server.release(3)
            pair.client.session.reset(pair.client.streams[11]!, code: 8)
        }
        #expect(HTTP2Session.libraryBlocks == before)
    }

    @Test func `a session that failed leaves nothing behind`() {
        let before = HTTP2Session.libraryBlocks
        for mistake in HTTP2MalformedTests.frames + HTTP2MalformedTests.requests {
            let server = serverWithRawClient()
            server.receive(mistake.octets)
        }
        #expect(HTTP2Session.libraryBlocks == before)
    }

    @Test func `a flood costs linear work`() {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest, ends: false))
        let octets = (0..<65_536).flatMap { _ in RawFrame.data(1, "x").octets }
        let before = processor_nanoseconds_of_this_thread()
        octets.withUnsafeBytes { bytes in
            var used = 0
            while used < bytes.count {
                let step = server.session.step(UnsafeRawBufferPointer(rebasing: bytes[used...]))
                if case .content(let stream, _, let length, _) = step.event {
                    server.session.consume(length, on: stream)
                }
                if step.consumed == 0 { break }
                used += step.consumed
            }
            #expect(used == bytes.count)
        }
        #expect(processor_nanoseconds_of_this_thread() - before < 4 * CostTests.processorLimit)
    }
}

/// A client and a server whose driver allocates nothing itself.
private struct Line: ~Copyable {
    let client = HTTP2Session(role: .client, settings: HTTP2Settings())!
    let server = HTTP2Session(role: .server, settings: HTTP2Settings())!
    var toServer = ByteBuffer()
    var toClient = ByteBuffer()
    var trailers = MessageHead()
    let content: [UInt8]
    var completed = 0
    /// The server's stream that is to be released when its response is out.
    var answered: HTTP2Stream?

    init(length: Int) {
        content = [UInt8](repeating: 97, count: length)
        let text = octets("x-sum").withUnsafeBytes { trailers.store($0) }
        trailers.fields.append(Field(id: .other, name: text, value: text))
    }

    mutating func connect() {
        for _ in 0..<3 {
            runServer()
            runClient()
        }
    }

    mutating func roundTrip() {
        request()
        while client.hasOutput || server.hasOutput || !toServer.isEmpty || !toClient.isEmpty {
            runServer()
            runClient()
        }
    }

    /// The client gives up after it has asked.
    mutating func brokenRoundTrip() {
        guard let stream = client.request(method: .get, ends: false, into: &toServer, Self.writeRequest) else { return }
        client.reset(stream, code: HTTP2Code.cancel)
        client.release(stream)
        runClient()
        runServer()
        runClient()
    }

    private static func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    }

    private static func writeRequest(_ encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
        encoder.method(.post, text: bytes("POST"), to: &out)
        encoder.scheme(isTLS: true, to: &out)
        encoder.path(bytes("/a/b?c=d"), to: &out)
        encoder.authority(bytes("example.org"), to: &out)
        encoder.field(.other, name: bytes("accept"), value: bytes("*/*"), to: &out)
        encoder.field(.cookie, name: bytes("cookie"), value: bytes("a=b"), to: &out)
        encoder.field(.cookie, name: bytes("cookie"), value: bytes("c=d"), to: &out)
    }

    private mutating func request() {
        guard let stream = client.request(method: .post, ends: false, into: &toServer, Self.writeRequest) else {
            return
        }
        content.withUnsafeBytes { client.send($0, on: stream) }
        client.finish(stream, trailers: trailers)
        client.collect(into: &toServer, limit: .max)
    }

    private mutating func runServer() {
        while true {
            let step = server.step(toServer.readable)
            switch step.event {
            case .head(let stream, _, _):
                server.informational(stream, into: &toClient) { encoder, out in encoder.status(103, to: &out) }
            case .content(let stream, _, let length, _):
                server.consume(length, on: stream)
            case .trailers(let stream): respond(stream)
            case .reset(let stream, _, _, _): server.release(stream)
            case .none, .settings, .goAway, .pong: break
            }
            if step.consumed == 0 { break }
            toServer.consume(step.consumed)
        }
        server.collect(into: &toClient, limit: .max)
        if let stream = answered, stream.isClosed {
            server.release(stream)
            answered = nil
        }
    }

    private mutating func respond(_ stream: HTTP2Stream) {
        let length = content.count
        server.respond(stream, ends: false, into: &toClient) { encoder, out in
            encoder.status(200, to: &out)
            encoder.field("content-length", UInt64(length), to: &out)
            encoder.field(.date, name: Self.bytes("date"), value: Self.bytes("Thu, 01 Jan 1970 00:00:00 GMT"), to: &out)
        }
        content.withUnsafeBytes { server.sendDirectly($0, on: stream, into: &toClient) }
        server.finish(stream)
        answered = stream
    }

    private mutating func runClient() {
        while true {
            let step = client.step(toClient.readable)
            if case .content(let stream, _, let length, let ends) = step.event {
                client.consume(length, on: stream)
                if ends {
                    completed += 1
                    client.release(stream)
                }
            }
            if step.consumed == 0 { break }
            toClient.consume(step.consumed)
        }
        client.collect(into: &toServer, limit: .max)
    }
}
