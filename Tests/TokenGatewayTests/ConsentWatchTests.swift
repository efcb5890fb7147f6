import Console
import Telemetry
import Testing

@testable import TokenGateway

@Suite struct ConsentWatchTests {
    /// What a watch makes of views that follow each other.
    private func watched(_ before: GrantView, _ views: GrantView...) -> [ConsentWatch.End?] {
        var watch = ConsentWatch(before: before)
        return views.map { watch.seen($0) }
    }

    @Test func `a new consent that connects is seen, an old one is not`() {
        let old = GrantView(state: .notConnected, consent: ("access_denied", 1))
        let new = GrantView(state: .active, generation: 2, consent: ("connected", 2))
        #expect(watched(old, old, new) == [nil, .connected(new)])
    }

    @Test func `a consent that fails is told with its reason`() {
        let before = GrantView(state: .notConnected)
        let denied = GrantView(state: .notConnected, consent: ("access_denied", 2))
        #expect(watched(before, denied) == [.failed(outcome: "access_denied", reason: "because")])
    }

    @Test func `a second consent to a connected grant is waited for, whatever refreshes do`() {
        let before = GrantView(state: .active, generation: 4, consent: ("connected", 1))
        let refreshed = GrantView(state: .active, generation: 5, consent: ("connected", 1))
        let again = GrantView(state: .active, generation: 6, consent: ("connected", 9))
        #expect(watched(before, refreshed, again) == [nil, .connected(again)])
    }

    @Test func `a grant that is connected after a restart of the gateway counts`() {
        let connected = GrantView(state: .active, generation: 1)
        #expect(watched(GrantView(state: .notConnected, generation: 0), connected) == [.connected(connected)])
    }

    @Test func `a gateway may be gone for a while, and not for ever`() {
        var watch = ConsentWatch(before: GrantView(state: .notConnected))
        let start: UInt64 = 1000
        let gone = [start, start + ConsentWatch.patience - 1].map { watch.missed(at: $0) }
        #expect(gone == [true, true])
        // It answers, and is gone again: patience begins anew.
        _ = watch.seen(GrantView(state: .notConnected))
        let again = [50_000, 50_000 + ConsentWatch.patience].map { watch.missed(at: $0) }
        #expect(again == [true, false])
    }
}
