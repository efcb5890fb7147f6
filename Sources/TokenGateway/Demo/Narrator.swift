/// Tells the demo's story.
final class Narrator {
    private let terminal: Terminal
    private var hasSpoken = false
    /// The step that is being told.
    private(set) var step: Int?

    init(terminal: Terminal) { self.terminal = terminal }

    func title(_ text: String) {
        if hasSpoken { terminal.line() }
        hasSpoken = true
        terminal.line(terminal.styled(text, .bold))
    }

    func heading(_ text: String) {
        let number = (step ?? 0) + 1
        step = number
        terminal.line("\n" + terminal.styled("\(number). \(text)", .bold))
    }

    func say(_ text: String) { terminal.line("   " + printable(text)) }

    /// A command as the reader could type it.
    func command(_ text: String) { terminal.line("   " + terminal.styled("$ \(text)", .yellow)) }

    /// What a command printed.
    func output(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) { terminal.line("   | " + printable(String(line))) }
    }

    /// What the step has proved.
    func proved(_ text: String) { terminal.line("   " + terminal.styled("ok", .green) + "  " + printable(text)) }

    func failed(_ text: String, log: String = "") {
        terminal.line("\n" + terminal.styled("FAILED", .red) + "  " + printable(text))
        guard !log.isEmpty else { return }
        terminal.line("The end of the gateway's log:")
        output(log)
    }

    func storyEnded() { step = nil }
}
