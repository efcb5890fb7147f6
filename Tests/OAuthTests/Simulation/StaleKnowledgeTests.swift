import Testing

@testable import OAuth

/// What a replica knows of the store is always a little old: found by the simulation.
struct StaleKnowledgeTests {
    private func shared(
        _ record: GrantRecord? = GrantDriver.record(lifetime: 600_000),
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) -> GrantDriver {
        let driver = GrantDriver(stored: record, instance: "a", exclusive: false, configure: configure)
        driver.start()
        return driver
    }

    private func advance(_ driver: GrantDriver, _ milliseconds: Int64 = 40) {
        driver.now.monotonic += milliseconds
        driver.now.wall += milliseconds
    }

    private func look(_ driver: GrantDriver, _ found: GrantRecord?, readAt: Moment) {
        driver.run(driver.machine.recordChangedElsewhere(found, readAt: readAt, now: driver.now))
    }

    // MARK: A deletion that was not heard of

    /// Seed 23384.
    @Test func `an import goes on when it finds that the grant was forgotten before`() {
        let driver = shared()
        driver.stored = nil
        let ticket = driver.importToken("x")
        #expect(driver.sentRefreshToken() == "x" && driver.stored?.intent?.instance == "a")
        driver.succeed("ax", refresh: "rx")
        #expect("\(driver.results[ticket] ?? [])".contains("imported") && driver.publishedToken == "Bearer ax")
    }

    @Test func `an operator's refresh of an unattended grant goes on when it finds that it was forgotten before`() {
        var settings = GrantSettings(name: "crm", provider: "zoho", scopes: ["read"])
        settings.acquisition = .unattended(.clientCredentials)
        var record = GrantDriver.record(lifetime: 600_000, refreshToken: nil)
        record.acquiredWith = settings.acquisitionMark
        let driver = shared(record) { settings, _ in settings.acquisition = .unattended(.clientCredentials) }
        driver.stored = nil
        let ticket = driver.refresh()
        #expect(driver.calls.count == 1 && driver.results[ticket] == [])
        driver.succeed("a2", lifetime: 600_000)
        #expect(driver.publishedToken == "Bearer a2" && "\(driver.results[ticket] ?? [])".contains("refreshed"))
        // One that has gone out belongs to what is forgotten.
        let late = driver.refresh()
        driver.stored = nil
        look(driver, nil, readAt: driver.now)
        #expect("\(driver.results[late] ?? [])".contains("not_connected"))
        driver.succeed("a3", lifetime: 600_000)
        #expect(driver.published == nil && driver.stored == nil)
    }

    private func beginAnew(_ driver: GrantDriver) {
        driver.writeElsewhere {
            let revision = $0.revision
            $0 = GrantRecord()
            $0.revision = revision
            $0.lineage = "another"
        }
    }

    /// Seeds 255230, 327754 and 615412: the deletion itself was never seen, only what began after it.
    @Test func `what was asked for before a deletion is not stored in what began after it`() {
        let driver = shared(nil) { settings, _ in settings.acquisition = .unattended(.clientCredentials) }
        let ticket = driver.refresh()
        #expect(driver.calls.count == 1 && driver.stored?.generation == 0)
        beginAnew(driver)
        #expect("\(driver.results[ticket] ?? [])".contains("not_connected"))
        driver.succeed("a1")
        #expect(driver.stored?.lineage == "another" && driver.stored?.tokens == nil && driver.published == nil)
    }

    @Test func `who waits for a refresh over a deletion is told of the tokens that came after it`() {
        let driver = shared()
        let ticket = driver.refresh()
        driver.writeElsewhere {
            let revision = $0.revision
            $0 = GrantDriver.record(lifetime: 600_000)
            $0.revision = revision
            $0.lineage = "another"
            $0.tokens?.accessToken = Secret("a9")
        }
        #expect(driver.results[ticket] == [.refreshed(generation: 1)] && driver.publishedToken == "Bearer a9")
        driver.succeed("a2", refresh: "r2")
        #expect(driver.stored?.tokens?.accessToken.reveal() == "a9")
    }

    @Test func `a refresh that fails after the grant was forgotten makes no record`() {
        var settings = GrantSettings(name: "crm", provider: "zoho", scopes: ["read"])
        settings.acquisition = .unattended(.clientCredentials)
        var record = GrantDriver.record(lifetime: 600_000, refreshToken: nil)
        record.acquiredWith = settings.acquisitionMark
        let driver = shared(record) { settings, _ in settings.acquisition = .unattended(.clientCredentials) }
        _ = driver.refresh()
        driver.stored = nil
        driver.fail(.transient, "http_429", status: 429)
        #expect(driver.stored == nil && driver.state == .notConnected)
    }

