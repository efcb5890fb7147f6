import OpenSSLKit

/// Grants where no browser is there: what their requests need, and the request for a device's code.
extension ProviderMachine {
    /// Signs a new assertion for each request, also where only the client secret is another: a provider takes each jti
    /// once (RFC 7523 section 3).
    func material(
        for call: TokenCall, _ place: Place, now: Moment
    ) throws(ProviderProblem) -> UnattendedMaterial {
        switch call.kind {
        case .refresh, .code, .deviceCode, .unattended(.clientCredentials, _): return UnattendedMaterial()
        case .unattended(.jwtBearer(let claims), let scopes):
            return UnattendedMaterial(assertion: try assertion(claims, scopes: scopes, place.endpoints, now: now))
        case .unattended(.tokenExchange(let exchange), _):
            guard let subject = call.subjectToken, exchange.actor == nil || call.actorToken != nil else {
                let isSubject = call.subjectToken == nil
                let source = isSubject ? exchange.subject : exchange.actor
                throw ProviderProblem(
                    .transient, code: ProviderProblem.noSubjectToken,
                    detail: "The \(isSubject ? "subject" : "actor") token for the exchange could not be had"
                        + (source.map { " from \($0.words)." } ?? "."))
            }
            return UnattendedMaterial(subjectToken: subject, actorToken: call.actorToken)
        }
    }

    private func assertion(
        _ claims: AssertionClaims, scopes: [String], _ endpoints: ProviderEndpoints, now: Moment
    ) throws(ProviderProblem) -> Secret {
        guard let key = claims.key else {
            throw ProviderProblem(
                .configuration, code: "no_assertion", detail: "There is no key to sign the assertion.")
        }
        let asClaim = claims.scopePlace != .parameter && !scopes.isEmpty
        do throws(KeyError) {
            return try Assertion.make(
                claims, issuer: claims.issuer ?? settings.clientID,
                audience: claims.audience ?? endpoints.token.description,
                scope: asClaim ? scopes.joined(separator: settings.scopeSeparator) : nil, id: random(16), key: key,
                now: now)
        } catch {
            throw ProviderProblem(
                .configuration, code: "no_assertion", detail: "The assertion could not be signed: \(error).")
        }
    }
}

extension TokenExchange.Source {
    /// For an operator, who must find it.
    fileprivate var words: String {
        switch self {
        case .file(let path): "the file \(path): it must be there, be closed to other users and hold one token"
        case .grant(let name): "the grant \(name), which has none that is valid now"
        }
    }
}

/// A request for a device's code.
struct DeviceCall: Sendable, Equatable {
    var id: CallID
    var scopes: [String]
    /// The grant's, for templates.
    var variables: [String: String] = [:]
}

extension ProviderMachine {
    /// Asks for a device's code (RFC 8628 section 3.1); answered by `deviceAuthorizationFinished`.
    package mutating func deviceAuthorizationNeeded(
        _ id: CallID, scopes: [String], variables: [String: String] = [:], now: Moment
    ) -> [ProviderAction] {
        begin(.device(DeviceCall(id: id, scopes: scopes, variables: variables)), now: now)
    }

    mutating func sendDevice(_ call: DeviceCall, _ place: Place, _ attempt: Attempt, now: Moment) -> [ProviderAction] {
        guard let url = place.endpoints.device else {
            return [.deviceAuthorizationFinished(call.id, .failure(.noEndpoint("device authorization")))]
        }
        do throws(ProviderProblem) {
            let requests = requests(place, attempt, now: now)
            let request = try requests.deviceAuthorization(scopes: call.scopes, url: url)
            return [send(request, .device(call, attempt))]
        } catch {
            return [.deviceAuthorizationFinished(call.id, .failure(error))]
        }
    }

    mutating func deviceReplyReceived(
        _ outcome: ProviderOutcome, _ call: DeviceCall, _ attempt: Attempt, now: Moment
    ) -> [ProviderAction] {
        let result = DeviceAuthorization.read(outcome, settings: settings, now: now, hiding: settings.clientSecrets)
        switch result {
        case .success: worked(attempt)
        case .failure(let problem):
            if let place = try? place(of: .device(call)),
                let next = self.attempt(after: attempt, problem, method: place.endpoints.tokenAuthentication)
            {
                return [.note(.secretRefused(index: attempt.credential))] + sendDevice(call, place, next, now: now)
            }
        }
        return [.deviceAuthorizationFinished(call.id, result)]
    }
}

extension ProviderEndpoints {
    func suffice(for work: ProviderMachine.Work) -> Bool {
        switch work {
        case .endpoints: authorization != nil
        case .token, .revocation, .push, .identity: true
        case .device: device != nil
        }
    }
}

extension ProviderProblem {
    /// Nothing was sent.
    static let noSubjectToken = "no_subject_token"

    static func noEndpoint(_ name: String) -> ProviderProblem {
        ProviderProblem(
            .configuration, code: "no_endpoints",
            detail: "The \(name) endpoint is neither configured nor in the provider's metadata.")
    }
}
