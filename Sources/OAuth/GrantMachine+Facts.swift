extension GrantMachine {
    /// The record has been read: the state is the grant's, not just the start's.
    package var hasLoaded: Bool { isLoaded }

    /// The settings in force.
    package var grantSettings: GrantSettings { settings }
}
