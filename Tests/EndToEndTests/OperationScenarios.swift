import Foundation
import Synchronization
import Testing

extension EndToEnd {
    /// What an operator does from day to day.
    @Suite("Operation", .serialized, .timeLimit(.minutes(3)))
    struct OperationScenarios {
        @Test func `the console's buttons authorize, refresh and revoke, for who is signed in`() async throws {
            try await scenario(.buttons, on: Site.lasting) { gateway in
                let browser = gateway.site.browser()
                try await signIn(browser, gateway)

                try await browser.open(gateway.seat.publicURL + "/grants/" + GatewayFile.grant)
                #expect(browser.page?.reply.text.contains("Authorize") == true)
                try await gateway.site.canaille.pace()
                let end = try await gateway.site.consent(
                    browser, from: gateway.seat.publicURL + "/authorize/" + GatewayFile.grant, as: gateway.seat)
                #expect(end.hasPrefix(gateway.seat.publicURL) && browser.page?.reply.status == 200)
                #expect(try await gateway.call("/echo?authorized").status == 200)

                try await expectForgeriesFail(browser, gateway)
                try await gateway.site.canaille.pace()
                let generation = try await gateway.generation()
                try await browser.open(gateway.seat.publicURL + "/grants/" + GatewayFile.grant)
                try await browser.press(formTo: "/grants/crm/refresh")
                #expect(browser.page?.reply.status == 200)
                #expect(try await gateway.generation() == generation + 1)

                try await browser.open(gateway.seat.publicURL + "/grants/crm/revoke")
                #expect(try await gateway.state() == "active", "asking is not revoking")
                try await browser.press(formTo: "/grants/crm/revoke")
                #expect(browser.page?.reply.status == 200)
                #expect(browser.page?.reply.text.contains("The provider has confirmed it.") == true)
                #expect(try await gateway.call("/echo?revoked").status == 503)
                gateway.look(at: browser)
            }
        }

        private func signIn(_ browser: Browser, _ gateway: RunningGateway) async throws {
            try await browser.open(gateway.seat.publicURL + "/grants")
            #expect(browser.page?.reply.text.contains(GatewayFile.grant) == false, "nothing for strangers")
            try await browser.submit(formWith: "secret", ["secret": "not the secret"])
            #expect(browser.page?.reply.status == 403)
            let place = try await browser.submit(formWith: "secret", ["secret": gateway.secrets.console])
            #expect(place == gateway.seat.publicURL + "/grants", "signing in goes on to where it was asked for")
            #expect(browser.page?.reply.text.contains(GatewayFile.grant) == true)
        }

