import HTTP
import Proxy
import Reactor

/// The state of one exchange that the machine does not hold: heads, decoders, kept content. Used again for the next.
final class Exchange {
    enum ResponseStage: UInt8 {
        case none, head, body, tunnel, complete
    }

    /// The index in the worker's table.
    let id: Int
    var configuration: WorkerConfiguration!
    var route: WorkerConfiguration.Route?
    var machine = ExchangeMachine(needsCredential: false, isIdempotent: false)
    var request = MessageHead()
    var response = MessageHead()
    /// Of the request.
    var trailers = MessageHead()
    var responseTrailers = MessageHead()
    var caller: CallerConnection?
    var upstream: UpstreamConnection?
    var runtime: UpstreamRuntime?
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
    /// The upstream is not read until the caller has taken what waits for it.
    var isHeldUp = false
    /// Monotonic nanoseconds.
    var startedAt: UInt64 = 0
    var firstByteAt: UInt64 = 0
    var credentialAskedAt: UInt64 = 0
    var credentialWait: UInt64 = 0
    /// Monotonic milliseconds for the whole exchange; `.max`: no limit.
    var totalDeadline: UInt64 = .max
    var connectTries = 0
    var requestID: UInt64 = 0
    var status: UInt16 = 0
    var error: GatewayError?
    var errorReason: StaticString?
    var attempts = 0
    var wantsUpgrade = false

    init(id: Int) {
        self.id = id
    }

    /// Makes it ready for the next request; memory of ordinary size stays.
    func reset(pool: BufferPool) {
        configuration = nil
        route = nil
        caller = nil
        upstream = nil
        runtime = nil
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
        isHeldUp = false
        firstByteAt = 0
        credentialAskedAt = 0
        credentialWait = 0
        totalDeadline = .max
        connectTries = 0
        status = 0
        error = nil
        errorReason = nil
        attempts = 0
        wantsUpgrade = false
    }
}
