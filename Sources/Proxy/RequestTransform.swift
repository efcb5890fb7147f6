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
    /// It came by TLS.
    package var isTLS: Bool

    package init(address: [UInt8], isIPv6: Bool, isTLS: Bool = false) {
        self.address = address
        self.isIPv6 = isIPv6
        self.isTLS = isTLS
    }

    /// The scheme of the caller's request (RFC 7239 5.4).
    fileprivate var scheme: StaticString { isTLS ? "https" : "http" }
}

/// Makes of a caller's request what goes upstream (RFC 9110 7.6).
package enum RequestTransform {
    /// Drops what must not go on. Done once per exchange; it holds for every attempt.
    package static func filter(_ head: inout MessageHead, rule: borrowing RouteRule) {
        // A caller's proof of possession is about its own token.
        let passesProof = rule.forwardAuthorization && !rule.injectsCredential
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
            case .secWebSocketKey:
                // An extended CONNECT has none, and has it made where it goes on as an upgrade (RFC 8441 5).
                if head.flags.contains(.http2) { head.fields[index].isDropped = true }
            case .other:
                if !passesProof, isProof(head, head.fields[index]) { head.fields[index].isDropped = true }
            case .contentType, .date, .location, .maxForwards, .retryAfter, .server, .setCookie, .via,
                .wwwAuthenticate, .xRequestID, .tokenGatewayError:
                break
            }
        }
        dropReserved(&head, rule)
    }

    /// Drops what must not go on behind the content either: a server may take trailer fields for header fields. To be
    /// done before the trailer section is written; the decoder has dropped what no trailer section may have.
    package static func filterTrailers(_ trailers: inout MessageHead, rule: borrowing RouteRule) {
        dropReserved(&trailers, rule)
        for index in trailers.fields.indices where isProof(trailers, trailers.fields[index]) {
            trailers.fields[index].isDropped = true
        }
    }

    /// Drops the caller's fields that those of the credential replace. To be done before each attempt; what an earlier
    /// credential has replaced does not come back.
    package static func replaceFields(_ head: inout MessageHead, with credential: Credential) {
        for field in credential.extraHeaders { dropField(&head, named: field.name) }
    }

    /// The caller's own field of the credential's name never goes on beside ours, and the one that names the grant is
    /// for us.
    private static func dropReserved(_ head: inout MessageHead, _ rule: borrowing RouteRule) {
        guard rule.injectsCredential else { return }
        dropField(&head, named: rule.credentialHeader)
        let key = rule.removedGrantHeader
        if !key.isEmpty { dropField(&head, named: key) }
    }

    private static func isProof(_ head: borrowing MessageHead, _ field: Field) -> Bool {
        field.name.count == 4 && Octet.equal(head.bytes(field.name), ignoringCase: "dpop")
    }

    /// - Parameter name: in lower case; `_` is read as `-` in it and in the fields' names.
    private static func dropField(_ head: inout MessageHead, named name: [UInt8]) {
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

    /// Writes the request head for HTTP/1.1 upstream. An extended CONNECT goes on as a GET that asks for the upgrade.
    ///
    /// - Parameters:
    ///   - upgrade: ask the upstream for the upgrade that the caller asked for.
    ///   - expectContinue: ask the upstream whether it wants the content.
    ///   - webSocketKey: `Sec-WebSocket-Key` where the caller has sent none (RFC 6455 4.1: 16 random octets in Base64).
    ///   - proof: of possession of the key that the credential is bound to (RFC 9449 4).
    package static func writeHTTP1(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        caller: borrowing CallerIdentity, credential: Credential?, upgrade: Bool, expectContinue: Bool,
        webSocketKey: [UInt8]? = nil, proof: [UInt8]? = nil, to out: inout ByteBuffer
    ) {
        let isExtendedConnect = isExtendedConnect(head)
        if isExtendedConnect { out.append("GET") } else { out.append(head.bytes(head.methodText)) }
        out.append(0x20)
        writeTarget(head, rule: rule, upstream: upstream, to: &out)
        out.append(" HTTP/1.1\r\nHost: ")
        out.append(upstream.authority)
        out.append("\r\n")
        HTTP1Writer.fields(of: head, to: &out)
        if let credential {
            out.append(credential.headerLine)
            out.append(credential.extraLines)
        }
        if let proof {
            out.append("DPoP: ")
            out.append(proof)
            out.append("\r\n")
        }
        writeForwarding(head, rule: rule, caller: caller, to: &out)
        switch head.framing {
        case .none: if anticipatesContent(head.method) { out.append("Content-Length: 0\r\n") }
        case .length(let length): HTTP1Writer.field("Content-Length", length, to: &out)
        case .chunked, .untilClose: if !isExtendedConnect { out.append("Transfer-Encoding: chunked\r\n") }
        }
        if head.flags.contains(.acceptsTrailers) && !upgrade { out.append("TE: trailers\r\nConnection: TE\r\n") }
        if upgrade { out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n") }
        if let webSocketKey {
            out.append("Sec-WebSocket-Key: ")
            out.append(webSocketKey)
            out.append("\r\n")
        }
        if expectContinue { out.append("Expect: 100-continue\r\n") }
        out.append("\r\n")
    }

    /// A request for a WebSocket that came by HTTP/2 (RFC 8441 4).
    private static func isExtendedConnect(_ head: borrowing MessageHead) -> Bool {
        head.method == .connect && head.flags.contains(.webSocket)
    }

    /// Methods whose requests say so when they have no content (RFC 9110 8.6).
    private static func anticipatesContent(_ method: Method) -> Bool {
        switch method {
        case .post, .put, .patch: true
        case .get, .head, .delete, .options, .trace, .connect, .other: false
        }
    }

    /// Writes the URI that a proof of possession is about: the upstream's, without query (RFC 9449 4.2 htu).
    package static func writeProofTarget(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        to out: inout ByteBuffer
    ) {
        out.append(upstream.isPlaintext ? "http://" : "https://")
        out.append(upstream.authority)
        guard !head.flags.contains(.asteriskForm) else { return }
        writePath(head, head.path, rule: rule, upstream: upstream, to: &out)
    }

    /// The method that goes upstream (RFC 9449 4.2 htm).
    ///
    /// - Parameter toHTTP2: a WebSocket is asked for by CONNECT there and by GET over HTTP/1.
    package static func writeProofMethod(
        _ head: borrowing MessageHead, upgrade: Bool, toHTTP2: Bool, to out: inout ByteBuffer
    ) {
        if upgrade, toHTTP2 {
            out.append("CONNECT")
        } else if isExtendedConnect(head) {
            out.append("GET")
        } else {
            out.append(head.bytes(head.methodText))
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
        writePath(head, head.target, rule: rule, upstream: upstream, to: &out)
    }

    /// - Parameter slice: the target, or the path that it begins with.
    private static func writePath(
        _ head: borrowing MessageHead, _ slice: Slice, rule: borrowing RouteRule,
        upstream: borrowing UpstreamIdentity, to out: inout ByteBuffer
    ) {
        out.append(upstream.basePath)
        let target = head.bytes(slice)
        let strip = min(rule.stripPrefix.count, head.path.count)
        var rest = UnsafeRawBufferPointer(rebasing: target[strip...])
        var isShortened = strip > 0
        let number = rule.removedGrantSegment
        if number > 0, let segment = GrantKey.range(ofSegment: number, in: head.bytes(head.path)),
            segment.lowerBound > strip
        {
            // The slash in front of it goes, too.
            let front = UnsafeRawBufferPointer(rebasing: target[strip..<(segment.lowerBound - 1)])
            rest = UnsafeRawBufferPointer(rebasing: target[segment.upperBound...])
            isShortened = true
            if front.count > 0 {
                out.append(front)
                out.append(rest)
                return
            }
        }
        // "//host/path" would be taken for an authority by some servers, and the caller has not sent it that way.
        while isShortened, upstream.basePath.isEmpty, rest.count > 1, rest[0] == 0x2F, rest[1] == 0x2F {
            rest = UnsafeRawBufferPointer(rebasing: rest[1...])
        }
        if rest.first != 0x2F { out.append(0x2F) }
        out.append(rest)
    }
}

// MARK: HTTP/2

extension RequestTransform {
    /// Writes the request's field block for HTTP/2 upstream (RFC 9113 8.3.1). ``filter(_:rule:)`` was done before.
    ///
    /// - Parameters:
    ///   - upgrade: ask for the WebSocket that the caller asked for, by an extended CONNECT (RFC 8441).
    ///   - expectContinue: ask the upstream whether it wants the content.
    ///   - proof: of possession of the key that the credential is bound to (RFC 9449 4).
    ///   - encoder: of the upstream's connection.
    package static func writeHTTP2(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, upstream: borrowing UpstreamIdentity,
        caller: borrowing CallerIdentity, credential: Credential?, upgrade: Bool, expectContinue: Bool,
        proof: [UInt8]? = nil, encoder: inout HPACKEncoder, to out: inout ByteBuffer
    ) {
        encoder.begin(to: &out)
        if upgrade {
            writeConnect(to: &encoder, &out)
        } else {
            encoder.method(head.method, text: head.bytes(head.methodText), to: &out)
        }
        encoder.scheme(isTLS: !upstream.isPlaintext, to: &out)
        upstream.authority.withUnsafeBytes { encoder.authority($0, to: &out) }
        encoder.scratch.removeAll()
        writeTarget(head, rule: rule, upstream: upstream, to: &encoder.scratch)
        encoder.pathOfScratch(to: &out)
        encoder.fields(of: head, except: upgrade ? "sec-websocket-key" : nil, to: &out)
        if let credential { write(credential, to: &encoder, &out) }
        if let proof { write(proof: proof, to: &encoder, &out) }
        writeForwarding(head, rule: rule, caller: caller, encoder: &encoder, to: &out)
        if !upgrade { writeLength(head, to: &encoder, &out) }
        if head.flags.contains(.acceptsTrailers) && !upgrade { encoder.field("te", "trailers", to: &out) }
        if expectContinue { encoder.field("expect", "100-continue", to: &out) }
    }

    private static func writeConnect(to encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
        let name: StaticString = "CONNECT"
        name.withUTF8Buffer { encoder.method(.connect, text: UnsafeRawBufferPointer($0), to: &out) }
        encoder.protocolName("websocket", to: &out)
    }

    private static func write(
        _ credential: Credential, to encoder: inout HPACKEncoder, _ out: inout ByteBuffer
    ) {
        credential.headerName.withUnsafeBytes { name in
            credential.withHeaderValue { encoder.credential(name: name, value: $0, key: credential.key, to: &out) }
        }
        for field in credential.extraHeaders {
            field.name.withUnsafeBytes { name in
                field.value.withUnsafeBytes { value in
                    encoder.field(FieldID.find(name), name: name, value: value, isLowered: true, to: &out)
                }
            }
        }
    }

    /// Another one for each request: nobody is to keep it in a table.
    private static func write(proof: [UInt8], to encoder: inout HPACKEncoder, _ out: inout ByteBuffer) {
        let name: StaticString = "dpop"
        name.withUTF8Buffer { name in
            proof.withUnsafeBytes { value in
                encoder.field(
                    .other, name: UnsafeRawBufferPointer(name), value: value, isSensitive: true, isLowered: true,
                    to: &out)
            }
        }
    }

    private static func writeLength(
        _ head: borrowing MessageHead, to encoder: inout HPACKEncoder, _ out: inout ByteBuffer
    ) {
        switch head.framing {
        case .none: if anticipatesContent(head.method) { encoder.field("content-length", 0, to: &out) }
        case .length(let length): encoder.field("content-length", length, to: &out)
        case .chunked, .untilClose: break
        }
    }
}

// MARK: Forwarding fields

extension RequestTransform {
    /// The value of our Via field (RFC 9110 7.6.3): the version that the request came by.
    private static func via(_ head: borrowing MessageHead) -> StaticString {
        if head.flags.contains(.http2) { return "2.0 token-gateway" }
        return head.minorVersion == 0 ? "1.0 token-gateway" : "1.1 token-gateway"
    }

    private static func writeForwarding(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, caller: borrowing CallerIdentity,
        to out: inout ByteBuffer
    ) {
        if rule.via { HTTP1Writer.field("Via", via(head), to: &out) }
        switch rule.forwarded {
        case .off:
            break
        case .xForwarded:
            if !caller.address.isEmpty {
                out.append("X-Forwarded-For: ")
                out.append(caller.address)
                out.append("\r\n")
            }
            HTTP1Writer.field("X-Forwarded-Proto", caller.scheme, to: &out)
            if !head.authority.isEmpty { HTTP1Writer.field("X-Forwarded-Host", head.bytes(head.authority), to: &out) }
        case .rfc7239:
            out.append("Forwarded: ")
            appendForwarded(head, caller: caller, to: &out)
            out.append("\r\n")
        }
    }

    private static func writeForwarding(
        _ head: borrowing MessageHead, rule: borrowing RouteRule, caller: borrowing CallerIdentity,
        encoder: inout HPACKEncoder, to out: inout ByteBuffer
    ) {
        if rule.via { encoder.field("via", via(head), to: &out) }
        switch rule.forwarded {
        case .off:
            break
        case .xForwarded:
            if !caller.address.isEmpty { encoder.field("x-forwarded-for", caller.address, to: &out) }
            encoder.field("x-forwarded-proto", caller.scheme, to: &out)
            if !head.authority.isEmpty { encoder.field("x-forwarded-host", head.bytes(head.authority), to: &out) }
        case .rfc7239:
            encoder.scratch.removeAll()
            appendForwarded(head, caller: caller, to: &encoder.scratch)
            encoder.fieldOfScratch("forwarded", to: &out)
        }
    }

    /// The value of a Forwarded field. RFC 7239 4: addresses of IPv6 stand in brackets and quotes.
    private static func appendForwarded(
        _ head: borrowing MessageHead, caller: borrowing CallerIdentity, to out: inout ByteBuffer
    ) {
        out.append("for=")
        if caller.address.isEmpty {
            out.append("unknown")
        } else if caller.isIPv6 {
            out.append("\"[")
            out.append(caller.address)
            out.append("]\"")
        } else {
            out.append(caller.address)
        }
        out.append(";proto=")
        out.append(caller.scheme)
        if !head.authority.isEmpty {
            out.append(";host=\"")
            out.append(head.bytes(head.authority))
            out.append("\"")
        }
    }
}
