import CAllocationCounter
import CProcessorCounter

/// Something that is measured: `body` does it as many times as it is told.
struct Benchmark {
    let name: String
    /// Octets that one operation handles, where that says something.
    let bytes: Int?
    let body: (Int) -> Void

    init(_ name: String, bytes: Int? = nil, _ body: @escaping (Int) -> Void) {
        self.name = name
        self.bytes = bytes
        self.body = body
    }
}

/// What came of one benchmark, each figure per operation.
struct Measurement {
    var name: String
    var bytes: Int?
    var minimum: Double
    var median: Double
    /// Heap allocations; nil where a sanitizer owns malloc.
    var allocations: Double?
    /// Nil where there are no counters.
    var instructions: Double?
}

struct Harness {
    var runs: Int
    /// Processor time of one run.
    var runNanoseconds: Int64

    func measure(_ benchmark: Benchmark) -> Measurement {
        let count = calibrate(benchmark)
        var times: [Double] = []
        var fewestInstructions: Double?
        for _ in 0..<runs {
            let instructions = instructions_of_this_thread()
            times.append(Double(time(benchmark, count)) / Double(count))
            if instructions >= 0 {
                let used = Double(instructions_of_this_thread() - instructions) / Double(count)
                fewestInstructions = min(fewestInstructions ?? used, used)
            }
        }
        times.sort()
        let before = allocations_of_this_thread()
        benchmark.body(count)
        let allocations = allocations_of_this_thread() - before
        return Measurement(
            name: benchmark.name, bytes: benchmark.bytes, minimum: times[0], median: times[times.count / 2],
            allocations: before >= 0 ? Double(allocations) / Double(count) : nil, instructions: fewestInstructions)
    }

    /// How many operations a run takes, found by doubling; it warms up, too.
    private func calibrate(_ benchmark: Benchmark) -> Int {
        var count = 1
        while time(benchmark, count) < runNanoseconds && count < 1 << 30 { count *= 2 }
        return count
    }

    private func time(_ benchmark: Benchmark, _ count: Int) -> Int64 {
        let start = processor_nanoseconds_of_this_thread()
        benchmark.body(count)
        return processor_nanoseconds_of_this_thread() - start
    }
}

/// A benchmark of something that did not do its work would measure nothing.
@inline(__always)
func expect(_ condition: Bool, _ what: StaticString) {
    if !condition { fatalError("a benchmark's own check failed: \(what)") }
}

/// Hides from the optimizer that nobody reads a value.
@inline(never)
func keep<Value>(_ value: Value) {
    withExtendedLifetime(value) {}
}
