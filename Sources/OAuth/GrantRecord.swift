/// All that is durable about one grant. `encoded()` makes the payload that the store seals; the store keeps it beside
/// `revision` and commits by compare-and-set on that number.
package struct GrantRecord: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable {
        case notConnected, active, reauthorizationRequired, configurationError, revoked
    }

    package struct Tokens: Sendable, Equatable {
        package var accessToken: Secret
        package var refreshToken: Secret?
        /// Wall milliseconds at which the token call was sent.
        package var obtainedAt: Int64
        /// Wall milliseconds; nil: unknown.
        package var expiresAt: Int64?
        package var refreshTokenExpiresAt: Int64?
        package var scopes: [String]
        package var type = TokenType.bearer
        /// Encoded key that the tokens are bound to; nil: they are not.
        package var proofKey: Secret?
        /// Where they come from; nil: not from a refresh.
        package var origin: Origin?
        /// Milliseconds from when they were asked for to when the store was to take them, on one clock: so old they were
        /// at least when others could first see them.
        package var heldFor: Int64 = 0

        /// Which of `asked` were not granted.
        func lacking(of asked: [String]) -> [String] {
            GrantedScopes.missing(of: asked, granted: scopes, hasRefreshToken: refreshToken != nil)
        }
    }

    /// Which refresh brought tokens. Two refreshes of one generation happen when a replica was taken for dead: the one
    /// with the higher fence was sent later, and its tokens are the ones that the provider takes for current.
    package struct Origin: Sendable, Equatable {
        /// The generation that was refreshed.
        package var generation: UInt64
        /// The revision of the intent under which the refresh was sent.
        package var fence: UInt64
    }

    /// Written before a refresh is sent, so that a restart knows that its answer may be lost and so that replicas see
    /// that somebody is at it.
    package struct Intent: Sendable, Equatable {
        package var instance: String
        package var startedAt: Int64
        /// Wall milliseconds after which the writer is taken for dead.
        package var expiresAt: Int64
        /// The writer has given up for now, and does not know what the provider has done: nobody waits for it any more.
        package var isOver = false

        /// What `GrantMachine.leaseTerm` can come to with the longest `timeout` and `replay_window` that the configuration
        /// takes: a shorter wait would take a replica for dead that is still at it.
        package static let longestTerm: Int64 = 3 * 600_000 + 600_000 + 5000

        /// How long the writer may need. Others count it on their own clocks, from when they first see the intent.
        package var term: Int64 {
            expiresAt.saturatingSubtract(startedAt).clamped(to: 0...Self.longestTerm)
        }
    }

    package struct Failure: Sendable, Equatable {
        package var errorClass: ErrorClass
        package var code: String
        package var detail: String
        /// Wall milliseconds.
        package var at: Int64
    }

    /// Tokens that are still to be revoked at the provider.
    package struct Revocation: Sendable, Equatable {
        package var tokens: [Token]
        package var attempts: Int
        package var nextAttemptAt: Int64
        /// The provider had refused the refresh token before: it is dead, whatever a revocation says.
        package var isRefreshTokenDead = false
        /// A refresh token is not sent to this provider, and so nothing has ended it but the access token's end.
        package var hasSkippedRefreshToken = false

        package struct Token: Sendable, Equatable {
            package var token: Secret
            package var hint: RevocationCall.Hint
        }
    }

    /// Grows by one with each commit; 0: never stored.
    package var revision: UInt64 = 0
    /// Grows by one with each change of the tokens.
    package var generation: UInt64 = 0
    /// A random name that the record keeps from its first commit to its deletion. Revisions and generations of records
    /// with one lineage can be compared: the lower ones are older. nil: never stored, or by an older version.
    package var lineage: String?
    package var state = State.notConnected
    package var tokens: Tokens?
    /// The name of the provider that gave the tokens: another's never sees them.
    package var provider: String?
    package var account: String?
    package var intent: Intent?
    package var revocation: Revocation?
    /// What the last revocation came to.
    package var revocationOutcome: String?
    package var lastFailure: Failure?
    /// The generation that an upstream had rejected when its refresh failed: a restart does not try it again.
    package var rejectedGeneration: UInt64?
    package var consecutiveFailures = 0
    /// Wall milliseconds of the next refresh after failures.
    package var nextAttemptAt: Int64?
    /// Wall milliseconds of the last success.
    package var lastRefreshAt: Int64?
    /// `ProviderSettings.fingerprint` at the time of a permanent failure.
    package var latchedFingerprint: String?
    /// What an unattended grant's tokens were asked for with; tokens of another subject are not this grant's.
    package var acquiredWith: String?
    /// Marks the consents and the imports that the grant's tokens came from, the last one first. One whose commit was
    /// reported as failed is not made again, even where another has come since, or a revocation.
    package var connectedBy: [String] = []
    /// Values that the provider's callbacks and replies gave, by name.
    package var captured: [String: String] = [:]
    /// The template that a grant outside the file was made from.
    package var template: String?
    /// An operator's note.
    package var label: String?
    /// Values that an operator gave with the grant, for the provider's templates.
    package var variables: [String: String] = [:]

    package init() {}
}

extension GrantRecord: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "grant record \(revision), generation \(generation), \(state.rawValue)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
