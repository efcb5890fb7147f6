import Configuration
import Logging
import Proxy

/// Grants whose tokens another program keeps fresh in files.
extension Control {
    func tokenFileNeeded(_ grant: String, rejected: UInt64?, _ waiter: CredentialWaiter) {
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
