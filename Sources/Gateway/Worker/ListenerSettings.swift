import OpenSSLKit

/// What a worker needs to know of a listener.
struct ListenerSettings: Sendable {
    /// As in `[listener.NAME]`; ``WorkerMessage/certificates(listener:settings:)`` names it.
    var name: String
    /// nil: callers speak plain HTTP.
    var tls: TLSServerSettings?
    var allowsHTTP1 = true
    var allowsHTTP2 = true

    /// Plain, both versions of HTTP.
    static let plain = ListenerSettings(name: "")
}
