internal import CNghttp2

/// The protocol of one HTTP/2 connection (RFC 9113), octets in and octets out; for either role.
///
/// nghttp2 keeps the states, the windows and the decoding of field blocks. The blocks that are sent are our own
/// encoder's: nghttp2 is given HEADERS frames without fields, and where such a frame comes out, the session writes its
/// own in its place. Callbacks only note what happened. Thread-confined.
@safe
package final class HTTP2Session {
    package enum Role {
        case server, client
    }

    /// What a client sends first (RFC 9113 3.4).
    package static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    /// The version of nghttp2 that runs.
    package static var libraryVersion: String {
        guard let info = unsafe nghttp2_version(0) else { return "unknown" }
        return unsafe String(cString: info.pointee.version_str)
    }

    /// Blocks of memory that the sessions of this thread have of nghttp2; for tests.
    package static var libraryBlocks: Int { tg_nghttp2_blocks() }

    /// Below this backlog a stream is told as roomy.
    static let roomyBytes = 16 * 1024
    /// What may wait in ``pending`` before the peer is taken for one that does not read.
    static let pendingLimit = 64 * 1024

    let role: Role
    let settings: HTTP2Settings
    let windowBudget: HTTP2WindowBudget?
    var raw: OpaquePointer!
    package internal(set) var failure: HTTP2Failure?

    // MARK: Streams
    var streams: [HTTP2Stream] = []
    var free: [Int] = []
    /// Streams that nghttp2 has and has not closed.
    package internal(set) var openStreams = 0
    var closed = HTTP2ClosedStreams()
    var resetQueue: [Int] = []
    var roomy: [Int] = []
    /// Detached streams that have sent everything, or are closed.
    var detached: [Int] = []

    // MARK: Input
    var prefaceLeft: Int
    /// Octets of the current frame that have not come yet; 0: between frames.
    var frameLeft = 0
    var frameType: UInt8 = 0
    var frameFlags: UInt8 = 0
    var frameStream: Int32 = 0
    /// Octets of content in the current frame so far.
    var frameContent = 0
    var isInFieldBlock = false
    /// The stream whose field block is being read; -1: none.
    var reading = -1
    var reader = HTTP2HeadReader()
    var budget = HTTP2Budget()
    /// The input of the current step.
    var input: UnsafeRawPointer?
    var happened = Happened.nothing
    var isFrameTaken = false
    var isBomb = false
    /// Octets of content in this step that belong to no stream of the driver.
    var strayContent = 0
    /// Servers: the highest stream that the peer has opened.
    var highestStream: Int32 = 0
    /// What ``find(_:)`` found last.
    var foundIndex = 0

    // MARK: Output
    var encoder = HPACKEncoder()
    /// The field block that is being written.
    var block = ByteBuffer()
    /// The driver's output, for the time of a call.
    var out = ByteBuffer()
    /// Frames that were made in a step.
    var pending = ByteBuffer()
    /// DATA frames are made while the output is below it.
    var limit = Int.max
    /// No DATA frames now.
    var holdsData = false
    /// Content that is framed from where it stands, for the time of a call, and whose it is.
    var direct = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
    var directIndex = -1
    /// Streams with something to send and no reason to rest.
    var activeCount = 0
    var yielding: [Int] = []
    var round: UInt32 = 1
    /// Octets of content that were put into frames.
    var contentSent: UInt64 = 0
    /// The stream of the HEADERS frame that came out last; -1: none.
    var sentIndex = -1

    // MARK: The peer's settings and the end
    var peerStreamLimit = 100
    package internal(set) var peerAllowsConnectProtocol = false
    var pings = 0
    var ownGoAways = 0
    var isEnding = false

    /// Frames that open the connection wait in the output from the start. Nil when there is no memory.
    ///
    /// - Parameter windowBudget: of what streams' windows grow; nil: no bound but each stream's own.
    package init?(role: Role, settings: HTTP2Settings, windowBudget: HTTP2WindowBudget? = nil) {
        self.role = role
        self.settings = settings
        self.windowBudget = windowBudget
        prefaceLeft = role == .server ? Self.preface.utf8CodeUnitCount : 0
        var offered = tg_nghttp2_settings()
        offered.max_concurrent_streams = settings.maxConcurrentStreams
        offered.initial_window_size = UInt32(max(settings.streamWindow, 0))
        offered.max_header_list_size = UInt32(clamping: settings.head.headBytes)
        offered.connection_window = max(settings.connectionWindow, 65_535)
        offered.enable_connect_protocol = settings.allowsConnectProtocol
        guard let callbacks = unsafe HTTP2Callbacks.make() else { return nil }
        defer { unsafe nghttp2_session_callbacks_del(callbacks) }
        let user = unsafe Unmanaged.passUnretained(self).toOpaque()
        guard let session = unsafe tg_nghttp2_new(role == .server, callbacks, user, &offered) else { return nil }
        unsafe raw = session
    }

    deinit {
        if let windowBudget { for stream in streams { windowBudget.give(back: stream.grownBy) } }
        if let session = unsafe raw { unsafe nghttp2_session_del(session) }
    }

    // MARK: - The pool of streams

    func take(id: Int32) -> HTTP2Stream {
        let stream: HTTP2Stream
        if let index = free.popLast() {
            stream = streams[index]
        } else {
            stream = HTTP2Stream(index: streams.count)
            streams.append(stream)
        }
        stream.begin(id: id, window: settings.streamWindow)
        return stream
    }

    func give(back stream: HTTP2Stream) {
        deactivate(stream)
        windowBudget?.give(back: stream.grownBy)
        stream.grownBy = 0
        if reading == stream.index { reading = -1 }
        // A few streams keep what content needs, the others what heads need.
        stream.end(keeping: free.count < 8 ? 32 * 1024 : 2 * 1024)
        free.append(stream.index)
    }

    /// Where the stream of that number stands in the pool: one that nghttp2 has and that the driver has not released.
    /// -1: none.
    ///
    /// A place and not the stream, so that no reference is counted where one member is looked at. Frames and callbacks
    /// of one stream follow one another: nghttp2 is asked for the first of them only.
    func find(_ id: Int32) -> Int {
        guard id > 0 else { return -1 }
        let last = foundIndex
        if last < streams.count, streams[last].id == id, streams[last].isUsed, !streams[last].isClosed { return last }
        guard let user = unsafe nghttp2_session_get_stream_user_data(raw, id) else { return -1 }
        let index = Int(bitPattern: user) - 1
        guard index >= 0, index < streams.count, streams[index].id == id, streams[index].isUsed else { return -1 }
        foundIndex = index
        return index
    }

    static func mark(_ index: Int) -> UnsafeMutableRawPointer? {
        unsafe UnsafeMutableRawPointer(bitPattern: index + 1)
    }

    /// The driver has finished with the stream. Where ``finish(_:)`` was called, all that was accepted still leaves
    /// first. A stream that is open then is reset: with NO_ERROR by a server that has answered and does not want the
    /// rest of the request (RFC 9113 8.1), else with CANCEL.
    ///
    /// - Parameter now: monotonic milliseconds, for ``resetUntaken(now:patience:)``.
    package func release(_ stream: HTTP2Stream, at now: UInt64 = 0) {
        guard stream.isUsed, !stream.isDetached else { return }
        if stream.isFinishing, !stream.isLocalDone, !stream.isClosed, !stream.isLocalReset, failure == nil {
            stream.isDetached = true
            stream.isTold = true
            stream.owner = -1
            stream.wantsRoom = false
            noteRest(stream, at: now)
            return
        }
        letGo(stream)
    }

    /// Notes that a stream without an owner may be given back when no call of nghttp2 is under way.
    func detachedEnded(_ stream: HTTP2Stream) {
        if stream.isDetached { detached.append(stream.index) }
    }

    func reapDetached() {
        while let index = detached.popLast() {
            guard streams[index].isDetached else { continue }
            streams[index].isDetached = false
            letGo(streams[index])
        }
    }

    /// Ends the streams that the driver has released and of whose content the peer has let nothing leave for `patience`
    /// milliseconds, as far as calls of this method have seen. One that only waits for its turn goes on.
    ///
    /// - Returns: when to look again; `.max`: nothing waits.
    package func resetUntaken(now: UInt64, patience: UInt64) -> UInt64 {
        var next = UInt64.max
        for index in streams.indices where streams[index].isDetached {
            let stream = streams[index]
            let isOver = now &- stream.restsSince >= patience
            if isOver, stream.backlog == stream.restThen, isHeldBack(stream) {
                reset(stream, code: HTTP2Code.cancel)
                continue
            }
            if isOver || stream.backlog < stream.restThen { noteRest(stream, at: now) }
            next = min(next, stream.restsSince &+ patience)
        }
        return next
    }

    private func noteRest(_ stream: HTTP2Stream, at now: UInt64) {
        stream.restsSince = now
        stream.restThen = stream.backlog
        stream.sentThen = contentSent
    }

    /// It is the peer that lets nothing of the content leave: by the stream's window, or by the connection's, on any
    /// stream. The end alone needs no window.
    private func isHeldBack(_ stream: HTTP2Stream) -> Bool {
        guard stream.backlog > 0 else { return false }
        if unsafe nghttp2_session_get_stream_remote_window_size(raw, stream.id) <= 0 { return true }
        return unsafe contentSent == stream.sentThen && nghttp2_session_get_remote_window_size(raw) <= 0
    }

    private func letGo(_ stream: HTTP2Stream) {
        if !stream.isClosed {
            if !stream.isLocalReset {
                let hasAnswered = role == .server && stream.isLocalDone
                reset(stream, code: hasAnswered ? HTTP2Code.noError : HTTP2Code.cancel)
            }
            _ = unsafe nghttp2_session_set_stream_user_data(raw, stream.id, nil)
        }
        give(back: stream)
    }

    /// Gives memory of streams that are not in use back; for a connection that has become idle.
    package func trim() {
        for index in free { streams[index].end(keeping: 0) }
        if block.capacity > 1024 { block = ByteBuffer() }
        if pending.isEmpty { pending = ByteBuffer() }
    }

    // MARK: - The connection

    /// Another stream may be opened now (clients).
    package var canRequest: Bool {
        guard role == .client, failure == nil, !isEnding, openStreams < peerStreamLimit else { return false }
        return unsafe nghttp2_session_check_request_allowed(raw) != 0
    }

    /// A head has begun to come and is not whole: the preface, or a field block.
    package var isInHead: Bool {
        prefaceLeft > 0 || isInFieldBlock || frameLeft > 0 && frameType == HTTP2Frame.headers
    }

    /// No number for another stream is left (clients; RFC 9113 5.1.1).
    package var isSpent: Bool { unsafe nghttp2_session_get_next_stream_id(raw) > UInt32(Int32.max) }

    /// How many streams the peer allows at a time, of those whose numbers are left.
    package var maxPeerStreams: Int {
        let next = unsafe Int(nghttp2_session_get_next_stream_id(raw))
        let left = next > Int(Int32.max) ? 0 : (Int(Int32.max) - next) / 2 + 1
        return min(peerStreamLimit, openStreams + left)
    }

    package func ping() {
        guard failure == nil else { return }
        if check(unsafe nghttp2_submit_ping(raw, 0, nil)) { pings += 1 }
    }

    /// Servers: GOAWAY with the highest stream number, so that requests under way still come (RFC 9113 6.8).
    package func announceEnd() {
        guard role == .server, failure == nil, !isEnding else { return }
        if check(unsafe nghttp2_submit_shutdown_notice(raw)) { ownGoAways += 1 }
    }

    /// GOAWAY with the last stream that was taken. With NO_ERROR the streams below it are finished; with another code
    /// the connection ends there.
    package func end(code: UInt32) {
        guard failure == nil else { return }
        isEnding = true
        let result =
            code == HTTP2Code.noError
            ? unsafe nghttp2_submit_goaway(
                raw, 0, nghttp2_session_get_last_proc_stream_id(raw), code, nil, 0)
            : unsafe nghttp2_session_terminate_session(raw, code)
        if check(result) { ownGoAways += 1 }
    }

    /// Neither input nor output is wanted any more: the connection can be closed.
    package var isFinished: Bool {
        if hasOutput { return false }
        if failure != nil { return true }
        return unsafe nghttp2_session_want_read(raw) == 0
    }

    /// Time has passed without the peer being at fault: what ``HTTP2Abuse`` counts is forgiven a little. Optional; for
    /// connections that are long-lived and idle.
    package func timePassed(seconds: Int) {
        budget.passed(seconds: seconds)
    }

    // MARK: - Failing

    /// Whether a call to nghttp2 went well; the session fails when there is no memory.
    @discardableResult
    func check(_ result: Int32) -> Bool {
        if result < 0, nghttp2_is_fatal(result) != 0 {
            fail(
                HTTP2Failure(
                    abuse: .internalError, reason: "nghttp2 has failed", code: HTTP2Code.internalError))
        }
        return result >= 0
    }

    func fail(_ failure: HTTP2Failure) {
        guard self.failure == nil else { return }
        self.failure = failure
        ownGoAways += 1
        if unsafe nghttp2_session_terminate_session(raw, failure.code) == 0 { settle() }
    }

    /// Makes the frames that are due, DATA excepted, so that what nghttp2 has decided becomes known.
    func settle() {
        swap(&out, &pending)
        holdsData = true
        limit = Int.max
        drain()
        holdsData = false
        swap(&out, &pending)
        if pending.count > Self.pendingLimit {
            fail(
                HTTP2Failure(
                    abuse: .frameFlood, reason: "it provokes frames and does not read them",
                    code: HTTP2Code.enhanceYourCalm))
        }
    }
}
