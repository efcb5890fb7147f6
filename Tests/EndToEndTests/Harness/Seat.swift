/// One scenario's place at the table: a user and a client at the authorization server, and ports for its gateway.
///
/// Each scenario has its own, because canaille makes the same access token twice (and answers 500) when it issues two
/// for one user and client within one second.
struct Seat: Sendable {
    let name: String
    let password = randomText(20)
    let clientSecret = "cs-" + randomText(40)
    /// Where callers reach the gateway.
    let gatewayPort: UInt16
    /// Where the gateway's console listens, without TLS.
    let consolePort: UInt16
    /// The console's public address: nginx with TLS, or the console itself on a plain site.
    let publicURL: String
    /// Where nginx listens for the console; nil on a plain site.
    let publicPort: UInt16?

    var clientID: String { "client-\(name)" }
    var redirectURI: String { publicURL + "/oauth/callback" }

    init(name: String, hasTLS: Bool) throws {
        self.name = name
        gatewayPort = try Ports.next()
        consolePort = try Ports.next()
        publicPort = hasTLS ? try Ports.next() : nil
        publicURL = publicPort.map { "https://localhost:\($0)" } ?? "http://127.0.0.1:\(consolePort)"
    }
}
