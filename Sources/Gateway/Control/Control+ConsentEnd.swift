import Console
import Logging
import OAuth
import Reactor
import Telemetry

/// What a consent came to, for those who were not at the browser: the log, the metrics, the grant's page, and the
/// command that waits.
extension Control {
    func consentEnded(_ end: OAuth.ConsentOutcome) {
        switch end {
        case .connected(let grant, _):
            remember(grant, "connected", nil)
        case .refused(let grant, let refusal):
            // The grant's machine has counted and logged it.
            remember(grant, word(end), refusal.explanation)
        case .notStored(let grant):
            remember(grant, word(end), nil)
        case .deniedByProvider(let grant, let code, let description):
            counters.consentEnded(grant: metricName(of: grant), connected: false)
            logger.warning(
                "the provider sent a consent back with an error",
                metadata: ["grant": "\(grant)", "code": "\(code)", "detail": "\(description ?? "")"])
            remember(grant, word(end), description ?? code)
        case .exchangeFailed(let grant, let problem):
            counters.consentEnded(grant: metricName(of: grant), connected: false)
            logger.warning(
                "the code of a consent could not be exchanged",
                metadata: ["grant": "\(grant)", "code": "\(problem.code)", "detail": "\(problem.detail)"])
            remember(grant, word(end), problem.detail)
        case .rejected(let rejection):
            // Anybody can send a callback: it is no fault of ours, and it names no grant.
            logger.info("a callback was refused", metadata: ["reason": "\(rejection.rawValue)"])
        }
    }

    /// The word of the admin API and of the pages for a consent that failed.
    private func word(_ end: OAuth.ConsentOutcome) -> String {
        guard case .consentFailed(let failure) = outcome(end) else { return "" }
        return failure.kind.rawValue
    }

    private func remember(_ grant: String, _ word: String, _ reason: String?) {
        grants[grant]?.lastConsent = GrantView.LastConsent(
            outcome: word, reason: reason, at: Timestamp(unixSeconds: WallClock.seconds()))
    }
}
