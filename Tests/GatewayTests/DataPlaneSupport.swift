import Configuration
import Dispatch
import Foundation
import OpenSSLKit
import Proxy
import Reactor
import Synchronization
import Telemetry
import Testing

@testable import Gateway

/// What a data plane test says of the configuration beside what all have; each is lines of TOML.
struct PlaneSetup: Sendable {
    var timeouts = ""
    var limits = ""
    var upstream = ""
    var route = ""
    /// More sections, at the end.
    var more = ""
    var hasGrant = true
    var isTLS = false
    var tokenFile = "/k/token"
    /// A name to be resolved, instead of the address.
    var host: String?

    func text(upstreamPort: UInt16) -> String {
        let name = host ?? (isTLS ? "api.test" : "127.0.0.1")
        let url = "\(isTLS ? "https" : "http")://\(name):\(upstreamPort)"
        let trust = isTLS ? "ca_file = \"\(PlaneCertificates.caFile)\"" : "allow_plaintext = true"
        let grant = hasGrant ? "grant = \"fixed\"" : ""
        return """
            workers = 1
            [listener.internal]
            address = "127.0.0.1:8080"
            [grant.fixed]
            token_file = "\(tokenFile)"
            [timeouts]
            \(timeouts)
            [limits]
            \(limits)
            [upstream.api]
            url = "\(url)"
            \(trust)
            \(upstream)
            [route.all]
            path = "/*"
            upstream = "api"
            \(grant)
            \(route)
            \(more)

            """
    }

    func configuration(upstreamPort: UInt16, extending names: MetricNames? = nil) throws -> WorkerConfiguration {
        let environment = ConfigurationEnvironment(
            variable: { _ in nil },
            readFile: { path, limit in
                guard path.hasPrefix("/k/") else { return ConfigurationEnvironment.system.readFile(path, limit) }
                return .success(FileContents(bytes: Array("unused".utf8), mode: 0o600, owner: 0))
            },
            isDirectory: { _ in true }, processorCount: 1)
        let text = text(upstreamPort: upstreamPort)
        let outcome = GatewayConfiguration.parse(Array(text.utf8), file: "f", environment: environment)
        let mistakes = outcome.diagnostics.map(\.description).joined(separator: "\n")
        return WorkerConfiguration(try #require(outcome.snapshot, "\(mistakes)"), extending: names)
    }
}

enum PlaneCertificates {
    static let authority = try! CertificateAuthority(commonName: "Plane Authority", validity: Certificates.validity)
    static let api = try! authority.issue(LeafRequest(dnsNames: ["api.test"], validity: Certificates.validity))
    static let otherName = try! authority.issue(LeafRequest(dnsNames: ["other.test"], validity: Certificates.validity))
    static let expired = try! authority.issue(
        LeafRequest(dnsNames: ["api.test"], validity: Validity(notBefore: 946_684_800, notAfter: 978_307_200)))
    static let strange = try! Certificates.stranger.issue(
        LeafRequest(dnsNames: ["api.test"], validity: Certificates.validity))
    /// A process that this one forks ends with the same handlers.
    private static let owner = getpid()
    /// Stays until the process ends.
    static let caFile: String = {
        let path = NSTemporaryDirectory() + "tg-plane-\(SystemRandom.uint64()).pem"
        try! authority.certificatePEM.write(toFile: path, atomically: true, encoding: .utf8)
        _ = owner
        atexit { if getpid() == PlaneCertificates.owner { unlink(PlaneCertificates.caFile) } }
        return path
    }()
}

/// Plays control: answers workers' questions at once, later or never.
final class StubControl: Sendable {
    enum Answer: Sendable {
        case generation(UInt64)
        case refusal(CredentialRefusal)
        case silence
    }

    struct Question: Sendable {
        var grant: String
        var rejected: UInt64?
        var waiter: CredentialWaiter
    }

    private struct State {
        var questions: [Question] = []
        var left: [CredentialWaiter] = []
        var reported: [UInt64] = []
    }

    private let mailbox: Mailbox<WorkerMessage>
    private let state = Mutex(State())
    private let changed = DispatchSemaphore(value: 0)
    private let rule: @Sendable (Question) -> Answer

    init(_ mailbox: Mailbox<WorkerMessage>, rule: @escaping @Sendable (Question) -> Answer) {
        self.mailbox = mailbox
        self.rule = rule
    }

    var questions: [Question] { state.withLock { $0.questions } }
    var left: [CredentialWaiter] { state.withLock { $0.left } }
    /// Generations that were rejected and that nobody waits for.
    var reported: [UInt64] { state.withLock { $0.reported } }

    static func credential(_ generation: UInt64) -> Credential {
        Credential(
            headerName: "Authorization", headerValue: Array("Bearer token-\(generation)".utf8), generation: generation,
            expiry: .max)
    }

