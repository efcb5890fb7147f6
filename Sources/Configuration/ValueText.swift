/// Durations as text: whole numbers with the units d, h, m, s, ms, largest first, each at most once.
enum DurationText {
    private static let units: [(name: String, milliseconds: Int64)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// nil if the text is anything else or longer than a thousand years.
    static func duration(_ text: String) -> Duration? {
        var rest = text.utf8[...]
        var total: Int64 = 0
        var allowed = units[...]
        while !rest.isEmpty {
            let digits = rest.prefix(while: \.isDigit)
            let letters = rest.dropFirst(digits.count).prefix(while: \.isLetter)
            guard (1...12).contains(digits.count), let number = Int64(Substring(digits)),
                let unit = allowed.firstIndex(where: { $0.name == String(Substring(letters)) })
            else { return nil }
            let (part, overflow) = number.multipliedReportingOverflow(by: units[unit].milliseconds)
            guard !overflow, part <= 31_536_000_000_000 else { return nil }
            total += part
            allowed = units[(unit + 1)...]
            rest = rest.dropFirst(digits.count + letters.count)
        }
        return text.isEmpty ? nil : .milliseconds(total)
    }

    /// The shortest text of the same duration.
    static func text(_ duration: Duration) -> String {
        var left = duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
        guard left != 0 else { return "0s" }
        var text = ""
        for unit in units where left >= unit.milliseconds {
            text += "\(left / unit.milliseconds)\(unit.name)"
            left %= unit.milliseconds
        }
        return text
    }
}

/// Sizes as text: a whole number and B, KiB, MiB or GiB.
enum SizeText {
    private static let units: [(name: String, bytes: Int)] = [
        ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]

    static func bytes(_ text: String) -> Int? {
        let digits = text.utf8.prefix(while: \.isDigit)
        let name = String(Substring(text.utf8.dropFirst(digits.count)))
        guard (1...12).contains(digits.count), let number = Int(Substring(digits)),
            let unit = units.first(where: { $0.name == name })
        else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
        return overflow ? nil : bytes
    }

    static func text(_ bytes: Int) -> String {
        for unit in units.dropLast() where bytes != 0 && bytes % unit.bytes == 0 {
            return "\(bytes / unit.bytes)\(unit.name)"
        }
        return "\(bytes)"
    }
}
