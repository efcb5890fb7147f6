import Testing

@testable import OAuth

struct GrantEndsTests {
    private func active(
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) -> GrantDriver {
        let driver = GrantDriver(stored: GrantDriver.record(), configure: configure)
        driver.start()
        return driver
    }

    private func tokens(_ access: String, _ refresh: String?, scopes: [String]? = nil) -> TokenSet {
        var tokens = TokenSet(
            accessToken: Secret(access), refreshToken: refresh.map { Secret($0) }, lifetime: 3_600_000)
        tokens.scopes = scopes
        return tokens
    }

    // MARK: Consent

    @Test func `a consent connects the grant, durably, before it is told`() {
        let driver = GrantDriver()
        driver.start()
        driver.storeMode = .holds
        let ticket = driver.consent(tokens("a1", "r1"))
        #expect(driver.results[ticket] == [] && driver.published == nil)
        driver.releaseCommit()
        #expect(driver.publishedToken == "Bearer a1")
        #expect(driver.results[ticket] == [.connected(.init(scopes: ["read"], missingScopes: [], warnings: []))])
        #expect(driver.stored?.generation == 1)
    }

    @Test func `a consent that comes before the record is read waits for it`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.holdsLoads = true
        driver.start()
        let ticket = driver.consent(tokens("b", "rb"))
        driver.releaseLoad()
        #expect(driver.results[ticket]?.count == 1)
        #expect(driver.stored?.generation == 2)
        #expect(driver.publishedToken == "Bearer b")
    }

    @Test func `the newest consent wins over a refresh in flight`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiter = driver.need()
        _ = driver.consent(tokens("new", "rnew"))
        #expect(driver.token(waiter) == "Bearer new")
        driver.succeed("late", refresh: "rlate")
        #expect(driver.publishedToken == "Bearer new")
        #expect(driver.stored?.tokens?.refreshToken == Secret("rnew"))
        #expect(driver.facts.contains(.lateResultDropped))
    }

    @Test func `the newest consent wins over an invalid_grant for the old tokens`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        driver.holdsLoads = true
        driver.fail(.permanent, "invalid_grant")
        _ = driver.consent(tokens("new", "rnew"))
        driver.releaseLoad()
        #expect(driver.state == .active)
        #expect(driver.publishedToken == "Bearer new")
    }

    @Test(arguments: [GrantRecord.State.reauthorizationRequired, .configurationError, .revoked])
    func `a consent brings a grant back from every end`(state: GrantRecord.State) {
        var record = GrantDriver.record()
        record.state = state
        if state == .revoked { record.tokens = nil }
        let driver = GrantDriver(stored: record)
        driver.start()
        _ = driver.consent(tokens("new", "rnew"))
        #expect(driver.state == .active)
        #expect(driver.publishedToken == "Bearer new")
        #expect(driver.stored?.generation == 2)
    }

    @Test func `a consent without a refresh token does not replace a grant that has one`() throws {
        let driver = active()
        let ticket = driver.consent(tokens("b", nil))
        #expect(driver.results[ticket] == [.consentRefused(.noRefreshToken)])
        #expect(driver.publishedToken == "Bearer a1")
        #expect(driver.stored == GrantDriver.record())
        #expect(ConsentRefusal.noRefreshToken.explanation.contains("access_type"))
        #expect(driver.revocations.isEmpty)
    }

    @Test func `whether a refresh token is needed can be set`() {
        let need = GrantDriver { settings, _ in settings.refreshTokenRequired = true }
        need.start()
        #expect(need.results[need.consent(tokens("b", nil))] == [.consentRefused(.noRefreshToken)])
        let without = active { settings, _ in settings.refreshTokenRequired = false }
        _ = without.consent(tokens("b", nil))
        #expect(without.publishedToken == "Bearer b")
        #expect(without.stored?.tokens?.refreshToken == nil)
        let first = GrantDriver()
        first.start()
        guard case .connected(let report)? = first.results[first.consent(tokens("b", nil))]?.first else {
            Issue.record("not connected")
            return
        }
        #expect(report.warnings.count == 1)
    }

    @Test func `a consent that lacks a required scope is refused, one that lacks an asked scope is told`() {
        let strict = active { settings, _ in
            settings.scopes = ["read", "write"]
            settings.requiredScopes = ["write"]
        }
        let ticket = strict.consent(tokens("b", "rb", scopes: ["read"]))
        #expect(strict.results[ticket] == [.consentRefused(.missingScopes(["write"]))])
        #expect(strict.publishedToken == "Bearer a1")
        let lenient = active { settings, _ in settings.scopes = ["read", "write"] }
        _ = lenient.consent(tokens("b", "rb", scopes: ["read", "more"]))
        #expect(lenient.stored?.tokens?.scopes == ["read", "more"])
        #expect(lenient.machine.status(now: lenient.now).missingScopes == ["write"])
    }

    @Test func `the first account is pinned, another is refused and its token revoked`() {
        let driver = GrantDriver()
        driver.start()
        var first = tokens("a", "ra")
        first.account = "alice"
        _ = driver.consent(first)
        var other = tokens("b", "rb")
        other.account = "bob"
        let ticket = driver.consent(other)
        #expect(driver.results[ticket] == [.consentRefused(.wrongAccount(received: "bob", expected: "alice"))])
        #expect(driver.publishedToken == "Bearer a")
        #expect(driver.revocations.map(\.token) == [Secret("rb")])
        #expect(driver.results[driver.consent(tokens("c", "rc"))] == [.consentRefused(.accountUnknown)])
        driver.replyRevocation(.revoked)
        #expect(driver.publishedToken == "Bearer a")
    }

    @Test func `a consent that the store does not take is told and kept`() {
        let driver = GrantDriver()
        driver.start()
        driver.storeMode = .fails
        let ticket = driver.consent(tokens("a", "r"))
        #expect(driver.results[ticket] == [.consentNotStored])
        #expect(driver.published == nil)
        driver.storeMode = .works
        driver.pass(1000)
        #expect(driver.publishedToken == "Bearer a")
        #expect(driver.results[ticket]?.count == 1)
    }

    // MARK: Revocation

    @Test func `revocation stops injection first, then writes it down, then tells the provider`() {
        let driver = active()
        driver.trace = []
        let ticket = driver.revoke()
        #expect(driver.trace == ["publish nil", "commit", "revoke"])
        #expect(driver.stored?.state == .revoked && driver.stored?.revocation?.tokens.count == 2)
        #expect(driver.revocations.map(\.hint) == [.refreshToken])
        #expect(driver.refusal(driver.need()) == .revoked)
        driver.replyRevocation(.revoked)
        #expect(driver.revocations.map(\.hint) == [.accessToken])
        #expect(driver.results[ticket] == [])
        driver.replyRevocation(.alreadyInvalid)
        #expect(driver.results[ticket] == [.revocation(.revoked)])
        #expect(driver.stored?.revocation == nil && driver.stored?.tokens == nil)
        #expect(driver.timer == nil)
    }

    @Test func `a revocation after an outage is answered by what became of it, not by what failed before`() {
        let record = GrantDriver.record(lifetime: 3_600_000, age: 3_700_000)
        let driver = GrantDriver(stored: record, exclusive: false)
        driver.storeMode = .fails
        driver.start()
        driver.need()
        driver.pass(10_000)
        #expect(driver.calls.isEmpty, "no refresh whose result cannot be kept")
        // Another replica has refreshed it since.
        driver.storeMode = .works
        let wall = driver.now.wall
        driver.writeElsewhere {
            $0 = GrantDriver.record(wall: wall); $0.revision = 2; $0.generation = 2
        }
        driver.run(driver.machine.storeWorksAgain(now: driver.now))
        driver.storeMode = .holds
        let ticket = driver.revoke()
        #expect(driver.revocations.isEmpty, "the store hears of it first")
        driver.storeMode = .works
        driver.releaseCommit()
        driver.replyRevocation(.revoked)
        driver.replyRevocation(.revoked)
        #expect(driver.results[ticket] == [.revocation(.revoked)])
    }

    @Test(arguments: [
        (RevocationCallResult.revoked, RevocationResult.revoked), (.alreadyInvalid, .alreadyInvalid),
        (.notSupported, .notSupported),
    ])
    func `what became of the refresh token is the result`(answer: RevocationCallResult, result: RevocationResult) {
        let driver = active()
        let ticket = driver.revoke()
        driver.replyRevocation(answer)
        driver.replyRevocation(.revoked)
        #expect(driver.results[ticket] == [.revocation(result)])
        #expect(driver.machine.status(now: driver.now).revocationOutcome == result.rawValue)
    }

    @Test func `a revocation that fails is kept for retry, over a restart, as long as it takes`() {
        let driver = active()
        let ticket = driver.revoke()
        driver.replyRevocation(.failed(ProviderProblem(.transient, code: "http_503", detail: "", retryAfter: 90_000)))
        #expect(driver.results[ticket] == [.revocation(.failedKeptForRetry)])
        driver.pass(89_000)
        #expect(driver.revocations.isEmpty)
        let second = GrantDriver(stored: driver.stored)
        second.now = driver.now
        second.start()
        #expect(second.refusal(second.need()) == .revoked)
        second.pass(2000)
        #expect(second.revocations.map(\.token) == [Secret("r1")])
        second.replyRevocation(.revoked)
        second.replyRevocation(.revoked)
        #expect(second.stored?.revocation == nil)
        #expect(second.facts.contains(.revocationFinished(.revoked)))
    }

    @Test func `revoking again tries at once what is still owed`() {
        let driver = active()
        _ = driver.revoke()
        driver.replyRevocation(.failed(ProviderProblem(.transient, code: "x", detail: "", retryAfter: 90_000)))
        let again = driver.revoke()
        driver.replyRevocation(.revoked)
        driver.replyRevocation(.revoked)
        #expect(driver.results[again] == [.revocation(.revoked)])
        #expect(driver.results[driver.revoke()] == [.revocation(.nothingToRevoke)])
    }

    @Test func `there is nothing to revoke where nothing is connected`() {
        let driver = GrantDriver()
        driver.start()
        #expect(driver.results[driver.revoke()] == [.revocation(.nothingToRevoke)])
        #expect(driver.stored == nil)
    }

    @Test func `tokens that a refresh in flight still brings are revoked too and never used`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiter = driver.need()
        let ticket = driver.revoke()
        #expect(driver.refusal(waiter) == .revoked)
        #expect(driver.stored?.state == .revoked)
        driver.succeed("a2", refresh: "r2")
        var revoked: [Secret] = []
        while let call = driver.revocations.first {
            revoked.append(call.token)
            driver.replyRevocation(.revoked)
        }
        #expect(revoked == ["r2", "a2", "r1", "a1"].map { Secret($0) })
        #expect(driver.results[ticket] == [.revocation(.revoked)])
        #expect(driver.publications.compactMap { $0 }.isEmpty)
    }

    @Test func `a store that is down does not keep the provider from being told`() {
        let driver = active()
        driver.storeMode = .fails
        let ticket = driver.revoke()
        #expect(driver.published == nil)
        driver.pass(10)
        #expect(driver.revocations.count == 1)
        driver.replyRevocation(.revoked)
        driver.pass(10)
        driver.replyRevocation(.revoked)
        // Not "revoked": a restart before the store works again would bring the grant back.
        #expect(driver.results[ticket] == [.revocationNotStored])
        driver.storeMode = .works
        driver.pass(31_000)
        #expect(driver.stored?.state == .revoked && driver.stored?.revocation == nil)
    }

    @Test func `a new consent drops what is owed of the old one`() {
        let driver = active()
        _ = driver.revoke()
        driver.replyRevocation(.failed(ProviderProblem(.transient, code: "x", detail: "")))
        _ = driver.consent(tokens("b", "rb"))
        driver.pass(3_000_000)
        #expect(driver.revocations.isEmpty)
        #expect(driver.publishedToken == "Bearer b")
    }

    // MARK: Forgetting

    @Test func `forgetting deletes the record, tells nobody, and generations go on`() {
        let driver = active()
        let ticket = driver.forget()
        #expect(driver.results[ticket] == [.forgotten])
        #expect(driver.stored == nil && driver.published == nil)
        #expect(driver.state == .notConnected)
        #expect(driver.revocations.isEmpty)
        _ = driver.consent(tokens("b", "rb"))
        #expect(driver.published?.generation == 2)
    }

    @Test func `a store that goes on counting after a deletion is followed`() {
        let driver = active()
        _ = driver.forget()
        driver.storeMode = .holds
        _ = driver.consent(tokens("b", "rb"))
        driver.stored = driver.heldCommits[0].record
        driver.stored?.revision = 9
        driver.releaseCommit(.committedAs(revision: 9))
        #expect(driver.publishedToken == "Bearer b")
        _ = driver.refresh()
        #expect(driver.heldCommits.map(\.expectedRevision) == [9])
        #expect(driver.heldCommits.map(\.record.revision) == [10])
    }

    @Test func `forgetting that fails says so and goes on as before`() {
        let driver = active()
        driver.storeMode = .fails
        let ticket = driver.forget()
        #expect(driver.results[ticket] == [.forgetFailed])
        #expect(driver.publishedToken == "Bearer a1")
    }

    @Test func `forgetting drops a refresh in flight`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiter = driver.need()
        _ = driver.forget()
        #expect(driver.refusal(waiter) == .notConnected || driver.refusal(waiter) == .revoked)
        driver.succeed("a2")
        #expect(driver.stored == nil && driver.published == nil)
    }

    @Test func `a new header name or scheme is published at once`() {
        let driver = active()
        var provider = driver.machine.provider
        provider.headerScheme = "Zoho-oauthtoken"
        driver.run(driver.machine.settingsChanged(driver.machine.settings, provider: provider, now: driver.now))
        #expect(driver.publishedToken == "Zoho-oauthtoken a1")
        provider.headerScheme = ""
        provider.headerName = "X-Shopify-Access-Token"
        driver.run(driver.machine.settingsChanged(driver.machine.settings, provider: provider, now: driver.now))
        #expect(driver.publishedToken == "a1")
        #expect(driver.published.map { String(decoding: $0.headerName, as: UTF8.self) } == "X-Shopify-Access-Token")
    }

    @Test func `tokens of another provider are neither injected nor sent to the new one`() {
        let driver = GrantDriver()
        driver.start()
        _ = driver.consent(tokens("a", "r"))
        var settings = driver.machine.settings
        settings.provider = "other"
        driver.run(driver.machine.settingsChanged(settings, provider: driver.machine.provider, now: driver.now))
        #expect(driver.published == nil && driver.state == .reauthorizationRequired)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
        driver.pass(4_000_000)
        #expect(driver.results[driver.refresh()]?.count == 1)
        #expect(driver.results[driver.revoke()] == [.revocation(.failedKeptForRetry)])
        #expect(driver.calls.isEmpty && driver.revocations.isEmpty)
        _ = driver.consent(tokens("b", "rb"))
        #expect(driver.publishedToken == "Bearer b" && driver.state == .active)
    }

    private func refreshingForZoho(_ mode: GrantDriver.StoreMode) -> GrantDriver {
        var record = GrantDriver.record(lifetime: 1000, age: 5000)
        record.provider = "zoho"
        let driver = GrantDriver(stored: record)
        driver.storeMode = mode
        driver.start()
        return driver
    }

    private func moveElsewhere(_ driver: GrantDriver) {
        var settings = driver.machine.settings
        settings.provider = "other"
        driver.run(driver.machine.settingsChanged(settings, provider: driver.machine.provider, now: driver.now))
    }

    @Test func `a refresh whose intent is being stored is not sent to another provider`() {
        let driver = refreshingForZoho(.holds)
        #expect(driver.heldCommits.count == 1 && driver.calls.isEmpty)
        moveElsewhere(driver)
        driver.releaseCommit()
        driver.pass(60_000)
        #expect(driver.calls.isEmpty && driver.state == .reauthorizationRequired)
    }

    @Test func `a lost reply is not asked for again at another provider`() {
        let driver = refreshingForZoho(.works)
        #expect(driver.calls.count == 1)
        moveElsewhere(driver)
        driver.fail(.transient, "reply_lost_reset", unknown: true)
        driver.pass(60_000)
        #expect(driver.calls.isEmpty && driver.published == nil)
    }

    @Test func `tokens that come after a reload named another provider are kept`() {
        let driver = refreshingForZoho(.works)
        moveElsewhere(driver)
        #expect(driver.machine.holdsUnfinishedWork)
        driver.succeed("a2", refresh: "r2")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2") && driver.stored?.provider == "zoho")
        #expect(driver.published == nil && !driver.machine.holdsUnfinishedWork)
    }

    @Test func `tokens that the store has not taken are unfinished work`() {
        let driver = refreshingForZoho(.works)
        driver.storeMode = .fails
        driver.succeed("a2", refresh: "r2")
        #expect(driver.machine.holdsUnstoredTokens)
        driver.storeMode = .works
        driver.pass(60_000)
        #expect(!driver.machine.holdsUnstoredTokens && driver.stored?.tokens?.refreshToken == Secret("r2"))
    }

    @Test func `ten thousand waiters that come one by one cost no more than their number`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        let waiters = (0..<10_000).map { _ in driver.need() }
        driver.succeed("a2")
        #expect(waiters.allSatisfy { driver.token($0) == "Bearer a2" })
    }

    @Test func `the status tells what an operator needs and no secret`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.pass(400_000)
        driver.fail(.transient, "http_429", status: 429, retryAfter: 60_000)
        let status = driver.machine.status(now: driver.now)
        #expect(status.state == .active && status.usable && status.hasRefreshToken)
        #expect(status.expiresAt == 1_700_000_600_000)
        #expect(status.lastFailure?.code == "http_429")
        #expect(status.nextAttemptAt.map { $0 >= driver.now.wall + 60_000 } == true)
        #expect(!String(reflecting: status).contains("a1"))
    }
}
