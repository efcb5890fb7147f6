/// What a grant says before its provider is known.
struct GrantDraft: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        case authorizationCode = "authorization_code"
        case clientCredentials = "client_credentials"
        case jwtBearer = "jwt_bearer"
        case tokenExchange = "token_exchange"
        case device
    }
    var name = ""
    var kind = Kind.authorizationCode
    var provider: String?
    var scopes: [String] = []
    var requiredScopes: [String] = []
    var tokenFile: String?
    var requireRefreshToken: Bool?
    var expectedAccount: String?
    var variables: [String: String] = [:]
    var header: String?
    var scheme: String?
    var assertion = Snapshot.Assertion()
    var exchange = Snapshot.Exchange()
    var subjectTokenFile: String?
    var subjectTokenGrant: String?
    var actorTokenFile: String?
    var actorTokenGrant: String?
    /// Only a template's.
    var maxGrants = 0
}

let grantDirectives = Directives<GrantDraft>(
    place: .grant,
    list: sourceDirectives + [
        Directive(
            "token_file", .secretPath, \.tokenFile,
            "Instead of a provider: a file with the token, re-read when it changes.")
    ] + consentDirectives + assertionDirectives + exchangeDirectives)

let grantTemplateDirectives = Directives<GrantDraft>(
    place: .grantTemplate,
    list: sourceDirectives + [
        Directive(
            "max_grants", .integer(1...10_000_000), \.maxGrants, default: 100_000,
            "How many grants may be made from the template.")
    ] + consentDirectives + assertionDirectives + exchangeDirectives)

private let sourceDirectives: [Directive<GrantDraft>] = [
    Directive("provider", .string(), \.provider, "The provider that issues the tokens."),
    Directive(
        "type", .choice, \.kind, default: "authorization_code",
        "How tokens are had; only `authorization_code` and `device` need a person."),
    Directive("scopes", .list(of: .scopeToken), \.scopes, "The scopes to ask for."),
    Directive(
        "required_scopes", .list(of: .scopeToken), \.requiredScopes,
        "Scopes without which the grant is not usable; others may be refused by the resource owner."),
    Directive(
        "variables", .variables, \.variables, "Values of `{name}` in the provider's URLs and headers, for this grant."),
]

private let consentDirectives: [Directive<GrantDraft>] = [
    Directive(
        "require_refresh_token", .boolean, \.requireRefreshToken,
        "Refuse a consent without a refresh token; unset: where it would replace a grant that has one."),
    Directive(
        "expected_account", .string(), \.expectedAccount,
        "The only account whose consent is accepted, as found at `account` in the provider's paths."),
    Directive("header", .credentialHeaderName, \.header, "Instead of the provider's header."),
    Directive("scheme", .credentialScheme, \.scheme, "Instead of the provider's scheme."),
]

private let assertionDirectives: [Directive<GrantDraft>] = [
    Directive(
        "subject", .string(), \.assertion.subject, "`jwt_bearer`: whom the token is for, such as a user's address."),
    Directive(
        "assertion_issuer", .string(), \.assertion.issuer, "`jwt_bearer`: who asks, if not the client id."),
    Directive(
        "assertion_audience", .string(), \.assertion.audience,
        "`jwt_bearer`: who the assertion is for, if not the token endpoint."),
    Directive(
        "assertion_lifetime", .duration(.seconds(30)...(.seconds(3600))), \.assertion.lifetime, default: "3m",
        "`jwt_bearer`: how long an assertion is good; each is used once, at once."),
    Directive(
        "assertion_claims",
        .parameters(reserved: ["iss", "sub", "aud", "iat", "exp", "jti", "nbf"]), \.assertion.claims,
        "`jwt_bearer`: further claims, as texts."),
]

private let exchangeDirectives: [Directive<GrantDraft>] = [
    Directive(
        "subject_token_file", .secretPath, \.subjectTokenFile,
        "`token_exchange`: the file with the token to be exchanged, read for each call."),
    Directive(
        "subject_token_grant", .string(), \.subjectTokenGrant,
        "`token_exchange`: instead of the file, a grant of this file, whose access token it is."),
    Directive(
        "subject_token_type", .tokenType, \.exchange.subjectTokenType, default: "access_token",
        "What that token is: `access_token`, `id_token`, `jwt`, `saml1`, `saml2`, or a URI."),
    Directive(
        "actor_token_file", .secretPath, \.actorTokenFile,
        "`token_exchange`: the file with the token of who acts for the subject."),
    Directive(
        "actor_token_grant", .string(), \.actorTokenGrant, "`token_exchange`: instead of that file, a grant."),
    Directive(
        "actor_token_type", .tokenType, \.exchange.actorTokenType, default: "access_token",
        "What the actor's token is, in the same words."),
    Directive(
        "requested_token_type", .tokenType, \.exchange.requestedTokenType,
        "`token_exchange`: what to ask for, in the same words; unset: the provider chooses."),
    Directive(
        "audience", .oneOrMore(of: .string()), \.exchange.audiences,
        "`token_exchange`: the services that the new token is for."),
    Directive(
        "accept_untyped_token", .boolean, \.exchange.acceptsUntypedToken, default: false,
        "`token_exchange`: take a token whose type the reply calls `N_A`."),
]

extension ValueType where Value == String {
    /// RFC 8693 section 3: short for the URIs of the RFC, or another URI.
    static var tokenType: Self {
        let prefix = "urn:ietf:params:oauth:token-type:"
        let words = ["access_token", "refresh_token", "id_token", "jwt", "saml1", "saml2"]
        let names = words.map { "\"\($0)\"" }.joined(separator: ", ")
        return Self("token type", expected: names + " or a URI") { node in
            guard case .string(let text, _) = node.kind else { return .wrong }
            if words.contains(text) { return .value(prefix + text) }
            if case .value(let uri) = ValueType<String>.resource.read(node) { return .value(uri) }
            let hint = Suggestion.hint(for: text, among: words)
            return .mistakes([Mistake(node.position, "must be \(names) or a URI, not \(node.found)\(hint)")])
        }
    }
}
