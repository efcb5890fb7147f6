extension Snapshot.IPAddress: CustomStringConvertible {
    /// Reads dotted IPv4 or RFC 4291 IPv6 text without brackets, zone or port; nil for anything else.
    package init?(_ text: some StringProtocol) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let groups = Self.groups(text) else { return nil }
            let high = groups[..<4].reduce(0 as UInt64) { $0 << 16 | UInt64($1) }
            self = .v6(high: high, low: groups[4...].reduce(0 as UInt64) { $0 << 16 | UInt64($1) })
        } else {
            guard let bits = Self.dotted(text) else { return nil }
            self = .v4(bits)
        }
    }

    /// Four numbers without leading zeros, which other programs would read as octal.
    private static func dotted(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            guard part.utf8.count <= 3, part.utf8.allSatisfy(\.isDigit), part.count == 1 || part.first != "0",
                let number = UInt32(part), number <= 255
            else { return nil }
            bits = bits << 8 | number
        }
        return bits
    }

    private static func groups(_ text: some StringProtocol) -> [UInt16]? {
        let halves = halves(of: text)
        guard let front = list(halves[0], mayEndInDotted: halves.count == 1) else { return nil }
        guard halves.count == 2 else { return front.count == 8 ? front : nil }
        guard let back = list(halves[1], mayEndInDotted: true), front.count + back.count <= 7 else { return nil }
        return front + Array(repeating: 0, count: 8 - front.count - back.count) + back
    }

    /// The text around the one place where "::" stands for zeros, or the whole text.
    private static func halves(of text: some StringProtocol) -> [String] {
        let bytes = Array(text.utf8)
        guard let at = bytes.indices.dropLast().first(where: { bytes[$0] == 58 && bytes[$0 + 1] == 58 }) else {
            return [String(text)]
        }
        return [String(decoding: bytes[..<at], as: UTF8.self), String(decoding: bytes[(at + 2)...], as: UTF8.self)]
    }

    private static func list(_ text: String, mayEndInDotted: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if mayEndInDotted, index == parts.count - 1, part.contains("."), let bits = dotted(part) {
                groups += [UInt16(truncatingIfNeeded: bits >> 16), UInt16(truncatingIfNeeded: bits)]
            } else {
                guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy(\.isHexDigit),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups.count <= 8 ? groups : nil
    }

    /// The address's octets, 4 or 16.
    package var bytes: [UInt8] {
        switch self {
        case .v4(let bits): (0..<4).map { UInt8(truncatingIfNeeded: bits >> (24 - 8 * $0)) }
        case .v6(let high, let low):
            [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) } }
        }
    }

    /// RFC 5952 text.
    package var description: String {
        let bytes = bytes
        guard bytes.count == 16 else { return bytes.map(String.init).joined(separator: ".") }
        let groups = (0..<8).map { UInt16(bytes[2 * $0]) << 8 | UInt16(bytes[2 * $0 + 1]) }
        func text(_ range: some Sequence<UInt16>) -> String {
            range.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard let zeros = Self.longestZeroRun(groups) else { return text(groups) }
        return text(groups[..<zeros.lowerBound]) + "::" + text(groups[zeros.upperBound...])
    }

    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        for index in 0...groups.count where index == groups.count || groups[index] != 0 {
            if index - start > max(1, best?.count ?? 0) { best = start..<index }
            start = index + 1
        }
        return best
    }
}

extension Snapshot.Network {
    /// Reads "10.0.0.0/8", "fd00::/8" or a single address; nil for anything else, also where bits behind the prefix
    /// are set, since that is mostly a slip.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = Snapshot.IPAddress(parts[0]) else { return nil }
        let width = address.bytes.count * 8
        var length = width
        if parts.count == 2 {
            guard (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy(\.isDigit),
                let number = Int(parts[1]), number <= width
            else { return nil }
            length = number
        }
        guard Self.masked(address, length) == address else { return nil }
        let isMapped = width == 128 && length >= 96 && address.unmapped != address
        self.address = isMapped ? address.unmapped : address
        prefixLength = isMapped ? length - 96 : length
    }

    /// Whether the block covers an address. An IPv4 address mapped into IPv6 counts as the IPv4 address that it is.
    package func contains(_ candidate: Snapshot.IPAddress) -> Bool {
        Self.masked(candidate.unmapped, prefixLength) == address
    }

    private static func masked(_ address: Snapshot.IPAddress, _ length: Int) -> Snapshot.IPAddress {
        switch address {
        case .v4(let bits): .v4(bits & ~(UInt32.max >> length))
        case .v6(let high, let low):
            .v6(high: high & ~(UInt64.max >> length), low: low & ~(UInt64.max >> max(0, length - 64)))
        }
    }
}

extension Snapshot.IPAddress {
    /// The IPv4 address inside ::ffff:0:0/96, otherwise the address itself.
    package var unmapped: Self {
        guard case .v6(0, let low) = self, low >> 32 == 0xffff else { return self }
        return .v4(UInt32(truncatingIfNeeded: low))
    }
}
