import Configuration
import Console
import Foundation
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Consents on other devices (RFC 8628) through control: the provider polled, the outcome told, the tokens stored.
@Suite struct ControlDeviceTests {
    /// What the provider says to the polls, one after the other; the last one again and again.
    private final class Polls: Sendable {
        private let list: Mutex<[ControlProvider.Answer]>

        init(_ list: [ControlProvider.Answer]) { self.list = Mutex(list) }

        func next() -> ControlProvider.Answer {
            list.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
        }
    }

    private static func code(_ number: Int = 1, lifetime: Int = 600) -> ControlProvider.Answer {
        .reply(
            200,
            #"{"device_code":"device-\#(number)","user_code":"USER-\#(number)","verification_uri":"https://as.test/go","#
                + #""expires_in":\#(lifetime),"interval":1}"#)
    }

    private static func provider(_ answers: ControlProvider.Answer..., lifetime: Int = 600) throws -> ControlProvider {
        let polls = Polls(answers)
        let codes = ControlCounter()
        return try ControlProvider { request in
            switch request.kind {
            case "device": code(codes.next(), lifetime: lifetime)
            case "device_code": polls.next()
            default: .reply(200, "{}")
            }
        }
    }

    private func status(_ control: ControlHarness) throws -> DeviceStatus? {
        try control.outcome { $0.deviceStatus("crm", $1) }.device
    }

    private func start(_ control: ControlHarness) throws -> DeviceReply? {
        guard case .deviceStarted(let reply) = try control.outcome({ $0.startDevice("crm", $1) }) else { return nil }
        return reply
    }

    private func end(_ control: ControlHarness) throws -> DeviceStatus? {
        try control.until("the consent has ended") { $0.devices["crm"]?.end != nil }
        return try status(control)
    }

    private static let granted = ControlProvider.Answer.tokens("device-access", "device-refresh")

    // MARK: How it ends

    @Test func `the code is shown, the provider is polled, and what it gives is stored before it is used`() throws {
        let site = try ControlSite(Self.provider(.error("authorization_pending"), Self.granted))
        let store = FakeStore()
        let control = try site.start(store)
        #expect(try status(control)?.state == DeviceStatus.State.none)
        let reply = try #require(try start(control))
        #expect(reply.userCode == "USER-1" && reply.verificationURI == "https://as.test/go" && reply.interval == 1)
        #expect(try status(control)?.state == .waiting)
        #expect(try status(control)?.prompt == reply)
        #expect(try end(control)?.state == .connected)
        #expect(try ControlSite.token(control) == "Bearer device-access")
        let polls = site.provider.requests("device_code")
        #expect(polls.map { $0.form["device_code"] } == ["device-1", "device-1"])
        #expect(polls.allSatisfy { $0.form["client_secret"] == "s3cret-one" })
        let stored = try #require(try store.read(grant: "crm"))
        let record = try #require(GrantRecord(payload: stored.payload, revision: stored.generation))
        #expect(record.tokens?.refreshToken == Secret("device-refresh"))
        #expect(site.log.lines.allSatisfy { $0.range(of: "USER-1") == nil && $0.range(of: "device-1") == nil })
    }

    static let refusals: [(String, DeviceStatus.State)] = [
        ("access_denied", .denied), ("authorization_declined", .denied), ("expired_token", .expired),
        ("invalid_grant", .failed), ("invalid_client", .failed),
    ]

    @Test(arguments: refusals)
    func `a refusal ends the polls, is told, and leaves the grant as it was`(
        _ code: String, _ state: DeviceStatus.State
    ) throws {
        let site = try ControlSite(Self.provider(.error(code)))
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        _ = try start(control)
        #expect(try end(control)?.state == state)
        #expect(try ControlSite.token(control) == "Bearer old")
        #expect(site.provider.requests("device_code").count == 1)
        #expect(try control.look { $0.devices["crm"]?.timer == nil })
        #expect(site.provider.requests("revoke").isEmpty)
    }

    @Test func `a code whose time is over is not asked for again`() throws {
        let site = try ControlSite(Self.provider(.error("authorization_pending"), lifetime: 2))
        let control = try site.start(FakeStore())
        _ = try start(control)
        #expect(try end(control)?.state == .expired)
        #expect(site.provider.requests("device_code").count <= 2)
    }

    @Test func `slow_down puts the polls five seconds further apart`() throws {
        let site = try ControlSite(Self.provider(.error("slow_down")))
        let control = try site.start(FakeStore())
        _ = try start(control)
        let provider = site.provider
        try control.until("a poll was answered") { control in
            !provider.requests("device_code").isEmpty && control.devices["crm"]?.timer != nil
        }
        // A copy of the machine says when it would poll.
        let wait: Int64? = try control.look { control in
            guard var machine = control.devices["crm"]?.machine else { return nil }
            let now = control.moment
            guard case .armTimer(let time)? = machine.timerFired(now: now).first else { return nil }
            return time - now.monotonic
        }
        #expect((4_001...6_000).contains(try #require(wait)))
        #expect(try status(control)?.state == .waiting)
    }

    @Test func `a provider that is down between two polls costs nothing but time`() throws {
        let site = try ControlSite(Self.provider(.error("authorization_pending"), .cut, Self.granted))
        let control = try site.start(FakeStore())
        _ = try start(control)
        let provider = site.provider
        try control.until("it was polled") { _ in provider.requests("device_code").count == 1 }
        provider.goAway()
        try control.until("it was not reached") { [log = site.log] _ in log.count("a call to a provider failed") > 0 }
        #expect(try status(control)?.state == .waiting)
        provider.comeBack()
        // Then an answer is lost, and the next one has the tokens.
        #expect(try end(control)?.state == .connected)
        #expect(try ControlSite.token(control) == "Bearer device-access")
    }

    @Test func `a provider without a place for it, or that is away at the start, is told at once`() throws {
        let site = try ControlSite(ControlProvider { _ in .error("unauthorized_client", 401) })
        let control = try site.start(FakeStore())
        #expect(try control.outcome { $0.startDevice("crm", $1) }.failure?.code == .configurationError)
        site.provider.goAway()
        #expect(try control.outcome { $0.startDevice("crm", $1) }.failure?.code == .providerUnavailable)
        #expect(try control.outcome { $0.startDevice("nobody", $1) }.failure?.code == .unknownGrant)
        #expect(site.provider.requests("device_code").isEmpty)
    }

    // MARK: Cancelled

    @Test func `tokens of a poll that ends after another consent was begun are revoked`() throws {
        let site = try ControlSite(Self.provider(.hold, .error("authorization_pending")))
        let store = FakeStore()
        let control = try site.start(store)
        _ = try start(control)
        let provider = site.provider
        try control.until("it is polled") { _ in provider.requests("device_code").count == 1 }
        #expect(try start(control)?.userCode == "USER-2")
        #expect(try status(control)?.state == .waiting)
        provider.release(Self.granted)
        try control.until("they are revoked") { _ in provider.requests("revoke").count == 1 }
        let form = try #require(provider.requests("revoke").first).form
        #expect(form["token"] == "device-refresh" && form["token_type_hint"] == "refresh_token")
        #expect(form["client_secret"] == "s3cret-one")
        #expect(try store.read(grant: "crm") == nil)
        #expect(try status(control)?.state == .waiting, "the second one goes on")
        #expect(try control.look { $0.devices.runs.count } == 1)
        #expect(site.log.lines.allSatisfy { $0.range(of: "device-refresh") == nil })
    }

    @Test func `tokens for a grant that a reload took away are revoked`() throws {
        let site = try ControlSite(Self.provider(.hold))
        let control = try site.start(FakeStore())
        _ = try start(control)
        let provider = site.provider
        try control.until("it is polled") { _ in provider.requests("device_code").count == 1 }
        let path = site.path("gateway.conf")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try site.write("gateway.conf", text.replacingOccurrences(of: "crm", with: "other"))
        try control.look { $0.reload() }
        #expect(try control.look { $0.grants["crm"] == nil && $0.lastReloadSuccessful })
        provider.release(Self.granted)
        try control.until("they are revoked") { _ in provider.requests("revoke").count == 1 }
        #expect(provider.requests("revoke").first?.form["token"] == "device-refresh")
    }

    @Test func `tokens for a grant that was deleted meanwhile are revoked`() throws {
        let site = try ControlSite(Self.provider(.hold))
        let store = FakeStore()
        try ControlSite.put("t:acme", ControlSite.record(template: "t"), in: store)
        let control = try site.start(store)
        guard case .deviceStarted = try control.outcome({ $0.startDevice("t:acme", $1) }) else {
            Issue.record("not started")
            return
        }
        let provider = site.provider
        try control.until("it is polled") { _ in provider.requests("device_code").count == 1 }
        guard case .forgotten = try control.outcome({ $0.delete("t:acme", $1) }) else {
            Issue.record("not deleted")
            return
        }
        provider.release(Self.granted)
        try control.until("they are revoked") { _ in provider.requests("revoke").count == 1 }
        try control.until("it has ended") { $0.devices["t:acme"]?.end != nil }
        #expect(store.database.with { $0.rows["t:acme"]?.payload == nil })
    }

    @Test func `where the provider revokes nothing, late tokens are dropped and told`() throws {
        let site = try ControlSite(Self.provider(.hold, .error("authorization_pending")))
        let path = site.path("gateway.conf")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("revocation_url") }
        try site.write("gateway.conf", lines.joined(separator: "\n"))
        let control = try site.start(FakeStore())
        _ = try start(control)
        let provider = site.provider
        try control.until("it is polled") { _ in provider.requests("device_code").count == 1 }
        _ = try start(control)
        provider.release(Self.granted)
        try control.until("it is told") { [log = site.log] _ in log.count("not_supported") == 1 }
        #expect(provider.requests("revoke").isEmpty)
    }

