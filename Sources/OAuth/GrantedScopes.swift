/// Which of the scopes that were asked for a reply did not grant.
enum GrantedScopes {
    /// These ask for a refresh token, and that is how they are granted: some servers (Microsoft Entra) never name them in
    /// the reply, whatever they grant (OpenID Connect Core section 11).
    private static let answeredByRefreshToken: Set<String> = ["offline_access", "offline"]

    static func missing(of asked: [String], granted: [String], hasRefreshToken: Bool) -> [String] {
        asked.filter { !granted.contains($0) && !(hasRefreshToken && answeredByRefreshToken.contains($0)) }
    }
}
