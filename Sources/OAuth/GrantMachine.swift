/// One grant: holds its tokens, refreshes them, answers who waits for them, and ends them.
///
/// Sans-IO: each method is one event, in past tense, and returns the actions for the driver, in order. At any time at
/// most one refresh and one commit are in flight. New tokens are durable before they are published or used.
///
/// ```
/// notConnected ──consent──▶ active ⇄ refreshing
///                             │  ▲
///        invalid_grant ───────┤  ├── consent, changed configuration, operator's refresh
///        invalid_client ──────┤  │
///                             ▼  │
///   reauthorizationRequired, configurationError      revoked ──consent──▶ active
/// ```
///
/// Every event ends in `settle`, which looks at the facts and starts what is due: there is one place that decides, and
/// an event only changes facts.
package struct GrantMachine: Sendable {
    /// What the driver knows about the process and its store.
    package struct Environment: Sendable, Equatable {
        /// Names this process (or this replica, if it keeps its name over restarts) in refresh intents.
        package var instance: String
        /// No other process can have the store open: a foreign intent is that of a dead predecessor.
        package var storeIsExclusive: Bool
        /// For jitter.
        package var seed: UInt64

        package init(instance: String, storeIsExclusive: Bool, seed: UInt64) {
            self.instance = instance
            self.storeIsExclusive = storeIsExclusive
            self.seed = seed
        }
    }

    enum Command: Sendable, Equatable {
        case create(GrantChange.Creation, Ticket)
        case importToken(Secret, Ticket)
        case refresh(Ticket)
        /// nil: who waited for it was told that it is not stored yet.
        case consent(TokenSet, sentAt: Moment, Ticket?)
        case revoke(Ticket)
        case forget(Ticket)
    }

    /// Whose answers an event can have changed: a crowd that comes one by one must not be looked at as a whole each time.
    enum Answering {
        case everybody
        case newcomer(WaiterID)
        case nobody
    }

    struct Call: Sendable, Equatable {
        enum Kind: Sendable, Equatable {
            case refresh(GrantChange.SentRefresh)
            /// Of a refresh token that is not the grant's yet.
            case importing(Secret)
            case revocation(Secret)
        }

        var id: CallID
        var kind: Kind
    }

    struct Load: Sendable, Equatable {
        enum Purpose: Sendable, Equatable {
            case start
            /// The provider said invalid_grant: perhaps a sibling has rotated the token (pains 3).
            case suspicion(ProviderProblem, GrantChange.SentRefresh)
            /// Another's intent has run out. Perhaps the store was away, and it holds a result that it could not store.
            case takeOver
            /// By what we know there is nothing to revoke, or only what is owed already: perhaps a sibling has connected
            /// the grant a moment ago.
            case revocation(Ticket)
        }

        var purpose: Purpose
        /// What the store answers with was there then, or later.
        var askedAt: Int64
        /// In flight; else it waits for `retryAt`, or for the answer to a read that is of no interest any more.
        var isAsked = false
        var retryAt: Int64?
        var failures = 0
    }

    struct Replay: Sendable, Equatable {
        var count: Int
        var firstLossAt: Int64
        var dueAt: Int64
        /// What the last reply was lost by.
        var problem: ProviderProblem
    }

    /// Our own intent: nothing is sent that may not have ended when others take us for dead.
    struct Lease: Sendable, Equatable {
        var startedAt: Int64
        var term: Int64
        /// The revision under which it is stored; 0: there is none, the store is away.
        var fence: UInt64
        /// Whom the token calls of this refresh are for.
        var reason: GrantFact.RefreshReason
    }

    /// Another replica's, counted on our clock.
    struct ForeignIntent: Sendable, Equatable {
        var intent: GrantRecord.Intent
        /// When it began, as far as can be known: never after it was first seen.
        var startedAt: Int64
        var until: Int64
        /// Its time was over, and the store, which could be read, still had it: nobody is storing a result.
        var isConfirmed = false
    }

    /// Tokens that are in use although the store has not taken them (`usesTokensBeforeStored`).
    struct Unstored: Sendable, Equatable {
        var tokens: GrantRecord.Tokens
        var generation: UInt64
    }

    /// An operator's refresh token, which the provider must accept before it is the grant's.
    struct Import: Sendable, Equatable {
        var token: Secret
        var ticket: Ticket
        /// Whose token it is: no other provider sees it, and what it brings is no other's.
        var provider: String
        var replay: Replay?
        var isBegun = false
        /// The grant was revoked meanwhile: what the call in flight brings is to be revoked, too.
        var isRevoked = false
    }

    // Settings.
    var settings: GrantSettings
    var provider: ProviderSettings
    let environment: Environment
    var jitter: Jitter

    // What the store holds, to our best knowledge, and what it shall hold.
    var record = GrantRecord()
    var isLoaded = false
    var load: Load?
    /// A read is in flight whose answer nobody wants. Answers do not say to what: until it has come, there is no other.
    var awaitsAbandonedRead = false
    var changes: [GrantChange] = []
    /// The record of the commit in flight; a deletion has none.
    var candidate: GrantRecord?
    var isCommitting = false
    var commitAskedAt: Int64 = .min
    var commitFailures = 0
    var commitRetryAt: Int64?
    /// No refresh before this: the store did not take an intent.
    var storeBlockedUntil: Int64 = .min
    var unstored: Unstored?
    /// Tokens that are not in `record` were asked for after this, monotonic; nil: that is not known.
    var syncedAt: Int64?
    var syncedIntent: GrantRecord.Intent?
    /// When the store had told us what `record` is, monotonic.
    var toldAt: Int64 = .min
    /// Generations never come twice, not even after `forget`.
    var generationFloor: UInt64 = 0

    // Calls.
    var call: Call?
    var nextCall: UInt64 = 1
    var replay: Replay?
    var lease: Lease?
    var refreshReason: GrantFact.RefreshReason?
    var foreign: ForeignIntent?
    var imports: [Import] = []

    // Times, monotonic.
    var expiresAt: Int64?
    var obtainedAt: Int64 = .min
    /// The current tokens are at least as old as that.
    var tokensSeenAt: Int64 = .min
    /// They were there when the machine began: how much older they are only the wall clock says.
    var wereThereBefore = false
    /// The access token has expired by our clock, and there is nothing to refresh it with.
    var isOver = false
    var refreshAt: Int64?
    var keepaliveAt: Int64?
    var notBefore: Int64 = .min
    var lastCallAt: Int64?
    var revocationNotBefore: Int64 = .min
    /// The provider refused this replica's own client credentials.
    var ownCredentialsRefusedUntil: Int64 = .min
    /// What was refused is the client itself, and not something of this grant.
    var isOwnClientRefused = false
    /// It was not this machine's call that found out.
    var isRefusalRemembered = false
    /// A restart or a new configuration asks for a refresh as soon as it may be.
    var recovery: GrantFact.RefreshReason?
    /// An unattended grant that was forgotten asks for tokens again only when somebody needs them.
    var isDormant = false
    /// What an unattended grant asks with, as one mark; nil: somebody consents.
    var acquisitionMark: String?

    // 401s.
    var rejectedGeneration: UInt64?
    var generationFromRejection: UInt64?
    var lastRejectionRefreshAt: Int64?
    var strikes = 0

    // Who waits.
    var waiters: [WaiterID: UInt64?] = [:]
    var refreshTickets: [Ticket] = []
    var revocationTickets: [Ticket] = []
    /// Commands that came before the record was read.
    var inbox: [Command] = []

    // What others were told.
    var credential: Credential?
    var published: Credential?
    var armed: Int64?
    var notedState: GrantState = .notConnected
    var actions: [GrantAction] = []

    package init(settings: GrantSettings, provider: ProviderSettings, environment: Environment) {
        self.settings = settings
        self.provider = provider
        self.environment = environment
        jitter = Jitter(seed: environment.seed)
        acquisitionMark = settings.acquisitionMark
    }
}

