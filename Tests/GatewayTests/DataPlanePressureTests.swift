import CAllocationCounter
import Glibc
import Reactor
import Telemetry
import Testing

@testable import Gateway

/// Peers that send much and take little, that reset, and descriptors that run out.
@Suite struct DataPlanePressureTests {
    private static let chunk = [UInt8](repeating: 0x78, count: 65_536)

    /// What two sockets and the worker between them may hold: kernel buffers as this machine allows, and little more.
    private static let bound: Int = {
        func largest(_ name: String) -> Int {
            guard let file = fopen("/proc/sys/net/ipv4/\(name)", "r") else { return 8 << 20 }
            defer { fclose(file) }
            var (low, usual, high) = (0, 0, 0)
            return withVaList([
                withUnsafeMutablePointer(to: &low) { $0 }, withUnsafeMutablePointer(to: &usual) { $0 },
                withUnsafeMutablePointer(to: &high) { $0 },
            ]) { vfscanf(file, "%ld %ld %ld", $0) } == 3 ? high : 8 << 20
        }
        return 2 * (largest("tcp_rmem") + largest("tcp_wmem")) + (1 << 20)
    }()

    @Test(arguments: [false, true])
    func `a caller that does not read stops the upstream`(isChunked: Bool) throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        let size = 1 << 30
        if isChunked {
            api.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\(String(size, radix: 16))\r\n")
        } else {
            api.write("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
        }
        let taken = api.writeUntilStuck(chunk: Self.chunk, limit: size)
        #expect(taken < Self.bound)
        let counters = try plane.counters()
        #expect(counters.bytesFromUpstreams - counters.bytesToCallers < 200_000, "the worker holds too much")
        // And it goes on where the caller does.
        #expect(caller.readBytes(taken / 2).count >= taken / 2)
        caller.reset()
        #expect(api.writeUntilStuck(chunk: Self.chunk, limit: size) < size)
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test(arguments: ["retry_body_limit = 0", "retry_body_limit = \"256KiB\""], [false, true])
    func `an upstream that does not read stops the caller`(route: String, isChunked: Bool) throws {
        let plane = try Plane(PlaneSetup(route: route))
        let caller = try plane.connect()
        let size = 1 << 30
        if isChunked {
            caller.write(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(String(size, radix: 16))\r\n")
        } else {
            caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
        }
        let api = try plane.upstream.accept()
        let taken = caller.writeUntilStuck(chunk: Self.chunk, limit: size)
        #expect(taken < Self.bound)
        let counters = try plane.counters()
        #expect(counters.bytesFromCallers - counters.bytesToUpstreams < 800_000, "the worker holds too much")
        #expect(api.readBytes(taken / 2).count >= taken / 2)
        caller.reset()
        #expect(api.readToEnd())
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a caller that pipelines and does not read is not read either`() throws {
        let plane = try Plane(PlaneSetup(route: "host = \"known.test\""))
        let caller = try plane.connect()
        let request = get("/")
        let many = Array(String(repeating: request, count: 1000).utf8)
        let taken = caller.writeUntilStuck(chunk: many, limit: 256 << 20)
        #expect(taken < 256 << 20)
        let counters = try plane.counters()
        let perRequest = 300
        let answered = Int(counters.bytesToCallers) / perRequest
        let read = Int(counters.bytesFromCallers) / request.utf8.count
        #expect(read < answered + 5000, "read \(read) requests, and wrote answers to about \(answered)")
        // Whoever reads gets every answer in order.
        var statuses = 0
        for _ in 0..<2000 where caller.readMessage().status == 404 { statuses += 1 }
        #expect(statuses == 2000)
        caller.reset()
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `one fast transfer does not hold others up`() throws {
        let plane = try Plane()
        let caller = try plane.connect()
        caller.write(get("/endless"))
        let api = try plane.upstream.accept()
        _ = api.readMessage()
        let writers = try [
            WorkerThread.start(name: "writer") { [api = api.giveAway()] in
                guard let api = try? WireEnd(api) else { return }
                api.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                let chunk = Array(("10000\r\n" + String(repeating: "x", count: 65_536) + "\r\n").utf8)
                while api.write(chunk) {}
            },
            WorkerThread.start(name: "reader") { [caller = caller.giveAway()] in
                guard let caller = try? WireEnd(caller) else { return }
                _ = caller.readToEnd()
            },
        ]
        var longest: UInt64 = 0
        for _ in 0..<20 {
            let other = try plane.connect()
            let start = MonotonicClock.milliseconds()
            other.write(get("/other"))
            _ = try plane.answer("GET /other")
            #expect(other.readMessage().status == 200)
            longest = max(longest, MonotonicClock.milliseconds() - start)
        }
        #expect(longest < 8000)
        #expect(try plane.stop() == PlaneEnd())
        for writer in writers { writer.join() }
    }

    // MARK: Resets

    @Test func `a reset of either side at any point leaves nothing behind`() throws {
        let plane = try Plane()
        for round in 0..<60 {
            let caller = try plane.connect()
            let point = round % 10
            let text = post("/", "hello world")
            if point == 0 {
                caller.reset()
                continue
            }
            caller.write(point == 1 ? String(text.prefix(20)) : point == 2 ? String(text.dropLast(5)) : text)
            if point == 1 {
                caller.reset()
                continue
            }
            let api = try plane.upstream.accept()
            switch point {
            case 2:
                caller.reset()
            case 3:
                api.reset()
                #expect(caller.readMessage().status == 502)
            case 4:
                _ = api.readMessage()
                caller.reset()
                #expect(api.readToEnd())
            case 5:
                _ = api.readMessage()
                api.write("HTTP/1.1 200 OK\r\nContent-Le")
                api.reset()
                #expect(caller.readMessage().status == 502)
            case 6:
                _ = api.readMessage()
                api.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                #expect(caller.read(until: "abc").status == 200)
                round % 20 == 6 ? api.reset() : caller.reset()
            case 7:
                _ = api.readMessage()
                api.write(unauthorized)
                let second = try plane.upstream.accept()
                round % 20 == 7 ? second.reset() : caller.reset()
            case 8:
                _ = api.readMessage()
                api.write(ok())
                caller.reset()
            default:
                _ = api.readMessage()
                api.write(ok())
                #expect(caller.readMessage().status == 200)
                api.reset()
                caller.reset()
            }
            caller.close()
            api.close()
            try plane.wait("all is closed") {
                $0.callerConnections == 0 && $0.requestsCurrent == 0 && $0.credentialWaiters == 0
                    && $0.upstreamActive.reduce(0, +) == 0 && $0.upstreamIdle.reduce(0, +) == 0
            }
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `what a worker opened is closed when it has ended`() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
            // Made once, and kept: what the runtime and the resolver's threads open is not the worker's.
            try Plane().stop()
            let before = try descriptors()
            try {
                let plane = try Plane(PlaneSetup(route: "retry_body_limit = \"1MiB\"", isTLS: false))
                let (one, two, three) = (try plane.connect(), try plane.connect(), try plane.connect())
                let idle = try plane.idleConnection(one)
                two.write(get("/running"))
                _ = idle.readMessage()
                three.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
                three.write([UInt8](repeating: 0x78, count: 400_000))
                let api = try plane.upstream.accept()
                _ = api.readBytes(100_000)
                let end = try plane.stop(within: 50)
                if end != PlaneEnd() { complain("\(end)") }
            }()
            let after = try descriptors()
            if before != after { complain("before \(before), after \(after)") }
        }
        let complaint = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(complaint.isEmpty)
    }

    @Test func `descriptors that run out are waited for without spinning`() async {
        await #expect(processExitsWith: .success) {
            let plane = try Plane()
            let early = try plane.connect()
            early.write(get("/early"))
            let api = try plane.upstream.accept()
            _ = api.readMessage()
            let waiting = try plane.connect()
            let late = try Socket.listen(on: .loopback(port: 0))
            try plane.seen()
            // From here on nobody gets a descriptor; connections still reach the queue.
            var taken: [Int32] = []
            let second = try plane.connect()
            var limit = rlimit(rlim_cur: 0, rlim_max: 0)
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = 64
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            while true {
                let descriptor = dup(0)
                if descriptor < 0 { break }
                taken.append(descriptor)
            }
            // The running exchange ends well, a new one on an old connection is refused or served, nothing traps.
            api.write(ok("early"))
            precondition(early.readMessage().content == "early")
            close(taken.removeLast())
            guard case .inProgress(let descriptor) = Socket.connect(to: plane.address) else { exit(2) }
            let third = try? WireEnd(descriptor)
            precondition(third == nil, "there was still a descriptor")
            _ = (second, waiting, late)
            let start = clock()
            _ = poll(nil, 0, 700)
            let used = Double(clock() - start) / Double(CLOCKS_PER_SEC)
            precondition(used < 0.3, "the worker spins: \(used) s of processor time")
            for descriptor in taken { close(descriptor) }
            let after = try plane.connect()
            after.write(get("/after"))
            let request = api.readMessage()
            precondition(request.hasPrefix("GET /after"))
            api.write(ok("after"))
            precondition(after.readMessage().content == "after")
            exit(0)
        }
    }

    @Test func `a worker that waits for its peers uses no processor time`() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
            let plane = try Plane(PlaneSetup(route: "allow_upgrade = [\"websocket\"]")) {
                $0.rejected == nil ? .generation(1) : .silence
            }
            var ends: [WireEnd] = []
            // Half closed, and no answer yet.
            let half = try plane.connect()
            half.write(post("/half", "x"))
            half.shutdownWriting()
            ends += [half, try plane.upstream.accept()]
            // Content announced and not sent.
            let slow = try plane.connect()
            slow.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
            ends += [slow, try plane.upstream.accept()]
            // Held for a credential that does not come, by an upstream that is gone, for a caller that is half gone.
            let held = try plane.connect()
            held.write(get("/held"))
            held.shutdownWriting()
            let rejecting = try plane.upstream.accept()
            _ = rejecting.readMessage()
            rejecting.write(unauthorized)
            rejecting.close()
            _ = try plane.control.waitForQuestions(4)
            // A response and a request that nobody takes.
            let stuck = try plane.connect()
            stuck.write(get("/stuck"))
            let sending = try plane.upstream.accept()
            _ = sending.readMessage()
            sending.write("HTTP/1.1 200 OK\r\n\r\n")
            _ = sending.writeUntilStuck(chunk: Self.chunk, limit: 1 << 30, patience: 100)
            let pushing = try plane.connect()
            pushing.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            ends += [held, stuck, sending, pushing, try plane.upstream.accept()]
            _ = pushing.writeUntilStuck(chunk: Self.chunk, limit: 1 << 30, patience: 100)
            // A tunnel of which the caller has closed its half.
            let tunnel = try plane.connect()
            tunnel.write(
                get("/ws", fields: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"))
            let far = try plane.upstream.accept()
            _ = far.readMessage()
            far.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            _ = tunnel.read(until: "\r\n\r\n")
            tunnel.shutdownWriting()
            _ = far.readAll()
            ends += [tunnel, far]
            try plane.seen()
            let start = clock()
            _ = pause(600)
            let used = Double(clock() - start) / Double(CLOCKS_PER_SEC)
            if used > 0.1 { complain("the worker spins: \(used) s of processor time") }
            let end = try plane.stop()
            if end != PlaneEnd() { complain("\(end)") }
        }
        let complaint = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(complaint.isEmpty)
    }

    @Test func `callers over the limit are told, and the others are unharmed`() throws {
        let plane = try Plane(PlaneSetup(limits: "max_connections = 3"))
        let callers = try (0..<3).map { _ in try plane.connect() }
        try plane.wait("all are there") { $0.callerConnections == 3 }
        let fourth = try plane.connect()
        let response = fourth.readMessage()
        #expect(response.status == 503 && response.field("token-gateway-error") == "overloaded")
        fourth.close()
        for caller in callers {
            caller.write(get("/"))
            _ = try plane.answer("GET")
            #expect(caller.readMessage().status == 200)
        }
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `many waiters for a connection that cannot be made are all answered`() throws {
        let gone = try ScriptedUpstream()
        let plane = try Plane(
            PlaneSetup(upstream: "max_connections = 2\nconnect_timeout = \"5s\"", host: "gone.test"),
            lookup: { _ in
                _ = pause(200)
                return .failure(ResolveError(kind: .notFound, host: "gone.test", detail: "no"))
            })
        let callers = try (0..<10).map { _ in try plane.connect() }
        for caller in callers { caller.write(get("/")) }
        for caller in callers { #expect(caller.readMessage().field("token-gateway-error") == "upstream_unreachable") }
        _ = gone
        #expect(try plane.stop() == PlaneEnd())
    }

    @Test func `a waiter is served when the one before it leaves`() throws {
        let plane = try Plane(
            PlaneSetup(upstream: "max_connections = 1\nconnect_timeout = \"9s\"", host: "slow.test"),
            lookup: { _ in
                _ = pause(1000)
                return .success([.loopback(port: 0)])
            })
        let first = try plane.connect()
        first.write(get("/first"))
        try plane.seen()
        let second = try plane.connect()
        second.write(get("/second"))
        try plane.seen()
        first.reset()
        let api = try plane.upstream.accept()
        #expect(api.readMessage().hasPrefix("GET /second"))
        api.write(ok())
        #expect(second.readMessage().status == 200)
        #expect(try plane.stop() == PlaneEnd())
    }
}

/// Ends a process of an exit test; the sentence goes to its standard error.
private func complain(_ sentence: String) -> Never {
    let text = sentence + "\n"
    _ = text.withCString { write(2, $0, strlen($0)) }
    exit(1)
}

/// The process's open descriptors.
func descriptors() throws -> [String] {
    guard let directory = opendir("/proc/self/fd") else { throw Errno.noSuchFile }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
        names.append(
            withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            })
    }
    return names.sorted()
}
