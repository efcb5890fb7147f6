import OAuth
import Telemetry
import Testing

@testable import Gateway
@testable import TokenStore

@Suite struct DueSchedulerTests {
    static let start = Moment(monotonic: 1_000, wall: 1_700_000_000_000)

    static func later(_ milliseconds: Int64) -> Moment {
        Moment(monotonic: start.monotonic + milliseconds, wall: start.wall + milliseconds)
    }

    static func list(_ count: Int, dueAt: Int64 = start.wall - 10) -> [(grant: String, dueAt: Int64)] {
        (0..<count).map { ("zoho:\($0)", dueAt) }
    }

    static func resting(_ grant: String) -> DueScheduler.Standing { .resting(provider: "zoho", isOurs: true) }

    private func loads(_ actions: [DueScheduler.Action]) -> [String] {
        actions.compactMap { if case .load(let grant) = $0 { grant } else { nil } }
    }

    @Test func `what is due is loaded, no more of a provider at once than it may have`() {
        var scheduler = DueScheduler()
        #expect(scheduler.started(now: Self.start) == [.askDue(after: nil, before: Self.start.wall, limit: 128)])
        let actions = scheduler.dueArrived(
            Self.list(100), limit: 128, now: Self.start, standing: Self.resting)
        #expect(loads(actions) == (0..<32).map { "zoho:\($0)" })
        #expect(scheduler.active.count == 32)
        // Room for a good part of a page, and the store is asked again.
        var asked: [DueScheduler.Action] = []
        for index in 0..<16 { asked += scheduler.ended("zoho:\(index)", nextDue: nil, now: Self.later(5)) }
        #expect(asked == [.askDue(after: nil, before: Self.later(5).wall, limit: 128 + 68)])
    }

    @Test func `twenty thousand due grants are all done, each once`() {
        var scheduler = DueScheduler()
        var rows = Dictionary(uniqueKeysWithValues: (0..<20_000).map { ("zoho:\($0)", Self.start.wall) })
        var now = Self.start
        var done: Set<String> = []
        var pending = scheduler.started(now: now)
        var rounds = 0
        while done.count < 20_000, rounds < 100_000 {
            rounds += 1
            var next: [DueScheduler.Action] = []
            for action in pending {
                switch action {
                case .askDue(_, let before, let limit):
                    let page = rows.filter { $0.value <= before }.prefix(limit).map { (grant: $0.key, dueAt: $0.value) }
                    next += scheduler.dueArrived(page, limit: limit, now: now, standing: Self.resting)
                case .askNext: next += scheduler.nextArrived(rows.values.min(), now: now)
                case .load(let grant):
                    #expect(done.insert(grant).inserted)
                    rows[grant] = now.wall + 3_600_000
                    next += scheduler.ended(grant, nextDue: rows[grant], now: now)
                case .armTimer(let time):
                    now = Moment(monotonic: max(now.monotonic, time), wall: now.wall + max(0, time - now.monotonic))
                    next += scheduler.timerFired(now: now)
                }
            }
            pending = next
        }
        #expect(done.count == 20_000)
        #expect(now.monotonic - Self.start.monotonic < 1_200_000)
    }

    @Test func `what is loaded or of no template does not keep the others from their turn`() {
        var scheduler = DueScheduler()
        _ = scheduler.started(now: Self.start)
        let first = scheduler.dueArrived(
            Self.list(128), limit: 128, now: Self.start, standing: { $0.hasSuffix("0") ? .loaded : .orphan })
        #expect(loads(first).isEmpty)
        let time = Self.later(250)
        #expect(first == [.armTimer(at: time.monotonic)])
        // A page that goes beyond what was passed over.
        #expect(scheduler.timerFired(now: time) == [.askDue(after: nil, before: time.wall, limit: 256)])
        let next = scheduler.dueArrived(
            Self.list(130), limit: 256, now: time,
            standing: { $0 == "zoho:129" ? Self.resting($0) : .loaded })
        #expect(loads(next) == ["zoho:129"])
        #expect(next.last == .askNext(after: nil))
    }

