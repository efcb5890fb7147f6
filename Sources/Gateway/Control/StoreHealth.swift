import TokenStore

/// Whether the store can be used, judged by its answers. A value.
///
/// Reading may work while writing does not (a full disk), so a success clears only failures of its own kind; while
/// something stands, the driver probes.
struct StoreHealth: Sendable {
    enum Change: Equatable, Sendable {
        case none
        case failed(String)
        case works
    }

    private var readFailure: String?
    private var writeFailure: String?
    /// Records that only another configuration can open, by grant: sealed under a key that we do not have.
    private var unreadable: [String: String] = [:]
    private static let limit = 1000

    var isWorking: Bool { readFailure == nil && writeFailure == nil }

    /// One or two sentences; nil while nothing is wrong.
    var reason: String? {
        if let reason = writeFailure ?? readFailure { return reason }
        guard let (grant, reason) = unreadable.min(by: { $0.key < $1.key }) else { return nil }
        let more = unreadable.count > 1 ? " (and \(unreadable.count - 1) more)" : ""
        return "the record of \(grant) cannot be opened\(more): \(reason)"
    }

    /// A call was answered.
    mutating func answered(isWrite: Bool, _ error: StoreError?) -> Change {
        let wasWorking = isWorking
        if let error {
            guard error.concernsTheWholeStore else { return .none }
            if isWrite { writeFailure = error.message } else { readFailure = error.message }
            return wasWorking ? .failed(error.message) : .none
        }
        readFailure = nil
        if isWrite { writeFailure = nil }
        return !wasWorking && isWorking ? .works : .none
    }

    func isUnreadable(_ grant: String) -> Bool { unreadable[grant] != nil }

    /// - Returns: true where this is news, to be logged.
    mutating func recordUnreadable(_ grant: String, _ reason: String) -> Bool {
        guard unreadable[grant] == nil, unreadable.count < Self.limit else { return false }
        unreadable[grant] = reason
        return true
    }

    mutating func recordRead(_ grant: String) {
        if !unreadable.isEmpty { unreadable[grant] = nil }
    }
}
