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
        // A reply that was lost in the rough time may have been the end of it, though nobody knows yet.
        let token = world.stored?.tokens?.refreshToken
        let isAlive =
            world.stored?.state == .active
            && token.map { world.server.honours($0, now: world.time) } ?? (world.scenario.kind == .unattended)
        world.callsFor = [:]
        world.timers = 0
        let calls = world.calls
        let measured = 5 * world.scenario.lifetime / 2
        world.run(until: world.time + measured)
        guard world.failure == nil else { return }
        settle()
        guard world.failure == nil else { return }
        world.check(
            world.timers <= Int64(world.scenario.replicas) * (measured / 1000 + 100),
            "\(world.timers) timers in \(measured) ms of calm")
        if isAlive { lookAtCalm(calls: world.calls - calls, measured: measured) }
        lookAtEnd()
        if world.failure == nil, world.stored?.state == .reauthorizationRequired { consentAgain() }
        if world.failure == nil, world.scenario.endsWithOrders { endAndBegin() }
    }

    private func calm() {
        world.isRough = false
        world.storeIsAway = false
        world.serverIsAway = false
        world.storeReturnedAt = world.time
        world.log("calm")
        for index in world.replicas.indices where !world.replicas[index].isAlive { world.restart(index) }
        // Who stands still comes to itself.
        world.run(until: max(world.time, world.replicas.map(\.stalledUntil).max() ?? 0))
    }

    /// What is looked at is not looked at in the middle of a refresh.
    private func settle() {
        for _ in 0..<40 where !isAtRest { world.run(until: world.time + 250) }
    }

    private var isAtRest: Bool {
        let revision = world.stored?.revision
        return world.stored?.intent == nil && world.replicas.allSatisfy { $0.machine.record.revision == revision ?? 0 }
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
            let orders = world.replicas[index].orders.values.map(\.command)
            world.check(orders.isEmpty, "operators still wait at the end: \(orders)")
        }
        // An import that failed leaves an empty record.
        guard let record = world.stored, record.state != .notConnected || world.scenario.kind == .unattended else {
            world.check(world.given.contains(.forget), "there is no record at the end")
            return lookAtSilence()
        }
        if record.state == .revoked { return lookAtRevocation(record) }
        let token = record.tokens?.refreshToken
        // It has nothing to live on, and by now its access token is over.
        if token == nil, world.scenario.kind != .unattended {
            world.check(!world.scenario.givesRefreshTokens, "there is no refresh token at the end")
            return world.check(
                record.state == .reauthorizationRequired, "nothing is left of the grant, and it is \(record.state)")
        }
        let isHonoured = token.map { world.server.honours($0, now: world.time) } ?? (world.scenario.kind == .unattended)
        let family = world.family(of: record)
        let isRevoked = family.map { world.server.revokedFamilies.contains($0) } ?? false
        if world.scenario.isForgiving, !world.lostByLateness, !isRevoked, !isReplacedByLost(token) {
            world.check(isHonoured, "a grant is lost that the server would have forgiven")
        }
        // A provider was told of a revocation that the store did not take.
        guard isHonoured || isRevoked else { return lookAtLoss(token) }
        guard isHonoured else { return }
        world.check(record.state == .active, "the server honours the grant, and it is \(record.state.rawValue)")
        for index in world.replicas.indices { lookAtReplica(index) }
    }

    /// Nobody uses, and nobody asks for, what an operator has ended.
    private func lookAtSilence() {
        for replica in world.replicas {
            world.check(replica.published == nil, "\(replica.instance) publishes what an operator has ended")
        }
    }

    private func lookAtRevocation(_ record: GrantRecord) {
        lookAtSilence()
        if world.scenario.clockSpread == 0, !world.scenario.stepsClocks, let revocation = record.revocation {
            world.check(
                revocation.nextAttemptAt > World.epoch + world.time - 60_000, "a revocation is owed, and nobody tries")
        }
        // Whatever a refresh still brought, too.
        guard world.given.isSubset(of: [.revoke, .refresh]), world.scenario.kind == .rotating else { return }
        let owed = Set(record.revocation?.tokens.map { $0.token.reveal() } ?? [])
        for (serial, token) in world.server.tokens.enumerated()
        where token.usedAt == nil && !token.isDropped && !owed.contains("r\(serial)") {
            let isKept = world.replicas.contains { token.fate == .held(by: $0.life) } || token.fate == .durable
            let isGood = world.server.honours(Secret("r\(serial)"), now: world.time)
            world.check(!(isKept && isGood), "r\(serial) of a revoked grant is left alive")
        }
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
        let family = world.family(of: world.stored)
        let isExcused =
            world.lostByLateness || world.server.tokens.contains { $0.fate == .lost && $0.family == family }
        world.check(isExcused, "the grant is gone without a reason")
        world.check(world.stored?.state == .reauthorizationRequired, "the grant is gone, and nobody is told")
        guard let token, world.scenario.kind == .rotating else { return }
        for replica in world.replicas {
            let isDropped = world.server.tokens.indices.contains {
                world.server.tokens[$0].fate == .held(by: replica.life) && world.server.tokens[$0].family == family
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
        // A restart does not undo a latch either.
        world.replaceProcess(0)
        world.run(until: world.time + 600_000)
        world.check(world.calls == calls, "token calls after the latch")
        bringBack(0, by: .consent)
    }

    /// A consent or an import is everywhere soon.
    private func bringBack(_ index: Int, by command: OperatorCommand) {
        guard world.failure == nil else { return }
        world.order(index, command)
        // What cannot be refreshed is looked at while it lives; who has another clock may take it for older than it is.
        world.run(until: world.time + (world.scenario.givesRefreshTokens ? 25_000 : 15_000))
        settle()
        guard world.failure == nil else { return }
        world.check(world.stored?.state == .active, "\(command) does not bring the grant back")
        guard world.scenario.givesRefreshTokens else { return lookAtReplica(index) }
        for index in world.replicas.indices where world.failure == nil { lookAtReplica(index) }
    }

    /// In the calm all that an operator does is everywhere within the interval of the poll.
    private func endAndBegin() {
        let isUnattended = world.scenario.kind == .unattended
        let last = world.replicas.count - 1
        bringBack(last, by: isUnattended ? .refresh : .importGood)
        silence(0, by: .revoke)
        if world.failure == nil {
            let revoked = world.stored?.state == .revoked && world.stored?.revocation == nil
            world.check(revoked, "the revocation does not come to its end in the calm")
        }
        bringBack(last, by: isUnattended ? .refresh : .consent)
        // An unattended grant that is forgotten begins anew when somebody needs it.
        if isUnattended { return }
        silence(last, by: .forget)
        bringBack(0, by: .importGood)
    }

    private func silence(_ index: Int, by command: OperatorCommand) {
        guard world.failure == nil else { return }
        world.order(index, command)
        world.run(until: world.time + 25_000)
        guard world.failure == nil else { return }
        lookAtSilence()
        world.check(world.replicas[index].orders.isEmpty, "\(command) is not answered in the calm")
        let calls = world.calls
        world.run(until: world.time + 2 * world.scenario.lifetime)
        world.check(world.calls == calls, "token calls after \(command)")
        lookAtSilence()
    }
}
