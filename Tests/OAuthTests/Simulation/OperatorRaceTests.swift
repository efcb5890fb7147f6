import Testing

@testable import OAuth

/// What an operator does while something is under way: found by the simulation or by what it was made to look at.
struct OperatorRaceTests {
    private func shared(
        _ record: GrantRecord = GrantDriver.record(lifetime: 600_000, age: 700_000),
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) -> GrantDriver {
        let driver = GrantDriver(stored: record, instance: "a", exclusive: false, configure: configure)
        driver.start()
        return driver
    }

    private func takeOver(_ driver: GrantDriver, by instance: String) {
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = .init(instance: instance, startedAt: wall, expiresAt: wall + 120_000)
        }
    }

    @Test func `a token whose reply was lost is not sent again once another replica is at it`() {
        let driver = shared()
        driver.fail(.transient, "http_503", status: 503, unknown: true)
        takeOver(driver, by: "b")
        driver.pass(20_000)
        #expect(driver.calls.isEmpty)
        driver.writeElsewhere {
            $0.intent = nil
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.refreshToken = Secret("r2")
        }
        #expect(driver.publishedToken == "Bearer a2" && driver.calls.isEmpty)
    }

    @Test func `a token whose reply was lost is not sent again once another replica's refresh has failed`() {
        let driver = shared()
        driver.fail(.transient, "http_503", status: 503, unknown: true)
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = nil
            $0.consecutiveFailures = 3
            $0.nextAttemptAt = wall + 60_000
            $0.lastFailure = .init(errorClass: .transient, code: "http_503", detail: "", at: wall)
        }
        driver.pass(50_000)
        #expect(driver.calls.isEmpty)
        driver.pass(15_000)
        #expect(driver.sentRefreshToken() == "r1")
    }

    @Test(arguments: [true, false])
    func `an import is answered when the grant is forgotten meanwhile, and nothing hangs`(isElsewhere: Bool) {
        let driver = shared(GrantDriver.record())
        let ticket = driver.importToken("x")
        #expect(driver.sentRefreshToken() == "x")
        if isElsewhere {
            driver.stored = nil
            driver.run(driver.machine.recordChangedElsewhere(nil, now: driver.now))
        } else {
            #expect(driver.results[driver.forget()] == [.forgotten])
        }
        #expect("\(driver.results[ticket] ?? [])".contains("forgotten"))
        driver.succeed("ax", refresh: "rx")
        #expect(driver.stored == nil && driver.published == nil)
        _ = driver.importToken("y")
        driver.succeed("ay", refresh: "ry", lifetime: 600_000)
        #expect(driver.publishedToken == "Bearer ay")
        driver.pass(600_000)
        #expect(driver.sentRefreshToken() == "ry")
    }

    /// Found by the simulation (seed 136998): it waited for the next event, whenever that was.
    @Test func `the next import begins when the one before it is not sent again`() {
        let driver = shared(GrantDriver.record())
        let (first, second) = (driver.importToken("x"), driver.importToken("y"))
        driver.fail(.transient, "http_503", status: 503, unknown: true)
        driver.writeElsewhere {
            $0.intent = nil
            $0.generation = 2
        }
        #expect(driver.calls.isEmpty && driver.results[first] == [])
        driver.pass(1200)
        #expect("\(driver.results[first] ?? [])".contains("importFailed"))
        #expect(driver.sentRefreshToken() == "y" && driver.results[second] == [])
    }

    @Test func `an unattended grant that was forgotten elsewhere is asked for only when it is needed`() {
        var record = GrantDriver.record(lifetime: 600_000)
        record.tokens?.refreshToken = nil
        let settings = GrantSettings(name: "crm", provider: "zoho", scopes: ["read"])
        var unattended = settings
        unattended.acquisition = .unattended(.clientCredentials)
        record.acquiredWith = unattended.acquisitionMark
        let driver = shared(record) { settings, _ in settings.acquisition = .unattended(.clientCredentials) }
        #expect(driver.publishedToken == "Bearer a1")
        driver.stored = nil
        driver.run(driver.machine.recordChangedElsewhere(nil, now: driver.now))
        driver.pass(3_600_000)
        #expect(driver.published == nil && driver.calls.isEmpty)
        _ = driver.need()
        #expect(driver.calls.count == 1)
    }

    @Test func `what is used from memory while the store is away ends with the grant`() {
        let driver = shared(GrantDriver.record(lifetime: 600_000)) { $1.rotation = .reusable }
        driver.storeMode = .fails
        driver.pass(590_000)
        driver.succeed("a2", lifetime: 600_000)
        #expect(driver.publishedToken == "Bearer a2")
        driver.storeMode = .holds
        driver.stored = nil
        driver.run(driver.machine.recordChangedElsewhere(nil, now: driver.now))
        #expect(driver.published == nil)
        driver.storeMode = .works
        driver.pass(60_000)
        #expect(driver.stored == nil && driver.published == nil)
    }

    /// Found by the simulation (seeds 1011495 and 1025163): a replica that got tokens and could store them only minutes
    /// later handed them on as new ones.
    @Test func `tokens that waited for the store are as old as that at least`() {
        let driver = shared(GrantDriver.record(lifetime: 600_000))
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = .init(instance: "b", startedAt: wall - 200_000, expiresAt: wall)
        }
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.intent = nil
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.obtainedAt = wall - 200_000
            $0.tokens?.expiresAt = wall + 400_000
            $0.tokens?.heldFor = 199_000
        }
        #expect(driver.publishedToken == "Bearer a2")
        #expect(driver.published?.expiresAt == driver.now.monotonic + 401_000)
    }

    @Test func `how long tokens waited for the store is stored with them`() {
        let driver = shared()
        driver.storeMode = .fails
        driver.succeed("a2", refresh: "r2")
        driver.storeMode = .works
        driver.pass(10_000)
        let held = driver.stored?.tokens?.heldFor ?? 0
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2") && held > 0 && held <= 10_000)
    }

    /// Found by the simulation (seed 1018196): a process stood still between the store's answer and the look at it.
    @Test func `what a read found is as old as the question`() {
        let driver = shared(GrantDriver.record(lifetime: 600_000))
        let asked = driver.now
        driver.now.monotonic += 60_000
        driver.now.wall += 60_000
        let news = { (change: (inout GrantRecord) -> Void, readAt: Moment) in
            var record = driver.stored ?? GrantRecord()
            change(&record)
            record.revision += 1
            driver.stored = record
            driver.run(driver.machine.recordChangedElsewhere(record, readAt: readAt, now: driver.now))
        }
        news({ $0.account = "x" }, asked)
        // The other's clock is far ahead and says nothing.
        news(
            { [wall = driver.now.wall] in
                $0.generation = 2
                $0.tokens?.accessToken = Secret("a2")
                $0.tokens?.obtainedAt = wall + 50_000
                $0.tokens?.expiresAt = wall + 110_000
            }, driver.now)
        #expect(driver.publishedToken != "Bearer a2")
    }

    @Test func `a first commit that was reported as failed is known again though the store counts on`() {
        let driver = GrantDriver(instance: "a", exclusive: false)
        driver.start()
        driver.storeMode = .holds
        let tokens = TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"), lifetime: 3_600_000)
        let ticket = driver.consent(tokens)
        driver.stored = driver.heldCommits[0].record
        driver.stored?.revision = 9
        driver.releaseCommit(.failed)
        #expect(driver.results[ticket] == [.consentNotStored])
        driver.pass(1000)
        driver.releaseCommit(.conflict(driver.stored))
        #expect(driver.publishedToken == "Bearer a" && driver.machine.storedRevision == 9)
        #expect(driver.heldCommits.isEmpty && driver.stored?.generation == 1)
    }
}

