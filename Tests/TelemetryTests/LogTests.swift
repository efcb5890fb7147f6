import Foundation
import Testing

@testable import Telemetry

@Suite struct LogTests {
    static let facts = ExchangeFacts(
        unixMilliseconds: 1_795_358_963_042, route: "crm", upstream: "zoho", status: 200, bytesReceived: 128,
        bytesSent: 2_048, totalNanoseconds: 12_345_678, firstByteNanoseconds: 9_000_001,
        credentialWaitNanoseconds: 1_500,
        attempts: 2, retry: .accepted, errorCode: nil)

    static func line(_ format: LogFormat, _ facts: ExchangeFacts = facts, target: [UInt8]) -> [UInt8] {
        var writer = LineWriter(format: format)
        let id = Array("r-1".utf8)
        let caller = Array("127.0.0.1:4711".utf8)
        let method = Array("GET".utf8)
        writer.exchangeEnded(
            facts, requestID: id.span, caller: caller.span, method: method.span, target: target.span)
        return writer.bytes
    }

    static func object(_ bytes: [UInt8]) throws -> [String: Any] {
        let parsed = try JSONSerialization.jsonObject(with: Data(bytes.dropLast()))
        return try #require(parsed as? [String: Any])
    }

    @Test func `an exchange is one JSON object with its facts`() throws {
        let bytes = Self.line(.json, target: Array("/crm/Leads?access_token=s3cret#x".utf8))
        let object = try Self.object(bytes)
        #expect(object["time"] as? String == "2026-11-22T14:49:23.042Z")
        #expect(object["level"] as? String == "info")
        #expect(object["request_id"] as? String == "r-1")
        #expect(object["caller"] as? String == "127.0.0.1:4711")
        #expect(object["route"] as? String == "crm")
        #expect(object["method"] as? String == "GET")
        #expect(object["target"] as? String == "/crm/Leads")
        #expect(object["status"] as? Int == 200)
        #expect(object["bytes_received"] as? Int == 128)
        #expect(object["bytes_sent"] as? Int == 2_048)
        #expect(object["duration_ms"] as? Double == 12.345)
        #expect(object["first_byte_ms"] as? Double == 9.0)
        #expect(object["credential_wait_ms"] as? Double == 0.001)
        #expect(object["upstream"] as? String == "zoho")
        #expect(object["attempts"] as? Int == 2)
        #expect(object["retry"] as? String == "accepted")
        #expect(object["error"] == nil)
        #expect(!String(decoding: bytes, as: UTF8.self).contains("s3cret"))
    }

    /// Facts that make every field, and those that make as few as possible.
    static let extremes: [ExchangeFacts] = [
        facts,
        ExchangeFacts(
            unixMilliseconds: 0, route: nil, upstream: nil, status: 0, bytesReceived: 0, bytesSent: 0,
            totalNanoseconds: 0),
        ExchangeFacts(
            unixMilliseconds: 253_402_300_799_999, route: "a", upstream: "b", status: 599, bytesReceived: .max,
            bytesSent: .max, totalNanoseconds: .max, firstByteNanoseconds: .max, credentialWaitNanoseconds: .max,
            attempts: .max, retry: .bodyNotKept, errorCode: "reauthorization_required", grant: "zoho:acme@example.com"),
        ExchangeFacts(
            unixMilliseconds: 1_000_000_000_007, route: "a \"quoted\" = name", upstream: "", status: 200,
            bytesReceived: 9, bytesSent: 10, totalNanoseconds: 999_999, errorCode: "", grant: "a b\""),
        ExchangeFacts(
            unixMilliseconds: -1, route: "before 1970", upstream: "b", status: -1, bytesReceived: 99, bytesSent: 100,
            totalNanoseconds: 1_000_000, attempts: -1),
        ExchangeFacts(
            unixMilliseconds: .max, route: "late", upstream: "b", status: 1, bytesReceived: 1, bytesSent: 1,
            totalNanoseconds: 1),
    ]

