import HTTP
import Proxy
import Reactor

/// The state of one exchange that the machine does not hold: heads, decoders, kept content. Used again for the next.
final class Exchange {
    enum ResponseStage: UInt8 {
        case none, head, body, tunnel, complete
    }

    /// What the exchange waits for of its caller, of control or of the pool, until `callerDeadline`.
    enum CallerWait: UInt8 {
        case credential, connection, body, nothing
    }

    /// What the exchange waits for of its upstream, until `upstreamDeadline`.
    enum UpstreamWait: UInt8 {
        /// The answer to an expectation: after it, content is sent without one.
        case continuation
        case firstByte, response
        /// HTTP/2: room for content that the upstream has not granted.
        case room
        /// HTTP/2: the caller grants no room for the response.
        case callerRoom
        case nothing
    }

    /// The index in the worker's table.
    let id: Int
    /// The worker's slot that its timers run under; it keeps it for ever.
    let slot: Int
    var configuration: WorkerConfiguration!
    var route: WorkerConfiguration.Route?
    var machine = ExchangeMachine(needsCredential: false, isIdempotent: false)
    var request = MessageHead()
    var response = MessageHead()
    /// Of the request.
    var trailers = MessageHead()
    var responseTrailers = MessageHead()
    var caller: CallerConnection?
    /// Where the caller speaks HTTP/2.
    var callerStream: HTTP2Stream?
    /// The attempt's connection.
    var upstream: UpstreamConnection?
    /// Where the upstream speaks HTTP/2.
    var upstreamStream: HTTP2Stream?
    /// nil: not known yet, where the host comes with the credential.
    var runtime: UpstreamRuntime?
    /// Where the host comes with the credential: the upstream, and where the current credential leads.
    var captured: CapturedUpstream?
    var place: CapturedPlace?
    var grant: KnownGrant?
    var credential: Credential?
    var requestDecoder = BodyDecoder()
    var responseDecoder = BodyDecoder()
    var replay = ReplayPlan(limit: 0, expected: 0)
    var kept = ByteBuffer()
    /// Octets of content that came before the first one in `kept` and are in the file.
    var spool: SpoolFile?
    /// All content has come from the caller.
    var requestEnded = true
    /// The end of the request was written to the current attempt.
    var requestSent = false
    /// The upstream was asked by `Expect: 100-continue` and has not answered: content waits.
    var waitsForContinue = false
    /// The caller waits for a 100 before it sends content.
    var owesContinue = false
    var stage: ResponseStage = .none
    var responseUntouched = true
    var framing: CallerFraming = .none
    var keepCaller = true
    var headSent = false
    var informationalCount = 0
    var responseBytes: UInt64 = 0
    var waiterSerial: UInt64 = 0
    var isWaitingForConnection = false
    /// Holds a lease of the upstream's streams, not of its HTTP/1 connections.
    var leasesStream = false
    /// The upstream is not read until the caller has taken what waits for it.
    var isHeldUp = false
    /// Monotonic nanoseconds.
    var startedAt: UInt64 = 0
    var firstByteAt: UInt64 = 0
    var credentialAskedAt: UInt64 = 0
    var credentialWait: UInt64 = 0
    /// Monotonic milliseconds for the whole exchange; `.max`: no limit.
    var totalDeadline: UInt64 = .max
    var callerDeadline: UInt64 = .max
    var upstreamDeadline: UInt64 = .max
    var callerWait: CallerWait = .nothing
    var upstreamWait: UpstreamWait = .nothing
    /// When content last came from the caller or went to it; monotonic milliseconds.
    var movedAt: UInt64 = 0
    /// What waited for room when that wait began; less of it is progress.
    var roomBacklog = 0
    /// It is in `readyAgain`.
    var isQueued = false
    var connectTries = 0
    var requestID: UInt64 = 0
    var status: UInt16 = 0
    var error: GatewayError?
    var errorReason: StaticString?
    var attempts = 0
    var wantsUpgrade = false
    /// Ours, where the caller's own version of HTTP has none (RFC 6455 4.1).
    var webSocketKey: [UInt8]?

    init(id: Int, slot: Int) {
        self.id = id
        self.slot = slot
    }

    /// What the request line and the Host field say of the upstream.
    var upstreamIdentity: UpstreamIdentity? { place?.identity ?? runtime?.settings.identity }

    /// When the wheel must look again.
    var nextDeadline: UInt64 { min(totalDeadline, callerDeadline, upstreamDeadline) }

    /// Makes it ready for the next request; memory of ordinary size stays.
    func reset(pool: BufferPool) {
        configuration = nil
        route = nil
        caller = nil
        callerStream = nil
        upstream = nil
        upstreamStream = nil
        runtime = nil
        if captured != nil {
            captured = nil
            place = nil
        }
        grant = nil
        credential = nil
        request.shrink(above: 16 * 1024)
        response.shrink(above: 16 * 1024)
        trailers.shrink(above: 16 * 1024)
        responseTrailers.shrink(above: 16 * 1024)
        kept.release(to: pool)
        spool = nil
        requestEnded = true
        requestSent = false
        waitsForContinue = false
        owesContinue = false
        stage = .none
        responseUntouched = true
        framing = .none
        keepCaller = true
        headSent = false
        informationalCount = 0
        responseBytes = 0
        waiterSerial = 0
        isWaitingForConnection = false
        leasesStream = false
        isHeldUp = false
        firstByteAt = 0
        credentialAskedAt = 0
        credentialWait = 0
        totalDeadline = .max
        callerDeadline = .max
        upstreamDeadline = .max
        callerWait = .nothing
        upstreamWait = .nothing
        connectTries = 0
        status = 0
        error = nil
        errorReason = nil
        attempts = 0
        wantsUpgrade = false
        webSocketKey = nil
    }
}
