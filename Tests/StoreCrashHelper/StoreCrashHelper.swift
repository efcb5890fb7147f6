import Glibc
import TokenStore

/// A process for the store's tests to kill: `StoreCrashHelper MODE PATH`. Says on standard output, line by line, what
/// the store has acknowledged.
@main
struct StoreCrashHelper {
    static func main() {
        signal(SIGXFSZ, SIG_IGN)
        let arguments = CommandLine.arguments
        guard arguments.count >= 3 else { exit(64) }
        do {
            switch arguments[1] {
            case "write": try write(arguments[2])
            case "rekey": try rekey(arguments[2])
            case "fill": try fill(arguments[2], limit: arguments.count > 3 ? rlim_t(arguments[3]) : nil)
            case "hold": try hold(arguments[2])
            case "race": try race(arguments[2], instance: arguments.count > 3 ? arguments[3] : "helper")
            case "present": try present(arguments[2], instance: arguments.count > 3 ? arguments[3] : "helper")
            default: exit(64)
            }
        } catch {
            say("error \(error)")
            exit(1)
        }
    }

    static func key(_ seed: UInt8) throws -> StoreKey {
        try StoreKey(content: (0..<32).map { seed &+ $0 &* 7 }, source: "test key")
    }

    static func open(_ path: String) throws -> SQLiteStore {
        try SQLiteStore(path: path, keys: KeyRing(active: key(1), older: [key(2)]))
    }

    /// Commits to three grants in turn and puts and takes a consent each time, until killed. A payload tells its
    /// generation and spans several pages.
    static func write(_ path: String) throws {
        let store = try open(path)
        say("ready")
        let grants = ["a", "b", "c"]
        let found = try store.revisions(of: grants)
        var generations = grants.map { found[$0] ?? 0 }
        while true {
            for (index, grant) in grants.enumerated() {
                let next = generations[index] + 1
                let payload = Array(repeating: "\(grant)\(next) ", count: 2000).joined().utf8
                let outcome = try store.commit(
                    grant: grant, payload: Array(payload), ifGeneration: generations[index], dueAt: nil)
                guard outcome == .committed(generation: next) else { return say("error \(outcome)") }
                generations[index] = next
                say("committed \(grant) \(next)")
                let id = "\(grant)\(next)"
                _ = try store.putConsent(id: id, payload: Array(id.utf8), expiresAt: 100, limit: 1000, now: 0)
                say("put \(id)")
                if next % 2 == 0, try store.takeConsent(id: id, now: 0) != nil { say("took \(id)") }
            }
        }
    }

    /// Rekeys to and fro until killed.
    static func rekey(_ path: String) throws {
        let store = try open(path)
        say("ready")
        while true {
            for seed: UInt8 in [2, 1] {
                try store.useKeys(KeyRing(active: key(seed), older: [key(3 - seed)]))
                while try store.rekeySome(limit: 200).seen > 0 {}
                say("rekeyed \(seed)")
            }
        }
    }

    /// Commits until an error comes, then shows that reading goes on and what a commit says now.
    static func fill(_ path: String, limit: rlim_t??) throws {
        let store = try open(path)
        if let limit, let limit {
            var value = rlimit(rlim_cur: limit, rlim_max: limit)
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &value)
        }
        var count = 0
        do throws(StoreError) {
            while count < 10_000 {
                let payload = [UInt8](repeating: 7, count: 8000)
                _ = try store.commit(grant: "g\(count)", payload: payload, ifGeneration: 0, dueAt: nil)
                count += 1
            }
            say("error the disk never filled")
        } catch {
            say("failed \(error.kind.rawValue) \(error.isTransient) after \(count)")
        }
        say("readable \(try store.count(prefix: ""))")
    }

    static func hold(_ path: String) throws {
        let store = try open(path)
        say("ready")
        while getchar() != EOF {}
        store.close()
    }

    // MARK: The shared store

    static func openShared(_ url: String, _ instance: String) throws -> PostgreSQLStore {
        let settings = try PostgreSQLSettings(url: url, connectTimeout: 1000, statementTimeout: 1000)
        return try PostgreSQLStore(settings: settings, keys: KeyRing(active: key(1)), instance: instance)
    }

    /// Adds its name and a number to the history in a grant, in a race with others, whatever happens to the server,
    /// until killed. A commit whose outcome is unknown is looked up before the next.
    static func race(_ url: String, instance: String) throws {
        let store = try openShared(url, instance)
        say("ready")
        var number = 0
        while true {
            do throws(StoreError) {
                let found = try store.read(grant: "history")
                let line = "\(instance):\(number) "
                number += 1
                let payload = (found?.payload ?? []) + line.utf8
                let outcome = try store.commit(
                    grant: "history", payload: payload, ifGeneration: found?.generation ?? 0, dueAt: nil)
                if case .committed(let generation) = outcome { say("committed \(line)\(generation)") }
            } catch {
                guard error.isTransient else { throw error }
                usleep(5000)
            }
        }
    }

    /// Shows that it is there, until killed.
    static func present(_ url: String, instance: String) throws {
        let store = try openShared(url, instance)
        say("ready")
        while true { _ = try store.waitForNews(upTo: 10_000) }
    }

    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = Glibc.write(1, bytes, bytes.count)
    }
}
