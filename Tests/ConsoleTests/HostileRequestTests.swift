import Telemetry
import Testing

@testable import Console

/// Seeded nonsense: whatever comes in, the machine neither traps nor lets a byte into a field that could break it, and
/// nothing that changes a grant is done for a stranger.
@Suite struct HostileRequestTests {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            return mixed ^ (mixed >> 31)
        }

        mutating func pick(_ words: [String]) -> String { words[Int(next() % UInt64(words.count))] }

        mutating func text(_ words: [String]) -> String {
            (0..<next() % 5).map { _ in pick(words) }.joined()
        }
    }

    static let methods = ["GET", "HEAD", "POST", "PUT", "", "G\r\nX"]
    static let paths = [
        "/", "/grants", "/authorize", "/oauth/callback", "/oauth/done", "/sign-in", "/sign-out", "/metrics", "/livez",
        "/readyz", "/api/v1/grants", "/crm", "/revoke", "/refresh", "/callback", "/status", "%", "%0d%0a", "%00", "..",
        "//", "é", "\r\n", "%F0%9F%98%80",
    ]
    static let queries = [
        "ticket=", "code=1", "&", "=", "state=", "next=/grants", "next=%2f%2fevil", "grant=", "mac=", "notes=", "%",
        "%0d%0a",
        "+", "ä", "\r\nSet-Cookie: x=y",
    ]
    static let values = [
        "", "127.0.0.1:9090", "[", "[::1", "]:", "localhost", "evil.example", ":", ".", "Bearer ", "Bearer x", "null",
        "://",
        "http://127.0.0.1:9090", "tg-form=", "tg-session=;", "__Host-tg-form", "; tg-consent=\r\nx", "application/json",
        "application/x-www-form-urlencoded", "same-origin", "cross-site", "é", "\u{0}", "https",
    ]
    static let names = [
        "Host", "Cookie", "Authorization", "Origin", "Sec-Fetch-Site", "Content-Type", "X-Forwarded-Proto", "Via", "",
    ]
    static let bodies = ["{", "}", "\"mode\":\"paste\"", "form_token=", "secret=", "&", "%", "null", "\u{0}", ":", ","]

    @Test(arguments: [1, 2, 3, 4] as [UInt64], [false, true])
    func `nonsense is answered and does nothing`(seed: UInt64, withSecret: Bool) throws {
        var generator = Generator(state: seed)
        let harness = Harness(publicURL: "https://gateway.example.com/tg", withSecret: withSecret)
        harness.isLoopbackPeer = false
        for _ in 0..<3_000 {
            harness.now.unixSeconds += 20
            let fields = (0..<generator.next() % 6).map { _ in
                ConsoleField(generator.pick(Self.names), generator.text(Self.values))
            }
            let request = ConsoleRequest(
                method: generator.pick(Self.methods), path: generator.text(Self.paths),
                query: generator.next() % 2 == 0 ? nil : generator.text(Self.queries), fields: fields,
                body: Array(generator.text(Self.bodies).utf8), peer: generator.pick(Self.values), isLoopbackPeer: false,
                requestID: "r")
            switch harness.send(request) {
            case .respond(let response): try Self.check(response)
            case .perform(let command, let context):
                switch command {
                case .callback, .readiness: break
                case .startAuthorization, .authorizationLink, .refresh, .revoke, .forget, .listGrants, .grantDetail,
                    .createGrant, .deleteGrant, .keys, .rekey, .status, .startDevice, .deviceStatus, .importToken,
                    .metrics:
                    Issue.record("a stranger got \(command) done, seed \(seed)")
                }
                let outcome = ConsoleOutcome.failed(ConsoleFailure(.internal))
                try Self.check(
                    harness.console.commandEnded(
                        context, outcome: outcome, now: harness.now, random: { [UInt8](repeating: 0, count: $0) }))
            }
        }
    }

    private static func check(_ response: ConsoleResponse) throws {
        try #require((200...599).contains(response.status))
        for field in response.fields {
            try #require(field.value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f }, "\(field.name)")
        }
        if let location = response.field("Location") {
            try #require(location.hasPrefix("/tg/") && !location.hasPrefix("//"))
        }
    }
}
