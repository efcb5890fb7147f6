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

/// Refresh tokens that an operator brings along, through control: a refresh proves them, and only then they are the
/// grant's.
@Suite struct ControlImportTests {
    @Sendable private func record(_ store: FakeStore, _ grant: String = "crm") throws -> GrantRecord? {
        try store.read(grant: grant).flatMap { GrantRecord(payload: $0.payload, revision: $0.generation) }
    }

    private func importing(_ control: ControlHarness, _ token: String = "brought") throws -> ConsoleOutcome {
        try control.outcome { $0.importToken("crm", Secret(token), $1) }
    }

    @Test(arguments: [false, true])
    func `an imported token is proved by a refresh at once, and stored before it is used`(_ isConnected: Bool) throws {
        let site = try ControlSite(ControlProvider { _ in .tokens("imported", "rotated") })
        let store = FakeStore()
        if isConnected { try ControlSite.put(in: store) }
        let control = try site.start(store)
        guard case .imported(let view) = try importing(control) else {
            Issue.record("not imported")
            return
        }
        #expect(view.state == .active)
        #expect(try ControlSite.token(control) == "Bearer imported")
        let calls = site.provider.requests
        #expect(calls.map(\.kind) == ["refresh_token"] && calls[0].form["refresh_token"] == "brought")
        #expect(try record(store)?.tokens?.refreshToken == Secret("rotated"))
        #expect(site.log.lines.allSatisfy { $0.range(of: "brought") == nil })
    }

    @Test func `a provider that does not rotate leaves the imported token in use`() throws {
        let site = try ControlSite(ControlProvider { _ in .tokens("imported", nil) })
        let store = FakeStore()
        let control = try site.start(store)
        _ = try importing(control)
        #expect(try record(store)?.tokens?.refreshToken == Secret("brought"))
    }

    static let refusals: [(ControlProvider.Answer, ConsoleFailure.Code, calls: Int)] = [
        (.error("invalid_grant"), .importRefused, 1), (.error("invalid_client", 401), .configurationError, 1),
        (.error("temporarily_unavailable", 503), .providerUnavailable, 3), (.reply(429, "{}"), .providerUnavailable, 1),
        (.reply(200, "<html>"), .providerUnavailable, 3), (.cut, .providerUnavailable, 3),
    ]

