import Dispatch
import HTTP
import OAuth
import OpenSSLKit
import Reactor
import Testing

@testable import Gateway

private let okay = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

@Suite struct `the provider client` {
    // MARK: What is sent and what comes back

    @Test func `a request goes out whole and its reply comes back`() throws {
        let provider = try ScriptedProvider { end, notes in
            notes.add(end.readMessage())
            end.write(okay)
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest(port: provider.port))
        let reply = try outcome.get()
        #expect(reply.status == 200)
        #expect(reply.header("content-type") == "application/json")
        #expect(reply.body == Array("{}".utf8))
        #expect(
            provider.notesAtTheEnd() == [
                "POST /token?a=b HTTP/1.1\r\nHost: provider.test:\(provider.port)\r\nAccept: application/json\r\n"
                    + "User-Agent: test/1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 27\r\n"
                    + "Connection: close\r\n\r\nrefresh_token=hidden-secret"
            ])
    }

    @Test func `fields that frame the message are the driver's alone, and GET has no content`() throws {
        let provider = try ScriptedProvider { end, notes in
            notes.add(end.readMessage())
            end.write(okay)
        }
        var request = tokenRequest(port: provider.port)
        request.method = .get
        request.body = []
        request.headers = [
            HeaderField("host", "evil.test"), HeaderField("Transfer-Encoding", "chunked"),
            HeaderField("Content-length", "7"), HeaderField("X-Own", "1"),
        ]
        _ = try ClientHarness().outcome(of: request).get()
        #expect(
            provider.notesAtTheEnd() == [
                "GET /token?a=b HTTP/1.1\r\nHost: provider.test:\(provider.port)\r\nX-Own: 1\r\nConnection: close\r\n\r\n"
            ])
    }

    @Test(arguments: [HeaderField("X", "a\r\nEvil: 1"), HeaderField("X Y", "a"), HeaderField("X", "a\0")])
    func `a field that would break the message is not sent`(field: HeaderField) throws {
        let provider = try ScriptedProvider { end, notes in notes.add(end.readAll() ?? "cut") }
        var request = tokenRequest(port: provider.port)
        request.headers.append(field)
        #expect(try ClientHarness().outcome(of: request) == .failure(.notSent(.refused)))
        #expect(provider.notesAtTheEnd() == [""])
    }

    @Test(arguments: ReplyCase.all.filter { $0.cleanly && !$0.name.contains("as ") && !$0.name.contains("too large") })
    func `each kind of reply is told apart on a real connection`(reply: ReplyCase) throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write(reply.wire)
        }
        #expect(try ClientHarness().outcome(of: tokenRequest(port: provider.port)) == reply.expected)
    }

    @Test func `a reply above the limit is cut off`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            let chunk = "10000\r\n\(String(repeating: "x", count: 0x10000))\r\n"
            while end.write(chunk) {}
        }
        #expect(try ClientHarness().outcome(of: tokenRequest(port: provider.port)) == .failure(.tooLarge))
    }

    @Test func `a reply of exactly the limit is taken`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write("HTTP/1.1 200 OK\r\nContent-Length: \(ProviderRequest.replyLimitBytes)\r\n\r\n")
            end.write([UInt8](repeating: 0x78, count: ProviderRequest.replyLimitBytes))
        }
        let reply = try ClientHarness().outcome(of: tokenRequest(port: provider.port)).get()
        #expect(reply.body.count == ProviderRequest.replyLimitBytes)
    }

    @Test func `an early reply to a large request counts though the rest is not taken`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readSome()
            end.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            _ = end.readToEnd()
        }
        var request = tokenRequest(port: provider.port)
        request.body = [UInt8](repeating: 0x61, count: 16 << 20)
        #expect(try ClientHarness().outcome(of: request).get().status == 413)
    }

    // MARK: Sent or not

    @Test func `a reset after the request leaves the outcome unknown`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.reset()
        }
        #expect(try ClientHarness().outcome(of: tokenRequest(port: provider.port)) == .failure(.replyLost(.reset)))
    }

    @Test func `a reset in the middle of the reply leaves the outcome unknown`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            end.reset()
        }
        #expect(try ClientHarness().outcome(of: tokenRequest(port: provider.port)) == .failure(.replyLost(.reset)))
    }

    @Test(arguments: [true, false])
    func `a connection that is over before the request does not count as sent`(byReset: Bool) throws {
        let provider = try ScriptedProvider { end, _ in
            if byReset { end.reset() } else { end.close() }
        }
        let harness = try ClientHarness()
        harness.client.connect = { address in
            guard case .inProgress(let descriptor) = Socket.connect(to: address), let end = try? WireEnd(descriptor)
            else { return .failed(.connectionRefused) }
            // Goes on only when the end has come, so that no race decides.
            _ = provider.notesAtTheEnd()
            end.waitForEnd()
            return .connected(end.giveAway())
        }
        let reason: ProviderFailure.Reason = byReset ? .reset : .closed
        #expect(try harness.outcome(of: tokenRequest(port: provider.port)) == .failure(.notSent(reason)))
    }

    @Test func `a request counts as sent from its first byte, and the handshake before it does not`() {
        let call = ProviderCall(
            id: 1, provider: "", request: tokenRequest(port: 1), tls: TLSClientConfiguration(), deadline: 0,
            completion: { _ in })
        call.outgoing.append("handshake")
        call.wrote(4)
        call.bytesBeforeRequest = call.outgoing.count
        call.outgoing.append("request")
        call.wrote(3)
        call.wrote(2)
        #expect(call.failure(.reset) == .notSent(.reset))
        call.wrote(1)
        #expect(call.failure(.reset) == .replyLost(.reset))
    }

    @Test func `over TLS too a reset after the request leaves the outcome unknown`() throws {
        let provider = try ScriptedProvider { end, _ in
            guard end.acceptTLS(Certificates.provider) else { return }
            _ = end.readMessage()
            end.reset()
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest("https", port: provider.port))
        #expect(outcome == .failure(.replyLost(.reset)))
    }

    @Test func `a refused connection was not sent`() throws {
        let harness = try ClientHarness()
        harness.client.connect = { _ in .failed(.connectionRefused) }
        #expect(try harness.outcome(of: tokenRequest(port: 1)) == .failure(.notSent(.refused)))
    }

    @Test func `a name that does not resolve was not sent`() throws {
        let outcome = try ClientHarness(names: [:]).outcome(of: tokenRequest(port: 1))
        #expect(outcome == .failure(.notSent(.resolution)))
    }

    @Test func `what is noted of failures holds no secret`() throws {
        let harness = try ClientHarness()
        harness.client.connect = { _ in .failed(.connectionRefused) }
        _ = try harness.outcome(of: tokenRequest(port: 9))
        #expect(
            harness.failures == [
                "refresh: POST http://provider.test:9/token: no connection to 127.0.0.1:9: "
                    + "Connection refused (ECONNREFUSED)"
            ])
    }

    // MARK: Addresses

    @Test func `the next address is tried where the first refuses`() throws {
        // Nobody listens at 127.0.0.2.
        let addresses: [SocketAddress] = [.ipv4(0x7f00_0002, port: 0), .loopback(port: 0)]
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write(okay)
        }
        let harness = try ClientHarness(names: ["provider.test": addresses])
        #expect(try harness.outcome(of: tokenRequest(port: provider.port)).get().status == 200)
    }

    @Test func `an address that swallows packets leaves time for the next`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write(okay)
        }
        let stuck = try StuckConnection()
        let harness = try ClientHarness(names: [
            "provider.test": [.ipv4(0x7f00_0002, port: 0), .loopback(port: 0)]
        ])
        harness.client.connect = { address in
            address == .loopback(port: provider.port) ? Socket.connect(to: address) : .inProgress(stuck.near)
        }
        #expect(try harness.outcome(of: tokenRequest(port: provider.port), deadline: 2_000).get().status == 200)
    }

    @Test func `nothing is tried again once a byte was sent`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.reset()
        }
        let harness = try ClientHarness(names: ["provider.test": [.loopback(port: 0), .loopback(port: 0)]])
        var tries = 0
        harness.client.connect = { address in
            tries += 1
            return Socket.connect(to: address)
        }
        #expect(try harness.outcome(of: tokenRequest(port: provider.port)) == .failure(.replyLost(.reset)))
        #expect(tries == 1)
    }

    @Test func `plain http to another machine is refused before it is connected to`() throws {
        let harness = try ClientHarness(names: ["provider.test": [.ipv4(0xc000_0201, port: 0)]])
        harness.client.connect = { address in
            Issue.record("connected to \(address)")
            return .failed(.connectionRefused)
        }
        #expect(
            try harness.outcome(of: tokenRequest(port: 80))
                == .failure(
                    .tls("plain http goes to loopback addresses only, and provider.test is at 192.0.2.1:80")))
    }

    @Test func `plain http takes the loopback address among others`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write(okay)
        }
        let harness = try ClientHarness(names: ["provider.test": [.ipv4(0xc000_0201, port: 0), .loopback(port: 0)]])
        #expect(try harness.outcome(of: tokenRequest(port: provider.port)).get().status == 200)
    }

    // MARK: TLS

    @Test func `a request goes out over TLS and its reply comes back`() throws {
        let provider = try ScriptedProvider { end, notes in
            guard end.acceptTLS(Certificates.provider) else { return }
            notes.add(end.readMessage())
            end.write(okay)
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest("https", port: provider.port))
        #expect(try outcome.get().body == Array("{}".utf8))
        #expect(provider.notesAtTheEnd().first?.hasSuffix("\r\n\r\nrefresh_token=hidden-secret") == true)
    }

    @Test(arguments: [true, false])
    func `over TLS only close_notify ends content without a length`(closesCleanly: Bool) throws {
        let provider = try ScriptedProvider { end, _ in
            guard end.acceptTLS(Certificates.provider) else { return }
            _ = end.readMessage()
            end.write("HTTP/1.1 200 OK\r\n\r\n{}")
            if closesCleanly { end.sendCloseNotify() }
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest("https", port: provider.port))
        if closesCleanly {
            #expect(outcome == ReplyCase.reply(200, [], "{}"))
        } else {
            #expect(outcome == .failure(.replyLost(.closed)))
        }
    }

    @Test func `a certificate that does not verify stops the request`() throws {
        for (certificate, words) in [
            (Certificates.otherName, "is for other.test"), (Certificates.strange, "leads to no trusted authority"),
        ] {
            let provider = try ScriptedProvider { end, notes in
                notes.add(end.acceptTLS(certificate) ? end.readAll() ?? "cut" : "refused")
            }
            // Two addresses: a wrong certificate is no matter of place.
            let harness = try ClientHarness(names: ["provider.test": [.loopback(port: 0), .loopback(port: 0)]])
            let outcome = try harness.outcome(of: tokenRequest("https", port: provider.port))
            guard case .failure(.tls(let reason)) = outcome else {
                Issue.record("\(outcome)")
                return
            }
            #expect(reason.range(of: words) != nil, "\(reason)")
            #expect(provider.notesAtTheEnd() == ["refused"])
        }
    }

    @Test func `a peer that does not speak TLS is told apart`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readSome()
            end.write("HTTP/1.1 400 Bad Request\r\n\r\n")
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest("https", port: provider.port))
        guard case .failure(.tls(let reason)) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(reason.hasPrefix("provider.test does not speak TLS"))
    }

    @Test func `authorities that cannot be read stop the request`() throws {
        let outcome = try ClientHarness().outcome(
            of: tokenRequest("https", port: 1), tls: TLSClientConfiguration(caFile: "/nowhere/ca.pem"))
        guard case .failure(.tls(let reason)) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(reason.range(of: "/nowhere/ca.pem") != nil)
    }

    @Test(arguments: [true, false])
    func `a handshake that is cut was not sent, and the next address is tried`(byReset: Bool) throws {
        let provider = try ScriptedProvider(connections: 2) { end, _ in
            _ = end.readSome()
            if byReset { end.reset() } else { end.close() }
        }
        let harness = try ClientHarness(names: ["provider.test": [.loopback(port: 0), .loopback(port: 0)]])
        let reason: ProviderFailure.Reason = byReset ? .reset : .closed
        #expect(try harness.outcome(of: tokenRequest("https", port: provider.port)) == .failure(.notSent(reason)))
        _ = provider.notesAtTheEnd()
    }

    // MARK: Time

    @Test func `time may end while the name is resolved`() throws {
        let gate = DispatchSemaphore(value: 0)
        defer { gate.signal() }
        let harness = try ClientHarness(lookup: { host in
            gate.wait()
            return .success([.loopback(port: 0)])
        })
        #expect(try harness.outcome(of: tokenRequest(port: 1), deadline: 30) == .failure(.notSent(.timeout)))
    }

    @Test func `time may end while connecting`() throws {
        let stuck = try StuckConnection()
        let harness = try ClientHarness()
        harness.client.connect = { _ in .inProgress(stuck.near) }
        #expect(try harness.outcome(of: tokenRequest(port: 1), deadline: 30) == .failure(.notSent(.timeout)))
    }

    @Test func `time may end in the handshake`() throws {
        let provider = try ScriptedProvider { end, _ in _ = end.readToEnd() }
        let request = tokenRequest("https", port: provider.port)
        #expect(try ClientHarness().outcome(of: request, deadline: 50) == .failure(.notSent(.timeout)))
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
    func `time may end before and in the reply`(start: String) throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write(start)
            _ = end.readToEnd()
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest(port: provider.port), deadline: 300)
        #expect(outcome == .failure(.replyLost(.timeout)))
    }

    @Test func `what comes before the request is no answer to it`() throws {
        let provider = try ScriptedProvider { end, notes in
            end.write(okay)
            notes.add(end.readToEnd() ? "ended" : "")
        }
        let harness = try ClientHarness()
        harness.client.connect = { address in
            guard let end = try? WireEnd(connectingTo: address) else { return .failed(.connectionRefused) }
            end.waitForInput()
            return .connected(end.giveAway())
        }
        #expect(try harness.outcome(of: tokenRequest(port: provider.port)) == .failure(.notSent(.closed)))
    }

    @Test func `the deadline is for the whole call, however busy the peer is`() throws {
        let provider = try ScriptedProvider { end, _ in
            _ = end.readMessage()
            end.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while end.write("x") { end.pause(milliseconds: 2) }
        }
        let outcome = try ClientHarness().outcome(of: tokenRequest(port: provider.port), deadline: 300)
        #expect(outcome == .failure(.replyLost(.timeout)))
    }

    // MARK: Many calls

    @Test func `calls above the limit wait for their turn, and their time runs`() throws {
        let provider = try ScriptedProvider(connections: 2) { end, notes in
            notes.add("\(end.readMessage().prefix(4))")
            end.write(okay)
        }
        let stuck = try StuckConnection()
        var limits = ProviderClient.Limits()
        limits.calls = 1
        let harness = try ClientHarness(limits: limits)
        var outcomes: [String] = []
        harness.client.connect = { $0.port == 1 ? .inProgress(stuck.near) : Socket.connect(to: $0) }
        func send(_ name: String, port: UInt16, deadline: Int64) {
            harness.client.send(tokenRequest(port: port), deadlineMilliseconds: deadline) { outcome in
                outcomes.append("\(name) \((try? outcome.get().status) ?? 0)")
                if outcomes.count == 4 { harness.loop.stop() }
            }
        }
        send("stuck", port: 1, deadline: 150)
        send("impatient", port: provider.port, deadline: 20)
        send("patient", port: provider.port, deadline: 10_000)
        send("last", port: provider.port, deadline: 10_000)
        harness.loop.run()
        #expect(outcomes == ["impatient 0", "stuck 0", "patient 200", "last 200"])
        #expect(provider.notesAtTheEnd().count == 2)
    }

    @Test func `a provider that hangs holds up its own calls only`() throws {
        let provider = try ScriptedProvider(connections: 2) { end, _ in
            _ = end.readMessage()
            end.write(okay)
        }
        let stuck = try (0..<2).map { _ in try StuckConnection() }
        var limits = ProviderClient.Limits()
        limits.calls = 3
        limits.callsPerProvider = 2
        let harness = try ClientHarness(limits: limits)
        var outcomes: [String] = []
        var opened = 0
        harness.client.connect = { address in
            guard address.port == 1 else { return Socket.connect(to: address) }
            opened += 1
            return .inProgress(stuck[opened - 1].near)
        }
        func send(_ name: String, of owner: String, port: UInt16, deadline: Int64) {
            harness.client.send(tokenRequest(port: port), of: owner, deadlineMilliseconds: deadline) { outcome in
                outcomes.append("\(name) \((try? outcome.get().status) ?? 0)")
                if outcomes.count == 7 { harness.loop.stop() }
            }
        }
        // Five of one that never answers come first.
        for number in 1...5 { send("hung\(number)", of: "slow", port: 1, deadline: number <= 2 ? 300 : 200) }
        send("other1", of: "quick", port: provider.port, deadline: 10_000)
        send("other2", of: "quick", port: provider.port, deadline: 10_000)
        harness.loop.run()
        #expect(outcomes.prefix(2) == ["other1 200", "other2 200"])
        #expect(opened == 2 && harness.client.callCount == 0)
    }

    @Test func `providers have their turns one after the other, each call once`() {
        var lanes = ProviderLanes()
        for id in 1...4 as ClosedRange<UInt64> { lanes.callCame(id, of: "a") }
        lanes.callCame(5, of: "b")
        var order: [UInt64] = []
        while let id = lanes.next(limit: 3) {
            order.append(id)
            lanes.callBegan(of: id == 5 ? "b" : "a")
        }
        #expect(order == [1, 5, 2, 3] && lanes.hasWaiting)
        lanes.callEnded(of: "b")
        #expect(lanes.next(limit: 3) == nil)
        lanes.callEnded(of: "a")
        #expect(lanes.next(limit: 3) == 4 && !lanes.hasWaiting)
        lanes.callBegan(of: "a")
        for _ in 0..<3 { lanes.callEnded(of: "a") }
        lanes.callCame(6, of: "a")
        #expect(lanes.next(limit: 1) == 6 && lanes.next(limit: 1) == nil)
    }

    @Test(arguments: ["10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1"])
    func `a host that only a pattern allows gets nothing on a private address`(address: String) throws {
        let place = try #require(SocketAddress(numericHost: address, port: 0))
        let harness = try ClientHarness(names: ["evil.provider.test": [place]])
        harness.client.connect = { _ in
            Issue.record("a connection was opened")
            return .failed(Errno(code: 111))
        }
        var request = tokenRequest("https", host: "evil.provider.test", port: 443)
        request.mustBePublic = true
        #expect(try harness.outcome(of: request) == .failure(.notSent(.unreachable)))
        #expect(harness.failures.count == 1 && harness.failures[0].contains("see allow_private"))
    }

    @Test func `of a name's addresses the public ones are used`() throws {
        let addresses = [SocketAddress.ipv4(0x0A00_0001, port: 0), .ipv4(0x0808_0808, port: 0)]
        let harness = try ClientHarness(names: ["shop.provider.test": addresses])
        var tried: [SocketAddress] = []
        harness.client.connect = { address in
            tried.append(address)
            return .failed(Errno(code: 111))
        }
        var request = tokenRequest("https", host: "shop.provider.test", port: 443)
        request.mustBePublic = true
        _ = try harness.outcome(of: request)
        #expect(tried == [.ipv4(0x0808_0808, port: 443)])
    }

    @Test func `a completion may send the next request`() throws {
        let provider = try ScriptedProvider(connections: 3) { end, _ in
            _ = end.readMessage()
            end.write(okay)
        }
        let harness = try ClientHarness()
        var count = 0
        func next() {
            harness.client.send(tokenRequest(port: provider.port), deadlineMilliseconds: 10_000) { _ in
                count += 1
                if count < 3 { next() } else { harness.loop.stop() }
            }
        }
        next()
        harness.loop.run()
        #expect(count == 3)
    }

    @Test func `an end of all calls tells each once, and whether it was sent`() throws {
        let provider = try ScriptedProvider { end, notes in
            notes.add(end.readMessage())
            _ = end.readToEnd()
        }
        let stuck = try StuckConnection()
        let harness = try ClientHarness()
        var outcomes: [ProviderOutcome] = []
        harness.client.connect = { $0.port == 1 ? .inProgress(stuck.near) : Socket.connect(to: $0) }
        for port in [provider.port, 1] {
            harness.client.send(tokenRequest(port: port), deadlineMilliseconds: 10_000) { outcomes.append($0) }
        }
        let loop = harness.loop
        func stopWhenReceived() {
            if provider.received.all.isEmpty { loop.schedule(after: 1, stopWhenReceived) } else { loop.stop() }
        }
        stopWhenReceived()
        loop.run()
        harness.client.cancelAll()
        harness.client.cancelAll()
        #expect(outcomes == [.failure(.replyLost(.stopped)), .failure(.notSent(.stopped))])
        #expect(harness.client.callCount == 0)
    }
}
