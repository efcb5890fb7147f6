import CLinux
import Synchronization

/// A thread of the system with a name. It takes no asynchronous signal, so that these reach ``SignalReceiver``.
package final class WorkerThread: Sendable {
    /// Nil once joined.
    private let handle: Mutex<UInt64?>

    private init(handle: UInt64) {
        self.handle = Mutex(handle)
    }

    deinit {
        if let thread = handle.withLock({ $0 }) { tg_thread_detach(thread) }
    }

    /// Starts a thread that runs `body` to its end. `name` is cut to the 15 bytes that the kernel keeps. Without the
    /// result the thread goes on by itself. Throws `EAGAIN` at the limit of threads.
    @discardableResult
    package static func start(name: String, _ body: @escaping @Sendable () -> Void) throws(Errno) -> WorkerThread {
        let argument = unsafe Unmanaged.passRetained(Body(run: body)).toOpaque()
        var thread: UInt64 = 0
        let result = unsafe tg_thread_start(
            name,
            { raw in
                guard let raw = unsafe raw else { return }
                unsafe Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run()
            }, argument, &thread)
        guard result >= 0 else {
            unsafe Unmanaged<Body>.fromOpaque(argument).release()
            throw Errno(code: -result)
        }
        return WorkerThread(handle: thread)
    }

    /// Waits for the thread's end. Later calls return at once. Not from the thread itself.
    package func join() {
        let thread = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let thread { tg_thread_join(thread) }
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }
}
