// What an operator asks for: a refresh now, an import.
extension GrantMachine {
    // MARK: Refresh

    mutating func refreshCommanded(_ ticket: Ticket) {
        if unattended != nil {
            isDormant = false
            if !projected.canBeAcquired { changes.append(.unlatch(isUnattended: true)) }
        } else {
            unlatchIfPossible()
        }
        refreshTickets.append(ticket)
    }

    private mutating func unlatchIfPossible() {
        let view = projected
        let isLatched = view.state == .reauthorizationRequired || view.state == .configurationError
        if isLatched, view.tokens?.refreshToken != nil { changes.append(.unlatch(isUnattended: false)) }
    }

    /// Tickets that wait although no refresh can come of it are told so.
    mutating func failRefreshTicketsThatCannotBeMet(_ now: Moment) {
        guard isLoaded, !refreshTickets.isEmpty, !isRefreshing, load == nil else { return }
        guard !changes.contains(where: \.leadsToCredential) || commitRetryAt != nil else { return }
        if isWaitingForSibling(now) { return }
        let view = projected
        let (code, detail): (String, String) =
            if isStopped || view.state == .revoked {
                ("revoked", "The grant is revoked.")
            } else if storeBlockedUntil > now.monotonic || commitRetryAt != nil {
                ("store_unavailable", "The store does not take the result of a refresh, so none is made.")
            } else if unattended != nil {
                (view.lastFailure?.code ?? "refresh_failed", view.lastFailure?.detail ?? "The refresh did not start.")
            } else if view.tokens == nil {
                ("not_connected", "The grant is not connected.")
            } else if belongsElsewhere {
                ("other_provider", "The grant's tokens are another provider's: authorize it again.")
            } else if view.tokens?.refreshToken == nil {
                ("no_refresh_token", "The grant has no refresh token.")
            } else {
                (view.lastFailure?.code ?? "refresh_failed", view.lastFailure?.detail ?? "The refresh did not start.")
            }
        finishRefreshTickets(.refreshFailed(code: code, detail: detail))
    }

    mutating func finishRefreshTickets(_ result: TicketResult) {
        for ticket in refreshTickets {
            actions.append(.finish(ticket, result))
        }
        refreshTickets = []
    }

    mutating func unlatchIfConfigurationChanged() {
        let view = projected
        guard let latched = view.latchedFingerprint, latched != fingerprint else { return }
        guard view.state == .reauthorizationRequired || view.state == .configurationError else { return }
        unlatch()
    }

    /// Another replica's credentials were refused, and ours are others: a late replica in a rolling change of the client
    /// secret must not stop the rest. Once ours are refused, too, nobody unlatches any more.
    mutating func unlatchIfOnlyOthersWereRefused(_ now: Moment) {
        let view = projected
        guard view.state == .configurationError, let latched = view.latchedFingerprint, latched != fingerprint,
            ownCredentialsRefusedUntil <= now.monotonic
        else { return }
        unlatch()
    }

    private mutating func unlatch() {
        guard projected.tokens?.refreshToken != nil || unattended != nil else { return }
        changes.append(.unlatch(isUnattended: unattended != nil))
        recovery = .recovery
    }

    // MARK: Import

    /// Starts the import that is first in the queue: an intent, so that the store is known to take what it brings and
    /// no sibling refreshes meanwhile; then the call.
    mutating func startImport(_ now: Moment) -> Bool {
        guard let first = imports.first, call == nil else { return false }
        guard first.provider == settings.provider else {
            endMovedImport()
            return true
        }
        if first.isBegun {
            guard let replay = first.replay else { return true }
            guard replay.dueAt <= now.monotonic else { return true }
            let isOurs = record.intent?.instance == environment.instance
            if isOurs, isInWindow(replay, at: now.monotonic), leaseAllowsCall(now) {
                sendImport(now)
            } else {
                endImport(replay.problem.code, replay.problem.detail)
            }
            return true
        }
        guard unattended == nil else {
            endImport("unattended", "An unattended grant has no refresh token.")
            return true
        }
        guard storeBlockedUntil <= now.monotonic else {
            endImport("store_unavailable", "The store does not take what the refresh token would bring.")
            return true
        }
        // Answered in bounded time: a sibling that is at it has its term.
        guard !isWaitingForSibling(now) else { return true }
        imports[0].isBegun = true
        lease = Lease(startedAt: now.monotonic, term: leaseTerm, fence: 0, reason: .command)
        changes.append(.importIntent(newIntent(now)))
        return true
    }

