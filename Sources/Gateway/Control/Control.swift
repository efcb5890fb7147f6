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
    /// The grants whose machines are in memory: those of the file always, templated ones while somebody needs them.
    var grants: [String: GrantEntry] = [:]
    var tokenFiles: [String: TokenFileGrant] = [:]
    var templates: [String: GrantTemplate] = [:]
    var providers: [String: Provider] = [:]
    var authorizations = AuthorizationMachine()
    /// Grants that a reload took away while tokens of theirs were on the way: they go once those are stored.
    var leaving: Set<String> = []
    var told: [String: ToldState] = [:]
    var waiters: [WaiterID: CredentialWaiter] = [:]
    var waiterIDs: [CredentialWaiter: (id: WaiterID, grant: String)] = [:]
    var nextWaiter: UInt64 = 1
    var nextTicket: UInt64 = 1
    var tickets: [Ticket: (grant: String, done: (TicketResult?) -> Void)] = [:]
    var pushWaits: [CallID: (Result<PushedRequest, ProviderProblem>) -> Void] = [:]
    /// Tokens of consents that their grants have not taken or refused yet.
    var arriving: [Ticket: ArrivingTokens] = [:]
    /// Revocations that nobody waits for, with the names of their grants.
    var unwanted: [CallID: String] = [:]
    var endpointWaits: [CallID: (Result<ProviderEndpoints, ProviderProblem>) -> Void] = [:]
    var nextStart: UInt64 = 1
    var callbacks: [CallbackID: PendingCallback] = [:]
    var nextCallback: UInt64 = 1
    var devices = DeviceRuns()
    let instance: String
    /// Grants of the file whose records have not been asked for to the end.
    var unreadFileGrants = 0
    /// What follows from the file by name, so that nothing looks through thousands of grants.
    var index = SnapshotIndex()

    // Templated grants.
    var loading = LoadingState()
    var due = DueScheduler()
    var dueTimer: ControlLoop.Token?
    /// By template, while one goes on.
    var latchedWalks: [String: LatchedWalk] = [:]
    var census = GrantCensus()
    var recordCheck = RecordCheck()
    var recordCheckTimer: ControlLoop.Token?
    /// Grants of which the log has told that fields of their requests are left out.
    var toldLeftOut: Set<String> = []
    var censusTimer: ControlLoop.Token?

    // Other replicas.
    var presence: ReplicaPresence
    var news = NewsState()

    // The store.
    let store: StoreExecutor?
    var storeAnswers: [UInt64: () -> Void] = [:]
    var nextStoreRequest: UInt64 = 1
    var storeHealth = StoreHealth()
    var isProbingStore = false
    var rekeyState = RekeyState()
    /// What signs the console's cookies and forms: the same on every replica.
    var signingKeys: [[UInt8]]

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
    /// A reload waits for what the store says to its keys; others that come meanwhile are made one of.
    var isReloading = false
    var mustReloadAgain = false
    var lastReloadAt: Int64
    var scrapes: [UInt64: Scrape] = [:]
    var nextScrape: UInt64 = 1

    // Lifecycle.
    var isDraining = false
    /// Not nil: the workers have stopped, and what they left is waited for.
    var settling: Settling?
    /// The operator has told twice to stop.
    var isHurried = false
    /// Milliseconds that the store, and what is no token call, have at the end.
    var storePatience: UInt64 = 5_000
    var configurationPath: String
    var tokenFileTimer: ControlLoop.Token?
    /// Certificates and keys in use; nil before the first snapshot is taken.
    var tls: TLSMaterial?
    var certificateTimer: ControlLoop.Token?
    var ticketTimer: ControlLoop.Token?
    /// The files that client secrets were read from, as they were then.
    var secretStamps: [String: FileStamp?] = [:]
    var secretTimer: ControlLoop.Token?

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

    final class Provider {
        var machine: ProviderMachine
        var tls: TLSClientConfiguration
        var refusals = OwnRefusals()

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
        names: MetricNames, logger: Logger, version: String,
        instance: String = Base64.urlEncode(SystemRandom.bytes(12)), signingKeys: [[UInt8]] = []
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
        self.instance = instance
        self.signingKeys = signingKeys
        presence = ReplicaPresence(own: instance)
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
        case .news(let news):
            newsArrived(news)
        case .newsFailed(let error):
            newsFailed(error)
        case .workerStopped:
            workersRunning -= 1
            if workersRunning == 0 { allWorkersStopped() }
        }
    }

    /// To every worker.
    func broadcast(_ message: WorkerMessage) {
        for worker in workers { worker.post(message) }
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let error) = self { return error }
        return nil
    }
}
