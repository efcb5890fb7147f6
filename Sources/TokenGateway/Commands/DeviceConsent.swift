import Console
import Glibc
import Reactor
import Telemetry

/// `authorize NAME --device`: shows the code and the link, and waits until the person has decided.
struct DeviceConsent {
    let api: AdminAPI
    let arguments: GrantArguments
    let noWait: Bool
    /// Seconds.
    let timeout: UInt32

    func run() throws(CommandFailure) {
        let reply = try api.startDevice(arguments.grant)
        show(reply)
        guard !noWait else { return }
        if !arguments.json {
            Terminal.errors.line(printable("Waiting for the consent to \"\(arguments.grant)\" ..."))
        }
        var watch = DeviceWatch(reply)
        let deadline = MonotonicClock.milliseconds() + UInt64(timeout) * 1000
        while MonotonicClock.milliseconds() < deadline {
            usleep(1_000_000)
            let status: DeviceStatus
            do throws(CommandFailure) {
                status = try api.deviceStatus(arguments.grant)
            } catch {
                let isGone = error.code == "gateway_unreachable" || error.status == .temporary
                guard isGone, watch.missed(at: MonotonicClock.milliseconds()) else { throw error }
                continue
            }
            if let end = watch.seen(status) { return try report(end) }
        }
        throw CommandFailure(
            .temporary, "timed_out", "nobody has consented within \(RelativeTime.length(UInt64(timeout)))")
    }

    private func show(_ reply: DeviceReply) {
        guard !arguments.json else {
            return Terminal.output.write(String(decoding: ConsoleJSON.encode(reply), as: UTF8.self))
        }
        let now = Timestamp(unixSeconds: WallClock.seconds())
        for line in DeviceText.lines(reply, now: now) {
            switch line {
            case .words(let text): Terminal.errors.line(printable(text))
            case .value(let text): Terminal.output.line(printable(text))
            }
        }
    }

    private struct Success: Encodable {
        var outcome = "connected"
        var notes: [String]
        var grant: GrantView
    }

    private func report(_ end: DeviceWatch.End) throws(CommandFailure) {
        switch end {
        case .connected(let notes):
            let view = try api.grant(arguments.grant)
            guard !arguments.json else {
                let success = Success(notes: notes, grant: view)
                return Terminal.output.write(String(decoding: ConsoleJSON.encode(success), as: UTF8.self))
            }
            let expiry = GrantText.expiry(view, now: Timestamp(unixSeconds: WallClock.seconds()))
            Terminal.errors.line(printable("\(view.name): connected, access token expires \(expiry)"))
            for note in notes { Terminal.errors.line(printable("note: \(Authorize.words(note))")) }
        case .failed(let status, let code, let words):
            throw CommandFailure(status, code, "\"\(arguments.grant)\" was not connected: \(words)")
        }
    }
}

/// What is shown of a device authorization: values go to standard output, words to standard error.
enum DeviceText {
    enum Line: Equatable {
        case words(String)
        case value(String)
    }

    static func lines(_ reply: DeviceReply, now: Timestamp) -> [Line] {
        let isGood = now < reply.expiresAt
        let left =
            isGood ? UInt64(clamping: reply.expiresAt.unixSeconds.subtractingReportingOverflow(now.unixSeconds).0) : 0
        var lines: [Line] = [
            .words("Open this link in a browser on any device:"), .value(reply.verificationURI),
            .words("and enter this code, which is good for \(RelativeTime.length(left)):"), .value(reply.userCode),
        ]
        if let complete = reply.verificationURIComplete {
            lines += [.words("Or open this link, which holds the code already:"), .value(complete)]
        }
        return lines
    }
}

/// Tells from the states of a device authorization, one after the other, how it ended.
struct DeviceWatch {
    enum End: Equatable {
        case connected(notes: [String])
        case failed(CommandStatus, code: String, words: String)
    }

    /// How long a gateway that is restarted may be gone, in milliseconds.
    static let patience: UInt64 = 20_000

    private let shown: DeviceReply
    private var missedSince: UInt64?

    init(_ shown: DeviceReply) { self.shown = shown }

    /// nil: not yet.
    mutating func seen(_ status: DeviceStatus) -> End? {
        missedSince = nil
        switch status.state {
        case .waiting:
            guard let prompt = status.prompt, prompt.userCode != shown.userCode else { return nil }
            return .failed(.failed, code: "cancelled", words: "another consent was begun for it meanwhile")
        case .connected: return .connected(notes: status.notes ?? [])
        case .denied: return .failed(.failed, code: "access_denied", words: "consent was declined")
        case .expired: return .failed(.temporary, code: "expired", words: "nobody has consented in time; begin again")
        case .cancelled:
            return .failed(.failed, code: "cancelled", words: "another consent was begun for it meanwhile")
        case .failed:
            return .failed(.failed, code: "failed", words: status.reason ?? "the provider refused")
        case .none:
            return .failed(
                .temporary, code: "not_waited_for",
                words: "the gateway that was asked was restarted, or another one answers now; begin again")
        }
    }

    /// The gateway could not be asked; false when it has been gone for too long.
    mutating func missed(at milliseconds: UInt64) -> Bool {
        let since = missedSince ?? milliseconds
        missedSince = since
        return milliseconds - since < Self.patience
    }
}