    /// A store with these rows and what is asked of it, played until a time.
    private struct Play {
        var scheduler = DueScheduler()
        var rows: [(grant: String, dueAt: Int64)]
        var now = DueSchedulerTests.start
        var isOrphan: (String) -> Bool
        var pending: [DueScheduler.Action] = []
        /// Rows that the store went through to answer.
        var rowsRead = 0
        var questions = 0
        var loaded: [String: Moment] = [:]
        private var timer: Int64?

        init(_ rows: [(grant: String, dueAt: Int64)], isOrphan: @escaping (String) -> Bool) {
            self.rows = rows
            self.isOrphan = isOrphan
            pending = scheduler.started(now: now)
        }

        private static func isBehind(_ row: (grant: String, dueAt: Int64), _ place: DuePosition?) -> Bool {
            place.map { (row.dueAt, row.grant) > ($0.dueAt, $0.grant) } ?? true
        }

        private mutating func perform(_ action: DueScheduler.Action) {
            switch action {
            case .askDue(let after, let before, let limit):
                questions += 1
                let page = Array(rows.lazy.filter { $0.dueAt <= before && Self.isBehind($0, after) }.prefix(limit))
                rowsRead += page.count
                let isOrphan = isOrphan
                pending += scheduler.dueArrived(page, limit: limit, now: now) {
                    isOrphan($0) ? .orphan : DueSchedulerTests.resting($0)
                }
            case .askNext(let after):
                let next = rows.first { Self.isBehind($0, after) }
                pending += scheduler.nextArrived(next?.dueAt, now: now)
            case .load(let grant):
                loaded[grant] = now
                rows.removeAll { $0.grant == grant }
                pending += scheduler.ended(grant, nextDue: nil, now: now)
            case .armTimer(let time): timer = time
            }
        }

        mutating func run(until end: Int64) {
            while true {
                while !pending.isEmpty { perform(pending.removeFirst()) }
                guard let next = timer, next <= end else { break }
                now = Moment(monotonic: next, wall: now.wall + next - now.monotonic)
                timer = nil
                pending += scheduler.timerFired(now: now)
            }
            now = Moment(monotonic: end, wall: now.wall + end - now.monotonic)
        }
    }

    @Test func `the records of a template that left are gone through now and then, not with each question`() {
        let hour: Int64 = 3_600_000
        var rows = (0..<20_000).map { (grant: "box:\(100_000 + $0)", dueAt: Self.start.wall - hour + Int64($0) / 10) }
        rows.append((grant: "zoho:due", dueAt: Self.start.wall - 1))
        rows.append((grant: "zoho:soon", dueAt: Self.start.wall + 60_000))
        var play = Play(rows) { $0.hasPrefix("box:") }
        play.run(until: Self.start.monotonic + 10_000)
        // Who is due behind all of them has its turn at once.
        #expect(play.loaded["zoho:due"].map { $0.monotonic - Self.start.monotonic <= 5_000 } == true)
        #expect(play.rowsRead < 25_000, "\(play.rowsRead)")
        (play.rowsRead, play.questions) = (0, 0)
        play.run(until: Self.start.monotonic + 300_000)
        #expect(play.loaded["zoho:soon"].map { $0.monotonic - Self.start.monotonic <= 61_000 } == true)
        #expect(play.rowsRead < 100, "\(play.rowsRead) rows in \(play.questions) questions")
        // A template that came back without being told is found after a while, and at once where it is told.
        play.isOrphan = { _ in false }
        var told = play
        told.pending += told.scheduler.configurationChanged(now: told.now)
        told.run(until: Self.start.monotonic + 301_000)
        #expect(told.loaded.count > 100)
        play.run(until: Self.start.monotonic + 610_000)
        #expect(play.loaded.count > 100)
    }

