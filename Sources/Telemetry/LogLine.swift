/// How log lines are written.
package enum LogFormat: Sendable, Equatable {
    /// One JSON object a line.
    case json
    /// For a person at a terminal: time, level, message, then `name=value`.
    case human
}

/// Levels with one meaning each; `rawValue` orders them.
package enum LogLevel: Int, Sendable, Comparable, CaseIterable {
    /// What a developer asks for; affordable in production.
    case debug
    /// What an operator may want to know afterwards.
    case info
    /// Something went wrong and mended itself, or will.
    case warning
    /// Somebody must act.
    case error

    package static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }

    package var word: StaticString {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }
}

/// Builds log lines, one after the other, at the end of a buffer that the owner empties and reuses.
///
/// No peer's text can forge or break a line: values are escaped byte by byte, names are literals. Nothing is allocated
/// while the buffer has room. Use: ``begin(_:level:unixMilliseconds:_:)``, fields, ``end()``.
package struct LineWriter: Sendable {
    package let format: LogFormat
    /// Whole lines, each with its line feed.
    package private(set) var bytes: [UInt8] = []

    package init(format: LogFormat, capacity: Int = 64 * 1024) {
        self.format = format
        bytes.reserveCapacity(capacity)
    }

    /// Forgets the lines and keeps the memory.
    package mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
    }

    /// Appends what `write` writes; it returns how many octets, `room` at most.
    mutating func append(room: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Int) {
        bytes.append(addingCapacity: room) { output in
            output.withUnsafeMutableBufferPointer { memory, count in
                guard let base = memory.baseAddress else { return }
                count += write(base + count)
            }
        }
    }

    /// Starts a line; `message` is constant text, all that varies goes into fields.
    package mutating func begin(level: LogLevel, unixMilliseconds: Int64, message: StaticString) {
        let milliseconds = Int(((unixMilliseconds % 1_000) + 1_000) % 1_000)
        // Rounded down, before 1970 as well.
        let seconds = unixMilliseconds / 1_000 - (unixMilliseconds % 1_000 < 0 ? 1 : 0)
        switch format {
        case .json:
            bytes.append(ascii: "{\"time\":\"")
            Timestamp.appendRFC3339(seconds: seconds, milliseconds: milliseconds, to: &bytes)
            bytes.append(ascii: "\",\"level\":\"")
            bytes.append(ascii: level.word)
            bytes.append(ascii: "\",\"message\":\"")
            message.withUTF8Buffer { bytes.append(escaping: $0.span) }
            bytes.append(UInt8(ascii: "\""))
        case .human:
            Timestamp.appendRFC3339(seconds: seconds, milliseconds: milliseconds, to: &bytes)
            bytes.append(UInt8(ascii: " "))
            bytes.append(ascii: level.word)
            bytes.append(UInt8(ascii: " "))
            bytes.append(ascii: message)
        }
    }

    /// Starts a line whose message is made at run time; for control's few lines.
    package mutating func begin(level: LogLevel, unixMilliseconds: Int64, text: String) {
        begin(level: level, unixMilliseconds: unixMilliseconds, message: "")
        switch format {
        case .json:
            bytes.removeLast()
            bytes.append(escaping: text)
            bytes.append(UInt8(ascii: "\""))
        case .human:
            bytes.append(escaping: text)
        }
    }

    /// A field whose name is made at run time; what is not a letter, digit or `_` in it becomes `_`.
    package mutating func field(named name: String, _ text: String) {
        if format == .json { bytes.append(UInt8(ascii: ",")) } else { bytes.append(UInt8(ascii: " ")) }
        if format == .json { bytes.append(UInt8(ascii: "\"")) }
        for byte in name.utf8 {
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            bytes.append(isPlain ? byte : 0x5F)
        }
        if format == .json { bytes.append(UInt8(ascii: "\"")) }
        bytes.append(format == .json ? UInt8(ascii: ":") : UInt8(ascii: "="))
        let quoted = opensQuote(for: text.utf8)
        bytes.append(escaping: text)
        if quoted { bytes.append(UInt8(ascii: "\"")) }
    }

    package mutating func field(_ name: StaticString, _ text: String) {
        beginField(name)
        let quoted = opensQuote(for: text.utf8)
        bytes.append(escaping: text)
        if quoted { bytes.append(UInt8(ascii: "\"")) }
    }

    /// Borrows the bytes; they may hold anything.
    package mutating func field(_ name: StaticString, bytes text: Span<UInt8>) {
        beginField(name)
        let quoted = opensQuote(for: text)
        bytes.append(escaping: text)
        if quoted { bytes.append(UInt8(ascii: "\"")) }
    }

    package mutating func field(_ name: StaticString, _ value: some BinaryInteger) {
        beginField(name)
        bytes.append(decimal: value)
    }

    package mutating func field(_ name: StaticString, _ value: Bool) {
        beginField(name)
        bytes.append(ascii: value ? "true" : "false")
    }

    /// Writes nanoseconds as milliseconds with three decimals.
    package mutating func field(_ name: StaticString, milliseconds nanoseconds: UInt64) {
        beginField(name)
        bytes.append(decimal: nanoseconds / 1_000_000)
        bytes.append(UInt8(ascii: "."))
        bytes.appendDigits(Int(nanoseconds / 1_000 % 1_000), width: 3)
    }

    package mutating func end() {
        if format == .json { bytes.append(UInt8(ascii: "}")) }
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func beginField(_ name: StaticString) {
        switch format {
        case .json:
            bytes.append(ascii: ",\"")
            bytes.append(ascii: name)
            bytes.append(ascii: "\":")
        case .human:
            bytes.append(UInt8(ascii: " "))
            bytes.append(ascii: name)
            bytes.append(UInt8(ascii: "="))
        }
    }

    private mutating func opensQuote(for text: String.UTF8View) -> Bool {
        let quoted = format == .json || text.isEmpty || text.contains(where: Self.needsQuotes)
        if quoted { bytes.append(UInt8(ascii: "\"")) }
        return quoted
    }

    private mutating func opensQuote(for text: Span<UInt8>) -> Bool {
        var quoted = format == .json || text.isEmpty
        var index = 0
        while !quoted, index < text.count {
            quoted = Self.needsQuotes(text[index])
            index += 1
        }
        if quoted { bytes.append(UInt8(ascii: "\"")) }
        return quoted
    }

    /// In the human form a value with a space, a quote or an equals sign would read as two fields.
    private static func needsQuotes(_ byte: UInt8) -> Bool {
        byte <= 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "=") || byte == UInt8(ascii: "\\")
    }
}
