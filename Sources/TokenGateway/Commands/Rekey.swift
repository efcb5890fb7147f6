import ArgumentParser
import Console
import Glibc

struct Rekey: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Seal the store again under the key that stands first in the configuration.",
        discussion: """
            Add the new key behind the old one and reload every replica, so that each can read it; then put it in front \
            everywhere and reload again; then say this. With one gateway the first step can be left out. It works on \
            in the background, a page at a time; one that is stopped goes on when this is said again. With --retire an \
            old key is taken off the store's list once nothing is sealed under it; then it can leave the configuration.
            """)

    @OptionGroup var configuration: ConfigurationOption

    @Option(help: ArgumentHelp("The id of a key that is to be used no more.", valueName: "key"))
    var retire: String?

    @Flag(help: "Say that it has begun, and end.")
    var noWait = false

    @Flag(help: "Print JSON for programs.")
    var json = false

    func run() throws {
        try reportingFailures(asJSON: json) { () throws(CommandFailure) in
            let api = try configuration.adminAPI()
            var reply = try api.rekey(RekeyOrder(retire: retire))
            while !noWait, let progress = reply.rekey, progress.state == .running {
                if !json { Terminal.errors.line("\(progress.resealed) values sealed again ...") }
                usleep(500_000)
                reply = try api.keys()
            }
            if json {
                Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
            } else {
                Terminal.output.write(KeyText.table(reply, for: .output))
            }
            if let progress = reply.rekey, progress.state == .failed {
                throw CommandFailure(
                    .failed, "rekey_failed",
                    "\(progress.resealed) values were sealed again, then: \(progress.reason ?? "unknown reason"). "
                        + "Saying it again goes on from there")
            }
        }
    }
}

struct Keys: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the store's keys by their ids, and how many values each seals.")

    @OptionGroup var configuration: ConfigurationOption

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        try reportingFailures(asJSON: json) { () throws(CommandFailure) in
            let reply = try configuration.adminAPI().keys()
            if json {
                Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
            } else {
                Terminal.output.write(KeyText.table(reply, for: .output))
                if let progress = reply.rekey {
                    let reason = progress.reason.map { ": \($0)" } ?? ""
                    Terminal.errors.line(
                        printable("rekey: \(progress.state.rawValue), \(progress.resealed) sealed again\(reason)"))
                }
            }
        }
    }
}

enum KeyText {
    static func table(_ reply: KeysReply, for terminal: Terminal) -> String {
        var table = Table(["KEY", "USE", "SEALED VALUES"])
        for key in reply.keys {
            let use = key.active ? "active" : key.configured ? "older" : "not configured"
            let style: Terminal.Style = key.active ? .green : key.configured || key.rows == 0 ? .dim : .red
            table.add([.init(key.id), .init(use, style), .init(String(key.rows))])
        }
        return table.text(for: terminal)
    }
}
