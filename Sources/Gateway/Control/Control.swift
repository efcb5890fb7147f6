import Configuration
import Console
import Logging
import OAuth
import OpenSSLKit
import Proxy
import Reactor
import Telemetry
import TokenStore

/// The control thread: owns grants, the console and calls to providers. It performs what the machines say.
///
/// Not Sendable; everything that reaches it from other threads comes through its mailbox.
final class Control {
    let loop: ControlLoop
    let mailbox: Mailbox<ControlMessage>
    let logger: Logger
    let resolver: Resolver
    let environment: ConfigurationEnvironment
    let version: String
    var snapshot: Snapshot
    var workers: [Mailbox<WorkerMessage>] = []
    var workersRunning = 0

    // Grants and providers, by name.
    var grants: [String: ProviderGrant] = [:]
    var tokenFiles: [String: TokenFileGrant] = [:]
    var providers: [String: Provider] = [:]
    var authorizations = AuthorizationMachine()
    /// Grants that a reload took away while tokens of theirs were on the way: they go once those are stored.
    var leaving: Set<String> = []
    var told: [String: ToldState] = [:]
    var waiters: [WaiterID: CredentialWaiter] = [:]
    var waiterIDs: [CredentialWaiter: (id: WaiterID, grant: String)] = [:]
    var nextWaiter: UInt64 = 1
    var nextTicket: UInt64 = 1
    var tickets: [Ticket: (TicketResult) -> Void] = [:]
    var endpointWaits: [CallID: (Result<ProviderEndpoints, ProviderProblem>) -> Void] = [:]
    var nextStart: UInt64 = 1
    var callbacks: [CallbackID: PendingCallback] = [:]
    var nextCallback: UInt64 = 1
    let instance: String

    // The store.
    let store: StoreExecutor?
    var storeAnswers: [UInt64: () -> Void] = [:]
    var nextStoreRequest: UInt64 = 1
    var storeIsWorking = true

    // The console and the calls to providers.
    let client: ProviderClient
    var console: Console?
    var consoleServer: ConsoleServer?
    /// Requests that came before it was known which grants are connected.
    var earlyRequests: [() -> Void] = []

    // Metrics.
    var counters = ControlCounters()
    let startedAt: Int64
    var names: MetricNames
    var lastReloadSuccessful = true
    var lastReloadAt: Int64
    var scrapes: [UInt64: Scrape] = [:]
    var nextScrape: UInt64 = 1

    // Lifecycle.
    var isDraining = false
    var configurationPath: String
    var tokenFileTimer: ControlLoop.Token?
    /// Certificates and keys in use; nil before the first snapshot is taken.
    var tls: TLSMaterial?
    var certificateTimer: ControlLoop.Token?
    var ticketTimer: ControlLoop.Token?
    /// The files that client secrets were read from, as they were then.
    var secretStamps: [String: FileStamp] = [:]

    /// What the workers were last told of a grant.
    enum ToldState: Equatable {
        /// The object itself: a reload can change the header of a generation that stays.
        case ready(Proxy.Credential)
        case refused(CredentialRefusal)
        case unknown

        static func == (left: ToldState, right: ToldState) -> Bool {
            switch (left, right) {
            case (.ready(let one), .ready(let other)): one === other
            case (.refused(let one), .refused(let other)): one == other
            case (.unknown, .unknown): true
            case (.ready, _), (.refused, _), (.unknown, _): false
            }
        }
    }

    /// A grant whose tokens come from a provider.
    final class ProviderGrant {
        var machine: GrantMachine
        var providerName: String
        var header: Snapshot.CredentialHeader
        var timer: ControlLoop.Token?
        var credential: Proxy.Credential?
        /// Actions that are still to be performed; an event that comes while they are appends its own.
        var queue: [GrantAction] = []
        var isPerforming = false
        var lastConsent: GrantView.LastConsent?
        /// The store has been asked for its record, and has answered or failed.
        var isRead = false

        init(machine: GrantMachine, providerName: String, header: Snapshot.CredentialHeader) {
            self.machine = machine
            self.providerName = providerName
            self.header = header
        }
    }

    final class Provider {
        var machine: ProviderMachine
        var tls: TLSClientConfiguration

