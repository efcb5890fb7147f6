import COpenSSL

/// What a peer gave us to shorten the next handshake with it. A TLS 1.3 session should be used once (RFC 8446 C.4).
///
/// It carries the outcome of verification: it is only good for the same host through the same context, and an engine
/// ignores it otherwise. Not Sendable.
@safe package final class TLSSession {
    let pointer: OpaquePointer
    /// Kept alive by the session; compared by identity.
    let context: TLSClientContext
    let host: String

    init(owning pointer: OpaquePointer, context: TLSClientContext, host: String) {
        unsafe self.pointer = pointer
        self.context = context
        self.host = host
    }

    deinit { unsafe SSL_SESSION_free(pointer) }

    /// Seconds since 1970, from the clock of this machine. Later than that the peer would refuse it, and the
    /// certificate that was verified then may be out of date: drop it.
    package var expiresAt: Int64 {
        unsafe Int64(SSL_SESSION_get_time(pointer)) + Int64(SSL_SESSION_get_timeout(pointer))
    }

    /// False when a peer's failure has withdrawn it.
    package var isResumable: Bool { unsafe SSL_SESSION_is_resumable(pointer) == 1 }
}
