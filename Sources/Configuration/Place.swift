/// Where in gateway.conf a directive stands.
package enum Place: String, Sendable, Hashable, CaseIterable {
    case top = ""
    case listener, console, store, provider, grant
    case grantTemplate = "grant_template"
    case upstream, route, timeouts, limits, log

    /// Whether there can be several, each with a name.
    var isNamed: Bool {
        switch self {
        case .listener, .provider, .grant, .grantTemplate, .upstream, .route: true
        case .top, .console, .store, .timeouts, .limits, .log: false
        }
    }

    /// As in the reference: `[route.NAME]`.
    package var heading: String {
        switch self {
        case .top: "top level"
        case .listener, .provider, .grant, .grantTemplate, .upstream, .route: "[\(rawValue).NAME]"
        case .console, .store, .timeouts, .limits, .log: "[\(rawValue)]"
        }
    }

    /// What the place is for; one line of the reference and the example.
    var documentation: String {
        switch self {
        case .top: "Stands before the first table."
        case .listener: "An address that callers connect to; at least one."
        case .console: "Dashboard, consent pages, callback, metrics and admin API; needed when a person consents."
        case .store: "Where grants survive restarts; needed when a grant has a provider."
        case .provider: "An OAuth authorization server together with our client registration there."
        case .grant: "One resource owner's authorization at a provider, or a token that another program keeps fresh."
        case .grantTemplate:
            "What many grants have in common, which are made while the gateway runs; a grant's directives, and these."
        case .upstream: "An API that we connect to."
        case .route: "The rule that picks upstream, grant and treatment for a request; the most specific one wins."
        case .timeouts: "Patience with callers; what concerns an upstream or a provider stands there."
        case .limits: "What one caller or one upstream may cost."
        case .log: "What is written where."
        }
    }
}
