import Foundation
import OpenSSLKit
import PostgreSQLTesting
import Testing

@testable import TokenStore

/// The server goes away, hangs, refuses or lies. Each test has a server of its own.
@Suite(.serialized) struct PostgreSQLFailureTests {
    /// Runs `body` until it succeeds; how many transient failures came before, and the longest call.
    private func untilItWorks(within seconds: Double = 60, _ body: () throws -> Void) throws -> (
        failures: Int, longest: Double
    ) {
        var (failures, longest) = (0, 0.0)
        let end = Date().addingTimeInterval(seconds)
        while true {
            let start = Date()
            do {
                try body()
                return (failures, max(longest, Date().timeIntervalSince(start)))
            } catch let error as StoreError where error.isTransient && Date() < end {
                failures += 1
                longest = max(longest, Date().timeIntervalSince(start))
                usleep(2000)
            }
        }
    }

    @Test func `a session that the server ends is made anew within the next call`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open()
        for generation: UInt64 in 0..<5 {
            try database.server.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '\(database.name)'")
            #expect(
                try store.commit(grant: "a", payload: [1], ifGeneration: generation)
                    == .committed(generation: generation + 1))
        }
    }

    @Test(arguments: [PostgreSQLServer.End.fast, .immediate, .kill])
    func `everything heals by itself after a restart, and calls fail at once meanwhile`(_ end: PostgreSQLServer.End)
        throws
    {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open()
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        database.server.stop(end)
        let first = storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }
        #expect(first?.kind == .unavailable)
        #expect(first?.message.contains("nothing was sent") == true)
        let start = Date()
        for _ in 0..<1000 { #expect(storeError { _ = try store.read(grant: "a") }?.kind == .unavailable) }
        #expect(Date().timeIntervalSince(start) < 60)
        try database.server.start()
        _ = try untilItWorks {
            let outcome = try store.commit(grant: "a", payload: [2], ifGeneration: 1)
            #expect(outcome == .committed(generation: 2))
        }
    }

    @Test func `a server that hangs holds up no call beyond its time, and what it had been told may still happen`()
        throws
    {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open(connectTimeout: 400, statementTimeout: 300)
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        database.server.freeze()
        let start = Date()
        let error = storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }
        #expect(error?.kind == .unavailable)
        #expect(error?.message.contains("unknown") == true)
        #expect(Date().timeIntervalSince(start) < 20)
        // The next makes a connection, which the kernel takes and nobody answers.
        let second = Date()
        #expect(storeError { _ = try store.read(grant: "a") }?.kind == .unavailable)
        #expect(Date().timeIntervalSince(second) < 20)
        database.server.resume()
        _ = try untilItWorks { _ = try store.read(grant: "a") }
        // Compare-and-set tells which it was: our own record is there, or nothing happened and it can be done again.
        let outcome = try store.commit(grant: "a", payload: [2], ifGeneration: 1)
        #expect(
            outcome == .conflict(current: StoredRecord(generation: 2, payload: [2]))
                || outcome == .committed(generation: 2))
        #expect(try store.read(grant: "a") == StoredRecord(generation: 2, payload: [2]))
    }

    @Test func `once a call was in vain the next ones fail at once, until the server has answered somebody`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        // Whoever waits for the server once more than needed, waits for all of the first.
        let store = try database.open(connectTimeout: 40_000, statementTimeout: 900)
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        let listening = Thread { while (try? store.waitForNews(upTo: 200)) != nil {} }
        listening.start()
        defer { store.stopNews() }
        while try !store.waitForNews(upTo: 50).presenceIsKnown {}
        database.server.freeze()
        let start = Date()
        #expect(storeError { _ = try store.read(grant: "a") }?.kind == .unavailable)
        // The whole of it, with the second try that a reading call has.
        #expect(Date().timeIntervalSince(start) < 20)
        let after = Date()
        for _ in 0..<500 {
            let error = storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }
            #expect(error?.kind == .unavailable)
        }
        #expect(Date().timeIntervalSince(after) < 20)
        // However long it lasts.
        usleep(2_500_000)
        let later = Date()
        #expect(
            storeError { _ = try store.read(grant: "a") }?.message.contains("Waiting for a sign of life") == true)
        #expect(Date().timeIntervalSince(later) < 20)
        database.server.resume()
        let healed = try untilItWorks { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }
        #expect(healed.longest < 20)
    }

    // MARK: A store that goes

    /// As a drop, and as putting a backup back.
    private static let (goes, comesBack) = (
        "ALTER SCHEMA token_gateway RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO token_gateway"
    )

    @Test func `tables that are dropped are not made anew, and all heals when they are put back`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open()
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        _ = try database.sql(Self.goes)
        for _ in 0..<2 {
            let error = storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }
            #expect(error?.kind == .foreign)
            #expect(error?.message.contains("Restore the database") == true)
            #expect(storeError { _ = try store.read(grant: "a") }?.kind == .foreign)
            #expect(storeError { try store.checkWritable() }?.kind == .foreign)
        }
        #expect(try database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'token_gateway'") == "0")
        _ = try database.sql(Self.comesBack)
        #expect(try store.read(grant: "a") == StoredRecord(generation: 1, payload: [1]))
        #expect(try store.commit(grant: "a", payload: [2], ifGeneration: 1) == .committed(generation: 2))
    }

    @Test func `a database without tables is not asked for one connection after another`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open()
        while try !store.waitForNews(upTo: 50).presenceIsKnown {}
        func sessions() throws -> Int {
            let sql = "SELECT sessions FROM pg_stat_database WHERE datname = '\(database.name)'"
            return try #require(Int(try database.server.sql(sql).trimmingCharacters(in: .whitespacesAndNewlines)))
        }
        _ = try database.sql("DROP SCHEMA token_gateway CASCADE")
        let before = try sessions()
        let end = Date().addingTimeInterval(4)
        while Date() < end { _ = try store.waitForNews(upTo: 500) }
        // One in 0.4 s at most, once the first pauses are over.
        let made = try sessions() - before
        #expect((2...16).contains(made))
    }

    @Test(arguments: [true, false])
    func `an empty store in the place of ours is not taken for it`(_ hasNoticed: Bool) throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open()
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        _ = try store.waitForNews(upTo: 0)
        _ = try database.sql(Self.goes)
        if hasNoticed { #expect(storeError { _ = try store.read(grant: "a") }?.kind == .foreign) }
        let other = try database.open(instance: "two")
        // Who listens has lost its row.
        if !hasNoticed { while try !store.waitForNews(upTo: 50).mayHaveMissedSome {} }
        for _ in 0..<2 {
            let error = storeError { _ = try store.read(grant: "a") }
            #expect(error?.kind == .foreign)
            #expect(error?.message.contains("another store than the one") == true)
        }
        #expect(storeError { _ = try store.commit(grant: "b", payload: [1], ifGeneration: 0) }?.kind == .foreign)
        #expect(try other.count(prefix: "") == 0)
        _ = try database.sql("DROP SCHEMA token_gateway CASCADE; " + Self.comesBack)
        #expect(try store.read(grant: "a") == StoredRecord(generation: 1, payload: [1]))
    }

    @Test func `a row that another session holds is a transient failure in bounded time`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let store = try database.open(statementTimeout: 400)
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        let other = try PostgreSQLConnection(
            PostgreSQLSettings(url: database.url), applicationName: "test",
            until: monotonicMilliseconds() + 5000)
        try other.runScript(
            "BEGIN; SELECT 1 FROM token_gateway.grant_record FOR UPDATE", until: monotonicMilliseconds() + 5000)
        let start = Date()
        #expect(storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }?.kind == .busy)
        #expect(Date().timeIntervalSince(start) < 20)
        #expect(try store.read(grant: "a")?.generation == 1)
        try other.runScript("ROLLBACK", until: monotonicMilliseconds() + 5000)
        #expect(try store.commit(grant: "a", payload: [2], ifGeneration: 1) == .committed(generation: 2))
    }

    @Test func `a deadlock that the server breaks is tried again`() throws {
        let database = try SharedDatabase(PostgreSQLServer(settings: ["deadlock_timeout = 50ms"]))
        let store = try database.open()
        try store.checkWritable()
        let tries = Notes<Int>()
        let other = try database.open(instance: "two")
        // Each has its first lock before one of them asks for its second.
        let (mineIsHeld, otherIsHeld) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        onThreads(2) { index in
            let store = index == 0 ? store : other
            _ = try? store.call(writes: true, within: 30_000) { link throws(ServerFailure) in
                let isFirst = !tries.all.contains(index)
                tries.add(index)
                try link.transaction { () throws(ServerFailure) in
                    _ = try link.run("SELECT pg_advisory_xact_lock($1)", .integer(Int64(1 + index)))
                    if isFirst {
                        (index == 0 ? mineIsHeld : otherIsHeld).signal()
                        _ = (index == 0 ? otherIsHeld : mineIsHeld).wait(timeout: .now() + 20)
                    }
                    _ = try link.run("SELECT pg_advisory_xact_lock($1)", .integer(Int64(2 - index)))
                }
            }
        }
        #expect(tries.all.count == 3)
        #expect(Set(tries.all) == [0, 1])
    }

    @Test func `a full table of sessions is a transient failure`() throws {
        let database = try SharedDatabase(
            PostgreSQLServer(settings: ["max_connections = 5", "superuser_reserved_connections = 0"]))
        let deadline = monotonicMilliseconds() + 5000
        let others = try (0..<5).map { _ in
            try PostgreSQLConnection(
                PostgreSQLSettings(url: database.url), applicationName: "test", until: deadline)
        }
        #expect(storeError { _ = try database.open() }?.kind == .unavailable)
        withExtendedLifetime(others) {}
    }

    // MARK: Who lets whom in

    @Test func `a wrong password, user or database is told apart and shows no password`() throws {
        let server = try PostgreSQLServer()
        let urls = [
            server.url(password: "hunter2"), server.url(user: "nobody"), server.url(database: "none"),
        ]
        for url in urls {
            let error = storeError {
                _ = try PostgreSQLStore(
                    settings: PostgreSQLSettings(url: url), keys: KeyRing(active: testKey()), instance: "i")
            }
            #expect(error?.kind == .permissions)
            #expect(error?.isTransient == false)
            for secret in ["hunter2", PostgreSQLServer.password] { #expect(error?.message.contains(secret) == false) }
            #expect(error?.message.contains("127.0.0.1:\(server.port)") == true)
        }
    }

    @Test func `nobody there is transient and names the place`() throws {
        let server = try PostgreSQLServer()
        server.stop(.fast)
        let error = storeError {
            _ = try PostgreSQLStore(
                settings: PostgreSQLSettings(url: server.url()), keys: KeyRing(active: testKey()), instance: "i")
        }
        #expect(error?.kind == .unavailable)
        #expect(error?.message.contains("127.0.0.1:\(server.port)") == true)
        #expect(error?.message.contains(PostgreSQLServer.password) == false)
    }

    @Test func `a user with no right to make the schema is told so, and one with an empty schema is enough`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        _ = try database.sql("CREATE ROLE plain LOGIN PASSWORD 'plain-password'")
        let url = database.server.url(user: "plain", password: "plain-password", database: database.name)
        func open() throws -> PostgreSQLStore {
            try PostgreSQLStore(
                settings: PostgreSQLSettings(url: url), keys: KeyRing(active: testKey()), instance: "i")
        }
        #expect(storeError { _ = try open() }?.kind == .permissions)
        _ = try database.sql("CREATE SCHEMA token_gateway AUTHORIZATION plain")
        let store = try open()
        #expect(try store.commit(grant: "a", payload: [1], ifGeneration: 0) == .committed(generation: 1))
        _ = try store.waitForNews(upTo: 0)
        _ = try database.sql("ALTER ROLE plain SET default_transaction_read_only = on")
        try database.server.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'plain'")
        #expect(storeError { _ = try store.commit(grant: "a", payload: [2], ifGeneration: 1) }?.kind == .unavailable)
    }

    @Test func `the server's certificate is verified, with its name`() throws {
        let now = Int64(Date().timeIntervalSince1970)
        let validity = Validity(notBefore: now - 60, notAfter: now + 3600)
        let authority = try CertificateAuthority(commonName: "ours", validity: validity)
        let other = try CertificateAuthority(commonName: "another", validity: validity)
        let scratch = Scratch()
        scratch.write(Array(authority.certificatePEM.utf8), "ca.pem")
        scratch.write(Array(other.certificatePEM.utf8), "other.pem")
        func server(_ addresses: [String]) throws -> PostgreSQLServer {
            let leaf = try authority.issue(
                LeafRequest(dnsNames: ["db.example"], ipAddresses: addresses, validity: validity))
            return try PostgreSQLServer(certificate: leaf.certificatePEM, key: leaf.privateKeyPEM.exposed())
        }
        func open(_ server: PostgreSQLServer, _ ca: String, _ query: String = "") throws -> PostgreSQLStore {
            let settings = try PostgreSQLSettings(
                url: server.url(query: query), caFile: ca.isEmpty ? nil : scratch.path + "/" + ca)
            return try PostgreSQLStore(settings: settings, keys: KeyRing(active: testKey()), instance: "i")
        }
        let right = try server(["127.0.0.1"])
        let store = try open(right, "ca.pem")
        #expect(try store.commit(grant: "a", payload: [1], ifGeneration: 0) == .committed(generation: 1))
        #expect(
            try right.sql(
                "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl AND a.application_name = 'token-gateway'"
            ) == "1")
        for (ca, query) in [("other.pem", ""), ("", "?sslmode=verify-full"), ("missing.pem", "")] {
            let error = storeError { _ = try open(right, ca, query) }
            #expect(error?.kind == .unavailable)
            #expect(error?.message.contains(PostgreSQLServer.password) == false)
        }
        #expect(storeError { _ = try open(try server([]), "ca.pem") }?.kind == .unavailable)
        // A server without TLS is not spoken to in clear.
        #expect(storeError { _ = try open(try PostgreSQLServer(), "ca.pem") }?.kind == .unavailable)
    }

    // MARK: Crashes

    @Test func `whatever happens to the server, no acknowledged commit is lost and no generation won twice`() throws {
        let database = try SharedDatabase(PostgreSQLServer())
        let helpers = try (0..<3).map { try Helper("race", database.url, "i\($0)") }
        for helper in helpers { helper.read(lines: 20) }
        for round in 0..<6 {
            switch round % 3 {
            case 0: try database.server.restart(.kill)
            case 1:
                database.server.freeze()
                usleep(1_500_000)
                database.server.resume()
            default: try database.server.restart(.immediate)
            }
            // Every process must come back by itself.
            for helper in helpers { helper.read(lines: helper.lines.count + 10) }
        }
        for helper in helpers { helper.kill() }
        let record = try #require(try database.open().read(grant: "history"))
        let history = String(decoding: record.payload, as: UTF8.self).split(separator: " ").map(String.init)
        // One entry a generation: a commit that took effect after its answer was lost is there too, but none twice.
        #expect(history.count == Int(record.generation))
        #expect(Set(history).count == history.count)
        var acknowledged = 0
        for helper in helpers {
            for line in helper.lines where line != "ready" {
                let words = line.split(separator: " ").map(String.init)
                #expect(words.count == 3)
                #expect(history[Int(words[2])! - 1] == words[1])
                acknowledged += 1
            }
        }
        #expect(acknowledged > 200)
        #expect(acknowledged <= history.count)
    }
}