    @Test(arguments: refusals.indices)
    func `an import that fails leaves the old grant as it was`(_ index: Int) throws {
        let (answer, code, calls) = Self.refusals[index]
        let site = try ControlSite(ControlProvider { _ in answer })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try importing(control).failure?.code == code)
        #expect(try ControlSite.token(control) == "Bearer old")
        try control.until("the store has no trace of it") { _ in (try? record(store))?.intent == nil }
        let kept = try record(store)
        #expect(kept?.tokens?.refreshToken == Secret("refresh") && kept?.state == .active)
        // A lost reply is asked for again, twice at most, and always with the same token.
        let sent = site.provider.requests("refresh_token").map { $0.form["refresh_token"] }
        #expect(sent.count <= calls && Set(sent) == ["brought"], "\(sent)")
        #expect(try control.view()?.state == .active)
    }

    @Test func `the store is asked first: while it takes nothing, no token is sent`() throws {
        let site = try ControlSite(ControlProvider { _ in .tokens("imported", "rotated") })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try ControlSite.token(control) == "Bearer old")
        store.database.with { $0.writeFailure = StoreError(.diskFull, "the disk is full") }
        #expect(try importing(control).failure?.code == .storeUnavailable)
        #expect(site.provider.requests.isEmpty)
        store.database.with { $0.writeFailure = nil }
        try control.until("the store works again") { $0.readiness().isReady }
        guard case .imported = try importing(control) else {
            Issue.record("not imported")
            return
        }
        #expect(try ControlSite.token(control) == "Bearer imported")
    }

    @Test(arguments: [true, false])
    func `a token of another account is refused, and what it brought is revoked`(_ isConfigured: Bool) throws {
        let site = try ControlSite(
            ControlProvider { request in
                request.kind == "revoke"
                    ? .reply(200, "") : .tokens("wrong-access", "wrong-refresh", more: #","account":"eve""#)
            })
        if isConfigured { try site.configure(grant: #"expected_account = "alice""#) }
        let store = FakeStore()
        try ControlSite.put("crm", ControlSite.record(account: isConfigured ? nil : "alice"), in: store)
        let control = try site.start(store)
        let failure = try importing(control).failure
        #expect(failure?.code == .importRefused)
        #expect(failure?.detail?.contains("eve") == true && failure?.detail?.contains("alice") == true)
        let provider = site.provider
        try control.until("it is revoked") { _ in provider.requests("revoke").count == 1 }
        #expect(provider.requests("revoke").first?.form["token"] == "wrong-refresh")
        #expect(try ControlSite.token(control) == "Bearer old")
        #expect(try record(store)?.tokens?.refreshToken == Secret("refresh"))
    }

    @Test func `at a provider with DPoP the import makes a key, and what it brings is bound to it`() throws {
        let site = try ControlSite(
            ControlProvider { _ in
                .reply(
                    200,
                    #"{"access_token":"bound","token_type":"DPoP","expires_in":3600,"refresh_token":"bound-refresh"}"#)
            })
        try site.configure(provider: #"dpop = "on""#)
        let store = FakeStore()
        let control = try site.start(store)
        guard case .imported = try importing(control) else {
            Issue.record("not imported")
            return
        }
        let call = try #require(site.provider.requests("refresh_token").first)
        #expect(call.head.lowercased().range(of: "\r\ndpop: ") != nil)
        let kept = try record(store)
        #expect(kept?.tokens?.proofKey != nil && kept?.tokens?.type == .dpop)
        let credential = try control.ask("crm").get()
        #expect(ManyGrantsTests.value(credential) == "DPoP bound" && credential.proofKey != nil)
        // The next refresh proves the same key.
        _ = try control.outcome { $0.refresh("crm", $1) }
        #expect(try record(store)?.tokens?.proofKey == kept?.tokens?.proofKey)
    }

    @Test func `an import waits for the refresh that is under way, and then has the last word`() throws {
        let site = try ControlSite(ControlProvider { _ in .hold })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let provider = site.provider
        let refresh = try control.begin { $0.refresh("crm", $1) }
        try control.until("the refresh is under way") { _ in provider.requests.count == 1 }
        let order = try control.begin { $0.importToken("crm", Secret("brought"), $1) }
        #expect(provider.requests.count == 1)
        provider.answer { _ in .tokens("imported", "imported-refresh") }
        provider.release(.tokens("refreshed", "refreshed-refresh"))
        guard case .imported = try control.result(of: order, "the import has ended") else {
            Issue.record("not imported")
            return
        }
        guard case .refreshed = try control.result(of: refresh, "the refresh has ended") else {
            Issue.record("not refreshed")
            return
        }
        #expect(provider.requests.map { $0.form["refresh_token"] } == ["refresh", "brought"])
        #expect(try ControlSite.token(control) == "Bearer imported")
        #expect(try record(store)?.tokens?.refreshToken == Secret("imported-refresh"))
    }

    @Test func `a refresh that fails for good while an import waits does not take it along`() throws {
        let site = try ControlSite(ControlProvider { _ in .hold })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let provider = site.provider
        let refresh = try control.begin { $0.refresh("crm", $1) }
        try control.until("the refresh is under way") { _ in provider.requests.count == 1 }
        let order = try control.begin { $0.importToken("crm", Secret("brought"), $1) }
        provider.answer { _ in .tokens("imported", "imported-refresh") }
        provider.release(.error("invalid_grant"))
        #expect(try control.result(of: refresh, "told").failure?.code == .reauthorizationRequired)
        guard case .imported(let view) = try control.result(of: order, "the import has ended") else {
            Issue.record("not imported")
            return
        }
        #expect(view.state == .active)
        #expect(try ControlSite.token(control) == "Bearer imported")
    }
}
