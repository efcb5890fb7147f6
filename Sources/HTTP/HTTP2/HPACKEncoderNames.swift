/// What is known of a field's name before its value is looked at.
struct HPACKName: Sendable {
    enum Policy: UInt8, Sendable {
        /// Put into the table when the same value comes a second time.
        case remembered
        /// Its value differs from message to message: a literal without indexing (RFC 7541 6.2.2).
        case plain
        /// A secret of the caller's: a literal that nobody may index (RFC 7541 6.2.3).
        case sensitive
        /// As ``sensitive`` where it is short enough to be guessed octet by octet, else as ``plain``.
        case cookie
    }

    /// Of the name in lower case.
    var hash: UInt64
    /// Of the first entry of the static table with this name; 0: none has it.
    var index: UInt8
    var policy: Policy
}

/// The names of the static table (RFC 7541 appendix A) and a few more, found by hash.
struct HPACKEncoderNames: Sendable {
    static let shared = HPACKEncoderNames()
    static let acceptEncoding: UInt8 = 16

    /// Index and name; only the first index of each name.
    private static let table: [(UInt8, StaticString, HPACKName.Policy)] = [
        (1, ":authority", .remembered), (2, ":method", .remembered), (4, ":path", .plain),
        (6, ":scheme", .remembered), (8, ":status", .remembered), (15, "accept-charset", .remembered),
        (16, "accept-encoding", .remembered), (17, "accept-language", .remembered),
        (18, "accept-ranges", .remembered), (19, "accept", .remembered),
        (20, "access-control-allow-origin", .remembered), (21, "age", .plain), (22, "allow", .remembered),
        (23, "authorization", .sensitive), (24, "cache-control", .remembered),
        (25, "content-disposition", .remembered), (26, "content-encoding", .remembered),
        (27, "content-language", .remembered), (28, "content-length", .plain), (29, "content-location", .plain),
        (30, "content-range", .plain), (31, "content-type", .remembered), (32, "cookie", .cookie),
        (33, "date", .remembered), (34, "etag", .plain), (35, "expect", .remembered), (36, "expires", .remembered),
        (37, "from", .remembered), (38, "host", .remembered), (39, "if-match", .plain),
        (40, "if-modified-since", .plain), (41, "if-none-match", .plain), (42, "if-range", .plain),
        (43, "if-unmodified-since", .plain), (44, "last-modified", .plain), (45, "link", .remembered),
        (46, "location", .plain), (47, "max-forwards", .remembered), (48, "proxy-authenticate", .remembered),
        (49, "proxy-authorization", .sensitive), (50, "range", .plain), (51, "referer", .remembered),
        (52, "refresh", .remembered), (53, "retry-after", .plain), (54, "server", .remembered),
        (55, "set-cookie", .plain), (56, "strict-transport-security", .remembered),
        (57, "transfer-encoding", .remembered), (58, "user-agent", .remembered), (59, "vary", .remembered),
        (60, "via", .remembered), (61, "www-authenticate", .remembered),
        // Not in the static table, but different each time.
        (0, "x-request-id", .plain), (0, "x-correlation-id", .plain), (0, "traceparent", .plain),
        (0, "tracestate", .plain), (0, "idempotency-key", .plain), (0, "sec-websocket-key", .plain),
        (0, "sec-websocket-accept", .plain), (0, "content-digest", .plain), (0, "repr-digest", .plain),
    ]
    private static let slotCount = 256

    let authority: HPACKName
    let method: HPACKName
    let path: HPACKName
    let status: HPACKName
    let protocolName: HPACKName
    /// By ``FieldID``.
    private let byID: [HPACKName]
    /// Open addressing by the hash's highest octet: the place in ``table``, -1 where free.
    private let slots: [Int16]
    private let entries: [HPACKName]
    private let texts: [StaticString]

    private init() {
        var slots = [Int16](repeating: -1, count: Self.slotCount)
        var entries: [HPACKName] = []
        for (place, row) in Self.table.enumerated() {
            let hash = unsafe HPACKOctets.hashLowered(HPACKOctets.bytes(row.1))
            entries.append(HPACKName(hash: hash, index: row.0, policy: row.2))
            var slot = Self.slot(hash)
            while slots[slot] >= 0 { slot = (slot + 1) & (Self.slotCount - 1) }
            slots[slot] = Int16(place)
        }
        let texts = Self.table.map { $0.1 }
        func find(_ text: StaticString) -> HPACKName {
            unsafe Self.find(HPACKOctets.bytes(text), slots: slots, entries: entries, texts: texts)
        }
        self.slots = slots
        self.entries = entries
        self.texts = texts
        authority = find(":authority")
        method = find(":method")
        path = find(":path")
        status = find(":status")
        protocolName = find(":protocol")
        byID = FieldID.allCases.map { find($0.name) }
    }

    private static func slot(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash >> 56) }

    /// - Parameter id: not `.other`.
    @inline(__always)
    func known(_ id: FieldID) -> HPACKName { byID[Int(id.rawValue)] }

    /// - Parameter name: in any case.
    func find(_ name: UnsafeRawBufferPointer) -> HPACKName {
        unsafe Self.find(name, slots: slots, entries: entries, texts: texts)
    }

    private static func find(
        _ name: UnsafeRawBufferPointer, slots: [Int16], entries: [HPACKName], texts: [StaticString]
    ) -> HPACKName {
        let hash = unsafe HPACKOctets.hashLowered(name)
        var slot = slot(hash)
        while slots[slot] >= 0 {
            let place = Int(slots[slot])
            if entries[place].hash == hash, unsafe Octet.equal(name, ignoringCase: texts[place]) {
                return entries[place]
            }
            slot = (slot + 1) & (slotCount - 1)
        }
        return HPACKName(hash: hash, index: 0, policy: .remembered)
    }
}
