import Testing

@testable import OAuth

struct GrantFailureTests {
    private func expired(
        instance: String = "a", exclusive: Bool = true,
        configure: (inout GrantSettings, inout ProviderSettings) -> Void = { _, _ in }
    ) -> GrantDriver {
        let driver = GrantDriver(
            stored: GrantDriver.record(lifetime: 1000, age: 5000), instance: instance, exclusive: exclusive,
            configure: configure)
        driver.start()
        return driver
    }

    // MARK: Lost replies

    @Test func `a lost reply is asked for again at once with the same refresh token`() {
        let driver = expired()
        let waiter = driver.need()
        driver.fail(.transient, "timeout", unknown: true)
        driver.pass(10)
        #expect(driver.sentRefreshToken() == "r1")
        #expect(driver.answers[waiter] == [])
        driver.succeed("a2", refresh: "r2")
        #expect(driver.token(waiter) == "Bearer a2")
        #expect(driver.facts.contains(.refreshOutcomeUnknown(code: "timeout", willReplay: true)))
    }

    @Test func `a lost reply is asked for twice again at most, then waiters are told`() {
        let driver = expired()
        let waiter = driver.need()
        for _ in 0..<3 {
            driver.fail(.transient, "timeout", unknown: true)
            driver.pass(2500)
        }
        #expect(driver.refusal(waiter) == .refreshFailed)
        #expect(driver.stored?.intent != nil)
    }

    @Test func `a 5xx is asked again a moment later, unless it says when`() {
        let driver = expired()
        driver.fail(.transient, "http_500", status: 500, unknown: true)
        driver.pass(1000)
        #expect(driver.calls.isEmpty)
        driver.pass(200)
        #expect(driver.calls.count == 1)
        let asked = expired()
        asked.fail(.transient, "http_503", status: 503, retryAfter: 60_000, unknown: true)
        asked.pass(59_000)
        #expect(asked.calls.isEmpty)
    }

    @Test func `a replay window of zero switches replays off`() {
        let driver = expired { $1.replayWindow = 0 }
        let waiter = driver.need()
        driver.fail(.transient, "timeout", unknown: true)
        #expect(driver.refusal(waiter) == .refreshFailed)
        #expect(driver.facts.contains(.refreshOutcomeUnknown(code: "timeout", willReplay: false)))
    }

    @Test func `a repetition that was not sent does not make up for the reply that was lost`() {
        let driver = expired()
        driver.reply(.failure(ProviderProblem(.replyLost(.reset))))
        driver.reply(.failure(ProviderProblem(.notSent(.refused))))
        driver.pass(2200)
        driver.reply(.failure(ProviderProblem(.notSent(.refused))))
        #expect(driver.stored?.intent?.isOver == true, "the next start asks at once")
        let imported = GrantDriver()
        imported.start()
        let ticket = imported.importToken("x")
        imported.reply(.failure(ProviderProblem(.replyLost(.reset))))
        imported.reply(.failure(ProviderProblem(.notSent(.refused))))
        imported.pass(2200)
        imported.succeed("a1", refresh: "r1")
        #expect("\(imported.results[ticket] ?? [])".contains("imported"))
    }

    @Test(arguments: [ProviderProblem.stopping, ProviderProblem(.replyLost(.stopped))])
    func `a refresh that our own end cut is made again at the next start, without a wait`(problem: ProviderProblem) {
        let driver = expired { $1.replayWindow = 0 }
        let waiter = driver.need()
        driver.reply(.failure(problem))
        #expect(driver.refusal(waiter) == .refreshFailed && driver.calls.isEmpty)
        #expect(driver.stored?.consecutiveFailures == 0 && driver.stored?.nextAttemptAt == nil)
        #expect(driver.stored?.intent?.isOver == (problem.outcomeUnknown ? true : nil))
        let next = GrantDriver(stored: driver.stored, instance: "b", exclusive: false)
        next.start()
        _ = next.need()
        #expect(next.sentRefreshToken() == "r1")
    }

