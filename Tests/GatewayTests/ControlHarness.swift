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

/// A control thread with a store, one worker that is the test, and a provider on loopback.
final class ControlHarness: Sendable {
    let worker: Mailbox<WorkerMessage>
    private let mailbox: Mailbox<ControlMessage>
    private let commands: Mailbox<@Sendable (Control) -> Void>
    private let executor: StoreExecutor
    private let news: NewsWatcher?
    private let threads: [WorkerThread]
    private let seen = Mutex<[WorkerMessage]>([])
    private let serial = Mutex<UInt64>(1)

    /// What every configuration of these tests begins with.
    static let preamble = """
        workers = 1
        [listener.internal]
        address = "127.0.0.1:8080"
        [console]
        address = "127.0.0.1:9090"
        public_url = "http://127.0.0.1:9090"
        [store]
        path = "/nowhere/grants.db"
        key_file = "/key"
        """

    static func configuration(_ provider: FakeProvider, extra: String = "", template: String = "zoho") -> String {
        """
        \(preamble)
        [provider.zoho]
        client_id = "client"
        client_auth = "none"
        authorize_url = "http://127.0.0.1:\(provider.port)/authorize"
        token_url = "http://127.0.0.1:\(provider.port)/token"
        allow_plaintext = true
        [grant_template.\(template)]
        provider = "zoho"
        max_grants = 3
        [upstream.api]
        url = "http://127.0.0.1:1"
        allow_plaintext = true
        [route.all]
        path = "/*"
        upstream = "api"
        grant_template = "\(template)"
        grant_from = "header:X-Tenant"
        \(extra)
        """
    }

    static let environment = ConfigurationEnvironment(
        variable: { _ in nil },
        readFile: { path, _ in
            let text = path == "/key" ? "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" : "text"
            return .success(FileContents(bytes: Array(text.utf8), mode: 0o600, owner: getuid()))
        }, isDirectory: { _ in true }, processorCount: 1)

    static func prepared(
        _ text: String, environment: ConfigurationEnvironment = environment
    ) throws -> Control.Prepared {
        let outcome = GatewayConfiguration.parse(Array(text.utf8), file: "gateway.conf", environment: environment)
        let snapshot = try #require(outcome.snapshot, "\(outcome.diagnostics)")
        return try Control.prepare(snapshot, environment: environment, version: "test").get()
    }

    /// What surrounds control beside its store and its configuration.
    struct Surroundings: Sendable {
        var path = "gateway.conf"
        var environment = ControlHarness.environment
        var instance = "a"
        var signingKeys: [[UInt8]] = [[1]]
        var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    }

    convenience init(_ store: FakeStore, configuration: String, log: LogNotes? = nil) throws {
        var surroundings = Surroundings(instance: store.instance)
        if let log { surroundings.logger = Logger(label: "test") { _ in NotingLogHandler(notes: log) } }
        try self.init(store, configuration, surroundings)
    }

    init(_ store: any TokenStore, _ configuration: String, _ surroundings: Surroundings) throws {
        let executor = try StoreExecutor(store: store)
        let mailbox = try Mailbox<ControlMessage>()
        let worker = try Mailbox<WorkerMessage>()
        let commands = try Mailbox<@Sendable (Control) -> Void>()
        let news = store.isShared ? try NewsWatcher(store: store, mailbox: mailbox) : nil
        (self.executor, self.mailbox, self.worker, self.commands, self.news) =
            (executor, mailbox, worker, commands, news)
        var threads = [
            try WorkerThread.start(name: "control") {
                do {
                    try Self.run(executor, mailbox, worker, commands, configuration, surroundings)
                } catch {
                    Issue.record(error)
                }
            }, try WorkerThread.start(name: "store") { try? executor.run() },
        ]
        if let news { threads.append(try WorkerThread.start(name: "news") { try? news.run() }) }
        self.threads = threads
    }

    deinit {
        commands.post { $0.loop.stop() }
        news?.stop()
        threads[0].join()
        executor.close()
        for thread in threads.dropFirst() { thread.join() }
    }

    private static func run(
        _ executor: StoreExecutor, _ mailbox: Mailbox<ControlMessage>, _ worker: Mailbox<WorkerMessage>,
        _ commands: Mailbox<@Sendable (Control) -> Void>, _ configuration: String,
        _ surroundings: Surroundings
    ) throws {
        let prepared = try Self.prepared(configuration, environment: surroundings.environment)
        let loop = try ControlLoop()
        let resolver = try Resolver()
        let control = try Control(
            loop: loop, mailbox: mailbox, snapshot: prepared.snapshot, configurationPath: surroundings.path,
            environment: surroundings.environment, store: executor, resolver: resolver,
            client: try ProviderClient(loop: loop, resolver: resolver),
            names: MetricNames(routes: [], upstreams: [], errorCodes: [], sessionFailures: []),
            logger: surroundings.logger, version: "test", instance: surroundings.instance,
            signingKeys: surroundings.signingKeys)
        control.workers = [worker]
        control.take(prepared)
        var list: [@Sendable (Control) -> Void] = []
        _ = try loop.addListener(commands.descriptor) {
            commands.drain(into: &list)
            for command in list { command(control) }
            list.removeAll()
        }
        loop.run()
    }

