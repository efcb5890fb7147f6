import HTTP
import Testing

/// Two sessions back to back, as the driver of a gateway uses them.
@Suite struct HTTP2SessionTests {
    @Test func `the preface and the settings open the connection`() {
        let pair = Pair()
        let opening = pair.client.collect()
        #expect(opening.starts(with: RawFrame.preface))
        let frames = RawFrame.all(in: opening)
        #expect(frames.map(\.type) == [4, 8])
        #expect(frames[1].number(at: 0) == UInt32(16 << 20) - 65_535)
        #expect(!pair.client.session.hasOutput)
        pair.server.receive(opening)
        #expect(pair.server.news() == [.settings])
        pair.exchange()
        #expect(pair.client.news() == [.settings])
        #expect(pair.client.session.maxPeerStreams == 100)
        #expect(!pair.client.session.peerAllowsConnectProtocol)
        #expect(pair.server.session.failure == nil && pair.client.session.failure == nil)
        #expect(!pair.client.session.isFinished && !pair.server.session.isFinished)
    }

    @Test func `a request and its response go through`() throws {
        let pair = Pair.ready()
        let stream = try #require(pair.client.request(.get, "/a?b", fields: [("X-One", "1"), ("te", "trailers")]))
        #expect(stream.id == 1 && stream.isLocalDone && !stream.isPeerDone)
        pair.exchange()
        let news = pair.server.news()
        #expect(news.count == 1)
        let head = try #require(news.first?.head)
        #expect(head.method == .get && head.target == "/a?b" && head.path == "/a" && head.authority == "example.org")
        #expect(head.kept == [TextField("x-one", "1"), TextField("te", "trailers")])
        #expect(head.flags == [.http2, .keepAlive, .acceptsTrailers])
        #expect(head.framing == BodyFraming.none)
        pair.server.respond(1, 200, fields: [("content-type", "text/plain"), ("content-length", "5")])
        pair.server.send("hello", on: 1)
        pair.server.finish(1)
        let frames = RawFrame.all(in: pair.server.collect())
        #expect(frames.map(\.type) == [1, 0])
        #expect(frames[1].flags == 1, "content and END_STREAM are one frame")
        pair.client.receive(frames.flatMap(\.octets))
        let answer = pair.client.news()
        #expect(answer.count == 2)
        #expect(answer.first?.head?.status == 200)
        #expect(answer.first?.head?.framing == .length(5))
        #expect(answer.last == .content(1, "hello", ends: true))
        #expect(stream.isClosed && stream.isPeerDone && pair.client.session.openStreams == 0)
        pair.client.release(1)
        pair.server.release(1)
        pair.exchange()
        #expect(pair.client.news() == [] && pair.server.news() == [])
    }
}