        init(machine: ProviderMachine, tls: TLSClientConfiguration) {
            self.machine = machine
            self.tls = tls
        }
    }

    struct PendingCallback {
        var expectedGrant: String?
        var isForOtherGrant = false
        var respond: (OAuth.ConsentOutcome, _ isForOtherGrant: Bool) -> Void
    }

    struct Scrape {
        var missing: Int
        var snapshots: [CounterSnapshot] = []
        var done: ([CounterSnapshot]) -> Void
    }

    init(
        loop: ControlLoop, mailbox: Mailbox<ControlMessage>, snapshot: Snapshot, configurationPath: String,
        environment: ConfigurationEnvironment, store: StoreExecutor?, resolver: Resolver, client: ProviderClient,
        names: MetricNames, logger: Logger, version: String
    ) throws(Errno) {
        self.loop = loop
        self.mailbox = mailbox
        self.snapshot = snapshot
        self.configurationPath = configurationPath
        self.environment = environment
        self.store = store
        self.resolver = resolver
        self.client = client
        self.names = names
        self.logger = logger
        self.version = version
        startedAt = WallClock.seconds()
        lastReloadAt = startedAt
        instance = Base64.urlEncode(SystemRandom.bytes(12))
        client.failureNoted = { request, detail in
            logger.warning("a call to a provider failed", metadata: ["call": "\(request)", "detail": "\(detail)"])
        }
        var messages: [ControlMessage] = []
        _ = try loop.addListener(mailbox.descriptor) { [unowned self] in
            self.mailbox.drain(into: &messages)
            for message in messages { self.receive(message) }
            messages.removeAll(keepingCapacity: true)
        }
    }

    var moment: Moment {
        Moment(monotonic: Int64(MonotonicClock.milliseconds()), wall: WallClock.milliseconds())
    }

    private func receive(_ message: ControlMessage) {
        switch message {
        case .credentialNeeded(let grant, let rejected, let waiter):
            credentialNeeded(grant, rejected: rejected, waiter)
        case .waiterLeft(_, let waiter):
            waiterLeft(waiter)
        case .credentialRejected(let grant, let generation):
            credentialRejected(grant, generation)
        case .counters(_, let request, let snapshot):
            countersArrived(request, snapshot)
        case .storeAnswered(let request):
            storeAnswers.removeValue(forKey: request)?()
        case .workerStopped:
            workersRunning -= 1
            if workersRunning == 0 { allWorkersStopped() }
        }
    }

    /// To every worker.
    func broadcast(_ message: WorkerMessage) {
        for worker in workers { worker.post(message) }
    }

    // MARK: Store

    /// Runs `work` on the store's thread and `done` here with its result.
    func withStore<Value: Sendable>(
        _ operation: StoreOperation, _ work: @escaping @Sendable (any TokenStore) throws(StoreError) -> Value,
        then done: @escaping (Result<Value, StoreError>) -> Void
    ) {
        guard let store else {
            done(.failure(StoreError(.closed, "the configuration has no store")))
            return
        }
        let request = nextStoreRequest
        nextStoreRequest += 1
        let box = ResultBox<Result<Value, StoreError>>()
        let started = MonotonicClock.nanoseconds()
        storeAnswers[request] = { [unowned self] in
            guard let result = box.take() else { return }
            var failed = false
            if case .failure = result { failed = true }
            counters.storeAnswered(
                operation, nanoseconds: MonotonicClock.nanoseconds() - started, failed: failed)
            noteStore(result.failure)
            done(result)
        }
        let mailbox = mailbox
        store.perform { store in
            do throws(StoreError) {
                box.fill(.success(try work(store)))
            } catch {
                box.fill(.failure(error))
            }
            mailbox.post(.storeAnswered(request: request))
        }
    }

    private func noteStore(_ error: StoreError?) {
        if let error {
            if storeIsWorking { logger.error("the store failed", metadata: ["reason": "\(error)"]) }
            storeIsWorking = false
        } else {
            if !storeIsWorking { logger.notice("the store works again") }
            storeIsWorking = true
        }
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let error) = self { return error }
        return nil
    }
}
