import Telemetry

/// What requests that passed the guards lead to.
extension Console {
    /// GET and HEAD.
    mutating func fetched(
        _ request: ConsoleRequest, _ endpoint: Endpoint, _ context: ConsoleContext, now: Timestamp,
        random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        switch endpoint {
        case .dashboard, .apiStatus: .perform(.status, context)
        case .grantList, .apiGrants: listFetched(request, context)
        case .grantPage(let name), .apiGrant(let name): .perform(.grantDetail(grant: name), context)
        case .metrics: .perform(.metrics, context)
        case .ready: .perform(.readiness, context)
        case .live: .respond(respond(200, .text, Array("ok\n".utf8), context))
        case .grantAction(let name, let action): .respond(confirmationPage(action, grant: name, context))
        case .authorize(let name): authorizeFetched(request, grant: name, context, now: now, random: random)
        case .callback: callbackFetched(request, context)
        case .consentDone: .respond(consentDonePage(query: request.query ?? "", context))
        case .signIn: .respond(signInFetched(request, context))
        case .apiKeys: .perform(.keys, context)
        case .apiAction(let name, let action): actionFetched(name, action, context)
        case .signOut, .apiRekey: .respond(failure(.methodNotAllowed, context))
        }
    }

    private mutating func authorizeFetched(
        _ request: ConsoleRequest, grant: String, _ context: ConsoleContext, now: Timestamp, random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        if let ticket = request.query.flatMap({ Encodings.parameter("ticket", in: $0) }) {
            guard Encodings.isToken(ticket) else { return .respond(failure(.linkUsed, context)) }
            return startAuthorization(request, grant: grant, link: linkID(ticket), context, random: random)
        }
        if request.isCrossSite(publicURL: settings.publicURL) {
            return .respond(continuePage(grant: grant, context))
        }
        if let authority = request.authority, authority != settings.publicURL.authority {
            var context = context
            context.answer = .goToPublicURL
            return makeLink(grant: grant, context, random: random)
        }
        return startAuthorization(request, grant: grant, link: nil, context, random: random)
    }

    /// A browser that has a binding keeps it, so that two consents in two tabs both end well.
    private func startAuthorization(
        _ request: ConsoleRequest, grant: String, link: String?, _ context: ConsoleContext, random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        var context = context
        let isSecure = settings.publicURL.isHTTPS
        let known = request.cookie(ConsoleCookie.consent.name(isSecure: isSecure)).flatMap {
            Encodings.isToken($0) ? $0 : nil
        }
        let binding = known ?? Encodings.base64URL(random(32))
        context.setCookies.append(
            ConsoleCookie.consent.field(
                value: binding, isSecure: isSecure, maxAge: ConsoleLimits.consentCookieSeconds))
        return .perform(.startAuthorization(grant: grant, browserBinding: binding, link: link), context)
    }

    private func callbackFetched(_ request: ConsoleRequest, _ context: ConsoleContext) -> ConsoleAction {
        let query = request.query ?? ""
        guard !query.isEmpty, query.utf8.count <= ConsoleLimits.callbackQueryBytes else {
            return .respond(consentFailed(ConsentFailure(.malformed), context))
        }
        let binding = request.cookie(ConsoleCookie.consent.name(isSecure: settings.publicURL.isHTTPS))
        return .perform(.callback(query: query, browserBinding: binding, expectedGrant: nil), context)
    }

    private func signInFetched(_ request: ConsoleRequest, _ context: ConsoleContext) -> ConsoleResponse {
        if context.hasSession || settings.authentication == .none { return redirect(link(.dashboard), context) }
        return signInPage(next: signInTarget(in: request.query ?? ""), wrong: false, status: 200, context)
    }

    /// The page to go to after signing in: what the parameter names if that is one of our pages, else the dashboard.
    func signInTarget(in text: String) -> Endpoint {
        guard let next = Encodings.parameter("next", in: text), let endpoint = Endpoint(path: next),
            endpoint.isSignInTarget
        else { return .dashboard }
        return endpoint
    }

    // MARK: POST

