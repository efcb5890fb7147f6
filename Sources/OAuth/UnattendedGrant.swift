/// How an access token is had where no person consents (RFC 6749 section 4.4 and its relatives).
///
/// Such a grant has no refresh token: when there is no access token, or the one there is ends, the same request is made
/// again.
package enum UnattendedGrant: Sendable, Equatable {
    /// RFC 6749 section 4.4: the client acts for itself.
    case clientCredentials
}
