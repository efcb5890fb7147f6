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
    case note(ProviderFact)
    /// To the DeviceMachine that owns the call.
    case deviceAuthorizationFinished(CallID, Result<DeviceAuthorization, ProviderProblem>)
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
    enum Work: Sendable {
        case endpoints(CallID)
        case token(TokenCall)
        case revocation(RevocationCall)
        case device(DeviceCall)
    }

    enum Flight: Sendable {
        case metadata
        case token(TokenCall, sentAt: Moment, secret: Int, tried: Int)
        case revocation(RevocationCall, secret: Int, tried: Int)
        case device(DeviceCall, secret: Int, tried: Int)
    }

    package private(set) var settings: ProviderSettings
    private var discovery: DiscoveryMachine?
    private var waiting: [Work] = []
    private var flights: [RequestID: Flight] = [:]
    private var nextRequest: UInt64 = 1
    /// The secret that worked last (pains 34).
    private(set) var secretIndex = 0
    let random: @Sendable (Int) -> [UInt8]

    /// With the system's generator.
    package init(settings: ProviderSettings) {
        self.init(settings: settings, random: RandomBytes.bytes)
    }

    /// - Parameter random: that many bytes from the system's generator; it must not fail.
    package init(settings: ProviderSettings, random: @escaping @Sendable (Int) -> [UInt8]) {
        self.settings = settings
        self.random = random
        discovery = DiscoveryMachine(settings: settings)
    }

    /// The endpoints as known now, without asking anybody.
    package var endpoints: ProviderEndpoints? {
        ProviderEndpoints(settings: settings, metadata: discovery?.metadata)
    }

    package mutating func endpointsNeeded(_ id: CallID, now: Moment) -> [ProviderAction] {
        begin(.endpoints(id), now: now)
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
        case .token(let call, let sentAt, let secret, let tried):
            tokenReplyReceived(outcome, call: call, sentAt: sentAt, secret: secret, tried: tried, now: now)
        case .revocation(let call, let secret, let tried):
            revocationReplyReceived(outcome, call: call, secret: secret, tried: tried, now: now)
        case .device(let call, let secret, let tried):
            deviceReplyReceived(outcome, call: call, secret: secret, tried: tried, now: now)
        }
    }

    mutating func secretWorked(_ index: Int) {
        secretIndex = index
    }
}

// MARK: - Work and discovery

extension ProviderMachine {
    mutating func begin(_ work: Work, now: Moment) -> [ProviderAction] {
        let step = discovery?.metadataNeeded(now: now)
        // Metadata that is only old goes on serving while a new copy is fetched.
        if let endpoints, isComplete {
            return follow(step, now: now) + perform(work, endpoints: endpoints, now: now)
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

    /// Nothing more can be learned of the endpoints, or nothing more is needed.
    private var isComplete: Bool {
        discovery == nil || discovery?.metadata != nil
            || settings.authorizationEndpoint != nil && settings.tokenEndpoint != nil
    }

    private mutating func metadataReceived(_ outcome: ProviderOutcome, now: Moment) -> [ProviderAction] {
        follow(discovery?.replyReceived(outcome, now: now), now: now)
    }

    private mutating func follow(_ step: DiscoveryMachine.Step?, now: Moment) -> [ProviderAction] {
        switch step {
        case nil: return []
        case .fetch(let request): return [send(request, .metadata)]
        case .found:
            guard let endpoints else { return [] }
            return [.note(.metadataFound)] + takeWaiting().flatMap { perform($0, endpoints: endpoints, now: now) }
        case .failed(let problem):
            // What is configured does for some work: client credentials need no more than a token endpoint.
            let endpoints = endpoints
            return [.note(.discoveryFailed(problem))]
                + takeWaiting().flatMap { work in
                    guard let endpoints, endpoints.suffice(for: work) else { return fail(work, problem, now: now) }
                    return perform(work, endpoints: endpoints, now: now)
                }
        }
    }

    private mutating func takeWaiting() -> [Work] {
        defer { waiting = [] }
        return waiting
    }

    func fail(_ work: Work, _ problem: ProviderProblem, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id): [.endpointsUnavailable(id, problem)]
        case .token(let call): [.tokenCallFinished(call.id, TokenCallReport(result: .failure(problem), sentAt: now))]
        case .revocation(let call): [.revocationCallFinished(call.id, .failed(problem))]
        case .device(let call): [.deviceAuthorizationFinished(call.id, .failure(problem))]
        }
    }

