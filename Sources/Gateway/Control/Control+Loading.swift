import Console
import Logging
import OAuth
import Proxy
import Reactor
import TokenStore

/// What control keeps of templated grants beside their machines.
struct LoadingState {
    /// What workers may hold of a grant that is not loaded any more.
    struct Outstanding {
        var revision: UInt64
        /// Monotonic milliseconds after which no worker uses it.
        var expiry: Int64
    }

    /// Templated grants that are loaded.
    var templated: Set<String> = []
    var outstanding: [String: Outstanding] = [:]
    /// Names that the store does not know, with the monotonic time until which that is believed: a caller may send any
    /// name, as often as it likes.
    var absent: [String: Int64] = [:]
    var sweepTimer: ControlLoop.Token?

    /// Machines of templated grants in memory; the longest unused make room for new ones.
    static let largestLoaded = 10_000
    static let largestOutstanding = 50_000
    static let largestAbsent = 10_000
    static let absentTime: Int64 = 1_000
    /// How long a machine stays after a request or an operator named it.
    static let idleTime: Int64 = 60_000
    static let sweepInterval: UInt64 = 5_000
}

/// Templated grants are loaded when a request, an operator or their own time needs them, and dropped again.
extension Control {
    /// The grant's machine, loaded if need be; its record may not have been read yet.
    ///
    /// - Returns: nil for a name that is neither in the file nor of a template.
    func entry(loading grant: String) -> GrantEntry? {
        if let entry = grants[grant] { return entry }
        // While the gateway stops, too: requests that were accepted before are served.
        guard let name = TemplatedName(grant), let template = templates[name.template] else { return nil }
        makeRoom()
        let machine = GrantMachine(
            settings: template.settings(for: grant), provider: template.provider, environment: machineEnvironment)
        let entry = GrantEntry(
            name: grant, machine: machine, providerName: template.providerName, header: template.header,
            template: template.name)
        // Workers that still hold what they were told before must hear what is new.
        if loading.outstanding.removeValue(forKey: grant) != nil { entry.isKnownToWorkers = true }
        grants[grant] = entry
        loading.templated.insert(grant)
        scheduleSweep()
        perform(grant, entry.machine.started(now: moment))
        return entry
    }

    var machineEnvironment: GrantMachine.Environment {
        GrantMachine.Environment(
            instance: instance, storeIsExclusive: !(store?.isShared ?? false), seed: SystemRandom.uint64())
    }

    /// True for a name that was asked for a moment ago and is not in the store.
    func isKnownToBeAbsent(_ grant: String) -> Bool {
        guard let until = loading.absent[grant] else { return false }
        if until > moment.monotonic { return true }
        loading.absent[grant] = nil
        return false
    }

    /// For an operator's command: the grant with its record read, or why not.
    func withGrant(_ grant: String, _ done: @escaping (Result<GrantEntry, ConsoleFailure>) -> Void) {
        guard let entry = entry(loading: grant) else {
            done(.failure(missing(grant)))
            return
        }
        entry.lastUsed = moment.monotonic
        if entry.machine.hasLoaded {
            done(.success(entry))
            return
        }
        // A grant of the file takes the command and performs it once it is read, as it always has.
        guard entry.template != nil else {
            done(.success(entry))
            return
        }
        entry.whenRead.append { [unowned self] result in
            switch result {
            case .read: done(.success(entry))
            case .absent: done(.failure(ConsoleFailure(.unknownGrant)))
            case .failed: done(.failure(ConsoleFailure(.storeUnavailable, detail: storeHealth.reason)))
            }
        }
    }

    /// The store has no record: nobody has made this grant, or it was deleted.
    func vanish(_ entry: GrantEntry) {
        let time = moment.monotonic
        if loading.absent.count >= LoadingState.largestAbsent {
            loading.absent = loading.absent.filter { $0.value > time }
            if loading.absent.count >= LoadingState.largestAbsent { loading.absent = [:] }
        }
        loading.absent[entry.name] = time + LoadingState.absentTime
        let waiting = entry.whenRead
        entry.whenRead = []
        dismiss(entry.name, because: .unknownGrant)
        for done in waiting { done(.absent) }
    }

    /// Another replica deleted the templated grant while this one was at work on it, and the work is over.
    func hasVanished(_ entry: GrantEntry) -> Bool {
        entry.template != nil && entry.isRead && entry.machine.hasLoaded && entry.machine.storedRevision == 0
            && !entry.isBeingCreated && !entry.machine.holdsUnfinishedWork && !entry.machine.holdsUnstoredChanges
    }

