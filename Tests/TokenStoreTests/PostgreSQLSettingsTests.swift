import Foundation
import OpenSSLKit
import Testing

@testable import TokenStore

@Suite struct PostgreSQLSettingsTests {
    @Test(arguments: [
        ("postgresql://gw@db.example:5432/tokens", "verify-full"),
        ("postgresql://gw@db.example/tokens?sslmode=require", "require"),
        ("postgresql://gw@127.0.0.1/tokens", "prefer"), ("postgresql://gw@localhost/tokens", "prefer"),
        ("postgresql://gw@[::1]:5433/tokens", "prefer"), ("postgresql://gw@/tokens?host=/run/postgresql", nil),
        ("postgresql://gw@127.0.0.1,db.example/tokens", "verify-full"), ("postgresql:///tokens", nil),
        ("postgres://gw@127.0.0.1/tokens?sslmode=verify-ca", "verify-ca"),
    ])
    func `TLS with a verified name is the default unless every host is this machine`(
        _ url: String, _ mode: String?
    ) throws {
        let settings = try PostgreSQLSettings(url: url)
        #expect(settings.parameters["sslmode"] == mode)
        #expect((settings.parameters["sslrootcert"] != nil) == (mode?.hasPrefix("verify-") ?? false))
    }

    @Test func `an authority of its own makes TLS verified on this machine too`() throws {
        let settings = try PostgreSQLSettings(url: "postgresql://gw@127.0.0.1/tokens", caFile: "/etc/tg/ca.pem")
        #expect(settings.parameters["sslmode"] == "verify-full")
        #expect(settings.parameters["sslrootcert"] == "/etc/tg/ca.pem")
    }

    @Test(arguments: [
        "", "db.example", "mysql://x/y", "postgresql://gw:hunter2@[::1/x", "postgresql://gw:hunter2@h/x?nonsense=1",
        "postgresql://gw:hunter2@h/x?options=-csearch_path%3Dx", "postgresql://gw:hunter2@h/%zz",
        "postgresql://gw:hunter2@h/x?passfile=/x", "host=h password=hunter2",
    ])
    func `anything else is refused without a word of the password`(_ url: String) {
        let error = storeError { _ = try PostgreSQLSettings(url: url) }
        #expect(error?.kind == .invalid)
        #expect(error?.message.contains("hunter2") == false)
    }

    @Test func `no description shows the password, and one given apart goes first`() throws {
        let settings = try PostgreSQLSettings(
            url: "postgresql://gw:hunter2@db.example:6432/tokens", password: SecretBytes("swordfish".utf8))
        var text = "\(settings) \(String(reflecting: settings))"
        dump(settings, to: &text)
        #expect(text.contains("postgresql://gw@db.example:6432/tokens"))
        for secret in ["hunter2", "swordfish"] { #expect(!text.contains(secret)) }
        #expect(settings.password?.exposed() == Array("swordfish".utf8))
        #expect(settings.parameters["password"] == nil)
        let inline = try PostgreSQLSettings(url: "postgresql://gw:hunter2@db.example/tokens")
        #expect(inline.password?.exposed() == Array("hunter2".utf8))
        #expect(inline.name == "postgresql://gw@db.example:5432/tokens")
    }

    @Test func `attempts are made at once, then after 0.1 s doubling up to the limit`() {
        var backoff = ConnectionBackoff(limit: 2000)
        #expect(backoff.notBefore <= 0)
        var delays: [Int64] = []
        for _ in 0..<7 {
            backoff.failed(now: 1000)
            delays.append(backoff.notBefore - 1000)
        }
        #expect(delays == [100, 200, 400, 800, 1600, 2000, 2000])
        backoff.succeeded()
        #expect(backoff.notBefore <= 0)
    }

    @Test(arguments: [("3 crm", "crm", UInt64(3)), ("0 a b", "a b", 0), ("18446744073709551615 x", "x", .max)])
    func `news are a revision and a grant`(_ text: String, _ grant: String, _ revision: UInt64) {
        #expect(NewsText.read(text)?.grant == grant)
        #expect(NewsText.read(text)?.revision == revision)
    }

    @Test(arguments: ["", "3", "3 ", "x crm", "-1 crm", " 3 crm"])
    func `other words on the channel are passed over`(_ text: String) {
        #expect(NewsText.read(text) == nil)
    }
}

@Suite struct PresenceTests {
    var tracker = PresenceTracker()

    @Test mutating func `nobody is known before everybody had the time to come back`() {
        #expect(!tracker.isKnown)
        tracker.connected(now: 0)
        for now in stride(from: Int64(0), to: 3000, by: 400) {
            _ = tracker.observed(present: ["a"], absent: ["b"], now: now)
            #expect(!tracker.isKnown)
        }
        _ = tracker.observed(present: ["a"], absent: ["b"], now: 3000)
        #expect(tracker.isKnown)
        #expect(tracker.instances == ["a"])
    }

    @Test mutating func `one that is missing is gone after the grace and not before`() {
        tracker.connected(now: 0)
        _ = tracker.observed(present: ["a", "b"], absent: [], now: 3000)
        _ = tracker.observed(present: ["a"], absent: ["b"], now: 4000)
        _ = tracker.observed(present: ["a"], absent: ["b"], now: 5499)
        #expect(tracker.instances == ["a", "b"])
        _ = tracker.observed(present: ["a"], absent: ["b"], now: 5500)
        #expect(tracker.instances == ["a"])
        _ = tracker.observed(present: ["a", "b"], absent: [], now: 5600)
        #expect(tracker.instances == ["a", "b"])
    }

    @Test mutating func `a short absence begins the grace anew`() {
        tracker.connected(now: 0)
        _ = tracker.observed(present: ["a", "b"], absent: [], now: 3000)
        for start in [Int64(4000), 6000, 8000] {
            _ = tracker.observed(present: ["a"], absent: ["b"], now: start)
            _ = tracker.observed(present: ["a"], absent: ["b"], now: start + 1400)
            _ = tracker.observed(present: ["a", "b"], absent: [], now: start + 1500)
            #expect(tracker.instances == ["a", "b"])
        }
    }

    @Test mutating func `a restart of the database makes nobody gone, and who stays away is gone after it`() {
        tracker.connected(now: 0)
        _ = tracker.observed(present: ["a", "b", "c"], absent: [], now: 3000)
        _ = tracker.observed(present: ["a"], absent: ["b", "c"], now: 4000)
        tracker.lost()
        #expect(!tracker.isKnown)
        tracker.connected(now: 10_000)
        _ = tracker.observed(present: ["a"], absent: ["b", "c"], now: 10_000)
        _ = tracker.observed(present: ["a"], absent: ["b", "c"], now: 12_900)
        #expect(tracker.instances == ["a", "b", "c"])
        #expect(!tracker.isKnown)
        _ = tracker.observed(present: ["a", "b"], absent: ["c"], now: 13_000)
        #expect(tracker.instances == ["a", "b"])
        #expect(tracker.isKnown)
    }

    @Test mutating func `rows of the dead are given up after a while, once`() {
        tracker.connected(now: 0)
        #expect(tracker.observed(present: ["a"], absent: ["old"], now: 100) == [])
        #expect(tracker.observed(present: ["a"], absent: ["old"], now: 10_099) == [])
        #expect(tracker.observed(present: ["a"], absent: ["old"], now: 10_100) == ["old"])
        #expect(tracker.observed(present: ["a"], absent: [], now: 10_200) == [])
    }
}
