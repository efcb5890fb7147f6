import OAuth

/// Decides when the store is asked which templated grants are due, and which of those are loaded now, so that their
/// machines do what they are due for. A value: the driver performs what it says.
///
/// Grants that nobody has loaded have no timer. The store knows when each of them wants to act next, and gives the
/// soonest a page at a time. Of several replicas each sees the same list: one is preferred for a grant and begins at
/// once; the others come a little later, in case it does not. What is begun twice all the same costs a read and a lost
/// commit, nothing more: the intent in the record makes one win.
struct DueScheduler: Sendable {
    struct Settings: Sendable {
        /// Grants that one question brings.
        var page = 128
        /// Due grants of one provider that are at work at once.
        var callsPerProvider = 32
        /// The longest time between two questions, in milliseconds.
        var pollInterval: Int64 = 10_000
        /// A grant that belongs to another replica is left alone for so long after it came due.
        var grace: Int64 = 5_000
        /// A grant that came to rest and is due still, or whose template is gone, is not looked at for so long.
        var holdOff: Int64 = 500
        var longestHoldOff: Int64 = 60_000
        var orphanHoldOff: Int64 = 600_000
        /// The least time between two questions that bring nothing new.
        var leastWait: Int64 = 250
        /// The most rows that one question may skip over.
        var longestSkip = 200_000
    }

    enum Action: Equatable, Sendable {
        /// Ask the store for grants that are due at this wall time; answered by `dueArrived` or `askFailed`.
        case askDue(before: Int64, limit: Int)
        /// Ask the store when the next is due; answered by `nextArrived` or `askFailed`.
        case askNext
        /// Load the grant; its coming to rest is told by `ended`.
        case load(String)
        /// Call `timerFired` at this monotonic time; replaces the earlier one.
        case armTimer(at: Int64)
    }

    /// What the driver knows of a due grant.
    enum Standing: Equatable, Sendable {
        /// Its machine is in memory and has timers of its own.
        case loaded
        /// Nobody has it; `isOurs`: this replica is the one to begin.
        case resting(provider: String, isOurs: Bool)
        /// Its template is not in the configuration: the record stays and rests.
        case orphan
    }

    let settings: Settings
    /// Grants that were loaded because they were due, by provider.
    private(set) var active: [String: String] = [:]
    private var activeCounts: [String: Int] = [:]
    /// Until when, monotonic, a grant is passed over.
    private var heldOff: [String: Int64] = [:]
    private var isAsking = false
    /// The last page had more than could be begun.
    private var hasMore = false
    /// Of the last page: how many rows were passed over.
    private var passedOver = 0
    private var armedAt: Int64?

    init(settings: Settings = Settings()) {
        self.settings = settings
    }

    /// The first event, and after the store came back.
    mutating func started(now: Moment) -> [Action] { ask(now) }

    mutating func timerFired(now: Moment) -> [Action] {
        armedAt = nil
        return ask(now)
    }

    private mutating func ask(_ now: Moment) -> [Action] {
        guard !isAsking else { return [] }
        isAsking = true
        heldOff = heldOff.filter { $0.value > now.monotonic }
        let limit = settings.page + min(passedOver, settings.longestSkip)
        return [.askDue(before: now.wall, limit: limit)]
    }

    /// - Parameter standing: what is known of each; asked once for each grant.
    mutating func dueArrived(
        _ list: [(grant: String, dueAt: Int64)], limit: Int, now: Moment, standing: (String) -> Standing
    ) -> [Action] {
        isAsking = false
        hasMore = false
        var actions: [Action] = []
        var skipped = 0
        for (grant, dueAt) in list {
            if active[grant] != nil || (heldOff[grant] ?? .min) > now.monotonic {
                skipped += 1
                continue
            }
            switch standing(grant) {
            case .loaded: skipped += 1
            case .orphan:
                hold(grant, for: settings.orphanHoldOff, now)
                skipped += 1
            case .resting(_, let isOurs) where !isOurs && now.wall < dueAt.saturatingAdd(settings.grace):
                skipped += 1
            case .resting(let provider, _):
                guard activeCounts[provider, default: 0] < settings.callsPerProvider else {
                    hasMore = true
                    skipped += 1
                    continue
                }
                active[grant] = provider
                activeCounts[provider, default: 0] += 1
                actions.append(.load(grant))
            }
        }
        passedOver = skipped
        if list.count >= limit {
            // There may be more behind this page; with nothing begun, a longer one is asked for a little later.
            hasMore = true
            if actions.isEmpty { return arm(now.monotonic.saturatingAdd(settings.leastWait)) }
        }
        if hasMore { return actions + arm(now.monotonic.saturatingAdd(settings.leastWait)) }
        isAsking = true
        return actions + [.askNext]
    }

    /// - Parameter next: wall milliseconds; nil: nothing will ever be due.
    mutating func nextArrived(_ next: Int64?, now: Moment) -> [Action] {
        isAsking = false
        var wait = settings.pollInterval
        if let next {
            let until = next.saturatingSubtract(now.wall)
            // What is due already was passed over: it is looked at again, but not at once.
            wait = until > 0 ? min(until, wait) : min(1_000, wait)
        }
        return arm(now.monotonic.saturatingAdd(max(wait, 10)))
    }

    mutating func askFailed(now: Moment) -> [Action] {
        isAsking = false
        return arm(now.monotonic.saturatingAdd(min(2_000, settings.pollInterval)))
    }

    /// A grant that was loaded because it was due has come to rest, or could not be loaded.
    ///
    /// - Parameter nextDue: wall milliseconds at which its machine wants to act next; nil: it does not, or is not known.
    mutating func ended(_ grant: String, nextDue: Int64?, now: Moment) -> [Action] {
        guard let provider = active.removeValue(forKey: grant) else { return [] }
        let left = (activeCounts[provider] ?? 1) - 1
        activeCounts[provider] = left > 0 ? left : nil
        // A machine may want to wait a little longer than the store was told; nothing is gained by looking before.
        let wait = nextDue.map { $0.saturatingSubtract(now.wall) } ?? settings.longestHoldOff
        hold(grant, for: wait.clamped(to: settings.holdOff...settings.longestHoldOff), now)
        // The next page is asked for when there is room for a good part of one.
        guard hasMore, left <= settings.callsPerProvider / 2 else { return [] }
        return ask(now)
    }

    /// A machine that is dropped wants to act at this wall time.
    mutating func dueKnown(at wall: Int64, now: Moment) -> [Action] {
        let wait = wall.saturatingSubtract(now.wall).clamped(to: 10...settings.pollInterval)
        let time = now.monotonic.saturatingAdd(wait)
        guard !isAsking, armedAt.map({ time < $0 }) ?? true else { return [] }
        return arm(time)
    }

    /// The grant was changed by somebody: nothing that was found out about it holds.
    mutating func changed(_ grant: String) {
        heldOff[grant] = nil
    }

    /// A reload may have brought a template back.
    mutating func configurationChanged(now: Moment) -> [Action] {
        heldOff = [:]
        return ask(now)
    }

    private mutating func hold(_ grant: String, for time: Int64, _ now: Moment) {
        heldOff[grant] = now.monotonic.saturatingAdd(time)
    }

    private mutating func arm(_ time: Int64) -> [Action] {
        armedAt = time
        return [.armTimer(at: time)]
    }
}
