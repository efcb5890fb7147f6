import Foundation
import Telemetry

@testable import Console

/// Stand-ins for the two primitives: not secure, but they keep different inputs apart, have the right length and need no
/// library. The machine only compares and prints what comes out.
let toyCryptography = ConsoleCryptography(
    sha256: { toyHash($0) },
    hmacSHA256: { key, data in toyHash(key + [0xff] + data) })

private func toyHash(_ data: [UInt8]) -> [UInt8] {
    var lanes: [UInt64] = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15, 0x2545_f491_4f6c_dd1d, 0xd6e8_feb8_6659_fd93]
    for byte in data {
        for lane in lanes.indices {
            lanes[lane] = (lanes[lane] ^ UInt64(byte) ^ UInt64(lane)) &* 0x0000_0100_0000_01b3
            lanes[lane] ^= lanes[lane] >> 29
        }
    }
    return lanes.flatMap { lane in (0..<8).map { UInt8(truncatingIfNeeded: lane >> (8 * UInt64($0))) } }
}

/// A console with a clock and a generator of its own, so that tests read as a browser's story.
final class Harness {
    var console: Console
    var now = Timestamp(unixSeconds: 1_795_358_963)
    var counter: UInt8 = 0
    /// The browser's cookies, kept from responses.
    var cookies: [String: String] = [:]
    var host = "127.0.0.1:9090"
    var peer = "127.0.0.1"
    var isLoopbackPeer = true
    static let secret = "correct horse battery staple"

    init(
        publicURL: String = "http://127.0.0.1:9090", withSecret: Bool = false, servesTLS: Bool = false,
        signingKeys: [[UInt8]] = []
    ) {
        let authentication: ConsoleAuthentication =
            withSecret ? .secret(digest: toyCryptography.sha256(Array(Self.secret.utf8))) : .none
        let settings = ConsoleSettings(
            publicURL: PublicURL(publicURL)!, authentication: authentication, servesTLS: servesTLS, version: "1.2.3",
            cryptography: toyCryptography, signingKeys: signingKeys)
        console = Console(settings: settings, random: { [UInt8](repeating: 7, count: $0) })
    }

    func request(
        _ method: String, _ target: String, fields: [(String, String)] = [], body: String = "", withHost: Bool = true
    ) -> ConsoleRequest {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var all = fields.map { ConsoleField($0.0, $0.1) }
        if withHost, !fields.contains(where: { $0.0 == "Host" }) { all.append(ConsoleField("Host", host)) }
        if !cookies.isEmpty {
            let text = cookies.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "; ")
            all.append(ConsoleField("Cookie", text))
        }
        return ConsoleRequest(
            method: method, path: parts[0], query: parts.count > 1 ? parts[1] : nil, fields: all,
            body: Array(body.utf8),
            peer: peer, isLoopbackPeer: isLoopbackPeer, requestID: "req-1")
    }

    func send(_ request: ConsoleRequest) -> ConsoleAction {
        let random = self.random()
        let action = console.requestReceived(request, now: now, random: random)
        if case .respond(let response) = action { keepCookies(of: response) }
        return action
    }

    func send(
        _ method: String, _ target: String, fields: [(String, String)] = [], body: String = ""
    ) -> ConsoleAction {
        send(request(method, target, fields: fields, body: body))
    }

    /// Sends and expects an immediate response.
    func respond(
        _ method: String, _ target: String, fields: [(String, String)] = [], body: String = ""
    ) -> ConsoleResponse? {
        guard case .respond(let response) = send(method, target, fields: fields, body: body) else { return nil }
        return response
    }

    /// Sends, and answers the command with the outcome.
    func perform(
        _ method: String, _ target: String, fields: [(String, String)] = [], body: String = "",
        outcome: ConsoleOutcome
    ) -> (command: ConsoleCommand, response: ConsoleResponse)? {
        guard case .perform(let command, let context) = send(method, target, fields: fields, body: body) else {
            return nil
        }
        let response = console.commandEnded(context, outcome: outcome, now: now, random: random())
        keepCookies(of: response)
        return (command, response)
    }

    /// What a page's form would send: the token from the page at `path`, which must be answered at once.
    func formToken(at path: String) -> String {
        guard case .respond(let response) = send("GET", path) else { return "" }
        return Self.formToken(in: response)
    }

    static func formToken(in response: ConsoleResponse) -> String {
        let text = response.text
        guard let start = text.firstRange(of: "name=\"form_token\" value=\"") else { return "" }
        return String(text[start.upperBound...].prefix { $0 != "\"" })
    }

    func signIn() {
        let token = formToken(at: "/sign-in")
        _ = respond(
            "POST", "/sign-in", fields: [Self.form],
            body: "form_token=\(token)&secret=correct+horse+battery+staple")
    }

    static let form = ("Content-Type", "application/x-www-form-urlencoded")
    static let json = ("Content-Type", "application/json")
    static let bearer = ("Authorization", "Bearer \(secret)")

    private func random() -> (Int) -> [UInt8] {
        counter &+= 1
        let seed = counter
        return { count in (0..<count).map { UInt8(truncatingIfNeeded: $0) &+ seed } }
    }

    private func keepCookies(of response: ConsoleResponse) {
        for field in response.fields where field.name == "Set-Cookie" {
            let pair = field.value.prefix { $0 != ";" }.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            cookies[String(pair[0])] = pair[1].isEmpty ? nil : String(pair[1])
        }
    }
}

extension ConsoleResponse {
    var text: String { String(decoding: body, as: UTF8.self) }
    var code: String? { field("Token-Gateway-Error") }
    var cookies: [String] { fields.filter { $0.name == "Set-Cookie" }.map(\.value) }
}

func sampleGrant(
    _ name: String = "crm", state: GrantStateLabel = .active, provider: String? = "zoho",
    lastError: GrantView.LastError? = nil
) -> GrantView {
    GrantView(
        name: name, provider: provider, state: state, scopes: ["ZohoCRM.modules.ALL", "ZohoCRM.settings.READ"],
        generation: 41, accessTokenExpiresAt: Timestamp(unixSeconds: 1_795_358_963 + 3_300),
        refreshTokenExpiresAt: Timestamp(unixSeconds: 1_795_358_963 + 86_400 * 57),
        lastRefreshAt: Timestamp(unixSeconds: 1_795_358_963 - 300),
        nextAttemptAt: Timestamp(unixSeconds: 1_795_358_963 + 3_000), lastError: lastError,
        lastConsent: .init(outcome: "connected", at: Timestamp(unixSeconds: 1_795_000_000)),
        routes: ["crm", "crm-bulk"])
}

func sampleStatus(_ grants: [GrantView] = [sampleGrant()], reloaded: Bool = true, draining: Bool = false) -> StatusView
{
    StatusView(
        version: "1.2.3", startedAt: Timestamp(unixSeconds: 1_795_358_963 - 200_000), workers: 2, draining: draining,
        requestsTotal: 1_234_567, serverErrorsTotal: 12, requestsCurrent: 3, callerConnections: 64,
        configurationLoadedAt: Timestamp(unixSeconds: 1_795_358_963 - 7_000), lastReloadSuccessful: reloaded,
        grants: grants)
}