    @Test func `a restart in the middle of a refresh repeats it at once, although the token is still valid`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.pass(400_000)
        #expect(driver.calls.count == 1)
        let second = GrantDriver(stored: driver.stored, instance: "b")
        second.now = driver.now
        second.start()
        #expect(second.sentRefreshToken() == "r1")
        #expect(second.token(second.need()) == "Bearer a1")
        #expect(second.facts.contains(.refreshStarted(.recovery)))
    }

    // MARK: Permanent and configuration

    @Test func `invalid_grant needs consent, keeps the tokens, and makes no further call`() {
        let driver = expired()
        let waiter = driver.need()
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.refusal(waiter) == .reauthorizationRequired)
        #expect(driver.state == .reauthorizationRequired)
        #expect(driver.stored?.tokens?.refreshToken == Secret("r1"))
        driver.pass(90 * 86_400_000)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
        #expect(driver.refusal(driver.need(rejected: 1)) == .reauthorizationRequired)
        #expect(driver.calls.isEmpty)
        #expect(driver.timer == nil)
        let second = GrantDriver(stored: driver.stored)
        second.start()
        second.pass(86_400_000)
        #expect(second.refusal(second.need()) == .reauthorizationRequired)
        #expect(second.calls.isEmpty)
    }

    @Test func `invalid_grant while the access token is valid lets it serve until it is rejected or expires`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.pass(400_000)
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.state == .reauthorizationRequired)
        #expect(driver.token(driver.need()) == "Bearer a1")
        #expect(driver.refusal(driver.need(rejected: 1)) == .reauthorizationRequired)
        #expect(driver.published == nil)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
    }

    @Test func `invalid_grant after a sibling has rotated uses the sibling's pair`() {
        let driver = expired(exclusive: false)
        let waiter = driver.need()
        driver.writeElsewhere(
            {
                $0.generation = 2
                $0.intent = nil
                $0.tokens = GrantDriver.record(wall: driver.now.wall).tokens
                $0.tokens?.accessToken = Secret("a2")
                $0.tokens?.refreshToken = Secret("r2")
            }, telling: false)
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.token(waiter) == "Bearer a2")
        #expect(driver.state == .active)
        #expect(driver.facts.contains(.siblingTokensAdopted(generation: 2)))
    }

    @Test func `an operator's refresh is answered when the store cannot be read after invalid_grant`() {
        let driver = expired(exclusive: false)
        let ticket = driver.refresh()
        driver.storeMode = .fails
        driver.fail(.permanent, "invalid_grant", status: 400)
        guard case .refreshFailed("store_unavailable", _)? = driver.results[ticket]?.first else {
            Issue.record("told \(String(describing: driver.results[ticket]))")
            return
        }
    }

    @Test(arguments: [true, false])
    func `a token without a refresh token comes to its end although an import of the dead stands in the record`(
        isExclusive: Bool
    ) {
        var record = GrantDriver.record(lifetime: 30_000, refreshToken: nil)
        record.intent = .init(instance: "dead", startedAt: 1_700_000_000_000, expiresAt: 1_700_000_120_000)
        let driver = GrantDriver(stored: record, instance: "a", exclusive: isExclusive)
        driver.start()
        driver.pass(31_000)
        #expect(driver.stored?.state == .reauthorizationRequired && driver.timer == nil)
        #expect(driver.stored?.intent?.instance == "dead", "a sibling that lives may yet ask again for a lost reply")
    }

    @Test func `a store that cannot be read after invalid_grant leaves the verdict open`() {
        let driver = expired()
        let waiter = driver.need()
        driver.storeMode = .fails
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.refusal(waiter) == .storeUnavailable)
        #expect(driver.state == .refreshing)
        driver.storeMode = .works
        driver.pass(1000)
        #expect(driver.state == .reauthorizationRequired)
        #expect(driver.calls.isEmpty)
    }

    @Test func `invalid_client is a configuration error that a new configuration releases`() {
        let driver = expired()
        let waiter = driver.need()
        driver.fail(.configuration, "invalid_client")
        #expect(driver.refusal(waiter) == .configurationError)
        driver.pass(86_400_000)
        #expect(driver.calls.isEmpty)
        var provider = driver.machine.provider
        driver.run(driver.machine.settingsChanged(driver.machine.settings, provider: provider, now: driver.now))
        #expect(driver.calls.isEmpty)
        provider.clientSecrets = [Secret("new")]
        driver.run(driver.machine.settingsChanged(driver.machine.settings, provider: provider, now: driver.now))
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        #expect(driver.state == .active)
        #expect(driver.token(driver.need()) == "Bearer a2")
    }

    @Test func `a configuration that was mended before the restart releases the latch too`() {
        let driver = expired()
        driver.fail(.configuration, "invalid_client")
        let same = GrantDriver(stored: driver.stored)
        same.start()
        #expect(same.calls.isEmpty && same.state == .configurationError)
        let mended = GrantDriver(stored: driver.stored) { $1.clientSecrets = [Secret("new")] }
        mended.start()
        #expect(mended.calls.count == 1)
    }

    @Test func `an operator's refresh releases a latch`() {
        let driver = expired()
        driver.fail(.permanent, "invalid_grant")
        let ticket = driver.refresh()
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        #expect(driver.results[ticket] == [.refreshed(generation: 2)])
        let again = driver.refresh()
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.results[again] == [.refreshFailed(code: "invalid_grant", detail: "invalid_grant")])
        #expect(driver.state == .reauthorizationRequired)
    }

    @Test func `a latch that the store does not take holds all the same`() {
        let driver = expired()
        driver.holdsLoads = true
        driver.fail(.permanent, "invalid_grant")
        driver.storeMode = .fails
        driver.releaseLoad()
        driver.pass(600_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.refusal(driver.need()) == .reauthorizationRequired)
        driver.storeMode = .works
        driver.pass(31_000)
        #expect(driver.stored?.state == .reauthorizationRequired)
    }

    @Test func `a refresh that loses a required scope is an error state with the new tokens kept`() {
        let driver = expired { settings, _ in settings.requiredScopes = ["read"] }
        var tokens = TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 1000)
        tokens.scopes = ["other"]
        driver.reply(.success(tokens))
        #expect(driver.state == .reauthorizationRequired)
        #expect(driver.stored?.lastFailure?.code == "missing_scope")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.facts.contains(.scopesLost(["read"])))
    }

    @Test func `a refresh that loses an optional scope is told once, and the grant lives on`() {
        let driver = expired { settings, _ in settings.scopes = ["read", "write"] }
        driver.stored?.tokens?.scopes = ["read", "write"]
        driver.machine.record.tokens?.scopes = ["read", "write"]
        var narrow = TokenSet(accessToken: Secret("a2"), refreshToken: Secret("r2"), lifetime: 1000)
        narrow.scopes = ["read"]
        driver.reply(.success(narrow))
        #expect(driver.state == .active && driver.publishedToken == "Bearer a2")
        #expect(driver.machine.status(now: driver.now).missingScopes == ["write"])
        for number in 3..<6 {
            driver.pass(2500)
            narrow.accessToken = Secret("a\(number)")
            driver.reply(.success(narrow))
        }
        #expect(driver.facts.filter { $0 == .scopesLost(["write"]) }.count == 1)
        #expect(driver.stored?.tokens?.scopes == ["read"])
    }

    @Test func `a refresh whose reply says nothing of scopes loses none`() {
        let driver = expired { settings, _ in settings.requiredScopes = ["read"] }
        driver.succeed("a2", refresh: "r2")
        #expect(driver.state == .active)
        #expect(driver.machine.status(now: driver.now).missingScopes.isEmpty)
        #expect(!driver.facts.contains { if case .scopesLost = $0 { true } else { false } })
    }

    // MARK: Commands

    @Test func `an operator's refresh joins the one in flight, and passes back-off`() {
        let driver = expired()
        let joined = driver.refresh()
        #expect(driver.calls.count == 1)
        driver.fail(.transient, "http_429", status: 429, retryAfter: 600_000)
        #expect(driver.results[joined] == [.refreshFailed(code: "http_429", detail: "http_429")])
        let forced = driver.refresh()
        #expect(driver.calls.count == 1)
        driver.succeed("a2")
        #expect(driver.results[forced] == [.refreshed(generation: 2)])
    }

    @Test func `an operator's refresh of what cannot be refreshed is answered`() {
        let nothing = GrantDriver()
        nothing.start()
        #expect(nothing.results[nothing.refresh()]?.first.map { "\($0)" }?.contains("not_connected") == true)
        let bare = GrantDriver(stored: GrantDriver.record(refreshToken: nil))
        bare.start()
        #expect(bare.results[bare.refresh()]?.first.map { "\($0)" }?.contains("no_refresh_token") == true)
        let readOnly = GrantDriver(stored: GrantDriver.record())
        readOnly.start()
        readOnly.storeMode = .fails
        #expect(readOnly.results[readOnly.refresh()]?.first.map { "\($0)" }?.contains("store_unavailable") == true)
    }

    // MARK: Replicas

    @Test func `a sibling's live intent is waited for, and its result used`() {
        let first = expired(instance: "a", exclusive: false)
        #expect(first.calls.count == 1)
        let second = GrantDriver(stored: first.stored, instance: "b", exclusive: false)
        second.now = first.now
        second.start()
        let waiter = second.need()
        #expect(second.calls.isEmpty && second.answers[waiter] == [])
        first.succeed("a2", refresh: "r2")
        second.stored = first.stored
        second.run(second.machine.recordChangedElsewhere(first.stored, now: second.now))
        #expect(second.token(waiter) == "Bearer a2")
        #expect(second.calls.isEmpty)
    }

    @Test func `a sibling that died with its intent is replaced when the intent's term is over`() throws {
        let first = expired(instance: "a", exclusive: false)
        let term = try #require(first.stored?.intent).expiresAt - first.now.wall
        let second = GrantDriver(stored: first.stored, instance: "b", exclusive: false)
        second.now = first.now
        second.start()
        let waiter = second.need()
        second.pass(term + GrantMachine.takeOverPause - 1)
        #expect(second.calls.isEmpty)
        second.pass(100)
        #expect(second.sentRefreshToken() == "r1")
        second.succeed("a2")
        #expect(second.token(waiter) == "Bearer a2")
    }

    @Test func `two that want to refresh at once make one call`() {
        let record = GrantDriver.record(lifetime: 1000, age: 5000)
        let first = GrantDriver(stored: record, instance: "a", exclusive: false)
        let second = GrantDriver(stored: record, instance: "b", exclusive: false)
        first.storeMode = .holds
        second.storeMode = .holds
        first.start()
        second.start()
        first.releaseCommit()
        second.stored = first.stored
        second.releaseCommit()
        #expect(first.calls.count == 1)
        #expect(second.calls.isEmpty)
    }

    @Test func `a late result never overwrites a newer pair`() {
        let driver = expired(exclusive: false)
        driver.writeElsewhere {
            $0.generation = 7
            $0.intent = nil
            $0.tokens?.accessToken = Secret("a7")
            $0.tokens?.refreshToken = Secret("r7")
            $0.tokens?.expiresAt = nil
        }
        driver.succeed("a2", refresh: "r2")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r7"))
        #expect(driver.publishedToken == "Bearer a7")
        #expect(driver.facts.contains(.lateResultDropped))
    }

    @Test func `a result is put onto a record that changed otherwise`() {
        let driver = expired(exclusive: false)
        driver.writeElsewhere({ $0.account = "x" }, telling: false)
        driver.succeed("a2", refresh: "r2")
        #expect(driver.stored?.account == "x")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.publishedToken == "Bearer a2")
    }

    @Test func `a commit that was made although it was reported as failed counts`() {
        let driver = expired()
        let waiter = driver.need()
        driver.storeMode = .holds
        driver.succeed("a2", refresh: "r2")
        _ = driver.apply(driver.heldCommits[0])
        driver.releaseCommit(.failed)
        driver.storeMode = .works
        driver.pass(1000)
        #expect(driver.stored?.generation == 2)
        #expect(driver.publishedToken == "Bearer a2")
        #expect(driver.answers[waiter]?.count == 1)
    }

    @Test func `a record that was forgotten elsewhere ends the grant here`() {
        let driver = GrantDriver(stored: GrantDriver.record(), exclusive: false)
        driver.start()
        driver.stored = nil
        driver.run(driver.machine.recordChangedElsewhere(nil, now: driver.now))
        #expect(driver.published == nil)
        #expect(driver.state == .notConnected)
        #expect(driver.refusal(driver.need()) == .notConnected)
    }

    @Test func `a revocation elsewhere stops injection here`() {
        let driver = GrantDriver(stored: GrantDriver.record(), exclusive: false)
        driver.start()
        driver.writeElsewhere {
            $0.state = .revoked
            $0.tokens = nil
            $0.generation = 2
        }
        #expect(driver.published == nil)
        #expect(driver.refusal(driver.need()) == .revoked)
    }
}
