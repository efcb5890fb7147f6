/// Deadlines of many connections, kept so that arming one costs a few instructions.
///
/// Time is milliseconds of the monotonic clock, handed in. A token fires never before its deadline and, when the loop
/// calls ``advance(to:into:)`` in time, at most ``tickMilliseconds`` after it. There is no cancelling: the owner looks,
/// when told, whether the deadline still holds, and schedules again if it has moved. A token waits for one deadline at a
/// time: to schedule it again moves it. Were it in the wheel twice, each firing would schedule it anew, and what is in the
/// wheel would only ever grow.
///
/// The wheel is a hierarchy: level 0 has 64 slots of one tick, level 1 has 64 slots of 64 ticks and so on. An entry
/// waits at the level of the highest six bits in which its tick differs from now, and comes down a level when that slot
/// is reached, so each is moved a few times at most whatever its distance. Tokens are small numbers: entries live in one
/// array by token, and nothing is allocated once it has grown to the largest.
package struct TimerWheel {
    /// How late a token may fire.
    package static let tickMilliseconds: UInt64 = 16

    private static let slotBits: UInt64 = 6
    private static let slotsPerLevel = 64
    /// Eleven levels of six bits hold every tick that a 64-bit count of milliseconds has; the upper ones stay empty.
    private static let levels = 11
    private static let none: UInt32 = .max

    private struct Entry {
        var tick: UInt64 = 0
        /// The neighbours in the slot's list.
        var next = TimerWheel.none
        var previous = TimerWheel.none
        /// Where the list begins in `slots`; -1: it does not wait.
        var position: Int32 = -1
    }

    /// By token.
    private var entries: [Entry] = []
    private var live = 0
    /// The first entry of each slot, level by level.
    private var slots = [UInt32](repeating: TimerWheel.none, count: TimerWheel.levels * TimerWheel.slotsPerLevel)
    /// One bit per slot that has entries, one word per level.
    private var occupied = [UInt64](repeating: 0, count: TimerWheel.levels)
    /// All ticks up to this one have fired.
    private var current: UInt64

    package init(now: UInt64) {
        current = now / Self.tickMilliseconds
    }

    package var isEmpty: Bool { live == 0 }

    /// The number of entries that wait.
    package var count: Int { live }

    /// Arms a deadline, instead of the one that the token waits for. One that has passed fires with the next tick.
    package mutating func schedule(_ token: UInt32, at deadline: UInt64) {
        let (whole, rest) = deadline.quotientAndRemainder(dividingBy: Self.tickMilliseconds)
        let tick = max(rest == 0 ? whole : whole + 1, current + 1)
        while entries.count <= Int(token) { entries.append(Entry()) }
        if entries[Int(token)].position < 0 { live += 1 } else { unlink(token) }
        place(token, tick: tick)
    }

    /// Appends the tokens whose time has come. Ticks fire in order; within one there is none.
    package mutating func advance(to now: UInt64, into fired: inout [UInt32]) {
        let target = now / Self.tickMilliseconds
        guard target > current else { return }
        while let next = nextSlot(), next.tick <= target {
            current = next.tick
            empty(level: next.level, slot: next.slot, into: &fired)
        }
        current = target
    }

    /// How long the loop may sleep: -1 when nothing waits, 0 only when ``advance(to:into:)`` has something to do now.
    ///
    /// For a distant deadline the answer may be earlier than it (the moment at which its entry comes down a level); such
    /// a wake-up fires nothing and happens at most once per level.
    package func millisecondsUntilNext(now: UInt64) -> Int32 {
        guard let next = nextSlot() else { return -1 }
        let (moment, overflow) = next.tick.multipliedReportingOverflow(by: Self.tickMilliseconds)
        if overflow { return .max }
        return moment <= now ? 0 : Int32(clamping: moment - now)
    }

    /// The earliest occupied slot: its first tick is no later than any entry's. Lower levels are always earlier, since a
    /// level's entries lie inside the current slot of the level above.
    private func nextSlot() -> (level: Int, slot: Int, tick: UInt64)? {
        guard live > 0 else { return nil }
        for level in 0..<Self.levels where occupied[level] != 0 {
            let slot = occupied[level].trailingZeroBitCount
            let shift = UInt64(level) * Self.slotBits
            // Bits above this level are the current tick's, bits below it are zero. Shifts past the word give zero.
            let above = (current >> (shift + Self.slotBits)) << (shift + Self.slotBits)
            return (level, slot, above | UInt64(slot) << shift)
        }
        return nil
    }

    private mutating func place(_ token: UInt32, tick: UInt64) {
        let highestBit = UInt64(63 - (tick ^ current | 1).leadingZeroBitCount)
        let level = highestBit / Self.slotBits
        let slot = Int((tick >> (level * Self.slotBits)) & 63)
        let position = Int(level) * Self.slotsPerLevel + slot
        let first = slots[position]
        entries[Int(token)] = Entry(tick: tick, next: first, previous: Self.none, position: Int32(position))
        if first != Self.none { entries[Int(first)].previous = token }
        slots[position] = token
        occupied[Int(level)] |= 1 << UInt64(slot)
    }

    private mutating func unlink(_ token: UInt32) {
        let entry = entries[Int(token)]
        if entry.next != Self.none { entries[Int(entry.next)].previous = entry.previous }
        guard entry.previous == Self.none else {
            entries[Int(entry.previous)].next = entry.next
            return
        }
        let position = Int(entry.position)
        slots[position] = entry.next
        if entry.next == Self.none {
            occupied[position / Self.slotsPerLevel] &= ~(1 << UInt64(position % Self.slotsPerLevel))
        }
    }

    /// Fires what is due in a slot that was reached and moves the rest down.
    private mutating func empty(level: Int, slot: Int, into fired: inout [UInt32]) {
        let position = level * Self.slotsPerLevel + slot
        var token = slots[position]
        slots[position] = Self.none
        occupied[level] &= ~(1 << UInt64(slot))
        while token != Self.none {
            let entry = entries[Int(token)]
            if entry.tick <= current {
                fired.append(token)
                entries[Int(token)].position = -1
                live -= 1
            } else {
                place(token, tick: entry.tick)
            }
            token = entry.next
        }
    }
}
