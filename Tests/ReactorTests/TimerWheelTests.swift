import Reactor
import Testing

/// A small generator with a seed, so that a failure can be repeated.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct TimerWheelTests {
    private static let tick = TimerWheel.tickMilliseconds

    private func fired(_ wheel: inout TimerWheel, at now: UInt64) -> [UInt32] {
        var list: [UInt32] = []
        wheel.advance(to: now, into: &list)
        return list
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `random timers fire as those of a naive model, never early and at most a tick late`(seed: UInt64) {
        var random = Seeded(state: seed)
        var now = UInt64.random(in: 0...1 << 40, using: &random)
        var wheel = TimerWheel(now: now)
        var model: [UInt32: UInt64] = [:]
        let spans: [UInt64] = [5, 100, 2_000, 70_000, 5_000_000, 400_000_000]
        for step in 0..<4_000 as Range<UInt32> {
            let span = spans.randomElement(using: &random) ?? 1
            if model.count < 300 {
                let deadline = now + .random(in: 0...span, using: &random)
                wheel.schedule(step, at: deadline)
                model[step] = deadline
            }
            now += .random(in: 0...(spans[Int.random(in: 0..<4, using: &random)] / 50), using: &random)
            for token in fired(&wheel, at: now) {
                let deadline = model.removeValue(forKey: token)
                #expect(deadline != nil, "seed \(seed): fired twice or never armed")
                #expect((deadline ?? 0) <= now, "seed \(seed): early")
            }
            #expect(model.values.allSatisfy { $0 + Self.tick > now }, "seed \(seed), step \(step): late")
            #expect(wheel.count == model.count)
        }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `a loop that sleeps as told fires all in time and never spins`(seed: UInt64) {
        var random = Seeded(state: seed)
        var now = UInt64.random(in: 0...1 << 36, using: &random)
        var wheel = TimerWheel(now: now)
        var model: [UInt32: UInt64] = [:]
        for token in 0..<200 as Range<UInt32> {
            let exponent = UInt64.random(in: 0...34, using: &random)
            model[token] = now + .random(in: 0...(1 << exponent), using: &random)
            wheel.schedule(token, at: model[token] ?? 0)
        }
        var idleWakeUps = 0
        while !wheel.isEmpty {
            let sleep = wheel.millisecondsUntilNext(now: now)
            guard sleep > 0 else {
                Issue.record("seed \(seed): told to sleep \(sleep) with \(wheel.count) timers right after advancing")
                return
            }
            now += UInt64(sleep)
            let list = fired(&wheel, at: now)
            if list.isEmpty { idleWakeUps += 1 }
            for token in list {
                let deadline = model.removeValue(forKey: token) ?? 0
                #expect(deadline <= now && now < deadline + Self.tick, "seed \(seed): \(deadline) fired at \(now)")
            }
        }
        #expect(model.isEmpty)
        #expect(wheel.millisecondsUntilNext(now: now) == -1)
        #expect(idleWakeUps <= 200 * 6, "seed \(seed): one wake-up per level at most")
    }

    @Test func `a passed deadline fires with the next tick and not in this one`() {
        var wheel = TimerWheel(now: 1_000)
        wheel.schedule(1, at: 0)
        wheel.schedule(2, at: 1_000)
        #expect(fired(&wheel, at: 1_000) == [])
        #expect(wheel.millisecondsUntilNext(now: 1_000) == 8, "ticks are at 992, 1008")
        #expect(fired(&wheel, at: 1_007) == [])
        #expect(Set(fired(&wheel, at: 1_008)) == [1, 2])
    }

    @Test func `nothing waits for nothing`() {
        var wheel = TimerWheel(now: 5)
        #expect(wheel.isEmpty)
        #expect(wheel.millisecondsUntilNext(now: 5) == -1)
        #expect(fired(&wheel, at: 1 << 50) == [])
        wheel.schedule(7, at: (1 << 50) + 100)
        #expect(!wheel.isEmpty)
        #expect(fired(&wheel, at: (1 << 50) + 200) == [7])
        #expect(wheel.isEmpty)
    }

    @Test func `a token that is armed again waits for the new deadline only`() {
        var wheel = TimerWheel(now: 0)
        for deadline in [100, 100, 50_000] as [UInt64] { wheel.schedule(3, at: deadline) }
        #expect(wheel.count == 1)
        #expect(fired(&wheel, at: 200) == [])
        wheel.schedule(3, at: 300)
        #expect(wheel.count == 1)
        #expect(fired(&wheel, at: 400) == [3] && wheel.isEmpty)
        #expect(fired(&wheel, at: 60_000) == [])
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `tokens that are armed again and again fire as those of a naive model`(seed: UInt64) {
        var random = Seeded(state: seed)
        var now = UInt64.random(in: 0...1 << 40, using: &random)
        var wheel = TimerWheel(now: now)
        var model: [UInt32: UInt64] = [:]
        let spans: [UInt64] = [5, 40, 1_000, 20_000, 3_000_000]
        for step in 0..<6_000 {
            let token = UInt32.random(in: 0..<40, using: &random)
            let deadline = now + .random(in: 0...(spans.randomElement(using: &random) ?? 1), using: &random)
            wheel.schedule(token, at: deadline)
            model[token] = deadline
            if step % 3 == 0 {
                now += .random(in: 0...(spans[Int.random(in: 0..<4, using: &random)] / 5), using: &random)
            }
            for token in fired(&wheel, at: now) {
                let deadline = model.removeValue(forKey: token) ?? .max
                #expect(deadline <= now, "seed \(seed): early, or never armed")
            }
            #expect(model.values.allSatisfy { $0 + Self.tick > now }, "seed \(seed), step \(step): late")
            #expect(wheel.count == model.count)
        }
    }

    @Test func `zero milliseconds are told only when there is something to fire`() {
        var wheel = TimerWheel(now: 0)
        wheel.schedule(1, at: 160)
        #expect(wheel.millisecondsUntilNext(now: 0) == 160)
        #expect(wheel.millisecondsUntilNext(now: 159) == 1)
        #expect(wheel.millisecondsUntilNext(now: 160) == 0)
        #expect(wheel.millisecondsUntilNext(now: 500) == 0)
        #expect(fired(&wheel, at: 500) == [1])
    }

    @Test func `a clock that goes back changes nothing`() {
        var wheel = TimerWheel(now: 10_000)
        wheel.schedule(1, at: 10_100)
        #expect(fired(&wheel, at: 9_000) == [])
        #expect(fired(&wheel, at: 10_200) == [1])
    }

    @Test func `the end of time does not overflow`() {
        var wheel = TimerWheel(now: 0)
        wheel.schedule(1, at: .max)
        wheel.schedule(2, at: .max - 100_000)
        #expect(wheel.millisecondsUntilNext(now: 0) == .max)
        #expect(fired(&wheel, at: 1 << 60) == [])
        #expect(fired(&wheel, at: .max) == [2], "a deadline in the last, incomplete tick never comes")
    }

    @Test func `a jump of years fires all, the earlier ticks first`() {
        var wheel = TimerWheel(now: 0)
        let deadlines: [UInt64] = [1 << 38, 16, 70_000, 1 << 30, 1_040, 1_024]
        for (token, deadline) in deadlines.enumerated() { wheel.schedule(UInt32(token), at: deadline) }
        #expect(fired(&wheel, at: 1 << 40) == [1, 5, 4, 2, 3, 0])
    }
}
