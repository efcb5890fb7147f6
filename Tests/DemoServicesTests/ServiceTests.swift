import Foundation
import OpenSSLKit
import Reactor
import Synchronization
import Testing

@testable import DemoServices

@Suite struct ServiceTests {
    // MARK: API

    @Test func `the API answers who brings a token and challenges the rest`() throws {
        let client = try Client()
        let tokens = try client.connect()
        let hello = try client.json(client.api("/hello?a=b", tokens.access))
        #expect(hello["message"] as? String == "hello, alice")
        #expect(hello["query"] as? String == "a=b")
        #expect(try !client.api("/hello", tokens.access).text.contains(tokens.access))
        let none = try client.api("/hello", nil)
        #expect(none.status == 401)
        #expect(none.field("www-authenticate") == "Bearer realm=\"demo\"")
        let wrong = try client.api("/hello", "nonsense")
        #expect(wrong.status == 401)
        #expect(wrong.field("www-authenticate")?.contains("error=\"invalid_token\"") == true)
        #expect(client.services.counters.apiCalls == 4)
        #expect(client.services.counters.apiRejections == 2)
    }

    @Test func `two credentials are one too many`() throws {
        let client = try Client()
        let tokens = try client.connect()
        let fields = [("Authorization", "Bearer \(tokens.access)"), ("Authorization", "Basic eDp5")]
        #expect(try client.http.request("GET", client.services.apiURL + "/", fields: fields).status == 400)
        #expect(client.services.counters.apiDoubleCredentials == 1)
    }

    @Test func `the credential may have another field and word`() throws {
        var options = DemoOptions()
        options.credentialField = "X-Access-Token"
        options.credentialScheme = ""
        let client = try Client(options)
        let tokens = try client.connect()
        let field = ("X-Access-Token", tokens.access)
        #expect(try client.http.request("GET", client.services.apiURL + "/", fields: [field]).status == 200)
        #expect(try client.api("/", tokens.access).status == 401)
    }

    @Test func `tokens expire by the clock, by command, and in silence`() throws {
        let client = try Client()
        var tokens = try client.connect()
        for spoil in [
            { client.services.advanceClock(seconds: 60) }, { client.services.expireAllAccessTokens() },
            { client.services.revokeAccessTokensSilently() },
        ] {
            #expect(try client.api("/hello", tokens.access).status == 200)
            spoil()
            let reply = try client.api("/hello", tokens.access)
            #expect(reply.status == 401)
            #expect(reply.field("www-authenticate")?.contains("invalid_token") == true)
            tokens = try client.tokens(client.refresh(tokens.refresh))
        }
        client.services.forgetRefreshTokens()
        #expect(try client.error(client.refresh(tokens.refresh)) == "invalid_grant")
    }

    @Test(arguments: [false, true], [0, 1, 70_000, 3_000_000])
    func `an upload is answered with its digest`(_ isChunked: Bool, _ count: Int) throws {
        let client = try Client()
        let tokens = try client.connect()
        let body = DemoServices.pattern(count: count)
        let reply = try client.json(
            client.api("/upload", tokens.access, method: "POST", body: body, isChunked: isChunked))
        #expect(reply["bytes"] as? Int == count)
        #expect(reply["sha256"] as? String == hex(Digest.sha256(body)))
    }

    @Test(arguments: ["", "&chunked=1"], [0, 1, 65_536, 2_000_001])
    func `a download is the pattern`(_ suffix: String, _ count: Int) throws {
        let client = try Client()
        let tokens = try client.connect()
        let reply = try client.api("/download?bytes=\(count)\(suffix)", tokens.access)
        #expect(reply.body == DemoServices.pattern(count: count))
        #expect((reply.field("content-length") == nil) == !suffix.isEmpty)
        let head = try client.api("/download?bytes=\(count)\(suffix)", tokens.access, method: "HEAD")
        #expect(head.body.isEmpty && head.status == 200)
    }

    @Test func `the pattern is the same wherever it begins`() {
        let whole = DemoServices.pattern(count: 100_000)
        #expect(Array(whole[777..<1777]) == DemoServices.pattern(from: 777, count: 1000))
        #expect(whole[0..<256] != whole[256..<512])
    }

