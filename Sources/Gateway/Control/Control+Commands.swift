import Configuration
import Console
import Logging
import OAuth
import Reactor
import Telemetry
import TokenStore

/// What an operator does to one grant.
extension Control {
    /// A command stands behind a change that the store has not taken: that is tried now, so that the command waits for
    /// the store alone and not for the back-off of the tries before it.
    func hurry(_ entry: GrantEntry) {
        guard entry.machine.holdsUnstoredChanges || !entry.machine.hasLoaded, grants[entry.name] === entry else {
            return
        }
        perform(entry.name, entry.machine.storeRecovered(now: moment))
    }

    /// Runs a command on a grant whose record is read.
    private func command(
        _ grant: String, _ done: @escaping (ConsoleOutcome) -> Void,
        _ act: @escaping (GrantEntry) -> Void
    ) {
        guard tokenFiles[grant] == nil else {
            done(.failed(ConsoleFailure(.notAuthorizable)))
            return
        }
        withGrant(grant) { [unowned self] result in
            switch result {
            case .success(let entry):
                act(entry)
                hurry(entry)
                settleTemplated(entry)
            case .failure(let failure): done(.failed(failure))
            }
        }
    }

    func refresh(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        command(grant, done) { [unowned self] entry in
            let ticket = ticket(for: grant) { [unowned self] result in
                switch result {
                case .refreshed: done(view(named: grant).map { .refreshed($0) } ?? .failed(missing(grant)))
                case .refreshFailed(let code, let detail):
                    let state = entry.machine.status(now: moment).state
                    done(.failed(Self.failure(code: code, detail: detail, state)))
                case nil: done(.failed(missing(grant)))
                case .connected, .consentRefused, .consentNotStored, .revocation, .revocationNotStored,
                    .revocationNotDone, .forgotten,
                    .forgetFailed, .imported, .importFailed, .created, .alreadyExists, .createFailed:
                    done(.failed(ConsoleFailure(.internal)))
                }
            }
            perform(grant, entry.machine.refreshRequested(ticket, now: moment))
        }
    }

    /// - Parameter state: the grant's since then: a provider has many words for its end.
    static func failure(code: String, detail: String, _ state: GrantState) -> ConsoleFailure {
        switch UnavailableReason(rawValue: code) {
        case .notConnected, .revoked: ConsoleFailure(.notConnected, detail: detail)
        case .reauthorizationRequired, .noRefreshToken: ConsoleFailure(.reauthorizationRequired, detail: detail)
        case .configurationError: ConsoleFailure(.configurationError, detail: detail)
        case .storeUnavailable: ConsoleFailure(.storeUnavailable, detail: detail)
        case .refreshFailed, .coolingDown, .refreshTooSoon, .tooManyWaiters, nil:
            switch state {
            case .reauthorizationRequired: ConsoleFailure(.reauthorizationRequired, detail: detail)
            case .configurationError: ConsoleFailure(.configurationError, detail: detail)
            case .notConnected, .revoked, .active, .refreshing: providerFailure(code: code, detail: detail)
            }
        }
    }

    /// A provider that answered and said no is not one that is away.
    static func providerFailure(code: String, detail: String) -> ConsoleFailure {
        switch ProviderProblem.side(ofCode: code) {
        case .refused: ConsoleFailure(.providerRefused, detail: detail)
        case .unavailable: ConsoleFailure(.providerUnavailable, detail: detail)
        case .settings: ConsoleFailure(.configurationError, detail: detail)
        }
    }

    func revoke(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        command(grant, done) { [unowned self] entry in
            let ticket = ticket(for: grant) { [unowned self] result in
                if result == .revocationNotDone {
                    let detail = "The grant's record cannot be read, so that nothing new was revoked. Try again."
                    done(.failed(ConsoleFailure(.storeUnavailable, detail: detail)))
                    return
                }
                guard case .revocation(let outcome) = result, let found = view(named: grant) else {
                    let detail =
                        "Injection has stopped, but the store has not taken it yet: after a restart the grant would be "
                        + "back. Storing is tried again; see that the store works."
                    done(.failed(result == nil ? missing(grant) : ConsoleFailure(.storeUnavailable, detail: detail)))
                    return
                }
                let style = providers[found.provider ?? ""]?.machine.settings.revocation
                let advice = style?.advice
                switch outcome {
                // By the access token the whole grant has ended: nothing is left to do.
                case .revoked: done(.revoked(found, .revoked, advice: style?.order == .accessToken ? nil : advice))
                case .notConfirmed: done(.revoked(found, .notConfirmed, advice: advice))
                case .alreadyInvalid: done(.revoked(found, .alreadyInvalid))
                case .notSupported: done(.revoked(found, .notSupported, advice: advice))
                case .failedKeptForRetry: done(.revoked(found, .failedKeptForRetry))
                case .nothingToRevoke where found.state == .revoked: done(.revoked(found, .alreadyInvalid))
                case .nothingToRevoke: done(.failed(ConsoleFailure(.notConnected)))
                }
            }
            perform(grant, entry.machine.revokeRequested(ticket, now: moment))
        }
    }

