/// A piece of a ``MessageHead``'s arena: offset and length in bytes.
@usableFromInline
package struct Slice: Sendable {
    @usableFromInline package var start: UInt32 = 0
    @usableFromInline package var length: UInt32 = 0

    @inlinable package init() {}
    @inlinable
    package init(start: Int, length: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.length = UInt32(truncatingIfNeeded: length)
    }
    @inlinable package var isEmpty: Bool { length == 0 }
    @inlinable package var count: Int { Int(length) }
}

/// One field line of a head.
@usableFromInline
package struct Field: Sendable {
    @usableFromInline package var id: FieldID
    /// Not to be forwarded.
    @usableFromInline package var isDropped: Bool
    @usableFromInline package var name: Slice
    @usableFromInline package var value: Slice

    @inlinable
    package init(id: FieldID, isDropped: Bool = false, name: Slice, value: Slice) {
        self.id = id
        self.isDropped = isDropped
        self.name = name
        self.value = value
    }
}

@usableFromInline
package enum Method: UInt8, Sendable {
    case get, head, post, put, delete, options, patch, trace, connect, other

    // The one that is derived from the raw values is a call through a table from the other modules.
    @inlinable
    package static func == (one: Method, other: Method) -> Bool {
        unsafe unsafeBitCast(one, to: UInt8.self) == unsafeBitCast(other, to: UInt8.self)
    }

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

    @inline(__always)
    private static func exactly(_ name: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        var difference: UInt8 = 0
        for index in 0..<text.utf8CodeUnitCount { unsafe difference |= name[index] ^ text.utf8Start[index] }
        return difference == 0
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
@usableFromInline
package enum BodyFraming: Sendable, Equatable {
    case none
    case length(UInt64)
    case chunked
    /// Up to the end of the connection; responses only.
    case untilClose

    @inlinable
    package static func == (one: BodyFraming, other: BodyFraming) -> Bool {
        switch (one, other) {
        case (.none, .none), (.chunked, .chunked), (.untilClose, .untilClose): true
        case (.length(let length), .length(let otherLength)): length == otherLength
        case (.none, _), (.length, _), (.chunked, _), (.untilClose, _): false
        }
    }
}

/// What the head says about its connection and content, beside the framing.
@usableFromInline
package struct MessageFlags: OptionSet, Sendable {
    @usableFromInline package let rawValue: UInt16
    @inlinable package init(rawValue: UInt16) { self.rawValue = rawValue }

    @inlinable
    package func contains(_ member: MessageFlags) -> Bool {
        rawValue & member.rawValue == member.rawValue
    }

    /// The connection may carry another message after this one.
    @inlinable package static var keepAlive: MessageFlags { MessageFlags(rawValue: 1) }
    /// `Expect: 100-continue` (RFC 9110 10.1.1).
    @inlinable package static var expectsContinue: MessageFlags { MessageFlags(rawValue: 2) }
    /// The `Connection` field asks for an upgrade and an `Upgrade` field is there.
    @inlinable package static var upgrade: MessageFlags { MessageFlags(rawValue: 4) }
    /// …and it is the WebSocket protocol.
    @inlinable package static var webSocket: MessageFlags { MessageFlags(rawValue: 8) }
    /// Both of these; a literal of two would be an array on the heap where the optimizer is off.
    static var anyUpgrade: MessageFlags { MessageFlags(rawValue: 12) }
    /// `TE: trailers`: the sender keeps trailer fields.
    @inlinable package static var acceptsTrailers: MessageFlags { MessageFlags(rawValue: 16) }
    /// The request target was in absolute-form.
    @inlinable package static var absoluteForm: MessageFlags { MessageFlags(rawValue: 32) }
    /// An Expect field with another expectation.
    @inlinable package static var unknownExpectation: MessageFlags { MessageFlags(rawValue: 64) }
    /// A challenge of a WWW-Authenticate field names Bearer or DPoP.
    @inlinable package static var tokenChallenge: MessageFlags { MessageFlags(rawValue: 128) }
    /// There is a WWW-Authenticate field.
    @inlinable package static var challenge: MessageFlags { MessageFlags(rawValue: 256) }
    @inlinable package static var hasDate: MessageFlags { MessageFlags(rawValue: 512) }
    /// The request target is `*`.
    @inlinable package static var asteriskForm: MessageFlags { MessageFlags(rawValue: 1024) }
    /// It came by HTTP/2.
    @inlinable package static var http2: MessageFlags { MessageFlags(rawValue: 2048) }
}

/// The head of a request or a response, or a trailer section, in a form that no protocol version shows through:
/// a copy of its bytes in an arena of its own, and fields as offsets into it.
///
/// Made once and used again for message after message without allocating. Thread-confined.
@usableFromInline
package struct MessageHead: ~Copyable {
    @usableFromInline package var arena: ByteBuffer
    /// To be changed in place only: the memory is this head's.
    @usableFromInline package var fields = FieldList()
    @usableFromInline package var method: Method = .other
    @usableFromInline package var methodText = Slice()
    /// The target as received (request), from the path on where it was in absolute-form.
    @usableFromInline package var target = Slice()
    /// The part of ``target`` before any `?`.
    @usableFromInline package var path = Slice()
    /// Host and port, from the Host field or the absolute-form target.
    @usableFromInline package var authority = Slice()
    /// The minor version of HTTP/1.
    @usableFromInline package var minorVersion: UInt8 = 1
    /// The status code (response).
    @usableFromInline package var status: UInt16 = 0
    @usableFromInline package var reason = Slice()
    @usableFromInline package var framing: BodyFraming = .none
    @usableFromInline package var flags: MessageFlags = []
    /// Where the field lines of an HTTP/1 head end in the arena, so that runs of them can be copied whole; 0 when
    /// the head did not come as HTTP/1.
    @usableFromInline package var fieldLinesEnd: UInt32 = 0

    package init() {
        arena = ByteBuffer()
    }

    deinit {
        var fields = fields
        fields.giveBack()
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
        if fields.capacity > 256 { fields.giveBack() }
    }

    /// The bytes of `slice`; valid until the head is changed.
    @inlinable
    package func bytes(_ slice: Slice) -> UnsafeRawBufferPointer {
        let start = Int(slice.start)
        let all = unsafe arena.readable
        // Both are 32-bit numbers: the sum does not overflow.
        guard slice.length > 0, start &+ slice.count <= all.count, let base = all.baseAddress else {
            return unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        }
        return unsafe UnsafeRawBufferPointer(start: base + start, count: slice.count)
    }

    /// The text of `slice`, for logs and tests; invalid UTF-8 is repaired.
    package func text(_ slice: Slice) -> String {
        unsafe String(decoding: bytes(slice), as: UTF8.self)
    }

    /// The first field with `id` that is not dropped.
    @inlinable
    package func value(_ id: FieldID) -> Slice? {
        for index in fields.indices where fields[index].id == id && !fields[index].isDropped {
            return fields[index].value
        }
        return nil
    }

    /// The fields that are not dropped, as text; for tests and the console.
    package var textFields: [(name: String, value: String)] {
        fields.filter { !$0.isDropped }.map { (text($0.name), text($0.value)) }
    }

    /// Appends `bytes` to the arena and returns where they are.
    @inlinable
    package mutating func store(_ bytes: UnsafeRawBufferPointer) -> Slice {
        let slice = Slice(start: arena.count, length: bytes.count)
        unsafe arena.append(bytes)
        return slice
    }

    /// Marks every field with `id` as dropped.
    @inlinable
    package mutating func drop(_ id: FieldID) {
        let buffer = unsafe fields.buffer
        for index in 0..<buffer.count where unsafe buffer[index].id == id { fields[index].isDropped = true }
    }

    /// Marks every field with `name`, in any case, as dropped.
    package mutating func drop(named name: UnsafeRawBufferPointer) {
        for index in fields.indices where unsafe Octet.equal(bytes(fields[index].name), ignoringCase: name) {
            fields[index].isDropped = true
        }
    }
}
