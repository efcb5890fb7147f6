/// The head of an HTTP/1.1 message: the words of its first line and its fields, names in lower case.
struct MessageHead: Sendable {
    let startLine: [String]
    let fields: [(name: String, value: String)]

    /// The values of all fields of this name.
    func values(_ name: String) -> [String] {
        fields.filter { $0.name == name }.map(\.value)
    }

    /// The elements of a comma-separated field, in lower case.
    func tokens(_ name: String) -> [String] {
        values(name).flatMap { $0.split(separator: ",") }.map { trim(String($0)).lowercased() }
    }
}

/// How the end of a body is found (RFC 9112 6.3).
enum Framing: Equatable {
    case none
    case length(Int)
    case chunked
    /// Responses only.
    case untilEnd
}

/// Reads HTTP/1.1 messages from a wire, and refuses what is not to the letter.
final class MessageReader {
    private static let headLimit = 64 * 1024
    private let wire: Wire
    private var buffer: [UInt8] = []
    private var start = 0

    init(_ wire: Wire) { self.wire = wire }

    /// `nil`: the stream ended before a first byte.
    func head() throws(WireError) -> MessageHead? {
        var budget = Self.headLimit
        guard try !isAtEnd() else { return nil }
        let startLine = try line(&budget)
        let words = startLine.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        var fields: [(name: String, value: String)] = []
        while case let text = try line(&budget), !text.isEmpty {
            fields.append(try Self.field(text))
        }
        return MessageHead(startLine: words, fields: fields)
    }

    func body(_ framing: Framing, limit: Int) throws(WireError) -> [UInt8] {
        switch framing {
        case .none: return []
        case .length(let count):
            guard count <= limit else { throw .tooLarge }
            return try exactly(count)
        case .chunked: return try chunked(limit: limit)
        case .untilEnd: return try untilEnd(limit: limit)
        }
    }

    // MARK: Pieces

    private static func field(_ text: String) throws(WireError) -> (name: String, value: String) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")), colon != text.startIndex else {
            throw .malformed("a field has no name")
        }
        let name = text[..<colon]
        guard name.utf8.allSatisfy(isTokenByte) else { throw .malformed("a field name has a forbidden character") }
        let value = trim(String(text[text.index(after: colon)...]))
        guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
            throw .malformed("a field value has a control character")
        }
        return (name.lowercased(), value)
    }

    private func chunked(limit: Int) throws(WireError) -> [UInt8] {
        var body: [UInt8] = []
        var budget = Self.headLimit
        while true {
            var lineBudget = 4096
            let digits = try line(&lineBudget).prefix { $0 != ";" }
            guard (1...8).contains(digits.utf8.count), digits.allSatisfy(\.isHexDigit), digits.allSatisfy(\.isASCII),
                let count = Int(digits, radix: 16)
            else { throw .malformed("a chunk has no size") }
            guard count > 0 else { break }
            guard body.count + count <= limit else { throw .tooLarge }
            body += try exactly(count)
            guard try exactly(2) == Array("\r\n".utf8) else { throw .malformed("a chunk is longer than its size") }
        }
        while case let text = try line(&budget), !text.isEmpty { _ = try Self.field(text) }
        return body
    }

    private func untilEnd(limit: Int) throws(WireError) -> [UInt8] {
        while try more() {
            guard buffer.count - start <= limit else { throw .tooLarge }
        }
        return take(buffer.count - start)
    }

    private func exactly(_ count: Int) throws(WireError) -> [UInt8] {
        while buffer.count - start < count {
            guard try more() else { throw .ended }
        }
        return take(count)
    }

    /// A line without its CR LF. A bare CR or LF is refused.
    private func line(_ budget: inout Int) throws(WireError) -> String {
        var searched = start
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                let text = take(end - start + 1)
                budget -= text.count
                guard budget >= 0 else { throw .tooLarge }
                guard text.count >= 2, text[text.count - 2] == UInt8(ascii: "\r"),
                    !text.dropLast(2).contains(UInt8(ascii: "\r"))
                else { throw .malformed("a line does not end with CR LF") }
                guard let line = String(validating: text.dropLast(2), as: UTF8.self) else {
                    throw .malformed("a line is not UTF-8")
                }
                return line
            }
            searched = buffer.count
            guard buffer.count - start <= budget else { throw .tooLarge }
            let taken = start
            guard try more() else { throw .ended }
            searched -= taken - start
        }
    }

    private func isAtEnd() throws(WireError) -> Bool {
        if start < buffer.count { return false }
        return try !more()
    }

    private func more() throws(WireError) -> Bool {
        if start > 0 {
            buffer.removeFirst(start)
            start = 0
        }
        let bytes = try wire.read()
        buffer += bytes
        return !bytes.isEmpty
    }

    private func take(_ count: Int) -> [UInt8] {
        defer { start += count }
        return Array(buffer[start..<start + count])
    }
}

func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
}

func trim(_ text: String) -> String {
    let isSpace = { (character: Character) in character == " " || character == "\t" }
    let tail = text.drop(while: isSpace)
    return String(tail.reversed().drop(while: isSpace).reversed())
}

func reason(_ status: Int) -> String {
    let reasons = [
        100: "Continue", 200: "OK", 201: "Created", 204: "No Content", 302: "Found", 303: "See Other",
        304: "Not Modified", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        405: "Method Not Allowed", 413: "Content Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests",
        500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
    ]
    return reasons[status] ?? "Status"
}
