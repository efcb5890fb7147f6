// Which addresses anybody may stand behind, and which belong to this machine, its network or nobody.

extension SocketAddress {
    /// False for what is not reached over the public internet (the registries of RFC 6890): loopback, private and shared
    /// networks, link-local (where clouds keep their metadata services), documentation, benchmarks, multicast, reserved; and
    /// for IPv6 addresses that stand for such IPv4 ones (mapped, NAT64, 6to4).
    package var isPublic: Bool {
        switch self {
        case .ipv4(let address, _): Self.isPublic(address)
        case .ipv6(let high, let low, _, _): Self.isPublic(high, low)
        case .unix: false
        }
    }

    private static let privateIPv4: [(UInt32, prefix: UInt32)] = [
        (0x0000_0000, 8), (0x0A00_0000, 8), (0x6440_0000, 10), (0x7F00_0000, 8), (0xA9FE_0000, 16),
        (0xAC10_0000, 12), (0xC000_0000, 24), (0xC000_0200, 24), (0xC0A8_0000, 16), (0xC612_0000, 15),
        (0xC633_6400, 24), (0xCB00_7100, 24), (0xE000_0000, 3),
    ]

    private static func isPublic(_ address: UInt32) -> Bool {
        !privateIPv4.contains { network, prefix in (address ^ network) >> (32 - prefix) == 0 }
    }

    private static func isPublic(_ high: UInt64, _ low: UInt64) -> Bool {
        let embedded = UInt32(truncatingIfNeeded: low)
        switch high {
        // ::ffff:0:0/96 and the old IPv4-compatible form; ::, ::1.
        case 0: return low >> 32 == 0xFFFF && isPublic(embedded)
        // 64:ff9b::/96; 64:ff9b:1::/48 is for local use.
        case 0x0064_FF9B_0000_0000: return low >> 32 == 0 && isPublic(embedded)
        default: break
        }
        // 2002:V4ADDR::/16
        if high >> 48 == 0x2002 { return isPublic(UInt32(truncatingIfNeeded: high >> 16)) }
        // 2001:db8::/32, and of 2000::/3 all else but Teredo; nothing else is given out.
        if high >> 32 == 0x2001_0DB8 || high >> 32 == 0x2001_0000 { return false }
        return high >> 61 == 1
    }
}