/// Revocations that more than one replica is at.
struct RevocationRaceTests {
    private func revoking() -> (GrantDriver, Ticket) {
        let driver = GrantDriver(stored: GrantDriver.record(), instance: "a", exclusive: false)
        driver.start()
        return (driver, driver.revoke())
    }

    /// Found by the simulation (seed 415): the answer came to a token that a sibling had already ticked off.
    @Test func `who asked for a revocation is told when another replica ends it`() {
        let (driver, ticket) = revoking()
        driver.writeElsewhere { $0.revocation?.tokens.removeFirst() }
        driver.replyRevocation(.alreadyInvalid)
        #expect(driver.results[ticket] == [] && driver.revocations.map(\.hint) == [.accessToken])
        driver.writeElsewhere {
            $0.revocation = nil
            $0.revocationOutcome = "revoked"
        }
        #expect(driver.results[ticket] == [.revocation(.revoked)])
    }

    @Test func `who asked for a revocation is told when another replica failed and waits`() {
        let (driver, ticket) = revoking()
        driver.writeElsewhere { [wall = driver.now.wall] in
            $0.revocation?.tokens.removeFirst()
            $0.revocation?.attempts = 1
            $0.revocation?.nextAttemptAt = wall + 60_000
        }
        driver.replyRevocation(.revoked)
        #expect(driver.results[ticket] == [.revocation(.failedKeptForRetry)])
    }

    @Test(arguments: [true, false])
    func `a revocation after a consent that waits for the store ends that too`(isRevokedBefore: Bool) {
        let driver = GrantDriver(stored: GrantDriver.record(), instance: "a", exclusive: false)
        driver.start()
        if isRevokedBefore {
            _ = driver.revoke()
            while !driver.revocations.isEmpty { driver.replyRevocation(.revoked) }
        }
        driver.storeMode = .fails
        if !isRevokedBefore { _ = driver.revoke() }
        let consent = driver.consent(
            TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 600_000))
        let ticket = driver.revoke()
        #expect(driver.published == nil && driver.state == .revoked)
        driver.storeMode = .works
        driver.pass(60_000)
        while !driver.revocations.isEmpty { driver.replyRevocation(.revoked) }
        #expect(driver.stored?.state == .revoked && driver.published == nil)
        #expect(driver.stored?.revocation == nil && driver.results[consent]?.count == 1)
        #expect(driver.results[ticket]?.count == 1)
        #expect(driver.results[ticket] != [.revocation(.nothingToRevoke)])
    }

    @Test func `forgetting asks the store even where nothing is known here`() {
        let driver = GrantDriver(instance: "a", exclusive: false)
        driver.start()
        // A sibling connected the grant, and the news was lost.
        driver.stored = GrantDriver.record()
        let ticket = driver.forget()
        #expect(driver.results[ticket] == [.forgotten] && driver.stored == nil)
        #expect(driver.results[driver.forget()] == [.forgotten])
    }

    @Test func `an import whose lease another replica has ended is not sent again`() {
        let driver = GrantDriver(stored: GrantDriver.record(), instance: "a", exclusive: false)
        driver.start()
        let ticket = driver.importToken("x")
        driver.writeElsewhere {
            $0.intent = nil
            $0.generation = 2
            $0.tokens?.accessToken = Secret("a2")
            $0.tokens?.refreshToken = Secret("r2")
        }
        driver.fail(.transient, "timeout", unknown: true)
        driver.pass(30_000)
        #expect(driver.calls.isEmpty && driver.publishedToken == "Bearer a2")
        #expect("\(driver.results[ticket] ?? [])".contains("importFailed"))
    }
}
