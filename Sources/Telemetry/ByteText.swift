/// Text building on `[UInt8]` without `String`: none of these allocates while the array has room.
extension [UInt8] {
    /// Appends the bytes of a literal.
    package mutating func append(ascii text: StaticString) {
        text.withUTF8Buffer { append(contentsOf: $0) }
    }

    /// Appends a non-negative number, zero-filled to `width`.
    mutating func appendDigits(_ value: Int, width: Int) {
        let start = count
        for _ in 0..<width { append(UInt8(ascii: "0")) }
        var rest = value
        var index = start + width - 1
        while index >= start, rest > 0 {
            self[index] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
            index -= 1
        }
    }

    /// Appends a number in decimal.
    package mutating func append(decimal value: some BinaryInteger) {
        if value < 0 { append(UInt8(ascii: "-")) }
        var rest = UInt64(value.magnitude)
        let start = count
        repeat {
            append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        var left = start
        var right = count - 1
        while left < right {
            swapAt(left, right)
            left += 1
            right -= 1
        }
    }

    /// Appends part of a literal table of fixed-width words.
    mutating func appendPart(of table: StaticString, at offset: Int, count: Int) {
        table.withUTF8Buffer { append(contentsOf: $0[offset..<offset + count]) }
    }

    /// Appends nanoseconds as seconds, all nine fraction digits, so that no sum is rounded.
    mutating func append(secondsFromNanoseconds nanoseconds: UInt64) {
        append(decimal: nanoseconds / 1_000_000_000)
        append(UInt8(ascii: "."))
        appendDigits(Int(nanoseconds % 1_000_000_000), width: 9)
    }
}
