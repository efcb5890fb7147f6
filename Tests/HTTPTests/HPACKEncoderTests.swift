import CAllocationCounter
import HTTP
import Testing

/// An encoder with its reader.
struct HPACKPair: ~Copyable {
    var encoder = HPACKEncoder()
    var decoder = HPACKDecoder()

    mutating func allow(_ octets: Int) {
        encoder.setPeerTableSize(octets)
        decoder.allow(octets)
    }

    /// The lines of a block of `write`'s.
    mutating func block(_ write: (inout HPACKEncoder, inout ByteBuffer) -> Void) throws -> [HPACKDecoder.Line] {
        var out = ByteBuffer()
        encoder.begin(to: &out)
        write(&encoder, &out)
        return try decoder.decode(out.array())
    }

    /// The line of a block of one field.
    mutating func field(_ name: String, _ value: String) throws -> HPACKDecoder.Line {
        try #require(try block { $0.textField(name, value, to: &$1) }.first)
    }
}

extension HPACKEncoder {
    mutating func textField(_ name: String, _ value: String, to out: inout ByteBuffer) {
        octets(name).withUnsafeBytes { name in
            octets(value).withUnsafeBytes { value in
                field(FieldID.find(name), name: name, value: value, to: &out)
            }
        }
    }

    mutating func credential(_ value: String, key: UInt64, to out: inout ByteBuffer) {
        octets("authorization").withUnsafeBytes { name in
            octets(value).withUnsafeBytes { credential(name: name, value: $0, key: key, to: &out) }
        }
    }
}

@Suite struct HPACKEncoderTests {
    typealias Line = HPACKDecoder.Line

    @Test(arguments: [
        (HTTP.Method.get, "GET", Line(name: ":method", value: "GET", representation: .indexed)),
        (.post, "POST", Line(name: ":method", value: "POST", representation: .indexed)),
        (.delete, "DELETE", Line(name: ":method", value: "DELETE", representation: .plain)),
        (.other, "PURGE", Line(name: ":method", value: "PURGE", representation: .plain)),
    ])
    func `methods are written`(method: HTTP.Method, text: String, expected: Line) throws {
        var pair = HPACKPair()
        let lines = try pair.block { encoder, out in
            octets(text).withUnsafeBytes { encoder.method(method, text: $0, to: &out) }
        }
        #expect(lines == [expected])
    }

    @Test func `every status is written, and those of the static table as one octet`() throws {
        var pair = HPACKPair()
        for status in UInt16(100)...999 {
            let line = try pair.block { $0.status(status, to: &$1) }.first
            let isStatic = [200, 204, 206, 304, 400, 404, 500].contains(status)
            #expect(line == Line(name: ":status", value: "\(status)", representation: isStatic ? .indexed : .plain))
        }
    }

