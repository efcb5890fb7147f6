import ArgumentParser
import Console
import Glibc
import Reactor
import Telemetry

struct Grants: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, make and delete grants.",
        discussion: """
            Without a word more, lists the grants of the configuration file. Grants that are made from a template have \
            the name TEMPLATE:NAME in every command, for example zoho:acme.
            """,
        subcommands: [List.self, Show.self, Create.self, Delete.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the grants: state, scopes, expiry, last error.",
            discussion: "--json prints what the admin API's /api/v1/grants answers.")

        @OptionGroup var configuration: ConfigurationOption

        @Option(help: "List the grants that were made from this template.")
        var template: String?

        @Option(help: ArgumentHelp("Begin behind this name.", valueName: "name"))
        var after: String?

        @Option(help: ArgumentHelp("At most this many; all of them without it.", valueName: "number"))
        var limit: Int?

        @Flag(help: "Print one JSON object.")
        var json = false

        func validate() throws {
            guard limit.map({ $0 > 0 }) ?? true else { throw ValidationError("--limit must be at least 1.") }
        }

        func run() throws {
            try reportingFailures(asJSON: json) { () throws(CommandFailure) in
                let api = try configuration.adminAPI()
                let reply = try pages(api)
                if json {
                    Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
                } else if reply.grants.isEmpty {
                    let place = template.map { "The template \"\($0)\"" } ?? "The gateway"
                    Terminal.errors.line(printable("\(place) has no grants\(after == nil ? "" : " behind that name")."))
                } else {
                    let now = Timestamp(unixSeconds: WallClock.seconds())
                    Terminal.output.write(GrantText.table(reply.grants, now: now, for: .output))
                    if let next = reply.next { Terminal.errors.line(printable("There are more: --after \(next)")) }
                    Terminal.errors.warn(api.troubles())
                }
            }
        }

        /// Page after page, until there are enough.
        private func pages(_ api: AdminAPI) throws(CommandFailure) -> GrantsReply {
            var all = try api.grants(GrantsQuery(template: template, after: after, limit: Self.page(limit)))
            while let next = all.next, limit.map({ all.grants.count < $0 }) ?? true {
                let left = limit.map { $0 - all.grants.count }
                let page = try api.grants(GrantsQuery(template: template, after: next, limit: Self.page(left)))
                all.grants += page.grants
                all.next = page.next
            }
            return all
        }

        private static func page(_ wanted: Int?) -> Int { min(wanted ?? .max, 500) }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show all that is known of one grant.")

        @OptionGroup var arguments: GrantArguments

        func run() throws {
            try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
                let api = try arguments.configuration.adminAPI()
                let view = try api.grant(arguments.grant)
                if arguments.json {
                    Terminal.output.write(String(decoding: ConsoleJSON.encode(view), as: UTF8.self))
                } else {
                    let now = Timestamp(unixSeconds: WallClock.seconds())
                    Terminal.output.write(GrantText.details(view, now: now))
                    Terminal.errors.warn(api.troubles())
                }
            }
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a grant from a template.",
            discussion: """
                The grant is then TEMPLATE:NAME, and needs a consent unless its template is for grants without a person: \
                token-gateway authorize TEMPLATE:NAME.
                """)

        @Argument(help: ArgumentHelp("The new grant's own name.", valueName: "name"))
        var name: String

        @Option(help: "The [grant_template.NAME] of the configuration.")
        var template: String

        @Option(help: ArgumentHelp("A note for operators.", valueName: "text"))
        var label: String?

        @Option(name: .customLong("set"), help: ArgumentHelp("A variable of the grant.", valueName: "name=value"))
        var variables: [String] = []

        @OptionGroup var configuration: ConfigurationOption

        @Flag(help: "Print JSON for programs.")
        var json = false

        func run() throws {
            try reportingFailures(asJSON: json) { () throws(CommandFailure) in
                let order = try order()
                let view = try configuration.adminAPI().create(order)
                if json {
                    return Terminal.output.write(String(decoding: ConsoleJSON.encode(view), as: UTF8.self))
                }
                Terminal.output.line(printable("\(view.name): created"))
                if view.authorizeURL != nil, view.state == .notConnected {
                    Terminal.errors.line(printable("Connect it with: token-gateway authorize \(view.name)"))
                }
            }
        }

        /// Checked here as the gateway checks it, so that a slip is told without one.
        func order() throws(CommandFailure) -> CreateGrantOrder {
            var values: [String: String] = [:]
            for text in variables {
                guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                    throw CommandFailure(.usage, "invalid_variable", "--set takes name=value, not \"\(text)\"")
                }
                let variable = String(text[..<equals])
                guard values.updateValue(String(text[text.index(after: equals)...]), forKey: variable) == nil else {
                    throw CommandFailure(.usage, "invalid_variable", "--set names \"\(variable)\" twice")
                }
            }
            // `zoho:acme` is what the grant will be called everywhere else.
            let prefix = TemplatedName.prefix(of: template)
            let own = name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
            let order = CreateGrantOrder(
                name: own, template: template, label: label, variables: values.isEmpty ? nil : values)
            if let refusal = order.refusal {
                throw CommandFailure(.usage, refusal.code.rawValue, refusal.detail ?? "the grant cannot be made")
            }
            return order
        }
    }

    struct Delete: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a grant that was made from a template, with its tokens.",
            discussion: """
                The provider is not told: to end a grant properly, use `revoke` first. Asks on a terminal; elsewhere it \
                needs --yes.
                """)

        @OptionGroup var arguments: GrantArguments

        @Flag(name: .shortAndLong, help: "Do not ask.")
        var yes = false

        func run() throws {
            try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
                let api = try arguments.configuration.adminAPI()
                try confirmDeletion(of: arguments.grant, api, unless: yes)
                let reply = try api.delete(arguments.grant)
                guard !arguments.json else {
                    return Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
                }
                Terminal.output.line(printable("\(reply.forgotten): deleted"))
            }
        }
    }
}

