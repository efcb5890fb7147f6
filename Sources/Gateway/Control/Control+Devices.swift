import Console
import Logging
import OAuth
import Telemetry

/// Consents on other devices (RFC 8628).
extension Control {
    func startDevice(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        withGrant(grant) { [unowned self] result in
            switch result {
            case .failure(let failure): done(.failed(failure))
            case .success(let entry): startDevice(entry, done)
            }
        }
    }

    private func startDevice(_ entry: GrantEntry, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard case .consent = entry.machine.grantSettings.acquisition else {
            return done(.failed(ConsoleFailure(.unattended)))
        }
        guard let provider = providers[entry.providerName], !isDraining else {
            return done(.failed(ConsoleFailure(isDraining ? .draining : .unknownGrant)))
        }
        if let old = devices[entry.name] {
            perform(device: old, old.machine.cancelled())
            devices.remove(old)
        }
        let aliases = provider.machine.settings.errorAliases
        guard let run = devices.begin(grant: entry.name, providerName: entry.providerName, aliases: aliases) else {
            return done(.failed(ConsoleFailure(.tooManyPendingConsents)))
        }
        run.whenShown = done
        perform(device: run, run.machine.started())
    }

    func deviceStatus(_ grant: String, _ done: @escaping (ConsoleOutcome) -> Void) {
        withGrant(grant) { [unowned self] result in
            switch result {
            case .failure(let failure): done(.failed(failure))
            case .success: done(.deviceStatus(devices[grant]?.status ?? DeviceStatus(.none)))
            }
        }
    }

    // MARK: Answers of the provider

    func deviceAuthorizationFinished(_ id: CallID, _ result: Result<DeviceAuthorization, ProviderProblem>) {
        guard case .device(let number) = id.owner, let run = devices.run(number) else { return }
        perform(device: run, run.machine.authorizationReceived(id, result, now: moment))
    }

    func deviceTokenCallFinished(_ id: CallID, _ report: TokenCallReport) {
        guard case .device(let number) = id.owner, let run = devices.run(number) else { return }
        run.isPolling = false
        guard !run.machine.hasEnded else {
            if case .success(let tokens) = report.result { revokeUnwanted(tokens, of: run) }
            if devices[run.grant] !== run { devices.remove(run) }
            return
        }
        perform(device: run, run.machine.tokenCallFinished(id, report, now: moment))
    }

    private func perform(device run: DeviceRun, _ actions: [DeviceAction]) {
        for action in actions {
            switch action {
            case .requestAuthorization(let id): requestDeviceAuthorization(run, id)
            case .poll(let call): poll(run, call)
            case .armTimer(let time): arm(run, at: time)
            case .show(let prompt): show(run, prompt)
            case .finished(let outcome): finished(run, outcome)
            }
        }
    }

    private func requestDeviceAuthorization(_ run: DeviceRun, _ id: CallID) {
        guard let provider = providers[run.providerName], let entry = entry(loading: run.grant) else {
            return gone(run)
        }
        let scopes = entry.machine.grantSettings.scopes
        perform(
            provider,
            provider.machine.deviceAuthorizationNeeded(
                id, scopes: scopes, variables: entry.machine.templateVariables, now: moment))
    }

    private func poll(_ run: DeviceRun, _ call: TokenCall) {
        guard let provider = providers[run.providerName], let entry = entry(loading: run.grant) else {
            return gone(run)
        }
        var call = call
        call.variables = entry.machine.templateVariables
        if entry.machine.grantSettings.scopes.contains("openid") { call.identity = IdentityExpectation() }
        run.poll = DeviceRun.Poll(provider: provider, variables: call.variables)
        run.isPolling = true
        perform(provider, provider.machine.tokensNeeded(call, now: moment))
    }

    private func arm(_ run: DeviceRun, at time: Int64) {
        if let timer = run.timer { loop.cancel(timer) }
        run.timer = loop.schedule(after: UInt64(max(0, time - moment.monotonic))) { [unowned self] in
            run.timer = nil
            // While the gateway stops no poll begins: it might bring tokens that nobody can take any more.
            guard settling == nil else { return }
            perform(device: run, run.machine.timerFired(now: moment))
        }
    }

    private func show(_ run: DeviceRun, _ prompt: DeviceAuthorization.Prompt) {
        let reply = DeviceReply(
            userCode: prompt.userCode, verificationURI: prompt.verificationURI,
            verificationURIComplete: prompt.completeURI, expiresAt: Timestamp(milliseconds: prompt.expiresAt),
            interval: Int(clamping: prompt.interval / 1000))
        run.prompt = reply
        logger.info("a consent on another device was started", metadata: ["grant": "\(run.grant)"])
        run.whenShown?(.deviceStarted(reply))
        run.whenShown = nil
    }