// MARK: - Events

extension GrantMachine {
    /// The first event. Reads the record.
    package mutating func started(now: Moment) -> [GrantAction] {
        guard !isLoaded, load == nil else { return finish(now) }
        beginLoad(.start, now)
        return finish(now)
    }

    /// A request needs a credential: there was none that is usable, or an upstream has rejected the one of `rejected`.
    /// Answered exactly once, perhaps among the returned actions, unless the waiter leaves.
    package mutating func credentialNeeded(
        _ waiter: WaiterID, rejected: UInt64? = nil, now: Moment
    ) -> [GrantAction] {
        if let rejected, rejected == currentGeneration, isLoaded {
            generationRejected(rejected, now: now)
        }
        if waiters.count >= settings.maximumWaiters {
            actions.append(.answer(waiter, .unavailable(.tooManyWaiters, retryAfter: 1000)))
            return finish(now, answering: .nobody)
        }
        waiters[waiter] = .some(rejected)
        return finish(now, answering: .newcomer(waiter))
    }

    /// The request went away. What it waited for goes on (pains 1).
    package mutating func waiterLeft(_ waiter: WaiterID, now: Moment) -> [GrantAction] {
        waiters.removeValue(forKey: waiter)
        return finish(now, answering: .nobody)
    }

    package mutating func timerFired(now: Moment) -> [GrantAction] {
        armed = nil
        return finish(now)
    }

    /// An operator wants a refresh now. Releases a latch; back-off and the minimum interval do not hold it.
    package mutating func refreshRequested(_ ticket: Ticket, now: Moment) -> [GrantAction] {
        command(.refresh(ticket), now: now)
    }

