/// A wall-clock instant in whole seconds since 1970-01-01T00:00:00Z, with the two text forms that the gateway writes:
/// RFC 3339 (logs, admin API) and IMF-fixdate (RFC 9110 section 5.6.7, `Date` and `Expires` fields).
///
/// Pure arithmetic on the proleptic Gregorian calendar; every `Int64` is formatted without a trap, and the years outside
/// 0000 to 9999, which neither format can say, are clamped to those bounds.
package struct Timestamp: Sendable, Hashable, Comparable {
    /// Seconds since the Unix epoch, UTC, leap seconds not counted.
    package var unixSeconds: Int64

    package init(unixSeconds: Int64) {
        self.unixSeconds = unixSeconds
    }

    package static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.unixSeconds < right.unixSeconds
    }

    /// `2026-11-22T14:49:23Z`.
    package var rfc3339: String {
        var bytes: [UInt8] = []
        Self.appendRFC3339(seconds: unixSeconds, milliseconds: nil, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `Sun, 22 Nov 2026 14:49:23 GMT`.
    package var imfFixdate: String {
        var bytes: [UInt8] = []
        Self.appendIMFFixdate(seconds: unixSeconds, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Appends RFC 3339 in UTC; with `milliseconds` (0 to 999, clamped) three fraction digits follow the seconds.
    package static func appendRFC3339(seconds: Int64, milliseconds: Int?, to bytes: inout [UInt8]) {
        let date = CivilDate(unixSeconds: seconds)
        bytes.appendDigits(date.year, width: 4)
        bytes.append(UInt8(ascii: "-"))
        bytes.appendDigits(date.month, width: 2)
        bytes.append(UInt8(ascii: "-"))
        bytes.appendDigits(date.day, width: 2)
        bytes.append(UInt8(ascii: "T"))
        appendClock(date, to: &bytes)
        if let milliseconds {
            bytes.append(UInt8(ascii: "."))
            bytes.appendDigits(min(999, max(0, milliseconds)), width: 3)
        }
        bytes.append(UInt8(ascii: "Z"))
    }

    /// Writes RFC 3339 in UTC with three fraction digits; `milliseconds` since 1970, not negative.
    static func writeRFC3339(milliseconds: Int64, to line: inout PlainCursor) {
        let date = CivilDate(unixSeconds: milliseconds / 1000)
        line.digits(UInt64(date.year), width: 4)
        line.literal("-")
        line.digits(UInt64(date.month), width: 2)
        line.literal("-")
        line.digits(UInt64(date.day), width: 2)
        line.literal("T")
        line.digits(UInt64(date.hour), width: 2)
        line.literal(":")
        line.digits(UInt64(date.minute), width: 2)
        line.literal(":")
        line.digits(UInt64(date.second), width: 2)
        line.literal(".")
        line.digits(UInt64(milliseconds % 1000), width: 3)
        line.literal("Z")
    }

    /// Appends IMF-fixdate, always 29 bytes.
    package static func appendIMFFixdate(seconds: Int64, to bytes: inout [UInt8]) {
        let date = CivilDate(unixSeconds: seconds)
        bytes.appendPart(of: "SunMonTueWedThuFriSat", at: date.weekday * 3, count: 3)
        bytes.append(ascii: ", ")
        bytes.appendDigits(date.day, width: 2)
        bytes.append(UInt8(ascii: " "))
        bytes.appendPart(of: "JanFebMarAprMayJunJulAugSepOctNovDec", at: (date.month - 1) * 3, count: 3)
        bytes.append(UInt8(ascii: " "))
        bytes.appendDigits(date.year, width: 4)
        bytes.append(UInt8(ascii: " "))
        appendClock(date, to: &bytes)
        bytes.append(ascii: " GMT")
    }

    private static func appendClock(_ date: CivilDate, to bytes: inout [UInt8]) {
        bytes.appendDigits(date.hour, width: 2)
        bytes.append(UInt8(ascii: ":"))
        bytes.appendDigits(date.minute, width: 2)
        bytes.append(UInt8(ascii: ":"))
        bytes.appendDigits(date.second, width: 2)
    }
}

extension Timestamp {
    /// Reads what ``rfc3339`` writes: UTC with `Z`, an optional fraction that is cut off. Anything else is `nil`.
    package init?(rfc3339 text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes.last == UInt8(ascii: "Z"), Self.hasSeparators(bytes),
            Self.fractionIsValid(bytes[19..<bytes.count - 1]),
            let year = Self.number(bytes[0..<4]), let month = Self.number(bytes[5..<7]),
            let day = Self.number(bytes[8..<10]), let hour = Self.number(bytes[11..<13]),
            let minute = Self.number(bytes[14..<16]), let second = Self.number(bytes[17..<19]),
            (1...12).contains(month), day >= 1, day <= CivilDate.days(inMonth: month, of: year), hour < 24,
            minute < 60, second < 60
        else { return nil }
        let days = CivilDate.daysFromEpoch(year: year, month: month, day: day)
        self.init(unixSeconds: Int64(days) * 86_400 + Int64(hour * 3_600 + minute * 60 + second))
    }

    private static func hasSeparators(_ bytes: [UInt8]) -> Bool {
        bytes[4] == UInt8(ascii: "-") && bytes[7] == UInt8(ascii: "-") && bytes[10] == UInt8(ascii: "T")
            && bytes[13] == UInt8(ascii: ":") && bytes[16] == UInt8(ascii: ":")
    }

    private static func fractionIsValid(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first else { return true }
        return first == UInt8(ascii: ".") && bytes.count > 1 && number(bytes.dropFirst().prefix(9)) != nil
            && bytes.count <= 10
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value
    }
}

/// The fields of a date and time of day in UTC.
private struct CivilDate {
    var year: Int
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int
    /// 0 is Sunday.
    var weekday: Int

    /// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
    static let bounds: ClosedRange<Int64> = -62_167_219_200...253_402_300_799

    /// Days to civil date by eras of 400 years counted from March, so that the leap day is a year's last.
    init(unixSeconds: Int64) {
        let seconds = Int(min(Self.bounds.upperBound, max(Self.bounds.lowerBound, unixSeconds)))
        let secondOfDay = ((seconds % 86_400) + 86_400) % 86_400
        let days = (seconds - secondOfDay) / 86_400
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        hour = secondOfDay / 3_600
        minute = secondOfDay / 60 % 60
        second = secondOfDay % 60
        weekday = ((days + 4) % 7 + 7) % 7
    }

    static func daysFromEpoch(year: Int, month: Int, day: Int) -> Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    static func days(inMonth month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

extension Timestamp: Codable {
    /// RFC 3339 text, as in the admin API.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let timestamp = Timestamp(rfc3339: text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "not an RFC 3339 time in UTC"))
        }
        self = timestamp
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rfc3339)
    }
}
