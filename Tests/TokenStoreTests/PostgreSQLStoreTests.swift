import Foundation
import OpenSSLKit
import PostgreSQLTesting
import Testing

@testable import TokenStore

/// What holds of the shared store beyond what every backend does.
@Suite struct PostgreSQLStoreTests {
    let scratch = Scratch()

    // MARK: Races

    @Test func `of many stores that race for a generation exactly one wins`() throws {
        let database = try scratch.sharedDatabase()
        let (threads, commits) = (6, 40)
        let wins = Notes<(grant: String, generation: UInt64, by: Int)>()
        let errors = Notes<String>()
        onThreads(threads) { index in
            do {
                let store = try database.open(instance: "i\(index)")
                var left = commits
                while left > 0 {
                    for grant in ["a", "b"] {
                        let expected = try store.read(grant: grant)?.generation ?? 0
                        let outcome = try store.commit(
                            grant: grant, payload: Array("\(index)".utf8), ifGeneration: expected, dueAt: nil)
                        if case .committed(let generation) = outcome {
                            wins.add((grant, generation, index))
                            left -= 1
                        }
                    }
                }
            } catch {
                errors.add("\(error)")
            }
        }
        #expect(errors.all == [])
        let store = try database.open()
        for grant in ["a", "b"] {
            let mine = wins.all.filter { $0.grant == grant }.sorted { $0.generation < $1.generation }
            #expect(mine.map(\.generation) == (1...UInt64(mine.count)).map { $0 })
            #expect(try store.read(grant: grant)?.generation == UInt64(mine.count))
            #expect(try store.read(grant: grant)?.payload == Array("\(mine.last?.by ?? -1)".utf8))
        }
        #expect(wins.all.count >= threads * commits)
    }

    @Test func `of many that make the same grant, or bring it back, one wins`() throws {
        let database = try scratch.sharedDatabase()
        let stores = try (0..<5).map { try database.open(instance: "i\($0)") }
        for round in 1...10 as ClosedRange<UInt64> {
            let outcomes = Notes<CommitOutcome?>()
            onThreads(stores.count) { index in
                outcomes.add(try? stores[index].commit(grant: "g", payload: [1], ifGeneration: 0, dueAt: nil))
            }
            let won = outcomes.all.filter { $0 == .committed(generation: round) }
            let lost = outcomes.all.filter { $0 == .conflict(current: StoredRecord(generation: round, payload: [1])) }
            #expect((won.count, lost.count) == (1, stores.count - 1))
            #expect(try stores[0].remove(grant: "g", ifGeneration: round) == .removed)
        }
    }

    @Test func `of grants that many make at once no more are there than have room`() throws {
        let database = try scratch.sharedDatabase()
        let stores = try (0..<6).map { try database.open(instance: "i\($0)") }
        let outcomes = Notes<CommitOutcome?>()
        onThreads(6) { index in
            for number in 0..<5 {
                outcomes.add(
                    try? stores[index].commit(
                        grant: "t:\(index).\(number)", payload: [1], ifGeneration: 0,
                        terms: CommitTerms(room: GrantRoom(prefix: "t:", limit: 7))))
            }
        }
        #expect(outcomes.all.count { $0 == .committed(generation: 1) } == 7)
        #expect(outcomes.all.count { $0 == .full(count: 7) } == 23)
        #expect(try stores[0].count(prefix: "t:") == 7)
    }

    @Test func `whoever looks for a consent finds it, or what its taker has left`() throws {
        let database = try scratch.sharedDatabase()
        let (taker, other) = (try database.open(instance: "a"), try database.open(instance: "b"))
        for round in 0..<40 {
            let id = "state-\(round)"
            _ = try taker.putConsent(id: id, payload: [1], expiresAt: .max / 2, limit: 1000, now: 0)
            let found = Notes<[UInt8]?>()
            onThreads(2) { index in
                let store = index == 0 ? taker : other
                let taken = try? store.takeConsent(id: id, now: 0) { _ in
                    KeptConsent(id: "left \(id)", payload: [2], expiresAt: .max / 2, limit: 1000)
                }
                found.add(taken ?? (try? store.findConsent(id: "left \(id)", now: 0)))
            }
            #expect(found.all.contains([1]) && found.all.contains([2]), "\(found.all)")
        }
    }