/// Asks on a terminal whether tokens are to be deleted.
func confirmDeletion(of grant: String, _ api: AdminAPI, unless isSure: Bool) throws(CommandFailure) {
    guard !isSure else { return }
    guard isatty(0) == 1 else {
        throw CommandFailure(.usage, "not_confirmed", "standard input is no terminal to ask on: say --yes")
    }
    let view = try api.grant(grant)
    Terminal.errors.write(
        printable(
            "The tokens of \"\(view.name)\" (\(view.state.rawValue)) will be deleted here; the provider is not "
                + "told. Go on? [y/N] "))
    let answer = readLine()?.lowercased() ?? ""
    guard answer == "y" || answer == "yes" else {
        throw CommandFailure(.failed, "not_confirmed", "nothing was done")
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

    /// One fact a line.
    static func details(_ grant: GrantView, now: Timestamp) -> String {
        var facts: [(String, String)] = [("name", grant.name), ("state", grant.state.rawValue)]
        if let revocation = grant.revocation { facts.append(("revocation", revocation.words)) }
        if let advice = grant.revocationAdvice { facts.append(("left to do", advice)) }
        if let account = grant.account { facts.append(("account", account)) }
        if let label = grant.label { facts.append(("label", label)) }
        if let template = grant.template { facts.append(("template", template)) }
        facts.append(("provider", grant.provider ?? "from a file"))
        facts.append(("scopes", grant.scopes.isEmpty ? "-" : grant.scopes.joined(separator: " ")))
        if let missing = grant.missingScopes { facts.append(("scopes not granted", missing.joined(separator: " "))) }
        if let fields = grant.headersLeftOut { facts.append(("headers left out", fields.joined(separator: " "))) }
        facts.append(("generation", String(grant.generation)))
        facts.append(("access token expires", expiry(grant, now: now)))
        let times = [
            ("refresh token expires", grant.refreshTokenExpiresAt), ("last refresh", grant.lastRefreshAt),
            ("next attempt", grant.nextAttemptAt),
        ]
        for (name, time) in times {
            if let time { facts.append((name, RelativeTime.full(time, now: now))) }
        }
        facts.append(("last error", lastError(grant, now: now)))
        for (name, value) in (grant.variables ?? [:]).sorted(by: { $0.key < $1.key }) {
            facts.append(("variable \(name)", value))
        }
        if !grant.routes.isEmpty { facts.append(("routes", grant.routes.joined(separator: ", "))) }
        let width = facts.map(\.0.count).max() ?? 0
        return facts.map { name, value in
            let gap = String(repeating: " ", count: width - name.count + 2)
            return printable(name + gap + value).replacing("\n", with: " ") + "\n"
        }.joined()
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
