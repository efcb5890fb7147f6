extension GrantMachine {
    /// The record has been read: the state is the grant's, not just the start's.
    package var hasLoaded: Bool { isLoaded }

    /// Tokens are on their way, from the provider or into the store: who drops the machine now may lose the grant.
    package var holdsUnfinishedWork: Bool {
        isRefreshing || call != nil || isCommitting || changes.contains(where: \.bringsTokens)
    }

    /// Tokens that the provider has given and the store has not taken yet.
    package var holdsUnstoredTokens: Bool { changes.contains(where: \.bringsTokens) }

    /// The store lacks something that must survive a restart: tokens, a revocation, a consent.
    package var holdsUnstoredChanges: Bool { isCommitting || !changes.isEmpty }

    /// The settings in force.
    package var grantSettings: GrantSettings { settings }
}
