import CPostgreSQL
import Glibc
package import OpenSSLKit

/// Where the PostgreSQL store is, and how patient we are with it. Its description has no password.
///
/// The server must be reached directly or through a proxy that keeps sessions (advisory locks, `LISTEN` and prepared
/// statements belong to a session); a pooler that hands out single transactions will not do.
package struct PostgreSQLSettings: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// What messages call the store: `postgresql://user@host:port/database`.
    package let name: String
    /// How long making a connection may take, in milliseconds.
    package let connectTimeout: Int
    /// How long a call may take, in milliseconds; a tenth before its end the server is to give a statement up. A call that
    /// has to make a connection first may take as long as that may, where that is longer.
    package let statementTimeout: Int
    /// libpq's keywords and their values, without the password.
    let parameters: [String: String]
    let password: SecretBytes?

    /// Reads a URL of the form that libpq documents. TLS with a verified certificate and name is the default unless
    /// every host is this machine; `caFile` (PEM) replaces the system's authorities and makes it the default there
    /// too. A password given apart goes before one in the URL.
    package init(
        url: String, password: SecretBytes? = nil, caFile: String? = nil, connectTimeout: Int = 3000,
        statementTimeout: Int = 5000
    ) throws(StoreError) {
        var found = try Self.parse(url)
        let inline = found.removeValue(forKey: "password").map { SecretBytes($0.utf8) }
        self.password = password ?? inline
        name = Self.name(found)
        guard (1...600_000).contains(connectTimeout), (10...600_000).contains(statementTimeout) else {
            throw StoreError(.invalid, "\(name): a time-out is out of range")
        }
        self.connectTimeout = connectTimeout
        self.statementTimeout = statementTimeout
        try Self.settleTLS(&found, caFile: caFile, name: name)
        parameters = found.merging(Self.fixed) { _, ours in ours }
    }

    package var description: String { name }
    package var debugDescription: String { name }
    package var customMirror: Mirror { Mirror(self, children: ["name": name]) }

    // MARK: Reading the URL

    /// What an operator may say in the URL. The rest is ours to set, or would change what the statements mean.
    private static let allowed: Set<String> = [
        "host", "hostaddr", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey",
        "sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding",
        "require_auth",
        "target_session_attrs", "load_balance_hosts",
    ]

    private static func parse(_ url: String) throws(StoreError) -> [String: String] {
        // libpq's own message is not shown: it repeats the URL, which may hold a password.
        let malformed = StoreError(
            .invalid,
            "the store's url is not one of PostgreSQL; write postgresql://user@host:5432/database?sslmode=verify-full")
        guard url.hasPrefix("postgresql://") || url.hasPrefix("postgres://"), !url.utf8.contains(0) else {
            throw malformed
        }
        guard let options = PQconninfoParse(url, nil) else { throw malformed }
        defer { PQconninfoFree(options) }
        var found: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { found[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        if let other = found.keys.filter({ !allowed.contains($0) }).min() {
            throw StoreError(
                .invalid, "the store's url sets '\(other)'; known are: \(allowed.sorted().joined(separator: ", "))")
        }
        return found
    }

    private static func name(_ found: [String: String]) -> String {
        let hosts = hosts(found)
        let ports = (found["port"] ?? "5432").split(separator: ",", omittingEmptySubsequences: false)
        let places = hosts.indices.map { index in
            let port = ports.count == hosts.count ? ports[index] : ports[0]
            let host = hosts[index].contains(":") ? "[\(hosts[index])]" : hosts[index]
            return "\(host):\(port.isEmpty ? "5432" : port)"
        }
        let user = found["user"].map { "\($0)@" } ?? ""
        return "postgresql://\(user)\(places.joined(separator: ","))/\(found["dbname"] ?? found["user"] ?? "")"
    }

    private static func hosts(_ found: [String: String]) -> [String] {
        (found["host"] ?? found["hostaddr"] ?? "")
            .split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    private static func isThisMachine(_ host: String) -> Bool {
        isSocket(host) || host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    private static func isSocket(_ host: String) -> Bool {
        host.isEmpty || host.hasPrefix("/") || host.hasPrefix("@")
    }

    // MARK: TLS and time

    private static func settleTLS(
        _ found: inout [String: String], caFile: String?, name: String
    ) throws(StoreError) {
        let hosts = hosts(found)
        if hosts.allSatisfy(isSocket) { return }
        let isLocal = hosts.allSatisfy(isThisMachine) && caFile == nil
        let mode = found["sslmode"] ?? (isLocal ? "prefer" : "verify-full")
        found["sslmode"] = mode
        if let caFile { found["sslrootcert"] = caFile }
        guard mode.hasPrefix("verify-"), found["sslrootcert"] == nil else { return }
        let bundles = [
            "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ]
        guard let bundle = bundles.first(where: { access($0, R_OK) == 0 }) else {
            throw StoreError(
                .invalid, "\(name): this system has no CA certificates; name the server's authority with ca_file")
        }
        found["sslrootcert"] = bundle
    }

    /// A server that is gone without a word must be noticed within seconds: by keep-alives when we wait for it, by
    /// unacknowledged data when we have sent something.
    private static let fixed = [
        "client_encoding": "UTF8", "gssencmode": "disable", "keepalives": "1", "keepalives_idle": "2",
        "keepalives_interval": "1", "keepalives_count": "3", "tcp_user_timeout": "5000",
    ]
}
