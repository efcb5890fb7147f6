/// Names one HTTP request of one ProviderMachine.
package struct RequestID: Sendable, Hashable {
    package var number: UInt64
}

package enum ProviderAction: Sendable, Equatable {
    /// Send it, and answer with `replyReceived`; the whole call ends after `deadline` milliseconds, connecting included.
    case send(RequestID, ProviderRequest, deadline: Int64)
    case endpointsReady(CallID, ProviderEndpoints)
    case endpointsUnavailable(CallID, ProviderProblem)
    /// To the GrantMachine or the AuthorizationMachine that owns the call.
    case tokenCallFinished(CallID, TokenCallReport)
    case revocationCallFinished(CallID, RevocationCallResult)
    case note(ProviderFact)
}

/// Facts for logs and metrics; none holds a secret.
package enum ProviderFact: Sendable, Equatable {
    case metadataFound
    case discoveryFailed(ProviderProblem)
    /// The client secret at this place in the configuration was refused and the next is tried.
    case secretRefused(index: Int)
}

/// One per provider, shared by its grants: discovery, client authentication, requests and replies.
///
/// Sans-IO: each method is one event and returns what the driver must do. It has no timer of its own.
package struct ProviderMachine: Sendable {
    private enum Work: Sendable {
        /// With the grant's variables, for templates.
        case endpoints(CallID, [String: String])
        case token(TokenCall)
        case revocation(RevocationCall)
    }

    private enum Flight: Sendable {
        case metadata
        case lookup(LookupRun)
        case token(TokenCall, sentAt: Moment, secret: Int, tried: Int)
        case revocation(RevocationCall, secret: Int, tried: Int)
    }

    /// The settings as one grant has them: endpoints without templates.
    private struct Place {
        var settings: ProviderSettings
        var endpoints: ProviderEndpoints
    }

    package private(set) var settings: ProviderSettings
    private var discovery: DiscoveryMachine?
    private var waiting: [Work] = []
    private var flights: [RequestID: Flight] = [:]
    private var nextRequest: UInt64 = 1
    /// The secret that worked last (pains 34).
    private var secretIndex = 0

    package init(settings: ProviderSettings) {
        self.settings = settings
        discovery = DiscoveryMachine(settings: settings)
    }

    /// The endpoints as known now, without asking anybody.
    package var endpoints: ProviderEndpoints? {
        try? place([:], for: .consent)?.endpoints
    }

    /// `variables`: the grant's, where the provider's endpoints are templates.
    package mutating func endpointsNeeded(
        _ id: CallID, variables: [String: String] = [:], now: Moment
    ) -> [ProviderAction] {
        begin(.endpoints(id, variables), now: now)
    }

    package mutating func tokensNeeded(_ call: TokenCall, now: Moment) -> [ProviderAction] {
        begin(.token(call), now: now)
    }

    package mutating func revocationNeeded(_ call: RevocationCall, now: Moment) -> [ProviderAction] {
        begin(.revocation(call), now: now)
    }

    /// A reload. Calls in flight end as they began; what is known of another issuer is forgotten.
    package mutating func settingsChanged(_ new: ProviderSettings, now: Moment) -> [ProviderAction] {
        let old = settings
        settings = new
        if old.clientSecrets != new.clientSecrets { secretIndex = 0 }
        let samePlace =
            old.issuer == new.issuer && old.discovery == new.discovery
            && old.authorizationEndpoint == new.authorizationEndpoint && old.tokenEndpoint == new.tokenEndpoint
            && old.knowsAuthorizationEndpoint == new.knowsAuthorizationEndpoint
            && old.knowsTokenEndpoint == new.knowsTokenEndpoint
            && old.knowsRevocationEndpoint == new.knowsRevocationEndpoint
            && old.allowPlaintextOnLoopback == new.allowPlaintextOnLoopback && old.userAgent == new.userAgent
            && old.metadataLifetime == new.metadataLifetime
        guard !samePlace else { return [] }
        flights = flights.filter { if case .metadata = $0.value { false } else { true } }
        discovery = DiscoveryMachine(settings: new)
        let work = waiting
        waiting = []
        return work.flatMap { begin($0, now: now) }
    }

    /// Answers for unknown requests are dropped.
    package mutating func replyReceived(
        _ id: RequestID, _ outcome: ProviderOutcome, now: Moment
    ) -> [ProviderAction] {
        switch flights.removeValue(forKey: id) {
        case nil: []
        case .metadata: metadataReceived(outcome, now: now)
        case .lookup(let run): lookupReplyReceived(outcome, run)
        case .token(let call, let sentAt, let secret, let tried):
            tokenReplyReceived(outcome, call: call, sentAt: sentAt, secret: secret, tried: tried, now: now)
        case .revocation(let call, let secret, let tried):
            revocationReplyReceived(outcome, call: call, secret: secret, tried: tried, now: now)
        }
    }
}

