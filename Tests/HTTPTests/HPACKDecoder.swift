/// A small decoder (RFC 7541) that forgives nothing: what the encoder writes is judged by it.
struct HPACKDecoder {
    enum Failure: Error, Equatable {
        case truncated, integerTooLarge, indexZero, indexTooLarge, lateSizeUpdate, sizeUpdateTooLarge
        case missingSizeUpdate, huffman, upperCaseName
    }

    enum Representation: Equatable {
        case indexed, incremental, plain, neverIndexed
    }

    struct Line: Equatable {
        var name: String
        var value: String
        var representation: Representation
    }

    /// Newest first.
    private(set) var table: [(name: [UInt8], value: [UInt8])] = []
    private(set) var limit = 4096
    /// What this side has allowed by SETTINGS.
    private(set) var allowed = 4096
    /// The least that was allowed since the last block.
    private var least = 4096
    private(set) var updates: [Int] = []

    var size: Int { table.reduce(0) { $0 + $1.name.count + $1.value.count + 32 } }

    mutating func allow(_ octets: Int) {
        allowed = octets
        least = min(least, octets)
    }

    mutating func decode(_ block: [UInt8]) throws(Failure) -> [Line] {
        var lines: [Line] = []
        var rest = block[...]
        updates = []
        let start = limit
        while let first = rest.first {
            if first & 0xE0 == 0x20 {
                guard lines.isEmpty else { throw .lateSizeUpdate }
                let octets = try Self.integer(&rest, prefix: 5)
                guard octets <= allowed else { throw .sizeUpdateTooLarge }
                updates.append(octets)
                limit = octets
                evict()
                continue
            }
            if lines.isEmpty { try judgeUpdates(since: start) }
            lines.append(try line(first, &rest))
        }
        least = allowed
        return lines
    }

    /// RFC 7541 4.2: a limit below the one in use must be answered, the least one first.
    private func judgeUpdates(since start: Int) throws(Failure) {
        guard limit <= allowed else { throw .missingSizeUpdate }
        guard start <= least || (updates.first ?? .max) <= least else { throw .missingSizeUpdate }
    }

    private mutating func line(_ first: UInt8, _ rest: inout ArraySlice<UInt8>) throws(Failure) -> Line {
        if first & 0x80 != 0 {
            let found = try entry(try Self.integer(&rest, prefix: 7))
            return Self.line(found.name, found.value, .indexed)
        }
        let isIncremental = first & 0x40 != 0
        let index = try Self.integer(&rest, prefix: isIncremental ? 6 : 4)
        let name = index > 0 ? try entry(index).name : try Self.string(&rest)
        guard !name.contains(where: { (0x41...0x5A).contains($0) }) else { throw .upperCaseName }
        let value = try Self.string(&rest)
        if isIncremental {
            table.insert((name, value), at: 0)
            evict()
            return Self.line(name, value, .incremental)
        }
        return Self.line(name, value, first & 0x10 != 0 ? .neverIndexed : .plain)
    }

    private static func line(_ name: [UInt8], _ value: [UInt8], _ representation: Representation) -> Line {
        func text(_ octets: [UInt8]) -> String { String(String.UnicodeScalarView(octets.map { UnicodeScalar($0) })) }
        return Line(name: text(name), value: text(value), representation: representation)
    }

    private mutating func evict() {
        while size > limit { table.removeLast() }
    }

    private func entry(_ index: Int) throws(Failure) -> (name: [UInt8], value: [UInt8]) {
        guard index > 0 else { throw .indexZero }
        if index <= Self.staticTable.count {
            let (name, value) = Self.staticTable[index - 1]
            return (Array(name.utf8), Array(value.utf8))
        }
        guard index - Self.staticTable.count <= table.count else { throw .indexTooLarge }
        return table[index - Self.staticTable.count - 1]
    }

    /// RFC 7541 5.1.
    static func integer(_ rest: inout ArraySlice<UInt8>, prefix: Int) throws(Failure) -> Int {
        guard let first = rest.popFirst() else { throw .truncated }
        let most = (1 << prefix) - 1
        var value = Int(first) & most
        guard value == most else { return value }
        var shift = 0
        while true {
            guard let octet = rest.popFirst() else { throw .truncated }
            guard shift <= 28 else { throw .integerTooLarge }
            value += Int(octet & 0x7F) << shift
            shift += 7
            if octet & 0x80 == 0 { return value }
        }
    }

    /// RFC 7541 5.2.
    private static func string(_ rest: inout ArraySlice<UInt8>) throws(Failure) -> [UInt8] {
        guard let first = rest.first else { throw .truncated }
        guard first & 0x80 == 0 else { throw .huffman }
        let length = try integer(&rest, prefix: 7)
        guard rest.count >= length else { throw .truncated }
        defer { rest = rest.dropFirst(length) }
        return Array(rest.prefix(length))
    }

    /// RFC 7541 appendix A.
    static let staticTable: [(String, String)] =
        [
            (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
            (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
            (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
            ("accept-encoding", "gzip, deflate"),
        ]
        + [
            "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
            "authorization", "cache-control", "content-disposition", "content-encoding", "content-language",
            "content-length", "content-location", "content-range", "content-type", "cookie", "date", "etag",
            "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
            "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
            "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
            "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
        ].map { ($0, "") }
}
