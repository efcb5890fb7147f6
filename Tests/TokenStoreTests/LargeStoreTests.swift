import Foundation
import GRDB
import Testing

@testable import TokenStore

/// A store that is too large to be looked at in whole when it is opened. TOKEN_GATEWAY_MEASURE=100000 makes it that
/// large, on both backends, and prints how long things take.
@Suite(.serialized) struct LargeStoreTests {
    static let measured = ProcessInfo.processInfo.environment["TOKEN_GATEWAY_MEASURE"].flatMap { Int($0) }
    static let payload = [UInt8](repeating: 7, count: 1500)
    let scratch = Scratch()

    private static func name(_ index: Int) -> String { "zoho:tenant-\(index)" }

    private func fillSQLite(_ count: Int) throws {
        let store = try openSQLite(scratch)
        try store.write { db, sealer, _ in
            for index in 0..<count {
                let row = GrantRow(generation: 1, payload: Self.payload, dueAt: Int64(index))
                try GrantTable.put(db, sealer, grant: Self.name(index), row)
            }
        }
        store.close()
    }

    private func tamper(_ sql: String) throws {
        let database = try DatabaseQueue(path: scratch.database)
        try database.writeWithoutTransaction { db in try db.execute(sql: sql) }
        try database.close()
    }

    @Test func `a damaged record does not keep a large store from opening, and is found when it is read`() throws {
        try fillSQLite(4000)
        #expect(scratch.bytes().count > Int(SQLiteStore.smallBytes))
        try tamper("UPDATE grant_record SET sealed = zeroblob(1600) WHERE grant_id = 'zoho:tenant-7'")
        let store = try openSQLite(scratch)
        #expect(try store.read(grant: "zoho:tenant-8")?.payload == Self.payload)
        let error = storeError { _ = try store.read(grant: "zoho:tenant-7") }
        #expect(error?.kind == .corrupt)
        #expect(error?.message.contains("zoho:tenant-7") == true)
        var (last, checked, unreadable) = (String?.none, 0, Set<String>())
        repeat {
            let page = try store.verify(after: last, limit: 300)
            (last, checked) = (page.last, checked + page.checked)
            unreadable.formUnion(page.unreadable.keys)
        } while last != nil
        #expect(checked == 4000)
        #expect(unreadable == ["zoho:tenant-7"])
        #expect(try store.remove(grant: "zoho:tenant-7", ifGeneration: nil) == .removed)
        #expect(try store.count(prefix: "zoho:") == 3999)
    }

