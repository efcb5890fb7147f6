import ArgumentParser
import Console
import Reactor
import Telemetry

/// What the commands on one grant share.
struct GrantArguments: ParsableArguments {
    @Argument(help: ArgumentHelp("The grant's name in the configuration, or TEMPLATE:NAME.", valueName: "name"))
    var grant: String

    @OptionGroup var configuration: ConfigurationOption

    @Flag(help: "Print JSON for programs.")
    var json = false
}

struct Refresh: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Refresh a grant's tokens now.",
        discussion: "Needed for tests and after repairs only: the gateway refreshes by itself, ahead of expiry.")

    @OptionGroup var arguments: GrantArguments

    func run() throws {
        try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
            let view = try arguments.configuration.adminAPI().refresh(arguments.grant)
            guard !arguments.json else {
                return Terminal.output.write(String(decoding: ConsoleJSON.encode(view), as: UTF8.self))
            }
            let now = Timestamp(unixSeconds: WallClock.seconds())
            let expiry = view.accessTokenExpiresAt.map { ", expires \(RelativeTime.full($0, now: now))" } ?? ""
            Terminal.output.line(printable("\(view.name): refreshed, generation \(view.generation)\(expiry)"))
        }
    }
}

struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop using a grant and revoke it at the provider.",
        discussion: """
            Requests stop carrying its token at once. The result is one of: revoked, already_invalid, not_supported (the \
            provider has no revocation endpoint), not_confirmed (the provider did not know the access token, by which it \
            ends grants: its refresh token may still live), failed_kept_for_retry (the provider did not confirm; the gateway goes \
            on trying; exit code \(CommandStatus.temporary.rawValue)).
            """)

    @OptionGroup var arguments: GrantArguments

    func run() throws {
        var result = RevocationResult.revoked
        try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
            let reply = try arguments.configuration.adminAPI().revoke(arguments.grant)
            result = reply.result
            if arguments.json {
                Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
            } else {
                Terminal.output.line(printable("\(reply.grant.name): \(reply.result.rawValue)"))
                Terminal.errors.line(Self.explanation(reply.result))
                if let advice = reply.advice { Terminal.errors.line(printable(advice)) }
            }
        }
        if let status = Self.status(result) { throw ExitCode(status.rawValue) }
    }

    /// nil: done, as far as it can be.
    static func status(_ result: RevocationResult) -> CommandStatus? {
        switch result {
        case .revoked, .alreadyInvalid, .notSupported, .notConfirmed: nil
        case .failedKeptForRetry: .temporary
        }
    }

    static func explanation(_ result: RevocationResult) -> String {
        switch result {
        case .revoked: "The provider has confirmed it. No request carries this grant's token any more."
        case .alreadyInvalid: "The provider knew the grant no more. No request carries its token any more."
        case .notSupported:
            "No request carries its token any more, but this provider cannot be told: end the grant in its own settings."
        case .notConfirmed:
            "No request carries its token any more. The provider did not know the access token, by which alone it ends a "
                + "grant: the refresh token may still be good there, so end the grant in the provider's own settings."
        case .failedKeptForRetry:
            "No request carries its token any more, but the provider has not confirmed it yet. The gateway goes on trying."
        }
    }
}

struct Forget: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delete a grant's tokens from the store without telling the provider.",
        discussion: "To end a grant properly, use `revoke` first. Asks on a terminal; elsewhere it needs --yes.")

    @OptionGroup var arguments: GrantArguments

    @Flag(name: .shortAndLong, help: "Do not ask.")
    var yes = false

    func run() throws {
        try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
            let api = try arguments.configuration.adminAPI()
            try confirmDeletion(of: arguments.grant, api, unless: yes)
            let reply = try api.forget(arguments.grant)
            guard !arguments.json else {
                return Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
            }
            Terminal.output.line(printable("\(reply.forgotten): forgotten"))
        }
    }
}
