/// One request and its response on an HTTP/2 connection. Made and pooled by its ``HTTP2Session``; valid until
/// ``HTTP2Session/release(_:)``. Thread-confined.
package final class HTTP2Stream {
    package internal(set) var id: Int32 = 0
    /// The driver's number; -1: none.
    package var owner = -1
    /// The last head received. The driver may swap it with one of its own.
    package var head = MessageHead()
    /// The driver's: content received and kept.
    package var inbound = ByteBuffer()
    /// END_STREAM was received.
    package internal(set) var isPeerDone = false
    /// END_STREAM or RST_STREAM was handed to the output.
    package internal(set) var isLocalDone = false
    /// Nothing can be sent or received any more.
    package internal(set) var isClosed = false
    /// Set by the driver when it stopped because of the backlog; ``HTTP2Session/takeRoomy()`` tells when to go on.
    package var wantsRoom = false
    /// Octets received and not yet given back by ``HTTP2Session/consume(_:on:)``.
    package internal(set) var unconsumed = 0
    /// Octets accepted by ``HTTP2Session/send(_:on:)`` and not yet in frames.
    package var backlog: Int { outbound.count }

    /// Where it stands in the session's pool.
    let index: Int
    var isUsed = false
    var method = Method.other
    /// Clients: the final response's head has come.
    var hasFinalHead = false

    // MARK: Receiving
    /// What the peer may send without a WINDOW_UPDATE.
    var window: Int32 = 0
    /// What the window has grown by.
    var grownBy = 0
    /// Octets received since the window has grown.
    var received = 0

    // MARK: Sending
    var outbound = ByteBuffer()
    var trailers = MessageHead()
    var hasTrailers = false
    /// No content comes after what waits.
    var isFinishing = false
    /// nghttp2 has a DATA item for it.
    var hasItem = false
    /// The item rests because there is no content.
    var isWaiting = false
    /// The item rests until the others had their turn.
    var isYielding = false
    /// Counted among those that have something to send.
    var isActive = false
    var isRoomy = false
    /// The round of turns in which it sent last.
    var round: UInt32 = 0

    // MARK: Ending
    /// The driver has released it before all that it accepted was sent.
    var isDetached = false
    /// Detached: since when, in the driver's milliseconds, and what waited and what had been sent on all streams then.
    var restsSince: UInt64 = 0
    var restThen = 0
    var sentThen: UInt64 = 0
    /// The driver has reset it.
    var isLocalReset = false
    /// nghttp2 has reset it for a fault of the peer.
    var isFaulty = false
    /// The driver knows that it broke off.
    var isTold = false
    var isRefused = false
    /// It stands in the queue of ``HTTP2Session/takeReset()``.
    var isResetQueued = false
    var resetCode: UInt32 = 0

    init(index: Int) {
        self.index = index
    }

    /// Makes it ready for another stream; memory is kept.
    func begin(id: Int32, window: Int32) {
        self.id = id
        self.window = window
        isUsed = true
        owner = -1
        method = .other
        isPeerDone = false
        isLocalDone = false
        isClosed = false
        wantsRoom = false
        unconsumed = 0
        received = 0
        hasFinalHead = false
        hasTrailers = false
        isFinishing = false
        hasItem = false
        isWaiting = false
        isYielding = false
        isActive = false
        isRoomy = false
        round = 0
        isDetached = false
        isLocalReset = false
        isFaulty = false
        isTold = false
        isRefused = false
        isResetQueued = false
        resetCode = 0
    }

    /// Empties it, and gives memory above `bytes` for each of its buffers back.
    func end(keeping bytes: Int) {
        isUsed = false
        isYielding = false
        isRoomy = false
        isResetQueued = false
        wantsRoom = false
        owner = -1
        if outbound.capacity > bytes { outbound = ByteBuffer() } else { outbound.removeAll() }
        if inbound.capacity > bytes { inbound = ByteBuffer() } else { inbound.removeAll() }
        head.reset()
        head.shrink(above: bytes)
        if hasTrailers {
            trailers.reset()
            trailers.shrink(above: bytes)
        }
    }
}
