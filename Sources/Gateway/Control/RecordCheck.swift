/// Goes through the records of an embedded store in the background, because one that is large is not looked at in whole
/// when it is opened: a damaged record is to be found while there is a backup that has it, not in the night in which its
/// grant is needed. A few records at a time with pauses, so that commits do not feel it. A value: the driver performs what
/// it says.
struct RecordCheck: Sendable {
    enum Action: Equatable, Sendable {
        /// Open a page of records behind `after`; answered by `pageArrived` or `failed`.
        case verify(after: String?, limit: Int)
        /// Call `timerFired` after so many milliseconds.
        case wait(Int64)
        /// The operator is to hear of these.
        case tell([String: String])
        /// All were opened: how many, and how many of them could not be.
        case done(records: Int, damaged: Int)
    }

    struct Settings: Sendable {
        var page = 64
        /// Milliseconds until the first page, between two, after the store failed, and until all are gone through again.
        var start: Int64 = 2_000
        var pause: Int64 = 50
        var retry: Int64 = 5_000
        var rest: Int64 = 86_400_000
        /// Records that are told of by name.
        var told = 20
    }

    let settings: Settings
    /// Of the last time that all were gone through; while the first goes on, what it has found.
    private(set) var damaged = 0
    private var after: String?
    private var running = (records: 0, damaged: 0)
    private var hasEnded = false
    private var hasBegun = false

    init(settings: Settings = Settings()) {
        self.settings = settings
    }

    /// A second call does nothing.
    mutating func begin() -> [Action] {
        guard !hasBegun else { return [] }
        hasBegun = true
        return [.wait(settings.start)]
    }

    func timerFired() -> [Action] { [.verify(after: after, limit: settings.page)] }

    /// - Parameters:
    ///   - last: where the next page begins; nil: there is none.
    ///   - unreadable: reasons by grant.
    mutating func pageArrived(checked: Int, last: String?, unreadable: [String: String]) -> [Action] {
        let room = max(0, settings.told - running.damaged)
        running.records += checked
        running.damaged += unreadable.count
        let named = unreadable.sorted { $0.key < $1.key }.prefix(room)
        let actions: [Action] = named.isEmpty ? [] : [.tell(Dictionary(uniqueKeysWithValues: Array(named)))]
        if let last {
            after = last
            if !hasEnded { damaged = running.damaged }
            return actions + [.wait(settings.pause)]
        }
        let found = running
        (after, running, hasEnded, damaged) = (nil, (0, 0), true, found.damaged)
        return actions + [.done(records: found.records, damaged: found.damaged), .wait(settings.rest)]
    }

    func failed() -> [Action] { [.wait(settings.retry)] }
}
