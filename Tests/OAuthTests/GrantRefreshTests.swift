import Testing

@testable import OAuth

struct GrantRefreshTests {
    @Test func `an empty store means not connected`() {
        let driver = GrantDriver()
        driver.start()
        #expect(driver.state == .notConnected)
        #expect(driver.refusal(driver.need()) == .notConnected)
        #expect(driver.calls.isEmpty && driver.timer == nil)
    }

    @Test func `a waiter that comes before the record is read gets its answer from it`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.holdsLoads = true
        driver.start()
        let waiter = driver.need()
        #expect(driver.answers[waiter] == [])
        driver.releaseLoad()
        #expect(driver.token(waiter) == "Bearer a1")
        #expect(driver.publishedToken == "Bearer a1")
    }

    @Test func `a store that cannot be read is asked again, and waiters are told`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.storeMode = .fails
        driver.start()
        #expect(driver.refusal(driver.need()) == .storeUnavailable)
        driver.storeMode = .works
        driver.pass(1000)
        #expect(driver.token(driver.need()) == "Bearer a1")
    }

    @Test func `a hundred waiters on an expired token make one call and get its result`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiters = (0..<100).map { _ in driver.need() }
        #expect(driver.calls.count == 1)
        driver.succeed("a2", refresh: "r2")
        #expect(waiters.allSatisfy { driver.token($0) == "Bearer a2" && driver.answers[$0]?.count == 1 })
        #expect(driver.calls.isEmpty)
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.stored?.generation == 2)
    }

    @Test func `a hundred waiters on a failing refresh all get the same answer from one call`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiters = (0..<100).map { _ in driver.need() }
        driver.fail(.transient, "http_503", status: 503, retryAfter: 7000)
        #expect(waiters.allSatisfy { driver.refusal($0) == .refreshFailed && (driver.retryAfter($0) ?? 0) >= 7000 })
        #expect(driver.refusal(driver.need()) == .refreshFailed)
        #expect(driver.calls.isEmpty)
    }

    @Test func `the new tokens are durable before they are published or used`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiter = driver.need()
        driver.storeMode = .holds
        driver.succeed("a2", refresh: "r2")
        #expect(driver.answers[waiter] == [] && driver.published == nil)
        driver.releaseCommit()
        #expect(driver.token(waiter) == "Bearer a2")
        #expect(driver.publishedToken == "Bearer a2")
    }

    @Test func `the intent is durable before the call is made`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        driver.storeMode = .works
        #expect(driver.stored?.intent?.instance == "a")
        #expect(driver.trace.filter { $0 == "commit" || $0 == "call" } == ["commit", "call"])
        driver.succeed("a2")
        #expect(driver.stored?.intent == nil)
    }

    @Test func `a store that takes no writes means no refresh, while the valid token flows`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.storeMode = .fails
        driver.pass(400_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.token(driver.need()) == "Bearer a1")
        driver.pass(300_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.refusal(driver.need()) == .storeUnavailable)
        #expect(driver.commits < 40)
        driver.storeMode = .works
        driver.pass(60_000)
        #expect(driver.calls.count == 1)
    }

    @Test func `a result that cannot be stored is kept, the old token serves, and no second call is made`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.pass(400_000)
        driver.storeMode = .fails
        driver.succeed("a2", refresh: "r2")
        #expect(driver.token(driver.need()) == "Bearer a1")
        driver.pass(100_000)
        #expect(driver.token(driver.need()) == "Bearer a1")
        driver.pass(150_000)
        #expect(driver.refusal(driver.need()) == .storeUnavailable)
        #expect(driver.calls.isEmpty)
        driver.storeMode = .works
        driver.pass(31_000)
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.token(driver.need()) == "Bearer a2")
    }

    @Test func `a reply without a refresh token keeps the old one`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        driver.succeed("a2")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r1"))
        #expect(driver.stored?.tokens?.scopes == ["read"])
    }

    @Test func `a waiter that leaves stops nothing and is not answered`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let first = driver.need()
        let second = driver.need()
        driver.run(driver.machine.waiterLeft(first, now: driver.now))
        driver.succeed("a2")
        #expect(driver.answers[first] == [])
        #expect(driver.token(second) == "Bearer a2")
        let third = driver.need(rejected: 2)
        driver.run(driver.machine.waiterLeft(third, now: driver.now))
        #expect(driver.calls.count == 1)
        driver.succeed("a3")
        #expect(driver.publishedToken == "Bearer a3")
    }

    @Test func `waiters are bounded`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000)) { settings, _ in
            settings.maximumWaiters = 2
        }
        driver.start()
        let waiters = (0..<3).map { _ in driver.need() }
        #expect(driver.refusal(waiters[2]) == .tooManyWaiters)
        driver.succeed("a2")
        #expect(driver.token(waiters[0]) != nil && driver.token(waiters[1]) != nil)
    }

    // MARK: Ahead of expiry

    @Test(arguments: [(3_600_000, 300_000), (30_000, 15_000), (600_000, 300_000), (100, 50)] as [(Int64, Int64)])
    func `a refresh starts by itself, min(skew, half of the lifetime) ahead of expiry, with spread`(
        lifetime: Int64, lead: Int64
    ) {
        var starts: Set<Int64> = []
        for seed in 0..<40 {
            let driver = GrantDriver(seed: UInt64(seed))
            driver.start()
            var tokens = TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"), lifetime: lifetime)
            tokens.scopes = ["read"]
            _ = driver.consent(tokens)
            let due = (driver.timer ?? 0) - driver.now.monotonic
            #expect(due >= max(lifetime - lead, GrantMachine.backgroundSpacing))
            #expect(due <= max(lifetime - lead + lead / 4, GrantMachine.backgroundSpacing))
            starts.insert(due)
            driver.pass(due - 1)
            #expect(driver.calls.isEmpty)
            driver.pass(1)
            #expect(driver.calls.count == 1)
        }
        #expect(lead < 100 || starts.count > 10)
    }

    @Test func `an early refresh that fails for now leaves the valid token flowing, and expiry ends it`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.pass(400_000)
        driver.fail(.transient, "not_sent_refused")
        #expect(driver.token(driver.need()) == "Bearer a1")
        #expect(driver.state == .active)
        while driver.now.monotonic < 1_000_000 + 600_000 {
            driver.pass(1000)
            if !driver.calls.isEmpty { driver.fail(.transient, "not_sent_refused") }
        }
        #expect(driver.refusal(driver.need()) == .refreshFailed)
        #expect(driver.published == nil)
    }

    @Test func `back-off grows with jitter, and is bounded`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        var waits: [Int64] = []
        for _ in 0..<14 {
            let failedAt = driver.now.monotonic
            driver.fail(.transient, "http_429", status: 429)
            while driver.calls.isEmpty { driver.pass(50) }
            waits.append(driver.now.monotonic - failedAt)
        }
        #expect((450...1050).contains(waits[0]))
        #expect((8000...16_050).contains(waits[4]))
        #expect((150_000...300_050).contains(waits[13]))
    }

    @Test func `Retry-After is never shortened, not even by a command's latecomers`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        driver.fail(.transient, "http_429", status: 429, retryAfter: 900_000)
        driver.pass(899_999)
        #expect(driver.refusal(driver.need()) == .refreshFailed)
        #expect(driver.calls.isEmpty)
        driver.pass(12_000)
        #expect(driver.calls.count == 1)
    }

    @Test func `back-off survives a restart`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        driver.fail(.transient, "http_429", status: 429, retryAfter: 900_000)
        let second = GrantDriver(stored: driver.stored)
        second.start()
        #expect(second.calls.isEmpty)
        #expect(second.refusal(second.need()) == .refreshFailed)
        second.pass(920_000)
        #expect(second.calls.count == 1)
    }

    @Test func `an unknown lifetime means that only a 401 triggers a refresh`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: nil))
        driver.start()
        driver.pass(30 * 86_400_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.token(driver.need()) == "Bearer a1")
        let waiter = driver.need(rejected: 1)
        #expect(driver.calls.count == 1)
        driver.succeed("a2", lifetime: nil)
        #expect(driver.token(waiter) == "Bearer a2")
        #expect(driver.facts.contains(.lifetimeUnknown))
    }

    @Test func `an idle grant is refreshed within the keepalive interval`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: nil)) { $1.keepaliveInterval = 86_400_000 }
        driver.start()
        driver.pass(70_000_000)
        #expect(driver.calls.isEmpty)
        driver.pass(20_000_000)
        #expect(driver.calls.count == 1)
        #expect(driver.facts.contains(.refreshStarted(.keepalive)))
    }

    @Test func `the provider's minimum interval is kept, except for a command`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 50_000)) {
            $1.minimumRefreshInterval = 60_000
        }
        driver.start()
        #expect(driver.refusal(driver.need()) == .refreshTooSoon)
        driver.pass(10_000)
        #expect(driver.calls.count == 1)
        driver.succeed("a2", lifetime: 1000)
        driver.pass(2500)
        #expect(driver.refusal(driver.need()) == .refreshTooSoon)
        _ = driver.refresh()
        #expect(driver.calls.count == 1)
    }

    @Test func `a token of a second does not make a busy loop`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        var calls = 0
        for _ in 0..<600 {
            if !driver.calls.isEmpty {
                calls += 1
                driver.succeed("a", lifetime: 1000)
            }
            driver.pass(100)
        }
        #expect(calls <= 31)
    }

    // MARK: Clocks

    @Test(arguments: [-3_600_000, 3_600_000] as [Int64])
    func `a step of the wall clock changes nothing while running`(step: Int64) {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 3_600_000))
        driver.start()
        driver.pass(1000)
        driver.now.wall += step
        driver.pass(3_000_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.token(driver.need()) == "Bearer a1")
        driver.pass(590_000)
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        driver.pass(3_000_000)
        #expect(driver.calls.isEmpty)
        driver.pass(590_000)
        #expect(driver.calls.count == 1)
        // Not answered: the token in force ends when it ends.
        driver.pass(11_000)
        #expect(driver.answers[driver.need()] == [])
    }

    @Test(arguments: [-3_600_000, 3_600_000] as [Int64])
    func `a step of the wall clock over a restart costs one refresh`(step: Int64) {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 3_600_000))
        driver.now.wall += step
        driver.start()
        #expect(driver.calls.count == 1)
        let waiter = driver.need()
        #expect(driver.answers[waiter] == [])
        driver.succeed("a2")
        #expect(driver.token(waiter) == "Bearer a2")
        driver.pass(3_000_000)
        #expect(driver.calls.isEmpty)
    }

    @Test func `the lifetime counts from when the call was sent`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let sentAt = driver.now
        driver.pass(20_000)
        driver.reply(.success(TokenSet(accessToken: Secret("a2"), lifetime: 30_000)), sentAt: sentAt)
        #expect(driver.published?.expiresAt == sentAt.monotonic + 30_000)
        #expect(driver.stored?.tokens?.expiresAt == sentAt.wall + 30_000)
    }

    @Test func `tokens that lived out on their way are not handed out`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiter = driver.need()
        let sentAt = driver.now
        driver.pass(20_000)
        driver.reply(.success(TokenSet(accessToken: Secret("a2"), lifetime: 10_000)), sentAt: sentAt)
        #expect(driver.answers[waiter] == [])
        #expect(driver.calls.count == 1)
    }
}
