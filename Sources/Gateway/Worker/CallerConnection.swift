import HTTP
import OpenSSLKit
import Proxy
import Reactor

/// One connection of a caller, worker thread only. While it is idle it owns no buffer.
final class CallerConnection {
    enum Mode: UInt8 {
        /// The TLS handshake.
        case handshaking
        /// HTTP/1 between requests, or in the middle of a head.
        case reading
        /// An HTTP/1 exchange runs.
        case exchange
        /// HTTP/2: exchanges are the session's streams.
        case multiplexed
        /// Everything is said; close when it is written.
        case closing
        /// The response is out and our side is shut; what still comes is thrown away so that the response is not lost
        /// in a reset.
        case lingering
        case closed
    }

    var wire: Wire
    let slot: Int
    let listener: Listener
    let identity: CallerIdentity
    let peer: SocketAddress
    /// What it has proved to be, where a route has asked for that.
    var name: [UInt8]?
    var knowsName = false
    var scanner = HeadScanner()
    /// HTTP/1 only: over HTTP/2 each stream has its own.
    var exchange: Exchange?
    var session: HTTP2Session?
    /// The ids of the exchanges on streams of `session`.
    var streams = NumberQueue()
    var streamCount: Int { streams.count }
    /// Until when the session knows of time; monotonic milliseconds.
    var sessionTime: UInt64 = 0
    var mode: Mode = .reading
    /// HTTP/2: its SETTINGS have come, the preface is whole.
    var hasSettings = false
    /// No request has come yet: what comes may be the preface of HTTP/2.
    var isFresh = true
    var isDirty = false
    var lingerAfterFlush = false
    /// Octets of empty lines before the request line, over all reads.
    var emptyLineBytes = 0
    /// HTTP/2: when to look for answers that nobody takes and whose exchanges are over. Monotonic milliseconds; `.max`:
    /// there are none.
    var untakenDeadline: UInt64 = .max
    /// Monotonic milliseconds; `.max`: none.
    var deadline: UInt64 = .max
    /// What is waited for until `deadline`.
    var waitingFor: Wait = .head

    /// When the wheel must look again.
    var nextDeadline: UInt64 { min(deadline, wire.writeDeadline, untakenDeadline) }

    enum Wait: UInt8 {
        case handshake, head, keepAlive, lingering, nothing
        /// HTTP/2: idle, but not for long; memory is given back first.
        case rest
    }

    init(descriptor: Descriptor, slot: Int, peer: SocketAddress, listener: Listener, engine: TLSEngine?) {
        wire = Wire(descriptor: descriptor, side: .caller, engine: engine)
        wire.canRead = true
        wire.canWrite = true
        self.slot = slot
        self.peer = peer
        self.listener = listener
        let isTLS = engine != nil
        switch peer {
        case .ipv4(let address, _):
            identity = CallerIdentity(address: Self.text(address), isIPv6: false, isTLS: isTLS)
        case .ipv6: identity = CallerIdentity(address: Array(peer.ipText.utf8), isIPv6: true, isTLS: isTLS)
        case .unix: identity = CallerIdentity(address: [], isIPv6: false, isTLS: isTLS)
        }
    }

    /// An IPv4 address in dotted form; by hand, because the C library does it with a format string.
    private static func text(_ address: UInt32) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(15)
        for place in 0..<4 {
            if place > 0 { text.append(0x2E) }
            let number = UInt8(truncatingIfNeeded: address >> UInt32(24 - 8 * place))
            if number >= 100 { text.append(0x30 + number / 100) }
            if number >= 10 { text.append(0x30 + number / 10 % 10) }
            text.append(0x30 + number % 10)
        }
        return text
    }
}

/// A listening socket of a worker, with what its callers may speak.
final class Listener {
    let descriptor: Descriptor
    let settings: ListenerSettings
    /// Other workers have the socket too.
    let isShared: Bool
    /// For connections that are accepted from now on; nil: plain.
    var context: TLSServerContext?

    init(descriptor: Descriptor, isShared: Bool, settings: ListenerSettings) throws {
        self.descriptor = descriptor
        self.isShared = isShared
        self.settings = settings
        context = try settings.tls.map { settings throws(TLSConfigurationError) in try TLSServerContext(settings) }
    }
}
