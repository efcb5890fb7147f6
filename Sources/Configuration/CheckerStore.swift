// The store, and what grants need of the rest of the file.

extension Checker {
    /// The store with what its database's directives come to.
    mutating func checkedStore() -> Snapshot.Store? {
        guard let section = draft.store else { return nil }
        var store = section.value.store
        checkSecrets(store.keys, "key", in: section, isKey: true)
        if !["key_file", "key_env", "key_credential"].contains(where: { section.mentions($0) }) {
            diagnostics.error(
                section.position, "[store] needs its key: one of \"key_file\", \"key_env\" and \"key_credential\"")
        }
        switch (section.mentions("path"), section.mentions("url")) {
        case (false, false): diagnostics.error(section.position, "[store] needs \"path\", or \"url\" for replicas")
        case (true, true):
            diagnostics.error(section.position(of: "url"), "\"url\" and \"path\" exclude each other")
        case (true, false):
            if section.has("path") { checkFolder(of: store.path, "path", at: section.position(of: "path")) }
            for name in ["password_file", "password_env", "password_credential"] + Self.databaseOnly
            where section.has(name) {
                diagnostics.error(section.position(of: name), "\"\(name)\" has no meaning without \"url\"")
            }
        case (false, true): store.postgreSQL = checkedDatabase(section)
        }
        return store
    }

    private static let databaseOnly = ["ca_file", "connect_timeout", "statement_timeout", "instance"]

    private mutating func checkedDatabase(_ section: Section<StoreDraft>) -> Snapshot.PostgreSQL? {
        checkSecrets(section.value.passwords, "password", in: section)
        checkCertificates(section.value.caFile, at: section.position(of: "ca_file"))
        guard var database = section.value.database else { return nil }
        database.caFile = section.value.caFile
        database.password = section.value.passwords.first
        database.connectTimeout = section.value.connectTimeout
        database.statementTimeout = section.value.statementTimeout
        if section.has("ca_file") {
            let mode = database.tls ?? .verifyFull
            database.tls = mode
            if mode == .disable || mode == .require {
                diagnostics.error(
                    section.position(of: "ca_file"),
                    "\"ca_file\" has no meaning with sslmode \"\(mode.rawValue)\", which checks no certificate")
            }
        }
        switch database.tls {
        case .disable where !database.isLocal:
            diagnostics.warning(
                section.position(of: "url"),
                "sslmode \"disable\": whoever is on the way to the database can read and change what is stored")
        case .require:
            diagnostics.warning(
                section.position(of: "url"),
                "sslmode \"require\" does not check who answers: use \"verify-full\", with \"ca_file\" if need be")
        case .disable, .verifyCA, .verifyFull, nil: break
        }
        return database
    }

    /// A grant from a provider needs a place for its tokens; a person's consent needs a callback.
    mutating func checkNeedsOfProviderGrants() {
        let grants = (draft.grants + draft.grantTemplates).filter { $0.has("provider") }
        guard let first = grants.first else { return }
        if draft.store == nil {
            diagnostics.error(
                first.position(of: "provider"), "a grant with a provider needs [store], where its tokens are kept")
        }
        checkConsole(for: grants)
    }

    private mutating func checkConsole(for grants: [Section<GrantDraft>]) {
        let consented = grants.first { $0.value.kind == .authorizationCode && !$0.faulty.contains("type") }
        guard let console = draft.console else {
            if let consented {
                diagnostics.error(
                    consented.position(of: "provider"),
                    "a grant with a provider needs [console], which receives the callback")
            } else if let device = grants.first(where: { $0.value.kind == .device }) {
                diagnostics.error(
                    device.position(of: "type"), "type \"device\" needs [console], through which it is started")
            } else if let template = draft.grantTemplates.first {
                diagnostics.error(
                    template.position, "\(template.title) needs [console], through which its grants are made")
            }
            return
        }
        guard let consented, !console.mentions("public_url") else { return }
        diagnostics.error(
            console.position,
            "[console] needs \"public_url\", because \(consented.title) has a provider: "
                + "the redirect URI is public_url + /oauth/callback")
    }
}
