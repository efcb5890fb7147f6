import Glibc
import Reactor

/// Ctrl-C and its like as a failure of whatever waits, so that every way out cleans up. Made before any thread.
final class Interruption {
    private let signals: SignalReceiver

    init() throws(DemoFailure) {
        do throws(Errno) {
            signals = try SignalReceiver(signals: [
                SignalReceiver.interrupt, SignalReceiver.terminate, SignalReceiver.hangUp, SignalReceiver.quit,
            ])
        } catch {
            throw .cannotStart("signals cannot be received: \(error)")
        }
    }

    /// Waits for so long, or until there is something to read; true in the latter case. nil waits for ever.
    @discardableResult
    func wait(milliseconds: UInt64?, orInput input: Int32 = -1) throws(DemoFailure) -> Bool {
        let deadline = milliseconds.map { MonotonicClock.milliseconds() + $0 }
        while true {
            let now = MonotonicClock.milliseconds()
            let rest = deadline.map { $0 > now ? Int32(clamping: $0 - now) : 0 } ?? -1
            // A negative descriptor is ignored by the kernel.
            var entries = [
                pollfd(fd: signals.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
                pollfd(fd: input, events: Int16(POLLIN), revents: 0),
            ]
            let result = poll(&entries, 2, rest)
            if entries[0].revents != 0, signals.next() != nil { throw .interrupted }
            if entries[1].revents != 0 { return true }
            if result <= 0, let deadline, MonotonicClock.milliseconds() >= deadline { return false }
        }
    }

    /// Looks again and again until there is a value.
    func until<Value>(
        _ what: String, within milliseconds: UInt64, _ look: () throws(DemoFailure) -> Value?
    ) throws(DemoFailure) -> Value {
        let deadline = MonotonicClock.milliseconds() + milliseconds
        while true {
            if let value = try look() { return value }
            guard MonotonicClock.milliseconds() < deadline else {
                throw .stepFailed("\(what) did not happen within \(milliseconds / 1000) s")
            }
            try wait(milliseconds: 50)
        }
    }
}
