import Logging
import OAuth
import Reactor

/// Calls to providers.
extension Control {
    /// A provider that a reload takes away lives on in the calls that are under way: their replies bring tokens, and
    /// somebody waits for them.
    func perform(_ provider: Provider, _ actions: [ProviderAction]) {
        for action in actions { perform(provider, action) }
    }

    private func perform(_ provider: Provider, _ action: ProviderAction) {
        switch action {
        case .send(let id, let request, let deadline):
            client.send(
                request, of: provider.machine.settings.name, tls: provider.tls, deadlineMilliseconds: deadline
            ) {
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
            case .device: deviceTokenCallFinished(id, report)
            }
        case .revocationCallFinished(let id, let result):
            guard case .grant(let grant) = id.owner, let entry = grants[grant] else { return }
            perform(grant, entry.machine.revocationCallFinished(id, result, now: moment))
        case .pushFinished(let id, let result): pushWaits.removeValue(forKey: id)?(result)
        case .deviceAuthorizationFinished(let id, let result): deviceAuthorizationFinished(id, result)
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
}
