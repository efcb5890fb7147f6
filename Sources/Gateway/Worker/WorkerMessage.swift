import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// Identifies an exchange that waits for a credential, over all workers and for the life of the process.
struct CredentialWaiter: Sendable, Hashable {
    var worker: Int
    var serial: UInt64
}

/// What is known of a grant's credential without asking control.
enum CredentialState: Sendable {
    case ready(Credential)
    /// Nothing can be injected until somebody acts; told at once, without asking.
    case refused(CredentialRefusal)
    /// Ask control.
    case unknown
}

/// What a worker is told. Only Sendable values cross.
enum WorkerMessage: Sendable {
    case credential(grant: String, CredentialState)
    case credentialAnswer(CredentialWaiter, Result<Credential, CredentialUnavailable>)
    case configuration(WorkerConfiguration)
    /// New certificates or ticket keys of a TLS listener, already checked, for connections from now on.
    case certificates(listener: String, settings: TLSServerSettings)
    case resolved(lookup: UInt64, Result<[SocketAddress], ResolveError>)
    /// Answer with the counters.
    case collectCounters(@Sendable (CounterSnapshot) -> Void)
    /// Call this on the worker's thread; tests look at what it holds.
    case inspect(@Sendable (Worker) -> Void)
    /// Stop accepting; end when all exchanges have ended, at the latest after so many milliseconds.
    case drain(milliseconds: UInt64)
}

struct CredentialUnavailable: Error, Sendable {
    var refusal: CredentialRefusal
}

/// What workers ask of control. The closures are called on the worker's thread and must only post.
struct WorkerServices: Sendable {
    /// Get a credential that is fresh and not of generation `rejected`; answered by `credentialAnswer`.
    var needCredential: @Sendable (_ grant: String, _ rejected: UInt64?, CredentialWaiter) -> Void
    /// The exchange does not wait any more.
    var waiterLeft: @Sendable (_ grant: String, CredentialWaiter) -> Void
    /// This generation was rejected upstream; nobody waits.
    var credentialRejected: @Sendable (_ grant: String, _ rejected: UInt64) -> Void
    var resolver: Resolver
    /// Takes the lines of exchanges; never blocks.
    var log: LogSink
    /// Takes lines about what an operator should know.
    var messages: LogSink
    /// The worker has ended.
    var stopped: @Sendable (_ worker: Int) -> Void
}
