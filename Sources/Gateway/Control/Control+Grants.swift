import Configuration
import Console
import Logging
import OAuth
import Proxy
import Reactor
import Telemetry
import TokenStore

/// Grants: the machines' events and actions.
extension Control {
    // MARK: Events from workers

    func credentialNeeded(_ grant: String, rejected: UInt64?, _ waiter: CredentialWaiter) {
        if tokenFiles[grant] != nil {
            tokenFileNeeded(grant, rejected: rejected, waiter)
            return
        }
        guard let entry = grants[grant] else {
            reply(waiter, .failure(CredentialUnavailable(refusal: .notConnected)))
            return
        }
        let id = WaiterID(nextWaiter)
        nextWaiter += 1
        waiters[id] = waiter
        waiterIDs[waiter] = (id, grant)
        perform(grant, entry.machine.credentialNeeded(id, rejected: rejected, now: moment))
    }

    func waiterLeft(_ waiter: CredentialWaiter) {
        guard let (id, grant) = waiterIDs.removeValue(forKey: waiter) else { return }
        waiters[id] = nil
        guard let entry = grants[grant] else { return }
        perform(grant, entry.machine.waiterLeft(id, now: moment))
    }

    /// A rejection that nobody waits for: the refresh happens all the same.
    func credentialRejected(_ grant: String, _ generation: UInt64) {
        guard let entry = grants[grant] else {
            if tokenFiles[grant] != nil { checkTokenFile(grant) }
            return
        }
        let id = WaiterID(nextWaiter)
        nextWaiter += 1
        let first = entry.machine.credentialNeeded(id, rejected: generation, now: moment)
        perform(grant, first)
        perform(grant, entry.machine.waiterLeft(id, now: moment))
    }

    private func reply(_ waiter: CredentialWaiter, _ result: Result<Proxy.Credential, CredentialUnavailable>) {
        guard workers.indices.contains(waiter.worker) else { return }
        workers[waiter.worker].post(.credentialAnswer(waiter, result))
    }

    // MARK: Actions

    /// Performs what a grant's machine said, then tells the workers what is new.
    func perform(_ grant: String, _ actions: [GrantAction]) {
        guard let entry = grants[grant] else { return }
        // Workers hear of a credential's end before any caller hears of the consequences: its next request may come to
        // another worker.
        entry.queue.append(contentsOf: actions.filter(\.isPublication))
        entry.queue.append(contentsOf: actions.filter { !$0.isPublication })
        guard !entry.isPerforming else { return }
        entry.isPerforming = true
        while !entry.queue.isEmpty { perform(grant, entry.queue.removeFirst()) }
        entry.isPerforming = false
        tellWorkers(grant)
        if leaving.contains(grant), !entry.machine.holdsUnfinishedWork { dismiss(grant) }
    }

    /// Ends a grant that the configuration does not name any more; its record stays in the store.
    func dismiss(_ grant: String) {
        if let timer = grants.removeValue(forKey: grant)?.timer { loop.cancel(timer) }
        leaving.remove(grant)
        // A grant of the same name may come again, and then not with this token.
        withdraw(grant)
    }

    /// Workers must not send what they have for the grant: they ask.
    func withdraw(_ grant: String) {
        told[grant] = nil
        broadcast(.credential(grant: grant, .unknown))
    }

    private func perform(_ grant: String, _ action: GrantAction) {
        guard let entry = grants[grant] else { return }
        switch action {
        case .load: load(grant)
        case .commit(let commit): self.commit(grant, commit)
        case .delete(let revision): delete(grant, revision)
        case .requestTokens(let call):
            guard let provider = providers[entry.providerName] else { return }
            perform(provider, provider.machine.tokensNeeded(call, now: moment))
        case .revokeToken(let call):
            guard let provider = providers[entry.providerName] else { return }
            perform(provider, provider.machine.revocationNeeded(call, now: moment))
        case .publish(let credential):
            entry.credential = credential.map { Proxy.Credential($0) }
            tellWorkers(grant)
        case .answer(let id, let answer):
            self.answer(id, answer, entry)
        case .finish(let ticket, let result):
            finished(ticket, result)
        case .armTimer(let time):
            arm(grant, entry, at: time)
        case .note(let fact):
            note(grant, fact)
        }
    }

