import Configuration
import Console
import Foundation
import Reactor
import Synchronization
import Telemetry

@testable import TokenGateway

/// A console that gives one prepared answer per connection, and keeps what it was asked.
final class PreparedConsole: Sendable {
    let address: SocketAddress
    private let listener: Descriptor
    private let asked = Mutex<[String]>([])
    private let isStopped = Mutex(false)
    private let done = DispatchSemaphore(value: 0)

    /// An empty answer closes the connection; nil never answers.
    init(_ answers: [String?], on address: SocketAddress = .loopback(port: 0)) throws {
        listener = try Socket.listen(on: address, unixMode: address.port == nil ? 0o600 : nil)
        self.address = Socket.localAddress(of: listener) ?? address
        Thread.detachNewThread { [self] in
            for answer in answers where !serve(answer) { break }
            done.signal()
        }
    }

    var requests: [String] { asked.withLock { $0 } }

    func stop() {
        isStopped.withLock { $0 = true }
        done.wait()
        listener.close()
    }

    private func serve(_ answer: String?) -> Bool {
        guard let socket = accept() else { return false }
        defer { socket.close() }
        var text = ""
        var room = [UInt8](repeating: 0, count: 4096)
        while !Self.isComplete(text) {
            guard wait(socket) else { return false }
            guard case .bytes(let count) = room.withUnsafeMutableBytes({ Socket.read(socket, into: $0) }) else { break }
            text += String(decoding: room[..<count], as: UTF8.self)
        }
        asked.withLock { $0.append(text) }
        guard let answer else {
            while !isStopped.withLock({ $0 }) { usleep(1000) }
            return false
        }
        _ = Array(answer.utf8).withUnsafeBytes { Socket.write(socket, $0) }
        return true
    }

    private func accept() -> Descriptor? {
        while wait(listener) {
            if case .accepted(let socket, _) = Socket.accept(listener) { return socket }
        }
        return nil
    }

    private func wait(_ descriptor: Descriptor) -> Bool {
        while !isStopped.withLock({ $0 }) {
            var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, 20) > 0 { return true }
        }
        return false
    }

    private static func isComplete(_ text: String) -> Bool {
        guard let end = text.firstRange(of: "\r\n\r\n") else { return false }
        let length = text[..<end.lowerBound].firstRange(of: "Content-Length: ").flatMap {
            Int(text[$0.upperBound...].prefix { $0.isNumber })
        }
        return text[end.upperBound...].utf8.count >= length ?? 0
    }
}

/// Runs `body` against a console with these answers.
func withConsole<Result>(
    _ answers: [String?], secret: String? = nil, grants: [String] = [],
    _ body: (AdminAPI, PreparedConsole) throws -> Result
) throws -> Result {
    let console = try PreparedConsole(answers)
    defer { console.stop() }
    let client = ConsoleClient(
        endpoint: ConsoleEndpoint(console.address), secret: secret.map { LoadedSecret(bytes: Array($0.utf8)) })
    return try body(AdminAPI(client: client, configuredGrants: grants), console)
}

func answer(_ status: Int, _ value: some Encodable, fields: String = "") -> String {
    let body = String(decoding: ConsoleJSON.encode(value), as: UTF8.self)
    return "HTTP/1.1 \(status) X\r\nContent-Length: \(body.utf8.count)\r\n\(fields)\r\n\(body)"
}

func problem(
    _ status: Int, _ code: String, title: String = "Title", detail: String? = nil, fields: String = ""
) -> String {
    answer(
        status, Problem(title: title, status: status, code: code, detail: detail, requestID: "r1"), fields: fields)
}

extension GrantView {
    init(
        state: GrantStateLabel, generation: UInt64 = 1, consent: (outcome: String, at: Int64)? = nil,
        expires: Int64? = nil, lastError: LastError? = nil
    ) {
        self.init(
            name: "crm", provider: "zoho", state: state, scopes: ["a", "b"], generation: generation,
            accessTokenExpiresAt: expires.map { Timestamp(unixSeconds: $0) }, lastError: lastError,
            lastConsent: consent.map {
                LastConsent(outcome: $0.outcome, reason: "because", at: Timestamp(unixSeconds: $0.at))
            })
    }
}

/// A folder of its own, removed with its files.
final class Folder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "token-gateway-cli-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ text: String, to name: String, mode: Int = 0o600) throws -> String {
        let file = "\(path)/\(name)"
        try Data(text.utf8).write(to: URL(filePath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    /// A configuration with a store, a provider and a console at this address.
    @discardableResult
    func writeConfiguration(console: String = "127.0.0.1:9", extra: String = "", consoleExtra: String = "") throws
        -> String
    {
        try write(Data((0..<32).map { UInt8($0) }).base64EncodedString(), to: "store.key")
        try write("client secret", to: "client.secret")
        return try write(
            """
            [listener.internal]
            address = "127.0.0.1:0"
            [console]
            address = "\(console)"
            public_url = "https://gateway.example.com"
            \(consoleExtra)
            [store]
            path = "\(path)/grants.db"
            key_file = "\(path)/store.key"
            [provider.zoho]
            issuer = "https://accounts.example.com"
            client_id = "1000.ABC"
            client_secret_file = "\(path)/client.secret"
            [grant.crm]
            provider = "zoho"
            [upstream.crm]
            url = "https://api.example.com"
            \(extra)
            [route.crm]
            path = "/crm/*"
            strip_prefix = "/crm"
            upstream = "crm"
            grant = "crm"

            """, to: "gateway.conf")
    }
}

/// A run of the built program.
struct ProgramRun {
    let status: Int32
    let output: String
    let errors: String

    static var program: URL {
        get throws {
            let own = URL(filePath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
            let arguments = CommandLine.arguments
            if let flag = arguments.firstIndex(of: "--test-bundle-path"), flag + 1 < arguments.count {
                return URL(filePath: arguments[flag + 1]).deletingLastPathComponent().appending(path: "token-gateway")
            }
            return own.deletingLastPathComponent().appending(path: "token-gateway")
        }
    }

    static func process(_ arguments: [String], temporary: String) throws -> (Process, output: Pipe, errors: Pipe) {
        let process = Process()
        process.executableURL = try program
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: temporary)
        process.environment = ProcessInfo.processInfo.environment.merging(["TMPDIR": temporary]) { $1 }
        let (output, errors) = (Pipe(), Pipe())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        return (process, output, errors)
    }

    init(_ arguments: [String], in folder: Folder) throws {
        let (process, output, errors) = try Self.process(arguments, temporary: folder.path)
        self.output = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        self.errors = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        status = process.terminationStatus
    }
}
