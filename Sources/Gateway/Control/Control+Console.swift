import Configuration
import Console
import Glibc
import OAuth
import OpenSSLKit
import Reactor
import Telemetry

/// The console's requests and commands.
extension Control {
    func consoleRequest(_ request: ConsoleRequest, respond: @escaping (ConsoleResponse) -> Void) {
        guard console != nil else { return }
        // Right after the start every grant would look as if it was not connected. Whether we live does not depend on it.
        if isReadingGrants, !request.path.hasSuffix("/livez") {
            earlyRequests.append { [unowned self] in consoleRequest(request, respond: respond) }
            return
        }
        let now = Timestamp(unixSeconds: WallClock.seconds())
        switch console!.requestReceived(request, now: now, random: SystemRandom.bytes) {
        case .respond(let response):
            respond(response)
        case .perform(let command, let context):
            perform(command) { [unowned self] outcome in
                let now = Timestamp(unixSeconds: WallClock.seconds())
                respond(console!.commandEnded(context, outcome: outcome, now: now, random: SystemRandom.bytes))
            }
        }
    }

    private var isReadingGrants: Bool { grants.values.contains { !$0.isRead } }

    /// The store has answered for a grant: who waited for the last one is served.
    func grantWasRead() {
        guard !earlyRequests.isEmpty, !isReadingGrants else { return }
        let waiting = earlyRequests
        earlyRequests = []
        for serve in waiting { serve() }
    }

    private func perform(_ command: ConsoleCommand, _ done: @escaping (ConsoleOutcome) -> Void) {
        switch command {
        case .startAuthorization(let grant, let binding):
            startConsent(grant, binding: binding) { result in
                switch result {
                case .success(let url): done(.authorizationStarted(url: url))
                case .failure(let failure): done(.failed(failure))
                }
            }
        case .authorizationLink(let grant):
            done(grants[grant] != nil ? .linkAllowed : .failed(missing(grant)))
        case .callback(let query, let binding, let expected):
            callbackArrived(query: query, binding: binding, expectedGrant: expected) {
                [unowned self] outcome, isForOtherGrant in
                done(isForOtherGrant ? .consentFailed(ConsentFailure(.otherGrant)) : self.outcome(outcome))
            }
        case .refresh(let grant): refresh(grant, done)
        case .revoke(let grant): revoke(grant, done)
        case .forget(let grant): forget(grant, done)
        case .listGrants: done(.grants(snapshot.grants.map { view($0) }))
        case .grantDetail(let grant):
            if let found = snapshot.grant(named: grant) {
                done(.grant(view(found)))
            } else {
                done(.failed(missing(grant)))
            }
        case .status: status(done)
        case .metrics: metrics(done)
        case .readiness: done(.readiness(readiness()))
        }
    }

    private func missing(_ grant: String) -> ConsoleFailure {
        ConsoleFailure(snapshot.grant(named: grant) == nil ? .unknownGrant : .notAuthorizable)
    }

    // MARK: Commands

    private func refresh(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard let entry = grants[grant] else {
            done(.failed(missing(grant)))
            return
        }
        let ticket = ticket { [unowned self] result in
            switch result {
            case .refreshed:
                done(snapshot.grant(named: grant).map { .refreshed(view($0)) } ?? .failed(missing(grant)))
            case .refreshFailed(let code, let detail):
                done(.failed(Self.failure(code: code, detail: detail)))
            case .connected, .consentRefused, .consentNotStored, .revocation, .revocationNotStored, .forgotten,
                .forgetFailed:
                done(.failed(ConsoleFailure(.internal)))
            }
        }
        perform(grant, entry.machine.refreshRequested(ticket, now: moment))
    }

    private static func failure(code: String, detail: String) -> ConsoleFailure {
        switch UnavailableReason(rawValue: code) {
        case .notConnected, .revoked: ConsoleFailure(.notConnected, detail: detail)
        case .reauthorizationRequired, .noRefreshToken: ConsoleFailure(.reauthorizationRequired, detail: detail)
        case .configurationError: ConsoleFailure(.configurationError, detail: detail)
        case .storeUnavailable: ConsoleFailure(.storeUnavailable, detail: detail)
        case .refreshFailed, .coolingDown, .refreshTooSoon, .tooManyWaiters, nil:
            code == "invalid_grant"
                ? ConsoleFailure(.reauthorizationRequired, detail: detail)
                : code == "invalid_client" || code == "unauthorized_client"
                    ? ConsoleFailure(.configurationError, detail: detail)
                    : ConsoleFailure(.providerUnavailable, detail: detail)
        }
    }

