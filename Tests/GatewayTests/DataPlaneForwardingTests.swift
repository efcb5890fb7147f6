import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Requests and responses in every framing, from hostile and from friendly peers.
@Suite struct DataPlaneForwardingTests {
    @Test func `a request gets the credential and the response comes back`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/a?b=c", fields: "Authorization: Basic x\r\nCookie: s=1\r\nX-A: 1\r\nX-A: 2\r\n"))
        let api = try plane.upstream.accept()
        let request = api.readMessage()
        #expect(request.hasPrefix("GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:\(plane.upstream.port)\r\n"))
        #expect(request.field("authorization") == "Bearer token-1")
        #expect(!request.contains("Basic") && !request.contains("Cookie"))
        #expect(request.contains("X-A: 1\r\nX-A: 2\r\n"))
        #expect(request.field("via") == "1.1 token-gateway")
        api.write(ok(fields: "Set-Cookie: a\r\nSet-Cookie: b\r\n"))
        let response = caller.readMessage()
        #expect(response.status == 200 && response.content == "ok")
        #expect(response.contains("Set-Cookie: a\r\nSet-Cookie: b\r\n"))
        #expect(response.field("date") != nil)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `twelve pipelined requests are answered in order over one connection`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        var text = ""
        for index in 0..<12 {
            switch index % 3 {
            case 0: text += get("/\(index)")
            case 1: text += post("/\(index)", "body\(index)")
            default:
                text +=
                    "PUT /\(index) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
            }
        }
        caller.write(text)
        let api = try plane.upstream.accept()
        for index in 0..<12 {
            let head = api.read(until: "\r\n\r\n")
            #expect(head.contains(" /\(index) HTTP/1.1"))
            switch index % 3 {
            case 1: #expect(api.read(until: "body\(index)") == "body\(index)")
            case 2: #expect(api.read(until: "0\r\n\r\n") == "3\r\nabc\r\n0\r\n\r\n")
            default: break
            }
            api.write(ok("r\(index)"))
            #expect(caller.readMessage().content == "r\(index)")
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `what is pipelined behind Connection close is not answered, and the answers before it arrive`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/1") + get("/2", fields: "Connection: close\r\n") + get("/3") + get("/4"))
        let api = try plane.upstream.accept()
        for index in 1...2 {
            #expect(api.readMessage().contains("GET /\(index) "))
            api.write(ok("r\(index)"))
        }
        #expect(caller.readMessage().content == "r1")
        let second = caller.readMessage()
        #expect(second.content == "r2" && second.field("connection") == "close")
        #expect(caller.readAll() == "")
        #expect(!api.hasInput)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
    func `a request that is refused is answered and the connection closed, also as the second one`(bad: String) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write(ok())
        #expect(caller.readMessage().status == 200)
        caller.write(bad)
        let response = caller.readMessage()
        #expect(response.status >= 400 && response.field("token-gateway-error") != nil)
        #expect(caller.readAll() == "")
        #expect(!api.hasInput)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a request without a route keeps the connection, many times`() throws {
        let plane = try Plane(PlaneSetup(route: "host = \"known.test\""))
        let caller = try plane.connect()
        for _ in 0..<3 {
            caller.write("GET http://foreign.test/ HTTP/1.1\r\nHost: known.test\r\n\r\n")
            #expect(caller.readMessage().status == 404)
            caller.write("GET http://known.test/x HTTP/1.1\r\nHost: foreign.test\r\n\r\n")
            #expect(try plane.answer("GET /x ").contains("Host: 127.0.0.1"))
            #expect(caller.readMessage().status == 200)
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `HEAD, 204 and 304 have no content and keep both connections`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get("/204") + get("/304") + get("/last"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        let head = caller.readMessage(withoutContent: true)
        #expect(head.field("content-length") == "1000")
        _ = api.readMessage()
        api.write("HTTP/1.1 204 No Content\r\n\r\n")
        #expect(caller.readMessage().status == 204)
        _ = api.readMessage()
        api.write("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n")
        let notModified = caller.readMessage(withoutContent: true)
        #expect(notModified.status == 304 && notModified.field("etag") == "\"x\"")
        _ = api.readMessage()
        api.write(ok("last"))
        #expect(caller.readMessage().content == "last")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller of HTTP 1 0 is answered without chunks and the connection closed`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("GET / HTTP/1.0\r\n\r\n")
        let api = try plane.upstream.accept()
        let request = api.readMessage()
        #expect(request.hasPrefix("GET / HTTP/1.1\r\n") && request.field("via") == "1.0 token-gateway")
        api.write(
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        let response = try #require(caller.readAll())
        #expect(response.status == 200 && response.content == "abc")
        #expect(response.field("transfer-encoding") == nil)
    }

    @Test func `a kept HTTP 1 0 connection takes another request`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write(ok())
        #expect(caller.readMessage().field("connection") == "keep-alive")
        caller.write("GET / HTTP/1.0\r\n\r\n")
        _ = api.readMessage()
        api.write(ok("two"))
        #expect(caller.readAll()?.content == "two")
    }

    @Test func `chunks and trailers pass both ways, extensions and dangerous trailers do not`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "4;e=1\r\nabcd\r\n0\r\nX-Sum: 1\r\nAuthorization: evil\r\n\r\n")
        let api = try plane.upstream.accept()
        let head = api.read(until: "\r\n\r\n")
        #expect(head.field("transfer-encoding") == "chunked" && head.field("content-length") == nil)
        #expect(api.read(until: "\r\n\r\n") == "4\r\nabcd\r\n0\r\nX-Sum: 1\r\n\r\n")
        api.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;q\r\nhi\r\n0\r\nX-End: 2\r\nSet-Cookie: x\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n").field("transfer-encoding") == "chunked")
        #expect(caller.read(until: "\r\n\r\n") == "2\r\nhi\r\n0\r\nX-End: 2\r\n\r\n")
    }

