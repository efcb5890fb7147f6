import Proxy
import Testing

typealias Action = ExchangeMachine.Action
typealias Phase = ExchangeMachine.Phase

/// What can happen to an exchange. The first attempt carries generation 7.
enum Event: CaseIterable, Sendable {
    case routed, newCredential, sameCredential, unchanged, unavailable, notConnected, connection, connectionFailed
    case answer, rejection, lost, credentialTimeout, upstreamTimeout, refused, callerLeft, completed

    func happen(to machine: inout ExchangeMachine) -> Action {
        switch self {
        case .routed: machine.requestRouted()
        case .newCredential: machine.credentialReady(generation: 8)
        case .sameCredential: machine.credentialReady(generation: 7)
        case .unchanged: machine.credentialUnavailable(.unchanged)
        case .unavailable: machine.credentialUnavailable(.unavailable(retryAfter: 5))
        case .notConnected: machine.credentialUnavailable(.notConnected)
        case .connection: machine.connectionReady(reused: false)
        case .connectionFailed: machine.connectionFailed(.upstreamUnreachable)
        case .answer: machine.responseHeadReceived(isRejection: false, challenge: true, replayable: true)
        case .rejection: machine.responseHeadReceived(isRejection: true, challenge: true, replayable: true)
        case .lost: machine.upstreamLost(.upstreamProtocol, untouched: true, replayable: true)
        case .credentialTimeout: machine.timedOut(.tokenUnavailable)
        case .upstreamTimeout: machine.timedOut(.upstreamTimeout)
        case .refused: machine.requestRefused(.bodyTooLarge)
        case .callerLeft: machine.callerLeft()
        case .completed: Self.complete(&machine)
        }
    }

    private static func complete(_ machine: inout ExchangeMachine) -> Action {
        machine.responseCompleted()
        return .none
    }
}

/// A machine after `events`.
func machine(needsCredential: Bool = true, isIdempotent: Bool = true, after events: Event...) -> ExchangeMachine {
    var machine = ExchangeMachine(needsCredential: needsCredential, isIdempotent: isIdempotent)
    for event in events { _ = event.happen(to: &machine) }
    return machine
}

@Suite struct ExchangeMachineTests {
    static let phases: [ExchangeMachine] = [
        machine(),
        machine(after: .routed),
        machine(after: .routed, .sameCredential),
        machine(after: .routed, .sameCredential, .connection),
        machine(after: .routed, .sameCredential, .connection, .rejection),
        machine(after: .routed, .sameCredential, .connection, .answer),
        machine(after: .callerLeft),
    ]

    /// What an event does in each phase, in the order of ``phases``; nil: nothing.
    static func outcomes(_ event: Event) -> [(Action, Phase)?] {
        let open: (Action, Phase) = (.openAttempt(newConnection: false), .waitingForConnection)
        let forward: (Action, Phase) = (.forwardResponse(report: nil), .responding)
        func fail(_ error: GatewayError, _ retryAfter: UInt32 = 0) -> (Action, Phase) {
            (.fail(error, retryAfter: retryAfter), .finished)
        }
        func failOrAbort(_ error: GatewayError) -> [(Action, Phase)?] {
            Array(repeating: fail(error), count: 5) + [(.abort(error), .finished), nil]
        }
        return switch event {
        case .routed: [(.needCredential(rejected: nil), .waitingForCredential), nil, nil, nil, nil, nil, nil]
        case .newCredential: [nil, open, nil, nil, (.retry, .waitingForConnection), nil, nil]
        case .sameCredential: [nil, open, nil, nil, forward, nil, nil]
        case .unchanged: [nil, fail(.tokenUnavailable, 1), nil, nil, forward, nil, nil]
        case .unavailable: [nil, fail(.tokenUnavailable, 5), nil, nil, fail(.tokenUnavailable, 5), nil, nil]
        case .notConnected: [nil, fail(.notConnected), nil, nil, fail(.notConnected), nil, nil]
        case .connection: [nil, nil, (.sendRequest, .sending), nil, nil, nil, nil]
        case .connectionFailed: [nil, nil, fail(.upstreamUnreachable), nil, nil, nil, nil]
        case .answer: [nil, nil, nil, forward, nil, nil, nil]
        case .rejection: [nil, nil, nil, (.hold(rejected: 7), .holding), nil, nil, nil]
        case .lost: [nil, nil, nil, fail(.upstreamProtocol), nil, (.abort(.upstreamProtocol), .finished), nil]
        case .credentialTimeout:
            Array(repeating: fail(.tokenUnavailable, 1), count: 4)
                + [forward, (.abort(.tokenUnavailable), .finished), nil]
        case .upstreamTimeout: failOrAbort(.upstreamTimeout)
        case .refused: failOrAbort(.bodyTooLarge)
        case .callerLeft: Array(repeating: (.cancel, .finished), count: 6) + [nil]
        case .completed: Array(repeating: (.none, .finished), count: 7)
        }
    }

