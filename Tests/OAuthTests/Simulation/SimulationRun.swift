@testable import OAuth

/// One seed from the start to the end: a rough time, a calm in which everything must heal, and a look at what is left.
struct SimulationRun {
    var world: World

    /// nil: nothing is wrong.
    static func failure(seed: UInt64, traceLength: Int = 60) -> String? {
        let run = SimulationRun(world: World(seed: seed))
        run.play()
        guard let failure = run.world.failure else { return nil }
        // The same again, with a trace.
        let again = SimulationRun(world: World(seed: seed, isTracing: true))
        again.play()
        let scenario = again.world.scenario
        let setting =
            "\(scenario.replicas) replicas, \(scenario.kind), grace \(scenario.grace), lifetime \(scenario.lifetime)"
        let last = again.world.trace.suffix(traceLength).joined(separator: "\n")
        return "SIMULATION_SEED=\(seed): \(failure)\n\(setting)\n\(last)"
    }

    func play() {
        world.run(until: world.scenario.roughFor)
        calm()
        // Leases, back-offs and answers that were asked for come to their ends.
        world.run(until: world.time + 340_000)
        let isAlive = world.stored.map { $0.state == .active && !world.server.hasEnded($0) } ?? false
        world.callsFor = [:]
        let calls = world.calls
        let measured = 5 * world.scenario.lifetime / 2
        world.run(until: world.time + measured)
        guard world.failure == nil else { return }
        settle()
        guard world.failure == nil else { return }
        if isAlive { lookAtCalm(calls: world.calls - calls, measured: measured) }
        lookAtEnd()
        if world.failure == nil, world.stored?.state == .reauthorizationRequired { consentAgain() }
    }

    private func calm() {
        world.isRough = false
        world.storeIsAway = false
        world.serverIsAway = false
        world.log("calm")
        for index in world.replicas.indices {
            if !world.replicas[index].isAlive { world.restart(index) }
            world.replicas[index].stalledUntil = min(world.replicas[index].stalledUntil, world.time)
        }
    }

    /// What is looked at is not looked at in the middle of a refresh.
    private func settle() {
        for _ in 0..<40 where !isAtRest { world.run(until: world.time + 250) }
    }

    private var isAtRest: Bool {
        let revision = world.stored?.revision
        return world.stored?.intent == nil && world.replicas.allSatisfy { $0.machine.record.revision == revision }
    }

    /// One token call for each expiry, over all replicas.
    private func lookAtCalm(calls: Int, measured: Int64) {
        let scenario = world.scenario
        let lead = min(scenario.provider.refreshSkew, scenario.lifetime / 2)
        var period = scenario.lifetime - lead
        if let keepalive = scenario.provider.keepaliveInterval, scenario.kind != .unattended {
            period = min(period, keepalive - keepalive / 10)
        }
        // Who cannot know how old a sibling's tokens are, since the clocks disagree, refreshes early: once each.
        let replicas = scenario.clockSpread > 1000 || scenario.stepsClocks ? Int64(scenario.replicas) : 1
        world.check(calls >= 2, "only \(calls) token calls in \(measured) ms of calm")
        world.check(
            Int64(calls) <= (measured / period + 2) * replicas, "\(calls) token calls in \(measured) ms of calm")
        let most = world.callsFor.max { $0.value < $1.value }
        world.check(
            most?.value ?? 1 == 1, "\(most?.value ?? 0) token calls for generation \(most?.key ?? 0) in the calm")
    }

    private func lookAtEnd() {
        for index in world.replicas.indices {
            world.check(world.replicas[index].waiting.isEmpty, "callers still wait at the end")
        }
        guard let record = world.stored else { return world.check(false, "there is no record at the end") }
        let token = record.tokens?.refreshToken
        let isHonoured = token.map { world.server.honours($0, now: world.time) } ?? (world.scenario.kind == .unattended)
        if world.scenario.isForgiving, !world.lostByLateness, !isReplacedByLost(token) {
            world.check(isHonoured, "a grant is lost that the server would have forgiven")
        }
        guard isHonoured else { return lookAtLoss(token) }
        world.check(record.state == .active, "the server honours the grant, and it is \(record.state.rawValue)")
        for index in world.replicas.indices { lookAtReplica(index) }
    }

    private func lookAtReplica(_ index: Int) {
        guard let credential = world.replicas[index].published else {
            return world.check(false, "replica \(index) publishes nothing at the end")
        }
        let value = world.token(of: credential)
        world.check(
            world.server.accessIsGood(value, now: world.time, slack: 0), "\(value) at the end does not work")
        world.check(
            value == world.stored?.tokens?.accessToken.reveal(), "replica \(index) ends with another token: \(value)")
    }

    /// What is stored is a successor that a later one has replaced, and that one was lost: no two of them are good at
    /// such a server, and the older had been stored by a replica that was taken for dead.
    private func isReplacedByLost(_ token: Secret?) -> Bool {
        guard let token, world.scenario.kind == .rotating else { return false }
        let tokens = world.server.tokens
        let serial = ModelServer.serial(token)
        guard tokens[serial].isDead, let parent = tokens[serial].parent else { return false }
        return tokens[parent].children.contains { $0 > serial && tokens[$0].fate == .lost }
    }

    /// The grant is gone. That must be since the only copy of a token died with a process or a reply, and not by what
    /// the replicas did.
    private func lookAtLoss(_ token: Secret?) {
        let isExcused = world.lostByLateness || world.server.tokens.contains { $0.fate == .lost }
        world.check(isExcused, "the grant is gone without a reason")
        world.check(world.stored?.state == .reauthorizationRequired, "the grant is gone, and nobody is told")
        guard let token, world.scenario.kind == .rotating else { return }
        for replica in world.replicas {
            let isDropped = world.server.tokens.indices.contains {
                world.server.tokens[$0].fate == .held(by: replica.life)
                    && world.server.honours(Secret("r\($0)"), now: world.time)
            }
            world.check(
                !isDropped || world.lostByLateness,
                "\(replica.instance) dropped the token that would have saved the grant")
        }
        let children = world.server.tokens[ModelServer.serial(token)].children
        world.check(
            !children.contains { world.server.tokens[$0].fate == .durable }, "an older token overwrote a newer one")
    }

    private func consentAgain() {
        let calls = world.calls
        world.run(until: world.time + 600_000)
        world.check(world.calls == calls, "token calls after the latch")
        let tokens = world.server.consent(now: world.time)
        world.everStored.insert(tokens.accessToken.reveal())
        let now = world.replicas[0].moment(at: world.time)
        let actions = world.replicas[0].machine.authorizationGranted(tokens, sentAt: now, ticket: Ticket(1), now: now)
        world.act(0, actions)
        world.run(until: world.time + 25_000)
        settle()
        for index in world.replicas.indices where world.failure == nil { lookAtReplica(index) }
    }
}
