import Configuration
import Logging
import OAuth

/// Tokens that are exchanged for others (RFC 8693).
extension Control {
    /// A token exchange gives in tokens that are read for each call: from a file, or from another grant.
    func withSubjects(_ call: TokenCall) -> TokenCall {
        guard case .unattended(.tokenExchange(let exchange), _) = call.kind else { return call }
        var call = call
        call.subjectToken = subject(exchange.subject)
        call.actorToken = exchange.actor.flatMap { subject($0) }
        return call
    }

    /// What could not be exchanged for want of this grant's token is asked for again now.
    func wakeExchanges(of subject: String) {
        for name in index.exchanges[subject] ?? [] {
            guard let entry = grants[name] else { continue }
            perform(name, entry.machine.subjectRenewed(now: moment))
        }
    }

    private func subject(_ source: TokenExchange.Source) -> Secret? {
        switch source {
        case .file(let path):
            guard case .success(let content) = SecretLoader(environment: environment).loadToken(path: path),
                case .success(let token) = TokenText.token(content.bytes)
            else {
                logger.warning("a subject token cannot be read", metadata: ["path": "\(path)"])
                return nil
            }
            return token
        case .grant(let name): return grants[name]?.machine.usableAccessToken(now: moment)
        }
    }
}
