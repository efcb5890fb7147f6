/// A piece of a ``MessageHead``'s arena: offset and length in bytes.
package struct Slice: Sendable {
    package var start: UInt32 = 0
    package var length: UInt32 = 0

    package init() {}
    package init(start: Int, length: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.length = UInt32(truncatingIfNeeded: length)
    }
    package var isEmpty: Bool { length == 0 }
    package var count: Int { Int(length) }
}

/// One field line of a head.
package struct Field: Sendable {
    package var id: FieldID
    /// Not to be forwarded.
    package var isDropped: Bool
    package var name: Slice
    package var value: Slice

    package init(id: FieldID, isDropped: Bool = false, name: Slice, value: Slice) {
        self.id = id
        self.isDropped = isDropped
        self.name = name
        self.value = value
    }
}

package enum Method: UInt8, Sendable {
    case get, head, post, put, delete, options, patch, trace, connect, other

    package static func find(_ name: UnsafeRawBufferPointer) -> Method {
        switch name.count {
        case 3: unsafe exactly(name, "GET") ? .get : exactly(name, "PUT") ? .put : .other
        case 4: unsafe exactly(name, "POST") ? .post : exactly(name, "HEAD") ? .head : .other
        case 5: unsafe exactly(name, "PATCH") ? .patch : exactly(name, "TRACE") ? .trace : .other
        case 6: unsafe exactly(name, "DELETE") ? .delete : .other
        case 7: unsafe exactly(name, "OPTIONS") ? .options : exactly(name, "CONNECT") ? .connect : .other
        default: .other
        }
    }

    private static func exactly(_ name: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        unsafe Octet.equal(name, UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110 9.2.2); unknown methods count as not.
    package var isIdempotent: Bool {
        switch self {
        case .get, .head, .put, .delete, .options, .trace: true
        case .post, .patch, .connect, .other: false
        }
    }
}

/// How the end of a message's content is found (RFC 9112 6.3).
package enum BodyFraming: Sendable, Equatable {
    case none
    case length(UInt64)
    case chunked
    /// Up to the end of the connection; responses only.
    case untilClose
}

/// What the head says about its connection and content, beside the framing.
package struct MessageFlags: OptionSet, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The connection may carry another message after this one.
    package static let keepAlive = MessageFlags(rawValue: 1)
    /// `Expect: 100-continue` (RFC 9110 10.1.1).
    package static let expectsContinue = MessageFlags(rawValue: 2)
    /// The `Connection` field asks for an upgrade and an `Upgrade` field is there.
    package static let upgrade = MessageFlags(rawValue: 4)
    /// …and it is the WebSocket protocol.
    package static let webSocket = MessageFlags(rawValue: 8)
    /// Both of these; a literal of two would be an array on the heap where the optimizer is off.
    static let anyUpgrade = MessageFlags(rawValue: 12)
    /// `TE: trailers`: the sender keeps trailer fields.
    package static let acceptsTrailers = MessageFlags(rawValue: 16)
    /// The request target was in absolute-form.
    package static let absoluteForm = MessageFlags(rawValue: 32)
    /// An Expect field with another expectation.
    package static let unknownExpectation = MessageFlags(rawValue: 64)
    /// A challenge of a WWW-Authenticate field names Bearer or DPoP.
    package static let tokenChallenge = MessageFlags(rawValue: 128)
    /// There is a WWW-Authenticate field.
    package static let challenge = MessageFlags(rawValue: 256)
    package static let hasDate = MessageFlags(rawValue: 512)
    /// The request target is `*`.
    package static let asteriskForm = MessageFlags(rawValue: 1024)
    /// It came by HTTP/2.
    package static let http2 = MessageFlags(rawValue: 2048)
}

/// The head of a request or a response, or a trailer section, in a form that no protocol version shows through:
/// a copy of its bytes in an arena of its own, and fields as offsets into it.
///
/// Made once and used again for message after message without allocating. Thread-confined.
package struct MessageHead: ~Copyable {
    package var arena: ByteBuffer
    package var fields: [Field] = []
    package var method: Method = .other
    package var methodText = Slice()
    /// The target as received (request), from the path on where it was in absolute-form.
    package var target = Slice()
    /// The part of ``target`` before any `?`.
    package var path = Slice()
    /// Host and port, from the Host field or the absolute-form target.
    package var authority = Slice()
    /// The minor version of HTTP/1.
    package var minorVersion: UInt8 = 1
    /// The status code (response).
    package var status: UInt16 = 0
    package var reason = Slice()
    package var framing: BodyFraming = .none
    package var flags: MessageFlags = []
    /// Where the field lines of an HTTP/1 head end in the arena, so that runs of them can be copied whole; 0 when
    /// the head did not come as HTTP/1.
    package var fieldLinesEnd: UInt32 = 0

    package init() {
        arena = ByteBuffer()
    }

    /// Empties it and keeps the memory.
    package mutating func reset() {
        arena.removeAll()
        fields.removeAll(keepingCapacity: true)
        method = .other
        methodText = Slice()
        target = Slice()
        path = Slice()
        authority = Slice()
        minorVersion = 1
        status = 0
        reason = Slice()
        framing = .none
        flags = []
        fieldLinesEnd = 0
    }

    /// Gives memory above `bytes` back, so that one large head does not stay for ever.
    package mutating func shrink(above bytes: Int) {
        if arena.capacity > bytes { arena = ByteBuffer() }
        if fields.capacity > 256 { fields = [] }
    }

    /// The bytes of `slice`; valid until the head is changed.
    package func bytes(_ slice: Slice) -> UnsafeRawBufferPointer {
        let start = Int(slice.start)
        let all = unsafe arena.readable
        guard slice.length > 0, start + slice.count <= all.count else {
            return unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        }
        return unsafe UnsafeRawBufferPointer(rebasing: all[start..<(start + slice.count)])
    }

    /// The text of `slice`, for logs and tests; invalid UTF-8 is repaired.
    package func text(_ slice: Slice) -> String {
        unsafe String(decoding: bytes(slice), as: UTF8.self)
    }

    /// The first field with `id` that is not dropped.
    package func value(_ id: FieldID) -> Slice? {
        for field in fields where field.id == id && !field.isDropped { return field.value }
        return nil
    }

    /// The fields that are not dropped, as text; for tests and the console.
    package var textFields: [(name: String, value: String)] {
        fields.filter { !$0.isDropped }.map { (text($0.name), text($0.value)) }
    }

    /// Appends `bytes` to the arena and returns where they are.
    package mutating func store(_ bytes: UnsafeRawBufferPointer) -> Slice {
        let slice = Slice(start: arena.count, length: bytes.count)
        unsafe arena.append(bytes)
        return slice
    }

    /// Marks every field with `id` as dropped.
    package mutating func drop(_ id: FieldID) {
        for index in fields.indices where fields[index].id == id { fields[index].isDropped = true }
    }

    /// Marks every field with `name`, in any case, as dropped.
    package mutating func drop(named name: UnsafeRawBufferPointer) {
        for index in fields.indices where unsafe Octet.equal(bytes(fields[index].name), ignoringCase: name) {
            fields[index].isDropped = true
        }
    }
}
