import Testing

@testable import OAuth

/// Commands, reloads and stores that come in between of each other.
@Suite struct GrantCrossingTests {
    static let consented = TokenSet(
        accessToken: Secret("c1"), refreshToken: Secret("cr1"), lifetime: 600_000)

    // MARK: Import and forget

    @Test func `an import that is under way when its grant is forgotten is answered, and the grant goes on`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let first = driver.importToken("i1")
        let second = driver.importToken("i2")
        let forget = driver.forget()
        #expect(driver.results[forget] == [.forgotten])
        #expect(driver.stored == nil)
        for ticket in [first, second] {
            #expect(driver.results[ticket].map(importCode) == "forgotten")
        }
        driver.succeed("late", refresh: "late-r")
        #expect(driver.stored == nil)
        #expect(driver.publishedToken == nil)
        _ = driver.consent(Self.consented)
        #expect(driver.publishedToken == "Bearer c1")
        driver.pass(600_000)
        #expect(driver.sentRefreshToken() == "cr1")
    }

    // MARK: Import and revocation

    @Test func `a revocation that comes during an import also ends what the import brings`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let imported = driver.importToken("i1")
        let waiting = driver.importToken("i2")
        #expect(driver.sentRefreshToken() == "i1")
        let revoke = driver.revoke()
        #expect(driver.publishedToken == nil)
        #expect(driver.results[waiting].map(importCode) == "revoked")
        driver.succeed("a2", refresh: "i1b")
        #expect(driver.results[imported].map(importCode) == "revoked")
        #expect(driver.stored?.state == .revoked)
        var ended: [String] = []
        while let call = driver.revocations.first {
            ended.append(call.token.reveal())
            driver.replyRevocation(.revoked)
        }
        #expect(Set(ended) == ["a1", "r1", "a2", "i1b"])
        #expect(driver.results[revoke] == [.revocation(.revoked)])
        #expect(driver.published == nil)
        #expect(driver.calls.isEmpty)
    }

    @Test func `an import that fails after a revocation leaves the grant revoked`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let imported = driver.importToken("i1")
        _ = driver.revoke()
        driver.fail(.transient, "timeout", unknown: true)
        #expect(driver.results[imported].map(importCode) == "revoked")
        #expect(driver.calls.isEmpty)
        while !driver.revocations.isEmpty { driver.replyRevocation(.revoked) }
        driver.pass(3_600_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.stored?.state == .revoked)
        #expect(driver.stored?.intent == nil)
    }

    @Test func `what an import brings is ended also where there was nothing to revoke yet`() {
        let driver = GrantDriver()
        driver.start()
        let imported = driver.importToken("i1")
        let revoke = driver.revoke()
        #expect(driver.results[revoke] == [.revocation(.nothingToRevoke)])
        driver.succeed("a2", refresh: "i1b")
        #expect(driver.results[imported].map(importCode) == "revoked")
        #expect(driver.revocations.map { $0.token.reveal() } == ["i1b"])
        #expect(driver.published == nil)
        #expect(driver.stored?.tokens == nil)
    }

    @Test func `an import that the store has not taken yet is not sent after a revocation`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        driver.storeMode = .holds
        let imported = driver.importToken("i1")
        _ = driver.revoke()
        #expect(driver.results[imported].map(importCode) == "revoked")
        driver.storeMode = .works
        driver.releaseCommit()
        #expect(driver.calls.isEmpty)
        #expect(driver.stored?.state == .revoked)
        let later = driver.importToken("i2")
        while !driver.revocations.isEmpty { driver.replyRevocation(.revoked) }
        #expect(driver.sentRefreshToken() == "i2")
        driver.succeed("a3", refresh: "i3")
        #expect(driver.results[later].map(importCode) == "imported")
        #expect(driver.publishedToken == "Bearer a3")
    }

    // MARK: Import and another provider

    static func moved(_ driver: GrantDriver) {
        var settings = driver.machine.grantSettings
        settings.provider = "other"
        var provider = GrantDriver.provider
        provider.name = "other"
        driver.run(driver.machine.settingsChanged(settings, provider: provider, now: driver.now))
    }

    @Test func `an import that comes back after a reload moved the grant is not another provider's`() {
        let driver = GrantDriver()
        driver.start()
        let imported = driver.importToken("i1")
        Self.moved(driver)
        driver.succeed("a2", refresh: "i1b")
        #expect(driver.results[imported].map(importCode) == "configuration_changed")
        #expect(driver.published == nil)
        #expect(driver.stored?.tokens == nil)
        driver.pass(3_600_000)
        #expect(driver.calls.isEmpty)
    }

    @Test func `an import is not asked for again at another provider`() {
        let driver = GrantDriver()
        driver.start()
        let imported = driver.importToken("i1")
        driver.fail(.transient, "bad_gateway", status: 502, unknown: true)
        Self.moved(driver)
        driver.pass(60_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.results[imported].map(importCode) == "configuration_changed")
    }

    @Test func `an import whose intent is stored after a reload is not sent to another provider`() {
        let driver = GrantDriver()
        driver.start()
        driver.storeMode = .holds
        let imported = driver.importToken("i1")
        Self.moved(driver)
        driver.storeMode = .works
        driver.releaseCommit()
        #expect(driver.calls.isEmpty)
        #expect(driver.results[imported].map(importCode) == "configuration_changed")
    }

    // MARK: A record that cannot be read

    @Test func `who commands a grant that cannot be read is told, and is not obeyed later`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.storeMode = .fails
        driver.start()
        let forget = driver.forget()
        let revoke = driver.revoke()
        let refresh = driver.refresh()
        let imported = driver.importToken("i1")
        driver.pass(60_000)
        #expect(driver.results[forget] == [.forgetFailed])
        #expect(driver.results[revoke] == [.revocationNotDone])
        #expect(driver.results[imported].map(importCode) == "store_unavailable")
        guard case .refreshFailed("store_unavailable", _)? = driver.results[refresh]?.first else {
            Issue.record("told \(String(describing: driver.results[refresh]))")
            return
        }
        driver.storeMode = .works
        driver.pass(60_000)
        #expect(driver.stored?.state == .active)
        #expect(driver.calls.isEmpty)
        #expect(driver.publishedToken == "Bearer a1")
        #expect(driver.results.values.allSatisfy { $0.count == 1 })
    }

    @Test func `what a consent brought is kept until the record can be read, and who waits is told at once`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.storeMode = .fails
        driver.start()
        let consent = driver.consent(Self.consented)
        driver.pass(60_000)
        #expect(driver.results[consent] == [.consentNotStored])
        driver.storeMode = .works
        driver.pass(60_000)
        #expect(driver.publishedToken == "Bearer c1")
        #expect(driver.stored?.tokens?.refreshToken == Secret("cr1"))
        #expect(driver.results[consent]?.count == 1)
    }

    // MARK: A store that went back

    /// A refreshed grant on a store that then loses what came after `generation 1`.
    static func wentBack() -> (driver: GrantDriver, old: GrantRecord?) {
        let driver = GrantDriver(exclusive: false)
        driver.start()
        _ = driver.consent(TokenSet(accessToken: Secret("a1"), refreshToken: Secret("r1"), lifetime: 600_000))
        let old = driver.stored
        _ = driver.refresh()
        driver.succeed("a2", refresh: "r2", lifetime: 600_000)
        driver.stored = old
        return (driver, old)
    }

    @Test func `tokens that a failover lost are written again, and the rotated one is not sent`() {
        let (driver, _) = Self.wentBack()
        #expect(driver.publishedToken == "Bearer a2")
        driver.pass(600_000)
        #expect(driver.facts.contains(.storeWentBack))
        #expect(driver.sentRefreshToken() == "r2")
        driver.succeed("a3", refresh: "r3")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r3"))
        #expect(driver.publishedToken == "Bearer a3")
    }

    @Test func `a revocation that a failover lost is written again`() {
        let (driver, old) = Self.wentBack()
        driver.stored = old
        _ = driver.revoke()
        #expect(driver.stored?.state == .revoked)
        driver.stored = old
        while !driver.revocations.isEmpty { driver.replyRevocation(.revoked) }
        #expect(driver.stored?.state == .revoked)
        #expect(driver.published == nil)
    }

    @Test func `a record that was deleted and made anew is another one, however low its generation`() {
        let (driver, _) = Self.wentBack()
        var anew = GrantDriver.record()
        anew.lineage = "another"
        driver.stored = anew
        driver.pass(600_000)
        #expect(!driver.facts.contains(.storeWentBack))
        #expect(driver.stored?.lineage == "another")
        #expect(driver.sentRefreshToken() ?? "r1" == "r1")
    }

    @Test func `another replica's tokens are taken over also where the failover set the revision back`() {
        let (driver, old) = Self.wentBack()
        var other = try! #require(old)
        other.generation += 5
        other.tokens?.accessToken = Secret("b9")
        driver.run(driver.machine.recordChangedElsewhere(other, now: driver.now))
        #expect(driver.publishedToken == "Bearer b9")
    }

    // MARK: Leases

    @Test func `no replica takes another for dead before its lease is over, however long the provider may take`() {
        let driver = GrantDriver(stored: GrantDriver.record(age: 3_600_000), exclusive: false) { _, provider in
            provider.callDeadline = 600_000
            provider.replayWindow = 600_000
        }
        driver.start()
        let lease = driver.machine.leaseTerm
        #expect(driver.stored?.intent?.term == lease)
        #expect(GrantRecord.Intent.longestTerm == lease)
    }

    // MARK: Latches

    @Test func `an unattended grant whose own settings were wrong is tried again when they change`() {
        let driver = GrantDriver { settings, _ in
            settings.acquisition = .unattended(.clientCredentials)
            settings.scopes = ["wrong"]
        }
        driver.start()
        driver.fail(.configuration, "invalid_scope")
        driver.pass(3_600_000)
        #expect(driver.state == .configurationError)
        #expect(driver.calls.isEmpty)
        var settings = driver.machine.grantSettings
        settings.scopes = ["right"]
        driver.run(driver.machine.settingsChanged(settings, provider: GrantDriver.provider, now: driver.now))
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        #expect(driver.state == .active)
    }

    @Test func `a grant whose client another grant's call has found refused waits, and says why`() {
        let driver = GrantDriver(stored: GrantDriver.record(age: 3_600_000))
        driver.machine.remember(OwnRefusal(until: driver.now.monotonic + 60_000, isOfClient: true))
        driver.start()
        let early = driver.need()
        #expect(driver.refusal(early) == .configurationError)
        // Grants that wait for the same client part afterwards: one finds out for the rest.
        #expect((60_000...90_000).contains(driver.retryAfter(early) ?? 0))
        driver.pass(59_999)
        #expect(driver.calls.isEmpty)
        driver.pass(30_001)
        #expect(driver.calls.count == 1)
        #expect(driver.stored?.state == .active)
        driver.succeed("a2", refresh: "r2")
        #expect(driver.publishedToken == "Bearer a2")
    }

    @Test func `a grant that waits for its client goes on at once when another grant was refreshed`() {
        let driver = GrantDriver(stored: GrantDriver.record(age: 3_600_000))
        driver.machine.remember(OwnRefusal(until: driver.now.monotonic + 60_000, isOfClient: true))
        driver.start()
        #expect(driver.machine.ownRefusal(now: driver.now) == nil, "who was told tells nobody")
        driver.run(driver.machine.clientAccepted(now: driver.now))
        #expect(driver.calls.count == 1)
    }

    @Test func `a revocation whose grant cannot be read again is not said to be needless`() {
        let driver = GrantDriver(exclusive: false)
        driver.start()
        driver.storeMode = .fails
        let revoke = driver.revoke()
        #expect(driver.results[revoke] == [.revocationNotDone])
        driver.storeMode = .works
        driver.writeElsewhere({ $0 = GrantDriver.record() }, telling: false)
        let again = driver.revoke()
        #expect(driver.revocations.map { $0.token.reveal() } == ["r1"])
        driver.replyRevocation(.revoked)
        driver.replyRevocation(.revoked)
        #expect(driver.results[again] == [.revocation(.revoked)])
    }

    @Test func `what is kept or repeated is work that a driver must not drop`() {
        let kept = GrantDriver(stored: GrantDriver.record())
        kept.storeMode = .fails
        kept.start()
        _ = kept.consent(Self.consented)
        #expect(
            kept.machine.holdsUnstoredTokens && kept.machine.holdsUnfinishedWork && kept.machine.holdsUnstoredChanges)
        let repeated = GrantDriver(stored: GrantDriver.record())
        repeated.start()
        _ = repeated.importToken("i1")
        repeated.fail(.transient, "bad_gateway", status: 502, unknown: true)
        #expect(repeated.calls.isEmpty && repeated.machine.holdsUnfinishedWork)
    }

    @Test func `a grant that waits for its client goes on at once when the configuration changes`() {
        let driver = GrantDriver(stored: GrantDriver.record(age: 3_600_000))
        driver.machine.remember(OwnRefusal(until: driver.now.monotonic + 60_000, isOfClient: true))
        driver.start()
        #expect(driver.calls.isEmpty)
        var provider = GrantDriver.provider
        provider.clientSecrets = [Secret("new")]
        driver.run(
            driver.machine.settingsChanged(driver.machine.grantSettings, provider: provider, now: driver.now))
        #expect(driver.calls.count == 1)
    }

    @Test func `a renewed client certificate gives a latched grant another chance`() {
        let driver = GrantDriver(stored: GrantDriver.record(age: 3_600_000)) { _, provider in
            provider.presentsCertificate = true
            provider.certificateMark = "old"
        }
        driver.start()
        driver.fail(.configuration, "invalid_client")
        #expect(driver.state == .configurationError)
        var provider = GrantDriver.provider
        provider.presentsCertificate = true
        provider.certificateMark = "new"
        driver.run(
            driver.machine.settingsChanged(driver.machine.grantSettings, provider: provider, now: driver.now))
        #expect(driver.calls.count == 1)
    }

    private func importCode(_ results: [TicketResult]) -> String {
        switch results.first {
        case .importFailed(let code, _)?: code
        case .imported?: "imported"
        default: "\(results)"
        }
    }
}
