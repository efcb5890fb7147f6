import HTTP
import Testing

@Suite struct HTTP1WriterTests {
    /// Octets that may stand in a value, with white space in the middle only.
    private static let valueOctets = (0x21...0xFF).filter { $0 != 0x7F }.map { UInt8($0) }
    private static let nameOctets = octets("!#$%&'*+-.^|~09azAZ")

    @Test(arguments: 0..<60)
    func `what is written of a random head parses back to the same fields`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<20 {
            let bytes = randomHead(&random)
            var head = MessageHead()
            let rejection = bytes.withUnsafeBytes { HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits()) }
            #expect(rejection == nil)
            change(&head, &random)
            #expect(writtenAndRead(head) == HeadCopy(head).kept)
        }
    }

    @Test func `dropped fields in all patterns are left out`() {
        let text = octets("GET / HTTP/1.0\r\nA: 1\r\nB:\r\nC:  3 \r\nD:4\r\nE: \t\r\nF: 6\r\n\r\n")
        for pattern in 0..<64 {
            var head = MessageHead()
            _ = text.withUnsafeBytes { HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits()) }
            for index in 0..<6 where pattern >> index & 1 == 1 { head.fields[index].isDropped = true }
            #expect(writtenAndRead(head) == HeadCopy(head).kept)
        }
    }

    @Test func `added, inserted, replaced and removed fields are written as the head has them`() {
        let text = octets("GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\nSecret: 3\r\nD: 4\r\n\r\n")
        var head = MessageHead()
        _ = text.withUnsafeBytes { HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits()) }
        let name = octets("New").withUnsafeBytes { head.store($0) }
        let value = octets("value").withUnsafeBytes { head.store($0) }
        head.fields[2].isDropped = true
        head.fields.insert(Field(id: .other, name: name, value: value), at: 1)
        #expect(writtenAndRead(head)?.map(\.description) == ["A: 1", "New: value", "B: 2", "D: 4"])
        head.fields[2].value = value
        #expect(writtenAndRead(head)?.map(\.description) == ["A: 1", "New: value", "B: value", "D: 4"])
        head.fields.remove(at: 3)
        head.fields.remove(at: 2)
        #expect(writtenAndRead(head)?.map(\.description) == ["A: 1", "New: value", "D: 4"])
        head.fields[0].value = head.fields[2].value
        #expect(writtenAndRead(head)?.map(\.description) == ["A: 4", "New: value", "D: 4"])
        head.fields[0] = Field(id: .other, name: head.fields[2].name, value: value)
        #expect(writtenAndRead(head)?.map(\.description) == ["D: value", "New: value", "D: 4"])
        head.fields.swapAt(0, 2)
        #expect(writtenAndRead(head)?.map(\.description) == ["D: 4", "New: value", "D: value"])
    }

    @Test func `a head that did not come as HTTP/1 is written line by line`() {
        var head = MessageHead()
        let name = octets("a").withUnsafeBytes { head.store($0) }
        let value = octets("b c").withUnsafeBytes { head.store($0) }
        head.fields.append(Field(id: .other, name: name, value: value))
        head.fields.append(Field(id: .other, isDropped: true, name: name, value: value))
        head.fields.append(Field(id: .other, name: name, value: Slice()))
        var out = ByteBuffer()
        HTTP1Writer.fields(of: head, to: &out)
        #expect(out.array() == octets("a: b c\r\na: \r\n"))
    }

    @Test func `lines are written`() {
        var out = ByteBuffer()
        HTTP1Writer.statusLine(200, to: &out)
        HTTP1Writer.statusLine(299, to: &out)
        octets("Fine").withUnsafeBytes { HTTP1Writer.statusLine(404, reason: $0, to: &out) }
        HTTP1Writer.field("a", "b" as StaticString, to: &out)
        HTTP1Writer.field("c", 10 as UInt64, to: &out)
        octets("e").withUnsafeBytes { HTTP1Writer.field("d", $0, to: &out) }
        #expect(
            out.array()
                == octets("HTTP/1.1 200 OK\r\nHTTP/1.1 299 \r\nHTTP/1.1 404 Fine\r\na: b\r\nc: 10\r\nd: e\r\n"))
    }

    @Test func `every status line that is written is one that is read`() {
        for status in UInt16(100)...599 {
            var out = ByteBuffer()
            HTTP1Writer.statusLine(status, to: &out)
            out.append("\r\n")
            #expect(readHead(out.array(), .response(to: .get)).head?.status == status)
        }
    }

    @Test(arguments: 0..<20)
    func `what is written in chunks is decoded to the same`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var out = ByteBuffer()
        var content: [UInt8] = []
        for _ in 0..<Int.random(in: 0...20, using: &random) {
            // Empty content must not end the body.
            let count = Int.random(in: 0...40, using: &random)
            let chunk = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            content += chunk
            chunk.withUnsafeBytes { HTTP1Writer.chunk($0, to: &out) }
        }
        var trailers = MessageHead()
        let name = octets("X").withUnsafeBytes { trailers.store($0) }
        trailers.fields.append(Field(id: .other, name: name, value: name))
        trailers.fields.append(Field(id: .other, isDropped: true, name: name, value: Slice()))
        HTTP1Writer.lastChunk(trailers: trailers, to: &out)
        let outcome = readBody(out.array())
        #expect(outcome.content == content)
        #expect(outcome.trailers == [TextField("X", "X")])
        #expect(outcome.end == .ended(leftover: []))
    }

    @Test func `trailers are forwarded without those that are dropped`() {
        var decoder = BodyDecoder()
        var trailers = MessageHead()
        decoder.begin(.chunked)
        let step = octets("0\r\nHost: x\r\nA: 1\r\nCookie: y\r\nB: 2\r\nVia: z\r\n\r\n").withUnsafeBytes {
            decoder.decode($0, trailers: &trailers)
        }
        guard case .ended = step else {
            Issue.record("not decoded")
            return
        }
        var out = ByteBuffer()
        HTTP1Writer.lastChunk(trailers: trailers, to: &out)
        #expect(out.array() == octets("0\r\nA: 1\r\nB: 2\r\n\r\n"))
    }

    private func randomHead(_ random: inout SeededRandom) -> [UInt8] {
        var bytes = octets("GET / HTTP/1.0\r\n")
        for _ in 0..<Int.random(in: 0...12, using: &random) {
            let known = FieldID.allCases.filter {
                ![.other, .contentLength, .transferEncoding, .host, .connection].contains($0)
            }
            if Bool.random(using: &random) {
                bytes += octets(known.randomElement(using: &random)!.name.description)
            } else {
                for _ in 0..<Int.random(in: 1...9, using: &random) {
                    bytes.append(Self.nameOctets.randomElement(using: &random)!)
                }
            }
            bytes.append(0x3A)
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes.append(Bool.random(using: &random) ? 0x20 : 0x09)
            }
            for _ in 0..<Int.random(in: 0...9, using: &random) {
                bytes.append(Self.valueOctets.randomElement(using: &random)!)
            }
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes.append(Bool.random(using: &random) ? 0x20 : 0x09)
            }
            bytes += [13, 10]
        }
        return bytes + [13, 10]
    }

    /// Drops some fields and appends others, as the proxy does.
    private func change(_ head: inout MessageHead, _ random: inout SeededRandom) {
        for index in head.fields.indices where Int.random(in: 0..<3, using: &random) == 0 {
            head.fields[index].isDropped = true
        }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let name = octets("added").withUnsafeBytes { head.store($0) }
            let value = octets("value").withUnsafeBytes { head.store($0) }
            head.fields.append(
                Field(id: .other, isDropped: Bool.random(using: &random), name: name, value: value))
        }
    }

    private func writtenAndRead(_ head: borrowing MessageHead) -> [TextField]? {
        var out = ByteBuffer()
        out.append("GET / HTTP/1.0\r\n" as StaticString)
        HTTP1Writer.fields(of: head, to: &out)
        out.append("\r\n" as StaticString)
        return readHead(out.array()).head?.fields
    }
}
