import Testing

@testable import OAuth

struct StaticTokenTests {
    private func token(_ actions: [StaticTokenMachine.Action]) -> String? {
        for action in actions {
            if case .publish(let credential?) = action {
                return String(decoding: credential.headerValue, as: UTF8.self)
            }
        }
        return nil
    }

    @Test func `the file's token is published, trimmed, with a generation that grows when it changes`() {
        var machine = StaticTokenMachine(name: "billing")
        #expect(machine.started() == [.readFile])
        #expect(token(machine.fileRead(Array(" tok1\r\n".utf8))) == "Bearer tok1")
        #expect(machine.fileChanged() == [.readFile])
        #expect(machine.fileRead(Array("tok1".utf8)) == [])
        _ = machine.fileChanged()
        #expect(token(machine.fileRead(Array("tok2\n".utf8))) == "Bearer tok2")
        #expect(machine.credential?.generation == 2)
    }

    @Test(arguments: ["a b", "a\nb", "a\u{0}", "ä", String(repeating: "x", count: 40_000)])
    func `what is no token is refused, and the one before goes on`(text: String) {
        var machine = StaticTokenMachine(name: "billing")
        _ = machine.started()
        #expect(machine.fileRead(Array(text.utf8)) == [.note(.notAToken)])
        #expect(machine.credential == nil && machine.status().state == .notConnected)
        _ = machine.fileChanged()
        _ = machine.fileRead(Array("good".utf8))
        _ = machine.fileChanged()
        #expect(machine.fileRead([]) == [.note(.empty)])
        _ = machine.fileChanged()
        #expect(machine.fileUnreadable() == [.note(.unreadable)])
        #expect(machine.credential?.generation == 1)
        #expect(machine.status().reason == "unreadable")
    }

    @Test func `a rejected token is looked for in the file once, for all who saw it`() {
        var machine = StaticTokenMachine(name: "billing", headerName: "X-Token", headerScheme: "")
        _ = machine.started()
        _ = machine.fileRead(Array("one".utf8))
        #expect(machine.credentialNeeded(WaiterID(1), rejected: 1) == [.readFile])
        #expect(machine.credentialNeeded(WaiterID(2), rejected: 1) == [])
        let unchanged = machine.fileRead(Array("one".utf8))
        #expect(
            unchanged == [WaiterID(1), WaiterID(2)].map { .answer($0, .unavailable(.noRefreshToken, retryAfter: nil)) })
        _ = machine.credentialNeeded(WaiterID(3), rejected: 1)
        let changed = machine.fileRead(Array("two".utf8))
        #expect(changed.count == 2 && token(changed) == "two")
        guard case .answer(WaiterID(3), .credential(let credential))? = changed.last else {
            Issue.record("not answered")
            return
        }
        #expect(credential.generation == 2)
        #expect(machine.credentialNeeded(WaiterID(4), rejected: 1) == [.answer(WaiterID(4), .credential(credential))])
    }

    @Test func `waiters are bounded and may leave`() {
        var machine = StaticTokenMachine(name: "billing", waiterLimit: 1)
        _ = machine.credentialNeeded(WaiterID(1))
        #expect(
            machine.credentialNeeded(WaiterID(2)) == [
                .answer(WaiterID(2), .unavailable(.tooManyWaiters, retryAfter: 1000))
            ])
        machine.waiterLeft(WaiterID(1))
        #expect(machine.fileUnreadable() == [.note(.unreadable)])
        _ = machine.credentialNeeded(WaiterID(3))
        #expect(machine.fileUnreadable() == [.answer(WaiterID(3), .unavailable(.notConnected, retryAfter: nil))])
    }
}
