/// Checks what the tables say of each other and of the world outside, and puts the snapshot together.
struct Checker {
    var draft: Draft
    let environment: ConfigurationEnvironment
    var diagnostics: Diagnostics

    /// The snapshot; of use only if no error was found.
    mutating func checkedSnapshot() -> Snapshot {
        checkListeners()
        let listeners = draft.listeners.map { checkedListener($0) }
        checkConsole()
        let store = checkedStore()
        for index in draft.providers.indices { checkProvider(at: index) }
        let grants = draft.grants.map { checkedGrant($0) }
        let templates = draft.grantTemplates.map { checkedTemplate($0) }
        checkNeedsOfProviderGrants()
        for upstream in draft.upstreams { checkUpstream(upstream) }
        for route in draft.routes { checkRoute(route, grants: grants, templates: templates) }
        checkUpstreamNames(grants: grants, templates: templates)
        checkOverlaps()
        checkLogAndLimits()
        checkUnused()
        var snapshot = snapshot
        snapshot.listeners = listeners
        snapshot.store = store
        snapshot.grants = grants
        snapshot.grantTemplates = templates
        return snapshot
    }

    /// What needs no more than its own table.
    private var snapshot: Snapshot {
        var snapshot = draft.top.value
        snapshot.console = draft.console?.value
        snapshot.providers = draft.providers.map(\.value)
        snapshot.upstreams = draft.upstreams.map(\.value)
        snapshot.routes = draft.routes.map(\.value)
        snapshot.timeouts = draft.timeouts.value
        snapshot.limits = draft.limits.value
        snapshot.log = draft.log.value
        return snapshot
    }

    /// A name that must be one of a place's; with a suggestion.
    mutating func checkReference(_ name: String, to place: Place, among names: [String], at position: Position) {
        guard !names.contains(name) else { return }
        diagnostics.error(
            position,
            "there is no [\(place.rawValue).\(printable(name))]\(Suggestion.hint(for: name, among: names))")
    }

    private func printable(_ name: String) -> String { String(quoted(name).dropFirst().dropLast()) }

    /// Only in a file that is right otherwise, since a mistake elsewhere may be why something seems unused.
    private mutating func checkUnused() {
        guard !diagnostics.hasErrors else { return }
        let used = Set(draft.routes.map(\.value.upstream))
        for upstream in draft.upstreams where !used.contains(upstream.value.name) {
            diagnostics.warning(upstream.position, "no route uses \(upstream.title)")
        }
        let providers = Set((draft.grants + draft.grantTemplates).compactMap(\.value.provider))
        for provider in draft.providers where !providers.contains(provider.value.name) {
            diagnostics.warning(provider.position, "no grant uses \(provider.title)")
        }
        let templates = Set(draft.routes.compactMap(\.value.grantTemplate))
        for template in draft.grantTemplates where !templates.contains(template.value.name) {
            diagnostics.warning(template.position, "no route uses \(template.title)")
        }
        if draft.routes.isEmpty {
            diagnostics.warning(.nowhere, "there is no [route.NAME]: every request will be answered 404")
        }
    }

    private mutating func checkLogAndLimits() {
        if draft.limits.has("temp_directory"), !environment.isDirectory(draft.limits.value.temporaryDirectory) {
            diagnostics.error(
                draft.limits.position(of: "temp_directory"),
                "\"temp_directory\" is \(quoted(draft.limits.value.temporaryDirectory)), which is not a folder")
        }
        if case .file(let path) = draft.log.value.access {
            checkFolder(of: path, "access", at: draft.log.position(of: "access"))
        }
    }
}

// MARK: - Files and secrets

extension Checker {
    /// The folder of a file that the gateway will write.
    mutating func checkFolder(of path: String, _ directive: String, at position: Position) {
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "/"
        if !environment.isDirectory(folder) {
            diagnostics.error(position, "\"\(directive)\" needs the folder \(quoted(folder)), which does not exist")
        }
    }

    /// Certificates to trust.
    mutating func checkCertificates(_ path: String?, at position: Position) {
        guard let path else { return }
        switch environment.readFile(path, 8 << 20) {
        case .failure(let problem):
            diagnostics.error(position, "\"ca_file\" \(quoted(path)) cannot be read: \(problem)")
        case .success(let contents):
            if !String(decoding: contents.bytes, as: UTF8.self).contains("-----BEGIN CERTIFICATE-----") {
                diagnostics.error(position, "\"ca_file\" \(quoted(path)) holds no certificate in PEM form")
            }
        }
    }

    /// `NAME_file`, `NAME_env`, `NAME_credential`: at most one kind; each source can be read now. `isKey`: the bytes
    /// are taken as they are.
    mutating func checkSecrets<Subject>(
        _ sources: [Snapshot.SecretSource], _ name: String, in section: Section<Subject>, isKey: Bool = false
    ) {
        let kinds = ["file", "env", "credential"].map { "\(name)_\($0)" }
        let given = kinds.filter { section.mentions($0) }
        if given.count > 1 {
            diagnostics.error(
                section.position(of: given[1]), "\"\(given[1])\" and \"\(given[0])\" exclude each other")
        }
        let loader = SecretLoader(environment: environment)
        for (index, source) in sources.enumerated() {
            let position = section.position(of: given.first ?? name, element: index)
            switch isKey ? loader.loadKey(source) : loader.load(source) {
            case .success(let secret):
                guard isKey, let problem = environment.storeKeyProblem(secret.bytes, "\(source)") else { continue }
                diagnostics.error(position, problem)
            case .failure(let error):
                switch error.problem {
                // Whoever runs `check` by hand has no credentials; the start itself will fail without them.
                case .noCredentialsDirectory: diagnostics.warning(position, error.description)
                case .notFound, .other: diagnostics.error(position, error.description)
                }
            }
        }
    }
}
