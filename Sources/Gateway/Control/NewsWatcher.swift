import Reactor
import Synchronization
import TokenStore

/// The thread that waits for what other replicas do, and tells control.
final class NewsWatcher: Sendable {
    private let store: any TokenStore
    private let mailbox: Mailbox<ControlMessage>
    private let wake: Mailbox<Void>
    private let isStopped = Mutex(false)
    /// How long one wait is: presence is told at least this often.
    private static let patience = 2_000
    private static let rest: Int32 = 500

    init(store: any TokenStore, mailbox: Mailbox<ControlMessage>) throws(Errno) {
        self.store = store
        self.mailbox = mailbox
        wake = try Mailbox<Void>()
    }

    /// Ends ``run()``.
    func stop() {
        isStopped.withLock { $0 = true }
        store.stopNews()
        wake.post(())
    }

    /// The body of the thread.
    func run() throws(Errno) {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(wake.descriptor, token: 0)
        while !isStopped.withLock({ $0 }) {
            do throws(StoreError) {
                mailbox.post(.news(try store.waitForNews(upTo: Self.patience)))
            } catch {
                if isStopped.withLock({ $0 }) { return }
                mailbox.post(.newsFailed(error))
                _ = poller.wait(timeoutMilliseconds: Self.rest)
            }
        }
    }
}