// MARK: - Work and discovery

extension ProviderMachine {
    private mutating func begin(_ work: Work, now: Moment) -> [ProviderAction] {
        let step = discovery?.metadataNeeded(now: now)
        // Metadata that is only old goes on serving while a new copy is fetched.
        do throws(TemplateProblem) {
            if let place = try place(of: work) {
                return follow(step, now: now) + perform(work, place, now: now)
            }
        } catch {
            return follow(step, now: now) + fail(work, error.problem, now: now)
        }
        guard discovery != nil else {
            return fail(
                work,
                ProviderProblem(
                    .configuration, code: "no_endpoints", detail: "The provider has neither endpoints nor an issuer."),
                now: now)
        }
        waiting.append(work)
        return follow(step, now: now)
    }

    private mutating func metadataReceived(_ outcome: ProviderOutcome, now: Moment) -> [ProviderAction] {
        follow(discovery?.replyReceived(outcome, now: now), now: now)
    }

    private mutating func follow(_ step: DiscoveryMachine.Step?, now: Moment) -> [ProviderAction] {
        switch step {
        case nil: return []
        case .fetch(let request): return [send(request, .metadata)]
        case .found:
            return [.note(.metadataFound)] + takeWaiting().flatMap { begin($0, now: now) }
        case .failed(let problem):
            return [.note(.discoveryFailed(problem))] + takeWaiting().flatMap { fail($0, problem, now: now) }
        }
    }

    private mutating func takeWaiting() -> [Work] {
        defer { waiting = [] }
        return waiting
    }

    private func fail(_ work: Work, _ problem: ProviderProblem, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id, _): [.endpointsUnavailable(id, problem)]
        case .token(let call): [.tokenCallFinished(call.id, TokenCallReport(result: .failure(problem), sentAt: now))]
        case .revocation(let call): [.revocationCallFinished(call.id, .failed(problem))]
        }
    }

    /// The settings and endpoints for one grant; nil: metadata is needed first.
    private func place(
        _ variables: [String: String], for use: ProviderSettings.EndpointUse
    ) throws(TemplateProblem) -> Place? {
        let resolved = try settings.resolved(variables, for: use)
        guard let endpoints = ProviderEndpoints(settings: resolved, metadata: discovery?.metadata) else { return nil }
        return Place(settings: resolved, endpoints: endpoints)
    }

    private func place(of work: Work) throws(TemplateProblem) -> Place? {
        switch work {
        case .endpoints(_, let variables): try place(variables, for: .consent)
        case .token(let call): try place(call.variables, for: .token)
        case .revocation(let call): try place(call.variables, for: .revocation)
        }
    }

    private mutating func perform(_ work: Work, _ place: Place, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id, _): [.endpointsReady(id, place.endpoints)]
        case .token(let call): [sendToken(call, place, secret: secretIndex, tried: 1, now: now)]
        case .revocation(let call): sendRevocation(call, place, secret: secretIndex, tried: 1)
        }
    }

    private mutating func send(_ request: ProviderRequest, _ flight: Flight) -> ProviderAction {
        let id = RequestID(number: nextRequest)
        nextRequest += 1
        flights[id] = flight
        return .send(id, request, deadline: settings.callDeadline)
    }
}

// MARK: - Token and revocation calls

extension ProviderMachine {
    private mutating func sendToken(
        _ call: TokenCall, _ place: Place, secret: Int, tried: Int, now: Moment
    ) -> ProviderAction {
        let requests = TokenRequests(settings: place.settings, endpoints: place.endpoints, secretIndex: secret)
        return send(requests.request(for: call.kind), .token(call, sentAt: now, secret: secret, tried: tried))
    }

