import Testing

/// The judge is judged first, by the examples of the RFC.
@Suite struct HPACKDecoderTests {
    private func octets(hex: String) -> [UInt8] {
        let digits = hex.compactMap { $0.hexDigitValue }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
    }

    private func pairs(_ lines: [HPACKDecoder.Line]) -> [[String]] { lines.map { [$0.name, $0.value] } }

    @Test(arguments: [("0a", 5, 10), ("1f9a0a", 5, 1337), ("2a", 8, 42), ("00", 5, 0), ("1f00", 5, 31)])
    func `integers are read as in C.1`(hex: String, prefix: Int, value: Int) throws {
        var rest = octets(hex: hex)[...]
        let read = try HPACKDecoder.integer(&rest, prefix: prefix)
        #expect(read == value && rest.isEmpty)
    }

    @Test(arguments: [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key", "custom-header", 55),
        ("040c2f73616d706c652f70617468", ":path", "/sample/path", 0),
        ("100870617373776f726406736563726574", "password", "secret", 0), ("82", ":method", "GET", 0),
    ])
    func `fields are read as in C.2`(hex: String, name: String, value: String, size: Int) throws {
        var decoder = HPACKDecoder()
        let lines = try decoder.decode(octets(hex: hex))
        #expect(pairs(lines) == [[name, value]])
        #expect(decoder.size == size)
    }

    @Test func `requests of one connection are read as in C.3`() throws {
        var decoder = HPACKDecoder()
        let start = [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "www.example.com"]]
        #expect(pairs(try decoder.decode(octets(hex: "828684410f7777772e6578616d706c652e636f6d"))) == start)
        #expect(decoder.size == 57)
        let second = try decoder.decode(octets(hex: "828684be58086e6f2d6361636865"))
        #expect(pairs(second) == start + [["cache-control", "no-cache"]])
        #expect(decoder.size == 110)
        let third = try decoder.decode(octets(hex: "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"))
        #expect(pairs(third).suffix(2) == [[":authority", "www.example.com"], ["custom-key", "custom-value"]])
        #expect(decoder.size == 164)
    }

    @Test func `responses with evictions are read as in C.5`() throws {
        var decoder = HPACKDecoder()
        decoder.allow(256)
        _ = try decoder.decode(octets(hex: "3fe101"))
        let first = try decoder.decode(
            octets(
                hex: "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                    + "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"))
        #expect(pairs(first).first == [":status", "302"] && decoder.size == 222)
        let second = try decoder.decode(octets(hex: "4803333037c1c0bf"))
        #expect(
            pairs(second) == [
                [":status", "307"], ["cache-control", "private"], ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
                ["location", "https://www.example.com"],
            ])
        #expect(decoder.size == 222 && decoder.table.count == 4)
    }

    @Test(arguments: [
        ("80", HPACKDecoder.Failure.indexZero), ("be", .indexTooLarge), ("ff", .truncated), ("0085", .huffman),
        ("000161", .truncated), ("00016102", .truncated), ("8220", .lateSizeUpdate), ("3fe21f", .sizeUpdateTooLarge),
        ("ff8080808080808001", .integerTooLarge), ("0001410162", .upperCaseName),
    ])
    func `what is wrong is refused`(hex: String, failure: HPACKDecoder.Failure) {
        var decoder = HPACKDecoder()
        #expect(throws: failure) { try decoder.decode(octets(hex: hex)) }
    }

    @Test func `a lower limit must be answered by a size update`() {
        var decoder = HPACKDecoder()
        decoder.allow(100)
        #expect(throws: HPACKDecoder.Failure.missingSizeUpdate) { try decoder.decode([0x82]) }
        decoder = HPACKDecoder()
        decoder.allow(100)
        decoder.allow(4096)
        #expect(throws: HPACKDecoder.Failure.missingSizeUpdate) { try decoder.decode([0x82]) }
    }
}