    @Test func `what came due lately is not left behind, nor anything when the clock is set back`() {
        let rows = (0..<200).map { (grant: "box:\(1_000 + $0)", dueAt: Self.start.wall - 100_000 + Int64($0) * 500) }
        var play = Play(rows) { $0.hasPrefix("box:") }
        play.run(until: Self.start.monotonic + 2_000)
        // A replica whose clock is behind a little writes a time that is past.
        play.rows.append((grant: "zoho:late", dueAt: Self.start.wall - 20_000))
        play.rows.sort { $0.dueAt < $1.dueAt }
        play.run(until: Self.start.monotonic + 5_000)
        #expect(play.loaded["zoho:late"] != nil)
        play.rows.insert((grant: "zoho:back", dueAt: Self.start.wall - 3_600_000), at: 0)
        play.run(until: Self.start.monotonic + 60_000)
        #expect(play.loaded["zoho:back"] == nil)
        play.now.wall -= 3_599_000
        play.run(until: Self.start.monotonic + 80_000)
        #expect(play.loaded["zoho:back"] != nil)
    }

    @Test func `another replica's grant is left to it for a while, and taken when it does not come`() {
        var scheduler = DueScheduler()
        _ = scheduler.started(now: Self.start)
        let list = [(grant: "zoho:a", dueAt: Self.start.wall - 100)]
        let foreign: (String) -> DueScheduler.Standing = { _ in .resting(provider: "zoho", isOurs: false) }
        #expect(
            scheduler.dueArrived(list, limit: 128, now: Self.start, standing: foreign) == [.askNext(after: nil)])
        #expect(
            scheduler.nextArrived(list[0].dueAt, now: Self.start) == [.armTimer(at: Self.start.monotonic + 1_000)])
        let late = Self.later(4_950)
        _ = scheduler.timerFired(now: late)
        #expect(loads(scheduler.dueArrived(list, limit: 128, now: late, standing: foreign)) == ["zoho:a"])
    }

    @Test func `a grant that is due still after it came to rest does not spin`() {
        var scheduler = DueScheduler()
        _ = scheduler.started(now: Self.start)
        let list = [(grant: "zoho:a", dueAt: Self.start.wall)]
        #expect(
            loads(scheduler.dueArrived(list, limit: 128, now: Self.start, standing: Self.resting)) == ["zoho:a"])
        _ = scheduler.nextArrived(nil, now: Self.start)
        #expect(scheduler.ended("zoho:a", nextDue: Self.start.wall + 2_000, now: Self.start) == [])
        _ = scheduler.timerFired(now: Self.later(1_000))
        #expect(
            loads(scheduler.dueArrived(list, limit: 128, now: Self.later(1_000), standing: Self.resting)).isEmpty)
        _ = scheduler.nextArrived(nil, now: Self.later(1_000))
        _ = scheduler.timerFired(now: Self.later(2_001))
        #expect(
            loads(scheduler.dueArrived(list, limit: 128, now: Self.later(2_001), standing: Self.resting)) == ["zoho:a"])
    }

    @Test func `the timer is for the next that is due, and never far away`() {
        var scheduler = DueScheduler()
        _ = scheduler.started(now: Self.start)
        _ = scheduler.dueArrived([], limit: 128, now: Self.start, standing: Self.resting)
        #expect(
            scheduler.nextArrived(Self.start.wall + 3_000, now: Self.start)
                == [.armTimer(at: Self.start.monotonic + 3_000)])
        #expect(
            scheduler.dueKnown(at: Self.start.wall + 1_000, now: Self.start)
                == [.armTimer(at: Self.start.monotonic + 1_000)])
        #expect(scheduler.dueKnown(at: Self.start.wall + 2_000, now: Self.start) == [])
        _ = scheduler.timerFired(now: Self.later(1_000))
        _ = scheduler.dueArrived([], limit: 128, now: Self.later(1_000), standing: Self.resting)
        #expect(
            scheduler.nextArrived(.max, now: Self.later(1_000)) == [.armTimer(at: Self.start.monotonic + 11_000)])
        _ = scheduler.timerFired(now: Self.later(11_000))
        #expect(scheduler.askFailed(now: Self.later(11_000)) == [.armTimer(at: Self.start.monotonic + 13_000)])
    }
}

@Suite struct ReplicaPresenceTests {
    @Test func `who was there and is not any more is gone, once`() {
        var presence = ReplicaPresence(own: "a")
        #expect(presence.reported(["a", "b"], isKnown: true).isEmpty)
        #expect(presence.reported(["a"], isKnown: true) == ["b"])
        #expect(presence.reported(["a"], isKnown: true).isEmpty)
        let isGone1 = presence.intentSeen(of: "b")
        #expect(isGone1)
        #expect(presence.reported(["a", "b"], isKnown: true).isEmpty)
        let isGone2 = presence.intentSeen(of: "b")
        #expect(!isGone2)
    }

