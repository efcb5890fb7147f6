import Telemetry

/// The frame and the repeated pieces of the pages.
extension Console {
    enum Tab {
        case dashboard
        case grants
        /// A page that stands alone, without the navigation.
        case none
    }

    func page(title: String, tab: Tab, _ context: ConsoleContext, _ content: HTML) -> [UInt8] {
        let header: HTML = tab == .none ? "" : self.header(tab, context)
        let style = HTML(stringLiteral: Stylesheet.text)
        let width: HTML = tab == .none ? " class=\"narrow\"" : ""
        let document: HTML = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="robots" content="noindex">
            <title>\(title) · Token Gateway</title>
            <link rel="icon" href="\(Self.icon)">
            <style>\(style)</style>
            </head>
            <body>
            <a class="skip" href="#content">Skip to the content</a>
            \(header)<main id="content"\(width)>
            \(content)
            </main>
            <footer>Token Gateway \(settings.version)</footer>
            </body>
            </html>

            """
        return Array(document.text.utf8)
    }

    private static let icon =
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' "
        + "height='16' rx='4' fill='%232457c5'/%3E%3Cpath d='M4 8h8M9 5l3 3-3 3' fill='none' stroke='white' "
        + "stroke-width='1.6'/%3E%3C/svg%3E"

    private func header(_ tab: Tab, _ context: ConsoleContext) -> HTML {
        let here: HTML = " aria-current=\"page\""
        let signOut: HTML =
            context.hasSession
            ? "<form method=\"post\" action=\"\(link(.signOut))\">\(formToken(context))<button class=\"plain\">Sign out</button></form>"
            : ""
        return """
            <header><div>
            <strong>Token Gateway</strong>
            <nav aria-label="Pages">
            <a href="\(link(.dashboard))"\(tab == .dashboard ? here : "")>Dashboard</a>
            <a href="\(link(.grantList))"\(tab == .grants ? here : "")>Grants</a>
            <a href="\(link(.metrics))">Metrics</a>
            </nav>
            \(signOut)
            </div></header>

            """
    }

    func formToken(_ context: ConsoleContext) -> HTML {
        "<input type=\"hidden\" name=\"form_token\" value=\"\(context.formToken)\">"
    }

    func postButton(_ label: String, to endpoint: Endpoint, style: HTML = "", _ context: ConsoleContext) -> HTML {
        """
        <form method="post" action="\(link(endpoint))">\(formToken(context))\
        <button class="button\(style)">\(label)</button></form>
        """
    }

    func linkButton(_ label: String, to endpoint: Endpoint, style: HTML = "") -> HTML {
        "<a class=\"button\(style)\" href=\"\(link(endpoint))\">\(label)</a>"
    }

    /// Absolute in UTC, then from now on.
    func time(_ timestamp: Timestamp?, now: Timestamp, missing: String) -> HTML {
        guard let timestamp else { return "<span class=\"soft\">\(missing)</span>" }
        let text = timestamp.rfc3339
        let shown = "\(text.prefix(10)) \(text.dropFirst(11).prefix(8)) UTC"
        return "<time datetime=\"\(text)\">\(shown)</time> <small>\(RelativeTime.text(of: timestamp, now: now))</small>"
    }
}

/// Spans of time in words, with one or two units.
enum RelativeTime {
    static func text(of timestamp: Timestamp, now: Timestamp) -> String {
        let (difference, overflow) = timestamp.unixSeconds.subtractingReportingOverflow(now.unixSeconds)
        if overflow { return timestamp > now ? "in the far future" : "long ago" }
        if difference.magnitude < 5 { return "just now" }
        let span = span(seconds: difference.magnitude)
        return difference > 0 ? "in \(span)" : "\(span) ago"
    }

    static func span(seconds: UInt64) -> String {
        let units: [(UInt64, String)] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")]
        guard let first = units.firstIndex(where: { seconds >= $0.0 }) else { return "0 s" }
        let whole = seconds / units[first].0
        let text = "\(whole) \(units[first].1)"
        // From ten of a unit on, the next smaller one is noise.
        guard whole < 10, first + 1 < units.count else { return text }
        let rest = seconds % units[first].0 / units[first + 1].0
        return rest == 0 ? text : "\(text) \(rest) \(units[first + 1].1)"
    }
}

extension GrantStateLabel {
    /// The badge's words.
    var title: String {
        switch self {
        case .notConnected: "Not connected"
        case .active: "Connected"
        case .refreshing: "Refreshing"
        case .reauthorizationRequired: "Consent needed"
        case .configurationError: "Configuration error"
        case .revoked: "Revoked"
        }
    }

    /// One sentence on what it means for calls and what to do.
    ///
    /// - Parameter isUnattended: no person consents to the grant.
    func meaning(isUnattended: Bool) -> String {
        switch self {
        case .notConnected where isUnattended: "There is no token yet: the first call, or a refresh, asks for one."
        case .notConnected:
            "Nobody has consented yet, so calls are answered with 503. Authorize the grant to connect it."
        case .active: "Calls carry a valid token."
        case .refreshing: "New tokens are being fetched; calls go on or wait a moment."
        case .reauthorizationRequired where isUnattended:
            "The provider refuses this grant, so calls are answered with 503. Mend what it asks with, then refresh it."
        case .reauthorizationRequired:
            "The provider has ended this grant, so calls are answered with 503. Authorize it again."
        case .configurationError:
            "The provider refuses this gateway's registration. Check the client id and secret in gateway.conf; the tokens "
                + "are kept."
        case .revoked where isUnattended:
            "The grant was revoked, so calls are answered with 503. Refresh it to begin anew."
        case .revoked: "The grant was revoked, so calls are answered with 503. Authorize it to connect it again."
        }
    }

    var style: HTML {
        switch self {
        case .notConnected, .revoked: "off"
        case .active: "good"
        case .refreshing: "wait"
        case .reauthorizationRequired: "warn"
        case .configurationError: "bad"
        }
    }

    /// Whether there are tokens to refresh or to revoke.
    var hasTokens: Bool {
        switch self {
        case .notConnected, .revoked: false
        case .active, .refreshing, .reauthorizationRequired, .configurationError: true
        }
    }
}