    @Test(arguments: Event.allCases)
    func `each event has its effect in each phase and none in the others`(event: Event) {
        let outcomes = Self.outcomes(event)
        #expect(outcomes.count == Self.phases.count)
        for (start, outcome) in zip(Self.phases, outcomes) {
            var machine = start
            let action = event.happen(to: &machine)
            #expect(action == outcome?.0 ?? .none, "\(event) while \(start.phase)")
            #expect(machine.phase == outcome?.1 ?? start.phase, "\(event) while \(start.phase)")
        }
    }

    @Test func `the phases of the table are all phases`() {
        let phases: [Phase] = [
            .routed, .waitingForCredential, .waitingForConnection, .sending, .holding, .responding, .finished,
        ]
        #expect(Self.phases.map(\.phase) == phases)
    }

    @Test func `a route without a grant asks for no credential and forwards a rejection`() {
        var machine = ExchangeMachine(needsCredential: false, isIdempotent: true)
        #expect(machine.requestRouted() == .openAttempt(newConnection: false))
        #expect(machine.connectionReady(reused: false) == .sendRequest)
        #expect(Event.rejection.happen(to: &machine) == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == nil)
        #expect(machine.generation == nil)
    }

    @Test func `a rejection is retried once with another generation`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        #expect(machine.generation == 7)
        #expect(machine.attempt == 1)
        #expect(machine.credentialReady(generation: 8) == .retry)
        #expect(machine.generation == 8)
        #expect(machine.attempt == 2)
        #expect(machine.connectionReady(reused: true) == .sendRequest)
        #expect(Event.answer.happen(to: &machine) == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == .succeeded)
    }

    @Test func `the second answer is forwarded whatever it is`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection, .newCredential, .connection)
        #expect(Event.rejection.happen(to: &machine) == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == .rejectedAgain)
        #expect(machine.credentialReady(generation: 9) == .none)
        #expect(machine.attempt == 2)
    }

    @Test func `the same generation is never sent twice`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        #expect(machine.credentialReady(generation: 7) == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == .unchanged)
        #expect(machine.attempt == 1)
    }

    @Test func `a challenge that is not about a token causes no refresh`() {
        var machine = machine(after: .routed, .sameCredential, .connection)
        let action = machine.responseHeadReceived(isRejection: true, challenge: false, replayable: true)
        #expect(action == .forwardResponse(report: nil))
        #expect(machine.retryOutcome == .otherChallenge)
    }

    @Test func `content that is not kept passes the rejection on and reports the generation`() {
        var machine = machine(after: .routed, .sameCredential, .connection)
        let action = machine.responseHeadReceived(isRejection: true, challenge: true, replayable: false)
        #expect(action == .forwardResponse(report: 7))
        #expect(machine.retryOutcome == .skippedBody)
    }

    @Test(arguments: [
        (CredentialRefusal.unavailable(retryAfter: 0), GatewayError.tokenUnavailable, UInt32(1)),
        (.unavailable(retryAfter: 30), .tokenUnavailable, 30), (.unchanged, .tokenUnavailable, 1),
        (.notConnected, .notConnected, 0), (.reauthorizationRequired, .reauthorizationRequired, 0),
        (.configurationError, .configurationError, 0),
    ])
    func `a refusal of the credential becomes an error of ours`(
        refusal: CredentialRefusal, error: GatewayError, retryAfter: UInt32
    ) {
        var waiting = machine(after: .routed)
        #expect(waiting.credentialUnavailable(refusal) == .fail(error, retryAfter: retryAfter))
        var holding = machine(after: .routed, .sameCredential, .connection, .rejection)
        let isForwarded = refusal == .unchanged
        let expected: Action = isForwarded ? .forwardResponse(report: nil) : .fail(error, retryAfter: retryAfter)
        #expect(holding.credentialUnavailable(refusal) == expected)
        #expect(holding.retryOutcome == (isForwarded ? .unchanged : .unavailable))
    }

    @Test(arguments: [Event.unchanged, .sameCredential, .credentialTimeout])
    func `a held answer that was lost is not forwarded`(event: Event) {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection, .lost)
        #expect(machine.phase == .holding)
        #expect(event.happen(to: &machine) == .fail(.tokenUnavailable, retryAfter: 1))
        #expect(machine.phase == .finished)
    }

    @Test func `a held answer that was lost is retried all the same`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection, .lost)
        #expect(machine.credentialReady(generation: 8) == .retry)
    }

    @Test func `the deadline of the exchange ends a held answer with an error`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        #expect(machine.timedOut(.upstreamTimeout) == .fail(.upstreamTimeout, retryAfter: 0))
    }

    /// reused, untouched, replayable, idempotent: repeated only when all are true.
    @Test(arguments: 0..<16)
    func `a dead reused connection is replaced only for what may be repeated`(bits: Int) {
        let (reused, untouched) = (bits & 1 != 0, bits & 2 != 0)
        let (replayable, idempotent) = (bits & 4 != 0, bits & 8 != 0)
        var machine = machine(isIdempotent: idempotent, after: .routed, .sameCredential)
        _ = machine.connectionReady(reused: reused)
        let action = machine.upstreamLost(.upstreamProtocol, untouched: untouched, replayable: replayable)
        #expect(
            action == (bits == 15 ? .openAttempt(newConnection: true) : .fail(.upstreamProtocol, retryAfter: 0)))
        #expect(machine.attempt == 1)
    }

    @Test func `a reused connection is replaced once for each attempt`() {
        var machine = machine(after: .routed, .sameCredential)
        _ = machine.connectionReady(reused: true)
        #expect(Event.lost.happen(to: &machine) == .openAttempt(newConnection: true))
        #expect(machine.connectionReady(reused: true) == .sendRequest)
        #expect(Event.rejection.happen(to: &machine) == .hold(rejected: 7))
        #expect(Event.newCredential.happen(to: &machine) == .retry)
        #expect(machine.connectionReady(reused: true) == .sendRequest)
        #expect(Event.lost.happen(to: &machine) == .openAttempt(newConnection: true))
        #expect(machine.connectionReady(reused: true) == .sendRequest)
        #expect(Event.lost.happen(to: &machine) == .fail(.upstreamProtocol, retryAfter: 0))
        #expect(machine.attempt == 2)
    }

    @Test func `each outcome of the retry has its own label`() {
        let labels = RetryOutcome.allCases.map { $0.label.description }
        #expect(Set(labels).count == labels.count)
        #expect(labels.allSatisfy { $0.allSatisfy { $0.isLowercase || $0 == "_" } })
    }
}