    private mutating func perform(_ work: Work, endpoints: ProviderEndpoints, now: Moment) -> [ProviderAction] {
        switch work {
        case .endpoints(let id):
            guard endpoints.authorization != nil else {
                return [.endpointsUnavailable(id, .noEndpoint("authorization"))]
            }
            return [.endpointsReady(id, endpoints)]
        case .token(let call):
            return sendToken(call, endpoints: endpoints, secret: secretIndex, tried: 1, now: now)
        case .revocation(let call):
            guard endpoints.revocation != nil else { return [.revocationCallFinished(call.id, .notSupported)] }
            return sendRevocation(call, endpoints: endpoints, secret: secretIndex, tried: 1)
        case .device(let call):
            return sendDevice(call, endpoints: endpoints, secret: secretIndex, tried: 1)
        }
    }

    mutating func send(_ request: ProviderRequest, _ flight: Flight) -> ProviderAction {
        let id = RequestID(number: nextRequest)
        nextRequest += 1
        flights[id] = flight
        return .send(id, request, deadline: settings.callDeadline)
    }
}

// MARK: - Token and revocation calls

extension ProviderMachine {
    private mutating func sendToken(
        _ call: TokenCall, endpoints: ProviderEndpoints, secret: Int, tried: Int, now: Moment
    ) -> [ProviderAction] {
        let requests = TokenRequests(settings: settings, endpoints: endpoints, secretIndex: secret)
        switch material(for: call, endpoints: endpoints, now: now) {
        case .failure(let problem): return fail(.token(call), problem, now: now)
        case .success(let material):
            let request = requests.request(for: call.kind, material)
            return [send(request, .token(call, sentAt: now, secret: secret, tried: tried))]
        }
    }

    private mutating func sendRevocation(
        _ call: RevocationCall, endpoints: ProviderEndpoints, secret: Int, tried: Int
    ) -> [ProviderAction] {
        guard let url = endpoints.revocation else { return [.revocationCallFinished(call.id, .notSupported)] }
        let requests = TokenRequests(settings: settings, endpoints: endpoints, secretIndex: secret)
        let request = requests.revocation(call.token, hint: call.hint, url: url)
        return [send(request, .revocation(call, secret: secret, tried: tried))]
    }

    /// The secret to try after a refused one: each once, in their order, one in a call; nil: all were refused.
    func secretAfter(_ index: Int, tried: Int, problem: ProviderProblem) -> Int? {
        let meaning = settings.errorAliases[problem.code] ?? problem.code
        guard meaning == "invalid_client", tried < settings.clientSecrets.count else { return nil }
        return (index + 1) % settings.clientSecrets.count
    }

    private mutating func tokenReplyReceived(
        _ outcome: ProviderOutcome, call: TokenCall, sentAt: Moment, secret: Int, tried: Int, now: Moment
    ) -> [ProviderAction] {
        let result = UnattendedReply.judge(
            TokenReply.read(
                outcome, settings: settings, now: now, hiding: call.secrets + settings.clientSecrets,
                acceptsUntypedToken: call.kind.acceptsUntypedToken),
            of: call.kind, outcome, settings: settings, now: now)
        switch result {
        case .success: secretWorked(secret)
        case .failure(let problem):
            if let next = secretAfter(secret, tried: tried, problem: problem), let endpoints {
                return [.note(.secretRefused(index: secret))]
                    + sendToken(call, endpoints: endpoints, secret: next, tried: tried + 1, now: now)
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
            let next = secretAfter(secret, tried: tried, problem: problem), let endpoints
        {
            return [.note(.secretRefused(index: secret))]
                + sendRevocation(call, endpoints: endpoints, secret: next, tried: tried + 1)
        }
        return [.revocationCallFinished(call.id, result)]
    }
}

/// Reads replies of the revocation endpoint (RFC 7009 section 2.2).
enum RevocationReply {
    static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, hiding secrets: [Secret] = []
    ) -> RevocationCallResult {
        switch outcome {
        case .failure(let failure): return .failed(ProviderProblem(failure))
        case .success(let reply):
            let fields = ReplyFields(reply)
            let code = fields?.errorCode(settings)
            switch (reply.status, code.map { settings.errorAliases[$0] ?? $0 }) {
            case (200..<300, nil): return .revoked
            // Google answers 400 invalid_token for a token that is revoked already.
            case (200..<500, "invalid_token"), (200..<500, "invalid_grant"), (200..<500, "token_revoked"):
                return .alreadyInvalid
            case (200..<500, "unsupported_token_type"), (404, nil), (405, nil), (501, nil): return .notSupported
            default:
                return .failed(
                    ProviderProblem(reply, fields: fields, settings: settings, now: now, hiding: secrets))
            }
        }
    }
}

extension TokenCall {
    /// What a provider might repeat in its answer.
    fileprivate var secrets: [Secret] {
        switch kind {
        case .refresh(let token, _): [token]
        case .code(let code, let verifier, _, _): [code] + (verifier.map { [$0] } ?? [])
        case .unattended: [subjectToken, actorToken].compactMap { $0 }
        case .deviceCode(let code): [code]
        }
    }
}
