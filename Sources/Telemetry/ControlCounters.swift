/// The counters of the control thread: small, keyed by name, off every request's path.
package struct ControlCounters: Sendable {
    package private(set) var refreshes: [String: [RefreshOutcome: UInt64]] = [:]
    package private(set) var consents: [String: [Bool: UInt64]] = [:]
    package private(set) var storeLatency: [StoreOperation: DurationHistogram] = [:]
    package private(set) var storeFailures: [StoreOperation: UInt64] = [:]
    package private(set) var scopesLost: [String: UInt64] = [:]
    package private(set) var valuesRekeyed: UInt64 = 0
    package private(set) var rekeysSucceeded: UInt64 = 0
    package private(set) var rekeysFailed: UInt64 = 0
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

    /// A refresh brought tokens without scopes that the grant had.
    package mutating func scopesLost(grant: String, count: Int) {
        scopesLost[grant, default: 0] &+= UInt64(count)
    }

    /// So many values of the store were sealed again under the active key.
    package mutating func rekeyed(values: Int) {
        valuesRekeyed &+= UInt64(values)
    }

    package mutating func rekeyEnded(succeeded: Bool) {
        if succeeded { rekeysSucceeded &+= 1 } else { rekeysFailed &+= 1 }
    }

    package mutating func storeAnswered(_ operation: StoreOperation, nanoseconds: UInt64, failed: Bool) {
        storeLatency[operation, default: DurationHistogram()].record(nanoseconds: nanoseconds)
        if failed { storeFailures[operation, default: 0] &+= 1 }
    }

    package mutating func reloadEnded(succeeded: Bool) {
        if succeeded { reloadsSucceeded &+= 1 } else { reloadsFailed &+= 1 }
    }
}
