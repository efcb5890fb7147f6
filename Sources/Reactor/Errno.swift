import CLinux
import Glibc

/// A system error number.
@usableFromInline
package struct Errno: Error, Hashable, Sendable, CustomStringConvertible {
    package let code: Int32

    package init(code: Int32) {
        self.code = code
    }

    package static let addressInUse = Errno(code: EADDRINUSE)
    package static let addressNotAvailable = Errno(code: EADDRNOTAVAIL)
    package static let brokenPipe = Errno(code: EPIPE)
    package static let connectionAborted = Errno(code: ECONNABORTED)
    package static let connectionRefused = Errno(code: ECONNREFUSED)
    package static let connectionReset = Errno(code: ECONNRESET)
    package static let hostUnreachable = Errno(code: EHOSTUNREACH)
    package static let inProgress = Errno(code: EINPROGRESS)
    package static let invalidArgument = Errno(code: EINVAL)
    package static let isDirectory = Errno(code: EISDIR)
    package static let nameTooLong = Errno(code: ENAMETOOLONG)
    package static let networkUnreachable = Errno(code: ENETUNREACH)
    package static let noMemory = Errno(code: ENOMEM)
    package static let noSpaceLeft = Errno(code: ENOSPC)
    package static let noSuchFile = Errno(code: ENOENT)
    package static let notConnected = Errno(code: ENOTCONN)
    package static let outOfBuffers = Errno(code: ENOBUFS)
    package static let permissionDenied = Errno(code: EACCES)
    package static let processDescriptorsExhausted = Errno(code: EMFILE)
    package static let systemDescriptorsExhausted = Errno(code: ENFILE)
    package static let timedOut = Errno(code: ETIMEDOUT)
    package static let wouldBlock = Errno(code: EAGAIN)

    /// `Connection refused (ECONNREFUSED)`, in English whatever the locale.
    @usableFromInline
    package var description: String {
        guard let text = unsafe tg_errno_text(code), let name = unsafe tg_errno_name(code) else {
            return "Unknown error (errno \(code))"
        }
        return unsafe "\(String(cString: text)) (\(String(cString: name)))"
    }

    /// True when the process or the system has run out of descriptors or of the memory for one: not the peer's fault,
    /// and over when something is closed.
    package var isExhaustion: Bool {
        code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
    }

    /// Passes a shim's result through, or throws the error that it stands for.
    static func check(_ result: Int32) throws(Errno) -> Int32 {
        guard result >= 0 else { throw Errno(code: -result) }
        return result
    }
}
