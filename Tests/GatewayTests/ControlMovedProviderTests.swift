import Console
import Reactor
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Reloads in the middle of calls, and records that this version of the program cannot read.
@Suite struct ControlMovedProviderTests {
    private func control(_ scene: LifeScene, _ store: FakeStore) throws -> ControlHarness {
        for grant in scene.grants { ManyGrantsTests.put(grant, in: store.database) }
        let control = try ControlHarness(store, configuration: scene.text)
        try control.until("all are read") { $0.unreadFileGrants == 0 }
        return control
    }

    // MARK: A provider that goes and comes

    @Test func `a provider that goes while a lost reply is asked for again does not hang its grant`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.reload(scene.with { $0.hasProvider = false })
        // The repetition has nobody to go to.
        provider.drop()
        try control.until("the grant is gone") { $0.grants["crm"] == nil && $0.leaving.isEmpty }
        #expect(store.database.record("crm")?.intent != nil, "that a reply was lost is not forgotten")
        try control.reload(scene)
        // The token is good for an hour: this is for the reply that was lost.
        #expect(try provider.nextCall().contains("refresh_token=refresh"))
        provider.answer(pair: "back")
        try control.until("it is refreshed") { [store] _ in
            store.database.record("crm")?.tokens?.accessToken.reveal() == "access-back"
        }
        #expect(try control.state(of: "crm") == "active")
    }

    @Test func `a provider that is back in time takes the repetition of a lost reply`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.reload(scene.with { $0.hasProvider = false })
        provider.drop()
        try control.until("a repetition has failed") { ($0.grants["crm"]?.machine.replay?.count ?? 0) == 2 }
        try control.reload(scene)
        #expect(try provider.nextCall().contains("refresh_token=refresh"))
        provider.answer(pair: "back")
        try control.until("it is refreshed") { [store] _ in
            store.database.record("crm")?.tokens?.accessToken.reveal() == "access-back"
        }
        #expect(provider.calls == 2)
    }

    @Test func `a section that goes while an intent is stored and comes back finds its grant alive`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        let gone = scene.with { $0.hasProvider = false }
        // The reload comes before the store's answer to the intent.
        let text = gone.text
        try control.look { control in
            control.refresh("crm") { _ in }
            if let prepared = try? ControlHarness.prepared(text) { control.take(prepared) }
        }
        try control.until("the grant is gone") { $0.grants["crm"] == nil && $0.leaving.isEmpty }
        #expect(store.database.record("crm")?.tokens?.refreshToken?.reveal() == "refresh")
        try control.reload(scene)
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        provider.answer(pair: "new")
        try control.until("it is refreshed") { [store] _ in
            store.database.record("crm")?.tokens?.accessToken.reveal() == "access-new"
        }
        #expect(provider.calls == 1)
    }

    @Test(arguments: [true, false])
    func `a grant that a reload takes away keeps the pair that was on its way`(withItsProvider: Bool) throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        try control.look { $0.refresh("crm") { _ in } }
        try provider.nextCall()
        try control.reload(
            scene.with {
                $0.grants = []
                $0.hasProvider = !withItsProvider
            })
        #expect(try control.look { $0.leaving.contains("crm") })
        provider.answer(pair: "new")
        try control.until("the grant is gone") { $0.grants["crm"] == nil }
        #expect(store.database.record("crm")?.tokens?.refreshToken?.reveal() == "refresh-new")
        try control.reload(scene)
        #expect(try ManyGrantsTests.value(control.ask("crm").get()) == "Bearer access-new")
    }

    @Test func `a revocation that is owed is made when the provider is back`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let scene = LifeScene(port: provider.port)
        let control = try control(scene, store)
        let text = scene.with { $0.hasProvider = false }.text
        // The provider goes before the store has taken the revocation.
        try control.look { control in
            control.revoke("crm") { _ in }
            if let prepared = try? ControlHarness.prepared(text) { control.take(prepared) }
        }
        try control.until("the grant is gone") { $0.grants["crm"] == nil && $0.leaving.isEmpty }
        let owed = try #require(store.database.record("crm"))
        #expect(owed.state == .revoked && owed.revocation?.tokens.count == 2 && provider.calls == 0)
        try control.reload(scene)
        for hint in ["refresh_token", "access_token"] {
            let request = try provider.nextCall()
            #expect(request.hasPrefix("POST /revoke ") && request.contains("token_type_hint=\(hint)"))
            provider.answer("{}")
        }
        try control.until("nothing is owed any more") { [store] _ in
            store.database.record("crm")?.revocation == nil
        }
    }

    // MARK: Records of another version

    /// As a newer version of the program might write it.
    private static let newer = Array(#"{"format":"99","state":"shiny"}"#.utf8)

    private func becomeNewer(_ database: FakeDatabase) {
        database.with { $0.rows["crm"] = FakeDatabase.Row(payload: Self.newer, generation: 5, dueAt: nil) }
    }

    @Test func `a record that a newer version has written is not taken for a deleted one by a commit`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let control = try control(LifeScene(port: provider.port), store)
        _ = try control.ask("crm").get()
        becomeNewer(store.database)
        let outcome: String = try control.call { control, done in
            control.refresh("crm") { outcome in
                if case .failed(let failure) = outcome { done(failure.code.rawValue) } else { done("\(outcome)") }
            }
        }
        #expect(outcome == "store_unavailable")
        #expect(try control.state(of: "crm") == "active")
        #expect(try ManyGrantsTests.value(control.ask("crm").get()) == "Bearer old")
        #expect(store.database.with { $0.rows["crm"]?.payload } == Self.newer)
        #expect(provider.calls == 0, "no refresh whose result could not be stored")
    }

    @Test func `a record that a newer version has written is not taken for a deleted one by a deletion`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let control = try control(LifeScene(port: provider.port), store)
        becomeNewer(store.database)
        let outcome: String = try control.call { control, done in
            control.forget("crm") { outcome in
                if case .failed(let failure) = outcome { done(failure.code.rawValue) } else { done("\(outcome)") }
            }
        }
        #expect(outcome == "store_unavailable")
        #expect(store.database.with { $0.rows["crm"]?.payload } == Self.newer)
    }

    @Test func `a revocation waits until the record can be read again`() throws {
        let (provider, store) = (try GatedProvider(), FakeStore())
        let control = try control(LifeScene(port: provider.port), store)
        becomeNewer(store.database)
        try control.look { $0.revoke("crm") { _ in } }
        // The provider is told all the same.
        for _ in 0..<2 {
            try provider.nextCall()
            provider.answer("{}")
        }
        #expect(try control.state(of: "crm") == "revoked")
        #expect(store.database.with { $0.rows["crm"]?.payload } == Self.newer)
        var record = ManyGrantsTests.record(token: "other")
        record.generation = 2
        let payload = record.encoded()
        store.database.with { $0.rows["crm"] = FakeDatabase.Row(payload: payload, generation: 6, dueAt: nil) }
        try control.until("it is stored") { [store] _ in store.database.record("crm")?.state == .revoked }
    }
}
