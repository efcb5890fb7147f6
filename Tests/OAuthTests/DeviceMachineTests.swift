import Testing

@testable import OAuth

/// Drives a DeviceMachine: a clock, one timer, and polls that the test answers.
private final class DeviceDriver {
    var machine: DeviceMachine
    var now = Moment(monotonic: 50_000, wall: 1_700_000_000_000)
    var requests: [CallID] = []
    var polls: [TokenCall] = []
    /// Monotonic times of the polls.
    var pollTimes: [Int64] = []
    var prompts: [DeviceAuthorization.Prompt] = []
    var outcomes: [DeviceOutcome] = []
    var timer: Int64?

    init(aliases: [String: String] = [:]) {
        machine = DeviceMachine(number: 7, aliases: aliases)
    }

    static func authorization(lifetime: Int64 = 900_000, interval: Int64 = 5000) -> DeviceAuthorization {
        DeviceAuthorization(
            deviceCode: Secret("device code"), userCode: "WDJB-MJHT", verificationURI: "https://as.example/device",
            completeURI: "https://as.example/device?user_code=WDJB-MJHT", lifetime: lifetime, interval: interval)
    }

    /// Started, and the code has come.
    static func shown(
        lifetime: Int64 = 900_000, interval: Int64 = 5000, aliases: [String: String] = [:]
    ) -> DeviceDriver {
        let driver = DeviceDriver(aliases: aliases)
        driver.run(driver.machine.started())
        driver.authorize(.success(authorization(lifetime: lifetime, interval: interval)))
        return driver
    }

    func run(_ actions: [DeviceAction]) {
        for action in actions {
            switch action {
            case .requestAuthorization(let id): requests.append(id)
            case .poll(let call):
                polls.append(call)
                pollTimes.append(now.monotonic)
            case .armTimer(let at): timer = at
            case .show(let prompt): prompts.append(prompt)
            case .finished(let outcome): outcomes.append(outcome)
            }
        }
    }

    func authorize(_ result: Result<DeviceAuthorization, ProviderProblem>) {
        guard let id = requests.last else { return }
        run(machine.authorizationReceived(id, result, now: now))
    }

    /// Lets the timer fire at its time.
    func toTimer() {
        guard let at = timer else { return }
        timer = nil
        now.monotonic = max(now.monotonic, at)
        run(machine.timerFired(now: now))
    }

    func answer(_ result: Result<TokenSet, ProviderProblem>, after milliseconds: Int64 = 0) {
        guard let call = polls.last else { return }
        let sentAt = now
        now.monotonic += milliseconds
        run(machine.tokenCallFinished(call.id, TokenCallReport(result: result, sentAt: sentAt), now: now))
    }

    func answer(_ code: String, status: Int = 400, retryAfter: Int64? = nil) {
        let errorClass: ErrorClass =
            status == 429 || status >= 500 ? .transient : ProviderProblem.errorClass(ofCode: code)
        answer(
            .failure(ProviderProblem(errorClass, code: code, detail: "x", status: status, retryAfter: retryAfter)))
    }

    func lose(_ failure: ProviderFailure = .replyLost(.timeout)) {
        answer(.failure(ProviderProblem(failure)))
    }

    /// Milliseconds from the last poll's answer to the timer.
    var pause: Int64? { timer.map { $0 - now.monotonic } }
}

struct DeviceMachineTests {
    static let tokens = TokenSet(accessToken: Secret("a"), refreshToken: Secret("r"), lifetime: 3_600_000)

