import Glibc
import OAuth
import TokenStore

/// Fills a store with connected grants of one template, for `Benchmarks/grants`:
///
///     GrantSeeder STORE KEY_FILE TEMPLATE PROVIDER TOKEN_FILE FIRST COUNT VALID SPREAD
///
/// makes the grants `TEMPLATE:t-FIRST` and so on. All have the access token of TOKEN_FILE, and a refresh token each; they
/// expire after VALID seconds and later, evenly over SPREAD seconds.
@main
struct GrantSeeder {
    static func main() {
        do {
            try fill(CommandLine.arguments)
        } catch {
            print("GrantSeeder: \(error)")
            exit(1)
        }
    }

    private static func fill(_ arguments: [String]) throws {
        let numbers = arguments.dropFirst(6).compactMap { Int($0) }
        guard arguments.count == 10, numbers.count == 4, numbers[1] > 0 else {
            print("GrantSeeder STORE KEY_FILE TEMPLATE PROVIDER TOKEN_FILE FIRST COUNT VALID SPREAD")
            exit(64)
        }
        let key = try StoreKey(content: try content(of: arguments[2]), source: arguments[2])
        let store = try SQLiteStore(path: arguments[1], keys: KeyRing(active: key))
        defer { store.close() }
        let token = String(decoding: try content(of: arguments[5]), as: UTF8.self)
        let now = Moment(monotonic: 1_000_000, wall: Int64(time(nil)) * 1000)
        for index in 0..<numbers[1] {
            let name = "\(arguments[3]):t-\(numbers[0] + index)"
            let expiry = now.wall + Int64(numbers[2] + numbers[3] * index / numbers[1]) * 1000
            let record = try record(name, template: arguments[3], provider: arguments[4], token, expiry: expiry)
            let due = dueAt(record, name, provider: arguments[4], now)
            let terms = CommitTerms(dueAt: due, state: "active")
            let outcome = try store.commit(grant: name, payload: record.encoded(), ifGeneration: 0, terms: terms)
            guard case .committed = outcome else {
                print("GrantSeeder: \(name) is there already")
                exit(1)
            }
        }
    }

    /// As after a refresh.
    private static func record(
        _ name: String, template: String, provider: String, _ token: String, expiry: Int64
    ) throws(StoreError) -> GrantRecord {
        let obtained = expiry - 7_200_000
        let text = """
            {"format":"1","generation":1,"state":"active","consecutive_failures":0,"template":"\(template)",
            "provider":"\(provider)","last_refresh_at":\(obtained),"tokens":{"access_token":"\(token)",
            "refresh_token":"refresh-token-of-\(name)-0123456789abcdef","obtained_at":\(obtained),
            "expires_at":\(expiry),"scopes":["items.read"]}}
            """
        guard let record = GrantRecord(payload: Array(text.utf8), revision: 0) else {
            throw StoreError(.invalid, "the token does not fit into a record")
        }
        return record
    }

    /// As the grant's machine would have the store note it.
    private static func dueAt(_ record: GrantRecord, _ name: String, provider: String, _ now: Moment) -> Int64? {
        var machine = GrantMachine(
            settings: GrantSettings(name: name, provider: provider),
            provider: ProviderSettings(name: provider, clientID: "client"),
            environment: GrantMachine.Environment(instance: "seeder", storeIsExclusive: true, seed: 1))
        _ = machine.started(now: now)
        _ = machine.recordLoaded(record, now: now)
        return machine.dueAt
    }

    private static func content(of path: String) throws(StoreError) -> [UInt8] {
        guard let file = fopen(path, "r") else { throw StoreError(.inputOutput, "\(path) cannot be read") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = fgetc(file), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
        return bytes
    }
}
