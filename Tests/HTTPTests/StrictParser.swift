import HTTP

/// A second HTTP/1 parser, written only to be plainly right: strings, no limits, no speed, nothing lenient.
/// What the real one accepts this one has to accept, with the same result.
enum StrictParser {
    struct Request: Equatable {
        var method = ""
        var target = ""
        var minorVersion = 0
        var fields: [TextField] = []
        var framing = BodyFraming.none
    }

    private static let tokenCharacters = Set(
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".unicodeScalars)
    private static let digits = Set("0123456789".unicodeScalars)

    /// - Parameter text: a whole head, one character an octet.
    static func request(_ text: String) -> Request? {
        guard let lines = lines(of: text), let first = lines.first else { return nil }
        let parts = split(first, at: " ")
        guard parts.count == 3, isToken(parts[0]), !parts[1].isEmpty else { return nil }
        guard parts[1].unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7F && $0 != "#" }) else {
            return nil
        }
        var result = Request()
        result.method = parts[0]
        result.target = parts[1]
        let version = Array(parts[2].unicodeScalars)
        guard version.count == 8, parts[2].hasPrefix("HTTP/1."), digits.contains(version[7]) else { return nil }
        result.minorVersion = version[7] == "0" ? 0 : 1
        for line in lines.dropFirst() {
            guard let field = field(line) else { return nil }
            result.fields.append(field)
        }
        guard let framing = framing(result.fields, isOld: result.minorVersion == 0) else { return nil }
        result.framing = framing
        let hosts = result.fields.filter { $0.name.lowercased() == "host" }.count
        guard hosts == 1 || (hosts == 0 && result.minorVersion == 0) else { return nil }
        return result
    }

    /// The lines without the last, empty one; nil when a line ends otherwise than in CRLF.
    private static func lines(of text: String) -> [String]? {
        var lines: [String] = []
        var line: [Unicode.Scalar] = []
        for scalar in text.unicodeScalars {
            line.append(scalar)
            guard scalar == "\n" else { continue }
            guard line.count >= 2, line[line.count - 2] == "\r" else { return nil }
            let content = line.dropLast(2)
            guard !content.contains("\r") else { return nil }
            lines.append(String(String.UnicodeScalarView(content)))
            line = []
        }
        guard line.isEmpty, lines.last == "", !lines.dropLast().contains("") else { return nil }
        return lines.dropLast()
    }

    private static func split(_ text: String, at separator: Unicode.Scalar) -> [String] {
        text.unicodeScalars.split(separator: separator, omittingEmptySubsequences: false).map { String($0) }
    }

    private static func isToken(_ text: String) -> Bool {
        !text.isEmpty && text.unicodeScalars.allSatisfy { tokenCharacters.contains($0) }
    }

    private static func field(_ line: String) -> TextField? {
        guard let colon = line.unicodeScalars.firstIndex(of: ":") else { return nil }
        let name = String(line.unicodeScalars[..<colon])
        var value = Array(line.unicodeScalars[line.unicodeScalars.index(after: colon)...])
        guard isToken(name), value.allSatisfy({ $0 == "\t" || ($0.value >= 0x20 && $0.value != 0x7F) }) else {
            return nil
        }
        while let last = value.last, last == " " || last == "\t" { value.removeLast() }
        while let first = value.first, first == " " || first == "\t" { value.removeFirst() }
        return TextField(name, String(String.UnicodeScalarView(value)))
    }

    private static func framing(_ fields: [TextField], isOld: Bool) -> BodyFraming? {
        let codings = fields.filter { $0.name.lowercased() == "transfer-encoding" }.map(\.value)
        let lengths = fields.filter { $0.name.lowercased() == "content-length" }.map(\.value)
        if !codings.isEmpty {
            guard !isOld, lengths.isEmpty, codings.count == 1, codings[0].lowercased() == "chunked" else { return nil }
            return .chunked
        }
        if lengths.isEmpty { return BodyFraming.none }
        var values: Set<UInt64> = []
        for length in lengths {
            guard !length.isEmpty, length.unicodeScalars.allSatisfy({ digits.contains($0) }),
                let value = UInt64(length), value <= UInt64(Int64.max)
            else { return nil }
            values.insert(value)
        }
        guard values.count == 1, let value = values.first else { return nil }
        return .length(value)
    }
}
