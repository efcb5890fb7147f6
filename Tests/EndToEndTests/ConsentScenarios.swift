import Foundation
import Testing

extension EndToEnd {
    @Suite("Consent", .serialized, .timeLimit(.minutes(3)))
    struct ConsentScenarios {
        @Test func `the first consent connects the grant and the calls that were refused are answered`() async throws {
            try await scenario(.consent, on: Site.lasting) { gateway in
                let before = try await gateway.call("/echo")
                #expect(before.status == 503)
                #expect(before.field("token-gateway-error") == "not_connected")
                #expect(before.field("content-type") == "application/problem+json")
                #expect(before.member("code") == "not_connected")
                #expect(try await gateway.console("/readyz").status == 503)

                let browser = gateway.site.browser()
                let page = try await gateway.consent(browser)
                #expect(page.reply.status == 200)
                #expect(page.url.hasPrefix(gateway.seat.publicURL))
                #expect(page.url.queryParameter("code") == nil, "the code stays in no address that the browser shows")
                expectPrivate(page.reply)

                #expect(try await gateway.state() == "active")
                #expect(try await gateway.console("/readyz").status == 200)
                #expect(try await gateway.call("/echo?first").status == 200)
                let listed = try await gateway.command(["grants", "--json"])
                #expect(listed.status == .exited(0))
                #expect(listed.text.contains(#""active""#) && listed.text.contains(GatewayFile.grant))
            }
        }

        @Test func `a callback that comes again changes nothing and asks the provider nothing`() async throws {
            try await scenario(.replay, on: Site.lasting) { gateway in
                let browser = gateway.site.browser()
                try await gateway.consent(browser)
                let callback = try #require(browser.history.first { $0.url.queryParameter("code") != nil })
                let calls = try gateway.tokenCalls()
                try await browser.open(callback.url)
                gateway.look(at: browser)
                let forged = gateway.seat.redirectURI + "?error=access_denied&state=forged"
                try await browser.open(forged)
                #expect(browser.page?.reply.status == 400)
                #expect(try await gateway.state() == "active")
                #expect(try gateway.tokenCalls() == calls)
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `a callback in another browser than the one that began is refused`() async throws {
            try await scenario(.other, on: Site.lasting) { gateway in
                let first = gateway.site.browser()
                let callback = try await gateway.site.consent(
                    first, from: try await gateway.consentLink(), as: gateway.seat, border: gateway.seat.redirectURI)
                #expect(callback.queryParameter("code") != nil)
                let second = gateway.site.browser()
                try await second.open(callback)
                gateway.look(at: second)
                #expect(second.page?.reply.status == 400)
                #expect(try await gateway.state() == "not_connected")
                #expect(try gateway.tokenCalls().isEmpty)
            }
        }

        @Test func `a declined consent is said in plain words and can be given later`() async throws {
            try await scenario(.denied, on: Site.lasting) { gateway in
                let declined = try await gateway.consent(answer: "deny")
                #expect((400..<500).contains(declined.reply.status))
                #expect(declined.reply.text.contains("declined"))
                expectPrivate(declined.reply)
                #expect(try await gateway.state() == "not_connected")
                #expect(try gateway.tokenCalls().isEmpty)
                let shown = try await gateway.console("/grants/" + GatewayFile.grant)
                #expect(shown.text.contains("Last consent") && !shown.text.contains("Connected"))
                let kept = try await gateway.console("/api/v1/grants/" + GatewayFile.grant)
                #expect(kept.text.contains(#""outcome":"access_denied""#), "\(kept.text)")
                #expect(gateway.logTail().contains("access_denied"))
                try await gateway.connect()
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `the command prints a link, waits and reports that the grant is connected`() async throws {
            try await scenario(.command, on: Site.lasting) { gateway in
                let output = Workspace.newFile("authorize")
                let command = try await ProcessHandle(
                    [
                        RunningGateway.program, "authorize", GatewayFile.grant, "--config",
                        "\(gateway.folder)/gateway.conf",
                    ],
                    directory: gateway.folder, output: output)
                var printed = ""
                try await eventually("the link is printed") {
                    printed = try String(contentsOfFile: output, encoding: .utf8)
                    return printed.contains("/authorize/") && printed.hasSuffix("\n")
                }
                let words = printed.split(whereSeparator: \.isWhitespace)
                let link = try #require(words.first { $0.hasPrefix(gateway.seat.publicURL) }, "\(printed)")
                let browser = gateway.site.browser()
                try await gateway.site.consent(browser, from: String(link), as: gateway.seat)
                gateway.look(at: browser)
                #expect(browser.page?.reply.status == 200)
                #expect(try await command.wait(within: .seconds(20)) == .exited(0))
                #expect(try await gateway.call("/echo").status == 200)
                // The link is good once.
                try await browser.open(String(link))
                #expect(browser.page?.reply.status == 403)
            }
        }

        @Test func `a machine without a browser pastes the address back`() async throws {
            try await scenario(.paste, on: Site.lasting) { gateway in
                let json = ["-H", "Content-Type: application/json", "-d"]
                let path = "/api/v1/grants/\(GatewayFile.grant)"
                let start = try await gateway.site.curl.call(
                    "http://127.0.0.1:\(gateway.seat.consolePort)\(path)/authorize",
                    ["-H", "Authorization: Bearer \(gateway.secrets.console)"] + json + [#"{"mode":"paste"}"#])
                let link = try #require(start.member("authorize_url"), "\(start.status) \(start.text)")
                let binding = try #require(start.member("binding"))
                let callback = try await gateway.site.consent(
                    gateway.site.browser(), from: link, as: gateway.seat, border: gateway.seat.redirectURI)
                gateway.addSecret("code", try #require(callback.queryParameter("code")))
                let order = try JSONSerialization.data(withJSONObject: ["redirect_url": callback, "binding": binding])
                let done = try await gateway.console(
                    "\(path)/callback", json + [String(decoding: order, as: UTF8.self)])
                #expect(done.status == 200, "\(done.text)")
                #expect(try await gateway.state() == "active")
                #expect(try await gateway.call("/echo").status == 200)
            }
        }

        @Test func `on loopback addresses everything goes without TLS, when the file says so`() async throws {
            try await scenario(.plain, on: Site.plain) { gateway in
                let browser = gateway.site.browser()
                let end = try await gateway.site.consent(
                    browser, from: gateway.seat.publicURL + "/authorize/" + GatewayFile.grant, as: gateway.seat)
                gateway.look(at: browser)
                #expect(end.hasPrefix(gateway.seat.publicURL))
                #expect(browser.page?.reply.status == 200)
                #expect(try await gateway.call("/echo").status == 200)

                let checked = try await gateway.command(["check"])
                #expect(checked.status == .exited(0))
                #expect(checked.text.contains(gateway.seat.redirectURI))
            }
            let site = try await Site.plain.value
            let refused = try RunningGateway(site, site.seat(.paste)) { $0.provider["allow_plaintext"] = "false" }
            let checked = try await refused.command(["check"])
            #expect(checked.status == .exited(78))
            #expect((checked.text + checked.errors).contains("gateway.conf:"))
        }

        private func expectPrivate(_ reply: Reply) {
            #expect(reply.field("cache-control")?.contains("no-store") == true)
            #expect(reply.field("referrer-policy") == "no-referrer")
            #expect(reply.field("x-content-type-options") == "nosniff")
            #expect(reply.field("content-security-policy")?.contains("default-src 'none'") == true)
        }
    }
}