    func answer(_ waiter: CredentialWaiter, _ answer: Answer) {
        switch answer {
        case .generation(let generation):
            mailbox.post(.credentialAnswer(waiter, .success(Self.credential(generation))))
        case .refusal(let refusal):
            mailbox.post(.credentialAnswer(waiter, .failure(CredentialUnavailable(refusal: refusal))))
        case .silence:
            break
        }
    }

    /// Waits for so many questions, since the beginning.
    func waitForQuestions(_ count: Int) throws -> [Question] {
        try wait { $0.questions.count >= count }
        return questions
    }

    func waitForLeavers(_ count: Int) throws { try wait { $0.left.count >= count } }

    func waitForReports(_ count: Int) throws { try wait { $0.reported.count >= count } }

    private func wait(until isTrue: (borrowing State) -> Bool) throws {
        while !state.withLock({ isTrue($0) }) {
            try #require(changed.wait(timeout: .now() + 10) == .success, "control was not asked")
        }
    }

    func services(resolver: Resolver, log: LogSink) -> WorkerServices {
        WorkerServices(
            needCredential: { [self] grant, rejected, waiter in
                let question = Question(grant: grant, rejected: rejected, waiter: waiter)
                state.withLock { $0.questions.append(question) }
                answer(waiter, rule(question))
                changed.signal()
            },
            waiterLeft: { [self] _, waiter in
                state.withLock { $0.left.append(waiter) }
                changed.signal()
            },
            credentialRejected: { [self] _, generation in
                state.withLock { $0.reported.append(generation) }
                changed.signal()
            },
            resolver: resolver, log: log, messages: log, stopped: { _ in })
    }
}

/// What a worker still held when it had ended: all zero when nothing leaked.
struct PlaneEnd: Sendable, Equatable {
    var callers = 0
    var exchanges = 0
    var lostExchanges = 0
    var waiters = 0
    var leases = 0
    var openSlots = 0
}

/// A worker on a thread of its own, between a test and a scripted upstream.
final class Plane {
    let address: SocketAddress
    let upstream: ScriptedUpstream
    let control: StubControl
    let setup: PlaneSetup
    private(set) var configuration: WorkerConfiguration
    private let mailbox: Mailbox<WorkerMessage>
    private let thread: WorkerThread
    private let result: PlaneBox<PlaneEnd>
    private var ended: PlaneEnd?
    private let path: String?

    init(
        _ setup: PlaneSetup = PlaneSetup(), unixPath: String? = nil, listener settings: ListenerSettings = .plain,
        upstream: ScriptedUpstream? = nil,
        control rule: @escaping @Sendable (StubControl.Question) -> StubControl.Answer = {
            .generation(($0.rejected ?? 0) + 1)
        },
        lookup: @escaping Resolver.Lookup = { _ in .success([.loopback(port: 0)]) }
    ) throws {
        self.setup = setup
        path = unixPath
        let upstream = try upstream ?? ScriptedUpstream()
        self.upstream = upstream
        let configuration = try setup.configuration(upstreamPort: upstream.port)
        self.configuration = configuration
        let mailbox = try Mailbox<WorkerMessage>()
        self.mailbox = mailbox
        control = StubControl(mailbox, rule: rule)
        let listener = try Socket.listen(on: unixPath.map { .unix(path: $0) } ?? .loopback(port: 0))
        address = try #require(Socket.localAddress(of: listener))
        let services = control.services(
            resolver: try Resolver(lookup: lookup),
            log: try LogSink(descriptor: -1, format: .json, isEnabled: false))
        let box = PlaneBox<PlaneEnd>()
        result = box
        thread = try WorkerThread.start(name: "plane") {
            do {
                let worker = try Worker(index: 0, configuration: configuration, services: services, mailbox: mailbox)
                try worker.listen(listener, shared: unixPath != nil, settings: settings)
                worker.run()
                box.set(PlaneEnd(worker))
            } catch {
                Issue.record("the worker could not start: \(error)")
            }
        }
    }

    deinit {
        _ = try? stop()
        if let path { Socket.removeSocketFile(at: path) }
    }

    func connect() throws -> WireEnd { try WireEnd(connectingTo: address) }

    func post(_ message: WorkerMessage) { mailbox.post(message) }

    func reconfigure(_ setup: PlaneSetup, upstream: ScriptedUpstream? = nil) throws {
        configuration = try setup.configuration(
            upstreamPort: (upstream ?? self.upstream).port, extending: configuration.names)
        mailbox.post(.configuration(configuration))
    }

    func counters() throws -> CounterSnapshot {
        let box = PlaneBox<CounterSnapshot>()
        let gate = DispatchSemaphore(value: 0)
        mailbox.post(
            .collectCounters {
                box.set($0)
                gate.signal()
            })
        try #require(gate.wait(timeout: .now() + 10) == .success, "the worker does not answer")
        return try #require(box.value)
    }

