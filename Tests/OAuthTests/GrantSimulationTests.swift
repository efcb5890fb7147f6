import Testing

@testable import OAuth

/// An authorization server that rotates: each refresh gives a new refresh token. The one before is good for a while
/// after its first use (or until the new one is used); used later, it ends the whole family, as strict servers do.
struct RotatingProvider {
    struct Issued {
        var access: String
        var refresh: String
        var expiresAt: Int64
    }

    var current: Issued
    var previous: (refresh: String, usedAt: Int64)?
    var isAlive = true
    let grace: Int64
    let lifetime: Int64
    private var serial = 1

    init(now: Int64, grace: Int64, lifetime: Int64) {
        self.grace = grace
        self.lifetime = lifetime
        current = Issued(access: "a1", refresh: "r1", expiresAt: now + lifetime)
    }

    mutating func refresh(_ token: String, now: Int64) -> Result<TokenSet, ProviderProblem> {
        let refused = ProviderProblem(.permanent, code: "invalid_grant", detail: "", status: 400)
        guard isAlive else { return .failure(refused) }
        if token == current.refresh {
            previous = (token, now)
            issue(now: now)
        } else if let previous, token == previous.refresh, now - previous.usedAt <= grace {
            issue(now: now)
        } else {
            isAlive = false
            return .failure(refused)
        }
        return .success(
            TokenSet(accessToken: Secret(current.access), refreshToken: Secret(current.refresh), lifetime: lifetime))
    }

    mutating func consent(now: Int64) -> TokenSet {
        isAlive = true
        previous = nil
        issue(now: now)
        return TokenSet(accessToken: Secret(current.access), refreshToken: Secret(current.refresh), lifetime: lifetime)
    }

    private mutating func issue(now: Int64) {
        serial += 1
        current = Issued(access: "a\(serial)", refresh: "r\(serial)", expiresAt: now + lifetime)
    }
}

struct ModelDice {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    }

    mutating func roll(_ sides: Int) -> Int {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Int((state >> 16) % UInt64(sides))
    }
}

/// One process with its machine, which may be killed at any step, over a store that keeps what it confirmed.
private struct World {
    struct Flight {
        var call: TokenCall
        var sentAt: Moment
        /// The provider has acted: what is on its way back.
        var reply: Result<TokenSet, ProviderProblem>?
    }

    let seed: UInt64
    var dice: ModelDice
    var now = Moment(monotonic: 1_000_000, wall: 1_700_000_000_000)
    var provider: RotatingProvider
    var stored: GrantRecord?
    var everStored: Set<String> = ["Bearer a1"]
    var machine: GrantMachine
    var flights: [Flight] = []
    var commits: [GrantCommit] = []
    var isLoading = false
    var timer: Int64?
    var waiting: [WaiterID: UInt64?] = [:]
    var nextWaiter: UInt64 = 1
    var published: Credential?
    var answered = 0
    var calls = 0
    var kills = 0
    var failures: [String] = []
    /// Faults happen; off for the calm at the end.
    var isRough = true

    init(seed: UInt64) {
        self.seed = seed
        dice = ModelDice(seed)
        provider = RotatingProvider(now: now.wall, grace: 400_000, lifetime: 60_000)
        var record = GrantDriver.record(lifetime: 60_000)
        record.tokens?.scopes = ["read"]
        stored = record
        machine = World.machine(seed: seed, kills: 0)
        run(machine.started(now: now))
    }

    static func machine(seed: UInt64, kills: Int) -> GrantMachine {
        var settings = GrantDriver.provider
        settings.refreshSkew = 20_000
        return GrantMachine(
            settings: GrantSettings(name: "crm", provider: "zoho", scopes: ["read"]), provider: settings,
            environment: .init(instance: "i\(kills)", storeIsExclusive: true, seed: seed + UInt64(kills)))
    }

