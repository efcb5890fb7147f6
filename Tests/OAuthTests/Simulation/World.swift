@testable import OAuth

/// Replicas, a store, a server and callers on one time line. Deterministic: all chance comes from the seed.
final class World {
    enum Event {
        case timer(replica: Int, serial: Int)
        case storeRequest(replica: Int, life: Int, StoreRequest, askedAt: Moment)
        case storeReply(replica: Int, life: Int, StoreReply)
        case news(replica: Int, life: Int)
        case poll(replica: Int)
        case requestArrives(replica: Int, life: Int, TokenCall, Answer)
        case replyArrives(replica: Int, life: Int, CallID, Result<Int, ProviderProblem>)
        case deadline(replica: Int, life: Int, CallID)
        case caller(replica: Int)
        case callerLeaves(replica: Int, life: Int, WaiterID)
        case crash(replica: Int)
        case restart(replica: Int)
        case presence(replica: Int, life: Int, instance: String)
        case stall(replica: Int)
        case stepWall(replica: Int)
        case storeOutage(Bool)
        case serverOutage(Bool)
        case operatorActs(replica: Int)
        case consentArrives(replica: Int, life: Int, serial: Int, sentAt: Moment)
        case revocationArrives(replica: Int, life: Int, RevocationCall, isAnswered: Bool)
        case revocationReply(replica: Int, life: Int, CallID, RevocationCallResult)
    }

    enum StoreRequest {
        case commit(GrantCommit)
        case delete(UInt64)
        case load
        case look
    }

    enum StoreReply {
        case commit(CommitResult)
        case load(GrantRecord?)
        case loadFailed
        case look(GrantRecord?, askedAt: Moment)
    }

    /// What becomes of a token call once it is at the server.
    enum Answer {
        case normal
        /// The server acts, and the reply is lost (nil: until the deadline) or replaced.
        case actsAndFails(ProviderProblem?)
    }

    let scenario: Scenario
    var dice: Dice
    var time: Int64 = 0
    var queue = EventQueue()
    var server: ModelServer
    var stored: GrantRecord?
    /// Goes on over deletions.
    var storeRevision: UInt64 = 0
    var storeIsAway = false
    var storeReturnedAt: Int64 = 0
    var serverIsAway = false
    var isRough = true
    var replicas: [Replica] = []
    var lives = 0
    var nextWaiter: UInt64 = 1

    // Facts for the invariants.
    var everStored: Set<String> = []
    /// A request that its sender had given up, or a process that stood still beyond its lease, ended the grant.
    var lostByLateness = false
    /// The intent under which calls are being made, and when the first of its replies was lost.
    var lossUnder: (intent: GrantRecord.Intent, token: Secret?, at: Int64)?
    /// Replicas that lived when they were reported dead.
    var wronglyGone: Set<String> = []
    var misreportedAt: Int64?
    var callsFor: [UInt64: Int] = [:]
    var timers: Int64 = 0
    var calls = 0
    var successes = 0
    var answered = 0
    var crashes = 0
    var storeTrouble: Int64 = 0
    /// A replica was told that the store did not take something.
    var storeHasFailed = false
    // What operators did.
    var nextTicket: UInt64 = 1
    var given: Set<OperatorCommand> = []
    /// Families that a revocation or a deletion ended: since when the store says so.
    var ended: [Int: End] = [:]
    /// Families of consents and imports that are not the grant's yet.
    var connecting: Set<Int> = []
    /// Families that an unattended grant has asked for and not stored yet: by which life of a replica.
    var beginnings: [Int: Int] = [:]
    /// What was stored last by somebody who did not wait for a refresh that may be under way.
    var overtaking: (revision: UInt64, at: Int64) = (0, 0)

    struct End {
        var at: Int64
        var storeTrouble: Int64
    }

    var trace: [String] = []
    let isTracing: Bool
    var failure: String?

    init(seed: UInt64, isTracing: Bool = false) {
        scenario = Scenario(seed: seed)
        dice = Dice(seed ^ 0x5DEE_CE66)
        server = ModelServer(scenario: scenario, now: 0)
        self.isTracing = isTracing
        if scenario.kind != .unattended {
            stored = firstRecord
            storeRevision = 1
        }
        everStored.insert("a0")
        for index in 0..<scenario.replicas {
            replicas.append(makeReplica(index))
            start(index)
            schedule(after: dice.between(1, scenario.callGap), .caller(replica: index))
            if scenario.polls { schedule(after: dice.between(1, 10_000), .poll(replica: index)) }
        }
        scheduleTrouble()
    }

