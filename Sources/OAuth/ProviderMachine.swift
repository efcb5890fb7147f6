import OpenSSLKit

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
    /// To whoever called `pushNeeded`.
    case pushFinished(CallID, Result<PushedRequest, ProviderProblem>)
    /// To the DeviceMachine that owns the call.
    case deviceAuthorizationFinished(CallID, Result<DeviceAuthorization, ProviderProblem>)
    case note(ProviderFact)
}

/// Facts for logs and metrics; none holds a secret.
package enum ProviderFact: Sendable, Equatable {
    case metadataFound
    case discoveryFailed(ProviderProblem)
    /// The client secret (or the client key, where keys are used) at this place in the configuration was refused and the
    /// next is tried.
    case secretRefused(index: Int)
    /// A refresh of this grant brought a value that is not allowed; the one from before stays.
    case captureRefused(CallID.Owner, ProviderProblem)
    /// New tokens are not used, because of their id_token; they are revoked where that is possible.
    case identityRefused(ProviderProblem)
}

/// One per provider, shared by its grants: discovery, client authentication, requests and replies.
///
/// Sans-IO: each method is one event and returns what the driver must do. It has no timer of its own; randomness comes
/// from the function that it is made with.
package struct ProviderMachine: Sendable {
    enum Work: Sendable {
        /// With the grant's variables, for templates.
        case endpoints(CallID, [String: String])
        case token(TokenCall)
        case revocation(RevocationCall)
        case device(DeviceCall)
        case push(PushCall)
        /// Tokens that came with an id_token, which waits for keys.
        case identity(Unchecked)
    }

    enum Flight: Sendable {
        case metadata
        case keySet
        case token(TokenFlight)
        case revocation(RevocationCall, Attempt)
        case device(DeviceCall, Attempt)
        case lookup(LookupRun)
        case push(PushCall, Attempt)
        /// Nobody waits for its end.
        case unattended
    }

    /// Which of the client's credentials a request carries, and what was tried before it.
    struct Attempt: Sendable {
        var credential: Int
        /// Credentials that were tried in this call, this one included.
        var tried = 1
        /// `credentialEpoch` when the credential was picked: an index into another list means nothing.
        var epoch: Int
        /// This is the repetition with the server's nonce (RFC 9449 section 8): there is no second one.
        var hasRepeatedForNonce = false
    }

    struct TokenFlight: Sendable {
        var call: TokenCall
        /// As they were when it was sent.
        var clientID: String
        var issuer: String?
        var sentAt: Moment
        var attempt: Attempt
        var proofKey: ProofKey?
        var url: ProviderURL
    }

    /// An authorization request to be pushed.
    struct PushCall: Sendable {
        var id: CallID
        var parameters: [ProviderSettings.Parameter]
    }

    /// The settings and endpoints as one grant has them: without templates.
    struct Place: Sendable {
        var settings: ProviderSettings
        var endpoints: ProviderEndpoints
    }

    package internal(set) var settings: ProviderSettings
    var discovery: DiscoveryMachine?
    var keySet = KeySetMachine()
    var waiting: [Work] = []
    var unchecked: [Unchecked] = []
    private var flights: [RequestID: Flight] = [:]
    private var nextRequest: UInt64 = 1
    /// The secret or key that worked last (pains 34).
    var credentialIndex = 0
    /// Grows when the lists of secrets and keys change.
    var credentialEpoch = 0
    var nonces = ProofNonces()
    let random: @Sendable (Int) -> [UInt8]

    /// - Parameter random: as many octets of the system's generator as it is asked for, unpredictable and never the same:
    ///   "jti" of assertions and proofs, and proof keys, are made of them.
    package init(
        settings: ProviderSettings, random: @escaping @Sendable (Int) -> [UInt8] = { RandomBytes.bytes($0) }
    ) {
        self.settings = settings
        self.random = random
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

    /// An authorization request is to be pushed (RFC 9126): `ConsentStart.pushed`. Answered by `pushFinished`; it is not
    /// repeated, a person who waits can start again.
    ///
    /// `dpop_jkt` among the parameters binds the code to the consent's key (RFC 9449 section 10.1). No proof goes beside
    /// it: a server must take either, and glewlwyd refuses the proof.
    package mutating func pushNeeded(
        _ id: CallID, _ parameters: [ProviderSettings.Parameter], now: Moment
    ) -> [ProviderAction] {
        begin(.push(PushCall(id: id, parameters: parameters)), now: now)
    }

    /// A reload. Calls in flight end as they began; what is known of another issuer is forgotten.
    package mutating func settingsChanged(_ new: ProviderSettings, now: Moment) -> [ProviderAction] {
        let old = settings
        settings = new
        if old.clientSecrets != new.clientSecrets || old.clientKeys != new.clientKeys
            || old.clientAuthentication != new.clientAuthentication
        {
            // The order of the new list is the operator's wish.
            credentialIndex = 0
            credentialEpoch += 1
        }
        let samePlace =
            old.issuer == new.issuer && old.discovery == new.discovery
            && old.authorizationEndpoint == new.authorizationEndpoint && old.tokenEndpoint == new.tokenEndpoint
            && old.knowsAuthorizationEndpoint == new.knowsAuthorizationEndpoint
            && old.knowsTokenEndpoint == new.knowsTokenEndpoint
            && old.knowsRevocationEndpoint == new.knowsRevocationEndpoint
            && old.allowPlaintextOnLoopback == new.allowPlaintextOnLoopback && old.userAgent == new.userAgent
            && old.metadataLifetime == new.metadataLifetime && old.jwksEndpoint == new.jwksEndpoint
            && old.presentsCertificate == new.presentsCertificate && old.pushedRequests == new.pushedRequests
            && old.pushedRequestEndpoint == new.pushedRequestEndpoint
        let overruled = old.clientID == new.clientID && old.issuer == new.issuer ? [] : overruleWaitingCodes(now: now)
        guard !samePlace else { return overruled }
        flights = flights.filter {
            switch $0.value {
            case .metadata, .keySet: false
            case .token, .revocation, .device, .lookup, .push, .unattended: true
            }
        }
        discovery = DiscoveryMachine(settings: new)
        keySet = KeySetMachine()
        let work =
            waiting
            + unchecked.map { old -> Work in
                // What was fetched for it was another set.
                var again = old
                again.hasFetchedKeys = false
                return .identity(again)
            }
        waiting = []
        unchecked = []
        return overruled + work.flatMap { begin($0, now: now) }
    }

    /// Codes of another client, or of another server, that still wait for metadata.
    private mutating func overruleWaitingCodes(now: Moment) -> [ProviderAction] {
        let all = waiting
        waiting = []
        var actions: [ProviderAction] = []
        for work in all {
            if case .token(let call) = work, case .code = call.kind {
                actions += fail(work, .configurationChanged, now: now)
            } else {
                waiting.append(work)
            }
        }
        return actions
    }

    /// Whether a consent that was begun earlier is this provider's as it is now: the same client at the same server. The
    /// code goes to the endpoint of then with the secret of now, and these two must be one server's.
    package func isOrigin(of pending: PendingConsent) -> Bool {
        guard pending.provider == settings.name, pending.issuer == settings.issuer else { return false }
        if let clientID = pending.clientID, clientID != settings.clientID { return false }
        // Endpoints that are discovered are the issuer's affair.
        guard settings.knowsTokenEndpoint else { return true }
        if let template = pending.capture?.tokenEndpoint { return template == settings.tokenEndpointTemplate }
        let variables = pending.capture?.variables.grant ?? [:]
        return (try? settings.resolved(variables, for: .consent))?.tokenEndpoint == pending.tokenEndpoint
    }

    /// Answers for unknown requests are dropped.
    package mutating func replyReceived(
        _ id: RequestID, _ outcome: ProviderOutcome, now: Moment
    ) -> [ProviderAction] {
        switch flights.removeValue(forKey: id) {
        case nil, .unattended: []
        case .metadata: metadataReceived(outcome, now: now)
        case .keySet: keySetReceived(outcome, now: now)
        case .token(let flight): tokenReplyReceived(outcome, flight, now: now)
        case .revocation(let call, let attempt): revocationReplyReceived(outcome, call, attempt, now: now)
        case .device(let call, let attempt): deviceReplyReceived(outcome, call, attempt, now: now)
        case .lookup(let run): lookupReplyReceived(outcome, run, now: now)
        case .push(let call, let attempt): pushReplyReceived(outcome, call, attempt, now: now)
        }
    }

    mutating func send(_ request: ProviderRequest, _ flight: Flight) -> ProviderAction {
        let id = RequestID(number: nextRequest)
        nextRequest += 1
        flights[id] = flight
        var request = request
        request.mustBePublic = settings.isHostOpen(request)
        return .send(id, request, deadline: settings.callDeadline)
    }
}

// MARK: - Work and discovery

extension ProviderMachine {
    mutating func begin(_ work: Work, now: Moment) -> [ProviderAction] {
        let step = discovery?.metadataNeeded(now: now)
        // Metadata that is only old goes on serving while a new copy is fetched.
        do throws(TemplateProblem) {
            if let place = try place(of: work), !mustWait(work, place) {
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

    /// The endpoints may be given and what else is needed may still be on its way with the metadata.
    private func mustWait(_ work: Work, _ place: Place) -> Bool {
        guard let discovery, discovery.metadata == nil, discovery.isFetching else { return false }
        return switch work {
        case .endpoints, .push: true
        // How the client authenticates may be in it too.
        case .token: settings.presentsCertificate || !settings.knowsAuthorizationEndpoint
        case .device: place.endpoints.device == nil
        case .revocation: place.endpoints.revocation == nil && settings.revocation.url == nil
        case .identity: false
        }
    }

    /// The settings and endpoints for one grant; nil: metadata is needed first.
    func place(
        _ variables: [String: String], for use: ProviderSettings.EndpointUse
    ) throws(TemplateProblem) -> Place? {
        let resolved = try settings.resolved(variables, for: use)
        guard let endpoints = ProviderEndpoints(settings: resolved, metadata: discovery?.metadata) else { return nil }
        return Place(settings: resolved, endpoints: endpoints)
    }

    func place(of work: Work) throws(TemplateProblem) -> Place? {
        switch work {
        case .endpoints(_, let variables): try place(variables, for: .consent)
        case .token(let call): try place(call.variables, for: .token)
        case .revocation(let call): try place(call.variables, for: .revocation)
        case .device(let call): try place(call.variables, for: .token)
        case .push: try place([:], for: .revocation)
        case .identity(let unchecked): try place(unchecked.call.variables, for: .token)
        }
    }

    private mutating func metadataReceived(_ outcome: ProviderOutcome, now: Moment) -> [ProviderAction] {
        follow(discovery?.replyReceived(outcome, now: now), now: now)
    }

    mutating func follow(_ step: DiscoveryMachine.Step?, now: Moment) -> [ProviderAction] {
        switch step {
        case nil: return []
        case .fetch(let request): return [send(request, .metadata)]
        case .found:
            return [.note(.metadataFound)] + takeWaiting().flatMap { begin($0, now: now) }
        case .failed(let problem):
            let work = takeWaiting()
            return [.note(.discoveryFailed(problem))] + work.flatMap { giveUp($0, problem, now: now) }
        }
    }

    private mutating func takeWaiting() -> [Work] {
        defer { waiting = [] }
        return waiting
    }

    /// What waited only for the rest of the metadata goes on without, where the endpoints are known: client credentials,
    /// say, need no more than a token endpoint.
    private mutating func giveUp(_ work: Work, _ problem: ProviderProblem, now: Moment) -> [ProviderAction] {
        if case .identity = work { return fail(work, problem, now: now) }
        guard let place = try? place(of: work), place.endpoints.suffice(for: work) else {
            return fail(work, problem, now: now)
        }
        return perform(work, place, now: now)
    }

    mutating func fail(_ work: Work, _ problem: ProviderProblem, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id, _): [.endpointsUnavailable(id, problem)]
        case .token(let call): [.tokenCallFinished(call.id, TokenCallReport(result: .failure(problem), sentAt: now))]
        case .revocation(let call): [.revocationCallFinished(call.id, .failed(problem))]
        case .device(let call): [.deviceAuthorizationFinished(call.id, .failure(problem))]
        case .push(let call): [.pushFinished(call.id, .failure(problem))]
        case .identity(let unchecked): refuse(unchecked, problem, now: now)
        }
    }

    private mutating func perform(_ work: Work, _ place: Place, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id, _):
            place.endpoints.authorization == nil
                ? [.endpointsUnavailable(id, .noEndpoint("authorization"))] : [.endpointsReady(id, place.endpoints)]
        case .token(let call): sendToken(call, place, firstAttempt, now: now)
        case .revocation(let call): sendRevocation(call, place, firstAttempt, now: now)
        case .device(let call): sendDevice(call, place, firstAttempt, now: now)
        case .push(let call): sendPush(call, place, firstAttempt, now: now)
        case .identity(let unchecked): check(unchecked, now: now)
        }
    }

    private var firstAttempt: Attempt {
        Attempt(credential: credentialIndex, epoch: credentialEpoch)
    }
}
