import Configuration
import Console
import OAuth
import Telemetry
import TokenStore

/// Grants and readiness as the console shows them.
extension Control {
    // MARK: One grant

    /// Of a grant of the file, or of one that is loaded.
    func view(named grant: String) -> GrantView? {
        if let entry = grants[grant] { return view(entry) }
        return index.grants[grant].map { view($0) }
    }

    func view(_ grant: Snapshot.Grant) -> GrantView {
        if let entry = grants[grant.name] { return view(entry) }
        let file = tokenFiles[grant.name]
        let isUsable = file?.credential != nil
        return GrantView(
            name: grant.name, provider: nil, state: isUsable ? .active : .configurationError, scopes: [],
            generation: file?.generation ?? 0,
            lastError: file?.problem.map { GrantView.LastError(errorClass: "configuration", reason: $0) },
            routes: index.routes[grant.name] ?? [])
    }

    func view(_ entry: GrantEntry) -> GrantView {
        var view = GrantView(entry.machine.status(now: moment), provider: entry.providerName)
        view.lastConsent = entry.lastConsent
        view.unattended = entry.machine.isUnattended ? true : nil
        view.template = entry.template
        view.label = entry.label
        view.variables = entry.variables.isEmpty ? nil : entry.variables
        if view.generation > 0, let settings = providers[entry.providerName]?.machine.settings {
            let fields = settings.extraHeadersLeftOut(entry.variables)
            view.headersLeftOut = fields.isEmpty ? nil : fields
        }
        if view.revocation == .notSupported || view.revocation == .notConfirmed {
            view.revocationAdvice = providers[entry.providerName]?.machine.settings.revocation.advice
        }
        view.routes =
            entry.template.map { index.templateRoutes[$0] ?? [] } ?? index.routes[entry.name] ?? []
        return view
    }

    /// Of a record that is looked at without loading the grant: a machine that does nothing says what it would be.
    private func view(of record: GrantRecord, _ grant: String, _ template: GrantTemplate) -> GrantView {
        var machine = GrantMachine(
            settings: template.settings(for: grant), provider: template.provider, environment: machineEnvironment)
        let now = moment
        _ = machine.started(now: now)
        _ = machine.recordLoaded(record, now: now)
        let shown = GrantEntry(
            name: grant, machine: machine, providerName: template.providerName, header: template.header,
            template: template.name)
        shown.note(record)
        var view = view(shown)
        // What the machine would begin if it was let: nobody has begun it.
        if view.state == .refreshing { view.state = .active }
        return view
    }

    func detail(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        if let entry = grants[grant], entry.template == nil, !entry.isRead {
            afterGrantsOfTheFile { [unowned self] in
                done(view(named: grant).map { .grant($0) } ?? .failed(missing(grant)))
            }
            return
        }
        if let view = grants[grant].flatMap({ $0.machine.hasLoaded || $0.template == nil ? view($0) : nil })
            ?? index.grants[grant].map({ view($0) })
        {
            done(.grant(view))
            return
        }
        guard let name = TemplatedName(grant), let template = templates[name.template] else {
            done(.failed(missing(grant)))
            return
        }
        withStore(.read) { store throws(StoreError) in
            try store.read(grant: grant)
        } then: { [unowned self] result in
            switch result {
            case .failure(let error): done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
            case .success(nil): done(.failed(missing(grant)))
            case .success(let stored?):
                guard let record = record(stored) else {
                    done(.failed(ConsoleFailure(.internal, detail: "The grant's record cannot be read.")))
                    return
                }
                done(.grant(view(of: record, grant, template)))
            }
        }
    }

    // MARK: Lists

