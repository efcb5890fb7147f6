import Configuration
import Console
import Foundation
import PostgreSQLTesting
import Proxy
import Reactor
import Telemetry
import Testing

@testable import Gateway
@testable import OAuth
@testable import TokenStore

/// Two replicas on one PostgreSQL whose keys are changed one after the other.
@Suite struct ControlReplicaKeyTests {
    private static let server = Result { try PostgreSQLServer() }

    /// Each replica has a gateway.conf of its own, and both the same database.
    private struct Replicas {
        let provider: ControlProvider
        let first: ControlSite
        let second: ControlSite
        let address: String

        init() throws {
            let server = try ControlReplicaKeyTests.server.get()
            let name = "keys_" + UUID().uuidString.prefix(8).lowercased()
            try server.sql("CREATE DATABASE \(name)")
            provider = try ControlProvider { _ in .tokens("new", "r-new") }
            first = try ControlSite(provider)
            second = try ControlSite(provider)
            address = server.url(password: nil, database: name)
            for site in [first, second] {
                try site.write("password", PostgreSQLServer.password)
                try configure(site, ["one"])
            }
        }

        func configure(_ site: ControlSite, _ keys: [String]) throws {
            try site.configure(
                keys: keys,
                store: "url = \"\(address)?sslmode=disable\"\npassword_file = \"\(site.path("password"))\"")
        }

        func open(_ site: ControlSite, _ instance: String) throws -> PostgreSQLStore {
            let text = address.replacingOccurrences(of: "@", with: ":\(PostgreSQLServer.password)@")
            return try PostgreSQLStore(
                settings: try PostgreSQLSettings(url: text + "?sslmode=disable"), keys: try site.ring(),
                instance: instance)
        }
    }

    private func reload(_ control: ControlHarness) throws {
        try control.look { $0.reload() }
        try control.until("the reload has ended") { !$0.isReloading }
        #expect(try control.look { $0.lastReloadSuccessful })
    }

    @Test func `a replica that lacks the new key serves what it has, sends nothing, tells, and heals by a reload`()
        throws
    {
        let replicas = try Replicas()
        let store = try replicas.open(replicas.first, "a")
        try ControlSite.put(in: store)
        let one = try replicas.first.start(store, instance: "a")
        let other = try replicas.second.start(replicas.open(replicas.second, "b"), instance: "b")
        #expect(try ControlSite.token(other) == "Bearer old")

        try replicas.configure(replicas.first, ["two", "one"])
        try reload(one)
        _ = try one.outcome { $0.refresh("crm", $1) }
        #expect(try ControlSite.token(one) == "Bearer new")
        // The news names a record that the other cannot open.
        try other.until("it is told") { $0.readiness().storeReason?.contains("crm") == true }
        let reason = try other.look { $0.readiness().storeReason }
        #expect(try reason?.contains(ControlSite.keyID(1)) == true, "\(reason ?? "")")
        #expect(replicas.second.log.count("the stored record of a grant cannot be read") == 1)
        #expect(try ControlSite.token(other) == "Bearer old", "good for an hour, by all it knows")
        _ = try other.begin { $0.refresh("crm", $1) }
        #expect(replicas.provider.requests("refresh_token").count == 1, "the used token is not sent again")

        try replicas.configure(replicas.second, ["one", "two"])
        try reload(other)
        try other.until("it has the new token") { $0.readiness().isReady && $0.grants["crm"]?.revision ?? 0 > 1 }
        try other.until("and gives it out") {
            ManyGrantsTests.value($0.grants["crm"]?.credential) == "Bearer new"
        }
        let sent = replicas.provider.requests("refresh_token").map { $0.form["refresh_token"] }
        #expect(sent.count { $0 == "refresh" } == 1, "\(sent)")
    }

    @Test func `a replica that goes on sealing under the old key keeps it in use`() throws {
        let replicas = try Replicas()
        for site in [replicas.first, replicas.second] { try replicas.configure(site, ["one", "two"]) }
        let store = try replicas.open(replicas.first, "a")
        try ControlSite.put(in: store)
        let one = try replicas.first.start(store, instance: "a")
        let other = try replicas.second.start(replicas.open(replicas.second, "b"), instance: "b")
        _ = try ControlSite.token(other)
        try replicas.configure(replicas.first, ["two", "one"])
        try reload(one)
        let first = try ControlSite.keyID(0)
        _ = try one.outcome { $0.rekey(retire: nil, $1) }
        try one.until("it has ended") { !$0.rekeyState.isRunning }
        // It writes under what it has in front.
        _ = try other.outcome { $0.refresh("crm", $1) }
        let use = try #require(try one.outcome { $0.keys($1) }.keys)
        #expect(use.keys.first { $0.id == first }?.rows == 1)
        try replicas.configure(replicas.second, ["two", "one"])
        try reload(other)
        _ = try one.outcome { $0.rekey(retire: first, $1) }
        try one.until("it has ended again") { !$0.rekeyState.isRunning }
        #expect(try one.look { $0.rekeyState.view?.state } == .done)
        #expect(try one.outcome { $0.keys($1) }.keys?.keys.map(\.id) == [ControlSite.keyID(1)])
        #expect(try ControlSite.token(other) == "Bearer new")
    }
}
