/// Work on names and values eight octets at a time. The last word of a text of eight octets or more overlaps the one
/// before it, so that nothing outside the text is read or written.
enum HPACKOctets {
    @inline(__always)
    static func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    }

    @inline(__always)
    static func mix(_ one: UInt64, _ other: UInt64) -> UInt64 {
        let product = one.multipliedFullWidth(by: other)
        return product.low ^ product.high
    }

    /// `word` with the letters A to Z of its eight octets in lower case.
    @inline(__always)
    private static func lowered(_ word: UInt64) -> UInt64 {
        let every: UInt64 = 0x0101_0101_0101_0101
        let low = word & (every &* 0x7F)
        // Bit 7 of an octet becomes 1 where it is at least "A", or beyond "Z".
        let fromA = low &+ every &* (0x80 - 0x41)
        let beyondZ = low &+ every &* (0x7F - 0x5A)
        let isLetter = (fromA ^ beyondZ) & ~word & (every &* 0x80)
        return word | (isLetter >> 2)
    }

    /// Up to seven octets as one number that no other text of the same length has.
    @inline(__always)
    private static func short(_ base: UnsafeRawPointer, _ count: Int) -> UInt64 {
        if count >= 4 {
            let first = unsafe base.loadUnaligned(as: UInt32.self)
            let last = unsafe base.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
            return UInt64(first) | UInt64(last) << 32
        }
        guard count > 0 else { return 0 }
        let first = unsafe base.load(as: UInt8.self)
        let middle = unsafe base.load(fromByteOffset: count / 2, as: UInt8.self)
        let last = unsafe base.load(fromByteOffset: count - 1, as: UInt8.self)
        return UInt64(first) | UInt64(middle) << 8 | UInt64(last) << 16
    }

    @inline(__always)
    private static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64, lowering: Bool) -> UInt64 {
        let count = bytes.count
        var state = seed ^ (UInt64(truncatingIfNeeded: count) &* 0x9E37_79B9_7F4A_7C15)
        guard count > 0, let base = bytes.baseAddress else { return mix(state ^ first, second) }
        if count < 8 {
            let word = unsafe short(base, count)
            return mix((lowering ? lowered(word) : word) ^ first, state ^ second)
        }
        // Two words at a time; the last one or two overlap what was read before.
        var offset = 0
        while offset < count &- 16 {
            let one = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            let other = unsafe base.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt64.self)
            state = mix((lowering ? lowered(one) : one) ^ first, (lowering ? lowered(other) : other) ^ state)
            offset &+= 16
        }
        let one = unsafe base.loadUnaligned(fromByteOffset: max(count &- 16, 0), as: UInt64.self)
        let other = unsafe base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        state = mix((lowering ? lowered(one) : one) ^ first, (lowering ? lowered(other) : other) ^ state)
        return mix(state ^ first, second)
    }

    private static var first: UInt64 { 0xA076_1D64_78BD_642F }
    private static var second: UInt64 { 0xE703_7ED1_A0B4_28DB }

    /// Of a field, its name in lower case.
    ///
    /// - Parameter isLowered: the name is so already.
    @inline(__always)
    static func hash(
        name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, isLowered: Bool
    ) -> UInt64 {
        // Two loops, so that neither asks for each word.
        let seed = unsafe isLowered ? hash(name, seed: 0, lowering: false) : hashLowered(name)
        return unsafe hash(value, seed: seed, lowering: false)
    }

    /// Of a name in lower case.
    @inline(__always)
    static func hashLowered(_ name: UnsafeRawBufferPointer) -> UInt64 {
        unsafe hash(name, seed: 0, lowering: true)
    }

    /// Whether `bytes` are what stands at `stored`.
    @inline(__always)
    static func equal(_ bytes: UnsafeRawBufferPointer, _ stored: UnsafeRawPointer) -> Bool {
        unsafe equal(bytes, stored, lowering: false)
    }

    /// Whether `name`, in lower case, is what stands at `stored`.
    ///
    /// - Parameter isLowered: the name is so already.
    @inline(__always)
    static func equalLowered(
        _ name: UnsafeRawBufferPointer, _ stored: UnsafeRawPointer, isLowered: Bool
    ) -> Bool {
        unsafe isLowered ? equal(name, stored, lowering: false) : equal(name, stored, lowering: true)
    }

    @inline(__always)
    private static func equal(
        _ bytes: UnsafeRawBufferPointer, _ stored: UnsafeRawPointer, lowering: Bool
    ) -> Bool {
        let count = bytes.count
        guard count > 0, let base = bytes.baseAddress else { return true }
        if count < 8 {
            let word = unsafe short(base, count)
            return unsafe (lowering ? lowered(word) : word) == short(stored, count)
        }
        // The hashes are the same, so there is most likely no difference: one is looked for at the end only.
        var difference: UInt64 = 0
        var offset = 0
        while offset < count &- 8 {
            let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            let other = unsafe stored.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            difference |= (lowering ? lowered(word) : word) ^ other
            offset &+= 8
        }
        let word = unsafe base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        let other = unsafe stored.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        return difference | ((lowering ? lowered(word) : word) ^ other) == 0
    }

    /// Copies `name` in lower case to memory that has room for it and does not overlap it.
    static func copyLowered(_ name: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
        let count = name.count
        guard count > 0, let base = name.baseAddress else { return }
        if count < 8 {
            for index in 0..<count {
                unsafe target.storeBytes(of: Octet.lowercased(name[index]), toByteOffset: index, as: UInt8.self)
            }
            return
        }
        var offset = 0
        while true {
            let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            unsafe target.storeBytes(of: lowered(word), toByteOffset: offset, as: UInt64.self)
            if offset == count - 8 { return }
            offset = min(offset + 8, count - 8)
        }
    }

    /// RFC 7541 5.1. Takes at most 11 octets at `at`, which is moved behind them.
    @inline(__always)
    static func integer(_ value: Int, prefix: UInt8, pattern: UInt8, to at: inout UnsafeMutableRawPointer) {
        let most = (1 << Int(prefix)) - 1
        if value < most {
            unsafe at.storeBytes(of: pattern | UInt8(truncatingIfNeeded: value), as: UInt8.self)
            unsafe at += 1
            return
        }
        unsafe at.storeBytes(of: pattern | UInt8(truncatingIfNeeded: most), as: UInt8.self)
        unsafe at += 1
        var rest = value - most
        while rest >= 0x80 {
            unsafe at.storeBytes(of: UInt8(truncatingIfNeeded: rest & 0x7F | 0x80), as: UInt8.self)
            unsafe at += 1
            rest >>= 7
        }
        unsafe at.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
        unsafe at += 1
    }
}