    @Test(arguments: [LogFormat.json, .human])
    func `a line that is written in one piece is the one that is written field by field`(format: LogFormat) {
        let targets = Self.hostile + [Array("/plain".utf8), Array("/a?b".utf8), [UInt8](repeating: 0x61, count: 5000)]
        let callers = ["127.0.0.1", "", "unix socket", "::1"].map { Array($0.utf8) }
        let method = Array("GET".utf8)
        for facts in Self.extremes {
            for target in targets {
                for caller in callers {
                    var one = LineWriter(format: format, capacity: 0)
                    var other = LineWriter(format: format, capacity: 0)
                    let path = target.span.extracting(first: Redactor.pathLength(of: target.span))
                    for _ in 0..<2 {
                        one.exchangeEnded(
                            facts, requestID: caller.span, caller: caller.span, method: method.span,
                            target: target.span)
                        other.unusualExchangeEnded(
                            facts, requestID: caller.span, caller: caller.span, method: method.span, path: path)
                    }
                    #expect(one.bytes == other.bytes)
                }
            }
        }
    }

    @Test func `a line with nothing to escape is written in one piece`() {
        var writer = LineWriter(format: .json)
        let text = Array("plain".utf8)
        let isWritten = writer.plainExchangeEnded(
            Self.facts, requestID: text.span, caller: text.span, method: text.span, path: text.span)
        #expect(isWritten)
        #expect(writer.bytes.last == 0x0A)
        let odd = Array("a\nb".utf8)
        let before = writer.bytes.count
        let isOddWritten = writer.plainExchangeEnded(
            Self.facts, requestID: text.span, caller: text.span, method: text.span, path: odd.span)
        #expect(!isOddWritten)
        #expect(writer.bytes.count == before)
    }

    static func withoutReplacements(_ text: String) -> [Unicode.Scalar] {
        text.unicodeScalars.filter { $0 != "\u{fffd}" }
    }

    static let hostile: [[UInt8]] = [
        Array("/\r\n{\"time\":\"forged\"}\n".utf8), Array("/\",\"status\":200,\"x\":\"".utf8), Array("/\\".utf8),
        Array("/\u{2028}\u{2029}\u{85}\u{9b}31m".utf8), [0x2f, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x07, 0x7f, 0x00],
        [0x2f, 0xff, 0xfe, 0xc0, 0xaf, 0xed, 0xa0, 0x80, 0xf4, 0x90, 0x80, 0x80], [0x2f, 0xe2, 0x82], [0xf0], [0xc2],
        Array("/Grüße/😀/日本".utf8), [],
    ]

    @Test(arguments: hostile) func `no target forges, breaks or colours a line`(target: [UInt8]) throws {
        for format in [LogFormat.json, .human] {
            let bytes = Self.line(format, target: target)
            #expect(bytes.count { $0 == 0x0a } == 1)
            #expect(bytes.last == 0x0a)
            #expect(bytes.dropLast().allSatisfy { $0 >= 0x20 && $0 != 0x7f })
            let text = try #require(String(validating: bytes, as: UTF8.self))
            #expect(!text.unicodeScalars.contains { (0x7f...0x9f).contains($0.value) || $0 == "\u{2028}" })
        }
        let object = try Self.object(Self.line(.json, target: target))
        #expect(object["status"] as? Int == 200)
        #expect(object["time"] as? String == "2026-11-22T14:49:23.042Z")
        #expect(object["x"] == nil)
        // How many replacement characters stand for a broken sequence is nobody's rule; the rest must be the same.
        let shown = try #require(object["target"] as? String)
        #expect(Self.withoutReplacements(shown) == Self.withoutReplacements(String(decoding: target, as: UTF8.self)))
    }

    @Test func `random bytes keep the JSON well formed and mean what UTF-8 decoding means`() throws {
        var generator = SplitMix(state: 42)
        for _ in 0..<2_000 {
            let count = Int(generator.next() % 24)
            let interesting: [UInt8] = [0x22, 0x5c, 0x0a, 0x0d, 0xc2, 0xe2, 0x80, 0xa8, 0xed, 0xf0, 0xf4, 0x9f, 0x41]
            let text = (0..<count).map { _ in
                generator.next() % 3 == 0
                    ? UInt8(truncatingIfNeeded: generator.next()) : interesting[Int(generator.next() % 13)]
            }
            var writer = LineWriter(format: .json)
            writer.begin(level: .debug, unixMilliseconds: 0, message: "x")
            writer.field("text", bytes: text.span)
            writer.end()
            let object = try Self.object(writer.bytes)
            let read = try #require(object["text"] as? String)
            let expected = String(decoding: text, as: UTF8.self)
            #expect(Self.withoutReplacements(read) == Self.withoutReplacements(expected))
        }
    }

