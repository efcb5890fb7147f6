import Configuration
import Console
import Glibc
import OAuth
import OpenSSLKit
import Reactor
import Telemetry
import TokenStore

/// The metrics page and the status, for which every worker is asked.
extension Control {
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

    func metrics(_ done: @escaping (ConsoleOutcome) -> Void) {
        collect { [unowned self] snapshots in
            var input = MetricsInput(
                totals: Accumulator().totals(of: snapshots), control: counters,
                grants: snapshot.grants.map { GrantMetrics(view($0)) }, process: processFacts(),
                certificates: certificateMetrics, lastReloadSuccessful: lastReloadSuccessful,
                lastReloadSuccess: lastReloadAt,
                isDraining: isDraining, isReady: readiness().isReady)
            input.templates = templates.keys.map { name in
                let count = census.counts[name] ?? GrantCensus.Count()
                return TemplateMetrics(name: name, states: count.states, loaded: loadedCount(of: name))
            }
            input.storeWorks = store == nil ? nil : storeHealth.reason == nil
            input.isRekeying = rekeyState.isRunning
            input.damagedRecords = store.map { $0.isShared ? nil : recordCheck.damaged } ?? nil
            done(.metrics(MetricsPage.render(input)))
        }
    }

    private func loadedCount(of template: String) -> Int {
        loading.templated.count { grants[$0]?.template == template }
    }

    func status(_ done: @escaping (ConsoleOutcome) -> Void) {
        countTemplates { [unowned self] counted in
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
                            lastReloadSuccessful: lastReloadSuccessful, grants: snapshot.grants.map { view($0) },
                            templates: counted, store: storeView())))
            }
        }
    }

    /// How many grants each template has is asked of the store; how many are in which state, the census knows.
    private func countTemplates(_ done: @escaping ([TemplateView]?) -> Void) {
        guard !templates.isEmpty else {
            done(nil)
            return
        }
        let names = templates.keys.sorted()
        withStore(.read) { store throws(StoreError) in
            var counts: [String: Int] = [:]
            for name in names { counts[name] = try store.count(prefix: TemplatedName.prefix(of: name)) }
            return counts
        } then: { [unowned self] result in
            let counts = (try? result.get()) ?? [:]
            done(
                names.compactMap { name in
                    guard let template = templates[name] else { return nil }
                    let census = census.counts[name]
                    let states = census?.states.map { ($0.key.rawValue, $0.value) } ?? []
                    return TemplateView(
                        name: name, provider: template.providerName, grants: counts[name] ?? census?.total ?? 0,
                        states: Dictionary(uniqueKeysWithValues: states),
                        countedAt: census.map { Timestamp(milliseconds: $0.at) }, limit: template.maxGrants)
                })
        }
    }

    private func storeView() -> StoreView? {
        guard let store else { return nil }
        return StoreView(
            shared: store.isShared, open: storeHealth.isWorking, reason: storeHealth.reason,
            grantsLoaded: grants.count, instance: instance,
            instances: store.isShared && presence.isKnown ? presence.present.sorted() : nil)
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
            lastRefreshSuccess: view.lastRefreshAt?.unixSeconds, nextAttempt: view.nextAttemptAt?.unixSeconds,
            missingScopes: view.missingScopes?.count ?? 0)
    }
}
