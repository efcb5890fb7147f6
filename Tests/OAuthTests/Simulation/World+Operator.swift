@testable import OAuth

// What operators do, and what must hold then.
extension World {
    // MARK: Commands

    func operatorActs(_ index: Int) {
        guard isRough, replicas[index].isAlive, replicas[index].stalledUntil <= time else { return }
        if dice.once(in: 3) {
            schedule(after: dice.between(0, 2000), .operatorActs(replica: dice.roll(scenario.replicas)))
        }
        order(index, dice.pick(scenario.commands))
    }

    func order(_ index: Int, _ command: OperatorCommand) {
        given.insert(command)
        log("\(replicas[index].instance) is told: \(command)")
        let ticket = Ticket(nextTicket)
        nextTicket += 1
        switch command {
        case .consent:
            let serial = server.connect(now: time)
            connecting.insert(server.tokens[serial].family)
            let event = Event.consentArrives(
                replica: index, life: replicas[index].life, serial: serial, sentAt: replicas[index].moment(at: time))
            schedule(after: dice.between(20, 3000), event)
        case .revoke:
            remember(ticket, index, command)
            step(index) { $0.revokeRequested(ticket, now: $1) }
            checkStopped(index, ticket)
        case .forget:
            remember(ticket, index, command)
            step(index) { $0.forgetRequested(ticket, now: $1) }
            checkStopped(index, ticket)
        case .refresh:
            remember(ticket, index, command)
            step(index) { $0.refreshRequested(ticket, now: $1) }
        case .importGood, .importBad:
            remember(ticket, index, command)
            let serial = server.connect(now: time)
            let family = server.tokens[serial].family
            if command == .importBad { server.deadFamilies.insert(family) }
            connecting.insert(family)
            step(index) { $0.importRequested(refreshToken: Secret("r\(serial)"), ticket: ticket, now: $1) }
        }
    }

    private func remember(_ ticket: Ticket, _ index: Int, _ command: OperatorCommand) {
        let machine = replicas[index].machine
        let isInformed = machine.record == stored && machine.changes.isEmpty && machine.load == nil
        replicas[index].orders[ticket] = .init(
            command: command, since: time, family: family(of: stored), isInformed: isInformed,
            isEarly: !machine.isLoaded)
    }

    func consentArrives(_ index: Int, _ life: Int, _ serial: Int, _ sentAt: Moment, _ event: Event) {
        guard replicas[index].life == life, replicas[index].isAlive else { return server.tokens[serial].fate = .lost }
        guard isPresent(index, life, event) else { return }
        let ticket = Ticket(nextTicket)
        nextTicket += 1
        remember(ticket, index, .consent)
        server.tokens[serial].fate = .held(by: life)
        replicas[index].own.insert("a\(serial)")
        step(index) { [tokens = server.firstReply(serial)] in
            $0.authorizationGranted(tokens, sentAt: sentAt, ticket: ticket, now: $1)
        }
    }

    /// Injection stops here and now.
    private func checkStopped(_ index: Int, _ ticket: Ticket) {
        guard replicas[index].isAlive, let order = replicas[index].orders[ticket], !order.isEarly else { return }
        check(replicas[index].published == nil, "\(order.command) was asked for, and a credential is still published")
    }

    func orderFinished(_ index: Int, _ ticket: Ticket, _ result: TicketResult) {
        guard let order = replicas[index].orders.removeValue(forKey: ticket) else {
            return check(false, "a command is answered that nobody waits for: \(result)")
        }
        log("\(replicas[index].instance) answers to \(order.command): \(result)")
        checkPatience(index, order)
        switch (order.command, result) {
        case (.revoke, .revocation(.nothingToRevoke)):
            check(!order.isInformed || isOver(order), "there is nothing to revoke, it says, and there is")
        case (.revoke, .revocationNotStored), (.revoke, .revocationNotDone), (.forget, .forgetFailed): break
        case (.revoke, .revocation), (.forget, .forgotten):
            check(isOver(order), "\(order.command) is confirmed, and the store does not know")
            if result == .forgotten {
                beginningsEnded(at: replicas[index])
                replicas[index].flight?.isAbandoned = true
            }
        case (.refresh, .refreshed), (.refresh, .refreshFailed): break
        case (.importGood, .imported), (.consent, .connected): break
        case (.importGood, .importFailed), (.importBad, .importFailed), (.importGood, .consentNotStored): break
        case (.consent, .consentNotStored): break
        default: check(false, "\(order.command) ends with \(result)")
        }
    }

    /// What the grant had when the command was given is not the grant's any more.
    private func isOver(_ order: Replica.Order) -> Bool {
        order.family.map { ended[$0] != nil || family(of: stored) != $0 } ?? true
    }

    /// Every command is answered in bounded time.
    private func checkPatience(_ index: Int, _ order: Replica.Order) {
        let stall = replicas[index].stalledUntil > order.since ? 400_000 as Int64 : 0
        let early = order.isEarly ? 400_000 as Int64 : 0
        let limit = Self.waitLimit(scenario) * Int64(scenario.replicas) + 60_000 + stall + early + storeTrouble
        check(time - order.since <= limit, "\(order.command) waits \(time - order.since) ms for its answer")
    }

    // MARK: Revocation calls

    func revoke(_ index: Int, _ call: RevocationCall) {
        log("\(replicas[index].instance) revokes \(call.token.reveal())")
        check(given.contains(.revoke), "a revocation that nobody asked for")
        let life = replicas[index].life
        let lost = RevocationCallResult.failed(ProviderProblem(.replyLost(.timeout)))
        let fault = isRough && dice.once(in: scenario.revocationFault) ? dice.roll(3) : 3
        let arrival = fault == 2 ? dice.between(3000, 20_000) : dice.between(5, 200)
        if fault == 0 {
            schedule(after: 50, .revocationReply(replica: index, life: life, call.id, lost))
        } else {
            schedule(
                after: arrival, .revocationArrives(replica: index, life: life, call, isAnswered: fault != 1))
            if fault == 1 { schedule(after: 5000, .revocationReply(replica: index, life: life, call.id, lost)) }
        }
    }

