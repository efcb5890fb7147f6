// How we prove to a provider who we are.

extension Checker {
    /// Settles `auto` where no metadata will be fetched.
    mutating func checkedAuthentication(_ section: Section<Snapshot.Provider>) -> Snapshot.ClientAuthentication {
        let chosen = section.value.clientAuthentication
        guard chosen != .automatic else { return automaticAuthentication(section) }
        let hasSecret = Self.secretNames.contains { section.mentions($0) }
        let position = section.position(of: "client_auth")
        func needs(_ name: String) {
            diagnostics.error(position, "this \"client_auth\" needs \"\(name)\"")
        }
        switch chosen {
        case .automatic: break
        case .clientSecretBasic, .clientSecretPost, .clientSecretJWT, .bearerSecret, .secretAsUser:
            if !hasSecret {
                diagnostics.error(position, "this \"client_auth\" needs \"client_secret_file\" or another secret")
            }
            return chosen
        case .privateKeyJWT:
            if !section.mentions("client_key_file"), !section.mentions("service_account_file") {
                needs("client_key_file")
            }
        case .tlsClientAuth, .selfSignedTLS:
            if !section.mentions("client_certificate_file") { needs("client_certificate_file") }
        case .none: break
        }
        // Some providers know assertions and certificates at their token endpoint only.
        let revokes = section.value.revocationAuthentication?.usesSecret ?? false
        if hasSecret, !revokes {
            diagnostics.error(
                position, "\"client_auth\" is \(quoted(chosen.word)), and so the client secret would not be used")
        }
        return chosen
    }

    private static let secretNames = ["client_secret_file", "client_secret_env", "client_secret_credential"]

    private func automaticAuthentication(_ section: Section<Snapshot.Provider>) -> Snapshot.ClientAuthentication {
        if Self.secretNames.contains(where: { section.mentions($0) }) {
            return section.value.needsDiscovery ? .automatic : .clientSecretBasic
        }
        // A key may be there only for the assertions of JWT bearer grants, which need no further authentication.
        let signsGrants = grantSections(of: section.value.name).contains { $0.value.kind == .jwtBearer }
        if section.mentions("client_key_file"), !signsGrants { return .privateKeyJWT }
        return section.mentions("client_certificate_file") ? .tlsClientAuth : .none
    }

    /// Keys and certificates that are there, can be read and belong together.
    mutating func checkKeys(_ section: Section<Snapshot.Provider>) {
        let provider = section.value
        checkKeyFiles(section)
        if section.has("client_key_id"), !section.mentions("client_key_file") {
            diagnostics.error(
                section.position(of: "client_key_id"), "\"client_key_id\" needs \"client_key_file\"")
        } else if section.has("client_key_id"), section.has("client_key_file"),
            provider.clientKeyIDs.count != provider.clientKeyFiles.count
        {
            diagnostics.error(
                section.position(of: "client_key_id"),
                "\"client_key_id\" must list as many as \"client_key_file\" (\(provider.clientKeyFiles.count)), not "
                    + "\(provider.clientKeyIDs.count), in the same order")
        }
        let names = ("client_certificate_file", "client_certificate_key_file")
        for (name, other) in [names, (names.1, names.0)] where section.has(name) && !section.mentions(other) {
            diagnostics.error(section.position(of: name), "\"\(name)\" needs \"\(other)\"")
        }
        if let certificate = provider.clientCertificateFile, let key = provider.clientCertificateKeyFile {
            checkIdentity(
                Placed(value: certificate, position: section.position(of: names.0)),
                Placed(value: key, position: section.position(of: names.1)), whoRefuses: "the provider")
        }
    }

    private mutating func checkKeyFiles(_ section: Section<Snapshot.Provider>) {
        let loader = ClientKeyLoader(environment: environment)
        let position = section.position(of: "client_key_file")
        for path in section.value.clientKeyFiles {
            if case .failure(let error) = loader.key(file: path, algorithm: section.value.clientKeyAlgorithm) {
                diagnostics.error(position, error.description)
            }
        }
        guard let path = section.value.serviceAccountFile else { return }
        if section.mentions("client_key_file") {
            diagnostics.error(position, "\"client_key_file\" and \"service_account_file\" exclude each other")
        }
        if case .failure(let error) = loader.serviceAccount(file: path) {
            diagnostics.error(section.position(of: "service_account_file"), error.description)
        }
    }
}

extension Snapshot.ClientAuthentication {
    /// As in gateway.conf.
    var word: String {
        switch self {
        case .automatic: "auto"
        case .clientSecretBasic: "client_secret_basic"
        case .clientSecretPost: "client_secret_post"
        case .clientSecretJWT: "client_secret_jwt"
        case .privateKeyJWT: "private_key_jwt"
        case .tlsClientAuth: "tls_client_auth"
        case .selfSignedTLS: "self_signed_tls_client_auth"
        case .bearerSecret: "bearer_secret"
        case .secretAsUser: "secret_as_user"
        case .none: "none"
        }
    }
}
