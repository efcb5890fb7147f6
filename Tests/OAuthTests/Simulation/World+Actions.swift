@testable import OAuth

// What the replicas' machines want done, and whether they may want it.
extension World {
    func act(_ index: Int, _ actions: [GrantAction]) {
        for action in actions {
            switch action {
            case .load:
                check(!replicas[index].isReading, "two loads at once")
                replicas[index].isReading = true
                ask(index, .load)
            case .commit(let commit):
                check(!replicas[index].isWriting, "two commits at once")
                replicas[index].isWriting = true
                ask(index, .commit(commit))
            case .delete(let revision):
                check(given.contains(.forget), "a deletion that nobody asked for")
                check(!replicas[index].isWriting, "two commits at once")
                replicas[index].isWriting = true
                ask(index, .delete(revision))
            case .revokeToken(let call): revoke(index, call)
            case .requestTokens(let call): send(index, call)
            case .publish(let credential): published(index, credential)
            case .answer(let waiter, let answer): answered(index, waiter, answer)
            case .finish(let ticket, let result): orderFinished(index, ticket, result)
            case .armTimer(let at):
                replicas[index].timerSerial += 1
                guard let at else { continue }
                let delay = at - replicas[index].monotonicOffset - time
                schedule(after: delay, .timer(replica: index, serial: replicas[index].timerSerial))
            case .note(let fact):
                if case .stateChanged(.reauthorizationRequired, _) = fact { checkRefusal(index) }
                if case .lateResultDropped = fact, let got = replicas[index].got { server.tokens[got].isDropped = true }
                log("\(replicas[index].instance) \(fact)")
            }
        }
    }

    // MARK: Store

    func ask(_ index: Int, _ request: StoreRequest) {
        // Now and then a request stands for long before the store sees it.
        let isSlow = isRough && scenario.storeFault > 0 && dice.once(in: 60)
        let delay = isSlow ? dice.between(1000, 9000) : dice.between(1, 40)
        if isSlow { storeTrouble += delay }
        schedule(
            after: delay,
            .storeRequest(
                replica: index, life: replicas[index].life, request, askedAt: replicas[index].moment(at: time)))
    }

    // MARK: Token calls

    func send(_ index: Int, _ call: TokenCall) {
        let replica = replicas[index]
        calls += 1
        log("\(replica.instance) sends \(tokenName(call))")
        // What was sent before its sender had heard that an operator ended it is abandoned then, and nobody's.
        check(
            replica.flight.map {
                $0.isAbandoned || overtaking.at >= $0.trueTime || overtaking.revision > $0.revision
            } ?? true,
            "two token calls of one machine at once")
        checkSend(index, call)
        let family = server.newFamily()
        if case .unattended = call.kind { beginnings[family] = replica.life }
        replicas[index].flight = .init(
            call: call, sentAt: replica.moment(at: time), trueTime: time, family: family,
            revision: replica.machine.record.revision)
        replicas[index].isRefusalStale = false
        misreport(index)
        // What an operator does is most interesting while something is under way.
        if isRough, scenario.orders > 0, dice.once(in: 40) {
            schedule(after: dice.between(0, 400), .operatorActs(replica: dice.roll(scenario.replicas)))
        }
        let life = replica.life
        schedule(after: scenario.provider.callDeadline, .deadline(replica: index, life: life, call.id))
        func fails(_ problem: ProviderProblem, after delay: Int64) {
            schedule(after: delay, .replyArrives(replica: index, life: life, call.id, .failure(problem)))
        }
        let fault = isRough && dice.once(in: scenario.callFault) ? dice.roll(8) : 8
        switch fault {
        case 0: fails(ProviderProblem(.notSent(.refused)), after: 20)
        case 1:
            fails(
                ProviderProblem(.transient, code: "http_429", detail: "", status: 429, retryAfter: 3000), after: 50)
        case 2:
            fails(
                ProviderProblem(
                    .transient, code: "blocked_by_intermediary", detail: "", status: 503, outcomeUnknown: true),
                after: 50)
        case 3: fails(ProviderProblem(.replyLost(.reset)), after: 100)
        case 4: arrive(index, call, .actsAndFails(ProviderProblem(.replyLost(.reset))), after: 100)
        case 5: arrive(index, call, .actsAndFails(nil), after: 100)
        case 6:
            let problem = ProviderProblem(
                .transient, code: "http_502", detail: "", status: 502, outcomeUnknown: true)
            arrive(index, call, .actsAndFails(problem), after: 100)
        case 7: arrive(index, call, .normal, after: dice.between(1000, 2 * scenario.provider.callDeadline))
        default: arrive(index, call, .normal, after: dice.between(5, 200))
        }
    }

