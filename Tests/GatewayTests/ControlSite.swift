import Configuration
import Console
import Foundation
import Logging
import OAuth
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway
@testable import TokenStore

/// A folder with a gateway.conf, its secrets and keys; controls that run from it, and their log.
final class ControlSite: Sendable {
    let folder: String
    let provider: ControlProvider
    let log = ControlLog()

    static let binding = "the-cookie-of-the-browser-that-started-it-all"

    init(_ provider: ControlProvider) throws {
        self.provider = provider
        folder = NSTemporaryDirectory() + "control-" + UUID().uuidString
        try #require(mkdir(folder, 0o700) == 0)
        try write("secret", "s3cret-one\n")
        for (index, name) in ["one", "two", "three"].enumerated() { try write("\(name).key", Self.key(index)) }
        try configure()
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    static func key(_ seed: Int) -> String {
        hexText((0..<32).map { UInt8(truncatingIfNeeded: $0 * 7 + seed * 50 + 1) })
    }

    static func keyID(_ seed: Int) throws -> String {
        "\(try StoreKey(content: Array(key(seed).utf8), source: "test").id)"
    }

    // MARK: Files

    func path(_ name: String) -> String { folder + "/" + name }

    /// Puts another file in its place, as one does with secrets.
    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
        let new = path(name + ".new")
        try text.write(toFile: new, atomically: false, encoding: .utf8)
        chmod(new, mode)
        try #require(rename(new, path(name)) == 0)
    }

    func remove(_ name: String) { unlink(path(name)) }

    func bytes(_ name: String) -> [UInt8] {
        FileManager.default.contents(atPath: path(name)).map { Array($0) } ?? []
    }

    var configurationStamp: FileStamp? { FileStamp.of(path: path("gateway.conf")) }

    /// - Parameters:
    ///   - keys: files of the ring, the active one first.
    ///   - provider: more lines of the provider; grant: of the grant; more: sections.
    func configure(
        keys: [String] = ["one"], store: String? = nil, provider lines: String = "", grant: String = "",
        more: String = ""
    ) throws {
        let list = keys.map { "\"\(path($0)).key\"" }.joined(separator: ", ")
        try write(
            "gateway.conf",
            """
            workers = 1
            [listener.internal]
            address = "127.0.0.1:8080"
            [console]
            address = "127.0.0.1:9090"
            public_url = "http://127.0.0.1:9090"
            [store]
            \(store ?? "path = \"\(path("grants.db"))\"")
            key_file = [\(list)]
            [provider.p]
            client_id = "client"
            client_secret_file = "\(path("secret"))"
            client_auth = "client_secret_post"
            authorize_url = "\(provider.url)/authorize"
            token_url = "\(provider.url)/token"
            device_url = "\(provider.url)/device"
            revocation_url = "\(provider.url)/revoke"
            allow_plaintext = true
            paths = { account = "account" }
            \(lines)
            [grant.crm]
            provider = "p"
            \(grant)
            [grant_template.t]
            provider = "p"
            [upstream.api]
            url = "http://127.0.0.1:1"
            allow_plaintext = true
            [route.crm]
            path = "/*"
            upstream = "api"
            grant = "crm"
            \(more)
            """)
    }

    // MARK: Controls

