/// The closed sets of label values. A label's word is part of the public interface: dashboards and alert rules name it.

/// The class of a response's status; `none` is an exchange that ended before any response head was sent.
@frozen
@usableFromInline
package enum StatusClass: Int, Sendable, CaseIterable {
    case none, informational, success, redirection, callerError, serverError

    /// Folds a status code; what is outside 100 to 599 counts as `none`.
    @inlinable
    package init(status: Int) {
        self = StatusClass(rawValue: status >= 100 && status < 600 ? status / 100 : 0) ?? .none
    }

    package var label: String {
        switch self {
        case .none: "none"
        case .informational: "1xx"
        case .success: "2xx"
        case .redirection: "3xx"
        case .callerError: "4xx"
        case .serverError: "5xx"
        }
    }
}

/// How one attempt at an upstream ended.
@usableFromInline
package enum AttemptOutcome: Int, Sendable, CaseIterable {
    /// A complete response, whatever its status.
    case answered
    /// The address did not resolve, or no connection could be made.
    case unreachable
    /// The TLS handshake or the certificate check failed.
    case tls
    /// A deadline passed.
    case timeout
    /// The upstream broke HTTP.
    case malformed
    /// The connection ended before the response was complete.
    case disconnected
    /// The caller left, or we drained.
    case abandoned

    package var label: String {
        switch self {
        case .answered: "answered"
        case .unreachable: "unreachable"
        case .tls: "tls"
        case .timeout: "timeout"
        case .malformed: "malformed"
        case .disconnected: "disconnected"
        case .abandoned: "abandoned"
        }
    }
}

/// What came of a 401 on the first attempt.
@usableFromInline
package enum RetryOutcome: Int, Sendable, CaseIterable {
    /// The second attempt was not answered by another 401.
    case accepted
    /// The second attempt was answered 401 too.
    case rejectedAgain
    /// The body was too large to be kept, so it was sent once only.
    case bodyNotKept
    /// No other generation could be had in time.
    case noNewCredential
    /// The second attempt got no answer.
    case failed

    package var label: String {
        switch self {
        case .accepted: "accepted"
        case .rejectedAgain: "rejected_again"
        case .bodyNotKept: "body_not_kept"
        case .noNewCredential: "no_new_credential"
        case .failed: "failed"
        }
    }
}

/// What came of one refresh of a grant.
package enum RefreshOutcome: String, Sendable, CaseIterable {
    case succeeded
    /// A sibling had refreshed already; its tokens are used.
    case superseded
    case reauthorizationRequired = "reauthorization_required"
    case configurationError = "configuration_error"
    /// The provider could not be reached, or asked to come back later.
    case transient
    /// The request was sent and its answer lost.
    case outcomeUnknown = "outcome_unknown"
    /// The new tokens could not be made durable.
    case storeFailed = "store_failed"
}

/// The state words of a grant, as in metrics, the admin API and the pages.
package enum GrantStateLabel: String, Sendable, CaseIterable, Codable {
    case notConnected = "not_connected"
    case active
    case refreshing
    case reauthorizationRequired = "reauthorization_required"
    case configurationError = "configuration_error"
    case revoked
}

/// What the gateway asks its store.
package enum StoreOperation: String, Sendable, CaseIterable {
    case read
    case commit
    case consent
    /// A small write that changes nothing: whether the store takes writes again.
    case writeCheck = "write_check"
}
