import Foundation
import Testing

@testable import TokenStore

/// Names, times and revisions: what is asked of a store with many grants.
@Suite struct ManyGrantsTests {
    let scratch = Scratch()

    @Test(arguments: Backend.allCases)
    func `names come a page at a time in the order of their bytes, and only live ones`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for name in ["zoho:b", "zoho:a", "zoho:ä", "zoho;", "zoho", "crm", "zoho:a.1", "zoho:gone", "Zoho:x"] {
            _ = try store.commit(grant: name, payload: [1], ifGeneration: 0)
        }
        _ = try store.remove(grant: "zoho:gone", ifGeneration: nil)
        #expect(try store.names(prefix: "zoho:", after: nil, limit: 2) == ["zoho:a", "zoho:a.1"])
        #expect(try store.names(prefix: "zoho:", after: "zoho:a.1", limit: 9) == ["zoho:b", "zoho:ä"])
        #expect(try store.names(prefix: "zoho:", after: "zoho:ä", limit: 9) == [])
        #expect(
            try store.names(prefix: "", after: nil, limit: 99)
                == ["Zoho:x", "crm", "zoho", "zoho:a", "zoho:a.1", "zoho:b", "zoho:ä", "zoho;"])
        #expect(try store.names(prefix: "", after: "crm", limit: 1) == ["zoho"])
        #expect(try store.names(prefix: "", after: nil, limit: 0) == [])
        #expect(try store.count(prefix: "zoho:") == 4)
        #expect(try store.count(prefix: "") == 8)
        #expect(try store.count(prefix: "nobody") == 0)
    }

    @Test(arguments: [
        ("zoho:", "zoho;"), ("", nil), ("a\u{10FFFF}", "b"), ("\u{10FFFF}", nil), ("\u{D7FF}", "\u{E000}"), ("ä", "å"),
    ])
    func `the end of a prefix is the first text after all that begin with it`(_ prefix: String, _ next: String?) {
        #expect(end(ofPrefix: prefix) == next)
    }

    @Test(arguments: Backend.allCases)
    func `the soonest due comes first, and a removed grant is never due`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        #expect(try store.nextDue() == nil)
        for (name, due) in [("a", Int64(300)), ("b", 100), ("c", nil), ("d", 200), ("e", 100), ("f", -5)] {
            _ = try store.commit(grant: name, payload: [1], ifGeneration: 0, dueAt: due)
        }
        func due(_ before: Int64, _ limit: Int = 9) throws -> [String] {
            try store.due(before: before, limit: limit).map { "\($0.grant) \($0.dueAt)" }
        }
        #expect(try due(200) == ["f -5", "b 100", "e 100", "d 200"])
        #expect(try due(199, 2) == ["f -5", "b 100"])
        #expect(try store.nextDue() == -5)
        _ = try store.remove(grant: "f", ifGeneration: nil)
        _ = try store.commit(grant: "b", payload: [2], ifGeneration: 1, dueAt: nil)
        _ = try store.commit(grant: "e", payload: [2], ifGeneration: 1, dueAt: 900)
        #expect(try store.nextDue() == 200)
        #expect(try due(.max) == ["d 200", "a 300", "e 900"])
        #expect(
            try store.due(after: DuePosition(dueAt: 200, grant: "d"), before: .max, limit: 9).map(\.grant) == [
                "a", "e",
            ])
        #expect(try store.due(after: DuePosition(dueAt: 200, grant: "c"), before: 299, limit: 9).map(\.grant) == ["d"])
        #expect(try store.nextDue(after: DuePosition(dueAt: 300, grant: "a")) == 900)
        #expect(try store.nextDue(after: DuePosition(dueAt: 300, grant: "A")) == 300)
        #expect(try store.nextDue(after: DuePosition(dueAt: .max, grant: "")) == nil)
        // A commit that lost changes no time either.
        _ = try store.commit(grant: "a", payload: [2], ifGeneration: 7, dueAt: 1)
        #expect(try store.nextDue() == 200)
    }

    @Test(arguments: Backend.allCases)
    func `revisions tell the generations of those that are there`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for name in ["a", "b", "gone"] { _ = try store.commit(grant: name, payload: [1], ifGeneration: 0) }
        _ = try store.commit(grant: "b", payload: [1], ifGeneration: 1)
        _ = try store.remove(grant: "gone", ifGeneration: nil)
        #expect(try store.revisions(of: ["a", "b", "gone", "never"]) == ["a": 1, "b": 2])
        #expect(try store.revisions(of: []) == [:])
    }

    @Test(arguments: Backend.allCases)
    func `grants are counted by the state that was committed with them`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        let made = [("t:a", "active"), ("t:b", "revoked"), ("t:c", "active"), ("t:gone", "active"), ("u", "x")]
        for (name, state) in made {
            _ = try store.commit(grant: name, payload: [1], ifGeneration: 0, terms: CommitTerms(state: state))
        }
        _ = try store.remove(grant: "t:gone", ifGeneration: nil)
        var page = try store.states(prefix: "t:", after: nil, limit: 9)
        #expect(page.states == ["active": 2, "revoked": 1] && page.count == 3 && page.last == nil)
        page = try store.states(prefix: "t:", after: nil, limit: 2)
        #expect(page.states == ["active": 1, "revoked": 1] && page.last == "t:b")
        page = try store.states(prefix: "t:", after: "t:b", limit: 2)
        #expect(page.states == ["active": 1] && page.count == 1 && page.last == nil)
        #expect(try store.states(prefix: "t:", after: "t:c", limit: 2) == StatePage())
        _ = try store.commit(grant: "t:a", payload: [2], ifGeneration: 1, terms: CommitTerms(state: "revoked"))
        #expect(try store.states(prefix: "t:", after: nil, limit: 9).states == ["active": 1, "revoked": 2])
        let revoked = try store.names(prefix: "t:", state: "revoked", after: nil, limit: 9)
        #expect(revoked == ["t:a", "t:b"])
        #expect(try store.names(prefix: "t:", state: "revoked", after: "t:a", limit: 9) == ["t:b"])
        #expect(try store.names(prefix: "t:", state: "revoked", after: nil, limit: 1) == ["t:a"])
        #expect(try store.names(prefix: "t:", state: "x", after: nil, limit: 9) == [])
        // Under another key they are what they were.
        try store.useKeys(KeyRing(active: testKey(2), older: [testKey(1)]))
        _ = try store.rekey()
        #expect(try store.states(prefix: "t:", after: nil, limit: 9).states == ["active": 1, "revoked": 2])
    }

    @Test(arguments: Backend.allCases)
    func `states that are missing are noted unless the record has changed`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for index in 100..<320 { _ = try store.commit(grant: "t:\(index)", payload: [1], ifGeneration: 0) }
        _ = try store.commit(grant: "t:000", payload: [1], ifGeneration: 0, terms: CommitTerms(state: "active"))
        let page = try store.states(prefix: "t:", after: nil, limit: 5000)
        #expect(page.count == 100 && page.unnoted.count == 99 && page.states == ["active": 1])
        #expect(page.last == page.unnoted.last)
        _ = try store.commit(grant: "t:100", payload: [2], ifGeneration: 1)
        _ = try store.remove(grant: "t:102", ifGeneration: nil)
        let notes = ["t:100", "t:101", "t:102", "t:000"].map { StateNote(grant: $0, generation: 1, state: "revoked") }
        try store.noteStates(notes)
        try store.noteStates([])
        let after = try store.states(prefix: "t:", after: nil, limit: 3)
        #expect(after.states == ["active": 1, "revoked": 1] && after.unnoted == ["t:100"] && after.last == "t:101")
        #expect(try store.read(grant: "t:101") == StoredRecord(generation: 1, payload: [1]))
    }

    @Test(arguments: Backend.allCases)
    func `a grant is made only where there is room, and one that is there is told first`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        func make(_ name: String, _ generation: UInt64 = 0) throws -> CommitOutcome {
            try store.commit(
                grant: name, payload: [1], ifGeneration: generation,
                terms: CommitTerms(room: GrantRoom(prefix: "t:", limit: 2)))
        }
        _ = try store.commit(grant: "u:1", payload: [1], ifGeneration: 0)
        #expect(try make("t:a") == .committed(generation: 1))
        #expect(try make("t:b") == .committed(generation: 1))
        #expect(try make("t:c") == .full(count: 2))
        #expect(try store.read(grant: "t:c") == nil)
        #expect(try make("t:a") == .conflict(current: StoredRecord(generation: 1, payload: [1])))
        // What is there may change.
        #expect(try make("t:a", 1) == .committed(generation: 2))
        _ = try store.remove(grant: "t:b", ifGeneration: nil)
        #expect(try make("t:b") == .committed(generation: 2))
    }

    @Test(arguments: Backend.allCases)
    func `a full check goes through all records in pages`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for index in 10..<35 { _ = try store.commit(grant: "g\(index)", payload: [1], ifGeneration: 0) }
        let first = try store.verify(after: nil, limit: 10)
        #expect(first == VerifiedPage(last: "g19", checked: 10, unreadable: [:]))
        #expect(try store.verify(after: "g29", limit: 10) == VerifiedPage(last: nil, checked: 5, unreadable: [:]))
    }
}
