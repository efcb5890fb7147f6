import Testing

@testable import Gateway

/// The end of the process in virtual time: steps of 20 ms, as the control thread takes them.
@Suite struct SettlingTests {
    /// - Parameters:
    ///   - reply: when the last reply that may hold tokens comes, in milliseconds; what it brings takes `commit` to store.
    ///   - other: until when anything else is under way.
    /// - Returns: when the process ends, and whether it was cut.
    private func end(
        reply: UInt64 = 0, commit: UInt64 = 0, other: UInt64 = 0, longestCall: UInt64 = 30_000,
        signals: [UInt64] = []
    ) -> (time: UInt64, isCut: Bool) {
        let start: UInt64 = 1_000_000
        var settling = Settling(now: start, longestCall: longestCall, storePatience: 5_000)
        for time in stride(from: UInt64(0), through: 1_000_000, by: 20) {
            if signals.contains(time) { settling.hurry(now: start + time) }
            let isBusy = time < max(reply + commit, other)
            switch settling.step(now: start + time, awaitsTokens: time < reply, isBusy: isBusy) {
            case .wait: continue
            case .end: return (time, false)
            case .cut: return (time, true)
            }
        }
        return (.max, true)
    }

    @Test func `nothing under way ends at once`() {
        #expect(end() == (0, false))
    }

    @Test(arguments: [200, 4_900, 5_100, 7_000, 29_980] as [UInt64])
    func `a reply that may hold tokens is waited for as long as its call may take, and is stored`(reply: UInt64) {
        #expect(end(reply: reply, commit: 3_000) == (reply + 3_000, false))
    }

    @Test func `a reply that comes after the longest call, or never, is not waited for without end`() {
        let late = end(reply: 100_000)
        #expect(late.isCut && (30_000...35_020).contains(late.time))
        let short = end(reply: 100_000, longestCall: 2_000)
        #expect(short.isCut && (5_000...7_020).contains(short.time))
    }

    @Test func `a store that hangs, or a call that can be made again, has five seconds`() {
        #expect(end(other: 4_980) == (4_980, false))
        #expect(end(other: 60_000) == (5_000, true))
        let stuck = end(reply: 7_000, commit: 60_000)
        #expect(stuck.isCut && (11_980...12_000).contains(stuck.time))
    }

    @Test func `a second signal leaves five seconds, a third none`() {
        let hurried = end(reply: 29_000, signals: [1_000])
        #expect(hurried.isCut && (5_980...6_000).contains(hurried.time))
        #expect(end(reply: 4_000, commit: 100, signals: [1_000]) == (4_100, false))
        #expect(end(reply: 29_000, signals: [1_000, 2_000]) == (2_000, true))
    }

    @Test func `what is told to the service manager covers the wait`() {
        var settling = Settling(now: 100, longestCall: 30_000, storePatience: 5_000)
        #expect(settling.remaining(now: 100) == 35_000)
        #expect(settling.remaining(now: 60_000) == 0)
        settling.hurry(now: 1_100)
        #expect(settling.remaining(now: 1_100) == 4_000)
    }
}
