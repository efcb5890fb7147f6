/// An answer of the console. The description leaves out what may be secret.
struct ConsoleReply: Sendable, CustomStringConvertible {
    var status: Int
    /// Names in lower case.
    var fields: [(name: String, value: String)]
    var body: [UInt8]

    var description: String { "ConsoleReply(\(status))" }

    /// The value of a field that stands once.
    func field(_ name: String) -> String? {
        let values = fields.filter { $0.name == name }
        return values.count == 1 ? values[0].value : nil
    }
}

/// Reads one HTTP/1.1 response out of bytes as they come (RFC 9112), for a connection that serves one request.
///
/// Knows what our console sends: a length, or the connection's end. A transfer coding is refused; interim responses are
/// skipped.
struct ReplyReader {
    enum Step: Sendable {
        case needsMore
        case reply(ConsoleReply)
        case malformed(String)
    }

    static let headLimit = 64 * 1024
    static let bodyLimit = 16 << 20
    private static let blankLine = Array("\r\n\r\n".utf8)

    private var bytes: [UInt8] = []
    private var head: ConsoleReply?
    private var length: Int?

    mutating func received(_ new: some Sequence<UInt8>) -> Step {
        bytes.append(contentsOf: new)
        while head == nil {
            guard let end = bytes.firstRange(of: Self.blankLine) else {
                return bytes.count > Self.headLimit ? .malformed("its head is too long") : .needsMore
            }
            let text = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
            bytes.removeSubrange(..<end.upperBound)
            if let complaint = readHead(text) { return .malformed(complaint) }
        }
        guard bytes.count <= Self.bodyLimit else { return .malformed("its body is too large") }
        guard let length, bytes.count >= length else { return .needsMore }
        return reply(bytes.prefix(length))
    }

    /// The connection ended.
    mutating func ended() -> Step {
        if head != nil, length == nil { return reply(bytes[...]) }
        return .malformed(head == nil && bytes.isEmpty ? "there was none" : "it was cut short")
    }

    private func reply(_ body: ArraySlice<UInt8>) -> Step {
        guard var reply = head else { return .needsMore }
        reply.body = Array(body)
        return .reply(reply)
    }

    /// Returns what is wrong. An interim response leaves `head` empty.
    private mutating func readHead(_ text: String) -> String? {
        var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)[...]
        let start = (lines.popFirst() ?? "").split(separator: " ", maxSplits: 2)
        guard start.count >= 2, start[0].hasPrefix("HTTP/1."), start[1].utf8.count == 3, let status = Int(start[1]),
            (100...599).contains(status)
        else { return "it is not HTTP" }
        var fields: [(name: String, value: String)] = []
        for line in lines {
            guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else { return "a field is broken" }
            let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
            fields.append((line[..<colon].lowercased(), String(value)))
        }
        guard status >= 200 else { return nil }
        let reply = ConsoleReply(status: status, fields: fields, body: [])
        if fields.contains(where: { $0.name == "transfer-encoding" }) { return "it has a transfer coding" }
        if fields.contains(where: { $0.name == "content-length" }) {
            guard let number = reply.field("content-length").flatMap({ Int($0) }), (0...Self.bodyLimit).contains(number)
            else { return "its length is not usable" }
            length = number
        }
        if status == 204 || status == 304 { length = 0 }
        head = reply
        return nil
    }
}
