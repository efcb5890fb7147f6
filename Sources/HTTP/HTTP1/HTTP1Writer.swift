/// Writes HTTP/1.1 messages (RFC 9112).
@usableFromInline
package enum HTTP1Writer {
    /// `name: value` and the end of the line.
    @inlinable @inline(__always)
    package static func field(_ name: StaticString, _ value: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        unsafe out.append(value)
        out.append("\r\n")
    }

    @inlinable @inline(__always)
    package static func field(_ name: StaticString, _ value: StaticString, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        out.append(value)
        out.append("\r\n")
    }

    @inlinable @inline(__always)
    package static func field(_ name: StaticString, _ value: UInt64, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        out.appendDecimal(value)
        out.append("\r\n")
    }

    /// The fields of `head` that are not dropped, in order. Lines that came as HTTP/1 and stand one behind the other
    /// in the arena are copied as one run.
    package static func fields(of head: borrowing MessageHead, to out: inout ByteBuffer) {
        var runStart = 0
        var runEnd = 0
        let fields = unsafe head.fields.buffer
        for index in 0..<fields.count where unsafe !fields[index].isDropped {
            let field = unsafe fields[index]
            let start = Int(field.name.start)
            guard let end = lineEnd(of: field, in: head) else {
                copy(runStart, runEnd, of: head, to: &out)
                runEnd = runStart
                line(field, of: head, to: &out)
                continue
            }
            if start != runEnd {
                copy(runStart, runEnd, of: head, to: &out)
                runStart = start
            }
            runEnd = end
        }
        copy(runStart, runEnd, of: head, to: &out)
    }

    private static func copy(_ start: Int, _ end: Int, of head: borrowing MessageHead, to out: inout ByteBuffer) {
        if end > start { unsafe out.append(head.bytes(Slice(start: start, length: end - start))) }
    }

    /// Where the line of `field` ends in the arena, its LF included; nil when name and value do not stand in one line
    /// of a head that came as HTTP/1.
    @inline(__always)
    private static func lineEnd(of field: Field, in head: borrowing MessageHead) -> Int? {
        let limit = Int(head.fieldLinesEnd)
        let nameEnd = Int(field.name.start) + field.name.count
        var position = Int(field.value.start) + field.value.count
        let bytes = unsafe head.arena.readable
        guard nameEnd < Int(field.value.start), position < limit, limit <= bytes.count,
            let base = bytes.baseAddress
        else { return nil }
        // "name: value" and CRLF, which nearly all lines are.
        if nameEnd &+ 2 == Int(field.value.start), position &+ 2 <= limit, unsafe base[nameEnd &+ 1] == 0x20,
            unsafe base[position] == 0x0D && base[position &+ 1] == 0x0A
        {
            return position &+ 2
        }
        // Only white space stands between them; more of it after the value is part of the line.
        for between in (nameEnd + 1)..<Int(field.value.start) {
            guard unsafe bytes[between] == 0x20 || bytes[between] == 0x09 else { return nil }
        }
        while position < limit, unsafe bytes[position] != 0x0A { position += 1 }
        return position + 1
    }

    private static func line(_ field: Field, of head: borrowing MessageHead, to out: inout ByteBuffer) {
        unsafe out.append(head.bytes(field.name))
        out.append(": ")
        unsafe out.append(head.bytes(field.value))
        out.append("\r\n")
    }

    /// `HTTP/1.1 status reason`; an empty reason is replaced by the standard one.
    package static func statusLine(_ status: UInt16, reason: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        out.append("HTTP/1.1 ")
        if (100...999).contains(status) {
            out.append(UInt8(truncatingIfNeeded: 0x30 + status / 100))
            out.append(UInt8(truncatingIfNeeded: 0x30 + status / 10 % 10))
            out.append(UInt8(truncatingIfNeeded: 0x30 + status % 10))
        } else {
            out.appendDecimal(UInt64(status))
        }
        out.append(" ")
        if reason.count > 0 { unsafe out.append(reason) } else { out.append(Status.reason(status)) }
        out.append("\r\n")
    }

    package static func statusLine(_ status: UInt16, to out: inout ByteBuffer) {
        unsafe statusLine(status, reason: UnsafeRawBufferPointer(start: nil, count: 0), to: &out)
    }

    /// One chunk around `content`; nothing for empty content, which would end the body (RFC 9112 7.1).
    package static func chunk(_ content: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        guard content.count > 0 else { return }
        out.appendHexadecimal(UInt64(content.count))
        out.append("\r\n")
        unsafe out.append(content)
        out.append("\r\n")
    }

    /// The last chunk with the trailer fields that are not dropped.
    package static func lastChunk(trailers: borrowing MessageHead, to out: inout ByteBuffer) {
        out.append("0\r\n")
        fields(of: trailers, to: &out)
        out.append("\r\n")
    }
}

package enum Status {
    /// The standard reason phrase (RFC 9110 15); empty for unknown codes.
    package static func reason(_ status: UInt16) -> StaticString {
        switch status {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 103: "Early Hints"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 411: "Length Required"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}
