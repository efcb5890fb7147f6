import Console
import DemoServices
import Glibc
import Reactor
import Telemetry

/// The story, step by step. Each step either proves what it says or ends the demo.
struct DemoStory {
    let stage: DemoStage
    let narrator: Narrator
    let isAutomatic: Bool

    var place: DemoPlace { stage.place }
    var interruption: Interruption { stage.interruption }

    func tell() throws(DemoFailure) {
        let started = MonotonicClock.milliseconds()
        try introduce()
        try showNotConnected()
        try consent()
        try call()
        try refreshAhead()
        try retryAfterRejection()
        try showMetrics()
        try surviveKill()
        try revoke()
        let count = narrator.step ?? 0
        narrator.storyEnded()
        let seconds = (MonotonicClock.milliseconds() - started + 500) / 1000
        narrator.title("All \(count) steps did what they should (\(seconds) s).")
        if !isAutomatic { try play() }
    }

    private func introduce() throws(DemoFailure) {
        try stage.startGateway()
        narrator.title("Token Gateway at work")
        narrator.say("A provider (an OAuth authorization server) runs at \(stage.services.issuer),")
        narrator.say("an API that wants its tokens at \(stage.services.apiURL), both over TLS, in this process.")
        narrator.say("The gateway is this same program, beside it, with the configuration")
        narrator.say(place.configuration)
    }

    // MARK: Steps

    private func showNotConnected() throws(DemoFailure) {
        narrator.heading("Nobody has consented yet")
        let reply = try showCall("/api/hello")
        try expect(reply.status == 503, "503, not \(reply.status)")
        try expect(reply.field("token-gateway-error") == "not_connected", "the code not_connected")
        try expect(stage.services.counters.apiCalls == 0, "no call of the API")
        narrator.proved("The gateway says itself why it cannot serve; the API was not called.")
    }

    private func consent() throws(DemoFailure) {
        narrator.heading("A person consents, once")
        narrator.command(ownCommand(["authorize", DemoStage.grant]))
        let command = try stage.command(["authorize", DemoStage.grant, "--timeout", "3600"])
        guard let link = try command.readLine(interruption), link.hasPrefix(place.consoleURL) else {
            throw .stepFailed("no link was printed")
        }
        narrator.output(link)
        if isAutomatic {
            narrator.say("The demo follows the link, signs in and allows access (--auto).")
            try stage.consent(link: link)
        } else {
            try waitForPerson(command, link: link)
        }
        let end = try command.waitForEnd(interruption, within: 20_000)
        try expect(end == .exited(0), "exit code 0 of the command, not \(end)")
        let view = try stage.grantView()
        try expect(view.state == .active, "an active grant, not \(view.state.rawValue)")
        narrator.proved(
            "The grant \"\(view.name)\" is \(view.state.rawValue), scopes: \(view.scopes.joined(separator: " ")).")
    }

    private func call() throws(DemoFailure) {
        narrator.heading("A plain call gets the API's answer")
        let reply = try showCall("/api/hello")
        try expect(reply.status == 200, "200, not \(reply.status)")
        let number = try tokenNumber(reply)
        try expect(stage.services.counters.apiDoubleCredentials == 0, "one credential with each call")
        narrator.proved(
            "curl sent no token; the gateway put one on (number \(number) of the provider) and went over TLS.")
    }

    private func refreshAhead() throws(DemoFailure) {
        narrator.heading("The access token is refreshed before it expires, without traffic")
        let before = try stage.grantView()
        narrator.say("It lives for \(DemoStage.accessTokenSeconds) seconds. Watching its generation ...")
        let view = try interruption.until("a refresh", within: 15_000) { () throws(DemoFailure) -> GrantView? in
            let view = try stage.grantView()
            return view.generation > before.generation && view.state == .active ? view : nil
        }
        narrator.say("generation \(before.generation) -> \(view.generation)")
        let reply = try showCall("/api/hello")
        try expect(reply.status == 200, "200, not \(reply.status)")
        _ = try tokenNumber(reply)
        let rejections = stage.services.counters.apiRejections
        try expect(rejections == 0, "no rejected call so far, not \(rejections)")
        narrator.proved("New tokens, kept safely first, then used; the API has never seen an expired one.")
    }

