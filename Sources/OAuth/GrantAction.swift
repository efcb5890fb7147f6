/// What a worker injects: the header's bytes, built once per generation.
package struct Credential: Sendable, Equatable {
    package let headerName: [UInt8]
    /// Scheme and token, or the token alone. Visible ASCII and single spaces only: checked when it was received.
    package let headerValue: [UInt8]
    package let generation: UInt64
    /// Monotonic milliseconds from which it must not be sent; nil: unknown.
    package let expiresAt: Int64?
    /// Encoded key that the token is bound to (RFC 9449): each request needs a proof by it; nil: none does.
    package let proofKey: Secret?
    /// Further fields that each request carries.
    package let extraHeaders: [HeaderField]
    /// Values that the provider's replies gave, for the upstream's address.
    package let captured: [String: String]

    package init(
        headerName: [UInt8], headerValue: [UInt8], generation: UInt64, expiresAt: Int64?, proofKey: Secret? = nil,
        extraHeaders: [HeaderField] = [], captured: [String: String] = [:]
    ) {
        self.headerName = headerName
        self.headerValue = headerValue
        self.generation = generation
        self.expiresAt = expiresAt
        self.proofKey = proofKey
        self.extraHeaders = extraHeaders
        self.captured = captured
    }

    package func isUsable(atMonotonic now: Int64) -> Bool {
        expiresAt.map { now < $0 } ?? true
    }
}

extension Credential: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "credential of generation \(generation)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Names one waiting request; the driver makes them unique.
package struct WaiterID: Sendable, Hashable {
    package var number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }
}

/// Names one operator's command or one consent that waits for its result; the driver makes them unique.
package struct Ticket: Sendable, Hashable {
    package var number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }
}

/// Why a waiter gets no credential.
package enum UnavailableReason: String, Sendable, Hashable, CaseIterable {
    case notConnected = "not_connected"
    case revoked
    case reauthorizationRequired = "reauthorization_required"
    case configurationError = "configuration_error"
    /// A refresh failed and the next is not due yet.
    case refreshFailed = "refresh_failed"
    /// The rejected token is the current one and was refreshed because of a 401 too recently (checklist F4).
    case coolingDown = "cooling_down"
    /// The provider's own minimum interval between refreshes has not passed.
    case refreshTooSoon = "refresh_too_soon"
    /// The current token was rejected and the grant has no refresh token.
    case noRefreshToken = "no_refresh_token"
    case storeUnavailable = "store_unavailable"
    case tooManyWaiters = "too_many_waiters"
}

package enum CredentialAnswer: Sendable, Equatable {
    case credential(Credential)
    /// `retryAfter` in milliseconds where waiting helps.
    case unavailable(UnavailableReason, retryAfter: Int64?)
}

package enum GrantState: String, Sendable, Hashable, CaseIterable {
    case notConnected = "not_connected"
    case active
    case refreshing
    case reauthorizationRequired = "reauthorization_required"
    case configurationError = "configuration_error"
    case revoked
}

/// What became of something that a ticket waits for.
package enum TicketResult: Sendable, Equatable {
    case refreshed(generation: UInt64)
    /// `code` is a problem's code or an UnavailableReason.
    case refreshFailed(code: String, detail: String)
    case connected(ConsentReport)
    case consentRefused(ConsentRefusal)
    /// The provider gave tokens, but the store did not take them yet: they are in memory, and commits go on.
    case consentNotStored
    case revocation(RevocationResult)
    /// Injection has stopped, but the store has not taken it yet: a restart would bring the grant back. Commits go on.
    case revocationNotStored
    /// The record cannot be read: nothing was done, and injection goes on where it can.
    case revocationNotDone
    case forgotten
    case forgetFailed
    /// The refresh token was good, and what it brought is the grant's.
    case imported(generation: UInt64)
    /// The grant is as before. `code` is a problem's code, a refusal's, or store_unavailable.
    case importFailed(code: String, detail: String)
    /// The record of a grant outside the file is in the store.
    case created
    case alreadyExists
    case createFailed
}

package struct ConsentReport: Sendable, Equatable {
    package var scopes: [String]
    /// Asked for and not granted.
    package var missingScopes: [String]
    /// Sentences for the page.
    package var warnings: [String]
}

/// Why a consent did not become the grant's; the old tokens stay.
package enum ConsentRefusal: Sendable, Hashable {
    case noRefreshToken
    case missingScopes([String])
    case wrongAccount(received: String, expected: String)
    case accountUnknown

    /// Stable and machine-readable.
    package var code: String {
        switch self {
        case .noRefreshToken: "no_refresh_token"
        case .missingScopes: "missing_scope"
        case .wrongAccount: "wrong_account"
        case .accountUnknown: "account_unknown"
        }
    }

    /// Plain words for the page. Not escaped.
    package var explanation: String {
        switch self {
        case .noRefreshToken:
            "The provider gave no refresh token, so the grant would end within hours. Ask the provider for one in "
                + "authorize_params, for example access_type = \"offline\" with prompt = \"consent\", "
                + "token_access_type = \"offline\" or duration = \"permanent\", or with the scope offline_access, and "
                + "authorize again."
        case .missingScopes(let scopes):
            "The provider did not grant what this grant requires: " + scopes.joined(separator: " ") + "."
        case .wrongAccount(let received, let expected):
            "The account \(received) consented, but this grant belongs to \(expected). Sign in there and authorize "
                + "again, or forget the grant first."
        case .accountUnknown:
            "The provider's reply does not say which account consented, and this grant expects a certain one."
        }
    }
}

