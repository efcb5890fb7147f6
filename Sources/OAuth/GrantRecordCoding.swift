extension GrantRecord {
    private static let format = "1"

    /// The payload for the store: JSON that holds secrets, to be sealed before it is written.
    package func encoded() -> [UInt8] {
        var members: [String: JSONValue] = [
            "format": .string(Self.format), "generation": .number(String(generation)),
            "state": .string(state.rawValue), "consecutive_failures": .number(String(consecutiveFailures)),
        ]
        members["lineage"] = lineage.map { .string($0) }
        members["tokens"] = tokens?.json
        members["account"] = account.map { .string($0) }
        members["provider"] = provider.map { .string($0) }
        members["intent"] = intent?.json
        members["revocation"] = revocation?.json
        members["revocation_outcome"] = revocationOutcome.map { .string($0) }
        members["last_failure"] = lastFailure?.json
        members["rejected_generation"] = rejectedGeneration.map { .number(String($0)) }
        members["next_attempt_at"] = nextAttemptAt.map { .number(String($0)) }
        members["last_refresh_at"] = lastRefreshAt.map { .number(String($0)) }
        members["latched_fingerprint"] = latchedFingerprint.map { .string($0) }
        members["acquired_with"] = acquiredWith.map { .string($0) }
        if !connectedBy.isEmpty { members["connected_by"] = .array(connectedBy.map { .string($0) }) }
        members["template"] = template.map { .string($0) }
        members["label"] = label.map { .string($0) }
        if !captured.isEmpty { members["captured"] = .object(captured.mapValues { .string($0) }) }
        if !variables.isEmpty { members["variables"] = .object(variables.mapValues { .string($0) }) }
        return JSONValue.object(members).encoded()
    }

    /// Reads a payload; nil for what `encoded()` does not make. Unknown members are ignored, so that an older version
    /// reads what a newer one wrote as long as the format is the same.
    package init?(payload: [UInt8], revision: UInt64) {
        guard let json = JSONValue(payload), json["format"]?.text == Self.format else { return nil }
        guard let generation = json.number("generation").flatMap(UInt64.init(exactly:)) else { return nil }
        guard let state = json["state"]?.text.flatMap(State.init(rawValue:)) else { return nil }
        self.init()
        self.revision = revision
        self.generation = generation
        self.state = state
        lineage = json["lineage"]?.text
        if let part = json["tokens"] {
            guard let value = Tokens(part) else { return nil }
            tokens = value
        }
        if let part = json["intent"] {
            guard let value = Intent(part) else { return nil }
            intent = value
        }
        if let part = json["revocation"] {
            guard let value = Revocation(part) else { return nil }
            revocation = value
        }
        lastFailure = json["last_failure"].flatMap(Failure.init)
        account = json["account"]?.text
        provider = json["provider"]?.text
        revocationOutcome = json["revocation_outcome"]?.text
        rejectedGeneration = json.number("rejected_generation").flatMap(UInt64.init(exactly:))
        consecutiveFailures = Int(json.number("consecutive_failures") ?? 0)
        nextAttemptAt = json.number("next_attempt_at")
        lastRefreshAt = json.number("last_refresh_at")
        latchedFingerprint = json["latched_fingerprint"]?.text
        acquiredWith = json["acquired_with"]?.text
        connectedBy = json["connected_by"]?.list?.compactMap(\.text) ?? []
        template = json["template"]?.text
        label = json["label"]?.text
        captured = json.texts("captured")
        variables = json.texts("variables")
    }
}

extension JSONValue {
    fileprivate func texts(_ member: String) -> [String: String] {
        guard case .object(let members)? = self[member] else { return [:] }
        return members.compactMapValues(\.text)
    }

    fileprivate func number(_ member: String) -> Int64? {
        self[member]?.integer
    }
}

