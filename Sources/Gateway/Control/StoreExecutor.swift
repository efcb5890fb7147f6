import Reactor
import Synchronization
import TokenStore

/// The thread that the store's calls block, so that a slow disk holds up neither requests nor the console.
///
/// Calls run one after the other, in the order in which they were made.
final class StoreExecutor: Sendable {
    private struct Jobs {
        var list: [@Sendable (any TokenStore) -> Void] = []
        var isClosed = false
    }

    private let store: any TokenStore
    /// Other processes may have the store open.
    let isShared: Bool
    private let jobs = Mutex(Jobs())
    private let wake: Mailbox<Void>

    init(store: any TokenStore) throws(Errno) {
        self.store = store
        isShared = store.isShared
        wake = try Mailbox<Void>()
    }

    /// Queues `job` for the store's thread.
    func perform(_ job: @escaping @Sendable (any TokenStore) -> Void) {
        jobs.withLock { $0.list.append(job) }
        wake.post(())
    }

    /// Ends ``run()`` after the calls that were queued before.
    func close() {
        jobs.withLock { $0.isClosed = true }
        wake.post(())
    }

    /// The body of the store's thread; closes the store at its end.
    func run() throws(Errno) {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(wake.descriptor, token: 0)
        var signals: [Void] = []
        while true {
            _ = poller.wait(timeoutMilliseconds: -1)
            wake.drain(into: &signals)
            signals.removeAll(keepingCapacity: true)
            let (list, isClosed) = jobs.withLock { jobs in
                defer { jobs.list = [] }
                return (jobs.list, jobs.isClosed)
            }
            for job in list { job(store) }
            if isClosed {
                store.close()
                return
            }
        }
    }
}

/// A value that another thread fills in once.
final class ResultBox<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    func fill(_ new: Value) {
        value.withLock { $0 = new }
    }

    func take() -> Value? {
        value.withLock { $0 }
    }
}