/// Any events in any order, those that no driver would send included.
@Suite struct ExchangeWalkTests {
    /// What a walk has seen.
    private struct Record {
        var ends = 0
        var forwards = 0
        var holds = 0
        var retries = 0
        var nonces = 0
        var sends = 0
        var connections = 0
        var generations: [UInt64?] = []
        var trace: [String] = []
    }

    @Test(arguments: 0..<4)
    func `whatever happens, an exchange ends once and sends at most two generations`(options: Int) {
        var random = SeededRandom(seed: UInt64(options) + 1)
        for _ in 0..<5_000 {
            walk(needsCredential: options & 1 != 0, isIdempotent: options & 2 != 0, &random)
        }
    }

    private func walk(needsCredential: Bool, isIdempotent: Bool, _ random: inout SeededRandom) {
        var machine = ExchangeMachine(needsCredential: needsCredential, isIdempotent: isIdempotent)
        var record = Record()
        note(machine.requestRouted(), machine, &record)
        for _ in 0..<40 {
            let wasFinished = machine.phase == .finished
            let attempt = machine.attempt
            let action = step(&machine, &random, &record)
            #expect(!wasFinished || action == .none, "\(record.trace)")
            #expect(machine.attempt == attempt || (action == .retry && machine.attempt == 2), "\(record.trace)")
            note(action, machine, &record)
        }
        if machine.phase != .finished { note(machine.callerLeft(), machine, &record) }
        check(record, machine, needsCredential: needsCredential, isIdempotent: isIdempotent)
    }

