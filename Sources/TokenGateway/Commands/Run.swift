import ArgumentParser
import Gateway
import Reactor

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the gateway in the foreground.",
        discussion: """
            SIGHUP reads the configuration again; a file with a mistake changes nothing. SIGTERM and SIGINT let running \
            requests end first.
            """)

    @OptionGroup var configuration: ConfigurationOption

    @Option(help: .hidden)
    var endWithParent: Int32?

    func run() throws {
        if let endWithParent, !ProcessHardening.endWithParent(endWithParent) {
            throw ExitCode(CommandStatus.unavailable.rawValue)
        }
        var path = ""
        try reportingFailures(asJSON: false) { () throws(CommandFailure) in path = try configuration.path() }
        let status = GatewayServer.run(configurationPath: path, version: gatewayVersion) { line in
            Terminal.errors.line(line)
        }
        throw ExitCode(status)
    }
}
