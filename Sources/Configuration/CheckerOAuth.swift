// Providers and grants.

extension Checker {
    mutating func checkProvider(at index: Int) {
        let section = draft.providers[index]
        checkEndpoints(section)
        checkSecrets(section.value.clientSecrets, "client_secret", in: section)
        draft.providers[index].value.clientAuthentication = checkedAuthentication(section)
        if !section.mentions("scheme"), !isAuthorization(section.value.credentialHeader.name) {
            draft.providers[index].value.credentialHeader.scheme = ""
        }
        checkCertificates(section.value.caFile, at: section.position(of: "ca_file"))
        if case .list(let scopes) = section.value.refreshScope {
            checkScopes(scopes, separator: section.value.scopeSeparator, at: section.position(of: "refresh_scope"))
        }
    }

    private mutating func checkEndpoints(_ section: Section<Snapshot.Provider>) {
        let hasEndpoints = section.mentions("authorize_url") && section.mentions("token_url")
        if !section.mentions("issuer"), !hasEndpoints {
            diagnostics.error(
                section.position, "\(section.title) needs \"issuer\", or both \"authorize_url\" and \"token_url\"")
        }
        for name in ["discovery", "require_iss"] where section.has(name) && !section.mentions("issuer") {
            diagnostics.error(section.position(of: name), "\"\(name)\" has no meaning without \"issuer\"")
        }
        let provider = section.value
        let urls = [
            ("issuer", provider.issuer.flatMap { URLText.url($0) }), ("authorize_url", provider.authorizeURL),
            ("token_url", provider.tokenURL), ("refresh_url", provider.refreshURL),
            ("revocation_url", provider.revocationURL),
        ]
        for case (let name, let url?) in urls where url.isPlaintext {
            checkPlaintext(url, name, at: section.position(of: name), isAllowed: provider.allowPlaintext)
        }
        if let url = provider.tokenURL, url.query != nil {
            diagnostics.error(
                section.position(of: "token_url"), "\"token_url\" must not have a query; use token_params")
        }
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

    /// Settles `auto` where no metadata will be fetched.
    private mutating func checkedAuthentication(
        _ section: Section<Snapshot.Provider>
    ) -> Snapshot.ClientAuthentication {
        let hasSecret = ["client_secret_file", "client_secret_env", "client_secret_credential"]
            .contains { section.mentions($0) }
        let position = section.position(of: "client_auth")
        switch section.value.clientAuthentication {
        case .automatic where !hasSecret: return .none
        case .automatic: return section.value.needsDiscovery ? .automatic : .clientSecretBasic
        case .clientSecretBasic, .clientSecretPost:
            if !hasSecret {
                diagnostics.error(position, "this \"client_auth\" needs \"client_secret_file\" or another secret")
            }
        case .none:
            if hasSecret {
                diagnostics.error(position, "\"client_auth\" is \"none\", and so the client secret would not be used")
            }
        }
        return section.value.clientAuthentication
    }

    private func isAuthorization(_ name: String) -> Bool { name.lowercased() == "authorization" }

    private mutating func checkScopes(_ scopes: [String], separator: String, at position: Position) {
        for scope in scopes where scope.contains(separator) {
            diagnostics.error(position, "\(quoted(scope)) is not one scope: it holds the provider's scope_separator")
        }
    }
}

extension Checker {
    mutating func checkedGrant(_ section: Section<GrantDraft>) -> Snapshot.Grant {
        checkSource(of: section)
        let draft = section.value
        let provider = self.draft.providers.first { $0.value.name == draft.provider }?.value
        var grant = Snapshot.Grant(name: draft.name)
        grant.credentialHeader = header(of: draft, provider: provider)
        grant.requireRefreshToken = draft.requireRefreshToken
        grant.expectedAccount = draft.expectedAccount
        if let path = draft.tokenFile { grant.source = .tokenFile(path: path) }
        if let name = draft.provider {
            grant.source = .provider(name, scopes: draft.scopes, requiredScopes: draft.requiredScopes)
        }
        checkDetails(of: section, provider: provider)
        return grant
    }

    private mutating func checkDetails(of section: Section<GrantDraft>, provider: Snapshot.Provider?) {
        let separator = provider?.scopeSeparator ?? " "
        checkScopes(section.value.scopes, separator: separator, at: section.position(of: "scopes"))
        guard section.has("expected_account"), let provider, provider.replyPaths.account == nil else { return }
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
            diagnostics.error(section.position, "\(section.title) needs \"provider\" or \"token_file\"")
        case (true, true):
            diagnostics.error(
                section.position(of: "token_file"), "\"token_file\" and \"provider\" exclude each other")
        case (false, true):
            for name in ["scopes", "required_scopes", "require_refresh_token", "expected_account"]
            where section.has(name) {
                diagnostics.error(section.position(of: name), "\"\(name)\" needs a provider; a token_file has none")
            }
            checkTokenFile(section)
        case (true, false): checkRequiredScopes(section)
        }
    }

    /// The other program may not have written it yet.
    private mutating func checkTokenFile(_ section: Section<GrantDraft>) {
        guard let path = section.value.tokenFile,
            case .failure(let error) = SecretLoader(environment: environment).loadToken(path: path)
        else { return }
        let position = section.position(of: "token_file")
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
}
