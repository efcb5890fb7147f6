@testable import OAuth

// What happens on the time line.
extension World {
    func handle(_ event: Event) {
        switch event {
        case .timer(let index, let serial): timerFired(index, serial, event)
        case .storeRequest(let index, let life, let request, let askedAt):
            storeSees(index, life, request, askedAt: askedAt)
        case .storeReply(let index, let life, let reply):
            if isPresent(index, life, event) { storeReplied(index, reply) }
        case .news(let index, let life):
            if isPresent(index, life, event) { ask(index, .look) }
        case .poll(let index): poll(index)
        case .requestArrives(let index, let life, let call, let answer): serverSees(index, life, call, answer)
        case .replyArrives(let index, let life, let id, let result): replyArrives(index, life, id, result, event)
        case .deadline(let index, let life, let id): deadlinePassed(index, life, id, event)
        case .caller(let index): callerComes(index)
        case .callerLeaves(let index, let life, let waiter):
            guard isPresent(index, life, event), replicas[index].waiting[waiter] != nil else { return }
            replicas[index].waiting[waiter] = nil
            step(index) { $0.waiterLeft(waiter, now: $1) }
        case .crash(let index): crash(index)
        case .restart(let index): restart(index)
        case .presence(let index, let life, let instance):
            if isPresent(index, life, event) { step(index) { $0.instanceGone(instance, now: $1) } }
        case .stall(let index):
            guard isRough, replicas[index].isAlive else { return }
            replicas[index].stalledUntil = time + dice.pick([3000, 60_000, 250_000])
            log("\(replicas[index].instance) stands still until \(replicas[index].stalledUntil)")
        case .stepWall(let index):
            guard isRough else { return }
            replicas[index].wallOffset += dice.pick([-3_600_000, 3_600_000])
            log("\(replicas[index].instance)'s wall clock is set")
        case .storeOutage(let isAway):
            storeIsAway = isAway && isRough
            if !isAway { storeReturnedAt = time }
            log("the store is \(storeIsAway ? "away" : "there")")
        case .serverOutage(let isAway):
            serverIsAway = isAway && isRough
            log("the server is \(serverIsAway ? "away" : "there")")
        case .operatorActs(let index): operatorActs(index)
        case .consentArrives(let index, let life, let serial, let sentAt):
            consentArrives(index, life, serial, sentAt, event)
        case .revocationArrives(let index, let life, let call, let isAnswered):
            serverRevokes(index, life, call, isAnswered)
        case .revocationReply(let index, let life, let id, let result):
            guard isPresent(index, life, event) else { return }
            step(index) { $0.revocationCallFinished(id, result, now: $1) }
        }
    }

    /// One event of a replica's machine. The process may die right after.
    func step(_ index: Int, _ event: (inout GrantMachine, Moment) -> [GrantAction]) {
        let now = replicas[index].moment(at: time)
        let known = replicas[index].machine.record.revision
        let actions = event(&replicas[index].machine, now)
        if known > 0, replicas[index].machine.record.revision == 0 { endImportUnderWay(index) }
        act(index, actions)
        checkNobodyWaitsForNothing(index, now)
        if isRough, dice.once(in: scenario.crashAtStep) { crash(index) }
    }

    /// Who waits, waits for something that is under way: a back-off is not, and is told at once.
    private func checkNobodyWaitsForNothing(_ index: Int, _ now: Moment) {
        let machine = replicas[index].machine
        guard !machine.waiters.isEmpty, machine.call == nil, machine.replay == nil, machine.load == nil else { return }
        guard machine.changes.isEmpty, machine.imports.isEmpty, !machine.awaitsAbandonedRead else { return }
        check(machine.isWaitingForSibling(now), "callers wait for nothing")
    }

    /// It lives, it is the same process, and it does not stand still: then the event comes later.
    func isPresent(_ index: Int, _ life: Int, _ event: Event) -> Bool {
        guard replicas[index].life == life, replicas[index].isAlive else { return false }
        guard replicas[index].stalledUntil <= time else {
            schedule(after: replicas[index].stalledUntil - time, event)
            return false
        }
        return true
    }

    private func timerFired(_ index: Int, _ serial: Int, _ event: Event) {
        guard replicas[index].timerSerial == serial else { return }
        guard isPresent(index, replicas[index].life, event) else { return }
        timers += 1
        step(index) { $0.timerFired(now: $1) }
    }