    /// Seeds 227220, 228701, 506483 and 599304.
    @Test(arguments: [GrantRecord.State.active, .revoked])
    func `a consent that was stored although the store failed is not stored again over another`(
        state: GrantRecord.State
    ) {
        let driver = shared()
        driver.storeMode = .holds
        let ticket = driver.consent(TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 600_000))
        #expect(driver.apply(driver.heldCommits[0]) == .committed)
        driver.releaseCommit(.failed)
        #expect(driver.results[ticket] == [.consentNotStored])
        driver.storeMode = .works
        driver.writeElsewhere {
            $0.generation += 1
            $0.connectedBy.insert("a sibling's consent", at: 0)
            $0.state = state
            $0.tokens?.accessToken = Secret("a3")
            $0.tokens?.refreshToken = Secret("r3")
            if state == .revoked { $0.tokens = nil }
        }
        let revision = driver.stored?.revision
        driver.pass(60_000)
        #expect(driver.stored?.state == state && driver.stored?.revision == revision)
        #expect(driver.publishedToken == (state == .active ? "Bearer a3" : nil))
    }

    // MARK: Answers that come late

    /// Seed 32702.
    @Test func `what was read before a deletion does not bring the grant back`() {
        let driver = shared()
        let before = driver.stored
        let asked = driver.now
        advance(driver)
        #expect(driver.results[driver.forget()] == [.forgotten])
        look(driver, before, readAt: asked)
        #expect(driver.published == nil && driver.state == .notConnected && driver.machine.storedRevision == 0)
        driver.stored = GrantDriver.record(lifetime: 600_000)
        look(driver, driver.stored, readAt: driver.now)
        #expect(driver.publishedToken == "Bearer a1")
    }

    @Test func `what was read before a consent does not end the grant`() {
        let driver = shared(nil)
        let asked = driver.now
        advance(driver)
        let tokens = TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"), lifetime: 600_000)
        _ = driver.consent(tokens)
        look(driver, nil, readAt: asked)
        #expect(driver.publishedToken == "Bearer a")
        look(driver, nil, readAt: driver.now)
        #expect(driver.published == nil)
    }

    @Test(arguments: [true, false])
    func `the answer to a read of no interest is not taken for that to another`(isFailed: Bool) {
        let driver = shared(GrantDriver.record(lifetime: 600_000, age: 700_000))
        driver.holdsLoads = true
        driver.fail(.permanent, "invalid_grant", status: 400)
        #expect(driver.heldLoads == 1)
        let before = driver.stored
        _ = driver.consent(TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"), lifetime: 600_000))
        #expect(driver.publishedToken == "Bearer a")
        advance(driver, 5000)
        _ = driver.refresh()
        driver.fail(.permanent, "invalid_grant", status: 400)
        // The second read waits for the answer to the first.
        #expect(driver.heldLoads == 1 && driver.state == .refreshing)
        driver.run(
            isFailed
                ? driver.machine.loadFailed(now: driver.now) : driver.machine.recordLoaded(before, now: driver.now))
        #expect(driver.heldLoads == 2 && driver.state == .refreshing)
        driver.releaseLoad()
        #expect(driver.state == .reauthorizationRequired)
    }

    /// Seed 41418: the second revocation was told what had become of the first.
    @Test func `a revocation that a consent has ended says nothing of the next one`() {
        let driver = shared()
        let first = driver.revoke()
        driver.writeElsewhere {
            $0.state = .active
            $0.revocation = nil
            $0.generation = 5
            $0.tokens = GrantDriver.record().tokens
            $0.tokens?.refreshToken = Secret("r2")
        }
        #expect(driver.results[first] == [.revocation(.nothingToRevoke)])
        driver.storeMode = .holds
        let second = driver.revoke()
        driver.replyRevocation(.failed(ProviderProblem(.replyLost(.timeout))))
        #expect(driver.results[second] == [])
        driver.releaseCommit()
        #expect(driver.revocations.map { $0.token.reveal() } == ["r2"])
    }

    /// Seed 288639: it was told that what is owed is tried again, and a sibling's consent had ended that.
    @Test func `a revocation that cannot read the store says so, and tries what is owed`() {
        let driver = shared()
        _ = driver.revoke()
        driver.replyRevocation(.failed(ProviderProblem(.replyLost(.timeout))))
        driver.storeMode = .fails
        let again = driver.revoke()
        #expect(driver.results[again] == [.revocationNotDone])
        #expect(driver.revocations.map { $0.token.reveal() } == ["r1"])
    }

    /// Seed 610768: the store had taken an older change, and not yet the revocation.
    @Test func `a revocation is kept for a retry when it is stored`() {
        let driver = shared()
        driver.storeMode = .fails
        _ = driver.consent(TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 600_000))
        let ticket = driver.revoke()
        #expect(driver.revocations.map { $0.token.reveal() } == ["r1"])
        driver.storeMode = .holds
        driver.pass(5000)
        driver.releaseCommit()
        #expect(driver.stored?.state == .active && driver.heldCommits.count == 1)
        driver.replyRevocation(.failed(ProviderProblem(.replyLost(.timeout))))
        #expect(driver.results[ticket] == [])
        driver.storeMode = .works
        driver.releaseCommit()
        #expect(driver.stored?.state == .revoked)
        driver.replyRevocation(.failed(ProviderProblem(.replyLost(.timeout))))
        #expect(driver.results[ticket] == [.revocation(.failedKeptForRetry)])
    }

    /// Seed 502751: by the record it was due, and everybody waited for longer.
    @Test func `a revocation is tried again when the record says, whoever wrote that last`() {
        let driver = shared()
        _ = driver.revoke()
        driver.storeMode = .holds
        driver.replyRevocation(.failed(ProviderProblem(.replyLost(.timeout))))
        driver.writeElsewhere(
            { [wall = driver.now.wall] in
                $0.revocation?.attempts += 1
                $0.revocation?.nextAttemptAt = wall + 900_000
            }, telling: false)
        driver.storeMode = .works
        driver.releaseCommit()
        let planned = driver.stored?.revocation?.nextAttemptAt ?? 0
        #expect(planned <= driver.now.wall + 5000 && driver.revocations.isEmpty)
        driver.pass(5000)
        #expect(driver.revocations.count == 1)
    }

    // MARK: What others are at

    /// Seeds 250681, 334393, 510494 and 525896: the needless refresh ended what the other one was about to send again.
    @Test(arguments: [false, true])
    func `new tokens are not refreshed again because a sibling had taken over`(isConsent: Bool) {
        let driver = shared(GrantDriver.record(lifetime: 600_000, age: 700_000))
        #expect(driver.sentRefreshToken() == "r1")
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = .init(instance: "b", startedAt: wall, expiresAt: wall + 120_000)
        }
        if isConsent {
            _ = driver.consent(TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 600_000))
        } else {
            driver.succeed("a2", refresh: "r2", lifetime: 600_000)
        }
        #expect(driver.publishedToken == "Bearer a2" && driver.stored?.intent == nil)
        driver.pass(10_000)
        #expect(driver.calls.count == (isConsent ? 1 : 0))
    }

    /// Seed 116635: two replicas called at once, for an import and for a refresh.
    @Test func `a refresh of a latched grant waits for the import of a sibling`() {
        var record = GrantDriver.record(lifetime: 600_000)
        record.state = .reauthorizationRequired
        record.intent = .init(instance: "b", startedAt: 1_700_000_000_000, expiresAt: 1_700_000_120_000)
        let driver = shared(record)
        let ticket = driver.refresh()
        #expect(driver.stored?.state == .active && driver.stored?.intent?.instance == "b")
        #expect(driver.calls.isEmpty && driver.results[ticket] == [])
        driver.writeElsewhere { $0.intent = nil }
        #expect(driver.sentRefreshToken() == "r1")
    }

    // MARK: Clocks

    /// A clock that is two minutes fast ended the grant everywhere.
    @Test func `a token that nothing can refresh ends for everybody when that is certain`() {
        let driver = shared(GrantDriver.record(lifetime: 60_000, age: 120_000, refreshToken: nil))
        #expect(driver.state == .reauthorizationRequired && driver.published == nil)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
        #expect(driver.stored?.state == .active && driver.stored?.revision == 1)
        driver.pass(59_000)
        #expect(driver.stored?.state == .active)
        driver.pass(1000)
        #expect(driver.stored?.state == .reauthorizationRequired && driver.timer == nil)
        let late = shared(GrantDriver.record(lifetime: 600_000, age: 900_001, refreshToken: nil))
        #expect(late.stored?.state == .reauthorizationRequired)
    }

    /// Seed 443981: the one was from before a step of the wall clock, the other from after it: an hour without a refresh.
    @Test func `a back-off that the store did not take is written with the failure that it is for`() throws {
        let driver = shared(GrantDriver.record(lifetime: 600_000, age: 700_000))
        driver.fail(.transient, "http_503", status: 503)
        driver.now.wall -= 3_600_000
        driver.storeMode = .fails
        driver.pass(2000)
        driver.storeMode = .works
        driver.pass(2000)
        #expect(driver.calls.count == 1)
        driver.storeMode = .fails
        driver.fail(.transient, "http_503", status: 503)
        driver.storeMode = .works
        driver.pass(10_000)
        let stored = try #require(driver.stored)
        let wait = try #require(stored.nextAttemptAt) - (stored.lastFailure?.at ?? 0)
        #expect(stored.intent != nil && stored.consecutiveFailures == 2 && (0...10_000).contains(wait))
    }

    /// Seed 13971: a consent's tokens were asked for before the record was last seen without them.
    @Test func `a consent's tokens that waited for the store are older than what was known before them`() {
        let driver = shared()
        advance(driver, 50_000)
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.obtainedAt = wall - 120_000
            $0.tokens?.expiresAt = wall + 480_000
            $0.tokens?.heldFor = 100_000
        }
        #expect(driver.publishedToken == "Bearer a2")
        #expect(driver.published?.expiresAt == driver.now.monotonic + 480_000)
    }
}
