/// One instant on the two clocks that matter, both in milliseconds.
///
/// The monotonic clock decides while the process runs, so that a step of the wall clock changes nothing; the wall clock
/// carries times over a restart. Use a monotonic clock that goes on while the machine sleeps (CLOCK_BOOTTIME).
package struct Moment: Sendable, Hashable {
    /// Milliseconds of the monotonic clock; the origin is arbitrary.
    package var monotonic: Int64
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package var wall: Int64

    package init(monotonic: Int64, wall: Int64) {
        self.monotonic = monotonic
        self.wall = wall
    }
}

/// A small generator for jitter (SplitMix64). Not for secrets.
struct Jitter: Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// A number in 0...limit; zero for a limit that is not positive.
    mutating func upTo(_ limit: Int64) -> Int64 {
        guard limit > 0 else { return 0 }
        return Int64(next() % (UInt64(limit) + 1))
    }

    /// As good as never the same twice; not for secrets.
    mutating func name() -> String {
        String(next(), radix: 36)
    }
}

extension Int64 {
    /// Addition that stops at the ends instead of trapping: times and lifetimes come from peers and from files.
    func saturatingAdd(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        guard overflow else { return sum }
        return other > 0 ? .max : .min
    }

    func saturatingSubtract(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        guard overflow else { return difference }
        return other > 0 ? .min : .max
    }

    func clamped(to range: ClosedRange<Int64>) -> Int64 {
        Swift.min(Swift.max(self, range.lowerBound), range.upperBound)
    }
}
