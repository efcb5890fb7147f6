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
    func `a full check goes through all records in pages`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for index in 10..<35 { _ = try store.commit(grant: "g\(index)", payload: [1], ifGeneration: 0) }
        let first = try store.verify(after: nil, limit: 10)
        #expect(first == VerifiedPage(last: "g19", checked: 10, unreadable: [:]))
        #expect(try store.verify(after: "g29", limit: 10) == VerifiedPage(last: nil, checked: 5, unreadable: [:]))
    }
}