    private func step(
        _ machine: inout ExchangeMachine, _ random: inout SeededRandom, _ record: inout Record
    ) -> Action {
        let coin = Bool.random(using: &random)
        let other = Bool.random(using: &random)
        let errors: [GatewayError] = [.tokenUnavailable, .upstreamTimeout, .overloaded]
        let kind = Int.random(in: 0..<13, using: &random)
        record.trace.append("\(kind)\(coin ? "+" : "-")\(other ? "+" : "-")")
        // Ends are rarer, so that walks get far.
        switch kind {
        case 0, 1: return machine.credentialReady(generation: UInt64.random(in: 1...3, using: &random))
        case 2: return machine.credentialUnavailable(coin ? .unchanged : .unavailable(retryAfter: 0))
        case 3, 4, 5: return machine.connectionReady(reused: coin)
        case 6, 7:
            let wantsNonce = coin && Bool.random(using: &random)
            return machine.responseHeadReceived(
                isRejection: true, challenge: coin || other, replayable: other, wantsNonce: wantsNonce)
        case 8: return machine.responseHeadReceived(isRejection: false, challenge: coin, replayable: other)
        case 9: return machine.upstreamLost(.upstreamProtocol, untouched: coin, replayable: other)
        case 10: return coin && other ? machine.connectionFailed(.upstreamUnreachable) : machine.requestRouted()
        case 11: return coin && other ? machine.timedOut(errors.randomElement(using: &random)!) : .none
        default:
            if coin && other { return machine.requestRefused(.malformedRequest) }
            if machine.phase == .responding && coin { machine.responseCompleted() }
            return .none
        }
    }

    private func note(_ action: Action, _ machine: ExchangeMachine, _ record: inout Record) {
        record.trace.append("\(action)")
        switch action {
        case .none, .needCredential: break
        case .openAttempt: record.connections += 1
        case .retry:
            record.retries += 1
            record.connections += 1
        case .retryWithNonce:
            record.nonces += 1
            record.connections += 1
        case .sendRequest:
            record.sends += 1
            #expect(record.sends == record.connections, "\(record.trace)")
            if record.generations.last != machine.generation { record.generations.append(machine.generation) }
        case .hold: record.holds += 1
        case .forwardResponse:
            record.forwards += 1
            #expect(record.sends > 0 && machine.phase == .responding, "\(record.trace)")
        case .fail(let error, let retryAfter):
            record.ends += 1
            #expect(record.forwards == 0, "\(record.trace)")
            #expect((error == .tokenUnavailable) == (retryAfter > 0), "\(record.trace)")
        case .abort:
            record.ends += 1
            #expect(record.forwards == 1, "\(record.trace)")
        case .cancel: record.ends += 1
        }
    }

    private func check(_ record: Record, _ machine: ExchangeMachine, needsCredential: Bool, isIdempotent: Bool) {
        #expect(machine.phase == .finished)
        #expect(
            record.forwards <= 1 && record.holds <= 1 && record.retries <= 1 && record.nonces <= 1, "\(record.trace)")
        #expect(record.ends == 1 || (record.ends == 0 && record.forwards == 1), "\(record.trace)")
        #expect(machine.attempt == record.retries + 1)
        #expect(record.generations.count <= 2, "\(record.trace)")
        #expect(record.sends <= (Int(machine.attempt) + record.nonces) * (isIdempotent ? 2 : 1), "\(record.trace)")
        if !needsCredential {
            #expect(record.retries + record.nonces == 0 && machine.generation == nil, "\(record.trace)")
        }
    }
}
