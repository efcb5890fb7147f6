import OAuth
import Proxy
import Reactor
import Testing

@testable import Gateway
@testable import TokenStore

/// How the control thread ends: callers are served to the last, and no reply that may hold tokens is thrown away.
@Suite struct ControlEndTests {
    /// Grants with single-use refresh tokens at a provider that answers when the test says so.
    private func scene(_ grants: [String] = ["crm"]) throws -> (GatedProvider, FakeStore, ControlHarness) {
        let (provider, store) = (try GatedProvider(), FakeStore())
        for grant in grants { ManyGrantsTests.put(grant, in: store.database) }
        let scene = LifeScene(port: provider.port, grants: grants)
        let control = try ControlHarness(store, configuration: scene.text)
        try control.until("all are read") { $0.unreadFileGrants == 0 }
        return (provider, store, control)
    }

    private func isStored(_ pair: String, _ database: FakeDatabase) -> Bool {
        database.record("crm")?.tokens?.refreshToken?.reveal() == "refresh-\(pair)"
    }

    @Test func `a refresh that is in flight at the end is waited for beyond the store's patience, and is stored`()
        throws
    {
        let (provider, store, control) = try scene()
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        let began = try control.look { control in
            control.storePatience = 100
            control.allWorkersStopped()
            return MonotonicClock.milliseconds()
        }
        try control.until("the store's patience is over") { _ in MonotonicClock.milliseconds() > began + 400 }
        provider.answer(pair: "late")
        store.database.until("the new pair is in the store") { isStored("late", $0) }
        #expect(provider.calls == 1)
    }

    @Test func `a reply that is lost at the end is asked for again`() throws {
        let (provider, store, control) = try scene()
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.look { $0.allWorkersStopped() }
        provider.drop()
        #expect(try provider.nextCall().contains("refresh_token=refresh"))
        provider.answer(pair: "again")
        store.database.until("the new pair is in the store") { isStored("again", $0) }
    }

    @Test func `no refresh begins at the end, and the token stays unused`() throws {
        let (provider, store, control) = try scene(["crm", "erp"])
        _ = try control.ask("erp").get()
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.look { $0.allWorkersStopped() }
        let before = store.database.record("erp")?.revision ?? 0
        guard case .failure(let answer) = try control.ask("erp", rejected: 1), case .unavailable(_) = answer.refusal
        else {
            Issue.record("a refresh was made")
            return
        }
        store.database.until("the intent is taken back, and the next start need not wait") {
            guard let left = $0.record("erp"), left.revision == before + 2 else { return false }
            return left.consecutiveFailures == 0 && left.nextAttemptAt == nil && left.intent == nil
                && left.state == .active
        }
        #expect(store.database.record("erp")?.tokens?.refreshToken?.reveal() == "refresh")
        provider.answer(pair: "new")
        store.database.until("the new pair is in the store") { isStored("new", $0) }
        #expect(provider.calls == 1)
    }

    @Test func `a provider that never answers is cut by a further signal`() throws {
        let (provider, store, control) = try scene()
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.look { control in
            control.drain(within: 60_000)
            control.storePatience = 200
            control.allWorkersStopped()
            control.drain(within: 60_000)
        }
        let before = MonotonicClock.milliseconds()
        try provider.waitForEnd()
        let took = MonotonicClock.milliseconds() - before
        #expect(took < 14_000, "it took \(took) ms")
        // The intent stays, so that the next process asks at once.
        #expect(store.database.record("crm")?.intent != nil)
    }

    @Test func `a templated grant that is not loaded is served while the gateway drains`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        ManyGrantsTests.put("zoho:acme", in: store.database)
        ManyGrantsTests.put(
            "zoho:old", ManyGrantsTests.record(expiresIn: -1_000, age: 3_601_000), in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.look { $0.drain(within: 10_000) }
        #expect(try ManyGrantsTests.value(control.ask("zoho:acme").get()) == "Bearer old")
        #expect(try ManyGrantsTests.value(control.ask("zoho:old").get()) == "Bearer new1")
    }

    @Test func `what is due by itself does not begin while the gateway drains`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.look { $0.drain(within: 10_000) }
        let now = WallClock.milliseconds()
        ManyGrantsTests.put(
            "zoho:due", ManyGrantsTests.record(expiresIn: 1_000, age: 3_599_000), dueAt: now - 1_000,
            in: store.database)
        try control.look { control in control.perform([DueScheduler.Action.load("zoho:due")]) }
        #expect(try control.look { $0.grants.isEmpty })
        #expect(provider.tokenCalls == 0)
    }
}
