/// Builds a ``MessageHead`` of the fields of one field block, and judges it as the HTTP/1 parser judges a head.
///
/// nghttp2 has checked before what makes a message malformed in any case (RFC 9113 8.2, 8.3).
struct HTTP2HeadReader {
    enum Kind {
        case request, response, trailers
    }

    private var kind = Kind.request
    private var limits = HeadLimits()
    /// Octets decoded: names, values and what separates them.
    private var octets = 0
    private var cookies = 0
    private var hasWebScheme = false
    private var hasProtocol = false
    private var summary = FieldSummary()
    /// What is refused; nothing is stored after it.
    private var rejection: Rejection?

    mutating func begin(_ kind: Kind, limits: HeadLimits, into head: inout MessageHead) {
        self.kind = kind
        self.limits = limits
        octets = 0
        cookies = 0
        hasWebScheme = false
        hasProtocol = false
        summary = FieldSummary()
        rejection = nil
        head.reset()
        head.flags = Self.always
    }

    /// `http2` and `keepAlive`; a literal of two would be an array on the heap where the optimizer is off.
    private static let always = MessageFlags(rawValue: 2049)

    /// Takes one field.
    ///
    /// - Returns: false when the block is so far above the limit that decoding it is not worth going on.
    mutating func take(
        _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into head: inout MessageHead
    ) -> Bool {
        octets += name.count + value.count + 4
        if octets > limits.headBytes {
            if rejection == nil { rejection = .headTooLarge }
            return octets <= max(limits.headBytes, 32 * 1024) * 4
        }
        if rejection != nil || name.count == 0 { return true }
        if unsafe name[0] == 0x3A {
            unsafe takePseudo(name, value, into: &head)
            return true
        }
        guard head.fields.count < limits.fieldCount else {
            rejection = .tooManyFields
            return true
        }
        unsafe takeLine(name, value, into: &head)
        return true
    }

    /// Stores `name: value` and the end of the line, as in an HTTP/1 head.
    private mutating func takeLine(
        _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into head: inout MessageHead
    ) {
        let start = head.arena.count
        let length = name.count + value.count + 4
        let room = unsafe head.arena.writable(minimum: length)
        unsafe room.copyMemory(from: name)
        unsafe room[name.count] = 0x3A
        unsafe room[name.count + 1] = 0x20
        if value.count > 0 {
            unsafe UnsafeMutableRawBufferPointer(rebasing: room[(name.count + 2)...]).copyMemory(from: value)
        }
        unsafe room[length - 2] = 0x0D
        unsafe room[length - 1] = 0x0A
        head.arena.commit(length)
        let id = unsafe FieldID.find(name)
        let slice = Slice(start: start + name.count + 2, length: value.count)
        head.fields.append(
            Field(
                id: id,
                isDropped: unsafe id == .other && kind != .response && FieldParser.isDisguised(name),
                name: Slice(start: start, length: name.count), value: slice))
        if id == .other { return }
        if id == .cookie { cookies += 1 }
        FieldParser.note(id, slice, &head, &summary)
    }

    private var section: FieldSection {
        switch kind {
        case .request: .request
        case .response: .response
        case .trailers: .trailers
        }
    }

    private mutating func takePseudo(
        _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into head: inout MessageHead
    ) {
        if unsafe Octet.equal(name, ignoringCase: ":path") {
            if value.count > limits.targetBytes {
                rejection = .targetTooLong
            } else {
                head.target = unsafe head.store(value)
            }
        } else if unsafe Octet.equal(name, ignoringCase: ":method") {
            head.methodText = unsafe head.store(value)
            head.method = unsafe Method.find(value)
        } else if unsafe Octet.equal(name, ignoringCase: ":scheme") {
            hasWebScheme = unsafe Octet.equal(value, ignoringCase: "https") || Octet.equal(value, ignoringCase: "http")
        } else if unsafe Octet.equal(name, ignoringCase: ":authority") {
            head.authority = unsafe head.store(value)
        } else if unsafe Octet.equal(name, ignoringCase: ":status") {
            head.status = unsafe UInt16(truncatingIfNeeded: Octet.decimal(value) ?? 0)
        } else if unsafe Octet.equal(name, ignoringCase: ":protocol") {
            hasProtocol = true
            if unsafe Octet.equal(value, ignoringCase: "websocket") { head.flags.insert(.webSocket) }
        }
    }

