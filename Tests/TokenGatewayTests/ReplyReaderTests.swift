import Testing

@testable import TokenGateway

@Suite struct ReplyReaderTests {
    private func read(_ text: String, byByte: Bool = false, ends: Bool = true) -> ReplyReader.Step {
        var reader = ReplyReader()
        let bytes = Array(text.utf8)
        for piece in byByte ? bytes.map({ [$0] }) : [bytes] {
            let step = reader.received(piece)
            if case .needsMore = step { continue }
            return step
        }
        return ends ? reader.ended() : .needsMore
    }

    private func whole(_ step: ReplyReader.Step) -> ConsoleReply? {
        if case .reply(let reply) = step { return reply }
        return nil
    }

    @Test(arguments: [false, true]) func `a reply with a length is whole when its body is`(byByte: Bool) throws {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nhi"
        let reply = try #require(whole(read(text, byByte: byByte, ends: false)))
        #expect(reply.status == 200)
        #expect(reply.body == Array("hi".utf8))
        #expect(reply.field("x-a") == "b ")
    }

    @Test func `without a length the body ends with the connection`() throws {
        #expect(whole(read("HTTP/1.0 404 No\r\nA: b\r\n\r\nsome text"))?.body == Array("some text".utf8))
        #expect(whole(read("HTTP/1.1 204 No\r\nA: b\r\n\r\n", ends: false))?.status == 204)
    }

    @Test func `interim replies are skipped`() throws {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        #expect(whole(read(text, ends: false))?.status == 200)
    }

    @Test func `a status line without a reason is taken`() {
        #expect(whole(read("HTTP/1.1 401\r\nContent-Length: 0\r\n\r\n", ends: false))?.status == 401)
    }

    @Test(arguments: [
        "", "\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n: empty\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncut", "HTTP/1.1 200 OK\r\nContent-Le",
    ])
    func `what is no reply is refused`(text: String) {
        guard case .malformed = read(text) else {
            Issue.record("was taken: \(text)")
            return
        }
    }

    @Test func `heads and bodies have bounds`() {
        guard case .malformed = read("HTTP/1.1 200 OK\r\nA: " + String(repeating: "a", count: 70_000), ends: false)
        else {
            Issue.record("an endless head was taken")
            return
        }
        var reader = ReplyReader()
        _ = reader.received(Array("HTTP/1.1 200 OK\r\nA: b\r\n\r\n".utf8))
        guard case .malformed = reader.received([UInt8](repeating: 0, count: ReplyReader.bodyLimit + 1)) else {
            Issue.record("an endless body was taken")
            return
        }
    }
}
