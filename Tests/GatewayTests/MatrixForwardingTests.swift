import HTTP
import Testing

@testable import Gateway

/// Every feature of a request and its response, over all pairs of protocol versions.
@Suite struct MatrixForwardingTests {
    // MARK: Heads

    @Test(
        arguments: PeerPair.all, ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "M-SEARCH"])
    func `a method goes on as it is`(pair: PeerPair, method: String) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let takesContent = ["POST", "PUT", "PATCH", "BREW"].contains(method)
        let call = caller.request(method, "/x", framing: takesContent ? .length(3) : .none)
        if takesContent {
            call.send("abc")
            call.end()
        }
        let served = try scene.served()
        try scene.finish(served)
        #expect(served.head?.method == method)
        #expect(served.content.text == (takesContent ? "abc" : ""))
        #expect(served.head?["content-length"] == (takesContent ? "3" : nil))
        if method == "HEAD" {
            served.respond(200, [("content-length", "1000"), ("x-a", "1")])
        } else {
            served.answer(200, "hello", [("x-a", "1")])
        }
        try scene.finish(call)
        #expect(call.head?.status == 200 && call.head?["x-a"] == "1")
        #expect(call.head?.values("content-length") == [method == "HEAD" ? "1000" : "5"])
        #expect(call.content.text == (method == "HEAD" ? "" : "hello"))
        #expect(call.head?.values("date").count == 1)
        try scene.check(on: caller)
        #expect(scene.upstreams.count == 1 && scene.upstreams[0].version == pair.upstream)
        try scene.end()
    }

    @Test(
        arguments: PeerPair.plain,
        [
            "/", "/a/b", "/a?b=c&d", "/?", "/a%20b", "/%E2%82%AC", "/a;b=1/c", "/a//b", "/-._~!$&'()*+,;=:@",
            "/" + String(repeating: "x", count: 4000),
        ])
    func `a target goes on octet for octet`(pair: PeerPair, target: String) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("GET", target)
        let served = try scene.served()
        #expect(served.head?.target == target)
        #expect(served.head?.authority == "127.0.0.1:\(scene.plane.upstream.port)")
        served.answer()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `OPTIONS of the server as a whole has no route, and the last of its hops ends here`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("OPTIONS", "*")
        try scene.finish(call)
        #expect(call.head?.status == 404 && call.head?["token-gateway-error"] == "no_route")
        let next = caller.request("OPTIONS", "/x", [("max-forwards", "1")])
        let served = try scene.served()
        #expect(served.head?.values("max-forwards") == ["0"])
        served.respond(204)
        try scene.finish(next)
        #expect(next.head?.status == 204)
        let last = caller.request("OPTIONS", "/x", [("max-forwards", "0")])
        try scene.finish(last)
        #expect(last.head?.status == 200 && last.content.count == 0 && !scene.hasRequest)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `fields go on, those of one hop do not, and there is exactly one credential`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(route: "forward_cookies = true\nforwarded = \"x-forwarded\""))
        let caller = try scene.connect()
        var fields: PeerHead.Fields = [
            ("authorization", "Basic abc"), ("proxy-authorization", "Basic def"), ("x-a", "1"), ("x-a", "2"),
            ("x-empty", ""), ("cookie", "a=1"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "gopher"),
            ("forwarded", "for=9.9.9.9"), ("x-utf8", "grün"), ("accept", "text/plain"), ("user-agent", "matrix"),
        ]
        switch pair.caller {
        case .http1:
            fields += [("connection", "x-hop, te"), ("x-hop", "1"), ("keep-alive", "5"), ("te", "trailers, deflate")]
            fields += [("upgrade", "foo"), ("proxy-connection", "close")]
        case .http2:
            fields += [("cookie", "b=2"), ("cookie", "c=3"), ("te", "trailers")]
        }
        let call = caller.request("GET", "/", fields)
        let served = try scene.served()
        let head = try #require(served.head)
        #expect(head.values("authorization") == ["Bearer token-1"])
        #expect(head.values("x-a") == ["1", "2"] && head.values("x-empty") == [""])
        #expect(head.values("cookie") == [pair.caller == .http1 ? "a=1" : "a=1; b=2; c=3"])
        #expect(head.values("x-utf8") == ["grün"] && head.values("accept") == ["text/plain"])
        #expect(head.values("te") == ["trailers"])
        #expect(head.values("via") == [pair.caller == .http1 ? "1.1 token-gateway" : "2.0 token-gateway"])
        #expect(head.values("x-forwarded-for") == ["127.0.0.1"])
        #expect(head.values("x-forwarded-proto") == [pair.isTLS ? "https" : "http"])
        #expect(head.values("x-forwarded-host") == ["gateway.test"])
        let gone = ["proxy-authorization", "x-hop", "keep-alive", "proxy-connection", "upgrade", "forwarded"]
        for name in gone { #expect(head.values(name) == [], "\(name)") }
        #expect(head.values("connection") == (pair.upstream == .http1 ? ["TE"] : []))
        var answer: PeerHead.Fields = [("set-cookie", "a"), ("set-cookie", "b"), ("x-b", "3"), ("server", "s")]
        if pair.upstream == .http1 {
            answer += [("connection", "x-gone"), ("x-gone", "1"), ("keep-alive", "timeout=5")]
        }
        answer += [("token-gateway-error", "forged"), ("token-gateway-retry", "forged"), ("proxy-authenticate", "x")]
        served.answer(200, "ok", answer)
        try scene.finish(call)
        let response = try #require(call.head)
        #expect(response.values("set-cookie") == ["a", "b"] && response["x-b"] == "3" && response["server"] == "s")
        for name in ["connection", "x-gone", "keep-alive", "proxy-authenticate", "token-gateway-retry"] {
            #expect(response.values(name) == [], "\(name)")
        }
        #expect(response.values("token-gateway-error") == [])
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `what the route does not forward does not go on`(pair: PeerPair) throws {
        let scene = try Scene(
            pair, PlaneSetup(route: "forwarded = \"rfc7239\"\nvia = false", hasGrant: false))
        let caller = try scene.connect()
        let call = caller.request("GET", "/", [("authorization", "Basic abc"), ("cookie", "a=1")])
        let served = try scene.served()
        let head = try #require(served.head)
        for name in ["authorization", "cookie", "via", "te"] { #expect(head.values(name) == [], "\(name)") }
        #expect(head.values("forwarded") == ["for=127.0.0.1;proto=http;host=\"gateway.test\""])
        served.answer()
        try scene.finish(call)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a Location on the upstream becomes one on the gateway`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(0))
        let served = try scene.served()
        served.respond(302, [("location", "http://127.0.0.1:\(scene.plane.upstream.port)/next?x")])
        try scene.finish(call)
        #expect(call.head?.status == 302 && call.head?.values("location") == ["/next?x"])
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `many fields, and a large one, go on`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let large = String(repeating: "v", count: 9000)
        var fields: PeerHead.Fields = (0..<80).map { ("x-\($0)", "value \($0)") }
        fields.append(("x-large", large))
        for _ in 0..<3 {
            let call = caller.request("GET", "/", fields)
            let served = try scene.served()
            for field in fields { #expect(served.head?.values(field.name) == [field.value]) }
            served.answer(200, "ok", fields)
            try scene.finish(call)
            for field in fields { #expect(call.head?.values(field.name) == [field.value]) }
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.plain, [204, 304, 200, 201, 299, 400, 404, 418, 500, 503, 599])
    func `a status goes on, with content where it may have some`(pair: PeerPair, status: Int) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        for _ in 0..<2 {
            let call = caller.request()
            let served = try scene.served()
            switch status {
            case 204: served.respond(204, [("x-a", "1")])
            case 304: served.respond(304, [("etag", "\"x\""), ("content-length", "7")])
            default: served.answer(status, "content")
            }
            try scene.finish(call)
            #expect(call.head?.status == status)
            #expect(call.content.text == ([204, 304].contains(status) ? "" : "content"))
            let length = status == 204 ? nil : "7"
            #expect(call.head?["content-length"] == length)
        }
        #expect(scene.upstreams.count == 1)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `problems of the gateway itself are told in the caller's version`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(route: "methods = [\"GET\"]\nhost = \"gateway.test\""))
        let caller = try scene.connect()
        let call = caller.request("DELETE", "/")
        try scene.finish(call)
        #expect(call.head?.status == 404 && call.head?["token-gateway-error"] == "no_route")
        #expect(call.head?["content-type"] == "application/problem+json" && call.content.text.contains("no_route"))
        let head = caller.request("HEAD", "/")
        try scene.finish(head)
        #expect(head.head?.status == 404 && head.content.count == 0)
        try scene.check(on: caller)
        try scene.end()
    }

    // MARK: Content

    private static let sizes = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, (1 << 20) + 1]

    @Test(arguments: PeerPair.all, sizes)
    func `content passes both ways octet for octet, with a length`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .length(size))
        call.send(pattern: size)
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        #expect(served.head?["content-length"] == "\(size)" && served.content.isPattern(of: size))
        #expect(served.trailers.isEmpty && served.isEnded)
        served.respond(200, framing: .length(size))
        served.send(pattern: size)
        served.end()
        try scene.finish(call)
        #expect(call.head?["content-length"] == "\(size)" && call.content.isPattern(of: size) && call.isEnded)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, sizes)
    func `content passes both ways octet for octet, without a length`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .open)
        call.send(pattern: size)
        call.end()
        let served = try scene.served()
        try scene.finish(served)
        #expect(served.head?["content-length"] == nil && served.content.isPattern(of: size) && served.isEnded)
        served.respond(200, framing: .open)
        served.send(pattern: size)
        served.end()
        try scene.finish(call)
        #expect(call.content.isPattern(of: size) && call.isEnded)
        if size > 0 { #expect(call.head?["content-length"] == nil) }
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [70_000, 200_000, 262_144, 300_000])
    func `kept content goes through windows that are smaller than it`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair)
        scene.upstreamSettings.streamWindow = 65_535
        scene.upstreamSettings.maximumStreamWindow = 65_535
        let caller = try scene.connect()
        for framing in [PeerFraming.length(size), .open] {
            let call = caller.request("POST", "/", framing: framing)
            call.send(pattern: size)
            call.end()
            let served = try scene.served()
            try scene.finish(served)
            #expect(served.content.isPattern(of: size) && served.isEnded)
            served.answer()
            try scene.finish(call)
            #expect(call.head?.status == 200)
        }
        try scene.end()
    }

    @Test(arguments: PeerPair.plain, [0, 1, 100_000])
    func `content streams in both directions at once`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair, PlaneSetup(route: "retry_body_limit = 0"))
        let caller = try scene.connect()
        let call = caller.request("POST", "/", framing: .open)
        let served = try scene.served()
        served.respond(200, framing: .open)
        try scene.wait("the head") { call.head != nil }
        var total = 0
        for _ in 0..<5 {
            total += size
            call.send(pattern: size)
            try scene.wait("content upstream") { served.content.count == total }
            served.send(pattern: size)
            try scene.wait("content to the caller") { call.content.count == total }
        }
        call.end()
        try scene.finish(served)
        served.end()
        try scene.finish(call)
        #expect(served.content.isPattern(of: total) && call.content.isPattern(of: total))
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [0, 5, 40_000])
    func `trailers pass both ways, dangerous ones do not`(pair: PeerPair, size: Int) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", [("te", "trailers")], framing: .open)
        call.send(pattern: size)
        call.end(trailers: [("x-sum", "1"), ("authorization", "evil"), ("x-more", "2")])
        let served = try scene.served()
        try scene.finish(served)
        #expect(served.content.isPattern(of: size))
        #expect(served.trailers.map(\.name) == ["x-sum", "x-more"] && served.trailers.map(\.value) == ["1", "2"])
        served.respond(200, framing: .open)
        served.send(pattern: size)
        served.end(trailers: [("x-end", "3"), ("set-cookie", "evil"), ("grpc-status", "0")])
        try scene.finish(call)
        #expect(call.content.isPattern(of: size))
        #expect(call.trailers.map(\.name) == ["x-end", "grpc-status"] && call.trailers.map(\.value) == ["3", "0"])
        // They do not stay for the next one.
        let next = caller.request("POST", "/", framing: .open)
        next.end()
        let nextServed = try scene.served()
        try scene.finish(nextServed)
        #expect(nextServed.trailers.isEmpty)
        nextServed.respond(200, framing: .open)
        nextServed.end()
        try scene.finish(next)
        #expect(next.trailers.isEmpty && next.head?.status == 200)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `HEAD, a length of zero, and an end that comes late`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let head = caller.request("HEAD", "/")
        let served = try scene.served()
        if pair.upstream == .http2 {
            // The head does not end the stream; an empty DATA frame does.
            served.respond(200, [("content-length", "12")], framing: .open)
            try scene.wait("the head") { head.head != nil }
            served.end()
        } else {
            served.respond(200, [("content-length", "12")])
        }
        try scene.finish(head)
        #expect(head.head?["content-length"] == "12" && head.content.count == 0)
        let call = caller.request()
        let empty = try scene.served()
        empty.respond(200, framing: .length(0))
        empty.end()
        try scene.finish(call)
        #expect(call.head?["content-length"] == "0" && call.content.count == 0)
        try scene.check(on: caller)
        try scene.end()
    }

    // MARK: Informational responses

    @Test(arguments: PeerPair.all, [true, false])
    func `a 103 goes on where no first attempt may be retried`(pair: PeerPair, hasGrant: Bool) throws {
        let scene = try Scene(pair, PlaneSetup(hasGrant: hasGrant))
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        served.inform(103, [("link", "</a.css>")])
        served.inform(102)
        served.answer()
        try scene.finish(call)
        #expect(call.informational.map(\.status) == (hasGrant ? [] : [103, 102]))
        if !hasGrant { #expect(call.informational[0].values("link") == ["</a.css>"]) }
        #expect(call.head?.status == 200 && call.content.text == "ok")
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `a flood of informational responses is a 502`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request()
        let served = try scene.served()
        for _ in 0..<17 { served.inform(102) }
        try scene.finish(call)
        #expect(call.head?.status == 502)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.all)
    func `the upstream's 100 lets the content go`(pair: PeerPair) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", [("expect", "100-continue")], framing: .length(5))
        let served = try scene.served()
        #expect(served.head?.values("expect") == ["100-continue"])
        try scene.settle()
        #expect(call.informational.isEmpty && served.content.count == 0)
        served.inform(100)
        try scene.wait("100") { call.informational.map(\.status) == [100] }
        call.send("hello")
        call.end()
        try scene.finish(served)
        #expect(served.content.text == "hello")
        served.answer()
        try scene.finish(call)
        #expect(call.informational.count == 1 && call.head?.status == 200)
        try scene.check(on: caller)
        try scene.end()
    }

    @Test(arguments: PeerPair.plain)
    func `content goes after a while where the upstream does not answer the expectation`(pair: PeerPair) throws {
        let scene = try Scene(pair, PlaneSetup(upstream: "first_byte_timeout = \"200ms\""))
        let caller = try scene.connect()
        let call = caller.request("POST", "/", [("expect", "100-continue")], framing: .open)
        let served = try scene.served()
        try scene.wait("our own 100") { call.informational.map(\.status) == [100] }
        call.send("hello")
        call.end()
        try scene.finish(served)
        #expect(served.content.text == "hello")
        served.answer()
        try scene.finish(call)
        #expect(call.head?.status == 200)
        try scene.end()
    }

    @Test(arguments: PeerPair.all, [417, 200])
    func `a final answer in place of 100`(pair: PeerPair, status: Int) throws {
        let scene = try Scene(pair)
        let caller = try scene.connect()
        let call = caller.request("POST", "/", [("expect", "100-continue")], framing: .length(50_000))
        let served = try scene.served()
        served.answer(status, "no")
        try scene.wait("the answer") { call.head != nil && call.content.count == 2 }
        #expect(call.informational.isEmpty && call.head?.status == status && served.content.count == 0)
        // The caller gives its content up.
        if pair.caller == .http2 { call.reset() } else { caller.finish() }
        try scene.check(on: pair.caller == .http2 ? caller : scene.connect())
        try scene.end()
    }
}
