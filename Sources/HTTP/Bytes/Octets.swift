internal import Glibc

/// Classes of octets (RFC 9110 5.6.2, 5.5). Sets of ASCII characters are two words of bits, which are constants in the
/// code: a table would be made, and checked to have been made, at run time.
@usableFromInline
package enum Octet {
    /// Whether `byte` is in the set of `low` (0 to 63) and `high` (64 to 127).
    @inline(__always)
    private static func isIn(_ low: UInt64, _ high: UInt64, _ byte: UInt8) -> Bool {
        let set = byte < 64 ? low : byte < 128 ? high : 0
        return set >> UInt64(byte & 63) & 1 == 1
    }

    /// `tchar` (RFC 9110 5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``.
    @inline(__always)
    static func isTokenOctet(_ byte: UInt8) -> Bool {
        isIn(0x03FF_6CFA_0000_0000, 0x57FF_FFFF_C7FF_FFFE, byte)
    }

    /// What may stand in the name of a host (RFC 3986 3.2.2): unreserved, sub-delims and the percent sign.
    @inline(__always)
    static func isHostNameOctet(_ byte: UInt8) -> Bool {
        isIn(0x2BFF_7FF2_0000_0000, 0x47FF_FFFE_87FF_FFFE, byte)
    }

    /// Whether all of `bytes` are token characters and there is at least one.
    package static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for index in 0..<bytes.count {
            guard unsafe isTokenOctet(bytes[index]) else { return false }
        }
        return bytes.count > 0
    }

    /// Whether `bytes` may stand in a field value: no control octet but HTAB.
    package static func isFieldValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
        // All octets are looked at, without a way out in the middle, so that the loop can be vectorized.
        var bad: UInt8 = 0
        for index in 0..<bytes.count {
            let byte = unsafe bytes[index]
            bad |= (byte < 0x20 ? 1 : 0) & (byte == 0x09 ? 0 : 1)
            bad |= byte == 0x7F ? 1 : 0
        }
        return bad == 0
    }

    /// Whether all of `bytes` may stand in a request target. Characters that RFC 3986 leaves out but that
    /// callers do send (`"`, `<`, `^`, `{`, `|` …) are told apart by ``isLenientTarget(_:)``.
    package static func isTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for index in 0..<bytes.count {
            guard unsafe isIn(0xAFFF_FFF2_0000_0000, 0x47FF_FFFE_AFFF_FFFF, bytes[index]) else { return false }
        }
        return true
    }

    /// Whether `bytes` hold no space, control octet or octet above 0x7E.
    package static func isLenientTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var bad: UInt8 = 0
        for index in 0..<bytes.count {
            let byte = unsafe bytes[index]
            bad |= byte <= 0x20 ? 1 : 0
            bad |= byte >= 0x7F ? 1 : 0
            bad |= byte == 0x23 ? 1 : 0
        }
        return bad == 0
    }

    @inlinable @inline(__always)
    package static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
    }

    @inlinable @inline(__always)
    package static func isDigit(_ byte: UInt8) -> Bool {
        byte >= 0x30 && byte <= 0x39
    }

    /// The value of a hexadecimal digit, or nil.
    @inlinable @inline(__always)
    package static func hexadecimalValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }

    /// Eight octets with the upper-case letters among them in lower case.
    @inlinable @inline(__always)
    static func lowercased(_ octets: UInt64) -> UInt64 {
        let seven = octets & 0x7F7F_7F7F_7F7F_7F7F
        // The top bit of each octet: set by an addition that carries into it from "A" or from above "Z" on.
        let letters = (seven &+ 0x3F3F_3F3F_3F3F_3F3F) ^ (seven &+ 0x2525_2525_2525_2525)
        return octets | (letters & ~octets & 0x8080_8080_8080_8080) >> 2
    }

    @inlinable @inline(__always)
    static func word(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// Whether `bytes` equal `text`, which is in lower case, without regard to ASCII case.
    @inlinable @inline(__always)
    package static func equal(_ bytes: UnsafeRawBufferPointer, ignoringCase text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard bytes.count == count, let base = bytes.baseAddress else { return bytes.count == count }
        let other = unsafe UnsafeRawPointer(text.utf8Start)
        guard count >= 8 else {
            for index in 0..<count {
                if unsafe lowercased(bytes[index]) != text.utf8Start[index] { return false }
            }
            return true
        }
        var offset = 0
        while offset < count - 8 {
            if unsafe lowercased(word(base, offset)) != word(other, offset) { return false }
            offset += 8
        }
        return unsafe lowercased(word(base, count - 8)) == word(other, count - 8)
    }

    /// Whether two byte strings are equal without regard to ASCII case.
    @inlinable
    package static func equal(_ one: UnsafeRawBufferPointer, ignoringCase other: UnsafeRawBufferPointer) -> Bool {
        guard one.count == other.count else { return false }
        return unsafe equalOfSameLength(one, other)
    }

    @usableFromInline
    static func equalOfSameLength(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Bool {
        for index in 0..<one.count {
            if unsafe lowercased(one[index]) != lowercased(other[index]) { return false }
        }
        return true
    }

    /// Whether two byte strings are the same.
    package static func equal(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Bool {
        guard one.count == other.count else { return false }
        guard one.count > 0 else { return true }
        return unsafe memcmp(one.baseAddress!, other.baseAddress!, one.count) == 0
    }

    /// The first position of `byte`, or nil.
    @inline(__always)
    package static func firstIndex(of byte: UInt8, in bytes: UnsafeRawBufferPointer) -> Int? {
        guard bytes.count > 0, let base = bytes.baseAddress,
            let found = unsafe memchr(base, Int32(byte), bytes.count)
        else { return nil }
        return unsafe UnsafeRawPointer(found) - base
    }

    /// A decimal number of digits alone (RFC 9110 8.6); nil when empty, with other octets, or above 2^63 - 1.
    package static func decimal(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        guard bytes.count > 0 else { return nil }
        var value: UInt64 = 0
        if bytes.count <= 18 {
            // Below 10^18: nothing can overflow.
            for index in 0..<bytes.count {
                let digit = unsafe bytes[index] &- 0x30
                guard digit < 10 else { return nil }
                value = value &* 10 &+ UInt64(digit)
            }
            return value
        }
        for index in 0..<bytes.count {
            let byte = unsafe bytes[index]
            guard isDigit(byte) else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 0x30))
            guard !overflow, !carry, sum <= UInt64(Int64.max) else { return nil }
            value = sum
        }
        return value
    }

    /// `bytes` without spaces and tabs at either end.
    package static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        var end = bytes.count
        while start < end, unsafe bytes[start] == 0x20 || bytes[start] == 0x09 { start += 1 }
        while end > start, unsafe bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09 { end -= 1 }
        return unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }

    /// Calls `body` with each element of a comma-separated list (RFC 9110 5.6.1), trimmed; empty ones are left out.
    package static func forEachListElement(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        var rest = unsafe bytes
        while true {
            let comma = unsafe firstIndex(of: 0x2C, in: rest) ?? rest.count
            let element = unsafe trimmed(UnsafeRawBufferPointer(rebasing: rest[..<comma]))
            if element.count > 0 { unsafe body(element) }
            guard comma < rest.count else { return }
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[(comma + 1)...])
        }
    }
}
