import HTTP

/// A small generator with a seed, so that a failure can be had again.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

struct TextField: Equatable, CustomStringConvertible {
    var name: String
    var value: String

    init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }

    var description: String { "\(name): \(value)" }
}

/// A copy of a parsed head that can be compared. Octets above 0x7E stand as the characters of the same number.
struct HeadCopy: Equatable {
    var method = Method.other
    var methodText = ""
    var target = ""
    var path = ""
    var authority = ""
    var minorVersion: UInt8 = 0
    var status: UInt16 = 0
    var reason = ""
    var framing = BodyFraming.none
    var flags: MessageFlags = []
    /// All fields, dropped ones included.
    var fields: [TextField] = []
    /// Those that are not dropped.
    var kept: [TextField] = []

    init(_ head: borrowing MessageHead) {
        method = head.method
        methodText = latin1(head.bytes(head.methodText))
        target = latin1(head.bytes(head.target))
        path = latin1(head.bytes(head.path))
        authority = latin1(head.bytes(head.authority))
        minorVersion = head.minorVersion
        status = head.status
        reason = latin1(head.bytes(head.reason))
        framing = head.framing
        flags = head.flags
        for field in head.fields {
            let copy = TextField(latin1(head.bytes(field.name)), latin1(head.bytes(field.value)))
            fields.append(copy)
            if !field.isDropped { kept.append(copy) }
        }
    }

    func values(_ name: String) -> [String] {
        kept.filter { $0.name.lowercased() == name }.map(\.value)
    }
}

func latin1(_ bytes: UnsafeRawBufferPointer) -> String {
    String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
}

/// The octets of a text whose characters are all below U+0100.
func octets(_ text: String) -> [UInt8] {
    text.unicodeScalars.map { UInt8($0.value) }
}

/// What came of reading a head from the start of some bytes.
enum HeadOutcome: Equatable {
    case parsed(HeadCopy, length: Int)
    case rejected(Rejection)
    case incomplete

    var head: HeadCopy? {
        if case .parsed(let head, _) = self { return head }
        return nil
    }

    var rejection: Rejection? {
        if case .rejected(let rejection) = self { return rejection }
        return nil
    }
}

enum MessageKind: Sendable, Equatable {
    case request
    case response(to: HTTP.Method)
}

/// Reads a head as a driver does: empty lines are skipped (request), the scanner runs on each arrival, the parser
/// once. `cuts` are the positions, in rising order, where the bytes are cut.
func readHead(
    _ bytes: [UInt8], cuts: [Int] = [], _ kind: MessageKind = .request, limits: HeadLimits = HeadLimits()
) -> HeadOutcome {
    var scanner = HeadScanner()
    var start = 0
    for end in cuts + [bytes.count] {
        let outcome: HeadOutcome = bytes[..<end].withUnsafeBytes { received in
            if kind == .request, received.count > start {
                guard HTTP1RequestParser.canBegin(with: received[start]) else {
                    return .rejected(.malformed("the first octet cannot begin a request"))
                }
                guard
                    let skipped = HTTP1RequestParser.leadingEmptyLines(
                        UnsafeRawBufferPointer(rebasing: received[start...]))
                else { return .rejected(.malformed("too many empty lines")) }
                // A driver that is sent the empty lines one by one would see them one by one.
                if start + skipped > HTTP1RequestParser.skippedLineBytes {
                    return .rejected(.malformed("too many empty lines"))
                }
                start += skipped
                if start < received.count, !HTTP1RequestParser.canBegin(with: received[start]) {
                    return .rejected(.malformed("the first octet cannot begin a request"))
                }
            }
            let rest = UnsafeRawBufferPointer(rebasing: received[start...])
            switch scanner.search(rest, limits: limits) {
            case .incomplete: return .incomplete
            case .rejected(let rejection): return .rejected(rejection)
            case .complete(let length):
                return parseHead(UnsafeRawBufferPointer(rebasing: rest[..<length]), kind, limits, start + length)
            }
        }
        if outcome != .incomplete { return outcome }
    }
    return .incomplete
}

private func parseHead(
    _ bytes: UnsafeRawBufferPointer, _ kind: MessageKind, _ limits: HeadLimits, _ end: Int
) -> HeadOutcome {
    var head = MessageHead()
    let rejection: Rejection?
    switch kind {
    case .request:
        rejection = HTTP1RequestParser.parse(bytes, into: &head, limits: limits)
    case .response(let method):
        rejection = HTTP1ResponseParser.parse(bytes, answering: method, into: &head, limits: limits)
    }
    if let rejection { return .rejected(rejection) }
    return .parsed(HeadCopy(head), length: end)
}

func request(_ text: String, limits: HeadLimits = HeadLimits()) -> HeadOutcome {
    readHead(octets(text), .request, limits: limits)
}

/// A GET with these field lines beside Host.
func requestWith(_ lines: String...) -> HeadOutcome {
    request("GET / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n")
}

func response(_ text: String, to method: HTTP.Method = .get) -> HeadOutcome {
    readHead(octets(text), .response(to: method))
}

func responseWith(_ lines: String..., status: String = "200 OK", to method: HTTP.Method = .get) -> HeadOutcome {
    response("HTTP/1.1 \(status)\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n", to: method)
}

/// What came of decoding content.
struct BodyOutcome: Equatable {
    enum End: Equatable {
        /// With what is left over for the next message.
        case ended(leftover: [UInt8])
        case needsInput(completeWhenClosed: Bool)
        case rejected(Rejection)
    }
    var content: [UInt8] = []
    var trailers: [TextField] = []
    var end = End.needsInput(completeWhenClosed: false)

    var text: String { content.withUnsafeBytes { latin1($0) } }
    var rejection: Rejection? {
        if case .rejected(let rejection) = end { return rejection }
        return nil
    }
}

/// Decodes content as a driver does, the bytes cut at `cuts`.
func readBody(_ bytes: [UInt8], _ framing: BodyFraming = .chunked, cuts: [Int] = []) -> BodyOutcome {
    var decoder = BodyDecoder()
    decoder.begin(framing)
    var outcome = BodyOutcome()
    var trailers = MessageHead()
    var start = 0
    for end in cuts + [bytes.count] {
        var waits = false
        while !waits {
            let taken = start
            let step = bytes[taken..<end].withUnsafeBytes { decoder.decode($0, trailers: &trailers) }
            start += decoder.consumed
            switch step {
            case .needsInput: waits = true
            case .content(let offset, let length):
                outcome.content += bytes[(taken + offset)..<(taken + offset + length)]
            case .ended:
                outcome.trailers = HeadCopy(trailers).kept
                outcome.end = .ended(leftover: Array(bytes[start...]))
                return outcome
            case .rejected(let rejection):
                outcome.end = .rejected(rejection)
                return outcome
            }
        }
    }
    outcome.end = .needsInput(completeWhenClosed: decoder.connectionEnded())
    return outcome
}

func body(_ text: String, _ framing: BodyFraming = .chunked) -> BodyOutcome {
    readBody(octets(text), framing)
}
