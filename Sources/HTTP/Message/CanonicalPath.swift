/// The path as a server may come to read it after decoding, for comparing with the path as it is sent.
///
/// Rules are matched on the path that is sent. A path whose decoded form falls under another rule, or that has a dot
/// segment in any form, is refused: no upstream is reached through a rule that does not cover what it will see
/// (RFC 3986 6.2.2, RFC 9110 7.7).
package enum CanonicalPath {
    package enum Result {
        /// The path has nothing that a server could read in another way.
        case plain
        /// The decoded form was written.
        case decoded
        /// The path has a dot segment, an octet that must not be there, or is encoded more than twice.
        case refused(StaticString)
    }

    /// Decodes `path` into `out` where that makes a difference.
    ///
    /// - Parameter out: emptied; holds the decoded path after ``Result/decoded``.
    package static func decode(_ path: UnsafeRawBufferPointer, into out: inout ByteBuffer) -> Result {
        out.removeAll()
        guard unsafe needsLook(path) else { return .plain }
        var decoded = unsafe [UInt8](path)
        var rounds = 0
        while decoded.contains(0x25) {
            guard let next = percentDecoded(decoded, isFirstRound: rounds == 0) else {
                return .refused("the path has a percent sign that begins no octet")
            }
            if next == decoded { break }
            decoded = next
            rounds += 1
            if rounds == 3 { return .refused("the path is percent-encoded more than twice") }
        }
        for byte in decoded where byte < 0x20 || byte == 0x7F {
            return .refused("the path has an encoded control octet")
        }
        if hasOverlongASCII(decoded) { return .refused("the path has an overlong UTF-8 form") }
        return normalise(decoded, into: &out)
    }

    private static func needsLook(_ path: UnsafeRawBufferPointer) -> Bool {
        guard let base = path.baseAddress else { return false }
        var index = 0
        // Sixteen octets, each with the one behind it.
        while index <= path.count - 17 {
            let octets = unsafe OctetScan.load(base + index)
            let behind = unsafe OctetScan.load(base + index + 1)
            let afterSlash = (behind .== OctetScan.all(0x2F)) .| (behind .== OctetScan.all(0x2E))
            let special =
                (octets .== OctetScan.all(0x25)) .| (octets .== OctetScan.all(0x5C)) .| (octets .== OctetScan.all(0x3B))
            let (low, high) = OctetScan.words(special .| ((octets .== OctetScan.all(0x2F)) .& afterSlash))
            if low | high != 0 { return true }
            index += 16
        }
        while index < path.count {
            switch unsafe base[index] {
            case 0x25, 0x5C, 0x3B: return true
            case 0x2F where index + 1 < path.count:
                if unsafe base[index + 1] == 0x2F || base[index + 1] == 0x2E { return true }
            default: break
            }
            index += 1
        }
        return false
    }

    /// One round of percent-decoding; a `%` that an earlier round made and that begins no triplet stays as it is,
    /// one that the caller sent makes it nil: servers differ in what they take it for (`%u002e`).
    private static func percentDecoded(_ path: [UInt8], isFirstRound: Bool) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(path.count)
        var index = 0
        while index < path.count {
            let byte = path[index]
            index += 1
            guard byte == 0x25 else {
                out.append(byte)
                continue
            }
            if index + 1 < path.count, let high = Octet.hexadecimalValue(path[index]),
                let low = Octet.hexadecimalValue(path[index + 1])
            {
                out.append(high << 4 | low)
                index += 2
            } else if isFirstRound {
                return nil
            } else {
                out.append(byte)
            }
        }
        return out
    }

    /// Whether an ASCII character is written in two to four octets of would-be UTF-8, as careless decoders accept it.
    private static func hasOverlongASCII(_ path: [UInt8]) -> Bool {
        func isContinuation(_ index: Int) -> Bool { index < path.count && path[index] & 0xC0 == 0x80 }
        for index in path.indices {
            switch path[index] {
            case 0xC0, 0xC1:
                if isContinuation(index + 1) { return true }
            case 0xE0:
                if isContinuation(index + 1) && path[index + 1] < 0x82 && isContinuation(index + 2) { return true }
            case 0xF0:
                if isContinuation(index + 1) && path[index + 1] == 0x80 && isContinuation(index + 2)
                    && path[index + 2] < 0x82 && isContinuation(index + 3)
                {
                    return true
                }
            default: break
            }
        }
        return false
    }

    /// Splits at `/` and `\`, cuts `;parameters`, merges empty segments; dot segments are refused.
    private static func normalise(_ path: [UInt8], into out: inout ByteBuffer) -> Result {
        var start = 0
        var index = 0
        var endsInSlash = false
        while index <= path.count {
            guard index == path.count || path[index] == 0x2F || path[index] == 0x5C else {
                index += 1
                continue
            }
            var end = start
            while end < index, path[end] != 0x3B { end += 1 }
            let length = end - start
            let isDot = length == 1 && path[start] == 0x2E
            let isDotDot = length == 2 && path[start] == 0x2E && path[start + 1] == 0x2E
            if isDot || isDotDot { return .refused("the path has a dot segment") }
            endsInSlash = length == 0
            if length > 0 {
                out.append(0x2F)
                for position in start..<end { out.append(path[position]) }
            }
            index += 1
            start = index
        }
        if out.isEmpty || endsInSlash { out.append(0x2F) }
        return .decoded
    }
}
