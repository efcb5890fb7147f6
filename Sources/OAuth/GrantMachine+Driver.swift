// What a driver must know, or say, beside the events.
extension GrantMachine {
    /// The revision of the record that the machine goes by; 0: the store holds nothing.
    package var storedRevision: UInt64 { record.revision }

    /// The store works again after it failed, or somebody waits for what could not be stored: what was put off is tried
    /// now and not when its back-off ends.
    package mutating func storeRecovered(now: Moment) -> [GrantAction] {
        guard commitRetryAt != nil || load?.retryAt != nil || storeBlockedUntil > now.monotonic else { return [] }
        if commitRetryAt != nil { commitRetryAt = now.monotonic }
        if load?.retryAt != nil { load?.retryAt = now.monotonic }
        storeBlockedUntil = .min
        return timerFired(now: now)
    }
}
