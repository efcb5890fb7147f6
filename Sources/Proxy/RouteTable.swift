package import HTTP

/// Finds the most specific route: a host over none, an exact path over a prefix, a longer prefix over a shorter,
/// methods over none.
package struct RouteTable: Sendable {
    package enum Match: Equatable {
        case route(Int)
        case noRoute
        /// The path means different things before and after decoding.
        case refused
    }

    package let rules: [RouteRule]
    private let index: RouteIndex

    package init(_ rules: [RouteRule]) {
        self.rules = rules
        // Of two that are as specific the first stays the first.
        let order = rules.indices.sorted { Self.isMoreSpecific(rules[$0], rules[$1]) }
        index = RouteIndex(rules, order: order)
    }

    private static func isMoreSpecific(_ one: RouteRule, _ other: RouteRule) -> Bool {
        if (one.host != nil) != (other.host != nil) { return one.host != nil }
        let (first, second) = (one.path.rank, other.path.rank)
        if first != second { return first > second }
        return !one.methods.isEmpty && other.methods.isEmpty
    }

    /// Finds the route for a parsed request head.
    ///
    /// - Parameter scratch: for the decoded form of the path; its content is lost.
    package func match(_ head: borrowing MessageHead, scratch: inout ByteBuffer) -> Match {
        let host = Authority.host(head.bytes(head.authority))
        let method = head.bytes(head.methodText)
        let found = index.find(head.bytes(head.path), host: host, method: method, in: rules)
        switch CanonicalPath.decode(head.bytes(head.path), into: &scratch) {
        case .plain: break
        case .refused: return .refused
        case .decoded:
            guard index.find(scratch.readable, host: host, method: method, in: rules) == found else { return .refused }
        }
        guard let found else { return .noRoute }
        return .route(found)
    }
}

extension RouteRule.Path {
    fileprivate var rank: Int {
        switch self {
        case .exact(let path): path.count * 2 + 1_000_000
        case .prefix(let path): path.count * 2
        }
    }
}

/// A CIDR block of IPv4 or IPv6 addresses; IPv4 mapped into IPv6 counts as IPv4.
package struct AddressBlock: Sendable, Equatable {
    package let high: UInt64
    package let low: UInt64
    package let isIPv4: Bool
    package let prefixLength: Int

    /// - Parameters:
    ///   - high: the upper half of an IPv6 address, 0 for IPv4.
    ///   - low: the lower half of an IPv6 address, or the 32 bits of an IPv4 one.
    ///   - prefixLength: is brought between 0 and the width of the address.
    package init(high: UInt64, low: UInt64, isIPv4: Bool, prefixLength: Int) {
        let isMapped = !isIPv4 && Self.isMapped(high, low) && prefixLength >= 96
        self.high = high
        self.low = isMapped ? low & 0xFFFF_FFFF : low
        self.isIPv4 = isIPv4 || isMapped
        let length = min(max(prefixLength, 0), isIPv4 ? 32 : 128)
        self.prefixLength = isMapped ? length - 96 : length
    }

    package func contains(high otherHigh: UInt64, low otherLow: UInt64, isIPv4 other: Bool) -> Bool {
        if !other, Self.isMapped(otherHigh, otherLow) {
            return contains(high: 0, low: otherLow & 0xFFFF_FFFF, isIPv4: true)
        }
        guard isIPv4 == other else { return false }
        if prefixLength == 0 { return true }
        if isIPv4 { return (low ^ otherLow) >> UInt64(32 - prefixLength) == 0 }
        if prefixLength <= 64 { return (high ^ otherHigh) >> UInt64(64 - prefixLength) == 0 }
        return high == otherHigh && (low ^ otherLow) >> UInt64(128 - prefixLength) == 0
    }

    /// Whether it is in ::ffff:0:0/96 (RFC 4291 2.5.5.2).
    private static func isMapped(_ high: UInt64, _ low: UInt64) -> Bool { high == 0 && low >> 32 == 0xFFFF }
}
