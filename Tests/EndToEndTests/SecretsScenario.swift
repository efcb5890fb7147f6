import Foundation
import Testing

extension EndToEnd {
    @Suite("Secrets", .serialized, .timeLimit(.minutes(3)))
    struct SecretsScenarios {
        /// Every scenario looks for secrets at its end; this one goes to the places where they leak most easily.
        @Test func `seeded secrets appear in no log, metric, page or message`() async throws {
            try await scenario(.leaks, on: Site.lasting) { gateway in
                let seeds = (0..<6).map { _ in "seed" + randomText(24) }
                for (number, seed) in seeds.enumerated() { gateway.addSecret("seed \(number)", seed) }
                try await gateway.connect()

                // A callback that is refused, with a code and a state, here and at the public address.
                let browser = gateway.site.browser()
                let query = "?code=\(seeds[0])&state=\(seeds[1])&iss=x&error_description=y"
                try await browser.open(gateway.seat.redirectURI + query)
                #expect(browser.page?.reply.status == 400)
                gateway.look(at: browser)
                #expect(try await gateway.console("/oauth/callback" + query).status == 400)
                // A used link, a wrong secret for the console.
                #expect(try await gateway.console("/authorize/crm?ticket=\(seeds[2])").status == 403)
                let guess = ["-H", "Authorization: Bearer \(seeds[3])"]
                let address = "http://127.0.0.1:\(gateway.seat.consolePort)"
                #expect(try await gateway.site.curl.call(address + "/api/v1/grants", guess).status == 401)
                // A caller's own credentials in the fields, on the way to an answer and to errors.
                let own = ["-H", "Authorization: Bearer \(seeds[4])", "-H", "Cookie: session=\(seeds[5])"]
                for path in ["/echo", "/static/missing", "/../nowhere"] { _ = try await gateway.call(path, own) }
                _ = try await gateway.site.curl.call("http://127.0.0.1:\(gateway.seat.gatewayPort)/no/route", own)
                // A token call that fails, an API that says no, a grant that ends.
                try await gateway.site.canaille.pace()
                for _ in 0..<2 { _ = try await gateway.command(["refresh", GatewayFile.grant]) }
                let token = try await gateway.site.canaille.currentToken(of: gateway.seat)
                gateway.addSecret("the forgotten access token", token.access)
                try await gateway.site.canaille.forgetAccess(token)
                _ = try await gateway.call("/echo")
                for path in ["/", "/grants", "/grants/crm", "/metrics", "/readyz", "/api/v1/status", "/api/v1/grants"] {
                    _ = try await gateway.console(path)
                }
                for command in ["check", "grants"] { _ = try await gateway.command([command]) }
                _ = try await gateway.command(["revoke", GatewayFile.grant])
                _ = try await gateway.call("/echo")

                // The search itself works: what is certainly there is found.
                gateway.addSecret("not a secret", "/crm/")
                let found = try await gateway.leaks()
                #expect(found.contains("not a secret in access.log"))
                gateway.removeSecret("not a secret")
            }
        }
    }
}
