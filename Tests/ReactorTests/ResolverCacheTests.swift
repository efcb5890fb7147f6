import Testing

@testable import Reactor

@Suite struct ResolverCacheTests {
    private typealias Cache = ResolverCache<Int>
    private let first = SocketAddress.ipv4(0x0a00_0001, port: 0)
    private let second = SocketAddress.ipv4(0x0a00_0002, port: 0)
    private let dead = ResolveError(kind: .temporary, host: "a", detail: "no answer")
    private let missing = ResolveError(kind: .notFound, host: "a", detail: "no such name")

    private func limits(_ change: (inout ResolverLimits) -> Void = { _ in }) -> ResolverLimits {
        var limits = ResolverLimits()
        limits.freshMilliseconds = 30_000
        limits.failureMilliseconds = 2_000
        limits.staleMilliseconds = 600_000
        limits.patienceMilliseconds = 1_000
        change(&limits)
        return limits
    }

    /// A word for an action, to compare with.
    private func word(_ action: Cache.Action) -> String {
        switch action {
        case .answer(let answer): "answer \(word(answer))"
        case .answerAndLookUp(let answer): "answer and look up \(word(answer))"
        case .lookUp: "look up"
        case .wait: "wait"
        }
    }

    private func word(_ answer: Cache.Answer) -> String {
        switch answer {
        case .success(let addresses): addresses.map(\.ipText).joined(separator: ",")
        case .failure(let error): "\(error.kind)"
        }
    }

    @Test func `a name is looked up once and then known until its time is over`() {
        var cache = Cache(limits: limits())
        #expect(word(cache.requested("a", waiter: 1, now: 0)) == "look up")
        #expect(word(cache.requested("a", waiter: 2, now: 10)) == "wait")
        #expect(word(cache.requested("b", waiter: 3, now: 10)) == "look up")
        let (waiters, answer) = cache.completed("a", .success([first, second]), now: 100)
        #expect(waiters == [1, 2])
        #expect(word(answer) == "10.0.0.1,10.0.0.2")
        #expect(word(cache.requested("a", waiter: 4, now: 30_099)) == "answer 10.0.0.1,10.0.0.2")
    }

    @Test func `an answer that is just too old is given at once while one lookup runs`() {
        var cache = Cache(limits: limits())
        _ = cache.requested("a", waiter: 1, now: 0)
        _ = cache.completed("a", .success([first]), now: 0)
        #expect(word(cache.requested("a", waiter: 2, now: 30_000)) == "answer and look up 10.0.0.1")
        #expect(word(cache.requested("a", waiter: 3, now: 30_001)) == "answer 10.0.0.1")
        let (waiters, _) = cache.completed("a", .success([second]), now: 30_010)
        #expect(waiters.isEmpty)
        #expect(word(cache.requested("a", waiter: 4, now: 30_011)) == "answer 10.0.0.2")
    }

    @Test func `an old answer is looked up first`() {
        var cache = Cache(limits: limits())
        _ = cache.requested("a", waiter: 1, now: 0)
        _ = cache.completed("a", .success([first]), now: 0)
        #expect(word(cache.requested("a", waiter: 2, now: 60_000)) == "look up")
        #expect(word(cache.requested("a", waiter: 3, now: 60_999)) == "wait")
        #expect(word(cache.requested("a", waiter: 4, now: 61_000)) == "answer 10.0.0.1", "the lookup hangs")
        let (waiters, answer) = cache.completed("a", .failure(dead), now: 70_000)
        #expect(waiters == [2, 3])
        #expect(word(answer) == "10.0.0.1")
    }

    @Test func `a dead resolver is asked seldom, and the old answer serves until it is too old`() {
        var cache = Cache(limits: limits())
        _ = cache.requested("a", waiter: 1, now: 0)
        _ = cache.completed("a", .success([first]), now: 0)
        var lookups = 0
        for now in stride(from: 30_000, to: 630_000, by: 500) as StrideTo<UInt64> {
            switch cache.requested("a", waiter: 2, now: now) {
            case .answer(let answer):
                #expect(word(answer) == "10.0.0.1")
            case .answerAndLookUp(let answer):
                #expect(word(answer) == "10.0.0.1")
                lookups += 1
                _ = cache.completed("a", .failure(dead), now: now)
            case .lookUp, .wait:
                Issue.record("somebody waits at \(now)")
            }
        }
        #expect(lookups == 300, "one each failure time")
        #expect(word(cache.requested("a", waiter: 3, now: 640_000)) == "look up")
        #expect(word(cache.completed("a", .failure(dead), now: 640_001).answer) == "temporary")
        #expect(word(cache.requested("a", waiter: 4, now: 642_000)) == "answer temporary")
        #expect(word(cache.requested("a", waiter: 4, now: 642_001)) == "look up")
    }

    @Test func `that a name is gone replaces its addresses`() {
        var cache = Cache(limits: limits())
        _ = cache.requested("a", waiter: 1, now: 0)
        _ = cache.completed("a", .success([first]), now: 0)
        _ = cache.requested("a", waiter: 2, now: 30_000)
        #expect(word(cache.completed("a", .failure(missing), now: 30_001).answer) == "notFound")
        #expect(word(cache.requested("a", waiter: 3, now: 32_000)) == "answer notFound")
        #expect(word(cache.requested("a", waiter: 4, now: 32_001)) == "look up")
    }

    @Test func `a name without addresses is not found`() {
        var cache = Cache(limits: limits())
        _ = cache.requested("a", waiter: 1, now: 0)
        #expect(word(cache.completed("a", .success([]), now: 0).answer) == "notFound")
    }

    @Test func `too many lookups and too many waiters are refused, and what is known is still given`() {
        var cache = Cache(
            limits: limits {
                $0.lookups = 2; $0.waiters = 3
            })
        _ = cache.requested("known", waiter: 0, now: 0)
        _ = cache.completed("known", .success([first]), now: 0)
        let later: UInt64 = 100_000
        #expect(word(cache.requested("a", waiter: 1, now: later)) == "look up")
        #expect(word(cache.requested("b", waiter: 2, now: later)) == "look up")
        #expect(word(cache.requested("c", waiter: 3, now: later)) == "answer overloaded")
        #expect(word(cache.requested("known", waiter: 4, now: later)) == "answer 10.0.0.1")
        #expect(word(cache.requested("a", waiter: 5, now: later)) == "wait")
        #expect(word(cache.requested("b", waiter: 6, now: later)) == "answer overloaded")
        #expect(cache.completed("a", .success([first]), now: later).waiters == [1, 5])
        #expect(word(cache.requested("b", waiter: 7, now: later)) == "wait")
        #expect(word(cache.requested("c", waiter: 8, now: later)) == "look up")
    }

    @Test func `of too many names the oldest is forgotten`() {
        var cache = Cache(limits: limits { $0.names = 2 })
        for (now, name) in ["a", "b", "c"].enumerated() {
            _ = cache.requested(name, waiter: 0, now: UInt64(now))
            _ = cache.completed(name, .success([first]), now: UInt64(now))
        }
        #expect(word(cache.requested("b", waiter: 0, now: 5)) == "answer 10.0.0.1")
        #expect(word(cache.requested("c", waiter: 0, now: 5)) == "answer 10.0.0.1")
        #expect(word(cache.requested("a", waiter: 0, now: 5)) == "look up")
    }
}
