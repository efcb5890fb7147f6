import Foundation

/// A `gateway.conf` for one seat, with the grant, the route and the upstream of the scenarios. Everything is logged,
/// at the most verbose level.
struct GatewayFile {
    static let grant = "crm"
    static let prefix = "/crm"

    let site: Site
    let seat: Seat
    let folder: String
    /// Discovered from the issuer, or written down one by one: then the gateway starts without the provider.
    var discovers = true
    var provider: [String: String] = [:]
    var route: [String: String] = [:]
    /// Instead of the provider's grant: a token that another program keeps in this file.
    var tokenFile: String?
    /// Further sections, as they stand in the file.
    var more = ""

    var hasTLS: Bool { site.canaille.issuer.hasPrefix("https:") }

    /// The gateway's own secrets, in files that only the owner can read.
    struct Secrets: Sendable {
        /// What the console asks for when it is reached through nginx.
        let console = "console-" + randomText(40)
        let storeKey = randomBytes(32).base64EncodedString()
    }

    func write(_ secrets: Secrets) throws {
        try Workspace.write(seat.clientSecret + "\n", to: "\(folder)/client.secret")
        try Workspace.write(secrets.console + "\n", to: "\(folder)/console.secret")
        try Workspace.write(secrets.storeKey + "\n", to: "\(folder)/store.key")
        try writeConfiguration()
    }

    func writeConfiguration() throws {
        try Workspace.write(text, to: "\(folder)/gateway.conf")
    }

    var text: String {
        let sections: [(String, [String: String])] = [
            ("listener.internal", ["address": quoted("127.0.0.1:\(seat.gatewayPort)")]),
            ("console", console),
            ("store", ["path": quoted("\(folder)/grants.db"), "key_file": quoted("\(folder)/store.key")]),
            ("log", ["level": quoted("trace"), "format": quoted("json"), "access": quoted("\(folder)/access.log")]),
            ("provider.canaille", providerSection.merging(provider) { $1 }),
            ("grant.\(Self.grant)", grantSection),
            ("upstream.api", ["url": quoted(site.nginx.apiURL), "ca_file": quoted(site.certificates.authority)]),
            ("route.api", routeSection.merging(route) { $1 }),
        ]
        return "workers = 2\n"
            + sections.map { name, lines in
                "\n[\(name)]\n" + lines.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)\n" }.joined()
            }.joined() + more
    }

    private var grantSection: [String: String] {
        if let tokenFile { return ["token_file": quoted(tokenFile)] }
        return ["provider": quoted("canaille"), "scopes": #"["profile", "email"]"#]
    }

    private var console: [String: String] {
        var lines = ["address": quoted("127.0.0.1:\(seat.consolePort)"), "public_url": quoted(seat.publicURL)]
        if hasTLS { lines["secret_file"] = quoted("\(folder)/console.secret") }
        return lines
    }

    private var providerSection: [String: String] {
        let issuer = site.canaille.issuer
        var lines = [
            "issuer": quoted(issuer), "client_id": quoted(seat.clientID),
            "client_secret_file": quoted("\(folder)/client.secret"), "refresh_skew": quoted("5s"),
            "min_refresh_interval": quoted("0s"),
        ]
        if hasTLS {
            lines["ca_file"] = quoted(site.certificates.authority)
        } else {
            lines["allow_plaintext"] = "true"
        }
        if !discovers {
            lines["client_auth"] = quoted("client_secret_basic")
            lines["authorize_url"] = quoted(issuer + "/oauth/authorize")
            lines["token_url"] = quoted(issuer + "/oauth/token")
            lines["revocation_url"] = quoted(issuer + "/oauth/revoke")
        }
        return lines
    }

    private var routeSection: [String: String] {
        [
            "path": quoted(Self.prefix + "/*"), "strip_prefix": quoted(Self.prefix), "upstream": quoted("api"),
            "grant": quoted(Self.grant), "retry_body_limit": quoted("8MiB"),
        ]
    }

    private func quoted(_ text: String) -> String { "\"\(text)\"" }
}
