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
        (RevocationCallResult.revoked, RevocationResult.revoked), (.alreadyInvalid, .notConfirmed),
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

    @Test(arguments: [
        (GrantRecord.State.configurationError, RevocationResult.notConfirmed),
        (.reauthorizationRequired, .alreadyInvalid),
    ])
    func `a latched grant's expired access token says nothing of a refresh token that may live`(
        state: GrantRecord.State, told: RevocationResult
    ) {
        var record = GrantDriver.record(lifetime: 1000, age: 5000)
        record.state = state
        record.lastFailure = GrantRecord.Failure(
            errorClass: state == .configurationError ? .configuration : .permanent, code: "invalid_client", detail: "",
            at: 0)
        let driver = GrantDriver(stored: record) { _, provider in
            provider.revocation = RevocationStyleTests.github.revocation
        }
        driver.start()
        let ticket = driver.revoke()
        driver.replyRevocation(.notNeeded)
        // What is known of the refresh token outlives a restart between the two calls.
        let coded = driver.stored.flatMap { GrantRecord(payload: $0.encoded(), revision: $0.revision) }
        #expect(coded?.revocation == driver.stored?.revocation && coded?.revocation?.hasSkippedRefreshToken == true)
        driver.replyRevocation(.alreadyInvalid)
        #expect(driver.results[ticket] == [.revocation(told)])
        #expect(driver.machine.status(now: driver.now).revocationOutcome == told.rawValue)
        // Nothing goes on being tried: no call could do more.
        #expect(driver.timer == nil && driver.stored?.revocation == nil)
    }

    @Test func `where there is no refresh token, a dead access token is a dead grant`() {
        var record = GrantDriver.record()
        record.tokens?.refreshToken = nil
        let driver = GrantDriver(stored: record) { _, provider in
            provider.revocation = RevocationStyleTests.github.revocation
        }
        driver.start()
        let ticket = driver.revoke()
        driver.replyRevocation(.alreadyInvalid)
        #expect(driver.results[ticket] == [.revocation(.alreadyInvalid)])
    }

    @Test(arguments: ["offline_access", "offline"])
    func `the scope that asks for a refresh token is granted when one came`(scope: String) {
        for hasToken in [true, false] {
            let driver = GrantDriver { settings, _ in
                settings.scopes = ["mail", scope]
                settings.refreshTokenRequired = false
            }
            driver.start()
            var tokens = TokenSet(
                accessToken: Secret("a"), refreshToken: hasToken ? Secret("r") : nil, lifetime: 3_600_000)
            tokens.scopes = ["mail"]
            let ticket = driver.consent(tokens)
            guard case .connected(let report)? = driver.results[ticket]?.first else {
                Issue.record("not connected")
                continue
            }
            #expect(report.missingScopes == (hasToken ? [] : [scope]))
            #expect(driver.machine.status(now: driver.now).missingScopes == (hasToken ? [] : [scope]))
        }
    }

    @Test func `a required offline_access is met by the refresh token, and by it alone`() {
        for (token, isRefused) in [(Secret("r"), false), (nil, true)] as [(Secret?, Bool)] {
            let driver = GrantDriver { settings, _ in
                settings.scopes = ["mail", "offline_access"]
                settings.requiredScopes = ["offline_access"]
                settings.refreshTokenRequired = false
            }
            driver.start()
            var tokens = TokenSet(accessToken: Secret("a"), refreshToken: token, lifetime: 3_600_000)
            tokens.scopes = ["mail"]
            let ticket = driver.consent(tokens)
            #expect((driver.results[ticket] == [.consentRefused(.missingScopes(["offline_access"]))]) == isRefused)
        }
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
