// Grants and templates of grants.

extension Checker {
    mutating func checkedGrant(_ section: Section<GrantDraft>) -> Snapshot.Grant {
        checkSource(of: section)
        let draft = section.value
        let provider = self.draft.providers.first { $0.value.name == draft.provider }?.value
        var grant = Snapshot.Grant(name: draft.name)
        grant.credentialHeader = header(of: draft, provider: provider)
        grant.requireRefreshToken = draft.requireRefreshToken
        grant.expectedAccount = draft.expectedAccount
        grant.variables = draft.variables
        if let path = draft.tokenFile { grant.source = .tokenFile(path: path) }
        if let name = draft.provider {
            grant.source = .provider(name, scopes: draft.scopes, requiredScopes: draft.requiredScopes)
            grant.acquisition = checkedAcquisition(section, provider: provider)
        }
        checkDetails(of: section, provider: provider)
        return grant
    }

    mutating func checkedTemplate(_ section: Section<GrantDraft>) -> Snapshot.GrantTemplate {
        let grant = checkedGrant(section)
        let provider = draft.providers.first { $0.value.name == section.value.provider }?.value
        let needed = provider?.requiredVariables.filter { variable in
            grant.variables[variable.name] == nil && provider?.variables[variable.name] == nil
                && provider?.capturedNames.contains(variable.name) == false
        }
        return Snapshot.GrantTemplate(
            name: grant.name, grant: grant, maxGrants: section.value.maxGrants, neededVariables: needed ?? [])
    }

    private mutating func checkDetails(of section: Section<GrantDraft>, provider: Snapshot.Provider?) {
        let separator = provider?.scopeSeparator ?? " "
        checkScopes(section.value.scopes, separator: separator, at: section.position(of: "scopes"))
        guard let provider else { return }
        if section.value.scopes.contains("openid"), provider.checkIDToken, provider.issuer == nil,
            provider.jwksURL == nil,
            !section.value.kind.isUnattended
        {
            diagnostics.error(
                section.position(of: "scopes"),
                "\"openid\" gives an id_token, whose check needs \"issuer\" or \"jwks_url\" in "
                    + "[provider.\(provider.name)], or \"check_id_token\" = false there")
        }
        guard section.has("expected_account"), !provider.tellsAccount(scopes: section.value.scopes) else { return }
        diagnostics.error(
            section.position(of: "expected_account"),
            "\"expected_account\" needs \"account\" in the \"paths\" of [provider.\(provider.name)]")
    }

    private func header(of draft: GrantDraft, provider: Snapshot.Provider?) -> Snapshot.CredentialHeader {
        var header = provider?.credentialHeader ?? Snapshot.CredentialHeader()
        if let name = draft.header {
            header = Snapshot.CredentialHeader(name: name, scheme: isAuthorization(name) ? "Bearer" : "")
        }
        if let scheme = draft.scheme { header.scheme = scheme }
        return header
    }

    private mutating func checkSource(of section: Section<GrantDraft>) {
        if section.has("provider"), let name = section.value.provider {
            checkReference(
                name, to: .provider, among: draft.providers.map(\.value.name), at: section.position(of: "provider"))
        }
        switch (section.mentions("provider"), section.mentions("token_file")) {
        case (false, false):
            let other = section.isTemplate ? "" : " or \"token_file\""
            diagnostics.error(section.position, "\(section.title) needs \"provider\"\(other)")
        case (true, true):
            diagnostics.error(
                section.position(of: "token_file"), "\"token_file\" and \"provider\" exclude each other")
        case (false, true):
            let own = ["provider", "token_file", "header", "scheme"]
            for name in grantDirectives.list.map(\.name) where section.has(name) && !own.contains(name) {
                diagnostics.error(section.position(of: name), "\"\(name)\" needs a provider; a token_file has none")
            }
            checkTokenFile(section)
        case (true, false):
            checkRequiredScopes(section)
            checkKind(of: section)
        }
    }

    /// The other program may not have written it yet.
    private mutating func checkTokenFile(_ section: Section<GrantDraft>) {
        guard let path = section.value.tokenFile else { return }
        checkToken(path, at: section.position(of: "token_file"))
    }

    private mutating func checkToken(_ path: String, at position: Position) {
        guard case .failure(let error) = SecretLoader(environment: environment).loadToken(path: path) else { return }
        switch error.problem {
        case .notFound: diagnostics.warning(position, error.description)
        case .noCredentialsDirectory, .other: diagnostics.error(position, error.description)
        }
    }

    private mutating func checkRequiredScopes(_ section: Section<GrantDraft>) {
        guard !section.faulty.contains("scopes") else { return }
        for scope in section.value.requiredScopes where !section.value.scopes.contains(scope) {
            diagnostics.error(
                section.position(of: "required_scopes"), "\(quoted(scope)) is required, but not one of \"scopes\"")
        }
    }

