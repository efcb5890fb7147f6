import Dispatch
import Synchronization

/// A value that several threads may touch.
final class Guarded<Value: Sendable>: Sendable {
    private let storage: Mutex<Value>

    init(_ value: Value) {
        storage = Mutex(value)
    }

    var value: Value { storage.withLock { $0 } }

    func update(_ change: (inout Value) -> Void) {
        storage.withLock { change(&$0) }
    }
}

/// A door that threads wait at until it is opened, once for each.
final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func open(times: Int = 1) {
        for _ in 0..<times { semaphore.signal() }
    }

    /// False after ten seconds: the test has failed, and must not hang.
    func pass() -> Bool {
        semaphore.wait(timeout: .now() + 10) == .success
    }
}
