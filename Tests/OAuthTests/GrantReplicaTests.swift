import Testing

@testable import OAuth

/// Several replicas on one store (pains 2, 3, 14; checklist D32).
struct GrantReplicaTests {
    /// A replica that has sent a refresh and dies; and a sibling that knows of it since the same moment.
    private func pair(
        rotation: ProviderSettings.Rotation = .unknown, clockError: Int64 = 0
    ) -> (first: GrantDriver, second: GrantDriver) {
        let record = GrantDriver.record(lifetime: 600_000, age: 700_000)
        let first = GrantDriver(stored: record, instance: "a", exclusive: false) { $1.rotation = rotation }
        first.start()
        let second = GrantDriver(stored: first.stored, instance: "b", exclusive: false) { $1.rotation = rotation }
        second.now = Moment(monotonic: 77, wall: first.now.wall + clockError)
        second.start()
        return (first, second)
    }

    @Test func `a dead sibling's refresh is made again at once while the replay window is open`() {
        let (_, second) = pair()
        #expect(second.calls.isEmpty && second.machine.awaitedInstance == "a")
        second.pass(20_000)
        second.gone("a")
        #expect(second.sentRefreshToken() == "r1")
        #expect(second.facts.contains(.takenOver(instance: "a")))
    }

    @Test func `after the window a dead sibling's single-use token waits for the end of its lease`() {
        let (_, second) = pair()
        second.pass(26_000)
        second.gone("a")
        #expect(second.calls.isEmpty)
        second.pass(200_000)
        #expect(second.sentRefreshToken() == "r1")
    }

    @Test func `a reusable token is taken over at any time`() {
        let (_, second) = pair(rotation: .reusable)
        second.pass(60_000)
        second.gone("a")
        #expect(second.sentRefreshToken() == "r1")
    }

    @Test func `a replica whose client secret is refused does not stop those with another`() {
        let record = GrantDriver.record(lifetime: 600_000, age: 500_000)
        let good = GrantDriver(stored: record, instance: "a", exclusive: false)
        good.start()
        good.writeElsewhere {
            $0.state = .configurationError
            $0.latchedFingerprint = "of another secret"
        }
        #expect(good.stored?.state == .active && good.sentRefreshToken() == "r1")
        // Refused as well: now the latch holds, whatever the others wrote last.
        good.fail(.configuration, "invalid_client")
        #expect(good.stored?.state == .configurationError)
        good.writeElsewhere { $0.latchedFingerprint = "of another secret" }
        #expect(good.stored?.state == .configurationError && good.calls.isEmpty)
    }

    @Test func `a replica whose client secret was refused leaves refreshes to the others`() {
        let bad = GrantDriver(
            stored: GrantDriver.record(lifetime: 600_000, age: 700_000), instance: "a", exclusive: false)
        bad.start()
        bad.fail(.configuration, "invalid_client")
        bad.writeElsewhere {
            $0.state = .active
            $0.latchedFingerprint = nil
        }
        bad.pass(GrantMachine.refusedCredentialsPause - 60_000)
        #expect(bad.calls.isEmpty)
        bad.pass(120_000)
        #expect(bad.calls.count == 1)
    }

    @Test func `what a machine of before knew of refused credentials holds for the next one`() {
        let bad = GrantDriver(
            stored: GrantDriver.record(lifetime: 600_000, age: 700_000), instance: "a", exclusive: false)
        bad.start()
        #expect(bad.machine.ownRefusal(now: bad.now) == nil)
        bad.fail(.configuration, "invalid_client")
        let refusal = bad.machine.ownRefusal(now: bad.now)
        #expect(refusal?.isOfClient == true)
        // Another replica has latched it, too.
        var record = GrantDriver.record(lifetime: 600_000, age: 700_000)
        record.state = .configurationError
        record.latchedFingerprint = "of another secret"
        let next = GrantDriver(stored: record, instance: "a", exclusive: false)
        if let refusal { next.machine.remember(refusal) }
        next.start()
        #expect(next.stored?.state == .configurationError && next.calls.isEmpty)
        next.writeElsewhere { $0 = GrantDriver.record(lifetime: 600_000, age: 700_000) }
        next.need()
        #expect(next.calls.isEmpty)
        // An operator's command is not held, and a success ends it.
        _ = next.refresh()
        next.succeed("a2", refresh: "r2")
        #expect(next.machine.ownRefusal(now: next.now) == nil)
    }

    @Test func `another replica's death changes nothing`() {
        let (_, second) = pair()
        second.gone("c")
        #expect(second.calls.isEmpty)
    }

    @Test(arguments: [-3_600_000, -90_000, 90_000, 3_600_000] as [Int64])
    func `a lease is counted on one's own clock, however wrong the other's is`(error: Int64) {
        let (first, second) = pair(clockError: error)
        let term = first.stored?.intent?.term ?? 0
        second.pass(term - 10)
        #expect(second.calls.isEmpty)
        second.pass(GrantMachine.takeOverPause + 20)
        #expect(second.calls.count == 1)
    }

