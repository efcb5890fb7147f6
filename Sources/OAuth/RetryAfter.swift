/// The Retry-After field (RFC 9110 section 10.2.3).
package enum RetryAfter {
    /// Longer waits than a day are cut to it: a typing error at the provider must not stop a grant for a year.
    package static let limit: Int64 = 24 * 3_600_000

    /// Milliseconds from `now`; nil for what is neither delta-seconds nor an HTTP-date. A date that has passed is 0.
    package static func parse(_ value: String, now: Moment) -> Int64? {
        let text = value.trimmed
        if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            guard let seconds = Int64(text), seconds < limit / 1000 else { return limit }
            return seconds * 1000
        }
        guard let date = HTTPDate.parse(text) else { return nil }
        return date.saturatingSubtract(now.wall).clamped(to: 0...limit)
    }
}

/// HTTP-date in its three forms (RFC 9110 section 5.6.7).
enum HTTPDate {
    private static let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

    /// Milliseconds since 1970; nil for anything else.
    static func parse(_ text: String) -> Int64? {
        guard text.utf8.count <= 40 else { return nil }
        let words = text.lowercased().split { $0 == " " || $0 == "," || $0 == "-" }.map(String.init)
        switch words.count {
        case 6 where words[5] == "gmt":
            guard let short = Int(words[3]) else { return nil }
            let year = words[3].count == 2 ? (short < 70 ? 2000 + short : 1900 + short) : short
            return time(day: words[1], month: words[2], year: year, clock: words[4])
        case 5:
            guard let year = Int(words[4]) else { return nil }
            return time(day: words[2], month: words[1], year: year, clock: words[3])
        default: return nil
        }
    }

    private static func time(day: String, month: String, year: Int, clock: String) -> Int64? {
        let parts = clock.split(separator: ":").map { Int($0) }
        guard let day = Int(day), (1...31).contains(day), let month = months.firstIndex(of: month) else { return nil }
        guard (1970...9999).contains(year), parts.count == 3 else { return nil }
        guard let hour = parts[0], let minute = parts[1], let second = parts[2] else { return nil }
        guard (0...23).contains(hour), (0...59).contains(minute), (0...60).contains(second) else { return nil }
        let days = daysSince1970(year: year, month: month + 1, day: day)
        return Int64(days * 86400 + hour * 3600 + minute * 60 + second) * 1000
    }

    private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension StringProtocol {
    /// Without white space at its ends, without Foundation.
    var trimmed: String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" || $0 == "\r\n" }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else {
            return ""
        }
        return String(self[first...last])
    }
}
