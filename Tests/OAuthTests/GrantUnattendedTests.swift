import Testing

@testable import OAuth

/// Grants that nobody consents to, imports, and what happens while the store is away.
struct GrantUnattendedTests {
    private func unattended(stored: GrantRecord? = nil) -> GrantDriver {
        GrantDriver(stored: stored) { settings, _ in settings.acquisition = .unattended(.clientCredentials) }
    }

    @Test func `an unattended grant gets its tokens by itself, durably`() {
        let driver = unattended()
        driver.start()
        #expect(driver.calls.first?.kind == .unattended(.clientCredentials, scopes: ["read"]))
        #expect(driver.state == .refreshing)
        let waiter = driver.need()
        driver.succeed("c1", refresh: "ignored")
        #expect(driver.token(waiter) == "Bearer c1")
        #expect(driver.state == .active)
        #expect(driver.stored?.tokens?.refreshToken == nil)
        driver.pass(3_590_000)
        #expect(driver.calls.count == 1)
        driver.succeed("c2")
        #expect(driver.publishedToken == "Bearer c2" && driver.stored?.generation == 2)
    }

    @Test(arguments: ["invalid_grant", "invalid_client"])
    func `what is permanent for an unattended grant is a configuration error, and latches`(code: String) {
        let driver = unattended()
        driver.start()
        driver.fail(code == "invalid_grant" ? .permanent : .configuration, code)
        #expect(driver.state == .configurationError)
        #expect(driver.refusal(driver.need()) == .configurationError)
        driver.pass(100_000_000)
        #expect(driver.calls.isEmpty)
        let ticket = driver.refresh()
        driver.succeed("c1")
        #expect(driver.results[ticket] == [.refreshed(generation: 1)])
    }

    /// What is asked for is the grant's own, and not the provider's: a subject, an audience, scopes, a key.
    @Test(arguments: [true, false])
    func `a refused request that was mended is made again, by a reload or at the start`(byReload: Bool) {
        func exchange(_ audience: String) -> UnattendedGrant {
            .tokenExchange(TokenExchange(subject: .file("/t"), audiences: [audience]))
        }
        let driver = GrantDriver { settings, _ in settings.acquisition = .unattended(exchange("wrong")) }
        driver.start()
        driver.fail(.configuration, "invalid_target")
        driver.reconfigure { settings, _ in settings.name = "crm" }
        #expect(driver.calls.isEmpty && driver.state == .configurationError)
        let mended: GrantDriver
        if byReload {
            mended = driver
            driver.reconfigure { settings, _ in settings.acquisition = .unattended(exchange("right")) }
        } else {
            mended = GrantDriver(stored: driver.stored) { settings, _ in
                settings.acquisition = .unattended(exchange("right"))
            }
            mended.start()
        }
        #expect(mended.calls.count == 1)
        mended.succeed("c1")
        #expect(mended.publishedToken == "Bearer c1" && mended.state == .active)
    }

    @Test func `an exchange that lacked the other grant's token is made as soon as that has one`() {
        func driver() -> GrantDriver {
            GrantDriver { settings, _ in
                settings.acquisition = .unattended(.tokenExchange(TokenExchange(subject: .grant("person"))))
            }
        }
        let lacking = driver()
        lacking.start()
        for _ in 0..<6 {
            lacking.fail(.transient, "no_subject_token")
            lacking.pass(40_000)
        }
        lacking.fail(.transient, "no_subject_token")
        #expect(lacking.refusal(lacking.need()) == .refreshFailed)
        lacking.renewSubject()
        #expect(lacking.calls.count == 1)
        lacking.succeed("c1")
        #expect(lacking.publishedToken == "Bearer c1")
        lacking.renewSubject()
        #expect(lacking.calls.isEmpty)
        // Another trouble is not over because of it.
        let failing = driver()
        failing.start()
        failing.fail(.transient, "http_503", status: 503)
        failing.renewSubject()
        #expect(failing.calls.isEmpty)
    }

    @Test func `a transient failure before the first token backs off, over a restart`() {
        let driver = unattended()
        driver.start()
        driver.fail(.transient, "http_503", status: 503, retryAfter: 60_000)
        #expect(driver.refusal(driver.need()) == .refreshFailed)
        let again = unattended(stored: driver.stored)
        again.start()
        again.pass(59_000)
        #expect(again.calls.isEmpty)
        again.pass(10_000)
        #expect(again.calls.count == 1)
    }

    @Test func `tokens of another subject are neither used nor kept waiting for`() {
        let driver = unattended()
        driver.start()
        driver.succeed("c1")
        let other = GrantDriver(stored: driver.stored) { settings, _ in
            settings.acquisition = .unattended(.clientCredentials)
            settings.variables = ["tenant": "two"]
        }
        other.start()
        #expect(other.published == nil)
        #expect(other.calls.first?.variables == ["tenant": "two"])
    }

