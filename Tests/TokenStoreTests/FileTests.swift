import Foundation
import GRDB
import Testing

@testable import TokenStore

@Suite struct FileTests {
    let scratch = Scratch()

    /// Makes a store with some records and closes it.
    func fill() throws {
        let store = try openSQLite(scratch)
        for name in ["crm", "billing"] {
            _ = try store.commit(grant: name, payload: Array("secret of \(name)".utf8), ifGeneration: 0)
        }
        _ = try store.commit(grant: "gone", payload: [1], ifGeneration: 0)
        _ = try store.remove(grant: "gone", ifGeneration: nil)
        _ = try store.putConsent(id: "state-value", payload: Array("verifier".utf8), expiresAt: 9, limit: 9, now: 0)
        store.close()
    }

    /// Changes the closed file with SQL.
    func tamper(_ sql: String...) throws {
        let database = try DatabaseQueue(path: scratch.database)
        try database.writeWithoutTransaction { db in for line in sql { try db.execute(sql: line) } }
        try database.close()
    }

    // MARK: Modes and places

    @Test func `directory and files are for nobody else`() throws {
        let scratch = Scratch()
        let path = scratch.path + "/made/grants.db"
        let store = try SQLiteStore(path: path, keys: KeyRing(active: testKey()))
        _ = try store.commit(grant: "a", payload: [1], ifGeneration: 0)
        #expect(scratch.mode("made") == 0o700)
        let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/made").sorted()
        #expect(names == ["grants.db", "grants.db-wal", "grants.db.lock"])
        for name in names { #expect(scratch.mode("made/" + name) == 0o600) }
    }

    @Test(arguments: [mode_t(0o755), 0o710, 0o777, 0o701])
    func `a directory that is open to others is refused with the remedy`(_ mode: mode_t) throws {
        chmod(scratch.path, mode)
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .permissions)
        #expect(error?.message.contains("chmod 700 \(scratch.path)") == true)
        #expect(scratch.names.isEmpty)
    }

