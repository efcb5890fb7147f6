/// What became of a consent, as a shared store keeps it for the browser that comes back twice: the second callback may
/// reach another replica than the first. No secret inside.
package struct ConsentMemory: Sendable, Equatable {
    package var bindingHash: String
    /// nil: another replica is exchanging the code at this moment.
    package var outcome: ConsentOutcome?

    package init(bindingHash: String, outcome: ConsentOutcome?) {
        self.bindingHash = bindingHash
        self.outcome = outcome
    }

    /// What the store knows it by: derived from the consent's own key, and another than that.
    package static func key(forConsent key: String) -> String {
        Crypto.base64URL(Crypto.sha256(Array("token-gateway consent outcome\n\(key)".utf8)))
    }

    func isFor(_ binding: Secret?) -> Bool {
        PendingConsent.matches(binding, of: bindingHash)
    }
}

// MARK: - Coding

extension ConsentMemory {
    private static let format = "1"

    /// The payload for the store, to be sealed.
    package func encoded() -> [UInt8] {
        var members: [String: JSONValue] = [
            "format": .string(Self.format), "binding_hash": .string(bindingHash),
        ]
        if let outcome { members["outcome"] = .object(Self.members(outcome)) }
        return JSONValue.object(members).encoded()
    }

    /// nil for what `encoded()` does not make.
    package init?(payload: [UInt8]) {
        guard let json = JSONValue(payload), json["format"]?.text == Self.format,
            let bindingHash = json["binding_hash"]?.text
        else { return nil }
        guard let value = json["outcome"] else {
            self.init(bindingHash: bindingHash, outcome: nil)
            return
        }
        guard let outcome = Self.outcome(value) else { return nil }
        self.init(bindingHash: bindingHash, outcome: outcome)
    }

    private static func members(_ outcome: ConsentOutcome) -> [String: JSONValue] {
        switch outcome {
        case .connected(let grant, let report):
            return [
                "is": .string("connected"), "grant": .string(grant), "scopes": list(report.scopes),
                "missing": list(report.missingScopes), "warnings": list(report.warnings),
            ]
        case .notStored(let grant): return ["is": .string("not_stored"), "grant": .string(grant)]
        case .refused(let grant, let refusal):
            return ["is": .string("refused"), "grant": .string(grant), "refusal": .object(members(refusal))]
        case .deniedByProvider(let grant, let code, let description):
            return [
                "is": .string("denied"), "grant": .string(grant), "code": .string(code),
                "description": description.map { .string($0) } ?? .null,
            ]
        case .exchangeFailed(let grant, let problem):
            return [
                "is": .string("exchange_failed"), "grant": .string(grant), "code": .string(problem.code),
                "detail": .string(problem.detail), "class": .string(problem.errorClass.rawValue),
            ]
        case .rejected(let rejection):
            return ["is": .string("rejected"), "rejection": .string(rejection.rawValue)]
        }
    }

    private static func members(_ refusal: ConsentRefusal) -> [String: JSONValue] {
        switch refusal {
        case .noRefreshToken: ["is": .string("no_refresh_token")]
        case .missingScopes(let scopes): ["is": .string("missing_scopes"), "scopes": list(scopes)]
        case .wrongAccount(let received, let expected):
            ["is": .string("wrong_account"), "received": .string(received), "expected": .string(expected)]
        case .accountUnknown: ["is": .string("account_unknown")]
        }
    }

    private static func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }

    private static func texts(_ value: JSONValue?) -> [String] { value?.list?.compactMap(\.text) ?? [] }

    private static func outcome(_ json: JSONValue) -> ConsentOutcome? {
        let grant = json["grant"]?.text ?? ""
        switch json["is"]?.text {
        case "connected":
            let report = ConsentReport(
                scopes: texts(json["scopes"]), missingScopes: texts(json["missing"]), warnings: texts(json["warnings"]))
            return .connected(grant: grant, report)
        case "not_stored": return .notStored(grant: grant)
        case "refused": return refusal(json["refusal"]).map { .refused(grant: grant, $0) }
        case "denied":
            return .deniedByProvider(
                grant: grant, code: json["code"]?.text ?? "", description: json["description"]?.text)
        case "exchange_failed":
            let errorClass = json["class"]?.text.flatMap(ErrorClass.init(rawValue:)) ?? .transient
            let problem = ProviderProblem(
                errorClass, code: json["code"]?.text ?? "", detail: json["detail"]?.text ?? "")
            return .exchangeFailed(grant: grant, problem)
        case "rejected":
            return json["rejection"]?.text.flatMap(CallbackRejection.init(rawValue:)).map { .rejected($0) }
        case nil, .some: return nil
        }
    }

    private static func refusal(_ json: JSONValue?) -> ConsentRefusal? {
        switch json?["is"]?.text {
        case "no_refresh_token": return .noRefreshToken
        case "missing_scopes": return .missingScopes(texts(json?["scopes"]))
        case "wrong_account":
            return .wrongAccount(
                received: json?["received"]?.text ?? "", expected: json?["expected"]?.text ?? "")
        case "account_unknown": return .accountUnknown
        case nil, .some: return nil
        }
    }
}

// MARK: - A consent that another replica has taken

extension AuthorizationMachine {
    /// How long a second callback waits for the replica that exchanges the code.
    package static let siblingPatience: Int64 = 40_000
    package static let siblingInterval: Int64 = 250

    /// The store had no pending consent under the key, but this: somebody has taken it before.
    package mutating func memoryFound(key: String, _ memory: ConsentMemory, now: Moment) -> [ConsentAction] {
        guard let number = waitingRun(key), let run = runs[number] else { return [] }
        guard let outcome = memory.outcome else {
            let isOver = run.startedAt.saturatingAdd(Self.siblingPatience) <= now.monotonic
            if isOver { return end(number, .rejected(.unknownState)) }
            return [.lookAgain(key: key, after: Self.siblingInterval)]
        }
        runs.removeValue(forKey: number)
        return run.arrivals.map { arrival in
            let isSame = memory.isFor(arrival.binding)
            return .show(arrival.id, isSame ? outcome : .rejected(.unknownState))
        }
    }

    /// The time of `lookAgain` is over.
    package mutating func lookDue(key: String) -> [ConsentAction] {
        waitingRun(key) == nil ? [] : [.takePending(key: key)]
    }

    /// The grant of a consent was given to another provider, or went, while the code was exchanged: the tokens are
    /// nobody's.
    package mutating func consentOverruled(_ ticket: Ticket, now: Moment) -> [ConsentAction] {
        guard owns(ticket), let pending = runs[ticket.number - ticketBase]?.pending else { return [] }
        return end(
            ticket.number - ticketBase, .exchangeFailed(grant: pending.grant, .configurationChanged), now: now)
    }
}
