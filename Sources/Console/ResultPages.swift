import Telemetry

/// Pages that say what happened, or ask before it does.
extension Console {
    // MARK: Consent

    /// With a `location` the response is a 303 that carries the page, so that the words are there for who stays.
    func connectedPage(_ success: ConsentSuccess, location: String?, _ context: ConsoleContext) -> ConsoleResponse {
        let notes = success.notes.map { note in
            "<p class=\"note warn\">\(words(note))</p>\n" as HTML
        }
        let content: HTML = """
            <div class="card"><div class="top"><span class="badge good">Connected</span></div>
            <h1>\(success.grant) is connected</h1>
            <p>The provider gave its consent and the tokens are stored. Calls through the gateway carry a valid token from \
            now on; there is nothing more to do, and this window can be closed.</p>
            \(notes)<p><a href="\(link(.grantPage(success.grant)))">See the grant</a></p></div>
            """
        let body = page(title: "\(success.grant) is connected", tab: .none, context, content)
        guard let location else { return respond(200, .html, body, context) }
        return respond(303, .html, body, context, [ConsoleField("Location", location)])
    }

    private func words(_ note: ConsentSuccess.Note) -> String {
        switch note {
        case .noRefreshToken:
            "The provider gave no refresh token, so this consent ends when the access token does."
        case .scopesDiffer: "The provider granted other scopes than asked; the grant's page lists them."
        }
    }

    /// After a restart or on another replica the signature cannot be checked, so nothing is claimed.
    func consentOverPage(_ context: ConsoleContext) -> ConsoleResponse {
        let content: HTML = """
            <div class="card"><h1>The consent is over</h1>
            <p>The list of grants shows what it came to.</p>
            <p><a href="\(link(.grantList))">See the grants</a></p></div>
            """
        return respond(200, .html, page(title: "Consent", tab: .none, context, content), context)
    }

    func consentFailedPage(_ reason: ConsentFailure, said: String?, _ context: ConsoleContext) -> ConsoleResponse {
        let quote: HTML = said.map { "<p class=\"note off\">The provider said: \($0)</p>\n" } ?? ""
        let again: HTML =
            reason.grant.map {
                "<div class=\"buttons\">\(linkButton("Try again", to: .authorize($0), style: " main"))</div>"
            } ?? "<p><a href=\"\(link(.grantList))\">See the grants</a></p>"
        let grant: HTML = reason.grant.map { " <span class=\"soft\">Grant \($0)</span>" } ?? ""
        let content: HTML = """
            <div class="card"><div class="top"><span class="badge bad">Consent failed</span>\(grant)</div>
            <h1>\(reason.kind.title)</h1>
            <p>\(reason.kind.detail)</p>
            \(quote)\(again)
            <p><small>Code \(reason.kind.rawValue), request \(context.requestID)</small></p></div>
            """
        return respond(
            reason.kind.status, .html, page(title: reason.kind.title, tab: .none, context, content), context,
            [ConsoleField("Token-Gateway-Error", reason.kind.rawValue)])
    }

    /// Another site led here: ask before a consent is begun.
    func continuePage(grant: String, _ context: ConsoleContext) -> ConsoleResponse {
        let content: HTML = """
            <div class="card"><h1>Connect \(grant)?</h1>
            <p>Another site's link led here. If you mean to give the gateway access for <strong>\(grant)</strong>, go on to \
            the provider; if not, close this window.</p>
            <div class="buttons">\(linkButton("Go on to the provider", to: .authorize(grant), style: " main"))</div></div>
            """
        return respond(200, .html, page(title: "Connect \(grant)?", tab: .none, context, content), context)
    }

    // MARK: Actions on grants

