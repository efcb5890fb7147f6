import Configuration
import Console
import Foundation
import Logging
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// What one gateway does with a grant whose provider or store is in trouble: control, client and machines together.
@Suite struct GrantLifeTests {
    private static func scene(
        provider: String = "", grant: String = "", record: GrantRecord? = FileGrant.expired(), log: LogNotes? = nil,
        _ script: @escaping TokenEndpoint.Script
    ) throws -> (endpoint: TokenEndpoint, database: FakeDatabase, control: ControlHarness) {
        let (endpoint, store) = (try TokenEndpoint(script), FakeStore())
        if let record { ManyGrantsTests.put("crm", record, in: store.database) }
        let configuration = FileGrant.configuration(endpoint, provider: provider, grant: grant)
        return (endpoint, store.database, try ControlHarness(store, configuration: configuration, log: log))
    }

    // MARK: Lost replies

    @Test func `a refresh whose reply is lost is made again with the same token, and counted as unknown`() throws {
        let scene = try Self.scene { _, number in number == 1 ? .lost : .tokens("new", "r2") }
        #expect(try scene.control.token() == "Bearer new")
        #expect(scene.endpoint.calls.map { $0.form["refresh_token"] } == ["refresh", "refresh"])
        #expect(try scene.control.refreshes("outcome_unknown") == "1")
        #expect(try scene.control.refreshes("succeeded") == "1")
        #expect(try scene.control.refreshes("transient") == "0")
        #expect(FileGrant.stored(in: scene.database)?.tokens?.refreshToken == Secret("r2"))
    }

    @Test func `without a replay window a lost reply is counted and not asked for again`() throws {
        let scene = try Self.scene(provider: "replay_window = \"0s\"") { _, _ in .lost }
        guard case .unavailable = try scene.control.refusal() else {
            Issue.record("not unavailable")
            return
        }
        #expect(scene.endpoint.calls.count == 1)
        #expect(try scene.control.refreshes("outcome_unknown") == "1")
    }

    @Test func `a token call has half a minute by default, and a lease that is longer than all its replays`() throws {
        let endpoint = try TokenEndpoint { _, _ in .lost }
        for (line, deadline) in [("", 30_000), ("timeout = \"45s\"", 45_000)] as [(String, Int64)] {
            let prepared = try ControlHarness.prepared(FileGrant.configuration(endpoint, provider: line))
            let provider = try #require(prepared.snapshot.providers.first)
            var problems: [String] = []
            let material = ProviderMaterial(provider, environment: ControlHarness.environment, &problems)
            let settings = ProviderSettings(provider, material)
            #expect(settings.callDeadline == deadline && settings.replayWindow == 25_000)
            let machine = GrantMachine(
                settings: GrantSettings(name: "crm", provider: "zoho"), provider: settings,
                environment: .init(instance: "a", storeIsExclusive: false, seed: 1))
            #expect(machine.leaseTerm > 3 * deadline + 25_000)
        }
    }

    // MARK: A store that takes no writes

