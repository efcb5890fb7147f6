import ArgumentParser
import Gateway
import Glibc

@main
struct TokenGateway: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token-gateway",
        abstract: "Puts OAuth 2.0 bearer tokens on the requests of services that know none.",
        subcommands: [Run.self, Version.self])
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the gateway in the foreground.")

    @Option(help: "The configuration file.")
    var config = "gateway.conf"

    func run() throws {
        let status = GatewayServer.run(configurationPath: config, version: gatewayVersion) { line in
            let bytes = Array((line + "\n").utf8)
            _ = write(2, bytes, bytes.count)
        }
        throw ExitCode(status)
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() {
        print("token-gateway \(gatewayVersion)")
    }
}
