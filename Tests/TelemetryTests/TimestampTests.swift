import Testing

@testable import Telemetry

@Suite struct TimestampTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_251_199, "2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
        (1_795_358_963, "2026-11-22T14:49:23Z", "Sun, 22 Nov 2026 14:49:23 GMT"),
        (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        (-1, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
        (-2_203_891_200, "1900-03-01T00:00:00Z", "Thu, 01 Mar 1900 00:00:00 GMT"),
    ])
    func `a known instant has its two texts and is read back`(seconds: Int, rfc3339: String, imf: String) {
        let timestamp = Timestamp(unixSeconds: Int64(seconds))
        #expect(timestamp.rfc3339 == rfc3339)
        #expect(timestamp.imfFixdate == imf)
        #expect(Timestamp(rfc3339: rfc3339) == timestamp)
    }

    @Test func `every day of four centuries follows the day before and is read back`() throws {
        var seconds: Int64 = -11_676_096_000  // 1600-01-01
        var previous = Timestamp(unixSeconds: seconds).rfc3339
        for _ in 0..<146_097 {
            seconds += 86_400
            let text = Timestamp(unixSeconds: seconds).rfc3339
            try #require(text > previous)
            try #require(Timestamp(rfc3339: text)?.unixSeconds == seconds)
            previous = text
        }
        #expect(previous == "2000-01-01T00:00:00Z")
    }

    @Test(arguments: [Int64.min, Int64.max]) func `an instant beyond four-digit years is clamped`(seconds: Int64) {
        let text = Timestamp(unixSeconds: seconds).rfc3339
        #expect(text == (seconds < 0 ? "0000-01-01T00:00:00Z" : "9999-12-31T23:59:59Z"))
    }

    @Test func `milliseconds have three digits`() {
        var bytes: [UInt8] = []
        Timestamp.appendRFC3339(seconds: 1_795_358_963, milliseconds: 7, to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == "2026-11-22T14:49:23.007Z")
    }

    @Test(arguments: [
        "", "2026-11-22", "2026-11-22T14:49:23", "2026-11-22T14:49:23+01:00", "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z", "2026-00-10T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T14:60:00Z",
        "2026-11-22T14:49:60Z", "2026-11-22 14:49:23Z", "2o26-11-22T14:49:23Z", "2026-11-22T14:49:23.Z",
        "2026-11-22T14:49:23.12x4Z", "2026-11-22T14:49:23,5Z", "+026-11-22T14:49:23Z",
    ])
    func `what is not such a time is not read`(text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test func `a fraction is cut off`() {
        #expect(Timestamp(rfc3339: "2026-11-22T14:49:23.999Z")?.unixSeconds == 1_795_358_963)
    }
}
