import CLinux
import Glibc

/// Signals as events of a loop instead of interruptions.
///
/// Make it in the main thread before any other thread exists: the signals are blocked in the calling thread and in all
/// that it starts, so that they stay pending for this receiver.
package final class SignalReceiver {
    /// Readable while a signal waits: for ``Poller/addListener(_:token:shared:)``. Closed with the receiver.
    package let descriptor: Descriptor

    package static let terminate = SIGTERM
    package static let interrupt = SIGINT
    package static let hangUp = SIGHUP
    package static let user1 = SIGUSR1
    package static let user2 = SIGUSR2
    package static let quit = SIGQUIT

    package init(signals: [Int32]) throws(Errno) {
        let result = unsafe signals.withUnsafeBufferPointer {
            unsafe tg_signalfd($0.baseAddress, Int32(clamping: $0.count))
        }
        descriptor = Descriptor(rawValue: try Errno.check(result))
    }

    deinit {
        descriptor.close()
    }

    /// The next signal that waits, or nil. Two of one kind that arrive together count as one.
    package func next() -> Int32? {
        let result = tg_signalfd_next(descriptor.rawValue)
        return result > 0 ? result : nil
    }
}
