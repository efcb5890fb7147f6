/// Parses HTTP/1 request heads (RFC 9112 3, RFC 9110 5). Anything ambiguous is refused.
package enum HTTP1RequestParser {
    /// Octets that a connection may begin with before a request line: empty lines (RFC 9112 2.2).
    package static let skippedLineBytes = 16

    /// How many bytes of CRLF stand before the request line; nil when there are too many.
    package static func leadingEmptyLines(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var skipped = 0
        while skipped + 1 < bytes.count, unsafe bytes[skipped] == 0x0D, unsafe bytes[skipped + 1] == 0x0A {
            skipped += 2
        }
        return skipped <= skippedLineBytes ? skipped : nil
    }

    /// Whether the first octet can begin a request line; a TLS record or line noise is told at once.
    package static func canBegin(with byte: UInt8) -> Bool {
        byte == 0x0D || (byte > 0x20 && byte < 0x7F)
    }

    /// Parses one complete head.
    ///
    /// - Parameters:
    ///   - bytes: the head from the request line to the empty line, both included.
    ///   - head: is reset and filled; unspecified when refused.
    /// - Returns: why it was refused, or nil.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, into head: inout MessageHead, limits: HeadLimits
    ) -> Rejection? {
        head.reset()
        unsafe head.arena.appendPadded(bytes)
        var fieldsStart = parsePlainLine(&head, limits)
        if fieldsStart == 0 {
            // The first CR must be the one of the line's end: otherwise a part of the head would be read by no one.
            guard let lineEnd = unsafe Octet.firstIndex(of: 0x0D, in: bytes), lineEnd + 1 < bytes.count,
                unsafe bytes[lineEnd + 1] == 0x0A
            else { return .malformed("the request line does not end in CRLF") }
            if let rejection = unsafe parseRequestLine(bytes, end: lineEnd, into: &head, limits: limits) {
                return rejection
            }
            fieldsStart = lineEnd + 2
        }
        var summary = FieldSummary()
        if let rejection = FieldParser.parse(
            into: &head, from: fieldsStart, summary: &summary, limits: limits, of: .request)
        {
            return rejection
        }
        return finish(&head, summary)
    }

    /// Parses the line that nearly all requests begin with: a method of letters, a path, HTTP/1.1. In one pass.
    ///
    /// - Returns: where the field lines begin; 0, and nothing done, when the line is of another kind.
    private static func parsePlainLine(_ head: inout MessageHead, _ limits: HeadLimits) -> Int {
        let content = unsafe head.arena.readable
        guard let base = content.baseAddress else { return 0 }
        let methodEnd = unsafe OctetScan.plainNameEnd(base, from: 0)
        let start = methodEnd + 1
        guard methodEnd > 0, unsafe base[methodEnd] == 0x20 && base[start] == 0x2F else { return 0 }
        let method = unsafe Method.find(UnsafeRawBufferPointer(start: base, count: methodEnd))
        let (end, query) = unsafe OctetScan.targetEnd(base, from: start)
        // Zeros follow the content, as many as are compared here.
        guard end - start <= limits.targetBytes, method != .connect, unsafe base[end] == 0x20,
            unsafe FieldParser.isVersion11(base, at: end + 1),
            unsafe base[end + 9] == 0x0D && base[end + 10] == 0x0A
        else { return 0 }
        head.method = method
        head.methodText = Slice(start: 0, length: methodEnd)
        head.target = Slice(start: start, length: end - start)
        head.path = Slice(start: start, length: query - start)
        return end + 11
    }

    private static func parseRequestLine(
        _ bytes: UnsafeRawBufferPointer, end: Int, into head: inout MessageHead, limits: HeadLimits
    ) -> Rejection? {
        let line = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<end])
        guard let first = unsafe Octet.firstIndex(of: 0x20, in: line) else {
            return .malformed("the request line is not 'method target version'")
        }
        let rest = unsafe UnsafeRawBufferPointer(rebasing: line[(first + 1)...])
        guard let second = unsafe Octet.firstIndex(of: 0x20, in: rest) else {
            return .malformed("the request line has no version (HTTP/0.9 is not spoken)")
        }
        let method = unsafe UnsafeRawBufferPointer(rebasing: line[..<first])
        guard unsafe Octet.isToken(method) else { return .malformed("the method is not a token") }
        head.method = unsafe Method.find(method)
        head.methodText = Slice(start: 0, length: first)
        let version = unsafe UnsafeRawBufferPointer(rebasing: rest[(second + 1)...])
        if let rejection = unsafe parseVersion(version, into: &head) { return rejection }
        guard second <= limits.targetBytes else { return .targetTooLong }
        return parseTarget(Slice(start: first + 1, length: second), into: &head)
    }

    private static func parseVersion(_ version: UnsafeRawBufferPointer, into head: inout MessageHead) -> Rejection? {
        guard version.count == 8, unsafe version[0] == 0x48, unsafe version[1] == 0x54,
            unsafe version[2] == 0x54, unsafe version[3] == 0x50, unsafe version[4] == 0x2F,
            unsafe Octet.isDigit(version[5]), unsafe version[6] == 0x2E, unsafe Octet.isDigit(version[7])
        else { return .malformed("the request line does not end in an HTTP version") }
        guard unsafe version[5] == 0x31 else { return .versionNotSupported }
        // HTTP/1.2 and up are to be taken as the highest minor version that is known (RFC 9110 2.5).
        head.minorVersion = unsafe min(version[7] - 0x30, 1)
        return nil
    }

    private static func parseTarget(_ slice: Slice, into head: inout MessageHead) -> Rejection? {
        let target = unsafe head.bytes(slice)
        guard target.count > 0, unsafe Octet.isLenientTarget(target) else {
            return .malformed("the request target has an octet that is not allowed")
        }
        switch unsafe target[0] {
        case 0x2F:
            head.target = slice
        case 0x2A where slice.count == 1:
            guard head.method == .options else { return .malformed("the target '*' goes with OPTIONS only") }
            head.flags.insert(.asteriskForm)
            head.target = slice
        default:
            if head.method == .connect { return .malformed("CONNECT is not served") }
            return parseAbsoluteForm(slice, into: &head)
        }
        if head.method == .connect { return .malformed("CONNECT is not served") }
        head.path = pathPart(of: head.target, in: head)
        return nil
    }

    /// `http://authority/path` (RFC 9112 3.2.2); the authority replaces the Host field.
    private static func parseAbsoluteForm(_ slice: Slice, into head: inout MessageHead) -> Rejection? {
        let target = unsafe head.bytes(slice)
        var schemeLength = 0
        if unsafe hasPrefix(target, "http://") { schemeLength = 7 }
        if unsafe hasPrefix(target, "https://") { schemeLength = 8 }
        guard schemeLength > 0 else { return .malformed("the request target is neither a path nor an http URL") }
        var end = schemeLength
        while end < target.count, unsafe target[end] != 0x2F, unsafe target[end] != 0x3F { end += 1 }
        head.authority = Slice(start: Int(slice.start) + schemeLength, length: end - schemeLength)
        guard unsafe Authority.isValid(head.bytes(head.authority)), !head.authority.isEmpty else {
            return .malformed("the request target has no valid host")
        }
        head.flags.insert(.absoluteForm)
        if unsafe end < target.count && target[end] == 0x2F {
            head.target = Slice(start: Int(slice.start) + end, length: slice.count - end)
        } else {
            // The path is empty: "/" and the query go to the end of the arena, which must not move meanwhile.
            let query = Slice(start: Int(slice.start) + end, length: slice.count - end)
            let start = head.arena.count
            head.arena.reserve(1 + query.count)
            head.arena.append(0x2F)
            unsafe head.arena.append(head.bytes(query))
            head.target = Slice(start: start, length: 1 + query.count)
        }
        head.path = pathPart(of: head.target, in: head)
        return nil
    }

    private static func pathPart(of target: Slice, in head: borrowing MessageHead) -> Slice {
        let length = unsafe Octet.firstIndex(of: 0x3F, in: head.bytes(target)) ?? target.count
        return Slice(start: Int(target.start), length: length)
    }

    private static func hasPrefix(_ bytes: UnsafeRawBufferPointer, _ prefix: StaticString) -> Bool {
        let length = prefix.utf8CodeUnitCount
        guard bytes.count >= length else { return false }
        return unsafe Octet.equal(UnsafeRawBufferPointer(rebasing: bytes[..<length]), ignoringCase: prefix)
    }

    /// Host, framing and connection handling from what the fields said.
    private static func finish(_ head: inout MessageHead, _ summary: FieldSummary) -> Rejection? {
        if let rejection = summary.rejection { return rejection }
        if summary.hostCount > 1 { return .malformed("there is more than one Host field") }
        if summary.hostCount == 0 && head.minorVersion >= 1 { return .malformed("there is no Host field") }
        if !head.flags.contains(.absoluteForm) { head.authority = summary.host }
        if summary.hostCount == 1, unsafe !Authority.isValid(head.bytes(summary.host)) {
            return .malformed("the Host field is not a host and port")
        }
        if summary.transferEncodingCount > 0 {
            if summary.contentLengthCount > 0 {
                return .malformed("there is both Transfer-Encoding and Content-Length")
            }
            if head.minorVersion == 0 { return .malformed("Transfer-Encoding in an HTTP/1.0 request") }
            if summary.codingIsUnknown { return .codingNotImplemented }
            head.framing = .chunked
        } else if summary.contentLengthCount > 0 {
            head.framing = .length(summary.contentLength)
        }
        let mayStay =
            head.minorVersion >= 1 ? !summary.connectionClose : summary.connectionKeepAlive && !summary.connectionClose
        if mayStay { head.flags.insert(.keepAlive) }
        if head.minorVersion == 0 { head.flags.remove(.expectsContinue) }
        if head.minorVersion == 0 || !summary.connectionUpgrade { head.flags.subtract(.anyUpgrade) }
        return nil
    }
}
