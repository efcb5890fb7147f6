import ArgumentParser
import Console
import Glibc
import Reactor
import Telemetry

struct Authorize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a link for the consent, wait, and report what came of it.",
        discussion: """
            The link goes to standard output at once, all other words to standard error. It is good once and for ten \
            minutes, for whoever holds it. With --paste the consent is finished here: for a browser on a machine that \
            cannot reach the console. With --device the person opens the provider's page on any device and enters a \
            code (RFC 8628). --json prints one object with the link, and one with the outcome.
            """)

    @OptionGroup var arguments: GrantArguments

    @Flag(help: "Take the address to which the browser was sent from standard input.")
    var paste = false

    @Flag(help: "Show a code to be entered at the provider's page, on any device.")
    var device = false

    @Option(help: ArgumentHelp("Wait at most this long.", valueName: "seconds"))
    var timeout: UInt32 = 600

    @Flag(help: "Print the link and end.")
    var noWait = false

    func validate() throws {
        guard !(paste && noWait) else { throw ValidationError("--paste and --no-wait exclude each other.") }
        guard !(paste && device) else { throw ValidationError("--paste and --device exclude each other.") }
    }

    func run() throws {
        try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
            let api = try arguments.configuration.adminAPI()
            if device {
                try DeviceConsent(api: api, arguments: arguments, noWait: noWait, timeout: timeout).run()
            } else if paste {
                try finishHere(api)
            } else {
                try waitForBrowser(api)
            }
        }
    }

    // MARK: A browser that reaches the console

    private func waitForBrowser(_ api: AdminAPI) throws(CommandFailure) {
        var watch = ConsentWatch(before: try api.grant(arguments.grant))
        let reply = try api.authorize(arguments.grant, mode: .link)
        show(reply, words: "Open this link in a browser and consent:")
        guard !noWait else { return }
        tell("Waiting for the consent to \"\(arguments.grant)\" ...")
        let deadline = MonotonicClock.milliseconds() + UInt64(timeout) * 1000
        while MonotonicClock.milliseconds() < deadline {
            usleep(500_000)
            do throws(CommandFailure) {
                guard let end = watch.seen(try api.grant(arguments.grant)) else { continue }
                return try report(end)
            } catch {
                // A gateway that is being restarted keeps what it was told.
                let isGone = error.code == "gateway_unreachable" || error.status == .temporary
                guard isGone, watch.missed(at: MonotonicClock.milliseconds()) else { throw error }
            }
        }
        throw CommandFailure(
            .temporary, "timed_out", "nobody has consented within \(RelativeTime.length(UInt64(timeout)))")
    }

    private func report(_ end: ConsentWatch.End) throws(CommandFailure) {
        switch end {
        case .connected(let view): succeed(view, notes: [])
        case .failed(let outcome, let reason):
            throw CommandFailure(
                .failed, outcome, "\"\(arguments.grant)\" was not connected: \(reason ?? outcome)")
        }
    }

    // MARK: A browser that does not

    private func finishHere(_ api: AdminAPI) throws(CommandFailure) {
        let reply = try api.authorize(arguments.grant, mode: .paste)
        guard let binding = reply.binding else {
            throw CommandFailure(.internalError, "answer_not_understood", "the gateway's answer lacks the binding")
        }
        show(reply, words: "Open this link in a browser anywhere and consent:")
        tell("The browser ends at an address that it may not be able to open. Paste that whole address here:")
        let line = readLine()?.drop { $0 == " " || $0 == "\t" } ?? ""
        guard !line.isEmpty else {
            throw CommandFailure(.usage, "nothing_pasted", "no address was pasted; nothing was done")
        }
        let done = try api.finish(
            arguments.grant, with: CallbackOrder(redirectURL: String(line), binding: binding))
        succeed(try api.grant(arguments.grant), notes: done.notes)
    }

    // MARK: Words

    private struct Success: Encodable {
        var outcome = "connected"
        var notes: [String]
        var grant: GrantView
    }

    private func show(_ reply: AuthorizeReply, words: String) {
        if arguments.json {
            var shown = reply
            // The binding is for this process alone.
            shown.binding = nil
            return Terminal.output.write(String(decoding: ConsoleJSON.encode(shown), as: UTF8.self))
        }
        tell(words)
        Terminal.output.line(printable(reply.authorizeURL))
    }

    private func tell(_ words: String) {
        if !arguments.json { Terminal.errors.line(printable(words)) }
    }

    private func succeed(_ view: GrantView, notes: [String]) {
        if arguments.json {
            let success = Success(notes: notes, grant: view)
            return Terminal.output.write(String(decoding: ConsoleJSON.encode(success), as: UTF8.self))
        }
        let now = Timestamp(unixSeconds: WallClock.seconds())
        let scopes = view.scopes.isEmpty ? "" : ", scopes \(view.scopes.joined(separator: " "))"
        tell("\(view.name): connected\(scopes), access token expires \(GrantText.expiry(view, now: now))")
        for note in notes { tell("note: \(Self.words(note))") }
    }

    static func words(_ note: String) -> String {
        switch ConsentSuccess.Note(rawValue: note) {
        case .noRefreshToken: "the provider gave no refresh token, so the grant ends with its access token"
        case .scopesDiffer: "the provider granted other scopes than were asked for"
        case nil: note
        }
    }
}

/// Tells from views of a grant, one after the other, how a consent ended.
struct ConsentWatch {
    enum End: Equatable {
        case connected(GrantView)
        /// A word of the admin API, and a sentence.
        case failed(outcome: String, reason: String?)
    }

    /// How long a gateway that is restarted may be gone, in milliseconds.
    static let patience: UInt64 = 20_000

    private let before: GrantView
    private var missedSince: UInt64?

    init(before: GrantView) { self.before = before }

    /// nil: not yet.
    mutating func seen(_ view: GrantView) -> End? {
        missedSince = nil
        if let consent = view.lastConsent, consent != before.lastConsent {
            return consent.outcome == "connected"
                ? .connected(view) : .failed(outcome: consent.outcome, reason: consent.reason)
        }
        // A gateway that was restarted meanwhile knows the grant, but not by which consent.
        let wasUsable = before.state == .active || before.state == .refreshing
        let isNew = view.state == .active && !wasUsable && view.generation > before.generation
        return isNew ? .connected(view) : nil
    }

    /// The gateway could not be asked; false when it has been gone for too long.
    mutating func missed(at milliseconds: UInt64) -> Bool {
        let since = missedSince ?? milliseconds
        missedSince = since
        return milliseconds - since < Self.patience
    }
}
