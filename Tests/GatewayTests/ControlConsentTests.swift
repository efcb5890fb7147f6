import Configuration
import Console
import Dispatch
import Foundation
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Consents from the link to the tokens, at one control and at several that share a store.
@Suite struct ControlConsentTests {
    private func record(_ store: FakeStore, _ grant: String = "crm") throws -> GrantRecord? {
        try store.read(grant: grant).flatMap { GrantRecord(payload: $0.payload, revision: $0.generation) }
    }

    /// Gives the tokens of the account that the code names.
    private static func provider() throws -> ControlProvider {
        try ControlProvider { request in
            guard request.kind != "revoke" else { return .reply(200, "") }
            let account = request.form["code"] ?? "nobody"
            return .tokens("of-\(account)", "refresh-of-\(account)", more: #","account":"\#(account)""#)
        }
    }

    // MARK: Whose consent it is

    @Test func `the first account is the grant's, and another one is refused, told and revoked`() throws {
        let site = try ControlSite(Self.provider())
        let store = FakeStore()
        let control = try site.start(store)
        guard case .connected = try control.callback(control.consent(), code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try ControlSite.token(control) == "Bearer of-alice")
        let before = try record(store)
        #expect(before?.account == "alice")

        let outcome = try control.callback(control.consent(), code: "eve")
        #expect(outcome == .refused(grant: "crm", .wrongAccount(received: "eve", expected: "alice")))
        let provider = site.provider
        try control.until("the wrong tokens are revoked") { _ in !provider.requests("revoke").isEmpty }
        #expect(provider.requests("revoke").map { $0.form["token"] } == ["refresh-of-eve"])
        #expect(try ControlSite.token(control) == "Bearer of-alice")
        let after = try record(store)
        #expect(after?.tokens == before?.tokens && after?.account == "alice")
        // Who looks at the grant sees which account it was.
        let last = try control.view()?.lastConsent
        #expect(last?.outcome == "wrong_account")
        #expect(last?.reason?.contains("eve") == true && last?.reason?.contains("alice") == true)
        #expect(site.log.count("a consent was refused") == 1)

        // The right one again.
        guard case .connected = try control.callback(control.consent(), code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try control.view()?.lastConsent?.outcome == "connected")
    }

    @Test func `an account that is expected is the only one from the first consent on`() throws {
        let site = try ControlSite(Self.provider())
        try site.configure(grant: #"expected_account = "alice""#)
        let store = FakeStore()
        let control = try site.start(store)
        let refused = try control.callback(control.consent(), code: "eve")
        #expect(refused == .refused(grant: "crm", .wrongAccount(received: "eve", expected: "alice")))
        #expect(try ControlSite.token(control) == "notConnected")
        #expect(try record(store)?.tokens == nil)
        guard case .connected = try control.callback(control.consent(), code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try ControlSite.token(control) == "Bearer of-alice")
    }

    @Test func `a refusal of the provider's at a second consent leaves the grant and the next consent good`() throws {
        let site = try ControlSite(Self.provider())
        let control = try site.start(FakeStore())
        _ = try control.callback(control.consent(), code: "alice")
        let started = try control.consent()
        site.provider.answer { _ in .error("invalid_grant") }
        guard case .exchangeFailed = try control.callback(started, code: "alice") else {
            Issue.record("exchanged")
            return
        }
        #expect(try ControlSite.token(control) == "Bearer of-alice")
        #expect(try control.view()?.lastConsent?.outcome == "exchange_failed")
        #expect(site.provider.requests("revoke").isEmpty)
    }

    // MARK: The store in between

    @Test func `a consent that was started before a restart ends after it`() throws {
        let site = try ControlSite(Self.provider())
        var control: ControlHarness? = try site.start()
        let started = try #require(try control?.consent())
        control = nil
        let again = try site.start()
        guard case .connected = try again.callback(started, code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try ControlSite.token(again) == "Bearer of-alice")
        #expect(site.provider.requests("authorization_code").count == 1)
    }

    @Test func `a store that is away at the callback is told, and the consent is still good after it`() throws {
        let site = try ControlSite(Self.provider())
        let store = FakeStore()
        let control = try site.start(store)
        let started = try control.consent()
        store.database.goAway()
        #expect(try control.callback(started, code: "alice") == .rejected(.storeUnavailable))
        store.database.comeBack()
        try control.until("the store works again") { $0.storeHealth.isWorking }
        guard case .connected = try control.callback(started, code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(site.provider.requests("authorization_code").count == 1)
    }

    /// - Parameter isSlow: the tokens come before the store has deleted the record.
    @Test(arguments: [false, true])
    func `a grant that is deleted while its code is exchanged gets nothing, and the browser an answer`(
        _ isSlow: Bool
    ) throws {
        let site = try ControlSite(ControlProvider { $0.kind == "revoke" ? .reply(200, "") : .hold })
        let store = FakeStore()
        try ControlSite.put("t:acme", ControlSite.record(template: "t"), in: store)
        let control = try site.start(store)
        let started = try control.consent("t:acme")
        let answer = ResultBox<OAuth.ConsentOutcome>()
        try control.look { control in
            control.callbackArrived(
                query: "code=alice&state=\(started["state"] ?? "")", binding: ControlSite.binding, expectedGrant: nil
            ) { outcome, _ in answer.fill(outcome) }
        }
        let provider = site.provider
        try control.until("the code is exchanged") { _ in provider.requests("authorization_code").count == 1 }
        let gate = DispatchSemaphore(value: 0)
        if !isSlow { gate.signal() }
        try control.look { control in
            control.store?.perform { _ in gate.wait() }
            return
        }
        let deleted = try control.begin { $0.delete("t:acme", $1) }
        if !isSlow { _ = try control.result(of: deleted, "it is deleted") }
        provider.release(.tokens("late", "late-refresh"))
        if isSlow {
            try control.until("the grant has the tokens") { !$0.arriving.isEmpty }
            gate.signal()
        }
        guard case .forgotten = try control.result(of: deleted, "it is deleted") else {
            Issue.record("not deleted")
            return
        }
        try control.until("the browser is answered") { _ in answer.take() != nil }
        guard case .exchangeFailed(grant: "t:acme", _)? = answer.take() else {
            Issue.record("\(String(describing: answer.take()))")
            return
        }
        try control.until("the tokens are revoked") { _ in provider.requests("revoke").count == 1 }
        #expect(provider.requests("revoke").first?.form["token"] == "late-refresh")
        #expect(store.database.with { $0.rows["t:acme"]?.payload == nil })
    }

    @Test func `a grant that a reload takes away while its code is exchanged leaves no tokens behind`() throws {
        let site = try ControlSite(ControlProvider { $0.kind == "revoke" ? .reply(200, "") : .hold })
        let control = try site.start(FakeStore())
        let started = try control.consent()
        let answer = ResultBox<OAuth.ConsentOutcome>()
        try control.look { control in
            control.callbackArrived(
                query: "code=alice&state=\(started["state"] ?? "")", binding: ControlSite.binding, expectedGrant: nil
            ) { outcome, _ in answer.fill(outcome) }
        }
        let provider = site.provider
        try control.until("the code is exchanged") { _ in provider.requests("authorization_code").count == 1 }
        let text = try String(contentsOfFile: site.path("gateway.conf"), encoding: .utf8)
        try site.write("gateway.conf", text.replacingOccurrences(of: "crm", with: "other"))
        try control.look { $0.reload() }
        provider.release(.tokens("late", "late-refresh"))
        try control.until("the browser is answered") { _ in answer.take() != nil }
        guard case .exchangeFailed(grant: "crm", let problem)? = answer.take() else {
            Issue.record("\(String(describing: answer.take()))")
            return
        }
        #expect(problem.code == "configuration_changed")
        try control.until("the tokens are revoked") { _ in provider.requests("revoke").count == 1 }
    }

    // MARK: Replicas

    private struct Pair {
        let site: ControlSite
        let database = FakeDatabase()

        func start(_ instance: String) throws -> ControlHarness {
            try site.start(FakeStore(database, instance: instance, isShared: true), instance: instance)
        }
    }

    @Test func `a consent that was started at a replica that died ends at another one`() throws {
        let pair = Pair(site: try ControlSite(Self.provider()))
        var one: ControlHarness? = try pair.start("a")
        let other = try pair.start("b")
        let started = try #require(try one?.consent())
        #expect(started["redirect_uri"] == "http://127.0.0.1:9090/oauth/callback")
        _ = pair.database.with { $0.present.remove("a") }
        one = nil
        guard case .connected = try other.callback(started, code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try ControlSite.token(other) == "Bearer of-alice")
        let call = try #require(pair.site.provider.requests("authorization_code").first)
        #expect(call.form["redirect_uri"] == started["redirect_uri"])
        let verifier = try #require(call.form["code_verifier"])
        #expect(Crypto.base64URL(Crypto.sha256(Array(verifier.utf8))) == started["code_challenge"])
        #expect(pair.site.provider.requests("authorization_code").count == 1)
    }

    @Test func `a consent that ends at another replica is soon known where it was started`() throws {
        let pair = Pair(site: try ControlSite(Self.provider()))
        let (one, other) = (try pair.start("a"), try pair.start("b"))
        #expect(try ControlSite.token(one) == "notConnected")
        _ = try other.callback(one.consent(), code: "alice")
        try one.until("it has the token") { ManyGrantsTests.value($0.grants["crm"]?.credential) == "Bearer of-alice" }
        #expect(try ControlSite.token(one) == "Bearer of-alice")
        let refused = try one.callback(other.consent(), code: "eve")
        #expect(refused == .refused(grant: "crm", .wrongAccount(received: "eve", expected: "alice")))
        #expect(try ControlSite.token(other) == "Bearer of-alice")
    }

    @Test(arguments: [nil, "the-cookie-of-quite-another-browser"])
    func `another browser is turned away at another replica, too, and uses nothing up`(_ binding: String?) throws {
        let pair = Pair(site: try ControlSite(Self.provider()))
        let (one, other) = (try pair.start("a"), try pair.start("b"))
        let started = try one.consent()
        #expect(try other.callback(started, code: "eve", binding: binding) == .rejected(.wrongBrowser))
        #expect(pair.site.provider.requests.isEmpty)
        guard case .connected = try other.callback(started, code: "alice") else {
            Issue.record("not connected")
            return
        }
    }

    @Test func `a replica that dies while it exchanges a code leaves the old grant as it was`() throws {
        let pair = Pair(site: try ControlSite(ControlProvider { _ in .hold }))
        try ControlSite.put("crm", ControlSite.record(account: "alice"), in: FakeStore(pair.database, instance: "x"))
        _ = pair.database.with { $0.present.remove("x") }
        var one: ControlHarness? = try pair.start("a")
        let other = try pair.start("b")
        let started = try #require(try one?.consent())
        try one?.look { control in
            control.callbackArrived(
                query: "code=alice&state=\(started["state"] ?? "")", binding: ControlSite.binding, expectedGrant: nil
            ) { _, _ in }
        }
        let provider = pair.site.provider
        try one?.until("the code is exchanged") { _ in provider.requests("authorization_code").count == 1 }
        _ = pair.database.with { $0.present.remove("a") }
        one = nil
        #expect(try ControlSite.token(other) == "Bearer old")
        provider.answer { _ in .tokens("second", "second-refresh", more: #","account":"alice""#) }
        guard case .connected = try other.callback(other.consent(), code: "alice") else {
            Issue.record("not connected")
            return
        }
        #expect(try ControlSite.token(other) == "Bearer second")
    }
}
