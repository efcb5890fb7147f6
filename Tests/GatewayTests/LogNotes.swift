import Logging
import Synchronization

/// What was logged, for tests that ask whether something was told.
final class LogNotes: Sendable {
    struct Line: Sendable {
        var level: Logger.Level
        var text: String
        var metadata: [String: String]
    }

    private let noted = Mutex<[Line]>([])

    var lines: [Line] { noted.withLock { $0 } }

    func add(_ line: Line) { noted.withLock { $0.append(line) } }
}

struct NotingLogHandler: LogHandler {
    let notes: LogNotes
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(notes: LogNotes) { self.notes = notes }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let values = (event.metadata ?? [:]).mapValues { "\($0)" }
        notes.add(.init(level: event.level, text: "\(event.message)", metadata: values))
    }
}
