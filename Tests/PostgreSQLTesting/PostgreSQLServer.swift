import Foundation
import Synchronization

/// A PostgreSQL server of a test's own: a fresh cluster in a temporary directory, on a free port of 127.0.0.1 and a
/// Unix socket, with fsync on. It is stopped and removed with the object.
///
/// The programs are those of Debian in /usr/lib/postgresql/*/bin, or those of PATH. PostgreSQL does not run as root;
/// then it runs as the user `postgres`.
package final class PostgreSQLServer: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// The superuser `gateway` has this password; connections over TCP need it, the Unix socket does too.
    package static let password = "pass-word-of-the-database"
    package let directory: String
    package let port: Int
    private let process = Mutex<Process?>(nil)
    /// Ends when we do, however that happens, and then takes the server and its files away.
    private let guardian: (process: Process, line: Pipe)

    /// Where the programs are; `nil` when PostgreSQL is not installed.
    package static let binaries: String? = {
        let packaged = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        let versions = packaged.compactMap(Int.init).sorted(by: >).map { "/usr/lib/postgresql/\($0)/bin" }
        let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        return (versions + path).first { directory in
            ["initdb", "postgres", "psql", "pg_dump"].allSatisfy {
                FileManager.default.isExecutableFile(atPath: "\(directory)/\($0)")
            }
        }
    }()

    /// Makes the cluster and starts it. `certificate` and `key` (PEM) switch TLS on; `settings` are lines of
    /// postgresql.conf.
    package init(certificate: String? = nil, key: String? = nil, settings: [String] = []) throws {
        guard let binaries = Self.binaries else { throw Failure(description: "PostgreSQL is not installed") }
        directory = NSTemporaryDirectory() + "pg-" + UUID().uuidString.prefix(8)
        port = try Self.freePort()
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        guardian = try Self.guardian(directory)
        try Self.password.write(toFile: directory + "/password", atomically: true, encoding: .utf8)
        if geteuid() == 0 {
            try Self.run(["/bin/chown", "-R", "postgres", directory])
        }
        try Self.run(
            Self.unprivileged + [
                "\(binaries)/initdb", "-D", data, "-U", "gateway", "--pwfile=\(directory)/password", "-E", "UTF8",
                "--locale=C", "-A", "scram-sha-256", "--no-sync", "--no-instructions",
            ])
        var lines = [
            "listen_addresses = '127.0.0.1'", "port = \(port)", "unix_socket_directories = '\(directory)'",
            "shared_buffers = 16MB", "max_connections = 60", "max_wal_size = 64MB", "log_min_messages = warning",
        ]
        if let certificate, let key {
            try give("server.crt", certificate)
            try give("server.key", key)
            lines += ["ssl = on", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'"]
        }
        let configuration = data + "/postgresql.auto.conf"
        try Self.append((lines + settings).joined(separator: "\n") + "\n", to: configuration)
        try start()
    }

    deinit {
        stop(.immediate)
        // A line, and not only the end of the pipe: another process may have inherited the other end.
        try? guardian.line.fileHandleForWriting.write(contentsOf: Data("end\n".utf8))
        try? guardian.line.fileHandleForWriting.close()
        guardian.process.waitUntilExit()
    }

    private static func guardian(_ directory: String) throws -> (process: Process, line: Pipe) {
        let (process, line) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let script = """
            read line; for pid in $(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); do
            kill -CONT $(ps -o pid= --ppid $pid) $pid; kill -QUIT $pid; sleep 0.3; done 2>/dev/null; rm -rf "$1"
            """
        process.arguments = ["-c", script, "guardian", directory]
        process.standardInput = line
        try process.run()
        return (process, line)
    }

    package var data: String { directory + "/data" }

    /// The address of the store in a test: by TCP with the password, unless told otherwise.
    package func url(
        user: String = "gateway", password: String? = PostgreSQLServer.password, database: String = "postgres",
        query: String = "", port: Int? = nil
    ) -> String {
        let secret = password.map { ":\($0)" } ?? ""
        return "postgresql://\(user)\(secret)@127.0.0.1:\(port ?? self.port)/\(database)\(query)"
    }

    /// Gives the server a file in its data directory that nobody else may read.
    package func give(_ name: String, _ content: String) throws {
        let path = data + "/" + name
        try content.write(toFile: path, atomically: false, encoding: .utf8)
        chmod(path, 0o600)
        if geteuid() == 0 { try Self.run(["/bin/chown", "postgres", path]) }
    }

    // MARK: Life and death

    package enum End {
        /// Sessions are ended in order (SIGINT).
        case fast
        /// No checkpoint (SIGQUIT).
        case immediate
        /// Every process of the server at once, as when the machine dies (SIGKILL).
        case kill
    }

    /// Starts the server and waits until it answers.
    package func start() throws {
        let server = Process()
        let command = Self.unprivileged + ["\(Self.binaries ?? "")/postgres", "-D", data]
        server.executableURL = URL(fileURLWithPath: command[0])
        server.arguments = Array(command.dropFirst())
        _ = FileManager.default.createFile(atPath: directory + "/log", contents: nil)
        let log = FileHandle(forWritingAtPath: directory + "/log") ?? .nullDevice
        server.standardOutput = log
        server.standardError = log
        server.standardInput = FileHandle.nullDevice
        try server.run()
        process.withLock { $0 = server }
        for _ in 0..<6000 {
            if !server.isRunning { break }
            let status = (try? String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8)) ?? ""
            if status.split(separator: "\n").last?.hasPrefix("ready") == true { return }
            usleep(5000)
        }
        let text = (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? ""
        throw Failure(description: "PostgreSQL did not start: \(text.suffix(2000))")
    }

    package func stop(_ end: End) {
        guard let process = process.withLock({ $0 }), process.isRunning else { return }
        switch end {
        case .fast: signal(SIGINT, to: [process.processIdentifier])
        case .immediate: signal(SIGQUIT, to: [process.processIdentifier])
        case .kill: signal(SIGKILL, to: processes())
        }
        process.waitUntilExit()
        // What SIGKILL left: the file that says that a server runs here, when its processes are all gone.
        if case .kill = end {
            while !processes().isEmpty { usleep(1000) }
            unlink(data + "/postmaster.pid")
        }
    }

    package func restart(_ end: End) throws {
        stop(end)
        try start()
    }

    /// Stops every process of the server in its tracks (SIGSTOP), until `resume`: sockets stay open, nobody answers.
    package func freeze() { signal(SIGSTOP, to: processes()) }

    package func resume() { signal(SIGCONT, to: processes()) }

    private func signal(_ number: Int32, to processes: [Int32]) {
        for process in processes { kill(process, number) }
    }

    /// The postmaster and its children, found by the parent's number in /proc.
    private func processes() -> [Int32] {
        guard let root = try? String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8),
            let postmaster = root.split(separator: "\n").first.flatMap({ Int32($0) })
        else { return [] }
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc"))?.compactMap { Int32($0) } ?? []
        let children = all.filter { Self.parent(of: $0) == postmaster }
        return (Self.parent(of: postmaster) == nil ? [] : [postmaster]) + children
    }

    /// `nil`: there is no such process, or only its memory (a zombie).
    private static func parent(of process: Int32) -> Int32? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
            let rest = text.range(of: ") ", options: .backwards)
        else { return nil }
        let fields = text[rest.upperBound...].split(separator: " ")
        return fields.first == "Z" || fields.count < 2 ? nil : Int32(fields[1])
    }

    // MARK: SQL from outside

    /// Runs SQL as the superuser through psql and returns what it prints, a row a line, columns split by "|".
    @discardableResult
    package func sql(_ text: String, database: String = "postgres") throws -> String {
        let output = try Self.run(
            ["\(Self.binaries ?? "")/psql", url(database: database), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text])
        return output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// A dump of the whole database, as text.
    package func dump(database: String = "postgres") throws -> String {
        try Self.run(["\(Self.binaries ?? "")/pg_dump", url(database: database)])
    }

    // MARK: Processes

    private static var unprivileged: [String] {
        geteuid() == 0
            ? ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    }

    @discardableResult
    private static func run(_ command: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        // A file and no pipe: a process that is started at the same moment elsewhere may inherit a pipe's end, and then
        // nobody sees the end of what is written.
        let path = NSTemporaryDirectory() + "pg-output-" + UUID().uuidString
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let file = FileHandle(forUpdatingAtPath: path)
        else { throw Failure(description: "\(path) cannot be made") }
        defer {
            try? file.close()
            try? FileManager.default.removeItem(atPath: path)
        }
        process.standardOutput = file
        process.standardError = file
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let output = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(command.joined(separator: " ")): \(output)")
        }
        return output
    }

    private static func append(_ text: String, to path: String) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(text.utf8))
    }

    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
            }
        }
        guard bound else { throw Failure(description: "no free port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}