    // MARK: Store

    private func storeSees(_ index: Int, _ life: Int, _ request: StoreRequest, askedAt: Moment) {
        let delay = dice.between(1, 40)
        func reply(_ reply: StoreReply) {
            schedule(after: delay, .storeReply(replica: index, life: life, reply))
        }
        let isFault = storeIsAway || isRough && dice.once(in: scenario.storeFault)
        // Some failures are of the answer only.
        let isMade = !storeIsAway && dice.roll(2) == 0
        switch request {
        case .commit(let commit):
            if isFault, !isMade { return reply(.commit(.failed)) }
            guard commit.expectedRevision == stored?.revision ?? 0 else {
                return reply(.commit(isFault ? .failed : .conflict(stored)))
            }
            committed(commit, by: index)
            reply(.commit(isFault ? .failed : .committedAs(revision: storeRevision)))
        case .delete(let revision):
            if isFault, !isMade { return reply(.commit(.failed)) }
            if let stored, stored.revision != revision { return reply(.commit(isFault ? .failed : .conflict(stored))) }
            deleted(by: index)
            reply(.commit(isFault ? .failed : .committed))
        case .load: reply(isFault ? .loadFailed : .load(stored))
        case .look:
            // The driver tries again.
            if isFault { return schedule(after: 1000, .news(replica: index, life: life)) }
            reply(.look(stored, askedAt: askedAt))
        }
    }

    private func deleted(by index: Int) {
        log("\(replicas[index].instance) deletes the record")
        let wasThere = stored != nil
        stored = nil
        if wasThere { tokensEnded() }
        tellAll()
    }

    private func tellAll() {
        for other in replicas.indices where replicas[other].isAlive {
            guard !(isRough && dice.once(in: scenario.newsLoss)) else { continue }
            let delay = isRough && dice.once(in: 10) ? dice.between(1000, 8000) : dice.between(1, 100)
            schedule(after: delay, .news(replica: other, life: replicas[other].life))
        }
    }

    private func committed(_ commit: GrantCommit, by index: Int) {
        let before = stored
        storeRevision += 1
        var record = commit.record
        record.revision = storeRevision
        stored = scenario.encodes ? GrantRecord(payload: record.encoded(), revision: record.revision) : record
        check(stored == record, "a record that cannot be read back")
        log("\(replicas[index].instance) stores \(record) \(record.intent.map { "intent of \($0.instance)" } ?? "")")
        check(record.generation >= before?.generation ?? 0, "the stored generation goes back")
        checkOrders(record, before: before)
        if let tokens = record.tokens {
            everStored.insert(tokens.accessToken.reveal())
            if let token = tokens.refreshToken, scenario.kind == .rotating {
                server.tokens[ModelServer.serial(token)].fate = .durable
            }
        }
        checkLatch(record)
        tellAll()
    }

    /// A grant that the server still honours is not given up.
    private func checkLatch(_ record: GrantRecord) {
        guard record.state == .reauthorizationRequired || record.state == .configurationError else { return }
        if let token = record.tokens?.refreshToken {
            check(
                !server.honours(token, now: time), "the grant is given up although the server honours \(token.reveal())"
            )
        } else if scenario.kind == .unattended {
            check(false, "an unattended grant is given up although nothing was wrong with it")
        }
    }

    private func storeReplied(_ index: Int, _ reply: StoreReply) {
        switch reply {
        case .commit(let result):
            replicas[index].isWriting = false
            if result == .failed { storeHasFailed = true }
            step(index) { $0.commitFinished(result, now: $1) }
        case .load(let record):
            replicas[index].isReading = false
            step(index) { $0.recordLoaded(record, now: $1) }
        case .loadFailed:
            replicas[index].isReading = false
            step(index) { $0.loadFailed(now: $1) }
        case .look(let record, let askedAt):
            let life = replicas[index].life
            step(index) { $0.recordChangedElsewhere(record, readAt: askedAt, now: $1) }
            guard replicas[index].life == life else { return }
            // The machine is at its own commit or read, whose outcome may or may not hold this, or this may be older.
            let known = replicas[index].machine.record.revision
            if record.map({ known < $0.revision }) ?? (known > 0) {
                schedule(after: 200, .news(replica: index, life: life))
            }
        }
    }

