/// Why a host name has no addresses.
package struct ResolveError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        /// The name does not exist, or has no address.
        case notFound
        /// The resolver did not answer, or answered with a failure of its own; later it may be well.
        case temporary
        /// Not a host name: empty, longer than 253 bytes, or with bytes that no name has.
        case invalidName
        /// Too many lookups wait already.
        case overloaded
    }

    package let kind: Kind
    package let host: String
    package let detail: String

    package init(kind: Kind, host: String, detail: String) {
        self.kind = kind
        self.host = host
        self.detail = detail
    }

    package var description: String { "cannot resolve \"\(host)\": \(detail)" }
}

/// What is known of host names and who waits for more. Pure: the time is an argument, nothing is looked up here.
///
/// A name is *fresh* for a time to live after an answer. For as long again its old addresses are still given, at once,
/// while a lookup runs, so that a slow resolver costs nobody time. After that a request waits for the lookup; if it
/// fails for lack of a resolver, the old addresses are used for up to ``ResolverLimits/staleMilliseconds`` (RFC 8767).
/// That a name does not exist is an answer and replaces the old addresses.
struct ResolverCache<Waiter> {
    typealias Answer = Result<[SocketAddress], ResolveError>

    enum Action {
        case answer(Answer)
        /// Answer now, and look the name up as well.
        case answerAndLookUp(Answer)
        case lookUp
        /// The waiter was kept; a lookup is under way.
        case wait
    }

    private struct Entry {
        var answer: Answer
        var freshUntil: UInt64
        /// After this moment the addresses are not used even if no better ones can be had.
        var usableUntil: UInt64
    }

    private struct Lookup {
        var waiters: [Waiter]
        let startedAt: UInt64
    }

    private let limits: ResolverLimits
    private var entries: [String: Entry] = [:]
    private var lookups: [String: Lookup] = [:]
    private var waiting = 0

    init(limits: ResolverLimits) {
        self.limits = limits
    }

    /// Somebody wants a name's addresses. The waiter is kept when the action is `lookUp` or `wait`.
    mutating func requested(_ host: String, waiter: Waiter, now: UInt64) -> Action {
        let entry = entries[host]
        if let entry, now < entry.freshUntil { return .answer(entry.answer) }
        let stale = entry.flatMap { usable($0, now: now) }
        if let lookup = lookups[host] {
            // Whoever comes after the patience of a hanging lookup does not wait for it, if there is an old answer.
            let isSlow = now >= lookup.startedAt + limits.patienceMilliseconds
            if let entry, let stale, isSlow || isRecent(entry, now: now) { return .answer(stale) }
            return join(host, waiter, orElse: stale)
        }
        guard lookups.count < limits.lookups else { return .answer(stale ?? overloaded(host)) }
        if let entry, let stale, isRecent(entry, now: now) {
            lookups[host] = Lookup(waiters: [], startedAt: now)
            return .answerAndLookUp(stale)
        }
        guard waiting < limits.waiters else { return .answer(stale ?? overloaded(host)) }
        waiting += 1
        lookups[host] = Lookup(waiters: [waiter], startedAt: now)
        return .lookUp
    }

    /// A lookup has ended. Returns who waited for it and what to tell them.
    mutating func completed(_ host: String, _ result: Answer, now: UInt64) -> (waiters: [Waiter], answer: Answer) {
        let waiters = lookups.removeValue(forKey: host)?.waiters ?? []
        waiting -= waiters.count
        let answer = remember(host, result, now: now)
        if entries.count > limits.names { forgetOldest() }
        return (waiters, answer)
    }

    private mutating func remember(_ host: String, _ result: Answer, now: UInt64) -> Answer {
        switch result {
        case .success(let addresses) where addresses.isEmpty:
            let error = ResolveError(kind: .notFound, host: host, detail: "the name has no addresses")
            return remember(host, .failure(error), now: now)
        case .success:
            entries[host] = Entry(
                answer: result, freshUntil: now + limits.freshMilliseconds,
                usableUntil: now + limits.freshMilliseconds + limits.staleMilliseconds)
            return result
        case .failure(let error):
            let retryAt = now + limits.failureMilliseconds
            if error.kind != .notFound, let entry = entries[host], let old = usable(entry, now: now) {
                entries[host]?.freshUntil = retryAt
                return old
            }
            entries[host] = Entry(answer: result, freshUntil: retryAt, usableUntil: retryAt)
            return result
        }
    }

    private mutating func join(_ host: String, _ waiter: Waiter, orElse stale: Answer?) -> Action {
        guard waiting < limits.waiters else { return .answer(stale ?? overloaded(host)) }
        waiting += 1
        lookups[host]?.waiters.append(waiter)
        return .wait
    }

    private func usable(_ entry: Entry, now: UInt64) -> Answer? {
        switch entry.answer {
        case .success: now < entry.usableUntil ? entry.answer : nil
        case .failure: nil
        }
    }

    private func isRecent(_ entry: Entry, now: UInt64) -> Bool {
        now < entry.freshUntil + limits.freshMilliseconds
    }

    private func overloaded(_ host: String) -> Answer {
        .failure(ResolveError(kind: .overloaded, host: host, detail: "too many lookups are waiting"))
    }

    private mutating func forgetOldest() {
        guard let oldest = entries.min(by: { $0.value.freshUntil < $1.value.freshUntil }) else { return }
        entries[oldest.key] = nil
    }
}