    /// Asks the worker again and again; each answer comes after another turn of its loop.
    func wait(_ what: String, until isTrue: (CounterSnapshot) -> Bool) throws {
        let deadline = MonotonicClock.milliseconds() + 10_000
        while !isTrue(try counters()) {
            try #require(MonotonicClock.milliseconds() < deadline, "this never came: \(what)")
            _ = pause(1)
        }
    }

    /// Ends the worker, at the latest after so many milliseconds, and says what it still held.
    @discardableResult
    func stop(within milliseconds: UInt64 = 0) throws -> PlaneEnd {
        if let ended { return ended }
        mailbox.post(.drain(milliseconds: milliseconds))
        thread.join()
        let end = try #require(result.value)
        ended = end
        return end
    }
}

/// Lets other threads run.
func pause(_ milliseconds: Int32) -> Bool {
    (try? Poller(eventCapacity: 1))?.wait(timeoutMilliseconds: milliseconds) == 0
}

extension PlaneEnd {
    init(_ worker: Worker) {
        callers = worker.callerCount
        exchanges = worker.activeExchanges
        lostExchanges = worker.exchanges.count - Set(worker.freeExchanges).count
        waiters = worker.waiters.count
        leases = worker.places.flatMap(\.runtimes).reduce(0) {
            $0 + $1.pool.openCount + $1.pool.waitingCount + $1.streams.openCount + $1.streams.waitingCount
        }
        for slot in worker.slots {
            switch slot {
            case .caller, .upstream, .listener: openSlots += 1
            case .free, .mailbox, .exchange: break
            }
        }
    }
}

/// A value that two threads share.
final class PlaneBox<Value: Sendable>: Sendable {
    private let storage = Mutex<Value?>(nil)
    var value: Value? { storage.withLock { $0 } }
    func set(_ value: Value) { storage.withLock { $0 = value } }
}

/// An upstream that the test itself plays, connection by connection.
final class ScriptedUpstream: Sendable {
    let port: UInt16
    let listener: Descriptor

    init(backlog: Int32 = 1024) throws {
        listener = try Socket.listen(on: .loopback(port: 0), backlog: backlog)
        port = try #require(Socket.localAddress(of: listener)?.port)
    }

    deinit { listener.close() }

    func accept() throws -> WireEnd {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(listener, token: 0)
        try #require(poller.wait(timeoutMilliseconds: WireEnd.patience) > 0, "the gateway did not connect")
        guard case .accepted(let descriptor, _) = Socket.accept(listener) else { throw Errno.connectionAborted }
        return try WireEnd(descriptor)
    }

    func acceptTLS(_ certificate: IssuedCertificate = PlaneCertificates.api) throws -> WireEnd {
        let end = try accept()
        try #require(end.acceptTLS(certificate))
        return end
    }

    /// Whether a connection waits to be accepted now.
    func hasConnection() throws -> Bool {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(listener, token: 0)
        return poller.wait(timeoutMilliseconds: 0) > 0
    }
}

extension WireEnd {
    /// Head and chunked content, as it came.
    func readChunked() -> String { read(until: "\r\n\r\n") + read(until: "0\r\n\r\n") }

    /// Exactly so many octets, or what came before the end.
    func readBytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard let more = readSome(), !more.isEmpty else { break }
            bytes += more
        }
        return bytes
    }

    /// Writes until the peer takes no more for a while; how much it took.
    func writeUntilStuck(chunk: [UInt8], limit: Int, patience: Int32 = 300) -> Int {
        var total = 0
        while total < limit {
            switch chunk.withUnsafeBytes({ Socket.write(descriptor, $0) }) {
            case .bytes(let count): total += count
            case .wouldBlock: if !waitForRoom(patience) { return total }
            case .endOfFile, .failed: return total
            }
        }
        return total
    }

    private func waitForRoom(_ patience: Int32) -> Bool {
        guard let poller = try? Poller(eventCapacity: 1), (try? poller.add(descriptor, token: 0)) != nil else {
            return false
        }
        let deadline = MonotonicClock.milliseconds() + UInt64(patience)
        while MonotonicClock.milliseconds() < deadline {
            guard poller.wait(timeoutMilliseconds: patience) > 0 else { return false }
            if poller.event(at: 0).readiness.contains(.writable) { return true }
        }
        return false
    }
}

func post(_ path: String, _ content: String, fields: String = "") -> String {
    "POST \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)Content-Length: \(content.utf8.count)\r\n\r\n\(content)"
}

func ok(_ content: String = "ok", fields: String = "") -> String {
    "HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(content.utf8.count)\r\n\r\n\(content)"
}

let unauthorized =
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nX-First: yes\r\n"
    + "Content-Length: 5\r\n\r\nfirst"
