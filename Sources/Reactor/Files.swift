import CLinux

/// Why a file cannot be read. Never holds its contents.
package struct FileError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        case isDirectory
        /// It has more bytes than the limit.
        case tooLarge(limit: Int)
        case failed(Errno)
    }

    package let path: String
    package let kind: Kind

    package init(path: String, kind: Kind) {
        self.path = path
        self.kind = kind
    }

    package var description: String {
        switch kind {
        case .isDirectory: "cannot read \(path): it is a directory"
        case .tooLarge(let limit): "cannot read \(path): it has more than \(limit) bytes"
        case .failed(let error): "cannot read \(path): \(error)"
        }
    }
}

/// Small files: configuration, certificates, secrets. Blocks; not for a worker's loop.
package enum Files {
    /// Reads a whole file, or pipe (`<(…)` of a shell), of at most `limit` bytes.
    package static func read(path: String, limit: Int) throws(FileError) -> [UInt8] {
        guard isUsable(path) else { throw FileError(path: path, kind: .failed(.invalidArgument)) }
        let opened = unsafe tg_open_reading(path)
        guard opened >= 0 else { throw FileError(path: path, kind: .failed(Errno(code: -opened))) }
        let descriptor = Descriptor(rawValue: opened)
        defer { descriptor.close() }
        // Until the end, and not by the size in the status: pipes and files of /proc do not know theirs.
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while bytes.count <= limit {
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe tg_read(opened, $0.baseAddress, $0.count) }
            guard count >= 0 else { throw readingFailed(path, Errno(code: Int32(truncatingIfNeeded: -count))) }
            guard count > 0 else { return bytes }
            bytes.append(contentsOf: chunk[..<Int(count)])
        }
        throw FileError(path: path, kind: .tooLarge(limit: limit))
    }

    private static func readingFailed(_ path: String, _ error: Errno) -> FileError {
        FileError(path: path, kind: error == .isDirectory ? .isDirectory : .failed(error))
    }

    /// Who may open a file, following symbolic links; nil when there is none that we can see.
    package static func access(of path: String) -> FileAccess? {
        guard isUsable(path) else { return nil }
        var status = tg_file_status()
        guard unsafe tg_status(path, &status) == 0 else { return nil }
        return FileAccess(mode: status.mode & 0o7777, owner: status.owner, group: status.group)
    }

    /// Whether people other than the owner and the group can read the file; nil when there is none that we can see.
    package static func isReadableByOthers(_ path: String) -> Bool? {
        access(of: path)?.isReadableByOthers
    }

    /// A path with a zero byte would name another file to the kernel.
    static func isUsable(_ path: String) -> Bool {
        !path.isEmpty && !path.utf8.contains(0)
    }
}

/// A file's permissions and owner.
package struct FileAccess: Hashable, Sendable {
    /// The permission bits, for example `0o640`.
    package let mode: UInt32
    package let owner: UInt32
    package let group: UInt32

    package init(mode: UInt32, owner: UInt32, group: UInt32) {
        self.mode = mode
        self.owner = owner
        self.group = group
    }

    package var isReadableByGroup: Bool { mode & 0o040 != 0 }
    package var isReadableByOthers: Bool { mode & 0o004 != 0 }
    package var isWritableByGroupOrOthers: Bool { mode & 0o022 != 0 }
}

/// Enough of a file's status to see that it was changed or replaced. Compare the stamp from before the last reading
/// with a new one; a secret that Kubernetes or systemd swaps by a symbolic link changes its inode.
package struct FileStamp: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64
    package let modifiedNanoseconds: Int64
    package let size: Int64

    /// Nil when there is no file that we can see. Follows symbolic links.
    package static func of(path: String) -> FileStamp? {
        guard Files.isUsable(path) else { return nil }
        var status = tg_file_status()
        guard unsafe tg_status(path, &status) == 0 else { return nil }
        return FileStamp(
            device: status.device, inode: status.inode, modifiedNanoseconds: status.modified_ns, size: status.size)
    }
}
