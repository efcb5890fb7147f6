/// A grant whose token another program keeps fresh in a file: the driver reads the file when it changes, when it is
/// asked to, and from time to time; the machine makes credentials of what it reads.
package struct StaticTokenMachine: Sendable {
    package enum Problem: String, Sendable, Hashable {
        case unreadable
        case empty
        /// More than one line, a space, a control character, or too long: it must not be in a header.
        case notAToken = "not_a_token"
    }

    package enum Action: Sendable, Equatable {
        /// Read the file now and answer with `fileRead` or `fileUnreadable`.
        case readFile
        case publish(Credential?)
        case answer(WaiterID, CredentialAnswer)
        case note(Problem?)
    }

    private let name: String
    private var headerName: [UInt8]
    private var scheme: [UInt8]
    private var token: Secret?
    private var generation: UInt64 = 0
    private var problem: Problem?
    private var isReading = false
    private var waiters: [WaiterID: UInt64?] = [:]
    private let waiterLimit: Int

    /// `headerScheme` empty: the token alone.
    package init(
        name: String, headerName: String = "Authorization", headerScheme: String = "Bearer", waiterLimit: Int = 10_000
    ) {
        self.name = name
        self.headerName = Array(headerName.utf8)
        scheme = headerScheme.isEmpty ? [] : Array("\(headerScheme) ".utf8)
        self.waiterLimit = waiterLimit
    }

    package var credential: Credential? {
        token.map {
            Credential(
                headerName: headerName, headerValue: scheme + $0.bytes, generation: generation, expiresAt: nil)
        }
    }

    package mutating func started() -> [Action] {
        read()
    }

    /// The file changed, or might have.
    package mutating func fileChanged() -> [Action] {
        read()
    }

    /// A rejected token is looked for in the file once more; if the file still has it, there is no retry.
    package mutating func credentialNeeded(_ waiter: WaiterID, rejected: UInt64? = nil) -> [Action] {
        if let credential, credential.generation != rejected { return [.answer(waiter, .credential(credential))] }
        guard waiters.count < waiterLimit else {
            return [.answer(waiter, .unavailable(.tooManyWaiters, retryAfter: 1000))]
        }
        waiters[waiter] = .some(rejected)
        return read()
    }

    package mutating func waiterLeft(_ waiter: WaiterID) {
        waiters.removeValue(forKey: waiter)
    }

    /// The whole content of the file; more than `TokenReply.tokenLimitBytes` need not be read.
    package mutating func fileRead(_ content: [UInt8]) -> [Action] {
        let text = String(validating: content, as: UTF8.self)?.trimmed
        guard let text, text.isEmpty || TokenReply.isHeaderSafe(text) else { return failed(.notAToken) }
        guard !text.isEmpty else { return failed(.empty) }
        isReading = false
        var actions: [Action] = []
        if problem != nil {
            problem = nil
            actions.append(.note(nil))
        }
        let new = Secret(text)
        if new != token {
            token = new
            generation += 1
            actions.append(.publish(credential))
        }
        return actions + answerWaiters()
    }

    /// A token that was read before goes on serving: the file may be in the middle of being replaced.
    package mutating func fileUnreadable() -> [Action] {
        failed(.unreadable)
    }

    package func status() -> GrantStatus {
        GrantStatus(
            name: name, provider: "file", state: token == nil ? .notConnected : .active, reason: problem?.rawValue,
            generation: generation, usable: token != nil, hasRefreshToken: false, scopes: [], missingScopes: [],
            account: nil, expiresAt: nil, refreshTokenExpiresAt: nil, lastRefreshAt: nil, nextAttemptAt: nil,
            lastFailure: nil, consecutiveFailures: 0, revocationPending: false, revocationOutcome: nil,
            waiters: waiters.count)
    }

    private mutating func read() -> [Action] {
        guard !isReading else { return [] }
        isReading = true
        return [.readFile]
    }

    private mutating func failed(_ new: Problem) -> [Action] {
        isReading = false
        let isNews = problem != new
        problem = new
        return (isNews ? [.note(new)] : []) + answerWaiters()
    }

    private mutating func answerWaiters() -> [Action] {
        let waiting = waiters.sorted { $0.key.number < $1.key.number }
        waiters = [:]
        return waiting.map { waiter, rejected in
            if let credential, credential.generation != rejected { return .answer(waiter, .credential(credential)) }
            let reason: UnavailableReason = credential == nil ? .notConnected : .noRefreshToken
            return .answer(waiter, .unavailable(reason, retryAfter: nil))
        }
    }
}
