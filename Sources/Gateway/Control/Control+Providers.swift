import Configuration
import Console
import Logging
import OAuth
import OpenSSLKit
import Reactor
import Telemetry
import TokenStore

/// Calls to providers, and consents.
extension Control {
    /// A provider that a reload takes away lives on in the calls that are under way: their replies bring tokens, and
    /// somebody waits for them.
    func perform(_ provider: Provider, _ actions: [ProviderAction]) {
        for action in actions { perform(provider, action) }
    }

    private func perform(_ provider: Provider, _ action: ProviderAction) {
        switch action {
        case .send(let id, let request, let deadline):
            client.send(request, tls: provider.tls, deadlineMilliseconds: deadline) {
                [unowned self] outcome in
                perform(provider, provider.machine.replyReceived(id, outcome, now: moment))
            }
        case .endpointsReady(let id, let endpoints):
            endpointWaits.removeValue(forKey: id)?(.success(endpoints))
        case .endpointsUnavailable(let id, let problem):
            endpointWaits.removeValue(forKey: id)?(.failure(problem))
        case .tokenCallFinished(let id, let report):
            switch id.owner {
            case .grant(let grant):
                guard let entry = grants[grant] else { return }
                perform(grant, entry.machine.tokenCallFinished(id, report, now: moment))
            case .consent:
                perform(consent: authorizations.codeExchanged(id, report, now: moment))
            }
        case .revocationCallFinished(let id, let result):
            guard case .grant(let grant) = id.owner, let entry = grants[grant] else { return }
            perform(grant, entry.machine.revocationCallFinished(id, result, now: moment))
        case .pushFinished:
            // Asked for by consents that push, of which there are none here.
            break
        case .note(let fact):
            note(provider: provider.machine.settings.name, fact)
        }
    }

    private func note(provider name: String, _ fact: ProviderFact) {
        let metadata: Logger.Metadata = ["provider": "\(name)"]
        switch fact {
        case .metadataFound:
            logger.info("the provider's metadata was read", metadata: metadata)
        case .discoveryFailed(let problem):
            logger.warning(
                "the provider's metadata could not be had",
                metadata: metadata.adding("code", problem.code).adding("detail", problem.detail))
        case .identityRefused(let problem):
            logger.warning(
                "new tokens are not used because of their id_token",
                metadata: metadata.adding("code", problem.code).adding("detail", problem.detail))
        case .secretRefused(let index):
            logger.warning(
                "the provider refused a client secret; the next one is tried",
                metadata: metadata.adding("index", "\(index)"))
        }
    }

    // MARK: Starting a consent

    /// Finds the endpoints, puts the pending consent into the store, and gives the URL for the browser.
    func startConsent(
        _ grant: String, binding: String, then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        guard let entry = grants[grant], let provider = providers[entry.providerName] else {
            let code: ConsoleFailure.Code = tokenFiles[grant] == nil ? .unknownGrant : .notAuthorizable
            done(.failure(ConsoleFailure(code)))
            return
        }
        let id = CallID(owner: .consent(0), number: nextStart)
        nextStart += 1
        endpointWaits[id] = { [unowned self] result in
            switch result {
            case .failure(let problem):
                done(.failure(ConsoleFailure(.providerUnavailable, detail: problem.detail)))
            case .success(let endpoints):
                storeConsent(grant, binding: binding, endpoints, then: done)
            }
        }
        perform(provider, provider.machine.endpointsNeeded(id, now: moment))
    }

    private func storeConsent(
        _ grant: String, binding: String, _ endpoints: ProviderEndpoints,
        then done: @escaping (Result<String, ConsoleFailure>) -> Void
    ) {
        guard let entry = grants[grant], let provider = providers[entry.providerName],
            let redirectURI = snapshot.console?.redirectURI
        else {
            done(.failure(ConsoleFailure(.unknownGrant)))
            return
        }
        let request = ConsentRequest(
            grant: entry.machine.grantSettings, provider: provider.machine.settings, endpoints: endpoints,
            redirectURI: redirectURI, binding: Secret(binding), kind: .browser)
        let now = moment
        let made = ConsentStart.make(
            request, randomness: SystemRandom.bytes(ConsentStart.randomnessBytes), now: now,
            lifetime: Int64(snapshot.console?.consentLifetime.milliseconds ?? 600_000))
        guard case .success(let start) = made else {
            done(.failure(ConsoleFailure(.internal, detail: "The consent could not be prepared.")))
            return
        }
        let payload = start.pending.encoded()
        withStore(.consent) { store throws(StoreError) in
            try store.putConsent(
                id: start.key, payload: payload, expiresAt: start.pending.expiresAt / 1000 + 1,
                limit: PendingConsent.limit, now: now.wall / 1000)
        } then: { [unowned self] result in
            switch result {
            case .success(.stored):
                logger.info("a consent was started", metadata: ["grant": "\(grant)"])
                done(.success(start.authorizationURL))
            case .success(.full): done(.failure(ConsoleFailure(.tooManyPendingConsents)))
            case .failure: done(.failure(ConsoleFailure(.storeUnavailable)))
            }
        }
    }

