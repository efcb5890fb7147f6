import OAuth
import TokenStore

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
        /// What is held off for at least this long, and has been due for as long, is not among the answers meanwhile.
        /// As long, because a replica whose clock is behind may still write such a time.
        var longRest: Int64 = 30_000
        /// While everything that is found is of that kind: grants of one question, and the time between two.
        var walkPage = 2_048
        var walkWait: Int64 = 20
    }

    enum Action: Equatable, Sendable {
        /// Ask the store for grants that are due at this wall time; answered by `dueArrived` or `askFailed`.
        case askDue(after: DuePosition?, before: Int64, limit: Int)
        /// Ask the store when the next is due; answered by `nextArrived` or `askFailed`.
        case askNext(after: DuePosition?)
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
    /// Of the last page: how many rows were passed over and will be there again.
    private var passedOver = 0
    /// All that is due up to here is held off until this monotonic time or longer. Without it the records of a template
    /// that left the configuration, which are due for ever, would be read with each question.
    private var behind: DuePosition?
    private var behindUntil: Int64 = .max
    /// The last page was full of such.
    private var isWalking = false
    /// When `heldOff` was last relieved of what is over.
    private var prunedAt: Int64 = .min
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
        // A clock that was set back may bring times before that place.
        if let behind, behindUntil <= now.monotonic || !hasLongBeenDue(behind.dueAt, now) { lookAtAll() }
        if now.monotonic >= prunedAt.saturatingAdd(settings.longRest) {
            heldOff = heldOff.filter { $0.value > now.monotonic }
            prunedAt = now.monotonic
        }
        let page = isWalking ? settings.walkPage : settings.page
        return [.askDue(after: behind, before: now.wall, limit: page + min(passedOver, settings.longestSkip))]
    }

    private func hasLongBeenDue(_ dueAt: Int64, _ now: Moment) -> Bool {
        dueAt.saturatingAdd(settings.longRest) <= now.wall
    }

    private mutating func lookAtAll() {
        (behind, behindUntil, heldOff) = (nil, .max, [:])
    }

    /// - Parameter standing: what is known of each; asked once for each grant.
    mutating func dueArrived(
        _ list: [(grant: String, dueAt: Int64)], limit: Int, now: Moment, standing: (String) -> Standing
    ) -> [Action] {
        isAsking = false
        hasMore = false
        var actions: [Action] = []
        var skipped = 0
        // As long as everything from the first row on may be left behind.
        var isLeading = true
        for (grant, dueAt) in list {
            let isActive = active[grant] != nil
            var rest = isActive ? .min : (heldOff[grant] ?? .min)
            let found = isActive || rest > now.monotonic ? nil : standing(grant)
            if found == .orphan {
                hold(grant, for: settings.orphanHoldOff, now)
                rest = heldOff[grant] ?? .min
            }
            if isLeading, rest.saturatingSubtract(settings.longRest) >= now.monotonic, hasLongBeenDue(dueAt, now) {
                behind = DuePosition(dueAt: dueAt, grant: grant)
                behindUntil = min(behindUntil, rest)
                continue
            }
            isLeading = false
            guard let found else {
                skipped += 1
                continue
            }
            switch found {
            case .loaded, .orphan: skipped += 1
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
        // There may be more behind a full page; with nothing begun, a longer one is asked for a little later.
        if list.count >= limit { hasMore = true }
        isWalking = isLeading && hasMore
        if isWalking { return arm(now.monotonic.saturatingAdd(settings.walkWait)) }
        if hasMore { return actions + arm(now.monotonic.saturatingAdd(settings.leastWait)) }
        isAsking = true
        return actions + [.askNext(after: behind)]
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
        lookAtAll()
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
