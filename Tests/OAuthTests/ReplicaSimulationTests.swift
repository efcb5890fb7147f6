import Testing

@testable import OAuth

/// Several replicas on one store that tells all of them what one writes, sooner or later.
private struct Cluster {
    struct Flight {
        var call: TokenCall
        var sentAt: Moment
    }

    struct Replica {
        var machine: GrantMachine
        var flight: Flight?
        var commit: GrantCommit?
        var isLoading = false
        var timer: Int64?
        var waiting: [WaiterID: UInt64?] = [:]
        var published: Credential?
        /// What the store has still to tell it.
        var news: [GrantRecord] = []
    }

    let seed: UInt64
    var dice: ModelDice
    var now = Moment(monotonic: 1_000_000, wall: 1_700_000_000_000)
    var provider: RotatingProvider
    var stored: GrantRecord?
    var replicas: [Replica] = []
    var nextWaiter: UInt64 = 1
    var starts = 0
    var calls = 0
    var answered = 0
    var isRough = true
    var failures: [String] = []

    init(seed: UInt64, count: Int) {
        self.seed = seed
        dice = ModelDice(seed)
        provider = RotatingProvider(now: now.wall, grace: 400_000, lifetime: 60_000)
        stored = GrantDriver.record(lifetime: 60_000)
        for _ in 0..<count {
            replicas.append(Replica(machine: machine()))
        }
        for index in replicas.indices { run(replicas[index].machine.started(now: now), index) }
    }

    mutating func machine() -> GrantMachine {
        starts += 1
        var settings = GrantDriver.provider
        settings.refreshSkew = 20_000
        return GrantMachine(
            settings: GrantSettings(name: "crm", provider: "zoho", scopes: ["read"]), provider: settings,
            environment: .init(instance: "i\(starts)", storeIsExclusive: false, seed: seed + UInt64(starts)))
    }

    mutating func check(_ condition: Bool, _ what: String) {
        if !condition { failures.append("seed \(seed): \(what) at \(now.monotonic)") }
    }

    mutating func run(_ actions: [GrantAction], _ index: Int) {
        for action in actions {
            switch action {
            case .load: replicas[index].isLoading = true
            case .commit(let commit): replicas[index].commit = commit
            case .requestTokens(let call):
                calls += 1
                check(!replicas.contains { $0.flight != nil }, "two refreshes in flight")
                replicas[index].flight = Flight(call: call, sentAt: now)
            case .publish(let credential): replicas[index].published = credential
            case .answer(let waiter, let answer):
                check(replicas[index].waiting.removeValue(forKey: waiter) != nil, "a second answer")
                answered += 1
                if case .credential(let credential) = answer {
                    check(credential.isUsable(atMonotonic: now.monotonic), "an expired credential")
                }
            case .armTimer(let at): replicas[index].timer = at
            case .delete, .revokeToken: check(false, "what nobody asked for")
            case .finish, .note: break
            }
        }
    }

    mutating func pass(_ milliseconds: Int64) {
        now.monotonic += milliseconds
        now.wall += milliseconds
        for index in replicas.indices {
            if let due = replicas[index].timer, due <= now.monotonic {
                replicas[index].timer = nil
                run(replicas[index].machine.timerFired(now: now), index)
            }
            // The driver keeps the deadline.
            if let flight = replicas[index].flight, flight.sentAt.monotonic + 30_000 <= now.monotonic {
                finish(index, .failure(ProviderProblem(.replyLost(.timeout))))
            }
        }
    }

    mutating func finish(_ index: Int, _ result: Result<TokenSet, ProviderProblem>) {
        guard let flight = replicas[index].flight else { return }
        replicas[index].flight = nil
        let report = TokenCallReport(result: result, sentAt: flight.sentAt)
        run(replicas[index].machine.tokenCallFinished(flight.call.id, report, now: now), index)
    }

    mutating func stepStore(_ index: Int) {
        if replicas[index].isLoading {
            replicas[index].isLoading = false
            run(replicas[index].machine.recordLoaded(stored, now: now), index)
        } else if let commit = replicas[index].commit {
            replicas[index].commit = nil
            if isRough, dice.roll(15) == 0 {
                return run(replicas[index].machine.commitFinished(.failed, now: now), index)
            }
            guard commit.expectedRevision == stored?.revision ?? 0 else {
                return run(replicas[index].machine.commitFinished(.conflict(stored), now: now), index)
            }
            stored = GrantRecord(payload: commit.record.encoded(), revision: commit.record.revision)
            for other in replicas.indices { replicas[other].news.append(commit.record) }
            run(replicas[index].machine.commitFinished(.committed, now: now), index)
        } else if !replicas[index].news.isEmpty {
            let news = replicas[index].news.removeFirst()
            run(replicas[index].machine.recordChangedElsewhere(news, now: now), index)
        }
    }

    mutating func stepProvider(_ index: Int) {
        guard let flight = replicas[index].flight, case .refresh(let token, _) = flight.call.kind else { return }
        switch isRough ? dice.roll(8) : 7 {
        case 0: finish(index, .failure(ProviderProblem(.notSent(.refused))))
        case 1:
            _ = provider.refresh(token.reveal(), now: now.wall)
            finish(index, .failure(ProviderProblem(.replyLost(.reset))))
        default: finish(index, provider.refresh(token.reveal(), now: now.wall))
        }
    }

    mutating func step() {
        let index = dice.roll(replicas.count)
        switch dice.roll(isRough ? 200 : 199) {
        case 0..<50:
            let waiter = WaiterID(nextWaiter)
            nextWaiter += 1
            let rejected = dice.roll(8) == 0 ? replicas[index].published?.generation : nil
            replicas[index].waiting[waiter] = .some(rejected)
            run(replicas[index].machine.credentialNeeded(waiter, rejected: rejected, now: now), index)
        case 50..<120: stepStore(index)
        case 120..<150: stepProvider(index)
        case 150..<199: pass(Int64(dice.roll(1500)))
        default:
            replicas[index] = Replica(machine: machine())
            run(replicas[index].machine.started(now: now), index)
        }
    }
}

struct ReplicaSimulationTests {
    @Test(arguments: 0..<25)
    func `replicas refresh one at a time, survive each other's deaths, and end with the same token`(seed: Int) {
        var cluster = Cluster(seed: UInt64(seed) + 7, count: 3)
        for _ in 0..<6000 where cluster.failures.isEmpty { cluster.step() }
        cluster.isRough = false
        for _ in 0..<3000 where cluster.failures.isEmpty {
            for index in cluster.replicas.indices {
                cluster.stepStore(index)
                cluster.stepProvider(index)
            }
            cluster.pass(100)
        }
        #expect(cluster.failures == [])
        #expect(cluster.provider.isAlive)
        #expect(cluster.stored?.tokens?.refreshToken == Secret(cluster.provider.current.refresh))
        let values = Set(cluster.replicas.map { $0.published.map { String(decoding: $0.headerValue, as: UTF8.self) } })
        #expect(values == ["Bearer " + cluster.provider.current.access])
        #expect(cluster.replicas.allSatisfy { $0.waiting.isEmpty })
        #expect(cluster.answered > 300 && cluster.starts > 10)
    }
}
