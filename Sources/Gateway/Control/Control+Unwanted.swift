import Logging
import OAuth

/// The tokens of a consent on their way into its grant.
struct ArrivingTokens {
    var grant: String
    var provider: Control.Provider
    var tokens: TokenSet
}

/// Tokens that a provider gave when nobody could use them any more: the consent was cancelled, or its grant is gone.
extension Control {
    /// They are not left alive there, as far as one call can do that.
    ///
    /// - Parameters:
    ///   - provider: whose tokens they are, also where a reload has taken it away.
    ///   - variables: the grant's, for templated URLs.
    func revokeUnwanted(
        _ tokens: TokenSet, of grant: String, at provider: Provider, variables: [String: String] = [:]
    ) {
        guard let owed = tokens.unwanted(at: provider.machine.settings) else { return }
        let id = CallID(owner: .consent(0), number: nextStart)
        nextStart += 1
        unwanted[id] = grant
        let call = RevocationCall(
            id: id, token: owed.token, hint: owed.hint, variables: variables.merging(tokens.captured) { own, _ in own })
        perform(provider, provider.machine.revocationNeeded(call, now: moment))
    }

    /// The grant is gone before it has taken what a consent brought: the browser is answered.
    func overruleConsents(of grant: String) {
        for (ticket, arrived) in arriving where arrived.grant == grant {
            arriving[ticket] = nil
            revokeUnwanted(arrived.tokens, of: grant, at: arrived.provider)
            perform(consent: authorizations.consentOverruled(ticket, now: moment))
        }
    }

    func unwantedRevoked(_ id: CallID, _ result: RevocationCallResult) {
        guard let grant = unwanted.removeValue(forKey: id) else { return }
        let (word, detail): (String, String) =
            switch result {
            case .revoked: ("revoked", "")
            case .alreadyInvalid: ("already_invalid", "")
            case .notSupported, .notNeeded: ("not_supported", "")
            case .failed(let problem): ("failed", problem.code)
            }
        logger.notice(
            "tokens came that nobody can use any more",
            metadata: ["grant": "\(grant)", "revocation": "\(word)", "detail": "\(detail)"])
    }
}
