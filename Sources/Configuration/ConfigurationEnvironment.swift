import Glibc

/// All that the configuration may know of the outside world; tests make their own.
package struct ConfigurationEnvironment: Sendable {
    /// An environment variable; nil if it is not set.
    package var variable: @Sendable (String) -> String?
    /// A regular file's bytes, at most so many of them.
    package var readFile: @Sendable (_ path: String, _ limit: Int) -> Result<FileContents, FileProblem>
    package var isDirectory: @Sendable (String) -> Bool
    package var processorCount: Int
    /// Seconds since 1970, to see what has expired.
    package var now: @Sendable () -> Int64
    /// What is wrong with the content of a store's key, as a sentence that names its source and shows nothing of it; nil
    /// if it is one. Whoever opens the store knows what keys look like.
    package var storeKeyProblem: @Sendable (_ content: [UInt8], _ source: String) -> String? = { _, _ in nil }

    package init(
        variable: @escaping @Sendable (String) -> String?,
        readFile: @escaping @Sendable (_ path: String, _ limit: Int) -> Result<FileContents, FileProblem>,
        isDirectory: @escaping @Sendable (String) -> Bool,
        processorCount: Int,
        now: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }
    ) {
        self.variable = variable
        self.readFile = readFile
        self.isDirectory = isDirectory
        self.processorCount = processorCount
        self.now = now
    }

    /// The folder of systemd's credentials, if the process has any.
    var credentialsDirectory: String? {
        variable("CREDENTIALS_DIRECTORY").flatMap { $0.hasPrefix("/") ? $0 : nil }
    }

    var temporaryDirectory: String {
        variable("TMPDIR").flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
    }
}

package struct FileContents: Sendable {
    package let bytes: [UInt8]
    /// Permission bits only.
    package let mode: UInt32
    /// User id.
    package let owner: UInt32

    package init(bytes: [UInt8], mode: UInt32, owner: UInt32) {
        self.bytes = bytes
        self.mode = mode
        self.owner = owner
    }
}

package enum FileProblem: Error, Sendable, Hashable, CustomStringConvertible {
    case notFound, notPermitted, notRegular
    case tooLarge(limit: Int)
    case failed(errno: Int32)

    package var description: String {
        switch self {
        case .notFound: "there is no such file"
        case .notPermitted: "this user may not read it"
        case .notRegular: "it is not a regular file"
        case .tooLarge(let limit): "it is larger than \(SizeText.text(limit))"
        case .failed(let code): String(cString: strerror(code))
        }
    }

    init(errno code: Int32) {
        switch code {
        case ENOENT, ENOTDIR: self = .notFound
        case EACCES, EPERM: self = .notPermitted
        default: self = .failed(errno: code)
        }
    }
}

extension ConfigurationEnvironment {
    /// The real one. Reading blocks: never call it on a worker.
    package static let system = ConfigurationEnvironment(
        variable: { name in getenv(name).map { String(cString: $0) } },
        readFile: { path, limit in SystemFile.read(path, limit: limit) },
        isDirectory: { SystemFile.isDirectory($0) },
        processorCount: SystemFile.processorCount())
}

private enum SystemFile {
    static func read(_ path: String, limit: Int) -> Result<FileContents, FileProblem> {
        // Non-blocking, so that a named pipe does not hang the start.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { return .failure(FileProblem(errno: errno)) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { return .failure(FileProblem(errno: errno)) }
        guard status.st_mode & S_IFMT == S_IFREG else { return .failure(.notRegular) }
        return bytes(of: file, limit: limit).map {
            FileContents(bytes: $0, mode: status.st_mode & 0o7777, owner: status.st_uid)
        }
    }

    private static func bytes(of file: Int32, limit: Int) -> Result<[UInt8], FileProblem> {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return .failure(FileProblem(errno: errno)) }
            if count == 0 { return .success(bytes) }
            bytes += chunk[..<count]
            guard bytes.count <= limit else { return .failure(.tooLarge(limit: limit)) }
        }
    }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The cores that this process may run on: the bits of its affinity mask.
    static func processorCount() -> Int {
        guard case .success(let status) = read("/proc/self/status", limit: 65_536),
            let line = String(decoding: status.bytes, as: UTF8.self).split(separator: "\n")
                .first(where: { $0.hasPrefix("Cpus_allowed:") })
        else { return max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
        let mask = line.dropFirst("Cpus_allowed:".count)
        return max(1, mask.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) })
    }
}