    // MARK: Ends

    private func finished(_ run: DeviceRun, _ outcome: DeviceOutcome) {
        if let timer = run.timer { loop.cancel(timer) }
        run.timer = nil
        switch outcome {
        case .granted(let tokens, let sentAt): granted(run, tokens, sentAt)
        case .denied:
            consentEnded(.deniedByProvider(grant: run.grant, code: "access_denied", description: nil))
            end(run, DeviceStatus(.denied))
        case .expired:
            logger.info("nobody has consented on a device in time", metadata: ["grant": "\(run.grant)"])
            end(run, DeviceStatus(.expired))
        case .cancelled: end(run, DeviceStatus(.cancelled, reason: "Another consent was begun for the grant."))
        case .failed(let problem):
            consentEnded(.exchangeFailed(grant: run.grant, problem))
            end(run, DeviceStatus(.failed, reason: problem.detail), failure: Self.failure(of: problem))
        }
    }

    private static func failure(of problem: ProviderProblem) -> ConsoleFailure {
        switch problem.errorClass {
        case .configuration where problem.code == "no_endpoints":
            ConsoleFailure(.deviceNotSupported, detail: problem.detail)
        case .configuration, .permanent: ConsoleFailure(.configurationError, detail: problem.detail)
        case .transient: Control.providerFailure(code: problem.code, detail: problem.detail)
        }
    }

    /// The tokens go the way of every consent's: stored first, then used.
    private func granted(_ run: DeviceRun, _ tokens: TokenSet, _ sentAt: Moment) {
        guard let entry = entry(loading: run.grant), entry.providerName == run.providerName else {
            revokeUnwanted(tokens, of: run)
            return gone(run)
        }
        let ticket = ticket(for: run.grant) { [unowned self] result in
            guard let result else {
                revokeUnwanted(tokens, of: run)
                return gone(run)
            }
            let ended = consentOutcome(of: run.grant, result)
            consentEnded(ended)
            switch outcome(ended) {
            case .connected(let success):
                end(run, DeviceStatus(.connected, notes: success.notes.map(\.rawValue)))
            case .consentFailed(let failure):
                end(run, DeviceStatus(.failed, reason: failure.detail ?? "The store has not taken the tokens yet."))
            case .authorizationStarted, .linkAllowed, .refreshed, .revoked, .forgotten, .grants, .created, .keys,
                .rekeyStarted, .grant, .status, .deviceStarted, .deviceStatus, .imported, .metrics, .readiness, .failed:
                end(run, DeviceStatus(.failed, reason: "Something went wrong in the gateway."))
            }
        }
        entry.lastUsed = moment.monotonic
        perform(run.grant, entry.machine.authorizationGranted(tokens, sentAt: sentAt, ticket: ticket, now: moment))
        hurry(entry)
    }

    private func consentOutcome(of grant: String, _ result: TicketResult) -> OAuth.ConsentOutcome {
        switch result {
        case .connected(let report): .connected(grant: grant, report)
        case .consentRefused(let refusal): .refused(grant: grant, refusal)
        case .consentNotStored, .refreshed, .refreshFailed, .revocation, .revocationNotStored, .revocationNotDone,
            .forgotten,
            .forgetFailed,
            .imported, .importFailed, .created, .alreadyExists, .createFailed:
            .notStored(grant: grant)
        }
    }

    /// The run or its grant ended while the provider was asked.
    private func revokeUnwanted(_ tokens: TokenSet, of run: DeviceRun) {
        guard let poll = run.poll else { return }
        revokeUnwanted(tokens, of: run.grant, at: poll.provider, variables: poll.variables)
    }

    /// A reload took the grant or its provider away, or it was deleted.
    private func gone(_ run: DeviceRun) {
        _ = run.machine.cancelled()
        if let timer = run.timer { loop.cancel(timer) }
        run.timer = nil
        end(run, DeviceStatus(.cancelled), failure: ConsoleFailure(.unknownGrant))
    }

    private func end(_ run: DeviceRun, _ status: DeviceStatus, failure: ConsoleFailure? = nil) {
        run.end = status
        run.prompt = nil
        run.whenShown?(.failed(failure ?? ConsoleFailure(.providerUnavailable, detail: status.reason)))
        run.whenShown = nil
    }
}
