import CAllocationCounter
import HTTP
import Testing

/// Random blocks over a long connection: what is written is what two decoders read.
@Suite struct HPACKSimulationTests {
    struct Traffic {
        var random: SeededRandom
        let names = [
            "accept", "User-Agent", "x-a", "X-Tenant-Name", "content-type", "cookie", "ETag", "x-request-id", "Via",
            "authorization", "accept-encoding", ":authority", "a-name-that-is-longer-than-most-of-them-are",
        ]

        mutating func value() -> String {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5: return "value-\(Int.random(in: 0..<8, using: &random))"
            case 5: return ""
            case 6: return "gzip, deflate"
            case 7: return String(repeating: "l", count: Int.random(in: 100..<900, using: &random))
            case 8: return String(repeating: "x", count: Int.random(in: 0..<4100, using: &random))
            default: return "\(UInt64.random(in: 0...UInt64.max, using: &random))"
            }
        }

        mutating func tableSize() -> Int {
            [0, 32, 64, 100, 500, 1000, 4095, 4096, 4097, 65_536].randomElement(using: &random)!
        }
    }

    /// A block's fields as they were asked for.
    private func writeBlock(
        _ traffic: inout Traffic, _ encoder: inout HPACKEncoder, _ out: inout ByteBuffer
    ) -> [[String]] {
        var expected: [[String]] = []
        for _ in 0..<Int.random(in: 0..<12, using: &traffic.random) {
            if Int.random(in: 0..<6, using: &traffic.random) == 0 {
                let key = UInt64.random(in: 1...5, using: &traffic.random)
                let value = "Bearer \(key)" + String(repeating: "s", count: Int(key) * 300)
                encoder.credential(value, key: key, to: &out)
                expected.append(["authorization", value])
            } else if Int.random(in: 0..<6, using: &traffic.random) == 0 {
                let status = UInt16.random(in: 200..<206, using: &traffic.random)
                encoder.status(status, to: &out)
                expected.append([":status", "\(status)"])
            } else {
                let name = traffic.names.randomElement(using: &traffic.random)!
                let value = traffic.value()
                encoder.textField(name, value, to: &out)
                expected.append([name.lowercased(), value])
            }
        }
        return expected
    }

    @Test(arguments: UInt64(0)..<20)
    func `two decoders read what was written`(seed: UInt64) throws {
        var traffic = Traffic(random: SeededRandom(seed: seed))
        var pair = HPACKPair()
        let inflater = HPACKInflater()
        #expect((inflater != nil) == HPACKInflater.isThere)
        var out = ByteBuffer()
        for number in 0..<400 {
            out.removeAll()
            if Int.random(in: 0..<20, using: &traffic.random) == 0 {
                for _ in 0..<Int.random(in: 1...3, using: &traffic.random) {
                    let octets = traffic.tableSize()
                    pair.allow(octets)
                    inflater?.allow(octets)
                }
            }
            pair.encoder.begin(to: &out)
            let expected = writeBlock(&traffic, &pair.encoder, &out)
            // A block of size updates alone may be judged by the next one.
            guard !expected.isEmpty else {
                _ = try pair.decoder.decode(out.array())
                if !out.isEmpty { _ = inflater?.decode(out.array()) }
                continue
            }
            let lines = try pair.decoder.decode(out.array())
            try #require(lines.map { [$0.name, $0.value] } == expected, "block \(number)")
            #expect(pair.decoder.size <= pair.decoder.limit)
            guard let inflater else { continue }
            let read = try #require(inflater.decode(out.array()), "block \(number)")
            #expect(
                read.map { [String(decoding: $0.name, as: UTF8.self), String(decoding: $0.value, as: UTF8.self)] }
                    == expected)
            #expect(read.map(\.isSensitive) == lines.map { $0.representation == .neverIndexed })
        }
    }

    @Test(arguments: UInt64(0)..<5)
    func `every entry of the table is found again`(seed: UInt64) throws {
        var traffic = Traffic(random: SeededRandom(seed: seed))
        var pair = HPACKPair()
        for _ in 0..<200 {
            for _ in 0..<4 {
                let (name, value) = (traffic.names.randomElement(using: &traffic.random)!, traffic.value())
                for _ in 0..<2 { _ = try pair.field(name, value) }
            }
            for entry in pair.decoder.table {
                let name = String(decoding: entry.name, as: UTF8.self)
                let value = String(decoding: entry.value, as: UTF8.self)
                try #require(try pair.field(name, value).representation == .indexed)
            }
        }
    }

    /// Before the last eight octets, these make the hash one that does not depend on anything else.
    static let absorbing: [UInt8] = [0x2F, 0x64, 0xBD, 0x78, 0x64, 0x1D, 0x76, 0xA0]

    @Test func `fields with the same hash are told apart`() throws {
        let names = ["x-one", "x-two", "x-three"].map { octets($0) }
        let eight = [UInt8](repeating: 0x61, count: 8)
        // The first is the begin of the second.
        let end = Self.absorbing + eight
        let values = [eight + end, eight + end + eight + end, end]
        let fields = names.flatMap { name in values.reversed().map { (name, $0) } }
        var pair = HPACKPair()
        for round in 0..<4 {
            for (name, value) in fields {
                let line = try pair.block { encoder, out in
                    name.withUnsafeBytes { name in
                        value.withUnsafeBytes { encoder.field(.other, name: name, value: $0, to: &out) }
                    }
                }.first
                let text = String(String.UnicodeScalarView(value.map { UnicodeScalar($0) }))
                try #require(line?.name == String(decoding: name, as: UTF8.self) && line?.value == text)
                if round > 1 { #expect(line?.representation == .indexed) }
            }
        }
    }

    @Test func `most of a connection's like blocks are indexes`() throws {
        var pair = HPACKPair()
        let encoder = HPACKTypicalRequest()
        var sizes: [Int] = []
        for number in 0..<4 {
            var out = ByteBuffer()
            encoder.write(to: &pair.encoder, &out, number: UInt64(number))
            sizes.append(out.count)
            let lines = try pair.decoder.decode(out.array())
            #expect(lines.count == 11)
        }
        #expect(sizes[0] > 1300 && sizes[2] < 50 && sizes[3] == sizes[2], "\(sizes)")
    }

    @Test(.enabled(if: allocations_of_this_thread() >= 0))
    func `blocks cost no allocation, evictions and size changes included`() {
        var steady = SteadyBlocks()
        for number in 0..<20 { steady.run(UInt64(number)) }
        let before = allocations_of_this_thread()
        for number in 0..<200 { steady.run(UInt64(number)) }
        let allocations = allocations_of_this_thread() - before
        #expect(allocations == 0)
    }
}