    @Test func `who takes over reads the store first, and waits for a result that waited for the store`() {
        let (first, second) = pair()
        second.pass(second.machine.leaseTerm + 100)
        #expect(second.trace.filter { $0 == "load" }.count == 2)
        first.succeed("a2", refresh: "r2")
        second.writeElsewhere { $0 = first.stored ?? $0 }
        second.pass(100_000)
        #expect(second.calls.isEmpty)
        #expect(second.publishedToken == "Bearer a2")
    }

    @Test func `a process that stood still does not go on with a refresh whose lease is over`() {
        let driver = GrantDriver(
            stored: GrantDriver.record(lifetime: 600_000, age: 700_000), instance: "a", exclusive: false)
        driver.storeMode = .holds
        driver.start()
        driver.now.monotonic += 300_000
        driver.releaseCommit()
        #expect(driver.calls.isEmpty && driver.heldCommits.count == 1)
        driver.releaseCommit()
        #expect(driver.calls.count == 1)
    }

    @Test func `a replay that comes too late is none`() {
        let driver = GrantDriver(
            stored: GrantDriver.record(lifetime: 600_000, age: 700_000), instance: "a", exclusive: false)
        driver.start()
        driver.fail(.transient, "http_503", status: 503, unknown: true)
        driver.now.monotonic += 60_000
        driver.timer = nil
        driver.run(driver.machine.timerFired(now: driver.now))
        #expect(driver.calls.isEmpty)
        #expect(driver.stored?.consecutiveFailures == 1)
    }

    @Test func `of two refreshes of one token the one that was sent later counts`() {
        let (first, second) = pair()
        second.pass(20_000)
        second.gone("a")
        // The first was not dead: its result comes while the second's call is in flight.
        first.stored = second.stored
        first.succeed("a2", refresh: "r2")
        #expect(first.stored?.tokens?.refreshToken == Secret("r2"))
        second.stored = first.stored
        second.succeed("a3", refresh: "r3")
        #expect(second.stored?.tokens?.refreshToken == Secret("r3"))
        #expect(second.stored?.generation == 3)
        // And not the other way round.
        let late = GrantChange.Refreshed(
            tokens: TokenSet(accessToken: Secret("a4"), refreshToken: Secret("r4")),
            sent: .init(generation: 1, refreshToken: Secret("r1"), fence: 2, provider: "zoho"),
            sentAt: first.now, requiredScopes: [], scopes: [])
        #expect(second.stored.map { GrantChange.refreshed(late).applied(to: $0) } == .some(nil))
    }

    /// Found by the simulation: a clock that is half a second behind took a new token for an old one.
    @Test func `a sibling's new token is new although its clock is a little ahead`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 60_000), instance: "b", exclusive: false)
        driver.start()
        driver.pass(29_000)
        driver.writeElsewhere {
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.refreshToken = Secret("r2")
            $0.tokens?.obtainedAt = driver.now.wall + 400
            $0.tokens?.expiresAt = driver.now.wall + 60_400
        }
        driver.pass(20_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.publishedToken == "Bearer a2")
    }

    /// Found by the simulation: what was fetched while the store was away may be old when it is first seen.
    @Test func `tokens that were stored late are as old as they are`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 60_000), instance: "b", exclusive: false) {
            $1.rotation = .reusable
        }
        driver.start()
        driver.pass(20_000)
        driver.writeElsewhere { $0.account = "x" }
        driver.pass(1000)
        driver.writeElsewhere {
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.obtainedAt = driver.now.wall - 50_000
            $0.tokens?.expiresAt = driver.now.wall + 10_000
            $0.tokens?.origin = .init(generation: 1, fence: 0)
        }
        #expect(driver.published?.expiresAt == driver.now.monotonic + 10_000)
    }

    /// Found by the simulation (seed 870): the tokens of a replica that stood still were taken to be no older than the
    /// intent of the one that had taken over, and were used after their expiry.
    @Test func `tokens of a replica that was taken for dead are as old as its own intent`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000), instance: "b", exclusive: false)
        driver.start()
        let seenAt = driver.now.monotonic
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = .init(instance: "a", startedAt: wall, expiresAt: wall + 120_000)
        }
        driver.pass(20_000)
        driver.gone("a")
        #expect(driver.stored?.intent?.instance == "b" && driver.calls.count == 1)
        driver.pass(12_000)
        // Its clock is a minute ahead, so that it says nothing.
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.generation = 2
            $0.intent = nil
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.obtainedAt = wall + 28_000
            $0.tokens?.expiresAt = wall + 628_000
            $0.tokens?.origin = .init(generation: 1, fence: 2)
        }
        #expect(driver.publishedToken == "Bearer a2")
        #expect(driver.published?.expiresAt == seenAt + 600_000)
    }

    @Test func `a sibling's back-off is never longer than it was, whatever its clock says`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000, age: 700_000), instance: "b")
        driver.stored?.nextAttemptAt = driver.now.wall + 3_605_000
        driver.stored?.lastFailure = .init(
            errorClass: .transient, code: "http_503", detail: "", at: driver.now.wall + 3_600_000)
        driver.stored?.consecutiveFailures = 3
        driver.start()
        driver.pass(5100)
        #expect(driver.calls.count == 1)
    }
}
