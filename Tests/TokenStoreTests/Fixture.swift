import Foundation
import PostgreSQLTesting
import Synchronization
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

    private let shared = Mutex<SharedDatabase?>(nil)

    /// A database for this test alone, on a server that the tests share; made when it is asked for first.
    func sharedDatabase() throws -> SharedDatabase {
        try shared.withLock { database in
            if let database { return database }
            let made = try SharedDatabase(PostgreSQLServer.ofAllTests.get())
            database = made
            return made
        }
    }

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
    case postgresql

    var testDescription: String {
        switch self {
        case .sqlite: "SQLite"
        case .postgresql: "PostgreSQL"
        }
    }

    func open(_ scratch: Scratch, keys: KeyRing? = nil) throws -> any TokenStore {
        switch self {
        case .sqlite: try SQLiteStore(path: scratch.database, keys: keys ?? KeyRing(active: testKey()))
        case .postgresql: try scratch.sharedDatabase().open(keys: keys)
        }
    }
}

extension PostgreSQLServer {
    /// One server for all tests that do it no harm.
    static let ofAllTests = Result { try PostgreSQLServer(settings: ["max_connections = 200"]) }
}

/// An empty database on a server.
struct SharedDatabase {
    let server: PostgreSQLServer
    let name: String

    init(_ server: PostgreSQLServer) throws {
        self.server = server
        name = "test_" + UUID().uuidString.prefix(8).lowercased()
        try server.sql("CREATE DATABASE \(name)")
    }

    var url: String { server.url(database: name) }

    func sql(_ text: String) throws -> String { try server.sql(text, database: name) }

    func open(
        keys: KeyRing? = nil, instance: String = "one", connectTimeout: Int = 3000, statementTimeout: Int = 5000,
        migrations: [PostgreSQLMigration] = PostgreSQLSchema.migrations
    ) throws -> PostgreSQLStore {
        let settings = try PostgreSQLSettings(
            url: url, connectTimeout: connectTimeout, statementTimeout: statementTimeout)
        return try PostgreSQLStore(
            settings: settings, keys: keys ?? KeyRing(active: testKey()), instance: instance, migrations: migrations)
    }
}

/// What a `rekey` did.
struct RekeyReport: Equatable {
    /// Rows that were sealed again under the active key.
    let resealed: Int
    /// Keys that seal nothing any more.
    let unused: [KeyID]
    /// Rows that are still under another key: a replica that has another key in front went on writing.
    let remaining: Int
}

extension TokenStore {
    /// Seals everything again under the ring's active key, page by page, as the gateway does it a page at a time.
    func rekey() throws(StoreError) -> RekeyReport {
        var resealed = 0
        // Rows that another replica keeps writing under its own active key must not hold us here for ever.
        var idlePages = 0
        while idlePages < 3 {
            let page = try rekeySome(limit: 200)
            if page.seen == 0 { break }
            resealed += page.resealed
            idlePages = page.resealed == 0 ? idlePages + 1 : 0
        }
        let use = try keyUse().filter { !$0.isActive }
        return RekeyReport(
            resealed: resealed, unused: use.filter { $0.rows == 0 }.map(\.id), remaining: use.reduce(0) { $0 + $1.rows }
        )
    }
}

/// Runs `body` on as many threads as `count` says and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let done = DispatchGroup()
    for index in 0..<count {
        done.enter()
        let thread = Thread {
            body(index)
            done.leave()
        }
        thread.start()
    }
    done.wait()
}

/// A list that threads add to.
final class Notes<Element: Sendable>: Sendable {
    private let list = Mutex<[Element]>([])

    func add(_ element: Element) { list.withLock { $0.append(element) } }

    var all: [Element] { list.withLock { $0 } }
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
