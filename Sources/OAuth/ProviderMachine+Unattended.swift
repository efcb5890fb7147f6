import OpenSSLKit

/// Grants where no browser is there: what their requests need, and the request for a device's code.
extension ProviderMachine {
    /// Signs a new assertion for each request, also where only the client secret is another: a provider takes each jti
    /// once (RFC 7523 section 3).
    func material(
        for call: TokenCall, endpoints: ProviderEndpoints, now: Moment
    ) -> Result<UnattendedMaterial, ProviderProblem> {
        switch call.kind {
        case .refresh, .code, .deviceCode, .unattended(.clientCredentials, _): return .success(.init())
        case .unattended(.jwtBearer(let claims), let scopes):
            return assertion(claims, scopes: scopes, endpoints: endpoints, now: now).map { .init(assertion: $0) }
        case .unattended(.tokenExchange(let exchange), _):
            guard let subject = call.subjectToken, exchange.actor == nil || call.actorToken != nil else {
                let missing = call.subjectToken == nil ? "subject" : "actor"
                return .failure(
                    ProviderProblem(
                        .transient, code: "no_subject_token",
                        detail: "The \(missing) token for the exchange could not be had."))
            }
            return .success(.init(subjectToken: subject, actorToken: call.actorToken))
        }
    }

    private func assertion(
        _ claims: AssertionClaims, scopes: [String], endpoints: ProviderEndpoints, now: Moment
    ) -> Result<Secret, ProviderProblem> {
        guard let key = claims.key else {
            return .failure(
                ProviderProblem(.configuration, code: "no_assertion", detail: "There is no key to sign the assertion."))
        }
        let asClaim = claims.scopePlace != .parameter && !scopes.isEmpty
        do throws(KeyError) {
            return .success(
                try Assertion.make(
                    claims, issuer: claims.issuer ?? settings.clientID,
                    audience: claims.audience ?? endpoints.token.description,
                    scope: asClaim ? scopes.joined(separator: settings.scopeSeparator) : nil, id: random(16),
                    key: key, now: now))
        } catch {
            return .failure(
                ProviderProblem(
                    .configuration, code: "no_assertion",
                    detail: "The assertion could not be signed: \(error)."))
        }
    }
}

/// A request for a device's code.
struct DeviceCall: Sendable, Equatable {
    var id: CallID
    var scopes: [String]
}

extension ProviderMachine {
    /// Asks for a device's code (RFC 8628 section 3.1); answered by `deviceAuthorizationFinished`.
    package mutating func deviceAuthorizationNeeded(_ id: CallID, scopes: [String], now: Moment) -> [ProviderAction] {
        begin(.device(DeviceCall(id: id, scopes: scopes)), now: now)
    }

    mutating func sendDevice(
        _ call: DeviceCall, endpoints: ProviderEndpoints, secret: Int, tried: Int
    ) -> [ProviderAction] {
        guard let url = endpoints.device else {
            return [.deviceAuthorizationFinished(call.id, .failure(.noEndpoint("device authorization")))]
        }
        let requests = TokenRequests(settings: settings, endpoints: endpoints, secretIndex: secret)
        let request = requests.deviceAuthorization(scopes: call.scopes, url: url)
        return [send(request, .device(call, secret: secret, tried: tried))]
    }

    mutating func deviceReplyReceived(
        _ outcome: ProviderOutcome, call: DeviceCall, secret: Int, tried: Int, now: Moment
    ) -> [ProviderAction] {
        let result = DeviceAuthorization.read(outcome, settings: settings, now: now, hiding: settings.clientSecrets)
        switch result {
        case .success: secretWorked(secret)
        case .failure(let problem):
            if let next = secretAfter(secret, tried: tried, problem: problem), let endpoints {
                return [.note(.secretRefused(index: secret))]
                    + sendDevice(call, endpoints: endpoints, secret: next, tried: tried + 1)
            }
        }
        return [.deviceAuthorizationFinished(call.id, result)]
    }
}

extension ProviderProblem {
    static func noEndpoint(_ name: String) -> ProviderProblem {
        ProviderProblem(
            .configuration, code: "no_endpoints",
            detail: "The \(name) endpoint is neither configured nor in the provider's metadata.")
    }
}