    @Test func `with a read-only store valid tokens flow, no single-use token is sent, readiness tells, all heals`()
        throws
    {
        let scene = try Self.scene(record: FileGrant.record(expiresIn: 3_000_000, age: 600_000)) { _, _ in
            .tokens("new", "r2")
        }
        #expect(try scene.control.token() == "Bearer old")
        scene.database.with {
            $0.writeFailure = StoreError(.readOnly, "/store/grants.db: the file system is read-only")
        }
        // An upstream rejects the token: a refresh is wanted, and may not be made.
        guard case .unavailable(let seconds) = try scene.control.refusal(rejected: 1) else {
            Issue.record("not unavailable")
            return
        }
        #expect(seconds >= 1)
        #expect(try !scene.control.refreshNow())
        #expect(scene.endpoint.calls.isEmpty)
        #expect(
            try scene.control.look { $0.readiness().storeReason } == "/store/grants.db: the file system is read-only")
        #expect(try scene.control.metric("token_gateway_store_up") == "0")
        #expect(try scene.control.metric("token_gateway_ready") == "0")
        scene.database.with { $0.writeFailure = nil }
        try scene.control.until("ready again") { $0.readiness().storeReason == nil }
        #expect(try scene.control.refreshNow())
        #expect(try scene.control.token() == "Bearer new")
        #expect(scene.endpoint.calls.map { $0.form["refresh_token"] } == ["refresh"])
        #expect(try scene.control.metric("token_gateway_store_up") == "1")
    }

    // MARK: Intermediaries

    @Test(arguments: [200, 403, 400, 401]) func `a web page instead of tokens ends nothing, and is told as what it is`(
        status: Int
    ) throws {
        let log = LogNotes()
        let scene = try Self.scene(provider: "user_agent = \"legacy-bridge/7\"", log: log) { _, _ in .page(status) }
        guard case .unavailable(let seconds) = try scene.control.refusal() else {
            Issue.record("not unavailable")
            return
        }
        #expect(seconds >= 1)
        let view = try #require(try scene.control.look { $0.view(named: "crm") })
        #expect(view.state == .active)
        #expect(view.lastError?.errorClass == "transient")
        #expect(view.lastError?.reason.hasPrefix("blocked_by_intermediary: ") == true)
        #expect(view.nextAttemptAt != nil)
        #expect(try scene.control.refreshes("transient") != "0")
        #expect(try scene.control.refreshes("reauthorization_required") == "0")
        #expect(log.lines.contains { $0.level == .warning && $0.metadata["code"] == "blocked_by_intermediary" })
        #expect(FileGrant.stored(in: scene.database)?.tokens?.refreshToken == Secret("refresh"))
        #expect(scene.endpoint.calls.allSatisfy { $0.has("User-Agent: legacy-bridge/7") })
        scene.endpoint.answer { _, _ in .tokens("new", "r2") }
        // The first may join the attempt that the back-off has begun in this moment.
        #expect(try scene.control.refreshNow() || scene.control.refreshNow())
        #expect(try scene.control.token() == "Bearer new")
    }

    @Test func `a token call says who asks and that it wants JSON`() throws {
        let scene = try Self.scene { _, _ in .tokens("new", "r2") }
        _ = try scene.control.token()
        let call = try #require(scene.endpoint.calls.first)
        #expect(call.has("Accept: application/json"))
        #expect(call.head.contains("\r\nUser-Agent: token-gateway"))
        #expect(call.form["grant_type"] == "refresh_token" && call.form["refresh_token"] == "refresh")
    }

    // MARK: Latches and back-off

    @Test func `callers are told how long the back-off really is, and nobody is asked meanwhile`() throws {
        let scene = try Self.scene { _, _ in .json(429, #"{"error":"slow_down"}"#, fields: "Retry-After: 90\r\n") }
        for _ in 0..<3 {
            guard case .unavailable(let seconds) = try scene.control.refusal() else {
                Issue.record("not unavailable")
                return
            }
            let planned = try #require(try scene.control.look { $0.view(named: "crm")?.nextAttemptAt?.unixSeconds })
            let left = planned - WallClock.seconds()
            #expect((60...101).contains(Int(seconds)), "\(seconds)")
            #expect(abs(left - Int64(seconds)) <= 5, "told \(seconds) s, and it is \(left) s")
        }
        #expect(scene.endpoint.calls.count == 1)
    }

    @Test func `an operator's refresh, and nothing else, releases a latch`() throws {
        let scene = try Self.scene { _, _ in .json(400, #"{"error":"invalid_grant"}"#) }
        #expect(try scene.control.refusal() == .reauthorizationRequired)
        for _ in 0..<20 { #expect(try scene.control.refusal() == .reauthorizationRequired) }
        #expect(scene.endpoint.calls.count == 1)
        scene.endpoint.answer { _, _ in .tokens("new", "r2") }
        #expect(try scene.control.refreshNow())
        #expect(try scene.control.token() == "Bearer new")
        #expect(scene.endpoint.calls.count == 2)
    }

    // MARK: Scopes

    @Test func `a scope that a refresh takes away is told once in the log, and stays to be seen`() throws {
        let log = LogNotes()
        let scene = try Self.scene(
            grant: "scopes = [\"read\", \"write\"]", record: FileGrant.expired(scopes: ["read", "write"]), log: log
        ) { _, number in .tokens("new\(number)", "r\(number)", scope: "read") }
        #expect(try scene.control.look { $0.view(named: "crm")?.missingScopes } == nil)
        #expect(try scene.control.token() == "Bearer new1")
        #expect(try scene.control.refreshNow())
        let view = try #require(try scene.control.look { $0.view(named: "crm") })
        #expect(view.state == .active && view.scopes == ["read"] && view.missingScopes == ["write"])
        #expect(try scene.control.metric("token_gateway_scopes_lost_total", "grant=\"crm\"") == "1")
        #expect(try scene.control.metric("token_gateway_grant_missing_scopes", "grant=\"crm\"") == "1")
        let told = log.lines.filter { $0.metadata["lost"] != nil }
        #expect(told.count == 1)
        #expect(told.first?.level == .warning && told.first?.metadata["lost"] == "write")
        scene.endpoint.answer { _, _ in .tokens("whole", "r9", scope: "read write") }
        #expect(try scene.control.refreshNow())
        #expect(try scene.control.metric("token_gateway_grant_missing_scopes", "grant=\"crm\"") == "0")
    }

    // MARK: Ends that are known before

    @Test(arguments: [("sliding", 1), ("fixed", 0)]) func `the configured end of the refresh token is in the metrics`(
        end: String, isNew: Int64
    ) throws {
        let day: Int64 = 86_400_000
        var record = FileGrant.record(expiresIn: nil, age: 11 * day)
        let firstEnd = WallClock.milliseconds() + 19 * day
        record.tokens?.refreshTokenExpiresAt = firstEnd
        let scene = try Self.scene(
            provider: """
                refresh_token_lifetime = "30d"
                refresh_token_end = "\(end)"
                keepalive_interval = "10d"
                """, record: record
        ) { _, _ in .json(200, #"{"access_token":"new","token_type":"Bearer","refresh_token":"r2"}"#) }
        // Nobody asks: it is the grant's own time.
        try scene.control.until("kept alive") { $0.view(named: "crm")?.generation == 2 }
        #expect(scene.endpoint.calls.map { $0.form["refresh_token"] } == ["refresh"])
        let name = "token_gateway_grant_refresh_token_expiry_timestamp_seconds"
        let gauge = try #require(try scene.control.metric(name, "grant=\"crm\"").flatMap { Int64($0) })
        let expected = (isNew == 1 ? WallClock.milliseconds() + 30 * day : firstEnd) / 1000
        #expect(abs(gauge - expected) <= 10, "\(gauge - expected)")
        let next = try #require(try scene.control.look { $0.view(named: "crm")?.nextAttemptAt?.unixSeconds })
        let wait = next - WallClock.seconds()
        #expect(wait > 8 * day / 1000 && wait <= 10 * day / 1000)
        let planned = try scene.control.metric(
            "token_gateway_grant_next_attempt_timestamp_seconds", "grant=\"crm\"")
        #expect(planned == "\(next)")
        #expect(try scene.control.metric("token_gateway_grant_state", "grant=\"crm\",state=\"active\"") == "1")
        let success = try scene.control.metric(
            "token_gateway_grant_last_refresh_success_timestamp_seconds", "grant=\"crm\"")
        #expect(success.flatMap { Int64($0) }.map { abs($0 - WallClock.seconds()) <= 10 } == true)
    }

    // MARK: Revocation

    private static let revocation = "revocation_url = \"http://127.0.0.1:PORT/revoke\""

    /// The endpoint's port is known only when it is there.
    private static func revocable(
        _ endpoint: TokenEndpoint, _ store: FakeStore
    ) throws -> ControlHarness {
        let line = revocation.replacing("PORT", with: "\(endpoint.port)")
        return try ControlHarness(store, configuration: FileGrant.configuration(endpoint, provider: line))
    }

    @Test func `a revocation during an outage of the provider stops injection and is made when it is back`() throws {
        let (endpoint, store) = (try TokenEndpoint { _, _ in .json(503, "") }, FakeStore())
        ManyGrantsTests.put("crm", FileGrant.record(expiresIn: 3_000_000, age: 0), in: store.database)
        let control = try Self.revocable(endpoint, store)
        #expect(try control.token() == "Bearer old")
        #expect(try control.revoke() == "failed_kept_for_retry")
        #expect(try control.refusal() == .notConnected)
        #expect(
            FileGrant.stored(in: store.database)?.revocation?.tokens.map(\.token) == [Secret("refresh"), Secret("old")])
        endpoint.answer { _, _ in .json(200, "{}") }
        try control.until("revoked by itself") {
            $0.grants["crm"]?.machine.status(now: $0.moment).revocationPending == false
        }
        #expect(FileGrant.stored(in: store.database)?.revocationOutcome == "revoked")
        #expect(endpoint.calls.first?.form["token"] == "refresh")
        #expect(endpoint.calls.first?.form["token_type_hint"] == "refresh_token")
        #expect(try control.refusal() == .notConnected)
    }

    @Test func `a revocation that is owed is made after a restart`() throws {
        let (endpoint, database) = (try TokenEndpoint { _, _ in .json(503, "") }, FakeDatabase())
        ManyGrantsTests.put("crm", FileGrant.record(expiresIn: 3_000_000, age: 0), in: database)
        do {
            let first = try Self.revocable(endpoint, FakeStore(database))
            #expect(try first.revoke() == "failed_kept_for_retry")
        }
        var owed = try #require(FileGrant.stored(in: database))
        #expect(owed.state == .revoked && owed.revocation?.attempts == 1)
        // As if the gateway had been away for longer than the back-off.
        owed.revocation?.nextAttemptAt = WallClock.milliseconds() - 1
        let payload = owed.encoded()
        database.with { $0.rows["crm"]?.payload = payload }
        let calls = endpoint.calls.count
        endpoint.answer { _, _ in .json(200, "{}") }
        let second = try Self.revocable(endpoint, FakeStore(database, instance: "b"))
        try second.until("revoked") { _ in FileGrant.stored(in: database)?.revocation == nil }
        #expect(FileGrant.stored(in: database)?.revocationOutcome == "revoked")
        #expect(endpoint.calls.dropFirst(calls).first?.form["token"] == "refresh")
        #expect(try second.refusal() == .notConnected)
    }
}