    private func answer(_ id: WaiterID, _ answer: CredentialAnswer, _ entry: ProviderGrant) {
        guard let waiter = waiters.removeValue(forKey: id) else { return }
        waiterIDs[waiter] = nil
        switch answer {
        case .credential(let credential):
            let shared = entry.credential.flatMap { $0.generation == credential.generation ? $0 : nil }
            reply(waiter, .success(shared ?? Proxy.Credential(credential)))
        case .unavailable(let reason, let retryAfter):
            reply(waiter, .failure(CredentialUnavailable(refusal: CredentialRefusal(reason, retryAfter: retryAfter))))
        }
    }

    private func arm(_ grant: String, _ entry: ProviderGrant, at time: Int64?) {
        if let timer = entry.timer { loop.cancel(timer) }
        entry.timer = nil
        guard let time else { return }
        let wait = max(0, time - moment.monotonic)
        entry.timer = loop.schedule(after: UInt64(wait)) { [unowned self] in
            guard let entry = grants[grant] else { return }
            entry.timer = nil
            perform(grant, entry.machine.timerFired(now: moment))
        }
    }

    /// What a request would get now, in the workers' words; told when it changes.
    func tellWorkers(_ grant: String) {
        guard let entry = grants[grant] else { return }
        let state: CredentialState
        let mark: ToldState
        if let credential = entry.credential {
            state = .ready(credential)
            mark = .ready(credential)
        } else if let refusal = standingRefusal(entry) {
            state = .refused(refusal)
            mark = .refused(refusal)
        } else {
            state = .unknown
            mark = .unknown
        }
        guard told[grant] != mark else { return }
        told[grant] = mark
        broadcast(.credential(grant: grant, state))
    }

    private func standingRefusal(_ entry: ProviderGrant) -> CredentialRefusal? {
        guard entry.machine.hasLoaded else { return nil }
        switch entry.machine.status(now: moment).state {
        case .notConnected, .revoked: return .notConnected
        case .reauthorizationRequired: return .reauthorizationRequired
        case .configurationError: return .configurationError
        case .active, .refreshing: return nil
        }
    }

    // MARK: Store

    private func load(_ grant: String) {
        withStore(.read) { store throws(StoreError) in
            try store.read(grant: grant)
        } then: { [unowned self] result in
            defer { grantWasRead() }
            guard let entry = grants[grant] else { return }
            entry.isRead = true
            switch result {
            case .success(nil):
                perform(grant, entry.machine.recordLoaded(nil, now: moment))
            case .success(let stored?):
                guard let record = GrantRecord(payload: stored.payload, revision: stored.generation) else {
                    logger.error("the stored record of a grant cannot be read", metadata: ["grant": "\(grant)"])
                    perform(grant, entry.machine.loadFailed(now: moment))
                    return
                }
                perform(grant, entry.machine.recordLoaded(record, now: moment))
            case .failure:
                perform(grant, entry.machine.loadFailed(now: moment))
            }
        }
    }

    private func commit(_ grant: String, _ commit: GrantCommit) {
        let payload = commit.record.encoded()
        let expected = commit.expectedRevision
        withStore(.commit) { store throws(StoreError) in
            try store.commit(grant: grant, payload: payload, ifGeneration: expected, dueAt: nil)
        } then: { [unowned self] result in
            guard let entry = grants[grant] else { return }
            let outcome: CommitResult
            switch result {
            case .success(.committed(let generation)):
                outcome = .committedAs(revision: generation)
            case .success(.conflict(let current)):
                outcome = .conflict(current.flatMap { record($0) })
            case .failure:
                outcome = .failed
            }
            perform(grant, entry.machine.commitFinished(outcome, now: moment))
        }
    }

    private func record(_ stored: StoredRecord) -> GrantRecord? {
        GrantRecord(payload: stored.payload, revision: stored.generation)
    }

    private func delete(_ grant: String, _ revision: UInt64) {
        withStore(.commit) { store throws(StoreError) in
            try store.remove(grant: grant, ifGeneration: revision)
        } then: { [unowned self] result in
            guard let entry = grants[grant] else { return }
            let outcome: CommitResult =
                switch result {
                case .success(.removed), .success(.absent): .committed
                case .success(.conflict(let current)): .conflict(record(current))
                case .failure: .failed
                }
            perform(grant, entry.machine.commitFinished(outcome, now: moment))
        }
    }

    // MARK: Facts

