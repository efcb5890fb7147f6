import Testing

@testable import TokenStore

/// What every backend must do.
@Suite struct ConformanceTests {
    let scratch = Scratch()

    @Test(arguments: Backend.allCases)
    func `a first commit gets generation 1 and each next one the next`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        #expect(try store.read(grant: "crm") == nil)
        #expect(try store.commit(grant: "crm", payload: [1], ifGeneration: 0) == .committed(generation: 1))
        #expect(try store.commit(grant: "crm", payload: [2, 3], ifGeneration: 1) == .committed(generation: 2))
        #expect(try store.read(grant: "crm") == StoredRecord(generation: 2, payload: [2, 3]))
    }

    @Test(arguments: Backend.allCases)
    func `a commit on another generation changes nothing and shows what is there`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        #expect(try store.commit(grant: "crm", payload: [1], ifGeneration: 7) == .conflict(current: nil))
        _ = try store.commit(grant: "crm", payload: [1], ifGeneration: 0)
        let current = StoredRecord(generation: 1, payload: [1])
        for stale: UInt64 in [0, 2, .max] {
            #expect(try store.commit(grant: "crm", payload: [9], ifGeneration: stale) == .conflict(current: current))
        }
        #expect(try store.read(grant: "crm") == current)
    }

    @Test(arguments: Backend.allCases)
    func `a removed grant that comes back never repeats a generation`(_ backend: Backend) throws {
        do {
            let store = try backend.open(scratch)
            _ = try store.commit(grant: "crm", payload: [1], ifGeneration: 0)
            _ = try store.commit(grant: "crm", payload: [2], ifGeneration: 1)
            #expect(try store.remove(grant: "crm", ifGeneration: nil) == .removed)
            #expect(try store.read(grant: "crm") == nil)
            #expect(try store.readAll().isEmpty)
            store.close()
        }
        let store = try backend.open(scratch)
        #expect(try store.commit(grant: "crm", payload: [9], ifGeneration: 2) == .conflict(current: nil))
        #expect(try store.commit(grant: "crm", payload: [3], ifGeneration: 0) == .committed(generation: 3))
        #expect(
            try store.commit(grant: "crm", payload: [9], ifGeneration: 2)
                == .conflict(current: StoredRecord(generation: 3, payload: [3])))
    }

    @Test(arguments: Backend.allCases)
    func `remove honours the generation and says when there is nothing`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        #expect(try store.remove(grant: "crm", ifGeneration: nil) == .absent)
        #expect(try store.remove(grant: "crm", ifGeneration: 1) == .absent)
        _ = try store.commit(grant: "crm", payload: [1], ifGeneration: 0)
        let current = StoredRecord(generation: 1, payload: [1])
        #expect(try store.remove(grant: "crm", ifGeneration: 2) == .conflict(current: current))
        #expect(try store.remove(grant: "crm", ifGeneration: 1) == .removed)
        #expect(try store.remove(grant: "crm", ifGeneration: 1) == .absent)
    }

    @Test(arguments: Backend.allCases)
    func `what was committed is there after opening again`(_ backend: Backend) throws {
        let names = ["crm", "billing", "with space", "ünï", "quote'; DROP TABLE grant_record; --"]
        let store = try backend.open(scratch)
        for (index, name) in names.enumerated() {
            let payload = [UInt8](repeating: UInt8(index), count: index * 10_000)
            #expect(try store.commit(grant: name, payload: payload, ifGeneration: 0) == .committed(generation: 1))
        }
        let before = try store.readAll()
        store.close()
        let again = try backend.open(scratch)
        #expect(try again.readAll() == before)
        #expect(before.count == names.count)
        #expect(try again.read(grant: names[3])?.payload.count == 30_000)
    }

    @Test(arguments: Backend.allCases)
    func `ids and payloads that do not fit are refused`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for id in ["", "a\u{0}b", String(repeating: "x", count: largestIDBytes + 1)] {
            #expect(
                storeError { _ = try store.commit(grant: id, payload: [1], ifGeneration: 0) }?.kind == .invalid)
        }
        let large = [UInt8](repeating: 1, count: largestPayloadBytes + 1)
        #expect(storeError { _ = try store.commit(grant: "a", payload: large, ifGeneration: 0) }?.kind == .invalid)
        #expect(
            try store.commit(grant: "a", payload: Array(large.dropLast()), ifGeneration: 0)
                == .committed(generation: 1))
        #expect(try store.commit(grant: "empty", payload: [], ifGeneration: 0) == .committed(generation: 1))
        #expect(try store.read(grant: "empty") == StoredRecord(generation: 1, payload: []))
    }

    // MARK: Consents

    @Test(arguments: Backend.allCases)
    func `a pending consent is taken once, also after opening again`(_ backend: Backend) throws {
        let first = try backend.open(scratch)
        #expect(
            try first.putConsent(id: "state-1", payload: [1, 2], expiresAt: 600, limit: 10, now: 0) == .stored)
        first.close()
        let store = try backend.open(scratch)
        #expect(try store.takeConsent(id: "state-2", now: 1) == nil)
        #expect(try store.takeConsent(id: "state-1", now: 1) == [1, 2])
        #expect(try store.takeConsent(id: "state-1", now: 1) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `an expired consent cannot be taken`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for (id, expiry) in [("a", Int64(100)), ("b", 101)] {
            _ = try store.putConsent(id: id, payload: [1], expiresAt: expiry, limit: 10, now: 0)
        }
        #expect(try store.takeConsent(id: "a", now: 100) == nil)
        #expect(try store.takeConsent(id: "b", now: 100) == [1])
        #expect(try store.takeConsent(id: "a", now: 0) == nil)
    }

    /// The times are the callers', whose clocks need not agree.
    @Test(arguments: Backend.allCases)
    func `clocks that differ by minutes neither end a consent early nor evict one`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        let now: Int64 = 1_700_000_000
        _ = try store.putConsent(id: "a", payload: [1], expiresAt: now + 600, limit: 10, now: now)
        _ = try store.putConsent(id: "b", payload: [2], expiresAt: now + 900, limit: 10, now: now + 300)
        _ = try store.putConsent(id: "c", payload: [3], expiresAt: now + 300, limit: 10, now: now - 300)
        #expect(try store.takeConsent(id: "a", now: now + 300) == [1])
        #expect(try store.takeConsent(id: "b", now: now - 300) == [2])
        #expect(try store.takeConsent(id: "c", now: now) == [3])
    }

    @Test(arguments: Backend.allCases)
    func `a flood of consents evicts no live one, and expired ones make room`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        for index in 0..<5 {
            let outcome = try store.putConsent(
                id: "\(index)", payload: [UInt8(index)], expiresAt: index == 0 ? 50 : 600, limit: 5, now: 0)
            #expect(outcome == .stored)
        }
        for index in 5..<20 {
            #expect(try store.putConsent(id: "\(index)", payload: [], expiresAt: 600, limit: 5, now: 49) == .full)
        }
        #expect(try store.putConsent(id: "20", payload: [20], expiresAt: 600, limit: 5, now: 50) == .stored)
        #expect(try store.putConsent(id: "21", payload: [], expiresAt: 600, limit: 5, now: 50) == .full)
        for index in 1..<5 { #expect(try store.takeConsent(id: "\(index)", now: 60) == [UInt8(index)]) }
        #expect(try store.takeConsent(id: "20", now: 60) == [20])
    }

    @Test(arguments: Backend.allCases)
    func `a pending consent is not overwritten by its id`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        _ = try store.putConsent(id: "a", payload: [1], expiresAt: 600, limit: 5, now: 0)
        let error = storeError { _ = try store.putConsent(id: "a", payload: [2], expiresAt: 600, limit: 5, now: 0) }
        #expect(error?.kind == .invalid)
        #expect(try store.takeConsent(id: "a", now: 0) == [1])
    }

    @Test(arguments: Backend.allCases)
    func `what is left of a consent takes its place, and looking takes nothing`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        _ = try store.putConsent(id: "a", payload: [1], expiresAt: 600, limit: 5, now: 0)
        let taken = try store.takeConsent(id: "a", now: 0) { payload in
            KeptConsent(id: "left", payload: payload + [2], expiresAt: 600, limit: 5)
        }
        #expect(taken == [1])
        #expect(try store.findConsent(id: "a", now: 0) == nil)
        for _ in 0..<2 { #expect(try store.findConsent(id: "left", now: 0) == [1, 2]) }
        #expect(try store.findConsent(id: "left", now: 600) == nil)
        let kept = KeptConsent(id: "left", payload: [3], expiresAt: 700, limit: 5)
        #expect(try store.keepConsent(kept, now: 0) == .stored)
        #expect(try store.findConsent(id: "left", now: 650) == [3])
        for index in 0..<4 {
            _ = try store.putConsent(id: "\(index)", payload: [], expiresAt: 600, limit: 5, now: 0)
        }
        #expect(
            try store.keepConsent(KeptConsent(id: "new", payload: [4], expiresAt: 700, limit: 5), now: 0) == .full)
        // Nothing is left of one that is unknown.
        _ = try store.takeConsent(id: "b", now: 0) { _ in
            KeptConsent(id: "never", payload: [], expiresAt: 600, limit: 50)
        }
        #expect(try store.findConsent(id: "never", now: 0) == nil)
    }

    // MARK: Keys and closing

    @Test(arguments: Backend.allCases)
    func `after a rekey the new key alone opens everything`(_ backend: Backend) throws {
        let (old, new) = (try testKey(1), try testKey(2))
        let store = try backend.open(scratch, keys: KeyRing(active: old))
        for index in 0..<150 {
            _ = try store.commit(grant: "g\(index)", payload: [UInt8(index)], ifGeneration: 0)
        }
        _ = try store.remove(grant: "g0", ifGeneration: nil)
        _ = try store.putConsent(id: "c", payload: [7], expiresAt: 600, limit: 5, now: 0)
        let before = try store.readAll()
        try store.useKeys(KeyRing(active: new, older: [old]))
        #expect(try store.rekey() == RekeyReport(resealed: 151, unused: [old.id], remaining: 0))
        #expect(try store.readAll() == before)
        #expect(try store.rekey() == RekeyReport(resealed: 0, unused: [old.id], remaining: 0))
        #expect(try store.retire(old.id))
        #expect(try !store.retire(old.id))
        store.close()
        #expect(storeError { _ = try backend.open(scratch, keys: KeyRing(active: old)) }?.kind == .key)
        let again = try backend.open(scratch, keys: KeyRing(active: new))
        #expect(try again.readAll() == before)
        #expect(try again.takeConsent(id: "c", now: 0) == [7])
        #expect(try again.commit(grant: "g0", payload: [], ifGeneration: 0) == .committed(generation: 2))
    }

    @Test(arguments: Backend.allCases)
    func `a check of writing changes nothing`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        _ = try store.commit(grant: "crm", payload: [1], ifGeneration: 0)
        try store.checkWritable()
        store.close()
        #expect(storeError { try store.checkWritable() }?.kind == .closed)
        #expect(try backend.open(scratch).readAll() == ["crm": StoredRecord(generation: 1, payload: [1])])
    }

    @Test(arguments: Backend.allCases)
    func `a closed store says so`(_ backend: Backend) throws {
        let store = try backend.open(scratch)
        store.close()
        store.close()
        #expect(storeError { _ = try store.read(grant: "a") }?.kind == .closed)
        #expect(storeError { _ = try store.commit(grant: "a", payload: [], ifGeneration: 0) }?.kind == .closed)
        #expect(storeError { _ = try store.rekey() }?.kind == .closed)
    }
}
