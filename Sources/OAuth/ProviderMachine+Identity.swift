import OpenSSLKit

/// Tokens that came, with an id_token that is not checked yet.
struct Unchecked: Sendable {
    var call: TokenCall
    var sentAt: Moment
    var tokens: TokenSet
    var identity: IdentityExpectation
    var idToken: ReceivedToken
    /// The key set was fetched for it.
    var hasFetchedKeys = false
}

/// The id_token of new tokens (OpenID Connect Core section 3.1.3): checked before anybody hears of the tokens.
extension ProviderMachine {
    mutating func identify(_ received: TokenSet, _ flight: TokenFlight, now: Moment) -> [ProviderAction] {
        let call = flight.call
        var tokens = received
        let idToken = tokens.idToken
        tokens.idToken = nil
        guard let identity = call.identity, settings.checkIDToken,
            let endpoints = try? place(of: .token(call))?.endpoints
        else {
            return identified(tokens, call, sentAt: flight.sentAt, now: now)
        }
        let check = IDTokenCheck(settings: settings, endpoints: endpoints, expectation: identity)
        do throws(IDTokenFault) {
            guard call.kind.beginsGrant else {
                if let idToken { try check.checkRefreshed(idToken) }
                return identified(tokens, call, sentAt: flight.sentAt, now: now)
            }
            guard let idToken else {
                // A server that says that it did not grant openid owes none.
                let isOwed = tokens.scopes?.contains("openid") ?? true
                guard isOwed else { return identified(tokens, call, sentAt: flight.sentAt, now: now) }
                throw .missing
            }
            guard let read = ReceivedToken(idToken) else { throw .malformed }
            let unchecked = Unchecked(
                call: call, sentAt: flight.sentAt, tokens: tokens, identity: identity, idToken: read)
            return self.check(unchecked, now: now)
        } catch {
            return refuse(tokens, call, error.problem, sentAt: flight.sentAt, now: now)
        }
    }

    mutating func check(_ unchecked: Unchecked, now: Moment) -> [ProviderAction] {
        guard let endpoints = try? place(of: .identity(unchecked))?.endpoints else {
            return refuse(unchecked, IDTokenFault.unknownKey.problem, now: now)
        }
        let check = IDTokenCheck(settings: settings, endpoints: endpoints, expectation: unchecked.identity)
        do throws(IDTokenFault) {
            let algorithm = try check.algorithm(of: unchecked.idToken)
            guard let url = endpoints.keySet else { return try checkWithoutKeys(unchecked, check, now: now) }
            var step = keySet.keysNeeded(
                algorithm, keyID: unchecked.idToken.keyID, url: url, userAgent: settings.userAgent,
                hasFetched: unchecked.hasFetchedKeys, now: now)
            if case .keys(let keys) = step {
                if keys.contains(where: { unchecked.idToken.isSigned(by: $0.key, algorithm: algorithm) }) {
                    return try believed(unchecked, check, now: now)
                }
                // A provider that does not name its keys may have changed them.
                guard unchecked.idToken.keyID == nil, !unchecked.hasFetchedKeys else { throw .signature }
                step = keySet.keysNeeded(
                    algorithm, keyID: nil, url: url, userAgent: settings.userAgent, isStale: true, now: now)
                if case .unknownKey = step { throw .signature }
            }
            return try wait(for: step, unchecked, now: now)
        } catch {
            return refuse(unchecked, error.problem, now: now)
        }
    }

    private mutating func wait(
        for step: KeySetMachine.Step, _ unchecked: Unchecked, now: Moment
    ) throws(IDTokenFault) -> [ProviderAction] {
        var unchecked = unchecked
        switch step {
        case .fetch(let request):
            unchecked.hasFetchedKeys = true
            self.unchecked.append(unchecked)
            return [send(request, .keySet)]
        case .wait:
            self.unchecked.append(unchecked)
            return []
        case .keys, .unknownKey: throw .unknownKey
        case .failed(let problem): return refuse(unchecked, problem, now: now)
        }
    }

    /// Nobody has said where the keys are. With an issuer the metadata is asked; a provider that has none vouches for the
    /// token by TLS, for it came from its own token endpoint (OpenID Connect Core section 3.1.3.7, point 6).
    private mutating func checkWithoutKeys(
        _ unchecked: Unchecked, _ check: IDTokenCheck, now: Moment
    ) throws(IDTokenFault) -> [ProviderAction] {
        guard settings.issuer != nil, discovery?.metadata == nil else {
            return try believed(unchecked, check, now: now)
        }
        if discovery == nil { discovery = DiscoveryMachine(settings: settings, needsAll: true) }
        let step = discovery?.metadataNeeded(now: now)
        waiting.append(.identity(unchecked))
        return follow(step, now: now)
    }

    private mutating func believed(
        _ unchecked: Unchecked, _ check: IDTokenCheck, now: Moment
    ) throws(IDTokenFault) -> [ProviderAction] {
        var tokens = unchecked.tokens
        if let account = try check.account(in: unchecked.idToken, now: now) { tokens.account = account }
        return identified(tokens, unchecked.call, sentAt: unchecked.sentAt, now: now)
    }

    mutating func keySetReceived(_ outcome: ProviderOutcome, now: Moment) -> [ProviderAction] {
        keySet.replyReceived(outcome, now: now)
        let work = unchecked
        unchecked = []
        return work.flatMap { check($0, now: now) }
    }

    /// The id_token is good, or none was to be checked.
    mutating func identified(_ tokens: TokenSet, _ call: TokenCall, sentAt: Moment, now: Moment) -> [ProviderAction] {
        lookUp(tokens, call, sentAt: sentAt, now: now)
    }

    mutating func refuse(_ unchecked: Unchecked, _ problem: ProviderProblem, now: Moment) -> [ProviderAction] {
        refuse(unchecked.tokens, unchecked.call, problem, sentAt: unchecked.sentAt, now: now)
    }

    private mutating func refuse(
        _ tokens: TokenSet, _ call: TokenCall, _ problem: ProviderProblem, sentAt: Moment, now: Moment
    ) -> [ProviderAction] {
        let end = [.note(.identityRefused(problem))] + finish(call, .failure(problem), sentAt: sentAt)
        // What a refresh brought belongs to a grant that lives on.
        return call.kind.beginsGrant ? end + revokeUnattended(tokens, of: call, now: now) : end
    }
}
