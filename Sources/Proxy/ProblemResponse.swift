package import HTTP

/// The answers that the gateway makes itself: `application/problem+json` (RFC 9457) with a stable code.
package enum ProblemResponse {
    /// - Parameters:
    ///   - requestID: is in the log too; hexadecimal digits.
    ///   - grant: the grant's name where the error is about it.
    ///   - withBody: false for an answer to HEAD.
    package static func writeHTTP1(
        _ error: GatewayError, reason: StaticString?, requestID: UInt64, grant: String?, retryAfter: UInt32,
        date: [UInt8], keepAlive: Bool, withBody: Bool, to out: inout ByteBuffer
    ) {
        var body = ByteBuffer()
        writeBody(error, reason: reason, requestID: requestID, grant: grant, to: &body)
        HTTP1Writer.statusLine(error.status, to: &out)
        out.append("Content-Type: application/problem+json\r\nCache-Control: no-store\r\nDate: ")
        out.append(date)
        out.append("\r\nToken-Gateway-Error: ")
        out.append(error.code)
        out.append("\r\n")
        if retryAfter > 0 { HTTP1Writer.field("Retry-After", UInt64(retryAfter), to: &out) }
        HTTP1Writer.field("Content-Length", UInt64(body.count), to: &out)
        if !keepAlive { out.append("Connection: close\r\n") }
        out.append("\r\n")
        if withBody { out.append(body.readable) }
    }

    /// The same for an HTTP/2 caller.
    ///
    /// - Parameters:
    ///   - withBody: false for an answer to HEAD: `body` is left empty.
    ///   - encoder: of the caller's connection.
    ///   - out: gets the field block.
    ///   - body: gets the content in place of what it holds.
    package static func writeHTTP2(
        _ error: GatewayError, reason: StaticString?, requestID: UInt64, grant: String?, retryAfter: UInt32,
        date: [UInt8], withBody: Bool, encoder: inout HPACKEncoder, to out: inout ByteBuffer,
        body: inout ByteBuffer
    ) {
        body.removeAll()
        writeBody(error, reason: reason, requestID: requestID, grant: grant, to: &body)
        encoder.begin(to: &out)
        encoder.status(error.status, to: &out)
        encoder.field("content-type", "application/problem+json", to: &out)
        encoder.field("cache-control", "no-store", to: &out)
        encoder.field("date", date, to: &out)
        encoder.field("token-gateway-error", error.code, to: &out)
        if retryAfter > 0 { encoder.field("retry-after", UInt64(retryAfter), to: &out) }
        encoder.field("content-length", UInt64(body.count), to: &out)
        if !withBody { body.removeAll() }
    }

    private static func writeBody(
        _ error: GatewayError, reason: StaticString?, requestID: UInt64, grant: String?, to body: inout ByteBuffer
    ) {
        body.append("{\"type\":\"about:blank\",\"title\":\"")
        body.append(Status.reason(error.status))
        body.append("\",\"status\":")
        body.appendDecimal(UInt64(error.status))
        body.append(",\"code\":\"")
        body.append(error.code)
        body.append("\",\"detail\":\"")
        body.append(error.detail)
        if let reason {
            body.append(" (")
            reason.withUTF8Buffer { appendEscaped($0, to: &body) }
            body.append(")")
        }
        body.append("\",\"retryable\":")
        body.append(error.isRetryable ? "true" : "false")
        if let grant {
            body.append(",\"grant\":\"")
            var grant = grant
            grant.withUTF8 { appendEscaped($0, to: &body) }
            body.append("\"")
        }
        body.append(",\"request_id\":\"")
        body.appendHexadecimal(requestID)
        body.append("\"}\n")
    }

    /// The inside of a JSON string (RFC 8259 7).
    private static func appendEscaped(_ text: UnsafeBufferPointer<UInt8>, to out: inout ByteBuffer) {
        for byte in text {
            if byte < 0x20 {
                out.append(byte < 0x10 ? "\\u000" : "\\u00")
                out.appendHexadecimal(UInt64(byte))
            } else {
                if byte == 0x22 || byte == 0x5C { out.append(0x5C) }
                out.append(byte)
            }
        }
    }
}