    @Test func `nobody is taken for dead while the database is away or has just come back`() {
        var presence = ReplicaPresence(own: "a")
        _ = presence.reported(["a", "b"], isKnown: true)
        #expect(presence.reported([], isKnown: false).isEmpty)
        #expect(presence.present == ["a", "b"])
        #expect(!presence.prefers("zoho:x"))
        #expect(presence.reported(["a", "b"], isKnown: true).isEmpty)
    }

    @Test func `a newcomer whose intent is seen before its presence is not taken for dead`() {
        var presence = ReplicaPresence(own: "a")
        _ = presence.reported(["a"], isKnown: true)
        let isGone3 = presence.intentSeen(of: "c")
        #expect(!isGone3)
        // A report that was under way when the intent was written.
        #expect(presence.reported(["a"], isKnown: true).isEmpty)
        #expect(presence.reported(["a", "c"], isKnown: true).isEmpty)
        let isGone4 = presence.intentSeen(of: "d")
        #expect(!isGone4)
        #expect(presence.reported(["a", "c"], isKnown: true).isEmpty)
        #expect(presence.reported(["a", "c"], isKnown: true) == ["d"])
        let isGone5 = presence.intentSeen(of: "a")
        #expect(!isGone5)
    }

    @Test func `replicas share the due grants among them, and agree`() {
        let names: Set<String> = ["a", "b", "c"]
        var shares: [String: Int] = [:]
        for index in 0..<3_000 {
            let takers = names.filter { own in
                var presence = ReplicaPresence(own: own)
                _ = presence.reported(names, isKnown: true)
                return presence.prefers("zoho:\(index)")
            }
            #expect(takers.count == 1)
            for taker in takers { shares[taker, default: 0] += 1 }
        }
        #expect(shares.values.allSatisfy { (700...1_300).contains($0) }, "\(shares)")
    }
}

@Suite struct GrantCensusTests {
    @Test func `records are counted a page at a time, and a count is whole before it shows`() {
        var census = GrantCensus(settings: .init(page: 2, pause: 10, leastRest: 1_000, restFactor: 10))
        let now = DueSchedulerTests.start
        #expect(census.templatesChanged(["zoho", "box"], now: now) == [.armTimer(at: now.monotonic + 10)])
        #expect(census.timerFired(now: now) == [.readPage(template: "box", after: nil, limit: 2)])
        #expect(census.timerFired(now: now) == [])
        #expect(
            census.pageArrived(template: "box", states: [.active: 2], count: 2, last: "box:b", now: now)
                == [.armTimer(at: now.monotonic + 10)])
        #expect(census.counts.isEmpty)
        #expect(census.timerFired(now: now) == [.readPage(template: "box", after: "box:b", limit: 2)])
        _ = census.pageArrived(template: "box", states: [.revoked: 1], count: 1, last: nil, now: now)
        #expect(census.counts["box"] == .init(total: 3, states: [.active: 2, .revoked: 1], at: now.wall))
        #expect(census.timerFired(now: now) == [.readPage(template: "zoho", after: nil, limit: 2)])
        // The rest is long where the count took long.
        let end = DueSchedulerTests.later(500)
        #expect(
            census.pageArrived(template: "zoho", states: [:], count: 0, last: nil, now: end)
                == [.armTimer(at: end.monotonic + 5_000)])
        #expect(census.counts["zoho"]?.total == 0)
    }

    @Test func `a template that goes takes its count along, and a failure ends the round`() {
        var census = GrantCensus(settings: .init(page: 2, pause: 10, leastRest: 1_000, restFactor: 10))
        let now = DueSchedulerTests.start
        _ = census.templatesChanged(["zoho"], now: now)
        _ = census.timerFired(now: now)
        #expect(census.failed(now: now) == [.armTimer(at: now.monotonic + 1_000)])
        _ = census.timerFired(now: now)
        #expect(census.templatesChanged(["box"], now: now) == [])
        #expect(
            census.pageArrived(template: "zoho", states: [.active: 1], count: 1, last: "zoho:a", now: now)
                == [.armTimer(at: now.monotonic + 1_000)])
        #expect(census.counts.isEmpty)
        #expect(census.timerFired(now: now) == [.readPage(template: "box", after: nil, limit: 2)])
    }
}