    mutating func check(_ condition: Bool, _ what: String) {
        if !condition { failures.append("seed \(seed): \(what) at \(now.monotonic)") }
    }

    mutating func run(_ actions: [GrantAction]) {
        for action in actions {
            switch action {
            case .load: isLoading = true
            case .commit(let commit):
                check(commits.isEmpty, "two commits in flight")
                commits.append(commit)
            case .delete: check(false, "a deletion nobody asked for")
            case .requestTokens(let call):
                calls += 1
                check(flights.isEmpty, "two refreshes in flight")
                check(stored?.intent != nil, "a call without a durable intent")
                flights.append(Flight(call: call, sentAt: now))
            case .revokeToken: check(false, "a revocation nobody asked for")
            case .publish(let credential):
                published = credential
                if let credential { checkDurable(credential, "published") }
            case .answer(let waiter, let answer):
                guard let rejected = waiting.removeValue(forKey: waiter) else {
                    check(false, "an answer nobody waits for")
                    continue
                }
                answered += 1
                if case .credential(let credential) = answer {
                    check(credential.isUsable(atMonotonic: now.monotonic), "an expired credential")
                    check(rejected != credential.generation, "the rejected credential again")
                    checkDurable(credential, "answered")
                }
            case .finish, .note: break
            case .armTimer(let at): timer = at
            }
        }
    }

    mutating func checkDurable(_ credential: Credential, _ what: String) {
        let text = String(decoding: credential.headerValue, as: UTF8.self)
        check(everStored.contains(text), "\(what) before it was durable")
        if let expiry = credential.expiresAt { check(expiry > now.monotonic, "\(what) although expired") }
    }

    mutating func pass(_ milliseconds: Int64) {
        now.monotonic += milliseconds
        now.wall += milliseconds
        if let due = timer, due <= now.monotonic {
            timer = nil
            run(machine.timerFired(now: now))
        }
    }

    mutating func kill() {
        kills += 1
        // What was on its way to the store may have arrived or not; waiters and replies are gone.
        if let commit = commits.first, dice.roll(2) == 0 { _ = apply(commit) }
        // A request that was sent may yet be acted on.
        if let flight = flights.first, flight.reply == nil, dice.roll(2) == 0 { _ = act(flight.call) }
        commits = []
        flights = []
        waiting = [:]
        timer = nil
        published = nil
        now.monotonic = Int64(dice.roll(1_000_000))
        machine = World.machine(seed: seed, kills: kills)
        run(machine.started(now: now))
    }

    mutating func apply(_ commit: GrantCommit) -> CommitResult {
        guard commit.expectedRevision == stored?.revision ?? 0 else { return .conflict(stored) }
        stored = GrantRecord(payload: commit.record.encoded(), revision: commit.record.revision)
        if let token = stored?.tokens?.accessToken { everStored.insert("Bearer " + token.reveal()) }
        return .committed
    }

    mutating func act(_ call: TokenCall) -> Result<TokenSet, ProviderProblem> {
        guard case .refresh(let token, _) = call.kind else { return .failure(.invalidReply("")) }
        return provider.refresh(token.reveal(), now: now.wall)
    }

    mutating func stepStore() {
        if isLoading {
            isLoading = false
            if isRough, dice.roll(8) == 0 {
                run(machine.loadFailed(now: now))
            } else {
                run(machine.recordLoaded(stored, now: now))
            }
        } else if let commit = commits.first {
            commits.removeFirst()
            let fault = isRough ? dice.roll(12) : 11
            if fault == 0 { return run(machine.commitFinished(.failed, now: now)) }
            let result = apply(commit)
            // Reported as failed, but made.
            run(machine.commitFinished(fault == 1 ? .failed : result, now: now))
        }
    }

