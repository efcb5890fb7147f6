// Renamed parameters: each rule must have something to rename, and no two parameters may end up under one name.

extension Checker {
    mutating func checkRenames(_ section: Section<Snapshot.Provider>) {
        let rules = section.value.renamedParameters
        guard section.has("rename_params"), !rules.isEmpty else { return }
        let requests = RequestNames.all(of: section.value)
        for key in rules.keys.sorted() { checkRename(key, onto: rules[key] ?? "", section, requests) }
        var reported: Set<String> = []
        for request in requests {
            var takers: [String: String] = [:]
            for name in request.names.sorted() {
                let rule = request.rule(for: name, rules)
                let final = rule.flatMap { rules[$0] } ?? name
                guard let other = takers.updateValue(name, forKey: final) else { continue }
                guard let key = rule ?? request.rule(for: other, rules), reported.insert(key).inserted else { continue }
                diagnostics.error(
                    section.position(of: "rename_params", member: key),
                    "\"rename_params\" gives \(quoted(final)) to two parameters of one request: \(quoted(other)) and "
                        + quoted(name))
            }
        }
    }

    private mutating func checkRename(
        _ key: String, onto name: String, _ section: Section<Snapshot.Provider>, _ requests: [RequestNames]
    ) {
        if RequestNames.fixed.contains(name) {
            diagnostics.error(
                section.position(of: "rename_params", member: key),
                "\"rename_params\" must not call \(quoted(key)) \(quoted(name)), which is another parameter of a consent"
            )
        }
        let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
        let prefix = parts.count == 2 ? parts[0] : nil
        let known = Set(requests.filter { $0.isMeant(by: prefix) }.flatMap(\.standard))
        guard let own = parts.last, !known.contains(own) else { return }
        let names = known.sorted()
        let hint = Suggestion.hint(for: own, among: names)
        diagnostics.error(
            section.keyPosition(of: "rename_params", member: key),
            "\"rename_params\" has \(quoted(key)), which is no standard parameter of such a request\(hint)")
    }
}

/// The parameters of one kind of request, as far as they can be renamed.
private struct RequestNames {
    /// What rules in front of the dot call it: `authorize`, `code`, `refresh`, `token`.
    let place: String
    let standard: Set<String>
    /// The operator's own, which no rule is needed for.
    let further: Set<String>

    static let fixed: Set = ["state", "nonce", "code_challenge", "code_challenge_method"]
    private static let client = ["client_id", "client_secret", "client_assertion", "client_assertion_type"]

    var names: Set<String> { standard.union(further) }

    private init(_ place: String, _ names: [String], _ further: [Snapshot.NamedValue]) {
        self.place = place
        standard = Set(names + Self.client)
        self.further = Set(further.map(\.name))
    }

    static func all(of provider: Snapshot.Provider) -> [Self] {
        let (consent, token) = (provider.authorizeParameters, provider.tokenParameters)
        return [
            Self(
                "authorize", ["response_type", "redirect_uri", provider.scopeParameter, "resource", "dpop_jkt"], consent
            ),
            Self("authorize", ["scope"], consent),
            Self("code", ["grant_type", "code", "redirect_uri", "code_verifier", "resource"], token),
            Self("refresh", ["grant_type", "refresh_token", "scope", "resource"], token + provider.refreshParameters),
            Self("token", ["grant_type", "scope"], token),
            Self("token", ["grant_type", "assertion", "scope"], token),
            Self(
                "token",
                [
                    "grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
                    "requested_token_type", "audience", "resource", "scope",
                ], token),
            Self("token", ["grant_type", "device_code"], token),
            Self("token", ["token", "token_type_hint"], provider.revocationParameters),
        ]
    }

    func isMeant(by prefix: String?) -> Bool {
        guard let prefix else { return true }
        return prefix == place || prefix == "token" && place != "authorize"
    }

    /// The rule that is in force for a parameter: the narrowest.
    func rule(for name: String, _ rules: [String: String]) -> String? {
        let narrow = place == "authorize" ? ["authorize"] : place == "token" ? ["token"] : [place, "token"]
        return (narrow.map { "\($0).\(name)" } + [name]).first { rules[$0] != nil }
    }
}