    @Test func `a flood of consents from many stores stays within the limit, and each is taken once`() throws {
        let database = try scratch.sharedDatabase()
        let stores = try (0..<5).map { try database.open(instance: "i\($0)") }
        let stored = Notes<String>()
        onThreads(stores.count) { index in
            for number in 0..<10 {
                let id = "c\(index)-\(number)"
                let outcome = try? stores[index].putConsent(
                    id: id, payload: Array(id.utf8), expiresAt: 600, limit: 17, now: 0)
                if outcome == .stored { stored.add(id) }
            }
        }
        #expect(stored.all.count == 17)
        let taken = Notes<String>()
        onThreads(stores.count) { index in
            for id in stored.all {
                if let payload = try? stores[index].takeConsent(id: id, now: 1), payload == Array(id.utf8) {
                    taken.add(id)
                }
            }
        }
        #expect(taken.all.sorted() == stored.all.sorted())
    }

    // MARK: Schema

    @Test func `many that start at once on an empty database make one store`() throws {
        let database = try scratch.sharedDatabase()
        let errors = Notes<String>()
        onThreads(8) { index in
            do {
                let store = try database.open(instance: "i\(index)")
                _ = try store.commit(grant: "g\(index)", payload: [1], ifGeneration: 0, dueAt: nil)
            } catch {
                errors.add("\(error)")
            }
        }
        #expect(errors.all == [])
        #expect(try database.open().count(prefix: "") == 8)
    }

    private static let addition = PostgreSQLMigration(
        statements: ["ALTER TABLE token_gateway.replica ADD COLUMN note text"], readableBy: 1)
    private static let breaking = PostgreSQLMigration(
        statements: ["ALTER TABLE token_gateway.replica DROP COLUMN started_at"], readableBy: 3)

    @Test func `an older replica goes on beside a newer one whose schema only adds`() throws {
        let database = try scratch.sharedDatabase()
        let old = try database.open()
        _ = try old.commit(grant: "a", payload: [1], ifGeneration: 0)
        let new = try database.open(migrations: PostgreSQLSchema.migrations + [Self.addition])
        #expect(try new.commit(grant: "a", payload: [2], ifGeneration: 1) == .committed(generation: 2))
        #expect(try old.commit(grant: "a", payload: [3], ifGeneration: 2) == .committed(generation: 3))
        #expect(try database.open(instance: "three").read(grant: "a")?.payload == [3])
        #expect(try database.sql("SELECT version, readable_by FROM token_gateway.store_version") == "3|2")
    }

    @Test func `a schema that an older replica cannot use is refused by name, also when it comes while running`() throws
    {
        let database = try scratch.sharedDatabase()
        let old = try database.open()
        _ = try database.open(migrations: PostgreSQLSchema.migrations + [Self.breaking])
        let error = storeError { _ = try database.open() }
        #expect(error?.kind == .newerSchema)
        #expect(error?.message.contains("schema 3") == true)
        #expect(error?.message.contains(":\(database.server.port)/\(database.name)") == true)
        try database.server.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '\(database.name)'")
        #expect(storeError { _ = try old.read(grant: "a") }?.kind == .newerSchema)
    }

    @Test func `a step of the schema that fails leaves no trace`() throws {
        let database = try scratch.sharedDatabase()
        let broken = PostgreSQLMigration(
            statements: Self.addition.statements + ["CREATE NONSENSE"], readableBy: 1)
        #expect(storeError { _ = try database.open(migrations: PostgreSQLSchema.migrations + [broken]) } != nil)
        #expect(try database.sql("SELECT to_regclass('token_gateway.store_version') IS NULL") == "t")
        let store = try database.open()
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        #expect(storeError { _ = try database.open(migrations: PostgreSQLSchema.migrations + [broken]) } != nil)
        #expect(try store.read(grant: "a") != nil)
        _ = try database.open(migrations: PostgreSQLSchema.migrations + [Self.addition])
        #expect(try store.read(grant: "a") != nil)
    }

    @Test func `a store of the first schema is migrated, and its states are noted later`() throws {
        let database = try scratch.sharedDatabase()
        do {
            let old = try database.open(migrations: Array(PostgreSQLSchema.migrations.prefix(1)))
            // As a program of then wrote it.
            let sealed = try Sealer(ring: KeyRing(active: testKey())).seal([1], at: .grant("a:1", 1, live: true))
            _ = try database.sql(
                """
                INSERT INTO token_gateway.grant_record (grant_id, generation, live, key_id, sealed)
                VALUES ('a:1', 1, true, '\(sealed.keyID.text)', '\\x\(hexText(sealed.bytes))')
                """)
            #expect(try old.count(prefix: "a:") == 1)
        }
        let store = try database.open()
        #expect(try store.read(grant: "a:1") == StoredRecord(generation: 1, payload: [1]))
        #expect(try store.states(prefix: "a:", after: nil, limit: 10).unnoted == ["a:1"])
        let error = storeError {
            _ = try database.open(migrations: Array(PostgreSQLSchema.migrations.prefix(1)))
        }
        #expect(error?.kind == .newerSchema)
    }

