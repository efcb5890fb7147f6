import Glibc
import Synchronization

/// Standard output or standard error. Written at once, never buffered: a reader of a pipe sees each line when it is said.
struct Terminal {
    enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    static let output = Terminal(descriptor: 1)
    static let errors = Terminal(descriptor: 2)

    let descriptor: Int32
    let hasColor: Bool

    init(descriptor: Int32) {
        // https://no-color.org: set and not empty means no colour.
        let isUnwanted = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        let isDumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? false
        self.init(descriptor: descriptor, hasColor: isatty(descriptor) == 1 && !isUnwanted && !isDumb)
    }

    init(descriptor: Int32, hasColor: Bool) {
        self.descriptor = descriptor
        self.hasColor = hasColor
    }

    func styled(_ text: String, _ style: Style) -> String {
        hasColor ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }

    func line(_ text: String = "") { write(text + "\n") }

    func warn(_ troubles: [String]) {
        for trouble in troubles { line("\(styled("warning:", .yellow)) \(printable(trouble))") }
    }

    private static let lostOutput = Atomic<Bool>(false)

    /// Something could not be written, for example because the disk is full. Who reads it has less than there is.
    static var hasLostOutput: Bool { lostOutput.load(ordering: .relaxed) }

    /// A reader that has gone is nobody's mistake; every other failure is noted.
    func write(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                if count < 0, errno != EPIPE { Self.lostOutput.store(true, ordering: .relaxed) }
                return
            }
            rest = rest.dropFirst(count)
        }
    }
}

/// Text from elsewhere (a provider's words, a URL) made safe for a terminal: control characters, which could move the
/// cursor or recolour, and characters that reorder text become "?".
func printable(_ text: String) -> String {
    var shown = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        let isHarmful =
            switch scalar.value {
            case 0x0a: false
            case 0..<0x20, 0x7f...0x9f, 0x200e...0x200f, 0x2028...0x202e, 0x2066...0x2069: true
            default: false
            }
        shown.append(isHarmful ? "?" : scalar)
    }
    return String(shown)
}