    private var firstRecord: GrantRecord {
        var record = GrantRecord()
        record.revision = 1
        record.generation = 1
        record.state = .active
        record.provider = "zoho"
        record.tokens = .init(
            accessToken: Secret("a0"), refreshToken: scenario.givesRefreshTokens ? Secret("r0") : nil,
            obtainedAt: Self.epoch, expiresAt: Self.epoch + scenario.lifetime, refreshTokenExpiresAt: nil,
            scopes: ["read"])
        return record
    }

    static let epoch: Int64 = 1_700_000_000_000

    func makeReplica(_ index: Int) -> Replica {
        lives += 1
        let instance = scenario.keepsInstanceName ? "i\(index)" : "i\(index).\(lives)"
        return Replica(
            machine: GrantMachine(
                settings: scenario.settings, provider: scenario.provider,
                environment: .init(
                    instance: instance, storeIsExclusive: scenario.isExclusive, seed: scenario.seed &+ UInt64(lives))),
            life: lives, instance: instance, monotonicOffset: dice.between(1000, 10_000_000),
            wallOffset: Self.epoch + scenario.clockErrors[index])
    }

    func start(_ index: Int) {
        let now = replicas[index].moment(at: time)
        act(index, replicas[index].machine.started(now: now))
    }

    func scheduleTrouble() {
        let span = scenario.roughFor
        for index in replicas.indices {
            for _ in 0..<dice.roll(3) { schedule(after: dice.between(1, span), .crash(replica: index)) }
            if dice.once(in: 3) { schedule(after: dice.between(1, span), .stall(replica: index)) }
            if scenario.stepsClocks { schedule(after: dice.between(1, span), .stepWall(replica: index)) }
        }
        for _ in 0..<dice.roll(3) {
            let start = dice.between(1, span)
            schedule(after: start, .storeOutage(true))
            schedule(after: start + dice.pick([2000, 40_000, 200_000]), .storeOutage(false))
        }
        for _ in 0..<scenario.orders {
            schedule(after: dice.between(1, span), .operatorActs(replica: dice.roll(scenario.replicas)))
        }
        if dice.once(in: 3) {
            let start = dice.between(1, span)
            schedule(after: start, .serverOutage(true))
            schedule(after: start + dice.pick([20_000, 120_000]), .serverOutage(false))
        }
    }

    func schedule(after delay: Int64, _ event: Event) {
        queue.push(time + max(delay, 0), event)
    }

    func check(_ condition: Bool, _ what: @autoclosure () -> String) {
        if !condition, failure == nil { failure = what() }
    }

    func log(_ what: @autoclosure () -> String) {
        if isTracing { trace.append("\(time): \(what())") }
    }

    /// Handles events until `end` or the first failure.
    func run(until end: Int64) {
        while failure == nil, let next = queue.first, next <= end {
            let (at, event) = queue.pop()
            time = at
            handle(event)
        }
        if failure == nil { time = end }
    }
}

/// A heap of events by time, then by order of coming.
struct EventQueue {
    private struct Entry {
        var time: Int64
        var order: Int
    }

    private var heap: [Entry] = []
    /// By order.
    private var events: [Int: World.Event] = [:]
    private var order = 0

    var first: Int64? { heap.first?.time }

    mutating func push(_ time: Int64, _ event: World.Event) {
        order += 1
        events[order] = event
        heap.append(Entry(time: time, order: order))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> (Int64, World.Event) {
        let top = heap[0]
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        guard let event = events.removeValue(forKey: top.order) else { fatalError("an event that was not pushed") }
        return (top.time, event)
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        let (one, other) = (heap[left], heap[right])
        return one.time == other.time ? one.order < other.order : one.time < other.time
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            if 2 * parent + 1 < heap.count, isBefore(2 * parent + 1, least) { least = 2 * parent + 1 }
            if 2 * parent + 2 < heap.count, isBefore(2 * parent + 2, least) { least = 2 * parent + 2 }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
