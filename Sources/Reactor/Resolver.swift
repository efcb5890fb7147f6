import CLinux
import Synchronization

/// The bounds of a ``Resolver``.
package struct ResolverLimits: Hashable, Sendable {
    /// How long an answer is used without asking again. The system's resolver does not tell the record's own time.
    package var freshMilliseconds: UInt64 = 30_000
    /// How long a failure is believed, and how soon a dead resolver is asked again.
    package var failureMilliseconds: UInt64 = 2_000
    /// How long old addresses are used while the resolver fails.
    package var staleMilliseconds: UInt64 = 24 * 3_600_000
    /// How long a lookup may take before others are given the old addresses.
    package var patienceMilliseconds: UInt64 = 1_000
    /// Lookups that run or wait for a thread.
    package var lookups = 256
    /// Requests that wait for a lookup.
    package var waiters = 8_192
    /// Names that are remembered.
    package var names = 1_024
    /// Lookups at once; a lookup blocks its thread for as long as the system's resolver likes.
    package var threads = 4

    package init() {}
}

/// Addresses of host names, without ever blocking the asking thread. One for the process.
///
/// Lookups run on threads of the resolver's own, started when first needed. Requests for a name that is being looked up
/// join that lookup. When the resolver is let go, its threads end and requests that still wait are never answered.
package final class Resolver: Sendable {
    package typealias Answer = Result<[SocketAddress], ResolveError>
    /// Asks the world; the addresses' ports do not matter. May block.
    package typealias Lookup = @Sendable (_ host: String) -> Answer
    package typealias Completion = @Sendable (Answer) -> Void

    private let core: ResolverCore

    /// A resolver with a lookup and a clock (milliseconds) of the caller's choice, for tests and for fixed tables.
    package init(
        limits: ResolverLimits = ResolverLimits(),
        clock: @escaping @Sendable () -> UInt64 = MonotonicClock.milliseconds,
        lookup: @escaping Lookup = Resolver.systemLookup
    ) throws(Errno) {
        core = try ResolverCore(limits: limits, clock: clock, lookup: lookup)
    }

    deinit {
        core.stop()
    }

    /// Finds the addresses of a host, in the order of preference (RFC 6724), each with `port`.
    ///
    /// A numeric address (also `[::1]`) and a remembered name are answered before this returns, on this thread; other
    /// answers come on a thread of the resolver. The completion must only pass the answer on, for example to a mailbox.
    /// How long to wait is the asker's business: the answer may come long after.
    package func resolve(host: String, port: UInt16, _ completion: @escaping Completion) {
        if let address = SocketAddress(numericHost: host, port: port) { return completion(.success([address])) }
        guard let name = Self.canonicalName(host) else {
            let error = ResolveError(kind: .invalidName, host: host, detail: "this is not a host name")
            return completion(.failure(error))
        }
        core.request(name, ResolverCore.Waiter(port: port, completion: completion))
    }

    /// Lower case; nil for what cannot be a name. Underscores occur in names of containers.
    static func canonicalName(_ host: String) -> String? {
        let bytes = host.utf8
        guard (1...253).contains(bytes.count), bytes.first != UInt8(ascii: "-") else { return nil }
        let isName = bytes.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                true
            default:
                false
            }
        }
        return isName ? host.lowercased() : nil
    }

    /// `getaddrinfo`: `/etc/hosts`, DNS and whatever else the system is set up to ask. Blocks.
    package static let systemLookup: Lookup = { host in
        let capacity: Int32 = 64
        var found = [tg_address](repeating: tg_address(), count: Int(capacity))
        var systemError: Int32 = 0
        let count = unsafe found.withUnsafeMutableBufferPointer {
            unsafe tg_lookup(host, $0.baseAddress, capacity, &systemError)
        }
        guard count < 0 else { return .success(found[..<Int(count)].compactMap { SocketAddress($0) }) }
        let isSystemError = tg_lookup_means_system_error(count) != 0 && systemError != 0
        let text = unsafe tg_lookup_text(count).map { unsafe String(cString: $0) } ?? "error \(count)"
        return .failure(
            ResolveError(
                kind: tg_lookup_means_not_found(count) != 0 ? .notFound : .temporary, host: host,
                detail: isSystemError ? Errno(code: systemError).description : text))
    }
}

