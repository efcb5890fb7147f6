import ArgumentParser
import Configuration
import Console
import Gateway

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the configuration without running it.",
        discussion: """
            Tells every mistake with its line and column, reads each secret and certificate, and opens no socket and no \
            store. On success it shows what the gateway would do, with the redirect URI exactly as it is to be \
            registered at the provider.
            """)

    @OptionGroup var configuration: ConfigurationOption

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: "Show also what is in force of providers with a profile, line by line.")
    var verbose = false

    func run() throws {
        var report: CheckReport?
        try reportingFailures(asJSON: json) { () throws(CommandFailure) in
            report = CheckReport(path: try configuration.path(), environment: .system)
        }
        guard let report else { return }
        if json {
            Terminal.output.write(String(decoding: ConsoleJSON.encode(report), as: UTF8.self))
        } else {
            show(report)
        }
        if !report.ok { throw ExitCode(CommandStatus.configuration.rawValue) }
    }

    private func show(_ report: CheckReport) {
        let terminal = Terminal.errors
        for diagnostic in report.diagnostics { terminal.line(printable(diagnostic.text(file: report.file))) }
        for problem in report.problems { terminal.line(printable("\(report.file): error: \(problem)")) }
        Terminal.output.write(printable(report.summary))
        if verbose { showProviders(of: report.file) }
        if let uri = report.redirectURI {
            Terminal.output.line("\nRegister exactly this redirect URI at the provider:\n  \(printable(uri))\n")
        }
        let verdict = report.ok ? terminal.styled("ok", .green) : terminal.styled("not usable", .red)
        terminal.line("\(printable(report.file)): \(verdict)\(report.counts)")
    }
}

extension Check {
    /// Each directive of a provider with a profile; the profile's own are marked.
    private func showProviders(of file: String) {
        for provider in GatewayConfiguration.providersWithProfile(path: file, environment: .system) {
            Terminal.output.line(
                printable(
                    "\n[provider.\(provider.name)]    # with the profile \(provider.profile); lines with # are its own")
            )
            for line in provider.lines {
                Terminal.output.line(printable(line.text + (line.isFromProfile ? "    #" : "")))
            }
        }
    }
}

/// What `check` found, in the shape that `--json` prints.
struct CheckReport: Encodable {
    struct Finding: Encodable, Equatable {
        /// From 1; 0 where it concerns no line.
        var line: Int
        var column: Int
        var severity: String
        var message: String

        func text(file: String) -> String { "\(file):\(line):\(column): \(severity): \(message)" }
    }

    struct Route: Encodable, Equatable {
        var name: String
        /// Empty: every method.
        var methods: [String]
        var host: String?
        var path: String
        var stripPrefix: String?
        var stripGrantSegment: Bool?
        var upstream: String
        var grant: String?
        var grantTemplate: String?
        /// As `grant_from` has it.
        var grantFrom: String?

        private enum CodingKeys: String, CodingKey {
            case name
            case methods
            case host
            case path
            case stripPrefix = "strip_prefix"
            case stripGrantSegment = "strip_grant_segment"
            case upstream
            case grant
            case grantTemplate = "grant_template"
            case grantFrom = "grant_from"
        }
    }

    struct Template: Encodable, Equatable {
        var name: String
        var provider: String
        var scopes: [String]
        var maxGrants: Int
        /// The variables that each grant must be made with.
        var neededVariables: [String]

        private enum CodingKeys: String, CodingKey {
            case name
            case provider
            case scopes
            case maxGrants = "max_grants"
            case neededVariables = "needed_variables"
        }
    }

    /// One of the two; neither holds a secret.
    struct Store: Encodable, Equatable {
        var path: String?
        var url: String?
        var instance: String?
        /// Where its keys come from, the sealing one first.
        var keys: [String]
    }

    struct Listener: Encodable, Equatable {
        var name: String
        var address: String
    }

    var file: String
    var ok: Bool
    var diagnostics: [Finding]
    /// What the text cannot show, one sentence each.
    var problems: [String]
    var redirectURI: String?
    var console: String?
    var listeners: [Listener]
    var store: Store?
    var grants: [String]
    var templates: [Template]
    var routes: [Route]
    /// For people; not part of the JSON.
    var summary: String

    private enum CodingKeys: String, CodingKey {
        case file
        case ok
        case diagnostics
        case problems
        case redirectURI = "redirect_uri"
        case console
        case listeners
        case store
        case grants
        case templates = "grant_templates"
        case routes
    }

    init(path: String, environment: ConfigurationEnvironment) {
        let outcome = GatewayConfiguration.load(path: path, environment: environment.checkingStoreKeys)
        let snapshot = outcome.snapshot
        file = path
        diagnostics = outcome.diagnostics.map {
            Finding(
                line: $0.position.line, column: $0.position.column, severity: $0.severity.rawValue, message: $0.message)
        }
        problems =
            snapshot.map { GatewayServer.problems(of: $0, environment: environment, version: gatewayVersion) } ?? []
        ok = snapshot != nil && problems.isEmpty
        redirectURI = snapshot?.console?.redirectURI
        console = snapshot?.console.map { "\($0.address)" }
        listeners = snapshot?.listeners.map { Listener(name: $0.name, address: "\($0.address)") } ?? []
        store = snapshot?.store.map { Store($0) }
        grants = snapshot?.grants.map(\.name) ?? []
        templates = snapshot?.grantTemplates.map { Template($0) } ?? []
        routes = snapshot?.routes.map { Route($0) } ?? []
        summary = snapshot?.summary ?? ""
    }

    /// `, 2 warnings`.
    var counts: String {
        let errors = diagnostics.count { $0.severity == "error" } + problems.count
        let warnings = diagnostics.count - diagnostics.count { $0.severity == "error" }
        return [(errors, "error"), (warnings, "warning")]
            .filter { $0.0 > 0 }.map { ", \($0.0) \($0.1)\($0.0 == 1 ? "" : "s")" }.joined()
    }
}

extension CheckReport.Route {
    init(_ route: Snapshot.Route) {
        self.init(
            name: route.name, methods: route.methods, host: route.host, path: route.path.description,
            stripPrefix: route.stripPrefix, stripGrantSegment: route.stripGrantSegment ? true : nil,
            upstream: route.upstream, grant: route.grant, grantTemplate: route.grantTemplate,
            grantFrom: route.grantFrom?.text)
    }
}

extension Snapshot.GrantKeySource {
    /// As in gateway.conf.
    fileprivate var text: String {
        switch self {
        case .header(let name): "header:\(name)"
        case .path(let segment): "path:\(segment)"
        case .caller: "caller"
        case .name(let name): "name:\(name)"
        }
    }
}

extension CheckReport.Template {
    init(_ template: Snapshot.GrantTemplate) {
        var scopes: [String] = []
        if case .provider(_, let asked, _) = template.grant.source { scopes = asked }
        self.init(
            name: template.name, provider: template.providerName, scopes: scopes, maxGrants: template.maxGrants,
            neededVariables: template.neededVariables.map(\.name))
    }
}

extension CheckReport.Store {
    init(_ store: Snapshot.Store) {
        self.init(
            path: store.postgreSQL == nil ? store.path : nil, url: store.postgreSQL?.url, instance: store.instance,
            keys: store.keys.map { "\($0)" })
    }
}
