import Configuration
import Console
import OAuth
import Reactor
import Telemetry

/// The console's requests and commands.
extension Control {
    func consoleRequest(_ request: ConsoleRequest, respond: @escaping (ConsoleResponse) -> Void) {
        guard console != nil else { return }
        let now = Timestamp(unixSeconds: WallClock.seconds())
        switch console!.requestReceived(request, now: now, random: SystemRandom.bytes) {
        case .respond(let response):
            respond(response)
        case .perform(let command, let context):
            perform(command) { [unowned self] outcome in
                let now = Timestamp(unixSeconds: WallClock.seconds())
                respond(console!.commandEnded(context, outcome: outcome, now: now, random: SystemRandom.bytes))
            }
        }
    }

    private func perform(_ command: ConsoleCommand, _ done: @escaping (ConsoleOutcome) -> Void) {
        guard settling == nil || !command.bringsTokens else {
            done(.failed(ConsoleFailure(.draining)))
            return
        }
        switch command {
        case .startAuthorization(let grant, let binding, let link):
            startConsent(grant, binding: binding, link: link) { result in
                switch result {
                case .success(let url): done(.authorizationStarted(url: url))
                case .failure(let failure): done(.failed(failure))
                }
            }
        case .authorizationLink(let grant, let link): keepLink(link, for: grant, then: done)
        case .callback(let query, let binding, let expected):
            callbackArrived(query: query, binding: binding, expectedGrant: expected) {
                [unowned self] outcome, isForOtherGrant in
                done(isForOtherGrant ? .consentFailed(ConsentFailure(.otherGrant)) : self.outcome(outcome))
            }
        case .refresh(let grant): refresh(grant, done)
        case .revoke(let grant): revoke(grant, done)
        case .forget(let grant): forget(grant, done)
        case .listGrants(let query): list(query, done)
        case .grantDetail(let grant): detail(grant, done)
        case .createGrant(let order): create(order, done)
        case .deleteGrant(let grant): delete(grant, done)
        case .keys: keys(done)
        case .rekey(let retire): rekey(retire: retire, done)
        case .startDevice(let grant): startDevice(grant, done)
        case .deviceStatus(let grant): deviceStatus(grant, done)
        case .importToken(let grant, let token): importToken(grant, Secret(token), done)
        case .status: afterGrantsOfTheFile { [unowned self] in status(done) }
        case .metrics: afterGrantsOfTheFile { [unowned self] in metrics(done) }
        case .readiness: afterGrantsOfTheFile { [unowned self] in done(.readiness(readiness())) }
        }
    }

    /// Right after the start every grant would look as if it was not connected: what shows them all waits until the store
    /// has answered, or failed to, for each grant of the file. Nothing else does.
    func afterGrantsOfTheFile(_ serve: @escaping () -> Void) {
        if unreadFileGrants > 0 { earlyRequests.append(serve) } else { serve() }
    }

    /// The store has answered for a grant: who waited for the last one is served.
    func fileGrantWasRead() {
        guard !earlyRequests.isEmpty, unreadFileGrants == 0 else { return }
        let waiting = earlyRequests
        earlyRequests = []
        for serve in waiting { serve() }
    }

    func missing(_ grant: String) -> ConsoleFailure {
        ConsoleFailure(index.grants[grant] == nil ? .unknownGrant : .notAuthorizable)
    }
}

extension ConsoleCommand {
    /// Its end would be tokens. While the last replies of providers are waited for nothing more of that kind begins.
    fileprivate var bringsTokens: Bool {
        switch self {
        case .startAuthorization, .callback, .refresh, .startDevice, .importToken: true
        case .authorizationLink, .revoke, .forget, .listGrants, .grantDetail, .createGrant, .deleteGrant, .keys, .rekey,
            .deviceStatus, .status, .metrics, .readiness:
            false
        }
    }
}
