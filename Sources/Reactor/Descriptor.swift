import CLinux
import Glibc

/// An open file descriptor. A plain value: whoever owns the connection, listener or file closes it, once.
@usableFromInline
package struct Descriptor: Hashable, Sendable {
    package let rawValue: Int32

    package init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Gives the descriptor back to the kernel, which also takes a socket out of every poller.
    ///
    /// Never retried: Linux has closed the descriptor even when it reports `EINTR`, and its number may already belong
    /// to another thread's connection.
    package func close() {
        let result = tg_close(rawValue)
        assert(result != -EBADF, "descriptor \(rawValue) was closed twice")
    }
}

/// What one attempt to move bytes did. `EINTR` is retried inside and never seen here.
@usableFromInline
package enum IOResult: Hashable, Sendable {
    /// So many bytes were moved; 0 only when the buffer that was handed in was empty.
    case bytes(Int)
    /// Nothing can be moved now; the poller reports when it can.
    case wouldBlock
    /// Reading only: the peer has finished sending, or the file ends here.
    case endOfFile
    case failed(Errno)

    /// Maps the count, or negated errno, of a call that reads.
    init(reading result: Int64) {
        if result > 0 {
            self = .bytes(Int(result))
        } else if result == 0 {
            self = .endOfFile
        } else {
            self.init(failure: result)
        }
    }

    /// Maps the count, or negated errno, of a call that writes.
    init(writing result: Int64) {
        if result >= 0 {
            self = .bytes(Int(result))
        } else {
            self.init(failure: result)
        }
    }

    private init(failure: Int64) {
        let code = Int32(truncatingIfNeeded: -failure)
        self = code == EAGAIN ? .wouldBlock : .failed(Errno(code: code))
    }
}