    @Test func `the other resources answer as named`() throws {
        let client = try Client()
        let tokens = try client.connect()
        #expect(try client.api("/status/429", tokens.access).status == 429)
        #expect(try client.api("/status/204", tokens.access).body.isEmpty)
        #expect(try client.api("/status/abc", tokens.access).status == 404)
        #expect(try client.api("/upload", tokens.access).status == 405)
        #expect(try client.api("/download?bytes=-1", tokens.access).status == 400)
        #expect(try client.api("/slow?ms=1", tokens.access).status == 200)
    }

    // MARK: Faults

    static let faults: [(TokenFault, Int)] = [
        (.status(503, retryAfterSeconds: 7), 503), (.oauthError("invalid_grant"), 400),
        (.oauthError("invalid_client"), 401), (.errorInSuccess("bad_refresh_token"), 200), (.html, 200),
        (.brokenJSON, 200),
    ]

    @Test(arguments: faults)
    func `a fault of the token endpoint answers as asked and changes nothing`(_ fault: TokenFault, _ status: Int)
        throws
    {
        let client = try Client()
        let tokens = try client.connect()
        client.services.failTokenEndpoint(fault, times: 2)
        for _ in 0..<2 {
            let reply = try client.refresh(tokens.refresh)
            #expect(reply.status == status)
            if status == 503 { #expect(reply.field("retry-after") == "7") }
            #expect(!reply.text.contains("refresh_token\":"))
        }
        #expect(client.services.counters.refreshes == 0)
        #expect(try client.refresh(tokens.refresh).status == 200)
        #expect(client.services.counters.tokenCalls == 4)
        #expect(client.services.counters.replays == 0)
    }

    @Test func `a lost reply has happened, a cut request has not`() throws {
        let client = try Client()
        let tokens = try client.connect()
        client.services.failTokenEndpoint(.cutBefore)
        #expect(throws: DemoClientError.self) { try client.refresh(tokens.refresh) }
        #expect(client.services.counters.refreshes == 0)
        client.services.failTokenEndpoint(.cutAfter)
        #expect(throws: DemoClientError.self) { try client.refresh(tokens.refresh) }
        #expect(client.services.counters.refreshes == 1)
        client.services.healTokenEndpoint()
        #expect(try client.refresh(tokens.refresh).status == 200)
        #expect(client.services.counters.replays == 1)
    }

    @Test(arguments: [(TokenFault.timeout, 0), (.timeoutAfter, 1)])
    func `a time-out leaves the requester waiting`(_ fault: TokenFault, _ refreshes: Int) throws {
        let client = try Client()
        let tokens = try client.connect()
        client.services.failTokenEndpoint(fault)
        var impatient = client.http
        impatient.timeoutMilliseconds = 100
        let form = FormFields.encode([
            ("grant_type", "refresh_token"), ("refresh_token", tokens.refresh), ("client_id", client.services.clientID),
            ("client_secret", client.services.clientSecret.exposed()),
        ])
        #expect(throws: DemoClientError.self) {
            try impatient.request(
                "POST", client.services.issuer + "/token",
                fields: [("Content-Type", "application/x-www-form-urlencoded")], body: Array(form.utf8))
        }
        #expect(client.services.counters.refreshes == refreshes)
    }

    @Test func `a slow reply comes in the end`() throws {
        let client = try Client()
        let tokens = try client.connect()
        client.services.failTokenEndpoint(.slow(milliseconds: 50), times: 1)
        let start = MonotonicClock.milliseconds()
        #expect(try client.refresh(tokens.refresh).status == 200)
        #expect(MonotonicClock.milliseconds() - start >= 50)
    }

    @Test func `stopping ends those who wait, and the ports`() throws {
        let client = try Client()
        let tokens = try client.connect()
        let waiter = Thread { _ = try? client.api("/slow?ms=60000", tokens.access) }
        waiter.start()
        while client.services.counters.apiCalls == 0 { sched_yield() }
        client.services.stop()
        client.services.stop()
        #expect(throws: DemoClientError.self) { try client.api("/hello", tokens.access) }
    }

