/// The facts of one exchange for its line in the access log, apart from the peer's own bytes.
///
/// Names are the snapshot's strings: copying them here retains and does not allocate.
package struct ExchangeFacts: Sendable {
    /// When the request's first byte came, Unix milliseconds.
    package var unixMilliseconds: Int64
    /// `nil` where no route took the request.
    package var route: String?
    package var upstream: String?
    /// What the caller was sent; 0 where it was sent no response head.
    package var status: Int
    package var bytesReceived: UInt64
    package var bytesSent: UInt64
    package var totalNanoseconds: UInt64
    /// From the request's first byte to the upstream's first, over all attempts; `nil` where none came.
    package var firstByteNanoseconds: UInt64?
    /// How long the exchange waited for a credential.
    package var credentialWaitNanoseconds: UInt64
    package var attempts: Int
    package var retry: RetryOutcome?
    /// The code of an error that the gateway made.
    package var errorCode: String?
    /// The grant whose credential the exchange asked for.
    package var grant: String?

    package init(
        unixMilliseconds: Int64, route: String?, upstream: String?, status: Int, bytesReceived: UInt64,
        bytesSent: UInt64, totalNanoseconds: UInt64, firstByteNanoseconds: UInt64? = nil,
        credentialWaitNanoseconds: UInt64 = 0, attempts: Int = 0, retry: RetryOutcome? = nil, errorCode: String? = nil,
        grant: String? = nil
    ) {
        self.unixMilliseconds = unixMilliseconds
        self.route = route
        self.upstream = upstream
        self.status = status
        self.bytesReceived = bytesReceived
        self.bytesSent = bytesSent
        self.totalNanoseconds = totalNanoseconds
        self.firstByteNanoseconds = firstByteNanoseconds
        self.credentialWaitNanoseconds = credentialWaitNanoseconds
        self.attempts = attempts
        self.retry = retry
        self.errorCode = errorCode
        self.grant = grant
    }
}

extension LineWriter {
    /// One line for one exchange. The spans are borrowed for the call and may hold anything; of the target the query is
    /// left out, whatever it says, since it is where callers put what should not be logged.
    package mutating func exchangeEnded(
        _ facts: ExchangeFacts, requestID: Span<UInt8>, caller: Span<UInt8>, method: Span<UInt8>, target: Span<UInt8>
    ) {
        let path = target.extracting(first: Redactor.pathLength(of: target))
        if plainExchangeEnded(facts, requestID: requestID, caller: caller, method: method, path: path) { return }
        unusualExchangeEnded(facts, requestID: requestID, caller: caller, method: method, path: path)
    }

    /// The line field by field, each escaped and quoted where it must be.
    mutating func unusualExchangeEnded(
        _ facts: ExchangeFacts, requestID: Span<UInt8>, caller: Span<UInt8>, method: Span<UInt8>, path: Span<UInt8>
    ) {
        begin(level: .info, unixMilliseconds: facts.unixMilliseconds, message: "exchange")
        field("request_id", bytes: requestID)
        field("caller", bytes: caller)
        if let route = facts.route { field("route", route) }
        field("method", bytes: method)
        field("target", bytes: path)
        field("status", facts.status)
        field("bytes_received", facts.bytesReceived)
        field("bytes_sent", facts.bytesSent)
        field("duration_ms", milliseconds: facts.totalNanoseconds)
        if let first = facts.firstByteNanoseconds { field("first_byte_ms", milliseconds: first) }
        if facts.credentialWaitNanoseconds > 0 {
            field("credential_wait_ms", milliseconds: facts.credentialWaitNanoseconds)
        }
        if let upstream = facts.upstream { field("upstream", upstream) }
        if let grant = facts.grant { field("grant", grant) }
        field("attempts", facts.attempts)
        if let retry = facts.retry { field("retry", retry.label) }
        if let code = facts.errorCode { field("error", code) }
        end()
    }
}
