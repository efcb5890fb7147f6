import Foundation
import Testing

extension EndToEnd {
    /// What callers get is what they would get from the API directly.
    @Suite("Forwarding", .serialized, .timeLimit(.minutes(3)))
    struct ForwardingScenarios {
        /// One gateway for all calls: starting one for each would be most of the time.
        @Test func `answers equal those of direct calls byte for byte`() async throws {
            try await scenario(.equality, on: Site.lasting) { gateway in
                try await gateway.connect()
                let token = try await gateway.site.canaille.currentToken(of: gateway.seat)
                for call in SampleCall.all {
                    let direct = try await gateway.site.direct(call, token: token.access)
                    let through = try await gateway.call(call.path, call.options, upload: call.upload)
                    expectEqual(direct, through, call.name)
                }
                try await uploads(gateway)
                try await rawCallers(gateway)
                #expect(try gateway.tokenCalls() == [200])
            }
        }

        /// Uploads of every framing arrive as they were sent, and come back so.
        private func uploads(_ gateway: RunningGateway) async throws {
            let content = randomBytes(5 << 20)
            let framings = [
                ("sized", []), ("chunks", ["-H", "Transfer-Encoding: chunked"]), ("at-once", ["-H", "Expect:"]),
            ]
            for (name, options) in framings {
                let answer = try await gateway.call("/files/\(name)", options, upload: content, put: true)
                #expect(answer.status == 201, "\(name)")
                #expect(try gateway.site.nginx.uploaded(name) == content, "\(name)")
                #expect(try await gateway.call("/files/\(name)").body == content, "\(name)")
            }
        }

        /// Callers that are not curl.
        private func rawCallers(_ gateway: RunningGateway) async throws {
            let port = gateway.seat.gatewayPort
            let pipelined = try RawSocket(port: port)
            try pipelined.send(
                (1...3).map { "GET /crm/echo?\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
                    + "GET /crm/echo?last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            let answers = String(decoding: try pipelined.receive(), as: UTF8.self)
            let targets = answers.components(separatedBy: "GET /echo?").dropFirst().map { $0.prefix { $0 != "\n" } }
            #expect(targets == ["1", "2", "3", "last"])

            let old = try RawSocket(port: port)
            try old.send("GET /crm/chunked HTTP/1.0\r\n\r\n")
            let oldAnswer = String(decoding: try old.receive(), as: UTF8.self)
            #expect(oldAnswer.hasPrefix("HTTP/1.1 200 ") || oldAnswer.hasPrefix("HTTP/1.0 200 "))
            #expect(!oldAnswer.lowercased().contains("transfer-encoding"))
            #expect(oldAnswer.hasSuffix("part 49 of fifty\n"))

            let halfClosed = try RawSocket(port: port)
            try halfClosed.send("POST /crm/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            halfClosed.finishSending()
            #expect(String(decoding: try halfClosed.receive(), as: UTF8.self).hasSuffix("\n\nhello"))

            let patient = try RawSocket(port: port)
            try patient.send(
                "POST /crm/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
                    + "Connection: close\r\n\r\n")
            let interim = try patient.receive { $0.firstRange(of: Data("\r\n\r\n".utf8)) != nil }
            #expect(String(decoding: interim, as: UTF8.self).hasPrefix("HTTP/1.1 100 "))
            try patient.send("hello")
            #expect(String(decoding: try patient.receive(), as: UTF8.self).hasSuffix("\n\nhello"))

            let ambiguous = try RawSocket(port: port)
            try ambiguous.send(
                "POST /crm/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
            #expect(String(decoding: try ambiguous.receive(), as: UTF8.self).hasPrefix("HTTP/1.1 400 "))
        }

        @Test func `a caller's own credentials do not reach the API`() async throws {
            try await scenario(.credentials, on: Site.lasting) { gateway in
                try await gateway.connect()
                let own = randomText(30)
                gateway.addSecret("the caller's own", own)
                let spellings = ["Authorization", "AUTHORIZATION", "Proxy-Authorization", "authorization"]
                for spelling in spellings {
                    let reply = try await gateway.call("/echo", ["-H", "\(spelling): Bearer \(own)"])
                    #expect(reply.status == 200, "\(spelling)")
                }
                let reply = try await gateway.call(
                    "/echo",
                    [
                        "-H", "Cookie: session=\(own)", "-H", "Connection: X-Custom",
                        "-H", "X-Custom: hop",
                    ])
                #expect(reply.text.contains("\nCookie: \n") && reply.text.contains("\nX-Custom: \n"))
            }
        }

        @Test func `SIGTERM lets a running download end`() async throws {
            try await scenario(.drain, on: Site.lasting) { gateway in
                try await gateway.connect()
                let caller = try RawSocket(port: gateway.seat.gatewayPort, receiveBuffer: 64 << 10)
                try caller.send("GET /crm/static/large HTTP/1.1\r\nHost: a\r\n\r\n")
                var answer = try caller.receive { $0.count > 100_000 }
                gateway.signal(SIGTERM)
                try await eventually("no new caller is let in") { !RawSocket.accepts(gateway.seat.gatewayPort) }
                answer += try caller.receive()
                #expect(answer.suffix(gateway.site.nginx.large.count) == gateway.site.nginx.large)
                #expect(try await gateway.end() == .exited(0))
                try await gateway.start()
            }
        }
    }
}
