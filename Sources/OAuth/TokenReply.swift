/// Reads replies of the token endpoint: a token set, or a problem with its class (design.md, "Grants").
package enum TokenReply {
    /// Longer tokens would not fit into a header section anywhere.
    package static let tokenLimitBytes = 32 * 1024
    /// Longer lifetimes are cut to ten years, so that no sum overflows.
    package static let lifetimeLimit: Int64 = 10 * 365 * 86_400_000

    /// Never traps, whatever the bytes; no octet of the body appears in the problem, except the provider's error code
    /// and description, cleaned and cut, without the `secrets` that the request held.
    ///
    /// - Parameter type: `dpop` where a proof was sent: a reply of another type is then an error, so that nobody between
    ///   can turn bound tokens into ones that anybody may use.
    /// - Parameter call: what the reply is to, where that matters.
    package static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, type: TokenType = .bearer,
        hiding secrets: [Secret] = [], call: TokenCall? = nil
    ) -> Result<TokenSet, ProviderProblem> {
        switch outcome {
        case .failure(let failure): .failure(ProviderProblem(failure))
        case .success(let reply): read(reply, settings: settings, now: now, type: type, hiding: secrets, call: call)
        }
    }

    private static func read(
        _ reply: ProviderReply, settings: ProviderSettings, now: Moment, type: TokenType, hiding secrets: [Secret],
        call: TokenCall?
    ) -> Result<TokenSet, ProviderProblem> {
        let fields = ReplyFields(reply)
        let isRefresh = call?.isRefresh ?? false
        guard reply.status == 200, let fields, fields.errorCode(settings) == nil else {
            return .failure(
                ProviderProblem(
                    reply, fields: fields, settings: settings, now: now, hiding: secrets, isRefresh: isRefresh))
        }
        do throws(ProviderProblem) {
            try checkType(fields.text(settings.paths.tokenType), expected: type, settings: settings, call: call)
            var tokens = try tokens(fields, settings: settings, now: now)
            try tokens.addQuirks(fields, settings: settings, call: call)
            return .success(tokens)
        } catch {
            return .failure(error)
        }
    }

    private static func checkType(
        _ type: String?, expected: TokenType, settings: ProviderSettings, call: TokenCall?
    ) throws(ProviderProblem) {
        switch expected {
        case .bearer:
            guard let type, !settings.accepts(tokenType: type) else { return }
            let isUntyped = call?.kind.acceptsUntypedToken ?? false
            guard !(isUntyped && UnattendedReply.isNotApplicable(type)) else { return }
            throw .invalidReply("The token type is \(SafeText.clean(type, limit: 40)), not Bearer.")
        case .dpop:
            guard type?.lowercased() != "dpop" else { return }
            let found = type.map { SafeText.clean($0, limit: 40) } ?? "missing"
            // Not to be repeated: the server does not do what we need, and a refresh token may be used up by it.
            throw ProviderProblem(
                .configuration, code: "not_dpop",
                detail: "A proof was sent, but the token type is \(found), not DPoP.", status: 200)
        }
    }

    private static func tokens(
        _ fields: ReplyFields, settings: ProviderSettings, now: Moment
    ) throws(ProviderProblem) -> TokenSet {
        let paths = settings.paths
        guard let access = try fields.token(paths.accessToken), !access.isEmpty else {
            throw .invalidReply("The reply has no access token at \(paths.accessToken).")
        }
        guard isHeaderSafe(access) else {
            throw .invalidReply("The access token is too long or has octets that must not be in a header.")
        }
        var tokens = TokenSet(accessToken: Secret(access))
        if let refresh = try fields.token(paths.refreshToken), !refresh.isEmpty {
            guard refresh.utf8.count <= tokenLimitBytes, refresh.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                throw .invalidReply("The refresh token is too long or has control octets.")
            }
            tokens.refreshToken = Secret(refresh)
        }
        tokens.lifetime = lifetime(fields, settings: settings, now: now)
        tokens.refreshTokenLifetime = refreshLifetime(fields, paths)
        tokens.scopes = fields.scopes(paths.scope, separator: settings.scopeSeparator)
        if let account = paths.account.flatMap({ fields.text($0) }), !account.isEmpty {
            tokens.account = SafeText.clean(account, limit: 200)
        }
        tokens.idToken = try fields.token(paths.idToken).map { Secret($0) }
        return tokens
    }

    /// Visible ASCII only (checklist D19): it can be put into a field value as it is.
    package static func isHeaderSafe(_ token: String) -> Bool {
        !token.isEmpty && token.utf8.count <= tokenLimitBytes && token.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    private static func lifetime(_ fields: ReplyFields, settings: ProviderSettings, now: Moment) -> Int64? {
        if let text = fields.text(settings.paths.expiresIn), let lifetime = duration(text, unit: settings.expiresUnit) {
            return lifetime
        }
        if let path = settings.paths.expiresAt, let text = fields.text(path),
            let instant = duration(text, unit: 1000, limit: .max), instant > now.wall
        {
            return min(instant - now.wall, lifetimeLimit)
        }
        return settings.defaultLifetime
    }

    /// What the reply says, under any of its usual names; a hard end that comes sooner counts.
    private static func refreshLifetime(_ fields: ReplyFields, _ paths: ProviderSettings.Paths) -> Int64? {
        let names =
            paths.refreshExpiresIn.map { [$0] }
            ?? ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"]
        let told = names.lazy.compactMap { fields.text($0) }.compactMap { duration($0, unit: 1000) }.first
        let hard = fields.text(paths.refreshHardExpiresIn).flatMap { duration($0, unit: 1000) }
        return [told, hard].compactMap { $0 }.min()
    }

    /// A positive number of units as milliseconds; nil for everything else, and for less than half a second, which
    /// would only make a busy loop (checklist D20).
    static func duration(_ text: String, unit: Int64, limit: Int64 = lifetimeLimit) -> Int64? {
        guard let number = Double(text.trimmed), number.isFinite, number > 0 else { return nil }
        let milliseconds = number * Double(unit)
        guard milliseconds >= 500 else { return nil }
        return milliseconds >= Double(limit) ? limit : Int64(milliseconds)
    }
}

