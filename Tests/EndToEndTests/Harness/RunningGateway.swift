import Foundation
import Glibc
import Synchronization
import Testing

/// The program under test, with a configuration and a store of its own.
final class RunningGateway: Sendable {
    let site: Site
    let seat: Seat
    let folder: String
    let secrets = GatewayFile.Secrets()
    private let process = Mutex<ProcessHandle?>(nil)
    /// What browsers and programs got to see of the gateway, and the secrets that went through them.
    private let seen = Mutex<(texts: [(source: String, data: Data)], secrets: [String: String])>(([], [:]))

    init(_ site: Site, _ seat: Seat, _ change: (inout GatewayFile) -> Void = { _ in }) throws {
        self.site = site
        self.seat = seat
        folder = try Workspace.newFolder("gateway-\(seat.name)")
        var file = GatewayFile(site: site, seat: seat, folder: folder)
        change(&file)
        try file.write(secrets)
    }

    /// Writes another `gateway.conf`; the gateway learns of it by SIGHUP.
    func reconfigure(_ change: (inout GatewayFile) -> Void) throws {
        var file = GatewayFile(site: site, seat: seat, folder: folder)
        change(&file)
        try file.writeConfiguration()
    }

    // MARK: The process

    static let program: String = {
        if let given = ProcessInfo.processInfo.environment["TOKEN_GATEWAY_BINARY"] { return given }
        let arguments = CommandLine.arguments
        if let flag = arguments.firstIndex(of: "--test-bundle-path"), flag + 1 < arguments.count {
            return URL(filePath: arguments[flag + 1]).deletingLastPathComponent().appending(path: "token-gateway")
                .path(percentEncoded: false)
        }
        return Repository.root + ".build/debug/token-gateway"
    }()

    /// Starts it and waits until both listeners answer.
    func start() async throws {
        let started = try await ProcessHandle(
            [Self.program, "run", "--config", "\(folder)/gateway.conf"], directory: folder,
            output: "\(folder)/output.log", errors: "\(folder)/gateway.log")
        process.withLock { $0 = started }
        try await eventually("the gateway is alive", within: .seconds(20)) {
            if let status = started.poll() { throw HarnessError("the gateway ended: \(status)\n\(logTail())") }
            guard RawSocket.accepts(seat.gatewayPort), RawSocket.accepts(seat.consolePort) else { return false }
            return try await console("/livez").status == 200
        }
    }

    func killNow() { process.withLock { $0 }?.kill() }

    func signal(_ number: Int32) { process.withLock { $0 }?.signal(number) }

    func end(within limit: Duration = .seconds(40)) async throws -> ExitStatus {
        guard let running = process.withLock({ $0 }) else { throw HarnessError("no gateway") }
        return try await running.wait(within: limit)
    }

    /// A command of the program, with this gateway's configuration.
    func command(_ arguments: [String], input: String = "/dev/null") async throws -> CommandResult {
        let result = try await run(
            [Self.program] + arguments + ["--config", "\(folder)/gateway.conf"], directory: folder, input: input)
        see("token-gateway \(arguments[0])", result.output)
        see("token-gateway \(arguments[0])", Data(result.errors.utf8))
        return result
    }

    func logTail() -> String {
        let log = (try? String(contentsOfFile: "\(folder)/gateway.log", encoding: .utf8)) ?? ""
        return log.split(separator: "\n").suffix(60).joined(separator: "\n")
    }

    // MARK: Callers and operators

    /// The caller's address of a path of the API.
    func url(_ path: String, at prefix: String = GatewayFile.prefix) -> String {
        "http://127.0.0.1:\(seat.gatewayPort)\(prefix)\(path)"
    }

    /// A caller's request.
    func call(
        _ path: String, at prefix: String = GatewayFile.prefix, _ options: [String] = [], upload: Data? = nil,
        put: Bool = false
    ) async throws -> Reply {
        let reply = try await site.curl.call(url(path, at: prefix), options, upload: upload, put: put)
        if reply.field("token-gateway-error") != nil { see("the error page of \(path)", reply.body) }
        return reply
    }

    /// An operator's program at the console's own address.
    func console(_ path: String, _ options: [String] = []) async throws -> Reply {
        let reply = try await site.curl.call(
            "http://127.0.0.1:\(seat.consolePort)\(path)", ["-H", "Authorization: Bearer \(secrets.console)"] + options)
        see("the console's \(path)", reply.body)
        return reply
    }

    /// The state of the grant by the admin API.
    func state() async throws -> String {
        let reply = try await console("/api/v1/grants/\(GatewayFile.grant)")
        return try #require(reply.member("state"), "\(reply.status) \(reply.text)")
    }