    @Test func `a revoked unattended grant begins anew on an operator's refresh`() {
        let driver = unattended()
        driver.start()
        driver.succeed("c1")
        _ = driver.revoke()
        driver.replyRevocation(.revoked)
        #expect(driver.refusal(driver.need()) == .revoked)
        _ = driver.refresh()
        driver.succeed("c2")
        #expect(driver.publishedToken == "Bearer c2")
    }

    // MARK: The store is away

    @Test func `a single-use token is not sent while the store is away, and a valid token flows`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000))
        driver.start()
        driver.storeMode = .fails
        driver.pass(400_000)
        #expect(driver.calls.isEmpty)
        #expect(driver.token(driver.need()) == "Bearer a1")
    }

    @Test func `a reusable token is refreshed from memory while the store is away, again and again`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 600_000)) { $1.rotation = .reusable }
        driver.start()
        driver.storeMode = .fails
        driver.pass(400_000)
        driver.succeed("a2", refresh: "r2", lifetime: 600_000)
        #expect(driver.publishedToken == "Bearer a2" && driver.published?.generation == 2)
        driver.pass(400_000)
        // The new refresh token is not durable yet: the old one goes.
        #expect(driver.sentRefreshToken() == "r1")
        driver.succeed("a3", lifetime: 600_000)
        #expect(driver.publishedToken == "Bearer a3" && driver.published?.generation == 3)
        driver.storeMode = .works
        driver.pass(5000)
        #expect(driver.stored?.tokens?.accessToken == Secret("a3"))
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.stored?.generation == 3)
        #expect(driver.machine.mayBeUnloaded)
    }

    // MARK: Imports

    @Test func `an import is tried at once and is the grant's when it is durable`() {
        let driver = GrantDriver()
        driver.start()
        let ticket = driver.importToken("old")
        #expect(driver.stored?.intent != nil)
        #expect(driver.sentRefreshToken() == "old")
        driver.succeed("i1", refresh: "i2")
        #expect(driver.results[ticket] == [.imported(generation: 1)])
        #expect(driver.stored?.tokens?.refreshToken == Secret("i2"))
        #expect(driver.publishedToken == "Bearer i1")
    }

    @Test func `an import that the provider refuses leaves the grant as it was`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        let ticket = driver.importToken("bad")
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.results[ticket] == [.importFailed(code: "invalid_grant", detail: "invalid_grant")])
        #expect(driver.publishedToken == "Bearer a1" && driver.state == .active)
        #expect(driver.stored?.intent == nil)
    }

    @Test func `a lost reply to an import is asked for again, and a store that is away refuses it before`() {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        _ = driver.importToken("old")
        driver.fail(.transient, "timeout", unknown: true)
        driver.pass(20)
        #expect(driver.sentRefreshToken() == "old")
        driver.succeed("i1", refresh: "i2")
        driver.storeMode = .fails
        let second = driver.importToken("other")
        #expect(driver.calls.isEmpty)
        #expect("\(driver.results[second] ?? [])".contains("store_unavailable"))
    }

    // MARK: Creation, forgetting

    @Test func `a grant of a template is created once, and its variables go with its calls`() {
        let driver = GrantDriver()
        driver.start()
        let first = driver.create("zoho", label: "the first", variables: ["dc": "eu"])
        #expect(driver.results[first] == [.created])
        #expect(driver.stored?.template == "zoho" && driver.stored?.label == "the first")
        #expect(driver.state == .notConnected)
        #expect(driver.results[driver.create("zoho")] == [.alreadyExists])
        _ = driver.importToken("old")
        #expect(driver.calls.first?.variables == ["dc": "eu"])
    }

    /// A known bug from before.
    @Test func `forgetting that the store refuses does not lose the refresh in flight`() {
        let driver = GrantDriver(stored: GrantDriver.record(lifetime: 1000, age: 5000))
        driver.start()
        #expect(driver.calls.count == 1)
        driver.storeMode = .fails
        #expect(driver.results[driver.forget()] == [.forgetFailed])
        driver.storeMode = .works
        driver.succeed("a2", refresh: "r2")
        #expect(driver.stored?.tokens?.refreshToken == Secret("r2"))
        #expect(driver.publishedToken == "Bearer a2")
    }

    @Test func `the due time is the refresh's, the lease's, the retry's or none`() throws {
        let driver = GrantDriver(stored: GrantDriver.record())
        driver.start()
        #expect(driver.machine.mayBeUnloaded)
        let due = try #require(driver.machine.dueAt)
        #expect(due >= driver.now.wall + 3_300_000 && due < driver.now.wall + 3_400_000)
        driver.pass(3_400_000)
        #expect(driver.stored?.intent?.expiresAt == driver.machine.dueAt)
        #expect(!driver.machine.mayBeUnloaded)
        driver.fail(.transient, "http_429", status: 429, retryAfter: 60_000)
        #expect(driver.machine.dueAt == driver.stored?.nextAttemptAt)
        driver.pass(70_000)
        driver.fail(.permanent, "invalid_grant")
        #expect(driver.machine.dueAt == nil && driver.machine.mayBeUnloaded)
    }
}