/// What a resolver shares with its threads.
private final class ResolverCore: Sendable {
    struct Waiter: Sendable {
        let port: UInt16
        let completion: Resolver.Completion
    }

    private struct State {
        var cache: ResolverCache<Waiter>
        var queue: [String] = []
        var threads = 0
        /// Threads that are not looking anything up.
        var idle = 0
        var isStopped = false
    }

    private let limits: ResolverLimits
    private let clock: @Sendable () -> UInt64
    private let lookup: Resolver.Lookup
    private let state: Mutex<State>
    /// Counts the names in the queue; threads sleep on it.
    private let work: Descriptor

    init(
        limits: ResolverLimits, clock: @escaping @Sendable () -> UInt64, lookup: @escaping Resolver.Lookup
    ) throws(Errno) {
        self.limits = limits
        self.clock = clock
        self.lookup = lookup
        state = Mutex(State(cache: ResolverCache(limits: limits)))
        work = Descriptor(rawValue: try Errno.check(tg_semaphore()))
    }

    deinit {
        work.close()
    }

    func request(_ host: String, _ waiter: Waiter) {
        let now = clock()
        // Callbacks and system calls come after the lock.
        let (action, needsThread) = state.withLock { state in
            let action = state.cache.requested(host, waiter: waiter, now: now)
            return (action, Self.enqueue(host, for: action, in: &state, limits))
        }
        switch action {
        case .answer(let answer):
            Self.tell(waiter, answer)
        case .answerAndLookUp(let answer):
            wakeThread(startingOne: needsThread, for: host)
            Self.tell(waiter, answer)
        case .lookUp:
            wakeThread(startingOne: needsThread, for: host)
        case .wait:
            break
        }
    }

    func stop() {
        let threads = state.withLock { state in
            state.isStopped = true
            state.queue.removeAll()
            return state.threads
        }
        _ = tg_eventfd_add(work.rawValue, UInt64(threads))
    }

    /// Puts the name in the queue when the action asks for it; true when another thread should be started for it.
    private static func enqueue(
        _ host: String, for action: ResolverCache<Waiter>.Action, in state: inout State, _ limits: ResolverLimits
    ) -> Bool {
        switch action {
        case .answer, .wait:
            return false
        case .lookUp, .answerAndLookUp:
            state.queue.append(host)
            guard state.queue.count > state.idle, state.threads < max(1, limits.threads) else { return false }
            state.threads += 1
            state.idle += 1
            return true
        }
    }

    private func wakeThread(startingOne: Bool, for host: String) {
        _ = tg_eventfd_add(work.rawValue, 1)
        guard startingOne else { return }
        do throws(Errno) {
            try WorkerThread.start(name: "resolver") { self.run() }
        } catch {
            threadFailed(error)
        }
    }

    /// No thread could be started. With others at work the queue is theirs; without, nobody would ever answer.
    private func threadFailed(_ error: Errno) {
        let abandoned = state.withLock { state in
            state.threads -= 1
            state.idle -= 1
            guard state.threads == 0 else { return [String]() }
            defer { state.queue.removeAll() }
            return state.queue
        }
        for host in abandoned {
            finish(host, .failure(ResolveError(kind: .temporary, host: host, detail: error.description)))
        }
    }

    /// A thread's life. It keeps the core alive, and not the resolver.
    private func run() {
        while tg_semaphore_wait(work.rawValue) == 0 {
            let next = state.withLock { state -> String? in
                guard !state.isStopped, !state.queue.isEmpty else { return nil }
                state.idle -= 1
                return state.queue.removeFirst()
            }
            if let next { finish(next, lookup(next)) }
            let isStopped = state.withLock { state in
                if next != nil { state.idle += 1 }
                return state.isStopped
            }
            if isStopped { return }
        }
    }

    private func finish(_ host: String, _ result: Resolver.Answer) {
        let now = clock()
        let (waiters, answer) = state.withLock { $0.cache.completed(host, result, now: now) }
        for waiter in waiters { Self.tell(waiter, answer) }
    }

    private static func tell(_ waiter: Waiter, _ answer: Resolver.Answer) {
        waiter.completion(answer.map { addresses in addresses.map { $0.with(port: waiter.port) } })
    }
}
