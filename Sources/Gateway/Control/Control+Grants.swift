import Logging
import OAuth
import Proxy
import Reactor

/// Grants: the machines' events and actions.
extension Control {
    // MARK: Events from workers

    func credentialNeeded(_ grant: String, rejected: UInt64?, _ waiter: CredentialWaiter) {
        if tokenFiles[grant] != nil {
            tokenFileNeeded(grant, rejected: rejected, waiter)
            return
        }
        if isKnownToBeAbsent(grant) {
            reply(waiter, .failure(CredentialUnavailable(refusal: .unknownGrant)))
            return
        }
        guard let entry = entry(loading: grant) else {
            // A grant or a template that a reload has taken away.
            reply(waiter, .failure(CredentialUnavailable(refusal: .notConnected)))
            return
        }
        entry.lastUsed = moment.monotonic
        if !entry.isKnownToWorkers {
            entry.isKnownToWorkers = true
            told[grant] = nil
        }
        let id = WaiterID(nextWaiter)
        nextWaiter += 1
        waiters[id] = waiter
        waiterIDs[waiter] = (id, grant)
        entry.waiters.insert(id)
        perform(grant, entry.machine.credentialNeeded(id, rejected: rejected, now: moment))
    }

    func waiterLeft(_ waiter: CredentialWaiter) {
        guard let (id, grant) = waiterIDs.removeValue(forKey: waiter) else { return }
        waiters[id] = nil
        guard let entry = grants[grant], entry.waiters.remove(id) != nil else { return }
        perform(grant, entry.machine.waiterLeft(id, now: moment))
    }

    /// A rejection that nobody waits for: the refresh happens all the same.
    func credentialRejected(_ grant: String, _ generation: UInt64) {
        if tokenFiles[grant] != nil {
            checkTokenFile(grant)
            return
        }
        guard !isKnownToBeAbsent(grant), let entry = entry(loading: grant) else { return }
        entry.lastUsed = moment.monotonic
        entry.isKnownToWorkers = true
        let id = WaiterID(nextWaiter)
        nextWaiter += 1
        let first = entry.machine.credentialNeeded(id, rejected: generation, now: moment)
        perform(grant, first)
        perform(grant, entry.machine.waiterLeft(id, now: moment))
    }

    func reply(_ waiter: CredentialWaiter, _ result: Result<Proxy.Credential, CredentialUnavailable>) {
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
        while !entry.queue.isEmpty, grants[grant] === entry { perform(grant, entry.queue.removeFirst()) }
        entry.isPerforming = false
        guard grants[grant] === entry else { return }
        if let refusal = entry.machine.ownRefusal(now: moment) { note(refusal, of: entry) }
        tellWorkers(grant)
        if leaving.contains(grant), !entry.machine.holdsUnfinishedWork { dismiss(grant) }
        if hasVanished(entry) { vanish(entry) } else { settleTemplated(entry) }
    }

    /// The provider refused our client, or what one grant asks with: other grants of a client that is refused need not
    /// find out, each by a call of its own.
    private func note(_ refusal: OwnRefusal, of entry: GrantEntry) {
        guard let provider = providers[entry.providerName] else { return }
        let isNews = provider.refusals.note(
            refusal, grant: entry.name, variables: entry.variables, now: moment.monotonic)
        guard isNews, refusal.isOfClient else { return }
        logger.error(
            "the provider refuses the client; its grants wait until the configuration changes, and one tries now and then",
            metadata: ["provider": "\(entry.providerName)"])
        for other in siblings(of: entry) { other.machine.remember(refusal) }
    }

    /// A refresh succeeded: who waits because the client was refused need not any longer.
    func clientAccepted(_ entry: GrantEntry) {
        guard let provider = providers[entry.providerName], provider.refusals.count > 0 else { return }
        provider.refusals.accepted(grant: entry.name, variables: entry.variables)
        for other in siblings(of: entry) { perform(other.name, other.machine.clientAccepted(now: moment)) }
    }

    /// Other grants in memory that show the same client at the same place.
    private func siblings(of entry: GrantEntry) -> [GrantEntry] {
        grants.values.filter {
            $0 !== entry && $0.providerName == entry.providerName && $0.variables == entry.variables
        }
    }

