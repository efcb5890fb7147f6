/// Writes to memory that has room for all that is written; what the octets are is not looked at.
struct PlainCursor {
    private let start: UnsafeMutablePointer<UInt8>
    private var next: UnsafeMutablePointer<UInt8>
    private let isJSON: Bool

    init(_ memory: UnsafeMutablePointer<UInt8>, isJSON: Bool) {
        start = memory
        next = memory
        self.isJSON = isJSON
    }

    var count: Int { next - start }

    @inline(__always)
    mutating func literal(_ text: StaticString) {
        next.update(from: text.utf8Start, count: text.utf8CodeUnitCount)
        next += text.utf8CodeUnitCount
    }

    mutating func text(_ text: Span<UInt8>) {
        text.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return }
            next.update(from: base, count: bytes.count)
            next += bytes.count
        }
    }

    mutating func number(_ number: UInt64) {
        var digits = 1
        var limit: UInt64 = 10
        while digits < 20 && number >= limit {
            digits &+= 1
            limit = limit &* 10
        }
        self.digits(number, width: digits)
    }

    /// The last `width` digits.
    mutating func digits(_ number: UInt64, width: Int) {
        var rest = number
        var position = width
        while position > 0 {
            position &-= 1
            next[position] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        next += width
    }

    // Fields, with the name of each as a literal.

    @inline(__always)
    mutating func field(_ name: StaticString, _ text: Span<UInt8>) {
        begin(name)
        if isJSON { literal("\"") }
        self.text(text)
        if isJSON { literal("\"") }
    }

    @inline(__always)
    mutating func field(_ name: StaticString, _ value: UInt64) {
        begin(name)
        number(value)
    }

    @inline(__always)
    mutating func field(_ name: StaticString, milliseconds nanoseconds: UInt64) {
        begin(name)
        number(nanoseconds / 1_000_000)
        literal(".")
        digits(nanoseconds / 1_000 % 1_000, width: 3)
    }

    @inline(__always)
    private mutating func begin(_ name: StaticString) {
        if isJSON {
            literal(",\"")
            literal(name)
            literal("\":")
        } else {
            literal(" ")
            literal(name)
            literal("=")
        }
    }
}

extension LineWriter {
    /// Octets of text from outside and from the configuration that a line of the plain kind may have.
    private static let plainTextLimit = 2048
    /// All that is constant in a line, the numbers and the time, generously.
    private static let plainFixedBytes = 1024

    /// Writes the line of an exchange in which nothing has to be escaped or quoted, which nearly all are: in one piece.
    ///
    /// - Returns: false, and nothing written, when the line is of another kind.
    mutating func plainExchangeEnded(
        _ facts: ExchangeFacts, requestID: Span<UInt8>, caller: Span<UInt8>, method: Span<UInt8>, path: Span<UInt8>
    ) -> Bool {
        let isJSON = format == .json
        let isPlain =
            facts.unixMilliseconds >= 0 && facts.status >= 0 && facts.attempts >= 0
            && Self.isPlain(requestID, isJSON) && Self.isPlain(caller, isJSON) && Self.isPlain(method, isJSON)
            && Self.isPlain(path, isJSON) && Self.isPlain(facts.route, isJSON) && Self.isPlain(facts.upstream, isJSON)
            && Self.isPlain(facts.errorCode, isJSON) && Self.isPlain(facts.grant, isJSON)
        let variable =
            requestID.count + caller.count + method.count + path.count + (facts.route?.utf8.count ?? 0)
            + (facts.upstream?.utf8.count ?? 0) + (facts.errorCode?.utf8.count ?? 0)
            + (facts.grant?.utf8.count ?? 0)
        guard isPlain, variable <= Self.plainTextLimit else { return false }
        append(room: Self.plainFixedBytes + variable) { memory in
            var line = PlainCursor(memory, isJSON: isJSON)
            line.literal(isJSON ? "{\"time\":\"" : "")
            Timestamp.writeRFC3339(milliseconds: facts.unixMilliseconds, to: &line)
            line.literal(isJSON ? "\",\"level\":\"info\",\"message\":\"exchange\"" : " info exchange")
            line.field("request_id", requestID)
            line.field("caller", caller)
            if let route = facts.route { line.field("route", route.utf8.span) }
            line.field("method", method)
            line.field("target", path)
            line.field("status", UInt64(facts.status))
            line.field("bytes_received", facts.bytesReceived)
            line.field("bytes_sent", facts.bytesSent)
            line.field("duration_ms", milliseconds: facts.totalNanoseconds)
            if let first = facts.firstByteNanoseconds { line.field("first_byte_ms", milliseconds: first) }
            if facts.credentialWaitNanoseconds > 0 {
                line.field("credential_wait_ms", milliseconds: facts.credentialWaitNanoseconds)
            }
            if let upstream = facts.upstream { line.field("upstream", upstream.utf8.span) }
            if let grant = facts.grant { line.field("grant", grant.utf8.span) }
            line.field("attempts", UInt64(facts.attempts))
            if let retry = facts.retry { line.field("retry", retry.label.utf8.span) }
            if let code = facts.errorCode { line.field("error", code.utf8.span) }
            line.literal(isJSON ? "}\n" : "\n")
            return line.count
        }
        return true
    }

    private static func isPlain(_ text: String?, _ isJSON: Bool) -> Bool {
        guard let text else { return true }
        return isPlain(text.utf8.span, isJSON)
    }

    /// Printable ASCII without the quote and the backslash; for people without space and equals sign, too, and not
    /// empty: the line would need quotes.
    private static func isPlain(_ text: Span<UInt8>, _ isJSON: Bool) -> Bool {
        let lowest: UInt8 = isJSON ? 0x20 : 0x21
        let equals: UInt8 = isJSON ? 0x22 : 0x3D
        var bad: UInt8 = !isJSON && text.isEmpty ? 1 : 0
        text.withUnsafeBufferPointer { bytes in
            // All octets are looked at, without a way out in the middle, so that the loop can be vectorized.
            for index in 0..<bytes.count {
                let byte = bytes[index]
                bad |= byte < lowest || byte > 0x7E ? 1 : 0
                bad |= byte == 0x22 ? 1 : 0
                bad |= byte == 0x5C ? 1 : 0
                bad |= byte == equals ? 1 : 0
            }
        }
        return bad == 0
    }
}