    @Test(arguments: [
        ("grant_live", "live <> 0 AND grant_id <> 'zoho:tenant-7'"),
        ("grant_by_due", "due_at IS NOT NULL AND grant_id <> 'zoho:tenant-7'"),
    ])
    func `a record that an index lacks is found`(_ index: String, _ without: String) throws {
        try fillSQLite(4000)
        // The index is made without the record, and then said to be the one of the schema.
        let columns = index == "grant_live" ? "(grant_id, live, state)" : "(due_at, grant_id)"
        let whole = index == "grant_live" ? "live <> 0" : "due_at IS NOT NULL"
        let database = try DatabaseQueue(path: scratch.database)
        try database.writeWithoutTransaction { db in
            let sql = try #require(
                try String.fetchOne(db, sql: "SELECT sql FROM sqlite_schema WHERE name = ?", arguments: [index]))
            let row = try Int.fetchOne(db, sql: "SELECT rowid FROM sqlite_schema WHERE name = ?", arguments: [index])
            #expect(sql.hasSuffix("\(columns) WHERE \(whole)"))
            try db.execute(sql: "DROP INDEX \(index)")
            try db.execute(sql: "CREATE INDEX \(index) ON grant_record \(columns) WHERE \(without)")
            try db.execute(sql: "PRAGMA writable_schema = ON")
            try db.execute(
                sql: "UPDATE sqlite_schema SET sql = ?, rowid = ? WHERE name = ?",
                arguments: [sql, row, index])
        }
        try database.close()
        let store = try openSQLite(scratch)
        #expect(try store.read(grant: "zoho:tenant-7")?.payload == Self.payload)
        var (last, unreadable) = (String?.none, [String: StoreError]())
        repeat {
            let page = try store.verify(after: last, limit: 300)
            last = page.last
            unreadable.merge(page.unreadable) { $1 }
        } while last != nil
        #expect(Array(unreadable.keys) == ["zoho:tenant-7"])
        #expect(unreadable["zoho:tenant-7"]?.message.contains("index") == true)
    }

    @Test func `a large store is still refused without its key, its end or its tables`() throws {
        try fillSQLite(4000)
        let error = storeError { _ = try openSQLite(scratch, keys: KeyRing(active: testKey(9))) }
        #expect(error?.kind == .key)
        let whole = scratch.bytes()
        scratch.write(Array(whole.dropLast(4096)))
        #expect(storeError { _ = try openSQLite(scratch) }?.kind == .corrupt)
        scratch.write(whole)
        try tamper("DROP INDEX grant_live")
        #expect(storeError { _ = try openSQLite(scratch) }?.kind == .corrupt)
    }

    @Test func `a store of the first schema is migrated in place and keeps all`() throws {
        let sealer = Sealer(ring: KeyRing(active: try testKey()))
        let database = try DatabaseQueue(path: scratch.database)
        try database.write { db in
            try db.execute(sql: "PRAGMA application_id = \(SQLiteSchema.applicationID)")
            try SQLiteSchema.migrate(db, Array(SQLiteSchema.migrations.prefix(1)))
            try KeyTable.add(db, sealer.ring.active)
            for index in 0..<50 {
                let sealed = try sealer.seal([UInt8(index)], at: .grant("g\(index)", UInt64(index + 1), live: true))
                try db.execute(
                    sql: "INSERT INTO grant_record VALUES (?, ?, 1, ?, ?)",
                    arguments: ["g\(index)", index + 1, sealed.keyID.text, blob(sealed.bytes)])
            }
        }
        try database.close()
        chmod(scratch.database, 0o600)
        let store = try openSQLite(scratch)
        #expect(try store.count(prefix: "") == 50)
        #expect(try store.nextDue() == nil)
        for index in 0..<50 {
            let record = StoredRecord(generation: UInt64(index + 1), payload: [UInt8(index)])
            #expect(try store.read(grant: "g\(index)") == record)
        }
        #expect(try store.states(prefix: "", after: nil, limit: 90).unnoted.count == 50)
        _ = try store.commit(grant: "g7", payload: [1], ifGeneration: 8, dueAt: 5)
        #expect(try store.nextDue() == 5)
    }

    // MARK: Measurements

    @Test(.enabled("TOKEN_GATEWAY_MEASURE is not set") { measured != nil }, arguments: [100, measured ?? 100])
    func `how long things take in the embedded store`(_ count: Int) throws {
        try fillSQLite(count)
        let clock = ContinuousClock()
        var store: SQLiteStore?
        let opened = try clock.measure { store = try openSQLite(scratch) }
        print("SQLite, \(count) grants, \(scratch.bytes().count >> 20) MiB: open \(opened)")
        if let store { try measure(store, count, "SQLite") }
    }

    @Test(.enabled("TOKEN_GATEWAY_MEASURE is not set") { measured != nil }, arguments: [100, measured ?? 100])
    func `how long things take in the shared store`(_ count: Int) throws {
        let database = try scratch.sharedDatabase()
        let store = try database.open()
        try store.call(writes: true, within: 600_000) { link throws(ServerFailure) in
            try link.transaction { () throws(ServerFailure) in
                for index in 0..<count {
                    let row = GrantRow(generation: 1, payload: Self.payload, dueAt: Int64(index))
                    _ = try GrantStatements.insert(link, Self.name(index), row)
                }
            }
        }
        store.close()
        _ = try database.sql("VACUUM ANALYZE")
        let clock = ContinuousClock()
        var again: PostgreSQLStore?
        let opened = try clock.measure { again = try database.open() }
        print("PostgreSQL, \(count) grants: open \(opened)")
        if let again { try measure(again, count, "PostgreSQL") }
    }

    private func measure(_ store: some TokenStore, _ count: Int, _ label: String) throws {
        let clock = ContinuousClock()
        func time(_ what: String, _ repetitions: Int, _ body: (Int) throws -> Void) rethrows {
            let duration = try clock.measure { for index in 0..<repetitions { try body(index) } }
            print("\(label), \(count) grants: \(what) \(duration / repetitions)")
        }
        try time("read", 100) { index in _ = try store.read(grant: Self.name(index * (count / 100))) }
        try time("commit", 100) { index in
            _ = try store.commit(
                grant: Self.name(index * (count / 100)), payload: Self.payload, ifGeneration: 1, dueAt: 5)
        }
        try time("page of 1000 names", 1) { _ in _ = try store.names(prefix: "zoho:", after: nil, limit: 1000) }
        try time("count", 1) { _ in
            let found = try store.count(prefix: "zoho:")
            #expect(found == count)
        }
        try time("100 due", 10) { _ in _ = try store.due(before: .max, limit: 100) }
        try time("next due", 10) { _ in _ = try store.nextDue() }
        try time("use of keys", 1) { _ in _ = try store.keyUse() }
        try time("check of all", 1) { _ in
            var last: String?
            repeat { last = try store.verify(after: last, limit: 500).last } while last != nil
        }
        try store.useKeys(KeyRing(active: testKey(2), older: [testKey(1)]))
        try time("rekey", 1) { _ in
            let report = try store.rekey()
            #expect(report.resealed == count)
        }
    }
}