    private func retryAfterRejection() throws(DemoFailure) {
        narrator.heading("The API stops accepting the token, and ten callers come at once")
        let before = stage.services.counters
        stage.services.revokeAccessTokensSilently()
        narrator.say("The access token was just revoked behind the gateway's back.")
        let url = place.callerURL("/api/hello?caller=[1-10]")
        let reply = try curl([
            "--no-progress-meter", "--parallel", "--parallel-immediate", "-o", "/dev/null", "-w", "%{http_code} ", url,
        ])
        narrator.output(reply.text)
        let codes = reply.text.split(separator: " ")
        try expect(codes.count == 10 && codes.allSatisfy { $0 == "200" }, "ten times 200")
        let after = stage.services.counters
        let (rejected, refreshes) = (after.apiRejections - before.apiRejections, after.refreshes - before.refreshes)
        try expect(rejected > 0, "a 401 of the API")
        try expect(refreshes == 1, "one refresh, not \(refreshes)")
        narrator.proved(
            "The API said 401 \(rejected) times; one refresh; each request was sent again, and no caller noticed.")
    }

    private func showMetrics() throws(DemoFailure) {
        narrator.heading("The metrics tell the same")
        let reply = try curl([place.consoleURL + "/metrics"])
        let wanted = [
            "token_gateway_requests_total{", "token_gateway_retries_after_401_total{",
            "token_gateway_refreshes_total{", "token_gateway_grant_state{", "token_gateway_grant_generation{",
            "token_gateway_grant_access_token_expiry_timestamp_seconds{",
        ]
        let lines = reply.text.split(separator: "\n").filter { line in
            wanted.contains { line.hasPrefix($0) } && !line.hasSuffix(" 0")
        }
        narrator.output(lines.joined(separator: "\n"))
        narrator.say("(these, of \(reply.text.split(separator: "\n").count) lines)")
        let isRetried = lines.contains { $0.hasPrefix(wanted[1]) && $0.contains("\"accepted\"") }
        try expect(isRetried, "a retry after 401 that was accepted")
        try expect(lines.contains { $0.hasPrefix(wanted[3]) && $0.contains("\"active\"") }, "an active grant")
        narrator.proved("Calls, retries, refreshes and the expiry are there for Prometheus.")
    }

    private func surviveKill() throws(DemoFailure) {
        narrator.heading("kill -9, and nothing is lost")
        let before = try stage.grantView()
        guard let gateway = stage.gateway else { throw .stepFailed("there is no gateway") }
        narrator.command("kill -9 \(gateway.pid)")
        gateway.killNow()
        let dead = try showCall("/api/hello")
        try expect(dead.exitCode == 7, "a refused connection")
        if let expiry = before.accessTokenExpiresAt {
            narrator.say("Waiting until the access token has expired, too ...")
            while WallClock.seconds() <= expiry.unixSeconds { try interruption.wait(milliseconds: 100) }
        }
        narrator.command(ownCommand(["run"]))
        try stage.startGateway()
        let reply = try showCall("/api/hello")
        try expect(reply.status == 200, "200, not \(reply.status)")
        _ = try tokenNumber(reply)
        let consents = stage.services.counters.consents
        try expect(consents == 1, "one consent in all, not \(consents)")
        narrator.proved("Connected as before: the grant came from the store and was refreshed. No new consent.")
    }

