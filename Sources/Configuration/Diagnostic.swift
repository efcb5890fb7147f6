/// A place in gateway.conf; lines and columns count from 1, columns in characters.
package struct Position: Sendable, Hashable, Comparable {
    package let line: Int
    package let column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// One mistake in gateway.conf: where, what is wrong and what would be right. Never holds a secret: values are quoted
/// as the file has them, before `${ENV}` is replaced.
package struct Diagnostic: Sendable, Hashable, CustomStringConvertible {
    package enum Severity: String, Sendable, Hashable {
        /// The configuration cannot be used.
        case error
        /// It can be used, but probably says something else than was meant.
        case warning
    }
    package let file: String
    package let position: Position
    package let severity: Severity
    package let message: String

    /// `gateway.conf:14:3: error: …`, as compilers print it.
    package var description: String {
        "\(file):\(position.line):\(position.column): \(severity.rawValue): \(message)"
    }
}

/// The mistakes found so far, all of one file.
struct Diagnostics {
    let file: String
    private(set) var list: [Diagnostic] = []
    private var muted: Set<Position> = []

    init(file: String) { self.file = file }

    var hasErrors: Bool { list.contains { $0.severity == .error } }

    /// In the order of the file; of several at one place, in the order of their discovery.
    var sorted: [Diagnostic] {
        list.enumerated().sorted { ($0.element.position, $0.offset) < ($1.element.position, $1.offset) }.map(\.element)
    }

    /// Says no more about the value at `position`, whose text is not what was meant.
    mutating func mute(_ position: Position) { muted.insert(position) }

    mutating func error(_ position: Position, _ message: String) {
        if !muted.contains(position) { add(position, .error, message) }
    }

    mutating func warning(_ position: Position, _ message: String) {
        if !muted.contains(position) { add(position, .warning, message) }
    }

    private mutating func add(_ position: Position, _ severity: Diagnostic.Severity, _ message: String) {
        list.append(Diagnostic(file: file, position: position, severity: severity, message: message))
    }
}

/// Text of the file as messages show it: in quotes, cut short, control characters escaped.
func quoted(_ text: some StringProtocol) -> String {
    var shown = "\""
    for scalar in text.unicodeScalars.prefix(80) {
        if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar == "\"" || scalar == "\\" {
            shown += scalar.escaped(asASCII: true)
        } else {
            shown.unicodeScalars.append(scalar)
        }
    }
    return shown + (text.unicodeScalars.count > 80 ? "…\"" : "\"")
}
