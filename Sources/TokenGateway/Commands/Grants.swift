import ArgumentParser
import Console
import Reactor
import Telemetry

struct Grants: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the grants: state, scopes, expiry, last error.",
        discussion: "--json prints what the admin API's /api/v1/grants answers.")

    @OptionGroup var configuration: ConfigurationOption

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        try reportingFailures(asJSON: json) { () throws(CommandFailure) in
            let reply = try configuration.adminAPI().grants()
            if json {
                Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
            } else if reply.grants.isEmpty {
                Terminal.errors.line("The gateway has no grants.")
            } else {
                let now = Timestamp(unixSeconds: WallClock.seconds())
                Terminal.output.write(GrantText.table(reply.grants, now: now, for: .output))
            }
        }
    }
}

/// Grants in words.
enum GrantText {
    static func table(_ grants: [GrantView], now: Timestamp, for terminal: Terminal) -> String {
        var table = Table(["NAME", "STATE", "SCOPES", "ACCESS TOKEN EXPIRES", "LAST ERROR"])
        for grant in grants {
            table.add([
                .init(grant.name), .init(grant.state.rawValue, style(grant.state)),
                .init(grant.scopes.isEmpty ? "-" : grant.scopes.joined(separator: " ")),
                .init(expiry(grant, now: now)), .init(lastError(grant, now: now)),
            ])
        }
        return table.text(for: terminal)
    }

    static func expiry(_ grant: GrantView, now: Timestamp) -> String {
        if let expiry = grant.accessTokenExpiresAt { return RelativeTime.full(expiry, now: now) }
        switch grant.state {
        case .active, .refreshing: return grant.provider == nil ? "from a file" : "unknown"
        case .notConnected, .reauthorizationRequired, .configurationError, .revoked: return "-"
        }
    }

    static func lastError(_ grant: GrantView, now: Timestamp) -> String {
        guard let error = grant.lastError else { return "-" }
        let time = error.at.map { ", " + RelativeTime.text($0, now: now) } ?? ""
        let next = grant.nextAttemptAt.map { ", next attempt " + RelativeTime.text($0, now: now) } ?? ""
        return "\(error.reason) (\(error.errorClass)\(time)\(next))"
    }

    static func style(_ state: GrantStateLabel) -> Terminal.Style {
        switch state {
        case .active, .refreshing: .green
        case .notConnected: .yellow
        case .reauthorizationRequired, .configurationError: .red
        case .revoked: .dim
        }
    }
}