    @Test func `trailers of an early response do not become trailers of the request`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        let api = try plane.upstream.accept()
        #expect(api.read(until: "a\r\n").contains("POST"))
        api.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        #expect(caller.read(until: "x\r\n").status == 200)
        caller.write("0\r\nX-Request: 1\r\n\r\n")
        #expect(api.read(until: "\r\n\r\n").contains("0\r\nX-Request: 1\r\n\r\n"))
        api.write("0\r\nX-Response: 2\r\n\r\n")
        #expect(caller.read(until: "\r\n\r\n") == "0\r\nX-Response: 2\r\n\r\n")
    }

    @Test func `content up to the end of the connection becomes chunks`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 200 OK\r\n\r\nabc")
        api.close()
        #expect(caller.readChunked().hasSuffix("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
        caller.write(get("/"))
        #expect(try plane.answer("GET / ").contains("GET"))
        #expect(caller.readMessage().status == 200)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "HTTP/1.1 200 OK\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ])
    func `a response that a reset cuts is cut for the caller`(partial: String) throws {
        for version in ["1.0", "1.1"] {
            let plane = try Plane()
            let caller = try plane.connect()
            caller.write("GET / HTTP/\(version)\r\nHost: a\r\n\r\n")
            let api = try plane.upstream.accept()
            _ = api.readMessage()
            api.write(partial)
            let head = caller.read(until: "abc")
            #expect(head.status == 200)
            api.reset()
            let rest = caller.readAll()
            if head.field("content-length") == nil && version == "1.0" {
                #expect(rest == nil, "an orderly end would look complete")
            } else {
                #expect(rest?.contains("0\r\n\r\n") != true)
            }
            #expect(try plane.stop() == PlaneEnd())
        }
    }

    @Test(arguments: [true, false])
    func `over TLS only close_notify ends content without a length`(notify: Bool) throws {
        let plane = try Plane(PlaneSetup(isTLS: true))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.acceptTLS()
        _ = api.readMessage()
        api.write("HTTP/1.1 200 OK\r\n\r\nabc")
        #expect(caller.read(until: "abc").status == 200)
        if notify { api.sendCloseNotify() }
        api.close()
        let rest = caller.read(until: "0\r\n\r\n")
        #expect(rest.hasSuffix("0\r\n\r\n") == notify)
    }

    @Test(arguments: [
        "junk\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
    ])
    func `an upstream that breaks HTTP is a 502 and its connection is closed`(answer: String) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write(answer)
        let response = caller.readMessage()
        #expect(response.status == 502 && response.field("token-gateway-error") == "upstream_protocol")
        #expect(api.readToEnd())
        caller.write(get("/"))
        _ = try plane.answer("GET / ")
        #expect(caller.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `what follows a response kills the connection and answers nobody`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/1"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write(ok("one") + ok("smuggled"))
        #expect(caller.readMessage().content == "one")
        #expect(api.readToEnd())
        caller.write(get("/2"))
        let other = try plane.upstream.accept()
        _ = other.readMessage()
        other.write(ok("two"))
        #expect(caller.readMessage().content == "two")
        // And while it is idle in the pool.
        try plane.wait("the connection is idle") { $0.upstreamIdle.reduce(0, +) == 1 }
        other.write(ok("late"))
        #expect(other.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a flood of informational responses is a 502`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        for _ in 0..<50 { api.write("HTTP/1.1 102 Processing\r\n\r\n") }
        #expect(caller.readMessage().status == 502)
    }

    @Test(arguments: [false, true])
    func `a request cut at every octet goes upstream as it is`(isTLS: Bool) throws {
        let plane = try Plane(PlaneSetup(isTLS: isTLS))
        let caller = try plane.connect()
        let text =
            "\r\nPUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        var connection: WireEnd?
        let bytes = Array(text.utf8)
        for cut in stride(from: 1, to: bytes.count, by: 1) {
            caller.write(Array(bytes[..<cut]))
            // The worker has seen the first piece before the second one is sent.
            try plane.seen()
            caller.write(Array(bytes[cut...]))
            let api = try connection ?? (isTLS ? plane.upstream.acceptTLS() : plane.upstream.accept())
            connection = api
            #expect(api.read(until: "\r\n\r\n").hasPrefix("PUT /x HTTP/1.1\r\n"))
            let content = api.read(until: "\r\n\r\n")
            #expect(content.hasSuffix("0\r\nX-T: 1\r\n\r\n"))
            #expect(content.onlyData == "abcde")
            api.write(ok())
            #expect(caller.readMessage().status == 200)
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [false, true])
    func `a response cut at every octet, or TLS record, reaches the caller as it is`(isTLS: Bool) throws {
        let plane = try Plane(PlaneSetup(isTLS: isTLS))
        let caller = try plane.connect()
        let text =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-B: 1\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        var connection: WireEnd?
        let bytes = Array(text.utf8)
        for cut in 1..<bytes.count {
            caller.write(get("/"))
            let api = try connection ?? (isTLS ? plane.upstream.acceptTLS() : plane.upstream.accept())
            connection = api
            _ = api.readMessage()
            api.write(Array(bytes[..<cut]))
            try plane.seen()
            api.write(Array(bytes[cut...]))
            #expect(caller.read(until: "\r\n\r\n").field("x-b") == "1")
            let content = caller.read(until: "\r\n\r\n")
            #expect(content.onlyData == "abcde" && content.hasSuffix("0\r\nX-T: 1\r\n\r\n"))
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that has shut its sending side still gets the response`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(post("/", "abc"))
        caller.shutdownWriting()
        let api = try plane.upstream.accept()
        #expect(api.readMessage().content == "abc")
        api.write(ok("late"))
        #expect(caller.readAll()?.content == "late")
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ])
    func `a request that its caller cuts is never complete upstream`(partial: String) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(partial)
        let isInContent = partial.hasPrefix("POST")
        let api = isInContent ? try plane.upstream.accept() : nil
        if let api { #expect(api.read(until: "abc").contains("POST")) }
        caller.shutdownWriting()
        #expect(caller.readToEnd())
        if let api {
            let rest = api.readAll() ?? ""
            #expect(!rest.contains("0\r\n\r\n"))
        }
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `Max-Forwards is obeyed for OPTIONS`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        #expect(caller.readMessage().status < 300)
        #expect(try !plane.upstream.hasConnection())
        caller.write("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 10\r\n\r\n")
        #expect(try plane.answer("OPTIONS ").field("max-forwards") == "9")
        #expect(caller.readMessage().status == 200)
        caller.write(get("/", fields: "Max-Forwards: 0\r\n"))
        _ = try plane.answer("GET ")
        #expect(caller.readMessage().status == 200)
    }

    @Test(arguments: [
        ("off", [String]()),
        ("x-forwarded", ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: a"]),
        ("rfc7239", ["forwarded: for=127.0.0.1;proto=http;host=\"a\""]),
    ])
    func `what callers say of themselves is replaced`(style: String, expected: [String]) throws {
        let plane = try Plane(PlaneSetup(route: "forwarded = \"\(style)\""))
        let caller = try plane.connect()
        caller.write(
            "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\n"
                + "x_forwarded_for: 9.9.9.9\r\nX-Forwarded-Proto: evil\r\nProxy-Authorization: x\r\nTE: gzip\r\n"
                + "Keep-Alive: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\r\n")
        let request = try plane.answer("GET / ").lowercased()
        for line in expected { #expect(request.contains(line + "\r\n")) }
        for gone in ["9.9.9.9", "evil", "proxy-auth", "\r\nte:", "keep-alive", "x-hop", "upgrade"] {
            #expect(!request.contains(gone))
        }
        #expect(caller.readMessage().status == 200)
    }
}

extension Plane {
    /// Accepts a connection, reads a request that begins so, answers 200 and closes.
    func answer(_ beginning: String) throws -> String {
        let api = try upstream.accept()
        let request = api.readMessage()
        #expect(request.hasPrefix(beginning))
        api.write(ok(fields: "Connection: close\r\n"))
        return request
    }

    /// The worker has been through its loop, with all that was sent to it before.
    func seen() throws {
        _ = try counters()
        _ = try counters()
    }
}

extension String {
    /// The data of chunked content of which no chunk is longer than nine octets and no data a digit.
    var onlyData: String {
        guard let end = range(of: "0\r\n") else { return self }
        return String(self[..<end.lowerBound]).filter { $0.isLetter }
    }
}
