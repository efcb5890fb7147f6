// Intents: who refreshes, for how long others keep quiet, and who finishes what a dead replica began.
extension GrantMachine {
    /// How long a refresh may take with its replays: others wait that long before they take us for dead.
    var leaseTerm: Int64 {
        let calls = provider.callDeadline.multipliedReportingOverflow(by: Int64(Self.replayLimit) + 1)
        return (calls.overflow ? Int64.max : calls.partialValue).saturatingAdd(max(provider.replayWindow, 0) + 5000)
    }

    func newIntent(_ now: Moment) -> GrantRecord.Intent {
        GrantRecord.Intent(
            instance: environment.instance, startedAt: now.wall, expiresAt: now.wall.saturatingAdd(leaseTerm))
    }

    /// A call that is sent now ends before others take us for dead: a process that stood still must not go on as if
    /// nothing had happened.
    func leaseAllowsCall(_ now: Moment) -> Bool {
        guard let lease else { return false }
        // Without an intent nobody waits for us, and nothing is lost either.
        guard lease.fence > 0 else { return true }
        return now.monotonic.saturatingAdd(provider.callDeadline) <= lease.startedAt.saturatingAdd(lease.term)
    }

    /// What the stored intent means. One that is ours, from before a restart, or whose writer is dead: a reply may be
    /// lost, so refresh at once while the provider's grace lasts. Another's that may be alive: wait for its result.
    mutating func readIntent(_ now: Moment, knownSince: Int64?) {
        let before = foreign
        foreign = nil
        recovery = nil
        guard let intent = record.intent, isRefreshable else { return }
        if environment.storeIsExclusive || intent.instance == environment.instance {
            if call == nil, replay == nil, !isRefreshing { recovery = .recovery }
            return
        }
        recovery = .recovery
        if intent.isOver { return }
        if let before, before.intent == intent {
            foreign = before
            return
        }
        // Its age by the wall clock only ever closes the window for a replay: the clocks need not agree.
        let age = max(now.wall.saturatingSubtract(intent.startedAt), 0)
        let bound = knownSince.map { max(now.monotonic.saturatingSubtract($0), 0) } ?? .max
        foreign = ForeignIntent(
            intent: intent, startedAt: now.monotonic.saturatingSubtract(min(age, bound)),
            until: now.monotonic.saturatingAdd(intent.term))
    }

    func isWaitingForSibling(_ now: Moment) -> Bool {
        guard let foreign else { return false }
        return !foreign.isConfirmed || foreign.until > now.monotonic
    }

    /// Another's intent has run out: the store is read, and a replica that may have waited for the store too has time
    /// to store what it got. Only then is the refresh made again.
    mutating func confirmForeignIntent(_ now: Moment) {
        guard let foreign, !foreign.isConfirmed, foreign.until <= now.monotonic, load == nil, call == nil else {
            return
        }
        beginLoad(.takeOver, now)
    }

    mutating func takeOverRead(_ now: Moment) {
        foreign?.isConfirmed = true
        foreign?.until = now.monotonic.saturatingAdd(Self.takeOverPause)
    }

    /// `tokenCommitRetryLimit`, and the time that the store may take.
    static let takeOverPause: Int64 = 15_000

    /// Before its time is over, a dead sibling's refresh is made again only where that may find the reply that was
    /// lost, or does no harm.
    func mayTakeOverEarly(_ foreign: ForeignIntent, _ now: Moment) -> Bool {
        usesTokensBeforeStored
            || now.monotonic.saturatingSubtract(foreign.startedAt) <= max(provider.replayWindow, 0)
    }
}