    private func revoke(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard let entry = grants[grant] else {
            done(.failed(missing(grant)))
            return
        }
        let ticket = ticket { [unowned self] result in
            guard case .revocation(let outcome) = result, let found = snapshot.grant(named: grant) else {
                let detail =
                    "Injection has stopped, but the store has not taken it yet: after a restart the grant would be back. "
                    + "Storing is tried again; see that the disk has room."
                done(.failed(ConsoleFailure(.storeUnavailable, detail: detail)))
                return
            }
            switch outcome {
            case .revoked: done(.revoked(view(found), .revoked))
            case .alreadyInvalid: done(.revoked(view(found), .alreadyInvalid))
            case .notSupported: done(.revoked(view(found), .notSupported))
            case .failedKeptForRetry: done(.revoked(view(found), .failedKeptForRetry))
            case .nothingToRevoke where view(found).state == .revoked:
                done(.revoked(view(found), .alreadyInvalid))
            case .nothingToRevoke: done(.failed(ConsoleFailure(.notConnected)))
            }
        }
        perform(grant, entry.machine.revokeRequested(ticket, now: moment))
    }

    private func forget(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard let entry = grants[grant] else {
            done(.failed(missing(grant)))
            return
        }
        let ticket = ticket { result in
            done(result == .forgotten ? .forgotten : .failed(ConsoleFailure(.storeUnavailable)))
        }
        perform(grant, entry.machine.forgetRequested(ticket, now: moment))
    }

    func outcome(_ outcome: OAuth.ConsentOutcome) -> ConsoleOutcome {
        switch outcome {
        case .connected(let grant, let report):
            var notes: [ConsentSuccess.Note] = report.missingScopes.isEmpty ? [] : [.scopesDiffer]
            let status = grants[grant]?.machine.status(now: moment)
            if status?.hasRefreshToken == false { notes.append(.noRefreshToken) }
            return .connected(ConsentSuccess(grant: grant, notes: notes))
        case .notStored(let grant):
            return .consentFailed(ConsentFailure(.storeUnavailable, grant: grant))
        case .refused(let grant, let refusal):
            let kind: ConsentFailure.Kind =
                switch refusal {
                case .noRefreshToken: .noRefreshToken
                case .missingScopes: .missingScope
                case .wrongAccount, .accountUnknown: .providerError
                }
            return .consentFailed(ConsentFailure(kind, grant: grant, detail: refusal.explanation))
        case .deniedByProvider(let grant, let code, let description):
            let kind: ConsentFailure.Kind = code == "access_denied" ? .denied : .providerError
            return .consentFailed(
                ConsentFailure(kind, grant: grant, detail: [code, description ?? ""].joined(separator: " ")))
        case .exchangeFailed(let grant, let problem):
            return .consentFailed(ConsentFailure(.exchangeFailed, grant: grant, detail: problem.detail))
        case .rejected(let rejection):
            return .consentFailed(ConsentFailure(Self.kind(rejection), detail: rejection.explanation))
        }
    }

    private static func kind(_ rejection: CallbackRejection) -> ConsentFailure.Kind {
        switch rejection {
        case .unknownState, .tooManyCallbacks: .unknownState
        case .wrongBrowser, .wrongPlace: .otherBrowser
        case .otherIssuer, .missingIssuer: .issuerMismatch
        case .tooLong, .malformed, .repeatedParameter, .codeAndError, .neitherCodeNorError, .captureRefused: .malformed
        case .storeUnavailable: .storeUnavailable
        }
    }

    // MARK: Views

    func view(_ grant: Snapshot.Grant) -> GrantView {
        let routes = snapshot.routes.filter { $0.grant == grant.name }.map(\.name)
        guard let entry = grants[grant.name] else {
            let file = tokenFiles[grant.name]
            let isUsable = file?.credential != nil
            return GrantView(
                name: grant.name, provider: nil, state: isUsable ? .active : .configurationError, scopes: [],
                generation: file?.generation ?? 0,
                lastError: file?.problem.map { GrantView.LastError(errorClass: "configuration", reason: $0) },
                routes: routes)
        }
        let status = entry.machine.status(now: moment)
        return GrantView(
            name: grant.name, provider: entry.providerName,
            state: GrantStateLabel(rawValue: status.state.rawValue) ?? .notConnected, scopes: status.scopes,
            generation: status.generation, accessTokenExpiresAt: status.expiresAt.map { Timestamp(milliseconds: $0) },
            refreshTokenExpiresAt: status.refreshTokenExpiresAt.map { Timestamp(milliseconds: $0) },
            lastRefreshAt: status.lastRefreshAt.map { Timestamp(milliseconds: $0) },
            nextAttemptAt: status.nextAttemptAt.map { Timestamp(milliseconds: $0) },
            lastError: status.lastFailure.map {
                GrantView.LastError(
                    errorClass: $0.errorClass.rawValue, reason: $0.code + ": " + $0.detail,
                    at: Timestamp(milliseconds: $0.at))
            },
            lastConsent: entry.lastConsent, routes: routes)
    }