    func list(_ query: GrantsQuery, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard let name = query.template else {
            afterGrantsOfTheFile { [unowned self] in listOfTheFile(query, done) }
            return
        }
        guard let template = templates[name] else {
            done(.failed(ConsoleFailure(.unknownTemplate)))
            return
        }
        let prefix = TemplatedName.prefix(of: name)
        let after = query.after.map { $0.hasPrefix(prefix) ? $0 : prefix + $0 }
        let limit = query.limit
        withStore(.read) { store throws(StoreError) in
            // One more tells whether there is more.
            let names = try store.names(prefix: prefix, after: after, limit: limit + 1)
            var page = ListPage(hasMore: names.count > limit)
            for name in names.prefix(limit) {
                do throws(StoreError) {
                    guard let stored = try store.read(grant: name) else { continue }
                    page.records.append((name, GrantRecord(payload: stored.payload, revision: stored.generation)))
                } catch {
                    guard error.concernsOneRecord else { throw error }
                    page.records.append((name, nil))
                }
            }
            return page
        } then: { [unowned self] result in
            switch result {
            case .failure(let error): done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
            case .success(let page):
                let views = page.records.map { grant, record in listed(grant, record, template) }
                let next = page.hasMore ? page.records.last?.0 : nil
                done(.grants(GrantsReply(grants: views, next: next, template: name)))
            }
        }
    }

    private struct ListPage: Sendable {
        var hasMore: Bool
        var records: [(String, GrantRecord?)] = []
    }

    private func listed(_ grant: String, _ record: GrantRecord?, _ template: GrantTemplate) -> GrantView {
        if let entry = grants[grant], entry.machine.hasLoaded { return view(entry) }
        if let record { return view(of: record, grant, template) }
        let error = GrantView.LastError(errorClass: "configuration", reason: "The record cannot be opened here.")
        return GrantView(
            name: grant, provider: template.providerName, state: .configurationError, scopes: [], generation: 0,
            lastError: error, template: template.name)
    }

    /// The grants of the file are all shown where nothing else is asked for.
    private func listOfTheFile(_ query: GrantsQuery, _ done: (ConsoleOutcome) -> Void) {
        var names = snapshot.grants.map(\.name)
        if query.after != nil || query.limit != ConsoleLimits.pageGrants {
            names.sort()
            if let after = query.after { names.removeAll { $0 <= after } }
            let page = names.prefix(query.limit)
            let next = names.count > page.count ? page.last : nil
            done(.grants(GrantsReply(grants: page.compactMap { view(named: $0) }, next: next)))
            return
        }
        done(.grants(GrantsReply(grants: names.compactMap { view(named: $0) })))
    }

    // MARK: Readiness

    /// Routes with a template are as ready as their store: whether one of its grants is usable is that caller's affair.
    func readiness() -> ConsoleReadiness {
        var unusable: [ConsoleReadiness.UnusableGrant] = []
        for route in snapshot.routes {
            guard case .fixed(let name) = route.grantSelection, let grant = index.grants[name], !isUsable(name) else {
                continue
            }
            unusable.append(
                ConsoleReadiness.UnusableGrant(route: route.name, grant: name, state: view(grant).state))
        }
        let reason = store == nil ? nil : storeHealth.reason
        return ConsoleReadiness(
            draining: isDraining, storeOpen: reason == nil, storeReason: reason, unusableGrants: unusable)
    }

    private func isUsable(_ grant: String) -> Bool {
        if let entry = grants[grant] { return entry.machine.status(now: moment).usable }
        return tokenFiles[grant]?.credential != nil
    }
}

extension GrantView {
    init(_ status: GrantStatus, provider: String) {
        self.init(
            name: status.name, provider: provider,
            state: GrantStateLabel(rawValue: status.state.rawValue) ?? .notConnected, scopes: status.scopes,
            generation: status.generation, accessTokenExpiresAt: status.expiresAt.map { Timestamp(milliseconds: $0) },
            refreshTokenExpiresAt: status.refreshTokenExpiresAt.map { Timestamp(milliseconds: $0) },
            lastRefreshAt: status.lastRefreshAt.map { Timestamp(milliseconds: $0) },
            nextAttemptAt: status.nextAttemptAt.map { Timestamp(milliseconds: $0) },
            lastError: status.lastFailure.map {
                GrantView.LastError(
                    errorClass: $0.errorClass.rawValue, reason: $0.code + ": " + $0.detail,
                    at: Timestamp(milliseconds: $0.at))
            }, account: status.account, missingScopes: status.missingScopes.isEmpty ? nil : status.missingScopes)
        guard status.state == .revoked else { return }
        revocation =
            status.revocationPending
            ? .failedKeptForRetry : status.revocationOutcome.flatMap { ConsoleRevocationResult(rawValue: $0) }
    }
}
