import Testing

@testable import Telemetry

@Suite struct CounterTests {
    let names = MetricNames(routes: ["crm", "billing"], upstreams: ["api"], errorCodes: ["no_route", "draining"])

    @Test(arguments: [
        (0, StatusClass.none), (99, .none), (100, .informational), (101, .informational), (200, .success),
        (204, .success), (304, .redirection), (401, .callerError), (499, .callerError), (503, .serverError),
        (599, .serverError), (600, .none), (-1, .none),
    ])
    func `a status has its class`(status: Int, expected: StatusClass) {
        #expect(StatusClass(status: status) == expected)
    }

    @Test(
        arguments: [
            (0, 0), (1, 0), (1_000_000, 0), (1_000_001, 1), (2_000_000, 1), (2_000_001, 2), (4_000_000, 2),
            (1_024_000_000, 10), (1_024_000_001, 11), (65_536_000_000, 16), (65_536_000_001, 17),
            (UInt64.max, 17),
        ] as [(UInt64, Int)])
    func `a duration falls into the bucket whose bound includes it`(nanoseconds: UInt64, bucket: Int) {
        #expect(DurationHistogram.bucket(of: nanoseconds) == bucket)
    }

    @Test func `every bucket's bounds agree with a linear search`() {
        var nanoseconds: UInt64 = 1
        while nanoseconds < 200_000_000_000 {
            let linear = (0..<DurationHistogram.boundCount).first { nanoseconds <= UInt64(1_000_000) << UInt64($0) }
            #expect(DurationHistogram.bucket(of: nanoseconds) == linear ?? DurationHistogram.boundCount)
            nanoseconds = nanoseconds * 11 / 8 + 1
        }
    }

    @Test func `names keep their index when a reload adds, removes and reorders`() {
        let longer = names.extended(routes: ["new", "billing"], upstreams: ["other", "api"])
        #expect(longer.routes == ["(none)", "crm", "billing", "new"])
        #expect(longer.upstreams == ["api", "other"])
        #expect(longer.routeIndex(of: "crm") == names.routeIndex(of: "crm"))
        #expect(longer.routeIndex(of: "(none)") == nil)
    }

    @Test func `what is counted is in the snapshot, each at its place`() throws {
        let counters = WorkerCounters(names: names)
        counters.callerConnectionOpened()
        counters.requestStarted()
        counters.requestStarted()
        counters.requestEnded(route: 2, status: 503, nanoseconds: 3_000_000)
        counters.attemptEnded(upstream: 0, outcome: .abandoned)
        counters.retryEnded(route: 1, outcome: .failed)
        counters.errorMade(code: 1)
        counters.upstreamConnectionOpened(upstream: 0)
        counters.upstreamConnectionOpened(upstream: 0)
        counters.upstreamConnectionsChanged(upstream: 0, active: -1, idle: 1)
        counters.handshakeCompleted(resumed: true)
        counters.handshakeCompleted(resumed: false)
        counters.callerBytes(received: 10, sent: 20)
        counters.upstreamBytes(received: 30, sent: 40)
        counters.credentialWaitersChanged(by: 3)
        counters.credentialWaitersChanged(by: -1)
        counters.logLinesDropped(5)
        let totals = Accumulator().totals(of: [counters.snapshot()])
        let billing = try #require(totals.routes["billing"])
        #expect(billing.requests == [0, 0, 0, 0, 0, 1])
        #expect(billing.durations.count == 1)
        #expect(billing.durations.totalNanoseconds == 3_000_000)
        #expect(totals.routes["crm"]?.retries == [0, 0, 0, 0, 1])
        #expect(totals.upstreams["api"]?.attempts == [0, 0, 0, 0, 0, 0, 1])
        #expect(totals.upstreams["api"]?.active == 1)
        #expect(totals.upstreams["api"]?.idle == 1)
        #expect(totals.errors == ["no_route": 0, "draining": 1])
        #expect(totals.requestsCurrent == 1)
        #expect(totals.callerConnections == 1)
        #expect(totals.credentialWaiters == 2)
        #expect(totals.handshakesFull == 1)
        #expect(totals.handshakesResumed == 1)
        #expect(totals.bytesFromCallers == 10)
        #expect(totals.bytesToCallers == 20)
        #expect(totals.bytesFromUpstreams == 30)
        #expect(totals.bytesToUpstreams == 40)
        #expect(totals.logLinesDropped == 5)
    }

    @Test func `the strides of the counters are the sizes of their label sets`() {
        // WorkerCounters multiplies by these as literals, so that the hot path is one multiplication.
        #expect(StatusClass.allCases.count == 6)
        #expect(AttemptOutcome.allCases.count == 7)
        #expect(RetryOutcome.allCases.count == 5)
    }

    @Test func `a snapshot does not change afterwards`() {
        let counters = WorkerCounters(names: names)
        let before = counters.snapshot()
        counters.requestStarted()
        counters.requestEnded(route: 1, status: 200, nanoseconds: 1)
        #expect(Accumulator().totals(of: [before]).requestSums.ended == 0)
        #expect(Accumulator().totals(of: [counters.snapshot()]).requestSums.ended == 1)
    }

    /// A seeded story of reloads, workers that come and go, and requests that straddle them.
    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func `totals never go backwards and nothing is lost over reloads`(seed: UInt64) throws {
        var generator = SplitMix(state: seed)
        var table = names
        var workers = [WorkerCounters(names: table)]
        var accumulator = Accumulator()
        var ended: UInt64 = 0
        var last: UInt64 = 0
        var open: [(worker: WorkerCounters, route: Int)] = []
        for step in 0..<600 {
            switch generator.next() % 10 {
            case 0:
                table = table.extended(routes: ["r\(step)"], upstreams: ["u\(step)"])
                for worker in workers { worker.extend(to: table) }
            case 1: workers.append(WorkerCounters(names: table))
            case 2 where workers.count > 1:
                let gone = workers.removeFirst()
                for exchange in open where exchange.worker === gone {
                    gone.requestEnded(route: exchange.route, status: 200, nanoseconds: 5)
                    ended += 1
                }
                open.removeAll { $0.worker === gone }
                accumulator.retire(gone.snapshot())
            case 3, 4, 5:
                let worker = workers[Int(generator.next() % UInt64(workers.count))]
                worker.requestStarted()
                open.append((worker, Int(generator.next() % UInt64(table.routes.count))))
            default:
                guard let exchange = open.popLast() else { continue }
                exchange.worker.requestEnded(route: exchange.route, status: 200, nanoseconds: 5)
                ended += 1
            }
            let totals = accumulator.totals(of: workers.map { $0.snapshot() })
            try #require(totals.requestSums.ended == ended, "seed \(seed), step \(step)")
            try #require(totals.requestSums.ended >= last)
            try #require(totals.requestsCurrent == Int64(open.count))
            last = totals.requestSums.ended
        }
        #expect(ended > 50)
    }

    @Test func `counters survive wrapping around`() {
        let counters = WorkerCounters(names: names)
        counters.requestEnded(route: 0, status: 200, nanoseconds: .max)
        counters.requestEnded(route: 0, status: 200, nanoseconds: .max)
        #expect(counters.snapshot().durations[0].count == 2)
    }
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
