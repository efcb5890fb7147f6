import ArgumentParser
import Console
import Glibc
import Telemetry
import Testing

@testable import TokenGateway

@Suite struct TextTests {
    private let plain = Terminal(descriptor: 1, hasColor: false)
    private let now = Timestamp(unixSeconds: 1_795_000_000)

    @Test(arguments: [
        (0, "now"), (1, "in 1 s"), (-59, "59 s ago"), (60, "in 1 min"), (3599, "in 59 min"), (3600, "in 1 h"),
        (-12_000, "3 h 20 min ago"), (86_400, "in 1 d"), (180_000, "in 2 d 2 h"), (86_400 * 30, "in 30 d"),
    ])
    func `times are told from now`(seconds: Int64, expected: String) {
        #expect(RelativeTime.text(Timestamp(unixSeconds: now.unixSeconds + seconds), now: now) == expected)
    }

    @Test func `times beyond all measure do not trap`() {
        _ = RelativeTime.text(Timestamp(unixSeconds: .max), now: Timestamp(unixSeconds: .min))
        _ = RelativeTime.text(Timestamp(unixSeconds: .min), now: Timestamp(unixSeconds: .max))
    }

    @Test func `a table's columns are as wide as they must be, and colour changes no width`() {
        var table = Table(["NAME", "S"])
        table.add([.init("a", .green), .init("two\nlines")])
        table.add([.init("longer"), .init("x")])
        #expect(table.text(for: plain) == "NAME    S\na       two lines\nlonger  x\n")
        let colored = table.text(for: Terminal(descriptor: 1, hasColor: true))
        #expect(colored.contains("\u{1B}[32ma\u{1B}[0m       two"))
    }

    @Test func `output that cannot be written is noted`() {
        let full = open("/dev/full", O_WRONLY | O_CLOEXEC)
        defer { close(full) }
        Terminal(descriptor: full, hasColor: false).line("more than fits")
        #expect(Terminal.hasLostOutput)
    }

    @Test(arguments: [
        ("plain ü\nline", "plain ü\nline"), ("\u{1B}[31mred", "?[31mred"), ("a\rb\tc\u{07}", "a?b?c?"),
        ("\u{9b}31m", "?31m"), ("a\u{202e}b\u{2066}c\u{200f}", "a?b?c?"),
    ])
    func `text from elsewhere cannot steer a terminal`(text: String, expected: String) {
        #expect(printable(text) == expected)
    }

    @Test func `a grant is one row with its expiry and its last error`() {
        let error = GrantView.LastError(
            errorClass: "transient", reason: "timeout: no answer", at: Timestamp(unixSeconds: now.unixSeconds - 5))
        let views = [
            GrantView(state: .active, expires: now.unixSeconds + 120, lastError: error),
            GrantView(name: "file", provider: nil, state: .active, scopes: [], generation: 1),
            GrantView(state: .notConnected),
        ]
        let lines = GrantText.table(views, now: now, for: plain).split(separator: "\n")
        #expect(lines.count == 4)
        #expect(lines[1].contains("in 2 min (2026-11-18T"))
        #expect(lines[1].contains("timeout: no answer (transient, 5 s ago)"))
        #expect(lines[2].contains("from a file"))
        #expect(lines[3].contains("not_connected"))
    }

    @Test func `grants show names the scopes that were asked for and not granted`() {
        var view = GrantView(state: .active)
        #expect(!GrantText.details(view, now: now).contains("not granted"))
        view.missingScopes = ["orders.write", "offline"]
        #expect(GrantText.details(view, now: now).contains("scopes not granted  "))
        #expect(GrantText.details(view, now: now).contains("orders.write offline\n"))
    }

    @Test func `help shows every exit code`() {
        let help = TokenGateway.helpMessage(columns: 100)
        for status in CommandStatus.allCases { #expect(help.contains("\(status.rawValue)  \(status.meaning)")) }
        #expect(CommandStatus.allCases.map(\.rawValue) == [0, 1, 64, 69, 70, 75, 77, 78])
    }

    @Test(arguments: RevocationResult.allCases) func `only a revocation that is not confirmed fails`(
        result: RevocationResult
    ) {
        #expect((Revoke.status(result) == nil) == (result != .failedKeptForRetry))
        #expect(!Revoke.explanation(result).isEmpty)
    }

    @Test(arguments: [
        ["refresh"], ["authorize", "crm", "--paste", "--no-wait"], ["authorize", "crm", "--timeout", "-1"],
        ["demo", "--port", "65533"], ["demo", "--port", "0"], ["grants", "crm"], ["nonsense"],
    ])
    func `wrong usage is refused with 64`(arguments: [String]) {
        do {
            _ = try TokenGateway.parseAsRoot(arguments)
            Issue.record("was taken")
        } catch {
            #expect(TokenGateway.exitCode(for: error).rawValue == CommandStatus.usage.rawValue)
        }
    }

    @Test func `curl's output is taken apart`() {
        let reply = CurlReply(
            exitCode: 0,
            output: Array("HTTP/1.1 503 No\r\nToken-Gateway-Error: not_connected\r\n\r\n{\"a\":1}".utf8))
        #expect(reply.status == 503)
        #expect(reply.field("token-gateway-error") == "not_connected")
        #expect(reply.shown == "HTTP/1.1 503 No\ntoken-gateway-error: not_connected\n{\"a\":1}")
        let refused = CurlReply(exitCode: 7, output: Array("curl: (7) Failed".utf8))
        #expect(refused.status == 0 && refused.shown == "curl: (7) Failed")
        #expect(Curl.quoted(["curl", "-w", "%{http_code} ", "http://a/[1-2]", ""]).hasSuffix("'http://a/[1-2]' ''"))
    }
}
