/// Token, revocation and pushed request calls: one credential of the client in each.
extension ProviderMachine {
    func requests(_ place: Place, _ attempt: Attempt, now: Moment) -> TokenRequests {
        TokenRequests(
            settings: place.settings, endpoints: place.endpoints, credential: attempt.credential, now: now,
            tokenID: newTokenID())
    }

    /// 128 random bits.
    private func newTokenID() -> String {
        Crypto.base64URL(random(16))
    }

    /// What to try after a refused credential: each once, in their order, one in a call; nil: all were refused, or the
    /// problem is another. Where a reload changed the list meanwhile, the new one is tried from its beginning.
    func attempt(
        after attempt: Attempt, _ problem: ProviderProblem, method: ClientAuthentication
    ) -> Attempt? {
        let meaning = settings.meaning(ofCode: problem.code, status: problem.status)
        let count = settings.credentialCount(method)
        guard meaning == "invalid_client", count > 0 else { return nil }
        var next = attempt
        guard attempt.epoch == credentialEpoch else {
            next.credential = credentialIndex
            next.epoch = credentialEpoch
            next.tried = 1
            return next
        }
        guard attempt.tried < count else { return nil }
        next.credential = (attempt.credential + 1) % count
        next.tried += 1
        return next
    }

    mutating func worked(_ attempt: Attempt) {
        if attempt.epoch == credentialEpoch { credentialIndex = attempt.credential }
    }

    // MARK: Tokens

    mutating func sendToken(
        _ call: TokenCall, _ place: Place, _ attempt: Attempt, now: Moment
    ) -> [ProviderAction] {
        do throws(ProviderProblem) {
            let material = try material(for: call, place, now: now)
            var request = try requests(place, attempt, now: now).request(for: call.kind, material)
            let proofKey = try proofKey(for: call, endpoints: place.endpoints)
            if let proofKey { request.headers.append(try proof(for: request, key: proofKey, now: now)) }
            let flight = TokenFlight(
                call: call, clientID: settings.clientID, issuer: settings.issuer, sentAt: now, attempt: attempt,
                proofKey: proofKey, url: request.url)
            return [send(request, .token(flight))]
        } catch {
            return [.tokenCallFinished(call.id, TokenCallReport(result: .failure(error), sentAt: now))]
        }
    }

    mutating func tokenReplyReceived(
        _ outcome: ProviderOutcome, _ flight: TokenFlight, now: Moment
    ) -> [ProviderAction] {
        let newNonce = flight.proofKey == nil ? nil : nonces.learn(outcome, from: flight.url)
        let result = UnattendedReply.judge(
            TokenReply.read(
                outcome, settings: settings, now: now, type: flight.proofKey == nil ? .bearer : .dpop,
                hiding: flight.call.secrets + settings.clientSecrets, call: flight.call),
            of: flight.call.kind, outcome, settings: settings, now: now)
        switch result {
        case .success(var tokens):
            worked(flight.attempt)
            if let key = flight.proofKey {
                tokens.tokenType = .dpop
                tokens.proofKey = Secret(key.encoded())
            }
            let refused = tokens.refusedCapture.map { ProviderAction.note(.captureRefused(flight.call.id.owner, $0)) }
            tokens.refusedCapture = nil
            return (refused.map { [$0] } ?? []) + identify(tokens, flight, now: now)
        case .failure(let problem):
            if let again = repetition(flight, problem, newNonce: newNonce, now: now) { return again }
            return finish(flight.call, .failure(problem), sentAt: flight.sentAt)
        }
    }

    private mutating func repetition(
        _ flight: TokenFlight, _ problem: ProviderProblem, newNonce: String?, now: Moment
    ) -> [ProviderAction]? {
        guard let place = try? place(of: .token(flight.call)), isSameServer(place, flight) else { return nil }
        // The key stays the same, also where it was made for this call.
        var call = flight.call
        call.proofKey = flight.proofKey.map { Secret($0.encoded()) } ?? call.proofKey
        if problem.code == "use_dpop_nonce", newNonce != nil, !flight.attempt.hasRepeatedForNonce {
            var attempt = flight.attempt
            attempt.hasRepeatedForNonce = true
            return sendToken(call, place, attempt, now: now)
        }
        if let next = attempt(after: flight.attempt, problem, method: place.endpoints.tokenAuthentication) {
            return [.note(.secretRefused(index: flight.attempt.credential))]
                + sendToken(call, place, next, now: now)
        }
        return nil
    }

    /// A reload may have put another client or another server under the provider's name: what was one's is not sent on to
    /// the other.
    private func isSameServer(_ place: Place, _ flight: TokenFlight) -> Bool {
        guard flight.clientID == settings.clientID, flight.issuer == settings.issuer else { return false }
        switch flight.call.kind {
        // Its endpoint came with the consent.
        case .code: return true
        case .refresh:
            return (place.settings.refreshEndpoint ?? place.endpoints.token).host == flight.url.host
        case .unattended, .deviceCode: return place.endpoints.token.host == flight.url.host
        }
    }

    /// The end of every token call.
    func finish(
        _ call: TokenCall, _ result: Result<TokenSet, ProviderProblem>, sentAt: Moment
    ) -> [ProviderAction] {
        [.tokenCallFinished(call.id, TokenCallReport(result: result, sentAt: sentAt))]
    }

    // MARK: Revocation

