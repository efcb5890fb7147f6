/// Reads replies of the revocation endpoint (RFC 7009 section 2.2).
enum RevocationReply {
    static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, hiding secrets: [Secret] = []
    ) -> RevocationCallResult {
        switch outcome {
        case .failure(let failure): return .failed(ProviderProblem(failure))
        case .success(let reply):
            let fields = ReplyFields(reply)
            let code = fields?.errorCode(settings)
            switch (reply.status, code.map { settings.errorAliases[$0] ?? $0 }) {
            case (200..<300, nil): return .revoked
            // Google answers 400 invalid_token for a token that is revoked already.
            case (200..<500, "invalid_token"), (200..<500, "invalid_grant"), (200..<500, "token_revoked"):
                return .alreadyInvalid
            case (200..<500, "unsupported_token_type"), (404, nil), (405, nil), (501, nil): return .notSupported
            default:
                return .failed(
                    ProviderProblem(reply, fields: fields, settings: settings, now: now, hiding: secrets))
            }
        }
    }
}