    @Test func `a code is asked for, shown, and polled for until the person consents`() {
        let driver = DeviceDriver.shown()
        #expect(driver.requests.count == 1)
        #expect(
            driver.prompts == [
                .init(
                    userCode: "WDJB-MJHT", verificationURI: "https://as.example/device",
                    completeURI: "https://as.example/device?user_code=WDJB-MJHT",
                    expiresAt: 1_700_000_900_000, interval: 5000)
            ])
        #expect(driver.machine.prompt == driver.prompts.first)
        driver.toTimer()
        driver.answer("authorization_pending")
        driver.toTimer()
        driver.answer("authorization_pending")
        driver.toTimer()
        let sentAt = driver.now
        driver.answer(.success(Self.tokens), after: 200)
        #expect(driver.pollTimes == [55_000, 60_000, 65_000])
        #expect(driver.polls.allSatisfy { $0.kind == .deviceCode(Secret("device code")) })
        #expect(Set(driver.polls.map(\.id)).count == 3)
        #expect(driver.outcomes == [.granted(Self.tokens, sentAt: sentAt)])
        #expect(driver.machine.hasEnded)
    }

    @Test func `slow_down adds five seconds to this and every later wait`() {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.answer("slow_down")
        #expect(driver.pause == 10_000)
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.pause == 10_000)
        driver.toTimer()
        driver.answer("slow_down", status: 429, retryAfter: 40_000)
        #expect(driver.pause == 40_000)
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.pause == 15_000)
    }

    @Test(arguments: [
        ("access_denied", DeviceOutcome.denied), ("authorization_declined", .denied), ("expired_token", .expired),
    ])
    func `a final answer ends it`(code: String, outcome: DeviceOutcome) {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.answer(code)
        #expect(driver.outcomes == [outcome])
        driver.toTimer()
        #expect(driver.polls.count == 1)
    }

    @Test(arguments: [("pending_yet", "authorization_pending", true), ("said_no", "access_denied", false)])
    func `a provider's own words count as what they mean`(word: String, meaning: String, goesOn: Bool) {
        let driver = DeviceDriver.shown(aliases: [word: meaning])
        driver.toTimer()
        driver.answer(word)
        #expect(driver.outcomes.isEmpty == goesOn)
    }

    @Test(arguments: [
        "invalid_client", "unauthorized_client", "invalid_grant", "invalid_request", "unsupported_grant_type",
        "incorrect_device_code", "device_flow_disabled", "invalid_scope",
    ])
    func `an answer in OAuth's words that is none of those stops the polling`(code: String) {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.answer(code)
        guard case .failed(let problem)? = driver.outcomes.first else {
            Issue.record("not ended")
            return
        }
        #expect(problem.code == code && problem.detail == "x")
    }

    @Test(arguments: [
        ("http_503", 503), ("http_500", 500), ("http_404", 404), ("blocked_by_intermediary", 403), ("redirect", 302),
        ("invalid_reply", 200), ("server_error", 400), ("temporarily_unavailable", 400), ("invalid_grant", 500),
        ("rate_limit_exceeded", 429),
    ])
    func `a failure that passes keeps the code and polls more slowly until an answer comes`(code: String, status: Int) {
        let driver = DeviceDriver.shown()
        var pauses: [Int64?] = []
        for _ in 0..<5 {
            driver.toTimer()
            driver.answer(code, status: status)
            pauses.append(driver.pause)
        }
        #expect(pauses == [10_000, 20_000, 40_000, 60_000, 60_000])
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.pause == 5000)
        driver.toTimer()
        driver.answer(.success(Self.tokens))
        #expect(driver.outcomes.count == 1)
        #expect(Set(driver.polls.map(\.kind.description)).count == 1)
    }

    @Test func `Retry-After is honoured where it asks for more`() {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.answer("http_503", status: 503, retryAfter: 90_000)
        #expect(driver.pause == 90_000)
        driver.toTimer()
        driver.answer("http_503", status: 503, retryAfter: 1000)
        #expect(driver.pause == 20_000)
    }

    @Test(arguments: [
        ProviderFailure.replyLost(.timeout), .notSent(.refused), .replyLost(.reset), .notSent(.timeout), .tls("x"),
    ])
    func `without a connection the interval doubles for good`(failure: ProviderFailure) {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.lose(failure)
        #expect(driver.pause == 10_000)
        driver.toTimer()
        driver.lose(failure)
        #expect(driver.pause == 20_000)
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.pause == 20_000)
    }

    @Test func `doubling stops at a minute, and a longer interval of the provider's own stays`() {
        let driver = DeviceDriver.shown(interval: 40_000)
        for pause: Int64 in [60_000, 60_000] {
            driver.toTimer()
            driver.lose()
            #expect(driver.pause == pause)
        }
        let slow = DeviceDriver.shown(interval: 120_000)
        slow.toTimer()
        slow.lose()
        #expect(slow.pause == 120_000)
    }

    @Test func `a lost reply to the poll that had the tokens is polled again`() {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.lose()
        driver.toTimer()
        driver.answer(.success(Self.tokens))
        #expect(driver.polls.count == 2)
        #expect(driver.outcomes.count == 1)
    }

    @Test func `a code that is used up after a lost reply is told as that`() {
        let driver = DeviceDriver.shown()
        driver.toTimer()
        driver.lose()
        driver.toTimer()
        driver.answer("invalid_grant")
        guard case .failed(let problem)? = driver.outcomes.first else {
            Issue.record("not ended")
            return
        }
        #expect(problem.detail.contains("lost on its way"))
        // After an answer that was understood, an older lost reply means nothing any more.
        let other = DeviceDriver.shown()
        other.toTimer()
        other.lose()
        other.toTimer()
        other.answer("authorization_pending")
        other.toTimer()
        other.answer("invalid_grant")
        guard case .failed(let plain)? = other.outcomes.first else {
            Issue.record("not ended")
            return
        }
        #expect(plain.detail == "x")
    }

    // MARK: Time

    @Test func `nobody consents in time`() {
        let driver = DeviceDriver.shown(lifetime: 12_000)
        driver.toTimer()
        driver.answer("authorization_pending")
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.pause == 2000)
        driver.toTimer()
        #expect(driver.outcomes == [.expired])
        #expect(driver.polls.count == 2)
    }

    @Test func `an answer that comes when the time is over still counts, and a pending one ends it`() {
        let late = DeviceDriver.shown(lifetime: 6000)
        late.toTimer()
        late.answer(.success(Self.tokens), after: 5000)
        #expect(late.outcomes.count == 1)
        let pending = DeviceDriver.shown(lifetime: 6000)
        pending.toTimer()
        pending.now.monotonic += 5000
        pending.answer("authorization_pending")
        #expect(pending.outcomes == [.expired])
    }

    @Test func `a reply lost at the very end is asked for exactly once more`() {
        let driver = DeviceDriver.shown(lifetime: 6000)
        driver.toTimer()
        driver.now.monotonic += 30_000
        driver.lose()
        #expect(driver.outcomes.isEmpty && driver.pause == 0)
        driver.toTimer()
        #expect(driver.polls.count == 2)
        driver.lose()
        driver.toTimer()
        #expect(driver.outcomes == [.expired])
        #expect(driver.polls.count == 2)
    }

    @Test func `an early or superfluous timer does no harm`() {
        let driver = DeviceDriver.shown()
        driver.run(driver.machine.timerFired(now: driver.now))
        #expect(driver.polls.isEmpty && driver.timer == 55_000)
        driver.toTimer()
        driver.run(driver.machine.timerFired(now: driver.now))
        #expect(driver.polls.count == 1)
    }

    @Test func `a step of the wall clock changes nothing`() {
        let driver = DeviceDriver.shown(lifetime: 60_000)
        driver.now.wall += 86_400_000
        driver.toTimer()
        driver.answer("authorization_pending")
        #expect(driver.outcomes.isEmpty && driver.pause == 5000)
    }

    // MARK: The ends

    @Test func `a request that fails is told at once`() {
        let driver = DeviceDriver()
        driver.run(driver.machine.started())
        let problem = ProviderProblem(.configuration, code: "unauthorized_client", detail: "x")
        driver.authorize(.failure(problem))
        #expect(driver.outcomes == [.failed(problem)])
        #expect(driver.timer == nil && driver.machine.prompt == nil)
    }

    @Test func `cancelling ends it at any point, once, and what comes later is dropped`() {
        let idle = DeviceDriver()
        idle.run(idle.machine.cancelled())
        let requesting = DeviceDriver()
        requesting.run(requesting.machine.started())
        requesting.run(requesting.machine.cancelled())
        requesting.authorize(.success(DeviceDriver.authorization()))
        let waiting = DeviceDriver.shown()
        waiting.run(waiting.machine.cancelled())
        waiting.toTimer()
        let polling = DeviceDriver.shown()
        polling.toTimer()
        polling.run(polling.machine.cancelled())
        polling.answer(.success(Self.tokens))
        polling.run(polling.machine.cancelled())
        for driver in [idle, requesting, waiting, polling] {
            #expect(driver.outcomes == [.cancelled])
        }
        #expect(waiting.polls.isEmpty)
    }

    @Test func `starting twice asks once, and another call's answer is not taken`() {
        let driver = DeviceDriver()
        driver.run(driver.machine.started())
        driver.run(driver.machine.started())
        #expect(driver.requests.count == 1)
        let other = CallID(owner: .device(8), number: 1)
        driver.run(
            driver.machine.authorizationReceived(other, .success(DeviceDriver.authorization()), now: driver.now))
        #expect(driver.prompts.isEmpty)
        driver.authorize(.success(DeviceDriver.authorization()))
        driver.toTimer()
        driver.run(
            driver.machine.tokenCallFinished(
                other, TokenCallReport(result: .success(Self.tokens), sentAt: driver.now), now: driver.now))
        #expect(driver.outcomes.isEmpty)
    }
}

extension TokenCall.Kind {
    fileprivate var description: String {
        if case .deviceCode(let code) = self { code.reveal() } else { "other" }
    }
}
