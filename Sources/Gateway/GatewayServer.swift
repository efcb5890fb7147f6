package import Configuration
import Console
import Glibc
import Logging
import OpenSSLKit
import Proxy
import Reactor
import Synchronization
import Telemetry
import TokenStore

/// The whole gateway in one process: start-up, threads, signals, end.
package enum GatewayServer {
    /// Exit statuses, as in sysexits.h.
    package enum Exit {
        package static let success: Int32 = 0
        /// A port, a file or the store cannot be had.
        package static let unavailable: Int32 = 69
        package static let softwareError: Int32 = 70
        /// The configuration has mistakes.
        package static let configuration: Int32 = 78
    }

    /// Runs until told to stop by SIGTERM or SIGINT, or by the returned handle of `started`.
    ///
    /// To be called on the main thread before any other thread is started, so that signals come here.
    ///
    /// - Parameters:
    ///   - complain: gets each mistake as one line.
    ///   - started: is called when all sockets are open, with the addresses that they have.
    package static func run(
        configurationPath: String, environment: ConfigurationEnvironment = .system, version: String,
        complain: @escaping (String) -> Void, started: @escaping ([String]) -> Void = { _ in }
    ) -> Int32 {
        ProcessHardening.forbidCoreDumps()
        ProcessHardening.ignoreBrokenPipes()
        _ = ProcessHardening.raiseDescriptorLimit()
        let environment = environment.checkingStoreKeys
        let outcome = GatewayConfiguration.load(path: configurationPath, environment: environment)
        for diagnostic in outcome.diagnostics { complain("\(diagnostic)") }
        guard let snapshot = outcome.snapshot else { return Exit.configuration }
        switch Control.prepare(snapshot, environment: environment, version: version) {
        case .failure(let problems):
            for sentence in problems.sentences { complain("\(configurationPath): error: \(sentence)") }
            return Exit.configuration
        case .success(let prepared):
            do {
                let process = try GatewayProcess(
                    prepared, configurationPath: configurationPath, environment: environment, version: version)
                return try process.run(started: started)
            } catch let error as StoreError {
                complain("error: \(error)")
                let isOurs = error.kind == .key || error.kind == .unknownKey
                return isOurs ? Exit.configuration : Exit.unavailable
            } catch {
                complain("error: \(error)")
                return Exit.unavailable
            }
        }
    }
}

/// What `GatewayServer.run` owns while it runs. Made and used on the main thread.
private final class GatewayProcess {
    private let prepared: Control.Prepared
    private let snapshot: Snapshot
    private let signals: SignalReceiver
    private let loop: ControlLoop
    private let mailbox: Mailbox<ControlMessage>
    private let access: LogSink
    private let messages: LogSink
    private let resolver: Resolver
    private let logger: Logger
    private let executor: StoreExecutor?
    private let control: Control
    private let configuration: WorkerConfiguration
    private var threads: [WorkerThread] = []
    private var writers: [WorkerThread] = []
    private var storeThread: WorkerThread?
    private let news: NewsWatcher?
    private var newsThread: WorkerThread?
    private var socketFiles: [String] = []

    init(
        _ prepared: Control.Prepared, configurationPath: String, environment: ConfigurationEnvironment, version: String
    ) throws {
        self.prepared = prepared
        snapshot = prepared.snapshot
        signals = try SignalReceiver(signals: [
            SignalReceiver.terminate, SignalReceiver.interrupt, SignalReceiver.hangUp,
        ])
        loop = try ControlLoop()
        mailbox = try Mailbox<ControlMessage>()
        messages = try LogSink(descriptor: 2, log: snapshot.log, isEnabled: true)
        access = try LogSink.access(snapshot.log, messages: messages)
        let level = Logger.Level(snapshot.log.level)
        let sink = messages
        logger = Logger(label: "token-gateway") { _ in GatewayLogHandler(sink: sink, level: level) }
        resolver = try Resolver()
        // With something of its own in it, so that a configuration that was copied does not make two replicas one.
        let random = Base64.urlEncode(SystemRandom.bytes(12))
        let instance = snapshot.store?.instance.map { "\($0).\(random)" } ?? random
        let keys = try snapshot.store.map { try KeyRing($0.keys, environment: environment) }
        var opened: (any TokenStore)?
        if let store = snapshot.store, let keys {
            opened = try Self.open(store, keys: keys, instance: instance, environment: environment)
        }
        executor = try opened.map { try StoreExecutor(store: $0) }
        let mailbox = mailbox
        news = try opened.flatMap { $0.isShared ? try NewsWatcher(store: $0, mailbox: mailbox) : nil }
        configuration = WorkerConfiguration(
            snapshot, extending: nil, clientIdentities: prepared.tls.clientIdentities)
        control = try Control(
            loop: loop, mailbox: mailbox, snapshot: snapshot, configurationPath: configurationPath,
            environment: environment, store: executor, resolver: resolver,
            client: try ProviderClient(loop: loop, resolver: resolver), names: configuration.names, logger: logger,
            version: version, instance: instance, signingKeys: keys?.signingKeys ?? [])
    }