    private func note(_ grant: String, _ fact: GrantFact) {
        let name: Logger.Metadata = ["grant": "\(grant)"]
        switch fact {
        case .refreshStarted(let reason):
            logger.debug("a refresh starts", metadata: name.adding("reason", reason.rawValue))
        case .refreshSucceeded(let generation, let rotated):
            counters.refreshEnded(grant: grant, outcome: .succeeded)
            logger.info(
                "the grant was refreshed",
                metadata: name.adding("generation", "\(generation)").adding("rotated", "\(rotated)"))
        case .refreshFailed(let problem):
            counters.refreshEnded(grant: grant, outcome: Self.outcome(problem.errorClass))
            logger.warning(
                "a refresh failed", metadata: name.adding("code", problem.code).adding("detail", problem.detail))
        case .refreshOutcomeUnknown(let code, let willReplay):
            counters.refreshEnded(grant: grant, outcome: .outcomeUnknown)
            logger.warning(
                "the answer to a refresh was lost",
                metadata: name.adding("code", code).adding("replayed", "\(willReplay)"))
        case .lateResultDropped:
            logger.info("a result came too late and was dropped", metadata: name)
        case .siblingTokensAdopted(let generation):
            counters.refreshEnded(grant: grant, outcome: .superseded)
            logger.info(
                "tokens that another process stored are used", metadata: name.adding("generation", "\(generation)"))
        case .stateChanged(let state, let reason):
            let isGood = state == .active || state == .refreshing
            logger.log(
                level: isGood ? .info : .warning, "the grant's state changed",
                metadata: name.adding("state", state.rawValue).adding("reason", reason ?? ""))
        case .freshTokenRejected(let strikes):
            logger.warning(
                "the upstream rejects a token that is new", metadata: name.adding("times", "\(strikes)"))
        case .scopesLost(let scopes):
            logger.warning(
                "the provider granted fewer scopes", metadata: name.adding("lost", scopes.joined(separator: " ")))
        case .lifetimeUnknown:
            logger.notice(
                "the provider did not say how long the token lives; only a rejection refreshes it", metadata: name)
        case .storeFailed:
            counters.refreshEnded(grant: grant, outcome: .storeFailed)
            logger.error("the grant's tokens could not be stored; trying again", metadata: name)
        case .connected(let generation):
            counters.consentEnded(grant: grant, connected: true)
            logger.notice("the grant is connected", metadata: name.adding("generation", "\(generation)"))
        case .consentRefused(let refusal):
            counters.consentEnded(grant: grant, connected: false)
            logger.warning("a consent was refused", metadata: name.adding("reason", refusal.explanation))
        case .revocationFinished(let result):
            logger.notice("the grant was revoked", metadata: name.adding("result", result.rawValue))
        case .revocationFailed(let problem):
            logger.warning(
                "revoking at the provider failed; trying again",
                metadata: name.adding("code", problem.code).adding("detail", problem.detail))
        }
    }

    private static func outcome(_ errorClass: ErrorClass) -> RefreshOutcome {
        switch errorClass {
        case .permanent: .reauthorizationRequired
        case .configuration: .configurationError
        case .transient: .transient
        }
    }

    // MARK: Token files

    private func tokenFileNeeded(_ grant: String, rejected: UInt64?, _ waiter: CredentialWaiter) {
        checkTokenFile(grant)
        guard let credential = tokenFiles[grant]?.credential else {
            reply(waiter, .failure(CredentialUnavailable(refusal: .unavailable(retryAfter: 1))))
            return
        }
        if credential.generation == rejected {
            reply(waiter, .failure(CredentialUnavailable(refusal: .unchanged)))
        } else {
            reply(waiter, .success(credential))
        }
    }

    /// Reads the file if it has changed, and tells the workers.
    func checkTokenFile(_ grant: String) {
        guard var file = tokenFiles[grant] else { return }
        let problemBefore = file.problem
        let changed = file.refresh(with: SecretLoader(environment: environment))
        tokenFiles[grant] = file
        if let problem = file.problem, problem != problemBefore {
            logger.error("a token file cannot be used", metadata: ["grant": "\(grant)", "reason": "\(problem)"])
        }
        guard changed || told[grant] == nil else { return }
        if let credential = file.credential {
            told[grant] = .ready(credential)
            broadcast(.credential(grant: grant, .ready(credential)))
        } else {
            told[grant] = .unknown
            broadcast(.credential(grant: grant, .unknown))
        }
    }

    /// Looks at all token files every second.
    func watchTokenFiles() {
        for grant in tokenFiles.keys { checkTokenFile(grant) }
        tokenFileTimer =
            tokenFiles.isEmpty ? nil : loop.schedule(after: 1000) { [unowned self] in watchTokenFiles() }
    }
}

extension GrantAction {
    fileprivate var isPublication: Bool {
        if case .publish = self { return true }
        return false
    }
}

extension Logger.Metadata {
    func adding(_ key: String, _ value: String) -> Logger.Metadata {
        var copy = self
        copy[key] = "\(value)"
        return copy
    }
}
