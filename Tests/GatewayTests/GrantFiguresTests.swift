import Console
import Foundation
import Logging
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// What operators see of grants beside their state: metrics, the log, the views.
@Suite struct GrantFiguresTests {
    // MARK: A grant without a person

    private static func page(_ control: ControlHarness) throws -> [(name: String, labels: [String], value: String)] {
        let text: String = try control.call { control, done in
            control.metrics { outcome in
                if case .metrics(let bytes) = outcome { done(String(decoding: bytes, as: UTF8.self)) } else { done("") }
            }
        }
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
            let parts = line.split(separator: " ")
            guard parts.count == 2, let open = parts[0].firstIndex(of: "{") else { return nil }
            let labels = parts[0][parts[0].index(after: open)...].dropLast().split(separator: ",").map(String.init)
            return (String(parts[0][..<open]), labels, String(parts[1]))
        }
    }

    /// Families and further labels of the series of one grant.
    private static func series(_ control: ControlHarness, _ grant: String) throws -> [String: String] {
        var found: [String: String] = [:]
        for (name, labels, value) in try page(control) where labels.contains("grant=\"\(grant)\"") {
            let more = labels.filter { !$0.hasPrefix("grant=") }.joined(separator: ",")
            found[more.isEmpty ? name : "\(name) \(more)"] = value
        }
        return found
    }

    /// A consented grant, `crm`, and one without a person, `batch`.
    private static func configuration(_ endpoint: TokenEndpoint) -> String {
        FileGrant.configuration(endpoint) + """

            [provider.machines]
            client_id = "client"
            client_secret_file = "/secret"
            token_url = "http://127.0.0.1:\(endpoint.port)/token"
            allow_plaintext = true
            [grant.batch]
            provider = "machines"
            type = "client_credentials"
            [route.batch]
            path = "/batch/*"
            upstream = "api"
            grant = "batch"
            """
    }

    @Test func `a grant without a person has the metrics of a consented one, with values that are its own`() throws {
        let endpoint = try TokenEndpoint { call, _ in
            call.form["grant_type"] == "client_credentials"
                ? .json(200, #"{"access_token":"machine","token_type":"Bearer","expires_in":600}"#)
                : .tokens("new", "r2", lifetime: 600)
        }
        let database = FakeDatabase()
        ManyGrantsTests.put("crm", FileGrant.expired(), in: database)
        let control = try ControlHarness(FakeStore(database), configuration: Self.configuration(endpoint))
        #expect(try control.token("crm") == "Bearer new")
        #expect(try control.token("batch") == "Bearer machine")
        let consented = try Self.series(control, "crm")
        let machine = try Self.series(control, "batch")
        let refreshEnd = "token_gateway_grant_refresh_token_expiry_timestamp_seconds"
        #expect(Set(machine.keys) == Set(consented.keys).subtracting([refreshEnd]))
        #expect(machine.keys.count > 15)
        let state = "token_gateway_grant_state"
        for (grant, generation) in [(consented, "2"), (machine, "1")] {
            #expect(grant["\(state) state=\"active\""] == "1")
            #expect(grant.filter { $0.key.hasPrefix(state) && $0.value == "1" }.count == 1)
            #expect(grant["token_gateway_grant_generation"] == generation)
            #expect(grant["token_gateway_grant_missing_scopes"] == "0")
            #expect(grant["token_gateway_refreshes_total outcome=\"succeeded\""] == "1")
            let others = grant.filter { $0.key.hasPrefix("token_gateway_refreshes_total") && $0.value != "0" }
            #expect(others.count == 1)
            let now = WallClock.seconds()
            func time(_ name: String) throws -> Int64 {
                try #require(grant["token_gateway_grant_\(name)_timestamp_seconds"].flatMap { Int64($0) }) - now
            }
            #expect(try (585...601).contains(time("access_token_expiry")))
            #expect(try (-15...1).contains(time("last_refresh_success")))
            #expect(try (1..<600).contains(time("next_attempt")))
        }
        // The second acquisition counts as the first one.
        #expect(try control.token("batch", rejected: 1) == "Bearer machine")
        #expect(try control.refreshes("succeeded", of: "batch") == "2")
        #expect(try control.metric("token_gateway_grant_generation", "grant=\"batch\"") == "2")
        #expect(try control.metric("token_gateway_consents_total", "grant=\"batch\",outcome=\"connected\"") == nil)
    }

    @Test func `a grant without a person whose client is refused tells it in the same metrics`() throws {
        let endpoint = try TokenEndpoint { _, _ in .json(401, #"{"error":"invalid_client"}"#) }
        let control = try ControlHarness(FakeStore(), configuration: Self.configuration(endpoint))
        #expect(try control.refusal("batch") != nil)
        try control.until("latched") { $0.view(named: "batch")?.state == .configurationError }
        let found = try Self.series(control, "batch")
        #expect(found["token_gateway_grant_state state=\"configuration_error\""] == "1")
        #expect(found["token_gateway_refreshes_total outcome=\"configuration_error\""] == "1")
        #expect(found["token_gateway_grant_generation"] == "0")
        #expect(found["token_gateway_grant_access_token_expiry_timestamp_seconds"] == nil)
    }

    // MARK: Templates

    @Test func `the grants of a template are counted by state, and those that are loaded`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        for (index, state) in ["active", "active", "revoked", "not_connected", "of a newer program"].enumerated() {
            ManyGrantsTests.put("zoho:\(index)", in: store.database)
            store.database.with { $0.rows["zoho:\(index)"]?.state = state }
        }
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider))
        func grants(_ state: String) throws -> String? {
            try control.metric("token_gateway_template_grants", "template=\"zoho\",state=\"\(state)\"")
        }
        try control.until("counted") { $0.census.counts["zoho"] != nil }
        let expected = [
            "active": "2", "revoked": "1", "not_connected": "1", "refreshing": "0", "configuration_error": "0",
            "reauthorization_required": "0",
        ]
        for state in GrantStateLabel.allCases { #expect(try grants(state.rawValue) == expected[state.rawValue]) }
        func loaded() throws -> String? {
            try control.metric("token_gateway_template_grants_loaded", "template=\"zoho\"")
        }
        #expect(try loaded() == "0")
        for name in ["zoho:0", "zoho:1"] { _ = try control.ask(name).get() }
        #expect(try loaded() == "2")
        try control.look { $0.sweep(idleFor: 0) }
        #expect(try loaded() == "0")
    }

    // MARK: Header fields without a value

    @Test func `a header field that nothing gives a value is told, once, and shown`() throws {
        let endpoint = try TokenEndpoint { _, _ in .tokens("new", "r2") }
        let store = FakeStore()
        var record = FileGrant.record(expiresIn: 3_000_000, age: 600_000)
        ManyGrantsTests.put("crm", record, in: store.database)
        let log = LogNotes()
        let control = try ControlHarness(
            store,
            configuration: FileGrant.configuration(
                endpoint,
                provider: """
                    response_capture = { tenant_id = "tenant" }
                    extra_headers = { "X-Tenant" = "{tenant_id}", "X-Version" = "3" }
                    """), log: log)
        #expect(try control.token() == "Bearer old")
        func told() -> [LogNotes.Line] { log.lines.filter { $0.metadata["fields"] != nil } }
        #expect(told().count == 1)
        #expect(told().first?.level == .warning && told().first?.metadata["fields"] == "X-Tenant")
        #expect(told().first?.metadata["grant"] == "crm")
        #expect(try control.look { $0.view(named: "crm")?.headersLeftOut } == ["X-Tenant"])
        // The same again with the next token; and nothing where the value has come.
        #expect(try control.token(rejected: 1) == "Bearer new")
        #expect(told().count == 1)
        endpoint.answer { _, _ in
            .json(200, #"{"access_token":"three","refresh_token":"r3","token_type":"Bearer","tenant":"t1"}"#)
        }
        #expect(try control.refreshNow())
        #expect(try control.look { $0.view(named: "crm")?.headersLeftOut } == nil)
        record.captured = [:]
        #expect(told().count == 1)
    }

    // MARK: Damaged records

    @Test func `damaged records are found before anybody needs them`() throws {
        let (provider, store) = (try FakeProvider(), FakeStore())
        for index in 0..<200 { ManyGrantsTests.put("zoho:\(index)", in: store.database) }
        store.database.with { $0.damaged = ["zoho:7", "zoho:150"] }
        let log = LogNotes()
        let control = try ControlHarness(store, configuration: ControlHarness.configuration(provider), log: log)
        try control.until("gone through") { _ in log.lines.contains { $0.metadata["records"] != nil } }
        let told = log.lines.filter { $0.text == "a record in the store is damaged" }
        #expect(told.map { $0.metadata["grant"] } == ["zoho:150", "zoho:7"])
        #expect(told.allSatisfy { $0.level == .error })
        let summary = try #require(log.lines.last { $0.metadata["records"] != nil })
        #expect(summary.metadata["records"] == "200" && summary.metadata["damaged"] == "2" && summary.level == .error)
        #expect(try control.metric("token_gateway_store_damaged_records") == "2")
        // Nothing was loaded for it, and the rest is served.
        #expect(try control.look { $0.grants.isEmpty && $0.readiness().isReady })
    }

    @Test func `a shared store is left to the checks of its database`() throws {
        let (provider, database) = (try FakeProvider(), FakeDatabase())
        let control = try ControlHarness(
            FakeStore(database, isShared: true), configuration: ControlHarness.configuration(provider))
        #expect(try control.look { $0.recordCheckTimer == nil })
        #expect(try control.metric("token_gateway_store_up") == "1")
        #expect(try control.metric("token_gateway_store_damaged_records") == nil)
    }

    @Test func `the records are gone through a page at a time, again each day, and few are told by name`() {
        var check = RecordCheck(settings: .init(page: 2, start: 1, pause: 2, retry: 3, rest: 4, told: 3))
        #expect(check.begin() == [.wait(1)])
        #expect(check.begin() == [])
        #expect(check.timerFired() == [.verify(after: nil, limit: 2)])
        #expect(
            check.pageArrived(checked: 2, last: "b", unreadable: ["a": "x", "b": "y"]) == [
                .tell(["a": "x", "b": "y"]), .wait(2),
            ])
        #expect(check.damaged == 2)
        #expect(check.timerFired() == [.verify(after: "b", limit: 2)])
        #expect(check.failed() == [.wait(3)])
        #expect(check.timerFired() == [.verify(after: "b", limit: 2)])
        #expect(
            check.pageArrived(checked: 2, last: "d", unreadable: ["c": "x", "d": "y"]) == [
                .tell(["c": "x"]), .wait(2),
            ])
        #expect(
            check.pageArrived(checked: 1, last: nil, unreadable: ["e": "x"]) == [
                .done(records: 5, damaged: 5), .wait(4),
            ])
        #expect(check.damaged == 5)
        #expect(check.timerFired() == [.verify(after: nil, limit: 2)])
        // What was found stands until all have been gone through again.
        #expect(check.pageArrived(checked: 2, last: "b", unreadable: [:]) == [.wait(2)])
        #expect(check.damaged == 5)
        #expect(
            check.pageArrived(checked: 1, last: nil, unreadable: [:]) == [.done(records: 3, damaged: 0), .wait(4)])
        #expect(check.damaged == 0)
    }
}
