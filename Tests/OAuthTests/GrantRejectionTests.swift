import Testing

@testable import OAuth

struct GrantRejectionTests {
    @Test func `a rejected current token makes one refresh for all who saw the 401`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let waiters = (0..<50).map { _ in driver.need(rejected: 1) }
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        #expect(waiters.allSatisfy { driver.token($0) == "Bearer a2" })
    }

    @Test func `a rejected older token is answered with the current one and no call`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.need(rejected: 1)
        driver.succeed("a2")
        #expect(driver.token(driver.need(rejected: 1)) == "Bearer a2")
        #expect(driver.calls.isEmpty)
    }

    @Test func `who did not see the 401 goes on with the token meanwhile`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let rejected = driver.need(rejected: 1)
        #expect(driver.token(driver.need()) == "Bearer a1")
        #expect(driver.answers[rejected] == [])
    }

    @Test func `within the cool-down there is one refresh from 401s`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.need(rejected: 1)
        driver.succeed("a2")
        let second = driver.need(rejected: 2)
        #expect(driver.refusal(second) == .coolingDown)
        #expect((driver.retryAfter(second) ?? 0) > 9000)
        #expect(driver.calls.isEmpty)
        #expect(driver.token(driver.need()) == "Bearer a2")
    }

    @Test func `an API that always answers 401 meets a breaker that grows`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        var calls = 0
        for _ in 0..<(2 * 3600) {
            _ = driver.need(rejected: driver.machine.status(now: driver.now).generation)
            if !driver.calls.isEmpty {
                calls += 1
                driver.succeed("a\(calls + 1)", lifetime: nil)
            }
            driver.pass(500)
        }
        #expect(calls >= 6)
        #expect(calls <= 11)
        #expect(driver.facts.contains(.freshTokenRejected(strikes: 3)))
    }

    @Test func `a token that served for long is no strike when it is rejected`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: nil))
        driver.start()
        for generation in 1...5 {
            let waiter = driver.need(rejected: UInt64(generation))
            driver.succeed("b\(generation)", lifetime: nil)
            #expect(driver.token(waiter) == "Bearer b\(generation)")
            driver.pass(700_000)
        }
    }

    @Test func `a refresh after a 401 that fails for now is tried again without anybody waiting`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: nil))
        driver.start()
        let waiter = driver.need(rejected: 1)
        driver.fail(.transient, "not_sent_refused")
        #expect(driver.refusal(waiter) == .refreshFailed)
        driver.pass(2000)
        #expect(driver.calls.count == 1)
        driver.succeed("a2", lifetime: nil)
        #expect(driver.publishedToken == "Bearer a2")
    }

    @Test func `a token that was rejected when its grant ended is not tried again after a restart`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.need(rejected: 1)
        driver.fail(.permanent, "invalid_grant")
        let restarted = GrantDriver(stored: driver.stored)
        restarted.start()
        #expect(restarted.published == nil)
        #expect(restarted.refusal(restarted.need()) == .reauthorizationRequired)
        // A grant that ended while its token was good goes on with the token, also after a restart.
        let good = GrantDriver(stored: GrantDriver.record())
        good.start()
        _ = good.refresh()
        good.fail(.permanent, "invalid_grant")
        let goodRestarted = GrantDriver(stored: good.stored)
        goodRestarted.start()
        #expect(goodRestarted.publishedToken == "Bearer a1")
    }

    @Test func `a consent after a rejection is used`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.need(rejected: 1)
        driver.fail(.permanent, "invalid_grant")
        let restarted = GrantDriver(stored: driver.stored)
        restarted.start()
        _ = restarted.consent(TokenSet(accessToken: Secret("c1"), refreshToken: Secret("rc")))
        #expect(restarted.publishedToken == "Bearer c1")
        #expect(restarted.stored?.rejectedGeneration == nil)
    }

    @Test func `without a refresh token a 401 says so, and the refresh token is never dropped by one`() {
        let bare = GrantDriver(stored: GrantDriver.record(refreshToken: nil))
        bare.start()
        #expect(bare.refusal(bare.need(rejected: 1)) == .noRefreshToken)
        #expect(bare.token(bare.need()) == "Bearer a1")
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.need(rejected: 1)
        driver.fail(.transient, "x")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r1"))
    }

    @Test func `a grant without a refresh token needs consent when its token has expired`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 60_000, refreshToken: nil))
        driver.start()
        #expect(driver.state == .active)
        driver.pass(60_000)
        #expect(driver.state == .reauthorizationRequired)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
        #expect(driver.stored?.lastFailure?.code == "no_refresh_token")
    }
}