        /// A page of another site, open in the same browser, brings nothing about.
        private func expectForgeriesFail(_ browser: Browser, _ gateway: RunningGateway) async throws {
            let calls = try gateway.tokenCalls()
            for action in ["refresh", "revoke", "forget"] {
                let target = gateway.seat.publicURL + "/grants/crm/" + action
                #expect(try await browser.forge(target, ["-d", ""]).status == 403)
                let token = try #require(
                    browser.history.lazy.flatMap(\.forms).flatMap(\.fields).last { $0.name == "form_token" }?.value)
                let withToken = ["-d", "form_token=\(token)"]
                #expect(
                    try await browser.forge(target, withToken + ["-H", "Origin: https://evil.example"]).status == 403)
                #expect(
                    try await browser.forge(target, withToken + ["-H", "Sec-Fetch-Site: cross-site"]).status == 403)
                // Without the browser's cookies nobody is signed in.
                let stranger = try await gateway.site.curl.call(target, withToken)
                #expect(stranger.status == 303 && stranger.field("location")?.contains("/sign-in") == true)
            }
            #expect(try await gateway.state() == "active")
            #expect(try gateway.tokenCalls() == calls)
        }

        @Test func `a reload under load takes effect, or changes nothing, and no request fails`() async throws {
            try await scenario(.reload, on: Site.lasting) { gateway in
                try await gateway.connect()
                let isOver = Mutex(false)
                async let outcomes = callsUntil({ isOver.withLock { $0 } }, gateway)

                #expect(try await gateway.call("/echo", at: "/second").status == 404)
                try gateway.reconfigure {
                    $0.more = """

                        [route.second]
                        path = "/second/*"
                        strip_prefix = "/second"
                        upstream = "api"
                        grant = "crm"

                        """
                }
                gateway.signal(SIGHUP)
                try await eventually("the new route answers") {
                    try await gateway.call("/echo", at: "/second").status == 200
                }
                #expect(try await reloadMetric(gateway) == "1")

                try gateway.reconfigure { $0.provider["tokn_url"] = "\"https://localhost/\"" }
                gateway.signal(SIGHUP)
                try await eventually("the refusal of the mistake") { try await reloadMetric(gateway) == "0" }
                #expect(gateway.logTail().contains("did you mean"))
                #expect(try await gateway.call("/echo", at: "/second").status == 200, "the old file stays in force")

                try gateway.reconfigure { _ in }
                gateway.signal(SIGHUP)
                try await eventually("the route is gone") {
                    try await gateway.call("/echo", at: "/second").status == 404
                }
                isOver.withLock { $0 = true }
                #expect(try await Array(outcomes.keys) == [200])
                #expect(try gateway.tokenCalls() == [200], "a reload asks the provider nothing")
            }
        }

        private func callsUntil(
            _ isOver: @escaping @Sendable () -> Bool, _ gateway: RunningGateway
        ) async throws -> [Int: Int] {
            var outcomes: [Int: Int] = [:]
            while !isOver() { outcomes[try await gateway.call("/echo?load").status, default: 0] += 1 }
            return outcomes
        }

        private func reloadMetric(_ gateway: RunningGateway) async throws -> String? {
            let name = "token_gateway_config_last_reload_successful "
            return try await gateway.console("/metrics").text.split(separator: "\n").first { $0.hasPrefix(name) }
                .map { String($0.dropFirst(name.count)) }
        }

        @Test func `a token in a file is used, and its successor as soon as it is there`() async throws {
            let site = try await Site.lasting.value
            let seat = site.seat(.file)
            let file = Workspace.newFile("token")
            let socket = Workspace.newFile("sock")
            let first = try await site.token(seat, try await site.authorizationCode(seat))
            try Workspace.write(try #require(first.member("access_token")) + "\n", to: file)
            let change = { (configuration: inout GatewayFile) in
                configuration.tokenFile = file
                configuration.more = "\n[listener.local]\naddress = \"unix:\(socket)\"\n"
            }
            try await scenario(.file, on: Site.lasting, change: change) { gateway in
                #expect(try await gateway.state() == "active")
                #expect(try await gateway.call("/echo?tcp").status == 200)
                #expect(try await gateway.call("/echo?unix", ["--unix-socket", socket]).status == 200)

                // canaille ends the old access token when it refreshes, and the file still holds it.
                try await gateway.site.canaille.pace()
                let second = try await site.refreshed(seat, try #require(first.member("refresh_token")))
                let rejected = try await gateway.call("/echo?old")
                #expect(rejected.status == 401)
                #expect(rejected.field("token-gateway-error") == nil, "the API's own answer")
                #expect(try site.nginx.apiCalls(containing: "/echo?old").count == 1)

                try Workspace.write(try #require(second.member("access_token")), to: file + ".new")
                try FileManager.default.moveItem(atPath: file, toPath: file + ".old")
                try FileManager.default.moveItem(atPath: file + ".new", toPath: file)
                #expect(try await gateway.call("/echo?new").status == 200)

                // A file that others can read is not used; the token that was read from it before is.
                try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
                #expect(try await gateway.call("/echo?open").status == 200)
                gateway.killNow()
                let refused = try await gateway.command(["run"])
                #expect(refused.status != .exited(0) && refused.errors.contains(file))
                try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
                // The socket of a gateway that was killed is no obstacle.
                try await gateway.start()
                #expect(try await gateway.call("/echo?again", ["--unix-socket", socket]).status == 200)
            }
            #expect(!FileManager.default.fileExists(atPath: socket))
        }
    }
}
