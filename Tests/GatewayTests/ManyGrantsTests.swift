import Configuration
import Console
import Foundation
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

@Suite struct ManyGrantsTests {
    /// A stored grant with tokens.
    static func record(token: String = "old", expiresIn: Int64 = 3_600_000, age: Int64 = 0) -> GrantRecord {
        var record = GrantRecord()
        let now = WallClock.milliseconds()
        record.revision = 1
        record.generation = 1
        record.state = .active
        record.provider = "zoho"
        record.template = "zoho"
        record.tokens = GrantRecord.Tokens(
            accessToken: Secret(token), refreshToken: Secret("refresh"), obtainedAt: now - age,
            expiresAt: now + expiresIn, refreshTokenExpiresAt: nil, scopes: [])
        return record
    }

    static func put(_ name: String, _ record: GrantRecord = record(), dueAt: Int64? = nil, in database: FakeDatabase) {
        database.with {
            $0.rows[name] = FakeDatabase.Row(payload: record.encoded(), generation: 1, dueAt: dueAt)
        }
    }

    static func value(_ credential: Proxy.Credential?) -> String? {
        credential?.withHeaderValue { String(decoding: $0, as: UTF8.self) }
    }

    // MARK: Loading

    @Test func `a templated grant is loaded when a request needs it, and read once`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        #expect(try control.look { $0.grants.isEmpty })
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
        #expect(store.database.with { $0.reads["zoho:acme"] } == 1)
        let told: Proxy.Credential = try control.waitFor {
            if case .credential("zoho:acme", .ready(let credential)) = $0 { credential } else { nil }
        }
        #expect(Self.value(told) == "Bearer old")
        #expect(provider.tokenCalls == 0)
    }

    @Test func `a name that nobody has made is unknown, and is not asked for again and again`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        for _ in 0..<5 {
            guard case .failure(let answer) = try control.ask("zoho:nobody") else {
                Issue.record("there was one")
                return
            }
            #expect(answer.refusal == .unknownGrant)
        }
        #expect((store.database.with { $0.reads["zoho:nobody"] } ?? 0) <= 2)
        #expect(try control.look { $0.grants.isEmpty })
    }

    @Test func `an idle grant is dropped, its workers keep the credential, and it comes again`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        control.forgetMessages()
        try control.look { $0.sweep(idleFor: 60_000) }
        #expect(try control.look { $0.grants.count } == 1)
        try control.look { $0.sweep(idleFor: 0) }
        #expect(try control.look { $0.grants.isEmpty && $0.loading.outstanding["zoho:acme"]?.revision == 1 })
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
        #expect(store.database.with { $0.reads["zoho:acme"] } == 2)
    }

    // MARK: Due grants

    @Test func `a grant that is due is refreshed though nobody asks, and rests again`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let now = WallClock.milliseconds()
        for index in 0..<100 {
            let record = Self.record(expiresIn: 1_000, age: 3_599_000)
            Self.put("zoho:\(index)", record, dueAt: now - 1_000, in: store.database)
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("all are refreshed and at rest") { [store] control in
            control.grants.isEmpty && store.database.with { $0.rows.values.allSatisfy { $0.generation == 3 } }
        }
        #expect(provider.tokenCalls == 100)
        #expect(store.database.with { $0.rows.values.allSatisfy { ($0.dueAt ?? 0) > now + 60_000 } })
    }

    @Test func `a grant that is due is refreshed ahead of its token's end, not after it`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let now = WallClock.milliseconds()
        for index in 0..<100 {
            let record = Self.record(expiresIn: 45_000, age: 3_555_000)
            Self.put("zoho:\(index)", record, dueAt: now - 1_000, in: store.database)
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("all are refreshed and at rest") { [store] control in
            control.grants.isEmpty && store.database.with { $0.rows.values.allSatisfy { $0.generation == 3 } }
        }
        #expect(provider.tokenCalls == 100)
        #expect(WallClock.milliseconds() < now + 40_000)
    }

    @Test func `grants that cannot be read leave their turns to others`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let now = WallClock.milliseconds()
        store.database.with { state in
            for index in 0..<100 {
                state.rows["zoho:\(index)"] = .init(payload: [1, 2, 3], generation: 1, dueAt: now - 2_000)
            }
        }
        let record = Self.record(expiresIn: 1_000, age: 3_599_000)
        Self.put("zoho:good", record, dueAt: now - 1_000, in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("the one that can be read is refreshed") { [store] _ in
            store.database.with { $0.rows["zoho:good"]?.generation == 3 }
        }
        #expect(provider.tokenCalls == 1)
        // They are told, and read again when that may help.
        #expect(try control.look { $0.readiness().storeReason }?.contains("and 99 more") == true)
        store.database.with { state in
            for index in 0..<100 { state.rows["zoho:\(index)"]?.payload = Self.record().encoded() }
        }
        try control.look { $0.storeCameBack() }
        try control.until("all can be read") { $0.readiness().isReady }
    }

    // MARK: Away and back

    @Test func `names that callers make up while the store is away are not kept`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        Self.put("zoho:other", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        store.database.goAway()
        for index in 0..<200 {
            guard case .failure(let answer) = try control.ask("zoho:\(index)"), case .unavailable = answer.refusal
            else {
                Issue.record("not unavailable")
                return
            }
        }
        try control.until("none of them is kept") { Set($0.grants.keys) == ["zoho:acme"] }
        let left = try control.look { control in
            control.loading.templated.count + control.waiters.count + control.waiterIDs.count + control.told.count
        }
        #expect(left <= 2)
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
        store.database.comeBack()
        #expect(try Self.value(control.ask("zoho:other").get()) == "Bearer old")
    }

    @Test func `with the store away, what is valid goes on and what is not there is answered at once`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        Self.put("zoho:other", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        store.database.goAway()
        let before = MonotonicClock.milliseconds()
        guard case .failure(let answer) = try control.ask("zoho:other"),
            case .unavailable(let seconds) = answer.refusal
        else {
            Issue.record("not unavailable")
            return
        }
        #expect(seconds >= 1)
        #expect(MonotonicClock.milliseconds() - before < 8_000)
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
        let reason = try control.look { $0.readiness().storeReason }
        #expect(reason == "the fake database is away")
        // Nothing is dropped that could not come back.
        try control.look { $0.sweep(idleFor: 0) }
        #expect(try control.look { $0.grants["zoho:acme"] != nil })
        store.database.comeBack()
        try control.until("ready again") { $0.readiness().isReady }
        #expect(try Self.value(control.ask("zoho:other").get()) == "Bearer old")
    }

    @Test func `a store that is away at the start is opened when it comes`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore(isShared: true))
        Self.put("zoho:acme", in: store.database)
        let opened = try DeferredStore.opened { () throws(StoreError) -> any TokenStore in
            try store.checkWritable()
            return store
        }
        #expect(opened === store)
        store.database.goAway()
        let deferred = try DeferredStore.opened { () throws(StoreError) -> any TokenStore in
            try store.checkWritable()
            return store
        }
        #expect(throws: StoreError.self) { try deferred.read(grant: "zoho:acme") }
        #expect(try deferred.waitForNews(upTo: 1) == StoreNews())
        store.database.comeBack()
        // Calls do not wait for a server: who waits for news opens the store.
        #expect(throws: StoreError.self) { try deferred.read(grant: "zoho:acme") }
        while (try? deferred.read(grant: "zoho:acme")) == nil { _ = try deferred.waitForNews(upTo: 10) }
        deferred.stopNews()
        #expect(throws: StoreError.self) { try deferred.waitForNews(upTo: 1) }
        #expect(throws: StoreError.self) {
            try DeferredStore.opened { () throws(StoreError) -> any TokenStore in throw StoreError(.key, "wrong key") }
        }
        _ = provider
    }

    // MARK: Making and ending

    private func create(
        _ control: ControlHarness, _ name: String, template: String = "zoho"
    ) throws -> (view: GrantView?, failure: ConsoleFailure.Code?) {
        try control.call { control, done in
            control.create(CreateGrantOrder(name: name, template: template, label: "a note")) { outcome in
                switch outcome {
                case .created(let view): done((view, nil))
                case .failed(let failure): done((nil, failure.code))
                default: done((nil, .internal))
                }
            }
        }
    }

    @Test func `grants are made, listed a page at a time, and deleted with their records`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        guard case .failure = try control.ask("zoho:b") else {
            Issue.record("there was one")
            return
        }
        for name in ["b", "a", "c"] {
            let made = try create(control, name)
            #expect(made.view?.name == "zoho:\(name)" && made.view?.label == "a note", "\(made)")
        }
        #expect(try create(control, "d").failure == .tooManyGrants)
        #expect(try create(control, "a", template: "box").failure == .unknownTemplate)
        let page: GrantsReply? = try control.call { control, done in
            control.list(GrantsQuery(template: "zoho", limit: 2)) { outcome in
                if case .grants(let reply) = outcome { done(reply) } else { done(nil) }
            }
        }
        #expect(page?.grants.map(\.name) == ["zoho:a", "zoho:b"] && page?.next == "zoho:b")
        #expect(page?.grants.allSatisfy { $0.state == .notConnected && $0.template == "zoho" } == true)
        guard case .failure(let answer) = try control.ask("zoho:b") else {
            Issue.record("connected")
            return
        }
        #expect(answer.refusal == .notConnected)
        let isDone: Bool = try control.call { control, done in
            control.delete("zoho:b") { outcome in
                if case .forgotten = outcome { done(true) } else { done(false) }
            }
        }
        #expect(isDone)
        try control.until("gone") { $0.grants["zoho:b"] == nil }
        #expect(try create(control, "d").view != nil)
        #expect(try create(control, "a").failure == .grantExists)
        #expect(try create(control, "e").failure == .tooManyGrants)
        try control.until("not made") { $0.grants["zoho:e"] == nil && $0.readiness().storeReason == nil }
    }

    @Test func `a grant that exists is not made anew`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        #expect(try create(control, "acme").failure == .grantExists)
        #expect(try Self.value(control.ask("zoho:acme").get()) == "Bearer old")
    }

    @Test func `a template that a reload removes leaves the records and refuses the requests`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        Self.put("zoho:acme", in: store.database)
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        let other = ControlHarness.configuration(provider, template: "box")
        try control.look { control in
            guard let prepared = try? ControlHarness.prepared(other) else { return }
            control.take(prepared)
        }
        _ = try control.waitFor { message -> Bool? in
            if case .credential("zoho:acme", .unknown) = message { true } else { nil }
        }
        guard case .failure(let answer) = try control.ask("zoho:acme") else {
            Issue.record("answered")
            return
        }
        #expect(answer.refusal == .notConnected)
        #expect(store.database.with { $0.rows["zoho:acme"]?.payload != nil })
    }

    @Test func `a grant that another replica has deleted can be made anew before the news of it come`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        Self.put("zoho:acme", in: database)
        let control = try ControlHarness(
            FakeStore(database, instance: "a", isShared: true), configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        database.with { $0.rows["zoho:acme"]?.payload = nil }
        #expect(try create(control, "acme").view?.state == .notConnected)
        #expect(database.with { $0.rows["zoho:acme"]?.generation } == 2)
        #expect(try create(control, "acme").failure == .grantExists)
    }

    @Test func `replicas that make grants at once stay within max_grants`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        let configuration = ControlHarness.configuration(provider)
        let replicas = try ["a", "b"].map {
            try ControlHarness(FakeStore(database, instance: $0, isShared: true), configuration: configuration)
        }
        let outcomes = try (0..<8).map { try create(replicas[$0 % 2], "n\($0)") }
        #expect(outcomes.count { $0.view != nil } == 3)
        #expect(outcomes.count { $0.failure == .tooManyGrants } == 5)
    }

    // MARK: States

    @Test func `states are counted, also those that were written without one`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        for index in 0..<150 { Self.put("zoho:\(index)", in: store.database) }
        store.database.with { state in
            for index in 0..<5 {
                state.rows["zoho:\(index)"]?.payload = [1]
                state.rows["zoho:\(index)"]?.state = "revoked"
            }
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("counted") { $0.census.counts["zoho"] != nil }
        let count = try control.look { $0.census.counts["zoho"] }
        #expect(count?.total == 150 && count?.states == [.active: 145, .revoked: 5])
        // Each was opened for it once, and no more.
        #expect(store.database.with { $0.rows.values.count { $0.state == "active" } } == 145)
        #expect(store.database.with { $0.reads["zoho:3"] } == nil)
        #expect(store.database.with { $0.reads["zoho:77"] } == 1)
    }

    @Test(arguments: ["zoho:a", "crm"])
    func `a record that nobody can read can be forgotten, and the grant begins anew`(_ grant: String) throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        store.database.with { $0.rows[grant] = FakeDatabase.Row(payload: [1], generation: 7, dueAt: nil) }
        let control = try ControlHarness(
            store,
            configuration: ControlHarness.configuration(provider, extra: "[grant.crm]\nprovider = \"zoho\""))
        guard case .failure = try control.ask(grant) else {
            Issue.record("a token came")
            return
        }
        try control.until("told") { $0.storeHealth.isUnreadable(grant) }
        #expect(try control.look { !$0.readiness().isReady })
        let outcome = try control.outcome { $0.forget(grant, $1) }
        guard case .forgotten = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(store.database.with { $0.rows[grant]?.payload } == nil)
        try control.until("ready") { $0.readiness().isReady }
        #expect(provider.tokenCalls == 0)
    }

    @Test func `what is written says its state`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try create(control, "a")
        #expect(store.database.with { $0.rows["zoho:a"]?.state } == "not_connected")
    }

    // MARK: Replicas

    @Test func `readiness tells that the database is away without a call that finds out`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore(isShared: true))
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        try control.until("known") { $0.presence.isKnown }
        let before = MonotonicClock.milliseconds()
        store.database.goAway()
        store.database.with { state in
            state.presenceIsKnown = false
            state.news["a", default: StoreNews()].changes = [:]
        }
        try control.until("not ready") { $0.readiness().storeReason == "the fake database is away" }
        #expect(MonotonicClock.milliseconds() - before < 8_000)
        store.database.comeBack()
        try control.until("ready") { $0.readiness().storeReason == nil }
    }

    @Test func `a client that is refused costs a few calls, however many grants it has`()
        throws
    {
        let (provider, store) = (try FakeProvider(error: "invalid_client"), FakeStore())
        for index in 0..<200 {
            Self.put("zoho:\(index)", Self.record(expiresIn: -1_000, age: 3_601_000), in: store.database)
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:0")
        try control.until("remembered") { $0.providers["zoho"]?.refusals.count == 1 }
        for index in 1..<200 {
            guard case .failure(let refusal) = try control.ask("zoho:\(index)") else {
                Issue.record("refreshed")
                return
            }
            #expect("\(refusal)".contains("configuration"), "\(refusal)")
        }
        // As many as are begun at once.
        #expect(provider.tokenCalls <= DueScheduler.Settings().callsPerProvider + 1)
    }

    @Test func `a refused client is remembered when its machines are gone`() throws {
        let (provider, store) = (try FakeProvider(error: "invalid_client"), FakeStore(isShared: true))
        for name in ["a", "b"] {
            Self.put("zoho:\(name)", Self.record(expiresIn: -1_000, age: 3_601_000), in: store.database)
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:a")
        try control.until("remembered") { $0.providers["zoho"]?.refusals.count == 1 }
        #expect(provider.tokenCalls == 1)
        // Another replica, with other credentials, has mended it.
        for name in ["a", "b"] {
            Self.put("zoho:\(name)", Self.record(expiresIn: -1_000, age: 3_601_000), in: store.database)
        }
        try control.look { control in
            for name in Array(control.grants.keys) { control.dismiss(name) }
        }
        for name in ["a", "b"] {
            guard case .failure = try control.ask("zoho:\(name)") else {
                Issue.record("refreshed")
                return
            }
        }
        #expect(provider.tokenCalls == 1)
    }

    @Test func `a revocation at one replica stops injection at the other within a second`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        Self.put("zoho:acme", in: database)
        let configuration = ControlHarness.configuration(provider)
        let one = try ControlHarness(
            FakeStore(database, instance: "a", isShared: true), configuration: configuration)
        let other = try ControlHarness(
            FakeStore(database, instance: "b", isShared: true), configuration: configuration)
        _ = try one.ask("zoho:acme").get()
        _ = try other.ask("zoho:acme").get()
        other.forgetMessages()
        let before = MonotonicClock.milliseconds()
        let result: String = try one.call { control, done in
            control.revoke("zoho:acme") { outcome in
                if case .revoked(_, let result, _) = outcome { done(result.rawValue) } else { done("\(outcome)") }
            }
        }
        #expect(result == "not_supported")
        _ = try other.waitFor { message -> Bool? in
            switch message {
            case .credential("zoho:acme", .unknown), .credential("zoho:acme", .refused): true
            default: nil
            }
        }
        let took = MonotonicClock.milliseconds() - before
        #expect(took < 8_000, "it took \(took) ms")
        guard case .failure(let answer) = try other.ask("zoho:acme") else {
            Issue.record("still injected")
            return
        }
        #expect(answer.refusal == .notConnected)
    }

    @Test func `workers that hold a grant which is not loaded hear of its change too`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        Self.put("zoho:acme", in: database)
        let configuration = ControlHarness.configuration(provider)
        let one = try ControlHarness(
            FakeStore(database, instance: "a", isShared: true), configuration: configuration)
        let other = try ControlHarness(
            FakeStore(database, instance: "b", isShared: true), configuration: configuration)
        _ = try other.ask("zoho:acme").get()
        try other.look { $0.sweep(idleFor: 0) }
        #expect(try other.look { $0.grants.isEmpty })
        other.forgetMessages()
        let _: Bool = try one.call { control, done in control.revoke("zoho:acme") { _ in done(true) } }
        _ = try other.waitFor { message -> Bool? in
            if case .credential("zoho:acme", .unknown) = message { true } else { nil }
        }
        #expect(try other.look { $0.loading.outstanding.isEmpty })
    }

    @Test func `what news missed is found by comparing`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        Self.put("zoho:acme", in: database)
        let control = try ControlHarness(
            FakeStore(database, instance: "a", isShared: true), configuration: ControlHarness.configuration(provider))
        _ = try control.ask("zoho:acme").get()
        var newer = Self.record(token: "newer")
        newer.generation = 2
        // Written by a replica whose news never came.
        let payload = newer.encoded()
        database.with { $0.rows["zoho:acme"] = FakeDatabase.Row(payload: payload, generation: 2, dueAt: nil) }
        control.forgetMessages()
        database.with { $0.news["a", default: StoreNews()].mayHaveMissedSome = true }
        let told: Proxy.Credential = try control.waitFor {
            if case .credential("zoho:acme", .ready(let credential)) = $0 { credential } else { nil }
        }
        #expect(Self.value(told) == "Bearer newer")
    }
}
