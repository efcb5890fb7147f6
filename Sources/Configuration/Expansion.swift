/// Replaces `${NAME}` by the environment's variable of that name; `$${` stands for `${`.
struct Expansion {
    let source: SourceText
    let variable: @Sendable (String) -> String?
    private(set) var mistakes: [Mistake] = []
    /// Where the strings with mistakes begin.
    private(set) var broken: [Position] = []

    init(source: SourceText, variable: @escaping @Sendable (String) -> String?) {
        self.source = source
        self.variable = variable
    }

    /// The text with its variables. An undefined variable or a malformed reference is a mistake at its place in the
    /// file, found by looking for it behind `position`, where the string begins.
    mutating func expand(_ raw: String, at position: Position) -> String {
        guard raw.utf8.contains(UInt8(ascii: "$")) else { return raw }
        var bytes = Array(raw.utf8)[...]
        var result: [UInt8] = []
        var references = 0
        let mistakesBefore = mistakes.count
        while let byte = bytes.first {
            if bytes.starts(with: "$${".utf8) {
                result += "${".utf8
                bytes = bytes.dropFirst(3)
                references += 1
            } else if bytes.starts(with: "${".utf8) {
                let (source, index) = (source, references)
                result += take(&bytes, at: source.position(ofReference: index, after: position))
                references += 1
            } else {
                result.append(byte)
                bytes = bytes.dropFirst()
            }
        }
        if mistakes.count > mistakesBefore { broken.append(position) }
        return String(decoding: result, as: UTF8.self)
    }

    private mutating func take(_ bytes: inout ArraySlice<UInt8>, at place: @autoclosure () -> Position) -> [UInt8] {
        let inside = bytes.dropFirst(2).prefix { $0 != UInt8(ascii: "}") }
        let isClosed = inside.endIndex < bytes.endIndex
        let name = String(decoding: inside, as: UTF8.self)
        bytes = isClosed ? bytes[(inside.endIndex + 1)...] : []
        let isName = inside.first?.isDigit == false && inside.allSatisfy { $0.isDigit || $0.isLetter || $0 == 0x5f }
        guard isClosed, isName else {
            mistakes.append(
                Mistake(
                    place(),
                    #""${" must be followed by the name of an environment variable and "}"; "#
                        + #"write "$${" for the text "${""#))
            return []
        }
        guard let value = variable(name) else {
            mistakes.append(Mistake(place(), "the environment variable \(name) is not set"))
            return []
        }
        return Array(value.utf8)
    }
}

/// A mistake at a place; for a value's mistake the text is a predicate that follows the directive's name.
struct Mistake: Sendable, Hashable {
    let position: Position
    let text: String

    init(_ position: Position, _ text: String) {
        self.position = position
        self.text = text
    }
}

/// The file's bytes by line.
struct SourceText: Sendable {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Where the `${` number `index` (from 0) behind `position` stands; `position` itself if there is none, as when
    /// the string spells it with escapes.
    func position(ofReference index: Int, after position: Position) -> Position {
        guard var at = offset(of: position) else { return position }
        var place = position
        var left = index
        while at + 1 < bytes.count {
            if bytes[at] == UInt8(ascii: "$"), bytes[at + 1] == UInt8(ascii: "{") {
                if left == 0 { return place }
                left -= 1
            }
            place = step(over: bytes[at], from: place)
            at += 1
        }
        return position
    }

    private func offset(of position: Position) -> Int? {
        var place = Position(line: 1, column: 1)
        for (index, byte) in bytes.enumerated() {
            // The last bytes of a character do not move the column: stop at a first one.
            if place == position, byte & 0xc0 != 0x80 { return index }
            place = step(over: byte, from: place)
        }
        return nil
    }

    private func step(over byte: UInt8, from place: Position) -> Position {
        if byte == UInt8(ascii: "\n") { return Position(line: place.line + 1, column: 1) }
        return byte & 0xc0 == 0x80 ? place : Position(line: place.line, column: place.column + 1)
    }
}
