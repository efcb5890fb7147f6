/// Writes HTTP/1.1 messages (RFC 9112).
package enum HTTP1Writer {
    /// `name: value` and the end of the line.
    package static func field(_ name: StaticString, _ value: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        unsafe out.append(value)
        out.append("\r\n")
    }

    package static func field(_ name: StaticString, _ value: StaticString, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        out.append(value)
        out.append("\r\n")
    }

    package static func field(_ name: StaticString, _ value: UInt64, to out: inout ByteBuffer) {
        out.append(name)
        out.append(": ")
        out.appendDecimal(value)
        out.append("\r\n")
    }

    /// The fields of `head` that are not dropped, in order. Neighbours that came as HTTP/1 are copied as one run.
    package static func fields(of head: borrowing MessageHead, to out: inout ByteBuffer) {
        var index = 0
        let count = head.fields.count
        while index < count {
            if head.fields[index].isDropped {
                index += 1
                continue
            }
            let start = head.fields[index].name.start
            guard start < head.fieldLinesEnd else {
                line(head.fields[index], of: head, to: &out)
                index += 1
                continue
            }
            while index < count, !head.fields[index].isDropped, head.fields[index].name.start < head.fieldLinesEnd {
                index += 1
            }
            let isInside = index < count && head.fields[index].name.start < head.fieldLinesEnd
            let end = isInside ? head.fields[index].name.start : head.fieldLinesEnd
            unsafe out.append(head.bytes(Slice(start: Int(start), length: Int(end) - Int(start))))
        }
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
        out.appendDecimal(UInt64(status))
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
