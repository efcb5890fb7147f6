import Foundation
import Testing

@testable import TokenStore

/// What somebody does to the files of a store while it is open.
@Suite struct OpenFilesTests {
    let scratch = Scratch()

    private func filled() throws -> SQLiteStore {
        let store = try openSQLite(scratch)
        #expect(try store.commit(grant: "crm", payload: [1], ifGeneration: 0) == .committed(generation: 1))
        return store
    }

    @Test(
        arguments: [
            ["grants.db"], ["grants.db-wal"], ["grants.db", "grants.db-wal"],
            ["grants.db", "grants.db-wal", "grants.db.lock"],
        ])
    func `files that are deleted under the store are told, written again, and nothing is lost`(_ names: [String]) throws
    {
        let store = try filled()
        for name in names { unlink(scratch.path + "/" + name) }
        let error = storeError { _ = try store.commit(grant: "crm", payload: [2], ifGeneration: 1) }
        #expect(error?.kind == .inputOutput)
        #expect(error?.message.contains("\(scratch.database) or its log was deleted") == true)
        #expect(scratch.mode("grants.db") == 0o600)
        #expect(try store.commit(grant: "crm", payload: [2], ifGeneration: 1) == .committed(generation: 2))
        // As after kill -9: what the path leads to now, without the store's end.
        let copy = Scratch()
        for name in ["grants.db", "grants.db-wal"] { copy.write(scratch.bytes(name), name) }
        #expect(try openSQLite(copy).read(grant: "crm") == StoredRecord(generation: 2, payload: [2]))
        store.close()
        #expect(try openSQLite(scratch).read(grant: "crm") == StoredRecord(generation: 2, payload: [2]))
    }

    @Test func `a reader and a trial see it as well`() throws {
        let store = try filled()
        unlink(scratch.database)
        #expect(storeError { try store.checkWritable() } != nil)
        try store.checkWritable()
        unlink(scratch.database)
        #expect(storeError { _ = try store.read(grant: "crm") } != nil)
        #expect(try store.read(grant: "crm")?.payload == [1])
        unlink(scratch.database)
        #expect(storeError { try store.useKeys(KeyRing(active: testKey(2), older: [testKey()])) } != nil)
        try store.useKeys(KeyRing(active: testKey(2), older: [testKey()]))
        #expect(try store.read(grant: "crm")?.payload == [1])
    }

    @Test func `a backup that is moved over the open store is left alone until somebody decides`() throws {
        let store = try filled()
        let other = Scratch()
        let backup = try openSQLite(other)
        _ = try backup.commit(grant: "old", payload: [9], ifGeneration: 0)
        backup.close()
        let aside = scratch.path + "/aside"
        #expect(rename(scratch.database, aside) == 0 && rename(other.database, scratch.database) == 0)
        let before = scratch.bytes()
        for _ in 0..<2 {
            let error = storeError { _ = try store.commit(grant: "crm", payload: [2], ifGeneration: 1) }
            #expect(error?.kind == .inputOutput)
            #expect(error?.message.contains("was replaced by another file") == true)
        }
        #expect(scratch.bytes() == before)
        #expect(rename(aside, scratch.database) == 0)
        #expect(try store.commit(grant: "crm", payload: [2], ifGeneration: 1) == .committed(generation: 2))
    }

    @Test func `a folder that is moved or not mounted gets no new store`() throws {
        let store = try filled()
        let away = scratch.path + "-away"
        #expect(rename(scratch.path, away) == 0 && mkdir(scratch.path, 0o700) == 0)
        let error = storeError { try store.checkWritable() }
        #expect(error?.message.contains("the folder of the store") == true)
        #expect(scratch.names.isEmpty)
        #expect(rmdir(scratch.path) == 0 && storeError { try store.checkWritable() } != nil)
        #expect(rename(away, scratch.path) == 0)
        try store.checkWritable()
    }

    @Test func `where it cannot be written again the store fails until it can`() throws {
        let store = try filled()
        unlink(scratch.database)
        // A folder where the new file would be made.
        let unfinished = scratch.path + "/grants.db.new"
        mkdir(unfinished, 0o700)
        for _ in 0..<2 {
            #expect(storeError { try store.checkWritable() }?.message.contains("grants.db.new") == true)
        }
        rmdir(unfinished)
        #expect(storeError { try store.checkWritable() }?.message.contains("written again") == true)
        #expect(try store.read(grant: "crm")?.payload == [1])
    }

    @Test func `a store that was closed stays closed`() throws {
        let store = try filled()
        store.close()
        unlink(scratch.database)
        #expect(storeError { _ = try store.read(grant: "crm") }?.kind == .closed)
        #expect(!scratch.names.contains("grants.db"))
    }
}
