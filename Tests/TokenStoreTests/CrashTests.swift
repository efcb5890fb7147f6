import Foundation
import Testing

@testable import TokenStore

/// A run of StoreCrashHelper.
final class Helper {
    let process = Process()
    private let output = Pipe()
    private let input = Pipe()
    private var buffered: [UInt8] = []
    private(set) var lines: [String] = []

    init(_ arguments: String...) throws {
        let here = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.executableURL = here.deletingLastPathComponent().appendingPathComponent("StoreCrashHelper")
        process.arguments = arguments
        process.standardOutput = output
        process.standardInput = input
        try process.run()
    }

    deinit { kill() }

    /// Reads what came; `false` at the end of the output.
    func readSome() -> Bool {
        let data = output.fileHandleForReading.availableData
        buffered += data
        while let end = buffered.firstIndex(of: UInt8(ascii: "\n")) {
            lines.append(String(decoding: buffered[..<end], as: UTF8.self))
            buffered.removeSubrange(...end)
        }
        return !data.isEmpty
    }

    func read(lines count: Int) {
        while lines.count < count, readSome() {}
    }

    /// Ends the process as `kill -9` does, and reads all that it had said.
    func kill() {
        guard process.isRunning else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        while readSome() {}
    }

    func finish() {
        try? input.fileHandleForWriting.close()
        while readSome() {}
        process.waitUntilExit()
    }
}

/// What the store must hold after a crash, as told by what it had acknowledged.
private struct Acknowledged {
    var generations: [String: UInt64] = [:]
    var put: Set<String> = []
    var taken: Set<String> = []

    mutating func add(_ lines: [String]) {
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            switch words.first {
            case "committed": generations[words[1]] = UInt64(words[2])
            case "put": put.insert(words[1])
            case "took": taken.insert(words[1])
            case "ready": break
            default: Issue.record("the helper said: \(line)")
            }
        }
    }

    mutating func check(_ store: SQLiteStore) throws {
        let found = try store.readAll()
        for grant in ["a", "b", "c"] {
            let generation = found[grant]?.generation ?? 0
            let least = generations[grant] ?? 0
            #expect(generation == least || generation == least + 1)
            generations[grant] = generation
            guard generation > 0 else { continue }
            let expected = Array(repeating: "\(grant)\(generation) ", count: 2000).joined()
            #expect(found[grant]?.payload == Array(expected.utf8))
        }
        for id in taken { #expect(try store.takeConsent(id: id, now: 0) == nil) }
        // The last ones put, which may just have been taken without a word.
        for id in put.subtracting(taken) {
            let payload = try store.takeConsent(id: id, now: 0)
            #expect(payload == Array(id.utf8) || (payload == nil && UInt64(id.dropFirst())?.isMultiple(of: 2) == true))
        }
        put = []
        taken = []
    }
}

@Suite(.serialized) struct CrashTests {
    let scratch = Scratch()
    let keys: KeyRing

    init() throws {
        keys = KeyRing(active: try testKey(1), older: [try testKey(2)])
    }

    @Test func `kill -9 at any instant leaves the old or the new record of each grant`() throws {
        var acknowledged = Acknowledged()
        for _ in 0..<30 {
            let helper = try Helper("write", scratch.database)
            helper.read(lines: Int.random(in: 1...60))
            usleep(UInt32.random(in: 0...4000))
            helper.kill()
            acknowledged.add(helper.lines)
            let store = try openSQLite(scratch, keys: keys)
            try acknowledged.check(store)
            store.close()
        }
        #expect((acknowledged.generations["a"] ?? 0) > 30)
    }

    @Test func `kill -9 while the store is made leaves none or a whole one`() throws {
        for round in 0..<40 {
            let scratch = Scratch()
            let helper = try Helper("write", scratch.database)
            usleep(UInt32(round) * 500)
            helper.kill()
            var acknowledged = Acknowledged()
            acknowledged.add(helper.lines)
            try acknowledged.check(openSQLite(scratch, keys: keys))
            #expect(!scratch.names.contains("grants.db.new"))
        }
    }

