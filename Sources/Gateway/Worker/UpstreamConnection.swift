import HTTP
import OpenSSLKit
import Proxy
import Reactor

/// One connection to an upstream, worker thread only.
final class UpstreamConnection {
    enum State: UInt8 {
        case connecting, handshaking
        /// HTTP/1: carries an exchange.
        case active
        /// HTTP/1: in the pool.
        case idle
        /// HTTP/2: exchanges are the session's streams.
        case multiplexed
        /// HTTP/2: its streams are being given up.
        case closing
        case closed
    }

    var wire: Wire
    let slot: Int
    let runtime: UpstreamRuntime
    /// What it was opened under, and what it counts for until it speaks: a lease of the HTTP/1 pool, or of the streams'.
    var purpose: Purpose
    var scanner = HeadScanner()
    /// HTTP/1: the exchange that it carries. Before it is established: the exchange that opened it.
    var exchange: Exchange?
    var session: HTTP2Session?
    /// The ids of the exchanges on streams of `session`.
    var streams = NumberQueue()
    var streamCount: Int { streams.count }
    /// Until when the session knows of time; monotonic milliseconds.
    var sessionTime: UInt64 = 0
    /// Streams that their attempts have let go of and that the session has not closed: their places are still taken.
    var lateStreams = 0
    var state: State = .connecting
    var isDirty = false
    /// HTTP/2: exchanges whose upgrade waits for the upstream to say whether it takes extended CONNECT.
    var waitingForSettings: [Int] = []
    var hasSettings = false
    /// HTTP/2: takes no new streams; closed when the last one has ended.
    var isRetiring = false
    let openedAt: UInt64
    /// When the peer last sent something; monotonic milliseconds.
    var receivedAt: UInt64
    /// HTTP/2: when to look for requests' rests that nobody takes and whose exchanges are over. Monotonic milliseconds;
    /// `.max`: there are none.
    var untakenDeadline: UInt64 = .max
    var deadline: UInt64 = .max
    var waitingFor: Wait = .connecting

    /// When the wheel must look again.
    var nextDeadline: UInt64 { min(deadline, wire.writeDeadline, untakenDeadline) }

    enum Purpose: UInt8 {
        case request, stream
    }

    enum Wait: UInt8 {
        case connecting, handshake, idle
        /// HTTP/2: when nothing has come until then, ask whether the peer is still there.
        case silence
        /// HTTP/2: the peer has been asked.
        case pong
        case nothing
    }

    init(
        descriptor: Descriptor, slot: Int, runtime: UpstreamRuntime, purpose: Purpose, engine: TLSEngine?, now: UInt64
    ) {
        wire = Wire(descriptor: descriptor, side: .upstream, engine: engine)
        self.slot = slot
        self.runtime = runtime
        self.purpose = purpose
        openedAt = now
        receivedAt = now
    }
}

/// How connections to an upstream are secured: what is verified, offered and presented.
struct UpstreamContexts {
    /// nil: plain.
    let main: TLSClientContext?
    let upgrade: TLSClientContext?

    init(_ settings: UpstreamSettings) throws(TLSConfigurationError) {
        guard let tls = settings.tls else {
            main = nil
            upgrade = nil
            return
        }
        let context = try TLSClientContext(tls)
        main = context
        guard settings.protocolChoice == .automatic else {
            upgrade = nil
            return
        }
        var http1 = tls
        http1.alpn = UpstreamSettings.ProtocolChoice.http1.alpn
        upgrade = try TLSClientContext(http1, sharingRootsOf: context)
    }
}

/// What one worker keeps about one upstream: addresses, pools, TLS.
final class UpstreamRuntime {
    /// What the upstream is known to speak.
    enum Speech: UInt8 {
        /// The first connection will tell: ALPN decides.
        case unknown
        case http1, http2
    }

    let settings: UpstreamSettings
    private let contexts: UpstreamContexts
    /// nil: plain.
    var context: TLSClientContext? { contexts.main }
    /// Offers HTTP/1.1 only: for upgrades where the upstream speaks HTTP/2 otherwise.
    var upgradeContext: TLSClientContext? { contexts.upgrade }
    var speech: Speech
    /// HTTP/1 connections.
    var pool: UpstreamPool
    /// HTTP/2 connections.
    var streams: StreamPool
    /// For the next handshake; TLS 1.3 tickets are used once.
    var session: TLSSession?
    var addresses: [SocketAddress] = []
    var addressesAt: UInt64 = 0
    var isResolving = false
    /// Leases are being given out: who gets one here does not start to give out others.
    var isServing = false
    /// Exchanges that hold a lease to open a connection and wait for the addresses.
    var waitingForAddress = NumberQueue()
    /// Where the next connection starts in `addresses`.
    var nextAddress = 0
    /// The configuration does not have it any more: connections are closed when they become idle.
    var isRetired = false
    /// When an attempt was last sent here, where the host is a captured one; monotonic milliseconds.
    var usedAt: UInt64 = 0
    /// What this server wants to see in the next proof of possession (RFC 9449 9); empty: nothing that we know of.
    var proofNonce: [UInt8] = []

    convenience init(settings: UpstreamSettings) throws(TLSConfigurationError) {
        self.init(settings: settings, contexts: try UpstreamContexts(settings))
    }

    init(settings: UpstreamSettings, contexts: UpstreamContexts) {
        self.settings = settings
        self.contexts = contexts
        switch (settings.protocolChoice, settings.tls) {
        case (.http1, _): speech = .http1
        case (.http2, _): speech = .http2
        case (.automatic, nil): speech = .http1
        case (.automatic, .some): speech = .unknown
        }
        pool = UpstreamPool(limits: settings.pool)
        streams = StreamPool(
            limits: StreamPool.Limits(
                connections: settings.pool.connections, streams: settings.maxStreams,
                // While the first connection is made, all wait: as many as would have connections of their own.
                waiting: settings.pool.connections + settings.pool.waiting))
    }
}