    private func poll(_ index: Int) {
        schedule(after: 10_000, .poll(replica: index))
        let replica = replicas[index]
        guard replica.isAlive, replica.stalledUntil <= time, !storeIsAway else { return }
        if stored?.revision ?? 0 != replica.machine.record.revision { ask(index, .look) }
    }

    // MARK: Server

    private func serverSees(_ index: Int, _ life: Int, _ call: TokenCall, _ answer: Answer) {
        func back(_ result: Result<Int, ProviderProblem>, after delay: Int64) {
            schedule(after: delay, .replyArrives(replica: index, life: life, call.id, result))
        }
        guard !serverIsAway else {
            let problem = ProviderProblem(.transient, code: "http_503", detail: "", status: 503, outcomeUnknown: true)
            return back(.failure(problem), after: 30)
        }
        var token: Secret?
        if case .refresh(let sent, _) = call.kind { token = sent }
        let isLate = replicas[index].flight?.call.id != call.id || replicas[index].life != life
        let wasDead = token.map { server.isDead($0) } ?? false
        // What nobody waits for is nobody's.
        let family = isLate ? nil : replicas[index].flight?.family
        let serial = server.refresh(token, family: family ?? server.newFamily(), now: time)
        log("the server takes \(tokenName(call)): \(serial.map { "gives \($0)" } ?? "invalid_grant")")
        let standsStill = replicas.contains { replica in
            guard replica.isAlive, replica.stalledUntil > time else { return false }
            return replica.flight != nil || server.tokens.contains { $0.fate == .held(by: replica.life) }
        }
        if serial == nil, !wasDead, isLate || standsStill || isExcusedByPresence(replicas[index].instance) {
            lostByLateness = true
        }
        // Nobody waits for what replaces the successor that somebody has; or who waits was taken for dead while it lived,
        // and its request came after that of the one that took over: in the store the later intent counts.
        if let serial, isLate || wronglyGone.contains(replicas[index].instance),
            let parent = server.tokens[serial].parent,
            server.tokens[parent].children.contains(where: { server.tokens[$0].isDead })
        {
            lostByLateness = true
        }
        // Or both had a successor, and the one that is used now is not the one that is stored.
        if serial != nil, !wronglyGone.isEmpty, let token, let parent = server.tokens[ModelServer.serial(token)].parent,
            server.tokens[parent].children.contains(where: { server.tokens[$0].isDead })
        {
            lostByLateness = true
        }
        switch answer {
        case .actsAndFails(let problem):
            if let serial { lose(serial) }
            if let problem { back(.failure(problem), after: 20) }
        case .normal:
            guard let serial else {
                let problem = ProviderProblem(.permanent, code: "invalid_grant", detail: "", status: 400)
                return back(.failure(problem), after: dice.between(5, 200))
            }
            back(.success(serial), after: dice.between(5, 200))
        }
    }

    /// A replica that lives was taken for dead, and its token was used again in its replay window: a server without a
    /// grace ends the grant then, which is the price of finding the reply of one that is dead. One that forgives ends it
    /// only where the request of the replica itself comes late.
    private func isExcusedByPresence(_ sender: String) -> Bool {
        scenario.isForgiving ? wronglyGone.contains(sender) : !wronglyGone.isEmpty
    }

    private func lose(_ serial: Int) {
        if server.tokens[serial].fate == .underway { server.tokens[serial].fate = .lost }
    }

    private func replyArrives(
        _ index: Int, _ life: Int, _ id: CallID, _ result: Result<Int, ProviderProblem>, _ event: Event
    ) {
        guard replicas[index].life == life, replicas[index].isAlive else {
            if case .success(let serial) = result { lose(serial) }
            return
        }
        guard isPresent(index, life, event) else { return }
        guard replicas[index].flight?.call.id == id else {
            if case .success(let serial) = result { lose(serial) }
            return
        }
        finish(index, result)
    }

    private func deadlinePassed(_ index: Int, _ life: Int, _ id: CallID, _ event: Event) {
        guard isPresent(index, life, event), replicas[index].flight?.call.id == id else { return }
        finish(index, .failure(ProviderProblem(.replyLost(.timeout))))
    }

