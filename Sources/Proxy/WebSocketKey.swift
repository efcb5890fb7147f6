/// The handshake's proof that the other side has read the request as one for a WebSocket (RFC 6455 1.3).
package enum WebSocketKey {
    /// The value of `Sec-WebSocket-Accept` for the value of a `Sec-WebSocket-Key`.
    package static func accept(_ key: UnsafeRawBufferPointer) -> [UInt8] {
        base64(sha1(Array(key) + Array("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)))
    }

    /// A `Sec-WebSocket-Key` of 16 random octets.
    package static func key(_ random: (UInt64, UInt64)) -> [UInt8] {
        base64((0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? random.0 : random.1) >> UInt64($0 % 8 * 8)) })
    }

    /// FIPS 180-4 6.1. The handshake names it; nothing secret depends on it.
    private static func sha1(_ message: [UInt8]) -> [UInt8] {
        var padded = message + [0x80]
        while padded.count % 64 != 56 { padded.append(0) }
        let bits = UInt64(message.count) * 8
        for shift in stride(from: UInt64(56), through: 0, by: -8) {
            padded.append(UInt8(truncatingIfNeeded: bits >> shift))
        }
        var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        for start in stride(from: 0, to: padded.count, by: 64) { digest(padded[start..<(start + 64)], into: &state) }
        return state.flatMap { word in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> UInt32($0)) }
        }
    }

    private static func digest(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
        func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
        var words = [UInt32](repeating: 0, count: 80)
        for (index, octet) in block.enumerated() { words[index / 4] = words[index / 4] << 8 | UInt32(octet) }
        for index in 16..<80 {
            words[index] = rotated(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1)
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for index in 0..<80 {
            let mixed: UInt32
            let constant: UInt32
            switch index / 20 {
            case 0: (mixed, constant) = (b & c | ~b & d, 0x5A82_7999)
            case 1: (mixed, constant) = (b ^ c ^ d, 0x6ED9_EBA1)
            case 2: (mixed, constant) = (b & c | b & d | c & d, 0x8F1B_BCDC)
            default: (mixed, constant) = (b ^ c ^ d, 0xCA62_C1D6)
            }
            let next = rotated(a, 5) &+ mixed &+ e &+ constant &+ words[index]
            (e, d, c, b, a) = (d, c, rotated(b, 30), a, next)
        }
        for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
    }

    /// RFC 4648 4.
    private static func base64(_ octets: [UInt8]) -> [UInt8] {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: octets.count, by: 3) {
            let count = min(3, octets.count - start)
            var group: UInt32 = 0
            for index in 0..<3 { group = group << 8 | (index < count ? UInt32(octets[start + index]) : 0) }
            for index in 0..<4 {
                text.append(index <= count ? digits[Int(group >> UInt32(18 - 6 * index) & 63)] : 0x3D)
            }
        }
        return text
    }
}
