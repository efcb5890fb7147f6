import Telemetry
import Testing

@testable import Gateway
@testable import OAuth

/// Grants of templates that stopped for the configuration's sake, and that nobody asks for.
@Suite struct LatchedWalkTests {
    /// Refused under another configuration than any that is in force here.
    private static func put(
        _ name: String, _ state: GrantRecord.State = .configurationError, in store: FakeStore
    ) {
        var record = ManyGrantsTests.record()
        record.state = state
        record.latchedFingerprint = "of before"
        ManyGrantsTests.put(name, record, in: store.database)
        store.database.with { $0.rows[name]?.state = GrantStateLabel(state).rawValue }
    }

    private static func states(_ store: FakeStore) -> [String: Int] {
        store.database.with { state in
            Dictionary(state.rows.values.compactMap { $0.state.map { ($0, 1) } }, uniquingKeysWith: +)
        }
    }

    // MARK: The whole

    @Test func `grants that were refused under another configuration are tried at the start, though nobody asks`()
        throws
    {
        let (provider, store) = (try FakeProvider(), FakeStore())
        for index in 0..<150 { Self.put("zoho:\(index)", in: store) }
        // Only a person can mend these, and no call is made in vain.
        Self.put("zoho:ended", .reauthorizationRequired, in: store)
        Self.put("elsewhere:a", in: store)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("all are refreshed and at rest") { [store] control in
            control.grants.isEmpty && control.latchedWalks.isEmpty && Self.states(store)["active"] == 150
        }
        #expect(provider.tokenCalls == 150)
        #expect(Self.states(store) == ["active": 150, "reauthorization_required": 1, "configuration_error": 1])
        #expect(store.database.with { $0.reads["zoho:ended"] } == nil)
    }

    @Test func `while the client is still refused one call is made and the grants stay as they are`() throws {
        let (provider, store) = (try FakeProvider(error: "invalid_client"), FakeStore())
        for index in 0..<150 { Self.put("zoho:\(index)", in: store) }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("all have been looked at") { [store] control in
            control.grants.isEmpty && control.latchedWalks.isEmpty
                && store.database.with { $0.reads.count { $0.value > 0 } } == 150
        }
        // Those that were at it when the first refusal came.
        #expect((1...LatchedWalk.Settings().atOnce).contains(provider.tokenCalls))
        #expect(Self.states(store) == ["configuration_error": 150])
    }

    @Test func `a store that is away holds the walk up, and a grant that is in use is left to itself`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        for name in ["a", "b"] { Self.put("zoho:\(name)", in: store) }
        store.database.goAway()
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.look { #expect($0.latchedWalks["zoho"]?.isOver == false) }
        store.database.comeBack()
        _ = try control.ask("zoho:a")
        try control.until("both are refreshed") { [store] control in
            control.latchedWalks.isEmpty && provider.tokenCalls == 2 && Self.states(store) == ["active": 2]
        }
    }

    // MARK: The value

    private static func names(_ range: Range<Int>) -> [String] { range.map { "zoho:\($0)" } }

    @Test func `few are at work at once, and the next page is read when there is room`() {
        var walk = LatchedWalk(settings: LatchedWalk.Settings(page: 5, atOnce: 4))
        #expect(walk.begin() == [.readPage(after: nil, limit: 5)])
        #expect(walk.pageArrived(Self.names(0..<5)) == Self.names(0..<4).map { .load($0) })
        #expect(walk.ended("zoho:9") == [])
        #expect(walk.ended("zoho:0") == [.load("zoho:4")])
        #expect(walk.ended("zoho:1") == [])
        #expect(walk.ended("zoho:2") == [.readPage(after: "zoho:4", limit: 5)])
        #expect(walk.ended("zoho:3") == [])
        #expect(walk.pageArrived(Self.names(5..<7)) == Self.names(5..<7).map { .load($0) })
        for name in ["zoho:4", "zoho:5"] { #expect(walk.ended(name) == []) }
        #expect(!walk.isOver)
        #expect(walk.ended("zoho:6") == [])
        #expect(walk.isOver)
    }

    @Test func `a page that does not come is asked for again, and a further change begins anew`() {
        var walk = LatchedWalk(settings: LatchedWalk.Settings(page: 2, atOnce: 4, retry: 7))
        #expect(walk.begin() == [.readPage(after: nil, limit: 2)])
        #expect(walk.failed() == [.wait(7)])
        #expect(!walk.isOver)
        #expect(walk.timerFired() == [.readPage(after: nil, limit: 2)])
        #expect(walk.timerFired() == [])
        #expect(
            walk.pageArrived(Self.names(0..<2)) == [
                .load("zoho:0"), .load("zoho:1"), .readPage(after: "zoho:1", limit: 2),
            ])
        // The change came while a page was read: what was seen before it does not count.
        #expect(walk.begin() == [])
        #expect(walk.pageArrived([]) == [.readPage(after: nil, limit: 2)])
        // One that is at work still is not begun twice.
        #expect(walk.pageArrived(["zoho:0"]) == [])
        #expect(walk.ended("zoho:0") == [])
        #expect(walk.ended("zoho:1") == [])
        #expect(walk.isOver)
    }
}