    /// A consent brought tokens. `sentAt` is when the code exchange was sent.
    package mutating func authorizationGranted(
        _ tokens: TokenSet, sentAt: Moment, ticket: Ticket, now: Moment
    ) -> [GrantAction] {
        command(.consent(tokens, sentAt: sentAt, ticket), now: now)
    }

    /// Injection stops with the first action; then the store, then the provider learn of it.
    package mutating func revokeRequested(_ ticket: Ticket, now: Moment) -> [GrantAction] {
        command(.revoke(ticket), now: now)
    }

    /// The record is deleted. The provider is not told: that is `revokeRequested`.
    package mutating func forgetRequested(_ ticket: Ticket, now: Moment) -> [GrantAction] {
        command(.forget(ticket), now: now)
    }

    /// The grant whose token this one exchanges has a new token: a back-off for want of one is over.
    package mutating func subjectRenewed(now: Moment) -> [GrantAction] {
        let wasMissing = record.lastFailure?.code == ProviderProblem.noSubjectToken
        guard isLoaded, unattended != nil, wasMissing, notBefore > now.monotonic else { return [] }
        notBefore = .min
        return finish(now)
    }

    /// A reload changed the settings: a latched failure gets another chance if what it may have come from is different.
    package mutating func settingsChanged(
        _ new: GrantSettings, provider newProvider: ProviderSettings, now: Moment
    ) -> [GrantAction] {
        // What was wrong may be mended: no back-off from before holds.
        if provider != newProvider || acquisitionMark != new.acquisitionMark {
            notBefore = .min
            ownCredentialsRefusedUntil = .min
        }
        settings = new
        provider = newProvider
        acquisitionMark = new.acquisitionMark
        if isLoaded {
            unlatchIfConfigurationChanged()
            planRefresh(earliest: nil)
            rebuildCredential()
        }
        return finish(now)
    }

    /// The store says that another replica wrote the record (nil: deleted it). Echoes of our own commits are harmless.
    /// `readAt`: when the store was asked; nil: just now. Where `storedRevision` is still another afterwards the store is
    /// to be asked again: the machine was at its own commit or read, or the answer may be older than what it knows.
    package mutating func recordChangedElsewhere(
        _ newer: GrantRecord?, readAt: Moment? = nil, now: Moment
    ) -> [GrantAction] {
        guard isLoaded, !isCommitting, load == nil else { return finish(now) }
        let readAt = readAt?.monotonic ?? now.monotonic
        guard isComparable(newer, readAt: readAt) else { return finish(now) }
        if let newer {
            if isNews(newer) { adopt(newer, readAt: readAt, now: now) }
        } else if record.revision > 0 {
            adopt(GrantRecord(), readAt: readAt, now: now)
        }
        return finish(now)
    }

    /// An operator has a refresh token from elsewhere. It is tried at once, and is the grant's only when the provider has
    /// accepted it and what it brought is durable; until then the grant is as before.
    package mutating func importRequested(refreshToken: Secret, ticket: Ticket, now: Moment) -> [GrantAction] {
        command(.importToken(refreshToken, ticket), now: now)
    }

    /// Makes the empty record of a grant that no file names.
    package mutating func created(
        template: String, label: String?, variables: [String: String], ticket: Ticket, now: Moment
    ) -> [GrantAction] {
        command(.create(.init(template: template, label: label, variables: variables), ticket), now: now)
    }

    /// The store knows that this replica is dead. What it left unfinished is finished here at once while the provider's
    /// grace may last, else when its time is over: if it lives after all, it has its time.
    package mutating func instanceGone(_ instance: String, now: Moment) -> [GrantAction] {
        if let foreign, foreign.intent.instance == instance, mayTakeOverEarly(foreign, now) {
            self.foreign = nil
            actions.append(.note(.takenOver(instance: instance)))
        }
        return finish(now)
    }

    private mutating func command(_ command: Command, now: Moment) -> [GrantAction] {
        if isLoaded {
            perform(command, now: now)
        } else {
            inbox.append(command)
        }
        return finish(now)
    }

    mutating func perform(_ command: Command, now: Moment) {
        switch command {
        case .create(let creation, let ticket): changes.append(.created(creation, ticket: ticket))
        case .importToken(let token, let ticket):
            imports.append(Import(token: token, ticket: ticket, provider: settings.provider))
        case .refresh(let ticket): refreshCommanded(ticket)
        case .consent(let tokens, let sentAt, let ticket):
            let asked = GrantChange.Asked(provider: settings.provider, scopes: settings.scopes)
            consentArrived(tokens, sentAt: sentAt, asked: asked, ticket: ticket)
        case .revoke(let ticket): revokeCommanded(ticket, now: now)
        case .forget(let ticket): forgetCommanded(ticket)
        }
    }

    /// Settles the facts and hands the actions over.
    mutating func finish(_ now: Moment, answering: Answering = .everybody) -> [GrantAction] {
        settle(now, answering: answering)
        defer { actions = [] }
        return actions
    }
}
