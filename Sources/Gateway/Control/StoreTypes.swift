import TokenStore

// The TokenStore module has a protocol of its own name, which hides its other types from qualified look-up.
typealias StoredConsentOutcome = ConsentOutcome
