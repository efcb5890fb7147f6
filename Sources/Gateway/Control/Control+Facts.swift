import Console
import Logging
import OAuth
import Telemetry

/// What the machines found out, for the log and the metrics.
extension Control {
    /// A field of `extra_headers` that needs a value which neither consent nor configuration gave is not sent. The upstream
    /// may well refuse what lacks it, and its answer says nothing of us. Told once for each grant.
    func tellOfHeadersLeftOut(_ entry: GrantEntry, _ credential: OAuth.Credential) {
        guard let settings = providers[entry.providerName]?.machine.settings,
            toldLeftOut.count < Self.toldLimit
        else { return }
        let fields = settings.extraHeadersLeftOut(credential.captured)
        guard !fields.isEmpty, toldLeftOut.insert(entry.name).inserted else { return }
        logger.warning(
            "header fields are left out of a grant's requests: nothing gives them a value",
            metadata: ["grant": "\(entry.name)", "fields": "\(fields.joined(separator: " "))"])
    }

    private static let toldLimit = 1_000

    /// A grant's name in a metric. Those of a template share one: 100,000 series would be none.
    func metricName(of grant: String) -> String {
        TemplatedName(grant).map { "\($0.template):*" } ?? grant
    }

    func note(_ grant: String, _ fact: GrantFact) {
        let name: Logger.Metadata = ["grant": "\(grant)"]
        switch fact {
        case .refreshStarted(let reason):
            logger.debug("a refresh starts", metadata: name.adding("reason", reason.rawValue))
        case .refreshSucceeded(let generation, let rotated):
            counters.refreshEnded(grant: metricName(of: grant), outcome: .succeeded)
            if let entry = grants[grant] {
                clientAccepted(entry)
            }
            logger.info(
                "the grant was refreshed",
                metadata: name.adding("generation", "\(generation)").adding("rotated", "\(rotated)"))
        case .refreshFailed(let problem):
            counters.refreshEnded(grant: metricName(of: grant), outcome: Self.outcome(problem.errorClass))
            logger.warning(
                "a refresh failed", metadata: name.adding("code", problem.code).adding("detail", problem.detail))
        case .refreshOutcomeUnknown(let code, let willReplay):
            counters.refreshEnded(grant: metricName(of: grant), outcome: .outcomeUnknown)
            logger.warning(
                "the answer to a refresh was lost",
                metadata: name.adding("code", code).adding("replayed", "\(willReplay)"))
        case .lateResultDropped:
            logger.info("a result came too late and was dropped", metadata: name)
        case .siblingTokensAdopted(let generation):
            counters.refreshEnded(grant: metricName(of: grant), outcome: .superseded)
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
            counters.scopesLost(grant: metricName(of: grant), count: scopes.count)
            logger.warning(
                "the provider granted fewer scopes", metadata: name.adding("lost", scopes.joined(separator: " ")))
        case .lifetimeUnknown:
            guard let entry = grants[grant], !entry.hasToldUnknownLifetime else { return }
            entry.hasToldUnknownLifetime = true
            logger.notice(
                "the provider did not say how long the token lives; only a rejection refreshes it", metadata: name)
        case .storeFailed where grants[grant]?.siblings != nil:
            // The store works, and has no room for one more.
            break
        case .storeFailed:
            counters.refreshEnded(grant: metricName(of: grant), outcome: .storeFailed)
            // There need not be new tokens: it may be a look at the store, or the trial before a refresh.
            logger.error("the store did not do what the grant needs; trying again", metadata: name)
        case .storeWentBack:
            logger.error(
                """
                the store holds an older state of the grant than this replica, as after a failover that lost commits; \
                the newer one is written again
                """, metadata: name)
        case .usedBeforeStored(let generation):
            logger.warning(
                "the store is away; a new token is used from memory",
                metadata: name.adding("generation", "\(generation)"))
        case .takenOver(let instance):
            logger.notice(
                "a refresh that another replica left unfinished is finished here",
                metadata: name.adding("instance", instance))
        case .connected(let generation):
            counters.consentEnded(grant: metricName(of: grant), connected: true)
            logger.notice("the grant is connected", metadata: name.adding("generation", "\(generation)"))
        case .consentRefused(let refusal):
            counters.consentEnded(grant: metricName(of: grant), connected: false)
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
}

extension Logger.Metadata {
    func adding(_ key: String, _ value: String) -> Logger.Metadata {
        var copy = self
        copy[key] = "\(value)"
        return copy
    }
}