    private func revoke() throws(DemoFailure) {
        narrator.heading("Revocation stops the calls")
        narrator.command(ownCommand(["revoke", DemoStage.grant]))
        let command = try stage.command(["revoke", DemoStage.grant])
        narrator.output(String(decoding: try command.readAll(interruption), as: UTF8.self))
        let end = try command.waitForEnd(interruption, within: 20_000)
        try expect(end == .exited(0), "exit code 0 of the command, not \(end)")
        let before = stage.services.counters
        try expect(before.revocations > 0, "a revocation at the provider")
        let reply = try showCall("/api/hello")
        try expect(reply.status == 503, "503, not \(reply.status)")
        try expect(reply.field("token-gateway-error") == "not_connected", "the code not_connected")
        try expect(stage.services.counters.apiCalls == before.apiCalls, "no call of the API")
        narrator.proved("The provider has confirmed it, and no call reaches the API any more.")
    }
}

// MARK: Waiting for people

extension DemoStory {
    private func waitForPerson(_ command: ChildProcess, link: String) throws(DemoFailure) {
        narrator.say("Open that link in a browser on this machine. The name and the password are filled in.")
        narrator.say("The browser warns of the certificate: it is the demo's own. Go on all the same.")
        if getenv("SSH_CONNECTION") != nil {
            narrator.say("(From afar: demo --port 8400, and ssh -L 8401:127.0.0.1:8401 -L 8402:127.0.0.1:8402 ...)")
        }
        let input: Int32 = isatty(0) == 1 ? 0 : -1
        if input == 0 { narrator.say("Or press Enter, and the demo consents for you.") }
        while command.poll() == nil {
            guard try interruption.wait(milliseconds: 200, orInput: input) else { continue }
            _ = readLine()
            return try stage.consent(link: link)
        }
    }

    /// Leaves everything running for the reader, until Ctrl-C.
    private func play() throws(DemoFailure) {
        narrator.title("Everything is still running, for you to play with:")
        narrator.command(ownCommand(["authorize", DemoStage.grant]))
        narrator.command(ownCommand(["grants"]))
        narrator.command(Curl.quoted(Curl.command(["-i", place.callerURL("/api/any/path")])))
        narrator.say("The console:         \(place.consoleURL)/")
        narrator.say("The gateway's log:   \(place.log)")
        narrator.say("Ctrl-C ends the demo and removes its folder.")
        do throws(DemoFailure) {
            while true {
                try interruption.wait(milliseconds: 500)
                if let end = stage.gateway?.poll() {
                    throw .stepFailed("the gateway ended by itself (\(end))")
                }
            }
        } catch {
            if case .interrupted = error { throw .ended }
            throw error
        }
    }
}

// MARK: Help

extension DemoStory {
    /// Runs curl, shows the command, and gives what it printed.
    private func curl(_ arguments: [String]) throws(DemoFailure) -> CurlReply {
        let command = Curl.command(arguments)
        narrator.command(Curl.quoted(command))
        let process = try ChildProcess(command, output: .pipe, errors: .pipe)
        let output = try process.readAll(interruption)
        guard case .exited(let code) = try process.waitForEnd(interruption, within: 10_000) else {
            throw .stepFailed("curl was killed")
        }
        return CurlReply(exitCode: code, output: output)
    }

    private func showCall(_ path: String) throws(DemoFailure) -> CurlReply {
        let reply = try curl(["-i", place.callerURL(path)])
        narrator.output(reply.shown)
        return reply
    }

    private func ownCommand(_ arguments: [String]) -> String {
        Curl.quoted([stage.program] + arguments + ["--config", place.configuration])
    }

    private struct HelloReply: Decodable {
        var message: String
        var tokenNumber: Int

        private enum CodingKeys: String, CodingKey {
            case message
            case tokenNumber = "access_token_number"
        }
    }

    /// The number that the provider gave the token of this call.
    private func tokenNumber(_ reply: CurlReply) throws(DemoFailure) -> Int {
        guard let hello = try? ConsoleJSON.decode(HelloReply.self, from: reply.body), hello.message == "hello, alice"
        else { throw .stepFailed("the answer is not the API's") }
        return hello.tokenNumber
    }

    private func expect(_ isSo: Bool, _ what: String) throws(DemoFailure) {
        if !isSo { throw .stepFailed("expected \(what)") }
    }
}
