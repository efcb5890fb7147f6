/// The largest head that is accepted.
package struct HeadLimits: Sendable, Equatable {
    /// Bytes of the request target (RFC 9112 3: at least 8000 octets are to be supported).
    package var targetBytes: Int
    /// Bytes of the whole head, start line included.
    package var headBytes: Int
    package var fieldCount: Int

    package init(targetBytes: Int = 8 * 1024, headBytes: Int = 32 * 1024, fieldCount: Int = 100) {
        self.targetBytes = targetBytes
        self.headBytes = headBytes
        self.fieldCount = fieldCount
    }
}

/// Why a head or a body was refused. After one of these nothing more may be read from the connection (RFC 9112 6.3).
package enum Rejection: Error, Equatable, Sendable {
    /// With what is wrong, in words for the operator and the caller.
    case malformed(StaticString)
    case targetTooLong
    case headTooLarge
    case tooManyFields
    case versionNotSupported
    /// A transfer coding other than chunked (RFC 9112 6.1).
    case codingNotImplemented

    package static func == (one: Rejection, other: Rejection) -> Bool {
        one.reason.description == other.reason.description
    }

    package var reason: StaticString {
        switch self {
        case .malformed(let reason): reason
        case .targetTooLong: "the request target is longer than the limit"
        case .headTooLarge: "the header section is larger than the limit"
        case .tooManyFields: "there are more fields than the limit"
        case .versionNotSupported: "the protocol version is not HTTP/1.0 or HTTP/1.1"
        case .codingNotImplemented: "the transfer coding is not chunked alone"
        }
    }
}

/// Where the search for the end of a head stands.
package enum HeadSearch: Equatable {
    case incomplete
    /// The head, the empty line included, is the first `length` bytes.
    case complete(length: Int)
    case rejected(Rejection)
}

/// Finds the end of a head as bytes arrive, looking at each byte once however they are cut.
package struct HeadScanner: Sendable {
    /// Where the line begins whose end is looked for.
    private var lineStart = 0
    /// Bytes from the start that hold no LF but those that were seen.
    private var scanned = 0
    private var startLineSeen = false

    package init() {}

    package mutating func reset() {
        lineStart = 0
        scanned = 0
        startLineSeen = false
    }

    /// - Parameter bytes: everything received since the head's first octet.
    package mutating func search(_ bytes: UnsafeRawBufferPointer, limits: HeadLimits) -> HeadSearch {
        if let base = bytes.baseAddress {
            var position = scanned
            // Sixteen octets at a time, the last ones one by one: nothing behind them may be read.
            while position <= bytes.count - 16 {
                let words = unsafe OctetScan.words(OctetScan.load(base + position) .== OctetScan.all(0x0A))
                var low = words.low
                var high = words.high
                while low | high != 0 {
                    let lane = low != 0 ? low.trailingZeroBitCount >> 3 : 8 + high.trailingZeroBitCount >> 3
                    if let outcome = unsafe lineEnded(base, at: position + lane, limits) { return outcome }
                    if low != 0 { low &= ~(0xFF << UInt64(lane * 8)) } else { high &= ~(0xFF << UInt64(lane * 8 - 64)) }
                }
                position += 16
            }
            while position < bytes.count {
                if unsafe base[position] == 0x0A, let outcome = unsafe lineEnded(base, at: position, limits) {
                    return outcome
                }
                position += 1
            }
        }
        // Before the start line the caller may still take empty lines away, so that what was scanned would move.
        if unsafe startLineSeen || (bytes.count > 0 && bytes[0] != 0x0D) { scanned = bytes.count }
        if let rejection = excess(bytes.count, limits) { return .rejected(rejection) }
        return .incomplete
    }

    /// A line ends at `end`, where an LF stands; the outcome when it is the last, or must not end so.
    @inline(__always)
    private mutating func lineEnded(_ base: UnsafeRawPointer, at end: Int, _ limits: HeadLimits) -> HeadSearch? {
        if let rejection = excess(end, limits) { return .rejected(rejection) }
        guard end > lineStart, unsafe base[end - 1] == 0x0D else {
            return .rejected(.malformed("a line ends in LF without CR"))
        }
        let lineIsEmpty = end == lineStart + 1
        lineStart = end + 1
        scanned = end + 1
        if lineIsEmpty && startLineSeen {
            return scanned > limits.headBytes ? .rejected(.headTooLarge) : .complete(length: scanned)
        }
        if !lineIsEmpty { startLineSeen = true }
        return nil
    }

    /// What is too large when no line has ended before `position`. The limit that comes first in the bytes decides,
    /// so that the answer does not hang on how they are cut.
    @inline(__always)
    private func excess(_ position: Int, _ limits: HeadLimits) -> Rejection? {
        // A start line is a method, the target and a version.
        let (startLineEnd, overflow) = lineStart.addingReportingOverflow(limits.targetBytes &+ 64)
        if !startLineSeen && !overflow && startLineEnd <= limits.headBytes && position > startLineEnd {
            return .targetTooLong
        }
        return position > limits.headBytes ? .headTooLarge : nil
    }
}