    // MARK: The callback

    func callbackArrived(
        query: String, binding: String?, expectedGrant: String?,
        then respond: @escaping (OAuth.ConsentOutcome, _ isForOtherGrant: Bool) -> Void
    ) {
        let id = CallbackID(nextCallback)
        nextCallback += 1
        callbacks[id] = PendingCallback(expectedGrant: expectedGrant, respond: respond)
        let actions = authorizations.callbackReceived(
            id, query: query, binding: binding.map { Secret($0) }, now: moment)
        perform(consent: actions, arrived: id)
    }

    /// - Parameter id: the callback whose arrival gave these actions.
    func perform(consent actions: [ConsentAction], arrived id: CallbackID? = nil) {
        for action in actions {
            switch action {
            case .takePending(let key): takePending(key, arrived: id)
            case .restorePending(let key, let pending): restore(key, pending)
            case .exchangeCode(let provider, let call):
                if let entry = providers[provider] {
                    perform(entry, entry.machine.tokensNeeded(call, now: moment))
                }
            case .grantTokens(let grant, let tokens, let sentAt, let ticket):
                grantTokens(grant, tokens, sentAt, ticket)
            case .show(let id, let outcome):
                guard let callback = callbacks.removeValue(forKey: id) else { continue }
                consentEnded(outcome)
                callback.respond(outcome, callback.isForOtherGrant)
            }
        }
    }

    private func grantTokens(_ grant: String, _ tokens: TokenSet, _ sentAt: Moment, _ ticket: Ticket) {
        guard let entry = grants[grant] else {
            // A reload took the grant away meanwhile.
            perform(consent: authorizations.consentFinished(ticket, .consentNotStored, now: moment))
            return
        }
        perform(grant, entry.machine.authorizationGranted(tokens, sentAt: sentAt, ticket: ticket, now: moment))
    }

    private func takePending(_ key: String, arrived id: CallbackID?) {
        let now = moment.wall / 1000
        withStore(.consent) { store throws(StoreError) in
            try store.takeConsent(id: key, now: now)
        } then: { [unowned self] result in
            switch result {
            case .failure:
                perform(consent: authorizations.takeFailed(key: key))
            case .success(let payload):
                var pending = payload.flatMap { PendingConsent(payload: $0) }
                if let id, let expected = callbacks[id]?.expectedGrant, let found = pending, found.grant != expected {
                    // Pasted under another grant's name: it stays good for its own.
                    callbacks[id]?.isForOtherGrant = true
                    restore(key, found)
                    pending = nil
                }
                if let found = pending, grants[found.grant]?.providerName != found.provider {
                    // A reload took the grant away or gave it to another provider: the consent is of no use to either.
                    pending = nil
                }
                perform(consent: authorizations.pendingTaken(key: key, pending, now: moment))
            }
        }
    }

    private func restore(_ key: String, _ pending: PendingConsent) {
        let payload = pending.encoded()
        let now = moment.wall / 1000
        withStore(.consent) { store throws(StoreError) in
            try store.putConsent(
                id: key, payload: payload, expiresAt: pending.expiresAt / 1000 + 1, limit: PendingConsent.limit + 20,
                now: now)
        } then: { _ in
        }
    }

    // MARK: Tickets

    /// A number for an operator's command; `done` gets its result.
    func ticket(_ done: @escaping (TicketResult) -> Void) -> Ticket {
        let ticket = Ticket(nextTicket)
        nextTicket += 1
        tickets[ticket] = done
        return ticket
    }

    func finished(_ ticket: Ticket, _ result: TicketResult) {
        if authorizations.owns(ticket) {
            perform(consent: authorizations.consentFinished(ticket, result, now: moment))
        } else {
            tickets.removeValue(forKey: ticket)?(result)
        }
    }
}
