import Configuration
import Console
import Dispatch
import Foundation
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// The store's keys as an operator changes them: by reloads and the admin API, under a control that runs.
@Suite struct ControlKeyTests {
    private func reload(_ control: ControlHarness) throws {
        try control.look { $0.reload() }
        try control.until("the reload has ended") { !$0.isReloading }
    }

    private func keys(_ control: ControlHarness) throws -> KeysReply {
        try #require(try control.outcome { $0.keys($1) }.keys)
    }

    private func rows(_ control: ControlHarness, under seed: Int) throws -> Int? {
        let id = try ControlSite.keyID(seed)
        return try keys(control).keys.first { $0.id == id }?.rows
    }

    private func ended(_ control: ControlHarness) throws -> KeysReply.Progress? {
        try control.until("the rekey has ended") { !$0.rekeyState.isRunning }
        return try keys(control).rekey
    }

    // MARK: The start

    static let wrongStarts = [["gone"], ["empty"], ["short"], ["two"], ["two", "three"]]

    @Test(arguments: wrongStarts)
    func `a missing or wrong key stops the start, names the key's id, and changes nothing`(_ ring: [String]) throws {
        let site = try ControlSite(ControlProvider())
        do {
            let store = try site.openStore()
            try ControlSite.put("crm", ControlSite.record(access: "secret-access-token"), in: store)
            store.close()
        }
        try site.write("empty.key", "")
        try site.write("short.key", "0123456789")
        let before = site.bytes("grants.db")
        try site.configure(keys: ring)
        let result = ResultBox<Int32>()
        let complaints = ControlSentences()
        let path = site.path("gateway.conf")
        try WorkerThread.start(name: "start") {
            result.fill(
                GatewayServer.run(configurationPath: path, version: "test", complain: { complaints.add($0) }))
        }.join()
        #expect(result.take() == GatewayServer.Exit.configuration)
        let text = complaints.text
        if ring[0] == "two" {
            #expect(try text.contains(ControlSite.keyID(0)), "the key that the store needs: \(text)")
            #expect(try text.contains(ControlSite.keyID(1)), "the key that it was given: \(text)")
        } else {
            #expect(text.contains("\(ring[0]).key"), "\(text)")
        }
        for seed in 0..<3 { #expect(!text.contains(ControlSite.key(seed).prefix(16))) }
        #expect(site.bytes("grants.db") == before)
        #expect(String(decoding: before, as: UTF8.self).range(of: "secret-access-token") == nil)
    }

    // MARK: Reload

    @Test func `a key that a reload puts in front seals what is written from then on`() throws {
        let site = try ControlSite(ControlProvider { _ in .tokens("new", "r-new") })
        let store = try site.openStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try ControlSite.token(control) == "Bearer old")
        try site.configure(keys: ["two", "one"])
        try reload(control)
        #expect(try control.look { $0.lastReloadSuccessful })
        #expect(try rows(control, under: 0) == 1, "what is there stays as it is")
        #expect(try rows(control, under: 1) == 0)
        #expect(try ControlSite.token(control) == "Bearer old")
        _ = try control.outcome { $0.refresh("crm", $1) }
        #expect(try ControlSite.token(control) == "Bearer new")
        #expect(try rows(control, under: 0) == 0)
        #expect(try rows(control, under: 1) == 1)
        // Sessions and links of the console are signed under it, too.
        let signing = try control.look { $0.signingKeys }
        #expect(try signing == site.ring().signingKeys)
    }

    @Test func `a key that was put into the same file is taken by a reload`() throws {
        let site = try ControlSite(ControlProvider { _ in .tokens("new", "r-new") })
        try site.configure(keys: ["front", "one"])
        try site.write("front.key", ControlSite.key(0))
        let store = try site.openStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        try site.write("front.key", ControlSite.key(1))
        try reload(control)
        #expect(try keys(control).keys.first { $0.active }?.id == ControlSite.keyID(1))
        _ = try control.outcome { $0.refresh("crm", $1) }
        #expect(try rows(control, under: 1) == 1)
    }

    @Test(arguments: [["two"], ["gone", "one"], ["short"]])
    func `a ring that cannot be used fails the reload as a whole, and a better one heals it`(_ ring: [String]) throws {
        let site = try ControlSite(ControlProvider())
        try site.write("short.key", "0123456789")
        let store = try site.openStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        for _ in 0..<2 {
            // Refused again the second time: that it is what was asked for before makes it no better.
            try site.configure(keys: ring, grant: "scopes = [\"more\"]")
            try reload(control)
            #expect(try control.metric("token_gateway_config_last_reload_successful") == "0")
        }
        #expect(try control.look { $0.snapshot.store?.keys.count == 1 })
        #expect(try control.look { $0.grants["crm"]?.machine.grantSettings.scopes } == [], "the old configuration")
        #expect(try keys(control).keys.map(\.id) == [ControlSite.keyID(0)])
        #expect(try ControlSite.token(control) == "Bearer old")
        #expect(try control.look { $0.readiness().isReady })
        try site.configure(keys: ["two", "one"], grant: "scopes = [\"more\"]")
        try reload(control)
        #expect(try control.metric("token_gateway_config_last_reload_successful") == "1")
        #expect(try control.look { $0.grants["crm"]?.machine.grantSettings.scopes } == ["more"])
        #expect(try keys(control).keys.first { $0.active }?.id == ControlSite.keyID(1))
    }