    /// Presence errs: a replica that has lost its connection to the store, but not the one to the server, is taken for
    /// dead in the midst of a call.
    private func misreport(_ index: Int) {
        guard isRough, scenario.presenceErrs, dice.once(in: 6) else { return }
        let instance = replicas[index].instance
        wronglyGone.insert(instance)
        misreportedAt = time
        for other in replicas.indices where other != index && replicas[other].isAlive {
            let event = Event.presence(replica: other, life: replicas[other].life, instance: instance)
            schedule(after: dice.between(50, 5000), event)
        }
    }

    /// A living replica and one that was told that it is dead may use one token: as long as the refresh of both can last,
    /// and no longer.
    private var isPresenceWrong: Bool {
        guard let misreportedAt else { return false }
        let provider = scenario.provider
        return time - misreportedAt <= 2 * (3 * provider.callDeadline + provider.replayWindow + 5000)
    }

    private func arrive(_ index: Int, _ call: TokenCall, _ answer: Answer, after delay: Int64) {
        schedule(after: delay, .requestArrives(replica: index, life: replicas[index].life, call, answer))
    }

    func tokenName(_ call: TokenCall) -> String {
        switch call.kind {
        case .refresh(let token, _): token.reveal()
        case .code: "a code"
        case .unattended: "nothing but itself"
        case .deviceCode: "a device's code"
        }
    }

    func tokenSent(_ call: TokenCall) -> Secret? {
        guard case .refresh(let token, _) = call.kind else { return nil }
        return token
    }

    /// Somebody who does not wait for a refresh, an operator, has stored something that this replica need not have
    /// heard of yet.
    private func isOvertaken(_ index: Int) -> Bool {
        guard replicas[index].machine.record.revision < overtaking.revision else { return false }
        return isUnheard(index, since: overtaking.at, trouble: 0)
    }

    /// A token call starts: is it allowed to?
    private func checkSend(_ index: Int, _ call: TokenCall) {
        let replica = replicas[index]
        let isFree = scenario.usesTokensBeforeStored && storeHasFailed
        check(
            // Who was taken for dead may not know it yet.
            isFree || stored?.intent?.instance == replica.instance || isPresenceWrong || isOvertaken(index),
            "a token call without a durable intent of its own: \(replica.instance)")
        check(
            isFree || isPresenceWrong || stored?.state == .active || stored?.state == .notConnected || call.isImport
                || isOvertaken(index),
            "a token call after a latch: \(stored.map { $0.state.rawValue } ?? "no record")")
        if !isRough, let generation = stored?.generation { callsFor[generation, default: 0] += 1 }
        let known = replica.machine.record
        check(
            isFree || known.intent?.instance == replica.instance,
            "a token call of \(replica.instance), which knows that \(known.intent?.instance ?? "nobody") is at it")
        check(known.state != .revoked || call.isImport, "a token call for a grant that is known to be revoked")
        guard scenario.kind == .rotating, case .refresh(let token, _) = call.kind else { return }
        for other in replicas.indices where other != index {
            guard let flight = replicas[other].flight, replicas[other].isAlive else { continue }
            let isOpen = time < flight.trueTime + scenario.provider.callDeadline
            check(
                !(isOpen && !isPresenceWrong && flight.call.kind == call.kind),
                "two uses of one single-use token at once")
        }
        let serial = ModelServer.serial(token)
        for child in server.tokens[serial].children {
            switch server.tokens[child].fate {
            case .durable: check(isPresenceWrong, "a token is used again after its successor was durable")
            case .held(let life):
                let isLiving = replicas.contains {
                    $0.life == life && $0.isAlive && $0.stalledUntil < time - 200_000
                }
                check(!isLiving || isPresenceWrong, "a token is used again although a replica has its successor")
            case .underway, .lost: break
            }
        }
        if let loss = lossUnder, loss.intent == stored?.intent, loss.intent.instance == replica.instance,
            loss.token == token
        {
            check(
                time <= loss.at + scenario.provider.replayWindow + 50,
                "a token is used again outside its replay window, \(time - loss.at) ms after the loss")
        }
    }

