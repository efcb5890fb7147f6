/// Searches that look at 16 octets in one step.
///
/// Those on padded memory may read up to ``padding`` octets behind what they are to look at; ``ByteBuffer``'s
/// `appendPadded` leaves that many zeros there, and a zero ends each of these searches.
enum OctetScan {
    typealias Octets = SIMD16<UInt8>
    typealias Mask = SIMDMask<SIMD16<Int8>>

    /// Octets that are compared in one step, and that must be readable behind the end of padded memory.
    static let padding = 16

    @inline(__always)
    static func load(_ memory: UnsafeRawPointer) -> Octets {
        unsafe memory.loadUnaligned(as: Octets.self)
    }

    @inline(__always)
    static func all(_ byte: UInt8) -> Octets {
        Octets(repeating: byte)
    }

    /// Two words with eight lanes each, the first lane lowest; a lane that is true has all bits set.
    @inline(__always)
    static func words(_ mask: Mask) -> (low: UInt64, high: UInt64) {
        let words = unsafe unsafeBitCast(mask, to: SIMD2<UInt64>.self)
        return (words.x.littleEndian, words.y.littleEndian)
    }

    /// The first lane that is true; 16 when there is none.
    @inline(__always)
    static func first(_ mask: Mask) -> Int {
        let (low, high) = words(mask)
        if low != 0 { return low.trailingZeroBitCount >> 3 }
        return 8 &+ high.trailingZeroBitCount >> 3
    }

    /// The last lane that is true, where there is one.
    @inline(__always)
    static func last(_ mask: Mask) -> Int {
        let (low, high) = words(mask)
        return high != 0 ? 15 &- high.leadingZeroBitCount >> 3 : 7 &- low.leadingZeroBitCount >> 3
    }

    /// One bit for each lane, the first lane lowest.
    @inline(__always)
    static func lanes(_ mask: Mask) -> UInt32 {
        let (low, high) = words(mask)
        // The product moves the bit of octet i, of which only the lowest is left, to bit 56 + i.
        let ones: UInt64 = 0x0101_0101_0101_0101
        let gather: UInt64 = 0x0102_0408_1020_4080
        return UInt32(truncatingIfNeeded: ((low & ones) &* gather) >> 56 | ((high & ones) &* gather) >> 48 & 0xFF00)
    }

    @inline(__always)
    static func isAny(_ mask: Mask) -> Bool {
        let (low, high) = words(mask)
        return low | high != 0
    }

    /// Where the letters, digits and hyphens from `start` end: nearly every field name is made of these.
    @inline(__always)
    static func plainNameEnd(_ memory: UnsafeRawPointer, from start: Int) -> Int {
        var position = start
        while true {
            let octets = unsafe load(memory + position)
            let letters = ((octets | all(0x20)) &- all(0x61)) .< all(26)
            let digits = (octets &- all(0x30)) .< all(10)
            let others = first(.!(letters .| digits .| (octets .== all(0x2D))))
            if others < 16 { return position &+ others }
            position &+= 16
        }
    }

    /// The first octet from `start` on that ends the run of what may stand in a field value; HTAB ends it too.
    @inline(__always)
    static func plainValueEnd(_ memory: UnsafeRawPointer, from start: Int) -> Int {
        var position = start
        while true {
            let octets = unsafe load(memory + position)
            let end = first((octets .< all(0x20)) .| (octets .== all(0x7F)))
            if end < 16 { return position &+ end }
            position &+= 16
        }
    }

    /// The first octet from `start` on that may not stand in a request target (a space, as a rule), and the first "?"
    /// before it or else the same place.
    @inline(__always)
    static func targetEnd(_ memory: UnsafeRawPointer, from start: Int) -> (end: Int, query: Int) {
        var position = start
        var query = Int.max
        while true {
            let octets = unsafe load(memory + position)
            let outside = ((octets &- all(0x21)) .>= all(0x5E)) .| (octets .== all(0x23))
            if query == Int.max {
                let mark = first(octets .== all(0x3F))
                if mark < 16 { query = position &+ mark }
            }
            let end = first(outside)
            if end < 16 { return (position &+ end, min(query, position &+ end)) }
            position &+= 16
        }
    }
}
