import Foundation
import Glibc
import Synchronization

/// The folder of this run, and what must go when the run ends. `TOKEN_GATEWAY_E2E_KEEP=1` keeps the folder.
enum Workspace {
    static let path: String = {
        let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(base)/token-gateway-e2e-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { fatalError("cannot make a folder in \(base)") }
        owner.store(getpid(), ordering: .relaxed)
        atexit { Workspace.cleanUp() }
        return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }()

    /// The processes that run now.
    static let children = Mutex<Set<pid_t>>([])
    private static let counter = Atomic<Int>(0)

    /// A path that nobody else has.
    static func newFile(_ suffix: String) -> String {
        "\(path)/\(counter.add(1, ordering: .relaxed).newValue).\(suffix)"
    }

    static func newFolder(_ name: String) throws -> String {
        let folder = newFile(name)
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        return folder
    }

    /// Writes a file that only its owner can read.
    static func write(_ text: String, to file: String) throws {
        try write(Data(text.utf8), to: file)
    }

    static func write(_ data: Data, to file: String) throws {
        guard FileManager.default.createFile(atPath: file, contents: data, attributes: [.posixPermissions: 0o600])
        else { throw HarnessError("cannot write \(file)") }
    }

    /// Who made the folder: a process that this one forks ends with the same handlers, and must not clean up for it.
    private static let owner = Atomic<Int32>(0)

    private static func cleanUp() {
        guard owner.load(ordering: .relaxed) == getpid() else { return }
        for pid in children.withLock({ $0 }) { kill(-pid, SIGKILL) }
        if ProcessInfo.processInfo.environment["TOKEN_GATEWAY_E2E_KEEP"] == nil {
            try? FileManager.default.removeItem(atPath: path)
        }
    }
}

/// Where this package's files are.
enum Repository {
    static let root: String = {
        var url = URL(filePath: #filePath)
        for _ in 0..<4 { url.deleteLastPathComponent() }
        return url.path(percentEncoded: false)
    }()
}

/// Waits until `condition` holds, looking again and again; throws after `limit`.
func eventually(
    _ what: String, within limit: Duration = .seconds(15), every pause: Duration = .milliseconds(15),
    _ condition: () async throws -> Bool
) async throws {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    while true {
        if try await condition() { return }
        guard clock.now < deadline else { throw HarnessError("not within \(limit): \(what)") }
        try await Task.sleep(for: pause)
    }
}

/// Ports for servers: below the range from which the system takes ports for outgoing connections, so that a port which
/// is free now is free when its server starts.
enum Ports {
    private static let taken = Mutex<Set<UInt16>>([])

    static func next() throws -> UInt16 {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 15000..<32000)
            if taken.withLock({ $0.insert(port).inserted }), isFree(port) { return port }
        }
        throw HarnessError("no free port")
    }

    private static func isFree(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        defer { close(descriptor) }
        return withLoopback(port) { bind(descriptor, $0, $1) } == 0
    }

    /// How many connections to a server on `port` are established, seen from the server.
    static func connections(to port: UInt16) throws -> Int {
        // `String(contentsOfFile:)` stops at the first short read, which for a file of the kernel is not the end.
        let file = try FileHandle(forReadingFrom: URL(filePath: "/proc/net/tcp"))
        defer { try? file.close() }
        let table = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
        let server = "0100007F:" + String(format: "%04X", port)
        return table.split(separator: "\n").count { line in
            let columns = line.split(separator: " ", omittingEmptySubsequences: true)
            return columns.count > 3 && columns[1] == server && columns[3] == "01"
        }
    }
}

/// Gives `body` the address 127.0.0.1:`port`.
func withLoopback<R>(_ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

/// `count` letters and digits from the system's generator.
func randomText(_ count: Int) -> String {
    let letters = Array("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    return String((0..<count).map { _ in letters.randomElement()! })
}

/// `count` bytes from the system's generator.
func randomBytes(_ count: Int) -> Data {
    var generator = SystemRandomNumberGenerator()
    var data = Data(capacity: count + 8)
    while data.count < count { withUnsafeBytes(of: generator.next()) { data.append(contentsOf: $0) } }
    return data.prefix(count)
}
