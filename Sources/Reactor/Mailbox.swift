import CLinux
import Synchronization

/// The only way into another thread's loop: any thread posts, the loop drains.
///
/// Messages of one sender arrive in the order in which it posted them.
package final class Mailbox<Message: Sendable>: Sendable {
    /// Readable while messages may wait: for ``Poller/addListener(_:token:shared:)``. Closed with the mailbox.
    package let descriptor: Descriptor
    private let messages = Mutex<[Message]>([])
    private let isSignalled = Atomic<Bool>(false)

    package init() throws(Errno) {
        descriptor = Descriptor(rawValue: try Errno.check(tg_eventfd()))
    }

    deinit {
        descriptor.close()
    }

    /// Leaves a message. The kernel is called only by the first post after a drain.
    package func post(_ message: Message) {
        messages.withLock { $0.append(message) }
        if !isSignalled.exchange(true, ordering: .acquiringAndReleasing) {
            _ = tg_eventfd_add(descriptor.rawValue, 1)
        }
    }

    /// Moves all messages to the end of the list. Loop only, when the poller reports the descriptor.
    ///
    /// Hand in the same empty list each time: it is exchanged for the full one, so that two arrays serve for ever.
    package func drain(into list: inout [Message]) {
        // In this order: a message that is posted after the flag falls signals again, one posted before is taken below.
        // The descriptor is always read, because a poster may be between raising the flag and writing.
        _ = tg_eventfd_clear(descriptor.rawValue)
        isSignalled.store(false, ordering: .sequentiallyConsistent)
        var taken: [Message] = []
        swap(&taken, &list)
        let wasEmpty = taken.isEmpty
        messages.withLock { waiting in
            if wasEmpty {
                swap(&waiting, &taken)
            } else {
                taken.append(contentsOf: waiting)
                waiting.removeAll(keepingCapacity: true)
            }
        }
        swap(&taken, &list)
    }
}
