import Foundation
import Glibc
import Testing

/// A gateway between the peers of a Python script, or of other programs: a token from a file, a plain and a TLS
/// listener, and upstreams at ports where the peers listen.
final class Stage: Sendable {
    /// Whose certificate the gateway's TLS listener and all upstreams have.
    static let certificates = Task { try await Certificates.make() }

    let certificates: Certificates
    let folder: String
    let token = randomText(1200)
    let plainPort: UInt16
    let tlsPort: UInt16
    /// The API over HTTP/1.1 and the one over HTTP/2.
    let apiPorts: (h1: UInt16, h2: UInt16)
    private let consolePort: UInt16
    private let consoleSecret = "console-" + randomText(40)
    /// One for each case of a script that needs an upstream of its own.
    private let ownPorts: [UInt16]
    private let process: ProcessHandle

    /// Starts a gateway with this many workers.
    static func start(_ name: String, workers: Int = 1, ownUpstreams: Int = 0) async throws -> Stage {
        let certificates = try await certificates.value
        let ports = try (0..<(5 + ownUpstreams)).map { _ in try Ports.next() }
        let folder = try Workspace.newFolder("stage-\(name)")
        return try await Stage(certificates, folder, ports, workers)
    }

    private init(_ certificates: Certificates, _ folder: String, _ ports: [UInt16], _ workers: Int) async throws {
        self.certificates = certificates
        self.folder = folder
        (plainPort, tlsPort, consolePort) = (ports[0], ports[1], ports[2])
        apiPorts = (ports[3], ports[4])
        ownPorts = Array(ports[5...])
        let file = StageFile(
            certificates: certificates, folder: folder, plainPort: plainPort, tlsPort: tlsPort,
            consolePort: consolePort, apiPorts: apiPorts, ownPorts: ownPorts, workers: workers)
        try Workspace.write(token + "\n", to: "\(folder)/token")
        try Workspace.write(token + "\n", to: "\(folder)/expiring")
        try Workspace.write(consoleSecret + "\n", to: "\(folder)/console.secret")
        try Workspace.write(file.text, to: "\(folder)/gateway.conf")
        process = try await ProcessHandle(
            [RunningGateway.program, "run", "--config", "\(folder)/gateway.conf"], directory: folder,
            output: "\(folder)/output.log", errors: "\(folder)/gateway.log")
        try await eventually("the gateway listens", within: .seconds(20)) {
            if let status = process.poll() { throw HarnessError("the gateway ended: \(status)\n\(logTail())") }
            return RawSocket.accepts(plainPort) && RawSocket.accepts(tlsPort) && RawSocket.accepts(consolePort)
        }
    }

    func logTail() -> String {
        let log = (try? String(contentsOfFile: "\(folder)/gateway.log", encoding: .utf8)) ?? ""
        return log.split(separator: "\n").suffix(30).joined(separator: "\n")
    }

    // MARK: Scripts

    /// Runs a script of cases against this gateway.
    func run(_ script: String, atLeast: Int) async throws {
        let allHeld = try await Script.run(script, place: description, folder: folder, atLeast: atLeast)
        if !allHeld { print("The gateway's log of \(script), its end:\n\(logTail())") }
    }

    private var description: [String: Any] {
        [
            "plain": Int(plainPort), "tls": Int(tlsPort), "console": Int(consolePort), "secret": consoleSecret,
            "h1": Int(apiPorts.h1), "h2": Int(apiPorts.h2), "bad": ownPorts.map(Int.init), "pid": Int(process.pid),
            "authority": certificates.authority, "certificate": certificates.certificate, "key": certificates.key,
            "token": token, "token_file": "\(folder)/expiring",
        ]
    }

    // MARK: The end

    /// SIGTERM ends the gateway with exit code 0, and the token is in nothing that it wrote. `isAsked`: the script has
    /// sent the signal.
    func end(isAsked: Bool = false) async throws {
        if !isAsked {
            #expect(process.poll() == nil, "the gateway ended by itself: \(logTail())")
            process.signal(SIGTERM)
        }
        #expect(try await process.wait(within: .seconds(40)) == .exited(0), "\(logTail())")
        for name in ["gateway.log", "access.log", "output.log"] {
            let text = (try? Data(contentsOf: URL(filePath: "\(folder)/\(name)"))) ?? Data()
            for secret in [token, consoleSecret] {
                #expect(text.firstRange(of: Data(secret.utf8)) == nil, "a secret is in \(name)")
            }
        }
    }
}

/// The `gateway.conf` of a stage.
private struct StageFile {
    let certificates: Certificates
    let folder: String
    let plainPort: UInt16
    let tlsPort: UInt16
    let consolePort: UInt16
    let apiPorts: (h1: UInt16, h2: UInt16)
    let ownPorts: [UInt16]
    let workers: Int

    var text: String {
        """
        workers = \(workers)

        [listener.plain]
        address = "127.0.0.1:\(plainPort)"

        [listener.tls]
        address = "127.0.0.1:\(tlsPort)"
        certificate_file = "\(certificates.certificate)"
        key_file = "\(certificates.key)"

        [console]
        address = "127.0.0.1:\(consolePort)"
        secret_file = "\(folder)/console.secret"

        [log]
        level = "debug"
        format = "json"
        access = "\(folder)/access.log"

        [timeouts]
        drain = "10s"

        [grant.file]
        token_file = "\(folder)/token"

        [grant.expiring]
        token_file = "\(folder)/expiring"

        """ + apis + ownPorts.enumerated().map { own($0.offset, $0.element) }.joined()
    }

    /// The two APIs, and the routes to them that differ in what they allow. gRPC has no place for a prefix.
    private var apis: String {
        let upgrade = #"allow_upgrade = ["websocket"]"#
        let both = [("h1", apiPorts.h1), ("h2", apiPorts.h2)].map { name, port in
            upstream(name, port) + route(name, to: name, more: upgrade) + route("closed-\(name)", to: name)
                + route("open-\(name)", to: name, grant: nil)
                + route("expiring-\(name)", to: name, grant: "expiring", more: #"retry_body_limit = "1MiB""#)
        }
        return both.joined()
            + ["forced-h2", "fresh-h2"].map { name in
                upstream(name, apiPorts.h2, more: #"protocol = "http2""#) + route(name, to: name, more: upgrade)
            }.joined()
            + route("cookies", to: "h1", more: "forward_cookies = true")
                + """

                [route.rpc]
                path = "/test.Api/*"
                upstream = "h2"
                grant = "file"

                """
    }

    private func own(_ number: Int, _ port: UInt16) -> String {
        upstream("bad\(number)", port) + route("bad\(number)", to: "bad\(number)")
    }

    private func upstream(_ name: String, _ port: UInt16, more: String = "") -> String {
        """

        [upstream.\(name)]
        url = "https://localhost:\(port)"
        ca_file = "\(certificates.authority)"
        \(more)

        """
    }

    private func route(_ name: String, to upstream: String, grant: String? = "file", more: String = "") -> String {
        """

        [route.\(name)]
        path = "/\(name)/*"
        strip_prefix = "/\(name)"
        upstream = "\(upstream)"
        \(grant.map { "grant = \"\($0)\"" } ?? "")
        \(more)

        """
    }
}
