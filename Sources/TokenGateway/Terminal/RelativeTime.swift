import Telemetry

enum RelativeTime {
    /// `in 42 min`, `3 h ago`, `now`.
    static func text(_ time: Timestamp, now: Timestamp) -> String {
        let seconds = time.unixSeconds.subtractingReportingOverflow(now.unixSeconds).partialValue
        guard seconds != 0 else { return "now" }
        return seconds > 0 ? "in \(length(seconds.magnitude))" : "\(length(seconds.magnitude)) ago"
    }

    /// The two largest units that matter: `59 s`, `42 min`, `3 h 20 min`, `12 d`.
    static func length(_ seconds: UInt64) -> String {
        let (minute, hour, day): (UInt64, UInt64, UInt64) = (60, 3600, 86_400)
        switch seconds {
        case ..<minute: return "\(seconds) s"
        case ..<hour: return "\(seconds / minute) min"
        case ..<day: return two(seconds / hour, "h", seconds % hour / minute, "min")
        case ..<(10 * day): return two(seconds / day, "d", seconds % day / hour, "h")
        default: return "\(seconds / day) d"
        }
    }

    private static func two(_ large: UInt64, _ largeUnit: String, _ small: UInt64, _ smallUnit: String) -> String {
        small == 0 ? "\(large) \(largeUnit)" : "\(large) \(largeUnit) \(small) \(smallUnit)"
    }

    /// `in 42 min (2026-11-22T15:00:00Z)`.
    static func full(_ time: Timestamp, now: Timestamp) -> String { "\(text(time, now: now)) (\(time.rfc3339))" }
}
