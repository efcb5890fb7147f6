import Console

// The Console module has a type of its own name, which hides its other types from qualified look-up; where another
// module has a type of the same name, these are used.
typealias ConsoleReadiness = Readiness
typealias ConsoleRevocationResult = RevocationResult