private struct SteadyBlocks: ~Copyable {
    var encoder = HPACKEncoder()
    var out = ByteBuffer(capacity: 16_384)
    let request = HPACKTypicalRequest()
    let values = (0..<40).map { octets(String(repeating: "v\($0)", count: 20)) }
    let name = octets("X-Changing")

    mutating func run(_ number: UInt64) {
        out.removeAll()
        request.write(to: &encoder, &out, number: number)
        for index in values.indices {
            for _ in 0..<2 {
                name.withUnsafeBytes { name in
                    values[index].withUnsafeBytes { encoder.field(.other, name: name, value: $0, to: &out) }
                }
            }
        }
        if number % 10 == 0 { encoder.setPeerTableSize(number % 20 == 0 ? 1000 : 4096) }
    }
}

/// What a gateway sends for a small call of an API, with octets ready made.
struct HPACKTypicalRequest {
    let authority = octets("api.example.com")
    let path = octets("/v1/accounts/4711/items?limit=20")
    let names = ["User-Agent", "Accept", "Content-Type", "X-Tenant", "Accept-Language"].map { octets($0) }
    let values = [
        "LegacyBilling/4.2 (Linux; x86_64) libcurl/7.88.1", "application/json", "application/json", "blue", "en",
    ].map { octets($0) }
    let ids: [FieldID]
    let credentialName = octets("authorization")
    let credential = octets("Bearer " + String(repeating: "s", count: 1200))

    init() {
        ids = names.map { name in name.withUnsafeBytes { FieldID.find($0) } }
    }

    func write(to encoder: inout HPACKEncoder, _ out: inout ByteBuffer, number: UInt64) {
        encoder.begin(to: &out)
        encoder.method(.get, text: UnsafeRawBufferPointer(start: nil, count: 0), to: &out)
        encoder.scheme(isTLS: true, to: &out)
        authority.withUnsafeBytes { encoder.authority($0, to: &out) }
        path.withUnsafeBytes { encoder.path($0, to: &out) }
        for index in ids.indices {
            names[index].withUnsafeBytes { name in
                values[index].withUnsafeBytes { encoder.field(ids[index], name: name, value: $0, to: &out) }
            }
        }
        credentialName.withUnsafeBytes { name in
            credential.withUnsafeBytes { encoder.credential(name: name, value: $0, key: 1, to: &out) }
        }
        encoder.field("via", "1.1 token-gateway", to: &out)
    }
}
