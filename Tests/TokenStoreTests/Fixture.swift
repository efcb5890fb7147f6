import Foundation
import Testing

@testable import TokenStore

/// A private directory that goes away with the test.
final class Scratch: Sendable {
    let path: String

    init() {
        path = NSTemporaryDirectory() + "token-store-test-" + UUID().uuidString
        mkdir(path, 0o700)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var database: String { path + "/grants.db" }

    func bytes(_ name: String = "grants.db") -> [UInt8] {
        (FileManager.default.contents(atPath: path + "/" + name)).map { Array($0) } ?? []
    }

    func write(_ bytes: [UInt8], _ name: String = "grants.db") {
        let file = path + "/" + name
        unlink(file)
        _ = FileManager.default.createFile(atPath: file, contents: Data(bytes), attributes: [.posixPermissions: 0o600])
    }

    func mode(_ name: String) -> mode_t {
        var found = stat()
        return lstat(path + "/" + name, &found) == 0 ? found.st_mode & 0o7777 : 0
    }

    var names: Set<String> { Set((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []) }
}

/// The key whose bytes count up from `seed`.
func testKey(_ seed: UInt8 = 1) throws -> StoreKey {
    try StoreKey(content: (0..<32).map { seed &+ $0 &* 7 } + [], source: "test key")
}

/// A backend under test: makes a store, opens it again.
enum Backend: CaseIterable, CustomTestStringConvertible {
    case sqlite

    var testDescription: String {
        switch self {
        case .sqlite: "SQLite"
        }
    }

    func open(_ scratch: Scratch, keys: KeyRing? = nil) throws -> any TokenStore {
        switch self {
        case .sqlite: try SQLiteStore(path: scratch.database, keys: keys ?? KeyRing(active: testKey()))
        }
    }
}

func openSQLite(_ scratch: Scratch, keys: KeyRing? = nil) throws -> SQLiteStore {
    try SQLiteStore(path: scratch.database, keys: keys ?? KeyRing(active: testKey()))
}

extension TokenStore {
    /// All records by grant, through the pages of names.
    func readAll() throws -> [String: StoredRecord] {
        var found: [String: StoredRecord] = [:]
        var last: String?
        while true {
            let names = try names(prefix: "", after: last, limit: 40)
            for name in names { found[name] = try read(grant: name) }
            guard let end = names.last else { return found }
            last = end
        }
    }

    func commit(grant: String, payload: [UInt8], ifGeneration: UInt64) throws(StoreError) -> CommitOutcome {
        try commit(grant: grant, payload: payload, ifGeneration: ifGeneration, dueAt: nil)
    }
}

/// The error that `body` throws; a failed expectation if none.
func storeError(_ body: () throws -> Void, _ location: SourceLocation = #_sourceLocation) -> StoreError? {
    do {
        try body()
        Issue.record("nothing was thrown", sourceLocation: location)
    } catch let error as StoreError {
        return error
    } catch {
        Issue.record("not a StoreError: \(error)", sourceLocation: location)
    }
    return nil
}

func contains(_ haystack: [UInt8], _ needle: some StringProtocol) -> Bool {
    Data(haystack).range(of: Data(needle.utf8)) != nil
}