    /// Ends a grant that the configuration does not name any more, or whose record is gone. What is in the store stays.
    /// Who waits for it is answered now.
    func dismiss(_ grant: String, because refusal: CredentialRefusal = .notConnected) {
        guard let entry = grants.removeValue(forKey: grant) else { return }
        if let timer = entry.timer { loop.cancel(timer) }
        entry.queue = []
        leaving.remove(grant)
        loading.templated.remove(grant)
        loading.outstanding[grant] = nil
        if !entry.isRead, entry.template == nil {
            unreadFileGrants -= 1
            fileGrantWasRead()
        }
        for id in entry.waiters {
            guard let waiter = waiters.removeValue(forKey: id) else { continue }
            waiterIDs[waiter] = nil
            reply(waiter, .failure(CredentialUnavailable(refusal: refusal)))
        }
        entry.waiters = []
        for (ticket, waiting) in tickets where waiting.grant == grant {
            tickets[ticket] = nil
            waiting.done(nil)
        }
        overruleConsents(of: grant)
        if due.active[grant] != nil { perform(due.ended(grant, nextDue: nil, now: moment)) }
        latchedWalkEnded(grant)
        // A grant of the same name may come again, and then not with this token.
        if entry.isKnownToWorkers { withdraw(grant) }
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
        case .requestTokens(let call): requestTokens(entry, call)
        case .revokeToken(let call): revokeToken(entry, call)
        case .publish(let credential):
            entry.credential = credential.map { Proxy.Credential($0) }
            tellWorkers(grant)
            if let credential { tellOfHeadersLeftOut(entry, credential) }
            if credential != nil { wakeExchanges(of: grant) }
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

    /// A machine waits for the end of each of its calls: one that cannot be made must end, too. While the gateway stops no
    /// refresh begins; only a reply that was lost is asked for again.
    private func requestTokens(_ entry: GrantEntry, _ call: TokenCall) {
        let isStopping = settling != nil && !entry.machine.isRepeatingCall
        guard !isStopping, let provider = providers[entry.providerName] else {
            var problem = isStopping ? ProviderProblem.stopping : .providerGone
            // What was lost before is still unknown: the intent stays for when the provider is back.
            problem.outcomeUnknown = entry.machine.isRepeatingCall
            let report = TokenCallReport(result: .failure(problem), sentAt: moment)
            perform(entry.name, entry.machine.tokenCallFinished(call.id, report, now: moment))
            return
        }
        perform(provider, provider.machine.tokensNeeded(withSubjects(call), now: moment))
    }

    private func revokeToken(_ entry: GrantEntry, _ call: RevocationCall) {
        guard let provider = providers[entry.providerName] else {
            perform(
                entry.name, entry.machine.revocationCallFinished(call.id, .failed(.providerGone), now: moment))
            return
        }
        perform(provider, provider.machine.revocationNeeded(call, now: moment))
    }

    private func answer(_ id: WaiterID, _ answer: CredentialAnswer, _ entry: GrantEntry) {
        entry.waiters.remove(id)
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

    private func arm(_ grant: String, _ entry: GrantEntry, at time: Int64?) {
        if let timer = entry.timer { loop.cancel(timer) }
        entry.timer = nil
        guard let time else { return }
        let wait = max(0, time - moment.monotonic)
        entry.timer = loop.schedule(after: UInt64(wait)) { [unowned self] in
            guard grants[grant] === entry else { return }
            entry.timer = nil
            // While the gateway stops, what is under way goes on and nothing else begins.
            guard settling == nil || entry.machine.holdsUnfinishedWork || entry.machine.holdsUnstoredChanges else {
                return
            }
            perform(grant, entry.machine.timerFired(now: moment))
        }
    }

    /// What a request would get now, in the workers' words; told when it changes.
    func tellWorkers(_ grant: String) {
        guard let entry = grants[grant], entry.isKnownToWorkers else { return }
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

    private func standingRefusal(_ entry: GrantEntry) -> CredentialRefusal? {
        guard entry.machine.hasLoaded else { return nil }
        switch entry.machine.status(now: moment).state {
        // Tokens that nobody consents to are on their way, or tried for again.
        case .notConnected where entry.machine.isUnattended: return nil
        case .notConnected, .revoked: return .notConnected
        case .reauthorizationRequired: return .reauthorizationRequired
        case .configurationError: return .configurationError
        case .active, .refreshing: return nil
        }
    }
}

extension GrantAction {
    fileprivate var isPublication: Bool {
        if case .publish = self { return true }
        return false
    }
}
