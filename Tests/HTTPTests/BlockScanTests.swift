import HTTP
import Testing

/// The codec looks at 16 octets in one step: nothing may hang on where in a step something stands.
@Suite struct BlockScanTests {
    @Test(arguments: [0x00, 0x0B, 0x1F, 0x7F] as [UInt8])
    func `an octet that must not be in a value is refused wherever it stands`(bad: UInt8) {
        for length in 1...40 {
            for position in 0..<length {
                var value = [UInt8](repeating: 0x61, count: length)
                value[position] = bad
                let text = octets("GET / HTTP/1.1\r\nHost: a\r\nX: ") + value + octets("\r\n\r\n")
                #expect(readHead(text).rejection == .malformed("a field value has a control octet"))
            }
        }
    }

    @Test(arguments: [0x00, 0x20, 0x22, 0x28, 0x2C, 0x2F, 0x3B, 0x40, 0x5B, 0x5D, 0x7B, 0x7F, 0x80, 0xFF] as [UInt8])
    func `an octet that must not be in a name is refused wherever it stands`(bad: UInt8) {
        for length in 1...40 {
            for position in 0..<length {
                var name = [UInt8](repeating: 0x61, count: length)
                name[position] = bad
                let text = octets("GET / HTTP/1.1\r\nHost: a\r\n") + name + octets(": b\r\n\r\n")
                let reason: StaticString =
                    position == 0 && bad == 0x20
                    ? "a field line is folded (obs-fold)" : "a field name is not a token (space before the colon?)"
                #expect(readHead(text).rejection == .malformed(reason))
            }
        }
    }

    @Test func `names and values of every length keep their octets`() {
        for nameLength in 1...40 {
            for valueLength in 0...40 {
                let name = (0..<nameLength).map { UInt8(0x41 + $0 % 26) }
                let value = (0..<valueLength).map { UInt8(0x80 + $0) }
                let text = octets("GET / HTTP/1.1\r\nHost: a\r\n") + name + octets(": ") + value + octets("  \r\n\r\n")
                let field = readHead(text).head?.fields.last
                #expect(field?.name == name.withUnsafeBytes { latin1($0) })
                #expect(field?.value == value.withUnsafeBytes { latin1($0) })
            }
        }
    }

    @Test(arguments: [0x00, 0x09, 0x1F, 0x23, 0x7F, 0x80, 0xFF] as [UInt8])
    func `an octet that must not be in a target is refused wherever it stands`(bad: UInt8) {
        for length in 1...40 {
            for position in 0..<length {
                var target = [UInt8](repeating: 0x61, count: length)
                target[position] = bad
                let text = octets("GET /") + target + octets(" HTTP/1.1\r\nHost: a\r\n\r\n")
                #expect(readHead(text).rejection == .malformed("the request target has an octet that is not allowed"))
            }
        }
    }

    @Test func `the query begins at the first question mark wherever it stands`() {
        for length in 1...40 {
            for position in 0..<length {
                var target = [UInt8](repeating: 0x61, count: length)
                target[position] = 0x3F
                target[length - 1] = 0x3F
                let head = readHead(octets("GET /") + target + octets(" HTTP/1.1\r\nHost: a\r\n\r\n")).head
                #expect(head?.path.utf8.count == 1 + position)
                #expect(head?.target.utf8.count == 1 + length)
            }
        }
    }

    @Test func `the end of a head is found wherever it stands, however it is cut`() {
        for length in 0...70 {
            let text = octets("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "b", count: length))\r\n\r\n")
            let next = octets("GET / HTTP/1.1\r\n\r\n")
            for cut in 0...text.count {
                guard case .parsed(_, let found) = readHead(text + next, cuts: [cut]) else {
                    Issue.record("no head of \(text.count) octets cut at \(cut)")
                    continue
                }
                #expect(found == text.count)
            }
        }
    }

    @Test func `a line feed without its carriage return is refused wherever it stands`() {
        for length in 1...40 {
            for position in 0..<length {
                var value = [UInt8](repeating: 0x61, count: length)
                value[position] = 0x0A
                let text = octets("GET / HTTP/1.1\r\nHost: a\r\nX: ") + value + octets("\r\n\r\n")
                #expect(readHead(text).rejection == .malformed("a line ends in LF without CR"))
            }
        }
    }

    @Test func `a path is decoded when something special stands anywhere in it`() {
        for length in 2...40 {
            for position in 1..<length {
                for special in ["%41", "\\", ";x", "//", "/.a"] {
                    var path = [UInt8](repeating: 0x61, count: length)
                    path[0] = 0x2F
                    path.replaceSubrange(position...position, with: special.utf8)
                    var out = ByteBuffer()
                    let result = path.withUnsafeBytes { CanonicalPath.decode($0, into: &out) }
                    if case .plain = result { Issue.record("\(special) at \(position) of \(length) is not seen") }
                }
            }
        }
    }

    @Test func `fields grow, are put in and taken out, and are forgotten`() {
        var head = MessageHead()
        for number in 0..<1000 {
            head.fields.append(Field(id: .other, name: Slice(start: number, length: 1), value: Slice()))
        }
        #expect(head.fields.indices.allSatisfy { head.fields[$0].name.start == UInt32($0) })
        head.fields.insert(Field(id: .date, name: Slice(), value: Slice()), at: 500)
        #expect(head.fields.count == 1001)
        #expect(head.fields[500].id == .date)
        #expect(head.fields[1000].name.start == 999)
        #expect(head.fields.remove(at: 500).id == .date)
        #expect(head.fields.map(\.name.start) == (0..<1000).map { UInt32($0) })
        head.shrink(above: 1 << 20)
        #expect(head.fields.isEmpty && head.fields.capacity == 0)
        head.fields.append(Field(id: .via, name: Slice(), value: Slice()))
        head.reset()
        #expect(head.fields.isEmpty && head.fields.capacity > 0)
    }

    @Test func `numbers are written as they are`() {
        var numbers: [UInt64] = [0, .max, .max - 1]
        var power: UInt64 = 1
        for _ in 0..<19 {
            power *= 10
            numbers += [power - 1, power, power + 1]
        }
        for number in numbers {
            var out = ByteBuffer()
            out.appendDecimal(number)
            #expect(out.array() == Array(String(number).utf8))
        }
    }
}
