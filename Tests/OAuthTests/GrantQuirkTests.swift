import Testing

@testable import OAuth

/// What providers' quirks mean for a grant.
struct GrantQuirkTests {
    private func active(_ configure: (inout ProviderSettings) -> Void = { _ in }) -> GrantDriver {
        let driver = GrantDriver(stored: GrantDriver.record()) { _, provider in configure(&provider) }
        driver.start()
        return driver
    }

    @Test(arguments: [
        (RevocationCallResult.revoked, RevocationResult.revoked), (.alreadyInvalid, .alreadyInvalid),
        (.notSupported, .notSupported),
    ])
    func `where the access token ends the grant, its outcome is the one that is told`(
        result: RevocationCallResult, told: RevocationResult
    ) {
        let driver = active { $0.revocation = RevocationStyleTests.github.revocation }
        let ticket = driver.revoke()
        driver.replyRevocation(.notNeeded)
        #expect(driver.results[ticket] == [] && driver.revocations.map(\.hint) == [.accessToken])
        driver.replyRevocation(result)
        #expect(driver.results[ticket] == [.revocation(told)])
        #expect(driver.stored?.revocation == nil && driver.stored?.state == .revoked)
    }

    @Test func `an access token that could not be revoked is kept for another attempt`() {
        let driver = active { $0.revocation = RevocationStyleTests.slack.revocation }
        let ticket = driver.revoke()
        driver.replyRevocation(.notNeeded)
        driver.replyRevocation(.failed(ProviderProblem(.transient, code: "http_503", detail: "no")))
        #expect(driver.results[ticket] == [.revocation(.failedKeptForRetry)])
        #expect(driver.stored?.revocation?.tokens.map(\.hint) == [.accessToken])
    }

    @Test(arguments: [
        (RevocationStyle.Order.both, "rb"), (.refreshToken, "rb"), (.accessToken, "b"),
    ])
    func `of a refused account's tokens the one that ends the grant is revoked`(
        order: RevocationStyle.Order, token: String
    ) {
        let driver = GrantDriver { settings, provider in
            settings.expectedAccount = "alice"
            provider.revocation.order = order
        }
        driver.start()
        var tokens = TokenSet(accessToken: Secret("b"), refreshToken: Secret("rb"))
        tokens.account = "bob"
        _ = driver.consent(tokens)
        #expect(driver.revocations.map(\.token) == [Secret(token)])
    }

    @Test func `a fixed end of the refresh token does not move with a refresh, a sliding one does`() {
        for isFixed in [true, false] {
            var record = GrantDriver.record(lifetime: 1000, age: 2000)
            record.tokens?.refreshTokenExpiresAt = 1_700_000_500_000
            let driver = GrantDriver(stored: record)
            driver.start()
            _ = driver.need()
            var tokens = TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 3_600_000)
            tokens.keepsRefreshTokenEnd = isFixed
            tokens.refreshTokenLifetime = isFixed ? nil : 1_000_000
            driver.reply(.success(tokens))
            let end = driver.stored?.tokens?.refreshTokenExpiresAt
            #expect(driver.stored?.generation == 2)
            #expect(end == (isFixed ? 1_700_000_500_000 : driver.now.wall + 1_000_000))
        }
    }
}