    /// Ends the head.
    ///
    /// - Parameters:
    ///   - ends: the block's frame has END_STREAM.
    ///   - method: of the request (responses).
    /// - Returns: why it is refused, or nil.
    mutating func finish(ends: Bool, answering method: Method, _ head: inout MessageHead) -> Rejection? {
        if cookies > 1 && rejection == nil { joinCookies(&head) }
        head.fieldLinesEnd = UInt32(truncatingIfNeeded: head.arena.count)
        if let rejection = rejection ?? summary.rejection { return rejection }
        switch kind {
        case .request:
            return finishRequest(ends: ends, &head)
        case .response:
            return finishResponse(ends: ends, answering: method, &head)
        case .trailers:
            TrailerRules.dropForbidden(&head)
            return nil
        }
    }

    /// Crumbs become one field again (RFC 9113 8.2.3).
    private func joinCookies(_ head: inout MessageHead) {
        var length = 0
        for index in head.fields.indices where head.fields[index].id == .cookie {
            length += head.fields[index].value.count + 2
        }
        let start = head.arena.count
        head.arena.reserve(8 + length)
        head.arena.append("cookie: ")
        var isFirst = true
        for index in head.fields.indices where head.fields[index].id == .cookie {
            if !isFirst { head.arena.append("; ") }
            isFirst = false
            unsafe head.arena.append(head.bytes(head.fields[index].value))
            head.fields[index].isDropped = true
        }
        let end = head.arena.count
        head.arena.append("\r\n")
        head.fields.append(
            Field(
                id: .cookie, name: Slice(start: start, length: 6),
                value: Slice(start: start + 8, length: end - start - 8)))
    }

    private func finishRequest(ends: Bool, _ head: inout MessageHead) -> Rejection? {
        if let rejection = judgeAuthority(&head) { return rejection }
        let isConnect = head.method == .connect
        if !ends {
            head.framing =
                summary.contentLengthCount > 0 && !isConnect ? .length(summary.contentLength) : .chunked
        }
        if isConnect {
            // A length says nothing about a tunnel (RFC 9110 8.6).
            head.drop(.contentLength)
            if !hasProtocol { return nil }
            guard head.flags.contains(.webSocket) else { return .malformed("the :protocol is not websocket") }
        }
        guard hasWebScheme else { return .malformed("the scheme is neither http nor https") }
        return judgeTarget(&head)
    }

    private func judgeAuthority(_ head: inout MessageHead) -> Rejection? {
        if head.authority.isEmpty {
            head.authority = summary.host
        } else if summary.hostCount > 0,
            unsafe !Octet.equal(head.bytes(summary.host), ignoringCase: head.bytes(head.authority))
        {
            return .malformed("the Host field differs from :authority")
        }
        guard !head.authority.isEmpty, unsafe Authority.isValid(head.bytes(head.authority)) else {
            return .malformed("the :authority is not a host and port")
        }
        return nil
    }

    private func judgeTarget(_ head: inout MessageHead) -> Rejection? {
        let target = unsafe head.bytes(head.target)
        guard target.count > 0, unsafe Octet.isLenientTarget(target) else {
            return .malformed("the request target has an octet that is not allowed")
        }
        if unsafe target[0] == 0x2A {
            guard target.count == 1, head.method == .options else {
                return .malformed("the target '*' goes with OPTIONS only")
            }
            head.flags.insert(.asteriskForm)
        } else if unsafe target[0] != 0x2F {
            return .malformed("the request target is not a path")
        }
        let length = unsafe Octet.firstIndex(of: 0x3F, in: target) ?? target.count
        head.path = Slice(start: Int(head.target.start), length: length)
        return nil
    }

    private func finishResponse(ends: Bool, answering method: Method, _ head: inout MessageHead) -> Rejection? {
        guard (100...599).contains(head.status), head.status != 101 else {
            return .malformed("the status code is not between 100 and 599")
        }
        if ends || method == .head || head.status < 200 || head.status == 204 || head.status == 304 {
            head.framing = .none
        } else if summary.contentLengthCount > 0 {
            head.framing = .length(summary.contentLength)
        } else {
            head.framing = .chunked
        }
        // A length must not be there (RFC 9110 8.6): a caller that believed it would wait for content.
        if head.status < 200 || head.status == 204 { head.drop(.contentLength) }
        return nil
    }
}
