import OAuth

/// For how long a provider is left alone, or to the other replicas, because it refused our credentials. Machines come and
/// go; this stays. A value.
struct OwnRefusals: Sendable {
    private var ofGrants: [String: Int64] = [:]
    /// By the variables that fill the provider's URLs: another place may know the client.
    private var ofClient: [[String: String]: Int64] = [:]
    static let limit = 10_000

    /// - Returns: true where no such refusal was in force.
    @discardableResult
    mutating func note(
        _ refusal: OwnRefusal, grant: String, variables: [String: String], now: Int64
    ) -> Bool {
        let isNews = self.refusal(grant: grant, variables: variables, now: now) == nil
        if refusal.isOfClient {
            Self.note(refusal.until, at: variables, in: &ofClient, now)
        } else {
            Self.note(refusal.until, at: grant, in: &ofGrants, now)
        }
        return isNews
    }

    private static func note<Key>(_ until: Int64, at key: Key, in list: inout [Key: Int64], _ now: Int64) {
        if list[key] == nil, list.count >= limit {
            list = list.filter { $0.value > now }
            guard list.count < limit else { return }
        }
        list[key] = max(list[key] ?? .min, until)
    }

    /// What a machine that is made now must know.
    func refusal(grant: String, variables: [String: String], now: Int64) -> OwnRefusal? {
        if let until = ofClient[variables], until > now { return OwnRefusal(until: until, isOfClient: true) }
        if let until = ofGrants[grant], until > now { return OwnRefusal(until: until, isOfClient: false) }
        return nil
    }

    /// The provider has taken our credentials.
    mutating func accepted(grant: String, variables: [String: String]) {
        ofGrants[grant] = nil
        ofClient[variables] = nil
    }

    var count: Int { ofGrants.count + ofClient.count }
}
