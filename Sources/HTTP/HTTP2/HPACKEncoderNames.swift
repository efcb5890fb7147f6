/// What is known of a field's name before its value is looked at.
struct HPACKName: Sendable, Equatable {
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

    /// Of the first entry of the static table with this name (RFC 7541 appendix A); 0: none has it.
    var index: UInt8
    var policy: Policy

    init(_ index: UInt8, _ policy: Policy = .remembered) {
        self.index = index
        self.policy = policy
    }

    static var authority: HPACKName { HPACKName(1) }
    static var method: HPACKName { HPACKName(2) }
    static var path: HPACKName { HPACKName(4, .plain) }
    static var status: HPACKName { HPACKName(8) }
    static var protocolName: HPACKName { HPACKName(0) }
    static var acceptEncoding: HPACKName { HPACKName(16) }

    var sensitive: HPACKName { HPACKName(index, .sensitive) }

    /// - Parameter id: not `.other`.
    @inline(__always)
    static func known(_ id: FieldID) -> HPACKName {
        switch id {
        case .authorization: HPACKName(23, .sensitive)
        case .contentLength: HPACKName(28, .plain)
        case .contentType: HPACKName(31)
        case .cookie: HPACKName(32, .cookie)
        case .date: HPACKName(33)
        case .expect: HPACKName(35)
        case .host: HPACKName(38)
        case .location: HPACKName(46, .plain)
        case .maxForwards: HPACKName(47)
        case .proxyAuthenticate: HPACKName(48)
        case .proxyAuthorization: HPACKName(49, .sensitive)
        case .retryAfter: HPACKName(53, .plain)
        case .server: HPACKName(54)
        case .setCookie: HPACKName(55, .plain)
        case .transferEncoding: HPACKName(57)
        case .via: HPACKName(60)
        case .wwwAuthenticate: HPACKName(61)
        case .secWebSocketKey, .xRequestID: HPACKName(0, .plain)
        case .other, .connection, .forwarded, .keepAlive, .proxyAuthenticationInfo, .proxyConnection, .te, .trailer,
            .upgrade, .xForwardedFor, .xForwardedHost, .xForwardedPort, .xForwardedProto, .tokenGatewayError:
            HPACKName(0)
        }
    }

    /// - Parameter name: of a field, in any case.
    static func find(_ id: FieldID, _ name: UnsafeRawBufferPointer) -> HPACKName {
        unsafe id == .other ? find(name) : known(id)
    }

    /// - Parameter name: of a field, in any case.
    static func find(_ name: UnsafeRawBufferPointer) -> HPACKName {
        unsafe HPACKEncoderNames.shared.find(name)
    }
}

/// The names of the fields of the static table (RFC 7541 appendix A) and a few more, found by hash.
struct HPACKEncoderNames: Sendable {
    static let shared = HPACKEncoderNames()

    /// Index, name and policy; only the first index of each name.
    private static let table: [(UInt8, StaticString, HPACKName.Policy)] = [
        (15, "accept-charset", .remembered), (16, "accept-encoding", .remembered),
        (17, "accept-language", .remembered), (18, "accept-ranges", .remembered), (19, "accept", .remembered),
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

    /// Open addressing by the hash's highest octet: the place in `entries`, -1 where free.
    private let slots: [Int16]
    private let entries: [(hash: UInt64, text: StaticString, name: HPACKName)]

    private init() {
        var slots = [Int16](repeating: -1, count: Self.slotCount)
        entries = Self.table.map { index, text, policy in
            (unsafe HPACKOctets.hashLowered(HPACKOctets.bytes(text)), text, HPACKName(index, policy))
        }
        for (place, entry) in entries.enumerated() {
            var slot = Self.slot(entry.hash)
            while slots[slot] >= 0 { slot = (slot + 1) & (Self.slotCount - 1) }
            slots[slot] = Int16(place)
        }
        self.slots = slots
    }

    private static func slot(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash >> 56) }

    func find(_ name: UnsafeRawBufferPointer) -> HPACKName {
        let hash = unsafe HPACKOctets.hashLowered(name)
        var slot = Self.slot(hash)
        // There are more slots than names, so the search ends.
        while slots[slot] >= 0 {
            let place = Int(slots[slot])
            if entries[place].hash == hash, unsafe Octet.equal(name, ignoringCase: entries[place].text) {
                return entries[place].name
            }
            slot = (slot + 1) & (Self.slotCount - 1)
        }
        return HPACKName(0)
    }
}