    // MARK: Protocol

    /// Sends bytes over TLS to the API and returns all that comes back.
    func raw(_ client: Client, _ text: String) throws -> String {
        let url = try #require(DemoURL(client.services.apiURL))
        guard case .inProgress(let socket) = Socket.connect(to: try #require(url.address)) else { return "" }
        let context = try TLSClientContext(TLSClientConfiguration(caPEM: client.services.caPEM))
        let wire = Wire(socket: socket, engine: TLSEngine(client: context, host: url.host), stop: nil)
        try wire.wait(for: Int16(POLLOUT), milliseconds: 5000)
        try wire.handshake()
        try wire.write(Array(text.utf8))
        var answer: [UInt8] = []
        while case let bytes = try wire.read(), !bytes.isEmpty { answer += bytes }
        return String(decoding: answer, as: UTF8.self)
    }

    @Test(arguments: [
        "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\u{1}\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ])
    func `a malformed request is answered 400 and the connection closed`(_ text: String) throws {
        let client = try Client()
        let answer = try raw(client, text)
        #expect(answer.hasPrefix("HTTP/1.1 400 "))
        #expect(answer.contains("Connection: close\r\n"))
        #expect(client.services.counters.apiCalls == 0)
    }

    @Test func `a refusal arrives though the requester goes on sending`() throws {
        let client = try Client()
        let answer = try raw(client, "NONSENSE\r\n\r\n" + String(repeating: "x", count: 2_000_000))
        #expect(answer.hasPrefix("HTTP/1.1 400 "))
    }

    @Test func `requests follow each other on one connection`() throws {
        let client = try Client()
        let tokens = try client.connect()
        let request = "GET /status/201 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \(tokens.access)\r\n"
        let answer = try raw(client, request + "\r\n" + request + "\r\n" + request + "Connection: close\r\n\r\n")
        #expect(answer.components(separatedBy: "HTTP/1.1 201 Created\r\n").count == 4)
    }

    @Test func `a body that waits is asked for only with a good token`() throws {
        let client = try Client()
        let tokens = try client.connect()
        func upload(_ token: String) -> String {
            "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n"
                + "Authorization: Bearer \(token)\r\n\r\nhi"
        }
        let good = try raw(client, upload(tokens.access))
        #expect(good.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))
        #expect(good.contains(hex(Digest.sha256(Array("hi".utf8)))))
        let bad = try raw(client, upload("nonsense"))
        #expect(bad.hasPrefix("HTTP/1.1 401 "))
        #expect(!bad.contains("100 Continue"))
        #expect(client.services.counters.apiCalls == 2)
    }

    @Test func `many at once are all served`() throws {
        let client = try Client()
        let tokens = try client.connect()
        let replies = (0..<20).map { _ in Reply() }
        let threads = replies.map { reply in
            Thread { reply.finish((try? client.api("/hello", tokens.access).status) ?? 0) }
        }
        for thread in threads { thread.start() }
        for reply in replies { #expect(reply.wait() == 200) }
    }

    @Test(arguments: [
        ("https://127.0.0.1:99/a?b#c", "127.0.0.1", UInt16(99), "/a?b"), ("http://localhost", "localhost", 80, "/"),
        ("https://[::1]/x", "[::1]", 443, "/x"), ("https://h?q=1", "h", 443, "/?q=1"),
    ])
    func `a URL falls into its parts`(_ text: String, _ host: String, _ port: UInt16, _ target: String) throws {
        let url = try #require(DemoURL(text))
        #expect((url.host, url.port) == (host, port))
        #expect(url.target == target)
    }

    @Test(arguments: ["ftp://h/", "https://", "https://h:99999/", "https://user@h/", "//h"])
    func `what is no URL is none`(_ text: String) {
        #expect(DemoURL(text) == nil)
    }
}

/// A number that one thread makes and another waits for.
private final class Reply: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    private let status = Mutex(0)

    func finish(_ value: Int) {
        status.withLock { $0 = value }
        semaphore.signal()
    }

    func wait() -> Int {
        semaphore.wait()
        return status.withLock { $0 }
    }
}
