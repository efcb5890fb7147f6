import Console
import Logging
import OAuth

/// Refresh tokens that an operator brings along.
extension Control {
    /// The grant is as it was until the provider has taken the token.
    func importToken(_ grant: String, _ token: Secret, _ done: @escaping (ConsoleOutcome) -> Void) {
        withGrant(grant) { [unowned self] result in
            switch result {
            case .failure(let failure): done(.failed(failure))
            case .success(let entry):
                guard case .consent = entry.machine.grantSettings.acquisition else {
                    return done(.failed(ConsoleFailure(.unattended)))
                }
                importToken(entry, token, done)
            }
        }
    }

    private func importToken(_ entry: GrantEntry, _ token: Secret, _ done: @escaping (ConsoleOutcome) -> Void) {
        let grant = entry.name
        let ticket = ticket(for: grant) { [unowned self] result in
            switch result {
            case .imported:
                logger.info("a refresh token was imported", metadata: ["grant": "\(grant)"])
                done(view(named: grant).map { .imported($0) } ?? .failed(missing(grant)))
            case .importFailed(let code, let detail):
                logger.warning(
                    "a refresh token was not imported",
                    metadata: ["grant": "\(grant)", "code": "\(code)", "detail": "\(detail)"])
                done(.failed(Self.importFailure(code: code, detail: detail)))
            case nil: done(.failed(missing(grant)))
            // The tokens are good and in memory; commits go on.
            case .consentNotStored: done(.failed(ConsoleFailure(.storeUnavailable)))
            case .connected, .consentRefused, .refreshed, .refreshFailed, .revocation, .revocationNotStored,
                .revocationNotDone, .forgotten,
                .forgetFailed, .created, .alreadyExists, .createFailed:
                done(.failed(ConsoleFailure(.internal)))
            }
        }
        perform(grant, entry.machine.importRequested(refreshToken: token, ticket: ticket, now: moment))
        hurry(entry)
    }

    static func importFailure(code: String, detail: String) -> ConsoleFailure {
        switch code {
        case "invalid_grant", "no_refresh_token", "missing_scope", "wrong_account", "account_unknown":
            ConsoleFailure(.importRefused, detail: detail)
        case "invalid_client", "unauthorized_client": ConsoleFailure(.configurationError, detail: detail)
        case "store_unavailable": ConsoleFailure(.storeUnavailable, detail: detail)
        case "unattended": ConsoleFailure(.unattended, detail: detail)
        case "forgotten", "revoked": ConsoleFailure(.importRefused, detail: detail)
        case "configuration_changed": ConsoleFailure(.configurationError, detail: detail)
        default: providerFailure(code: code, detail: detail)
        }
    }
}
