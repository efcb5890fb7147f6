/// Makes field blocks (RFC 7541) with a dynamic table of at most 4,096 octets. Strings are not Huffman-coded.
///
/// What is put into the table: a field that is seen for the second time within a short while, so that values that never
/// come again do not push out those that do; and a credential at first sight. Fields that differ from message to message
/// by their nature, and callers' cookies and authorization, never are (RFC 7541 7.1.3).
///
/// One for each connection, thread-confined; after `init` it allocates nothing but room in ``scratch``. Blocks must leave
/// in the order in which they were made. Names must be tokens, or begin with ":"; neither names nor values are checked.
package struct HPACKEncoder: ~Copyable {
    /// For values that are put together from parts: write into it, then call ``fieldOfScratch(_:to:)`` or
    /// ``pathOfScratch(to:)``, which empty it.
    package var scratch = ByteBuffer()
    private var table = HPACKEncoderTable()
    /// What the peer allows now, and the least that it has allowed since the last block (RFC 7541 4.2).
    private var wantedLimit = HPACKEncoderTable.maximumSize
    private var leastLimit = HPACKEncoderTable.maximumSize

    package init() {}

    /// SETTINGS_HEADER_TABLE_SIZE of the peer; takes effect with the next block.
    package mutating func setPeerTableSize(_ octets: Int) {
        wantedLimit = min(max(octets, 0), HPACKEncoderTable.maximumSize)
        leastLimit = min(leastLimit, wantedLimit)
    }

    /// To be called before the first field of each block; a second call in a row does nothing.
    package mutating func begin(to out: inout ByteBuffer) {
        guard leastLimit != table.limit || wantedLimit != table.limit else { return }
        if leastLimit < table.limit { resize(to: leastLimit, &out) }
        if wantedLimit != table.limit { resize(to: wantedLimit, &out) }
        leastLimit = wantedLimit
    }

    private mutating func resize(to limit: Int, _ out: inout ByteBuffer) {
        table.setLimit(limit)
        var at = unsafe out.writable(minimum: 12).baseAddress!
        let start = unsafe at
        unsafe HPACKOctets.integer(limit, prefix: 5, pattern: 0x20, to: &at)
        unsafe out.commit(at - start)
    }

    // MARK: Pseudo-fields

    package mutating func status(_ status: UInt16, to out: inout ByteBuffer) {
        switch status {
        case 200: out.append(0x88)
        case 204: out.append(0x89)
        case 206: out.append(0x8A)
        case 304: out.append(0x8B)
        case 400: out.append(0x8C)
        case 404: out.append(0x8D)
        case 500: out.append(0x8E)
        default: otherStatus(status, to: &out)
        }
    }

    private mutating func otherStatus(_ status: UInt16, to out: inout ByteBuffer) {
        let hundreds = UInt32(status / 100 % 10)
        let tens = UInt32(status / 10 % 10)
        let ones = UInt32(status % 10)
        let digits = (0x303030 + hundreds + tens << 8 + ones << 16).littleEndian
        unsafe withUnsafeBytes(of: digits) { digits in
            unsafe remembered(
                .status, HPACKOctets.bytes(":status"),
                UnsafeRawBufferPointer(rebasing: digits[..<3]), to: &out)
        }
    }

    /// - Parameter text: the method's name, looked at where `method` is neither GET nor POST.
    package mutating func method(_ method: Method, text: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        switch method {
        case .get: out.append(0x82)
        case .post: out.append(0x83)
        case .head, .put, .delete, .options, .patch, .trace, .connect, .other:
            unsafe remembered(.method, HPACKOctets.bytes(":method"), text, to: &out)
        }
    }

    package mutating func scheme(isTLS: Bool, to out: inout ByteBuffer) {
        out.append(isTLS ? 0x87 : 0x86)
    }

    package mutating func path(_ value: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        if value.count == 1, unsafe value[0] == 0x2F {
            out.append(0x84)
        } else {
            unsafe literal(0, prefix: 4, .path, HPACKOctets.bytes(":path"), value, to: &out)
        }
    }

    /// `:path` with what stands in ``scratch``, which is emptied.
    package mutating func pathOfScratch(to out: inout ByteBuffer) {
        unsafe path(scratch.readable, to: &out)
        scratch.removeAll()
    }

    package mutating func authority(_ value: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        unsafe remembered(.authority, HPACKOctets.bytes(":authority"), value, isLowered: true, to: &out)
    }

    /// `:protocol` of an extended CONNECT (RFC 8441 4).
    package mutating func protocolName(_ value: StaticString, to out: inout ByteBuffer) {
        unsafe remembered(.protocolName, HPACKOctets.bytes(":protocol"), HPACKOctets.bytes(value), to: &out)
    }

    // MARK: Fields

    /// - Parameters:
    ///   - id: of `name`; `.other` where it has none.
    ///   - name: in any case; it is sent in lower case.
    ///   - isSensitive: it came as a never-indexed literal and must go on as one (RFC 7541 6.2.3).
    ///   - isLowered: the name is in lower case.
    package mutating func field(
        _ id: FieldID, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, isSensitive: Bool = false,
        isLowered: Bool = false, to out: inout ByteBuffer
    ) {
        if isSensitive {
            unsafe write(HPACKName.find(id, name).sensitive, name, value, to: &out)
        } else if id != .other, HPACKName.known(id).policy != .remembered {
            unsafe write(HPACKName.known(id), name, value, to: &out)
        } else {
            unsafe remembered(id == .other ? nil : HPACKName.known(id), name, value, isLowered: isLowered, to: &out)
        }
    }

    package mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer, to out: inout ByteBuffer) {
        // Its number is not looked for: the table has it most times.
        unsafe remembered(nil, HPACKOctets.bytes(name), value, isLowered: true, to: &out)
    }

    package mutating func field(_ name: StaticString, _ value: StaticString, to out: inout ByteBuffer) {
        unsafe field(name, HPACKOctets.bytes(value), to: &out)
    }

    package mutating func field(_ name: StaticString, _ value: [UInt8], to out: inout ByteBuffer) {
        unsafe value.withUnsafeBytes { unsafe field(name, $0, to: &out) }
    }

    /// A number in decimal digits; never put into the table.
    package mutating func field(_ name: StaticString, _ value: UInt64, to out: inout ByteBuffer) {
        let name = unsafe HPACKOctets.bytes(name)
        let known = unsafe HPACKName.find(name)
        var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
        unsafe withUnsafeMutableBytes(of: &digits) { digits in
            var start = digits.count
            var rest = value
            repeat {
                start -= 1
                unsafe digits[start] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
                rest /= 10
            } while rest > 0
            let value = unsafe UnsafeRawBufferPointer(rebasing: digits[start...])
            unsafe literal(0, prefix: 4, known, name, value, to: &out)
        }
    }

    /// A field whose value stands in ``scratch``, which is emptied.
    package mutating func fieldOfScratch(_ name: StaticString, to out: inout ByteBuffer) {
        unsafe field(name, scratch.readable, to: &out)
        scratch.removeAll()
    }

    /// The fields of `head` that are not dropped, in order, save those that concern an HTTP/1 connection and `host`,
    /// which have no place in HTTP/2 (RFC 9113 8.2.2, 8.3.1); `te` neither, as it is written anew.
    ///
    /// - Parameter except: a name in lower case that is left out as well.
    package mutating func fields(
        of head: borrowing MessageHead, except: StaticString? = nil, to out: inout ByteBuffer
    ) {
        // Otherwise it would not have been taken (RFC 9113 8.2.1).
        let isLowered = head.flags.contains(.http2)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            if field.isDropped || Self.isForeign(field.id) { continue }
            if let except, unsafe Octet.equal(head.bytes(field.name), ignoringCase: except) { continue }
            unsafe self.field(
                field.id, name: head.bytes(field.name), value: head.bytes(field.value), isLowered: isLowered, to: &out)
        }
    }

    private static func isForeign(_ id: FieldID) -> Bool {
        switch id {
        case .connection, .host, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade: true
        case .other, .authorization, .contentLength, .contentType, .cookie, .date, .expect, .forwarded, .location,
            .maxForwards, .proxyAuthenticate, .proxyAuthenticationInfo, .proxyAuthorization, .retryAfter,
            .secWebSocketKey, .server, .setCookie, .trailer, .via, .wwwAuthenticate, .xForwardedFor, .xForwardedHost,
            .xForwardedPort, .xForwardedProto, .xRequestID, .tokenGatewayError:
            false
        }
    }

    /// The credential: put into the table at first sight, and after that one octet or two.
    ///
    /// - Parameter key: tells credentials apart without looking at their octets: same key, same name and value.
    package mutating func credential(
        name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, key: UInt64, to out: inout ByteBuffer
    ) {
        let index = table.find(credential: key)
        if index > 0 {
            indexed(index, to: &out)
            return
        }
        let known = unsafe HPACKName.find(name)
        let size = name.count + value.count + HPACKEncoderTable.overhead
        if size <= table.limit {
            table.insert(credential: key, size: size)
            unsafe literal(0x40, prefix: 6, known, name, value, to: &out)
        } else {
            unsafe literal(0x10, prefix: 4, known, name, value, to: &out)
        }
    }

    // MARK: Representations

    /// As a literal that stays out of the table.
    private func write(
        _ known: HPACKName, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, to out: inout ByteBuffer
    ) {
        let isSecret: Bool
        switch known.policy {
        case .remembered, .plain: isSecret = false
        case .sensitive: isSecret = true
        case .cookie: isSecret = value.count < 20
        }
        unsafe literal(isSecret ? 0x10 : 0, prefix: 4, known, name, value, to: &out)
    }

    /// A field that may be in the table.
    ///
    /// - Parameter known: nil where the name has not been looked for in the static table; that is done when the field is
    ///   not in the dynamic one. Names with another policy than ``HPACKName/Policy/remembered`` never are.
    private mutating func remembered(
        _ known: HPACKName?, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, isLowered: Bool = false,
        to out: inout ByteBuffer
    ) {
        // A larger one would push out too much of what is there.
        guard name.count + value.count + HPACKEncoderTable.overhead <= table.limit / 2 else {
            unsafe write(known ?? HPACKName.find(name), name, value, to: &out)
            return
        }
        let hash = unsafe HPACKOctets.hash(name: name, value: value, isLowered: isLowered)
        let index = unsafe table.find(hash, name, value, isLowered: isLowered)
        if index > 0 {
            indexed(index, to: &out)
        } else {
            unsafe missed(known ?? HPACKName.find(name), hash, name, value, to: &out)
        }
    }

    /// A field that is not in the dynamic table.
    private mutating func missed(
        _ known: HPACKName, _ hash: UInt64, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
        to out: inout ByteBuffer
    ) {
        if known == .acceptEncoding, unsafe Octet.equal(value, HPACKOctets.bytes("gzip, deflate")) {
            indexed(Int(known.index), to: &out)
        } else if known.policy == .remembered, table.isSecondSight(hash) {
            unsafe literal(0x40, prefix: 6, known, name, value, to: &out)
            unsafe table.insert(hash, name, value)
        } else {
            unsafe write(known, name, value, to: &out)
        }
    }

    /// RFC 7541 6.1; most indexes take one octet.
    private func indexed(_ index: Int, to out: inout ByteBuffer) {
        if index < 127 {
            out.append(0x80 | UInt8(truncatingIfNeeded: index))
        } else {
            var at = unsafe out.writable(minimum: 12).baseAddress!
            let start = unsafe at
            unsafe HPACKOctets.integer(index, prefix: 7, pattern: 0x80, to: &at)
            unsafe out.commit(at - start)
        }
    }

    /// RFC 7541 6.2: the name by its index in the static table, else as it stands.
    private func literal(
        _ pattern: UInt8, prefix: UInt8, _ known: HPACKName, _ name: UnsafeRawBufferPointer,
        _ value: UnsafeRawBufferPointer, to out: inout ByteBuffer
    ) {
        var at = unsafe out.writable(minimum: name.count + value.count + 36).baseAddress!
        let start = unsafe at
        if known.index > 0 {
            unsafe HPACKOctets.integer(Int(known.index), prefix: prefix, pattern: pattern, to: &at)
        } else {
            unsafe at.storeBytes(of: pattern, as: UInt8.self)
            unsafe at += 1
            unsafe HPACKOctets.integer(name.count, prefix: 7, pattern: 0, to: &at)
            unsafe HPACKOctets.copyLowered(name, to: at)
            unsafe at += name.count
        }
        unsafe HPACKOctets.integer(value.count, prefix: 7, pattern: 0, to: &at)
        if let base = value.baseAddress, value.count > 0 {
            unsafe at.copyMemory(from: base, byteCount: value.count)
            unsafe at += value.count
        }
        unsafe out.commit(at - start)
    }
}
