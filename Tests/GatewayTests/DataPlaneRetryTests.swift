import OpenSSLKit
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// One refresh and one retry after a 401, and what is repeated on a connection that was dead.
@Suite struct DataPlaneRetryTests {
    private static let bodies = [
        0, 1, 1023, 1024, 1025, 8191, 8192,
    ]

    /// Memory ends at 1 KiB, the file at 8 KiB.
    private static let limits = PlaneSetup(limits: "retry_memory = \"1KiB\"", route: "retry_body_limit = \"8KiB\"")

    @Test(arguments: bodies, [false, true])
    func `after a 401 the same request goes out again with the new credential`(size: Int, isChunked: Bool) throws {
        let plane = try Plane(Self.limits)
        let caller = try plane.connect()
        let content = String(repeating: "0123456789abcdef", count: size / 16 + 1).prefix(size)
        caller.write(isChunked ? Self.chunked(String(content)) : post("/x?y", String(content)))
        var heads: [String] = []
        for attempt in 1...2 {
            let api = try plane.upstream.accept()
            let head = api.read(until: "\r\n\r\n")
            heads.append(head)
            #expect(head.field("authorization") == "Bearer token-\(attempt)")
            #expect(Self.content(api, size, isChunked: isChunked) == content)
            api.write(attempt == 1 ? unauthorized : ok("done", fields: "X-Second: 1\r\n"))
            if attempt == 1 { #expect(api.readToEnd()) }
        }
        #expect(heads[0].replacing("token-1", with: "token-2") == heads[1])
        let response = caller.readMessage()
        #expect(response.status == 200 && response.content == "done" && response.field("x-first") == nil)
        #expect(plane.control.questions.map(\.rejected) == [nil, 1])
        #expect(try plane.stop() == PlaneEnd())
    }

    private static func chunked(_ content: String) -> String {
        var text = "POST /x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        if !content.isEmpty { text += String(content.utf8.count, radix: 16) + "\r\n" + content + "\r\n" }
        return text + "0\r\nX-T: 1\r\n\r\n"
    }

    /// Reads content off a connection, whatever its chunks.
    static func content(_ end: WireEnd, _ size: Int, isChunked: Bool) -> String {
        guard isChunked else {
            return String(decoding: end.readBytes(size), as: UTF8.self)
        }
        var content = ""
        while true {
            let line = end.read(until: "\r\n").dropLast()
            guard let count = Int(line, radix: 16), count > 0 else {
                #expect(end.read(until: "\r\n\r\n") == "X-T: 1\r\n\r\n")
                return content
            }
            var chunk = ""
            while chunk.utf8.count < count {
                let more = end.read(until: "\r\n")
                guard !more.isEmpty else { return content }
                chunk += more
            }
            content += String(decoding: chunk.utf8.prefix(count), as: UTF8.self)
        }
    }

    @Test(arguments: [8193, 100_000], [false, true])
    func `content over the limit is not repeated, and the 401 goes to the caller`(size: Int, isChunked: Bool) throws {
        let plane = try Plane(Self.limits)
        let caller = try plane.connect()
        let content = String(repeating: "x", count: size)
        caller.write(isChunked ? Self.chunked(content) : post("/", content))
        let api = try plane.upstream.accept()
        _ = api.read(until: "\r\n\r\n")
        #expect(Self.content(api, size, isChunked: isChunked) == content)
        api.write(unauthorized)
        let response = caller.readMessage()
        #expect(response.status == 401 && response.content == "first")
        #expect(response.field("token-gateway-retry") == "skipped; reason=body")
        try plane.control.waitForReports(1)
        #expect(plane.control.reported == [1])
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: [8192, 20_000])
    func `a 401 before the content has come`(size: Int) throws {
        let plane = try Plane(Self.limits)
        let caller = try plane.connect()
        let content = String(repeating: "y", count: size)
        let request = post("/", content)
        let cut = request.utf8.count - size
        caller.write(String(request.utf8.prefix(cut + 100))!)
        let api = try plane.upstream.accept()
        _ = api.read(until: "\r\n\r\n")
        // What is streamed past is not there to be sent again; where nothing has come yet all of it is.
        if size == 8192 { #expect(api.readBytes(100).count == 100) }
        api.write(unauthorized)
        if size == 8192 {
            let second = try plane.upstream.accept()
            #expect(second.read(until: "\r\n\r\n").field("authorization") == "Bearer token-2")
            caller.write(String(request.utf8.suffix(size - 100))!)
            #expect(String(decoding: second.readBytes(size), as: UTF8.self) == content)
            second.write(ok("all"))
            #expect(caller.readMessage().content == "all")
        } else {
            #expect(caller.readMessage().status == 401)
        }
        caller.close()
        api.close()
        try plane.wait("all ended") { $0.requestsCurrent == 0 }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `tokens that a new configuration means by a grant's name do not go to the old upstream`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        try plane.reconfigure(PlaneSetup(tokenFile: "/k/other"))
        try plane.seen()
        api.write(unauthorized)
        #expect(caller.readMessage().status == 401)
        #expect(plane.control.questions.count == 1)
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a credential that was asked for under another meaning of the grant's name is not used`() throws {
        let plane = try Plane { _ in .silence }
        let caller = try plane.connect()
        caller.write(get("/"))
        let question = try plane.control.waitForQuestions(1)[0]
        try plane.reconfigure(PlaneSetup(tokenFile: "/k/other"))
        try plane.seen()
        plane.control.answer(question.waiter, .generation(3))
        #expect(caller.readMessage().field("token-gateway-error") == "token_unavailable")
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `the second rejection goes to the caller and nobody is asked again`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        for _ in 1...2 {
            let api = try plane.upstream.accept()
            _ = api.readMessage()
            api.write(unauthorized)
        }
        #expect(caller.readMessage().status == 401)
        #expect(plane.control.questions.count == 2)
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a worker that has the newer credential retries without asking`() throws {
        let plane = try Plane()
        plane.post(.credential(grant: "fixed", .ready(StubControl.credential(1))))
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        #expect(api.readMessage().field("authorization") == "Bearer token-1")
        plane.post(.credential(grant: "fixed", .ready(StubControl.credential(2))))
        try plane.seen()
        api.write(unauthorized)
        #expect(try plane.answer("GET ").field("authorization") == "Bearer token-2")
        #expect(caller.readMessage().status == 200)
        #expect(plane.control.questions.isEmpty)
    }

    @Test(arguments: [
        "WWW-Authenticate: Basic realm=\"x\"\r\n", "WWW-Authenticate: Negotiate\r\n",
    ])
    func `a challenge about something else causes no refresh`(challenge: String) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        api.write("HTTP/1.1 401 No\r\n\(challenge)Content-Length: 1\r\n\r\nx")
        #expect(caller.readMessage().status == 401)
        #expect(plane.control.questions.count == 1 && plane.control.reported.isEmpty)
    }

    @Test(arguments: [
        (CredentialRefusal.unchanged, 401), (.reauthorizationRequired, 503), (.unavailable(retryAfter: 3), 503),
    ])
    func `without a newer credential there is no second attempt`(refusal: CredentialRefusal, status: Int) throws {
        let plane = try Plane { $0.rejected == nil ? .generation(1) : .refusal(refusal) }
        let caller = try plane.connect()
        for _ in 1...2 {
            caller.write(get("/"))
            let api = try plane.upstream.accept()
            _ = api.readMessage()
            api.write(unauthorized.replacing("X-First: yes", with: "Connection: close"))
            let response = caller.readMessage()
            #expect(response.status == status)
            #expect(status == 401 ? response.content == "first" : response.field("token-gateway-error") != nil)
            #expect(response.field("retry-after") == (refusal == .unavailable(retryAfter: 3) ? "3" : nil))
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `two hundred rejections at once are each retried once`() throws {
        let plane = try Plane { $0.rejected == nil ? .generation(1) : .silence }
        var callers: [WireEnd] = []
        for _ in 0..<200 {
            let caller = try plane.connect()
            caller.write(post("/", "abc"))
            callers.append(caller)
        }
        for _ in 0..<200 {
            let api = try plane.upstream.accept()
            #expect(api.readMessage().field("authorization") == "Bearer token-1")
            api.write(unauthorized)
        }
        let questions = try plane.control.waitForQuestions(400).filter { $0.rejected == 1 }
        #expect(questions.count == 200)
        for question in questions { plane.control.answer(question.waiter, .generation(2)) }
        for _ in 0..<200 {
            let api = try plane.upstream.accept()
            let request = api.readMessage()
            #expect(request.field("authorization") == "Bearer token-2" && request.content == "abc")
            api.write(ok())
        }
        for caller in callers { #expect(caller.readMessage().status == 200) }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `callers that leave while they wait are taken off the list, and late answers do no harm`() throws {
        let plane = try Plane { _ in .silence }
        let stayer = try plane.connect()
        stayer.write(get("/stay"))
        _ = try plane.control.waitForQuestions(1)
        for round in 0..<20 {
            let caller = try plane.connect()
            caller.write(get("/leave"))
            let waiter = try plane.control.waitForQuestions(round + 2)[round + 1].waiter
            caller.reset()
            if round % 2 == 0 {
                try plane.wait("it is gone") { $0.credentialWaiters == 1 }
                #expect(plane.control.left.contains(waiter))
            }
            // In the other rounds the answer and the reset race.
            plane.control.answer(waiter, round % 4 == 1 ? .generation(9) : .refusal(.notConnected))
            try plane.wait("it is gone") { $0.callerConnections == 1 && $0.requestsCurrent == 1 }
        }
        let first = plane.control.questions[0]
        plane.control.answer(first.waiter, .generation(1))
        // A connection that was being made for one that left may be there too.
        var request = ""
        while !request.hasPrefix("GET /stay") { request = try plane.answerAny() }
        #expect(request.field("authorization") == "Bearer token-1")
        #expect(stayer.readMessage().status == 200)
        plane.control.answer(first.waiter, .generation(1))
        #expect(try plane.stop() == PlaneEnd())
    }

    // MARK: Connections that were dead

    @Test(arguments: ["GET", "PUT", "DELETE"], [false, true])
    func `an idempotent request is sent again on a new connection, whole`(method: String, isTLS: Bool) throws {
        let plane = try Plane(PlaneSetup(isTLS: isTLS))
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller, isTLS: isTLS)
        let content = method == "PUT" ? String(repeating: "z", count: 5000) : ""
        caller.write(post("/again", content).replacing("POST", with: method))
        #expect(api.readMessage().hasPrefix("\(method) /again"))
        api.close()
        let other = try isTLS ? plane.upstream.acceptTLS() : plane.upstream.accept()
        let request = other.readMessage()
        #expect(request.hasPrefix("\(method) /again") && request.content == content)
        other.write(ok("yes"))
        #expect(caller.readMessage().content == "yes")
        try plane.wait("one connection is left") { $0.upstreamActive.reduce(0, +) + $0.upstreamIdle.reduce(0, +) == 1 }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `it is sent again once only`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        caller.write(get("/again"))
        _ = api.readMessage()
        api.close()
        let other = try plane.upstream.accept()
        _ = other.readMessage()
        other.close()
        #expect(caller.readMessage().status == 502)
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: ["POST", "PATCH", "BREW"])
    func `another request is not sent again`(method: String) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        caller.write(post("/once", "abc").replacing("POST", with: method))
        #expect(api.readMessage().hasPrefix(method))
        api.close()
        #expect(caller.readMessage().status == 502)
        #expect(try !plane.upstream.hasConnection())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `nothing is sent again when an octet of the response has come`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        caller.write(get("/once"))
        _ = api.readMessage()
        api.write("H")
        api.close()
        #expect(caller.readMessage().status == 502)
        #expect(try !plane.upstream.hasConnection())
    }

    @Test func `an upstream that closes an idle connection costs nobody anything`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        let api = try plane.idleConnection(caller)
        api.close()
        caller.write(post("/", "x"))
        // The end was there before the request, so that even this one is sent on a new connection.
        try plane.wait("the old one is gone") { $0.upstreamConnectionsTotal == 2 || $0.requestsCurrent == 0 }
        _ = try? plane.answer("POST ")
        #expect([200, 502].contains(caller.readMessage().status))
        #expect(try plane.stop() == PlaneEnd())
    }
}

extension Plane {
    /// Answers the next request, or nothing where the connection ends first.
    func answerAny() throws -> String {
        let api = try upstream.accept()
        let request = api.readMessage()
        api.write(ok(fields: "Connection: close\r\n"))
        return request
    }

    /// Has one exchange, and returns the connection that is then idle in the pool.
    func idleConnection(_ caller: WireEnd, isTLS: Bool = false) throws -> WireEnd {
        caller.write(get("/first"))
        let api = try isTLS ? upstream.acceptTLS() : upstream.accept()
        _ = api.readMessage()
        api.write(ok())
        #expect(caller.readMessage().status == 200)
        try wait("the connection is idle") { $0.upstreamIdle.reduce(0, +) == 1 }
        return api
    }
}
