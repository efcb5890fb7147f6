/// One step from a grant's stored record to the next. The machine keeps changes in a queue and commits the first;
/// when the store turns out to hold another record, the change is built again onto that one, or is dropped.
enum GrantChange: Sendable, Equatable {
    /// A refresh of this generation is about to be sent, or tokens are asked for without one.
    case intent(GrantRecord.Intent, generation: UInt64, isUnattended: Bool)
    case refreshed(Refreshed)
    case consented(TokenSet, sentAt: Moment, from: Asked, generationAbove: UInt64, ticket: Ticket?)
    case failed(FailedRefresh)
    /// A refresh token from elsewhere is about to be tried: shows that the store takes writes, and keeps others quiet.
    case importIntent(GrantRecord.Intent)
    /// It was no good; the grant is as before.
    case importEnded(instance: String)
    case created(Creation, ticket: Ticket)
    /// Tokens that a refresh brought after the grant was revoked: they are to be revoked too.
    case lateTokens([GrantRecord.Revocation.Token])
    case revoke
    case revocationStep(RevocationStep)
    /// A latched failure is given another chance; an unattended grant that was revoked begins anew.
    case unlatch(isUnattended: Bool)
    case forget(ticket: Ticket)

    /// Who was asked for the consent, and for what.
    struct Asked: Sendable, Equatable {
        var provider: String
        var scopes: [String]
        /// The tokens are from an import, not from a consent.
        var isImport = false
    }

    struct Creation: Sendable, Equatable {
        var template: String
        var label: String?
        var variables: [String: String]
    }

    /// What went out with a refresh.
    struct SentRefresh: Sendable, Equatable {
        var generation: UInt64
        /// nil: an unattended grant asked for tokens.
        var refreshToken: Secret?
        /// The revision of the intent under which it was sent; 0: under none, since the store was away.
        var fence: UInt64 = 0
        /// Nothing is lost if it is made twice.
        var isRepeatable = false
        /// What an unattended grant asked with.
        var acquiredWith: String?
        /// The access token that an unattended grant had then. A deletion makes generations begin anew, so that they alone
        /// do not tell whether somebody else has acted meanwhile.
        var replaces: Secret?
        var provider: String
    }

    struct Refreshed: Sendable, Equatable {
        var tokens: TokenSet
        var sent: SentRefresh
        var sentAt: Moment
        var requiredScopes: [String]
        /// What was asked for.
        var scopes: [String]
        /// What was granted before; nil: there were no tokens.
        var scopesBefore: [String]?
        /// The generation under which it was used from memory while the store was away; 0: it was not.
        var publishedAs: UInt64 = 0
    }

    struct FailedRefresh: Sendable, Equatable {
        var failure: GrantRecord.Failure
        var generation: UInt64
        var consecutive: Int
        /// Wall milliseconds.
        var nextAttemptAt: Int64?
        var fingerprint: String
        var outcomeUnknown: Bool
        /// Whose refresh it was.
        var instance: String
        /// The refresh was to replace tokens that an upstream had rejected.
        var isRejected: Bool
        var isUnattended: Bool
    }

    struct RevocationStep: Sendable, Equatable {
        var token: Secret
        /// nil: done with this token.
        var failure: GrantRecord.Failure?
        /// nil: it is another token's outcome that counts.
        var outcome: RevocationResult?
        /// Wall milliseconds.
        var nextAttemptAt: Int64
    }

    /// When what it brings was asked for; nil: it brings no tokens.
    var askedAt: Moment? {
        switch self {
        case .refreshed(let refreshed): refreshed.sentAt
        case .consented(_, let sentAt, _, _, _): sentAt
        case .intent, .failed, .importIntent, .importEnded, .created, .lateTokens, .revoke, .revocationStep, .unlatch,
            .forget:
            nil
        }
    }

    /// True where the tokens of the grant are what changes: such a change is in force only once it is durable.
    var bringsTokens: Bool {
        switch self {
        case .refreshed, .consented: true
        case .intent, .failed, .importIntent, .importEnded, .created, .lateTokens, .revoke, .revocationStep, .unlatch,
            .forget:
            false
        }
    }

    /// True while the change means that a waiter has something to wait for.
    var leadsToCredential: Bool {
        switch self {
        case .intent, .refreshed, .consented, .unlatch: true
        case .failed, .importIntent, .importEnded, .created, .lateTokens, .revoke, .revocationStep, .forget: false
        }
    }

    /// True for an operator's end of injection.
    var stopsInjection: Bool {
        switch self {
        case .revoke, .forget: true
        case .intent, .refreshed, .consented, .failed, .importIntent, .importEnded, .created, .lateTokens,
            .revocationStep, .unlatch:
            false
        }
    }

    /// True for what is not worth keeping the machine busy when the store does not take it.
    var isExpendable: Bool {
        switch self {
        case .intent, .importIntent, .importEnded, .created, .forget: true
        case .failed(let failed): failed.failure.errorClass == .transient
        case .refreshed, .consented, .lateTokens, .revoke, .revocationStep, .unlatch: false
        }
    }
}
