import Foundation
import Testing

@testable import OAuth

/// Many seeds, each another cluster in other trouble. Environment: SIMULATION_SEED plays one again, SIMULATION_SEEDS says
/// how many (10,000 by default), SIMULATION_FIRST the first, SIMULATION_FAILURES after how many failures a lane ends (3).
/// Progress and failures are told on standard error as they come.
struct SimulationTests {
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    private static var seeds: Range<UInt64> {
        if let one = number("SIMULATION_SEED") { return one..<one + 1 }
        let first = number("SIMULATION_FIRST") ?? 1
        return first..<first + (number("SIMULATION_SEEDS") ?? 10_000)
    }

    @Test func `replicas in any trouble keep the grant, use each token once, and answer everybody`() async {
        let seeds = Self.seeds
        let lanes = UInt64(ProcessInfo.processInfo.activeProcessorCount)
        let failures = await withTaskGroup(of: [String].self) { group in
            for lane in 0..<lanes {
                group.addTask { Self.play(seeds, from: lane, step: lanes) }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        for failure in failures.prefix(5) { Issue.record("\(failure)") }
        #expect(failures.isEmpty)
    }

    private static func play(_ seeds: Range<UInt64>, from lane: UInt64, step: UInt64) -> [String] {
        let limit = number("SIMULATION_FAILURES") ?? 3
        var failures: [String] = []
        var seed = seeds.lowerBound + lane
        while seed < seeds.upperBound, failures.count < limit {
            let length = seeds.count == 1 ? 100_000 : 60
            if let failure = SimulationRun.failure(seed: seed, traceLength: length) {
                failures.append(failure)
                tell("simulation: " + failure.prefix { $0 != "\n" })
            }
            seed += step
            let played = seed - seeds.lowerBound
            if played % 50_000 < step { tell("simulation: \(played) of \(seeds.count) seeds") }
        }
        return failures
    }

    private static func tell(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }
}
