extension Snapshot {
    /// `[store]`: where grants survive.
    package struct Store: Sendable, Hashable {
        /// The file of the embedded database; empty where there is `postgreSQL`.
        package internal(set) var path = ""
        /// The database that replicas share.
        package internal(set) var postgreSQL: PostgreSQL?
        /// The keys that seal the store, never empty: the first one seals, the others only open what they sealed.
        package internal(set) var keys: [SecretSource] = []
        /// What this replica is called in a shared store; nil: a new random name at each start.
        package internal(set) var instance: String?
    }

    /// Where a PostgreSQL database is, without the password.
    package struct PostgreSQL: Sendable, Hashable {
        package enum TLSMode: String, Sendable, Hashable, CaseIterable {
            case disable
            /// Encrypted, but with whoever answers.
            case require
            case verifyCA = "verify-ca"
            case verifyFull = "verify-full"
        }
        /// A name or an address without brackets, or the folder of a Unix socket (begins with "/").
        package internal(set) var host = ""
        package internal(set) var port: UInt16 = 5432
        package internal(set) var user = ""
        package internal(set) var database = ""
        /// nil: not said, which is `verify-full`; on this machine TLS is used where the server has it.
        package internal(set) var tls: TLSMode?
        /// Authorities to trust instead of the system's.
        package internal(set) var caFile: String?
        /// nil: the server asks for none.
        package internal(set) var password: SecretSource?
        package internal(set) var connectTimeout = Duration.zero
        package internal(set) var statementTimeout = Duration.zero

        /// As in the file; holds no password.
        package var url: String {
            let isSocket = host.hasPrefix("/")
            let name = isSocket ? "" : host.contains(":") ? "[\(host)]" : host
            let authority = port == 5432 ? name : "\(name):\(port)"
            let mode = isSocket ? "?host=\(host)" : tls.map { "?sslmode=\($0.rawValue)" } ?? ""
            return "postgresql://\(user)@\(authority)/\(database)\(mode)"
        }

        /// Whether the connection stays on this machine.
        package var isLocal: Bool {
            host.hasPrefix("/") || host == "localhost" || IPAddress(host)?.isLoopback == true
        }
    }
}
