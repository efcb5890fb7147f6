/// What a consent must capture from its callback, and where its code may then go. It is remembered with the state, so
/// that a reload in between changes nothing, and a callback that somebody has edited can select listed hosts only.
package struct PendingCapture: Sendable, Equatable {
    /// Where the code goes; nil: to the token endpoint that is remembered beside this, whatever is captured.
    var tokenEndpoint: URLTemplate?
    var captures: [Capture]
    var allowedHosts: [HostPattern]
    /// The provider's own, and the grant's.
    var variables: TemplateVariables
    var allowPlaintextOnLoopback: Bool

    /// nil: the callback gives nothing that is needed, and the grant has no variables.
    init?(_ settings: ProviderSettings, variables grant: [String: String]) {
        guard !settings.callbackCaptures.isEmpty || !grant.isEmpty else { return nil }
        let names = Set(settings.callbackCaptures.map(\.name))
        let isSelected = settings.tokenEndpointTemplate?.names.contains(where: names.contains) ?? false
        tokenEndpoint = isSelected ? settings.tokenEndpointTemplate : nil
        // The code and the state are secrets: no configuration may keep them in a record that is shown.
        let secret = Set(["code", "state", settings.codeParameter])
        captures = settings.callbackCaptures.filter { !secret.contains($0.source) }
        allowedHosts = isSelected || captures.contains { $0.kind == .host } ? settings.allowedHosts : []
        variables = TemplateVariables(provider: isSelected ? settings.variables : [:], grant: grant)
        allowPlaintextOnLoopback = settings.allowPlaintextOnLoopback
    }

    /// What a callback gives and where its code goes: never a host that is not listed.
    func target(of callback: ConsentCallback, else endpoint: ProviderURL) -> Result<Target, CallbackRejection> {
        let sources = captures.filter { variables.grant[$0.name] == nil }.map(\.source)
        if sources.contains(where: callback.isRepeated) { return .failure(.repeatedParameter) }
        let found = captures.values(given: variables.grant, allowing: allowedHosts) { callback.value($0) }
        guard found.problem == nil else { return .failure(.captureRefused) }
        guard let tokenEndpoint else { return .success(Target(endpoint: endpoint, captured: found.values)) }
        var all = variables
        all.grant.merge(found.values) { _, captured in captured }
        guard let url = try? tokenEndpoint.expanded(all, allowing: allowedHosts),
            url.isAllowed(plaintextOnLoopback: allowPlaintextOnLoopback)
        else { return .failure(.captureRefused) }
        return .success(Target(endpoint: url, captured: found.values))
    }

    struct Target: Sendable, Equatable {
        var endpoint: ProviderURL
        var captured: [String: String]
    }
}

extension PendingCapture {
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "captures": .object(.init(captures.map { ($0.name, .string($0.text)) }) { first, _ in first }),
            "allowed_hosts": .array(allowedHosts.map { .string($0.description) }),
            "provider": .object(variables.provider.mapValues { .string($0) }),
            "grant": .object(variables.grant.mapValues { .string($0) }),
            "plaintext": .bool(allowPlaintextOnLoopback),
        ]
        members["token_endpoint"] = tokenEndpoint.map { .string($0.description) }
        return .object(members)
    }

    /// nil for what `json` does not make.
    init?(_ json: JSONValue) {
        guard case .object(let texts)? = json["captures"], let hosts = json["allowed_hosts"]?.list else { return nil }
        guard let provider = Self.strings(json["provider"]), let grant = Self.strings(json["grant"]) else { return nil }
        var captures: [Capture] = []
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            guard let capture = text.text.flatMap({ Capture(name: name, text: $0) }) else { return nil }
            captures.append(capture)
        }
        let patterns = hosts.compactMap { $0.text.flatMap { HostPattern($0) } }
        guard patterns.count == hosts.count else { return nil }
        tokenEndpoint = json["token_endpoint"]?.text.flatMap { URLTemplate($0) }
        guard tokenEndpoint != nil || json["token_endpoint"] == nil else { return nil }
        self.captures = captures
        allowedHosts = patterns
        variables = TemplateVariables(provider: provider, grant: grant)
        allowPlaintextOnLoopback = json["plaintext"]?.flag ?? false
    }

    private static func strings(_ json: JSONValue?) -> [String: String]? {
        guard case .object(let members)? = json else { return nil }
        let texts = members.compactMapValues(\.text)
        return texts.count == members.count ? texts : nil
    }
}

extension ConsentCallback {
    /// Where the code of this callback goes, and what else it gave.
    func target(for pending: PendingConsent) -> Result<PendingCapture.Target, CallbackRejection> {
        guard let capture = pending.capture else {
            return .success(PendingCapture.Target(endpoint: pending.tokenEndpoint, captured: [:]))
        }
        return capture.target(of: self, else: pending.tokenEndpoint)
    }
}