    @Test(arguments: [mode_t(0o640), 0o604, 0o666])
    func `a database that is open to others is refused with the remedy`(_ mode: mode_t) throws {
        try fill()
        chmod(scratch.database, mode)
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .permissions)
        #expect(error?.message.contains("chmod 600 \(scratch.database)") == true)
    }

    @Test func `a link, a directory and a missing parent are refused`() throws {
        try fill()
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path + "/link.db", withDestinationPath: scratch.database)
        let keys = KeyRing(active: try testKey())
        let cases: [(String, StoreError.Kind)] = [
            ("/link.db", .permissions), ("/none/of/these.db", .invalid), ("/grants.db/x.db", .permissions),
        ]
        for (name, kind) in cases {
            let error = storeError { _ = try SQLiteStore(path: scratch.path + name, keys: keys) }
            #expect(error?.kind == kind)
        }
        mkdir(scratch.path + "/directory.db", 0o700)
        let error = storeError { _ = try SQLiteStore(path: scratch.path + "/directory.db", keys: keys) }
        #expect(error?.message.contains("not a plain file") == true)
    }

    @Test func `two openers in one process are two too many`() throws {
        let store = try openSQLite(scratch)
        #expect(storeError { _ = try openSQLite(scratch) }?.kind == .inUse)
        store.close()
        _ = try openSQLite(scratch)
    }

    // MARK: What is not a store of ours

    @Test func `a database of another program is refused and left as it was`() throws {
        try tamper("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
        chmod(scratch.database, 0o600)
        let before = scratch.bytes()
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .foreign)
        #expect(error?.message.contains(scratch.database) == true)
        #expect(scratch.bytes() == before)
    }

    @Test func `a newer store is refused and left as it was`() throws {
        try fill()
        try tamper("PRAGMA user_version = 99")
        let before = scratch.bytes()
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .newerSchema)
        #expect(error?.message.contains("schema 99") == true)
        #expect(scratch.bytes() == before)
    }

    @Test func `an older store is migrated, all or nothing`() throws {
        try fill()
        let keys = KeyRing(active: try testKey())
        let added = ["ALTER TABLE pending_consent ADD COLUMN note TEXT", "CREATE TABLE extra (a TEXT) STRICT"]
        let broken = SQLiteSchema.migrations + [added + ["CREATE NONSENSE"]]
        #expect(
            storeError { _ = try SQLiteStore(path: scratch.database, keys: keys, migrations: broken) } != nil)
        #expect(try openSQLite(scratch).readAll().count == 2)
        let good = SQLiteSchema.migrations + [added]
        for _ in 0..<2 {
            let store = try SQLiteStore(path: scratch.database, keys: keys, migrations: good)
            #expect(try store.readAll().count == 2)
            store.close()
        }
        #expect(storeError { _ = try openSQLite(scratch) }?.kind == .newerSchema)
    }

    @Test func `the table of leases that versions before the first made does no harm`() throws {
        try fill()
        try tamper(
            """
            CREATE TABLE lease (
                name TEXT PRIMARY KEY NOT NULL, holder TEXT NOT NULL, expires_at INTEGER NOT NULL,
                fence INTEGER NOT NULL) STRICT, WITHOUT ROWID
            """)
        for _ in 0..<2 {
            let store = try openSQLite(scratch)
            #expect(try store.readAll().count == 2)
            store.close()
        }
    }

    // MARK: Keys

    @Test func `a wrong key is refused with both names and nothing is written`() throws {
        try fill()
        let before = scratch.bytes()
        let error = storeError { _ = try openSQLite(scratch, keys: KeyRing(active: testKey(9))) }
        #expect(error?.kind == .key)
        #expect(error?.message.contains(try testKey(1).id.text) == true)
        #expect(error?.message.contains(try testKey(9).id.text) == true)
        #expect(scratch.bytes() == before)
        #expect(try openSQLite(scratch).readAll().count == 2)
    }

    @Test func `a rekey that stopped half way needs both keys and goes on`() throws {
        let (old, new) = (try testKey(1), try testKey(2))
        try fill()
        let store = try openSQLite(scratch)
        try store.useKeys(KeyRing(active: new, older: [old]))
        #expect(try store.rekeySome(limit: 2) == RekeyPage(seen: 2, resealed: 2))
        store.close()
        for key in [old, new] {
            let error = storeError { _ = try openSQLite(scratch, keys: KeyRing(active: key)) }
            #expect(error?.kind == .key)
            #expect(error?.message.contains("missing: \(key.id == old.id ? new.id : old.id)") == true)
        }
        let both = try openSQLite(scratch, keys: KeyRing(active: new, older: [old]))
        #expect(storeError { _ = try both.retire(old.id) }?.message.contains("still seals 2 rows") == true)
        #expect(storeError { _ = try both.retire(new.id) }?.kind == .key)
        #expect(try both.rekey() == RekeyReport(resealed: 2, unused: [old.id], remaining: 0))
        both.close()
        #expect(try openSQLite(scratch, keys: KeyRing(active: new)).readAll().count == 2)
    }

    @Test func `a new active key that has sealed nothing can be taken back`() throws {
        try fill()
        try openSQLite(scratch, keys: KeyRing(active: testKey(2), older: [testKey(1)])).close()
        #expect(try openSQLite(scratch).readAll().count == 2)
    }

    // MARK: Damage

    @Test(arguments: [
        "UPDATE grant_record SET sealed = (SELECT sealed FROM grant_record WHERE grant_id = 'crm') WHERE grant_id = 'billing'",
        "UPDATE grant_record SET generation = 2 WHERE grant_id = 'crm'",
        "UPDATE grant_record SET grant_id = 'other' WHERE grant_id = 'crm'",
        "UPDATE grant_record SET live = 1 WHERE grant_id = 'gone'",
        "UPDATE grant_record SET generation = 0 WHERE grant_id = 'gone'",
        "UPDATE grant_record SET generation = -1 WHERE grant_id = 'crm'",
        "UPDATE grant_record SET sealed = x''", "UPDATE grant_record SET key_id = 'x'",
        "UPDATE pending_consent SET expires_at = 1000", "UPDATE store_key SET check_value = x'01'",
        "DELETE FROM store_key", "DROP TABLE pending_consent", "PRAGMA user_version = 0", "PRAGMA user_version = -1",
        "CREATE TRIGGER t AFTER INSERT ON store_key BEGIN DELETE FROM grant_record; END",
    ])
    func `a store that was tampered with is refused`(_ sql: String) throws {
        try fill()
        try tamper(sql)
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .corrupt || (error?.kind == .key && sql.contains("key_id")))
        #expect(error?.message.contains(scratch.database) == true)
    }

    @Test func `a flipped bit anywhere is noticed or harmless`() throws {
        try fill()
        let whole = scratch.bytes()
        let expected = try openSQLite(scratch).readAll()
        var noticed = 0
        // Every byte of the header, then a bit in every 41st byte.
        for offset in Array(0..<100) + Array(stride(from: 100, to: whole.count, by: 41)) {
            var bytes = whole
            bytes[offset] ^= 1 << UInt8(offset % 8)
            scratch.write(bytes)
            do {
                let store = try openSQLite(scratch)
                #expect(try store.readAll() == expected)
                #expect(try store.takeConsent(id: "state-value", now: 0) == Array("verifier".utf8))
                store.close()
            } catch let error as StoreError {
                noticed += 1
                #expect(error.message.contains(scratch.database))
                #expect(!error.isTransient)
            }
            unlink(scratch.database + "-wal")
        }
        #expect(noticed > 30)
    }

    @Test func `a shortened file is an error that names the file and the remedy`() throws {
        try fill()
        let whole = scratch.bytes()
        for length in [0, 1, 15, 16, 99, 100, 512, 4095, 4096, 4097, 8192, whole.count - 4096, whole.count - 1] {
            scratch.write(Array(whole.prefix(length)))
            let error = storeError { _ = try openSQLite(scratch) }
            #expect(error?.kind == .corrupt)
            #expect(error?.message.contains("\(scratch.database) is damaged") == true)
            #expect(error?.message.contains("backup") == true)
            #expect(scratch.bytes().count == length)
        }
    }

    @Test func `a log without its database is not a new store`() throws {
        try fill()
        unlink(scratch.database)
        scratch.write([1, 2, 3], "grants.db-wal")
        let error = storeError { _ = try openSQLite(scratch) }
        #expect(error?.kind == .corrupt)
        #expect(!scratch.names.contains("grants.db"))
    }

    @Test func `what a crash left of an unfinished store is in nobody's way`() throws {
        scratch.write([1, 2, 3], "grants.db.new")
        scratch.write([1, 2, 3], "grants.db.new-wal")
        try fill()
        #expect(scratch.names == ["grants.db", "grants.db.lock"])
    }

    // MARK: Secrets

    @Test func `no secret is in clear in any file, during and after`() throws {
        let secrets = ["ya29.access-token", "1//refresh-token", "the-pkce-verifier", "state-0123456789"]
        let store = try openSQLite(scratch)
        for index in 0..<5 as Range<UInt64> {
            _ = try store.commit(grant: "crm", payload: Array((secrets[0] + secrets[1]).utf8), ifGeneration: index)
        }
        _ = try store.putConsent(id: secrets[3], payload: Array(secrets[2].utf8), expiresAt: 9, limit: 9, now: 0)
        func expectNone() {
            var sawGrant = false
            for name in scratch.names {
                for secret in secrets { #expect(!contains(scratch.bytes(name), secret)) }
                sawGrant = sawGrant || contains(scratch.bytes(name), "crm")
            }
            #expect(sawGrant)
        }
        expectNone()
        #expect(try store.takeConsent(id: secrets[3], now: 0) != nil)
        store.close()
        expectNone()
    }

    @Test func `after a rekey nothing sealed under the old key is left in the files`() throws {
        let store = try openSQLite(scratch)
        _ = try store.commit(grant: "crm", payload: Array("token".utf8), ifGeneration: 0)
        let sealed = try store.write { db, _, _ in
            try Data.fetchOne(db, sql: "SELECT sealed FROM grant_record") ?? Data()
        }
        #expect(scratch.names.contains { Data(scratch.bytes($0)).range(of: sealed) != nil })
        try store.useKeys(KeyRing(active: testKey(2), older: [testKey(1)]))
        _ = try store.rekey()
        for name in scratch.names { #expect(Data(scratch.bytes(name)).range(of: sealed) == nil) }
    }
}