/// A reply's members, from JSON or from a form.
struct ReplyFields {
    private let json: JSONValue

    /// nil: neither a JSON object nor a form.
    init?(_ reply: ProviderReply) {
        let start = reply.body.first { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 && $0 < 0x80 }
        if start == UInt8(ascii: "{") {
            guard let value = JSONValue(reply.body) else { return nil }
            json = value
            return
        }
        guard let start, start != UInt8(ascii: "<"), start != UInt8(ascii: "["), start != UInt8(ascii: "\"") else {
            return nil
        }
        guard let text = String(validating: reply.body, as: UTF8.self), text.contains("=") else { return nil }
        guard let pairs = FormEncoding.decode(text.trimmed), pairs.allSatisfy({ Self.isName($0.name) }) else {
            return nil
        }
        json = .object(Dictionary(pairs.map { ($0.name, .string($0.value)) }) { _, last in last })
    }

    private static func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 100 && name.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != 0x3C }
    }

    /// "PATH@CLAIM" is a claim of the JWT at PATH.
    func text(_ path: String) -> String? {
        json.text(at: path)
    }

    /// A token, a code or a reference: a string, and nothing else (RFC 6749 appendix A). A number there is no token that a
    /// provider means, and what was meant may have been rounded on its way.
    func token(_ path: String) throws(ProviderProblem) -> String? {
        for one in path.split(separator: "|").map(String.init) {
            if case .number? = json.value(at: one) {
                throw .invalidReply("The reply has a number at \(one), not text.")
            }
            if let text = text(one) { return text }
        }
        return nil
    }

    /// A string with separators or an array of strings; nil where there is none.
    func scopes(_ path: String, separator: String) -> [String]? {
        if let list = path.split(separator: "|").lazy.compactMap({ json.value(at: String($0))?.list }).first {
            let scopes = list.prefix(500).compactMap(\.text).map { SafeText.clean($0, limit: 300) }
            return scopes.isEmpty ? nil : scopes
        }
        guard let text = text(path) else { return nil }
        let isSeparator: (Character) -> Bool = { $0 == " " || separator.contains($0) }
        let scopes = text.split(whereSeparator: isSeparator).prefix(500).map {
            SafeText.clean($0.description, limit: 300)
        }
        return scopes.isEmpty ? nil : scopes
    }

    /// The provider's error code, cleaned; nil where the reply has none.
    func errorCode(_ settings: ProviderSettings) -> String? {
        let paths = settings.paths.error.split(separator: "|")
        return paths.lazy.compactMap { errorCode(at: String($0), settings) }.first
    }

    private func errorCode(at path: String, _ settings: ProviderSettings) -> String? {
        guard let value = json.value(at: path) else { return nil }
        let text: String? =
            switch value {
            case .string(let text), .number(let text): text
            case .object:
                ["code", "type", "error", "status", ".tag"].lazy.compactMap { value[$0]?.scalarText }.first
                    ?? "unnamed_error"
            case .null, .bool(false): nil
            case .bool(true), .array: "unnamed_error"
            }
        guard let text, !text.isEmpty, settings.errorAliases[text] != "success" else { return nil }
        return SafeText.clean(text, limit: 80)
    }

    /// Some providers repeat what they were sent; before the cut, so that no piece of a secret is left.
    func errorDescription(_ settings: ProviderSettings, hiding secrets: [Secret]) -> String? {
        guard var text = text(settings.paths.errorDescription) else { return nil }
        for secret in secrets where secret.bytes.count >= 8 {
            text = text.replacing(secret.reveal(), with: "<redacted>")
        }
        return SafeText.clean(text, limit: 200)
    }
}