    mutating func sendImport(_ now: Moment) {
        guard let first = imports.first, first.isBegun else { return }
        guard first.provider == settings.provider else { return endMovedImport() }
        guard leaseAllowsCall(now) else {
            return endImport("store_unavailable", "The store took too long.")
        }
        imports[0].replay?.dueAt = .max
        lastCallAt = now.monotonic
        call = Call(id: newCallID(), kind: .importing(first.token))
        request(.refresh(refreshToken: first.token, scopes: settings.scopes), isImport: true)
    }

    mutating func importCallFinished(_ token: Secret, _ report: TokenCallReport, now: Moment) {
        guard let first = imports.first, first.token == token else { return }
        if first.isRevoked { return revokedImportFinished(report, now: now) }
        guard first.provider == settings.provider else { return endMovedImport() }
        switch report.result {
        case .success(var tokens):
            tokens.refreshToken = tokens.refreshToken ?? token
            imports.removeFirst()
            let asked = GrantChange.Asked(provider: first.provider, scopes: settings.scopes, isImport: true)
            consentArrived(tokens, sentAt: report.sentAt, asked: asked, ticket: first.ticket)
        case .failure(let failure):
            let problem = failure.after(first.replay)
            if problem.outcomeUnknown, let next = nextReplay(of: first.replay, after: problem, now: now) {
                actions.append(.note(.refreshOutcomeUnknown(code: problem.code, willReplay: true)))
                imports[0].replay = next
            } else {
                // A refusal may come without a word (glewlwyd): then its class says what it is.
                endImport(problem.errorClass == .permanent ? "invalid_grant" : problem.code, problem.detail)
            }
        }
    }

    /// A reload named another provider while the token was tried.
    private mutating func endMovedImport() {
        endImport(
            "configuration_changed",
            "The configuration named another provider for the grant meanwhile. The old provider may have replaced the "
                + "token that was to be imported: consent again, or import a new one.")
    }

    /// Who revokes a grant does not want it to come to life by what was asked for before.
    mutating func endImportsForRevocation() {
        let detail = "The grant was revoked meanwhile."
        var isInFlight = false
        if let call, case .importing = call.kind { isInFlight = true }
        while imports.count > (isInFlight ? 1 : 0) {
            let last = imports.removeLast()
            if last.isBegun { changes.append(.importEnded(instance: environment.instance)) }
            actions.append(.finish(last.ticket, .importFailed(code: "revoked", detail: detail)))
        }
        if isInFlight, !imports.isEmpty { imports[0].isRevoked = true }
    }

    private mutating func revokedImportFinished(_ report: TokenCallReport, now: Moment) {
        endImport("revoked", "The grant was revoked meanwhile.")
        guard case .success(let tokens) = report.result else { return }
        if projected.state == .revoked {
            changes.append(.lateTokens(tokens.revocable))
        } else {
            revokeRefused(tokens)
        }
    }

    /// The import that is first in the queue came to nothing.
    mutating func endImport(_ code: String, _ detail: String) {
        guard let first = imports.first else { return }
        imports.removeFirst()
        if first.isBegun { changes.append(.importEnded(instance: environment.instance)) }
        actions.append(.finish(first.ticket, .importFailed(code: code, detail: detail)))
    }
}