    /// A store of this machine must open now. A database for several replicas may be away for a while: the gateway
    /// starts, is not ready, and opens it as soon as it can; one that does not take our keys, or is newer than we are,
    /// keeps it from starting.
    private static func open(
        _ store: Snapshot.Store, keys: KeyRing, instance: String, environment: ConfigurationEnvironment
    ) throws -> any TokenStore {
        guard let database = store.postgreSQL else { return try SQLiteStore(path: store.path, keys: keys) }
        let settings = try PostgreSQLSettings(database, environment: environment)
        return try DeferredStore.opened { () throws(StoreError) -> any TokenStore in
            try PostgreSQLStore(settings: settings, keys: keys, instance: instance)
        }
    }

    func run(started: ([String]) -> Void) throws -> Int32 {
        defer { for path in socketFiles { Socket.removeSocketFile(at: path) } }
        // Everything that can fail comes before the first thread.
        var (sockets, addresses) = try openListeners()
        if let console = snapshot.console { addresses.append(try openConsole(console)) }
        let handlers = [
            SignalReceiver.terminate, SignalReceiver.interrupt,
        ]
        _ = try loop.addListener(signals.descriptor) { [unowned self] in
            while let signal = signals.next() {
                if handlers.contains(signal) {
                    control.drain(within: snapshotPatience)
                } else {
                    control.reload()
                }
            }
        }
        try startWriters()
        try startStore()
        try startWorkers(&sockets)
        control.take(prepared)
        if let console = snapshot.console, console.secrets.isEmpty, console.publicURL?.isLoopback == false {
            logger.warning(
                "the console has no secret and public_url is not on this machine: a proxy in front of it must forward /oauth/callback, /oauth/done and /authorize/ alone, or set console.secret_file"
            )
        }
        logger.notice("started", metadata: ["listeners": "\(addresses.joined(separator: " "))"])
        ServiceManager.notify("READY=1")
        started(addresses)
        loop.run()
        return finish()
    }

    private var snapshotPatience: UInt64 { control.snapshot.timeouts.drain.milliseconds }

    private func finish() -> Int32 {
        for thread in threads { thread.join() }
        news?.stop()
        newsThread?.join()
        executor?.close()
        storeThread?.join()
        logger.notice("stopped")
        access.close()
        messages.close()
        for writer in writers { writer.join() }
        return GatewayServer.Exit.success
    }

    // MARK: Sockets

    /// A worker's socket of a listener.
    private struct ListeningSocket: Sendable {
        var descriptor: Descriptor
        /// Other workers have the same socket.
        var isShared: Bool
        var settings: ListenerSettings
    }

    /// One socket per worker and TCP address; one for all workers on a Unix path.
    private func openListeners() throws -> ([[ListeningSocket]], [String]) {
        var sockets = [[ListeningSocket]](repeating: [], count: snapshot.workers)
        var names: [String] = []
        for listener in snapshot.listeners {
            let settings = ListenerSettings(listener, tls: prepared.tls.listeners[listener.name]?.value)
            for address in SocketAddress.all(listener.address) {
                if case .unix(let path) = address {
                    let socket = try Socket.listen(on: address, unixMode: listener.unixMode)
                    socketFiles.append(path)
                    // Each worker closes its own descriptor of the one socket.
                    sockets[0].append(ListeningSocket(descriptor: socket, isShared: true, settings: settings))
                    for worker in sockets.indices.dropFirst() {
                        let copy = fcntl(socket.rawValue, F_DUPFD_CLOEXEC, 0)
                        guard copy >= 0 else { throw Errno(code: errno) }
                        sockets[worker].append(
                            ListeningSocket(
                                descriptor: Descriptor(rawValue: copy), isShared: true, settings: settings))
                    }
                    names.append(address.description)
                    continue
                }
                let first = try Socket.listen(on: address, reusePort: true)
                let actual = Socket.localAddress(of: first) ?? address
                sockets[0].append(ListeningSocket(descriptor: first, isShared: false, settings: settings))
                for worker in sockets.indices.dropFirst() {
                    let socket = try Socket.listen(on: actual, reusePort: true)
                    sockets[worker].append(
                        ListeningSocket(descriptor: socket, isShared: false, settings: settings))
                }
                names.append(actual.description)
            }
        }
        return (sockets, names)
    }