    func forget(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        if storeHealth.isUnreadable(grant), grants[grant]?.machine.hasLoaded != true {
            forgetUnreadable(grant, done)
            return
        }
        command(grant, done) { [unowned self] entry in
            let ticket = ticket(for: grant) { [unowned self] result in
                guard result == .forgotten || (result == nil && entry.template != nil) else {
                    done(.failed(result == nil ? missing(grant) : ConsoleFailure(.storeUnavailable)))
                    return
                }
                done(.forgotten)
                // With its record a templated grant is gone, and what was to be done for it is not done any more.
                if entry.template != nil, grants[grant] === entry, entry.machine.storedRevision == 0 { vanish(entry) }
            }
            perform(grant, entry.machine.forgetRequested(ticket, now: moment))
        }
    }

    /// What cannot be read is no grant's machine's to end: it never comes to have it.
    private func forgetUnreadable(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        withStore(.commit) { store throws(StoreError) in
            try store.remove(grant: grant, ifGeneration: nil)
        } then: { [unowned self] result in
            if case .failure(let error) = result {
                done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
                return
            }
            storeHealth.recordRead(grant)
            logger.notice("a record that could not be read was deleted", metadata: ["grant": "\(grant)"])
            if let entry = grants[grant] {
                if entry.template != nil {
                    vanish(entry)
                } else {
                    perform(grant, entry.machine.storeRecovered(now: moment))
                }
            }
            done(.forgotten)
        }
    }

    /// A grant of the file can only be forgotten: the file goes on naming it.
    func delete(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard index.grants[grant] == nil else {
            done(.failed(ConsoleFailure(.configuredGrant)))
            return
        }
        forget(grant, done)
    }

    // MARK: Making grants

    func create(_ order: CreateGrantOrder, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard let template = templates[order.template] else {
            done(.failed(ConsoleFailure(.unknownTemplate)))
            return
        }
        let prefix = TemplatedName.prefix(of: template.name)
        let grant = prefix + order.name
        if let problem = TemplatedName.problem(of: order.name) {
            done(.failed(ConsoleFailure(.invalidName, detail: problem)))
            return
        }
        if let problem = template.problem(with: order.variables ?? [:]) {
            done(.failed(ConsoleFailure(.invalidVariable, detail: problem)))
            return
        }
        guard store?.isShared == true, grants[grant]?.machine.storedRevision ?? 0 > 0 else {
            create(grant, order, done)
            return
        }
        // What is in memory may have been deleted at another replica a moment ago.
        let askedAt = moment
        withStore(.read) { store throws(StoreError) in
            try store.read(grant: grant)
        } then: { [unowned self] result in
            switch result {
            case .failure(let error) where !error.concernsOneRecord:
                done(.failed(ConsoleFailure(.storeUnavailable, detail: error.message)))
            case .success, .failure:
                readElsewhere(grant, result, askedAt: askedAt)
                create(grant, order, done)
            }
        }
    }

    private func create(_ grant: String, _ order: CreateGrantOrder, _ done: @escaping (ConsoleOutcome) -> Void) {
        loading.absent[grant] = nil
        guard let entry = entry(loading: grant) else {
            done(.failed(ConsoleFailure(.unknownTemplate)))
            return
        }
        entry.isBeingCreated = true
        entry.siblings = nil
        entry.lastUsed = moment.monotonic
        let ticket = ticket(for: grant) { [unowned self] result in
            entry.isBeingCreated = false
            switch result {
            case .created:
                logger.notice("a grant was made", metadata: ["grant": "\(grant)"])
                done(view(named: grant).map { .created($0) } ?? .failed(missing(grant)))
            case .alreadyExists: done(.failed(ConsoleFailure(.grantExists)))
            case nil: done(.failed(missing(grant)))
            case .createFailed, .refreshed, .refreshFailed, .connected, .consentRefused, .consentNotStored,
                .revocation, .revocationNotStored, .revocationNotDone, .forgotten, .forgetFailed, .imported,
                .importFailed:
                done(.failed(whyNotMade(entry)))
                loop.schedule(after: 0) { [unowned self] in
                    let isNothing = entry.machine.storedRevision == 0 && !entry.machine.holdsUnfinishedWork
                    if grants[grant] === entry, !entry.isBeingCreated, isNothing { vanish(entry) }
                }
            }
        }
        perform(
            grant,
            entry.machine.created(
                template: order.template, label: order.label, variables: order.variables ?? [:], ticket: ticket,
                now: moment))
    }

    private func whyNotMade(_ entry: GrantEntry) -> ConsoleFailure {
        guard let count = entry.siblings, let template = entry.template.flatMap({ templates[$0] }) else {
            return ConsoleFailure(.storeUnavailable, detail: storeHealth.reason)
        }
        let detail = "The template \(template.name) has \(count) grants, and max_grants is \(template.maxGrants)."
        return ConsoleFailure(.tooManyGrants, detail: detail)
    }
}

extension GrantTemplate {
    /// What stands against making a grant with these variables, in one sentence.
    func problem(with given: [String: String]) -> String? {
        for needed in neededVariables {
            guard let value = given[needed.name] else {
                let about = needed.about.isEmpty ? "" : " (\(needed.about))"
                let example = needed.example.isEmpty ? "" : ", for example \(needed.example)"
                return "The template \(name) needs the variable \(needed.name)\(about)\(example)."
            }
            guard needed.accepts(value) else { return "The variable \(needed.name) cannot be \"\(value)\"." }
        }
        return nil
    }
}
