/// Parses HTTP/1 response heads (RFC 9112 4).
package enum HTTP1ResponseParser {
    /// Parses one complete head.
    ///
    /// - Parameters:
    ///   - bytes: the head from the status line to the empty line, both included.
    ///   - method: of the request that it answers; it decides on the content (RFC 9112 6.3).
    ///   - head: is reset and filled; unspecified when refused.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, answering method: Method, into head: inout MessageHead, limits: HeadLimits
    ) -> Rejection? {
        head.reset()
        unsafe head.arena.appendPadded(bytes)
        var fieldsStart = parsePlainLine(&head)
        if fieldsStart == 0 {
            // The first CR must be the one of the line's end: otherwise a part of the head would be read by no one.
            guard let lineEnd = unsafe Octet.firstIndex(of: 0x0D, in: bytes), lineEnd + 1 < bytes.count,
                unsafe bytes[lineEnd + 1] == 0x0A
            else { return .malformed("the status line does not end in CRLF") }
            if let rejection = unsafe parseStatusLine(UnsafeRawBufferPointer(rebasing: bytes[..<lineEnd]), into: &head)
            {
                return rejection
            }
            fieldsStart = lineEnd + 2
        }
        var summary = FieldSummary()
        if let rejection = FieldParser.parse(
            into: &head, from: fieldsStart, summary: &summary, limits: limits, of: .response)
        {
            return rejection
        }
        return finish(&head, summary, method)
    }

    /// Parses the line that nearly all responses begin with: HTTP/1.1, a status code, a reason phrase. In one pass.
    ///
    /// - Returns: where the field lines begin; 0, and nothing done, when the line is of another kind.
    private static func parsePlainLine(_ head: inout MessageHead) -> Int {
        let bytes = unsafe head.arena.readable
        // Zeros follow the content, as many as are compared here.
        guard let base = bytes.baseAddress, unsafe FieldParser.isVersion11(base, at: 0),
            unsafe base[8] == 0x20 && base[12] == 0x20,
            unsafe Octet.isDigit(base[9]) && Octet.isDigit(base[10]) && Octet.isDigit(base[11])
        else { return 0 }
        let status = unsafe UInt16(base[9]) * 100 + UInt16(base[10]) * 10 + UInt16(base[11]) - 0x30 * 111
        let end = unsafe OctetScan.plainValueEnd(base, from: 13)
        guard (100...599).contains(status), unsafe base[end] == 0x0D && base[end + 1] == 0x0A else { return 0 }
        head.status = status
        head.reason = Slice(start: 13, length: end - 13)
        return end + 2
    }

    private static func parseStatusLine(_ line: UnsafeRawBufferPointer, into head: inout MessageHead) -> Rejection? {
        guard line.count >= 12, unsafe line[0] == 0x48, unsafe line[1] == 0x54, unsafe line[2] == 0x54,
            unsafe line[3] == 0x50, unsafe line[4] == 0x2F, unsafe line[6] == 0x2E, unsafe line[8] == 0x20
        else { return .malformed("the status line is not 'HTTP/1.x status'") }
        guard unsafe line[5] == 0x31, unsafe Octet.isDigit(line[7]) else { return .versionNotSupported }
        head.minorVersion = unsafe min(line[7] - 0x30, 1)
        let digits = unsafe UnsafeRawBufferPointer(rebasing: line[9..<12])
        guard let status = unsafe Octet.decimal(digits), (100...599).contains(status) else {
            return .malformed("the status code is not between 100 and 599")
        }
        head.status = UInt16(status)
        guard line.count > 12 else { return nil }
        guard unsafe line[12] == 0x20 else { return .malformed("the status code is not followed by a space") }
        let reason = unsafe UnsafeRawBufferPointer(rebasing: line[13...])
        guard unsafe Octet.isFieldValue(reason) else { return .malformed("the reason phrase has a control octet") }
        head.reason = Slice(start: 13, length: reason.count)
        return nil
    }

    private static func finish(_ head: inout MessageHead, _ summary: FieldSummary, _ method: Method) -> Rejection? {
        if let rejection = summary.rejection { return rejection }
        if summary.transferEncodingCount > 0 {
            if summary.contentLengthCount > 0 {
                return .malformed("there is both Transfer-Encoding and Content-Length")
            }
            if summary.codingIsUnknown { return .codingNotImplemented }
            if head.minorVersion == 0 { return .malformed("Transfer-Encoding in an HTTP/1.0 response") }
        }
        if method == .head || head.status < 200 || head.status == 204 || head.status == 304 {
            head.framing = .none
        } else if summary.transferEncodingCount > 0 {
            head.framing = .chunked
        } else if summary.contentLengthCount > 0 {
            head.framing = .length(summary.contentLength)
        } else {
            head.framing = .untilClose
        }
        // A length must not be there (RFC 9110 8.6): a caller that believed it would wait for content.
        if head.status < 200 || head.status == 204 { head.drop(.contentLength) }
        let mayStay = !summary.connectionClose && (head.minorVersion >= 1 || summary.connectionKeepAlive)
        if mayStay && head.framing != .untilClose { head.flags.insert(.keepAlive) }
        if !summary.connectionUpgrade { head.flags.subtract(.anyUpgrade) }
        return nil
    }
}
