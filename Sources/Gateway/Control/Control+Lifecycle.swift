import Configuration
import Console
import Logging
import OAuth
import OpenSSLKit
import Proxy
import Reactor
import Telemetry

/// Start and reload.
extension Control {
    /// Everything about grants and the console that a snapshot says, read and checked; made before anything changes.
    struct Prepared {
        var snapshot: Snapshot
        var providers: [String: (ProviderSettings, TLSClientConfiguration)]
        var console: ConsoleSettings?
        /// Of listeners and upstreams.
        var tls: TLSMaterial
        /// The files of client secrets as they were before they were read.
        var secretStamps: [String: FileStamp?]
    }

    /// Reads the secrets and checks what only the file system can tell.
    ///
    /// - Parameter current: certificates that are not to be read anew.
    /// - Returns: what is wrong, one sentence each, or everything that is needed.
    static func prepare(
        _ snapshot: Snapshot, environment: ConfigurationEnvironment, version: String,
        keeping current: TLSMaterial? = nil
    ) -> Result<Prepared, StartupProblems> {
        var problems: [String] = []
        let stamps = secretStamps(of: snapshot)
        let loader = SecretLoader(environment: environment)
        var providers: [String: (ProviderSettings, TLSClientConfiguration)] = [:]
        for provider in snapshot.providers {
            providers[provider.name] = prepare(provider, environment: environment, &problems)
        }
        for upstream in snapshot.upstreams where !upstream.url.isPlaintext {
            let tls = TLSClientConfiguration(caFile: upstream.caFile, alpn: ["http/1.1"])
            checkTLS(tls, "upstream.\(upstream.name)", &problems)
        }
        let material = current ?? TLSMaterial(snapshot, environment: environment, &problems)
        let console = consoleSettings(snapshot, loader: loader, version: version, &problems)
        guard problems.isEmpty else { return .failure(StartupProblems(sentences: problems)) }
        return .success(
            Prepared(
                snapshot: snapshot, providers: providers, console: console, tls: material, secretStamps: stamps))
    }

    /// One provider's part: its secrets, keys and certificates read.
    static func prepare(
        _ provider: Snapshot.Provider, environment: ConfigurationEnvironment, _ problems: inout [String]
    ) -> (ProviderSettings, TLSClientConfiguration) {
        let material = ProviderMaterial(provider, environment: environment, &problems)
        let tls = TLSClientConfiguration(
            caFile: provider.caFile, alpn: ["http/1.1"], clientIdentity: material.identity)
        checkTLS(tls, "provider.\(provider.name)", &problems)
        return (ProviderSettings(provider, material), tls)
    }

    private static func checkTLS(_ configuration: TLSClientConfiguration, _ place: String, _ problems: inout [String]) {
        do {
            _ = try TLSClientContext(configuration)
        } catch {
            problems.append("\(place): \(error)")
        }
    }

    private static func consoleSettings(
        _ snapshot: Snapshot, loader: SecretLoader, version: String, _ problems: inout [String]
    ) -> ConsoleSettings? {
        guard let console = snapshot.console else { return nil }
        var digests: [[UInt8]] = []
        for source in console.secrets {
            switch loader.load(source) {
            case .success(let secret): digests.append(Digest.sha256(secret.bytes))
            case .failure(let error): problems.append("console: \(error)")
            }
        }
        let fallback = "http://127.0.0.1"
        guard let publicURL = PublicURL(console.publicURL?.description ?? fallback) else {
            problems.append("console: public_url is not an absolute URL")
            return nil
        }
        return ConsoleSettings(
            publicURL: publicURL, authentication: digests.isEmpty ? .none : .secrets(digests: digests),
            version: version,
            cryptography: ConsoleCryptography(
                sha256: { Digest.sha256($0) }, hmacSHA256: { Digest.hmacSHA256(key: $0, message: $1) }))
    }

    // MARK: Taking over

    /// Takes a prepared snapshot into force: the first one, or a reload's. Grants that stay keep their tokens.
    func take(_ prepared: Prepared) {
        snapshot = prepared.snapshot
        index = SnapshotIndex(prepared.snapshot)
        takeProviders(prepared)
        takeTemplates(prepared)
        takeGrants(prepared)
        watchOthers()
        if var settings = prepared.console {
            settings.signingKeys = signingKeys
            if console == nil {
                console = Console(settings: settings, random: SystemRandom.bytes)
            } else {
                console!.settingsChanged(settings)
            }
        }
        takeCertificates(prepared.tls)
        if tokenFileTimer == nil { watchTokenFiles() }
        secretStamps = prepared.secretStamps
        if secretTimer == nil { watchSecrets() }
    }

    /// Providers and what follows from them, for a snapshot that is in force already.
    func takeProvidersAgain(_ prepared: Prepared) {
        takeProviders(prepared)
        takeTemplates(prepared)
        takeGrants(prepared)
    }

    private func takeProviders(_ prepared: Prepared) {
        client.forgetContexts()
        for name in providers.keys where prepared.providers[name] == nil { providers[name] = nil }
        for (name, (settings, tls)) in prepared.providers {
            if let entry = providers[name] {
                warn(of: name, entry.machine.settings, settings)
                entry.tls = tls
                if entry.machine.settings != settings { entry.refusals = OwnRefusals() }
                perform(entry, entry.machine.settingsChanged(settings, now: moment))
            } else {
                providers[name] = Provider(machine: ProviderMachine(settings: settings), tls: tls)
            }
        }
    }

