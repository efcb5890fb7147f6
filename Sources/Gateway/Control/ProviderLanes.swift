/// Calls that wait for their turn, each provider's in the order of their coming, the providers in turn: a provider that
/// hangs holds up its own calls only.
struct ProviderLanes {
    private struct Lane {
        /// May name calls that have ended.
        var waiting: [UInt64] = []
        /// Of `waiting`: those before are gone.
        var first = 0
        var running = 0

        var isEmpty: Bool { first == waiting.count }

        mutating func take() -> UInt64 {
            let id = waiting[first]
            first += 1
            if first == waiting.count || first > 1000 {
                waiting.removeFirst(first)
                first = 0
            }
            return id
        }
    }

    private var lanes: [String: Lane] = [:]
    /// Providers with calls that wait; the next turn is the first one's.
    private var turns: [String] = []

    /// May be true although all that wait have ended.
    var hasWaiting: Bool { !turns.isEmpty }

    mutating func callCame(_ id: UInt64, of provider: String) {
        if lanes[provider, default: Lane()].isEmpty { turns.append(provider) }
        lanes[provider, default: Lane()].waiting.append(id)
    }

    /// The call whose turn it is among the providers of which fewer than `limit` are under way; it waits no more.
    mutating func next(limit: Int) -> UInt64? {
        guard let turn = turns.firstIndex(where: { (lanes[$0]?.running ?? 0) < limit }) else { return nil }
        let provider = turns.remove(at: turn)
        guard let id = lanes[provider]?.take() else { return nil }
        if lanes[provider]?.isEmpty == false {
            turns.append(provider)
        } else if lanes[provider]?.running == 0 {
            lanes[provider] = nil
        }
        return id
    }

    mutating func callBegan(of provider: String) {
        lanes[provider, default: Lane()].running += 1
    }

    mutating func callEnded(of provider: String) {
        lanes[provider]?.running -= 1
        if let lane = lanes[provider], lane.running <= 0, lane.isEmpty { lanes[provider] = nil }
    }
}
