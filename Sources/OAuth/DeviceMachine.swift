package enum DeviceAction: Sendable, Equatable {
    /// Ask the ProviderMachine by `deviceAuthorizationNeeded`; answer with `authorizationReceived`.
    case requestAuthorization(CallID)
    /// Hand to the ProviderMachine; answer with `tokenCallFinished`.
    case poll(TokenCall)
    /// Call `timerFired` at this monotonic time; replaces what was set before.
    case armTimer(at: Int64)
    /// Show it to the person, who is waiting for it.
    case show(DeviceAuthorization.Prompt)
    /// Once, and the last action: no timer and no call counts after it.
    case finished(DeviceOutcome)
}

/// How a device authorization ended.
package enum DeviceOutcome: Sendable, Equatable {
    /// Hand to the grant as `authorizationGranted`.
    case granted(TokenSet, sentAt: Moment)
    /// The person said no.
    case denied
    /// Nobody consented in time.
    case expired
    case cancelled
    case failed(ProviderProblem)
}

/// One consent on another device (RFC 8628): asks for a code, shows it, and polls until the person has decided.
///
/// A failed poll never loses the device code: polling goes on, more slowly, until the code's time is over. A poll whose
/// reply was lost is repeated; a provider that keeps the code for a moment then gives the tokens after all.
package struct DeviceMachine: Sendable {
    private struct Code: Sendable {
        var secret: Secret
        /// Monotonic.
        var expiresAt: Int64
        /// Milliseconds between polls: grows and never shrinks (RFC 8628 section 3.5).
        var interval: Int64
        /// Failures in a row that are neither an answer nor a lost connection.
        var failures = 0
        /// The last poll may have been answered with tokens that did not arrive.
        var replyWasLost = false
        /// A lost reply at the very end is asked for once more.
        var hadLastChance = false
    }

    private enum State: Sendable {
        /// → requesting
        case idle
        /// → waiting, ended
        case requesting(CallID)
        /// → polling, ended
        case waiting(Code)
        /// → waiting, ended
        case polling(Code, CallID)
        case ended
    }

    /// What slow_down adds (RFC 8628 section 3.5).
    package static let slowDown: Int64 = 5000
    /// Doubling stops here: a person who has consented should not wait for minutes.
    package static let longestDoubled: Int64 = 60_000

    private let number: UInt64
    private let aliases: [String: String]
    private var state = State.idle
    private var nextCall: UInt64 = 1

    /// What was shown; nil before that.
    package private(set) var prompt: DeviceAuthorization.Prompt?

    /// - Parameters:
    ///   - number: names the machine in its calls' ids; the driver makes it unique.
    ///   - aliases: `ProviderSettings.errorAliases`.
    package init(number: UInt64, aliases: [String: String] = [:]) {
        self.number = number
        self.aliases = aliases
    }

    package var hasEnded: Bool {
        if case .ended = state { true } else { false }
    }

    package mutating func started() -> [DeviceAction] {
        guard case .idle = state else { return [] }
        let id = callID()
        state = .requesting(id)
        return [.requestAuthorization(id)]
    }

    /// The code, or why there is none: then the person is told at once and starts again.
    package mutating func authorizationReceived(
        _ id: CallID, _ result: Result<DeviceAuthorization, ProviderProblem>, now: Moment
    ) -> [DeviceAction] {
        guard case .requesting(id) = state else { return [] }
        switch result {
        case .failure(let problem): return end(.failed(problem))
        case .success(let authorization):
            let prompt = authorization.prompt(now: now)
            self.prompt = prompt
            let code = Code(
                secret: authorization.deviceCode, expiresAt: now.monotonic.saturatingAdd(authorization.lifetime),
                interval: authorization.interval)
            return [.show(prompt)] + wait(code, code.interval, now: now)
        }
    }

    /// Early, late and superfluous calls do no harm.
    package mutating func timerFired(now: Moment) -> [DeviceAction] {
        guard case .waiting(var code) = state else { return [] }
        if now.monotonic >= code.expiresAt {
            guard code.replyWasLost, !code.hadLastChance else { return end(.expired) }
            code.hadLastChance = true
        } else if now.monotonic < pollAt {
            return [.armTimer(at: pollAt)]
        }
        let id = callID()
        state = .polling(code, id)
        return [.poll(TokenCall(id: id, kind: .deviceCode(code.secret)))]
    }

    package mutating func tokenCallFinished(_ id: CallID, _ report: TokenCallReport, now: Moment) -> [DeviceAction] {
        guard case .polling(let code, id) = state else { return [] }
        switch report.result {
        case .success(let tokens): return end(.granted(tokens, sentAt: report.sentAt))
        case .failure(let problem): return refused(code, problem, now: now)
        }
    }

    /// The operator, or the end of the process. Tokens that a poll under way still brings are not used.
    package mutating func cancelled() -> [DeviceAction] {
        switch state {
        case .ended: []
        case .idle, .requesting, .waiting, .polling: end(.cancelled)
        }
    }

    // MARK: Answers that are no tokens

    private mutating func refused(_ old: Code, _ problem: ProviderProblem, now: Moment) -> [DeviceAction] {
        var code = old
        switch aliases[problem.code] ?? problem.code {
        case "authorization_pending": return answered(code, now: now)
        case "slow_down":
            code.interval = code.interval.saturatingAdd(Self.slowDown)
            return answered(code, atLeast: problem.retryAfter ?? 0, now: now)
        // Entra has a word of its own for it.
        case "access_denied", "authorization_declined": return end(.denied)
        case "expired_token": return end(.expired)
        case _ where problem.isTransientPoll: return backOff(code, problem, now: now)
        default:
            // The code is good for one use: the reply that was lost had the tokens.
            guard old.replyWasLost, problem.errorClass == .permanent else { return end(.failed(problem)) }
            var lost = problem
            lost.detail += " An answer with the tokens seems to have been lost on its way: begin again."
            return end(.failed(lost))
        }
    }

    /// The provider understood us: what failed before is over.
    private mutating func answered(_ old: Code, atLeast least: Int64 = 0, now: Moment) -> [DeviceAction] {
        var code = old
        code.failures = 0
        code.replyWasLost = false
        return wait(code, max(code.interval, least), now: now)
    }

    private mutating func backOff(_ old: Code, _ problem: ProviderProblem, now: Moment) -> [DeviceAction] {
        var code = old
        code.replyWasLost = code.replyWasLost || problem.outcomeUnknown
        if problem.status == nil {
            // No connection or no reply: from now on the polls are twice as far apart (RFC 8628 section 3.5).
            code.interval = max(code.interval, min(code.interval * 2, Self.longestDoubled))
            return wait(code, code.interval, now: now)
        }
        code.failures = min(code.failures + 1, 10)
        let doubled = min(code.interval << Int64(code.failures), Self.longestDoubled)
        return wait(code, max(code.interval, doubled, problem.retryAfter ?? 0), now: now)
    }

    // MARK: Time

    private var pollAt: Int64 = 0

    /// Waits, at most until the code's time is over.
    private mutating func wait(_ code: Code, _ milliseconds: Int64, now: Moment) -> [DeviceAction] {
        guard now.monotonic < code.expiresAt || code.replyWasLost && !code.hadLastChance else {
            return end(.expired)
        }
        pollAt = now.monotonic.saturatingAdd(milliseconds)
        state = .waiting(code)
        return [.armTimer(at: max(min(pollAt, code.expiresAt), now.monotonic))]
    }

    private mutating func end(_ outcome: DeviceOutcome) -> [DeviceAction] {
        state = .ended
        return [.finished(outcome)]
    }

    private mutating func callID() -> CallID {
        defer { nextCall += 1 }
        return CallID(owner: .device(number), number: nextCall)
    }
}

extension ProviderProblem {
    /// True unless the provider itself said in OAuth's words that the request will never succeed: then a client must
    /// stop polling (RFC 8628 section 3.5).
    fileprivate var isTransientPoll: Bool {
        switch errorClass {
        case .permanent, .configuration: return false
        case .transient: break
        }
        guard let status, status < 500, status != 429, status != 408 else { return true }
        switch code {
        case "server_error", "temporarily_unavailable", "redirect", "blocked_by_intermediary", "invalid_reply":
            return true
        default: return code.hasPrefix("http_")
        }
    }
}