    mutating func sendRevocation(
        _ call: RevocationCall, _ place: Place, _ attempt: Attempt, now: Moment
    ) -> [ProviderAction] {
        let style = place.settings.revocation
        guard style.isSupported else { return [.revocationCallFinished(call.id, .notSupported)] }
        guard style.wants(call.hint) else {
            // Where the refresh token is the one that counts, a grant without one must not look revoked.
            return [.revocationCallFinished(call.id, call.hint == .refreshToken ? .notNeeded : .notSupported)]
        }
        do throws(ProviderProblem) {
            guard let request = try revocationRequest(call, place, attempt, now: now) else {
                return [.revocationCallFinished(call.id, .notSupported)]
            }
            return [send(request, .revocation(call, attempt))]
        } catch {
            return [.revocationCallFinished(call.id, .failed(error))]
        }
    }

    private func revocationRequest(
        _ call: RevocationCall, _ place: Place, _ attempt: Attempt, now: Moment
    ) throws(ProviderProblem) -> ProviderRequest? {
        let variables = place.settings.templateVariables(call.variables)
        return try requests(place, attempt, now: now).revocation(call, variables: variables)
    }

    mutating func revocationReplyReceived(
        _ outcome: ProviderOutcome, _ call: RevocationCall, _ attempt: Attempt, now: Moment
    ) -> [ProviderAction] {
        let result = RevocationReply.read(
            outcome, settings: settings, now: now, hiding: [call.token] + settings.clientSecrets)
        if case .failed(let problem) = result, let place = try? place(of: .revocation(call)),
            let next = self.attempt(after: attempt, problem, method: place.endpoints.revocationAuthentication)
        {
            return [.note(.secretRefused(index: attempt.credential))]
                + sendRevocation(call, place, next, now: now)
        }
        return [.revocationCallFinished(call.id, result)]
    }

    /// Tokens that are refused are not left alive at the provider, as far as that can be had without waiting for it.
    mutating func revokeUnattended(_ tokens: TokenSet, of call: TokenCall, now: Moment) -> [ProviderAction] {
        let attempt = Attempt(credential: credentialIndex, epoch: credentialEpoch)
        let variables = call.variables.merging(tokens.captured) { _, new in new }
        guard settings.revocation.isSupported, let owed = tokens.unwanted(at: settings) else { return [] }
        let revocation = RevocationCall(id: call.id, token: owed.token, hint: owed.hint, variables: variables)
        guard let place = try? place(of: .revocation(revocation)),
            let request = try? revocationRequest(revocation, place, attempt, now: now)
        else { return [] }
        return [send(request, .unattended)]
    }

    // MARK: Look-ups

    /// Look-ups come before anybody hears of the tokens, so that a consent is complete or fails.
    mutating func lookUp(_ tokens: TokenSet, _ call: TokenCall, sentAt: Moment, now: Moment) -> [ProviderAction] {
        guard call.followsConsent, !settings.lookups.isEmpty else {
            return finish(call, .success(tokens), sentAt: sentAt)
        }
        var run = LookupRun(call: call, tokens: tokens, sentAt: sentAt)
        let step = run.step(settings)
        return follow(step, run, now: now)
    }

    mutating func lookupReplyReceived(
        _ outcome: ProviderOutcome, _ run: LookupRun, now: Moment
    ) -> [ProviderAction] {
        var run = run
        let newNonce = run.tokens.proofKey == nil ? nil : run.url.flatMap { nonces.learn(outcome, from: $0) }
        if newNonce != nil, !run.hasRepeatedForNonce, outcome.status == 401 {
            run.hasRepeatedForNonce = true
            let step = run.step(settings)
            return follow(step, run, now: now)
        }
        let step = run.replyReceived(outcome, settings)
        return follow(step, run, now: now)
    }

    private mutating func follow(_ step: LookupRun.Step, _ run: LookupRun, now: Moment) -> [ProviderAction] {
        switch step {
        case .send(var request):
            var run = run
            run.url = request.url
            do throws(ProviderProblem) {
                if let field = try proof(for: request, of: run.tokens, now: now) { request.headers.append(field) }
                return [send(request, .lookup(run))]
            } catch {
                return finish(run.call, .failure(error), sentAt: run.sentAt)
            }
        case .finished(let result): return finish(run.call, result, sentAt: run.sentAt)
        }
    }

    // MARK: Pushed authorization requests

    mutating func sendPush(_ call: PushCall, _ place: Place, _ attempt: Attempt, now: Moment) -> [ProviderAction] {
        guard let url = place.endpoints.pushedRequest else {
            let problem = ProviderProblem(
                .configuration, code: "no_endpoints", detail: "The provider takes no pushed authorization requests.")
            return [.pushFinished(call.id, .failure(problem))]
        }
        do throws(ProviderProblem) {
            let request = try requests(place, attempt, now: now).pushedRequest(call.parameters, url: url)
            return [send(request, .push(call, attempt))]
        } catch {
            return [.pushFinished(call.id, .failure(error))]
        }
    }

    mutating func pushReplyReceived(
        _ outcome: ProviderOutcome, _ call: PushCall, _ attempt: Attempt, now: Moment
    ) -> [ProviderAction] {
        let result = PushedRequestReply.read(outcome, settings: settings, now: now, hiding: settings.clientSecrets)
        switch result {
        case .success: worked(attempt)
        case .failure(let problem):
            if let place = try? place(of: .push(call)),
                let next = self.attempt(after: attempt, problem, method: place.endpoints.tokenAuthentication)
            {
                return [.note(.secretRefused(index: attempt.credential))] + sendPush(call, place, next, now: now)
            }
        }
        return [.pushFinished(call.id, result)]
    }
}

extension ProviderOutcome {
    /// nil: there was no reply.
    fileprivate var status: Int? {
        switch self {
        case .success(let reply): reply.status
        case .failure: nil
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
