import Glibc

// micro-benchmarks [--filter TEXT] [--runs NUMBER] [--json] [--list]

struct Arguments {
    var filter = ""
    var runs = 15
    var isJSON = false
    var isList = false

    init(_ arguments: [String]) {
        var rest = arguments.dropFirst()
        while let argument = rest.popFirst() {
            switch argument {
            case "--json": isJSON = true
            case "--list": isList = true
            case "--filter":
                guard let text = rest.popFirst() else { Self.usage() }
                filter = text
            case "--runs":
                guard let text = rest.popFirst(), let number = Int(text), number > 0 else { Self.usage() }
                runs = number
            default: Self.usage()
            }
        }
    }

    static func usage() -> Never {
        say("usage: micro-benchmarks [--filter TEXT] [--runs NUMBER] [--json] [--list]")
        exit(64)
    }
}

/// On standard error, so that standard output is the report alone.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = write(2, line, line.count)
}

let arguments = Arguments(CommandLine.arguments)
let chosen = [
    codecBenchmarks(), http2Benchmarks(), transformBenchmarks(), machineBenchmarks(), tlsBenchmarks(),
    telemetryBenchmarks(),
].joined().filter { arguments.filter.isEmpty || $0.name.contains(arguments.filter) }

if arguments.isList {
    for benchmark in chosen { print(benchmark.name) }
    exit(0)
}
let harness = Harness(runs: arguments.runs, runNanoseconds: 10_000_000)
var measurements: [Measurement] = []
for benchmark in chosen {
    if !arguments.isJSON { say("\(benchmark.name) …") }
    measurements.append(harness.measure(benchmark))
}
print(arguments.isJSON ? Report.json(measurements) : Report.table(measurements), terminator: "")