    // MARK: What a test does

    /// Runs `body` on control's thread and waits for what it hands to the completion.
    func call<Value: Sendable>(
        _ body: @escaping @Sendable (Control, @escaping (Value) -> Void) -> Void
    ) throws -> Value {
        let box = ResultBox<Value>()
        let done = DispatchSemaphore(value: 0)
        commands.post { control in
            body(control) { value in
                box.fill(value)
                done.signal()
            }
        }
        try #require(done.wait(timeout: .now() + .seconds(10)) == .success, "control did not answer")
        return try #require(box.take())
    }

    func look<Value: Sendable>(_ body: @escaping @Sendable (Control) -> Value) throws -> Value {
        try call { control, done in done(body(control)) }
    }

    /// What a request of a worker gets.
    func ask(_ grant: String, rejected: UInt64? = nil) throws -> Result<Proxy.Credential, CredentialUnavailable> {
        let number = serial.withLock { number in
            defer { number += 1 }
            return number
        }
        let waiter = CredentialWaiter(worker: 0, serial: number)
        mailbox.post(.credentialNeeded(grant: grant, rejected: rejected, waiter))
        return try waitFor { message in
            guard case .credentialAnswer(waiter, let result) = message else { return nil }
            return result
        }
    }

    /// Waits for a message to the worker, among those that came and were not taken.
    func waitFor<Value>(_ match: (WorkerMessage) -> Value?) throws -> Value {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(worker.descriptor, token: 0)
        while true {
            let found = seen.withLock { messages -> Value? in
                for (index, message) in messages.enumerated() {
                    guard let value = match(message) else { continue }
                    messages.remove(at: index)
                    return value
                }
                return nil
            }
            if let found { return found }
            try #require(poller.wait(timeoutMilliseconds: WireEnd.patience) > 0, "the worker was not told")
            var list: [WorkerMessage] = []
            worker.drain(into: &list)
            seen.withLock { $0 += list }
        }
    }

    /// Forgets what the worker was told.
    func forgetMessages() {
        var list: [WorkerMessage] = []
        worker.drain(into: &list)
        seen.withLock { $0 = [] }
    }

    /// Looks again and again until it is so.
    func until(_ sentence: String, _ isSo: @escaping @Sendable (Control) -> Bool) throws {
        for _ in 0..<1_000 {
            if try look(isSo) { return }
            usleep(10_000)
        }
        Issue.record("never: \(sentence)")
    }
}

/// A token endpoint that gives a new pair each time.
final class FakeProvider: Sendable {
    let port: UInt16
    private let listener: Descriptor
    private let stop: Mailbox<Void>
    private let thread: WorkerThread
    private let counter: Counter

    /// With `error` it refuses with that code and 401.
    init(lifetime: Int = 3600, error: String? = nil) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        let stop = try Mailbox<Void>()
        self.listener = listener
        self.stop = stop
        port = try #require(Socket.localAddress(of: listener)?.port)
        let box = Counter()
        counter = box
        thread = try WorkerThread.start(name: "provider") {
            guard let poller = try? Poller(eventCapacity: 2), (try? poller.addListener(listener, token: 0)) != nil,
                (try? poller.addListener(stop.descriptor, token: 1)) != nil
            else { return }
            while true {
                let ready = poller.wait(timeoutMilliseconds: -1)
                for index in 0..<ready where poller.event(at: index).token == 1 { return }
                guard case .accepted(let socket, _) = Socket.accept(listener), let end = try? WireEnd(socket) else {
                    continue
                }
                _ = end.readMessage()
                let number = box.next()
                let body =
                    error.map { #"{"error":"\#($0)"}"# }
                    ?? #"{"access_token":"new\#(number)","refresh_token":"r\#(number)","token_type":"Bearer","expires_in":\#(lifetime)}"#
                end.write(
                    "HTTP/1.1 \(error == nil ? "200 OK" : "401 Unauthorized")\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
                )
                end.close()
            }
        }
    }

    final class Counter: Sendable {
        private let value = Mutex(0)
        func next() -> Int {
            value.withLock { value in
                value += 1
                return value
            }
        }
        var current: Int { value.withLock { $0 } }
    }

    var tokenCalls: Int { counter.current }

    deinit {
        stop.post(())
        thread.join()
        listener.close()
    }
}
