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

    private struct Deadline {
        var time: UInt64
        var number: UInt64

        func isBefore(_ other: Deadline) -> Bool {
            time == other.time ? number < other.number : time < other.time
        }
    }

    private let poller: Poller
    private var handlers: [UInt64: (descriptor: Descriptor, handler: (Readiness) -> Void)] = [:]
    private var actions: [UInt64: () -> Void] = [:]
    /// A binary heap; it may hold timers that were cancelled. Thousands of grants have a timer each.
    private var deadlines: [Deadline] = []
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
        actions[number] = action
        push(Deadline(time: MonotonicClock.milliseconds() &+ milliseconds, number: number))
        return Token(number: number)
    }

    func cancel(_ token: Token) {
        actions[token.number] = nil
        // What was cancelled must not pile up.
        guard deadlines.count > 64, deadlines.count > 2 * actions.count else { return }
        let live = deadlines.filter { actions[$0.number] != nil }.sorted { $0.isBefore($1) }
        deadlines = live
    }

    /// Timers that are armed.
    var timerCount: Int { actions.count }

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
        while let first = deadlines.first, actions[first.number] == nil { pop() }
        guard let next = deadlines.first?.time else { return -1 }
        let current = MonotonicClock.milliseconds()
        return next <= current ? 0 : Int32(clamping: next - current)
    }

    /// Timers that are set while these are fired wait for the next round, so that descriptors get their turn.
    private func fireTimers() {
        var due: [UInt64] = []
        while let first = deadlines.first, first.time <= now {
            pop()
            if actions[first.number] != nil { due.append(first.number) }
        }
        for number in due { actions.removeValue(forKey: number)?() }
    }

    private func push(_ deadline: Deadline) {
        var index = deadlines.count
        deadlines.append(deadline)
        while index > 0, case let parent = (index - 1) / 2, deadline.isBefore(deadlines[parent]) {
            deadlines.swapAt(index, parent)
            index = parent
        }
    }

    private func pop() {
        guard let last = deadlines.popLast(), !deadlines.isEmpty else { return }
        deadlines[0] = last
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < deadlines.count && deadlines[child].isBefore(deadlines[least]) {
                least = child
            }
            guard least != index else { return }
            deadlines.swapAt(index, least)
            index = least
        }
    }

    private func takeNumber() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }
}
