import Telemetry

/// Counters, log lines and the metrics page.
func telemetryBenchmarks() -> [Benchmark] {
    [
        logLine("access-log line: JSON", .json), logLine("access-log line: for people", .human),
        counters("counters of one request"),
        page("metrics page: 5 routes, 2 workers", routes: 5, workers: 2),
        page("metrics page: 200 routes, 8 workers", routes: 200, workers: 8),
    ]
}

private func logLine(_ name: String, _ format: LogFormat) -> Benchmark {
    let facts = ExchangeFacts(
        unixMilliseconds: 1_767_225_600_000, route: "items", upstream: "api", status: 200, bytesReceived: 0,
        bytesSent: 128, totalNanoseconds: 1_234_567, firstByteNanoseconds: 1_100_000, attempts: 1)
    let id = Sample.octets("00a1b2c3d4e5f607")
    let address = Sample.octets("127.0.0.1")
    let method = Sample.octets("GET")
    let target = Sample.octets("/api/v1/items?limit=20")
    return Benchmark(name) { count in
        var writer = LineWriter(format: format)
        for _ in 0..<count {
            writer.exchangeEnded(
                facts, requestID: id.span, caller: address.span, method: method.span, target: target.span)
            if writer.bytes.count > 60 * 1024 { writer.removeAll() }
        }
    }
}

private func names(_ routes: Int) -> MetricNames {
    MetricNames(
        routes: (0..<routes).map { "route-\($0)" }, upstreams: (0..<routes).map { "upstream-\($0)" },
        errorCodes: (0..<24).map { "error_\($0)" })
}

private func counters(_ name: String) -> Benchmark {
    Benchmark(name) { count in
        let counters = WorkerCounters(names: names(5))
        for index in 0..<count {
            counters.requestStarted()
            counters.callerBytes(received: 200, sent: 400)
            counters.requestEnded(
                route: 1 + index % 5, status: 200, nanoseconds: UInt64(truncatingIfNeeded: index) & 0xFFFFFF)
        }
        keep(counters)
    }
}

private func page(_ name: String, routes: Int, workers: Int) -> Benchmark {
    let counters = WorkerCounters(names: names(routes))
    for route in 0...routes { counters.requestEnded(route: route, status: 200, nanoseconds: 1_000_000) }
    let snapshot = counters.snapshot()
    return Benchmark(name) { count in
        for _ in 0..<count {
            var totals = CounterTotals()
            for _ in 0..<workers { totals.add(snapshot) }
            let input = MetricsInput(
                totals: totals, control: ControlCounters(), grants: [],
                process: ProcessFacts(version: "0", openSSL: "OpenSSL", startTime: 0, workers: workers),
                lastReloadSuccessful: true, lastReloadSuccess: 0, isDraining: false, isReady: true)
            expect(MetricsPage.render(input).count > 1000, "the page is written")
        }
    }
}
