/// The counters of the control thread: small, keyed by name, off every request's path.
package struct ControlCounters: Sendable {
    package private(set) var refreshes: [String: [RefreshOutcome: UInt64]] = [:]
    package private(set) var consents: [String: [Bool: UInt64]] = [:]
    package private(set) var storeLatency: [StoreOperation: DurationHistogram] = [:]
    package private(set) var storeFailures: [StoreOperation: UInt64] = [:]
    package private(set) var reloadsSucceeded: UInt64 = 0
    package private(set) var reloadsFailed: UInt64 = 0

    package init() {}

    package mutating func refreshEnded(grant: String, outcome: RefreshOutcome) {
        refreshes[grant, default: [:]][outcome, default: 0] &+= 1
    }

    /// A callback came back from a provider for this grant.
    package mutating func consentEnded(grant: String, connected: Bool) {
        consents[grant, default: [:]][connected, default: 0] &+= 1
    }

    package mutating func storeAnswered(_ operation: StoreOperation, nanoseconds: UInt64, failed: Bool) {
        storeLatency[operation, default: DurationHistogram()].record(nanoseconds: nanoseconds)
        if failed { storeFailures[operation, default: 0] &+= 1 }
    }

    package mutating func reloadEnded(succeeded: Bool) {
        if succeeded { reloadsSucceeded &+= 1 } else { reloadsFailed &+= 1 }
    }
}
