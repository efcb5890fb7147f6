package import HTTP

/// How the response's content goes to the caller.
@usableFromInline
package enum CallerFraming: Sendable, Equatable {
    case none
    case length(UInt64)
    case chunked
    /// The end of the connection ends the content (callers of HTTP/1.0).
    case untilClose

    @inlinable
    package static func == (one: CallerFraming, other: CallerFraming) -> Bool {
        switch (one, other) {
        case (.none, .none), (.chunked, .chunked), (.untilClose, .untilClose): true
        case (.length(let length), .length(let otherLength)): length == otherLength
        case (.none, _), (.length, _), (.chunked, _), (.untilClose, _): false
        }
    }
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
    ///
    /// - Returns: whether there is a Location field, which ``rewriteLocation(_:rule:upstream:)`` is to look at.
    @discardableResult
    package static func filter(_ head: inout MessageHead) -> Bool {
        let hasContentInfo = head.framing == .none
        var hasLocation = false
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
            case .location:
                hasLocation = true
            case .authorization, .contentType, .cookie, .date, .expect, .forwarded, .host, .maxForwards,
                .retryAfter, .secWebSocketKey, .server, .setCookie, .via, .wwwAuthenticate, .xForwardedFor,
                .xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestID:
                break
            }
        }
        return hasLocation
    }

    /// What ``writeHTTP1(_:framing:callerMinorVersion:keepAlive:date:retrySkipped:to:)`` says itself, nobody else may say.
    private static func isRetryField(_ name: UnsafeRawBufferPointer) -> Bool {
        Octet.equal(name, ignoringCase: "token-gateway-retry")
    }

    /// A Location on the upstream's own origin becomes a path on ours (the caller cannot reach the upstream itself).
    ///
    /// - Parameter grantSegment: of ``GrantKey/removedSegment(_:of:)``: it is put back.
    package static func rewriteLocation(
        _ head: inout MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        grantSegment: [UInt8] = []
    ) {
        for index in head.fields.indices where head.fields[index].id == .location && !head.fields[index].isDropped {
            let slice = head.fields[index].value
            let value = head.bytes(slice)
            guard let start = pathOnUpstream(value, upstream),
                let path = callerPath(
                    UnsafeRawBufferPointer(rebasing: value[start...]), rule: rule, upstream: upstream,
                    grantSegment: grantSegment)
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
        _ value: UnsafeRawBufferPointer, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        grantSegment: [UInt8]
    ) -> [UInt8]? {
        let base = upstream.basePath.count
        guard value.count >= base, value.prefix(base).elementsEqual(upstream.basePath) else { return nil }
        let rest = value[base...]
        if base > 0, let next = rest.first, !endsPathPart(next) { return nil }
        var path = rule.stripPrefix
        if grantSegment.isEmpty {
            if rest.first != 0x2F { path.append(0x2F) }
            path.append(contentsOf: rest)
        } else {
            // It stood behind so many segments of what the upstream has seen.
            let before = rule.removedGrantSegment - 1 - path.count { $0 == 0x2F }
            guard let place = end(ofSegments: before, in: rest) else { return nil }
            path.append(contentsOf: rest[..<place])
            path.append(0x2F)
            path.append(contentsOf: grantSegment)
            path.append(contentsOf: rest[place...])
        }
        return path.count > 1 && canBeginAuthority(path[1]) ? nil : path
    }

    /// Where the first `count` segments of a path end; nil where it has fewer.
    private static func end(ofSegments count: Int, in path: Swift.Slice<UnsafeRawBufferPointer>) -> Int? {
        var place = path.startIndex
        for _ in 0..<max(0, count) {
            guard place < path.endIndex, path[place] == 0x2F else { return nil }
            let next = path[path.index(after: place)...].firstIndex { endsPathPart($0) } ?? path.endIndex
            guard next > place + 1 else { return nil }
            place = next
        }
        return place
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

    /// A 101 for a caller of HTTP/1 whose request went on as an extended CONNECT: what the upstream's 2xx says, with
    /// the proof that the caller waits for (RFC 6455 4.2.2).
    ///
    /// - Parameter accept: of ``WebSocketKey/accept(_:)``.
    package static func writeSwitch(_ head: borrowing MessageHead, accept: [UInt8], to out: inout ByteBuffer) {
        HTTP1Writer.statusLine(101, to: &out)
        HTTP1Writer.fields(of: head, to: &out)
        out.append("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ")
        out.append(accept)
        out.append("\r\n\r\n")
    }
}

// MARK: HTTP/2

extension ResponseTransform {
    /// Writes the response's field block for an HTTP/2 caller (RFC 9113 8.3.2). ``filter(_:)`` was done before.
    ///
    /// A 101 of an HTTP/1 upstream becomes the 200 that accepts an extended CONNECT (RFC 8441 5).
    ///
    /// - Parameters:
    ///   - date: an IMF-fixdate for a response that has none (RFC 9110 6.6.1).
    ///   - retrySkipped: the rejection was not retried because the content was too large to be kept.
    ///   - contentLength: where the content that follows has a declared length.
    ///   - encoder: of the caller's connection.
    package static func writeHTTP2(
        _ head: borrowing MessageHead, date: [UInt8], retrySkipped: Bool, contentLength: UInt64?,
        encoder: inout HPACKEncoder, to out: inout ByteBuffer
    ) {
        let isSwitch = head.status == 101
        encoder.begin(to: &out)
        encoder.status(isSwitch ? 200 : head.status, to: &out)
        encoder.fields(of: head, except: isSwitch ? "sec-websocket-accept" : nil, to: &out)
        if !head.flags.contains(.hasDate) { encoder.field("date", date, to: &out) }
        if let contentLength, !isSwitch { encoder.field("content-length", contentLength, to: &out) }
        if retrySkipped { encoder.field("token-gateway-retry", "skipped; reason=body", to: &out) }
    }

    /// The field block of an informational response; not of a 101, which HTTP/2 does not have (RFC 9113 8.6).
    package static func writeInformationalHTTP2(
        _ head: borrowing MessageHead, encoder: inout HPACKEncoder, to out: inout ByteBuffer
    ) {
        encoder.begin(to: &out)
        encoder.status(head.status, to: &out)
        encoder.fields(of: head, to: &out)
    }
}
