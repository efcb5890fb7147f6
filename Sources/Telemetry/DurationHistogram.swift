/// Durations in buckets whose bounds double: 1 ms, 2 ms, 4 ms … 65.536 s, and one for all that is longer.
///
/// The bucket is found by one multiplication and one bit scan, with no search and no allocation.
@usableFromInline
package struct DurationHistogram: Sendable, Equatable {
    /// Finite bounds; bound `i` is `2^i` milliseconds.
    @usableFromInline package static let boundCount = 17

    /// Observations per bucket, not cumulative; the last one is beyond every bound.
    @usableFromInline package var buckets: ContiguousArray<UInt64>
    @usableFromInline package var totalNanoseconds: UInt64

    package init() {
        buckets = ContiguousArray(repeating: 0, count: Self.boundCount + 1)
        totalNanoseconds = 0
    }

    /// The bucket whose upper bound is the smallest that is not below the duration.
    @inlinable
    package static func bucket(of nanoseconds: UInt64) -> Int {
        // Rounded up, so that exactly 2 ms is inside the bound of 2 ms and one nanosecond more is not.
        let milliseconds = nanoseconds / 1_000_000 &+ (nanoseconds % 1_000_000 == 0 ? 0 : 1)
        let below = milliseconds &- (milliseconds == 0 ? 0 : 1)
        return min(boundCount, UInt64.bitWidth - below.leadingZeroBitCount)
    }

    /// Counts one observation.
    @inlinable
    package mutating func record(nanoseconds: UInt64) {
        buckets[Self.bucket(of: nanoseconds)] &+= 1
        totalNanoseconds &+= nanoseconds
    }

    package mutating func add(_ other: DurationHistogram) {
        for index in buckets.indices { buckets[index] &+= other.buckets[index] }
        totalNanoseconds &+= other.totalNanoseconds
    }

    package var count: UInt64 {
        buckets.reduce(0, &+)
    }
}
