import Foundation
import Testing

extension EndToEnd {
    @Suite("Refresh", .serialized, .timeLimit(.minutes(3)))
    struct RefreshScenarios {
        @Test func `tokens are refreshed ahead of expiry while requests flow, and none fails`() async throws {
            try await scenario(.expiry, on: Site.brief) { gateway in
                try await gateway.connect()
                let clock = ContinuousClock()
                let end = clock.now + .seconds(Site.briefLifetime * 5 / 2)
                let outcomes = try await withThrowingTaskGroup(of: [Int: Int].self) { group in
                    for caller in 0..<2 {
                        group.addTask {
                            var counts: [Int: Int] = [:]
                            while clock.now < end {
                                let content = Data("caller \(caller), request \(counts.count)".utf8)
                                let reply = try await gateway.call("/echo", upload: content)
                                let isWhole = reply.status == 200 && reply.body.suffix(content.count) == content
                                counts[isWhole ? 200 : reply.status, default: 0] += 1
                            }
                            return counts
                        }
                    }
                    return try await group.reduce(into: [:]) { $0.merge($1, uniquingKeysWith: +) }
                }
                #expect(Array(outcomes.keys) == [200], "\(outcomes)")
                #expect(outcomes[200, default: 0] > 20)
                let calls = try gateway.tokenCalls()
                #expect(calls.count { $0 == 200 } >= 4, "consent and at least three refreshes: \(calls)")
                #expect(calls.count <= 8, "no refresh without need: \(calls)")
                #expect(try await gateway.state() == "active")
            }
        }

        @Test func `a grant that nobody uses is refreshed, too`() async throws {
            try await scenario(.idle, on: Site.brief) { gateway in
                try await gateway.connect()
                try await eventually("a refresh without traffic", within: .seconds(Site.briefLifetime + 4)) {
                    try gateway.tokenCalls().count >= 2
                }
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `a token that the API no longer takes is refreshed once and the request is sent again`() async throws
        {
            // Three times in a row here; by default a 401 soon after a refresh does not cause another.
            try await scenario(.retry, on: Site.lasting, change: { $0.provider["rejection_cooldown"] = "\"0s\"" }) {
                gateway in
                try await gateway.connect()
                let body = randomBytes(200_000)
                let file = randomBytes(3 << 20)

                try await loseToken(gateway)
                #expect(try await gateway.call("/echo?get").status == 200)
                #expect(try gateway.tokenCalls() == [200, 200])
                #expect(try gateway.site.nginx.apiCalls(containing: "/echo?get").map(\.status) == [401, 200])

                try await loseToken(gateway)
                let posted = try await gateway.call("/echo?post", upload: body)
                #expect(posted.status == 200 && posted.body.suffix(body.count) == body)
                #expect(try gateway.tokenCalls() == [200, 200, 200])

                try await loseToken(gateway)
                #expect(try await gateway.call("/files/again", upload: file, put: true).status == 201)
                #expect(try gateway.site.nginx.uploaded("again") == file)
                #expect(try gateway.tokenCalls() == [200, 200, 200, 200])
            }
        }

        @Test func `many requests with a rejected token cause one refresh`() async throws {
            try await scenario(.rejected, on: Site.lasting) { gateway in
                try await gateway.connect()
                try await loseToken(gateway)
                let outcomes = try await gateway.site.curl.parallel((0..<50).map { gateway.url("/echo?\($0)") })
                #expect(outcomes == ["200": 50])
                #expect(try gateway.tokenCalls() == [200, 200])
            }
        }

        @Test func `a body above the limit is sent once, the answer passes and the token is refreshed`() async throws {
            try await scenario(.large, on: Site.lasting, change: { $0.route["retry_body_limit"] = "\"64KiB\"" }) {
                gateway in
                try await gateway.connect()
                try await loseToken(gateway)
                let content = randomBytes(1 << 20)
                let refused = try await gateway.call("/files/large", ["-H", "Expect:"], upload: content, put: true)
                #expect(refused.status == 401)
                try await eventually("the refresh that the refusal asked for") {
                    try gateway.tokenCalls().count == 2
                }
                #expect(try await gateway.call("/files/large", upload: content, put: true).status == 201)
                #expect(try gateway.site.nginx.uploaded("large") == content)
                #expect(try gateway.tokenCalls() == [200, 200])
            }
        }

        @Test func `a body above the limit survives, too, when the caller waits to be told to send it`() async throws {
            try await scenario(.asked, on: Site.lasting, change: { $0.route["retry_body_limit"] = "\"64KiB\"" }) {
                gateway in
                try await gateway.connect()
                try await loseToken(gateway)
                let content = randomBytes(1 << 20)
                let expectation = ["-H", "Expect: 100-continue", "--expect100-timeout", "30"]
                let sent = try await gateway.call("/files/asked", expectation, upload: content, put: true)
                #expect(sent.status == 201)
                #expect(try gateway.site.nginx.uploaded("asked") == content)
                #expect(try gateway.tokenCalls() == [200, 200])
                #expect(
                    try gateway.site.nginx.apiCalls(containing: "/files/asked").map(\.status) == [401, 201])
            }
        }

        @Test func `two hundred requests on an expired token cause one token call`() async throws {
            // Endpoints are written down, so that the gateway can start while the provider does not answer.
            try await scenario(.herd, on: Site.brief, change: { $0.discovers = false }) { gateway in
                try await gateway.connect()
                gateway.killNow()
                let clock = ContinuousClock()
                let expiry = clock.now + .seconds(Site.briefLifetime + 1)
                try await loseToken(gateway)
                try await eventually("the token expires", within: .seconds(20)) { clock.now > expiry }
                let calls = try gateway.tokenCalls().count

                gateway.site.canaille.pause()
                defer { gateway.site.canaille.resume() }
                try await gateway.start()
                async let answers = gateway.site.curl.parallel((0..<200).map { gateway.url("/echo?\($0)") })
                try await eventually("two hundred callers wait") {
                    try Ports.connections(to: gateway.seat.gatewayPort) >= 200
                }
                gateway.site.canaille.resume()
                #expect(try await answers == ["200": 200])
                #expect(try gateway.tokenCalls().dropFirst(calls) == [200])
            }
        }

        @Test func `a token endpoint that answers 500 is asked again and the grant lives on`() async throws {
            try await scenario(.transient, on: Site.lasting) { gateway in
                try await gateway.connect()
                // Two tokens within one second are more than canaille can do; the clock decides whether it happens.
                for _ in 0..<5 where try !gateway.tokenCalls().contains(500) {
                    try await gateway.site.canaille.pace()
                    for _ in 0..<2 { _ = try await gateway.command(["refresh", GatewayFile.grant]) }
                }
                #expect(try gateway.tokenCalls().contains(500))
                #expect(try await gateway.call("/echo").status == 200)
                try await eventually("the grant has recovered", within: .seconds(30)) {
                    try await gateway.state() == "active" && gateway.tokenCalls().last == 200
                }
                #expect(try await gateway.call("/echo").status == 200)
                // canaille's page for the failure quotes tokens; no part of it belongs into a log.
                #expect(!gateway.logTail().contains("sqlalche"))
            }
        }

        private func loseToken(_ gateway: RunningGateway) async throws {
            let token = try await gateway.site.canaille.currentToken(of: gateway.seat)
            gateway.addSecret("access token before", token.access)
            try await gateway.site.canaille.forgetAccess(token)
            try await gateway.site.canaille.pace()
        }
    }
}

extension String {
    /// The status in a line of nginx's log.
    fileprivate var status: Int? { split(separator: " ").dropFirst(2).first.flatMap { Int($0) } }
}
