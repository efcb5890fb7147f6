import HTTP
import Testing

/// How streams and connections end before their time.
@Suite struct HTTP2EndTests {
    @Test func `a reset by the peer is told with its code`() throws {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.exchange()
        pair.client.session.reset(try #require(pair.client.streams[1]), code: HTTP2Code.cancel)
        pair.exchange()
        #expect(pair.server.news().last == .reset(1, code: 8, isRefused: false, isLocal: false))
        #expect(pair.client.news() == [], "one's own reset is no news")
        #expect(pair.server.streams[1]?.isClosed == true && pair.client.streams[1]?.isLocalDone == true)
    }

    @Test func `a refused stream is told as such`() throws {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.exchange()
        pair.server.session.reset(try #require(pair.server.streams[1]), code: HTTP2Code.refusedStream)
        pair.exchange()
        #expect(pair.client.news().last == .reset(1, code: 7, isRefused: true, isLocal: false))
    }

    @Test func `a reset drops what waits and nothing is sent after it`() throws {
        let server = HTTP2FlowTests.answering(window: 0)
        server.send("hello", on: 1)
        let stream = try #require(server.streams[1])
        server.session.reset(stream, code: HTTP2Code.internalError)
        #expect(stream.backlog == 0)
        server.send("more", on: 1)
        server.finish(1)
        server.session.reset(stream, code: HTTP2Code.cancel)
        #expect(server.frames() == [RawFrame.reset(1, 2)])
        #expect(stream.isClosed)
    }

    @Test func `releasing an open stream resets it`() {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.exchange()
        pair.client.release(1)
        #expect(pair.client.frames() == [RawFrame.reset(1, 8)])
        #expect(pair.client.session.openStreams == 0)
    }

    @Test func `a server that has answered does not want the rest of the request`() {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.exchange()
        pair.server.respond(1, 413, ends: true)
        _ = pair.server.collect()
        pair.server.release(1)
        #expect(pair.server.frames() == [RawFrame.reset(1, 0)])
    }

    @Test func `a complete response and a reset with NO_ERROR stop the request`() {
        let client = clientWithRawServer()
        _ = client.request(.post, ends: false)
        client.receive(RawFrame.headers(1, [(":status", "413")]), RawFrame.reset(1, 0))
        #expect(client.told.first?.head?.status == 413)
        #expect(client.told.last == .reset(1, code: 0, isRefused: false, isLocal: false))
    }

    @Test func `what a released stream's peer still sends is passed over`() {
        let pair = Pair.ready()
        _ = pair.client.request(.post, ends: false)
        pair.client.send("x", on: 1)
        pair.exchange()
        pair.server.release(1)
        _ = pair.server.news()
        pair.client.send("y", on: 1)
        var trailers = MessageHead()
        let text = octets("a").withUnsafeBytes { trailers.store($0) }
        trailers.fields.append(Field(id: .other, name: text, value: text))
        pair.client.session.finish(pair.client.streams[1]!, trailers: trailers)
        pair.server.receive(pair.client.collect())
        pair.exchange()
        #expect(pair.server.news() == [] && pair.server.session.failure == nil)
    }

    @Test func `a stream reset between pieces of a frame is told nothing more`() throws {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest, ends: false))
        let frame = RawFrame.data(1, "0123456789", ends: true).octets
        server.receive(Array(frame[..<12]))
        server.session.reset(try #require(server.streams[1]), code: HTTP2Code.cancel)
        let count = server.told.count
        server.receive(Array(frame[12...]))
        #expect(server.told.count == count && server.session.failure == nil)
    }

    @Test func `a stream released between pieces of its trailers is told nothing more`() {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest, ends: false))
        let frame = RawFrame.headers(1, [("x-sum", "1"), ("x-more", "2")]).octets
        server.receive(Array(frame[..<20]))
        server.release(1)
        let count = server.told.count
        server.receive(Array(frame[20...]))
        server.receive(RawFrame.headers(3, plainRequest))
        #expect(server.told.count == count + 1 && server.told.last?.head?.kept == [])
    }

    // MARK: - The number of streams

    // MARK: - Answers that nobody takes

    /// A server whose driver has finished stream 1 at 1000; of its 200 octets half are sent.
    private func resting(window: UInt32 = 100, streams: [Int32] = [1, 3]) throws -> Peer {
        let server = HTTP2FlowTests.answering(window: window, streams: streams)
        server.send(String(repeating: "x", count: Int(window) + 100), on: 1)
        server.finish(1)
        server.session.release(try #require(server.streams[1]), at: 1000)
        #expect(HTTP2FlowTests.contentBytes(server.frames()) == Int(window))
        #expect(server.session.resetUntaken(now: 1000, patience: 500) == 1500)
        return server
    }

    @Test func `what a peer lets lie is reset when its time is over, and nothing else`() throws {
        let server = try resting()
        #expect(server.session.resetUntaken(now: 1499, patience: 500) == 1500)
        #expect(server.frames().isEmpty)
        // What the others do does not help it.
        server.send("more", on: 3)
        #expect(server.frames() == [RawFrame.data(3, "more")])
        #expect(server.session.resetUntaken(now: 1500, patience: 500) == .max)
        #expect(server.frames() == [RawFrame.reset(1)])
        #expect(server.session.openStreams == 1)
        server.send("and more", on: 3)
        #expect(server.frames() == [RawFrame.data(3, "and more")])
        #expect(server.session.resetUntaken(now: 9000, patience: 500) == .max)
    }

    @Test func `what a peer takes a little of has its time anew`() throws {
        let server = try resting()
        server.receive(RawFrame.windowUpdate(1, 1))
        #expect(HTTP2FlowTests.contentBytes(server.frames()) == 1)
        #expect(server.session.resetUntaken(now: 1600, patience: 500) == 2100)
        server.receive(RawFrame.windowUpdate(1, 1))
        #expect(HTTP2FlowTests.contentBytes(server.frames()) == 1)
        #expect(server.session.resetUntaken(now: 2100, patience: 500) == 2600)
        #expect(server.session.resetUntaken(now: 2600, patience: 500) == .max)
        #expect(server.frames() == [RawFrame.reset(1)])
    }

    @Test func `what waits for its turn in the connection's window is left alone while anything leaves`() throws {
        let server = try resting(window: 60_000)
        server.receive(RawFrame.windowUpdate(1, 1000))
        server.receive(RawFrame.windowUpdate(3, 100_000))
        server.send(String(repeating: "y", count: 100_000), on: 3)
        // What is left of the connection's window.
        #expect(HTTP2FlowTests.contentBytes(server.frames()) == 5535)
        #expect(server.session.resetUntaken(now: 1500, patience: 500) == 2000)
        server.receive(RawFrame.windowUpdate(0, 1))
        #expect(HTTP2FlowTests.contentBytes(server.frames()) == 1)
        #expect(server.session.resetUntaken(now: 2000, patience: 500) == 2500)
        #expect(server.session.resetUntaken(now: 2500, patience: 500) == .max)
        #expect(server.frames() == [RawFrame.reset(1)])
    }

    @Test func `what the driver has not collected is not the peer's to take`() throws {
        let server = HTTP2FlowTests.answering(window: 100)
        server.send("content", on: 1)
        server.finish(1)
        server.session.release(try #require(server.streams[1]), at: 1000)
        #expect(server.session.resetUntaken(now: 2000, patience: 500) == 2500)
        #expect(server.frames() == [RawFrame.data(1, "content", ends: true)])
        #expect(server.session.resetUntaken(now: 3000, patience: 500) == .max)
    }

    @Test func `no more streams are opened than the peer allows`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 2
        let pair = Pair.ready(server: settings)
        #expect(pair.client.session.maxPeerStreams == 2)
        #expect(pair.client.request() != nil && pair.client.request() != nil)
        #expect(!pair.client.session.canRequest && pair.client.request() == nil)
        pair.exchange()
        pair.server.respond(1, ends: true)
        pair.exchange()
        #expect(pair.client.session.canRequest && pair.client.request()?.id == 5)
        pair.exchange()
        #expect(pair.server.session.failure == nil)
    }

    @Test func `a request that is not written encodes nothing`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 0
        let pair = Pair.ready(server: settings)
        var calls = 0
        let stream = pair.client.session.request(method: .get, ends: true, into: &pair.client.output) { _, _ in
            calls += 1
        }
        let written = pair.client.output.count
        #expect(stream == nil && calls == 0 && written == 0)
    }

    @Test func `a response on a stream that is gone encodes nothing`() throws {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest), RawFrame.reset(1))
        var calls = 0
        let stream = try #require(server.streams[1])
        server.session.respond(stream, ends: true, into: &server.output) { _, _ in calls += 1 }
        let written = server.output.count
        #expect(calls == 0 && written == 0)
    }

    @Test func `streams that were reset count until they are released`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 3
        let server = serverWithRawClient(settings)
        for id in [1, 3, 5] as [Int32] { server.receive(RawFrame.headers(id, plainRequest), RawFrame.reset(id)) }
        _ = server.news()
        server.receive(RawFrame.headers(7, plainRequest))
        #expect(server.news() == [])
        #expect(Peer.resetCode(server.frames(), 7) == HTTP2Code.refusedStream)
        server.release(3)
        server.receive(RawFrame.headers(9, plainRequest))
        #expect(server.news().count == 1 && server.session.failure == nil)
    }

    @Test func `streams above the limit are refused while the peer cannot know it`() {
        var settings = HTTP2Settings()
        settings.maxConcurrentStreams = 1
        let server = Peer(.server, settings: settings)
        server.receive(RawFrame.preface + RawFrame.settings().octets)
        server.receive(RawFrame.headers(1, plainRequest, ends: false), RawFrame.headers(3, plainRequest, ends: false))
        server.receive(RawFrame.data(3, "x"), RawFrame.headers(3, [("x-sum", "1")]), RawFrame.data(1, "y", ends: true))
        #expect(server.told.last == .content(1, "y", ends: true))
        #expect(Peer.resetCode(server.frames(), 3) == HTTP2Code.refusedStream)
        #expect(server.session.failure == nil)
    }

    // MARK: - GOAWAY

    @Test func `a server announces its end, then ends, and what it has taken is finished`() {
        let pair = Pair.ready()
        _ = pair.client.request()
        pair.exchange()
        pair.server.session.announceEnd()
        pair.exchange()
        #expect(pair.client.news().last == .goAway(.max, code: 0))
        #expect(!pair.client.session.canRequest)
        pair.server.session.end(code: 0)
        pair.exchange()
        #expect(pair.client.news().last == .goAway(1, code: 0))
        #expect(!pair.server.session.isFinished && !pair.client.session.isFinished)
        pair.server.respond(1, ends: true)
        pair.exchange()
        #expect(pair.client.news().last?.head?.status == 200)
        #expect(pair.server.session.isFinished && pair.client.session.isFinished)
        #expect(pair.server.session.failure == nil && pair.client.session.failure == nil)
    }

    @Test func `streams above a GOAWAY are refused, those below go on`() {
        let client = clientWithRawServer()
        for _ in 0..<3 { _ = client.request(.post, ends: false) }
        _ = client.collect()
        client.receive(RawFrame.goAway(1))
        let news = client.news()
        #expect(news.first == .goAway(1, code: 0))
        #expect(news.count == 3)
        for id in [3, 5] as [Int32] {
            #expect(news.contains(.reset(id, code: 7, isRefused: true, isLocal: false)))
        }
        #expect(client.request() == nil)
        client.receive(RawFrame.headers(1, [(":status", "200")]))
        #expect(client.news().first?.head?.status == 200)
        #expect(!client.session.isFinished)
        client.finish(1)
        _ = client.collect()
        #expect(client.session.isFinished)
    }

    @Test func `requests after a server's end are passed over`() {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest))
        server.session.end(code: 0)
        _ = server.collect()
        _ = server.news()
        server.receive(RawFrame.headers(3, plainRequest, ends: false), RawFrame.data(3, "x"))
        server.receive(RawFrame.headers(3, [("x-sum", "1")]))
        #expect(server.news() == [] && server.session.failure == nil)
    }

    @Test func `an end with an error is the last that is sent`() {
        let pair = Pair.ready()
        _ = pair.client.request()
        pair.exchange()
        pair.server.session.end(code: HTTP2Code.internalError)
        pair.exchange()
        #expect(pair.client.news().contains(.goAway(1, code: 2)))
        #expect(pair.server.session.isFinished)
    }

    @Test func `an unused connection that is ended is finished`() {
        let pair = Pair.ready()
        pair.client.session.end(code: 0)
        #expect(!pair.client.session.isFinished, "GOAWAY must go first")
        pair.exchange()
        #expect(pair.client.session.isFinished && pair.server.session.isFinished)
        #expect(pair.server.news() == [.goAway(0, code: 0)])
        #expect(pair.client.request() == nil)
    }

    @Test func `after a failure nothing more is taken`() {
        let server = serverWithRawClient()
        server.receive(RawFrame.headers(1, plainRequest))
        server.receive(RawFrame.data(0, "x"))
        #expect(server.session.failure?.code == 1 && server.session.failure?.abuse == .protocolError)
        let step = RawFrame.ping.octets.withUnsafeBytes { server.session.step($0) }
        #expect(step.consumed == 0)
        server.respond(1, ends: true)
        server.send("x", on: 1)
        server.session.ping()
        server.release(1)
        #expect(server.frames().map(\.type) == [7])
        #expect(server.session.isFinished && !server.session.hasOutput)
    }
}