    @Test func `the human form quotes what would read as two fields`() {
        var writer = LineWriter(format: .human)
        writer.begin(level: .warning, unixMilliseconds: 1_795_358_963_999, message: "grant needs consent")
        writer.field("grant", "crm")
        writer.field("reason", "a b=\"c\"")
        writer.field("empty", "")
        writer.field("generation", 41 as UInt64)
        writer.field("again", true)
        writer.end()
        #expect(
            String(decoding: writer.bytes, as: UTF8.self)
                == "2026-11-22T14:49:23.999Z warning grant needs consent grant=crm reason=\"a b=\\\"c\\\"\" empty=\"\" "
                + "generation=41 again=true\n")
    }

    @Test func `a time before 1970 has milliseconds that count forward`() {
        var writer = LineWriter(format: .human)
        writer.begin(level: .info, unixMilliseconds: -1, message: "m")
        writer.end()
        #expect(String(decoding: writer.bytes, as: UTF8.self) == "1969-12-31T23:59:59.999Z info m\n")
    }

    @Test(arguments: [
        Int64.min, Int64.max,
    ]) func `no time traps`(milliseconds: Int64) {
        var writer = LineWriter(format: .json)
        writer.begin(level: .info, unixMilliseconds: milliseconds, message: "m")
        writer.field("least", Int64.min)
        writer.field("most", UInt64.max)
        writer.end()
        let text = String(decoding: writer.bytes, as: UTF8.self)
        #expect(text.hasSuffix("\"least\":-9223372036854775808,\"most\":18446744073709551615}\n"))
    }

    @Test func `the buffer's memory is kept when the lines are taken`() {
        var writer = LineWriter(format: .json, capacity: 4_096)
        let target = Array("/crm/Leads".utf8)
        let word = Array("x".utf8)
        func write(to writer: inout LineWriter) {
            writer.exchangeEnded(
                Self.facts, requestID: word.span, caller: word.span, method: word.span, target: target.span)
        }
        write(to: &writer)
        let capacity = writer.bytes.capacity
        for _ in 0..<100 {
            writer.removeAll()
            write(to: &writer)
        }
        #expect(writer.bytes.capacity == capacity)
        #expect(writer.bytes.count { $0 == 0x0a } == 1)
    }
}

@Suite struct RedactorTests {
    @Test(arguments: [
        ("Authorization", "Bearer abc.def", "Bearer [redacted]"),
        ("authorization", "Zoho-oauthtoken 1000.abc", "Zoho-oauthtoken [redacted]"),
        ("Authorization", "abc.def", "[redacted]"),
        ("Proxy-Authorization", "Basic Zm9v", "Basic [redacted]"),
        ("Authorization", "s3cret=1 more", "[redacted]"),
        ("Cookie", "session=1", "[redacted]"),
        ("Set-Cookie", "session=1; Path=/", "[redacted]"),
        ("X-Shopify-Access-Token", "shpat_1", "[redacted]"),
        ("X-API-KEY", "1", "[redacted]"),
        ("DPoP", "eyJ", "[redacted]"),
        ("Referer", "https://g.example/oauth/callback?code=1&state=2", "https://g.example/oauth/callback"),
        ("Location", "/oauth/callback?code=1", "/oauth/callback"),
        ("Accept", "application/json", "application/json"),
        ("Content-Type", "text/plain", "text/plain"),
    ])
    func `a field's value is shown or masked`(name: String, value: String, shown: String) {
        #expect(Redactor.value(ofField: name, value) == shown)
    }

    @Test(arguments: [
        ("/oauth/callback?code=1&state=2", "/oauth/callback"), ("/a#frag?x", "/a"), ("/a", "/a"), ("?x", ""), ("", ""),
    ])
    func `a target is shown without its query`(target: String, shown: String) {
        #expect(Redactor.withoutQuery(target) == shown)
    }
}
