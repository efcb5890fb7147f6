internal import Glibc

/// Classes of octets (RFC 9110 5.6.2, 5.5), as one table look-up each.
package enum Octet {
    /// Bit 0: token character. Bit 2: allowed in a request target.
    private static let classes: [UInt8] = (0..<256).map { value in
        let byte = UInt8(value)
        var bits: UInt8 = 0
        let isAlphanumeric =
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        if isAlphanumeric || "!#$%&'*+-.^_`|~".utf8.contains(byte) { bits |= 1 }
        if byte > 0x20 && byte < 0x7F && !"\"<>\\^`{|}#".utf8.contains(byte) { bits |= 4 }
        return bits
    }

    @inline(__always)
    private static func all(_ bytes: UnsafeRawBufferPointer, have bit: UInt8) -> Bool {
        unsafe classes.withUnsafeBufferPointer { table in
            for index in 0..<bytes.count {
                // The table has 256 entries, so any octet is in range.
                if unsafe table[Int(bytes[index])] & bit == 0 { return false }
            }
            return true
        }
    }

    /// Whether all of `bytes` are token characters and there is at least one.
    package static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        unsafe bytes.count > 0 && all(bytes, have: 1)
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
        unsafe all(bytes, have: 4)
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

    @inline(__always)
    package static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
    }

    @inline(__always)
    package static func isDigit(_ byte: UInt8) -> Bool {
        byte >= 0x30 && byte <= 0x39
    }

    /// The value of a hexadecimal digit, or nil.
    @inline(__always)
    package static func hexadecimalValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }

    /// Whether `bytes` equal `text`, which is in lower case, without regard to ASCII case.
    @inline(__always)
    package static func equal(_ bytes: UnsafeRawBufferPointer, ignoringCase text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        let other = unsafe text.utf8Start
        for index in 0..<bytes.count {
            if unsafe lowercased(bytes[index]) != other[index] { return false }
        }
        return true
    }

    /// Whether two byte strings are equal without regard to ASCII case.
    package static func equal(_ one: UnsafeRawBufferPointer, ignoringCase other: UnsafeRawBufferPointer) -> Bool {
        guard one.count == other.count else { return false }
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
