import OAuth
import Telemetry

/// Counts the grants of each template by state, in the background: a page at a time, with pauses, so that commits do not
/// feel it. The store has the states beside the records; one that it lacks is taken out of its record, once. A value.
struct GrantCensus: Sendable {
    struct Count: Equatable, Sendable {
        var total = 0
        var states: [GrantStateLabel: Int] = [:]
        /// Wall milliseconds of its end.
        var at: Int64 = 0
    }

    enum Action: Equatable, Sendable {
        /// Count a page of grants behind `after`; answered by `pageArrived` or `failed`.
        case readPage(template: String, after: String?, limit: Int)
        case armTimer(at: Int64)
    }

    struct Settings: Sendable {
        var page = 5000
        /// Between two pages.
        var pause: Int64 = 20
        /// Between two counts: at least this, and so many times as long as the last one took.
        var leastRest: Int64 = 30_000
        var restFactor: Int64 = 10
    }

    let settings: Settings
    private(set) var counts: [String: Count] = [:]
    private var templates: [String] = []
    private var index = 0
    private var after: String?
    private var running = Count()
    private var beganAt: Int64 = 0
    private var isReading = false

    init(settings: Settings = Settings()) {
        self.settings = settings
    }

    /// At the start and after a reload.
    mutating func templatesChanged(_ names: [String], now: Moment) -> [Action] {
        templates = names.sorted()
        counts = counts.filter { names.contains($0.key) }
        (index, after, running) = (0, nil, Count())
        beganAt = now.monotonic
        return templates.isEmpty || isReading ? [] : [.armTimer(at: now.monotonic.saturatingAdd(settings.pause))]
    }

    mutating func timerFired(now: Moment) -> [Action] {
        guard !isReading, templates.indices.contains(index) else { return [] }
        if index == 0, after == nil { beganAt = now.monotonic }
        isReading = true
        return [.readPage(template: templates[index], after: after, limit: settings.page)]
    }

    /// - Parameters:
    ///   - last: where the next page begins; nil: there is none.
    ///   - template: whose page it is: a reload may have changed the order meanwhile.
    mutating func pageArrived(
        template: String, states: [GrantStateLabel: Int], count: Int, last: String?, now: Moment
    ) -> [Action] {
        isReading = false
        guard templates.indices.contains(index), templates[index] == template else { return rest(now) }
        running.total += count
        running.states.merge(states, uniquingKeysWith: +)
        if let last {
            after = last
            return [.armTimer(at: now.monotonic.saturatingAdd(settings.pause))]
        }
        running.at = now.wall
        counts[template] = running
        (running, after) = (Count(), nil)
        index += 1
        if index < templates.count { return [.armTimer(at: now.monotonic.saturatingAdd(settings.pause))] }
        return rest(now)
    }

    mutating func failed(now: Moment) -> [Action] {
        isReading = false
        return rest(now)
    }

    private mutating func rest(_ now: Moment) -> [Action] {
        (index, after, running) = (0, nil, Count())
        guard !templates.isEmpty else { return [] }
        let took = now.monotonic.saturatingSubtract(beganAt)
        let wait = max(settings.leastRest, took.saturatingMultiplied(by: settings.restFactor))
        return [.armTimer(at: now.monotonic.saturatingAdd(wait))]
    }
}
