import Glibc

/// The files of an embedded store, and what must hold of them: a directory for nobody else (0700), a database and
/// its log for nobody else (0600), a lock file beside them.
struct StoreFiles: Sendable {
    let path: String
    let directory: String

    init(path: String) {
        self.path = path
        if let slash = path.lastIndex(of: "/") {
            directory = slash == path.startIndex ? "/" : String(path[..<slash])
        } else {
            directory = "."
        }
    }

    var lockPath: String { path + ".lock" }
    var logPath: String { path + "-wal" }
    /// Where a new store is made before it gets its name, so that a crash leaves no half-made store.
    var unfinishedPath: String { path + ".new" }

    /// Checks the directory, or makes it if only its last part is missing.
    func prepareDirectory() throws(StoreError) {
        guard let found = try Self.status(directory, followingLink: true) else {
            guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
                throw Self.failure("cannot make the directory \(directory) of the store", errno)
            }
            try Self.sync(directory: StoreFiles(path: directory).directory)
            return
        }
        guard found.st_mode & S_IFMT == S_IFDIR else {
            throw StoreError(.permissions, "\(directory), where the store is to be, is not a directory")
        }
        try Self.checkPrivate(directory, found, remedy: "chmod 700")
    }

    /// Whether the database exists; if so, it is a plain file that is ours alone.
    func checkDatabase() throws(StoreError) -> Bool {
        guard let found = try Self.status(path) else {
            if let log = try Self.status(logPath), log.st_size > 0 {
                throw StoreError(
                    .corrupt,
                    "\(path) is missing but its log \(logPath) is there. Put the database back from a backup, or move "
                        + "the log away to start with an empty store; then every grant needs consent again")
            }
            return false
        }
        try Self.checkPlain(path, found)
        if let log = try Self.status(logPath) { try Self.checkPlain(logPath, log) }
        return true
    }

    private static func checkPlain(_ path: String, _ found: stat) throws(StoreError) {
        guard found.st_mode & S_IFMT == S_IFREG else {
            throw StoreError(.permissions, "\(path) is not a plain file (a link is not followed); name the file itself")
        }
        try checkPrivate(path, found, remedy: "chmod 600")
    }

    private static func checkPrivate(_ path: String, _ found: stat, remedy: String) throws(StoreError) {
        guard found.st_uid == geteuid() || geteuid() == 0 else {
            throw StoreError(
                .permissions,
                "\(path) belongs to user \(found.st_uid), not to user \(geteuid()) that the gateway runs as")
        }
        guard found.st_mode & 0o077 == 0 else {
            let mode = String(found.st_mode & 0o7777, radix: 8)
            throw StoreError(.permissions, "\(path) is open to other users (mode \(mode)). Run: \(remedy) \(path)")
        }
    }

    /// Makes the empty file that a new store is built in, readable by us alone from the first moment.
    func createUnfinished() throws(StoreError) {
        for leftover in [unfinishedPath, unfinishedPath + "-wal", unfinishedPath + "-journal"] {
            guard unlink(leftover) == 0 || errno == ENOENT else {
                throw Self.failure("cannot remove \(leftover)", errno)
            }
        }
        let descriptor = Glibc.open(unfinishedPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Self.failure("cannot make \(unfinishedPath)", errno) }
        Glibc.close(descriptor)
    }

    func removeLog() throws(StoreError) {
        guard unlink(logPath) == 0 || errno == ENOENT else { throw Self.failure("cannot remove \(logPath)", errno) }
    }

    /// Gives the finished store its name, durably.
    func publishUnfinished() throws(StoreError) {
        try Self.sync(file: unfinishedPath)
        guard rename(unfinishedPath, path) == 0 else {
            throw Self.failure("cannot rename \(unfinishedPath) to \(path)", errno)
        }
        try Self.sync(directory: directory)
    }

    /// The first bytes of the database; fewer than asked for when it is shorter.
    func header(_ count: Int) throws(StoreError) -> [UInt8] {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw Self.failure("cannot open \(path)", errno) }
        defer { Glibc.close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, 0)
        guard got >= 0 else { throw Self.failure("cannot read \(path)", errno) }
        return Array(bytes.prefix(got))
    }

    /// The size of the database; `nil` when a log with something in it is there, which may hold its end.
    func bytesWithoutLog() throws(StoreError) -> Int64? {
        if let log = try Self.status(logPath), log.st_size > 0 { return nil }
        return try Self.status(path).map { Int64($0.st_size) }
    }

    /// The size of database and log together.
    func totalBytes() throws(StoreError) -> Int64 {
        try Int64(Self.status(path)?.st_size ?? 0) + Int64(Self.status(logPath)?.st_size ?? 0)
    }

    // MARK: System calls

    /// `nil`: there is no such file. The directory may be reached through a link; the files may not.
    static func status(_ path: String, followingLink: Bool = false) throws(StoreError) -> stat? {
        var found = stat()
        if (followingLink ? stat(path, &found) : lstat(path, &found)) == 0 { return found }
        guard errno == ENOENT else { throw failure("cannot look at \(path)", errno) }
        return nil
    }

    private static func sync(file path: String) throws(StoreError) {
        try sync(path, O_RDWR)
    }

    private static func sync(directory path: String) throws(StoreError) {
        try sync(path, O_RDONLY | O_DIRECTORY)
    }

    private static func sync(_ path: String, _ flags: Int32) throws(StoreError) {
        let descriptor = Glibc.open(path, flags | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open \(path)", errno) }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync \(path)", errno) }
    }

    static func failure(_ what: String, _ code: Int32) -> StoreError {
        let kind: StoreError.Kind =
            switch code {
            case ENOSPC, EDQUOT, EFBIG: .diskFull
            case EACCES, EPERM, ELOOP, ENOTDIR: .permissions
            case EROFS: .readOnly
            case ENOENT, ENAMETOOLONG, EINVAL: .invalid
            default: .inputOutput
            }
        return StoreError(kind, "\(what): \(String(cString: strerror(code)))")
    }
}

/// An exclusive hold on a lock file, which ends with the object (or the process).
final class StoreLock: Sendable {
    private let descriptor: Int32

    init(_ files: StoreFiles) throws(StoreError) {
        let opened = Glibc.open(files.lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard opened >= 0 else { throw StoreFiles.failure("cannot open \(files.lockPath)", errno) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            let holder = Self.holder(opened)
            Glibc.close(opened)
            guard code == EWOULDBLOCK else { throw StoreFiles.failure("cannot lock \(files.lockPath)", code) }
            throw StoreError(
                .inUse,
                "\(files.path) is in use by another token-gateway\(holder). An embedded store serves one process: stop "
                    + "the other one, or give this one another store")
        }
        descriptor = opened
        // The number is a courtesy for the message above; the lock does not rest on it.
        let text = Array("\(getpid())\n".utf8)
        if ftruncate(opened, 0) == 0 { _ = pwrite(opened, text, text.count, 0) }
    }

    deinit {
        Glibc.close(descriptor)
    }

    private static func holder(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let got = pread(descriptor, &bytes, bytes.count, 0)
        let digits = bytes.prefix(max(0, got)).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return digits.isEmpty ? "" : " (process \(String(decoding: digits, as: UTF8.self)))"
    }
}
