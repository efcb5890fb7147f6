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
        if let base = bytes.baseAddress, let outcome = unsafe searchLines(base, bytes.count, limits) { return outcome }
        // Before the start line the caller may still take empty lines away, so that what was scanned would move.
        if unsafe startLineSeen || (bytes.count > 0 && bytes[0] != 0x0D) { scanned = bytes.count }
        if let rejection = excess(bytes.count, limits) { return .rejected(rejection) }
        return .incomplete
    }

    /// Looks at what follows ``scanned``, sixteen octets at a time. The last of these blocks overlaps the one before
    /// it: nothing may be read behind the end.
    @inline(__always)
    private mutating func searchLines(_ base: UnsafeRawPointer, _ count: Int, _ limits: HeadLimits) -> HeadSearch? {
        var position = scanned
        guard count >= 16 else {
            while position < count {
                if unsafe base[position] == 0x0A, let outcome = unsafe lineEnded(base, at: position, limits) {
                    return outcome
                }
                position &+= 1
            }
            return nil
        }
        // The block where the last field line ends that was found and not yet noted down.
        var plainBlock = -1
        while position < count {
            let block = min(position, count &- 16)
            let lineFeeds = unsafe OctetScan.load(base + block) .== OctetScan.all(0x0A)
            if OctetScan.isAny(lineFeeds) {
                if startLineSeen, block &+ 16 <= limits.headBytes, unsafe areFieldLines(base, block, lineFeeds) {
                    plainBlock = block
                } else {
                    if plainBlock >= 0 { unsafe noteFieldLine(base, plainBlock) }
                    // Without those that were looked at in the block before.
                    let lanes = OctetScan.lanes(lineFeeds) >> UInt32(truncatingIfNeeded: position &- block)
                    if let outcome = unsafe searchBlock(base, from: position, lanes, limits) { return outcome }
                    plainBlock = -1
                }
            }
            position = block &+ 16
        }
        if plainBlock >= 0 { unsafe noteFieldLine(base, plainBlock) }
        return nil
    }

    /// Whether each line that ends in a block ends in CRLF, and none of them is empty.
    @inline(__always)
    private func areFieldLines(_ base: UnsafeRawPointer, _ block: Int, _ lineFeeds: OctetScan.Mask) -> Bool {
        guard block >= 2 else { return false }
        let hasReturn = unsafe OctetScan.load(base + (block &- 1)) .== OctetScan.all(0x0D)
        let isEmpty = unsafe OctetScan.load(base + (block &- 2)) .== OctetScan.all(0x0A)
        return !OctetScan.isAny(lineFeeds .& (isEmpty .| .!hasReturn))
    }

    /// Not inlined: it would be done for each block ahead of time.
    @inline(never)
    private mutating func noteFieldLine(_ base: UnsafeRawPointer, _ block: Int) {
        let lineFeeds = unsafe OctetScan.load(base + block) .== OctetScan.all(0x0A)
        scanned = block &+ OctetScan.last(lineFeeds) &+ 1
        lineStart = scanned
    }

    /// - Parameter lanes: where LFs stand, the lowest bit at `start`.
    private mutating func searchBlock(
        _ base: UnsafeRawPointer, from start: Int, _ lanes: UInt32, _ limits: HeadLimits
    ) -> HeadSearch? {
        var rest = lanes
        while rest != 0 {
            let position = start &+ rest.trailingZeroBitCount
            if let outcome = unsafe lineEnded(base, at: position, limits) { return outcome }
            rest &= rest &- 1
        }
        return nil
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
