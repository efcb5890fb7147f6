import OAuth

/// Looks at the grants of one template that stand latched for the configuration's sake, after the configuration, a
/// secret or the program may have mended it: nobody may need them for weeks, and without a refresh they would die in
/// the meantime. Each is loaded, finds out for itself whether what it was refused for is different now, and rests again.
/// A page at a time and few at once: a page is read when the one before it has come to rest. A value: the driver
/// performs what it says.
struct LatchedWalk: Sendable {
    enum Action: Equatable, Sendable {
        /// Read the names of latched grants behind `after`; answered by `pageArrived` or `failed`.
        case readPage(after: String?, limit: Int)
        /// Load the grant; its coming to rest is told by `ended`.
        case load(String)
        /// Call `timerFired` after so many milliseconds.
        case wait(Int64)
    }

    struct Settings: Sendable {
        var page = 64
        /// Grants of the template that are at work at once.
        var atOnce = 16
        /// After the store failed, in milliseconds.
        var retry: Int64 = 2_000
    }

    let settings: Settings
    private var after: String?
    private var isLast = false
    /// Of the page, last one first.
    private var left: [String] = []
    private(set) var active: Set<String> = []
    private var isReading = false
    /// What may mend them changed again while this went on.
    private var mustBeginAgain = false

    init(settings: Settings = Settings()) {
        self.settings = settings
    }

    /// Nothing is left to look at.
    var isOver: Bool { isLast && left.isEmpty && active.isEmpty && !isReading && !mustBeginAgain }

    mutating func begin() -> [Action] {
        if isReading {
            mustBeginAgain = true
            return []
        }
        (after, isLast, left, mustBeginAgain) = (nil, false, [], false)
        return read()
    }

    private mutating func read() -> [Action] {
        isReading = true
        return [.readPage(after: after, limit: settings.page)]
    }

    mutating func pageArrived(_ names: [String]) -> [Action] {
        isReading = false
        if mustBeginAgain { return begin() }
        after = names.last ?? after
        isLast = names.count < settings.page
        left = names.reversed()
        return goOn()
    }

    mutating func failed() -> [Action] {
        isReading = false
        return [.wait(settings.retry)]
    }

    mutating func timerFired() -> [Action] {
        guard !isReading else { return [] }
        return mustBeginAgain ? begin() : goOn()
    }

    mutating func ended(_ grant: String) -> [Action] {
        active.remove(grant) == nil ? [] : goOn()
    }

    private mutating func goOn() -> [Action] {
        guard !isReading else { return [] }
        var actions: [Action] = []
        while active.count < settings.atOnce, let grant = left.popLast() {
            if active.insert(grant).inserted { actions.append(.load(grant)) }
        }
        if left.isEmpty, !isLast, active.count <= settings.atOnce / 2 { actions += read() }
        return actions
    }
}
