import Console
import HTTP
import Reactor
import Testing

@testable import Gateway

@Suite struct `the console's server` {
    // MARK: Requests and answers

    @Test func `a request is answered and the connection stays`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        for number in 1...3 {
            end.write(get("/grants?n=\(number)"))
            let response = end.readMessage()
            #expect(response.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(response.content == "GET /grants n=\(number) 0")
            #expect(response.field("content-length") == "17")
            #expect(response.field("connection") == "keep-alive")
            #expect(response.field("date")?.hasSuffix(" GMT") == true)
            #expect(response.head.split(separator: "\r\n").filter { $0.hasPrefix("Content-Length") }.count == 1)
        }
    }

    @Test(arguments: [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
    ])
    func `a request that comes byte by byte is understood`(request: String) throws {
        let server = try ServerHarness()
        let end = try server.connect()
        for byte in request.utf8 { end.write([byte]) }
        let response = try #require(end.readAll())
        #expect(response.content == "POST / - 5")
        #expect(response.field("connection") == "close")
    }

    @Test func `the answer to HEAD has the length and no content`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n" + get("/b"))
        let response = end.readMessage(withoutContent: true)
        #expect(response.field("content-length") == "11")
        #expect(end.readMessage().content == "GET /b - 0")
    }

    @Test(arguments: [
        ("1.0", "", "close"), ("1.0", "Connection: keep-alive\r\n", "keep-alive"),
        ("1.1", "Connection: close\r\n", "close"), ("1.1", "", "keep-alive"),
    ])
    func `a connection stays or ends as asked`(version: String, field: String, expected: String) throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write("GET / HTTP/\(version)\r\nHost: a\r\n\(field)\r\n")
        #expect(end.readMessage().field("connection") == expected)
        if expected == "close" { #expect(end.readAll() == "") }
    }

    @Test func `the console sees all fields, and the target's host above the field`() throws {
        let server = try ServerHarness { request in
            let names = request.fields.map { "\($0.name)=\($0.value)" }
            return ServerHarness.text("\(names) \(request.peer) \(request.isLoopbackPeer) \(request.requestID.count)")
        }
        let end = try server.connect()
        end.write("GET http://b.test/x HTTP/1.1\r\nHost: a\r\nOrigin: o\r\nConnection: origin\r\n\r\n")
        #expect(
            end.readMessage().content
                == "[\"Origin=o\", \"Connection=origin\", \"Host=b.test\"] 127.0.0.1 true 16")
    }

    @Test func `a unix socket's peer is on this machine`() throws {
        let path = "/tmp/tg-console-\(SystemRandom.uint64())"
        defer { Socket.removeSocketFile(at: path) }
        let server = try ServerHarness(on: .unix(path: path)) { request in
            ServerHarness.text("\(request.peer) \(request.isLoopbackPeer)")
        }
        let end = try server.connect()
        end.write(get("/"))
        #expect(end.readMessage().content == "unix true")
    }

    @Test func `content is asked for where the peer waits for that`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        #expect(end.read(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        end.write("ok")
        #expect(end.readMessage().content == "POST / - 2")
    }

    @Test(arguments: [ConsoleField("X", "a\r\nSet-Cookie: evil=1"), ConsoleField("X Y", "a"), ConsoleField("X", "a\n")])
    func `an answer that would be two on the wire is not sent`(field: ConsoleField) throws {
        let server = try ServerHarness { _ in ServerHarness.text("hidden", fields: [field]) }
        let end = try server.connect()
        end.write(get("/") + get("/"))
        for _ in 1...2 {
            let response = end.readMessage()
            #expect(response.status == 500)
            #expect(response.field("token-gateway-error") == "internal_error")
            #expect(response.range(of: "evil") == nil && response.range(of: "hidden") == nil)
        }
    }

    @Test func `an answer without content has no length`() throws {
        let server = try ServerHarness { _ in ConsoleResponse(status: 204, fields: [], body: Array("x".utf8)) }
        let end = try server.connect()
        end.write(get("/") + get("/"))
        for _ in 1...2 {
            let response = end.readMessage()
            #expect(response.status == 204)
            #expect(response.field("content-length") == nil && response.content.isEmpty)
        }
    }

    // MARK: Order

    @Test func `many requests at once are answered in their order`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        let count = 500
        end.write((0..<count).map { get("/\($0)") }.joined())
        for number in 0..<count { #expect(end.readMessage().content == "GET /\(number) - 0") }
    }

    @Test func `a late answer holds back those behind it`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write(get("/a") + get("/later/1") + get("/b"))
        #expect(end.readMessage().content == "GET /a - 0")
        try server.waitFor("asked /later/1")
        server.post(.answer(path: "/later/1", ServerHarness.text("first")))
        server.post(.answer(path: "/later/1", ServerHarness.text("second")))
        #expect(end.readMessage().content == "first")
        #expect(end.readMessage().content == "GET /b - 0")
    }

    @Test func `one slow command does not hold up others`() throws {
        let server = try ServerHarness()
        let (slow, fast) = (try server.connect(), try server.connect())
        slow.write(get("/later/x"))
        try server.waitFor("asked /later/x")
        fast.write(get("/fast"))
        #expect(fast.readMessage().content == "GET /fast - 0")
        server.post(.answer(path: "/later/x", ServerHarness.text("done")))
        #expect(slow.readMessage().content == "done")
    }

    // MARK: Refusals

    static let refused: [(request: String, status: Int, code: String)] = [
        ("GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\nHost: a\n\n", 400, "malformed_request"),
        ("GET /\r\n\r\n", 400, "malformed_request"),
        ("\u{16}\u{03}\u{01}", 400, "malformed_request"),
        ("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", 400, "malformed_request"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
            "malformed_request"
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed_request"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version_not_supported"),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417, "expectation_failed"),
        ("GET /\(String(repeating: "x", count: 13000))", 414, "target_too_long"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 17000))", 431, "headers_too_large"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\(String(repeating: "X: y\r\n", count: 101))\r\n", 431, "headers_too_large"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413, "body_too_large"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n\(String(repeating: "x", count: 65537))",
            413, "body_too_large"
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 413, "body_too_large"),
    ]

    @Test(arguments: refused)
    func `a bad request gets a problem and the connection ends`(request: String, status: Int, code: String) throws {
        let server = try ServerHarness { _ in ServerHarness.text("must not come here", status: 299) }
        let end = try server.connect()
        end.write(request)
        let response = end.readMessage()
        #expect(response.status == status)
        #expect(response.field("content-type") == "application/problem+json")
        #expect(response.field("token-gateway-error") == code)
        #expect(response.field("connection") == "close")
        #expect(response.content.hasPrefix("{\"title\":\""))
        #expect(response.content.range(of: "\"code\":\"\(code)\"") != nil)
        // A peer that goes on talking still gets to read the answer, and then the end.
        end.write(get("/next"))
        #expect(end.readAll() == "")
    }

    @Test func `content of exactly the limit is taken`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n\(String(repeating: "x", count: 65536))")
        #expect(end.readMessage().content == "POST / - 65536")
    }

    // MARK: Time

    @Test func `a head that does not come to its end in time is refused, however it drips`() throws {
        var limits = ConsoleServer.Limits()
        limits.headTime = 60
        let server = try ServerHarness(limits: limits)
        let end = try server.connect()
        end.write("GET / HTTP/1.1\r\nHost: a\r\nX: ")
        var response: String?
        while end.write("x") {
            end.pause(milliseconds: 5)
            guard end.hasInput else { continue }
            response = end.readMessage()
            break
        }
        #expect(response?.status == 408)
        #expect(response?.field("token-gateway-error") == "request_timeout")
    }

    @Test func `content that does not come in time is refused`() throws {
        var limits = ConsoleServer.Limits()
        limits.bodyTime = 40
        let server = try ServerHarness(limits: limits)
        let end = try server.connect()
        end.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        #expect(end.readMessage().status == 408)
        #expect(end.readAll() == "")
    }

    @Test func `silent connections are closed without a word`() throws {
        var limits = ConsoleServer.Limits()
        limits.headTime = 300
        limits.idleTime = 40
        let server = try ServerHarness(limits: limits)
        let (fresh, used) = (try server.connect(), try server.connect())
        used.write(get("/"))
        #expect(used.readMessage().status == 200)
        #expect(fresh.readAll() == "")
        #expect(used.readAll() == "")
    }

    @Test func `a peer that does not read its answer is let go`() throws {
        var limits = ConsoleServer.Limits()
        limits.writeTime = 60
        let server = try ServerHarness(limits: limits) { _ in
            ServerHarness.text(String(repeating: "x", count: 32 << 20))
        }
        let end = try server.connect()
        end.write(get("/"))
        end.waitForEnd()
        server.post(.answer(path: "/none", ServerHarness.text("")))
        try server.waitFor("answered /none with 0 connections")
    }

    @Test func `a command that is forgotten is answered with an error, and its late answer dropped`() throws {
        var limits = ConsoleServer.Limits()
        limits.answerTime = 40
        let server = try ServerHarness(limits: limits)
        let end = try server.connect()
        end.write(get("/later/lost"))
        #expect(end.readMessage().status == 500)
        server.post(.answer(path: "/later/lost", ServerHarness.text("late")))
        #expect(end.readAll() == "")
    }

    // MARK: Peers that leave, and many of them

    @Test func `a peer that leaves while its command runs loses the answer only`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write(get("/later/gone"))
        try server.waitFor("asked /later/gone")
        end.reset()
        // Whether the reset was noticed before or not, the answer does no harm.
        server.post(.answer(path: "/later/gone", ServerHarness.text("nobody")))
        let other = try server.connect()
        other.write(get("/still/here"))
        #expect(other.readMessage().content == "GET /still/here - 0")
        server.post(.answer(path: "/none", ServerHarness.text("")))
        try server.waitFor("answered /none with 1 connections")
    }

    @Test func `a peer that has only ended its sending gets its answers`() throws {
        let server = try ServerHarness()
        let end = try server.connect()
        end.write(get("/later/half") + get("/b"))
        end.shutdownWriting()
        try server.waitFor("asked /later/half")
        server.post(.answer(path: "/later/half", ServerHarness.text("half")))
        #expect(end.readMessage().content == "half")
        #expect(end.readMessage().content == "GET /b - 0")
        #expect(end.readAll() == "")
    }

    @Test func `the connection that has waited longest makes room for a new one`() throws {
        var limits = ConsoleServer.Limits()
        limits.connections = 4
        let server = try ServerHarness(limits: limits)
        let first = try server.connect()
        first.write(get("/later/busy"))
        try server.waitFor("asked /later/busy")
        // In the middle of a head: given up only after the silent ones.
        let second = try server.connect()
        second.write("GET /second HTTP/1.1\r\n")
        var others: [WireEnd] = []
        for number in 0..<20 {
            let end = try server.connect()
            end.write(get("/\(number)"))
            #expect(end.readMessage().content == "GET /\(number) - 0")
            others.append(end)
        }
        for end in others.prefix(18) { #expect(end.readAll() == "") }
        second.write("Host: a\r\n\r\n")
        #expect(second.readMessage().content == "GET /second - 0")
        server.post(.answer(path: "/later/busy", ServerHarness.text("busy")))
        #expect(first.readMessage().content == "busy")
    }

    @Test func `where all are at work, a new connection waits until one is done`() throws {
        var limits = ConsoleServer.Limits()
        limits.connections = 2
        let server = try ServerHarness(limits: limits)
        let busy = try (0..<2).map { number in
            let end = try server.connect()
            end.write(get("/later/\(number)", fields: "Connection: close\r\n"))
            try server.waitFor("asked /later/\(number)")
            return end
        }
        let third = try server.connect()
        third.write(get("/third"))
        server.post(.answer(path: "/later/0", ServerHarness.text("zero")))
        #expect(busy[0].readMessage().content == "zero")
        #expect(third.readMessage().content == "GET /third - 0")
        server.post(.answer(path: "/later/1", ServerHarness.text("one")))
        #expect(busy[1].readMessage().content == "one")
    }

    // MARK: The end

    @Test func `a drain closes what is idle and lets requests end`() throws {
        let server = try ServerHarness()
        let (idle, busy) = (try server.connect(), try server.connect())
        idle.write(get("/"))
        #expect(idle.readMessage().status == 200)
        busy.write(get("/later/last") + get("/never"))
        try server.waitFor("asked /later/last")
        server.post(.drain)
        #expect(idle.readAll() == "")
        server.post(.answer(path: "/later/last", ServerHarness.text("last")))
        let response = busy.readMessage()
        #expect(response.content == "last")
        #expect(response.field("connection") == "close")
        #expect(busy.readAll() == "")
        busy.close()
        try server.waitFor("drained")
    }

    @Test func `a drain without connections ends at once, and a stop ends a drain`() throws {
        let quiet = try ServerHarness()
        quiet.post(.drain)
        try quiet.waitFor("drained")
        let server = try ServerHarness()
        let end = try server.connect()
        end.write(get("/later/never"))
        try server.waitFor("asked /later/never")
        server.post(.drain)
        server.post(.stop)
        try server.waitFor("drained")
        #expect(end.readAll() != "late")
    }
}
