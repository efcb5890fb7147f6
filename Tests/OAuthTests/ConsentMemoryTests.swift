import Testing

@testable import OAuth

@Suite struct ConsentMemoryTests {
    static let binding = Secret("0123456789abcdef0123456789abcdef")
    static let now = Moment(monotonic: 1_000, wall: 1_700_000_000_000)
    static let state = String(repeating: "S", count: 43)

    static func memory(_ outcome: ConsentOutcome?) -> ConsentMemory {
        ConsentMemory(bindingHash: PendingConsent.bindingHash(binding), outcome: outcome)
    }

    private static let report = ConsentReport(scopes: ["a"], missingScopes: ["b"], warnings: ["w"])
    static let outcomes: [ConsentOutcome] = [
        .connected(grant: "zoho:acme", report), .notStored(grant: "crm"), .refused(grant: "crm", .noRefreshToken),
        .refused(grant: "crm", .missingScopes(["x", "y"])),
        .refused(grant: "crm", .wrongAccount(received: "a", expected: "b")), .refused(grant: "crm", .accountUnknown),
        .deniedByProvider(grant: "crm", code: "access_denied", description: "no"),
        .deniedByProvider(grant: "crm", code: "access_denied", description: nil),
        .exchangeFailed(grant: "crm", ProviderProblem(.configuration, code: "invalid_client", detail: "wrong")),
        .rejected(.otherIssuer),
    ]

    @Test(arguments: outcomes) func `an outcome is read as it was written`(outcome: ConsentOutcome) {
        let memory = Self.memory(outcome)
        #expect(ConsentMemory(payload: memory.encoded()) == memory)
        #expect(ConsentMemory(payload: Self.memory(nil).encoded()) == Self.memory(nil))
    }

    @Test(arguments: [
        "", "{}", #"{"format":"2"}"#, #"{"format":"1","binding_hash":"x","kind":"browser","outcome":{}}"#,
    ])
    func `what was not written by us is nothing`(text: String) {
        #expect(ConsentMemory(payload: Array(text.utf8)) == nil)
    }

    private func arrival(binding: Secret?) -> (AuthorizationMachine, key: String) {
        var machine = AuthorizationMachine()
        let actions = machine.callbackReceived(
            CallbackID(1), query: "code=c&state=\(Self.state)", binding: binding, now: Self.now)
        let key = PendingConsent.key(forState: Self.state)
        #expect(actions == [.takePending(key: key)])
        return (machine, key)
    }

    @Test func `a second callback at another replica is shown the first one's outcome`() {
        var (machine, key) = arrival(binding: Self.binding)
        let outcome = ConsentOutcome.connected(grant: "crm", Self.report)
        #expect(
            machine.memoryFound(key: key, Self.memory(outcome), now: Self.now) == [.show(CallbackID(1), outcome)])
    }

    @Test(arguments: [nil, Secret("another browser, another cookie ")])
    func `another browser learns nothing of it`(binding: Secret?) {
        var (machine, key) = arrival(binding: binding)
        let outcome = ConsentOutcome.connected(grant: "crm", Self.report)
        #expect(
            machine.memoryFound(key: key, Self.memory(outcome), now: Self.now)
                == [.show(CallbackID(1), .rejected(.unknownState))])
    }

    @Test func `while the other replica exchanges the code it is waited for, but not for ever`() {
        var (machine, key) = arrival(binding: Self.binding)
        #expect(
            machine.memoryFound(key: key, Self.memory(nil), now: Self.now) == [.lookAgain(key: key, after: 250)])
        #expect(machine.lookDue(key: key) == [.takePending(key: key)])
        let late = Moment(monotonic: Self.now.monotonic + 40_000, wall: Self.now.wall + 40_000)
        #expect(
            machine.memoryFound(key: key, Self.memory(nil), now: late)
                == [.show(CallbackID(1), .rejected(.unknownState))])
        #expect(machine.lookDue(key: key).isEmpty)
    }
}