    // MARK: Restart

    @Test func `after a restart nothing is known of it, and it can be begun again`() throws {
        let site = try ControlSite(Self.provider(.error("authorization_pending"), Self.granted))
        let store = FakeStore()
        var control: ControlHarness? = try site.start(store)
        _ = try control.map { try start($0) }
        let provider = site.provider
        try control?.until("it was polled") { _ in provider.requests("device_code").count == 1 }
        control = nil
        let again = try site.start(store, instance: "b")
        #expect(try status(again)?.state == DeviceStatus.State.none)
        #expect(try start(again)?.userCode == "USER-2")
        #expect(try end(again)?.state == .connected)
        #expect(provider.requests("device_code").map { $0.form["device_code"] } == ["device-1", "device-2"])
    }

    @Test func `another account on the device is refused, told, and its tokens revoked`() throws {
        let site = try ControlSite(
            Self.provider(.tokens("wrong-access", "wrong-refresh", more: #","account":"eve""#)))
        let store = FakeStore()
        try ControlSite.put("crm", ControlSite.record(account: "alice"), in: store)
        let control = try site.start(store)
        _ = try start(control)
        let status = try end(control)
        #expect(status?.state == .failed)
        #expect(status?.reason?.contains("eve") == true && status?.reason?.contains("alice") == true)
        let provider = site.provider
        try control.until("they are revoked") { _ in provider.requests("revoke").count == 1 }
        #expect(provider.requests("revoke").first?.form["token"] == "wrong-refresh")
        #expect(try ControlSite.token(control) == "Bearer old")
    }
}

/// Counts, on whichever thread.
final class ControlCounter: Sendable {
    private let value = Mutex(0)

    func next() -> Int {
        value.withLock { value in
            value += 1
            return value
        }
    }
}
