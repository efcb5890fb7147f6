import HTTP
import Reactor

/// The event loop of the control thread: few descriptors, closures for handlers, timers by closure.
///
/// Thread-confined. Nothing here is on a request's path, so plain code is preferred to fast code.
final class ControlLoop {
    /// Names a registration or a timer; never used again.
    struct Token: Hashable {
        fileprivate let number: UInt64
    }

    private struct Timer {
        var deadline: UInt64
        var action: () -> Void
    }

    private let poller: Poller
    private var handlers: [UInt64: (descriptor: Descriptor, handler: (Readiness) -> Void)] = [:]
    private var timers: [UInt64: Timer] = [:]
    private var nextNumber: UInt64 = 1
    private var isStopped = false
    /// Monotonic milliseconds at the start of this tick.
    private(set) var now: UInt64

    init() throws(Errno) {
        poller = try Poller(eventCapacity: 256)
        now = MonotonicClock.milliseconds()
    }

    /// Registers a connection, edge-triggered.
    func add(_ descriptor: Descriptor, _ handler: @escaping (Readiness) -> Void) throws(Errno) -> Token {
        let number = takeNumber()
        try poller.add(descriptor, token: number)
        handlers[number] = (descriptor, handler)
        return Token(number: number)
    }

    /// Registers a listener, mailbox or signal receiver, level-triggered.
    func addListener(_ descriptor: Descriptor, _ handler: @escaping () -> Void) throws(Errno) -> Token {
        let number = takeNumber()
        try poller.addListener(descriptor, token: number)
        handlers[number] = (descriptor, { _ in handler() })
        return Token(number: number)
    }

    /// Ends a registration. The descriptor stays open.
    func remove(_ token: Token) {
        guard let entry = handlers.removeValue(forKey: token.number) else { return }
        poller.remove(entry.descriptor)
    }

    /// Calls `action` once, `milliseconds` from now.
    @discardableResult
    func schedule(after milliseconds: UInt64, _ action: @escaping () -> Void) -> Token {
        let number = takeNumber()
        timers[number] = Timer(deadline: MonotonicClock.milliseconds() &+ milliseconds, action: action)
        return Token(number: number)
    }

    func cancel(_ token: Token) {
        timers[token.number] = nil
    }

    func stop() {
        isStopped = true
    }

    /// Runs until ``stop()``.
    func run() {
        while !isStopped {
            let count = poller.wait(timeoutMilliseconds: waitTime())
            now = MonotonicClock.milliseconds()
            for index in 0..<count {
                let event = poller.event(at: index)
                handlers[event.token]?.handler(event.readiness)
            }
            fireTimers()
        }
    }

    private func waitTime() -> Int32 {
        guard let next = timers.values.map(\.deadline).min() else { return -1 }
        let current = MonotonicClock.milliseconds()
        return next <= current ? 0 : Int32(clamping: next - current)
    }

    private func fireTimers() {
        let due = timers.filter { $0.value.deadline <= now }.sorted { $0.value.deadline < $1.value.deadline }
        for (number, timer) in due where timers.removeValue(forKey: number) != nil { timer.action() }
    }

    private func takeNumber() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }
}
