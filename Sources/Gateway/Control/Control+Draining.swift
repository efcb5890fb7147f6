import Logging
import OAuth
import Reactor

/// The end: callers first, then the replies of providers, then the store.
extension Control {
    /// Stops accepting and lets running exchanges end. A second call cuts them, and leaves what brings tokens a few
    /// seconds; a third ends everything.
    func drain(within milliseconds: UInt64) {
        guard isDraining else {
            isDraining = true
            ServiceManager.notify("STOPPING=1")
            logger.notice("stopping", metadata: ["patience_ms": "\(milliseconds)"])
            broadcast(.drain(milliseconds: milliseconds))
            return
        }
        logger.notice("told again to stop: the rest is cut")
        isHurried = true
        broadcast(.drain(milliseconds: 0))
        settling?.hurry(now: MonotonicClock.milliseconds())
    }

    /// Calls to providers that are under way are given time to end and to be stored: a refresh token that is good for one
    /// use is used up, and a reply that is thrown away costs the grant.
    func allWorkersStopped() {
        guard settling == nil else { return }
        let now = MonotonicClock.milliseconds()
        let longest = providers.values.map { UInt64(max(0, $0.machine.settings.callDeadline)) }.max() ?? 0
        let last = client.lastTokenDeadline.map { $0 > now ? $0 - now : 0 } ?? 0
        var new = Settling(now: now, longestCall: max(longest, last), storePatience: storePatience)
        if isHurried { new.hurry(now: now) }
        settling = new
        if awaitsTokens { tellWhatIsWaitedFor(new.remaining(now: now)) }
        settle()
    }

    private var awaitsTokens: Bool {
        client.tokenCallCount > 0 || grants.values.contains { $0.machine.awaitsTokens }
    }

    private func tellWhatIsWaitedFor(_ patience: UInt64) {
        // systemd's own patience need not be set for providers with a long timeout.
        ServiceManager.notify("EXTEND_TIMEOUT_USEC=\((patience + 5_000) * 1_000)")
        let names = grants.filter { $0.value.machine.awaitsTokens }.keys.sorted()
        logger.notice(
            "waiting for replies of providers that may hold new tokens",
            metadata: [
                "calls": "\(client.tokenCallCount)", "grants": "\(names.prefix(10).joined(separator: " "))",
                "patience_ms": "\(patience)",
            ])
    }

    private func settle() {
        let isBusy =
            client.callCount > 0 || !storeAnswers.isEmpty
            || grants.values.contains { $0.machine.holdsUnstoredChanges }
        let step = settling?.step(now: MonotonicClock.milliseconds(), awaitsTokens: awaitsTokens, isBusy: isBusy)
        switch step {
        case .wait:
            loop.schedule(after: 20) { [unowned self] in settle() }
        case .cut:
            tellWhatIsLost()
            end()
        case .end, nil: end()
        }
    }

    private func tellWhatIsLost() {
        for (name, entry) in grants {
            if entry.machine.awaitsTokens {
                logger.error(
                    "the provider has not answered before the end; the grant may need consent again",
                    metadata: ["grant": "\(name)"])
            } else if entry.machine.holdsUnstoredChanges {
                logger.error("the grant's last change could not be stored and is lost", metadata: ["grant": "\(name)"])
            }
        }
    }

    private func end() {
        consoleServer?.stop()
        client.cancelAll()
        loop.stop()
    }
}