    func generation() async throws -> Int {
        let reply = try await console("/api/v1/grants/\(GatewayFile.grant)")
        return try #require(reply.member("generation").flatMap { Int($0) }, "\(reply.status) \(reply.text)")
    }

    /// A one-time link to the consent, as an operator's program gets it.
    func consentLink() async throws -> String {
        let reply = try await console(
            "/api/v1/grants/\(GatewayFile.grant)/authorize", ["-H", "Content-Type: application/json", "-d", "{}"])
        let link = try #require(reply.member("authorize_url"), "\(reply.status) \(reply.text)")
        // The link is meant for this program, and for nobody else.
        seen.withLock { seen in
            seen.texts.removeLast()
            seen.secrets["ticket"] = link.queryParameter("ticket")
        }
        return link
    }

    /// The whole consent by a person at a browser; returns the page where it ends. Waits for a second of its own.
    @discardableResult
    func consent(_ browser: Browser? = nil, answer: String = "accept") async throws -> Browser.Page {
        let browser = browser ?? site.browser()
        try await site.canaille.pace()
        try await site.consent(browser, from: try await consentLink(), as: seat, answer: answer)
        look(at: browser)
        return try #require(browser.page)
    }

    /// As `consent`, and the grant is connected by it.
    func connect() async throws {
        let page = try await consent()
        guard page.reply.status == 200, try await state() == "active" else {
            throw HarnessError("not connected: \(page.url) \(page.reply.status) \(page.reply.text)")
        }
    }

    /// Takes note of what the browser saw: the gateway's pages, and the secrets in the addresses.
    func look(at browser: Browser) {
        for page in browser.history {
            if page.url.hasPrefix(seat.publicURL) { see("the page \(page.url.prefix(60))", page.reply.body) }
            for name in ["code", "state", "ticket"] {
                if let value = page.url.queryParameter(name) { addSecret("\(name) \(value.prefix(6))", value) }
            }
        }
    }

    // MARK: Secrets

    func addSecret(_ name: String, _ value: String) { seen.withLock { $0.secrets[name] = value } }

    func removeSecret(_ name: String) { seen.withLock { $0.secrets[name] = nil } }

    private func see(_ source: String, _ data: Data) { seen.withLock { $0.texts.append((source, data)) } }

    /// Looks for every secret of this gateway's life in everything that it wrote and showed: logs, pages, metrics,
    /// answers, what commands printed, and the store's files. Returns what was found where.
    func leaks() async throws -> [String] {
        var (texts, secrets) = seen.withLock { $0 }
        secrets["client secret"] = seat.clientSecret
        secrets["Basic credentials"] = Data("\(seat.clientID):\(seat.clientSecret)".utf8).base64EncodedString()
        secrets["console secret"] = self.secrets.console
        secrets["store key"] = self.secrets.storeKey
        for token in try await site.canaille.tokens(of: seat) {
            secrets["access token \(token.id)"] = token.access
            // The signature of a JWT alone is as telling as the whole.
            secrets["signature \(token.id)"] = token.access.components(separatedBy: ".").last
            secrets["refresh token \(token.id)"] = token.refresh
        }
        let own = ["client.secret", "console.secret", "store.key", "gateway.conf"]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) where !own.contains(name) {
            texts.append((name, (try? Data(contentsOf: URL(filePath: "\(folder)/\(name)"))) ?? Data()))
        }
        return texts.flatMap { text in
            secrets.filter { text.data.firstRange(of: Data($0.value.utf8)) != nil }
                .map { "\($0.key) in \(text.source)" }
        }
    }
}

/// Runs a scenario: a gateway that starts, the scenario, a last look at the metrics, SIGTERM with exit code 0, and
/// nothing secret anywhere in what it left.
func scenario(
    _ name: SeatName, on site: Task<Site, any Error>, change: (inout GatewayFile) -> Void = { _ in },
    _ body: (RunningGateway) async throws -> Void
) async throws {
    let site = try await site.value
    let gateway = try RunningGateway(site, site.seat(name), change)
    do {
        try await gateway.start()
        try await body(gateway)
        #expect(try await gateway.console("/metrics").status == 200)
        gateway.signal(SIGTERM)
        #expect(try await gateway.end() == .exited(0))
    } catch {
        gateway.killNow()
        print("The gateway's log of '\(name)', its end:\n\(gateway.logTail())")
        throw error
    }
    let leaks = try await gateway.leaks()
    #expect(leaks.isEmpty, "secrets were found")
}

extension RunningGateway {
    /// The statuses of this gateway's calls to the token endpoint, oldest first.
    func tokenCalls() throws -> [Int] { try site.nginx.tokenCalls(by: seat) }
}
