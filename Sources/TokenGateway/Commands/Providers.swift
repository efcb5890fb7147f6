import ArgumentParser
import Configuration
import Console

struct Providers: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the profiles of providers that the program knows, or show one.",
        discussion: """
            A profile is what the program knows of a vendor's authorization server: endpoints, parameters, the way of \
            authenticating, lifetimes, names of errors. `profile = "zoho"` in a [provider.NAME] puts its lines under \
            yours. Nothing is read and nobody is asked: the profiles are inside the program.
            """,
        subcommands: [List.self, Show.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the profiles: what for, and what you must give.")

        @Flag(help: "Print one JSON object.")
        var json = false

        func run() {
            guard !json else {
                let report = Report(profiles: ProviderProfile.all.map { Report.Profile($0) })
                return Terminal.output.write(String(decoding: ConsoleJSON.encode(report), as: UTF8.self))
            }
            var table = Table(["NAME", "PROVIDER", "FOR", "YOU GIVE"])
            for profile in ProviderProfile.all {
                table.add([
                    .init(profile.name), .init(profile.title), .init(profile.purpose),
                    .init(profile.needs.joined(separator: ", ")),
                ])
            }
            Terminal.output.write(table.text(for: .output))
        }

        private struct Report: Encodable {
            var profiles: [Profile]

            struct Profile: Encodable {
                var name: String
                var title: String
                var purpose: String
                var needs: [String]
                var variables: [Variable]

                init(_ profile: ProviderProfile) {
                    name = profile.name
                    title = profile.title
                    purpose = profile.purpose
                    needs = profile.needs
                    variables = profile.requiredVariables.map {
                        Variable(name: $0.name, about: $0.about, example: $0.example)
                    }
                }
            }
        }

        private struct Variable: Encodable {
            var name: String
            var about: String
            var example: String
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a profile as configuration, with the reasons, to be pasted into gateway.conf.")

        @Argument(help: "The profile, as `providers` lists it.")
        var name: String

        @Flag(help: "Print only the lines of somebody who uses the profile.")
        var short = false

        @Flag(help: "Print one JSON object.")
        var json = false

        func run() throws {
            var found: ProviderProfile?
            try reportingFailures(asJSON: json) { () throws(CommandFailure) in found = try profile() }
            guard let found else { return }
            guard json else { return Terminal.output.write(short ? found.usage : found.configuration) }
            let report = Report(
                name: found.name, title: found.title, purpose: found.purpose, needs: found.needs, usage: found.usage,
                configuration: found.configuration)
            Terminal.output.write(String(decoding: ConsoleJSON.encode(report), as: UTF8.self))
        }

        private func profile() throws(CommandFailure) -> ProviderProfile {
            if let profile = ProviderProfile.named(name) { return profile }
            let hint = Suggestion.hint(for: name, among: ProviderProfile.all.map(\.name))
            throw CommandFailure(
                .usage, "unknown_profile",
                "there is no profile \"\(name)\"\(hint); `token-gateway providers` lists them")
        }

        private struct Report: Encodable {
            var name: String
            var title: String
            var purpose: String
            var needs: [String]
            var usage: String
            var configuration: String
        }
    }
}
