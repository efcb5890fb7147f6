import ArgumentParser
import Console

/// How a command ends: the numbers of sysexits.h where there is one that fits. Part of the public interface.
enum CommandStatus: Int32, CaseIterable {
    case success = 0
    case failed = 1
    case usage = 64
    case unavailable = 69
    case internalError = 70
    case temporary = 75
    case notAuthorized = 77
    case configuration = 78

    var meaning: String {
        switch self {
        case .success: "done"
        case .failed: "refused or failed; trying again will not help"
        case .usage: "wrong usage, or there is no such grant"
        case .unavailable: "no gateway answers; run: a port or file cannot be had"
        case .internalError: "a mistake in this program"
        case .temporary: "failed for now, or not in time; try again"
        case .notAuthorized: "the console refused this command"
        case .configuration: "the configuration has mistakes"
        }
    }

    /// One line for each, for `--help`.
    static var table: String {
        allCases.map { status in
            let number = String(status.rawValue)
            return "  " + String(repeating: " ", count: 2 - number.count) + number + "  " + status.meaning
        }.joined(separator: "\n")
    }
}

/// Why a command did not do what it should, for people and for programs. Never holds a secret.
struct CommandFailure: Error, Equatable {
    var status: CommandStatus
    /// Stable, for programs: a code of the admin API, or one of this program's own.
    var code: String
    /// A sentence or two.
    var message: String

    init(_ status: CommandStatus, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }
}

extension CommandFailure {
    private struct Report: Encodable {
        struct Body: Encodable {
            var code: String
            var message: String
        }
        var error: Body
    }

    /// As `--json` prints it.
    var json: String {
        String(decoding: ConsoleJSON.encode(Report(error: .init(code: code, message: message))), as: UTF8.self)
    }
}

/// Runs a command's work: a failure is told on standard error, with `--json` on standard output too, and becomes the
/// exit code.
func reportingFailures(asJSON: Bool, _ work: () throws(CommandFailure) -> Void) throws {
    do throws(CommandFailure) {
        try work()
    } catch {
        if asJSON { Terminal.output.write(error.json) }
        let terminal = Terminal.errors
        terminal.line("\(terminal.styled("error:", .red)) \(printable(error.message))")
        throw ExitCode(error.status.rawValue)
    }
}
