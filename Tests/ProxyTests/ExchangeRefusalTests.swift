import Proxy
import Testing

/// What HTTP/2 adds to the ends of an attempt: refused streams, and streams that end before the request's content.
@Suite struct ExchangeRefusalTests {
    private func lose(
        _ machine: inout ExchangeMachine, untouched: Bool = true, replayable: Bool = true, refused: Bool = true
    ) -> Action {
        machine.upstreamLost(.upstreamProtocol, untouched: untouched, replayable: replayable, refused: refused)
    }

    /// A machine whose request is being sent.
    private func sending(isIdempotent: Bool, reused: Bool) -> ExchangeMachine {
        var machine = machine(isIdempotent: isIdempotent, after: .routed, .sameCredential)
        _ = machine.connectionReady(reused: reused)
        return machine
    }

    struct Case: Sendable {
        var isIdempotent: Bool
        var reused: Bool
        var untouched = true
        var replayable = true
        var refused: Bool
        var retried: Bool
    }

    @Test(arguments: [
        Case(isIdempotent: true, reused: true, refused: true, retried: true),
        Case(isIdempotent: false, reused: true, refused: true, retried: true),
        Case(isIdempotent: false, reused: false, refused: true, retried: true),
        Case(isIdempotent: true, reused: false, refused: true, retried: true),
        Case(isIdempotent: false, reused: true, refused: false, retried: false),
        Case(isIdempotent: true, reused: false, refused: false, retried: false),
        Case(isIdempotent: true, reused: true, refused: false, retried: true),
        Case(isIdempotent: true, reused: true, replayable: false, refused: true, retried: false),
        Case(isIdempotent: false, reused: true, untouched: false, refused: true, retried: false),
        Case(isIdempotent: true, reused: true, untouched: false, refused: false, retried: false),
    ])
    func `what was certainly not processed is sent again, whatever the method and the connection`(row: Case) {
        var machine = sending(isIdempotent: row.isIdempotent, reused: row.reused)
        let action = lose(&machine, untouched: row.untouched, replayable: row.replayable, refused: row.refused)
        if row.retried {
            #expect(action == .openAttempt(newConnection: !row.refused))
            #expect(machine.phase == .waitingForConnection && machine.attempt == 1)
        } else {
            #expect(action == .fail(.upstreamProtocol, retryAfter: 0))
        }
    }

    @Test(arguments: [true, false])
    func `two refusals are borne and the third is not`(isIdempotent: Bool) {
        var machine = sending(isIdempotent: isIdempotent, reused: false)
        for _ in 0..<2 {
            #expect(lose(&machine) == .openAttempt(newConnection: false))
            #expect(machine.connectionReady(reused: false) == .sendRequest)
        }
        #expect(lose(&machine) == .fail(.upstreamProtocol, retryAfter: 0))
        #expect(machine.phase == .finished)
    }

    @Test func `refusals are counted for the exchange, not for the attempt`() {
        var machine = sending(isIdempotent: false, reused: false)
        _ = lose(&machine)
        _ = machine.connectionReady(reused: false)
        _ = Event.rejection.happen(to: &machine)
        #expect(machine.credentialReady(generation: 8) == .retry)
        _ = machine.connectionReady(reused: false)
        #expect(lose(&machine) == .openAttempt(newConnection: false))
        _ = machine.connectionReady(reused: false)
        #expect(lose(&machine) == .fail(.upstreamProtocol, retryAfter: 0))
    }

    @Test func `a refusal does not use up the retry for a connection that was dead`() {
        var machine = sending(isIdempotent: true, reused: true)
        #expect(lose(&machine) == .openAttempt(newConnection: false))
        _ = machine.connectionReady(reused: true)
        #expect(lose(&machine, refused: false) == .openAttempt(newConnection: true))
        _ = machine.connectionReady(reused: true)
        #expect(lose(&machine, refused: false) == .fail(.upstreamProtocol, retryAfter: 0))
    }

    // MARK: Responses that are whole

    @Test func `a stream that breaks off behind a whole response is a normal end`() {
        var machine = sending(isIdempotent: false, reused: true)
        _ = Event.answer.happen(to: &machine)
        machine.responseEnded()
        #expect(lose(&machine, untouched: false, replayable: false, refused: false) == .none)
        #expect(machine.phase == .responding)
        machine.responseCompleted()
        #expect(machine.phase == .finished)
    }

    @Test func `a held response that is whole can be forwarded after its stream is gone`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        machine.responseEnded()
        #expect(lose(&machine, untouched: false, refused: false) == .none)
        #expect(machine.credentialUnavailable(.unchanged) == .forwardResponse(report: nil))
        #expect(lose(&machine, untouched: false, refused: false) == .none)
    }

    @Test func `a held response that is not whole cannot`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        #expect(lose(&machine, untouched: false, refused: false) == .none)
        #expect(machine.credentialUnavailable(.unchanged) == .fail(.tokenUnavailable, retryAfter: 1))
    }

    @Test func `the second attempt's response is not whole because the first one's was`() {
        var machine = machine(after: .routed, .sameCredential, .connection, .rejection)
        machine.responseEnded()
        #expect(machine.credentialReady(generation: 8) == .retry)
        _ = machine.connectionReady(reused: false)
        #expect(lose(&machine, refused: false) == .fail(.upstreamProtocol, retryAfter: 0))
    }

    @Test(arguments: [[], [Event.routed], [.routed, .sameCredential], [.routed, .sameCredential, .connection]])
    func `without a response there is none to be whole`(events: [Event]) {
        var machine = ExchangeMachine(needsCredential: true, isIdempotent: true)
        for event in events { _ = event.happen(to: &machine) }
        let phase = machine.phase
        machine.responseEnded()
        #expect(machine.phase == phase)
        if phase == .sending { #expect(lose(&machine, refused: false) == .fail(.upstreamProtocol, retryAfter: 0)) }
    }
}
