import ArgumentParser
import Configuration
import Glibc

/// `--config`, and what the commands make of it.
struct ConfigurationOption: ParsableArguments {
    static let places = ["gateway.conf", "/etc/token-gateway/gateway.conf"]

    @Option(
        help: ArgumentHelp(
            "The configuration file. Default: ./gateway.conf, else /etc/token-gateway/gateway.conf.", valueName: "file"
        ),
        completion: .file())
    var config: String?

    /// The file that is named, or the first that exists.
    func path() throws(CommandFailure) -> String {
        if let config { return config }
        if let found = Self.places.first(where: { access($0, F_OK) == 0 }) { return found }
        throw CommandFailure(
            .configuration, "no_configuration",
            "there is no ./gateway.conf and no /etc/token-gateway/gateway.conf: name the file with --config")
    }

    /// The admin API of the gateway that this configuration describes. Mistakes of the file are told on standard error.
    func adminAPI() throws(CommandFailure) -> AdminAPI {
        let path = try path()
        let outcome = GatewayConfiguration.load(
            path: path, environment: .system.forOperatorCommand(configuration: path))
        guard let snapshot = outcome.snapshot else {
            for diagnostic in outcome.diagnostics { Terminal.errors.line(printable("\(diagnostic)")) }
            throw CommandFailure(.configuration, "configuration_invalid", "\(path) cannot be used; nothing was done")
        }
        guard let console = snapshot.console else {
            throw CommandFailure(
                .configuration, "no_console", "\(path) has no [console], through which commands reach the gateway")
        }
        guard let endpoint = ConsoleEndpoint(console.address) else {
            throw CommandFailure(
                .configuration, "no_console_port",
                "the console's address in \(path) has port 0, which only the gateway knows: give it a port")
        }
        let client = ConsoleClient(endpoint: endpoint, secret: try secret(of: console))
        return AdminAPI(client: client, configuredGrants: snapshot.grants.map(\.name), configurationPath: path)
    }

    /// The console accepts each of its secrets, so the first one that this user can read will do.
    private func secret(of console: Snapshot.Console) throws(CommandFailure) -> LoadedSecret? {
        let loader = SecretLoader(environment: .system)
        var complaint: SecretError?
        for source in console.secrets {
            switch loader.load(source) {
            case .success(let secret): return secret
            case .failure(let error): complaint = complaint ?? error
            }
        }
        guard let complaint else { return nil }
        throw CommandFailure(.notAuthorized, "secret_unreadable", "the console's secret cannot be had: \(complaint)")
    }
}

extension ConfigurationEnvironment {
    /// For commands that need no more than the console's address and secret: files that are closed to the operator, such
    /// as the store's key, are the gateway's own business and count as good.
    func forOperatorCommand(configuration: String) -> ConfigurationEnvironment {
        var environment = self
        let readFile = readFile
        environment.readFile = { path, limit in
            let result = readFile(path, limit)
            guard case .failure(.notPermitted) = result, path != configuration else { return result }
            // Certificates are looked at in files that may be large, secrets in small ones.
            let stand = limit > 1 << 20 ? "-----BEGIN CERTIFICATE-----" : "unread"
            return .success(FileContents(bytes: Array(stand.utf8), mode: 0o600, owner: 0))
        }
        return environment
    }
}
