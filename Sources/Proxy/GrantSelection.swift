package import HTTP

/// Which grant a request's credential comes from.
package enum GrantSelection: Sendable, Equatable {
    /// Nothing is injected.
    case none
    /// The index of a grant of the snapshot.
    case fixed(Int)
    /// A grant made from a template of the snapshot, by index, that the request names.
    case template(Int, GrantKeySource)
}

/// Where a request names its grant.
package enum GrantKeySource: Sendable, Equatable {
    /// A header field, its name in lower case. A request that has it twice names no grant.
    case header([UInt8])
    /// A segment of the path as the caller sent it, counted from 1.
    case pathSegment(Int)
    /// What the caller has proved to be: the subject's common name in its certificate, or its user on a Unix socket.
    case caller
    /// The same for all requests of the route.
    case name([UInt8])
}

/// The name of a grant below its template, as a request gives it: 1 to 128 of `A-Z a-z 0-9 . _ @ -`.
///
/// What could be read in two ways names nothing: a request must never get another tenant's token because a proxy before
/// us, or the upstream, reads it in another way than we do.
package enum GrantKey {
    package static let maximumLength = 128

    /// Appends the name that the request gives.
    ///
    /// - Parameters:
    ///   - head: as it came, before anything is dropped.
    ///   - callerName: what the caller has proved to be; looked at for ``GrantKeySource/caller`` only.
    ///   - out: is left as it was when there is no name.
    /// - Returns: why there is none; nil when it was appended.
    package static func append(
        _ source: GrantKeySource, of head: borrowing MessageHead, callerName: [UInt8]?, to out: inout ByteBuffer
    ) -> StaticString? {
        switch source {
        case .header(let name):
            return appendHeader(name, of: head, to: &out)
        case .pathSegment(let number):
            return appendSegment(number, of: head.bytes(head.path), to: &out)
        case .caller:
            guard let callerName else { return "the caller has no name" }
            return callerName.withUnsafeBytes { appendName($0, to: &out) }
        case .name(let name):
            return name.withUnsafeBytes { appendName($0, to: &out) }
        }
    }

    /// Whether `bytes` may name a grant.
    package static func isName(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count > 0, bytes.count <= maximumLength else { return false }
        for byte in bytes where !isNameOctet(byte) { return false }
        return true
    }

    private static func appendName(_ bytes: UnsafeRawBufferPointer, to out: inout ByteBuffer) -> StaticString? {
        guard bytes.count > 0 else { return "the name of the grant is empty" }
        guard isName(bytes) else { return "this cannot be the name of a grant" }
        out.append(bytes)
        return nil
    }

    private static func isNameOctet(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x40, 0x5F: true
        default: false
        }
    }

    // MARK: Header

    private static func appendHeader(
        _ name: [UInt8], of head: borrowing MessageHead, to out: inout ByteBuffer
    ) -> StaticString? {
        var value = Slice()
        var isFound = false
        // A field that Connection names is meant for the next hop, which is us: dropped or not, it counts.
        for index in head.fields.indices {
            let field = head.fields[index]
            guard field.name.count == name.count,
                name.withUnsafeBytes({ Octet.equal(head.bytes(field.name), ignoringCase: $0) })
            else { continue }
            if isFound { return "the header field that names the grant is there more than once" }
            isFound = true
            value = field.value
        }
        guard isFound else { return "the header field that names the grant is missing" }
        return appendName(head.bytes(value), to: &out)
    }

    // MARK: Path

    private enum SegmentStart {
        case at(Int)
        case none(StaticString)
    }

    private static func appendSegment(
        _ number: Int, of path: UnsafeRawBufferPointer, to out: inout ByteBuffer
    ) -> StaticString? {
        switch start(ofSegment: number, in: path) {
        case .at(let start): appendDecoded(path, from: start, to: &out)
        case .none(let reason): reason
        }
    }

    private static func start(ofSegment number: Int, in path: UnsafeRawBufferPointer) -> SegmentStart {
        guard path.count > 0, path[0] == 0x2F else { return .none("the path has no segment that names the grant") }
        var start = 1
        for _ in 1..<max(number, 1) {
            guard let end = endOfPlainSegment(path, from: start) else {
                return .none("the path's segments can be counted in more than one way")
            }
            guard end < path.count else { return .none("the path has no segment that names the grant") }
            start = end + 1
        }
        return .at(start)
    }

    /// Where the segment that named the grant is in the path, as the caller sent it and without slashes; nil where the path
    /// has none, which names no grant either.
    static func range(ofSegment number: Int, in path: UnsafeRawBufferPointer) -> Range<Int>? {
        guard case .at(let start) = start(ofSegment: number, in: path) else { return nil }
        var end = start
        while end < path.count, path[end] != 0x2F { end += 1 }
        return end > start ? start..<end : nil
    }

    /// The segment that ``RouteRule/removesGrantSegment`` took from a request's path, as the caller sent it; empty: none.
    package static func removedSegment(_ rule: borrowing RouteRule, of head: borrowing MessageHead) -> [UInt8] {
        guard rule.removedGrantSegment > 0 else { return [] }
        let path = head.bytes(head.path)
        return range(ofSegment: rule.removedGrantSegment, in: path).map { Array(path[$0]) } ?? []
    }

    /// Where the segment ends that begins at `start`; nil when a server could take it for none, or for several.
    private static func endOfPlainSegment(_ path: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var index = start
        while index < path.count, path[index] != 0x2F {
            if path[index] == 0x5C { return nil }
            if path[index] == 0x25 {
                guard let octet = decoded(path, at: index), octet != 0x2F, octet != 0x5C, octet != 0x25 else {
                    return nil
                }
            }
            index += 1
        }
        return index > start ? index : nil
    }

    private static func appendDecoded(
        _ path: UnsafeRawBufferPointer, from start: Int, to out: inout ByteBuffer
    ) -> StaticString? {
        let before = out.count
        var index = start
        while index < path.count, path[index] != 0x2F {
            var octet = path[index]
            if octet == 0x25 {
                octet = decoded(path, at: index) ?? 0
                index += 2
            }
            index += 1
            guard isNameOctet(octet), out.count - before < maximumLength else {
                out.truncate(to: before)
                return "this cannot be the name of a grant"
            }
            out.append(octet)
        }
        return out.count > before ? nil : "the name of the grant is empty"
    }

    /// The octet that the triplet at `index` stands for; nil where none stands there.
    private static func decoded(_ path: UnsafeRawBufferPointer, at index: Int) -> UInt8? {
        guard index + 2 < path.count, let high = Octet.hexadecimalValue(path[index + 1]),
            let low = Octet.hexadecimalValue(path[index + 2])
        else { return nil }
        return high << 4 | low
    }
}
