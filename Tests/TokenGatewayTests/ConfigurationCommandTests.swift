import Configuration
import Console
import Foundation
import Telemetry
import Testing

@testable import TokenGateway

@Suite struct ConfigurationCommandTests {
    @Test func `a good configuration is shown with the redirect URI to register`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration()
        let run = try ProgramRun(["check", "--config", file], in: folder)
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.contains("\n  https://gateway.example.com/oauth/callback\n"))
        #expect(run.output.contains("route crm: /crm/* -> https://api.example.com/ without /crm, grant crm"))
        #expect(run.errors.hasSuffix("gateway.conf: ok\n"))
    }

    @Test func `every mistake is told with its place, and the exit code is 78`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration(extra: "urll = 1\nmax_connections = 0")
        let run = try ProgramRun(["check", "--config", file], in: folder)
        #expect(run.status == 78)
        #expect(run.errors.contains("gateway.conf:18:1: error:") && run.errors.contains("gateway.conf:19:"))
        #expect(run.errors.contains("not usable, 2 errors"))
        let json = try ProgramRun(["check", "--json", "--config", file], in: folder)
        #expect(json.status == 78)
        #expect(json.output.contains(#""ok":false"#) && json.output.contains(#""line":18"#))
    }

    @Test func `a certificate or a key that is none is found without a start`() throws {
        let folder = try Folder()
        let bad = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
        let authority = try folder.write(bad, to: "ca.pem", mode: 0o644)
        let file = try folder.writeConfiguration(extra: "ca_file = \"\(authority)\"")
        let report = CheckReport(path: file, environment: .system)
        #expect(!report.ok && report.diagnostics.isEmpty)
        #expect(report.problems.contains { $0.hasPrefix("upstream.crm: ") && $0.contains(authority) })
        #expect(report.counts == ", 1 error")
    }

    @Test func `a store key that is none is told with its line and column, and not shown`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration()
        try folder.write("a pass phrase", to: "store.key")
        let report = CheckReport(path: file, environment: .system)
        #expect(!report.ok && report.problems.isEmpty && report.diagnostics.count == 1)
        let found = try #require(report.diagnostics.first)
        #expect(found.severity == "error" && found.line > 1 && found.column > 1)
        #expect(found.message.hasPrefix("the file ") && found.message.contains("32 random bytes"))
        #expect(!found.message.contains("pass phrase"))
    }

    @Test func `JSON has the store and the templates, and no secret`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration()
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let more = """

            [grant_template.many]
            provider = "zoho"
            scopes = ["a", "b"]
            max_grants = 7
            [route.many]
            path = "/many/*"
            upstream = "crm"
            grant_template = "many"
            grant_from = "path:2"
            strip_grant_segment = true

            """
        try (text + more).write(toFile: file, atomically: true, encoding: .utf8)
        let report = CheckReport(path: file, environment: .system)
        #expect(report.ok, "\(report.diagnostics)")
        #expect(report.templates.first?.name == "many" && report.templates.first?.maxGrants == 7)
        let json = String(decoding: ConsoleJSON.encode(report), as: UTF8.self)
        for part in [
            #""grant_templates":[{"#, #""max_grants":7"#, #""scopes":["a","b"]"#, #""store":{"#,
            #""grant_from":"path:2""#,
            #""grant_template":"many""#, #""strip_grant_segment":true"#,
        ] { #expect(json.contains(part), "\(part)") }
        let key = try String(contentsOfFile: folder.path + "/store.key", encoding: .utf8)
        #expect(!json.contains(key.prefix(20)))
    }

    @Test func `the file is looked for, and its absence said`() throws {
        let folder = try Folder()
        let none = try ProgramRun(["check"], in: folder)
        // A machine that has a gateway installed has the second file.
        if !FileManager.default.fileExists(atPath: ConfigurationOption.places[1]) {
            #expect(none.status == 78 && none.errors.contains("--config"))
        }
        try folder.writeConfiguration()
        #expect(try ProgramRun(["check"], in: folder).status == 0)
    }

    @Test func `commands tell what keeps them from the gateway by their exit codes`() throws {
        let folder = try Folder()
        let port = try PreparedConsole([])
        port.stop()
        let file = try folder.writeConfiguration(console: "\(port.address)")
        let refused = try ProgramRun(["grants", "--json", "--config", file], in: folder)
        #expect(refused.status == 69)
        #expect(refused.output.hasPrefix(#"{"error":{"code":"gateway_unreachable""#))
        try folder.writeConfiguration(console: "127.0.0.1:0")
        #expect(try ProgramRun(["grants"], in: folder).status == 78)
        try folder.writeConfiguration(console: "nonsense")
        #expect(try ProgramRun(["refresh", "crm"], in: folder).status == 78)
        #expect(try ProgramRun(["refresh"], in: folder).status == 64)
    }

    @Test func `forgetting without a terminal needs a word`() throws {
        let folder = try Folder()
        let console = try PreparedConsole([answer(200, ForgetReply(forgotten: "crm"))])
        defer { console.stop() }
        try folder.writeConfiguration(console: "\(console.address)")
        let unsure = try ProgramRun(["forget", "crm"], in: folder)
        #expect(unsure.status == 64 && unsure.errors.contains("--yes"))
        #expect(console.requests.isEmpty)
        #expect(try ProgramRun(["forget", "crm", "--yes"], in: folder).output == "crm: forgotten\n")
    }

    @Test func `the secret is read from the file and never shown`() throws {
        let folder = try Folder()
        let console = try PreparedConsole([problem(401, "sign_in_required")])
        defer { console.stop() }
        let secret = try folder.write("k33p-this", to: "console.secret")
        try folder.writeConfiguration(console: "\(console.address)", consoleExtra: "secret_file = \"\(secret)\"")
        let run = try ProgramRun(["grants"], in: folder)
        #expect(run.status == 77)
        #expect(console.requests.first?.contains("Authorization: Bearer k33p-this\r\n") == true)
        #expect(!(run.output + run.errors).contains("k33p-this"))
    }

    @Test(arguments: [["grants"], ["grants", "show", "crm"]])
    func `a store that cannot be used is told beside what is known of the grants`(_ words: [String]) throws {
        let folder = try Folder()
        let view = GrantView(state: .active)
        let status = StatusView(
            version: "1", startedAt: .init(unixSeconds: 0), workers: 1, draining: false, requestsTotal: 0,
            serverErrorsTotal: 0, requestsCurrent: 0, callerConnections: 0,
            configurationLoadedAt: .init(unixSeconds: 0),
            lastReloadSuccessful: false, grants: [view],
            store: StoreView(
                shared: false, open: false, reason: "the disk is full", grantsLoaded: 1, instance: "one", instances: nil
            ))
        let first = words.count == 1 ? answer(200, GrantsReply(grants: [view])) : answer(200, view)
        let console = try PreparedConsole([first, answer(200, status)])
        defer { console.stop() }
        try folder.writeConfiguration(console: "\(console.address)")
        let run = try ProgramRun(words, in: folder)
        #expect(run.status == 0 && run.output.contains("active"))
        #expect(run.errors.contains("warning: the store cannot be used: the disk is full\n"))
        #expect(run.errors.contains("warning: the configuration that was read last has mistakes"))
    }

    @Test func `the link alone goes to standard output`() throws {
        let folder = try Folder()
        let reply = AuthorizeReply(
            authorizeURL: "https://gateway.example.com/authorize/crm?ticket=t", expiresAt: .init(unixSeconds: 0))
        let console = try PreparedConsole([answer(200, GrantView(state: .notConnected)), answer(200, reply)])
        defer { console.stop() }
        try folder.writeConfiguration(console: "\(console.address)")
        let run = try ProgramRun(["authorize", "crm", "--no-wait"], in: folder)
        #expect(run.status == 0 && run.output == reply.authorizeURL + "\n")
        #expect(console.requests.last?.hasSuffix("{\"mode\":\"link\"}\n") == true)
    }

    @Test func `a revocation that is kept for a retry is no success`() throws {
        let folder = try Folder()
        let reply = RevokeReply(result: .failedKeptForRetry, grant: GrantView(state: .revoked))
        let console = try PreparedConsole([answer(202, reply)])
        defer { console.stop() }
        try folder.writeConfiguration(console: "\(console.address)")
        let run = try ProgramRun(["revoke", "crm"], in: folder)
        #expect(run.status == 75 && run.output == "crm: failed_kept_for_retry\n")
    }

    /// What another user's files look like to an operator who may read the configuration only.
    @Test func `files that are closed to the operator do not keep commands back`() throws {
        let folder = try Folder()
        let file = try folder.writeConfiguration()
        var environment = ConfigurationEnvironment.system
        environment.readFile = { path, limit in
            path == file ? ConfigurationEnvironment.system.readFile(path, limit) : .failure(.notPermitted)
        }
        #expect(GatewayConfiguration.load(path: file, environment: environment).snapshot == nil)
        let lenient = environment.forOperatorCommand(configuration: file)
        #expect(GatewayConfiguration.load(path: file, environment: lenient).snapshot != nil)
    }
}
