/// How the rule "on a 401 refresh once and retry once" ended for an exchange.
package enum RetryOutcome: UInt8, Sendable, CaseIterable {
    /// A second attempt was made and its answer was not a rejection.
    case succeeded
    /// The second attempt was rejected too; its answer went to the caller.
    case rejectedAgain
    /// The rejected credential is still the newest; the first answer went to the caller.
    case unchanged
    /// No credential could be had in time.
    case unavailable
    /// The content was too large to be kept; the first answer went to the caller.
    case skippedBody
    /// The answer's challenge is not about a token.
    case otherChallenge

    package var label: StaticString {
        switch self {
        case .succeeded: "succeeded"
        case .rejectedAgain: "rejected_again"
        case .unchanged: "unchanged"
        case .unavailable: "unavailable"
        case .skippedBody: "skipped_body"
        case .otherChallenge: "other_challenge"
        }
    }
}

/// One request and its response: which attempt runs, when a credential is asked for, what is retried.
///
/// ```
/// routed ─┬─► waitingForCredential ─► waitingForConnection ─► sending ─┬─► responding ─► finished
///         └──────────────────────────►                    ▲            │
///                                                         └── holding ◄┘ (401, attempt 1)
/// ```
/// A value without I/O: each event returns what the driver must do. At most two attempts with different credentials are
/// made; a connection that was dead from the start does not count as an attempt, nor does a request whose proof wanted a
/// nonce, once.
package struct ExchangeMachine: Sendable {
    package enum Phase: UInt8, Sendable {
        case routed, waitingForCredential, waitingForConnection, sending
        /// The first answer was a rejection and is kept until a newer credential is there or is known not to come.
        case holding
        case responding, finished
    }

    package enum Action: Equatable {
        case none
        /// Get a credential that is fresh and, if given, not of generation `rejected`.
        case needCredential(rejected: UInt64?)
        /// Get a connection to the upstream; a new one where a pooled one has just failed.
        case openAttempt(newConnection: Bool)
        /// Write the request head and what is there of the content to the connection.
        case sendRequest
        /// Keep the response unread and get a credential of another generation than `rejected`.
        case hold(rejected: UInt64)
        /// Send the response on. `report`: tell control about this generation, without waiting.
        case forwardResponse(report: UInt64?)
        /// Give the held response up and get a connection for the second attempt.
        case retry
        /// Give the response up and send the request again, with the same credential and the nonce that came with it.
        case retryWithNonce
        /// Answer with an error of our own; a held response is given up.
        case fail(GatewayError, retryAfter: UInt32)
        /// The response has begun and cannot be completed: make the cut visible to the caller.
        case abort(GatewayError)
        /// The caller is gone: give the attempt up.
        case cancel
    }

    package private(set) var phase: Phase = .routed
    /// 1 or 2.
    package private(set) var attempt: UInt8 = 1
    package private(set) var retryOutcome: RetryOutcome?
    /// The generation that the current attempt carries.
    package private(set) var generation: UInt64?
    private let needsCredential: Bool
    private let isIdempotent: Bool
    private var connectionWasReused = false
    private var reconnected = false
    private var heldIsLost = false
    /// Requests that the upstream has certainly not processed and that were sent again.
    private var refusals: UInt8 = 0
    private static let refusalLimit: UInt8 = 2
    private var isWhole = false
    /// The request was sent again because the upstream wanted a nonce in its proof: that happens once.
    private var nonceTaken = false

    package init(needsCredential: Bool, isIdempotent: Bool) {
        self.needsCredential = needsCredential
        self.isIdempotent = isIdempotent
    }

    package mutating func requestRouted() -> Action {
        guard phase == .routed else { return .none }
        guard needsCredential else { return open(newConnection: false) }
        phase = .waitingForCredential
        return .needCredential(rejected: nil)
    }

    package mutating func credentialReady(generation newer: UInt64) -> Action {
        switch phase {
        case .waitingForCredential:
            generation = newer
            return open(newConnection: false)
        case .holding:
            guard newer != generation else { return credentialUnavailable(.unchanged) }
            generation = newer
            attempt = 2
            reconnected = false
            isWhole = false
            phase = .waitingForConnection
            return .retry
        case .routed, .waitingForConnection, .sending, .responding, .finished:
            return .none
        }
    }

    package mutating func credentialUnavailable(_ refusal: CredentialRefusal) -> Action {
        switch phase {
        case .waitingForCredential:
            return fail(refusal.error, retryAfter: refusal.seconds)
        case .holding:
            retryOutcome = refusal == .unchanged ? .unchanged : .unavailable
            guard refusal == .unchanged, !heldIsLost else { return fail(refusal.error, retryAfter: refusal.seconds) }
            phase = .responding
            return .forwardResponse(report: nil)
        case .routed, .waitingForConnection, .sending, .responding, .finished:
            return .none
        }
    }

    /// - Parameter reused: the connection has carried another exchange before.
    package mutating func connectionReady(reused: Bool) -> Action {
        guard phase == .waitingForConnection else { return .none }
        connectionWasReused = reused
        phase = .sending
        return .sendRequest
    }

    /// No connection could be made; addresses and handshakes have been tried.
    package mutating func connectionFailed(_ error: GatewayError) -> Action {
        guard phase == .waitingForConnection else { return .none }
        return fail(error, retryAfter: 0)
    }

    /// - Parameters:
    ///   - isRejection: the status is one that the route takes for "token not accepted".
    ///   - challenge: false when there is a challenge and it is not about a token.
    ///   - replayable: all content received so far is kept and can be sent again.
    ///   - wantsNonce: the proof of possession is refused for want of a nonce that is there now (RFC 9449 9); the token
    ///     itself has not been judged.
    package mutating func responseHeadReceived(
        isRejection: Bool, challenge: Bool, replayable: Bool, wantsNonce: Bool = false
    ) -> Action {
        guard phase == .sending else { return .none }
        if wantsNonce, needsCredential { return nonceWanted(replayable) }
        phase = .responding
        guard attempt == 1 else {
            retryOutcome = isRejection ? .rejectedAgain : .succeeded
            return .forwardResponse(report: nil)
        }
        guard isRejection, needsCredential, let rejected = generation else { return .forwardResponse(report: nil) }
        guard challenge else {
            retryOutcome = .otherChallenge
            return .forwardResponse(report: nil)
        }
        guard replayable else {
            retryOutcome = .skippedBody
            return .forwardResponse(report: rejected)
        }
        phase = .holding
        return .hold(rejected: rejected)
    }

    private mutating func nonceWanted(_ replayable: Bool) -> Action {
        if !nonceTaken, replayable {
            nonceTaken = true
            reconnected = false
            isWhole = false
            phase = .waitingForConnection
            return .retryWithNonce
        }
        // Another token would not help.
        retryOutcome = nonceTaken ? .rejectedAgain : .skippedBody
        phase = .responding
        return .forwardResponse(report: nil)
    }

    /// The last octet of the response, trailer section included, is in the driver's hands, though perhaps not yet in
    /// the caller's. What becomes of the upstream's connection or stream from here on does not matter: an upstream that
    /// does not want the rest of the request's content ends it so (RFC 9113 8.1: RST_STREAM with NO_ERROR).
    package mutating func responseEnded() {
        guard phase == .holding || phase == .responding else { return }
        isWhole = true
    }

    /// The upstream's connection or stream ended or broke. After ``responseEnded()`` nothing is lost by it.
    ///
    /// - Parameters:
    ///   - untouched: no octet of a response has come.
    ///   - replayable: all content received so far is kept and can be sent again.
    ///   - refused: the upstream has certainly not processed the request (RFC 9113 8.7: REFUSED_STREAM, or a stream
    ///     above the last one of GOAWAY), so that any method may be sent again, on any connection.
    package mutating func upstreamLost(
        _ error: GatewayError, untouched: Bool, replayable: Bool, refused: Bool = false
    ) -> Action {
        if isWhole { return .none }
        switch phase {
        case .sending where refused && untouched && replayable && refusals < Self.refusalLimit:
            refusals += 1
            return open(newConnection: false)
        case .sending:
            let mayRepeat = connectionWasReused && untouched && replayable && isIdempotent && !reconnected
            guard mayRepeat else { return fail(error, retryAfter: 0) }
            reconnected = true
            return open(newConnection: true)
        case .holding:
            heldIsLost = true
            return .none
        case .responding:
            phase = .finished
            return .abort(error)
        case .routed, .waitingForCredential, .waitingForConnection, .finished:
            return .none
        }
    }

    /// The time for a phase, or for the whole exchange, is over.
    package mutating func timedOut(_ error: GatewayError) -> Action {
        switch phase {
        case .holding where error == .tokenUnavailable && !heldIsLost:
            retryOutcome = .unavailable
            phase = .responding
            return .forwardResponse(report: nil)
        case .responding:
            phase = .finished
            return .abort(error)
        case .finished:
            return .none
        case .routed, .waitingForCredential, .waitingForConnection, .sending, .holding:
            return fail(error, retryAfter: error == .tokenUnavailable ? 1 : 0)
        }
    }

    /// Before `sendRequest` is done: the attempt carries the credential of this generation instead.
    package mutating func credentialReplaced(generation newer: UInt64) {
        generation = newer
    }

    /// The request cannot be taken as it is (framing, size), or its credential has ended: an answer of ours ends the
    /// exchange. `retryAfter`: seconds; 0: none is told.
    package mutating func requestRefused(_ error: GatewayError, retryAfter: UInt32 = 0) -> Action {
        switch phase {
        case .responding:
            phase = .finished
            return .abort(error)
        case .finished:
            return .none
        case .routed, .waitingForCredential, .waitingForConnection, .sending, .holding:
            return fail(error, retryAfter: retryAfter)
        }
    }

    package mutating func callerLeft() -> Action {
        guard phase != .finished else { return .none }
        phase = .finished
        return .cancel
    }

    package mutating func responseCompleted() {
        phase = .finished
    }

    private mutating func open(newConnection: Bool) -> Action {
        phase = .waitingForConnection
        return .openAttempt(newConnection: newConnection)
    }

    private mutating func fail(_ error: GatewayError, retryAfter: UInt32) -> Action {
        phase = .finished
        return .fail(error, retryAfter: retryAfter)
    }
}

extension CredentialRefusal {
    /// For Retry-After: never 0 where the error is one that time mends.
    fileprivate var seconds: UInt32 {
        switch self {
        case .unavailable(let seconds): max(seconds, 1)
        case .unchanged: 1
        case .notConnected, .reauthorizationRequired, .configurationError, .unknownGrant: 0
        }
    }
}
