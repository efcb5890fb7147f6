extension Snapshot {
    /// Where a listener binds.
    package enum Address: Sendable, Hashable, CustomStringConvertible {
        /// Port 0: the system chooses.
        case tcp(IPAddress, port: UInt16)
        /// Every address of the host, IPv4 and IPv6 (`*:8080`).
        case any(port: UInt16)
        case unix(path: String)

        /// Whether only this host can connect.
        package var isLocal: Bool {
            switch self {
            case .tcp(let address, _): address.isLoopback
            case .any: false
            case .unix: true
            }
        }

        /// As in gateway.conf.
        package var description: String {
            switch self {
            case .tcp(.v4(let bits), let port): "\(IPAddress.v4(bits)):\(port)"
            case .tcp(let address, let port): "[\(address)]:\(port)"
            case .any(let port): "*:\(port)"
            case .unix(let path): "unix:\(path)"
            }
        }
    }

    /// An IP address as numbers, most significant bit first on the wire.
    package enum IPAddress: Sendable, Hashable {
        case v4(UInt32)
        case v6(high: UInt64, low: UInt64)

        /// 127.0.0.0/8, ::1 and 127.0.0.0/8 mapped into IPv6.
        package var isLoopback: Bool {
            switch self {
            case .v4(let bits): bits >> 24 == 127
            case .v6(0, 1): true
            case .v6(0, let low): low >> 32 == 0xffff && (low >> 24) & 0xff == 127
            case .v6: false
            }
        }
    }

    /// A CIDR block.
    package struct Network: Sendable, Hashable, CustomStringConvertible {
        /// The first address; bits behind the prefix are zero.
        package let address: IPAddress
        /// 0...32 or 0...128.
        package let prefixLength: Int

        package var description: String { "\(address)/\(prefixLength)" }
    }

    /// An absolute http or https URL, already checked.
    package struct URL: Sendable, Hashable, CustomStringConvertible {
        package internal(set) var isPlaintext = false
        /// Lower case; an IPv6 address without its brackets.
        package internal(set) var host = ""
        package internal(set) var port: UInt16 = 443
        /// Begins with "/".
        package internal(set) var path = "/"
        /// Without the "?".
        package internal(set) var query: String?
        /// The host as an address, where it is one (then no SNI is sent).
        package internal(set) var address: IPAddress?

        /// The host, in brackets if it is an IPv6 address, and the port unless it is the scheme's own.
        package var authority: String {
            let name = host.contains(":") ? "[\(host)]" : host
            return port == (isPlaintext ? 80 : 443) ? name : "\(name):\(port)"
        }

        /// Whether the host is a loopback address or `localhost`.
        package var isLoopback: Bool { address?.isLoopback ?? (host == "localhost") }

        package var description: String {
            (isPlaintext ? "http://" : "https://") + authority + path + (query.map { "?" + $0 } ?? "")
        }
    }

    /// A parameter or header field.
    package struct NamedValue: Sendable, Hashable {
        package internal(set) var name: String
        package internal(set) var value: String
    }

    /// Where a secret is kept; the secret itself is read by `SecretLoader`.
    package enum SecretSource: Sendable, Hashable {
        case file(path: String)
        case environment(name: String)
        /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
        case credential(name: String)
    }
}