    /// The ring that gateway.conf names.
    func ring() throws -> KeyRing {
        let path = path("gateway.conf")
        let outcome = GatewayConfiguration.load(path: path, environment: .system)
        let snapshot = try #require(outcome.snapshot, "\(outcome.diagnostics)")
        return try KeyRing(try #require(snapshot.store).keys, environment: .system)
    }

    func openStore() throws -> SQLiteStore { try SQLiteStore(path: path("grants.db"), keys: try ring()) }

    /// A control as the program makes it.
    func start(_ store: (any TokenStore)? = nil, instance: String = "a") throws -> ControlHarness {
        let ring = try ring()
        let log = log
        let surroundings = ControlHarness.Surroundings(
            path: path("gateway.conf"), environment: .system, instance: instance, signingKeys: ring.signingKeys,
            logger: Logger(label: "test") { _ in log })
        let text = try String(contentsOfFile: path("gateway.conf"), encoding: .utf8)
        let control = try ControlHarness(try store ?? openStore(), text, surroundings)
        // Its thread has read all files when it answers.
        try control.look { _ in }
        return control
    }

    /// A stored grant of the file with tokens that are good for an hour.
    static func record(
        provider: String = "p", template: String? = nil, access: String = "old", refresh: String = "refresh",
        account: String? = nil
    ) -> GrantRecord {
        var record = ManyGrantsTests.record(token: access)
        record.provider = provider
        record.template = template
        record.account = account
        record.tokens?.refreshToken = Secret(refresh)
        return record
    }

    /// Puts a grant into a store that is open.
    static func put(_ grant: String = "crm", _ record: GrantRecord = record(), in store: any TokenStore) throws {
        _ = try store.commit(grant: grant, payload: record.encoded(), ifGeneration: 0, dueAt: nil)
    }

    /// What a request would carry.
    static func token(_ control: ControlHarness, _ grant: String = "crm") throws -> String? {
        switch try control.ask(grant) {
        case .success(let credential): ManyGrantsTests.value(credential)
        case .failure(let reason): "\(reason.refusal)"
        }
    }
}

/// Every line that is logged, with its fields.
final class ControlLog: LogHandler {
    private let list = Mutex<[String]>([])
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        list.withLock { $0.append("\(event.level) \(event.message) \(fields.joined(separator: " "))") }
    }

    var lines: [String] { list.withLock { $0 } }

    /// What was logged since the last look.
    func take() -> [String] {
        list.withLock { lines in
            defer { lines = [] }
            return lines
        }
    }

    func count(_ text: String) -> Int { lines.count { $0.contains(text) } }
}

extension ControlHarness {
    /// What a command came to.
    func outcome(
        _ body: @escaping @Sendable (Control, @escaping (ConsoleOutcome) -> Void) -> Void
    ) throws -> ConsoleOutcome {
        try call(body)
    }

    /// Begins a command whose outcome is looked at later.
    func begin(
        _ body: @escaping @Sendable (Control, @escaping (ConsoleOutcome) -> Void) -> Void
    ) throws -> ResultBox<ConsoleOutcome> {
        let box = ResultBox<ConsoleOutcome>()
        try look { control in body(control) { box.fill($0) } }
        return box
    }

    func result(of box: ResultBox<ConsoleOutcome>, _ sentence: String) throws -> ConsoleOutcome {
        try until(sentence) { _ in box.take() != nil }
        return try #require(box.take())
    }

    // MARK: Consents

    /// Begins a consent and gives what the browser carries to the provider.
    func consent(_ grant: String = "crm") throws -> [String: String] {
        let result: Result<String, ConsoleFailure> = try call { control, done in
            control.startConsent(grant, binding: ControlSite.binding, link: nil, then: done)
        }
        let query = try result.get().split(separator: "?", maxSplits: 1).last ?? ""
        return Dictionary((FormEncoding.decode(query) ?? []).map { ($0.name, $0.value) }) { "\($0) and \($1)" }
    }

    /// The browser comes back.
    func callback(
        _ parameters: [String: String], code: String = "code-1", binding: String? = ControlSite.binding
    ) throws -> OAuth.ConsentOutcome {
        let query = "code=\(code)&state=\(parameters["state"] ?? "")"
        return try call { control, done in
            control.callbackArrived(query: query, binding: binding, expectedGrant: nil) { outcome, _ in done(outcome) }
        }
    }

    // MARK: What is to be seen

    func metric(_ name: String) throws -> String? {
        guard case .metrics(let bytes) = try outcome({ $0.metrics($1) }) else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        return lines.first { $0.hasPrefix(name + " ") }.map { String($0.dropFirst(name.count + 1)) }
    }

    func view(_ grant: String = "crm") throws -> GrantView? {
        try look { $0.view(named: grant) }
    }
}

extension ConsoleOutcome {
    var failure: ConsoleFailure? {
        if case .failed(let failure) = self { return failure }
        return nil
    }

    var keys: KeysReply? {
        if case .keys(let reply) = self { return reply }
        if case .rekeyStarted(let reply) = self { return reply }
        return nil
    }

    var device: DeviceStatus? {
        if case .deviceStatus(let status) = self { return status }
        return nil
    }
}
