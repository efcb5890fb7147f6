extension ProviderProblem {
    static func invalidReply(_ detail: String) -> ProviderProblem {
        ProviderProblem(.transient, code: "invalid_reply", detail: detail, status: 200, outcomeUnknown: true)
    }

    /// The grant's provider, or that provider's client, is another one than when a consent began.
    package static let configurationChanged = ProviderProblem(
        .configuration, code: "configuration_changed",
        detail: "The grant's configuration changed while the consent was under way. Start again.")

    /// Nothing was sent, so nothing is used up: there is no provider to send it to.
    package static let providerGone = ProviderProblem(
        .transient, code: "provider_gone", detail: "The configuration does not name the provider any more.")

    /// Nothing was sent, so nothing is used up: the process is about to end.
    package static let stopping = ProviderProblem(
        .transient, code: "stopping", detail: "The gateway stops; nothing was sent.")

    /// It was this process that ended the call, since it ends itself: the provider has not failed.
    var isOwnEnd: Bool {
        code == Self.stopping.code || code == Self(.notSent(.stopped)).code || code == Self(.replyLost(.stopped)).code
    }

    /// A call without a reply.
    package init(_ failure: ProviderFailure) {
        let (code, detail): (String, String) =
            switch failure {
            case .notSent(let reason):
                ("not_sent_\(reason.rawValue)", "The provider was not reached: \(reason.rawValue).")
            case .replyLost(let reason):
                (
                    reason == .timeout ? "timeout" : "reply_lost_\(reason.rawValue)",
                    "The request was sent and no reply came: \(reason.rawValue)."
                )
            case .tls(let reason): ("tls", "TLS to the provider failed: \(SafeText.clean(reason, limit: 200)).")
            case .tooLarge: ("reply_too_large", "The reply is longer than \(ProviderRequest.replyLimitBytes) bytes.")
            case .malformed: ("malformed_reply", "The reply is not HTTP.")
            }
        self.init(.transient, code: code, detail: detail, outcomeUnknown: failure.outcomeUnknown)
    }

    init(_ failure: ProviderFailure, settings: ProviderSettings) {
        self.init(failure)
        // With TLS 1.3 a server refuses a certificate when the handshake is over for us: the request is sent already, and
        // the alert may be lost behind a reset.
        switch failure {
        case .tls, .notSent(.reset), .notSent(.closed), .replyLost(.reset), .replyLost(.closed):
            detail += Self.hint(settings)
        case .notSent, .replyLost, .tooLarge, .malformed: break
        }
    }

    /// A reply that is not a success. Only a parsed OAuth error, or what the provider's aliases say, is anything but
    /// transient (pains 6).
    init(
        _ reply: ProviderReply, fields: ReplyFields?, settings: ProviderSettings, now: Moment, hiding secrets: [Secret],
        isRefresh: Bool = false
    ) {
        let retryAfter = reply.header("retry-after").flatMap { RetryAfter.parse($0, now: now) }
        guard let code = fields?.errorCode(settings) else {
            if isRefresh, let refusal = Self(emptyRefusal: reply, settings: settings) {
                self = refusal
                return
            }
            self.init(withoutCode: reply, settings: settings, retryAfter: retryAfter)
            return
        }
        let meaning = settings.meaning(ofCode: code, status: reply.status)
        // 429 and 5xx say "not now" whatever code comes with them.
        let errorClass = reply.status == 429 || reply.status >= 500 ? .transient : Self.errorClass(ofCode: meaning)
        let description = fields?.errorDescription(settings, hiding: secrets).map { ": \($0)" } ?? ""
        let end = description.hasSuffix(".") ? "" : "."
        let hint = meaning == "invalid_client" ? Self.hint(settings) : ""
        self.init(
            errorClass, code: code, detail: "The provider answered \(code)\(description)\(end)\(hint)",
            status: reply.status,
            retryAfter: retryAfter, outcomeUnknown: reply.status >= 500)
    }

    private init(withoutCode reply: ProviderReply, settings: ProviderSettings, retryAfter: Int64?) {
        let status = reply.status
        if let meaning = settings.errorAliases[String(status)] {
            self.init(
                Self.errorClass(ofCode: meaning), code: "http_\(status)",
                detail: "The provider answered \(status), which it uses for \(SafeText.clean(meaning, limit: 80)).",
                status: status, retryAfter: retryAfter)
            return
        }
        let isPage =
            reply.header("content-type")?.lowercased().contains("html") == true
            || reply.body.first { $0 > 0x20 } == UInt8(ascii: "<")
        let hint = 400...403 ~= status ? Self.hint(settings) : ""
        let (code, detail): (String, String) =
            switch status {
            case 300..<400: ("redirect", "The provider answered with a redirect (\(status)), which is not followed.")
            case _ where isPage:
                ("blocked_by_intermediary", "A web page came instead of a token reply (\(reply.summary)).\(hint)")
            case 200: ("invalid_reply", "The reply is neither a JSON object nor a form (\(reply.summary)).")
            default: ("http_\(status)", "The provider answered without an OAuth error (\(reply.summary)).\(hint)")
            }
        self.init(
            .transient, code: code, detail: detail, status: status, retryAfter: retryAfter,
            outcomeUnknown: status >= 500 || status == 200 || status == 408)
    }

    /// A refresh that is refused with 400, 401 or 403 and not one octet of explanation: so some servers say that the
    /// refresh token is dead (glewlwyd; checklist D24). A page is an intermediary's, and 401 with a challenge is about
    /// the client (RFC 6749 section 5.2); neither is this.
    private init?(emptyRefusal reply: ProviderReply, settings: ProviderSettings) {
        guard settings.emptyRefusalEndsGrant, reply.body.isEmpty else { return nil }
        guard reply.status == 400 || reply.status == 401 || reply.status == 403 else { return nil }
        guard settings.errorAliases[String(reply.status)] == nil else { return nil }
        guard reply.header("content-type")?.lowercased().contains("html") != true else { return nil }
        let isAboutClient = reply.status == 401 && reply.header("www-authenticate") != nil
        self.init(
            isAboutClient ? .configuration : .permanent, code: "http_\(reply.status)",
            detail: isAboutClient
                ? "The provider answered 401 with a challenge to the client: it does not accept our client secret, key "
                    + "or certificate."
                : "The provider answered \(reply.status) without a word: it refused the refresh token, or else our client "
                    + "secret, key or certificate.",
            status: reply.status)
    }

    /// A certificate may be refused by the provider, by TLS or by a proxy before the provider, each in its own words.
    private static func hint(_ settings: ProviderSettings) -> String {
        settings.presentsCertificate ? " Our certificate may be the reason: see client_certificate_file." : ""
    }

    /// What a problem's code says about where an operator must look.
    package enum Side: Sendable {
        /// The provider answered, and its own word is that it does not do this.
        case refused
        /// It could not be reached, cannot answer now, or its answer cannot be used.
        case unavailable
        /// Something of ours is missing or wrong: nothing was sent.
        case settings
    }

    private static let unavailableCodes: Set<String> = [
        "timeout", "tls", "redirect", "invalid_reply", "malformed_reply", "reply_too_large", "blocked_by_intermediary",
        "discovery_failed", "key_set_unavailable", "lookup_failed", "capture_missing", "capture_refused", "not_dpop",
        "wrong_token_type", "refresh_failed", "server_error", "temporarily_unavailable", "slow_down",
        "authorization_pending", "use_dpop_nonce",
    ]
    private static let settingsCodes: Set<String> = [
        "no_endpoints", "client_key", "proof_key", "unresolved_variable", "bad_variable", "host_not_allowed",
        "no_subject_token", "no_assertion",
    ]

    package static func side(ofCode code: String) -> Side {
        if settingsCodes.contains(code) { return .settings }
        let isOurs = ["http_", "not_sent_", "reply_lost_"].contains { code.hasPrefix($0) }
        let isIdentity = IDTokenFault(rawValue: code) != nil
        return isOurs || isIdentity || unavailableCodes.contains(code) ? .unavailable : .refused
    }

    static func errorClass(ofCode code: String) -> ErrorClass {
        switch code {
        case "invalid_grant": .permanent
        case "invalid_client", "unauthorized_client": .configuration
        default: .transient
        }
    }
}