    mutating func stepProvider() {
        guard let flight = flights.first else { return }
        let fault = isRough ? dice.roll(10) : 9
        let finished: Result<TokenSet, ProviderProblem>
        switch fault {
        case 0: finished = .failure(ProviderProblem(.notSent(.refused)))
        case 1:
            finished = .failure(
                ProviderProblem(.transient, code: "http_429", detail: "", status: 429, retryAfter: 3000))
        case 2:
            _ = act(flight.call)
            finished = .failure(ProviderProblem(.replyLost(.reset)))
        case 3: finished = .failure(ProviderProblem(.replyLost(.timeout)))
        case 4:
            _ = act(flight.call)
            finished = .failure(
                ProviderProblem(.transient, code: "http_502", detail: "", status: 502, outcomeUnknown: true))
        default: finished = act(flight.call)
        }
        flights.removeFirst()
        run(
            machine.tokenCallFinished(
                flight.call.id, TokenCallReport(result: finished, sentAt: flight.sentAt), now: now))
    }

    mutating func need() {
        let waiter = WaiterID(nextWaiter)
        nextWaiter += 1
        let rejected = dice.roll(6) == 0 ? published?.generation : nil
        waiting[waiter] = .some(rejected)
        run(machine.credentialNeeded(waiter, rejected: rejected, now: now))
    }

    mutating func step() {
        switch dice.roll(isRough ? 40 : 39) {
        case 0..<10: need()
        case 10..<13:
            if let waiter = waiting.keys.min(by: { $0.number < $1.number }) {
                waiting.removeValue(forKey: waiter)
                run(machine.waiterLeft(waiter, now: now))
            }
        case 13..<22: stepStore()
        case 22..<28: stepProvider()
        case 28..<39: pass(Int64(dice.roll(2000)))
        default: kill()
        }
    }
}

struct GrantSimulationTests {
    /// Whatever goes wrong and whenever the process dies: the grant is never lost as long as the provider keeps it,
    /// one refresh is in flight at most, nothing expired or not durable is handed out, each waiter gets one answer.
    @Test(arguments: 0..<80)
    func `a grant survives everything that the provider forgives`(seed: Int) {
        var world = World(seed: UInt64(seed) + 1)
        for _ in 0..<3000 where world.failures.isEmpty { world.step() }
        world.isRough = false
        for _ in 0..<4000 where world.failures.isEmpty {
            world.stepStore()
            world.stepProvider()
            world.pass(100)
        }
        #expect(world.failures == [])
        #expect(world.provider.isAlive)
        #expect(world.stored?.state == .active)
        #expect(world.stored?.tokens?.refreshToken == Secret(world.provider.current.refresh))
        #expect(world.published != nil)
        #expect(world.waiting.isEmpty)
        #expect(world.answered > 300 && world.kills > 20)
        // No storm: a call is at least a moment after the one before.
        #expect(world.calls < 1500)
    }

    @Test(arguments: 0..<30)
    func `a grant that the provider ended latches once, and a consent brings it back`(seed: Int) {
        var world = World(seed: UInt64(seed) + 1000)
        for _ in 0..<300 where world.failures.isEmpty { world.step() }
        world.provider.isAlive = false
        for _ in 0..<3000 where world.failures.isEmpty { world.step() }
        world.isRough = false
        for _ in 0..<2000 {
            world.stepStore()
            world.stepProvider()
            world.pass(100)
        }
        #expect(world.stored?.state == .reauthorizationRequired)
        let calls = world.calls
        for _ in 0..<500 { world.step() }
        #expect(world.calls == calls)
        let tokens = world.provider.consent(now: world.now.wall)
        world.run(
            world.machine.authorizationGranted(tokens, sentAt: world.now, ticket: Ticket(1), now: world.now))
        for _ in 0..<2000 {
            world.stepStore()
            world.stepProvider()
            world.pass(100)
        }
        #expect(world.stored?.state == .active)
        #expect(world.stored?.tokens?.refreshToken == Secret(world.provider.current.refresh))
        #expect(world.failures == [])
    }
}
