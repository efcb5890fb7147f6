@testable import OAuth

/// Drives a GrantMachine without a socket, a clock or a file: a store that is one variable, calls that wait to be
/// answered by the test, and a clock that moves when the test says so.
final class GrantDriver {
    enum StoreMode {
        case works, fails
        /// Commits wait for `releaseCommit`.
        case holds
    }

    var machine: GrantMachine
    var now = Moment(monotonic: 1_000_000, wall: 1_700_000_000_000)
    var stored: GrantRecord?
    var storeMode = StoreMode.works
    var heldCommits: [GrantCommit] = []
    var heldLoads = 0
    var holdsLoads = false

    var calls: [TokenCall] = []
    var revocations: [RevocationCall] = []
    var published: Credential?
    var publications: [Credential?] = []
    var answers: [WaiterID: [CredentialAnswer]] = [:]
    var results: [Ticket: [TicketResult]] = [:]
    var facts: [GrantFact] = []
    var timer: Int64?
    var commits = 0
    /// One word for each action, in order.
    var trace: [String] = []
    private var queue: [GrantAction] = []
    private var isRunning = false
    private var nextWaiter: UInt64 = 1
    private var nextTicket: UInt64 = 1

    init(
        stored: GrantRecord? = nil, instance: String = "a", exclusive: Bool = true, seed: UInt64 = 1,
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) {
        var settings = GrantSettings(name: "crm", provider: "zoho", scopes: ["read"])
        var provider = GrantDriver.provider
        configure(&settings, &provider)
        self.stored = stored
        machine = GrantMachine(
            settings: settings, provider: provider,
            environment: .init(instance: instance, storeIsExclusive: exclusive, seed: seed))
    }

    static var provider: ProviderSettings {
        var provider = ProviderSettings(name: "zoho", clientID: "client")
        provider.authorizationEndpoint = ProviderURL("https://as.example/authorize")
        provider.tokenEndpoint = ProviderURL("https://as.example/token")
        provider.clientSecrets = [Secret("s3cret")]
        return provider
    }

    /// A stored, active grant of generation 1 whose token was made `age` ago and lives `lifetime`.
    static func record(
        lifetime: Int64? = 3_600_000, age: Int64 = 0, refreshToken: String? = "r1", wall: Int64 = 1_700_000_000_000
    ) -> GrantRecord {
        var record = GrantRecord()
        record.revision = 1
        record.generation = 1
        record.state = .active
        record.tokens = .init(
            accessToken: Secret("a1"), refreshToken: refreshToken.map { Secret($0) }, obtainedAt: wall - age,
            expiresAt: lifetime.map { wall - age + $0 }, refreshTokenExpiresAt: nil, scopes: ["read"])
        return record
    }

    // MARK: Events

    func start() {
        run(machine.started(now: now))
    }

    @discardableResult
    func need(rejected: UInt64? = nil) -> WaiterID {
        let waiter = WaiterID(nextWaiter)
        nextWaiter += 1
        answers[waiter] = []
        run(machine.credentialNeeded(waiter, rejected: rejected, now: now))
        return waiter
    }

    func ticket() -> Ticket {
        defer { nextTicket += 1 }
        results[Ticket(nextTicket)] = []
        return Ticket(nextTicket)
    }

    func refresh() -> Ticket {
        let ticket = ticket()
        run(machine.refreshRequested(ticket, now: now))
        return ticket
    }

    func revoke() -> Ticket {
        let ticket = ticket()
        run(machine.revokeRequested(ticket, now: now))
        return ticket
    }

    func forget() -> Ticket {
        let ticket = ticket()
        run(machine.forgetRequested(ticket, now: now))
        return ticket
    }

    func importToken(_ token: String) -> Ticket {
        let ticket = ticket()
        run(machine.importRequested(refreshToken: Secret(token), ticket: ticket, now: now))
        return ticket
    }

    func create(_ template: String, label: String? = nil, variables: [String: String] = [:]) -> Ticket {
        let ticket = ticket()
        run(machine.created(template: template, label: label, variables: variables, ticket: ticket, now: now))
        return ticket
    }

    /// A reload.
    func reconfigure(_ configure: (inout GrantSettings, inout ProviderSettings) -> Void) {
        var settings = machine.grantSettings
        var provider = GrantDriver.provider
        configure(&settings, &provider)
        run(machine.settingsChanged(settings, provider: provider, now: now))
    }

    func renewSubject() {
        run(machine.subjectRenewed(now: now))
    }

    func gone(_ instance: String) {
        run(machine.instanceGone(instance, now: now))
    }

    func consent(_ tokens: TokenSet) -> Ticket {
        let ticket = ticket()
        run(machine.authorizationGranted(tokens, sentAt: now, ticket: ticket, now: now))
        return ticket
    }

