/// What the fields of a head say about framing and the connection.
package struct FieldSummary {
    package var contentLengthCount = 0
    package var contentLength: UInt64 = 0
    package var transferEncodingCount = 0
    package var codingIsUnknown = false
    package var hostCount = 0
    package var host = Slice()
    package var connectionClose = false
    package var connectionKeepAlive = false
    package var connectionUpgrade = false
    /// A Connection field says something else than "keep-alive" alone: it may name fields.
    var connectionNominates = false
    var hasKeepAliveField = false
    package var rejection: Rejection?

    package init() {}
}

/// Which section is parsed; they differ in what is refused.
package enum FieldSection: Sendable {
    case request, response, trailers
}

/// Parses field lines (RFC 9112 5): no space before the colon, no folding, no control octets.
///
/// A line of the kind that nearly all are of (name of letters, digits and hyphens, no tab) is read in one pass; any other
/// goes through ``parseUnusualLine(_:from:into:section:)``, which alone knows all the rules and what to say.
package enum FieldParser {
    /// Parses the arena's content from `start` to the empty line at its end. Fields are appended to the head.
    ///
    /// - Parameter head: its content was appended with padding.
    package static func parse(
        into head: inout MessageHead, from start: Int, summary: inout FieldSummary, limits: HeadLimits,
        of section: FieldSection
    ) -> Rejection? {
        let bytes = unsafe head.arena.readable
        guard let base = bytes.baseAddress else { return .malformed("a field line does not end in CRLF") }
        var position = start
        while true {
            // Zeros follow the content: an octet that is not zero is one of it.
            if unsafe base[position] == 0x0D && base[position &+ 1] == 0x0A { break }
            if unsafe head.fields.count >= limits.fieldCount || !parsePlainLine(base, &position, &head) {
                if let rejection = unsafe parseUnusualLine(bytes, &position, &head, limits, section) {
                    return rejection
                }
            }
            let last = head.fields.count &- 1
            let id = head.fields[last].id
            if id != .other { note(id, head.fields[last].value, &head, &summary) }
        }
        head.fieldLinesEnd = UInt32(truncatingIfNeeded: position)
        if summary.connectionNominates {
            if let rejection = dropNominated(&head) { return rejection }
        } else if summary.connectionKeepAlive && summary.hasKeepAliveField {
            head.drop(.keepAlive)
        }
        return summary.rejection
    }

    /// Parses the line at `position` and moves on to the next; false, and nothing done, when it is of an unusual kind.
    @inline(__always)
    private static func parsePlainLine(
        _ base: UnsafeRawPointer, _ position: inout Int, _ head: inout MessageHead
    ) -> Bool {
        // Positions are within a head of at most some megabytes: sums of them do not overflow.
        let nameStart = position
        let nameEnd = unsafe OctetScan.plainNameEnd(base, from: nameStart)
        guard unsafe nameEnd > nameStart && base[nameEnd] == 0x3A else { return false }
        var start = nameEnd &+ 1
        while unsafe base[start] == 0x20 { start &+= 1 }
        let lineEnd = unsafe OctetScan.plainValueEnd(base, from: start)
        guard unsafe base[lineEnd] == 0x0D && base[lineEnd &+ 1] == 0x0A else { return false }
        var end = lineEnd
        while end > start, unsafe base[end &- 1] == 0x20 { end &-= 1 }
        if end == start {
            start = nameEnd &+ 1
            end = start
        }
        head.fields.append(
            Field(
                id: unsafe FieldID.find(base + nameStart, nameEnd &- nameStart),
                name: Slice(start: nameStart, length: nameEnd &- nameStart),
                value: Slice(start: start, length: end &- start)))
        position = lineEnd &+ 2
        return true
    }

    /// Parses the line at `position`, whatever it is, by all the rules, and moves on to the next.
    @inline(never)
    private static func parseUnusualLine(
        _ bytes: UnsafeRawBufferPointer, _ position: inout Int, _ head: inout MessageHead, _ limits: HeadLimits,
        _ section: FieldSection
    ) -> Rejection? {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[min(position, bytes.count)...])
        guard let lineFeed = unsafe Octet.firstIndex(of: 0x0A, in: rest), lineFeed > 0,
            unsafe rest[lineFeed - 1] == 0x0D
        else { return .malformed("a field line does not end in CRLF") }
        guard head.fields.count < limits.fieldCount else { return .tooManyFields }
        let line = unsafe UnsafeRawBufferPointer(rebasing: rest[..<(lineFeed - 1)])
        guard let colon = unsafe Octet.firstIndex(of: 0x3A, in: line) else {
            return .malformed("a field line has no colon")
        }
        if unsafe line[0] == 0x20 || line[0] == 0x09 { return .malformed("a field line is folded (obs-fold)") }
        let name = unsafe UnsafeRawBufferPointer(rebasing: line[..<colon])
        guard unsafe Octet.isToken(name) else {
            return .malformed("a field name is not a token (space before the colon?)")
        }
        let raw = unsafe UnsafeRawBufferPointer(rebasing: line[(colon + 1)...])
        guard unsafe Octet.isFieldValue(raw) else { return .malformed("a field value has a control octet") }
        let value = unsafe Octet.trimmed(raw)
        let valueStart = unsafe value.count == 0 ? colon + 1 : UnsafeRawPointer(value.baseAddress!) - line.baseAddress!
        let id = unsafe FieldID.find(name)
        head.fields.append(
            Field(
                id: id,
                isDropped: unsafe id == .other && section != .response && isDisguised(name),
                name: Slice(start: position, length: colon),
                value: Slice(start: position + valueStart, length: value.count)))
        position += lineFeed + 1
        return nil
    }

    /// Whether `HTTP/1.1` stands at `offset`; eight octets must be readable there.
    @inline(__always)
    static func isVersion11(_ base: UnsafeRawPointer, at offset: Int) -> Bool {
        unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian == 0x312E_312F_5054_5448
    }

    /// A name that becomes a sensitive one when `_` is read as `-`.
    static func isDisguised(_ name: UnsafeRawBufferPointer) -> Bool {
        guard unsafe Octet.firstIndex(of: 0x5F, in: name) != nil, name.count <= 32 else { return false }
        return unsafe withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { copy in
            for index in 0..<name.count {
                unsafe copy[index] = unsafe name[index] == 0x5F ? 0x2D : name[index]
            }
            return unsafe FieldID.find(UnsafeRawBufferPointer(rebasing: copy[..<name.count])).isSensitiveWhenFolded
        }
    }

    /// Takes note of what the field that was appended last says about framing and the connection.
    static func note(_ id: FieldID, _ slice: Slice, _ head: inout MessageHead, _ summary: inout FieldSummary) {
        let value = unsafe head.bytes(slice)
        switch id {
        case .contentLength:
            unsafe noteContentLength(value, &head, &summary)
        case .transferEncoding:
            summary.transferEncodingCount += 1
            // Exactly one "chunked": anything before or after it is a coding that is not spoken here.
            if unsafe summary.transferEncodingCount > 1 || !Octet.equal(value, ignoringCase: "chunked") {
                summary.codingIsUnknown = true
            }
        case .host:
            summary.hostCount += 1
            summary.host = slice
        case .connection:
            unsafe noteConnection(value, &summary)
        case .expect:
            if unsafe Octet.equal(value, ignoringCase: "100-continue") {
                head.flags.insert(.expectsContinue)
            } else {
                head.flags.insert(.unknownExpectation)
            }
        case .upgrade:
            head.flags.insert(.upgrade)
            if unsafe Octet.equal(value, ignoringCase: "websocket") { head.flags.insert(.webSocket) }
        case .te:
            unsafe Octet.forEachListElement(value) { element in
                if unsafe Octet.equal(element, ignoringCase: "trailers") { head.flags.insert(.acceptsTrailers) }
            }
        case .wwwAuthenticate:
            head.flags.insert(.challenge)
            if unsafe Challenge.names(value, scheme: "bearer") || Challenge.names(value, scheme: "dpop") {
                head.flags.insert(.tokenChallenge)
            }
        case .date:
            head.flags.insert(.hasDate)
        case .keepAlive:
            summary.hasKeepAliveField = true
        case .other, .authorization, .contentType, .cookie, .forwarded, .location, .maxForwards, .proxyAuthenticate,
            .proxyAuthenticationInfo, .proxyAuthorization, .proxyConnection, .retryAfter,
            .secWebSocketKey, .server, .setCookie, .trailer, .via, .xForwardedFor, .xForwardedHost,
            .xForwardedPort, .xForwardedProto, .xRequestID, .tokenGatewayError:
            break
        }
    }

    private static func noteContentLength(
        _ value: UnsafeRawBufferPointer, _ head: inout MessageHead, _ summary: inout FieldSummary
    ) {
        guard let length = unsafe Octet.decimal(value) else {
            summary.rejection = .malformed("Content-Length is not a decimal number")
            return
        }
        if summary.contentLengthCount > 0 {
            if length != summary.contentLength {
                summary.rejection = .malformed("there are two Content-Length fields that differ")
            }
            // Equal ones: exactly one goes on (RFC 9110 8.6).
            head.fields[head.fields.count - 1].isDropped = true
        }
        summary.contentLengthCount += 1
        summary.contentLength = length
    }

    private static func noteConnection(_ value: UnsafeRawBufferPointer, _ summary: inout FieldSummary) {
        // What nearly all that have such a field say.
        if unsafe Octet.equal(value, ignoringCase: "keep-alive") {
            summary.connectionKeepAlive = true
            return
        }
        summary.connectionNominates = true
        var close = false
        var keepAlive = false
        var upgrade = false
        unsafe Octet.forEachListElement(value) { option in
            if unsafe Octet.equal(option, ignoringCase: "close") { close = true }
            if unsafe Octet.equal(option, ignoringCase: "keep-alive") { keepAlive = true }
            if unsafe Octet.equal(option, ignoringCase: "upgrade") { upgrade = true }
        }
        summary.connectionClose = summary.connectionClose || close
        summary.connectionKeepAlive = summary.connectionKeepAlive || keepAlive
        summary.connectionUpgrade = summary.connectionUpgrade || upgrade
    }

    /// Options that the Connection fields of a message may have. Each is looked for in all fields: more would make
    /// a head of a few kilobytes cost millions of steps.
    private static let connectionOptionLimit = 64

    /// Drops every field that a Connection field names, save those that a sender may not take away this way
    /// (RFC 9110 7.6.1): the framing, Host and end-to-end credentials.
    static func dropNominated(_ head: inout MessageHead) -> Rejection? {
        var count = 0
        for index in head.fields.indices where head.fields[index].id == .connection {
            let value = head.fields[index].value
            let options = unsafe head.bytes(value)
            unsafe Octet.forEachListElement(options) { option in
                count += 1
                if count > connectionOptionLimit { return }
                let id = unsafe FieldID.find(option)
                if id == .host || id == .contentLength || id == .transferEncoding || id == .authorization { return }
                if id == .other { unsafe head.drop(named: option) } else { head.drop(id) }
            }
        }
        return count > connectionOptionLimit ? .malformed("the Connection field names too many fields") : nil
    }
}

