import CLinux

/// Time that only goes forward: for deadlines and durations.
package enum MonotonicClock {
    package static func milliseconds() -> UInt64 { tg_monotonic_ns() / 1_000_000 }
    package static func nanoseconds() -> UInt64 { tg_monotonic_ns() }
}

/// Time of day since 1970, UTC; it may jump. For expiries that outlive the process and for logs.
package enum WallClock {
    package static func seconds() -> Int64 { milliseconds() / 1000 }
    package static func milliseconds() -> Int64 { tg_wall_ns() / 1_000_000 }
}