    /// Directives that only some ways of having tokens know.
    private mutating func checkKind(of section: Section<GrantDraft>) {
        guard !section.faulty.contains("type") else { return }
        let kind = section.value.kind
        for (names, kinds) in GrantDraft.directivesOfKinds where !kinds.contains(kind) {
            for name in names where section.has(name) {
                let others = kinds.map { "\"\($0.rawValue)\"" }.joined(separator: " or ")
                diagnostics.error(
                    section.position(of: name),
                    "\"\(name)\" is for type \(others); this grant's type is \"\(kind.rawValue)\"")
            }
        }
    }
}

// MARK: - How tokens are had

extension Checker {
    private mutating func checkedAcquisition(
        _ section: Section<GrantDraft>, provider: Snapshot.Provider?
    ) -> Snapshot.Acquisition {
        switch section.value.kind {
        case .authorizationCode: return .authorizationCode
        case .device: return .device
        case .clientCredentials:
            if let provider, provider.clientAuthentication == .none, !section.faulty.contains("provider") {
                diagnostics.error(
                    section.position(of: "type"),
                    "type \"client_credentials\" needs a client that authenticates: give [provider.\(provider.name)] "
                        + "a client secret, a key or a certificate")
            }
            return .clientCredentials
        case .jwtBearer:
            if let provider, provider.clientKeyFiles.isEmpty, provider.serviceAccountFile == nil,
                !mentionsKey(provider.name)
            {
                diagnostics.error(
                    section.position(of: "type"),
                    "type \"jwt_bearer\" needs \"client_key_file\" or \"service_account_file\" in "
                        + "[provider.\(provider.name)]")
            }
            return .jwtBearer(section.value.assertion)
        case .tokenExchange: return .tokenExchange(checkedExchange(section))
        }
    }

    private func mentionsKey(_ provider: String) -> Bool {
        let section = draft.providers.first { $0.value.name == provider }
        return section?.mentions("client_key_file") == true || section?.mentions("service_account_file") == true
    }

    private mutating func checkedExchange(_ section: Section<GrantDraft>) -> Snapshot.Exchange {
        var exchange = section.value.exchange
        if !section.mentions("subject_token_file"), !section.mentions("subject_token_grant") {
            diagnostics.error(
                section.position(of: "type"),
                "type \"token_exchange\" needs \"subject_token_file\" or \"subject_token_grant\"")
        }
        let draft = section.value
        exchange.subject =
            source(of: section, "subject_token", draft.subjectTokenFile, draft.subjectTokenGrant) ?? exchange.subject
        exchange.actor = source(of: section, "actor_token", draft.actorTokenFile, draft.actorTokenGrant)
        if section.has("actor_token_type"), exchange.actor == nil {
            diagnostics.error(
                section.position(of: "actor_token_type"), "\"actor_token_type\" has no meaning without an actor's token"
            )
        }
        return exchange
    }

    private mutating func source(
        of section: Section<GrantDraft>, _ name: String, _ file: String?, _ grant: String?
    ) -> Snapshot.Exchange.Source? {
        let (fileName, grantName) = (name + "_file", name + "_grant")
        if section.mentions(fileName), section.mentions(grantName) {
            diagnostics.error(
                section.position(of: grantName), "\"\(grantName)\" and \"\(fileName)\" exclude each other")
        }
        if let file {
            checkToken(file, at: section.position(of: fileName))
            return .file(path: file)
        }
        guard let grant else { return nil }
        let position = section.position(of: grantName)
        checkReference(grant, to: .grant, among: draft.grants.map(\.value.name), at: position)
        if !section.isTemplate, leads(from: grant, to: section.value.name) {
            diagnostics.error(
                position, "\"\(grantName)\" leads back to \(section.title): its token would be exchanged for itself")
        }
        return .grant(grant)
    }

    /// Whether a grant's token is, directly or by further exchanges, had from another grant's.
    private func leads(from start: String, to goal: String) -> Bool {
        var seen: Set<String> = []
        var next = [start]
        while let name = next.popLast() {
            if name == goal { return true }
            guard seen.insert(name).inserted, let grant = draft.grants.first(where: { $0.value.name == name })?.value
            else { continue }
            next += [grant.subjectTokenGrant, grant.actorTokenGrant].compactMap { $0 }
        }
        return false
    }
}

extension GrantDraft.Kind {
    var isUnattended: Bool {
        switch self {
        case .authorizationCode, .device: false
        case .clientCredentials, .jwtBearer, .tokenExchange: true
        }
    }
}

extension GrantDraft {
    fileprivate static let directivesOfKinds: [(names: [String], kinds: [Kind])] = [
        (["require_refresh_token", "expected_account"], [.authorizationCode, .device]),
        (
            ["subject", "assertion_issuer", "assertion_audience", "assertion_lifetime", "assertion_claims"],
            [.jwtBearer]
        ),
        (
            [
                "subject_token_file", "subject_token_grant", "subject_token_type", "actor_token_file",
                "actor_token_grant", "actor_token_type", "requested_token_type", "audience", "accept_untyped_token",
            ], [.tokenExchange]
        ),
    ]
}

extension Snapshot.Provider {
    /// Whether something tells which account consented.
    fileprivate func tellsAccount(scopes: [String]) -> Bool {
        replyPaths.account != nil || lookups.contains { $0.account != nil }
            || (scopes.contains("openid") && checkIDToken)
    }
}
