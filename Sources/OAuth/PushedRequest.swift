/// What a server gave for an authorization request that was pushed to it (RFC 9126 section 2.2).
package struct PushedRequest: Sendable, Equatable {
    /// Used once, in the browser, by `ConsentStart.authorizationURL(pushed:)`.
    package var requestURI: String
    /// Milliseconds from the moment the reply came: send the browser away before they are over.
    package var expiresIn: Int64

    package init(requestURI: String, expiresIn: Int64) {
        self.requestURI = requestURI
        self.expiresIn = expiresIn
    }
}

/// Whether authorization requests are pushed.
package enum PushedRequests: String, Sendable, CaseIterable {
    /// Where the server offers or requires it.
    case automatic
    /// Always: without an endpoint a consent cannot start.
    case required
    /// Not where the server only offers it. What it requires is done all the same: anything else would fail.
    case off
}

enum PushedRequestReply {
    /// RFC 9126 section 2.2 requires expires_in; where it is missing this is assumed.
    private static let usualLifetime: Int64 = 60_000
    private static let longestURI = 2048

    static func read(
        _ outcome: ProviderOutcome, settings: ProviderSettings, now: Moment, hiding secrets: [Secret]
    ) -> Result<PushedRequest, ProviderProblem> {
        let reply: ProviderReply
        switch outcome {
        case .failure(let failure): return .failure(ProviderProblem(failure))
        case .success(let received): reply = received
        }
        let fields = ReplyFields(reply)
        guard reply.status == 201 || reply.status == 200, let fields, fields.errorCode(settings) == nil else {
            return .failure(ProviderProblem(reply, fields: fields, settings: settings, now: now, hiding: secrets))
        }
        // Only text (RFC 9126 section 2.2): a number is no reference.
        guard let uri = try? fields.token("request_uri"), !uri.isEmpty, uri.utf8.count <= longestURI,
            uri.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            return .failure(.invalidReply("The reply to the pushed request has no usable request_uri."))
        }
        let lifetime = fields.text("expires_in").flatMap { TokenReply.duration($0, unit: 1000) }
        return .success(PushedRequest(requestURI: uri, expiresIn: lifetime ?? usualLifetime))
    }
}
