package import Telemetry

/// What the driver found out becomes a response.
extension Console {
    /// The command of `context` ended. An outcome that does not answer the command is a mistake of the driver and becomes
    /// an internal error.
    package mutating func commandEnded(
        _ context: ConsoleContext, outcome: ConsoleOutcome, now: Timestamp, random: (Int) -> [UInt8]
    ) -> ConsoleResponse {
        switch outcome {
        case .authorizationStarted(let url): return authorizationStarted(url: url, context, now: now)
        case .linkAllowed: return linkAllowed(context, now: now)
        case .connected(let success): return connected(success, context)
        case .consentFailed(let reason): return consentFailed(reason, context)
        case .refreshed(let view): return refreshed(withLink(view), context, now: now)
        case .revoked(let view, let result, let advice): return revoked(withLink(view), result, advice, context)
        case .forgotten: return forgotten(context)
        case .grants(let page): return grants(page, context, now: now)
        case .created(let view): return created(withLink(view), context)
        case .keys(let reply): return json(200, reply, context)
        case .rekeyStarted(let reply): return json(202, reply, context)
        case .grant(let view): return grant(withLink(view), context, now: now)
        case .status(var view):
            view.grants = view.grants.map(withLink)
            return context.isForPrograms ? json(200, view, context) : dashboardPage(view, context, now: now)
        case .deviceStarted(let reply): return json(200, reply, context)
        case .deviceStatus(let status): return json(200, status, context)
        case .imported(let view): return json(200, withLink(view), context)
        case .metrics(let page): return respond(200, .metrics, page, context)
        case .readiness(let readiness): return self.readiness(readiness, context)
        case .failed(let reason): return commandFailed(reason, context)
        }
    }

    /// Every grant that a person can consent to says where.
    private func withLink(_ view: GrantView) -> GrantView {
        guard view.provider != nil, view.unattended != true else { return view }
        var copy = view
        copy.authorizeURL = settings.publicURL.text + Endpoint.authorize(view.name).path
        return copy
    }

    private func authorizationStarted(url: String, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return failure(.internalError, context) }
        guard case .paste(let binding) = context.answer else { return redirect(url, context) }
        let expiry = Timestamp(unixSeconds: now.unixSeconds + Int64(ConsoleLimits.consentCookieSeconds))
        return json(200, AuthorizeReply(authorizeURL: url, expiresAt: expiry, binding: binding), context)
    }

    private func linkAllowed(_ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        let grant: String
        switch context.endpoint {
        case .authorize(let name), .apiAction(let name, _): grant = name
        case .dashboard, .grantList, .grantPage, .grantAction, .callback, .consentDone, .signIn, .signOut, .metrics,
            .live, .ready, .apiStatus, .apiGrants, .apiGrant, .apiKeys, .apiRekey, nil:
            return failure(.internalError, context)
        }
        guard let ticket = context.ticket else { return failure(.internalError, context) }
        let link = "\(settings.publicURL.text)\(Endpoint.authorize(grant).path)?ticket=\(ticket)"
        if context.answer == .goToPublicURL { return redirect(link, context) }
        let expiry = Timestamp(unixSeconds: now.unixSeconds + ConsoleLimits.ticketSeconds)
        return json(200, AuthorizeReply(authorizeURL: link, expiresAt: expiry), context)
    }

    private func connected(_ success: ConsentSuccess, _ context: ConsoleContext) -> ConsoleResponse {
        let notes = success.notes.map(\.rawValue)
        if context.isForPrograms { return json(200, ConsentReply(grant: success.grant, notes: notes), context) }
        // On to an address without code and state; the words stand in this response as well.
        let joined = notes.joined(separator: ",")
        let mac = signature(of: ["done", success.grant, joined])
        let query =
            "grant=\(Encodings.percentEncoded(success.grant))&notes=\(Encodings.percentEncoded(joined))&mac=\(mac)"
        return connectedPage(success, location: "\(link(.consentDone))?\(query)", context)
    }

    /// The page after a consent. What its address says is shown only if we signed it.
    func consentDonePage(query: String, _ context: ConsoleContext) -> ConsoleResponse {
        guard let grant = Encodings.parameter("grant", in: query),
            let notes = Encodings.parameter("notes", in: query),
            let mac = Encodings.parameter("mac", in: query), isSigned(["done", grant, notes], by: mac)
        else { return consentOverPage(context) }
        let known = notes.split(separator: ",").compactMap { ConsentSuccess.Note(rawValue: String($0)) }
        return connectedPage(ConsentSuccess(grant: grant, notes: known), location: nil, context)
    }

    private func refreshed(_ view: GrantView, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        context.isForPrograms ? json(200, view, context) : refreshedPage(view, context, now: now)
    }

    private func revoked(
        _ view: GrantView, _ result: RevocationResult, _ advice: String?, _ context: ConsoleContext
    ) -> ConsoleResponse {
        let status = result == .failedKeptForRetry ? 202 : 200
        let reply = RevokeReply(result: result, grant: view, advice: advice)
        return context.isForPrograms ? json(status, reply, context) : revokedPage(reply, status: status, context)
    }

    private func forgotten(_ context: ConsoleContext) -> ConsoleResponse {
        switch context.endpoint {
        case .apiAction(let name, _), .apiGrant(let name): json(200, ForgetReply(forgotten: name), context)
        case .grantAction(let name, _): forgottenPage(grant: name, context)
        case .dashboard, .grantList, .grantPage, .authorize, .callback, .consentDone, .signIn, .signOut, .metrics,
            .live, .ready, .apiStatus, .apiGrants, .apiKeys, .apiRekey, nil:
            failure(.internalError, context)
        }
    }

    private func grants(_ page: GrantsReply, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        var page = page
        page.grants = page.grants.map(withLink).sorted { $0.name < $1.name }
        if context.isForPrograms { return json(200, page, context) }
        return grantListPage(page, context, now: now)
    }

    private func created(_ view: GrantView, _ context: ConsoleContext) -> ConsoleResponse {
        var response = json(201, view, context)
        response.fields.append(ConsoleField("Location", link(.apiGrant(view.name))))
        return response
    }

    private func grant(_ view: GrantView, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        context.isForPrograms ? json(200, view, context) : grantPage(view, context, now: now)
    }

    /// Strangers get the answer without the names.
    private func readiness(_ readiness: Readiness, _ context: ConsoleContext) -> ConsoleResponse {
        struct Brief: Encodable {
            var ready: Bool
        }
        struct Full: Encodable {
            var ready: Bool
            var readiness: Readiness

            private enum CodingKeys: String, CodingKey {
                case ready
            }

            func encode(to encoder: any Encoder) throws {
                try readiness.encode(to: encoder)
                var container = encoder.container(keyedBy: CodingKeys.self)
                try container.encode(ready, forKey: .ready)
            }
        }
        let status = readiness.isReady ? 200 : 503
        if context.isOperator { return json(status, Full(ready: readiness.isReady, readiness: readiness), context) }
        return json(status, Brief(ready: readiness.isReady), context)
    }
}