    // MARK: Credentials

    private func published(_ index: Int, _ credential: Credential?) {
        let replica = replicas[index]
        replicas[index].published = credential
        log("\(replica.instance) publishes \(credential.map { "\(token(of: $0)) of \($0.generation)" } ?? "nothing")")
        guard let credential else { return }
        checkCredential(index, credential, "published")
        if let before = replica.published, before.generation != credential.generation {
            check(
                credential.generation > before.generation || scenario.usesTokensBeforeStored
                    || given.contains(.forget),
                "the published generation goes back from \(before.generation) to \(credential.generation)")
        }
    }

    func token(of credential: Credential) -> String {
        String(decoding: credential.headerValue.dropFirst(7), as: UTF8.self)
    }

    private func checkCredential(_ index: Int, _ credential: Credential, _ what: String) {
        let replica = replicas[index]
        let value = token(of: credential)
        checkEnd(index, credential, what)
        check(
            everStored.contains(value) || scenario.usesTokensBeforeStored && storeHasFailed,
            "\(value) is \(what) before it is durable")
        let now = replica.moment(at: time)
        check(credential.isUsable(atMonotonic: now.monotonic), "\(value) is \(what) after its expiry")
        // Two machines' clocks may differ; one that is set wrongly tells nothing about what it reads from the store.
        let isOwn = replica.own.contains(value)
        guard isOwn || !scenario.stepsClocks else { return }
        let slack = isOwn ? 0 : scenario.clockSpread + (scenario.storeFault > 0 ? 20_000 : 1000)
        check(
            server.accessIsGood(value, now: time, slack: slack),
            "\(value) is \(what) although the server has let it expire")
    }

    private func answered(_ index: Int, _ waiter: WaiterID, _ answer: CredentialAnswer) {
        guard let wait = replicas[index].waiting.removeValue(forKey: waiter) else {
            check(false, "an answer that nobody waits for")
            return
        }
        answered += 1
        checkWait(index, wait)
        switch answer {
        case .credential(let credential):
            log("\(replicas[index].instance) answers \(token(of: credential))")
            check(credential.generation != wait.rejected, "the rejected credential again")
            checkCredential(index, credential, "answered")
        case .unavailable(let reason, let retryAfter):
            log("\(replicas[index].instance) refuses: \(reason)")
            check(retryAfter.map { $0 > 0 } ?? true, "a wait that is no wait")
            if reason == .reauthorizationRequired { checkRefusal(index) }
        }
    }

    /// Nobody, neither a caller nor the operator, is told to consent because of a token that a sibling had rotated.
    private func checkRefusal(_ index: Int) {
        guard replicas[index].isRefusalStale, stored?.state == .active, let token = stored?.tokens?.refreshToken else {
            return
        }
        check(
            !server.honours(token, now: time),
            "somebody is told to consent again although a sibling has rotated the token"
        )
    }

    /// A sibling's lease, its confirmation, and a refresh of one's own with its replays.
    static func waitLimit(_ scenario: Scenario) -> Int64 {
        2 * (3 * scenario.provider.callDeadline + 45_000) + 60_000
    }

    func checkWait(_ index: Int, _ wait: Replica.Wait) {
        let stall = replicas[index].stalledUntil > wait.since ? 400_000 as Int64 : 0
        // A request that stands in the store's queue is the driver's to end.
        let limit = Self.waitLimit(scenario) * Int64(scenario.replicas) + stall + storeTrouble
        check(time - wait.since <= limit, "a caller waits \(time - wait.since) ms")
    }
}