    mutating func posted(
        _ request: ConsoleRequest, _ endpoint: Endpoint, _ context: ConsoleContext, now: Timestamp,
        random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        guard !request.isCrossSite(publicURL: settings.publicURL) else { return .respond(failure(.crossSite, context)) }
        if case .apiAction(let name, let action) = endpoint {
            return apiPosted(request, grant: name, action, context, random: random)
        }
        if endpoint == .apiGrants || endpoint == .apiRekey { return apiPosted(request, endpoint, context) }
        guard request.hasContentType("application/x-www-form-urlencoded") else {
            return .respond(failure(.unsupportedMediaType, context))
        }
        let form = String(decoding: request.body, as: UTF8.self)
        guard let token = Encodings.parameter("form_token", in: form),
            isSigned(formParts(of: request, context), by: token),
            request.cookie(ConsoleCookie.form.name(isSecure: context.isSecure)) == context.formCookie
        else { return .respond(failure(.formExpired, context)) }
        switch endpoint {
        case .grantAction(let name, .refresh): return .perform(.refresh(grant: name), context)
        case .grantAction(let name, .revoke): return .perform(.revoke(grant: name), context)
        case .grantAction(let name, .forget): return .perform(.forget(grant: name), context)
        case .signIn: return .respond(signedIn(request, form: form, context, now: now, random: random))
        case .signOut: return .respond(signedOut(request, context, now: now))
        case .dashboard, .grantList, .grantPage, .authorize, .callback, .consentDone, .metrics, .live, .ready,
            .apiStatus, .apiGrants, .apiGrant, .apiAction, .apiKeys, .apiRekey:
            return .respond(failure(.methodNotAllowed, context))
        }
    }

    private mutating func signedIn(
        _ request: ConsoleRequest, form: String, _ context: ConsoleContext, now: Timestamp, random: (Int) -> [UInt8]
    ) -> ConsoleResponse {
        if let seconds = attempts.secondsToWait(peer: request.attemptKey, now: now) {
            return tooManyAttempts(seconds, context)
        }
        let next = signInTarget(in: form)
        guard let secret = Encodings.parameter("secret", in: form), isSecret(secret.trimmed) else {
            attempts.attemptFailed(peer: request.attemptKey, now: now)
            return signInPage(next: next, wrong: true, status: 403, context)
        }
        let session = newSession(now: now, random: random)
        var context = context
        context.setCookies.append(
            ConsoleCookie.session.field(
                value: session, isSecure: context.isSecure, maxAge: Int(ConsoleLimits.sessionSeconds)))
        return redirect(link(next), context)
    }

    private mutating func signedOut(
        _ request: ConsoleRequest, _ context: ConsoleContext, now: Timestamp
    ) -> ConsoleResponse {
        var context = context
        if let session = request.cookie(ConsoleCookie.session.name(isSecure: context.isSecure)) {
            endedSessions.add(hash: hash(session), now: now)
        }
        context.setCookies.append(ConsoleCookie.session.field(value: "", isSecure: context.isSecure, maxAge: 0))
        return redirect(link(.signIn), context)
    }

    // MARK: Admin API

    private func apiPosted(
        _ request: ConsoleRequest, grant: String, _ action: Endpoint.APIAction, _ context: ConsoleContext,
        random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        // A form on another site's page cannot send this type without asking us first, and we never allow it.
        guard request.hasContentType("application/json") else {
            return .respond(failure(.unsupportedMediaType, context))
        }
        switch action {
        case .refresh: return .perform(.refresh(grant: grant), context)
        case .revoke: return .perform(.revoke(grant: grant), context)
        case .forget: return .perform(.forget(grant: grant), context)
        case .authorize: return apiAuthorize(request, grant: grant, context, random: random)
        case .callback: return apiCallback(request, grant: grant, context)
        case .device: return .perform(.startDevice(grant: grant), context)
        case .import: return apiImport(request, grant: grant, context)
        }
    }

    private func apiAuthorize(
        _ request: ConsoleRequest, grant: String, _ context: ConsoleContext, random: (Int) -> [UInt8]
    ) -> ConsoleAction {
        let body = request.body.isEmpty ? Array("{}".utf8) : request.body
        guard let order = try? ConsoleJSON.decode(AuthorizeOrder.self, from: body) else {
            return .respond(failure(.malformedRequest, context))
        }
        switch order.mode ?? .link {
        case .link: return makeLink(grant: grant, context, random: random)
        case .paste:
            let binding = Encodings.base64URL(random(32))
            var context = context
            context.answer = .paste(binding: binding)
            return .perform(.startAuthorization(grant: grant, browserBinding: binding, link: nil), context)
        }
    }

    private func apiCallback(_ request: ConsoleRequest, grant: String, _ context: ConsoleContext) -> ConsoleAction {
        guard let order = try? ConsoleJSON.decode(CallbackOrder.self, from: request.body) else {
            return .respond(failure(.malformedRequest, context))
        }
        let pasted = order.redirectURL.trimmed.prefix { $0 != "#" }
        let query = pasted.firstIndex(of: "?").map { pasted[pasted.index(after: $0)...] } ?? pasted
        guard !query.isEmpty, query.utf8.count <= ConsoleLimits.callbackQueryBytes, query.contains("=") else {
            return .respond(consentFailed(ConsentFailure(.malformed, grant: grant), context))
        }
        return .perform(
            .callback(query: String(query), browserBinding: order.binding, expectedGrant: grant), context)
    }
}
