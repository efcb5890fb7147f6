import CLinux

/// Where a socket listens, or whom it talks to.
package enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address as a number: 127.0.0.1 is `0x7f00_0001`.
    case ipv4(UInt32, port: UInt16)
    /// The address as two halves, and the interface that a link-local one belongs to (0: none).
    case ipv6(high: UInt64, low: UInt64, port: UInt16, scope: UInt32)
    /// A socket in the file system. Empty for a peer that never bound a name, as almost every caller.
    case unix(path: String)

    /// The longest path of a unix socket in bytes, `sun_path` without its final zero.
    package static let longestUnixPath = TG_UNIX_PATH_CAPACITY - 1

    package static func loopback(port: UInt16) -> SocketAddress {
        .ipv4(0x7f00_0001, port: port)
    }

    /// Reads `127.0.0.1`, `::1`, `[::1]` or `fe80::1%eth0`. Nil for anything else: host names, shortened or octal IPv4.
    /// `::ffff:10.0.0.1` is the IPv4 address in it, here and where the kernel reports a peer.
    package init?(numericHost: String, port: UInt16) {
        var text = numericHost[...]
        let isBracketed = text.utf8.first == UInt8(ascii: "[") && text.utf8.last == UInt8(ascii: "]")
        if isBracketed, text.utf8.count > 2 { text = text.dropFirst().dropLast() }
        guard !text.utf8.contains(0), !isBracketed || text.utf8.contains(UInt8(ascii: ":")) else { return nil }
        var raw = tg_address()
        guard unsafe tg_parse_ip(String(text), &raw) == 1 else { return nil }
        raw.port = port
        self.init(raw)
    }

    /// Nil for a unix socket.
    package var port: UInt16? {
        switch self {
        case .ipv4(_, let port), .ipv6(_, _, let port, _): port
        case .unix: nil
        }
    }

    /// The same address with another port; a unix socket stays as it is.
    package func with(port: UInt16) -> SocketAddress {
        switch self {
        case .ipv4(let address, _): .ipv4(address, port: port)
        case .ipv6(let high, let low, _, let scope): .ipv6(high: high, low: low, port: port, scope: scope)
        case .unix: self
        }
    }

    /// True when only processes on this machine can be at the other end: 127.0.0.0/8, `::1`, a unix socket.
    package var isLoopback: Bool {
        switch self {
        case .ipv4(let address, _): address >> 24 == 127
        case .ipv6(let high, let low, _, _): high == 0 && (low == 1 || low >> 24 == 0xffff_7f)
        case .unix: true
        }
    }

    /// `127.0.0.1:80`, `[::1]:80`, `[fe80::1%2]:80`, `unix:/run/x`.
    package var description: String {
        switch self {
        case .ipv4(_, let port): "\(ipText):\(port)"
        case .ipv6(_, _, let port, let scope): scope == 0 ? "[\(ipText)]:\(port)" : "[\(ipText)%\(scope)]:\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// The IP address alone, as RFC 5952 writes it; empty for a unix socket.
    package var ipText: String {
        unsafe withIPText { unsafe String(decoding: $0, as: UTF8.self) }
    }

    /// Lends the bytes of the IP address alone (no port, no brackets, no scope), without a heap allocation, for
    /// `X-Forwarded-For`. Empty for a unix socket. The bytes are valid during the call only.
    package func withIPText<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        let capacity = TG_IP_TEXT_CAPACITY
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
            let length = unsafe tg_format_ip(raw, buffer.baseAddress)
            return unsafe body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<Int(length)]))
        }
    }
}

extension SocketAddress {
    /// Nil for a family that is neither IP nor unix.
    init?(_ raw: tg_address, path: String = "") {
        switch raw.family {
        case Int32(TG_FAMILY_V4): self = .ipv4(UInt32(truncatingIfNeeded: raw.low), port: raw.port)
        case Int32(TG_FAMILY_V6): self = .ipv6(high: raw.high, low: raw.low, port: raw.port, scope: raw.scope)
        case Int32(TG_FAMILY_UNIX): self = .unix(path: path)
        default: return nil
        }
    }

    var raw: tg_address {
        switch self {
        case .ipv4(let address, let port):
            tg_address(family: Int32(TG_FAMILY_V4), scope: 0, high: 0, low: UInt64(address), port: port)
        case .ipv6(let high, let low, let port, let scope):
            tg_address(family: Int32(TG_FAMILY_V6), scope: scope, high: high, low: low, port: port)
        case .unix:
            tg_address(family: Int32(TG_FAMILY_UNIX), scope: 0, high: 0, low: 0, port: 0)
        }
    }

    /// Nil for IP addresses.
    var unixPath: String? {
        switch self {
        case .ipv4, .ipv6: nil
        case .unix(let path): path
        }
    }

    /// Whether the kernel can take the address: a unix path has 1 to 107 bytes and no zero byte.
    var isUsable: Bool {
        guard let unixPath else { return true }
        return (1...Self.longestUnixPath).contains(unixPath.utf8.count) && !unixPath.utf8.contains(0)
    }
}
