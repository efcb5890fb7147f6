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
            case .other:
                if isRetryField(head.bytes(head.fields[index].name)) { head.fields[index].isDropped = true }
            case .authorization, .contentType, .cookie, .date, .expect, .forwarded, .host, .location,
                .maxForwards, .retryAfter, .secWebSocketKey, .server, .setCookie, .via, .wwwAuthenticate,
                .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestID:
                break
            }
        }
    }

    /// What ``writeHTTP1(_:framing:callerMinorVersion:keepAlive:date:retrySkipped:to:)`` says itself, nobody else may say.
    private static func isRetryField(_ name: UnsafeRawBufferPointer) -> Bool {
        Octet.equal(name, ignoringCase: "token-gateway-retry")
    }

    /// A Location on the upstream's own origin becomes a path on ours (the caller cannot reach the upstream itself).
    package static func rewriteLocation(
        _ head: inout MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity
    ) {
        for index in head.fields.indices where head.fields[index].id == .location && !head.fields[index].isDropped {
            let slice = head.fields[index].value
            let value = head.bytes(slice)
            guard let start = pathOnUpstream(value, upstream),
                let path = callerPath(
                    UnsafeRawBufferPointer(rebasing: value[start...]), rule: rule, upstream: upstream)
            else { continue }
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
        if value.first == 0x2F { return value.count > 1 && canBeginAuthority(value[1]) ? nil : 0 }
        let scheme: StaticString = upstream.isPlaintext ? "http://" : "https://"
        let start = scheme.utf8CodeUnitCount
        guard value.count > start,
            Octet.equal(UnsafeRawBufferPointer(rebasing: value[..<start]), ignoringCase: scheme)
        else { return nil }
        let end = value[start...].firstIndex { endsPathPart($0) } ?? value.count
        let authority = UnsafeRawBufferPointer(rebasing: value[start..<end])
        let isSame = upstream.authority.withUnsafeBytes {
            isSameHostAndPort(authority, $0, defaultPort: upstream.isPlaintext ? 80 : 443)
        }
        return isSame ? end : nil
    }

    private static func isSameHostAndPort(
        _ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer, defaultPort: UInt64
    ) -> Bool {
        guard Octet.equal(Authority.host(one), ignoringCase: Authority.host(other)),
            let port = port(of: one, defaultPort: defaultPort)
        else { return false }
        return port == self.port(of: other, defaultPort: defaultPort)
    }

    /// The port behind the host; nil when something else stands there.
    private static func port(of authority: UnsafeRawBufferPointer, defaultPort: UInt64) -> UInt64? {
        let rest = UnsafeRawBufferPointer(rebasing: authority[Authority.host(authority).count...])
        if rest.count == 0 || (rest.count == 1 && rest[0] == 0x3A) { return defaultPort }
        return rest[0] == 0x3A ? Octet.decimal(UnsafeRawBufferPointer(rebasing: rest[1...])) : nil
    }

    /// Whether a path part ends before this octet: at "/", "?" or "#".
    private static func endsPathPart(_ byte: UInt8) -> Bool { byte == 0x2F || byte == 0x3F || byte == 0x23 }

    /// Whether "/" and this octet begin an authority: "//" does (RFC 3986 4.2), and browsers read "\" as "/" and skip tabs.
    private static func canBeginAuthority(_ byte: UInt8) -> Bool { byte == 0x2F || byte == 0x5C || byte == 0x09 }

    /// The path on the gateway for one on the upstream; nil where it is not below the upstream's base path, or would
    /// lead the caller to another host.
    private static func callerPath(
        _ value: UnsafeRawBufferPointer, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity
    ) -> [UInt8]? {
        let base = upstream.basePath.count
        guard value.count >= base, value.prefix(base).elementsEqual(upstream.basePath) else { return nil }
        let rest = value[base...]
        if base > 0, let next = rest.first, !endsPathPart(next) { return nil }
        var path = rule.stripPrefix
        if rest.first != 0x2F { path.append(0x2F) }
        path.append(contentsOf: rest)
        return path.count > 1 && canBeginAuthority(path[1]) ? nil : path
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
    ///   - grant: the grant's name where the error is about it.
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
