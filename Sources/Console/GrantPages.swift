import Telemetry

/// Dashboard, list and details of grants.
extension Console {
    func dashboardPage(_ status: StatusView, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        let usable = status.grants.count { $0.state == .active || $0.state == .refreshing }
        let uptime = UInt64(max(0, now.unixSeconds - status.startedAt.unixSeconds))
        let configuration: HTML =
            status.lastReloadSuccessful
            ? ""
            : """
            <p class="note bad" role="alert">The configuration file that was read last has mistakes, so the one before is \
            still in force. The log lists the mistakes; <code>token-gateway check</code> does as well.</p>
            """
        let draining: HTML =
            status.draining
            ? "<p class=\"note warn\" role=\"alert\">The gateway is shutting down and finishes its last requests.</p>"
            : ""
        let content: HTML = """
            <h1>Dashboard</h1>
            \(draining)\(store(status.store))\(configuration)<dl class="tiles">
            <div><dt>Grants connected</dt><dd>\(usable) <small>of \(status.grants.count)</small></dd></div>
            <div><dt>Requests served</dt><dd>\(grouped(status.requestsTotal))</dd></div>
            <div><dt>Answered 5xx</dt><dd>\(grouped(status.serverErrorsTotal))</dd></div>
            <div><dt>In progress</dt><dd>\(status.requestsCurrent) <small>on \(status.callerConnections) \
            connections</small></dd></div>
            <div><dt>Running for</dt><dd>\(RelativeTime.span(seconds: uptime))</dd></div>
            </dl>
            \(templates(status.templates ?? []))\(dashboardCards(status, context, now: now))
            <p class="soft">\(status.workers) workers. Configuration in force since \
            \(time(status.configurationLoadedAt, now: now, missing: "start")).</p>
            """
        return respond(200, .html, page(title: "Dashboard", tab: .dashboard, context, content), context)
    }

    func grantListPage(_ list: GrantsReply, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        let title = list.template.map { "Grants of \($0)" } ?? "Grants"
        var more: HTML = ""
        if let next = list.next {
            let template = list.template.map { "template=\(Encodings.percentEncoded($0))&" } ?? ""
            let target = "\(link(.grantList))?\(template)after=\(Encodings.percentEncoded(next))"
            more = "<p><a href=\"\(target)\">More</a></p>\n"
        }
        let none: HTML = "<p class=\"card\">There are none here.</p>"
        let shown = list.template != nil && list.grants.isEmpty ? none : cards(list.grants, context, now: now)
        let content: HTML = "<h1>\(title)</h1>\n\(shown)\(more)"
        return respond(200, .html, page(title: title, tab: .grants, context, content), context)
    }

    /// One line for each template: its grants are too many to be shown one by one.
    private func templates(_ views: [TemplateView]) -> HTML {
        guard !views.isEmpty else { return "" }
        let rows = views.sorted { $0.name < $1.name }.map { view in
            let states = view.states.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            let target = "\(link(.grantList))?template=\(Encodings.percentEncoded(view.name))"
            return """
                <div><dt><a href="\(target)">\(view.name)</a></dt><dd>\(grouped(UInt64(max(0, view.grants)))) \
                <small>\(states)</small></dd></div>

                """ as HTML
        }
        return
            "<section class=\"card\"><h2>Grants made from templates</h2>\n<dl class=\"facts\">\(rows)</dl></section>\n"
    }

    private func store(_ view: StoreView?) -> HTML {
        guard let view, !view.open else { return "" }
        return "<p class=\"note bad\" role=\"alert\">The store cannot be used: \(view.reason ?? "unknown reason")</p>\n"
    }

    func grantPage(_ grant: GrantView, _ context: ConsoleContext, now: Timestamp) -> ConsoleResponse {
        let forget: HTML =
            grant.provider == nil
            ? ""
            : """
            <section class="card"><h2>Forget</h2>
            <p>Deletes the tokens from the store without telling the provider. Revoke instead where you can.</p>
            <div class="buttons">\(linkButton("Forget …", to: .grantAction(grant.name, .forget), style: " danger"))</div>
            </section>
            """
        let content: HTML = """
            <h1>Grant \(grant.name)</h1>
            \(card(grant, context, now: now, isDetailed: true))
            \(forget)
            """
        return respond(200, .html, page(title: "Grant \(grant.name)", tab: .grants, context, content), context)
    }

    /// Thousands of cards would be a page that no browser shows well.
    private func dashboardCards(_ status: StatusView, _ context: ConsoleContext, now: Timestamp) -> HTML {
        if status.grants.isEmpty, status.templates?.isEmpty == false { return "" }
        let sorted = status.grants.sorted { $0.name < $1.name }
        let shown = cards(Array(sorted.prefix(ConsoleLimits.pageGrants)), context, now: now)
        guard sorted.count > ConsoleLimits.pageGrants else { return shown }
        return "\(shown)<p><a href=\"\(link(.grantList))\">All \(sorted.count) grants</a></p>\n"
    }

    private func cards(_ grants: [GrantView], _ context: ConsoleContext, now: Timestamp) -> HTML {
        guard !grants.isEmpty else {
            return "<p class=\"card\">gateway.conf has no grant yet. Add a <code>[grant.NAME]</code> and reload.</p>"
        }
        return "\(grants.map { card($0, context, now: now, isDetailed: false) })"
    }

