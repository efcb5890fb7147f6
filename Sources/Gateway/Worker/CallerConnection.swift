import HTTP
import Proxy
import Reactor

/// One connection of a caller, worker thread only. While it is idle it owns no buffer.
final class CallerConnection {
    enum Mode: UInt8 {
        /// Between requests, or in the middle of a head.
        case reading
        /// An exchange runs.
        case exchange
        /// Everything is said; close when it is written.
        case closing
        /// The response is out and our side is shut; what still comes is thrown away so that the response is not lost
        /// in a reset.
        case lingering
        case closed
    }

    let descriptor: Descriptor
    let slot: Int
    let identity: CallerIdentity
    let peer: SocketAddress
    var inbound = ByteBuffer()
    var outbound = ByteBuffer()
    var scanner = HeadScanner()
    var exchange: Exchange?
    var mode: Mode = .reading
    /// Edge-triggered readiness that has not been used up.
    var canRead = true
    var canWrite = true
    /// The peer has shut its sending side: reads go on to the end of the stream.
    var peerClosed = false
    var inputEnded = false
    var isDirty = false
    var lingerAfterFlush = false
    /// Octets of empty lines before the request line, over all reads.
    var emptyLineBytes = 0
    /// Monotonic milliseconds; `.max`: none.
    var deadline: UInt64 = .max
    /// What is waited for until `deadline`.
    var waitingFor: Wait = .head
    /// Until when the caller must have taken something of what waits to be written; runs beside `deadline`.
    var writeDeadline: UInt64 = .max

    enum Wait: UInt8 {
        case head, keepAlive, body, lingering, credential, connection, nothing
    }

    init(descriptor: Descriptor, slot: Int, peer: SocketAddress) {
        self.descriptor = descriptor
        self.slot = slot
        self.peer = peer
        switch peer {
        case .ipv4: identity = CallerIdentity(address: Array(peer.ipText.utf8), isIPv6: false)
        case .ipv6: identity = CallerIdentity(address: Array(peer.ipText.utf8), isIPv6: true)
        case .unix: identity = CallerIdentity(address: [], isIPv6: false)
        }
    }
}