package enum RevocationResult: String, Sendable, Hashable, CaseIterable {
    case revoked
    case alreadyInvalid = "already_invalid"
    case notSupported = "not_supported"
    /// The grant ends with the access token, and the provider did not know that one: the refresh token may still live.
    case notConfirmed = "not_confirmed"
    case failedKeptForRetry = "failed_kept_for_retry"
    case nothingToRevoke = "nothing_to_revoke"
}

/// A commit to be made durable (fsync) before it is answered by `commitFinished`.
package struct GrantCommit: Sendable, Equatable {
    /// Has `revision == expectedRevision + 1`.
    package var record: GrantRecord
    /// The store writes only if it holds this revision; 0: only if it holds nothing.
    package var expectedRevision: UInt64
    /// To be stored beside the record: wall milliseconds at which the grant next needs a machine; nil: never by itself.
    package var dueAt: Int64?
}

package enum CommitResult: Sendable, Equatable {
    /// Under the revision that the record has.
    case committed
    /// Under another revision: a store that goes on counting after a deletion.
    case committedAs(revision: UInt64)
    /// The store holds something else; nil: it holds nothing.
    case conflict(GrantRecord?)
    case failed
}

/// What a driver must do for a GrantMachine, in order. Where doing one is itself an event (a store that answers at once),
/// what that event returns comes after the rest of this list: a queue, not recursion.
package enum GrantAction: Sendable, Equatable {
    /// Read the record and answer with `recordLoaded` or `loadFailed`.
    case load
    case commit(GrantCommit)
    /// Remove the record if it has this revision, and answer with `commitFinished`.
    case delete(expectedRevision: UInt64)
    /// Hand to the grant's ProviderMachine; answered by `tokenCallFinished`.
    case requestTokens(TokenCall)
    /// Hand to the grant's ProviderMachine; answered by `revocationCallFinished`.
    case revokeToken(RevocationCall)
    /// To every worker: this is the credential from now on; nil: there is none.
    case publish(Credential?)
    case answer(WaiterID, CredentialAnswer)
    case finish(Ticket, TicketResult)
    /// Call `timerFired` at this monotonic time; replaces the earlier one; nil: no timer.
    case armTimer(at: Int64?)
    case note(GrantFact)
}

/// Facts for logs and metrics; none holds a secret.
package enum GrantFact: Sendable, Equatable {
    package enum RefreshReason: String, Sendable, Hashable, CaseIterable {
        case expiry, rejected, keepalive, command, recovery, retry
        /// An unattended grant has no tokens yet.
        case acquisition
    }

    case refreshStarted(RefreshReason)
    case refreshSucceeded(generation: UInt64, rotated: Bool)
    case refreshFailed(ProviderProblem)
    /// The reply to a refresh is lost (pains 4); the same refresh token is sent again where `willReplay`.
    case refreshOutcomeUnknown(code: String, willReplay: Bool)
    /// A result that came for a grant that has changed meanwhile.
    case lateResultDropped
    case siblingTokensAdopted(generation: UInt64)
    case stateChanged(GrantState, reason: String?)
    /// A token made because of a 401 was itself rejected.
    case freshTokenRejected(strikes: Int)
    case scopesLost([String])
    case lifetimeUnknown
    case storeFailed
    /// The store holds an older state of the record than this replica: what it lost is written again.
    case storeWentBack
    /// The store is away; this token is in use from memory until it can be stored.
    case usedBeforeStored(generation: UInt64)
    /// Another replica left a refresh unfinished; it is finished here.
    case takenOver(instance: String)
    case connected(generation: UInt64)
    case consentRefused(ConsentRefusal)
    case revocationFinished(RevocationResult)
    case revocationFailed(ProviderProblem)
}

/// A grant as the console and the metrics show it; no secret inside. Times are wall milliseconds.
package struct GrantStatus: Sendable, Equatable {
    package var name: String
    package var provider: String
    package var state: GrantState
    package var reason: String?
    package var generation: UInt64
    /// A request would get a credential now.
    package var usable: Bool
    package var hasRefreshToken: Bool
    package var scopes: [String]
    /// Asked for and not granted.
    package var missingScopes: [String]
    package var account: String?
    package var expiresAt: Int64?
    package var refreshTokenExpiresAt: Int64?
    package var lastRefreshAt: Int64?
    package var nextAttemptAt: Int64?
    package var lastFailure: GrantRecord.Failure?
    package var consecutiveFailures: Int
    package var revocationPending: Bool
    package var revocationOutcome: String?
    package var waiters: Int
    package var template: String?
    package var label: String?
    package var captured: [String: String] = [:]
}
