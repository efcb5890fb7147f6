import Glibc
import Reactor
import Synchronization
import Telemetry

/// Takes finished log lines from any thread and writes them on one of its own, so that a full pipe or disk holds no
/// request up. What does not fit is dropped and counted.
final class LogSink: Sendable {
    private struct Queue {
        var bytes: [UInt8] = []
        var isClosed = false
    }

    let format: LogFormat
    let isEnabled: Bool
    private let descriptor: Int32
    private let queue = Mutex(Queue())
    private let wake: Mailbox<Void>
    /// Bytes that may wait for the writer.
    static let limit = 4 * 1024 * 1024

    /// - Parameter descriptor: is written to and not closed.
    init(descriptor: Int32, format: LogFormat, isEnabled: Bool) throws(Errno) {
        self.descriptor = descriptor
        self.format = format
        self.isEnabled = isEnabled
        wake = try Mailbox<Void>()
    }

    /// Queues whole lines and never waits.
    ///
    /// - Returns: how many lines were dropped.
    func write(_ lines: [UInt8]) -> Int {
        let taken = queue.withLock { queue in
            guard queue.bytes.count + lines.count <= Self.limit else { return false }
            queue.bytes.append(contentsOf: lines)
            return true
        }
        guard taken else { return lines.count { $0 == 0x0A } }
        wake.post(())
        return 0
    }

    /// Writes until ``close()``; for the writer's own thread.
    func run() throws(Errno) {
        let poller = try Poller(eventCapacity: 1)
        try poller.addListener(wake.descriptor, token: 0)
        var signals: [Void] = []
        while true {
            _ = poller.wait(timeoutMilliseconds: -1)
            wake.drain(into: &signals)
            signals.removeAll(keepingCapacity: true)
            let (bytes, isClosed) = queue.withLock { queue in
                defer { queue.bytes = [] }
                return (queue.bytes, queue.isClosed)
            }
            writeAll(bytes)
            if isClosed { return }
        }
    }

    /// Ends ``run()`` after what is queued is written.
    func close() {
        queue.withLock { $0.isClosed = true }
        wake.post(())
    }

    private func writeAll(_ bytes: [UInt8]) {
        var written = 0
        while written < bytes.count {
            // A pipe that is ready takes a page without blocking: so a reader who has stopped does not hold up the end.
            var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            let ready = poll(&waiting, 1, 1000)
            if ready == 0 {
                if queue.withLock({ $0.isClosed }) { return }
                continue
            }
            let end = min(bytes.count, written + 4096)
            let result = bytes[written..<end].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if result > 0 {
                written += result
            } else if errno != EINTR && errno != EAGAIN {
                return
            }
        }
    }
}