    // MARK: Unloading

    /// After each event: a grant that was loaded only because it was due goes as soon as it rests.
    func settleTemplated(_ entry: GrantEntry) {
        guard entry.template != nil, grants[entry.name] === entry, entry.machine.mayBeUnloaded else { return }
        if due.active[entry.name] != nil {
            perform(due.ended(entry.name, nextDue: entry.machine.dueAt, now: moment))
        }
        latchedWalkEnded(entry.name)
        guard grants[entry.name] === entry, entry.lastUsed == nil, mayUnload(entry) else { return }
        unload(entry)
    }

    private func mayUnload(_ entry: GrantEntry) -> Bool {
        entry.machine.mayBeUnloaded && !entry.isPerforming && entry.waiters.isEmpty && entry.whenRead.isEmpty
            && !entry.isBeingCreated
    }

    /// Drops the machine. Workers keep the credential that they were given until it expires: they need not be told.
    private func unload(_ entry: GrantEntry) {
        let grant = entry.name
        if let timer = entry.timer { loop.cancel(timer) }
        let dueAt = entry.machine.dueAt
        grants[grant] = nil
        loading.templated.remove(grant)
        if let state = told.removeValue(forKey: grant), entry.isKnownToWorkers {
            switch state {
            case .ready(let credential):
                let expiry = Int64(clamping: credential.expiry)
                if expiry > moment.monotonic, loading.outstanding.count < LoadingState.largestOutstanding {
                    loading.outstanding[grant] = LoadingState.Outstanding(revision: entry.revision, expiry: expiry)
                } else {
                    broadcast(.credential(grant: grant, .unknown))
                }
            case .refused: broadcast(.credential(grant: grant, .unknown))
            case .unknown: break
            }
        }
        if let dueAt { perform(due.dueKnown(at: dueAt, now: moment)) }
    }

    /// The record could not be read, and who waited for it was told. What stands behind the grant in a queue has its turn.
    /// A machine without a record has nothing to lose, so it goes, and whoever needs the grant next asks the store again:
    /// callers can make up names while the store is away, and each would have a machine. One whose record is there, and
    /// cannot be opened, stays: a change of the keys finds it here.
    func restUnread(_ entry: GrantEntry) {
        let grant = entry.name
        guard entry.template != nil, grants[grant] === entry, !entry.machine.hasLoaded else { return }
        let isUnreadable = storeHealth.isUnreadable(grant)
        if due.active[grant] != nil {
            // What is away may be back soon; what cannot be opened has time.
            let next = isUnreadable ? nil : moment.wall.saturatingAdd(2_000)
            perform(due.ended(grant, nextDue: next, now: moment))
        }
        latchedWalkEnded(grant)
        guard grants[grant] === entry, !isUnreadable, !entry.isBeingCreated, !entry.isPerforming, entry.waiters.isEmpty,
            entry.whenRead.isEmpty, !entry.machine.holdsUnstoredChanges
        else { return }
        if let timer = entry.timer { loop.cancel(timer) }
        grants[grant] = nil
        loading.templated.remove(grant)
        told[grant] = nil
    }

    private func scheduleSweep() {
        guard loading.sweepTimer == nil else { return }
        loading.sweepTimer = loop.schedule(after: LoadingState.sweepInterval) { [unowned self] in
            loading.sweepTimer = nil
            sweep(idleFor: LoadingState.idleTime)
            if !loading.templated.isEmpty || !loading.outstanding.isEmpty { scheduleSweep() }
        }
    }

    /// Drops machines that nobody has used for a while. While the store is away they stay: they could not come back.
    func sweep(idleFor time: Int64) {
        let now = moment.monotonic
        loading.outstanding = loading.outstanding.filter { $0.value.expiry > now }
        guard storeHealth.isWorking else { return }
        for grant in loading.templated {
            guard let entry = grants[grant], (entry.lastUsed ?? .min).saturatingAdd(time) <= now, mayUnload(entry)
            else { continue }
            unload(entry)
        }
    }

    /// A tenth of the machines goes at once, the longest unused first, so that this is rare.
    private func makeRoom() {
        guard loading.templated.count >= LoadingState.largestLoaded, storeHealth.isWorking else { return }
        let oldest = loading.templated.compactMap { grants[$0] }.filter { mayUnload($0) }
            .sorted { ($0.lastUsed ?? .min) < ($1.lastUsed ?? .min) }
        for entry in oldest.prefix(LoadingState.largestLoaded / 10) { unload(entry) }
    }
}