    /// Tokens are a provider's by its name: what stands under a name that now means another server goes there. An operator
    /// who moves the same server's endpoints does nothing wrong, so that this is said and not prevented.
    private func warn(of name: String, _ old: ProviderSettings, _ new: ProviderSettings) {
        let isOtherClient = old.clientID != new.clientID
        guard isOtherClient || old.serverHost != new.serverHost else { return }
        logger.warning(
            "a provider's section means another client or server than before, and the refresh tokens that its grants have go there; another server needs a section with another name",
            metadata: [
                "provider": "\(name)", "changed": "\(isOtherClient ? "client_id" : "server")",
                "from": "\(old.serverHost ?? "")", "to": "\(new.serverHost ?? "")",
            ])
    }

    private func takeGrants(_ prepared: Prepared) {
        let names = Set(prepared.snapshot.grants.map(\.name))
        for (name, entry) in grants where entry.template == nil && !names.contains(name) {
            // What its provider has given it in this moment is not to be lost should it come again.
            if grants[name]?.machine.holdsUnfinishedWork == true { leaving.insert(name) } else { dismiss(name) }
        }
        for name in tokenFiles.keys where !names.contains(name) {
            tokenFiles[name] = nil
            withdraw(name)
        }
        for grant in prepared.snapshot.grants { take(grant, prepared) }
    }

    private func take(_ grant: Snapshot.Grant, _ prepared: Prepared) {
        switch grant.source {
        case .tokenFile(let path):
            if grants[grant.name] != nil { dismiss(grant.name) }
            if let old = tokenFiles[grant.name], old.path == path, old.header == grant.credentialHeader { return }
            tokenFiles[grant.name] = TokenFileGrant(name: grant.name, path: path, header: grant.credentialHeader)
            told[grant.name] = nil
            checkTokenFile(grant.name)
        case .provider(let providerName, let scopes, let requiredScopes):
            tokenFiles[grant.name] = nil
            leaving.remove(grant.name)
            guard let (base, _) = prepared.providers[providerName] else { return }
            let provider = base.with(grant.credentialHeader)
            let settings = GrantSettings(grant, provider: base, scopes: scopes, required: requiredScopes)
            if let entry = grants[grant.name] {
                entry.providerName = providerName
                entry.header = grant.credentialHeader
                perform(grant.name, entry.machine.settingsChanged(settings, provider: provider, now: moment))
                return
            }
            let machine = GrantMachine(settings: settings, provider: provider, environment: machineEnvironment)
            let entry = GrantEntry(
                name: grant.name, machine: machine, providerName: providerName, header: grant.credentialHeader)
            grants[grant.name] = entry
            unreadFileGrants += 1
            perform(grant.name, entry.machine.started(now: moment))
        }
    }

    /// Loaded grants of a template that changed go on with its new settings; those of one that went are dropped, and who
    /// waits for them is told. Their records stay.
    private func takeTemplates(_ prepared: Prepared) {
        var new: [String: GrantTemplate] = [:]
        for template in prepared.snapshot.grantTemplates {
            guard let (base, _) = prepared.providers[template.providerName] else { continue }
            new[template.name] = GrantTemplate(template, provider: base)
        }
        templates = new
        for template in latchedWalks.keys where new[template] == nil { latchedWalks[template] = nil }
        for (name, entry) in grants {
            guard let templateName = entry.template else { continue }
            guard let template = new[templateName] else {
                if entry.machine.holdsUnfinishedWork { leaving.insert(name) } else { dismiss(name) }
                continue
            }
            leaving.remove(name)
            entry.providerName = template.providerName
            entry.header = template.header
            let settings = template.settings(for: name)
            perform(name, entry.machine.settingsChanged(settings, provider: template.provider, now: moment))
        }
        // What workers hold of grants that are not loaded may have come from a provider that is another now.
        for name in Array(loading.outstanding.keys) { withdraw(name) }
        loading.outstanding = [:]
        loading.absent = [:]
        toldLeftOut = []
        beginRecordCheck()
        guard !new.isEmpty else { return }
        perform(due.configurationChanged(now: moment))
        perform(census.templatesChanged(Array(new.keys), now: moment))
        walkOverLatched()
    }

    func restartNeeded(from old: Snapshot, to new: Snapshot) -> [String] {
        var list: [String] = []
        if old.workers != new.workers { list.append("workers") }
        if !old.listeners.elementsEqual(new.listeners, by: { $0.hasSameSockets(as: $1) }) { list.append("listeners") }
        if old.console?.address != new.console?.address { list.append("console.address") }
        if old.console?.unixMode != new.console?.unixMode { list.append("console.unix_mode") }
        if let before = old.store, let after = new.store {
            // Keys alone are taken over without one.
            if !before.isSamePlace(as: after) { list.append("store") }
        } else if old.store != new.store {
            list.append("store")
        }
        if old.log != new.log { list.append("log") }
        return list
    }
}

extension Snapshot.Listener {
    /// Whether the workers' sockets can stay. Certificates, authorities and the least version may differ.
    fileprivate func hasSameSockets(as other: Self) -> Bool {
        name == other.name && address == other.address && unixMode == other.unixMode
            && (tls == nil) == (other.tls == nil) && allowsHTTP1 == other.allowsHTTP1
            && allowsHTTP2 == other.allowsHTTP2
    }
}

/// What keeps a configuration from being used, beyond what its text can show.
struct StartupProblems: Error {
    var sentences: [String]
}

extension Snapshot.Store {
    /// Whether it is the same database, whatever its keys.
    fileprivate func isSamePlace(as other: Self) -> Bool {
        path == other.path && postgreSQL == other.postgreSQL && instance == other.instance
    }
}
