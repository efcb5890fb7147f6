import DemoServices
import Glibc
import OpenSSLKit
import Reactor

/// The demo's ports and its temporary folder, which only this user can enter.
struct DemoPlace {
    let folder: String
    let callerPort: UInt16
    let consolePort: UInt16
    /// 0: any free one.
    let issuerPort: UInt16
    let apiPort: UInt16

    init(port: UInt16?) throws(DemoFailure) {
        if let port {
            (callerPort, consolePort, issuerPort, apiPort) = (port, port + 1, port + 2, port + 3)
        } else {
            let free = try Self.freePorts(2)
            (callerPort, consolePort, issuerPort, apiPort) = (free[0], free[1], 0, 0)
        }
        folder = try Self.newFolder()
    }

    var configuration: String { "\(folder)/gateway.conf" }
    var log: String { "\(folder)/gateway.log" }
    var consoleURL: String { "http://127.0.0.1:\(consolePort)" }
    var redirectURI: String { consoleURL + "/oauth/callback" }

    func callerURL(_ path: String) -> String { "http://127.0.0.1:\(callerPort)\(path)" }

    /// Both are held at once, so that they differ.
    private static func freePorts(_ count: Int) throws(DemoFailure) -> [UInt16] {
        var sockets: [Descriptor] = []
        defer { for socket in sockets { socket.close() } }
        var ports: [UInt16] = []
        do throws(SocketError) {
            for _ in 0..<count {
                let socket = try Socket.listen(on: .loopback(port: 0))
                sockets.append(socket)
                ports.append(Socket.localAddress(of: socket)?.port ?? 0)
            }
        } catch {
            throw .cannotStart("there is no free port: \(error)")
        }
        return ports
    }

    // MARK: The folder

    private static func newFolder() throws(DemoFailure) -> String {
        let named = getenv("TMPDIR").map { String(cString: $0) } ?? ""
        let base = named.hasPrefix("/") ? named : "/tmp"
        var template = Array("\(base)/token-gateway-demo-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw .cannotStart("no folder can be made in \(base): \(Errno(code: errno))")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// What the gateway is configured with: everything here could be a real provider's.
    func write(for services: DemoServices) throws(DemoFailure) {
        try write(Array(services.caPEM.utf8), to: "ca.pem")
        try write(services.clientSecret.withUnsafeBytes { Array($0) }, to: "client.secret")
        try write(Array(Base64.encode(RandomBytes.bytes(32)).utf8), to: "store.key")
        try write(Array(configurationText(for: services).utf8), to: "gateway.conf")
    }

    private func write(_ bytes: [UInt8], to name: String) throws(DemoFailure) {
        let file = open("\(folder)/\(name)", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .cannotStart("\(folder)/\(name) cannot be written: \(Errno(code: errno))") }
        defer { close(file) }
        guard Glibc.write(file, bytes, bytes.count) == bytes.count else {
            throw .cannotStart("\(folder)/\(name) cannot be written: \(Errno(code: errno))")
        }
    }

    private func configurationText(for services: DemoServices) -> String {
        """
        # Written by `token-gateway demo`.
        workers = 2

        [listener.callers]
        address = "127.0.0.1:\(callerPort)"

        [console]
        address = "127.0.0.1:\(consolePort)"
        public_url = "\(consoleURL)"

        [store]
        path = "\(folder)/grants.db"
        key_file = "\(folder)/store.key"

        [log]
        format = "text"
        access = "\(folder)/access.log"

        [provider.demo]
        issuer = "\(services.issuer)"
        client_id = "\(services.clientID)"
        client_secret_file = "\(folder)/client.secret"
        ca_file = "\(folder)/ca.pem"
        # The access tokens of the demo live for \(services.options.accessTokenSeconds) seconds only.
        refresh_skew = "4s"
        rejection_cooldown = "0s"

        [grant.\(DemoStage.grant)]
        provider = "demo"
        scopes = ["orders.read"]

        [upstream.orders]
        url = "\(services.apiURL)"
        ca_file = "\(folder)/ca.pem"

        [route.orders]
        path = "/api/*"
        strip_prefix = "/api"
        upstream = "orders"
        grant = "\(DemoStage.grant)"

        """
    }

    func remove() {
        if let directory = opendir(folder) {
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { unlink("\(folder)/\(name)") }
            }
            closedir(directory)
        }
        rmdir(folder)
    }

    /// The last lines that the gateway wrote.
    func logTail(_ count: Int = 15) -> String {
        guard let bytes = try? Files.read(path: log, limit: 64 << 20) else { return "" }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(count).joined(separator: "\n")
    }
}
