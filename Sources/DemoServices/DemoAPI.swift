import OpenSSLKit

/// The demo API: answers whoever brings a valid access token.
struct DemoAPI: Sendable {
    private static let downloadLimit = 1 << 34
    let options: DemoOptions
    let authorization: AuthorizationServer

    private enum Access {
        case granted(number: Int, subject: String)
        case refused(DemoResponse)
    }

    func answer(_ request: DemoRequest) -> DemoAnswer {
        switch access(request) {
        case .refused(let response): .respond(response)
        case .granted(let number, let subject): serve(request, number: number, subject: subject)
        }
    }

    /// Refuses a request before its body was sent, where the credential is not good. Counts nothing otherwise.
    func answerBeforeBody(_ request: DemoRequest) -> DemoResponse? {
        let isGood = credentials(request).first.map { verdict($0) }
        if case .active = isGood { return nil }
        guard case .refused(let response) = access(request) else { return nil }
        return response
    }

    // MARK: Access

    private func credentials(_ request: DemoRequest) -> [String] {
        let scheme = options.credentialScheme
        return request.head.values(options.credentialField.lowercased()).compactMap { value in
            guard !scheme.isEmpty else { return value }
            let words = value.split(separator: " ", maxSplits: 1)
            return words.count == 2 && words[0].lowercased() == scheme.lowercased() ? String(words[1]) : nil
        }
    }

    private func verdict(_ token: String) -> AuthorizationState.Verdict {
        authorization.withTokens { tokens, now in tokens.verdict(access: token, now: now) }
    }

    private func access(_ request: DemoRequest) -> Access {
        let found = credentials(request)
        let isDouble = request.head.values(options.credentialField.lowercased()).count > 1
        authorization.withTokens { tokens, _ in
            tokens.counters.apiCalls += 1
            if isDouble { tokens.counters.apiDoubleCredentials += 1 }
        }
        // RFC 6750 2 and 3.1: one credential; an error code only where there is one.
        guard !isDouble else { return .refused(Self.refusal(400, "invalid_request", "More than one credential")) }
        guard let token = found.first else { return .refused(rejected(nil)) }
        switch verdict(token) {
        case .active(let number, let subject, _, _): return .granted(number: number, subject: subject)
        case .inactive(let detail): return .refused(rejected(detail))
        }
    }

    private func rejected(_ detail: String?) -> DemoResponse {
        authorization.withTokens { tokens, _ in tokens.counters.apiRejections += 1 }
        return Self.refusal(401, detail == nil ? nil : "invalid_token", detail)
    }

    private static func refusal(_ status: Int, _ code: String?, _ detail: String?) -> DemoResponse {
        var challenge = "Bearer realm=\"demo\""
        if let code, let detail { challenge += ", error=\"\(code)\", error_description=\"\(detail)\"" }
        return .json(
            .object([("error", .text(code ?? "missing_token"))]), status: status,
            fields: [("WWW-Authenticate", challenge)])
    }

    // MARK: Resources

    private func serve(_ request: DemoRequest, number: Int, subject: String) -> DemoAnswer {
        let query = FormFields(request.query)
        switch request.path {
        case "/upload":
            guard ["POST", "PUT"].contains(request.method) else {
                return .respond(
                    .json(.object([("error", .text("use POST"))]), status: 405, fields: [("Allow", "POST, PUT")]))
            }
            return .respond(
                .json(
                    .object([
                        ("bytes", .number(request.body.count)), ("sha256", .text(hex(Digest.sha256(request.body)))),
                    ])))
        case "/download": return .respond(download(query))
        case "/slow":
            let milliseconds = min(60_000, query["ms"].flatMap { Int($0) } ?? 1000)
            return .late(milliseconds: milliseconds, echo(request, number, subject))
        case let path where path.hasPrefix("/status/"):
            guard let status = Int(path.dropFirst("/status/".count)), (200...599).contains(status) else {
                return .respond(.json(.object([("error", .text("no such status"))]), status: 404))
            }
            return .respond(.json(.object([("status", .number(status))]), status: status))
        default: return .respond(echo(request, number, subject))
        }
    }

    private func download(_ query: FormFields) -> DemoResponse {
        guard let count = Int(query["bytes"] ?? "1024"), (0...Self.downloadLimit).contains(count) else {
            return .json(.object([("error", .text("bytes must be a number"))]), status: 400)
        }
        return DemoResponse(
            status: 200, fields: [("Content-Type", "application/octet-stream")], body: .pattern(count: count),
            isChunked: query["chunked"] != nil)
    }

    /// Says what came in, without the credential.
    private func echo(_ request: DemoRequest, _ number: Int, _ subject: String) -> DemoResponse {
        let credential = options.credentialField.lowercased()
        let fields = request.head.fields.filter { $0.name != credential }
        return .json(
            .object([
                ("message", .text("hello, \(subject)")), ("method", .text(request.method)),
                ("path", .text(request.path)), ("query", .text(request.query)),
                ("access_token_number", .number(number)), ("body_bytes", .number(request.body.count)),
                ("body_sha256", .text(hex(Digest.sha256(request.body)))),
                ("headers", .list(fields.map { .list([.text($0.name), .text($0.value)]) })),
            ]))
    }
}