extension GrantRecord.Tokens {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "access_token": .string(accessToken.reveal()), "obtained_at": .number(String(obtainedAt)),
            "scopes": .array(scopes.map { .string($0) }),
        ]
        members["refresh_token"] = refreshToken.map { .string($0.reveal()) }
        members["expires_at"] = expiresAt.map { .number(String($0)) }
        members["refresh_token_expires_at"] = refreshTokenExpiresAt.map { .number(String($0)) }
        if type != .bearer { members["type"] = .string(type.rawValue) }
        if heldFor > 0 { members["held_for"] = .number(String(heldFor)) }
        members["proof_key"] = proofKey.map { .string($0.reveal()) }
        members["origin"] = origin.map {
            .object(["generation": .number(String($0.generation)), "fence": .number(String($0.fence))])
        }
        return .object(members)
    }

    fileprivate init?(_ json: JSONValue) {
        guard let access = json["access_token"]?.text, TokenReply.isHeaderSafe(access) else { return nil }
        guard let obtainedAt = json.number("obtained_at") else { return nil }
        self.init(
            accessToken: Secret(access), refreshToken: json["refresh_token"]?.text.map { Secret($0) },
            obtainedAt: obtainedAt, expiresAt: json.number("expires_at"),
            refreshTokenExpiresAt: json.number("refresh_token_expires_at"),
            scopes: json["scopes"]?.list?.compactMap(\.text) ?? [])
        if let name = json["type"]?.text {
            guard let known = TokenType(rawValue: name) else { return nil }
            type = known
        }
        proofKey = json["proof_key"]?.text.map { Secret($0) }
        heldFor = max(json.number("held_for") ?? 0, 0)
        if let part = json["origin"], let generation = part.number("generation").flatMap(UInt64.init(exactly:)),
            let fence = part.number("fence").flatMap(UInt64.init(exactly:))
        {
            origin = .init(generation: generation, fence: fence)
        }
    }
}

extension GrantRecord.Intent {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "instance": .string(instance), "started_at": .number(String(startedAt)),
            "expires_at": .number(String(expiresAt)),
        ]
        if isOver { members["is_over"] = .bool(true) }
        return .object(members)
    }

    fileprivate init?(_ json: JSONValue) {
        guard let instance = json["instance"]?.text, let startedAt = json.number("started_at") else { return nil }
        guard let expiresAt = json.number("expires_at") else { return nil }
        self.init(instance: instance, startedAt: startedAt, expiresAt: expiresAt)
        isOver = json["is_over"] == .bool(true)
    }
}

extension GrantRecord.Revocation {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "tokens": .array(
                tokens.map { .object(["token": .string($0.token.reveal()), "hint": .string($0.hint.rawValue)]) }),
            "attempts": .number(String(attempts)), "next_attempt_at": .number(String(nextAttemptAt)),
        ]
        if isRefreshTokenDead { members["refresh_token_dead"] = .bool(true) }
        if hasSkippedRefreshToken { members["refresh_token_skipped"] = .bool(true) }
        return .object(members)
    }

    fileprivate init?(_ json: JSONValue) {
        guard let list = json["tokens"]?.list else { return nil }
        let tokens = list.compactMap { entry -> Token? in
            guard let token = entry["token"]?.text else { return nil }
            guard let hint = entry["hint"]?.text.flatMap(RevocationCall.Hint.init(rawValue:)) else { return nil }
            return Token(token: Secret(token), hint: hint)
        }
        guard tokens.count == list.count else { return nil }
        self.init(
            tokens: tokens, attempts: Int(json.number("attempts") ?? 0),
            nextAttemptAt: json.number("next_attempt_at") ?? 0)
        isRefreshTokenDead = json["refresh_token_dead"]?.flag ?? false
        hasSkippedRefreshToken = json["refresh_token_skipped"]?.flag ?? false
    }
}

extension GrantRecord.Failure {
    fileprivate var json: JSONValue {
        .object([
            "class": .string(errorClass.rawValue), "code": .string(code), "detail": .string(detail),
            "at": .number(String(at)),
        ])
    }

    fileprivate init?(_ json: JSONValue) {
        guard let errorClass = json["class"]?.text.flatMap(ErrorClass.init(rawValue:)) else { return nil }
        guard let code = json["code"]?.text, let detail = json["detail"]?.text else { return nil }
        self.init(errorClass: errorClass, code: code, detail: detail, at: json.number("at") ?? 0)
    }
}
