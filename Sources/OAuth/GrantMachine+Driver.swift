// What a driver must know, or say, beside the events.
extension GrantMachine {
    /// The revision of the record that the machine goes by; 0: the store holds nothing.
    package var storedRevision: UInt64 { record.revision }

    /// The store works again after it failed. Whatever failed before says nothing about it any more: a command that comes
    /// now is not told that its change is not stored because an older one was not.
    package mutating func storeWorksAgain(now: Moment) -> [GrantAction] {
        if !isCommitting { commitFailures = 0 }
        return storeRecovered(now: now)
    }

    /// Somebody waits for what could not be stored: what was put off is tried now and not when its back-off ends.
    package mutating func storeRecovered(now: Moment) -> [GrantAction] {
        guard commitRetryAt != nil || load?.retryAt != nil || storeBlockedUntil > now.monotonic else { return [] }
        if commitRetryAt != nil { commitRetryAt = now.monotonic }
        if load?.retryAt != nil { load?.retryAt = now.monotonic }
        storeBlockedUntil = .min
        return timerFired(now: now)
    }
}

/// The provider refused this replica's own credentials: for some time no more are made with them. Other replicas may
/// have others.
package struct OwnRefusal: Sendable, Equatable {
    /// Monotonic milliseconds.
    package var until: Int64
    /// The client itself was refused, so that the provider's other grants would fare no better.
    package var isOfClient: Bool

    package init(until: Int64, isOfClient: Bool) {
        self.until = until
        self.isOfClient = isOfClient
    }
}

extension GrantMachine {
    /// For the driver to keep: the machine forgets it when it is dropped. nil also where it was the driver who told.
    package func ownRefusal(now: Moment) -> OwnRefusal? {
        guard ownCredentialsRefusedUntil > now.monotonic, !isRefusalRemembered else { return nil }
        return OwnRefusal(until: ownCredentialsRefusedUntil, isOfClient: isOwnClientRefused)
    }

    /// What the driver has kept: another grant's refusal, or this one's from before it was dropped. Afterwards the grants
    /// part, so that the first of them finds out for the rest.
    package mutating func remember(_ refusal: OwnRefusal) {
        let until = refusal.until.saturatingAdd(jitter.upTo(Self.refusedClientPause / 2))
        guard until > ownCredentialsRefusedUntil else { return }
        ownCredentialsRefusedUntil = until
        isOwnClientRefused = refusal.isOfClient
        isRefusalRemembered = true
    }

    /// The provider has taken the client's credentials, from another of its grants.
    package mutating func clientAccepted(now: Moment) -> [GrantAction] {
        guard isOwnClientRefused, ownCredentialsRefusedUntil > now.monotonic else { return [] }
        ownCredentialsRefusedUntil = .min
        return timerFired(now: now)
    }
}

extension GrantMachine {
    /// The record was read because the store said that the grant is due. Who looks for due grants lets a few begin at a
    /// time, so this one need not part from others, and it is dropped again as soon as it rests: what is planned for
    /// the next seconds only to part them is begun now.
    package mutating func readBecauseDue(now: Moment) -> [GrantAction] {
        guard isLoaded, let dueAt, dueAt <= now.wall else { return [] }
        if let last = lastCallAt, now.monotonic.saturatingSubtract(last) < Self.backgroundSpacing { return [] }
        let latest = now.monotonic.saturatingAdd(Self.backgroundSpacing + Self.longestJitter)
        if let time = refreshAt, time <= latest { refreshAt = min(time, now.monotonic) }
        if let time = keepaliveAt, time <= latest { keepaliveAt = min(time, now.monotonic) }
        return timerFired(now: now)
    }
}
