// The directives of what a provider's URLs need, of our keys there, and of the newer parts of OAuth.

let variableDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "variables", .variables, \.variables,
        "Values of `{name}` in URLs and extra_headers; a grant's own and captured values come before them."),
    Directive(
        "required_variables", .requiredVariables, \.requiredVariables,
        "Names that must get a value: here, from each grant, or when a grant of a template is made."),
]

let keyDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "client_key_file", .oneOrMore(of: .secretPath), \.clientKeyFiles,
        "A private key (PEM, not encrypted) that signs our assertions; several are tried in order."),
    Directive(
        "client_key_id", .oneOrMore(of: .string()), \.clientKeyIDs,
        "The `kid` under which the provider knows the key; as many as keys, in their order."),
    Directive(
        "client_key_algorithm", .choice, \.clientKeyAlgorithm, words: Snapshot.SignatureAlgorithm.self,
        default: "by the key: RS256, ES256 or EdDSA", "How the key signs."),
    Directive(
        "service_account_file", .secretPath, \.serviceAccountFile,
        "Google's JSON file of a service account, instead of client_id, client_key_file and client_key_id."),
    Directive(
        "client_certificate_file", .path, \.clientCertificateFile,
        "Our certificate and its chain (PEM) for a provider that authenticates us by TLS (RFC 8705)."),
    Directive(
        "client_certificate_key_file", .secretPath, \.clientCertificateKeyFile,
        "The private key of client_certificate_file (PEM, not encrypted)."),
    Directive(
        "assertion_audience", .string(), \.assertionAudience,
        "The audience of our client assertions, if neither the issuer nor the token endpoint."),
    Directive(
        "assertion_scope", .choice, \.assertionScope, default: "parameter",
        "Where the scopes of a JWT bearer grant go: the request, the assertion, or both."),
]

let protocolDirectives: [Directive<Snapshot.Provider>] = [
    Directive(
        "pushed_requests", .choice([("auto", .automatic), ("required", .required), ("off", .off)]), \.pushedRequests,
        default: "auto", "Send authorization requests to the provider first (RFC 9126); `auto`: where it offers that."),
    Directive(
        "dpop", .choice([("off", false), ("on", true)]), \.dpop, default: "off",
        "Bind the tokens to a key of ours and prove it with each request (RFC 9449)."),
    Directive("dpop_algorithm", .choice, \.dpopAlgorithm, default: "ES256", "How that key signs."),
    Directive(
        "resources", .list(of: .resource), \.resources, "The APIs that tokens are for, as URIs (RFC 8707)."),
    Directive(
        "check_id_token", .boolean, \.checkIDToken, default: true,
        "Check the id_token, where `openid` is among the scopes."),
    Directive(
        "id_token_algorithms", .list(of: .choice, mayBeEmpty: false), \.idTokenAlgorithms,
        default: .words(["RS256", "ES256", "PS256", "EdDSA"]), "The signatures that an id_token may have."),
]

extension Directive {
    /// A choice without a fixed default.
    fileprivate init<Value: Sendable & CaseIterable & RawRepresentable>(
        _ name: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Subject, Value?> & Sendable,
        words: Value.Type, default text: String, _ documentation: String
    ) {
        self.init(name, type, default: .described(text), documentation) { $0[keyPath: path] = $1 }
    }
}

extension ValueType where Value == String {
    /// RFC 8707 section 2: an absolute URI without a fragment.
    static var resource: Self {
        string("uri", expected: "an absolute URI such as \"https://api.example.com\", without fragment") { text in
            let scheme = text.utf8.prefix { $0 != UInt8(ascii: ":") }
            return scheme.count < text.utf8.count - 1 && scheme.first?.isLetter == true
                && scheme.allSatisfy { $0.isLetter || $0.isDigit || "+-.".utf8.contains($0) }
                && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "#") }
        }
    }
}
