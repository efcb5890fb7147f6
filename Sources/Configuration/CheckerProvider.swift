// Providers.

extension Checker {
    mutating func checkProvider(at index: Int) {
        var section = draft.providers[index]
        checkClientID(section)
        checkEndpoints(section)
        checkSecrets(section.value.clientSecrets, "client_secret", in: section)
        checkKeys(section)
        section.value = resolvedVariables(of: section)
        draft.providers[index].value = section.value
        draft.providers[index].value.clientAuthentication = checkedAuthentication(section)
        if !section.mentions("scheme"), !isAuthorization(section.value.credentialHeader.name) {
            draft.providers[index].value.credentialHeader.scheme = ""
        }
        checkHeaders(section)
        checkRenames(section)
        checkCertificates(section.value.caFile, at: section.position(of: "ca_file"))
        if case .list(let scopes) = section.value.refreshScope {
            checkScopes(scopes, separator: section.value.scopeSeparator, at: section.position(of: "refresh_scope"))
        }
    }

    /// What goes upstream beside the token, and before it.
    private mutating func checkHeaders(_ section: Section<Snapshot.Provider>) {
        let provider = section.value
        let own = grantSections(of: provider.name).compactMap { $0.has("header") ? $0.value.header : nil }
        let names = Set(([provider.credentialHeader.name] + own).map { $0.lowercased() })
        for field in provider.extraHeaders where names.contains(field.name.lowercased()) {
            diagnostics.error(
                section.keyPosition(of: "extra_headers", member: field.name),
                "\"extra_headers\" must not set \(quoted(field.name)), which carries the token")
        }
        guard provider.dpop else { return }
        if section.mentions("scheme"), provider.credentialHeader.scheme.lowercased() != "dpop" {
            diagnostics.warning(section.position(of: "scheme"), Self.schemeIsFixed)
        }
        for grant in grantSections(of: provider.name) {
            guard grant.has("scheme"), grant.value.scheme?.lowercased() != "dpop" else { continue }
            diagnostics.warning(grant.position(of: "scheme"), Self.schemeIsFixed)
        }
        if section.has("token_types"), let type = provider.tokenTypes.first(where: { $0.lowercased() != "dpop" }) {
            diagnostics.warning(
                section.position(of: "token_types"),
                "with dpop = \"on\" only tokens of the type DPoP are taken: \(quoted(type)) will be refused")
        }
    }

    private static let schemeIsFixed =
        "\"scheme\" has no effect on tokens that are bound by dpop = \"on\": they are sent as DPoP"

    private mutating func checkEndpoints(_ section: Section<Snapshot.Provider>) {
        checkEndpointsAreKnown(section)
        for name in ["discovery", "require_iss"] where section.has(name) && !section.mentions("issuer") {
            diagnostics.error(section.position(of: name), "\"\(name)\" has no meaning without \"issuer\"")
        }
        let provider = section.value
        if provider.pushedRequests == .required, !section.mentions("issuer"), !section.mentions("pushed_request_url") {
            diagnostics.error(
                section.position(of: "pushed_requests"),
                "\"pushed_requests\" needs \"pushed_request_url\", or \"issuer\" to find it")
        }
        for (name, template) in provider.templates {
            guard let template, template.sample.isPlaintext else { continue }
            checkPlaintext(template.sample, name, at: section.position(of: name), isAllowed: provider.allowPlaintext)
        }
        if let template = provider.tokenURLTemplate, template.sample.query != nil {
            diagnostics.error(
                section.position(of: "token_url"), "\"token_url\" must not have a query; use token_params")
        }
    }

    /// Each endpoint that a grant needs is given, or can be discovered.
    private mutating func checkEndpointsAreKnown(_ section: Section<Snapshot.Provider>) {
        guard !section.mentions("issuer"), !section.faulty.contains("profile") else { return }
        let grants = grantSections(of: section.value.name)
        guard !grants.contains(where: { $0.faulty.contains("type") }) else { return }
        let kinds = Set(grants.map(\.value.kind))
        let hasToken = section.mentions("token_url") || section.mentions("service_account_file")
        if kinds.isEmpty || kinds.contains(.authorizationCode) {
            if !(section.mentions("authorize_url") && hasToken) {
                diagnostics.error(
                    section.position,
                    "\(section.title) needs \"issuer\", or both \"authorize_url\" and \"token_url\"")
                return
            }
        } else if !hasToken {
            diagnostics.error(section.position, "\(section.title) needs \"issuer\" or \"token_url\"")
        }
        if kinds.contains(.device), !section.mentions("device_url") {
            diagnostics.error(
                section.position, "\(section.title) needs \"issuer\" or \"device_url\" for a grant of type \"device\"")
        }
    }

    /// The grants and templates of a provider.
    func grantSections(of provider: String) -> [Section<GrantDraft>] {
        (draft.grants + draft.grantTemplates).filter { $0.value.provider == provider }
    }

    private mutating func checkPlaintext(
        _ url: Snapshot.URL, _ name: String, at position: Position, isAllowed: Bool
    ) {
        if !url.isLoopback {
            diagnostics.error(position, "\"\(name)\" must be https://: only loopback addresses may do without")
        } else if !isAllowed {
            diagnostics.error(position, "\"\(name)\" must be https://, or the provider say allow_plaintext = true")
        }
    }

    private mutating func checkClientID(_ section: Section<Snapshot.Provider>) {
        guard !section.mentions("client_id"), !section.faulty.contains("profile"),
            !section.mentions("service_account_file")
        else { return }
        diagnostics.error(section.position, "\(section.title) needs \"client_id\"")
    }

    func isAuthorization(_ name: String) -> Bool { name.lowercased() == "authorization" }

    mutating func checkScopes(_ scopes: [String], separator: String, at position: Position) {
        for scope in scopes where scope.contains(separator) {
            diagnostics.error(position, "\(quoted(scope)) is not one scope: it holds the provider's scope_separator")
        }
    }
}

extension Snapshot.Provider {
    /// The URLs as the file has them, with the directives' names.
    fileprivate var templates: [(name: String, Snapshot.URLTemplate?)] {
        [
            ("issuer", issuer.flatMap { TemplateText.url($0) }), ("authorize_url", authorizeURLTemplate),
            ("token_url", tokenURLTemplate), ("refresh_url", refreshURLTemplate),
            ("revocation_url", revocationURLTemplate), ("revocation", revocation?.url),
            ("device_url", deviceURLTemplate),
            ("pushed_request_url", pushedRequestURLTemplate), ("jwks_url", jwksURLTemplate),
        ] + lookups.map { ("lookup", $0.url) }
    }
}