    func confirmationPage(
        _ action: Endpoint.GrantAction, grant: String, _ context: ConsoleContext
    ) -> ConsoleResponse {
        let title: String
        let words: String
        let label: String
        switch action {
        case .revoke:
            title = "Revoke \(grant)?"
            words =
                "Calls stop at once, then the provider is told to end the grant. To connect it again somebody must consent."
            label = "Revoke"
        case .forget:
            title = "Forget \(grant)?"
            words =
                "The tokens are deleted here and the provider is not told: what it has issued stays valid there. Calls "
                + "stop at once."
            label = "Forget"
        case .refresh: return failure(.methodNotAllowed, context)
        }
        let content: HTML = """
            <div class="card"><h1>\(title)</h1>
            <p>\(words)</p>
            <div class="buttons">\(postButton(label, to: .grantAction(grant, action), style: " danger main", context))
            \(linkButton("Cancel", to: .grantPage(grant)))</div></div>
            """
        return respond(200, .html, page(title: title, tab: .none, context, content), context)
    }

    func refreshedPage(_ grant: GrantView, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        let content: HTML = """
            <div class="card"><div class="top"><span class="badge \(grant.state.style)">\(grant.state.title)</span></div>
            <h1>\(grant.name) was refreshed</h1>
            <p>The new access token expires \(time(grant.accessTokenExpiresAt, now: now, missing: "at an unknown time")).</p>
            \(back)</div>
            """
        return respond(200, .html, page(title: "Refreshed", tab: .none, context, content), context)
    }

    func revokedPage(_ reply: RevokeReply, status: Int, _ context: ConsoleContext) -> ConsoleResponse {
        let grant = reply.grant
        let words: String
        switch reply.result {
        case .revoked: words = "The provider has confirmed it."
        case .alreadyInvalid: words = "The provider knew the tokens no more; there was nothing left to end."
        case .notSupported:
            words =
                "The provider has no way to be told. "
                + (reply.advice ?? "End the access in its own account settings as well.")
        case .notConfirmed:
            words =
                "The provider ends a grant by its access token, and did not know this one: it may have expired, and the "
                + "refresh token may still be good there. "
                + (reply.advice ?? "End the access in its own account settings as well.")
        case .failedKeptForRetry:
            words = "The provider could not be told yet. The gateway remembers it and keeps trying."
        }
        let style: HTML = reply.result == .revoked || reply.result == .alreadyInvalid ? "good" : "warn"
        let content: HTML = """
            <div class="card"><h1>\(grant.name) is revoked</h1>
            <p>Calls through the gateway are not given this grant's token any more.</p>
            <p class="note \(style)">\(words)</p>
            \(back)</div>
            """
        return respond(status, .html, page(title: "Revoked", tab: .none, context, content), context)
    }

    func forgottenPage(grant: String, _ context: ConsoleContext) -> ConsoleResponse {
        let content: HTML = """
            <div class="card"><h1>\(grant) is forgotten</h1>
            <p>Its tokens are gone from the store.</p>
            \(back)</div>
            """
        return respond(200, .html, page(title: "Forgotten", tab: .none, context, content), context)
    }

    private var back: HTML { "<p><a href=\"\(link(.grantList))\">Back to the grants</a></p>" }

    // MARK: Signing in, errors

    func signInPage(next: Endpoint, wrong: Bool, status: Int, _ context: ConsoleContext) -> ConsoleResponse {
        let alert: HTML = wrong ? "<p class=\"note bad\" role=\"alert\">That is not the console's secret.</p>\n" : ""
        let content: HTML = """
            <div class="card"><h1>Sign in</h1>
            \(alert)<form method="post" action="\(link(.signIn))">\(formToken(context))
            <input type="hidden" name="next" value="\(next.path)">
            <label for="secret">The console's secret</label>
            <input id="secret" name="secret" type="password" required autofocus autocomplete="current-password">
            <div class="buttons"><button class="button main">Sign in</button></div></form></div>
            """
        return respond(status, .html, page(title: "Sign in", tab: .none, context, content), context)
    }

    func errorPage(title: String, detail: String, code: String, _ context: ConsoleContext) -> [UInt8] {
        let content: HTML = """
            <div class="card"><h1>\(title)</h1>
            <p>\(detail)</p>
            <p><a href="\(link(.dashboard))">To the dashboard</a></p>
            <p><small>Code \(code), request \(context.requestID)</small></p></div>
            """
        return page(title: title, tab: .none, context, content)
    }
}