    // MARK: What is at rest

    @Test(arguments: [
        "UPDATE token_gateway.grant_record SET sealed = (SELECT sealed FROM token_gateway.grant_record WHERE grant_id = 'b') WHERE grant_id = 'a'",
        "UPDATE token_gateway.grant_record SET generation = 2 WHERE grant_id = 'a'",
        "UPDATE token_gateway.grant_record SET sealed = ''",
        "UPDATE token_gateway.grant_record SET live = false, due_at = NULL WHERE grant_id = 'a'",
        "UPDATE token_gateway.grant_record SET grant_id = CASE grant_id WHEN 'b' THEN 'x' WHEN 'a' THEN 'b' END WHERE grant_id IN ('a', 'b'); UPDATE token_gateway.grant_record SET grant_id = 'a' WHERE grant_id = 'x'",
    ])
    func `a row that was changed or swapped does not open, and can be removed`(_ change: String) throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        for name in ["a", "b", "c"] { _ = try store.commit(grant: name, payload: Array(name.utf8), ifGeneration: 0) }
        // The swap needs the rows apart for a moment.
        _ = try? database.sql("ALTER TABLE token_gateway.grant_record DROP CONSTRAINT grant_record_pkey")
        _ = try database.sql(change)
        let error = storeError { _ = try store.read(grant: "a") }
        #expect(error?.kind == .corrupt)
        #expect(error?.message.contains("grant a") == true)
        #expect(storeError { _ = try store.remove(grant: "a", ifGeneration: 1) }?.kind == .corrupt)
        #expect(try store.verify(after: nil, limit: 10).unreadable.keys.contains("a"))
        if try database.sql("SELECT live FROM token_gateway.grant_record WHERE grant_id = 'a'") == "t" {
            #expect(try store.remove(grant: "a", ifGeneration: nil) == .removed)
            #expect(try store.read(grant: "a") == nil)
        }
    }

    @Test func `a swapped consent does not open and stays where it is`() throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        for id in ["x", "y"] {
            _ = try store.putConsent(id: id, payload: Array(id.utf8), expiresAt: 600, limit: 9, now: 0)
        }
        _ = try database.sql(
            "UPDATE token_gateway.pending_consent SET sealed = (SELECT sealed FROM token_gateway.pending_consent WHERE consent_id = '\(consentDigest(of: "y"))')"
        )
        #expect(storeError { _ = try store.takeConsent(id: "x", now: 1) }?.kind == .corrupt)
        #expect(try database.sql("SELECT count(*) FROM token_gateway.pending_consent") == "2")
        #expect(try store.takeConsent(id: "y", now: 1) == Array("y".utf8))
    }

    @Test func `a dump has no secret in clear`() throws {
        let secrets = ["ya29.access-token", "1//refresh-token", "the-pkce-verifier", "state-0123456789"]
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        _ = try store.commit(grant: "crm", payload: Array((secrets[0] + secrets[1]).utf8), ifGeneration: 0)
        _ = try store.putConsent(id: secrets[3], payload: Array(secrets[2].utf8), expiresAt: 9, limit: 9, now: 0)
        let dump = try database.server.dump(database: database.name)
        #expect(dump.contains("crm"))
        for secret in secrets {
            #expect(!dump.contains(secret))
            #expect(!dump.contains(hexText(Array(secret.utf8))))
        }
        #expect(!dump.contains(hexText(try testKey().bytes.exposed())))
    }

    // MARK: Keys

    @Test func `a wrong key stops the start with both names and changes nothing`() throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        let before = try database.sql("SELECT * FROM token_gateway.store_key")
        let error = storeError { _ = try database.open(keys: KeyRing(active: testKey(9))) }
        #expect(error?.kind == .key)
        for seed: UInt8 in [1, 9] { #expect(error?.message.contains(try testKey(seed).id.text) == true) }
        #expect(try database.sql("SELECT * FROM token_gateway.store_key") == before)
        _ = try database.sql("UPDATE token_gateway.store_key SET check_value = 'x'")
        #expect(storeError { _ = try database.open() }?.kind == .corrupt)
    }

    @Test func `keys are changed under running replicas without a call that fails`() throws {
        let database = try scratch.sharedDatabase()
        let (old, new) = (try testKey(1), try testKey(2))
        let stores = try ["a", "b"].map { try database.open(keys: KeyRing(active: old), instance: $0) }
        for index in 0..<150 {
            _ = try stores[index % 2].commit(grant: "g\(index)", payload: [UInt8(index)], ifGeneration: 0)
        }
        _ = try stores[0].putConsent(id: "c", payload: [7], expiresAt: 600, limit: 5, now: 0)
        // A replica that does not know the new key must not be met with rows under it: that is why it comes first as
        // an older key.
        for store in stores { try store.useKeys(KeyRing(active: old, older: [new])) }
        try stores[0].useKeys(KeyRing(active: new, older: [old]))
        #expect(try stores[0].commit(grant: "g0", payload: [0], ifGeneration: 1) == .committed(generation: 2))
        #expect(try stores[1].commit(grant: "g0", payload: [0], ifGeneration: 2) == .committed(generation: 3))
        #expect(storeError { _ = try stores[0].retire(old.id) }?.message.contains("151 rows") == true)
        // The second still seals under the old key, in the middle of a rekey.
        #expect(try stores[0].rekeySome(limit: 100) == RekeyPage(seen: 100, resealed: 100))
        #expect(try stores[1].commit(grant: "g1", payload: [1], ifGeneration: 1) == .committed(generation: 2))
        try stores[1].useKeys(KeyRing(active: new, older: [old]))
        let report = try stores[1].rekey()
        #expect(report.unused == [old.id])
        #expect(report.remaining == 0)
        #expect((51...52).contains(report.resealed))
        #expect(try stores[0].retire(old.id))
        for store in stores { try store.useKeys(KeyRing(active: new)) }
        let found = try stores[1].readAll()
        #expect(found.count == 150)
        for index in 0..<150 { #expect(found["g\(index)"]?.payload == [UInt8(index)]) }
        #expect(try stores[1].takeConsent(id: "c", now: 1) == [7])
        #expect(storeError { _ = try database.open(keys: KeyRing(active: old)) }?.kind == .key)
    }

    @Test func `a row under a key that is not ours is told apart from a damaged one`() throws {
        let database = try scratch.sharedDatabase()
        let (old, new) = (try testKey(1), try testKey(2))
        let behind = try database.open(keys: KeyRing(active: old))
        let ahead = try database.open(keys: KeyRing(active: new, older: [old]))
        _ = try ahead.commit(grant: "a", payload: [1], ifGeneration: 0)
        let error = storeError { _ = try behind.read(grant: "a") }
        #expect(error?.kind == .unknownKey)
        #expect(error?.message.contains(new.id.text) == true)
        #expect(storeError { _ = try behind.remove(grant: "a", ifGeneration: nil) }?.kind == .unknownKey)
        #expect(try ahead.read(grant: "a")?.payload == [1])
        let use = try behind.keyUse()
        #expect(use.filter { !$0.isActive && !$0.isOnRing }.map(\.id) == [new.id])
    }

    @Test func `a replica that kept a retired key in front cannot write under it`() throws {
        let database = try scratch.sharedDatabase()
        let (old, new) = (try testKey(1), try testKey(2))
        let behind = try database.open(keys: KeyRing(active: old, older: [new]))
        let ahead = try database.open(keys: KeyRing(active: new, older: [old]))
        _ = try ahead.commit(grant: "a", payload: [1], ifGeneration: 0)
        #expect(try ahead.retire(old.id))
        let error = storeError { _ = try behind.commit(grant: "a", payload: [2], ifGeneration: 1) }
        #expect(error?.kind == .key)
        #expect(error?.message.contains("retired") == true)
        #expect(try behind.read(grant: "a")?.payload == [1])
        try behind.useKeys(KeyRing(active: new))
        #expect(try behind.commit(grant: "a", payload: [2], ifGeneration: 1) == .committed(generation: 2))
    }

    @Test func `a rekey that meets rows being written leaves them as they are written`() throws {
        let database = try scratch.sharedDatabase()
        let (old, new) = (try testKey(1), try testKey(2))
        let writer = try database.open(keys: KeyRing(active: old, older: [new]))
        let rekeyer = try database.open(keys: KeyRing(active: new, older: [old]))
        for index in 0..<40 { _ = try writer.commit(grant: "g\(index)", payload: [0], ifGeneration: 0) }
        let errors = Notes<String>()
        onThreads(2) { index in
            do {
                if index == 0 {
                    for generation: UInt64 in 1...20 {
                        for grant in 0..<40 {
                            let outcome = try writer.commit(
                                grant: "g\(grant)", payload: [UInt8(generation)], ifGeneration: generation, dueAt: nil)
                            if outcome != .committed(generation: generation + 1) { errors.add("\(outcome)") }
                        }
                    }
                } else {
                    for _ in 0..<30 { _ = try rekeyer.rekeySome(limit: 16) }
                }
            } catch {
                errors.add("\(error)")
            }
        }
        #expect(errors.all == [])
        #expect(try rekeyer.rekey().remaining == 0)
        for record in try rekeyer.readAll().values { #expect(record == StoredRecord(generation: 21, payload: [20])) }
    }
}