    private func card(_ grant: GrantView, _ context: ConsoleContext, now: Timestamp, isDetailed: Bool) -> HTML {
        let source = grant.provider.map { "at \($0)" } ?? "token from a file"
        let detail = isDetailed ? detailedFacts(grant, now: now) : ""
        return """
            <section class="card" aria-label="Grant \(grant.name)">
            <div class="top"><h2><a href="\(link(.grantPage(grant.name)))">\(grant.name)</a></h2>
            <span class="badge \(grant.state.style)">\(grant.state.title)</span> <span class="soft">\(source)</span></div>
            <p>\(grant.state.meaning(isUnattended: grant.unattended == true))</p>
            \(lastError(grant, now: now))<dl class="facts">
            <div><dt>Scopes</dt><dd>\(scopes(grant.scopes))</dd></div>
            <div><dt>Access token expires</dt><dd>\(accessTokenEnd(grant, now: now))</dd></div>
            <div><dt>Consent lasts until</dt><dd>\(consentEnd(grant, now: now))</dd></div>
            \(missingScopes(grant))\(headersLeftOut(grant))\(detail)</dl>
            \(buttons(grant, context))
            </section>

            """
    }

    private func detailedFacts(_ grant: GrantView, now: Timestamp) -> HTML {
        let routes = grant.routes.isEmpty ? "none" : grant.routes.joined(separator: ", ")
        let consent: HTML =
            grant.lastConsent.map { last in
                let words = ConsentFailure.Kind(rawValue: last.outcome)?.title ?? "Connected"
                return
                    "<div><dt>Last consent</dt><dd>\(words)\(reason(last.reason)) \(time(last.at, now: now, missing: ""))</dd></div>\n"
            } ?? ""
        let account: HTML = grant.account.map { "<div><dt>Account</dt><dd>\($0)</dd></div>\n" } ?? ""
        let revocation: HTML =
            grant.revocation.map { result in
                "<div><dt>Revocation</dt><dd>\(result.words)\(reason(grant.revocationAdvice))</dd></div>\n"
            } ?? ""
        return """
            \(account)\(revocation)<div><dt>Last refresh</dt><dd>\(time(grant.lastRefreshAt, now: now, missing: "never"))</dd></div>
            <div><dt>Next refresh</dt><dd>\(time(grant.nextAttemptAt, now: now, missing: "not planned"))</dd></div>
            <div><dt>Generation</dt><dd>\(grant.generation)</dd></div>
            <div><dt>Used by routes</dt><dd>\(routes)</dd></div>
            \(consent)
            """
    }

    private func reason(_ text: String?) -> HTML {
        text.map { ": \($0)" } ?? ""
    }

    private func lastError(_ grant: GrantView, now: Timestamp) -> HTML {
        guard let error = grant.lastError else { return "" }
        let style: HTML = grant.state == .active || grant.state == .refreshing ? "warn" : "bad"
        let at: HTML = error.at.map { " <small>\(RelativeTime.text(of: $0, now: now))</small>" } ?? ""
        return "<p class=\"note \(style)\">Last error (\(error.errorClass)): \(error.reason)\(at)</p>\n"
    }

    private func scopes(_ scopes: [String]) -> HTML {
        guard !scopes.isEmpty else { return "<span class=\"soft\">none asked for</span>" }
        return "<span class=\"scopes\">\(scopes.map { "<code>\($0)</code> " as HTML })</span>"
    }

    private func missingScopes(_ grant: GrantView) -> HTML {
        guard let missing = grant.missingScopes, !missing.isEmpty else { return "" }
        return "<div><dt>Asked for and not granted</dt><dd>\(scopes(missing))</dd></div>\n"
    }

    private func headersLeftOut(_ grant: GrantView) -> HTML {
        guard let fields = grant.headersLeftOut, !fields.isEmpty else { return "" }
        return "<div><dt>Header fields without a value, left out</dt><dd>\(scopes(fields))</dd></div>\n"
    }

    private func accessTokenEnd(_ grant: GrantView, now: Timestamp) -> HTML {
        guard grant.state.hasTokens else { return time(nil, now: now, missing: "—") }
        return time(grant.accessTokenExpiresAt, now: now, missing: "not known")
    }

    private func consentEnd(_ grant: GrantView, now: Timestamp) -> HTML {
        guard grant.state.hasTokens, grant.provider != nil else { return time(nil, now: now, missing: "—") }
        return time(grant.refreshTokenExpiresAt, now: now, missing: "the provider does not say")
    }

    private func buttons(_ grant: GrantView, _ context: ConsoleContext) -> HTML {
        guard grant.provider != nil else { return "" }
        let isWorking = grant.state == .active || grant.state == .refreshing
        let isUnattended = grant.unattended == true
        let authorize: HTML =
            isUnattended
            ? ""
            : linkButton(
                grant.state.hasTokens ? "Authorize again" : "Authorize", to: .authorize(grant.name),
                style: isWorking ? "" : " main")
        let refresh: HTML =
            grant.state.hasTokens || isUnattended
            ? postButton("Refresh", to: .grantAction(grant.name, .refresh), context) : ""
        let revoke: HTML =
            grant.state.hasTokens ? linkButton("Revoke …", to: .grantAction(grant.name, .revoke), style: " danger") : ""
        return "<div class=\"buttons\">\(authorize)\(refresh)\(revoke)</div>"
    }

    /// Digits in groups of three, with a thin space.
    private func grouped(_ number: UInt64) -> String {
        let digits = Array(String(number))
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "\u{202f}" }
            text.append(digit)
        }
        return text
    }
}