    @Test func `reloads that come while the store is asked about keys end as the last file says`() throws {
        let site = try ControlSite(ControlProvider())
        let store = try site.openStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        let gate = DispatchSemaphore(value: 0)
        try control.look { control in
            control.store?.perform { _ in gate.wait() }
            return
        }
        try site.configure(keys: ["two", "one"])
        try control.look { $0.reload() }
        try site.configure(keys: ["three", "two", "one"])
        try control.look { $0.reload() }
        try control.look { $0.reload() }
        gate.signal()
        try control.until("the last one is in force") { $0.snapshot.store?.keys.count == 3 && !$0.isReloading }
        #expect(try keys(control).keys.first { $0.active }?.id == ControlSite.keyID(2))
        #expect(try control.look { $0.lastReloadSuccessful })
    }

    // MARK: Rekey

    /// Rows under the first key, and a control that has another in front.
    private func manyRows(_ site: ControlSite, _ count: Int = 300) throws -> ControlHarness {
        let store = try site.openStore()
        for index in 0..<count {
            try ControlSite.put("t:\(index)", ControlSite.record(template: "t", access: "of-\(index)"), in: store)
        }
        store.close()
        try site.configure(keys: ["two", "one"])
        return try site.start()
    }

    @Test func `a rekey that was stopped in the middle is told, and goes on after a restart`() throws {
        let site = try ControlSite(ControlProvider())
        var control: ControlHarness? = try manyRows(site)
        let gate = DispatchSemaphore(value: 0)
        let started: ConsoleOutcome? = try control?.outcome { control, done in
            control.rekey(retire: nil) { outcome in
                // Behind the first page.
                control.store?.perform { _ in gate.wait() }
                done(outcome)
            }
        }
        #expect(started?.keys?.rekey?.state == .running)
        try control?.until("a page is sealed") { $0.rekeyState.resealed > 0 }
        // One at a time.
        #expect(try control?.outcome { $0.rekey(retire: nil, $1) }.failure?.code == .rekeyRunning)
        try control?.look { $0.loop.stop() }
        gate.signal()
        control = nil

        try site.configure(keys: ["one"])
        #expect(throws: StoreError.self, "the new key seals something") { try site.openStore() }
        try site.configure(keys: ["two"])
        #expect(throws: StoreError.self, "the old key still does") { try site.openStore() }

        try site.configure(keys: ["two", "one"])
        let again = try site.start()
        let left = try #require(try rows(again, under: 0))
        #expect(left > 0 && left < 300)
        let seventh = try ControlSite.token(again, "t:7")
        #expect(seventh == "Bearer of-7")
        let first = try ControlSite.keyID(0)
        _ = try again.outcome { $0.rekey(retire: first, $1) }
        let end = try ended(again)
        #expect(end?.state == .done && end?.resealed == left, "only what was left: \(String(describing: end))")
        #expect(try keys(again).keys.map(\.id) == [ControlSite.keyID(1)])
        for index in [0, 150, 299] { #expect(try ControlSite.token(again, "t:\(index)") == "Bearer of-\(index)") }
        try site.configure(keys: ["two"])
        try reload(again)
        #expect(try again.look { $0.lastReloadSuccessful })
    }

    @Test func `a rekey that the store cuts short is told as failed, and goes on when it is said again`() throws {
        let site = try ControlSite(ControlProvider())
        let control = try manyRows(site)
        try control.look { $0.isDraining = true }
        _ = try control.outcome { $0.rekey(retire: nil, $1) }
        #expect(try ended(control)?.state == .failed)
        #expect(try ended(control)?.reason == "the gateway stops")
        try control.look { $0.isDraining = false }
        _ = try control.outcome { $0.rekey(retire: nil, $1) }
        #expect(try ended(control)?.state == .done)
        #expect(try rows(control, under: 0) == 0)
        #expect(try rows(control, under: 1) == 300)
    }

    @Test func `a key in use is not retired, and neither is one that nobody knows`() throws {
        let site = try ControlSite(ControlProvider())
        let control = try manyRows(site, 10)
        let (first, front, stranger) = try (ControlSite.keyID(0), ControlSite.keyID(1), ControlSite.keyID(2))
        let inUse = try control.outcome { $0.rekey(retire: front, $1) }.failure
        #expect(inUse?.code == .keyInUse && inUse?.detail?.contains(front) == true)
        #expect(try control.outcome { $0.rekey(retire: stranger, $1) }.failure?.code == .unknownKey)
        #expect(try control.outcome { $0.rekey(retire: "not an id", $1) }.failure?.code == .unknownKey)
        #expect(try control.look { $0.rekeyState.view } == nil, "nothing was begun")
        #expect(try rows(control, under: 0) == 10)
        _ = try control.outcome { $0.rekey(retire: first.uppercased(), $1) }
        #expect(try ended(control)?.state == .done)
        #expect(try keys(control).keys.count == 1)
    }
}

/// Lines from another thread.
final class ControlSentences: Sendable {
    private let list = Mutex<[String]>([])

    func add(_ line: String) { list.withLock { $0.append(line) } }

    var text: String { list.withLock { $0.joined(separator: "\n") } }
}