    private mutating func sendRevocation(
        _ call: RevocationCall, _ place: Place, secret: Int, tried: Int
    ) -> [ProviderAction] {
        let style = place.settings.revocation
        guard style.isSupported else { return [.revocationCallFinished(call.id, .notSupported)] }
        guard style.wants(call.hint) else {
            // Where the refresh token is the one that counts, a grant without one must not look revoked.
            return [.revocationCallFinished(call.id, call.hint == .refreshToken ? .notNeeded : .notSupported)]
        }
        let requests = TokenRequests(settings: place.settings, endpoints: place.endpoints, secretIndex: secret)
        do throws(TemplateProblem) {
            let variables = place.settings.templateVariables(call.variables)
            guard let request = try requests.revocation(call, variables: variables) else {
                return [.revocationCallFinished(call.id, .notSupported)]
            }
            return [send(request, .revocation(call, secret: secret, tried: tried))]
        } catch {
            return [.revocationCallFinished(call.id, .failed(error.problem))]
        }
    }

    private mutating func lookupReplyReceived(_ outcome: ProviderOutcome, _ run: LookupRun) -> [ProviderAction] {
        var run = run
        let step = run.replyReceived(outcome, settings)
        return follow(step, run)
    }

    /// Look-ups come before anybody hears of the tokens, so that a consent is complete or fails.
    private mutating func follow(_ step: LookupRun.Step, _ run: LookupRun) -> [ProviderAction] {
        switch step {
        case .send(let request): return [send(request, .lookup(run))]
        case .finished(let result):
            return [.tokenCallFinished(run.call.id, TokenCallReport(result: result, sentAt: run.sentAt))]
        }
    }

    /// The secret to try after a refused one: each once, in their order, one in a call; nil: all were refused.
    private func secretAfter(_ index: Int, tried: Int, problem: ProviderProblem) -> Int? {
        let meaning = settings.meaning(ofCode: problem.code, status: problem.status)
        guard meaning == "invalid_client", tried < settings.clientSecrets.count else { return nil }
        return (index + 1) % settings.clientSecrets.count
    }

    private mutating func tokenReplyReceived(
        _ outcome: ProviderOutcome, call: TokenCall, sentAt: Moment, secret: Int, tried: Int, now: Moment
    ) -> [ProviderAction] {
        let result = TokenReply.read(
            outcome, settings: settings, now: now, hiding: call.kind.secrets + settings.clientSecrets, call: call)
        switch result {
        case .success(let tokens):
            secretIndex = secret
            guard call.followsConsent, !settings.lookups.isEmpty else { break }
            var run = LookupRun(call: call, tokens: tokens, sentAt: sentAt)
            let step = run.step(settings)
            return follow(step, run)
        case .failure(let problem):
            if let next = secretAfter(secret, tried: tried, problem: problem),
                let place = try? place(of: .token(call))
            {
                let again = sendToken(call, place, secret: next, tried: tried + 1, now: now)
                return [.note(.secretRefused(index: secret)), again]
            }
        }
        return [.tokenCallFinished(call.id, TokenCallReport(result: result, sentAt: sentAt))]
    }

    private mutating func revocationReplyReceived(
        _ outcome: ProviderOutcome, call: RevocationCall, secret: Int, tried: Int, now: Moment
    ) -> [ProviderAction] {
        let result = RevocationReply.read(
            outcome, settings: settings, now: now, hiding: [call.token] + settings.clientSecrets)
        if case .failed(let problem) = result,
            let next = secretAfter(secret, tried: tried, problem: problem),
            let place = try? place(of: .revocation(call))
        {
            return [.note(.secretRefused(index: secret))] + sendRevocation(call, place, secret: next, tried: tried + 1)
        }
        return [.revocationCallFinished(call.id, result)]
    }
}

extension TokenCall.Kind {
    /// What a provider might repeat in its answer.
    fileprivate var secrets: [Secret] {
        switch self {
        case .refresh(let token, _): [token]
        case .code(let code, let verifier, _, _): [code] + (verifier.map { [$0] } ?? [])
        }
    }
}
