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

/// Reloads that fail, what they leave, and what is said once.
@Suite struct ControlReloadTests {
    static let mistakes: [(name: String, text: String, replacement: String)] = [
        ("no TOML", "[route.crm]", "[route.crm"), ("an unknown key", "workers = 1", "workers = 1\nworker = 1"),
        ("a missing reference", "grant = \"crm\"", "grant = \"crn\""),
        ("a secret that is not there", "/secret\"", "/no-secret\""),
        ("an authority that is not there", "client_id = \"client\"", "client_id = \"client\"\nca_file = \"/nowhere\""),
        ("what needs a restart", "workers = 1", "workers = 2"),
        ("another store", "/grants.db\"", "/others.db\""), ("an empty file", "", ""),
    ]

    @Test(arguments: mistakes.indices)
    func `a reload that fails leaves everything in force, and says so`(_ index: Int) throws {
        let (name, text, replacement) = Self.mistakes[index]
        let site = try ControlSite(ControlProvider { _ in .tokens("new", "r-new") })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try ControlSite.token(control) == "Bearer old")
        let routes = try control.look { $0.snapshot.routes.map(\.path) }
        let since = try control.metric("token_gateway_config_last_reload_success_timestamp_seconds")
        let good = try String(contentsOfFile: site.path("gateway.conf"), encoding: .utf8)
        let bad = text.isEmpty ? "" : good.replacingOccurrences(of: text, with: replacement)
        #expect(bad != good, "\(name)")
        // With a change that would show.
        try site.write("gateway.conf", bad.replacingOccurrences(of: "path = \"/*\"", with: "path = \"/v2/*\""))
        control.forgetMessages()
        try control.look { $0.reload() }
        try control.until("it has ended") { !$0.isReloading }

        #expect(try control.metric("token_gateway_config_last_reload_successful") == "0", "\(name)")
        #expect(try control.metric("token_gateway_config_reloads_total{outcome=\"failed\"}") == "1")
        #expect(try control.metric("token_gateway_config_last_reload_success_timestamp_seconds") == since)
        #expect(try control.look { $0.readiness().isReady })
        #expect(try control.look { $0.snapshot.routes.map(\.path) } == routes)
        #expect(try ControlSite.token(control) == "Bearer old")
        guard case .refreshed = try control.outcome({ $0.refresh("crm", $1) }) else {
            Issue.record("the old configuration does not serve")
            return
        }
        #expect(site.log.lines.contains { $0.hasPrefix("error") })

        try site.write("gateway.conf", good)
        try control.look { $0.reload() }
        try control.until("it has ended") { !$0.isReloading }
        #expect(try control.metric("token_gateway_config_last_reload_successful") == "1")
        #expect(site.provider.requests.count == 1, "a reload asks the provider nothing")
    }

    @Test func `gateway.conf is never written, whatever happens to the grants`() throws {
        let site = try ControlSite(
            ControlProvider { request in
                request.kind == "revoke" ? .reply(200, "") : .tokens("new", "r-new", more: #","account":"alice""#)
            })
        try site.configure(keys: ["two", "one"])
        let stamp = site.configurationStamp
        let bytes = site.bytes("gateway.conf")
        let control = try site.start()
        _ = try control.callback(control.consent(), code: "alice")
        #expect(try ControlSite.token(control) == "Bearer new")
        _ = try control.outcome { $0.refresh("crm", $1) }
        _ = try control.outcome { $0.importToken("crm", Secret("brought"), $1) }
        _ = try control.outcome { $0.create(CreateGrantOrder(name: "acme", template: "t"), $1) }
        _ = try control.outcome { $0.rekey(retire: nil, $1) }
        try control.until("the rekey has ended") { !$0.rekeyState.isRunning }
        try control.look { $0.reload() }
        try control.until("it has ended") { !$0.isReloading }
        _ = try control.outcome { $0.revoke("crm", $1) }
        _ = try control.outcome { $0.forget("crm", $1) }
        #expect(site.configurationStamp == stamp && site.bytes("gateway.conf") == bytes)
        let files = try FileManager.default.contentsOfDirectory(atPath: site.folder).sorted()
        #expect(
            files.filter { !$0.hasPrefix("grants.db") } == [
                "gateway.conf", "one.key", "secret", "three.key", "two.key",
            ])
    }

    @Test func `an unknown lifetime is told once, not for each request or refresh`() throws {
        let site = try ControlSite(
            ControlProvider { _ in
                .reply(200, #"{"access_token":"endless","token_type":"Bearer","refresh_token":"r-new"}"#)
            })
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        for _ in 0..<3 {
            _ = try control.outcome { $0.refresh("crm", $1) }
            for _ in 0..<5 { #expect(try ControlSite.token(control) == "Bearer endless") }
        }
        #expect(site.log.count("did not say how long the token lives") == 1)
    }

    @Test func `a token file that cannot be used is told once, however many requests want it`() throws {
        let site = try ControlSite(ControlProvider())
        let file = site.path("token")
        try site.write("token", "file-token\n")
        try site.configure(
            more: """
                [grant.file]
                token_file = "\(file)"
                """)
        let control = try site.start(FakeStore())
        #expect(try ControlSite.token(control, "file") == "Bearer file-token")
        site.remove("token")
        for _ in 0..<5 { #expect(try ControlSite.token(control, "file") == "Bearer file-token") }
        #expect(site.log.count("a token file cannot be used") == 1)
        try site.write("token", "newer-token\n")
        #expect(try ControlSite.token(control, "file") == "Bearer newer-token")
    }

    @Test func `a store that fails is told once, and once more when it works`() throws {
        let site = try ControlSite(ControlProvider())
        let store = FakeStore()
        try ControlSite.put(in: store)
        let control = try site.start(store)
        #expect(try ControlSite.token(control) == "Bearer old")
        store.database.goAway()
        for _ in 0..<5 { _ = try ControlSite.token(control, "t:nobody") }
        #expect(site.log.count("the store failed") == 1)
        #expect(try control.metric("token_gateway_store_up") == "0")
        store.database.comeBack()
        try control.until("it works again") { $0.readiness().isReady }
        #expect(site.log.count("the store works again") == 1)
        #expect(try control.metric("token_gateway_store_up") == "1")
    }
}
