package import HTTP

/// How the response's content goes to the caller.
package enum CallerFraming: Sendable, Equatable {
    case none
    case length(UInt64)
    case chunked
    /// The end of the connection ends the content (callers of HTTP/1.0).
    case untilClose
}

/// Makes of an upstream's response what goes to the caller.
package enum ResponseTransform {
    /// - Parameters:
    ///   - requestMethod: of the caller's request.
    ///   - callerMinorVersion: 0 callers get no chunks.
    package static func framing(
        _ head: borrowing MessageHead, requestMethod: Method, callerMinorVersion: UInt8
    ) -> CallerFraming {
        switch head.framing {
        case .none: .none
        case .length(let length): .length(length)
        case .chunked, .untilClose: callerMinorVersion == 0 ? .untilClose : .chunked
        }
    }

    /// Drops what concerns the upstream's connection only; the framing is written anew.
    package static func filter(_ head: inout MessageHead) {
        let hasContentInfo = head.framing == .none
        for index in head.fields.indices {
            switch head.fields[index].id {
            case .connection, .keepAlive, .proxyAuthenticate, .proxyAuthenticationInfo, .proxyAuthorization,
                .proxyConnection, .te, .transferEncoding, .upgrade, .trailer, .tokenGatewayError:
                head.fields[index].isDropped = true
            case .contentLength:
                // The answer to HEAD and a 304 say how long the content would be (RFC 9110 8.6).
                if !hasContentInfo || head.status < 200 || head.status == 204 { head.fields[index].isDropped = true }
            case .other, .authorization, .contentType, .cookie, .date, .expect, .forwarded, .host, .location,
                .maxForwards, .retryAfter, .secWebSocketKey, .server, .setCookie, .via, .wwwAuthenticate,
                .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestID:
                break
            }
        }
    }

    /// A Location on the upstream's own origin becomes a path on ours (the caller cannot reach the upstream itself).
    package static func rewriteLocation(
        _ head: inout MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity
    ) {
        for index in head.fields.indices where head.fields[index].id == .location && !head.fields[index].isDropped {
            let slice = head.fields[index].value
            let value = head.bytes(slice)
            guard let rest = pathOnUpstream(value, upstream) else { continue }
            var path = Array(value[rest...])
            guard path.starts(with: upstream.basePath) else { continue }
            path.removeFirst(upstream.basePath.count)
            if path.first != 0x2F { path.insert(0x2F, at: 0) }
            path.insert(contentsOf: rule.stripPrefix, at: 0)
            let name = head.fields[index].name
            let nameCopy = Array(head.bytes(name))
            let newName = nameCopy.withUnsafeBytes { head.store($0) }
            let newValue = path.withUnsafeBytes { head.store($0) }
            head.fields[index].isDropped = true
            head.fields.append(Field(id: .location, name: newName, value: newValue))
        }
    }

    /// Where the path begins in a URL on the upstream's origin, or in a reference that is a path; nil for others.
    private static func pathOnUpstream(_ value: UnsafeRawBufferPointer, _ upstream: borrowing UpstreamIdentity) -> Int?
    {
        if value.count > 1, value[0] == 0x2F, value[1] != 0x2F { return 0 }
        let scheme: StaticString = upstream.isPlaintext ? "http://" : "https://"
        let length = scheme.utf8CodeUnitCount
        guard value.count >= length + upstream.authority.count,
            Octet.equal(UnsafeRawBufferPointer(rebasing: value[..<length]), ignoringCase: scheme)
        else { return nil }
        let end = length + upstream.authority.count
        let same = upstream.authority.withUnsafeBytes {
            Octet.equal(UnsafeRawBufferPointer(rebasing: value[length..<end]), ignoringCase: $0)
        }
        guard same, end == value.count || value[end] == 0x2F || value[end] == 0x3F || value[end] == 0x23 else {
            return nil
        }
        return end
    }

    /// Writes the response head for an HTTP/1 caller.
    ///
    /// - Parameters:
    ///   - keepAlive: the connection stays.
    ///   - date: an IMF-fixdate for a response that has none (RFC 9110 6.6.1).
    ///   - retrySkipped: the rejection was not retried because the content was too large to be kept.
    package static func writeHTTP1(
        _ head: borrowing MessageHead, framing: CallerFraming, callerMinorVersion: UInt8, keepAlive: Bool,
        date: [UInt8], retrySkipped: Bool, to out: inout ByteBuffer
    ) {
        HTTP1Writer.statusLine(head.status, reason: head.bytes(head.reason), to: &out)
        HTTP1Writer.fields(of: head, to: &out)
        if !head.flags.contains(.hasDate) {
            out.append("Date: ")
            out.append(date)
            out.append("\r\n")
        }
        switch framing {
        case .none, .untilClose: break
        case .length(let length): HTTP1Writer.field("Content-Length", length, to: &out)
        case .chunked: out.append("Transfer-Encoding: chunked\r\n")
        }
        if retrySkipped { out.append("Token-Gateway-Retry: skipped; reason=body\r\n") }
        if !keepAlive {
            out.append("Connection: close\r\n")
        } else if callerMinorVersion == 0 {
            out.append("Connection: keep-alive\r\n")
        }
        out.append("\r\n")
    }

    /// An informational response (RFC 9110 15.2), or a 101 with its upgrade.
    package static func writeInformational(_ head: borrowing MessageHead, to out: inout ByteBuffer) {
        HTTP1Writer.statusLine(head.status, reason: head.bytes(head.reason), to: &out)
        HTTP1Writer.fields(of: head, to: &out)
        if head.status == 101 { out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n") }
        out.append("\r\n")
    }
}

/// The answers that the gateway makes itself: `application/problem+json` (RFC 9457) with a stable code.
package enum ProblemResponse {
    /// - Parameters:
    ///   - requestID: is in the log too; hexadecimal digits.
    ///   - grant: the grant's name where the error is about it; characters that JSON must escape are not in names.
    ///   - withBody: false for an answer to HEAD.
    package static func writeHTTP1(
        _ error: GatewayError, reason: StaticString?, requestID: UInt64, grant: String?, retryAfter: UInt32,
        date: [UInt8], keepAlive: Bool, withBody: Bool, to out: inout ByteBuffer
    ) {
        var body = ByteBuffer()
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
            body.append(reason)
            body.append(")")
        }
        body.append("\",\"retryable\":")
        body.append(error.isRetryable ? "true" : "false")
        if let grant {
            body.append(",\"grant\":\"")
            body.append(grant)
            body.append("\"")
        }
        body.append(",\"request_id\":\"")
        body.appendHexadecimal(requestID)
        body.append("\"}\n")
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
}