    func serverRevokes(_ index: Int, _ life: Int, _ call: RevocationCall, _ isAnswered: Bool) {
        var result = RevocationCallResult.revoked
        if serverIsAway {
            result = .failed(ProviderProblem(.transient, code: "http_503", detail: "", status: 503))
        } else {
            server.revoke(call.token.reveal())
            log("the server revokes \(call.token.reveal())")
        }
        guard isAnswered else { return }
        schedule(after: dice.between(5, 200), .revocationReply(replica: index, life: life, call.id, result))
    }

    // MARK: What must hold

    func family(of record: GrantRecord?) -> Int? {
        guard let tokens = record?.tokens else { return nil }
        return server.tokens[ModelServer.serial(tokens.accessToken)].family
    }

    /// All that the grant has is over; what a consent or an import is about to bring is not the grant's yet.
    func tokensEnded() {
        for family in 0..<server.families
        where !connecting.contains(family) && !isUnknowing(family) && !isUntold(family) {
            end(family)
        }
        overtaking = (stored == nil ? storeRevision + 1 : storeRevision, time)
    }

    /// An unattended grant has asked for these tokens without an intent, since the store failed, at a replica that knows
    /// of no record: nothing tells it that there was one and that it was deleted, for the store keeps nothing of what is
    /// deleted. That is as if the call had been made a moment after the deletion: the tokens never were in the record
    /// that was deleted, and the next request would ask for such anyway. Who knew of a record, who was told to forget it
    /// himself, and what was stored once are no excuse.
    private func isUnknowing(_ family: Int) -> Bool {
        guard stored == nil, let life = beginnings[family] else { return false }
        return replicas.contains { $0.life == life && $0.isAlive && $0.machine.record.revision == 0 }
    }

    /// A consent was stored and reported as not stored, and was deleted before the replica, which knew of no record, had
    /// heard that it was there: it stores it still. Its operator was told that it does.
    private func isUntold(_ family: Int) -> Bool {
        guard stored == nil else { return false }
        return replicas.contains { replica in
            guard replica.isAlive, replica.machine.record.revision == 0 else { return false }
            return replica.machine.changes.contains { change in
                guard case .consented(let tokens, _, _, _, nil) = change else { return false }
                return server.tokens[ModelServer.serial(tokens.accessToken)].family == family
            }
        }
    }

    /// A replica hears of a deletion while its call for an import is under way: what comes of that is ended, too.
    func endImportUnderWay(_ index: Int) {
        guard let call = replicas[index].flight?.call, call.isImport, let token = tokenSent(call) else { return }
        let family = server.tokens[ModelServer.serial(token)].family
        connecting.remove(family)
        end(family)
    }

    private func beginningsEnded(at replica: Replica) {
        for (family, life) in beginnings where life == replica.life { end(family) }
    }

    private func end(_ family: Int) {
        if ended[family] == nil { ended[family] = End(at: time, storeTrouble: storeTrouble) }
        beginnings[family] = nil
    }

    /// A record is stored.
    func checkOrders(_ record: GrantRecord, before: GrantRecord?) {
        if record.state == .revoked, before?.state != .revoked {
            check(given.contains(.revoke), "the grant is revoked, and nobody asked for it")
            tokensEnded()
        }
        if let family = family(of: record) {
            check(ended[family] == nil, "what an operator has ended is stored again: \(record)")
            beginnings[family] = nil
            if connecting.remove(family) != nil { overtaking = (storeRevision, time) }
        }
        // An import does not wait for one that began before it where there is nothing to refresh.
        if let intent = record.intent, let other = before?.intent, other != intent,
            before?.state != .active || before?.tokens?.refreshToken == nil
        {
            overtaking = (storeRevision, time)
        }
        checkOwed(record, before: before)
    }

    /// A revocation is owed until the server has had it, or a new consent makes it pointless.
    private func checkOwed(_ record: GrantRecord, before: GrantRecord?) {
        guard let before, record.state == .revoked else { return }
        var owed = before.revocation?.tokens.map { $0.token.reveal() } ?? []
        if let tokens = before.tokens {
            owed.append(tokens.accessToken.reveal())
            if let token = tokens.refreshToken { owed.append(token.reveal()) }
        }
        let kept = Set(record.revocation?.tokens.map { $0.token.reveal() } ?? [])
        for token in owed where !kept.contains(token) {
            check(server.revoked.contains(token), "the revocation of \(token) is lost")
        }
    }

    /// Has what was stored at `since` not been heard of by a replica that polls, as far as it could?
    func isUnheard(_ index: Int, since: Int64, trouble: Int64) -> Bool {
        guard scenario.polls, !storeIsAway else { return true }
        let stalled = replicas[index].stalledUntil <= time ? replicas[index].stalledUntil : time
        return time <= max(since, storeReturnedAt, stalled) + 30_000 + storeTrouble - trouble
    }

    /// Once the news is everywhere nobody uses what an operator has ended.
    func checkEnd(_ index: Int, _ credential: Credential, _ what: String) {
        let value = token(of: credential)
        guard let end = ended[server.tokens[ModelServer.serial(value)].family] else { return }
        check(
            isUnheard(index, since: end.at, trouble: end.storeTrouble),
            "\(value) is \(what) although an operator ended it \(time - end.at) ms ago")
    }
}
