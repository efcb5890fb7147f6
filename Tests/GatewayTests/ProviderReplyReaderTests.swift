import HTTP
import OAuth
import Testing

@testable import Gateway

/// A reply on the wire, how the connection ends, and what it means.
struct ReplyCase: Sendable, CustomTestStringConvertible {
    var name: String
    var wire: String
    var cleanly = true
    var expected: Result<ProviderReply, ProviderFailure>
    var testDescription: String { name }

    static func reply(_ status: Int, _ headers: [(String, String)] = [], _ body: String = "") -> Result<
        ProviderReply, ProviderFailure
    > {
        .success(
            ProviderReply(
                status: status, headers: headers.map { HeaderField($0.0, $0.1) }, body: Array(body.utf8)))
    }

    static let all: [ReplyCase] = [
        ReplyCase(
            name: "counted", wire: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            expected: reply(200, [("Content-Length", "2")], "{}")),
        ReplyCase(
            name: "chunked",
            wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n",
            expected: reply(200, [("Transfer-Encoding", "chunked")], "{}")),
        ReplyCase(name: "to the end", wire: "HTTP/1.0 200 OK\r\n\r\n{}", expected: reply(200, [], "{}")),
        ReplyCase(
            name: "cut, though the end delimits", wire: "HTTP/1.0 200 OK\r\n\r\n{}", cleanly: false,
            expected: .failure(.replyLost(.closed))),
        ReplyCase(
            name: "no content by its status", wire: "HTTP/1.1 204 No Content\r\n\r\n", expected: reply(204)),
        ReplyCase(
            name: "interim responses before it",
            wire: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                + "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\nx",
            expected: reply(400, [("Content-Length", "1")], "x")),
        ReplyCase(
            name: "a redirect",
            wire: "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.test/\r\nContent-Length: 0\r\n\r\n",
            expected: reply(302, [("Location", "https://elsewhere.test/"), ("Content-Length", "0")])),
        ReplyCase(
            name: "more than its length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 No\r\n\r\n",
            expected: reply(200, [("Content-Length", "2")], "{}")),
        ReplyCase(name: "nothing", wire: "", expected: .failure(.replyLost(.closed))),
        ReplyCase(name: "half a head", wire: "HTTP/1.1 200 OK\r\nCont", expected: .failure(.replyLost(.closed))),
        ReplyCase(
            name: "an interim response alone", wire: "HTTP/1.1 100 Continue\r\n\r\n",
            expected: .failure(.replyLost(.closed))),
        ReplyCase(
            name: "less than its length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            expected: .failure(.replyLost(.closed))),
        ReplyCase(
            name: "no last chunk", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            expected: .failure(.replyLost(.closed))),
        ReplyCase(
            name: "no end of its trailers",
            wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n",
            expected: .failure(.replyLost(.closed))),
        ReplyCase(name: "not HTTP", wire: "SSH-2.0-server\r\n\r\n", expected: .failure(.malformed)),
        ReplyCase(
            name: "both framings",
            wire: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            expected: .failure(.malformed)),
        ReplyCase(
            name: "a bad chunk", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            expected: .failure(.malformed)),
        ReplyCase(
            name: "another protocol", wire: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            expected: .failure(.malformed)),
        ReplyCase(
            name: "interim responses without end",
            wire: String(repeating: "HTTP/1.1 103 Early Hints\r\n\r\n", count: 17), expected: .failure(.malformed)),
        ReplyCase(
            name: "announced as too large", wire: "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n",
            expected: .failure(.tooLarge)),
        ReplyCase(
            name: "too large in chunks",
            wire:
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n\(String(repeating: "x", count: 32))\r\n9\r\n"
                + "123456789\r\n0\r\n\r\n",
            expected: .failure(.tooLarge)),
        ReplyCase(
            name: "too large to the end", wire: "HTTP/1.0 200 OK\r\n\r\n\(String(repeating: "x", count: 41))",
            expected: .failure(.tooLarge)),
        ReplyCase(
            name: "as large as may be", wire: "HTTP/1.0 200 OK\r\n\r\n\(String(repeating: "x", count: 40))",
            expected: reply(200, [], String(repeating: "x", count: 40))),
    ]
}

@Suite struct `reading a provider's reply` {
    @Test(arguments: ReplyCase.all, [1, 2, 7, Int.max])
    func `any cut of the bytes gives the same outcome`(reply: ReplyCase, stride: Int) {
        var reader = ProviderReplyReader(answering: .post, bodyLimit: 40)
        var outcome: ProviderOutcome?
        var rest = Array(reply.wire.utf8)[...]
        while outcome == nil, !rest.isEmpty {
            let piece = Array(rest.prefix(stride))
            rest = rest.dropFirst(stride)
            outcome = Self.outcome(piece.withUnsafeBytes { reader.received($0) })
        }
        if outcome == nil { outcome = Self.outcome(reader.ended(cleanly: reply.cleanly)) }
        #expect(outcome == reply.expected)
    }

    @Test func `a head without end is refused before it fills the memory`() {
        var reader = ProviderReplyReader(answering: .get)
        let start = Array("HTTP/1.1 200 OK\r\n".utf8)
        guard case .needsInput = start.withUnsafeBytes({ reader.received($0) }) else {
            Issue.record("the status line alone ended it")
            return
        }
        let line = Array("A: \(String(repeating: "x", count: 1000))\r\n".utf8)
        for _ in 0..<100 {
            if case .failed(let failure) = line.withUnsafeBytes({ reader.received($0) }) {
                #expect(failure == .malformed)
                return
            }
        }
        Issue.record("100 KiB of head were taken")
    }

    private static func outcome(_ step: ProviderReplyReader.Step) -> ProviderOutcome? {
        switch step {
        case .needsInput: nil
        case .complete(let reply): .success(reply)
        case .failed(let failure): .failure(failure)
        }
    }
}
