import Reactor
import Telemetry
import TokenStore

/// What control is told by workers and helpers' threads. Only Sendable values cross.
enum ControlMessage: Sendable {
    case credentialNeeded(grant: String, rejected: UInt64?, CredentialWaiter)
    case waiterLeft(grant: String, CredentialWaiter)
    case credentialRejected(grant: String, generation: UInt64)
    case counters(worker: Int, request: UInt64, CounterSnapshot)
    /// A call to the store has ended; the closure was made by whoever made the call.
    case storeAnswered(request: UInt64)
    case workerStopped(Int)
    /// What others have changed in a shared store.
    case news(StoreNews)
    case newsFailed(StoreError)
}
