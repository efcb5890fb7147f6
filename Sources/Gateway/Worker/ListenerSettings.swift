import OpenSSLKit
import Reactor

/// What a worker needs to know of a listener.
struct ListenerSettings: Sendable {
    /// As in `[listener.NAME]`; ``WorkerMessage/certificates(listener:settings:)`` names it.
    var name: String
    /// nil: callers speak plain HTTP.
    var tls: TLSServerSettings?
    var allowsHTTP1 = true
    var allowsHTTP2 = true
}

extension Worker {
    /// Adds a listening socket; the worker owns it from now on.
    func listen(_ descriptor: Descriptor, shared: Bool, settings: ListenerSettings) throws {
        guard settings.tls == nil else { throw TLSListenersUnavailable() }
        try listen(descriptor, shared: shared)
    }
}

private struct TLSListenersUnavailable: Error, CustomStringConvertible {
    var description: String { "this worker has no TLS for callers" }
}