    @Test func `kill -9 in the middle of a rekey loses nothing, and the rekey can be finished`() throws {
        let first = try openSQLite(scratch, keys: keys)
        for index in 0..<300 {
            _ = try first.commit(grant: "g\(index)", payload: [UInt8](repeating: 3, count: index), ifGeneration: 0)
        }
        let before = try first.readAll()
        first.close()
        for _ in 0..<8 {
            let helper = try Helper("rekey", scratch.database)
            helper.read(lines: 1)
            usleep(UInt32.random(in: 0...20_000))
            helper.kill()
            let store = try openSQLite(scratch, keys: keys)
            #expect(try store.readAll() == before)
            store.close()
        }
        let last = try openSQLite(scratch, keys: keys)
        try last.useKeys(KeyRing(active: testKey(2), older: [testKey(1)]))
        _ = try last.rekey()
        last.close()
        #expect(try openSQLite(scratch, keys: KeyRing(active: testKey(2))).readAll() == before)
    }

    @Test func `any end of the log may be missing, as after a power cut`() throws {
        let store = try openSQLite(scratch)
        for generation: UInt64 in 0..<12 {
            let payload = Array("value \(generation + 1)".utf8)
            _ = try store.commit(grant: "a", payload: payload, ifGeneration: generation)
        }
        let (database, log) = (scratch.bytes(), scratch.bytes("grants.db-wal"))
        #expect(log.count > 12 * 4096)
        var newest: UInt64 = 0
        for length in stride(from: 0, through: log.count, by: 1013) + [log.count] {
            let copy = Scratch()
            copy.write(database)
            copy.write(Array(log.prefix(length)), "grants.db-wal")
            let record = try openSQLite(copy).read(grant: "a")
            #expect(record.map { $0.payload == Array("value \($0.generation)".utf8) } ?? true)
            #expect((record?.generation ?? 0) >= newest)
            newest = record?.generation ?? 0
        }
        #expect(newest == 12)
    }

    @Test func `a second process is refused by name while the first has the store`() throws {
        let helper = try Helper("hold", scratch.database)
        helper.read(lines: 1)
        #expect(helper.lines == ["ready"])
        let error = storeError { _ = try openSQLite(scratch, keys: keys) }
        #expect(error?.kind == .inUse)
        #expect(error?.message.contains("process \(helper.process.processIdentifier)") == true)
        helper.finish()
        _ = try openSQLite(scratch, keys: keys)
    }

    @Test func `a file that may not grow is a transient failure that damages nothing`() throws {
        let helper = try Helper("fill", scratch.database, "300000")
        helper.finish()
        try checkFilled(helper.lines, kind: "inputOutput", openSQLite(scratch, keys: keys))
    }

    @Test(.enabled("needs root, to mount a small file system") { geteuid() == 0 })
    func `a full disk is a transient failure that damages nothing`() throws {
        let disk = Scratch()
        guard mount("tmpfs", disk.path, "tmpfs", 0, "size=800k,mode=700") == 0 else {
            // A container may keep even root from mounting; the test above covers the rest.
            return
        }
        defer { umount(disk.path) }
        let helper = try Helper("fill", disk.database)
        helper.finish()
        let store = try openSQLite(disk, keys: keys)
        try checkFilled(helper.lines, kind: "diskFull", store)
        store.close()
    }

    private func checkFilled(_ lines: [String], kind: String, _ store: SQLiteStore) throws {
        try #require(lines.count == 2)
        let words = lines[0].split(separator: " ")
        #expect(lines[0].hasPrefix("failed \(kind) true after "))
        let count = try #require(Int(words.last ?? ""))
        #expect(count > 1)
        #expect(lines[1] == "readable \(count)")
        // What had failed may have reached the log, as a lost reply does; what had been acknowledged is there.
        let found = try store.readAll()
        #expect(found.count == count || found.count == count + 1)
        for index in 0..<count { #expect(found["g\(index)"]?.payload == [UInt8](repeating: 7, count: 8000)) }
    }
}