    func readiness() -> ConsoleReadiness {
        var unusable: [ConsoleReadiness.UnusableGrant] = []
        for route in snapshot.routes {
            guard let name = route.grant, let grant = snapshot.grant(named: name) else { continue }
            if isUsable(name) { continue }
            unusable.append(
                ConsoleReadiness.UnusableGrant(route: route.name, grant: name, state: view(grant).state))
        }
        return ConsoleReadiness(
            draining: isDraining, storeOpen: store == nil || storeIsWorking, unusableGrants: unusable)
    }

    private func isUsable(_ grant: String) -> Bool {
        if let entry = grants[grant] { return entry.machine.status(now: moment).usable }
        return tokenFiles[grant]?.credential != nil
    }

    // MARK: Metrics

    /// Asks every worker for its counters.
    func collect(_ done: @escaping ([CounterSnapshot]) -> Void) {
        guard workersRunning > 0 else {
            done([])
            return
        }
        let request = nextScrape
        nextScrape += 1
        scrapes[request] = Scrape(missing: workers.count, done: done)
        let mailbox = mailbox
        for (index, worker) in workers.enumerated() {
            worker.post(.collectCounters { mailbox.post(.counters(worker: index, request: request, $0)) })
        }
        // A worker that has stopped meanwhile does not answer.
        loop.schedule(after: 2000) { [unowned self] in finishScrape(request) }
    }

    func countersArrived(_ request: UInt64, _ snapshot: CounterSnapshot) {
        guard scrapes[request] != nil else { return }
        scrapes[request]!.snapshots.append(snapshot)
        scrapes[request]!.missing -= 1
        if scrapes[request]!.missing == 0 { finishScrape(request) }
    }

    private func finishScrape(_ request: UInt64) {
        guard let scrape = scrapes.removeValue(forKey: request) else { return }
        scrape.done(scrape.snapshots)
    }

    private func metrics(_ done: @escaping (ConsoleOutcome) -> Void) {
        collect { [unowned self] snapshots in
            let input = MetricsInput(
                totals: Accumulator().totals(of: snapshots), control: counters,
                grants: snapshot.grants.map { GrantMetrics(view($0)) }, process: processFacts(),
                certificates: certificateMetrics, lastReloadSuccessful: lastReloadSuccessful,
                lastReloadSuccess: lastReloadAt,
                isDraining: isDraining, isReady: readiness().isReady)
            done(.metrics(MetricsPage.render(input)))
        }
    }

    private func status(_ done: @escaping (ConsoleOutcome) -> Void) {
        collect { [unowned self] snapshots in
            let totals = Accumulator().totals(of: snapshots)
            let sums = totals.requestSums
            done(
                .status(
                    StatusView(
                        version: version, startedAt: Timestamp(unixSeconds: startedAt), workers: workers.count,
                        draining: isDraining, requestsTotal: sums.ended, serverErrorsTotal: sums.serverErrors,
                        requestsCurrent: totals.requestsCurrent, callerConnections: totals.callerConnections,
                        configurationLoadedAt: Timestamp(unixSeconds: lastReloadAt),
                        lastReloadSuccessful: lastReloadSuccessful, grants: snapshot.grants.map { view($0) })))
        }
    }

    private func processFacts() -> ProcessFacts {
        var usage = rusage()
        getrusage(RUSAGE_SELF.rawValue, &usage)
        let cpu =
            Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1_000_000
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return ProcessFacts(
            version: version, openSSL: OpenSSLVersion.text, startTime: Double(startedAt), workers: workers.count,
            residentBytes: Self.residentBytes(), openFileDescriptors: Self.openDescriptors(),
            maxFileDescriptors: Int(clamping: limit.rlim_cur), cpuSeconds: cpu)
    }

    private static func residentBytes() -> UInt64? {
        guard let text = try? Files.read(path: "/proc/self/statm", limit: 256) else { return nil }
        let fields = String(decoding: text, as: UTF8.self).split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
        return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func openDescriptors() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // "." and ".." and the one that is open for reading.
        return max(0, count - 3)
    }
}

extension Timestamp {
    init(milliseconds: Int64) {
        self.init(unixSeconds: milliseconds / 1000)
    }
}

extension GrantMetrics {
    init(_ view: GrantView) {
        self.init(
            name: view.name, state: view.state, generation: view.generation,
            accessTokenExpiry: view.accessTokenExpiresAt?.unixSeconds,
            refreshTokenExpiry: view.refreshTokenExpiresAt?.unixSeconds,
            lastRefreshSuccess: view.lastRefreshAt?.unixSeconds, nextAttempt: view.nextAttemptAt?.unixSeconds)
    }
}
