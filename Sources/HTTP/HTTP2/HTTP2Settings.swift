/// What one connection offers its peer and tolerates of it.
package struct HTTP2Settings: Sendable {
    /// Streams that the peer may have open (servers), those counted that were reset but not yet released.
    package var maxConcurrentStreams: UInt32 = 100
    /// Octets of content that the peer may send on a stream before any of it is consumed.
    package var streamWindow: Int32 = 64 * 1024
    /// What the window of a stream grows to, doubling, while its content is consumed at once and the driver's
    /// ``HTTP2WindowBudget`` allows it.
    package var maximumStreamWindow: Int32 = 1 << 20
    /// Octets of content on all streams together; given back on receipt.
    package var connectionWindow: Int32 = 16 << 20
    /// Of the decoded field block.
    package var head = HeadLimits()
    /// Servers: extended CONNECT is offered (RFC 8441).
    package var allowsConnectProtocol = false

    package init() {}
}

/// What the windows of all streams of one driver may grow by, in octets. A window cannot be taken back, so that each
/// octet of it is memory that a peer can fill while the other side does not read: the first window of each stream is
/// small, and what streams get beyond it is bounded for all of them together. Thread-confined.
package final class HTTP2WindowBudget {
    private var left: Int

    package init(octets: Int) {
        left = octets
    }

    func take(_ octets: Int) -> Bool {
        guard octets <= left else { return false }
        left -= octets
        return true
    }

    func give(back octets: Int) {
        left += octets
    }
}

/// Error codes (RFC 9113 7).
package enum HTTP2Code {
    package static let noError: UInt32 = 0
    package static let protocolError: UInt32 = 1
    package static let internalError: UInt32 = 2
    package static let flowControl: UInt32 = 3
    package static let settingsTimeout: UInt32 = 4
    package static let streamClosed: UInt32 = 5
    package static let frameSize: UInt32 = 6
    package static let refusedStream: UInt32 = 7
    package static let cancel: UInt32 = 8
    package static let compression: UInt32 = 9
    package static let connect: UInt32 = 10
    package static let enhanceYourCalm: UInt32 = 11
    package static let inadequateSecurity: UInt32 = 12
    package static let http11Required: UInt32 = 13
}

/// Frame types and flags (RFC 9113 6).
enum HTTP2Frame {
    static let headerBytes = 9
    /// The largest payload that every peer takes and that we take.
    static let payloadBytes = 16_384

    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let pushPromise: UInt8 = 5
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9

    static let endStream: UInt8 = 1
    static let acknowledged: UInt8 = 1
    static let endHeaders: UInt8 = 4

    /// A stream's number: 31 bits, which must be there.
    @inline(__always)
    static func number(_ octets: UnsafeRawBufferPointer, at offset: Int) -> Int32 {
        let value = unsafe octets.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        return Int32(truncatingIfNeeded: UInt32(bigEndian: value) & 0x7FFF_FFFF)
    }

    /// Appends a frame's header.
    static func header(
        _ type: UInt8, flags: UInt8, stream: Int32, length: Int, to out: inout ByteBuffer
    ) {
        let at = unsafe out.writable(minimum: headerBytes).baseAddress!
        // Length, type, flags, and then the stream's number from the sixth octet on.
        let first = UInt64(truncatingIfNeeded: length) << 16 | UInt64(type) << 8 | UInt64(flags)
        let all = first << 24 | UInt64(UInt32(bitPattern: stream) >> 8)
        unsafe at.storeBytes(of: all.bigEndian, as: UInt64.self)
        unsafe at.storeBytes(of: UInt8(truncatingIfNeeded: stream), toByteOffset: 8, as: UInt8.self)
        out.commit(headerBytes)
    }
}

/// Why a connection was ended, by kind; for metrics.
package enum HTTP2Abuse: UInt8, Sendable, CaseIterable {
    /// Requests that their sender resets at once (CVE-2023-44487).
    case rapidReset
    /// Faults that make us reset the peer's streams (CVE-2025-8671).
    case provokedReset
    /// A field block in too many frames (CVE-2024-27316).
    case continuationFlood
    case settingsFlood
    case pingFlood
    /// DATA frames without content.
    case emptyFrames
    /// A field block far above the limit.
    case headerBomb
    /// WINDOW_UPDATE frames beyond what the content sent can explain.
    case windowFlood
    /// PRIORITY frames, frames of unknown types, and frames on streams that are gone.
    case frameFlood
    /// A mistake, not a flood.
    case protocolError
    /// Not the peer's fault.
    case internalError

    package var label: StaticString {
        switch self {
        case .rapidReset: "rapid_reset"
        case .provokedReset: "provoked_reset"
        case .continuationFlood: "continuation_flood"
        case .settingsFlood: "settings_flood"
        case .pingFlood: "ping_flood"
        case .emptyFrames: "empty_frames"
        case .headerBomb: "header_bomb"
        case .windowFlood: "window_flood"
        case .frameFlood: "frame_flood"
        case .protocolError: "protocol_error"
        case .internalError: "internal_error"
        }
    }
}

/// Why the connection must end. A GOAWAY frame with `code` waits in the output.
package struct HTTP2Failure: Error, Sendable {
    package var abuse: HTTP2Abuse
    /// What is wrong, in words for the operator.
    package var reason: StaticString
    package var code: UInt32
}

/// What came of one step of input.
package enum HTTP2Event {
    case none
    /// `stream.head` is filled: with a request (servers), a response or an informational one (clients). `rejection`:
    /// our limits or rules refuse it; the stream is open, so that a server can answer it.
    case head(HTTP2Stream, ends: Bool, rejection: Rejection?)
    /// Content at `offset` of this step's input.
    case content(HTTP2Stream, offset: Int, length: Int, ends: Bool)
    /// `stream.head` holds the trailer fields; they end the content.
    case trailers(HTTP2Stream)
    /// The stream broke off: a RST_STREAM of the peer, a malformed message (RFC 9113 8.1.1; `isLocal`), or a GOAWAY
    /// below it. `isRefused`: it was certainly not processed (RFC 9113 8.7). The driver releases the stream, also when
    /// no head was told before.
    case reset(HTTP2Stream, code: UInt32, isRefused: Bool, isLocal: Bool)
    /// The peer's SETTINGS came: what it allows may be new.
    case settings
    case goAway(lastStream: Int32, code: UInt32)
    /// The answer to a PING of ours.
    case pong
}

package struct HTTP2Step {
    /// Octets of the input that were used; 0: more must come first, or the session has failed.
    package var consumed: Int
    package var event: HTTP2Event
}
