/// Reads gateway.conf: text and environment in, a snapshot or all its mistakes out.
package enum GatewayConfiguration {
    /// What came of reading: a snapshot unless there are errors, and in any case the mistakes in the order of the
    /// file. Warnings alone do not keep a snapshot back.
    package struct Outcome: Sendable {
        package let snapshot: Snapshot?
        package let diagnostics: [Diagnostic]
    }

    private static let limit = 1 << 20

    /// Reads the file at `path`, which messages call by that name. Blocks.
    package static func load(path: String, environment: ConfigurationEnvironment) -> Outcome {
        switch environment.readFile(path, limit) {
        case .success(let contents): return parse(contents.bytes, file: path, environment: environment)
        case .failure(let problem):
            var diagnostics = Diagnostics(file: path)
            diagnostics.error(.nowhere, "the configuration cannot be read: \(problem)")
            return Outcome(snapshot: nil, diagnostics: diagnostics.sorted)
        }
    }

    /// Reads `text`, which messages call `file`. Secrets are read to see that they can be, and forgotten again.
    package static func parse(_ text: [UInt8], file: String, environment: ConfigurationEnvironment) -> Outcome {
        var diagnostics = Diagnostics(file: file)
        guard let root = TOMLReader.read(text, variable: environment.variable, diagnostics: &diagnostics) else {
            return Outcome(snapshot: nil, diagnostics: diagnostics.sorted)
        }
        var reader = SectionReader(diagnostics: diagnostics)
        let draft = Draft(root, environment: environment, reader: &reader)
        var checker = Checker(draft: draft, environment: environment, diagnostics: reader.diagnostics)
        let snapshot = checker.checkedSnapshot()
        return Outcome(
            snapshot: checker.diagnostics.hasErrors ? nil : snapshot, diagnostics: checker.diagnostics.sorted)
    }
}

/// The file's tables, each read by itself; what they say of each other is not checked yet.
struct Draft {
    var top: Section<Snapshot>
    var listeners: [Section<ListenerDraft>]
    var console: Section<Snapshot.Console>?
    var store: Section<StoreDraft>?
    var providers: [Section<Snapshot.Provider>]
    var grants: [Section<GrantDraft>]
    var grantTemplates: [Section<GrantDraft>]
    var upstreams: [Section<Snapshot.Upstream>]
    var routes: [Section<Snapshot.Route>]
    var timeouts: Section<Snapshot.Timeouts>
    var limits: Section<Snapshot.Limits>
    var log: Section<Snapshot.Log>

    init(_ root: [Node.Member], environment: ConfigurationEnvironment, reader: inout SectionReader) {
        var base = Snapshot()
        base.workers = min(max(1, environment.processorCount), 256)
        base.limits.temporaryDirectory = environment.temporaryDirectory
        top = reader.read(
            root, title: "", at: .nowhere, as: topDirectives, into: base,
            tables: Place.allCases.dropFirst().map(\.rawValue))
        listeners = reader.named(listenerDirectives, in: root) { ListenerDraft(name: $0) }
        console = reader.single(consoleDirectives, in: root, Snapshot.Console())
        store = reader.single(storeDirectives, in: root, StoreDraft())
        providers = reader.named(providerDirectives, in: root) { Snapshot.Provider(name: $0) }
        grants = reader.named(grantDirectives, in: root) { GrantDraft(name: $0) }
        grantTemplates = reader.named(grantTemplateDirectives, in: root) { GrantDraft(name: $0) }
        upstreams = reader.named(upstreamDirectives, in: root) { Snapshot.Upstream(name: $0) }
        routes = reader.named(routeDirectives, in: root) { Snapshot.Route(name: $0) }
        timeouts = reader.optional(timeoutDirectives, in: root, Snapshot.Timeouts())
        limits = reader.optional(limitDirectives, in: root, base.limits)
        log = reader.optional(logDirectives, in: root, Snapshot.Log())
    }
}

extension SectionReader {
    fileprivate mutating func single<Subject>(
        _ directives: Directives<Subject>, in root: [Node.Member], _ subject: Subject
    ) -> Section<Subject>? {
        guard let (members, position) = table(directives.place, in: root) else { return nil }
        return read(members, title: directives.place.heading, at: position, as: directives, into: subject)
    }

    /// A table whose absence means the defaults.
    fileprivate mutating func optional<Subject>(
        _ directives: Directives<Subject>, in root: [Node.Member], _ subject: Subject
    ) -> Section<Subject> {
        single(directives, in: root, subject)
            ?? Section(
                title: directives.place.heading, position: .nowhere,
                value: directives.applyingDefaults(to: subject))
    }

    fileprivate mutating func named<Subject>(
        _ directives: Directives<Subject>, in root: [Node.Member], _ subject: (String) -> Subject
    ) -> [Section<Subject>] {
        namedTables(directives.place, in: root).map { table in
            read(table.members, title: table.title, at: table.position, as: directives, into: subject(table.name))
        }
    }
}