    @Test func `the other pseudo-fields are written`() throws {
        var pair = HPACKPair()
        let lines = try pair.block { encoder, out in
            encoder.scheme(isTLS: true, to: &out)
            encoder.scheme(isTLS: false, to: &out)
            octets("/").withUnsafeBytes { encoder.path($0, to: &out) }
            octets("/a?b").withUnsafeBytes { encoder.path($0, to: &out) }
            encoder.scratch.append("/c")
            encoder.pathOfScratch(to: &out)
            octets("a.test").withUnsafeBytes { encoder.authority($0, to: &out) }
            encoder.protocolName("websocket", to: &out)
        }
        #expect(
            lines == [
                Line(name: ":scheme", value: "https", representation: .indexed),
                Line(name: ":scheme", value: "http", representation: .indexed),
                Line(name: ":path", value: "/", representation: .indexed),
                Line(name: ":path", value: "/a?b", representation: .plain),
                Line(name: ":path", value: "/c", representation: .plain),
                Line(name: ":authority", value: "a.test", representation: .plain),
                Line(name: ":protocol", value: "websocket", representation: .plain),
            ])
        let isEmpty = pair.encoder.scratch.isEmpty
        #expect(isEmpty)
    }

    @Test(arguments: [
        ":authority", "user-agent", "x-api-version", "Accept", "date", "via", "x", "abcdefgh", "abcdefghi",
    ])
    func `a field is put into the table at second sight and is one octet from then on`(name: String) throws {
        var pair = HPACKPair()
        #expect(try pair.field(name, "value/1").representation == .plain)
        #expect(try pair.field(name, "value/1").representation == .incremental)
        #expect(try pair.field(name, "value/1").representation == .indexed)
        #expect(try pair.field(name, "value/2").representation == .plain)
        let again = try pair.field(name.uppercased(), "value/1")
        #expect(again == Line(name: name.lowercased(), value: "value/1", representation: .indexed))
    }

    @Test(arguments: [
        ("content-length", "5"), ("ETag", "\"x\""), ("location", "/a"), ("Set-Cookie", "a=b"), ("x-request-id", "1"),
        ("traceparent", "00-a"), ("if-none-match", "\"x\""), ("Cookie", "a=01234567890123456789"),
    ])
    func `what differs each time is not put into the table`(name: String, value: String) throws {
        var pair = HPACKPair()
        for _ in 0..<4 {
            #expect(try pair.field(name, value) == Line(name: name.lowercased(), value: value, representation: .plain))
        }
        #expect(pair.decoder.table.isEmpty)
    }

    @Test(arguments: [
        ("authorization", "Basic 0123456789012345678901234567890"), ("Proxy-Authorization", "x"), ("Cookie", "a=b"),
        ("cookie", "a=01234567890123456"),
    ])
    func `callers' secrets may be indexed by nobody`(name: String, value: String) throws {
        var pair = HPACKPair()
        for _ in 0..<3 { #expect(try pair.field(name, value).representation == .neverIndexed) }
    }

    @Test func `a field that came as never to be indexed goes on as one`() throws {
        var pair = HPACKPair()
        for _ in 0..<3 {
            let lines = try pair.block { encoder, out in
                octets("x-pin").withUnsafeBytes { name in
                    octets("1234").withUnsafeBytes {
                        encoder.field(.other, name: name, value: $0, isSensitive: true, to: &out)
                    }
                }
            }
            #expect(lines == [Line(name: "x-pin", value: "1234", representation: .neverIndexed)])
        }
    }

    @Test func `the static table's one field with a value is one octet at first sight`() throws {
        var pair = HPACKPair()
        #expect(try pair.field("Accept-Encoding", "gzip, deflate").representation == .indexed)
        #expect(try pair.field("Accept-Encoding", "gzip").representation == .plain)
    }

    @Test(arguments: [0, 9, 10, 127, 128, 4_294_967_296, UInt64.max])
    func `numbers are written in decimal digits`(number: UInt64) throws {
        var pair = HPACKPair()
        for name: StaticString in ["content-length", "x-number"] {
            let lines = try pair.block { $0.field(name, number, to: &$1) }
            #expect(lines == [Line(name: "\(name)", value: "\(number)", representation: .plain)])
        }
    }

    @Test(arguments: [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 62, 63, 126, 127, 128, 254, 255, 256, 1000, 20_000])
    func `names and values of every length come through`(length: Int) throws {
        var pair = HPACKPair()
        let value = String(repeating: "v", count: length)
        let name = String(String(repeating: "Name-Of~`^@[_", count: length / 13 + 1).prefix(max(length, 1)))
        for _ in 0..<3 {
            let line = try pair.field(name, value)
            #expect(line.name == name.lowercased() && line.value == value)
        }
    }

    @Test func `fields that would fill half of the table are not put into it`() throws {
        var pair = HPACKPair()
        for _ in 0..<3 {
            #expect(try pair.field("x-large", String(repeating: "x", count: 2010)).representation == .plain)
        }
        for _ in 0..<2 { _ = try pair.field("x-large", String(repeating: "x", count: 2009)) }
        #expect(pair.decoder.table.count == 1)
    }

    @Test func `the fields of a head go out in order, without what is an HTTP/1 connection's`() throws {
        var head = MessageHead()
        let text =
            "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n"
            + "Keep-Alive: 5\r\nProxy-Connection: x\r\nX_Two: 2\r\nTransfer-Encoding: chunked\r\nEmpty:\r\n\r\n"
        let rejection = octets(text).withUnsafeBytes {
            HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits())
        }
        #expect(rejection == nil)
        // As if a filter had forgotten them.
        for index in head.fields.indices where head.fields[index].id != .other { head.fields[index].isDropped = false }
        var pair = HPACKPair()
        let lines = try pair.block { $0.fields(of: head, to: &$1) }
        #expect(lines.map(\.name) == ["x-one", "x_two", "empty"])
    }

    // MARK: Credentials

    @Test func `a credential is put into the table at first sight and found by its key`() throws {
        var pair = HPACKPair()
        let secret = "Bearer " + String(repeating: "s", count: 1200)
        let expected = Line(name: "authorization", value: secret, representation: .incremental)
        #expect(try pair.block { $0.credential(secret, key: 7, to: &$1) } == [expected])
        var out = ByteBuffer()
        pair.encoder.begin(to: &out)
        pair.encoder.credential("not looked at", key: 7, to: &out)
        #expect(out.array() == [0xBE])
        let line = try pair.decoder.decode(out.array()).first
        #expect(line == Line(name: "authorization", value: secret, representation: .indexed))
    }

    @Test func `credentials are told apart, and a caller's field never meets one`() throws {
        var pair = HPACKPair()
        for key in UInt64(1)...3 { _ = try pair.block { $0.credential("Bearer \(key)", key: key, to: &$1) } }
        for key in UInt64(1)...3 {
            let line = try pair.block { $0.credential("", key: key, to: &$1) }.first
            #expect(line == Line(name: "authorization", value: "Bearer \(key)", representation: .indexed))
        }
        #expect(try pair.field("authorization", "Bearer 1").representation == .neverIndexed)
    }

    @Test func `an evicted credential is sent again, and one that does not fit is never indexed`() throws {
        var pair = HPACKPair()
        _ = try pair.block { $0.credential("Bearer 1", key: 1, to: &$1) }
        for number in 0..<100 { for _ in 0..<2 { _ = try pair.field("x-filler", "\(number)") } }
        let again = try pair.block { $0.credential("Bearer 1", key: 1, to: &$1) }.first
        #expect(again == Line(name: "authorization", value: "Bearer 1", representation: .incremental))
        let large = String(repeating: "x", count: 4096)
        for _ in 0..<2 {
            let line = try pair.block { $0.credential(large, key: 2, to: &$1) }.first
            #expect(line?.representation == .neverIndexed && line?.value == large)
        }
        let exact = String(repeating: "x", count: 4096 - 32 - 13)
        _ = try pair.block { $0.credential(exact, key: 3, to: &$1) }
        #expect(pair.decoder.table.count == 1)
        #expect(try pair.block { $0.credential("", key: 3, to: &$1) }.first?.value == exact)
    }

    // MARK: Table sizes

    @Test(arguments: [
        ([4096], []), ([65_536], []), ([100], [100]), ([0], [0]), ([100, 4096], [100, 4096]), ([50, 100], [50, 100]),
        ([100, 50], [50]), ([65_536, 5000], []), ([0, 65_536], [0, 4096]), ([-1], [0]),
    ])
    func `a changed limit is said at the next block's begin, the least one first`(allowed: [Int], updates: [Int]) throws
    {
        var pair = HPACKPair()
        for _ in 0..<2 { _ = try pair.field("x-a", "b") }
        for octets in allowed { pair.allow(max(octets, 0)) }
        if allowed == [-1] { pair.encoder.setPeerTableSize(-1) }
        let lines = try pair.block { encoder, out in
            encoder.begin(to: &out)
            encoder.textField("x-a", "b", to: &out)
        }
        #expect(pair.decoder.updates == updates)
        #expect(lines.first?.value == "b")
        _ = try pair.field("x-a", "b")
        #expect(pair.decoder.updates == [], "it is said once")
    }

    @Test func `a limit that grows again is said`() throws {
        var pair = HPACKPair()
        pair.allow(200)
        _ = try pair.field("x-a", "b")
        pair.allow(300)
        _ = try pair.field("x-a", "b")
        #expect(pair.decoder.updates == [300])
        pair.allow(100_000)
        _ = try pair.field("x-a", "b")
        #expect(pair.decoder.updates == [4096])
    }

    @Test func `with a table of size 0 nothing is indexed`() throws {
        var pair = HPACKPair()
        for _ in 0..<2 { _ = try pair.field("x-a", "b") }
        pair.allow(0)
        for _ in 0..<3 {
            #expect(try pair.field("x-a", "b").representation == .plain)
            let line = try pair.block { $0.credential("Bearer 1", key: 1, to: &$1) }.first
            #expect(line?.representation == .neverIndexed)
        }
    }
}
