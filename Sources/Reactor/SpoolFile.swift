import CLinux
import Glibc

/// A temporary file without a name, for bytes that may have to be sent again. It has mode 0600, is closed by `deinit`,
/// and is gone when closed, also when the process is killed. One thread at a time.
///
/// Reads and writes can wait for the disk; in practice they touch the page cache only.
package final class SpoolFile {
    private let descriptor: Descriptor
    /// How many bytes were appended.
    package private(set) var count: Int64 = 0

    /// Makes the file in a directory, which fixes the file system whose space it takes.
    package init(directory: String) throws(Errno) {
        guard Files.isUsable(directory) else { throw .invalidArgument }
        let opened = unsafe tg_open_nameless(directory)
        // EOPNOTSUPP: the file system knows no nameless files; EISDIR: the kernel does not.
        if opened == -EOPNOTSUPP || opened == -EISDIR {
            descriptor = try Self.openAndUnlink(in: directory)
        } else {
            descriptor = Descriptor(rawValue: try Errno.check(opened))
        }
    }

    /// The older way: for a moment the file has a name that nobody can guess.
    static func openAndUnlink(in directory: String) throws(Errno) -> Descriptor {
        Descriptor(rawValue: try Errno.check(unsafe tg_open_and_unlink(directory)))
    }

    /// Takes over an open, empty file.
    init(adopting descriptor: Descriptor) {
        self.descriptor = descriptor
    }

    deinit {
        descriptor.close()
    }

    /// Adds all of the bytes, or throws (`ENOSPC`, `EDQUOT`, `EIO`) with the contents as they were.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
        var written = 0
        while written < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[written...])
            let result = unsafe tg_write_at(
                descriptor.rawValue, rest.baseAddress, rest.count, count + Int64(written))
            guard result >= 0 else { throw Errno(code: Int32(truncatingIfNeeded: -result)) }
            // A write of nothing has no error to tell; it would repeat for ever.
            guard result > 0 else { throw .noSpaceLeft }
            written += Int(result)
        }
        count += Int64(written)
    }

    /// Reads what is at an offset; `.endOfFile` at and after ``count``. Never `.wouldBlock`.
    package func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
        guard offset >= 0 else { return .failed(.invalidArgument) }
        guard offset < count else { return .endOfFile }
        guard unsafe !buffer.isEmpty else { return .bytes(0) }
        // An append that failed halfway may have left bytes behind the end.
        let wanted = min(Int64(buffer.count), count - offset)
        return IOResult(
            reading: unsafe tg_read_at(descriptor.rawValue, buffer.baseAddress, Int(wanted), offset))
    }
}