    private func openConsole(_ console: Snapshot.Console) throws -> String {
        var names: [String] = []
        var sockets: [Descriptor] = []
        for address in SocketAddress.all(console.address) {
            let socket = try Socket.listen(on: address, unixMode: console.unixMode)
            if case .unix(let path) = address { socketFiles.append(path) }
            names.append((Socket.localAddress(of: socket) ?? address).description)
            sockets.append(socket)
        }
        let server = ConsoleServer(loop: loop) { [unowned self] request, respond in
            control.consoleRequest(request, respond: respond)
        }
        for socket in sockets { try server.listen(on: socket) }
        control.consoleServer = server
        return "console " + names.joined(separator: " ")
    }

    // MARK: Threads

    private func startWriters() throws {
        for sink in messages === access ? [messages] : [messages, access] {
            writers.append(try WorkerThread.start(name: "log") { try? sink.run() })
        }
    }

    private func startStore() throws {
        guard let executor else { return }
        storeThread = try WorkerThread.start(name: "store") { try? executor.run() }
        guard let news else { return }
        newsThread = try WorkerThread.start(name: "news") { try? news.run() }
    }

    private func startWorkers(_ sockets: inout [[ListeningSocket]]) throws {
        let mailbox = mailbox
        let services = WorkerServices(
            needCredential: { mailbox.post(.credentialNeeded(grant: $0, rejected: $1, $2)) },
            waiterLeft: { mailbox.post(.waiterLeft(grant: $0, $1)) },
            credentialRejected: { mailbox.post(.credentialRejected(grant: $0, generation: $1)) },
            resolver: resolver, log: access, messages: messages,
            stopped: { mailbox.post(.workerStopped($0)) })
        let configuration = configuration
        for index in 0..<snapshot.workers {
            let own = try Mailbox<WorkerMessage>()
            control.workers.append(own)
            let list = sockets[index]
            let failure = ResultBox<String>()
            let isUp = try StartFlag()
            threads.append(
                try WorkerThread.start(name: "worker-\(index)") {
                    do {
                        let worker = try Worker(
                            index: index, configuration: configuration, services: services, mailbox: own)
                        for socket in list {
                            try worker.listen(
                                socket.descriptor, shared: socket.isShared, settings: socket.settings)
                        }
                        isUp.raise()
                        worker.run()
                    } catch {
                        failure.fill("\(error)")
                        isUp.raise()
                    }
                })
            try isUp.wait()
            if let reason = failure.take() { throw StartFailure(description: "a worker could not start: \(reason)") }
        }
        control.workersRunning = snapshot.workers
    }
}

private struct StartFailure: Error, CustomStringConvertible {
    var description: String
}

/// Lets one thread wait once for another.
private final class StartFlag: Sendable {
    private let mailbox: Mailbox<Void>

    init() throws(Errno) {
        mailbox = try Mailbox<Void>()
    }

    func raise() {
        mailbox.post(())
    }

    func wait() throws(Errno) {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(mailbox.descriptor, token: 0)
        while poller.wait(timeoutMilliseconds: -1) == 0 {}
    }
}

extension SocketAddress {
    /// The addresses to bind for one address of the configuration: `*` means both families.
    static func all(_ address: Snapshot.Address) -> [SocketAddress] {
        switch address {
        case .tcp(.v4(let bits), let port): [.ipv4(bits, port: port)]
        case .tcp(.v6(let high, let low), let port): [.ipv6(high: high, low: low, port: port, scope: 0)]
        case .any(let port): [.ipv4(0, port: port), .ipv6(high: 0, low: 0, port: port, scope: 0)]
        case .unix(let path): [.unix(path: path)]
        }
    }
}

extension Logger.Level {
    init(_ level: Snapshot.Log.Level) {
        switch level {
        case .error: self = .error
        case .warning: self = .warning
        case .notice: self = .notice
        case .info: self = .info
        case .debug: self = .debug
        case .trace: self = .trace
        }
    }
}

extension LogSink {
    convenience init(descriptor: Int32, log: Snapshot.Log, isEnabled: Bool) throws(Errno) {
        let format: LogFormat =
            switch log.format {
            case .json: .json
            case .text: .human
            case .auto: isatty(descriptor) == 1 ? .human : .json
            }
        try self.init(descriptor: descriptor, format: format, isEnabled: isEnabled)
    }

    /// Where exchanges are logged; the sink of the messages where both go to standard error.
    static func access(_ log: Snapshot.Log, messages: LogSink) throws -> LogSink {
        switch log.access {
        case .off: return try LogSink(descriptor: -1, log: log, isEnabled: false)
        case .standardOutput: return try LogSink(descriptor: 1, log: log, isEnabled: true)
        case .standardError: return messages
        case .file(let path):
            let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
            guard descriptor >= 0 else {
                throw StartFailure(description: "the access log \(path) cannot be opened: \(Errno(code: errno))")
            }
            return try LogSink(descriptor: descriptor, log: log, isEnabled: true)
        }
    }
}