/// Authentication challenges (RFC 9110 11.6.1).
package enum Challenge {
    /// Whether a challenge list names `scheme` (in lower case) at a place where a scheme can stand.
    package static func names(_ value: UnsafeRawBufferPointer, scheme: StaticString) -> Bool {
        var start = 0
        var isQuoted = false
        var index = 0
        while index < value.count {
            let byte = unsafe value[index]
            if byte == 0x22 { isQuoted.toggle() }
            // A backslash takes the special meaning from the next octet.
            if isQuoted && byte == 0x5C { index += 1 }
            if byte == 0x2C && !isQuoted {
                if unsafe begins(UnsafeRawBufferPointer(rebasing: value[start..<index]), with: scheme) { return true }
                start = index + 1
            }
            index += 1
        }
        return unsafe begins(UnsafeRawBufferPointer(rebasing: value[start...]), with: scheme)
    }

    private static func begins(_ untrimmed: UnsafeRawBufferPointer, with scheme: StaticString) -> Bool {
        let element = unsafe Octet.trimmed(untrimmed)
        let length = scheme.utf8CodeUnitCount
        guard element.count >= length else { return false }
        let ends = unsafe element.count == length || element[length] == 0x20 || element[length] == 0x09
        return unsafe ends && Octet.equal(UnsafeRawBufferPointer(rebasing: element[..<length]), ignoringCase: scheme)
    }
}