    /// The call ends for the one that made it.
    private func finish(_ index: Int, _ result: Result<Int, ProviderProblem>) {
        guard let flight = replicas[index].flight else { return }
        replicas[index].flight = nil
        let set: Result<TokenSet, ProviderProblem>
        switch result {
        case .success(let serial):
            successes += 1
            if server.tokens[serial].fate != .durable { server.tokens[serial].fate = .held(by: replicas[index].life) }
            replicas[index].own.insert("a\(serial)")
            replicas[index].got = serial
            set = .success(server.reply(serial))
            log("\(replicas[index].instance) gets a\(serial)")
        case .failure(let problem):
            set = .failure(problem)
            if problem.errorClass == .permanent, !flight.call.isImport, let token = tokenSent(flight.call) {
                // A sibling's rotation was durable before the refusal came.
                replicas[index].isRefusalStale =
                    scenario.kind == .rotating && stored?.tokens.map { $0.refreshToken != token } ?? false
            }
            let token = tokenSent(flight.call)
            if problem.outcomeUnknown, let intent = stored?.intent, intent.instance == replicas[index].instance,
                lossUnder?.intent != intent || lossUnder?.token != token
            {
                lossUnder = (intent, token, time)
            }
        }
        let report = TokenCallReport(result: set, sentAt: flight.sentAt)
        step(index) { $0.tokenCallFinished(flight.call.id, report, now: $1) }
    }

    // MARK: Callers

    private func callerComes(_ index: Int) {
        schedule(after: dice.between(1, 2 * scenario.callGap), .caller(replica: index))
        let replica = replicas[index]
        guard replica.isAlive, replica.stalledUntil <= time else { return }
        // What a worker has, it does not ask for.
        let hasOne = replica.published?.isUsable(atMonotonic: time + replica.monotonicOffset) ?? false
        if hasOne, let credential = replica.published { checkEnd(index, credential, "held") }
        let rejected = isRough && hasOne && dice.once(in: 25) ? replica.published?.generation : nil
        for _ in 0...dice.roll(3) {
            let waiter = WaiterID(nextWaiter)
            nextWaiter += 1
            replicas[index].waiting[waiter] = .init(rejected: rejected, since: time)
            let life = replicas[index].life
            step(index) { $0.credentialNeeded(waiter, rejected: rejected, now: $1) }
            guard replicas[index].life == life, replicas[index].isAlive else { return }
            if isRough, dice.once(in: 8), replicas[index].waiting[waiter] != nil {
                schedule(after: dice.between(1, 500), .callerLeaves(replica: index, life: life, waiter))
            }
        }
    }

    // MARK: Death

    /// One process ends in the calm, and the next one begins.
    func replaceProcess(_ index: Int) {
        end(index, comesBack: false)
        restart(index)
    }

    func crash(_ index: Int) {
        guard isRough, replicas[index].isAlive else { return }
        end(index, comesBack: true)
    }

    private func end(_ index: Int, comesBack: Bool) {
        crashes += 1
        log("\(replicas[index].instance) dies")
        let gone = replicas[index].instance
        let life = replicas[index].life
        replicas[index].isAlive = false
        replicas[index].timerSerial += 1
        replicas[index].waiting = [:]
        replicas[index].orders = [:]
        // What it sent may yet arrive, and is nobody's then.
        replicas[index].flight = nil
        for serial in server.tokens.indices where server.tokens[serial].fate == .held(by: life) {
            server.tokens[serial].fate = .lost
        }
        if comesBack { schedule(after: dice.pick([50, 2000, 20_000, 200_000]), .restart(replica: index)) }
        guard scenario.hasPresence, !scenario.keepsInstanceName else { return }
        for other in replicas.indices where other != index && replicas[other].isAlive {
            let event = Event.presence(replica: other, life: replicas[other].life, instance: gone)
            schedule(after: dice.between(500, 15_000), event)
        }
    }

    func restart(_ index: Int) {
        guard !replicas[index].isAlive else { return }
        let serial = replicas[index].timerSerial
        let wall = replicas[index].wallOffset
        replicas[index] = makeReplica(index)
        replicas[index].timerSerial = serial + 1
        replicas[index].wallOffset = wall
        log("\(replicas[index].instance) starts")
        start(index)
    }
}
