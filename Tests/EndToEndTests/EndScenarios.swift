import Foundation
import Testing

extension EndToEnd {
    /// Crashes, and the ends that a grant can come to.
    @Suite("Ends", .serialized, .timeLimit(.minutes(3)))
    struct EndScenarios {
        @Test func `after kill -9 and restart the grant is connected without a new consent`() async throws {
            try await scenario(.kill, on: Site.lasting) { gateway in
                try await gateway.connect()
                for round in 1...3 {
                    try await gateway.site.canaille.pace()
                    let refreshed = try await gateway.command(["refresh", GatewayFile.grant])
                    #expect(refreshed.status == .exited(0), "\(refreshed.errors)")
                    let generation = try await gateway.generation()
                    gateway.killNow()
                    try await gateway.start()
                    #expect(try await gateway.generation() == generation)
                    #expect(try await gateway.call("/echo?\(round)").status == 200)
                }
                #expect(try gateway.tokenCalls() == [200, 200, 200, 200])

                gateway.killNow()
                #expect(try await gateway.call("/echo").exitCode == 7, "nobody listens")
                try await gateway.start()
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `a second gateway does not open the same store`() async throws {
            try await scenario(.second, on: Site.lasting) { gateway in
                let second = try await gateway.command(["run"])
                #expect(second.status != .exited(0))
                #expect(second.errors.contains("\(gateway.folder)/grants.db"))
                #expect(try await gateway.console("/livez").status == 200)
            }
        }

        @Test func `without its key, or with another, the gateway does not start and harms nothing`() async throws {
            try await scenario(.key, on: Site.lasting) { gateway in
                try await gateway.connect()
                gateway.killNow()
                let file = "\(gateway.folder)/store.key"
                try Workspace.write(randomBytes(32).base64EncodedString(), to: file)
                let wrong = try await gateway.command(["run"])
                #expect(wrong.status != .exited(0) && !wrong.errors.isEmpty)
                try FileManager.default.removeItem(atPath: file)
                let missing = try await gateway.command(["run"])
                #expect(missing.status != .exited(0) && missing.errors.contains(file))
                try Workspace.write(gateway.secrets.storeKey, to: file)
                try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
                let open = try await gateway.command(["run"])
                #expect(open.status != .exited(0) && open.errors.contains(file))
                try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
                try await gateway.start()
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `revoking stops the calls, and the server says that the tokens are inactive`() async throws {
            try await scenario(.revoke, on: Site.lasting) { gateway in
                try await gateway.connect()
                let token = try await gateway.site.canaille.currentToken(of: gateway.seat)
                #expect(try await gateway.call("/echo?before").status == 200)
                #expect(try await gateway.site.isActive(token.access))

                let revoked = try await gateway.command(["revoke", GatewayFile.grant, "--json"])
                #expect(revoked.status == .exited(0), "\(revoked.errors)")
                #expect(revoked.text.contains("revoked"))
                try await expectStopped(gateway, "/echo?after")
                #expect(try await gateway.site.isActive(token.access) == false)
                #expect(try await gateway.site.isActive(try #require(token.refresh)) == false)
                #expect(try await gateway.console("/readyz").status == 503)

                gateway.killNow()
                try await gateway.start()
                try await expectStopped(gateway, "/echo?restarted")
                #expect(try gateway.tokenCalls() == [200], "a revoked grant is not refreshed")
                try await gateway.connect()
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `a grant that the server has ended is found out with one call and stays found out`() async throws {
            try await scenario(.dead, on: Site.lasting) { gateway in
                try await gateway.connect()
                let token = try await gateway.site.canaille.currentToken(of: gateway.seat)
                let ended = try await gateway.site.curl.call(
                    gateway.site.canaille.issuer + "/oauth/revoke",
                    ["-u", "\(gateway.seat.clientID):\(gateway.seat.clientSecret)", "-d", "token=\(token.access)"])
                #expect(ended.status == 200)

                let first = try await gateway.call("/echo?first")
                #expect(first.status == 401 || first.status == 503)
                for number in 0..<5 { try await expectStopped(gateway, "/echo?dead\(number)") }
                #expect(try await gateway.state() == "reauthorization_required")
                #expect(try gateway.tokenCalls() == [200, 400])

                gateway.killNow()
                try await gateway.start()
                try await expectStopped(gateway, "/echo?restarted")
                #expect(try gateway.tokenCalls() == [200, 400], "the end is remembered")
                try await gateway.connect()
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        /// The gateway's own answer, and no call to the API.
        private func expectStopped(_ gateway: RunningGateway, _ path: String) async throws {
            let reply = try await gateway.call(path)
            #expect(reply.status == 503)
            let code = try #require(reply.field("token-gateway-error"))
            #expect(["reauthorization_required", "not_connected"].contains(code))
            #expect(reply.member("code") == code)
            #expect(try gateway.site.nginx.apiCalls(containing: path).isEmpty)
        }
    }
}