/// Host and port (RFC 9110 7.2, RFC 3986 3.2.2) as far as a proxy must judge them.
package enum Authority {
    /// An empty one is valid in a Host field.
    package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        if unsafe bytes.count > 0 && bytes[0] == 0x5B {
            guard let end = unsafe Octet.firstIndex(of: 0x5D, in: bytes), end > 1 else { return false }
            for position in 1..<end {
                let byte = unsafe bytes[position]
                if Octet.hexadecimalValue(byte) == nil && byte != 0x3A && byte != 0x2E { return false }
            }
            index = end + 1
        } else {
            while index < bytes.count, unsafe bytes[index] != 0x3A {
                guard unsafe Octet.isHostNameOctet(bytes[index]) else { return false }
                if unsafe bytes[index] == 0x25 {
                    guard unsafe isTriplet(bytes, at: index) else { return false }
                }
                index += 1
            }
        }
        if index == bytes.count { return true }
        guard index > 0, unsafe bytes[index] == 0x3A, bytes.count - index <= 6 else { return false }
        if index + 1 == bytes.count { return true }
        guard let port = unsafe Octet.decimal(UnsafeRawBufferPointer(rebasing: bytes[(index + 1)...])) else {
            return false
        }
        return port <= 65535
    }

    private static func isTriplet(_ bytes: UnsafeRawBufferPointer, at index: Int) -> Bool {
        guard index + 2 < bytes.count else { return false }
        return unsafe Octet.hexadecimalValue(bytes[index + 1]) != nil && Octet.hexadecimalValue(bytes[index + 2]) != nil
    }

    /// The host without its port.
    package static func host(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        if unsafe bytes.count > 0 && bytes[0] == 0x5B {
            let end = unsafe Octet.firstIndex(of: 0x5D, in: bytes) ?? (bytes.count - 1)
            return unsafe UnsafeRawBufferPointer(rebasing: bytes[...end])
        }
        let end = unsafe Octet.firstIndex(of: 0x3A, in: bytes) ?? bytes.count
        return unsafe UnsafeRawBufferPointer(rebasing: bytes[..<end])
    }
}