    /// Moves the clocks, and fires the timer at each time it is set for on the way.
    func pass(_ milliseconds: Int64) {
        let end = now.monotonic + milliseconds
        while let due = timer, due <= end {
            let step = max(due - now.monotonic, 0)
            now = Moment(monotonic: now.monotonic + step, wall: now.wall + step)
            timer = nil
            run(machine.timerFired(now: now))
        }
        let rest = end - now.monotonic
        now = Moment(monotonic: end, wall: now.wall + rest)
    }

    func reply(_ result: Result<TokenSet, ProviderProblem>, sentAt: Moment? = nil) {
        let call = calls.removeFirst()
        run(machine.tokenCallFinished(call.id, TokenCallReport(result: result, sentAt: sentAt ?? now), now: now))
    }

    func succeed(_ access: String, refresh: String? = nil, lifetime: Int64? = 3_600_000) {
        reply(
            .success(
                TokenSet(accessToken: Secret(access), refreshToken: refresh.map { Secret($0) }, lifetime: lifetime)))
    }

    func fail(
        _ errorClass: ErrorClass, _ code: String, status: Int? = nil, retryAfter: Int64? = nil, unknown: Bool = false
    ) {
        reply(
            .failure(
                ProviderProblem(
                    errorClass, code: code, detail: code, status: status, retryAfter: retryAfter,
                    outcomeUnknown: unknown)))
    }

    func replyRevocation(_ result: RevocationCallResult) {
        let call = revocations.removeFirst()
        run(machine.revocationCallFinished(call.id, result, now: now))
    }

    /// Another replica writes.
    func writeElsewhere(_ change: (inout GrantRecord) -> Void, telling: Bool = true) {
        var record = stored ?? GrantRecord()
        change(&record)
        record.revision += 1
        stored = record
        if telling { run(machine.recordChangedElsewhere(record, now: now)) }
    }

    func releaseCommit(_ result: CommitResult? = nil) {
        let commit = heldCommits.removeFirst()
        run(machine.commitFinished(result ?? apply(commit), now: now))
    }

    func releaseLoad() {
        heldLoads -= 1
        run(machine.recordLoaded(stored, now: now))
    }

    // MARK: Actions

    /// In order: what an event returns comes after all that the event before returned.
    func run(_ actions: [GrantAction]) {
        queue += actions
        guard !isRunning else { return }
        isRunning = true
        var index = 0
        while index < queue.count {
            perform(queue[index])
            index += 1
        }
        queue = []
        isRunning = false
    }

    private func perform(_ action: GrantAction) {
        switch action {
        case .load:
            trace.append("load")
            switch storeMode {
            case .fails: run(machine.loadFailed(now: now))
            case .works, .holds:
                heldLoads += 1
                if !holdsLoads { releaseLoad() }
            }
        case .commit(let commit):
            trace.append("commit")
            commits += 1
            switch storeMode {
            case .works: run(machine.commitFinished(apply(commit), now: now))
            case .fails: run(machine.commitFinished(.failed, now: now))
            case .holds: heldCommits.append(commit)
            }
        case .delete(let revision):
            trace.append("delete")
            guard storeMode != .fails else { return run(machine.commitFinished(.failed, now: now)) }
            let result: CommitResult = stored?.revision == revision ? .committed : .conflict(stored)
            if result == .committed { stored = nil }
            run(machine.commitFinished(result, now: now))
        case .requestTokens(let call):
            trace.append("call")
            calls.append(call)
        case .revokeToken(let call):
            trace.append("revoke")
            revocations.append(call)
        case .publish(let credential):
            trace.append(credential == nil ? "publish nil" : "publish")
            published = credential
            publications.append(credential)
        case .answer(let waiter, let answer):
            trace.append("answer")
            answers[waiter, default: []].append(answer)
        case .finish(let ticket, let result):
            trace.append("finish")
            results[ticket, default: []].append(result)
        case .armTimer(let at): timer = at
        case .note(let fact): facts.append(fact)
        }
    }

    func apply(_ commit: GrantCommit) -> CommitResult {
        guard commit.expectedRevision == stored?.revision ?? 0 else { return .conflict(stored) }
        // What goes through the store goes through its coding.
        stored = GrantRecord(payload: commit.record.encoded(), revision: commit.record.revision)
        return .committed
    }

    // MARK: Looking

    var publishedToken: String? {
        published.map { String(decoding: $0.headerValue, as: UTF8.self) }
    }

    func token(_ waiter: WaiterID) -> String? {
        guard case .credential(let credential)? = answers[waiter]?.first else { return nil }
        return String(decoding: credential.headerValue, as: UTF8.self)
    }

    func refusal(_ waiter: WaiterID) -> UnavailableReason? {
        guard case .unavailable(let reason, _)? = answers[waiter]?.first else { return nil }
        return reason
    }

    func retryAfter(_ waiter: WaiterID) -> Int64? {
        guard case .unavailable(_, let wait)? = answers[waiter]?.first else { return nil }
        return wait
    }

    func sentRefreshToken(_ index: Int = 0) -> String? {
        guard calls.indices.contains(index), case .refresh(let token, _) = calls[index].kind else { return nil }
        return token.reveal()
    }

    var state: GrantState { machine.status(now: now).state }
}