@Suite struct OwnRefusalsTests {
    @Test func `a refused client counts for all grants at the same place, anything else for one`() {
        var refusals = OwnRefusals()
        let shop = ["shop": "a"]
        refusals.note(OwnRefusal(until: 100, isOfClient: true), grant: "t:a", variables: shop, now: 0)
        refusals.note(OwnRefusal(until: 200, isOfClient: false), grant: "t:b", variables: [:], now: 0)
        let ofClient = OwnRefusal(until: 100, isOfClient: true)
        #expect(refusals.refusal(grant: "t:z", variables: shop, now: 99) == ofClient)
        #expect(refusals.refusal(grant: "t:z", variables: shop, now: 100) == nil)
        #expect(refusals.refusal(grant: "t:z", variables: ["shop": "b"], now: 0) == nil)
        #expect(refusals.refusal(grant: "t:z", variables: [:], now: 0) == nil)
        #expect(refusals.refusal(grant: "t:b", variables: [:], now: 0)?.until == 200)
        // A shorter one does not end a longer one; a success does.
        refusals.note(OwnRefusal(until: 50, isOfClient: true), grant: "t:a", variables: shop, now: 0)
        #expect(refusals.refusal(grant: "t:a", variables: shop, now: 0) == ofClient)
        refusals.accepted(grant: "t:q", variables: shop)
        #expect(refusals.refusal(grant: "t:a", variables: shop, now: 0) == nil)
    }

    @Test func `what is over makes room, and the list does not grow beyond its limit`() {
        var refusals = OwnRefusals()
        for index in 0..<OwnRefusals.limit {
            let refusal = OwnRefusal(until: index == 0 ? 1 : 100, isOfClient: false)
            refusals.note(refusal, grant: "t:\(index)", variables: [:], now: 0)
        }
        refusals.note(OwnRefusal(until: 100, isOfClient: false), grant: "t:x", variables: [:], now: 0)
        #expect(refusals.refusal(grant: "t:x", variables: [:], now: 0) == nil)
        refusals.note(OwnRefusal(until: 100, isOfClient: false), grant: "t:x", variables: [:], now: 1)
        #expect(refusals.refusal(grant: "t:x", variables: [:], now: 1) != nil)
        #expect(refusals.count == OwnRefusals.limit)
    }
}

@Suite struct StoreHealthTests {
    private static let away = StoreError(.unavailable, "away")

    @Test func `reading well does not mend what writing could not`() {
        var health = StoreHealth()
        #expect(health.answered(isWrite: true, StoreError(.diskFull, "full")) == .failed("full"))
        #expect(health.answered(isWrite: false, nil) == .none)
        #expect(health.reason == "full")
        #expect(health.answered(isWrite: true, nil) == .works)
        #expect(health.reason == nil && health.isWorking)
    }

    @Test func `a failure is news once`() {
        var health = StoreHealth()
        #expect(health.answered(isWrite: false, Self.away) == .failed("away"))
        #expect(health.answered(isWrite: false, Self.away) == .none)
        #expect(health.answered(isWrite: true, Self.away) == .none)
        #expect(health.answered(isWrite: true, nil) == .works)
    }

    @Test func `one row that cannot be opened is no failure of the store, but keeps us from being ready`() {
        var health = StoreHealth()
        #expect(health.answered(isWrite: false, StoreError(.unknownKey, "key 00")) == .none)
        #expect(health.answered(isWrite: true, StoreError(.invalid, "bad")) == .none)
        #expect(health.isWorking && health.reason == nil)
        let isFirst = health.recordUnreadable("crm", "sealed under key 00")
        let isNews = health.recordUnreadable("crm", "sealed under key 00")
        #expect(isFirst && !isNews)
        #expect(health.reason?.contains("crm") == true && health.isWorking)
        health.recordRead("crm")
        #expect(health.reason == nil)
    }
}
