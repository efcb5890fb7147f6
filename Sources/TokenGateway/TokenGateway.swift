import ArgumentParser

@main
struct TokenGateway: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token-gateway",
        abstract: "Puts OAuth 2.0 bearer tokens on the requests of services that know none.",
        discussion: """
            `run` is the gateway itself, `check` reads its configuration without it, and `demo` shows it at work. The \
            other commands talk to the running gateway through its console, whose address and secret they find in the \
            same configuration.

            Exit codes:
            \(CommandStatus.table)
            """,
        subcommands: [
            Run.self, Check.self, Authorize.self, Import.self, Grants.self, Refresh.self, Revoke.self, Forget.self,
            Keys.self, Rekey.self, Providers.self, Demo.self, Version.self,
        ])

    static func main() {
        main(nil)
        guard Terminal.hasLostOutput else { return }
        Terminal.errors.line("error: not all of the output could be written")
        exit(withError: ExitCode(CommandStatus.failed.rawValue))
    }
}
