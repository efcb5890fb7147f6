import HTTP
import OpenSSLKit
import Proxy
import Reactor

/// One connection to an upstream, worker thread only.
final class UpstreamConnection {
    enum State: UInt8 {
        case connecting, handshaking, active, idle, closed
    }

    let descriptor: Descriptor
    let slot: Int
    let runtime: UpstreamRuntime
    let engine: TLSEngine?
    /// Plaintext that has come and is not parsed yet.
    var inbound = ByteBuffer()
    /// Plaintext that is to be sent; encrypted when it is flushed.
    var outbound = ByteBuffer()
    /// Ciphertext that the socket did not take.
    var ciphertext = ByteBuffer()
    var scanner = HeadScanner()
    var exchange: Exchange?
    var state: State = .connecting
    var canRead = false
    var canWrite = false
    var peerClosed = false
    var inputEnded = false
    /// The input ended with an error: what came is not complete, whatever its framing.
    var inputBroke = false
    var isDirty = false
    /// Has carried an exchange before.
    var wasReused = false
    let openedAt: UInt64
    var deadline: UInt64 = .max
    var waitingFor: Wait = .connecting
    /// Until when the upstream must have taken something of what waits to be written; runs beside `deadline`.
    var writeDeadline: UInt64 = .max

    enum Wait: UInt8 {
        case connecting, handshake, firstByte, response, idle, nothing
    }

    init(descriptor: Descriptor, slot: Int, runtime: UpstreamRuntime, engine: TLSEngine?, now: UInt64) {
        self.descriptor = descriptor
        self.slot = slot
        self.runtime = runtime
        self.engine = engine
        openedAt = now
    }

    /// Bytes that wait to be written.
    var backlog: Int { outbound.count + ciphertext.count }
}

/// What one worker keeps about one upstream: addresses, pool, TLS.
final class UpstreamRuntime {
    let settings: UpstreamSettings
    let context: TLSClientContext?
    var pool: UpstreamPool
    /// For the next handshake; TLS 1.3 tickets are used once.
    var session: TLSSession?
    var addresses: [SocketAddress] = []
    var addressesAt: UInt64 = 0
    var isResolving = false
    /// Leases are being given out: who gets one here does not start to give out others.
    var isServing = false
    /// Exchanges that hold a lease to open a connection and wait for the addresses.
    var waitingForAddress: [Int] = []
    /// Where the next connection starts in `addresses`.
    var nextAddress = 0
    /// The configuration does not have it any more: connections are closed when they become idle.
    var isRetired = false

    init(settings: UpstreamSettings) throws(TLSConfigurationError) {
        self.settings = settings
        if let tls = settings.tls { context = try TLSClientContext(tls) } else { context = nil }
        pool = UpstreamPool(limits: settings.pool)
    }
}
