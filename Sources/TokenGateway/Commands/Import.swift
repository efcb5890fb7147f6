import ArgumentParser
import Console
import Glibc
import OAuth
import Reactor
import Telemetry

struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take over a refresh token that another program has had so far.",
        discussion: """
            The token is read from a file or from standard input, never from the command line, which every user of the \
            machine can read: the text alone, or a JSON object with refresh_token. It is used once, at once; only if the \
            provider takes it the grant is replaced, else it stays as it is. The other program must stop using it.
            """)

    @OptionGroup var arguments: GrantArguments

    @Option(
        help: ArgumentHelp("Read the token from this file. Default: standard input.", valueName: "path"),
        completion: .file())
    var file: String?

    func run() throws {
        try reportingFailures(asJSON: arguments.json) { () throws(CommandFailure) in
            let api = try arguments.configuration.adminAPI()
            let token = try self.token()
            let view = try api.importToken(arguments.grant, token)
            guard !arguments.json else {
                return Terminal.output.write(String(decoding: ConsoleJSON.encode(view), as: UTF8.self))
            }
            let expiry = GrantText.expiry(view, now: Timestamp(unixSeconds: WallClock.seconds()))
            Terminal.output.line(
                printable("\(view.name): imported, generation \(view.generation), access token expires \(expiry)"))
            if let file {
                Terminal.errors.line(printable("\(file) is not needed any more: the gateway has its own copy now."))
            }
        }
    }

    private func token() throws(CommandFailure) -> Secret {
        let name = file ?? "standard input"
        switch TokenText.refreshToken(try content()) {
        case .success(let token): return token
        case .failure(let problem):
            throw CommandFailure(.usage, "unusable_token", "\(name) \(problem.explanation); nothing was done")
        }
    }

    private func content() throws(CommandFailure) -> [UInt8] {
        guard let file else { return isatty(0) == 1 ? typed() : piped() }
        do throws(FileError) {
            return try Files.read(path: file, limit: TokenText.limitBytes)
        } catch {
            throw CommandFailure(.usage, "unreadable_file", "\(error); nothing was done")
        }
    }

    /// One line from the terminal, which does not show it.
    private func typed() -> [UInt8] {
        Terminal.errors.write(printable("Refresh token of \"\(arguments.grant)\" (not shown): "))
        let line = HiddenInput.line()
        Terminal.errors.line("")
        return Array((line ?? "").utf8)
    }

    /// All of standard input; one byte more than the limit is enough to be refused.
    private func piped() -> [UInt8] {
        var content: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 4096)
        while content.count <= TokenText.limitBytes {
            let count = read(0, &room, room.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            content += room[..<count]
        }
        return content
    }
}

/// Reads from the terminal without showing what is typed.
enum HiddenInput {
    /// nil: no terminal, or interrupted; then the program is, as by the key itself.
    ///
    /// The terminal gives each key as it is: so it can be put right before an interruption is obeyed, and a line may be
    /// longer than the 4095 bytes that it would keep itself.
    static func line() -> String? {
        var before = termios()
        guard tcgetattr(0, &before) == 0 else { return nil }
        var hidden = before
        hidden.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        guard tcsetattr(0, TCSAFLUSH, &hidden) == 0 else { return nil }
        var line = HiddenLine()
        var byte: UInt8 = 0
        while line.isOpen {
            let count = read(0, &byte, 1)
            if count < 0, errno == EINTR { continue }
            if count == 1 { line.typed(byte) } else { line.ended() }
        }
        tcsetattr(0, TCSAFLUSH, &before)
        guard !line.wasInterrupted else {
            raise(SIGINT)
            return nil
        }
        return String(decoding: line.bytes, as: UTF8.self)
    }
}

/// What is typed, key by key.
struct HiddenLine {
    private(set) var bytes: [UInt8] = []
    private(set) var isOpen = true
    private(set) var wasInterrupted = false

    mutating func typed(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\n"), UInt8(ascii: "\r"), 4: isOpen = false
        // Control-C and Control-\.
        case 3, 28:
            wasInterrupted = true
            isOpen = false
        // Backspace.
        case 8, 127: bytes = Array(bytes.dropLast())
        // Control-U.
        case 21: bytes = []
        default:
            bytes.append(byte)
            // One byte more than the limit is enough to be refused.
            if bytes.count > TokenText.limitBytes { isOpen = false }
        }
    }

    /// There is nothing more to be read.
    mutating func ended() {
        isOpen = false
    }
}
