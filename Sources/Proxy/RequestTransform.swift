package import HTTP

/// What the upstream is, as far as a request line and a Location field need to know.
package struct UpstreamIdentity: Sendable, Equatable {
    package var isPlaintext: Bool
    /// The Host field.
    package var authority: [UInt8]
    /// Goes before the path of each request; empty, or begins with "/" and does not end in one.
    package var basePath: [UInt8]

    package init(isPlaintext: Bool, authority: [UInt8], basePath: [UInt8]) {
        self.isPlaintext = isPlaintext
        self.authority = authority
        self.basePath = basePath
    }
}

/// What is known of the caller for the forwarding fields.
package struct CallerIdentity: Sendable {
    /// The textual address; empty for a Unix socket.
    package var address: [UInt8]
    package var isIPv6: Bool

    package init(address: [UInt8], isIPv6: Bool) {
        self.address = address
        self.isIPv6 = isIPv6
    }
}

/// Makes of a caller's request what goes upstream (RFC 9110 7.6).
package enum RequestTransform {
    /// Drops what must not go on. Done once per exchange; it holds for every attempt.
    package static func filter(_ head: inout MessageHead, rule: borrowing RouteRule) {
        for index in head.fields.indices {
            switch head.fields[index].id {
            case .authorization:
                if !rule.forwardAuthorization { head.fields[index].isDropped = true }
            case .cookie:
                if !rule.forwardCookies { head.fields[index].isDropped = true }
            case .host, .contentLength, .expect, .forwarded, .xForwardedFor, .xForwardedHost, .xForwardedPort,
                .xForwardedProto, .connection, .keepAlive, .proxyAuthenticate, .proxyAuthenticationInfo,
                .proxyAuthorization, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade:
                head.fields[index].isDropped = true
            case .other, .contentType, .date, .location, .maxForwards, .retryAfter, .secWebSocketKey, .server,
                .setCookie, .via, .wwwAuthenticate, .xRequestID, .tokenGatewayError:
                break
            }
        }
        if rule.grant != nil { dropCredentialField(&head, rule.credentialHeader) }
    }

    /// Drops what must not go on behind the content either: a server may take trailer fields for header fields. To be
    /// done before the trailer section is written; the decoder has dropped what no trailer section may have.
    package static func filterTrailers(_ trailers: inout MessageHead, rule: borrowing RouteRule) {
        if rule.grant != nil { dropCredentialField(&trailers, rule.credentialHeader) }
    }

    /// The caller's own field of the credential's name, `_` read as `-`, never goes on beside ours.
    private static func dropCredentialField(_ head: inout MessageHead, _ name: [UInt8]) {
        for index in head.fields.indices {
            let field = head.fields[index]
            guard field.name.count == name.count else { continue }
            let bytes = head.bytes(field.name)
            var same = true
            for position in 0..<name.count {
                let byte = bytes[position] == 0x5F ? 0x2D : Octet.lowercased(bytes[position])
                let wanted = name[position] == 0x5F ? 0x2D : name[position]
                if byte != wanted {
                    same = false
                    break
                }
            }
            if same { head.fields[index].isDropped = true }
        }
    }

    /// Counts `Max-Forwards` down (RFC 9110 7.6.2); for OPTIONS only. What is no number is passed on.
    ///
    /// - Returns: true when it was zero and the request must not go on.
    package static func endsHere(_ head: inout MessageHead) -> Bool {
        for index in head.fields.indices where head.fields[index].id == .maxForwards {
            let digits = head.bytes(head.fields[index].value)
            guard !digits.isEmpty, digits.count < 19, digits.allSatisfy({ 0x30...0x39 ~= $0 }) else { continue }
            let hops = digits.reduce(UInt64(0)) { $0 * 10 + UInt64($1 - 0x30) }
            guard hops > 0 else { return true }
            let name = Array("Max-Forwards".utf8).withUnsafeBytes { head.store($0) }
            let value = Array(String(hops - 1).utf8).withUnsafeBytes { head.store($0) }
            head.fields[index].isDropped = true
            head.fields.append(Field(id: .maxForwards, name: name, value: value))
        }
        return false
    }

    /// Writes the request head for HTTP/1.1 upstream.
    ///
    /// - Parameters:
    ///   - upgrade: ask the upstream for the upgrade that the caller asked for.
    ///   - expectContinue: ask the upstream whether it wants the content.
    package static func writeHTTP1(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        caller: borrowing CallerIdentity, credential: Credential?, upgrade: Bool, expectContinue: Bool,
        to out: inout ByteBuffer
    ) {
        out.append(head.bytes(head.methodText))
        out.append(0x20)
        writeTarget(head, rule: rule, upstream: upstream, to: &out)
        out.append(" HTTP/1.1\r\nHost: ")
        out.append(upstream.authority)
        out.append("\r\n")
        HTTP1Writer.fields(of: head, to: &out)
        if let credential { out.append(credential.headerLine) }
        writeForwarding(head, rule: rule, caller: caller, to: &out)
        switch head.framing {
        case .none: if anticipatesContent(head.method) { out.append("Content-Length: 0\r\n") }
        case .length(let length): HTTP1Writer.field("Content-Length", length, to: &out)
        case .chunked, .untilClose: out.append("Transfer-Encoding: chunked\r\n")
        }
        if head.flags.contains(.acceptsTrailers) && !upgrade { out.append("TE: trailers\r\nConnection: TE\r\n") }
        if upgrade { out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n") }
        if expectContinue { out.append("Expect: 100-continue\r\n") }
        out.append("\r\n")
    }

    /// Methods whose requests say so when they have no content (RFC 9110 8.6).
    private static func anticipatesContent(_ method: Method) -> Bool {
        switch method {
        case .post, .put, .patch: true
        case .get, .head, .delete, .options, .trace, .connect, .other: false
        }
    }

    private static func writeTarget(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        to out: inout ByteBuffer
    ) {
        if head.flags.contains(.asteriskForm) {
            out.append(0x2A)
            return
        }
        out.append(upstream.basePath)
        let target = head.bytes(head.target)
        let strip = min(rule.stripPrefix.count, head.path.count)
        var rest = UnsafeRawBufferPointer(rebasing: target[strip...])
        // "//host/path" would be taken for an authority by some servers, and the caller has not sent it that way.
        while strip > 0, upstream.basePath.isEmpty, rest.count > 1, rest[0] == 0x2F, rest[1] == 0x2F {
            rest = UnsafeRawBufferPointer(rebasing: rest[1...])
        }
        if rest.first != 0x2F { out.append(0x2F) }
        out.append(rest)
    }

    private static func writeForwarding(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, caller: borrowing CallerIdentity,
        to out: inout ByteBuffer
    ) {
        if rule.via { out.append(head.minorVersion == 0 ? "Via: 1.0 token-gateway\r\n" : "Via: 1.1 token-gateway\r\n") }
        switch rule.forwarded {
        case .off:
            break
        case .xForwarded:
            if !caller.address.isEmpty {
                out.append("X-Forwarded-For: ")
                out.append(caller.address)
                out.append("\r\n")
            }
            out.append("X-Forwarded-Proto: http\r\n")
            if !head.authority.isEmpty { HTTP1Writer.field("X-Forwarded-Host", head.bytes(head.authority), to: &out) }
        case .rfc7239:
            writeForwarded(head, caller: caller, to: &out)
        }
    }

    /// RFC 7239 4: addresses of IPv6 stand in brackets and quotes.
    private static func writeForwarded(
        _ head: borrowing MessageHead, caller: borrowing CallerIdentity, to out: inout ByteBuffer
    ) {
        out.append("Forwarded: for=")
        if caller.address.isEmpty {
            out.append("unknown")
        } else if caller.isIPv6 {
            out.append("\"[")
            out.append(caller.address)
            out.append("]\"")
        } else {
            out.append(caller.address)
        }
        out.append(";proto=http")
        if !head.authority.isEmpty {
            out.append(";host=\"")
            out.append(head.bytes(head.authority))
            out.append("\"")
        }
        out.append("\r\n")
    }
}
